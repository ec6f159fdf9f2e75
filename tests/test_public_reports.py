"""Faults that users reported about HC-STVG's files, as small cases for loading, check, score and ground."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swift_stvg.cli import main
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.settings import Settings
from swift_stvg.sources import load_rows
from swift_stvg.video.reader import read_frames
from tests.servers import server
from tests.videos import numbers_seen, write_late, write_video

pytestmark = pytest.mark.filterwarnings("default")  # importing torch warns
COUNT = 500
"""Frames of a clip of 20 s at 25 frames per second."""
GOOD = [4, 2, 200, 20]
WORSE = [[-40, 0, -27, -47], [-81, 0, -55, -95], [-121, 0, -82, -142]]


def entry(**changes: Any) -> dict[str, Any]:
    """An event from frame 101, counted from 1, to frame 300."""
    return {"img_num": COUNT, "st_frame": 101, "bbox": [GOOD] * 200, "caption": "The man in red stands up."} | {
        "width": 512,
        "height": 32,
        **changes,
    }


def whole(path: Path) -> None:
    write_late(path, 0, COUNT)


def late(first: int, sound: bool) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_late(path, first, COUNT, sound=sound)

    return write


def part(keep: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        whole(path)
        path.write_bytes(keep(path.read_bytes()))

    return write


def empty_mp4(path: Path) -> None:
    """A header that announces no track: 32 + 108 bytes."""
    path.write_bytes(
        bytes.fromhex("0000001c66747970") + b"isom\0\0\2\0isomiso2mp41" + bytes.fromhex("000000086d6f6f76") + bytes(104)
    )


def fewer_at_a_rate(path: Path) -> None:
    write_video(path, np.arange(599) / 29.97, (512, 32))


@dataclass(frozen=True)
class Case:
    """A clip and the expected results.

    Attributes:
        write: writes the video; None for a missing video.
        changes: changes of the annotation.
        name: name of the video.
        dropped: the reason if there is no row; None if there is one.
        seen: text of the example in the report.
        notes: beginnings of the notes.
        pictures: number of the shown picture minus the number of the annotated frame.
        ends: the last index of the event, if it differs from that of the whole clip.
    """

    write: Callable[[Path], None] | None
    changes: dict[str, Any] = field(default_factory=dict)
    name: str = "a.mkv"
    dropped: str | None = None
    seen: str = ""
    notes: tuple[str, ...] = ()
    pictures: int | None = 0
    ends: int | None = None


LENGTH, UNREADABLE = "video and annotation differ in length", "video unreadable"
LATE, OTHER_COUNT = "videos whose picture begins late", "videos with another number of frames"
CUT, LEFT_OUT, RATE = "events cut to their clip", "events with boxes left out", "frame numbers rescaled"
CASES = {
    "nothing wrong": Case(whole),
    "the picture begins at 0.32 s, the sound at 0": Case(late(8, True), notes=(LATE,), seen="0.32 s after the file"),
    "the picture begins at 1 s, the sound at 0": Case(late(25, True), notes=(LATE,), seen="with frame 25 of"),
    "the picture begins at 3 s, the sound at 0": Case(late(75, True), name="a.mp4", notes=(LATE,), seen="frame 75"),
    # FFmpeg, and so the public loaders, count such a file's frames from its first one
    "no sound, the first frame at 0.32 s": Case(late(8, False), notes=(OTHER_COUNT,), seen="492 decoded", pictures=8),
    "no sound, the first frame at 1 s": Case(late(25, False), dropped=LENGTH, seen="the first frame is at 1.00 s"),
    "no sound, the first frame at 3 s": Case(late(75, False), dropped=LENGTH, seen="425 frames (17.00 s) decoded"),
    "no video": Case(None, dropped="video missing", seen="a.mkv"),
    "no byte": Case(part(lambda _: b""), dropped=UNREADABLE, seen="(0 bytes)"),
    "262 bytes of Matroska": Case(part(lambda data: data[:262]), dropped=UNREADABLE, seen="262 bytes"),
    "5 kB of Matroska": Case(part(lambda data: data[:5000]), dropped=LENGTH, seen="decoded, 500 (20.00 s)"),
    "an MP4 header alone": Case(empty_mp4, name="a.mp4", dropped=UNREADABLE, seen="a.mp4"),
    "half an MP4": Case(part(lambda d: d[: len(d) // 2]), name="a.mp4", dropped=UNREADABLE, seen="a.mp4"),
    "a Matroska file without its head": Case(part(lambda d: bytes(400) + d[400:]), dropped=UNREADABLE, seen="a.mkv"),
    "75 boxes from frame 480 of 500 on": Case(
        whole, {"st_frame": 480, "bbox": [GOOD] * 75}, notes=(CUT,), seen="frames [479, 554) with 75 boxes", ends=39
    ),
    "boxes that begin after the video": Case(whole, {"st_frame": 501}, dropped="event outside the clip", seen="(500, "),
    "three boxes with negative sides": Case(
        whole, {"bbox": WORSE + [GOOD] * 197}, notes=(LEFT_OUT,), seen="3 without area"
    ),
    "boxes with negative sides alone": Case(whole, {"bbox": WORSE * 60}, dropped="no usable box", seen="none of 180"),
    "boxes beyond the width": Case(whole, {"bbox": [[400, 2, 200, 20]] * 200}),
    "annotated at 30 frames per second, decoded at 29.97": Case(
        fewer_at_a_rate,
        {"img_num": 600, "st_frame": 121, "bbox": [GOOD] * 240},
        notes=(RATE,),
        seen="30 per second annotated, 29.97 decoded",
        pictures=None,
    ),
    "a name with a colon": Case(whole, name="12:30_a.mkv"),
}


def place(root: Path, case: Case) -> Path:
    """Write a data root with the clip and a sound one; returns the clip's path."""
    video = root / "hc-stvg/v1_video" / case.name
    whole(root / "hc-stvg/v1_video/good.mp4")
    if case.write is not None:
        case.write(video)
    (root / "hc-stvg/test.json").write_text(json.dumps({case.name: entry(**case.changes), "good.mp4": entry()}))
    return video


@pytest.fixture
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STVG_DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("STVG_CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.setenv("STVG_MAX_SIDE", "512")


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    status = main([*words, "--format", "json"])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.usefixtures("_root")
@pytest.mark.parametrize("title", CASES)
def test_a_row_or_an_explained_drop(tmp_path: Path, title: str, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES[title]
    video = place(tmp_path, case)
    kept = case.dropped is None

    rows, report = load_rows("hcstvg_v1", "test", Settings.from_env())
    row_truths = {(c := RowTruth.from_json(row["stvg"])).id: c for row in rows}
    assert set(row_truths) == {"good.mp4"} | ({case.name} if kept else set())
    assert {reason: count for reason, (count, _) in report.dropped.items()} == ({} if kept else {case.dropped: 1})
    assert [note.startswith(start) for note, start in zip(report.notes, case.notes, strict=True)] == [True] * len(
        case.notes
    )
    said = [example for _, example in (*report.dropped.values(), *report.notes.values())]
    assert all(case.seen in example and case.name in example for example in said), said

    if kept and case.pictures is not None:
        shown, row_truth = (
            numbers_seen(read_frames(video, row_truths[case.name].timeline.frames)),
            row_truths[case.name],
        )
        off = np.array(shown) - row_truth.annotated
        assert off.tolist() == [case.pictures] * len(off)
        first = case.changes.get("st_frame", 101) - 1
        end = min(first + len(case.changes.get("bbox", [0] * 200)), COUNT)
        inside = np.flatnonzero((row_truth.annotated >= first) & (row_truth.annotated < end))
        assert row_truth.span == (inside[0], inside[-1])
        assert case.ends is None or row_truth.span[1] == case.ends

    status, found = told(capsys, "check", "hcstvg_v1:test", "--videos", "--max_dropped", "1")
    assert status == 0
    assert found["decoded"] == {"clips": 1 + kept, "failed": []}
    assert {r: d["count"] for r, d in found["parts"][0]["dropped"].items()} == ({} if kept else {case.dropped: 1})
    assert set(found["parts"][0]["notes"]) == set(report.notes)

    exact = [{"response": c.format.render(c.answer), "stvg": c.to_json()} for c in row_truths.values()]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in exact))
    status, found = told(capsys, "score", str(tmp_path / "r.jsonl"), "--dataset", "hcstvg_v1:test")
    (system,) = found["systems"]
    bad_annotation = case.dropped == "event outside the clip"
    assert system["counts"]["scored"] == len(row_truths)
    assert found["ground_truth"]["samples"] == 2 - bad_annotation, "an annotation without a usable video counts"
    assert set(system["reasons"]) == (set() if kept or bad_annotation else {"missing"})
    if not kept and not bad_annotation:
        assert case.name in system["reasons"]["missing"]["example"]
    if kept:
        (reached,) = (t["rows"][0]["metrics"]["m_tIoU"][0] for t in found["tables"] if t["protocol"] == "cg_stvg")
        assert reached > 0.85, "an event of 21 frames is met by one index"

    with server(lambda _: exact[0]["response"]) as (url, _):
        words = ["--endpoint", url, "--retries", "0"]
        assert main(["ground", "--dataset", "hcstvg_v1:test", "--out", str(tmp_path / "g.jsonl"), *words]) == 0
        answered = [json.loads(line) for line in (tmp_path / "g.jsonl").read_text().splitlines()]
        assert {RowTruth.from_json(line["stvg"]).id for line in answered} == set(row_truths)
        capsys.readouterr()
        readable = case.dropped not in ("video missing", UNREADABLE)
        assert main(["ground", str(video), "the man in red", "--format", "json", *words]) == (0 if readable else 1)
    captured = capsys.readouterr()
    if readable:
        assert json.loads(captured.out)["videos"] == [str(video)]
    else:
        (error,) = [line for line in captured.err.splitlines() if "swift-stvg: error" in line]
        assert case.name in error


@pytest.mark.slow
@pytest.mark.usefixtures("_root")
@pytest.mark.parametrize("name", ["12:30.mp4", "file:a.mp4", "pipe:0.mp4", "a b .mp4 ", "-a.mp4", "100%.mp4"])
def test_names_that_mean_something_to_others(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files lie in the working folder, so that the name begins the path."""
    whole(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    given = f"./{name}" if name.startswith("-") else name
    with server(lambda _: "nothing") as (url, _):
        assert main(["ground", given, "the man in red", "--format", "json", "--endpoint", url]) == 0
    assert json.loads(capsys.readouterr().out)["n_frames"] == COUNT


@pytest.mark.slow
@pytest.mark.usefixtures("_root")
def test_a_byte_order_mark_before_every_kind_of_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place(tmp_path, CASES["nothing wrong"])
    line = {"stvg_schema": 1, "id": "b", "video": "hc-stvg/v1_video/a.mkv", "sentence": "it grows", "n_frames": COUNT}
    line |= {
        "fps": 25.0,
        "size_wh": [512, 32],
        "span_frames": [10, 90],
        "tube": [[k, 1, 1, 30, 20] for k in range(10, 90)],
    }
    (tmp_path / "mine.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "tubes.json").write_text(json.dumps({"a.mkv": {"span_frames": [100, 299], "boxes": {"100": GOOD}}}))
    files = [tmp_path / "hc-stvg/test.json", tmp_path / "mine.jsonl", tmp_path / "tubes.json"]
    expected = [row["stvg"] for row in load_rows("hcstvg_v1", "test", Settings.from_env())[0]]
    for path in files:
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    rows, report = load_rows("hcstvg_v1", "test", Settings.from_env())
    assert ([row["stvg"] for row in rows], report.dropped) == (expected, {})
    assert len(load_rows("stvg_jsonl", "mine.jsonl", Settings.from_env())[0]) == 1
    (tmp_path / "r.jsonl").write_bytes(
        codecs.BOM_UTF8 + b"".join(json.dumps({"response": "", "stvg": row["stvg"]}).encode() + b"\r\n" for row in rows)
    )
    for name in ("r.jsonl", "tubes.json"):
        status, found = told(capsys, "score", str(tmp_path / name), "--dataset", "hcstvg_v1:test")
        assert status == 0
        assert not {"unreadable line", "unknown id"} & set(found["systems"][0]["reasons"]), name


@pytest.mark.slow
@pytest.mark.usefixtures("_root")
@pytest.mark.parametrize("name", ["r.jsonl ", "a folder /r.jsonl", " r.JSONL"])
def test_results_whose_path_has_a_space_at_an_end(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place(tmp_path, CASES["nothing wrong"])
    (tmp_path / name).parent.mkdir(exist_ok=True)
    rows = load_rows("hcstvg_v1", "test", Settings.from_env())[0]
    lines = (json.dumps({"response": "", "stvg": row["stvg"]}) + "\n" for row in rows)
    (tmp_path / name).write_text("".join(lines))
    assert told(capsys, "score", str(tmp_path / name), "--dataset", "hcstvg_v1:test")[0] == 0
    missing = str(tmp_path / name).rstrip() + "_ "
    assert main(["score", missing]) == 1
    assert re.search(r"no file '.*_ '", capsys.readouterr().err), "the space can be seen"
