"""Numbers drawn onto frames: legible on any background, beside each other, the same from every path to the frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from swift_stvg.commands.cache import write_all
from swift_stvg.settings import Settings
from swift_stvg.video.frame_cache import FrameCache
from swift_stvg.video.frame_loader import FrameLoader, decode
from swift_stvg.video.marks import RED, Mark, draw_marks
from swift_stvg.video.request import VideoRequest
from tests.videos import write_video

SIZE = (336, 192)


def plain(colour: tuple[int, int, int], size: tuple[int, int] = SIZE) -> npt.NDArray[np.uint8]:
    return np.full((1, size[1], size[0], 3), colour, dtype=np.uint8)


def changed(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    difference: npt.NDArray[np.bool_] = (before != after).any(axis=-1)
    return difference


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), RED, (128, 128, 128)])
def test_a_number_stands_out_at_the_centre_of_its_box(colour: tuple[int, int, int]) -> None:
    frames = plain(colour)
    drawn = draw_marks(frames, [(0, 3, 100, 40, 140, 100)], outlines=False)
    (rows, columns) = np.nonzero(changed(frames, drawn)[0])
    assert abs((rows.min() + rows.max()) / 2 - 70) <= 3
    assert abs((columns.min() + columns.max()) / 2 - 120) <= 3
    assert 12 <= rows.max() - rows.min() <= 22, "letters of 20 pixels, as STVG-R1's"
    inside = drawn[0, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].reshape(-1, 3)
    for needed in (RED, (255, 255, 255)):  # one of both differs from any background
        assert (inside == needed).all(axis=1).sum() > 15


def test_different_numbers_look_different_even_on_small_frames() -> None:
    frames = plain((128, 128, 128), (56, 56))
    pictures = {draw_marks(frames, [(0, n, 10, 10, 46, 46)], False).tobytes() for n in range(1, 31)}
    assert len(pictures) == 30


def test_numbers_do_not_cover_each_other() -> None:
    frames, box = plain((0, 0, 0)), (150, 90, 190, 110)
    alone = {n: draw_marks(frames, [(0, n, *box)], False) for n in (1, 2, 3)}
    red = (draw_marks(frames, [(0, n, *box) for n in (1, 2, 3)], False)[0] == RED).all(axis=-1).sum()
    assert red == sum((picture[0] == RED).all(axis=-1).sum() for picture in alone.values())


@pytest.mark.parametrize("box", [(-5, -5, 3, 3), (330, 185, 336, 192), (0, 0, 336, 192)])
def test_a_number_is_wholly_inside_the_frame(box: tuple[int, int, int, int]) -> None:
    frames = plain((0, 0, 0))
    middle = (draw_marks(frames, [(0, 8, 150, 80, 190, 110)], False)[0] == RED).all(axis=-1).sum()
    assert (draw_marks(frames, [(0, 8, *box)], False)[0] == RED).all(axis=-1).sum() == middle


def test_outlines_are_drawn_only_where_asked_and_the_input_is_kept() -> None:
    frames = np.repeat(plain((0, 0, 0)), 2, axis=0)
    drawn = draw_marks(frames, [(1, 4, 20, 30, 220, 160)], outlines=True)
    assert not frames.any()
    assert not drawn[0].any(), "this frame has no mark"
    for y, x in ((30, 100), (160, 100), (90, 20), (90, 220)):
        assert tuple(drawn[1, y, x]) == RED
    assert tuple(draw_marks(frames, [(1, 4, 20, 30, 220, 160)], outlines=False)[1, 30, 100]) == (0, 0, 0)


MARKS: tuple[Mark, ...] = ((0, 1, 10, 10, 40, 40), (2, 1, 12, 10, 42, 40), (2, 2, 60, 20, 90, 50))


def request(marks: tuple[Mark, ...] = MARKS, outlines: bool = False) -> VideoRequest:
    return VideoRequest((0, 5, 10), (112, 56), 2.0, "pixel", (0.0, 0.5, 1.0), marks=marks, outlines=outlines)


def test_every_path_to_the_frames_draws_the_same_marks(tmp_path: Path) -> None:
    video = str(write_video(tmp_path / "a.mp4", np.arange(20) / 10, size_wh=(112, 56)))
    bare = decode(video, request(())).permute(0, 2, 3, 1).numpy()
    expected = torch.from_numpy(draw_marks(bare, MARKS, False)).permute(0, 3, 1, 2)
    assert not np.array_equal(bare, expected.permute(0, 2, 3, 1).numpy())
    assert torch.equal(decode(video, request()), expected)

    cache = FrameCache(tmp_path / "cache")
    cache.folder.mkdir()
    results, _ = write_all([(video, request())], cache, workers=1)
    assert results == ["written"]
    loader = FrameLoader(Settings(frame_cache=str(cache.folder)))
    cached = {
        name: loader.load(video, wanted)
        for name, wanted in (("bare", request(())), ("marked", request()), ("outlined", request(outlines=True)))
    }
    assert torch.equal(cached["marked"], loader.load(video, request()))
    shift = draw_marks(cached["bare"].permute(0, 2, 3, 1).numpy(), MARKS, False)
    assert np.array_equal(cached["marked"].permute(0, 2, 3, 1).numpy(), shift), "the cache holds frames without marks"
    assert not torch.equal(cached["marked"], cached["outlined"])


def test_a_request_keeps_its_marks_in_json() -> None:
    wanted = request(outlines=True)
    assert VideoRequest.from_json(wanted.to_json()) == wanted
    assert "marks" not in request(()).to_json()
