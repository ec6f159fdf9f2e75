"""From a video file to the pixels that a model sees: memory, then cache on disk, then the file itself. Needs torch."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from swift_stvg.errors import DataError, SettingsError
from swift_stvg.settings import Settings
from swift_stvg.video.frame_cache import FrameCache
from swift_stvg.video.memory import Memory
from swift_stvg.video.reader import frame_batches
from swift_stvg.video.request import VideoRequest

KEY_ATTRIBUTE = "stvg_key"
"""Attribute of a loader's frames: which they are, and torch's count of changes to them."""
logger = logging.getLogger(__name__)


class FrameLoader:
    """Frames of rows, each clip decoded once while it is remembered.

    In GRPO, ms-swift asks for the frames of a prompt twice for each completion, from a pool of threads.

    Args:
        settings: where the cache on disk is, if anywhere, how much to remember, and what decodes.

    Raises:
        SettingsError: the cache on disk is no folder, or of another version.

    Attributes:
        memory: frames, and what a video processor made of them.
    """

    def __init__(self, settings: Settings) -> None:
        self.memory: Memory[Any] = Memory(0, size=nbytes, copy=_copy)
        self.cache: FrameCache | None = None
        self._damaged: set[Path] = set()
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Follow other settings from now on; what is remembered stays, unless it came from another place.

        Raises:
            SettingsError: the cache on disk is no folder, or of another version.
        """
        folder = Path(settings.frame_cache).expanduser() if settings.frame_cache else None
        if folder is not None and not folder.is_dir():
            raise SettingsError(
                f"STVG_FRAME_CACHE={settings.frame_cache}: no such folder; `swift-stvg cache` makes one"
            )
        cache = FrameCache(folder) if folder else None
        if folder != (self.cache.folder if self.cache else None):
            self.memory.clear()
        self.cache = cache
        self.memory.resize(settings.frame_memory * 2**20)
        self._decoder = settings.decoder

    def load(self, path: str, request: VideoRequest, name: str | None = None) -> torch.Tensor:
        """The requested frames as a uint8 tensor (T, 3, H, W) of the caller's own.

        Args:
            path: of the video.
            request: which frames.
            name: by which they are remembered, instead of the path.

        Raises:
            VideoError: the file is missing or cannot be decoded.
        """
        with torch.inference_mode(False):  # tensors made in it do not know whether they were changed
            return self._remembered(path, request, name)

    def _remembered(self, path: str, request: VideoRequest, name: str | None) -> torch.Tensor:
        key = (name or path, request.frames, request.size_wh)
        if get_worker_info() is not None:  # SFT: nobody asks for a clip again before the next epoch
            return self._load(path, request)
        frames: torch.Tensor = self.memory.get(key, lambda: self._load(path, request))
        mark(frames, key)
        return frames

    def _load(self, path: str, request: VideoRequest) -> torch.Tensor:
        if self.cache is not None:
            place = self.cache.path(Path(path), request.frames, request.size_wh)
            try:
                cached = self.cache.read(place, len(request.frames), request.size_wh)
            except DataError as error:
                if place not in self._damaged:
                    self._damaged.add(place)
                    logger.warning("%s; its video is decoded instead", error)
                cached = None
            if cached is not None:
                return torch.from_numpy(cached).permute(0, 3, 1, 2).contiguous()
        return decode(path, request, self._decoder)


def mark(frames: torch.Tensor, key: Hashable) -> None:
    """Say what frames a tensor not made in inference mode, where torch counts no changes, holds; for `key_of`."""
    setattr(frames, KEY_ATTRIBUTE, (key, frames._version))


def key_of(frames: Any) -> Any:
    """What frames a loader's tensor holds; None if it is not one, or was changed since."""
    key, version = getattr(frames, KEY_ATTRIBUTE, (None, None))
    return key if key is not None and frames._version == version else None


def nbytes(thing: torch.Tensor | Mapping[str, Any]) -> int:
    """Bytes of frames, or of what a processor made of them."""
    values = [thing] if isinstance(thing, torch.Tensor) else thing.values()
    return sum(value.nbytes for value in values if isinstance(value, torch.Tensor))


def _copy(thing: Any) -> Any:
    """A copy that shares no memory."""
    if isinstance(thing, torch.Tensor):
        return thing.clone()
    return type(thing)({k: v.clone() if isinstance(v, torch.Tensor) else deepcopy(v) for k, v in thing.items()})


def decode(path: str, request: VideoRequest, decoder: str = "pyav") -> torch.Tensor:
    """The requested frames of the file itself (T, 3, H, W), resized as qwen-vl-utils does (bicubic, antialiased).

    `decoder` is one of `settings.DECODERS`.

    Raises:
        VideoError: the file is missing or cannot be decoded.
    """
    width, height = request.size_wh
    batches = [  # so that few frames are in memory at their full size
        transforms.resize(
            torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous(),
            [height, width],
            InterpolationMode.BICUBIC,
            antialias=True,
        )
        for batch in frame_batches(Path(path), np.array(request.frames, dtype=np.int64), decoder)
    ]
    return torch.cat(batches)
