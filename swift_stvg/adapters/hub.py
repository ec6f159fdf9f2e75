"""Make `swift export --push_to_hub true` work with current clients of the hubs, and with existing repositories.

ms-swift 4.5 and 4.6 pass the visibility of a new repository to ModelScope's client by position, and expect an HTTPError
if the repository exists. The client (1.40) takes the visibility by name only and raises its own errors, so every push
fails. With Hugging Face's client, every push after the first one fails. This module runs ms-swift's own code first, so
a version of ms-swift that works behaves as before.
"""

from __future__ import annotations

import inspect
from functools import wraps
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from swift.hub.hub import HFHub, MSHub
from swift.utils import get_logger

from swift_stvg.adapters.versions import of_ms_swift
from swift_stvg.sharing.checkpoint import missing_for_users

_ON_MODELSCOPE = of_ms_swift(MSHub, "create_model_repo").__func__
_ON_HUGGING_FACE = of_ms_swift(HFHub, "create_model_repo").__func__


def _create_on_modelscope(cls: Any, *args: Any, **kwargs: Any) -> Any:
    from modelscope import HubApi

    create = HubApi.create_model
    if "visibility" in inspect.signature(create).parameters:  # a client that takes the visibility by position
        return _ON_MODELSCOPE(cls, *args, **kwargs)

    @wraps(create)
    def by_name(self: Any, model_id: str, visibility: Any = None, **more: Any) -> Any:
        return create(self, model_id, visibility=visibility, **({"exist_ok": True} | more))

    HubApi.create_model = by_name
    try:
        return _ON_MODELSCOPE(cls, *args, **kwargs)
    finally:
        HubApi.create_model = create


def _create_on_hugging_face(cls: Any, repo_id: str, token: str | None = None, private: bool = False) -> Any:
    try:
        return _ON_HUGGING_FACE(cls, repo_id, token, private)
    except HfHubHTTPError:  # the repository exists; after another error the next call fails too
        return HfApi().create_repo(repo_id, token=token, private=private, exist_ok=True)


def _with_warning(push: Any) -> Any:
    """A hub's `push_to_hub` that first warns if the folder lacks files that users without this package need."""

    @wraps(push)
    def push_to_hub(cls: Any, repo_id: str, folder_path: Any, *args: Any, **kwargs: Any) -> Any:
        if (said := missing_for_users(Path(folder_path))) is not None:
            get_logger().warning(said)
        return push(cls, repo_id, folder_path, *args, **kwargs)

    return classmethod(push_to_hub)


_PUSHES = {hub: of_ms_swift(hub, "push_to_hub").__func__ for hub in (HFHub, MSHub)}


def register() -> None:
    """Make pushing work; may be called again."""
    for hub, push in _PUSHES.items():
        hub.push_to_hub = _with_warning(push)
    HFHub.create_model_repo = classmethod(_create_on_hugging_face)
    MSHub.create_model_repo = classmethod(_create_on_modelscope)
