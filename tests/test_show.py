"""`swift-stvg show`: the content of the page, its drawings, their reuse, and refused folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from swift_stvg.cli import main
from swift_stvg.errors import DataError
from swift_stvg.report.page.html import safe_json
from swift_stvg.report.page.training import read_curves
from swift_stvg.settings import Settings
from tests.shown import ANSWERS, CLIPS, OTHERS, data_of, logged, moved, rows_of, write_result


@pytest.fixture
def result(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STVG_DATA_ROOT", str(shapes))
    monkeypatch.setenv("STVG_CACHE_DIR", "off")
    monkeypatch.chdir(tmp_path)
    return write_result(tmp_path / "result.jsonl", rows_of(shapes))


def show(*words: object) -> int:
    return main(["show", *map(str, words), "--workers", "1"])


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_the_figures_are_the_scorers(result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(result, "--out", "page") == 0
    assert f"{CLIPS} samples, {CLIPS} of them drawn" in capsys.readouterr().out
    assert main(["score", str(result), "--format", "json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["tables"][0]["rows"][0]["metrics"]
    data = data_of(tmp_path / "page")
    for name, column in (("m_tIoU", "tIoU"), ("m_vIoU", "vIoU")):
        assert np.mean([card[column] for card in data["cards"]]) == pytest.approx(metrics[name][0], abs=1e-4)
        assert [f"{100 * metrics[name][0]:.1f}", name] in [[tile[0], tile[2]] for tile in data["tiles"]]
    gains = [None if c["think"] is None else np.sign(round(c["vIoU"] - c["think"], 3)) for c in data["cards"]]
    assert gains == [1, -1, 1, 0, 0, None, None, 1]
    assert [card["status"] for card in data["cards"]] == ["scored"] * 5 + ["unparsable", "inconsistent", "scored"]
    assert {f["reason"]: f["count"] for f in data["failures"]} == {"unparsable": 1, "inconsistent": 1}
    assert all(card["sentence"].endswith((".", "?")) for card in data["cards"])
    assert len(data["charts"]) == 4
    for card in data["cards"]:
        (lost,) = (line for line in card["diagnosis"] if line.startswith("lost vIoU"))
        points = float(lost.split(": ")[1].split()[0])
        assert points == pytest.approx(100 * (1 - card["vIoU"]), abs=0.06)
        assert any(line.startswith("times: starts") for line in card["diagnosis"]) == (card["status"] == "scored")


@pytest.mark.slow
def test_what_is_drawn_by_default_and_used_again(result: Path, tmp_path: Path) -> None:
    assert show(result, "--out", "page", "--overlays", "1") == 0
    drawn = {i for i, card in enumerate(data_of(tmp_path / "page")["cards"]) if "media" in card}
    assert {0, 1, 3} < drawn, "the best and most improved, the most damaged, the worst"
    assert drawn & {5, 6}, "one that counts 0"
    assert len(drawn) == 4
    media = tmp_path / "page/media"
    before = {path: path.stat().st_mtime_ns for path in media.iterdir()}
    assert len(before) == 8, "a film and a still of each"
    assert show(result, "--out", "page", "--overlays", "all") == 0
    after = {path: path.stat().st_mtime_ns for path in media.iterdir()}
    assert before.items() <= after.items()
    assert len(after) == 2 * CLIPS
    answers = [lambda row: moved(row, 0.3, 0.05), *ANSWERS[1:]]
    write_result(result, rows_of(Settings.from_env().root), answers)
    assert show(result, "--out", "page", "--overlays", "all") == 0
    names = {path.name for path in media.iterdir()}
    assert len(names) == 2 * CLIPS, "what is not shown any more is deleted"
    assert len(names - {path.name for path in after}) == 2


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes(result: Path, tmp_path: Path) -> None:
    assert main(["show", str(result), "--out", "one", "--workers", "2", "--also", "sheet"]) == 0
    assert show(result, "--out", "two", "--also", "sheet") == 0
    one, two = content(tmp_path / "one"), content(tmp_path / "two")
    assert one == two
    assert {Path(name).suffix for name in one} == {".html", ".json", ".jpg", ".mp4", ".png"}


@pytest.mark.slow
def test_missing_videos_are_said_and_counted(
    result: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    lines = [json.loads(line) for line in result.read_text().splitlines()]
    for i, line in enumerate(lines):
        line["videos"] = [str(tmp_path / ("broken.mp4" if i == 0 else "gone.mp4"))]
    result.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert show(result, "--out", "page") == 0
    printed = capsys.readouterr()
    assert f"{CLIPS} samples, 0 of them drawn" in printed.out
    assert f"not drawn: {CLIPS - 1} x video missing" in printed.err
    assert "not drawn: 1 x video unreadable" in printed.err
    whys = [card["why"] for card in data_of(tmp_path / "page")["cards"]]
    assert whys[0].startswith("video unreadable")
    assert all(why.startswith("video missing: no file") for why in whys[1:])
    assert show(result, "--out", "page", "--dataset", "stvg_synthetic:test") == 0, "whose videos are there"
    assert sum("media" in card for card in data_of(tmp_path / "page")["cards"]) == CLIPS - 1


@pytest.mark.slow
def test_a_ground_truth_with_more_than_was_answered(result: Path, tmp_path: Path) -> None:
    lines = result.read_text().splitlines(keepends=True)
    result.write_text("".join(lines[:3]) + "{cut off")
    words = ["--dataset", "stvg_synthetic:test", "--protocol", "hcstvg_official,native"]
    assert show(result, "--out", "page", *words) == 0
    data = data_of(tmp_path / "page")
    assert [card["status"] for card in data["cards"]] == ["scored"] * 3 + ["missing"] * (CLIPS - 3)
    assert data["cards"][-1]["why"] == "there is no answer to draw"
    assert data["cards"][-1]["sentence"]
    assert [table["title"].partition(":")[0] for table in data["tables"]] == ["hcstvg_official", "native"]
    assert "hcstvg_official" in data["subtitle"]
    assert {f["reason"]: f["zero"] for f in data["failures"]} == {"missing": True, "unreadable line": False}


@pytest.mark.slow
def test_nothing_could_be_parsed(result: Path, shapes: Path, tmp_path: Path) -> None:
    write_result(result, rows_of(shapes), [lambda row: ""] * CLIPS)
    assert show(result, "--out", "page", "--overlays", "2") == 0
    data = data_of(tmp_path / "page")
    assert [card["vIoU"] for card in data["cards"]] == [0.0] * CLIPS
    assert sum("media" in card for card in data["cards"]) == 2
    assert len(data["charts"]) == 2, "nothing about think boxes"


@pytest.mark.slow
def test_without_think_boxes(result: Path, shapes: Path, tmp_path: Path) -> None:
    write_result(result, rows_of(shapes, think=False))
    assert show(result, "--out", "page") == 0
    data = data_of(tmp_path / "page")
    assert {card["think"] for card in data["cards"]} == {None}
    assert data["cards"][0]["vIoU"] == 1.0
    assert len(data["charts"]) == 2


@pytest.mark.slow
def test_a_dataset_without_any_model(result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show("--dataset", "stvg_synthetic:test", "--out", "page", "--overlays", "1") == 0
    assert f"{CLIPS} samples, 4 of them drawn" in capsys.readouterr().out
    data = data_of(tmp_path / "page")
    assert [i for i, card in enumerate(data["cards"]) if "media" in card] == [0, 2, 5, 7], "from all over it"
    assert "Length of the events" in data["charts"]
    assert [str(CLIPS), "", "sentences with a tube"] in data["tiles"]


@pytest.mark.slow
def test_a_dataset_whose_videos_are_missing(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stvg_synthetic").mkdir()
    shutil.copy(shapes / "stvg_synthetic/test.jsonl", tmp_path / "stvg_synthetic")
    monkeypatch.setenv("STVG_DATA_ROOT", str(tmp_path))
    assert show("--dataset", "stvg_synthetic:test", "--out", tmp_path / "page") == 0
    assert f"not drawn: {CLIPS} x video missing" in capsys.readouterr().err
    assert all("video missing" in card["why"] for card in data_of(tmp_path / "page")["cards"])


@pytest.mark.slow
def test_another_folder_is_left_alone(result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/index.html").write_text("mine")
    (tmp_path / "mine/show.json").write_text('{"what": "mine"}')
    (tmp_path / "file").write_text("mine")
    for name, message in (
        ("mine", "is not empty, and it does not hold a page of swift-stvg show"),
        ("file", "file cannot be used as a folder: Not a directory"),
        ("mine/index.html", "index.html cannot be used as a folder: Not a directory"),
    ):
        assert show(result, "--out", name) == 1
        assert message in capsys.readouterr().err
    assert content(tmp_path / "mine") == {"index.html": b"mine", "show.json": b'{"what": "mine"}'}
    (tmp_path / "empty").mkdir()
    assert show(result, "--out", "empty", "--overlays", "0") == 0
    (tmp_path / "empty/notes.txt").write_text("mine")
    (tmp_path / "empty/media/notes.txt").write_text("mine")
    assert show(result, "--out", "empty", "--overlays", "0") == 0
    assert {"notes.txt", "media/notes.txt"} <= content(tmp_path / "empty").keys(), "what is not ours is not deleted"


@pytest.mark.slow
def test_an_error_leaves_the_page_that_was_there(result: Path, tmp_path: Path) -> None:
    assert show(result, "--out", "page", "--overlays", "1") == 0
    before = content(tmp_path / "page")
    result.write_text("nothing\n")
    assert show(result, "--out", "page", "--overlays", "1") == 1
    assert content(tmp_path / "page") == before


@pytest.mark.slow
def test_two_systems_have_the_figures_and_intervals_of_the_scorer(
    result: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_result(tmp_path / "other.jsonl", rows_of(shapes), OTHERS)
    assert show(result, other, "--out", "page") == 0
    assert f"{CLIPS} samples, {CLIPS} of them drawn" in capsys.readouterr().out
    data = data_of(tmp_path / "page")
    assert main(["score", str(result), str(other), "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["tables"][0]["rows"]
    (minus,) = [row for row in rows if "minus" in row and "group" not in row]
    mean, low, high = (f"{100 * value:+.1f}" for value in minus["metrics"]["m_vIoU"])
    (tile,) = [tile for tile in data["tiles"] if tile[2].startswith("m_vIoU: B - A")]
    assert tile[:2] == [mean, f"[{low}, {high}]"]
    for i, path in enumerate((result, other)):
        assert show(path, "--out", "alone") == 0
        for one, card in zip(data_of(tmp_path / "alone")["cards"], data["cards"], strict=True):
            assert card["systems"][i] == {name: one[name] for name in card["systems"][i]}
    assert data["systems"] == ["result.jsonl", "other.jsonl"]
    assert {f["reason"]: f["count"] for f in data["failures"]} == {
        "A: unparsable": 1,
        "A: inconsistent": 1,
        "B: unparsable": 1,
    }
    leads = [c["systems"][0]["vIoU"] - c["systems"][1]["vIoU"] for c in data["cards"]]
    assert np.sign(np.round(leads, 3)).tolist() == [1, -1, 0, -1, 1, -1, 0, 0]
    assert ["2 : 3", "", "samples that A and B win; 3 are a draw"] in data["tiles"]


@pytest.mark.slow
def test_two_systems_are_joined_by_id(result: Path, shapes: Path, tmp_path: Path) -> None:
    """In any order. Ids in only one file are counted and reported, and count 0 for the other file."""
    (tmp_path / "b").mkdir()
    other = write_result(tmp_path / "b/result.jsonl", rows_of(shapes))
    lines = other.read_text().splitlines(keepends=True)
    other.write_text("".join(lines[:2:-1]))  # without the first three
    result.write_text("".join(result.read_text().splitlines(keepends=True)[:-1]))
    assert show(result, other, "--out", "page") == 0
    data = data_of(tmp_path / "page")
    systems = {card["id"]: [s["status"] for s in card["systems"]] for card in data["cards"]}
    assert len(systems) == CLIPS
    assert sum(b == "missing" for _, b in systems.values()) == 3
    assert sum(a == "missing" for a, _ in systems.values()) == 1
    labels = [tile[2] for tile in data["tiles"]]
    assert "answers of A that count; 1 samples are not in its file" in labels
    assert "answers of B that count; 3 samples are not in its file" in labels
    assert {f["reason"]: f["count"] for f in data["failures"]}["B: missing"] == 3
    assert data["systems"] == [str(result), str(other)], "the same name twice says nothing"
    assert all("media" in card for card in data["cards"])


@pytest.mark.slow
def test_two_systems_of_other_grids_need_the_annotations(
    result: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_result(tmp_path / "other.jsonl", rows_of(shapes, index_unit="second", think=False))
    assert show(result, other, "--out", "page") == 1
    assert "give --dataset" in capsys.readouterr().err
    assert show(result, other, "--out", "page", "--dataset", "stvg_synthetic:test") == 0
    data = data_of(tmp_path / "page")
    assert sum("media" in card for card in data["cards"]) == CLIPS


WRONG = [
    (["--out", "page"], "give a result file of `swift infer`, or --dataset NAME:SUBSET"),
    (["tubes.json", "--out", "page"], "tubes.json must be a .jsonl file of `swift infer`"),
    (["result.jsonl"] * 3 + ["--out", "page"], "at most two result files"),
    (["result.jsonl", "tubes.json", "--out", "page"], "tubes.json must be a .jsonl file"),
    (["no.jsonl", "--out", "page"], "no.jsonl cannot be read"),
    (["result.jsonl", "--out", "page", "--logging", "no.jsonl"], "no.jsonl cannot be read"),
    (["result.jsonl", "--out", "page", "--logging", "result.jsonl"], "result.jsonl holds no step of a training"),
    (["result.jsonl", "--out", "page", "--protocol", "cg_stvg"], "give --dataset"),
    (
        ["--dataset", "stvg_synthetic:test", "--out", "page", "--protocol", "native"],
        "--protocol scores answers: give a result file",
    ),
    (["--dataset", "stvg_synthetic:nothing", "--out", "page"], "nothing"),
    (["result.jsonl", "--out", "page", "--workers", "0"], "--workers must be at least 1"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_wrong_use_is_one_clear_error(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (tmp_path / "tubes.json").write_text("{}")
    assert main(["show", *words]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("swift-stvg: error:")
    assert not (tmp_path / "page").exists()


LOGS = [
    (logged(1) + logged(5), [1, 5], [], "as it is"),
    (logged(1) + logged(5) + logged(10) + logged(6) + logged(9), [1, 5, 6, 9], ["before step 6"], "resumed at 5"),
    (logged(5) + logged(10) + logged(1, 30), [1], ["before step 1"], "begun anew in the same file"),
    (logged(1) + logged(5)[:20], [1], ["1 lines could not be read"], "cut off"),
    (logged(1) + '{"train_runtime": 3}\n{"log_history": [], "global_step": 5}\n', [1], [], "the summary at the end"),
    (logged(1) + "[]\n7\n\n" + '{"global_step/max_steps": 3}\n', [1], ["3 lines could not"], "other JSON"),
    (logged(1) + logged(2, loss=10**400) + logged(10**30), [1], ["1 lines could not"], "numbers beyond any use"),
    (logged(1) + logged(1, eval_loss=0.5), [1], [], "an evaluation at the same step"),
    (logged(1) + logged(2, loss=None) + logged(3, loss=float("nan")) + logged(4, loss="x"), [1], [], "no numbers"),
]


@pytest.mark.parametrize(("text", "steps", "notes", "reason"), LOGS)
def test_logs(tmp_path: Path, text: str, steps: list[int], notes: list[str], reason: str) -> None:
    (tmp_path / "logging.jsonl").write_text(text)
    curves = read_curves(tmp_path / "logging.jsonl")
    assert sorted(curves.of["loss"]) == steps, reason
    assert len(curves.notes) == len(notes)
    assert all(part in note for part, note in zip(notes, curves.notes, strict=True))


@pytest.mark.slow
def test_training_curves_stand_on_the_page(result: Path, tmp_path: Path) -> None:
    odd = "rewards/$x^{<b>$/mean"
    log = "".join(
        logged(i, reward=i / 10, eval_reward=i / 20, **{"rewards/StvgThink/mean": 0.1, odd: 1}) for i in (1, 5)
    )
    (tmp_path / "logging.jsonl").write_text(log)
    assert show(result, "--out", "page", "--logging", "logging.jsonl", "--overlays", "0") == 0
    titles = data_of(tmp_path / "page")["charts"]
    assert titles[4:] == ["loss", "reward", odd, "rewards/StvgThink/mean"]


def test_a_log_without_a_step(tmp_path: Path) -> None:
    (tmp_path / "logging.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="holds no step"):
        read_curves(tmp_path / "logging.jsonl")


@pytest.mark.parametrize("text", ["</script>", "<!--", "&lt;", "\u2028\u2029", "\ud800", "'\"`", "\x00"])
def test_data_is_no_markup(text: str) -> None:
    shown = safe_json([text])
    assert not set(shown) & set("<>&\u2028\u2029\x00")
    assert json.loads(shown) == [text]
