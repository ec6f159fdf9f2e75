"""`swift-stvg app`: a local page in the browser that asks a model or a server about videos."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from contextlib import suppress
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from swift_stvg import start
from swift_stvg.commands.ground import (
    SETTINGS_OF_MODEL,
    add_engine_options,
    check_engine_options,
    make_engine,
    model_settings,
)
from swift_stvg.errors import DataError
from swift_stvg.synthetic.clips import SynthConfig, generate

LOOPBACK = ("127.0.0.1", "localhost")
EXAMPLES = 3
MADE = SynthConfig(difficulty="easy", size_wh=(336, 336), duration_s=6.0, seed=5)
"""Settings of the example clips. They are of the kind that the start model was trained on."""


def add_options(app: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    app.usage = "swift-stvg app [--model M | --endpoint URL] [options]"
    add_engine_options(app)
    add = app.add_argument
    add("--host", default=LOOPBACK[0], help="address to listen at (default: %(default)s, this machine alone)")
    add("--port", type=int, help="port (default: the first free one from 7860 on)")
    add("--max-mb", type=int, default=200, metavar="N", help="largest upload in MiB (default: %(default)s)")
    app.epilog = (
        "Options that are not listed go to ms-swift, as for `swift infer`. "
        f"{SETTINGS_OF_MODEL} "
        "The page has no password: with another --host, everybody who reaches this machine can use it."
    )
    app.set_defaults(run=run, passes_on=True)


def run(args: argparse.Namespace) -> int:
    """Serve the page until it is interrupted."""
    if find_spec("gradio") is None:
        raise DataError("the page needs Gradio, which is not installed: pip install 'gradio>=5.50,<6'")
    if args.max_mb < 1:
        raise DataError(f"--max-mb must be at least 1, got {args.max_mb}")
    check_engine_options(args)
    engine = cache(partial(make_engine, args))
    settings = model_settings(args, engine)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that files are deleted
    with TemporaryDirectory(prefix="swift-stvg-app-") as folder:
        examples, files, uploads = (Path(folder, name) for name in ("examples", "visits", "uploads"))
        for path in (files, uploads):
            path.mkdir(mode=0o700)
        os.environ["GRADIO_TEMP_DIR"] = tempfile.tempdir = str(uploads)
        engine()  # a fault of the model or server is reported before Gradio is imported, which takes seconds
        from swift_stvg.serving.app import App

        app = App(engine(), settings, _examples(examples), files, uploads, _model_in_words(args))
        address = app.serve(args.host, args.port, args.max_mb, local=args.host in LOOPBACK)
        print(f"Open {address} in a browser. Ctrl-C ends the app and deletes all uploads.", flush=True)
        if args.host not in LOOPBACK:
            print("Everybody who reaches this machine can use the page: it has no password.", file=sys.stderr)
        with suppress(KeyboardInterrupt):
            app.wait()
    return 0


def _examples(folder: Path) -> list[tuple[Path, str]]:
    """Clips with a sentence about each."""
    generate(folder, {"clip": EXAMPLES}, MADE, workers=1)
    lines = map(json.loads, (folder / "clip.jsonl").read_text(encoding="utf-8").splitlines())
    return [(folder / line["video"], line["sentence"]) for line in lines]


def _model_in_words(args: argparse.Namespace) -> str:
    """A sentence for the page about the model or server that answers."""
    if args.endpoint:
        return f"The server {args.endpoint} answers."
    if Path(args.model) == start.folder():
        return "The small model of this package answers. It knows synthetic clips only."
    return f"The model {args.model} answers."
