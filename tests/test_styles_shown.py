"""`show` and `headroom` for answers in every style and every kind of coordinates, written here from known tubes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swift_stvg.cli import main
from swift_stvg.report.drawing import Overlay
from swift_stvg.report.page import media
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.settings import STYLES, Settings
from swift_stvg.sources import load_rows
from tests.shown import data_of

FPS, SECONDS, RATE = 10, 5, 2
"""Native frames a second, length of a clip, and frames a second that the model sees."""
SOURCE_WH, SEEN_WH = (160, 96), (80, 48)
Boxes = dict[int, np.ndarray]
"""A box (4,) in shares of 1 for each index."""
EXTENTS = {"pixel": SEEN_WH, "source": SOURCE_WH, "norm1000": (1000, 1000), "unit": (1000, 1000)}
"""What a share of 1 is in the numbers of an answer; shares are written with three decimals."""


def numbers(box: np.ndarray, coords: str) -> list[str]:
    whole = np.rint(box * np.tile(EXTENTS[coords], 2)).astype(int).tolist()
    return [f"{number / 1000:.3f}" if coords == "unit" else str(number) for number in whole]


def tags(think: Boxes, pred: Boxes, coords: str) -> str:
    lists = [", ".join(f"{i}. [{', '.join(numbers(box, coords))}]" for i, box in of.items()) for of in (think, pred)]
    span = f"<time> {min(pred)} - {max(pred)} </time>"
    return f"{span} <think_bbox> {lists[0]} </think_bbox> <pred_bbox> {lists[1]} </pred_bbox>"


def csv(_: Boxes, pred: Boxes, coords: str) -> str:
    rows = [",".join([str(i), *numbers(box, coords)]) for i, box in pred.items()]
    return "\n".join([f"{min(pred)},{max(pred)}", *rows])


def fig8(_: Boxes, pred: Boxes, coords: str) -> str:
    span, *rows = csv(_, pred, coords).split("\n")
    return "\n".join([span.replace(",", "-"), "second,x1,y1,x2,y2", *rows])


def span_json(think: Boxes, pred: Boxes, coords: str) -> str:
    lists = [{str(i): [json.loads(n) for n in numbers(box, coords)] for i, box in of.items()} for of in (think, pred)]
    content = {"time": [min(pred), max(pred)], "think_boxes": lists[0], "boxes": lists[1]}
    return f"<answer>{json.dumps(content)}</answer>"


def qwen_json(think: Boxes, pred: Boxes, coords: str) -> str:
    found = []
    for i, box in pred.items():
        first, last = ([json.loads(n) for n in numbers(b, coords)] for b in (think[i], box))
        found.append({"time": float(i), "think_bbox_2d": first, "bbox_2d": last})
    return f"```json\n{json.dumps(found)}\n```"


WRITERS: dict[str, Callable[[Boxes, Boxes, str], str]] = {
    "tags": tags,
    "csv": csv,
    "fig8": fig8,
    "span_json": span_json,
    "qwen_json": qwen_json,
}
THINKING = {"tags", "span_json", "qwen_json"}
CASES = [
    *((style, coords, "second") for style in ("tags", "csv", "span_json", "qwen_json") for coords in EXTENTS),
    *((style, coords, "frame") for style in ("tags", "csv") for coords in EXTENTS),
    ("fig8", "unit", "second"),
]
MOST = [
    pytest.param(*case, marks=pytest.mark.long if case[0] in ("tags", "csv") and case[2] == "second" else [])
    for case in CASES
]
"""Of each style at least one form; all of them with `--all`."""


def test_every_style_is_here() -> None:
    assert {*WRITERS, "ids"} == set(STYLES)
    assert {style for style, _, _ in CASES} == set(WRITERS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips whose annotations are exact, and the tracks of all that moves in them."""
    root = tmp_path_factory.mktemp("data")
    words = ["--split", "test=2", "--duration-s", str(SECONDS), "--fps", str(FPS), "--seed", "0"]
    words += ["--size-wh", *map(str, SOURCE_WH), "--tracks", str(root / "tracks.json"), "--track_noise", "0"]
    assert main(["synth", str(root / "stvg_synthetic"), *words]) == 0
    return root


def settings_of(data: Path, style: str, coords: str, unit: str) -> Settings:
    return Settings(
        data_root=str(data), cache_dir=None, proposals=str(data / "tracks.json"), style=style, coords=coords,
        index_unit=unit, fps=RATE, max_side=max(SEEN_WH), side_multiple=16,
    )  # fmt: skip


def tubes(data: Path, unit: str) -> list[Boxes]:
    """The annotated box at each index of each event."""
    step = FPS if unit == "second" else FPS // RATE
    found = []
    for line in (data / "stvg_synthetic/test.jsonl").read_text().splitlines():
        tube = {int(frame): np.array(box) / np.tile(SOURCE_WH, 2) for frame, *box in json.loads(line)["tube"]}
        found.append({frame // step: box for frame, box in tube.items() if frame % step == 0})
    return found


def scaled(tube: Boxes, by: float) -> Boxes:
    """The same centres, and sides `by` times as long."""
    middle = {i: np.tile((box[:2] + box[2:]) / 2, 2) for i, box in tube.items()}
    return {i: middle[i] + by * (box - middle[i]) for i, box in tube.items()}


def rows_with(data: Path, settings: Settings, texts: list[str]) -> list[dict[str, Any]]:
    rows, _ = load_rows("stvg_synthetic", "test", settings)
    return [row | {"response": text} for row, text in zip(rows, texts, strict=True)]


def overlays_of(rows: list[dict[str, Any]], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Overlay]:
    """What `show` draws onto the clips."""
    drawn: dict[str, Overlay] = {}
    real = media.render

    def render(overlay: Overlay, video: Path, out: Path) -> None:
        drawn[str(video)] = overlay
        real(overlay, video, out)

    monkeypatch.setattr(media, "render", render)
    (folder / "result.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [str(folder / "result.jsonl"), "--out", str(folder / "page"), "--workers", "1"]
    assert main(["show", *words, "--overlays", "all"]) == 0
    return [drawn[row["videos"][0]] for row in rows]


def drawn_boxes(overlay: Overlay, kind: str) -> dict[float, list[float]]:
    """Boxes in shares of 1 by their time in the clip; none if there is no such track."""
    tracks = [track for track in overlay.tracks if track.kind == kind]
    return {
        round(t, 3): box for track in tracks for t, box in zip(track.times_s, track.boxes_xyxy.tolist(), strict=True)
    }


def assert_same(found: dict[float, list[float]], tube: Boxes, unit: str, most: float) -> None:
    step_s = 1.0 if unit == "second" else 1 / RATE
    assert list(found) == [i * step_s for i in tube]
    for i, box in tube.items():
        assert found[i * step_s] == pytest.approx(box.tolist(), abs=most)


@pytest.mark.slow
@pytest.mark.parametrize(("style", "coords", "unit"), MOST)
def test_a_page_draws_the_boxes_of_the_answers(
    style: str, coords: str, unit: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tubes(data, unit)
    texts = [WRITERS[style](scaled(tube, 0.5), scaled(tube, 0.8), coords) for tube in known]
    rows = rows_with(data, settings_of(data, style, coords, unit), texts)
    rounding = 0.501 / min(EXTENTS[coords])
    for tube, overlay in zip(known, overlays_of(rows, tmp_path, monkeypatch), strict=True):
        assert_same(drawn_boxes(overlay, "truth"), tube, unit, rounding)
        assert_same(drawn_boxes(overlay, "pred"), scaled(tube, 0.8), unit, rounding)
        assert_same(drawn_boxes(overlay, "think"), scaled(tube, 0.5) if style in THINKING else {}, unit, rounding)
        assert len({track.span_s for track in overlay.tracks}) == 1, "the span is the true one"
    for card, text in zip(data_of(tmp_path / "page")["cards"], texts, strict=True):
        assert (card["status"], card["response"], card["tIoU"]) == ("scored", text, 1.0)
        assert card["answer"] == card["truth"]
        assert 0.4 < card["vIoU"] < 0.9, "0.64 but for rounding to pixels"
        assert (card["think"] is None) == (style not in THINKING)
        assert card["think"] is None or card["think"] < card["vIoU"]


@pytest.mark.slow
def test_a_page_draws_the_tracks_that_answers_name(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(data, "ids", "pixel", "frame")
    known = tubes(data, "frame")
    truths = [RowTruth.from_json(row["stvg"]) for row in load_rows("stvg_synthetic", "test", settings)[0]]
    texts = [
        f"<time> {min(tube)} - {max(tube)} </time> <object> {truth.object} </object>"
        for tube, truth in zip(known, truths, strict=True)
    ]
    for tube, overlay in zip(known, overlays_of(rows_with(data, settings, texts), tmp_path, monkeypatch), strict=True):
        assert_same(drawn_boxes(overlay, "pred"), tube, "frame", 0.501 / min(SEEN_WH))
    assert [card["tIoU"] for card in data_of(tmp_path / "page")["cards"]] == [1.0] * len(known)


@pytest.mark.parametrize(("style", "coords", "unit"), CASES)
def test_headroom_measures_the_boxes_of_the_answers(
    style: str, coords: str, unit: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Greedy boxes have 0.8 of the true sides; of two samples one is exact, the other has 0.5 of the sides."""
    known, write = tubes(data, unit), WRITERS[style]
    greedy, exact, small = ([write(scaled(t, s), scaled(t, s), coords) for t in known] for s in (0.8, 1.0, 0.5))
    rows = rows_with(data, settings_of(data, style, coords, unit), greedy)
    lines = [
        {"stvg": row["stvg"], "video": row["videos"][0], "greedy": row["response"], "samples": [right, wrong]}
        for row, right, wrong in zip(rows, exact, small, strict=True)
    ]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["headroom", "--answers", str(tmp_path / "answers.jsonl"), "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert ("stvg_think" in report["weights"]) == (style in THINKING)
    figures = {
        name: {line: {c: v[0] for c, v in of.items()} for line, of in s.items()}
        for name, s in report["figures"].items()
    }
    gain, bias = figures["gain"], figures["bias"]
    assert figures["validity"]["well-formed"] == figures["validity"]["scored"] == {"greedy": 1.0, "samples": 1.0}
    assert gain["share of samples"] == {"better than greedy": 0.5, "worse than greedy": 0.5}
    assert gain["m_tIoU"]["greedy"] == gain["m_tIoU"]["samples"] == 1.0
    fine = 0.01 if min(EXTENTS[coords]) > 900 else 0.2  # thousandths, or pixels of things that have few
    assert gain["m_vIoU"]["greedy"] == pytest.approx(0.64, abs=fine)
    assert gain["m_vIoU"]["best sample"] == pytest.approx(1.0, abs=fine)
    assert gain["m_vIoU"]["samples"] == pytest.approx((1 + 0.25) / 2, abs=fine)
    assert bias["span: start, s late"] == bias["span: end, s late"] == {"greedy": 0.0, "samples": 0.0}
    assert bias["boxes: share too wide"]["greedy"] == pytest.approx(-0.2, abs=fine)
    assert bias["boxes: share too high"]["samples"] == pytest.approx(-0.25, abs=fine)
    assert bias["boxes: shift right, of the width"]["greedy"] == pytest.approx(0.0, abs=fine)
