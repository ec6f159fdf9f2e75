"""`swift-stvg pushed`: whether a hub holds a folder as it is here. ms-swift ends with 0 after an upload that failed."""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from swift_stvg.errors import DataError
from swift_stvg.sharing.checkpoint import files_of, lacking

SHOWN = 10


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on a hub.

    Attributes:
        size: bytes.
        sha256: of its content, where the hub says it.
        blob: what git calls it, where the hub says it.
    """

    size: int
    sha256: str | None
    blob: str | None


def add_options(pushed: argparse.ArgumentParser) -> None:
    """Add what the command takes; names are those of `swift export`."""
    add = pushed.add_argument
    add("folder", type=Path, help="what was pushed: a checkpoint, or what `swift export` made of it")
    add("--hub_model_id", required=True, metavar="OWNER/NAME")
    add("--use_hf", nargs="?", type=_flag, const=True, default=False, metavar="true", help="on Hugging Face")
    add("--hub_token", help="default: what the hub's client finds")
    add("--revision", help="default: the main branch")
    pushed.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare; the exit status is 1 if a file is missing on the hub or is another one there."""
    if not args.folder.is_dir():
        raise DataError(f"no folder {args.folder}")
    names = list(files_of(args.folder))
    if not names:
        raise DataError(f"{args.folder} holds no file")
    remote = (_on_hugging_face if args.use_hf else _on_modelscope)(args.hub_model_id, args.revision, args.hub_token)
    missing = [name for name in names if name not in remote]
    there = tqdm([name for name in names if name in remote], "files compared", unit="file", leave=False)
    differing = [name for name in there if not _is_same(args.folder / name, remote[name], args, name)]
    for title, found in (("not there", missing), ("another file there", differing)):
        for name in found[:SHOWN]:
            print(f"{title}: {name}", file=sys.stderr)
        if len(found) > SHOWN:
            print(f"{title}: {len(found) - SHOWN} more", file=sys.stderr)
    if missing or differing:
        raise DataError(
            f"{args.hub_model_id} lacks {len(missing)} of {len(names)} files of {args.folder}, and {len(differing)} "
            "differ: push again, for ModelScope after deleting .ms_upload_cache in that folder, by which its client "
            "takes files for pushed"
        )
    size = sum(remote[name].size for name in names)
    print(f"{args.hub_model_id} holds all {len(names)} files of {args.folder}, {size:,} bytes")
    if (said := lacking(args.folder)) is not None:
        print(said, file=sys.stderr)
    return 0


def _is_same(path: Path, remote: Remote, args: argparse.Namespace, name: str) -> bool:
    if path.stat().st_size != remote.size:
        return False
    sha256, blob = _digests(path)
    if sha256 == remote.sha256 or blob == remote.blob:
        return True
    return _fetched_sha256(args, name) == sha256  # a digest of a pointer says nothing of the content


def _digests(path: Path) -> tuple[str, str]:
    """SHA-256 of a file, and what git calls it."""
    sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while part := file.read(1 << 22):
            sha256.update(part)
            blob.update(part)
    return sha256.hexdigest(), blob.hexdigest()


def _on_modelscope(model_id: str, revision: str | None, token: str | None) -> dict[str, Remote]:
    from modelscope import HubApi
    from modelscope_hub.errors import HubError

    try:
        api = HubApi(token=token)
        found = api.list_repo_files(model_id, "model", revision=revision)
    except (HubError, OSError, ValueError) as error:
        raise DataError(f"ModelScope does not show the files of {model_id}: {error}") from None
    return {file.path: Remote(file.size, file.sha256, None) for file in found if not file.is_dir}


def _on_hugging_face(model_id: str, revision: str | None, token: str | None) -> dict[str, Remote]:
    from httpx import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    try:
        found = list(HfApi(token=token).list_repo_tree(model_id, recursive=True, revision=revision))
    except (HTTPError, OSError, ValueError) as error:
        raise DataError(f"Hugging Face does not show the files of {model_id}: {error}") from None
    return {
        file.path: Remote(file.size, file.lfs.sha256 if file.lfs else None, file.blob_id)
        for file in found
        if isinstance(file, RepoFile)
    }


def _fetched_sha256(args: argparse.Namespace, name: str) -> str:
    """Digest of a file as the hub gives it."""
    from httpx import HTTPError
    from modelscope_hub.errors import HubError

    with TemporaryDirectory() as folder:
        try:
            if args.use_hf:
                from huggingface_hub import hf_hub_download

                fetched = hf_hub_download(
                    args.hub_model_id, name, revision=args.revision, token=args.hub_token, local_dir=folder
                )
            else:
                from modelscope import HubApi

                fetched = HubApi(token=args.hub_token).download_file(
                    args.hub_model_id, "model", name, revision=args.revision, local_dir=folder
                )
            return _digests(Path(fetched))[0]
        except (HubError, HTTPError, OSError, ValueError) as error:
            raise DataError(f"{name} of {args.hub_model_id} cannot be fetched: {error}") from None


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} must be true or false")
    return text.lower() == "true"
