"""Frames of rows as tensors, from memory, from the cache on disk, or from the video file. Needs torch."""

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
from swift_stvg.video.marks import draw_marks
from swift_stvg.video.memory import Memory
from swift_stvg.video.reader import frame_batches
from swift_stvg.video.request import VideoRequest

KEY_ATTRIBUTE = "stvg_key"
"""Attribute of tensors of a loader: the key of their frames, and torch's count of changes to the tensor."""
logger = logging.getLogger(__name__)


class FrameLoader:
    """Loads the frames of rows, and keeps them in memory so that a clip is decoded once.

    In GRPO, ms-swift asks for the frames of a prompt twice for each completion, from a pool of threads.

    Args:
        settings: the folder of the cache on disk, the size of the memory, and the decoder.

    Raises:
        SettingsError: the cache on disk is not a folder, or has another version.

    Attributes:
        memory: frames, and the outputs of video processors for them.
    """

    def __init__(self, settings: Settings) -> None:
        self.memory: Memory[Any] = Memory(0, size=nbytes, copy=_copy)
        self.cache: FrameCache | None = None
        self._damaged: set[Path] = set()
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Use other settings from now on. The memory is kept, unless the cache on disk changes.

        Raises:
            SettingsError: the cache on disk is not a folder, or has another version.
        """
        folder = Path(settings.frame_cache).expanduser() if settings.frame_cache else None
        if folder is not None and not folder.is_dir():
            raise SettingsError(
                f"STVG_FRAME_CACHE={settings.frame_cache}: the folder does not exist; `swift-stvg cache` makes it"
            )
        cache = FrameCache(folder) if folder else None
        if folder != (self.cache.folder if self.cache else None):
            self.memory.clear()
        self.cache = cache
        self.memory.resize(settings.frame_memory * 2**20)
        self._decoder = settings.decoder

    def load(self, path: str, request: VideoRequest, name: str | None = None) -> torch.Tensor:
        """The requested frames as a uint8 tensor (T, 3, H, W) that the caller may change.

        Args:
            path: the video's path.
            request: the frames.
            name: key of the frames in memory, instead of the path.

        Raises:
            VideoError: the file is missing or cannot be decoded.
        """
        with torch.inference_mode(False):  # tensors of inference mode do not count changes
            return self._remembered(path, request, name)

    def _remembered(self, path: str, request: VideoRequest, name: str | None) -> torch.Tensor:
        key = (name or path, request.frames, request.size_wh, request.marks, request.outlines)
        if get_worker_info() is not None:  # a worker of SFT needs a clip only once in an epoch
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
                    logger.warning("%s; the video is decoded instead", error)
                cached = None
            if cached is not None:
                return _marked(torch.from_numpy(cached).permute(0, 3, 1, 2).contiguous(), request)
        return decode(path, request, self._decoder)


def mark(frames: torch.Tensor, key: Hashable) -> None:
    """Store the key of the frames on their tensor, for `key_of`. The tensor must not be made in inference mode."""
    setattr(frames, KEY_ATTRIBUTE, (key, frames._version))


def key_of(frames: Any) -> Any:
    """The key of the frames in a loader's tensor; None for another tensor, or for a tensor that was changed."""
    key, version = getattr(frames, KEY_ATTRIBUTE, (None, None))
    return key if key is not None and frames._version == version else None


def nbytes(thing: torch.Tensor | Mapping[str, Any]) -> int:
    """Size in bytes of frames, or of the output of a processor."""
    values = [thing] if isinstance(thing, torch.Tensor) else thing.values()
    return sum(value.nbytes for value in values if isinstance(value, torch.Tensor))


def _copy(thing: Any) -> Any:
    """A copy that shares no memory."""
    if isinstance(thing, torch.Tensor):
        return thing.clone()
    return type(thing)({k: v.clone() if isinstance(v, torch.Tensor) else deepcopy(v) for k, v in thing.items()})


def decode(path: str, request: VideoRequest, decoder: str = "pyav") -> torch.Tensor:
    """Decode the requested frames of a file (T, 3, H, W), resized as in qwen-vl-utils (bicubic, antialiased).

    The marks of the request are drawn onto them.

    `decoder` is one of `settings.DECODERS`.

    Raises:
        VideoError: the file is missing or cannot be decoded.
    """
    width, height = request.size_wh
    batches = [  # batches keep few frames in memory at their full size
        transforms.resize(
            torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous(),
            [height, width],
            InterpolationMode.BICUBIC,
            antialias=True,
        )
        for batch in frame_batches(Path(path), np.array(request.frames, dtype=np.int64), decoder)
    ]
    return _marked(torch.cat(batches), request)


def _marked(frames: torch.Tensor, request: VideoRequest) -> torch.Tensor:
    if not request.marks:
        return frames
    drawn = draw_marks(frames.permute(0, 2, 3, 1).numpy(), request.marks, request.outlines)
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous()
