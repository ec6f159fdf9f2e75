"""Video processors that keep the patches they made from a clip's frames.

ms-swift encodes a prompt twice for each completion of a GRPO step. Each time it cuts the same frames into the same
patches, which takes a tenth of a second for 20 s of video.
"""

from __future__ import annotations

from typing import Any

from swift_stvg.video.frame_loader import FrameLoader, key_of


class _Remembering:
    """A base class before a video processor's own class. Frames that come from no `FrameLoader` are not kept."""

    loader: FrameLoader  # an attribute of the class: attributes of a processor are saved with it

    def __call__(self, videos: Any, **kwargs: Any) -> Any:
        process: Any = super().__call__  # type: ignore[misc]
        keys = tuple(key_of(video) for video in videos) if isinstance(videos, list) else (None,)
        if None in keys:
            return process(videos, **kwargs)
        how = repr(sorted(kwargs.items()))
        me = repr(self.to_dict())  # type: ignore[attr-defined]
        return self.loader.memory.get((me, keys, how), lambda: process(videos, **kwargs))

    def __reduce__(self) -> Any:
        return _restore, (
            type(self).__mro__[2],
            vars(self),
        )  # as the original class, since the reader may not have this package


def _restore(kind: Any, state: dict[str, Any]) -> Any:
    processor = kind.__new__(kind)
    processor.__dict__.update(state)
    return processor


def remember(video_processor: Any, loader: FrameLoader) -> None:
    """Make a video processor keep the patches of the loader's frames, within the loader's limit of bytes.

    Its class keeps its name, because a saved processor is loaded by that name.
    """
    kind = type(video_processor)
    if issubclass(kind, _Remembering):
        kind = kind.__mro__[2]
    video_processor.__class__ = type(
        kind.__name__, (_Remembering, kind), {"__module__": kind.__module__, "loader": loader}
    )
