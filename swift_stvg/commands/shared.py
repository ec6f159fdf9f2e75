"""Options and functions that several subcommands share."""

from __future__ import annotations

import argparse
import inspect
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from swift_stvg.errors import DataError
from swift_stvg.report.text.blocks import REPORT_FORMATS
from swift_stvg.rewards.functions import check_rewards
from swift_stvg.util.writing import write_text_atomic


def add_delivery(parser: argparse.ArgumentParser) -> None:
    """Add --format and --out of a report."""
    parser.add_argument(
        "--format", choices=REPORT_FORMATS, default="table", help="format of the report (default: table)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the report to this file instead of printing it")


def deliver(text: str, out: Path | None) -> None:
    """Write a report to a file, or print it.

    Raises:
        DataError: the file cannot be written.
    """
    if out:
        write_text_atomic(out, text)
    else:
        print(text, end="")


def check_writable(*paths: Path | None) -> None:
    """Refuse output files whose folder is missing, or that are folders.

    Raises:
        DataError: a file cannot be written.
    """
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise DataError(f"{path} cannot be written: there is no folder {path.absolute().parent}")
        if path is not None and path.is_dir():
            raise DataError(f"{path} cannot be written: it is a folder")


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add --reward_funcs and --reward_weights."""
    parser.add_argument(
        "--reward_funcs", nargs="+", metavar="NAME", help="rewards of the total (default: the paper's five)"
    )
    parser.add_argument(
        "--reward_weights", nargs="+", type=float, metavar="W", help="a weight for each of --reward_funcs (default: 1)"
    )


def read_weights(args: argparse.Namespace) -> dict[str, float] | None:
    """The weight of each reward from the options; None for the default rewards.

    Raises:
        DataError: a reward is unknown, or the numbers of names and weights differ.
    """
    names, weights = args.reward_funcs, args.reward_weights
    if names is None and weights is None:
        return None
    if names is None or (weights is not None and len(names) != len(weights)):
        raise DataError("--reward_weights needs one number for each of --reward_funcs")
    if len(set(names)) < len(names) or not all(math.isfinite(weight) for weight in weights or ()):
        raise DataError("give each name of --reward_funcs once, and finite numbers for --reward_weights")
    check_rewards(names)
    return dict(zip(names, weights or [1.0] * len(names), strict=True))


def names_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """A function that reads an option's value A,B, a list of known names."""

    def read(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}; known are {', '.join(known)}")
        return list(dict.fromkeys(names))

    return read


def add_config(parser: argparse.ArgumentParser, config: type[Any], *names: str) -> None:
    """Add an option for each named field of a configuration class, with its description and default."""
    defaults, descriptions = config(), _descriptions(config)
    for name in names:
        default = getattr(defaults, name)
        values = default if isinstance(default, tuple) else (default,)
        kind = type(values[0])
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=kind,
            nargs=len(values) if isinstance(default, tuple) else None,
            default=default,
            metavar={int: "N", float: "X", str: "NAME"}[kind],
            help=f"{descriptions.get(name, name)} (default: {' '.join(map(str, values))})",
        )


def _descriptions(config: type[Any]) -> dict[str, str]:
    """The description of each field under `Attributes:` in the docstring of a class."""
    attributes = (inspect.getdoc(config) or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n      .*)*)", attributes, re.MULTILINE)
    return {name: " ".join(words.split()).removesuffix(".").replace("%", "%%") for name, words in found}


def read_config(config: type[Any], args: argparse.Namespace) -> Any:
    """The configuration from the options of `add_config`."""
    given = {f.name: getattr(args, f.name) for f in fields(config) if hasattr(args, f.name)}
    return config(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})
