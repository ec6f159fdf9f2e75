"""A server with OpenAI's chat completions API, as an engine that answers rows."""

from __future__ import annotations

import base64
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from swift_stvg.errors import DataError, EndpointError, VideoError
from swift_stvg.serving.engines import Reply, Row, cut_off
from swift_stvg.settings import Settings
from swift_stvg.video.frame_cache import to_jpeg
from swift_stvg.video.reader import is_picture, is_set
from swift_stvg.video.request import VIDEO_KEY, VideoRequest

SEND = ("images", "video")
KEY_VARIABLE = "OPENAI_API_KEY"
SHORTEST_KEY = 8
"""Keys with at least this many characters are hidden in messages."""
LARGEST_ANSWER = 1 << 24
"""The most bytes of a response."""


class Endpoint:
    """A server with OpenAI's chat completions API.

    Args:
        url: the address up to `/v1`, without user, password and query.
        model: the model's name on the server; the only model that the server lists if None.
        send: "images" sends each sampled frame after its label (`VideoRequest.label`), for any server with vision.
            "video" sends the whole file and the numbers of its frames, for `swift deploy` with a template of
            swift_stvg.
        timeout_s: the longest time in seconds for a whole response, for each attempt.
        retries: number of attempts after a temporary failure, with growing pauses between them.
        at_once: number of parallel requests.
        body: more fields of the request. None removes a field that the server does not know.
        key: the server's key; from OPENAI_API_KEY if None. A key of at least 8 characters is hidden in all texts from
            the server.

    Attributes:
        model: the model's name on the server.

    Raises:
        EndpointError: the server cannot be reached, or it lists several models.
        DataError: an argument has an invalid value.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        send: str = "images",
        timeout_s: float = 120.0,
        retries: int = 2,
        at_once: int = 4,
        body: dict[str, Any] | None = None,
        key: str | None = None,
    ) -> None:
        import openai

        check_url(url)
        if send not in SEND:
            raise DataError(f"`send` must be {' or '.join(SEND)}, got {send!r}")
        if not timeout_s > 0 or retries < 0 or at_once < 1:
            raise DataError(
                "the timeout must be above 0, the number of parallel requests at least 1, and retries at least 0"
            )
        self.at_once = at_once
        self._url, self._send, self._timeout_s = url, send, timeout_s
        self._key = _read_key(key)
        self._client = openai.OpenAI(
            base_url=url,
            api_key=self._key or "none",
            timeout=timeout_s,
            max_retries=retries,
            http_client=_bounded_client(timeout_s),
        )
        self._body = {"temperature": 0, "max_tokens": 2048} | (body or {})
        self.model = model or self._only_model()
        self._frames = _frame_loader()

    def answer(self, rows: Sequence[Row]) -> list[Reply]:
        """As `Engine.answer`."""
        with ThreadPool(self.at_once) as pool:  # at an error it does not wait for running requests
            return list(pool.imap(self._ask, rows))

    def _ask(self, row: Row) -> Reply:
        import openai

        try:
            request = self._request(row)
        except VideoError as error:
            return Reply("", str(error))
        try:
            began = time.monotonic()
            reply = _read_completion(self._client.post("/chat/completions", body=request, cast_to=object))
            reply = replace(reply, seconds=time.monotonic() - began)
        except (openai.APIError, ValueError, RecursionError) as error:  # the last two: JSON that is invalid or too deep
            down = isinstance(
                error,
                openai.APIConnectionError
                | openai.InternalServerError
                | openai.AuthenticationError
                | openai.PermissionDeniedError
                | openai.NotFoundError,
            )
            reply = Reply("", self._why(error), down)
        failure = None if reply.failure is None else f"{self._hidden(reply.failure):.400}"
        return replace(reply, text=self._hidden(reply.text), failure=failure)

    def _request(self, row: Row) -> dict[str, Any]:
        request = {"model": self.model, "messages": row["messages"]} | self._body
        if self._send == "images":
            request["messages"] = with_images(row, self._frames)
        else:
            request |= with_video(row)
        return {name: value for name, value in request.items() if value is not None}

    def _only_model(self) -> str:
        import openai

        try:
            names = [model.id for model in self._client.models.list().data]
        except (openai.APIError, ValueError, AttributeError, TypeError, RecursionError) as error:
            raise EndpointError(
                f"{self._url} lists no models ({self._hidden(self._why(error)):.400}): start it, or give --model"
            ) from None
        if len(names) != 1:
            raise EndpointError(
                f"{self._url} has {len(names)} models: give one of them as --model: "
                f"{self._hidden(', '.join(map(str, names))):.500}"
            )
        return names[0]

    def _why(self, error: Exception) -> str:
        import openai

        if isinstance(error, openai.APITimeoutError):
            return f"no answer within {self._timeout_s:g} s"
        if isinstance(error, openai.APIConnectionError):
            return f"no connection: {error.__cause__ or error}"
        if isinstance(error, openai.APIStatusError):
            return f"status {error.status_code}: {error.message}"
        return f"no chat completion: {error!r}"

    def _hidden(self, text: str) -> str:
        """Text from the server without the key. Shorten a text only after this, or a part of the key may remain.

        Short keys such as `x`, which are given to local servers, are not secret and may be part of any text.
        """
        return text.replace(self._key, "***") if len(self._key) >= SHORTEST_KEY else text


def check_url(url: str) -> None:
    """Refuse a text that is not a server's address, or that holds a user, password or query.

    Answers are stored with the address, so it must not hold a secret.

    Raises:
        DataError: the address is not valid.
    """
    if any(sign in url for sign in "@?#"):
        raise DataError(f"an endpoint must be a URL without user, password, ? and #; put a key into {KEY_VARIABLE}")
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise DataError(f"an endpoint must be a URL such as http://127.0.0.1:8000/v1, got {url!r}")


def _read_key(key: str | None) -> str:
    """The key, which must be valid in a header; "" if there is none."""
    key = (key or os.environ.get(KEY_VARIABLE) or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise DataError(
            f"{KEY_VARIABLE} holds characters that a key cannot have, such as line breaks or letters that are not ASCII"
        )
    return key


def _bounded_client(timeout_s: float) -> Any:
    """An HTTP client that limits the time and size of whole responses.

    httpx limits only the time of each read, so a server that sends a byte now and then could hold a request forever.
    """
    import openai

    class Client(openai.DefaultHttpxClient):
        def send(self, request: Any, *, stream: bool = False, **how: Any) -> Any:
            end = time.monotonic() + timeout_s
            response = super().send(request, stream=True, **how)
            httpx = sys.modules[type(response).__module__]  # httpx or httpx2, depending on openai's version
            parts, size = [], 0
            try:
                for part in response.iter_bytes():
                    parts.append(part)
                    size += len(part)
                    if time.monotonic() > end:
                        raise httpx.ReadTimeout(f"no whole response within {timeout_s:g} s", request=request)
                    if size > LARGEST_ANSWER:
                        raise ValueError(f"the response has more than {LARGEST_ANSWER >> 20} MiB")
            finally:
                response.close()
            headers = [
                (name, value)
                for name, value in response.headers.multi_items()
                if name.lower() not in ("content-encoding", "content-length", "transfer-encoding")
            ]
            return type(response)(response.status_code, headers=headers, content=b"".join(parts), request=request)

    return Client()


def _read_completion(answer: Any) -> Reply:
    """The text of a chat completion. The data may be anything."""
    try:
        choice = answer["choices"][0]
        content, reason = choice["message"]["content"], choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        return Reply("", f"no chat completion: {answer!r}")
    if not isinstance(content, str):
        return Reply("", f"an answer without text: {answer!r}")
    usage = answer.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    tokens = tokens if type(tokens) is int and 0 <= tokens < 10**9 else None
    return Reply(content, cut=cut_off(reason, tokens), tokens=tokens)


def with_images(row: Row, frame_loader: Any) -> list[dict[str, Any]]:
    """A row's messages with the sampled frames as pictures in place of the video, each after its label.

    Args:
        row: the row to send.
        frame_loader: a `FrameLoader`.

    Raises:
        VideoError: the frames cannot be decoded.
    """
    request = VideoRequest.from_json(row["chat_template_kwargs"][VIDEO_KEY])
    frames = frame_loader.load(row["videos"][0], request).permute(0, 2, 3, 1).numpy()  # (T, H, W, 3)
    parts: list[dict[str, Any]] = []
    for number, frame in enumerate(frames):
        data = base64.b64encode(to_jpeg(frame)).decode()
        parts.append({"type": "text", "text": request.label(number)})
        parts.append({"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}})
    messages = []
    for message in row["messages"]:
        before, video, after = message["content"].partition("<video>")
        content: Any = message["content"]
        if video:
            texts = [[{"type": "text", "text": text}] if text.strip() else [] for text in (before, after)]
            content = [*texts[0], *parts, *texts[1]]
        messages.append(message | {"content": content})
    return messages


def with_video(row: Row) -> dict[str, Any]:
    """What a request needs beside the messages for a template of swift_stvg: the video's content, and its frames.

    Raises:
        VideoError: the file cannot be read, or it is no file but pictures.
    """
    if any(is_picture(Path(video)) or is_set(Path(video)) for video in row["videos"]):
        raise VideoError("video unreadable", f"{row['videos'][0]} is a picture or a folder of pictures: send images")
    files = [base64.b64encode(_bytes(Path(video))).decode() for video in row["videos"]]
    return {"videos": files, "chat_template_kwargs": row["chat_template_kwargs"]}


def _frame_loader() -> Any:
    from swift_stvg.video.frame_loader import FrameLoader

    return FrameLoader(Settings.from_env())


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VideoError("video missing", f"{str(path)!r:.300} cannot be read: {error.strerror}") from None
