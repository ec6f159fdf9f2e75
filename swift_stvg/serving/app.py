"""A local page in the browser that asks a model or a server about a video. It is made with Gradio.

Each open page has a visit: a folder with an unguessable name, which holds its video and the files that answers make.
The folder is deleted when the page is closed or has not been used for an hour, and all folders when the app ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi.middleware import Middleware
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import FileResponse, PlainTextResponse, Response
from fastapi.routing import APIRoute

from swift_stvg.errors import DataError, EndpointError, StvgError
from swift_stvg.records import MAX_VIDEO_S
from swift_stvg.report.drawing import render
from swift_stvg.serving import app_html as show
from swift_stvg.serving.asking import prompt_spec_of
from swift_stvg.serving.engines import Engine
from swift_stvg.serving.exporters import to_coco, to_mot
from swift_stvg.serving.grounding import NO_ANSWER, Grounded, Search
from swift_stvg.settings import Settings
from swift_stvg.util.writing import write_text_atomic
from swift_stvg.video.reader import is_picture

MOST_SENTENCES = 8
"""At most this many sentences are searched for at once."""
UPLOAD_S = 600
"""An upload ends after this many seconds."""
KEPT_S = 3600
"""Files are deleted after this many seconds without use."""
TOO_LONG = "the upload took too long"
_ELSEWHERE = re.compile(rb'<script\s+src="https?:[^>]*></script>|<link\s+rel="preconnect"[^>]*>')
"""Parts of Gradio's page that load something from other servers. The page works without them."""
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; object-src 'none'; "
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
_FILES = "/clips"
_STORED = re.compile(r"/\S*/[\w-]{22}/video(\.\w{1,8})?")
"""The path of the video of a visit."""


@dataclass(slots=True)
class Visit:
    """What one open page holds.

    Attributes:
        folder: its files. The folder's name is the secret by which the browser gets them.
        video: the chosen video.
        name: the video's name, as the user knows it.
        uploaded: the copy of the video that Gradio keeps; None for an example.
        asked: number of searches, so that each has files of its own names.
        used_s: when it was last used, in seconds of `time.monotonic`.
    """

    folder: Path
    video: Path
    name: str
    uploaded: Path | None = None
    asked: int = 0
    used_s: float = field(default_factory=time.monotonic)

    def address(self, name: str) -> str:
        """Where the browser gets a file of this visit."""
        return f"{_FILES}/{self.folder.name}/{name}"

    def delete(self) -> None:
        """Delete all files of this visit. A copy of Gradio stays while another visit has the same video."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            if self.uploaded is not None and self.uploaded.stat().st_nlink == 1:
                self.uploaded.unlink()


class App:
    """The page and its visits.

    Args:
        engine: the engine that answers.
        settings: the settings of the training.
        examples: clips to try, with a sentence about each.
        files: an empty folder for the files of visits. The caller deletes it.
        uploads: the folder of Gradio's uploads, on the same disk. Before Gradio was imported, GRADIO_TEMP_DIR and
            `tempfile.tempdir` must have been set to it.
        by: what answers, as a sentence.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        examples: Sequence[tuple[Path, str]],
        files: Path,
        uploads: Path,
        by: str,
    ) -> None:
        self._engine, self._settings, self._examples, self._by = engine, settings, examples, by
        self._visits: dict[str, Visit] = {}
        self._lock = threading.Lock()
        self._files, self._uploads = files, uploads

    def serve(self, host: str, port: int | None, largest_mib: int, local: bool) -> str:
        """Start to serve the page. Returns its address.

        Args:
            host: the address to listen at.
            port: the port; the first free one from 7860 on if None.
            largest_mib: the largest upload in MiB.
            local: whether only this machine can reach the address.

        Raises:
            OSError: the port cannot be used.
        """
        self._page = self._layout(largest_mib)
        middleware = [Middleware(_Guard)]
        if local:  # a name that points here must not make pages of other sites trusted
            middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]))
        routes = [APIRoute(f"{_FILES}/{{token}}/{{name}}", self._file)]
        _, address, _ = self._page.queue(max_size=32, api_open=False).launch(
            server_name=host,
            server_port=port,
            max_file_size=largest_mib << 20,
            app_kwargs={"routes": routes, "middleware": middleware},
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            show_api=False,
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
        )
        return str(address)

    def wait(self) -> None:
        """Delete old files every minute, until the process is interrupted; then end the page."""
        try:
            while True:
                time.sleep(60)
                self._sweep()
        finally:
            self._page.close(verbose=False)

    # ------------------------------------------------------------------------------------------------ the page

    def _layout(self, largest_mib: int) -> Any:
        theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
        with gr.Blocks(title="swift-stvg", theme=theme, css=show.CSS, head=show.HEAD, analytics_enabled=False) as page:
            about = f"Finds when and where a sentence happens in a video. {self._by}"
            title = show.element("h1", "swift-stvg")
            gr.HTML(show.whole(title, show.element("p", show.text(about), class_="faint")), padding=False)
            with gr.Row():
                with gr.Column(scale=2, min_width=300):
                    label = f"Video or picture, up to {largest_mib} MiB"
                    upload = gr.File(label=label, type="filepath", height=150, elem_id="video")
                    buttons = []
                    if self._examples:
                        gr.HTML(show.whole(show.element("p", "or a made clip:", class_="faint")), padding=False)
                        with gr.Row():
                            buttons = [gr.Button(said, size="sm", min_width=120) for _, said in self._examples]
                    chosen = gr.HTML(padding=False, elem_id="chosen")
                    sentences = gr.Textbox(
                        label="Sentences, one per line",
                        placeholder="the man in red sits down",
                        lines=2,
                        max_lines=MOST_SENTENCES,
                        elem_id="sentences",
                    )
                    with gr.Row():
                        ends = [  # no gr.Number, whose empty field is sometimes 0
                            gr.Textbox(label=f"{name} second (optional)", max_lines=1, min_width=100, elem_id=name)
                            for name in ("from", "to")
                        ]
                    find = gr.Button("Find", variant="primary", elem_id="find")
                with gr.Column(scale=3, min_width=300):
                    found = gr.HTML(show.start(), padding=False, elem_id="found")
            hidden: dict[str, Any] = {"show_progress": "hidden", "api_name": False}
            upload.upload(self._uploaded, upload, [upload, chosen, found], **hidden)
            for i, button in enumerate(buttons):
                button.click(self._example(i), None, [chosen, sentences, *ends, found], **hidden)
            searching = find.click(
                self._find, [sentences, *ends], found, concurrency_limit=1, scroll_to_output=True, **hidden
            )
            searching.failure(lambda: show.whole(show.error(BROKEN)), None, found, **hidden)
            page.unload(self._closed)
        return page

    def _uploaded(self, path: str, request: gr.Request) -> tuple[None, str, str]:
        """Take an uploaded file. The field for files becomes empty, for the next one."""
        uploaded = Path(path)
        try:
            return None, self._choose(request.session_hash, uploaded, uploaded), show.start()
        except (StvgError, OSError) as error:
            uploaded.unlink(missing_ok=True)
            return None, show.whole(show.error(_said(error, uploaded.name))), show.start()

    def _example(self, i: int) -> Any:
        """A function that takes example `i`."""

        def choose(request: gr.Request) -> tuple[str, str, str, str, str]:
            video, sentence = self._examples[i]
            return self._choose(request.session_hash, video, None), sentence, "", "", show.start()

        return choose

    def _choose(self, session: str, video: Path, uploaded: Path | None) -> str:
        """Make a file the video of a visit. Returns what the page shows of it.

        Raises:
            VideoError: it cannot be read.
        """
        folder = self._files / secrets.token_urlsafe(16)
        folder.mkdir(mode=0o700)
        suffix = video.suffix.lower()
        stored = f"video{suffix}" if re.fullmatch(r"\.\w{1,8}", suffix) else "video"
        visit = Visit(folder, folder / stored, video.name, uploaded)
        try:
            os.link(video, visit.video)
            self._forget(session)  # after the link: both may be the same upload
            info, _ = prompt_spec_of(visit.video, self._settings, None)
        except (StvgError, OSError):
            visit.delete()
            raise
        with self._lock:
            self._visits[session] = visit
        still = is_picture(visit.video)
        width, height = info.size_wh
        first_s = float(info.frame_times_s[0])
        about = f"{width} × {height} pixels"
        if not still:
            about += f", {info.n_frames} frames, {first_s:.2f} to {info.end_s:.2f} s"
        return show.preview(visit.name, visit.address(visit.video.name), about, still)

    def _find(self, lines: str, start: str, end: str, request: gr.Request) -> Iterator[str]:
        """Search for each sentence in the visit's video. Yields the page's answers so far."""
        with self._lock:
            visit = self._visits.get(request.session_hash)
        if visit is None:
            yield show.whole(show.error("There is no video yet: drop one into the field, or choose a made clip."))
            return
        visit.used_s = time.monotonic()
        visit.asked += 1
        for path in visit.folder.glob(f"{visit.asked - 1}-*"):
            path.unlink(missing_ok=True)
        done: list[str] = []
        try:
            sentences = _sentences(lines)
            clip_s = _part(start, end)
            search = Search.of(visit.video, sentences, self._settings, clip_s)
            for i, (sentence, row) in enumerate(zip(sentences, search.rows, strict=True)):
                which = f"Sentence {i + 1} of {len(sentences)}"
                yield show.whole(*done, show.progress(2 * i, 2 * len(sentences), f"{which}: the model answers …"))
                try:
                    (grounded,) = Search(search.info, search.spec, [sentence], [row]).answers_from(self._engine)
                except EndpointError as error:
                    done.append(show.failed(sentence, _said(error, visit.name)))
                    break
                yield show.whole(*done, show.progress(2 * i + 1, 2 * len(sentences), f"{which}: its answer is drawn …"))
                done.append(_answer(visit, i + 1, grounded))
            yield show.whole(*done)
        except (StvgError, OSError) as error:
            yield show.whole(*done, show.error(_said(error, visit.name)))

    def _closed(self, request: gr.Request) -> None:
        """Delete the visit of a page that was closed."""
        self._forget(request.session_hash)

    def _forget(self, session: str) -> None:
        with self._lock:
            visit = self._visits.pop(session, None)
        if visit is not None:
            visit.delete()

    def _sweep(self) -> None:
        """Delete visits that are not used any more, and uploads that were never used."""
        with self._lock:
            old = [session for session, visit in self._visits.items() if visit.used_s < time.monotonic() - KEPT_S]
        for session in old:
            self._forget(session)
        for path in self._uploads.rglob("*"):
            with suppress(OSError):  # it may be gone by now
                if path.is_file() and path.stat().st_nlink == 1 and path.stat().st_mtime < time.time() - KEPT_S:
                    path.unlink()

    async def _file(self, token: str, name: str) -> Response:
        """A file of a visit. Whoever knows its folder's name may have it."""
        with self._lock:
            known = {visit.folder.name for visit in self._visits.values()}
        path = self._files / token / name
        if token not in known or Path(name).name != name or not path.is_file():
            return PlainTextResponse("not found", 404)
        guarded = {"Content-Security-Policy": "sandbox; default-src 'none'", "Cache-Control": "private, no-store"}
        return FileResponse(path, headers=guarded)


BROKEN = "The search failed. The terminal of swift-stvg app says why."


class _Guard:
    """Around Gradio: bounds the time of uploads, and lets the page load nothing from other servers."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"].endswith("/upload"):
            try:
                await asyncio.wait_for(self._app(scope, receive, send), UPLOAD_S)
            except asyncio.TimeoutError:  # an alias of TimeoutError from Python 3.11 on
                await PlainTextResponse(TOO_LONG, 408)(scope, receive, send)
        elif scope["path"].endswith("/upload_progress"):
            await self._app(scope, receive, _done_if_unknown(send))
        elif scope["path"] == "/":
            await self._without_others(scope, receive, send)
        else:
            await self._app(scope, receive, _with_headers(send))

    async def _without_others(self, scope: Any, receive: Any, send: Any) -> None:
        """The page itself, which is changed as a whole."""
        begun: dict[str, Any] = {}
        body = bytearray()
        send = _with_headers(send, (b"content-security-policy", _POLICY.encode()))

        async def change(message: Any) -> None:
            if message["type"] == "http.response.start":
                begun.update(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            page = _ELSEWHERE.sub(b"", bytes(body))
            headers = [pair for pair in begun["headers"] if pair[0].lower() != b"content-length"]
            headers.append((b"content-length", str(len(page)).encode()))
            await send(begun | {"headers": headers})
            await send({"type": "http.response.body", "body": page})

        await self._app(scope, receive, change)


def _done_if_unknown(send: Any) -> Any:
    """`send` that calls an unknown upload done: a small one ends before the page asks how far it is."""
    unknown = False

    async def changed(message: Any) -> None:
        nonlocal unknown
        if message["type"] == "http.response.start" and message["status"] == 404:
            unknown = True
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        elif unknown:
            await send({"type": "http.response.body", "body": b'data: {"msg": "done"}\n\n'})
        else:
            await send(message)

    return changed


def _with_headers(send: Any, *more: tuple[bytes, bytes]) -> Any:
    """`send` that adds headers to a response."""

    async def changed(message: Any) -> None:
        if message["type"] == "http.response.start":
            own = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"), *more]
            message = message | {"headers": [*message.get("headers", []), *own]}
        await send(message)

    return changed


def _sentences(lines: str) -> list[str]:
    """The sentences of a text, one a line.

    Raises:
        DataError: there is none, or there are too many.
    """
    sentences = [line.strip() for line in lines.splitlines() if line.strip()]
    if not sentences:
        raise DataError("There is no sentence: write what to look for, one sentence a line.")
    if len(sentences) > MOST_SENTENCES:
        raise DataError(f"These are {len(sentences)} sentences: give at most {MOST_SENTENCES} at once.")
    return sentences


def _part(start: str, end: str) -> tuple[float, float] | None:
    """The part of the video from two fields, in seconds; None for the whole video.

    Raises:
        DataError: a field holds something that is not a number.
    """
    if not start.strip() and not end.strip():
        return None
    try:
        clip_s = float(start.strip() or -MAX_VIDEO_S), float(end.strip() or MAX_VIDEO_S)
    except ValueError:
        raise DataError("The part of the video must be two numbers of seconds, such as 2.5, or empty.") from None
    return clip_s


def _said(error: Exception | str, name: str) -> str:
    """An error's message, in which the video has the name that the user knows and no path of this machine."""
    return _STORED.sub(lambda _: name, str(error))


def _answer(visit: Visit, number: int, grounded: Grounded) -> str:
    """Draw an answer, write its files, and show it.

    Raises:
        VideoError, OSError: it cannot be drawn or written.
    """
    record = grounded.record | {"id": visit.name, "videos": [visit.name]}  # no path of this machine
    record["detail"] = _said(record["detail"], visit.name)
    begin = f"{visit.asked}-{number}"
    still = is_picture(visit.video)
    files = {f"{begin}.json": json.dumps(record, ensure_ascii=False, indent=1) + "\n"}
    titles = {f"{begin}.json": "JSON"}
    if record["status"] != NO_ANSWER:
        files |= {f"{begin}.coco.json": to_coco([record]), f"{begin}.mot.txt": to_mot(record)}
        titles |= {f"{begin}.coco.json": "COCO", f"{begin}.mot.txt": "MOT"}
    for name, content in files.items():
        write_text_atomic(visit.folder / name, content)
    drawing = None
    if record["status"] != NO_ANSWER:
        drawing = f"{begin}.png" if still else f"{begin}.mp4"
        render(grounded.overlay, visit.video, visit.folder / drawing)
        titles = {drawing: "PNG" if still else "MP4"} | titles
    stem = Path(visit.name).stem
    links = [(title, visit.address(name), f"{stem}-{name}") for name, title in titles.items()]
    return show.answer(record, drawing and visit.address(drawing), still, links)
