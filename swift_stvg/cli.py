"""`swift-stvg`: the command line."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from swift_stvg import __version__
from swift_stvg.errors import StvgError

COMMANDS = {
    "prepare": {
        "check": "check a dataset, a model and the rewards before a training",
        "cache": "keep the sampled and resized frames of a dataset on disk",
        "synth": "make a synthetic dataset of moving shapes",
        "tiny": "make a small random model, for trials without weights",
        "start": "print the folder of the small trained model that comes with this package",
        "settings": "list the STVG_* settings and their values in this environment",
    },
    "train": {
        "recipe": "check a recipe against the rules of ms-swift, and estimate its GPU memory and time",
        "headroom": "estimate from sampled answers how much GRPO can improve a model",
        "select": "choose sampled answers by their rewards, and write them as rows for SFT, DPO or KTO",
        "plugin": "print the plugin's path, for an ms-swift that rejects --external_plugins swift_stvg",
    },
    "score and look": {
        "score": "score predictions with the protocols of published tables",
        "show": "make a web page of predictions or of a dataset",
    },
    "use": {
        "ground": "find when and where a sentence happens in a video",
        "app": "ask a model about videos, on a local page in the browser",
    },
    "share": {
        "card": "write a model card, and make a checkpoint load without this package",
        "pushed": "check that a model hub holds the same files as a local folder",
    },
    "measure": {"bench": "measure speed and memory on this machine, compared with baselines"},
}
"""Subcommands and their meanings, grouped by the user's task. Each subcommand has a module in `commands`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand. Returns the exit status: 0, or 1 after an error message of one line."""
    words = sys.argv[1:] if argv is None else list(argv)
    parser = _parser(words[:1])
    args, further = parser.parse_known_args(words)
    if further and not hasattr(args, "passes_on"):
        parser.error(f"unrecognized arguments: {' '.join(further)}")
    args.further = further
    run: Callable[[argparse.Namespace], int] = args.run
    for stream in (sys.stdout, sys.stderr):  # text of data and models may have characters that a terminal cannot print
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return run(args)
    except (StvgError, OSError) as error:
        print(f"swift-stvg: error: {error}", file=sys.stderr)
        return 1


def _parser(wanted: list[str]) -> argparse.ArgumentParser:
    """Make the parser. Only the wanted command gets its options, because adding them imports the command's module."""
    blocks = [
        "\n".join([f"{title}:", *(f"  {name:<10}{meaning}" for name, meaning in commands.items())])
        for title, commands in COMMANDS.items()
    ]
    parser = argparse.ArgumentParser(
        prog="swift-stvg",
        usage="%(prog)s COMMAND [options]",
        description="Spatio-temporal video grounding for ms-swift. `swift-stvg COMMAND --help` lists its options.",
        epilog="\n\n".join(blocks),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"swift-stvg {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", help=argparse.SUPPRESS, prog="swift-stvg")
    for commands in COMMANDS.values():
        for name, meaning in commands.items():
            command = subparsers.add_parser(name, description=f"{meaning[0].upper()}{meaning[1:]}.", allow_abbrev=False)
            if name in wanted:
                import_module(f"swift_stvg.commands.{name}").add_options(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
