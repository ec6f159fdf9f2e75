"""Whether a model hub holds the same files as a local folder.

ms-swift ends with exit status 0 even if an upload failed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from swift_stvg.errors import DataError


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository on a model hub.

    Attributes:
        model_id: OWNER/NAME.
        on_hugging_face: whether the hub is Hugging Face; ModelScope otherwise.
        revision: a branch, tag or commit; the main branch if None.
        token: an access token; the one that the hub's client finds if None.
    """

    model_id: str
    on_hugging_face: bool = False
    revision: str | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found.

    Attributes:
        missing: names of local files that the hub does not have.
        differing: names of local files that have another content on the hub.
        size: bytes of the files that are the same.
    """

    missing: list[str]
    differing: list[str]
    size: int


@dataclass(frozen=True, slots=True)
class _RemoteFile:
    """A file on a hub: its bytes, and the SHA-256 and git's blob id of its content if the hub gives them."""

    size: int
    sha256: str | None
    blob: str | None


def compare(folder: Path, names: Sequence[str], repository: Repository) -> Comparison:
    """Compare files of a folder with the files of the same names on a hub, with a progress bar.

    Raises:
        DataError: the hub does not answer.
    """
    remote = (_list_hugging_face if repository.on_hugging_face else _list_modelscope)(repository)
    both = [name for name in names if name in remote]
    shown = tqdm(both, "files compared", unit="file", leave=False)
    differing = [name for name in shown if not _is_same(folder, name, remote[name], repository)]
    size = sum(remote[name].size for name in both if name not in differing)
    return Comparison([name for name in names if name not in remote], differing, size)


def _is_same(folder: Path, name: str, remote: _RemoteFile, repository: Repository) -> bool:
    path = folder / name
    if path.stat().st_size != remote.size:
        return False
    sha256, blob = _digests(path)
    if sha256 == remote.sha256 or blob == remote.blob:
        return True
    return _download_sha256(name, repository) == sha256  # the hub's digest may be that of a Git LFS pointer


def _digests(path: Path) -> tuple[str, str]:
    """The SHA-256 of a file, and git's blob id."""
    sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while part := file.read(1 << 22):
            sha256.update(part)
            blob.update(part)
    return sha256.hexdigest(), blob.hexdigest()


def _list_modelscope(repository: Repository) -> dict[str, _RemoteFile]:
    from modelscope import HubApi
    from modelscope_hub.errors import HubError

    try:
        api = HubApi(token=repository.token)
        found = api.list_repo_files(repository.model_id, "model", revision=repository.revision)
    except (HubError, OSError, ValueError) as error:
        raise DataError(f"ModelScope does not list the files of {repository.model_id}: {error}") from None
    return {file.path: _RemoteFile(file.size, file.sha256, None) for file in found if not file.is_dir}


def _list_hugging_face(repository: Repository) -> dict[str, _RemoteFile]:
    from httpx import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    try:
        api = HfApi(token=repository.token)
        found = list(api.list_repo_tree(repository.model_id, recursive=True, revision=repository.revision))
    except (HTTPError, OSError, ValueError) as error:
        raise DataError(f"Hugging Face does not list the files of {repository.model_id}: {error}") from None
    return {
        file.path: _RemoteFile(file.size, file.lfs.sha256 if file.lfs else None, file.blob_id)
        for file in found
        if isinstance(file, RepoFile)
    }


def _download_sha256(name: str, repository: Repository) -> str:
    """The SHA-256 of a file that is downloaded from the hub."""
    from httpx import HTTPError
    from modelscope_hub.errors import HubError

    model_id, revision = repository.model_id, repository.revision
    with TemporaryDirectory() as folder:
        try:
            if repository.on_hugging_face:
                from huggingface_hub import hf_hub_download

                path = hf_hub_download(model_id, name, revision=revision, token=repository.token, local_dir=folder)
            else:
                from modelscope import HubApi

                api = HubApi(token=repository.token)
                path = api.download_file(model_id, "model", name, revision=revision, local_dir=folder)
            return _digests(Path(path))[0]
        except (HubError, HTTPError, OSError, ValueError) as error:
            raise DataError(f"{name} of {model_id} cannot be downloaded: {error}") from None
