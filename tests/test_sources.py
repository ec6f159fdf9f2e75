"""The sources: real folder layouts, and all faults of the raw annotations, each counted by its reason."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from swift_stvg.errors import DataError
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.settings import Settings
from swift_stvg.sources import LoadReport, load_rows, load_samples
from tests.annotations import TIMES, line, older, processed, shared, trajectories, v1, v2, vidor, vidstg, write_json
from tests.videos import write_video

VIDEO_SHORT = "video and annotation differ in length"


def settings(root: Path, **values: Any) -> Settings:
    return Settings(data_root=str(root), **values)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", TIMES)


def place(video: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(video)


def both(**changes: Any) -> dict[str, Any]:
    """An entry of v2 with its own keys and the keys of v1."""
    return v2() | v1() | changes


LAYOUTS = [
    ("hcstvg_v1", "train", "hc-stvg/v1_video/a.mp4", "hc-stvg/annos/hcstvg_v1/train.json", v1),
    ("hcstvg_v1", "test", "hcstvg/video/part_3/a.mkv", "hcstvg/test.json", v1),
    ("hcstvg_v1", "test", "hc-stvg/v1_video/a.mp4", "hc-stvg/annos/test.json", v1),  # TA-STVG
    ("hcstvg_v1", "train", "hcstvg/video/3/a.mp4", "hcstvg/train_proc.json", processed),  # TubeDETR
    ("hcstvg_v1", "train", "hcstvg/video/a.mp4", "hcstvg/train.json", older),
    ("hcstvg_v1", "train", "hcstvg_v1/a.mp4", "hcstvg_v1/HCVG_train.json", older),
    ("hcstvg_v2", "train", "hc-stvg2/v2_video/a.mp4", "hc-stvg2/annos/hcstvg_v2/train.json", v2),
    ("hcstvg_v2", "train", "hc-stvg2/v2_video/a.mp4", "hc-stvg2/annos/hcstvg_v2/train.json", v1),  # as CG-STVG reads it
    ("hcstvg_v2", "val", "hc-stvg2/v2_video/a.mp4", "hc-stvg2/annos/test.json", v1),  # as TA-STVG does
    ("hcstvg_v2", "val", "hc-stvg2/v2_video/a.mp4", "hc-stvg2/annos/hcstvg_v2/test.json", v2),
    ("hcstvg_v2", "val", "hcstvg/video/a.mp4", "hcstvg/test.json", both),
    ("hcstvg_v2", "val", "hcstvg/video/12/a.mkv", "hcstvg/valv2.json", v2),
    ("hcstvg_v2", "val", "hcstvg/video/12/a.mkv", "hcstvg/annos/hcstvg_v2/test.json", v1),
    ("hcstvg_v2", "val", "hcstvg/video/3/a.mkv", "hcstvg/valv2_proc.json", processed),
    ("hcstvg_v2", "val", "hcstvg_v2/12/a.mkv", "hcstvg_v2/anno_v2/val_v2.json", v2),
]


@pytest.mark.parametrize(
    ("name", "split", "video", "annotation", "entry"), LAYOUTS, ids=[f"{x[3]} of {x[4].__name__}" for x in LAYOUTS]
)
def test_hcstvg_layouts(
    tmp_path: Path, clip: Path, name: str, split: str, video: str, annotation: str, entry: Any
) -> None:
    place(clip, tmp_path / video)
    write_json(tmp_path / annotation, [entry()] if entry is processed else {"a.mp4": entry()})
    rows, report = load_rows(name, split, settings(tmp_path))
    assert report.summary() == f"{name}:{split}: 1 rows kept, 0 dropped"
    row_truth = RowTruth.from_json(rows[0]["stvg"])
    assert row_truth.id == "a.mp4"
    other = f"hcstvg_{'v1' if name == 'hcstvg_v2' else 'v2'}"
    with pytest.raises(DataError, match=r"no folder of|no annotation file of"):
        load_rows(other, "train" if split == "train" else {"v1": "test", "v2": "val"}[other[-2:]], settings(tmp_path))
    # frames 10 to 39 at 5 per second: seconds 2.0 to 7.8; samples every 0.5 s lie at frames 0, 2, 5, 7, 10, ...
    shown = row_truth.timeline.frames[row_truth.span[0] : row_truth.span[1] + 1]
    assert (shown[0], shown[-1]) == (10, 37)
    assert (row_truth.dataset, row_truth.split, row_truth.category) == (name, split, "person")


def test_a_folder_shared_by_both_versions(tmp_path: Path, clip: Path) -> None:
    place(clip, tmp_path / "hcstvg/video/1/a.mp4")
    write_json(tmp_path / "hcstvg/train.json", {"a.mp4": v1()})
    write_json(tmp_path / "hcstvg/trainv2.json", {"a.mp4": v2(English="Another sentence.")})
    first = load_rows("hcstvg_v1", "train", settings(tmp_path))[0][0]
    second = load_rows("hcstvg_v2", "train", settings(tmp_path))[0][0]
    assert "stands up" in first["messages"][1]["content"]
    assert "Another sentence." in second["messages"][1]["content"]


def test_the_other_versions_file_is_not_taken(tmp_path: Path, clip: Path) -> None:
    place(clip, tmp_path / "hc-stvg/a.mp4")
    write_json(tmp_path / "hc-stvg/test.json", {"a.mp4": v1()})
    with pytest.raises(
        DataError, match=r"no annotation file of hcstvg_v2:val: .*hc-stvg/test\.json hold.*other version"
    ):
        load_rows("hcstvg_v2", "val", settings(tmp_path))
    write_json(tmp_path / "hcstvg/test.json", {"a.mp4": v2()})
    with pytest.raises(DataError, match="1 x video missing"):  # the video of v1 in its own folder is not v2's
        load_rows("hcstvg_v2", "val", settings(tmp_path))


def test_videos_of_the_right_version(tmp_path: Path, clip: Path) -> None:
    for version in ("v1", "v2"):
        place(clip, tmp_path / f"hcstvg/{version}_video/a.mp4")
    write_json(tmp_path / "hcstvg/train.json", {"a.mp4": v1()})
    write_json(tmp_path / "hcstvg/trainv2.json", {"a.mp4": v2()})
    for version in ("v1", "v2"):
        row = load_rows(f"hcstvg_{version}", "train", settings(tmp_path))[0][0]
        assert f"/{version}_video/" in row["videos"][0]


def test_folders_that_link_back_up_the_tree(tmp_path: Path, clip: Path) -> None:
    place(clip, tmp_path / "hc-stvg/videos/a.mp4")
    for name in ("up", "again"):
        (tmp_path / "hc-stvg/videos" / name).symlink_to(tmp_path / "hc-stvg")
    write_json(tmp_path / "hc-stvg/train.json", {"a.mp4": v1()})
    assert len(load_rows("hcstvg_v1", "train", settings(tmp_path))[0]) == 1


NAMES = [
    ("its folder", "sub/p.mp4", ["v1_video/sub/p.mp4"], "v1_video/sub/p.mp4"),
    ("its folder, of two", "2/p.mp4", ["v1_video/1/p.mp4", "v1_video/2/p.mp4"], "v1_video/2/p.mp4"),
    ("no longer in its folder", "sub/p.mp4", ["v1_video/p.mp4"], "v1_video/p.mp4"),
    ("no folder", "p.mp4", ["v1_video/5/p.mp4"], "v1_video/5/p.mp4"),
    ("another ending", "p.mp4", ["v1_video/p.mkv"], "v1_video/p.mkv"),
    ("two endings", "p.mp4", ["v1_video/p.mkv", "v1_video/p.mp4"], "v1_video/p.mp4"),
    ("a space at its end", "p.mp4 ", ["v1_video/p.mp4"], "v1_video/p.mp4"),
    ("backslashes", "sub\\p.mp4", ["v1_video/sub/p.mp4"], "v1_video/sub/p.mp4"),
    ("a colon", "12:30_p.mp4", ["v1_video/12:30_p.mp4"], "v1_video/12:30_p.mp4"),
    ("points", "1.5_p.x", ["v1_video/1.5_p.x.mp4"], "v1_video/1.5_p.x.mp4"),
]


@pytest.mark.parametrize(("title", "name", "files", "found"), NAMES, ids=[n[0] for n in NAMES])
def test_names_of_videos(tmp_path: Path, clip: Path, title: str, name: str, files: list[str], found: str) -> None:
    for file in files:
        place(clip, tmp_path / "hc-stvg" / file)
    write_json(tmp_path / "hc-stvg/train.json", {name: v1()})
    (row,) = load_rows("hcstvg_v1", "train", settings(tmp_path))[0]
    assert row["videos"] == [str(tmp_path / "hc-stvg" / found)]


def test_namesakes_in_two_folders_are_told_apart(tmp_path: Path, clip: Path) -> None:
    """If one of two videos is missing, the other video does not replace it."""
    place(clip, tmp_path / "hc-stvg/v1_video/b/p.mp4")
    write_json(tmp_path / "hc-stvg/train.json", {"a/p.mp4": v1(), "b/p.mp4": v1()})
    rows, report = load_rows("hcstvg_v1", "train", settings(tmp_path))
    assert [RowTruth.from_json(row["stvg"]).id for row in rows] == ["b/p.mp4"]
    assert "a/p.mp4" in report.dropped["video missing"][1]


def test_entries_of_a_list_name_their_videos(tmp_path: Path, clip: Path) -> None:
    place(clip, tmp_path / "hc-stvg/a.mp4")
    write_json(tmp_path / "hc-stvg/train_proc.json", [processed(), processed(caption="Later.")])
    rows, report = load_rows("hcstvg_v1", "train", settings(tmp_path))
    assert "Later." in rows[0]["messages"][1]["content"]
    assert report.dropped == {"repeated video": (1, "'a.mp4' has several entries; the last one is kept")}
    odd = [v1(), processed(video_path=None, original_video_id=None), 7, processed()]
    write_json(tmp_path / "hc-stvg/train_proc.json", odd)
    rows, report = load_rows("hcstvg_v1", "train", settings(tmp_path))
    assert len(rows) == 1
    assert {reason: count for reason, (count, _) in report.dropped.items()} == {
        "malformed annotation": 1,
        "video missing": 2,
    }
    assert "entry 0 that names no video" in report.dropped["video missing"][1]


def test_a_repeated_video_is_counted(tmp_path: Path, clip: Path) -> None:
    place(clip, tmp_path / "hc-stvg/a.mp4")
    entry = json.dumps(v1())
    (tmp_path / "hc-stvg/train.json").write_text(f'{{"a.mp4": {entry}, "a.mp4": {entry}, "a.mp4": {entry}}}')
    rows, report = load_rows("hcstvg_v1", "train", settings(tmp_path))
    assert len(rows) == 1
    assert report.dropped == {"repeated video": (2, "'a.mp4' has several entries; the last one is kept")}


def test_boxes_left_out_are_noted(tmp_path: Path, clip: Path) -> None:
    place(clip, tmp_path / "hc-stvg/a.mp4")
    write_json(tmp_path / "hc-stvg/train.json", {"a.mp4": v1(bbox=[[10, 8, -20, 30]] * 2 + [[10, 8, 20, 30]] * 28)})
    report = load_rows("hcstvg_v1", "train", settings(tmp_path))[1]
    assert "note: 1 x events with boxes left out, e.g. 2 without area, row a.mp4" in report.summary()


HCSTVG_TRAPS: list[tuple[str, dict[str, Any], str | None]] = [
    ("boxes beyond the image are clipped", {"bbox": [[50, 40, 100, 100]] * 30}, None),
    ("negative corners are clipped", {"bbox": [[-5, -5, 30, 30]] * 30}, None),
    ("one inverted box among good ones is left out", {"bbox": [[10, 8, -20, 30]] + [[10, 8, 20, 30]] * 29}, None),
    ("the end is where the boxes end, whatever ed_time says", {"ed_time": 1.0}, None),
    ("only inverted boxes", {"bbox": [[10, 8, -20, 30]] * 30}, "no usable box"),
    ("all boxes outside the image", {"bbox": [[200, 8, 20, 30]] * 30}, "no usable box"),
    ("no boxes", {"bbox": []}, "event ends before it begins"),
    ("begins after the video", {"st_frame": 500}, "event outside the clip"),
    ("ragged boxes", {"bbox": [[1, 2, 3], [1, 2, 3, 4]]}, "malformed annotation"),
    ("NaN", {"bbox": [[float("nan")] * 4] * 30}, "invalid box coordinates"),
    ("empty caption", {"caption": "  "}, "no sentence"),
    ("null caption", {"caption": None}, "no sentence"),
    ("caption that is no text", {"caption": 7}, "malformed annotation"),
    ("boxes of eight numbers", {"bbox": [[1, 2, 3, 4, 5, 6, 7, 8]]}, "malformed annotation"),
    ("counted from 0", {"st_frame": 0}, "malformed annotation"),
    ("a frame number beyond any", {"st_frame": 10**30}, "malformed annotation"),
    ("a frame count beyond any", {"img_num": 10**400}, "malformed annotation"),
    ("a word that ms-swift replaces", {"caption": "a <video> of <bbox>"}, "reserved words in the sentence"),
    ("a token of the model", {"caption": "<|video_pad|>"}, "reserved words in the sentence"),
    ("half a character", {"caption": "\ud800"}, "invalid Unicode text"),
    ("no frames", {"img_num": 0}, "invalid frame count or frame rate"),
    ("no size", {"width": 0}, "invalid frame size"),
    ("another shape", {"width": 48, "height": 64}, "video and annotation differ in shape"),
]


@pytest.mark.parametrize(("title", "changes", "reason"), HCSTVG_TRAPS, ids=[t[0] for t in HCSTVG_TRAPS])
def test_hcstvg_traps(tmp_path: Path, clip: Path, title: str, changes: dict[str, Any], reason: str | None) -> None:
    place(clip, tmp_path / "hc-stvg/good.mp4")
    place(clip, tmp_path / "hc-stvg/odd.mp4")
    write_json(tmp_path / "hc-stvg/train.json", {"good.mp4": v1(), "odd.mp4": v1(**changes)})
    rows, report = load_rows("hcstvg_v1", "train", settings(tmp_path))
    assert [RowTruth.from_json(row["stvg"]).id for row in rows] == ["good.mp4"] + ["odd.mp4"] * (reason is None)
    assert {key: count for key, (count, _) in report.dropped.items()} == ({} if reason is None else {reason: 1})
    assert all("odd.mp4" in example for _, example in report.dropped.values())
    for row in rows:
        row_truth = RowTruth.from_json(row["stvg"])
        assert (row_truth.boxes_xyxy >= 0).all()
        assert (row_truth.boxes_xyxy[:, 2:] <= row_truth.size_wh).all()
        assert (row_truth.boxes_xyxy[:, 2:] > row_truth.boxes_xyxy[:, :2]).all()


def test_strict_makes_the_first_problem_an_error(tmp_path: Path, clip: Path) -> None:
    place(clip, tmp_path / "hc-stvg/odd.mp4")
    write_json(tmp_path / "hc-stvg/train.json", {"odd.mp4": v1(bbox=[])})
    with pytest.raises(DataError, match=r"hcstvg_v1:train: event ends before it begins: .*odd\.mp4.*strict"):
        load_rows("hcstvg_v1", "train", settings(tmp_path), strict=True)


def test_nominal_frame_rate_is_rescaled(tmp_path: Path) -> None:
    write_video(tmp_path / "hc-stvg/a.mp4", np.arange(599) / 29.97)
    write_json(tmp_path / "hc-stvg/train.json", {"a.mp4": v1(img_num=600, st_frame=571, bbox=[[10, 8, 20, 30]] * 30)})
    row = load_rows("hcstvg_v1", "train", settings(tmp_path))[0][0]
    row_truth = RowTruth.from_json(row["stvg"])
    # frames 570 to 599 of a nominal 600; the sample at 19.0 s is decoded frame 569, annotated as 570
    assert row_truth.timeline.frames[38] == 569
    assert row_truth.span == (38, 39)
    assert row_truth.timeline.times_s[-1] == pytest.approx(19.5, abs=0.02)


DAMAGE = {
    "missing": (None, "video missing"),
    "empty": (b"", "video unreadable"),
    "cut": ("half", "video unreadable"),
    "short": ("short", "video and annotation differ in length"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_videos_are_counted(tmp_path: Path, clip: Path, kind: str) -> None:
    content, reason = DAMAGE[kind]
    odd = tmp_path / "hc-stvg/odd.mp4"
    place(clip, tmp_path / "hc-stvg/good.mp4")
    if content == "short":
        write_video(odd, TIMES[:40])
    elif content is not None:
        odd.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2] if content == "half" else b"")
    write_json(tmp_path / "hc-stvg/train.json", {"odd.mp4": v1(), "good.mp4": v1()})
    rows, report = load_rows("hcstvg_v1", "train", settings(tmp_path))
    assert len(rows) == 1
    assert {key: count for key, (count, _) in report.dropped.items()} == {reason: 1}
    assert f"1 x {reason}, e.g. " in report.summary()


VIDSTG_LAYOUTS = [
    ("vidstg/video/1164/77.mp4", "vidstg/test_annotations.json", "vidstg/validation/1164/77.json"),
    ("vidstg/videos/77.mp4", "vidstg/sent_annos/test_annotations.json", "vidstg/bbox_annos/77.json"),
    ("vidor/videos/77.mp4", "vidstg/annotations/test_annotations.json", "vidor/validation/0000/77.json"),
]


@pytest.mark.parametrize("layout", VIDSTG_LAYOUTS, ids=[x[1] for x in VIDSTG_LAYOUTS])
def test_vidstg_layouts(tmp_path: Path, clip: Path, layout: tuple[str, str, str]) -> None:
    place(clip, tmp_path / layout[0])
    write_json(tmp_path / layout[1], [vidstg()])
    write_json(tmp_path / layout[2], vidor())
    rows, report = load_rows("vidstg", "test", settings(tmp_path))
    assert (report.kept, report.n_dropped) == (2, 0)
    row_truth = RowTruth.from_json(rows[0]["stvg"])
    assert row_truth.id == "00000_c0_77"
    assert row_truth.category == "adult"
    # the clip is frames 20 to 99: 16 s, 32 samples; the event is frames 40 to 99, from second 4 of the clip
    assert row_truth.timeline.frames[0] == 20
    assert row_truth.timeline.size == 32
    assert row_truth.span == (8, 31)
    assert row_truth.timeline.times_s[8] == pytest.approx(4.0)


@pytest.mark.parametrize("name", ["77", "77.mp4"])
def test_vidstg_as_folders_of_pictures(tmp_path: Path, clip: Path, name: str) -> None:
    """A folder with the video's name gives the same rows as the film."""
    folder = tmp_path / "folders/vidstg/videos" / name
    folder.mkdir(parents=True)
    with av.open(str(clip)) as film:
        for number, frame in enumerate(film.decode(video=0)):
            frame.to_image().save(folder / f"{number:06d}.png")
    vidstg_root(tmp_path / "film", clip, vidstg(), vidor())
    for root in ("film", "folders"):
        write_json(tmp_path / root / "vidstg/test_annotations.json", [vidstg()])
        write_json(tmp_path / root / "vidstg/bbox_annos/77.json", vidor())
    films, folders = (load_rows("vidstg", "test", settings(tmp_path / root))[0] for root in ("film", "folders"))
    assert len(films) == len(folders) == 2
    for film, made in zip(films, folders, strict=True):
        assert Path(made["videos"][0]) == folder
        expected, row_truth = (RowTruth.from_json(row["stvg"]) for row in (film, made))
        assert (row_truth.id, row_truth.span) == (expected.id, expected.span)
        assert row_truth.timeline.frames.tolist() == expected.timeline.frames.tolist()
        assert row_truth.boxes_xyxy.tolist() == expected.boxes_xyxy.tolist()
        assert row_truth.timeline.times_s.tolist() == pytest.approx(expected.timeline.times_s.tolist(), abs=0.001)


def vidstg_root(root: Path, clip: Path, annotation: Any, trajectories: Any) -> Path:
    place(clip, root / "vidstg/videos/77.mp4")
    write_json(root / "vidstg/test_annotations.json", [vidstg(), annotation])
    write_json(root / "vidstg/bbox_annos/77.json", trajectories)
    return root


MERGED = [
    ("vidstg/videos/77.mp4", "vidstg/vstg_annos/test.json", shared),  # CG-STVG, STCAT
    ("vidstg/videos/77.mp4", "vidstg/annos/test.json", shared),  # TA-STVG
    ("vidstg/video/0001/77.mp4", "vidstg/test.json", trajectories),  # TubeDETR
]


@pytest.mark.parametrize("own_file", [False, True], ids=["alone", "beside VidSTG's own"])
@pytest.mark.parametrize(("video", "annotation", "content"), MERGED, ids=[m[1] for m in MERGED])
def test_vidstg_with_boxes_beside_the_sentences(
    tmp_path: Path, clip: Path, video: str, annotation: str, content: Any, own_file: bool
) -> None:
    """Without VidOR's files, the rows equal the rows from VidSTG's and VidOR's own files."""
    place(clip, tmp_path / video)
    write_json(tmp_path / annotation, content())
    if own_file:
        write_json(tmp_path / "vidstg/sent_annos/test_annotations.json", [vidstg()])
    rows, report = load_rows("vidstg", "test", settings(tmp_path))
    assert report.summary() == "vidstg:test: 2 rows kept, 0 dropped"
    found = {(c := RowTruth.from_json(row["stvg"])).query: c for row in rows}
    ids = {"00000_c0_77", "00000_q0_77"} if own_file else {f"0000{i}_{q}_77" for i, q in enumerate("cq")}
    if content is trajectories and not own_file:
        ids = {"00000_q_77", "00001_c_77"}
    assert {row_truth.id for row_truth in found.values()} == ids
    theirs = tmp_path / "theirs"
    place(clip, theirs / "vidstg/videos/77.mp4")
    write_json(theirs / "vidstg/test_annotations.json", [vidstg()])
    write_json(theirs / "vidstg/bbox_annos/77.json", vidor())
    for row in load_rows("vidstg", "test", settings(theirs))[0]:
        expected = RowTruth.from_json(row["stvg"])
        row_truth = found[expected.query]
        assert row_truth.span == expected.span
        assert row_truth.boxes_xyxy.tolist() == expected.boxes_xyxy.tolist()
        assert row_truth.timeline.frames.tolist() == expected.timeline.frames.tolist()
    for kind in ("declarative", "interrogative"):
        assert len(load_rows("vidstg", f"test_{kind}", settings(tmp_path))[0]) == 1


TUBEDETR = json.loads(gzip.decompress((Path(__file__).parent / "data" / "tubedetr.json.gz").read_bytes()))
"""Files of VidSTG and VidOR, and the output of TubeDETR's preprocessing (tests/goldens/make_tubedetr.py)."""


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("form", ["sentences with boxes", "VidOR in one file", "both", "for shorter clips"])
def test_what_tubedetrs_preprocessing_wrote(tmp_path: Path, clip: Path, form: str, split: str) -> None:
    """The rows equal those of the original files, without VidOR's own files."""
    written = TUBEDETR["written"]
    for root in ("own", "theirs"):
        for video in ("77", "78", "79"):
            place(clip, tmp_path / root / f"vidstg/video/0001/{video}.mp4")
    for name, content in TUBEDETR["given"].items():
        write_json(tmp_path / "own/vidstg" / name, content)
    theirs = tmp_path / "theirs/vidstg"
    if form != "VidOR in one file":
        shorter = split == "train" and form == "for shorter clips"
        write_json(theirs / f"{split}{'_100' if shorter else ''}.json", written[f"{split}.json"])
        if shorter:
            write_json(theirs / "train_50.json", [])
    if form in ("VidOR in one file", "both"):
        name = f"{split}_annotations.json"
        write_json(theirs / "annotations" / name, TUBEDETR["given"][f"annotations/{name}"])
        for part in ("training", "validation"):
            write_json(theirs / f"vidor_{part}.json", written[f"vidor_{part}.json"])

    def facts(root: str) -> list[Any]:
        rows, report = load_rows("vidstg", split, settings(tmp_path / root))
        assert report.n_dropped == 0
        made = [(row["messages"][-2]["content"], RowTruth.from_json(row["stvg"])) for row in rows]
        return sorted(
            (asked, c.span, c.query, c.timeline.frames.tolist(), c.index.tolist(), c.boxes_xyxy.tolist())
            for asked, c in made
        )

    assert facts("theirs") == facts("own")


VIDOR_TRAPS: list[tuple[str, Any, str]] = [
    ("no object of videos", [1], "cannot be read as VidOR's boxes by video"),
    ("no JSON", None, "cannot be read as VidOR's boxes by video"),
    ("another video", {"78": {"trajectories": {}}}, "no trajectory file.*no box in .*vidor_validation.json"),
    ("no trajectories", {"77": {}}, "malformed trajectory file"),
    ("another object", {"77": {"trajectories": {"2": {"40": {"bbox": [1, 2, 3, 4]}}}}}, "no box for the object"),
    ("three numbers", {"77": {"trajectories": {"1": {"40": {"bbox": [1, 2, 3]}}}}}, "malformed trajectory file"),
]


@pytest.mark.parametrize(("title", "content", "reason"), VIDOR_TRAPS, ids=[t[0] for t in VIDOR_TRAPS])
def test_traps_of_vidor_in_one_file(tmp_path: Path, clip: Path, title: str, content: Any, reason: str) -> None:
    place(clip, tmp_path / "vidstg/videos/77.mp4")
    write_json(tmp_path / "vidstg/test_annotations.json", [vidstg()])
    (tmp_path / "vidstg/vidor_validation.json").write_text("" if content is None else json.dumps(content))
    with pytest.raises(DataError, match=reason):
        load_rows("vidstg", "test", settings(tmp_path))


def test_vidors_own_files_come_first_and_others_fill_in(tmp_path: Path, clip: Path) -> None:
    for name in ("77", "78"):
        place(clip, tmp_path / f"vidstg/videos/{name}.mp4")
    write_json(tmp_path / "vidstg/test_annotations.json", [vidstg(), vidstg(vid="78"), vidstg(vid="79")])
    write_json(tmp_path / "vidstg/bbox_annos/77.json", vidor())
    write_json(tmp_path / "vidstg/vstg_annos/test.json", shared(vid="78", target_bboxs=[{}] * 10 + [BOX] * 50))
    rows, report = load_rows("vidstg", "test", settings(tmp_path))
    row_truths = {c.id: c for c in (RowTruth.from_json(row["stvg"]) for row in rows)}
    assert sorted(row_truths) == ["00000_c0_77", "00000_q0_77", "00001_c0_78", "00001_q0_78"]
    assert row_truths["00000_c0_77"].index[0] == row_truths["00000_c0_77"].span[0]
    assert row_truths["00001_c0_78"].index[0] == row_truths["00001_c0_78"].span[0] + 4, "2 s without a box"
    assert report.dropped["no trajectory file"][0] == 2
    assert "no box in " in report.dropped["no trajectory file"][1]


BOX = {"xmin": 1, "ymin": 2, "xmax": 30, "ymax": 40}
MERGED_TRAPS: list[tuple[str, Any, str | None]] = [
    ("boxes that end early", shared(target_bboxs=[BOX] * 30), None),
    ("an end that repeats a box", shared(target_bboxs=[BOX] * 61), None),
    ("no boxes", shared(target_bboxs=[]), "no usable box"),
    ("empty boxes alone", shared(target_bboxs=[{}] * 60), "no usable box"),
    ("boxes that are no list", shared(target_bboxs=7), "malformed trajectory file"),
    ("three sides", shared(target_bboxs=[{"xmin": 1, "ymin": 2, "xmax": 3}] * 60), "no usable box"),
    ("no kind", shared(qtype="other"), "malformed annotation"),
    ("no object", shared(sentence={"description": "x"}), "malformed annotation"),
    ("a far too large number", shared(ori_temp_gt={"begin_fid": 1e300, "end_fid": 100}), "malformed annotation"),
    ("no segment", shared(used_segment={}), "malformed annotation"),
    ("no begin", shared(ori_temp_gt={"end_fid": 90}), "malformed annotation"),
    ("entries that are none", {"0": 1, "1": []}, "malformed annotation"),
    ("a video that is too short", shared(used_segment={"begin_fid": 20, "end_fid": 150}), VIDEO_SHORT),
    ("as a list", list(shared().values()), None),
]


@pytest.mark.parametrize(("title", "content", "reason"), MERGED_TRAPS, ids=[t[0] for t in MERGED_TRAPS])
def test_traps_of_sentences_with_boxes(
    tmp_path: Path, clip: Path, title: str, content: Any, reason: str | None
) -> None:
    place(clip, tmp_path / "vidstg/videos/77.mp4")
    write_json(tmp_path / "vidstg/vstg_annos/test.json", content)
    if reason is None:
        rows, report = load_rows("vidstg", "test", settings(tmp_path))
        assert (len(rows), report.dropped) == (2, {})
    else:
        with pytest.raises(DataError, match=f"no usable row.*\n.*2 x {reason}"):
            load_rows("vidstg", "test", settings(tmp_path))


def test_one_malformed_sentence_leaves_the_others(tmp_path: Path, clip: Path) -> None:
    place(clip, tmp_path / "vidstg/videos/77.mp4")
    content = shared()
    content["1"] |= {"target_bboxs": "none", "sentence": {"description": "who?", "target_id": 2}}
    write_json(tmp_path / "vidstg/vstg_annos/test.json", content)
    rows, report = load_rows("vidstg", "test", settings(tmp_path))
    assert [RowTruth.from_json(row["stvg"]).id for row in rows] == ["00000_c_77"]
    assert {reason: count for reason, (count, _) in report.dropped.items()} == {"no box for the object": 1}


@pytest.mark.parametrize("text", ["7", "{", '{"0": {"vid": NaN}}', '{"videos": 1, "trajectories": {}}'])
def test_files_that_are_no_sentences_with_boxes(tmp_path: Path, clip: Path, text: str) -> None:
    place(clip, tmp_path / "vidstg/videos/77.mp4")
    (tmp_path / "vidstg/vstg_annos").mkdir()
    (tmp_path / "vidstg/vstg_annos/test.json").write_text(text)
    with pytest.raises(DataError, match=r"vstg_annos/test\.json cannot be read as sentences with boxes"):
        load_rows("vidstg", "test", settings(tmp_path))


def test_vidstg_declarative_and_interrogative_apart(tmp_path: Path, clip: Path) -> None:
    root = vidstg_root(tmp_path, clip, vidstg(questions=[]), vidor())
    for kind, count in (("declarative", 2), ("interrogative", 1)):
        rows, report = load_rows("vidstg", f"test_{kind}", settings(root))
        assert {RowTruth.from_json(row["stvg"]).query for row in rows} == {kind}
        assert (len(rows), report.n_dropped) == (count, 0)
        assert report.notes["annotations without questions"][0] == 1


def test_gaps_in_a_trajectory_stay_gaps(tmp_path: Path, clip: Path) -> None:
    root = vidstg_root(tmp_path, clip, vidstg(), vidor(missing=(45, 70)))
    row = load_rows("vidstg", "test", settings(root))[0][0]
    row_truth = RowTruth.from_json(row["stvg"])
    everything = set(range(row_truth.span[0], row_truth.span[1] + 1))
    missing = {int(np.flatnonzero(row_truth.timeline.frames == frame)[0]) for frame in (45, 70)}
    assert everything - set(row_truth.index.tolist()) == missing
    assert row_truth.format.is_valid(row["messages"][-1]["content"]), "the written answer has a box everywhere"


VIDSTG_TRAPS: list[tuple[str, Any, str | None]] = [
    ("an event between two samples", {"temporal_gt": {"begin_fid": 41, "end_fid": 42}}, None),
    ("a segment that ends beyond the video", {"used_segment": {"begin_fid": 0, "end_fid": 120}}, None),
    ("an event that begins before the clip", {"temporal_gt": {"begin_fid": 10, "end_fid": 60}}, None),
    ("neither caption nor question", {"captions": [], "questions": []}, "no sentence"),
    ("an event outside the clip", {"temporal_gt": {"begin_fid": 2, "end_fid": 9}}, "event outside the clip"),
    (
        "an event that ends before it begins",
        {"temporal_gt": {"begin_fid": 50, "end_fid": 50}},
        "event ends before it begins",
    ),
    ("an object without boxes", {"captions": [{"description": "x", "target_id": 9}]}, "no box for the object"),
    ("captions that are no list", {"captions": 5, "questions": []}, "malformed annotation"),
    ("a caption that is no text", {"captions": [{"description": 7, "target_id": 1}]}, "malformed annotation"),
    ("no target", {"captions": [{"description": "x"}]}, "malformed annotation"),
    ("no segment", {"used_segment": None}, "malformed annotation"),
    ("another video", {"vid": "78"}, "no trajectory file"),
    ("an unknown kind", {"qtype": ["x"]}, "malformed annotation"),
    ("a kind without a sentence", {"qtype": "declar"}, "malformed annotation"),
]


@pytest.mark.parametrize(("title", "changes", "reason"), VIDSTG_TRAPS, ids=[t[0] for t in VIDSTG_TRAPS])
def test_vidstg_traps(tmp_path: Path, clip: Path, title: str, changes: dict[str, Any], reason: str | None) -> None:
    changed = vidstg(**({"questions": []} | changes))
    rows, report = load_rows("vidstg", "test", settings(vidstg_root(tmp_path, clip, changed, vidor())))
    assert {key: count for key, (count, _) in report.dropped.items()} == ({} if reason is None else {reason: 1})
    assert len(rows) == 2 + (reason is None)
    if title == "an event between two samples":
        row_truth = RowTruth.from_json(rows[-1]["stvg"])
        assert row_truth.span[0] == row_truth.span[1]
        assert row_truth.timeline.times_s[row_truth.span[0]] == pytest.approx((41 - 20) / 5, abs=0.3)


def test_other_files_of_the_same_name_are_no_trajectories(tmp_path: Path, clip: Path) -> None:
    root = vidstg_root(tmp_path, clip, vidstg(), vidor())
    write_json(root / "vidstg/answers/77.json", {"mine": 1})
    write_json(root / "vidstg/training/77.json", {"trajectories": [[]] * 100})
    assert len(load_rows("vidstg", "test", settings(root))[0]) == 4


def test_missing_or_malformed_trajectory_files(tmp_path: Path, clip: Path) -> None:
    root = vidstg_root(tmp_path, clip, vidstg(), {"trajectories": [[{"tid": 1}]]})
    with pytest.raises(DataError, match=r"(?s)no usable row.*4 x malformed trajectory file"):
        load_rows("vidstg", "test", settings(root))
    (root / "vidstg/bbox_annos/77.json").unlink()
    with pytest.raises(DataError, match=r"(?s)no usable row.*4 x no trajectory file"):
        load_rows("vidstg", "test", settings(root))


JSONL_TRAPS: list[tuple[str, str, str | None]] = [
    ("good", json.dumps(line(id="b")), None),
    ("blank", "  ", None),
    ("repeated id", json.dumps(line()), "repeated id"),
    ("cut off", json.dumps(line(id="b"))[:-20], "malformed annotation"),
    ("null sentence", json.dumps(line(id="b", sentence=None)), "malformed annotation"),
    ("number as id", json.dumps(line(id=7)), "malformed annotation"),
    ("unknown query", json.dumps(line(id="b", query="poem")), "malformed annotation"),
    ("half frames", json.dumps(line(id="b", tube=[[10.5, 1, 2, 3, 4]])), "malformed annotation"),
    ("a frame beyond any", json.dumps(line(id="b", tube=[[1e300, 1, 2, 3, 4]])), "malformed annotation"),
    ("thirty years", json.dumps(line(id="b", n_frames=10_000_000, fps=0.01)), "invalid frame count or frame rate"),
    ("a frame no row can hold", json.dumps(line(id="b", size_wh=[64 << 20, 48 << 20])), "invalid frame size"),
    ("ten numbers a box", json.dumps(line(id="b", tube=[list(range(10))])), "malformed annotation"),
    ("endless numbers", json.dumps(line(id="b", size_wh=[10**400, 48])), "malformed annotation"),
    ("deeply nested", "[" * 100_000, "malformed annotation"),
    ("an endless name", json.dumps(line(id="b", video="v" * 5000)), "video missing"),
    ("no object", "[1, 2]", "malformed annotation"),
    ("a future schema", json.dumps(line(id="b", stvg_schema=2)), "unknown schema"),
    ("no sentence", json.dumps(line(id="b", sentence=" ")), "no sentence"),
    ("missing key", json.dumps({k: v for k, v in line(id="b").items() if k != "fps"}), "malformed annotation"),
    ("the time alone", json.dumps({k: v for k, v in line(id="b").items() if k != "tube"}), "no usable box"),
    ("missing video", json.dumps(line(id="b", video="videos/b.mp4")), "video missing"),
    ("boxes outside the event", json.dumps(line(id="b", tube=[[50, 1, 2, 3, 4]])), "no usable box"),
]


@pytest.mark.parametrize(("title", "text", "reason"), JSONL_TRAPS, ids=[t[0] for t in JSONL_TRAPS])
def test_jsonl(tmp_path: Path, clip: Path, title: str, text: str, reason: str | None) -> None:
    place(clip, tmp_path / "videos/a.mp4")
    (tmp_path / "mine.jsonl").write_text(json.dumps(line()) + "\n" + text + "\n")
    rows, report = load_rows("stvg_jsonl", "mine.jsonl", settings(tmp_path))
    assert {key: count for key, (count, _) in report.dropped.items()} == ({} if reason is None else {reason: 1})
    assert len(rows) == 1 + (title == "good")
    if reason:
        assert ("line 2 of" in report.dropped[reason][1]) != report.dropped[reason][1].endswith(", row b")


ERRORS = [
    ("hcstvg_v1", "train", "no folder of hcstvg_v1 in STVG_DATA_ROOT=.*: expected one of hc-stvg, hcstvg_v1"),
    ("nonsense", "train", "unknown dataset 'nonsense'; the datasets are: hcstvg_v1"),
    ("hcstvg_v1", "val", "hcstvg_v1 has no subset 'val'; its subsets are: train, test"),
    ("stvg_jsonl", "", "stvg_jsonl needs the path of a file: stvg_jsonl:PATH.jsonl"),
    ("stvg_jsonl", "none.jsonl", "no file .*none.jsonl"),
    ("stvg_synthetic", "train", "make it with `swift-stvg synth"),
]


@pytest.mark.parametrize(("name", "split", "message"), ERRORS, ids=[e[0] + e[1] for e in ERRORS])
def test_what_is_missing_is_said(tmp_path: Path, name: str, split: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_rows(name, split, settings(tmp_path))


def test_missing_or_broken_annotation_file(tmp_path: Path) -> None:
    (tmp_path / "hc-stvg").mkdir()
    with pytest.raises(
        DataError, match=r"no annotation file of hcstvg_v1:train in .*: looked for annos/hcstvg_v1/train"
    ):
        load_rows("hcstvg_v1", "train", settings(tmp_path))
    (tmp_path / "hc-stvg/train.json").write_text('{"a.mp4": {')
    with pytest.raises(DataError, match=r"train\.json cannot be read as JSON"):
        load_rows("hcstvg_v1", "train", settings(tmp_path))


@pytest.mark.slow
def test_the_real_vidstg_annotations(stvg_test_data: Path, tmp_path: Path) -> None:
    """The whole public test split with one clip and one trajectory file; other rows are counted by reason."""
    (tmp_path / "vidstg").symlink_to(stvg_test_data / "vidstg")
    (tmp_path / "vidor").symlink_to(stvg_test_data / "vidor")
    report = LoadReport("vidstg:test")
    samples = load_samples("vidstg", "test", settings(tmp_path), report)
    assert {sample.video.name for sample in samples} == {"5587257558.mp4"}
    assert len(samples) + report.n_dropped == 10303
    assert report.notes["annotations without questions"][0] == 223
    assert set(report.dropped) == {"no trajectory file", "no box for the object"}
