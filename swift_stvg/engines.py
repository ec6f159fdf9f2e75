"""What answers rows: a model in ms-swift's own engines, or a server that speaks OpenAI's chat completions."""

from __future__ import annotations

import base64
import io
import os
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from swift_stvg.errors import DataError, EndpointError, StvgError, VideoError
from swift_stvg.framecache import to_jpeg
from swift_stvg.rows import VIDEO_KEY, VideoRequest
from swift_stvg.settings import Settings
from swift_stvg.video import is_picture, is_set

Row = dict[str, Any]
"""As `rows.make_prompt` makes them, without an answer."""
SEND = ("images", "video")
KEY_VARIABLE = "OPENAI_API_KEY"
SHORTEST_KEY = 8
"""Characters of a key that is worth hiding."""
LARGEST_ANSWER = 1 << 24
"""Bytes of what a server may answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for a row.

    Attributes:
        text: what the model wrote.
        failure: why it could not be asked; None if it was.
        down: whether that is likely to be the server's fault, and not this row's.
        cut: how the text was cut off, if it was.
    """

    text: str
    failure: str | None = None
    down: bool = False
    cut: str = ""


class Engine(Protocol):
    """Answers rows.

    Attributes:
        at_once: rows that are worth giving to it together.
    """

    at_once: int

    def answer(self, rows: Sequence[Row]) -> list[Reply]:
        """A reply to each row.

        Raises:
            StvgError: no row will be answered.
        """


class SwiftEngine:
    """A model in ms-swift's engine.

    Args:
        model: a model or checkpoint, as for `swift infer`.
        options: further ones of `swift infer`, as its command line has them; answers are greedy unless these say other.

    Raises:
        DataError: ms-swift knows no such model or option, or there is no template of swift_stvg for the model.
    """

    at_once = 16

    def __init__(self, model: str, *options: str) -> None:
        words = ["--model", model, "--stream", "false", "--temperature", "0", "--max_new_tokens", "2048", *options]
        args = swift_arguments(model, words)
        self._pipeline = start_pipeline(args)
        # one video that cannot be decoded is one answer less
        self._pipeline.infer_engine.strict = False
        self._config = self._pipeline.args.get_request_config()

    def answer(self, rows: Sequence[Row]) -> list[Reply]:
        """As `Engine.answer`; TemplateMismatch for rows that were made for another backbone."""
        found = self._pipeline.infer(list(rows), self._config, use_tqdm=False, **self._pipeline.infer_kwargs)
        return [_reply(response) for response in found]


def start_pipeline(args: Any, who: str = "swift-stvg") -> Any:
    """ms-swift's pipeline of `swift infer`, from its arguments or their words, with all of swift_stvg registered.

    Raises:
        DataError: a word is no option.
    """
    from swift.pipelines.infer.infer import SwiftInfer

    import swift_stvg.adapters  # noqa: F401 - registers what the options name

    try:
        return SwiftInfer(args)
    except ValueError as error:
        if "remaining_argv" not in str(error):
            raise
        raise DataError(f"neither {who} nor ms-swift knows these options: {error}") from None


def swift_arguments(model: str, words: list[str]) -> Any:
    """Arguments of `swift infer` with the template of swift_stvg that fits the model."""
    if model.startswith((".", "/", "~")) and not os.path.exists(os.path.expanduser(model)):
        raise DataError(f"no model at {model}")
    from swift.arguments import InferArguments
    from swift.template import TEMPLATE_MAPPING
    from swift.utils import parse_args

    from swift_stvg.adapters.templates import StvgTemplate

    def is_ours(name: str) -> bool:  # asked once plugins are imported, which may bring more
        return name in TEMPLATE_MAPPING and issubclass(TEMPLATE_MAPPING[name].template_cls, StvgTemplate)

    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    _check_words(words)
    try:
        try:
            args, _ = parse_args(InferArguments, words)
        except ValueError:  # several stock templates fit the model
            fitting = f"stvg_{_model_type(model, words)}"
            if "--template" in words or not is_ours(fitting):
                raise
            args, _ = parse_args(InferArguments, [*words, "--template", fitting])
    except (ValueError, AssertionError) as error:
        raise DataError(f"ms-swift cannot take {model}: {error!s:.500}") from None
    if args.stream:
        raise DataError("answers are read whole: leave --stream out")
    if not is_ours(args.template):
        fitting = f"stvg_{args.model_type}"
        if "--template" in words or not is_ours(fitting):
            known = ", ".join(sorted(filter(is_ours, TEMPLATE_MAPPING)))
            raise DataError(
                f"{model} ({args.model_type}) would be asked with the template {args.template}, which is none of "
                f"swift_stvg: {known}. See 'Add a backbone' in the README, or serve the model and "
                "give --endpoint"
            )
        args.template, args.template_meta = fitting, TEMPLATE_MAPPING[fitting]
    return args


def _check_words(words: list[str]) -> None:
    """Refuse words that are no options of `swift infer`, or values that they cannot have; nothing is looked up.

    Raises:
        DataError: there is one. ms-swift's parser would print a hundred lines of usage before it says so.
    """
    from swift.arguments import InferArguments
    from swift.utils import parse_args

    class Words(InferArguments):  # type: ignore[misc]
        def __post_init__(self) -> None:
            """Look for no model."""

    try:
        with redirect_stderr(io.StringIO()) as said:
            _, unknown = parse_args(Words, words)
    except SystemExit:
        raise DataError(f"ms-swift: {said.getvalue().rpartition(': error: ')[2].strip()}") from None
    if unknown:
        raise DataError(f"neither swift-stvg nor ms-swift knows these options: {' '.join(unknown)}")


def _model_type(model: str, words: list[str]) -> str:
    from swift.model import get_model_info_meta

    given = words[words.index("--model_type") + 1] if "--model_type" in words[:-1] else None
    found: str = get_model_info_meta(model, model_type=given)[0].model_type
    return found


def _reply(response: Any) -> Reply:
    if isinstance(response, VideoError):
        return Reply("", str(response))
    if isinstance(response, StvgError):
        raise response
    if isinstance(response, Exception):
        return Reply("", f"{type(response).__name__}: {response}")
    choice = response.choices[0]
    return Reply(choice.message.content or "", cut=_cut(choice.finish_reason, response.usage.completion_tokens))


def _cut(finish_reason: Any, tokens: Any) -> str:
    if finish_reason != "length":
        return ""
    when = f" after {tokens} tokens" if isinstance(tokens, int) else ""
    return f"cut off{when}: raise --max_new_tokens, or max_tokens in --body, with another --out"


class Endpoint:
    """A server with OpenAI's chat completions.

    Args:
        url: up to and with `/v1`, without user, password and query.
        model: its name there; the only one that the server lists if None.
        send: "images", each sampled frame with its number or time, which any server with vision takes; or "video", the
            whole file and which of its frames to look at, which `swift deploy` with a template of swift_stvg takes.
        timeout_s: how long to wait for an answer as a whole, each time.
        retries: how often to try again after a failure that may pass, with growing pauses in between.
        at_once: requests at a time.
        body: further entries of the request; None takes one out, for servers that know no such entry.
        key: of the server; from OPENAI_API_KEY if None. One of 8 characters or more is hidden in all that the server
            says.

    Attributes:
        model: its name.

    Raises:
        EndpointError: the server cannot be reached, or it lists several models.
        DataError: impossible values.
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
            raise DataError(f"an endpoint takes {' or '.join(SEND)}, not {send!r}")
        if not timeout_s > 0 or retries < 0 or at_once < 1:
            raise DataError("the timeout and the number of requests must be above 0, retries at least 0")
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
        with ThreadPool(self.at_once) as pool:  # which does not wait for requests when it is left by an error
            return list(pool.imap(self._ask, rows))

    def _ask(self, row: Row) -> Reply:
        import openai

        try:
            request = self._request(row)
        except VideoError as error:
            return Reply("", str(error))
        try:
            reply = _read_completion(self._client.post("/chat/completions", body=request, cast_to=object))
        except (openai.APIError, ValueError, RecursionError) as error:  # the last two: no JSON, or too deep
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
            if any(is_picture(Path(video)) or is_set(Path(video)) for video in row["videos"]):
                raise VideoError("video unreadable", f"{row['videos'][0]} is of pictures, which go as images only")
            files = [base64.b64encode(_bytes(Path(video))).decode() for video in row["videos"]]
            request |= {"videos": files, "chat_template_kwargs": row["chat_template_kwargs"]}
        return {name: value for name, value in request.items() if value is not None}

    def _only_model(self) -> str:
        import openai

        try:
            names = [model.id for model in self._client.models.list().data]
        except (openai.APIError, ValueError, AttributeError, TypeError, RecursionError) as error:
            raise EndpointError(
                f"{self._url} lists no models ({self._hidden(self._why(error)):.400}): is it up? Or give --model"
            ) from None
        if len(names) != 1:
            raise EndpointError(
                f"{self._url} has {len(names)} models, so --model must say which: "
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
        """Text from outside, which may repeat the request, without the key; cut it after that, never before.

        What local servers are given for a key, `x` or `0`, is none, and may stand in any answer.
        """
        return text.replace(self._key, "***") if len(self._key) >= SHORTEST_KEY else text


def check_url(url: str) -> None:
    """Refuse what is no address of a server, or holds more, which would be kept with the answers.

    Raises:
        DataError: it does.
    """
    if any(sign in url for sign in "@?#"):
        raise DataError(f"an endpoint is a URL without user, password, ? and #; a key goes into {KEY_VARIABLE}")
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise DataError(f"an endpoint is a URL like http://127.0.0.1:8000/v1: {url!r}")


def _read_key(key: str | None) -> str:
    """The key as a header takes it; "" if there is none."""
    key = (key or os.environ.get(KEY_VARIABLE) or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise DataError(f"{KEY_VARIABLE} holds characters that no key has, such as line ends or letters beyond ASCII")
    return key


def _bounded_client(timeout_s: float) -> Any:
    """What sends requests, and gives up answers that do not end: httpx limits the time of each read alone."""
    import openai

    class Client(openai.DefaultHttpxClient):
        def send(self, request: Any, *, stream: bool = False, **how: Any) -> Any:
            end = time.monotonic() + timeout_s
            response = super().send(request, stream=True, **how)
            httpx = sys.modules[type(response).__module__]  # httpx or httpx2, as openai's version goes
            parts, size = [], 0
            try:
                for part in response.iter_bytes():
                    parts.append(part)
                    size += len(part)
                    if time.monotonic() > end:
                        raise httpx.ReadTimeout(f"no whole answer within {timeout_s:g} s", request=request)
                    if size > LARGEST_ANSWER:
                        raise ValueError(f"an answer of more than {LARGEST_ANSWER >> 20} MiB")
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
    """The text of a chat completion, from data that may be anything."""
    try:
        choice = answer["choices"][0]
        content, reason = choice["message"]["content"], choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        return Reply("", f"no chat completion: {answer!r}")
    if not isinstance(content, str):
        return Reply("", f"an answer without text: {answer!r}")
    usage = answer.get("usage")
    return Reply(content, cut=_cut(reason, usage.get("completion_tokens") if isinstance(usage, dict) else None))


def with_images(row: Row, frame_loader: Any) -> list[dict[str, Any]]:
    """A row's messages with the sampled frames as pictures in the place of the video, each after when it was.

    Args:
        row: what to send.
        frame_loader: a `frames.FrameLoader`.

    Raises:
        VideoError: they cannot be decoded.
    """
    request = VideoRequest.from_json(row["chat_template_kwargs"][VIDEO_KEY])
    frames = frame_loader.load(row["videos"][0], request).permute(0, 2, 3, 1).numpy()  # (T, H, W, 3)
    parts: list[dict[str, Any]] = []
    for number, (frame, time_s) in enumerate(zip(frames, request.times_s, strict=True)):
        data = base64.b64encode(to_jpeg(frame)).decode()
        parts.append({"type": "text", "text": f"frame {number}, {time_s:.2f} s:"})
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


def _frame_loader() -> Any:
    from swift_stvg.frames import FrameLoader

    return FrameLoader(Settings.from_env())


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VideoError("video missing", f"{str(path)!r:.300} cannot be read: {error.strerror}") from None
