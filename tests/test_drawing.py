"""Drawings, checked pixel by pixel, and the files of drawings."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from swift_stvg.errors import DataError, VideoError
from swift_stvg.report.drawing import (
    DRAWING_FORMATS,
    PENS,
    Overlay,
    Painter,
    contact_sheet,
    play,
    render,
    shown_size,
    still,
)
from swift_stvg.report.drawing.painting import NARROWEST
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.rows.tracks import Track
from swift_stvg.settings import Settings
from swift_stvg.sources import load_rows
from swift_stvg.video.reader import read_frames, stream_frames
from tests.helpers import answer, boxes, row_truth
from tests.videos import write_video

GRAY = np.full((100, 100, 3), 128, np.uint8)
THINK, PRED = "10, 10, 50, 50", "30, 30, 70, 70"


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 s at 10 frames per second, as `row_truth` says."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", np.arange(50) / 10.0)


def overlay(text: str | None = None, row: RowTruth | None = None, sentence: str = "the man waves.") -> Overlay:
    return Overlay.of(row or row_truth(), sentence, text, {"tIoU": 0.5, "vIoU": 0.25})


def full(span: str = "3 - 6", first: int = 3, last: int = 6) -> str:
    return answer(span, boxes(first, last, THINK), boxes(first, last, PRED))


def has(picture: Image.Image, kind: str, box: tuple[int, int, int, int] | None = None) -> int:
    """How many pixels of the frame, or of a part of it, are of a kind's colour."""
    part = np.asarray(picture.crop(box or (0, 0, picture.width, 400))).astype(int)
    return int((np.abs(part - np.array(PENS[kind].colour)).max(axis=2) < 8).sum())


TIMES = [
    # seconds, kinds that are drawn there, reason
    (0.0, "", "before either span"),
    (0.7, "", "nearer to index 1 than to 2, where the event begins"),
    (0.8, "truth", "nearer to index 2"),
    (1.3, "truth think pred", "nearer to index 3"),
    (2.0, "truth think pred", "amid both"),
    (2.8, "think pred", "the event ends after index 5"),
    (3.3, "", "behind both"),
]


@pytest.mark.parametrize(("time_s", "kinds", "reason"), TIMES)
def test_boxes_are_drawn_within_their_spans(time_s: float, kinds: str, reason: str) -> None:
    picture = Painter(overlay(full()), (100, 100)).paint(GRAY, time_s)
    assert [kind for kind in PENS if has(picture, kind)] == kinds.split(), reason


def test_a_box_is_where_it_is_said_to_be() -> None:
    picture = Painter(overlay(), (100, 100)).paint(GRAY, 1.0)  # drawn at 400 x 400: 20, 20, 60, 60 times 4
    assert picture.size[0] == 400
    green = np.abs(np.asarray(picture)[:400].astype(int) - np.array(PENS["truth"].colour)).max(axis=2) < 8
    rows, columns = np.flatnonzero(green.any(axis=1)), np.flatnonzero(green.any(axis=0))
    assert [columns[0], rows[0], columns[-1], rows[-1]] == pytest.approx([80, 80, 240, 240], abs=3)
    assert not green[100:220, 100:220].any(), "only its border"


def test_what_was_given_is_thick_and_what_lies_between_thin() -> None:
    painter = Painter(overlay(), (100, 100))
    on, between = (has(painter.paint(GRAY, time_s), "truth") for time_s in (1.5, 1.75))
    assert on > 1.6 * between > 0


def test_boxes_between_are_interpolated() -> None:
    moving = replace(
        row_truth(), boxes_xyxy=np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]], float)
    )
    track = Overlay.of(moving, "s").tracks[0]
    found = track.at(1.25, 0.01)
    assert found is not None
    assert found[0] == pytest.approx([0.1, 0, 0.2, 0.1])
    assert not found[1]
    assert track.at(1.24, 0.25) is not None, "near enough to 1.0"
    assert track.at(1.24, 0.25)[1]  # type: ignore[index]
    assert track.at(1.1, 0.25)[0] == pytest.approx([0.04, 0, 0.14, 0.1]), "it moves while it is thick"  # type: ignore[index]
    ends = [track.at(time_s, 0.01) for time_s in (0.8, 2.7)]
    assert [end[0][0] for end in ends if end] == [0.0, 0.6], "the nearest box beyond the first and the last"


@pytest.mark.parametrize(
    ("text", "row", "kinds", "reason"),
    [
        (None, row_truth(gaps=(4,)), [], "nothing is invented where the annotation has a gap"),
        (answer("2 - 5", boxes(2, 5, "50, 50, 10, 10"), boxes(2, 5, PRED)), row_truth(), ["truth", "pred"], "inverted"),
        (answer("2 - 5", boxes(2, 3, THINK), boxes(2, 5, PRED)), row_truth(), ["truth", "pred"], "no think box at 4"),
        (answer("5 - 2", boxes(2, 5), boxes(2, 5)), row_truth(), ["truth"], "a span that runs backwards"),
        (answer("90 - 99", boxes(90, 99), boxes(90, 99)), row_truth(), ["truth"], "a span after the clip"),
        (
            answer("2 - 9999999", boxes(2, 5, THINK), boxes(2, 5, PRED)),
            row_truth(),
            ["truth", "think", "pred"],
            "too long",
        ),
        ("<script>alert(1)</script>", row_truth(), ["truth"], "no answer"),
        ("", row_truth(), ["truth"], "nothing"),
    ],
)
def test_what_can_be_read_is_drawn(text: str | None, row: RowTruth, kinds: list[str], reason: str) -> None:
    picture = Painter(overlay(text, row), (100, 100)).paint(GRAY, 2.0)
    assert [kind for kind in PENS if has(picture, kind)] == kinds, reason


SIZES = [
    ((56, 56), (392, 392), "enlarged by a whole factor"),
    ((1920, 1080), (560, 316), "shrunk, with even sides"),
    ((1080, 1920), (316, 560), "portrait"),
    ((336, 196), (560, 328), "enlarged, but not beyond the longest side"),
    ((480, 360), (480, 360), "left as it is"),
    ((4000, 10), (560, 2), "never without a side"),
    ((1, 1), (360, 360), "a single pixel"),
]


@pytest.mark.parametrize(("size", "shown", "reason"), SIZES)
def test_sizes(size: tuple[int, int], shown: tuple[int, int], reason: str) -> None:
    assert shown_size(size) == shown, reason
    picture = Painter(overlay(full()), size).paint(np.zeros((size[1], size[0], 3), np.uint8), 2.0)
    assert picture.width % 2 == picture.height % 2 == 0
    assert picture.width >= NARROWEST


SENTENCES = [
    "",
    "   ",
    "穿黑衣的男人拿着相机",
    "مرحبا",
    "\ud800\x00\u2028\u202e",
    "👍" * 50,
    "word " * 500,
    "x" * 5000,
    "a\nb\tc",
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_any_sentence_can_be_drawn(sentence: str) -> None:
    picture = Painter(overlay(full(), sentence=sentence), (64, 48)).paint(np.zeros((48, 64, 3), np.uint8), 2.0)
    assert picture.width < 600
    assert picture.height < 600, "long ones are cut"


def test_the_sentence_is_written() -> None:
    def panel(sentence: str) -> bytes:
        return Painter(overlay(sentence=sentence), (100, 100)).paint(GRAY, 0.0).crop((0, 400, 400, 440)).tobytes()

    assert panel("the man waves.") != panel("the man sits.") != panel("")


def test_the_playhead_moves() -> None:
    painter = Painter(overlay(), (100, 100))
    white = []
    for time_s in (0.0, 2.5, 5.0):
        below = np.asarray(painter.paint(GRAY, time_s).convert("L"))[440:, :]
        columns = np.flatnonzero((below > 230).sum(axis=0) >= 12)
        white.append(int(columns.mean()))
    assert white == pytest.approx([10, 200, 390], abs=3)


@pytest.mark.slow
def test_a_film_that_browsers_play(clip: Path, tmp_path: Path) -> None:
    for name in ("first.mp4", "again.mp4"):
        render(overlay(full()), clip, tmp_path / name)
    assert (tmp_path / "first.mp4").read_bytes() == (tmp_path / "again.mp4").read_bytes()
    with av.open(str(tmp_path / "first.mp4")) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.width % 2 == stream.height % 2 == 0
        times_s = [float(frame.pts * frame.time_base) for frame in film.decode(stream)]
    assert times_s == pytest.approx(np.arange(50) / 10.0, abs=1e-3), "every frame of the clip, at its own time"


def test_long_clips_are_played_with_fewer_frames(tmp_path: Path) -> None:
    long = write_video(tmp_path / "long.mp4", np.arange(50) / 10.0)
    shown = list(play(overlay(full()), long, most=20))
    assert [round(time_s, 3) for time_s, _ in shown] == pytest.approx(np.arange(0, 50, 3) / 10.0)
    assert [has(picture, "truth", (0, 0, 384, 288)) > 0 for _, picture in shown].count(True) == 7, (
        "0.9 to 2.7 s, all of them"
    )


@pytest.mark.slow
def test_a_gif(clip: Path, tmp_path: Path) -> None:
    render(overlay(full()), clip, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 25
        durations = []
        for i in range(gif.n_frames):
            gif.seek(i)
            durations.append(gif.info["duration"])
    assert sum(durations) == pytest.approx(5000, abs=60)


def test_a_contact_sheet(clip: Path, tmp_path: Path) -> None:
    sheet = contact_sheet(overlay(full()), clip)
    assert sheet.width == 4 * 240 + 3 * 8
    counts = [has(sheet, kind, (0, 0, sheet.width, sheet.height)) for kind in ("truth", "think", "pred")]
    assert min(counts) > 300, "truth, think and final boxes"
    render(overlay(full()), clip, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as written:
        assert written.size == sheet.size


def test_a_still_shows_the_event(clip: Path, tmp_path: Path) -> None:
    assert has(still(overlay(full()), clip), "truth", (0, 0, 384, 288)) > 500
    render(overlay(full()), clip, tmp_path / "still.jpg")
    assert Image.open(io.BytesIO((tmp_path / "still.jpg").read_bytes())).format == "JPEG"


@pytest.mark.parametrize("ending", DRAWING_FORMATS)
def test_a_missing_or_broken_video_leaves_nothing_behind(tmp_path: Path, ending: str) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    for name in ("missing.mp4", "broken.mp4"):
        with pytest.raises(VideoError, match=r"video (missing|unreadable)"):
            render(overlay(full()), tmp_path / name, tmp_path / f"out{ending}")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.mp4"]


def test_a_video_that_is_too_short(tmp_path: Path) -> None:
    short = write_video(tmp_path / "short.mp4", np.arange(20) / 10.0)
    for ending in (".mp4", ".png"):
        with pytest.raises(VideoError, match="shorter than expected"):
            render(overlay(full()), short, tmp_path / f"out{ending}")


def test_other_endings_are_refused(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\.mp4, \.gif, \.jpg, \.png, got out\.avi"):
        render(overlay(), clip, tmp_path / "out.avi")


@pytest.mark.parametrize("turned", [0, 90])
def test_streamed_frames_are_those_that_are_read(tmp_path: Path, turned: int) -> None:
    video = write_video(tmp_path / "v.mp4", np.arange(40) / 10.0, turned=turned)
    wanted = np.array([0, 3, 17, 18, 39])
    streamed = list(stream_frames(video, wanted))
    assert np.array_equal(np.stack(streamed), read_frames(video, wanted))
    with pytest.raises(VideoError, match="frame 40 of 40"):
        list(stream_frames(video, np.array([40])))


def test_the_data_tells_overlays_apart() -> None:
    same, other = overlay(full()).to_data(), overlay(answer("3 - 6", boxes(3, 6, THINK), boxes(3, 6, THINK))).to_data()
    assert same == overlay(full()).to_data()
    assert same != other
    assert same != overlay(full(), sentence="another").to_data()


def test_seconds_are_an_index_too() -> None:
    from swift_stvg.answers.format import AnswerFormat

    row = row_truth(fmt=AnswerFormat(unit="second"))
    assert Overlay.of(row, "s", full()).tracks[0].times_s.tolist() == [2.0, 3.0, 4.0, 5.0]


def test_a_track_without_boxes() -> None:
    assert Track("pred", (0.0, 1.0), np.empty(0), np.empty((0, 4))).at(0.5, 0.1) is None


def test_the_real_clip(stvg_test_data: Path, tmp_path: Path) -> None:
    (tmp_path / "vidstg").mkdir()
    (tmp_path / "vidor").symlink_to(stvg_test_data / "vidor")
    (tmp_path / "vidstg/test_annotations.json").symlink_to(stvg_test_data / "vidstg/annotations/test_5587257558.json")
    row = load_rows("vidstg", "test", Settings(data_root=str(tmp_path), cache_dir=None))[0][0]
    found = RowTruth.from_json(row["stvg"])
    shown = Overlay.of(found, "s", found.format.render(found.answer))
    picture = still(shown, Path(row["videos"][0]))
    assert picture.size[0] == 560
    assert has(picture, "pred", (0, 0, 560, 316)) > 500


BLIND = {  # Machado et al. 2009, severity 1: linear RGB as people without red, green or blue cones see it
    "red": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "green": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "blue": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    "none": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
}


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(rgb, 0, 1)
    x, y, z = np.cbrt(np.maximum(xyz / [0.9505, 1, 1.089], 0.0089))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("missing", BLIND)
def test_colours_of_two_systems_and_the_truth_differ_for_everybody(missing: str) -> None:
    seen = [lab(BLIND[missing] @ (np.array(PENS[kind].colour) / 255) ** 2.2) for kind in ("truth", "first", "second")]
    apart = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    assert min(apart) > 30, "2 is what people just notice"
    assert len({PENS[kind].dash for kind in ("truth", "first", "second")}) == 3, "and without any colour"
