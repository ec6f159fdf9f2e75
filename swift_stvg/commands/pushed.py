"""`swift-stvg pushed`: check that a model hub holds the same files as a local folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from swift_stvg.errors import DataError
from swift_stvg.sharing.checkpoint import files_of, missing_for_users
from swift_stvg.sharing.verification import Repository, compare

MOST_NAMES = 10
"""At most this many names of files are printed."""


def add_options(pushed: argparse.ArgumentParser) -> None:
    """Add the command's options. `swift export` has options of the same names."""
    add = pushed.add_argument
    add("folder", type=Path, help="the folder that was pushed: a checkpoint, or the output of `swift export`")
    add("--hub_model_id", required=True, metavar="OWNER/NAME", help="the model on the hub")
    add(
        "--use_hf",
        nargs="?",
        type=_flag,
        const=True,
        default=False,
        metavar="true",
        help="the hub is Hugging Face (default: ModelScope)",
    )
    add("--hub_token", help="access token (default: the token that the hub's client finds)")
    add("--revision", help="branch, tag or commit (default: the main branch)")
    pushed.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare, and print the result. The exit status is 1 if the hub lacks a file or holds another one."""
    if not args.folder.is_dir():
        raise DataError(f"there is no folder {args.folder}")
    names = list(files_of(args.folder))
    if not names:
        raise DataError(f"the folder {args.folder} holds no file")
    found = compare(args.folder, names, Repository(args.hub_model_id, args.use_hf, args.revision, args.hub_token))
    for title, listed in (("missing on the hub", found.missing), ("another file on the hub", found.differing)):
        for name in listed[:MOST_NAMES]:
            print(f"{title}: {name}", file=sys.stderr)
        if len(listed) > MOST_NAMES:
            print(f"{title}: {len(listed) - MOST_NAMES} more", file=sys.stderr)
    if found.missing or found.differing:
        raise DataError(
            f"{args.hub_model_id} lacks {len(found.missing)} of {len(names)} files of {args.folder}, and "
            f"{len(found.differing)} differ: push again. For ModelScope, first delete .ms_upload_cache in that folder: "
            "its client does not push files that are listed there"
        )
    print(f"{args.hub_model_id} holds all {len(names)} files of {args.folder}, {found.size:,} bytes")
    if (said := missing_for_users(args.folder)) is not None:
        print(said, file=sys.stderr)
    return 0


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} must be true or false")
    return text.lower() == "true"
