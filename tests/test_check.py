"""`swift-stvg check` on good, damaged and missing clips, and on settings that fit or do not fit."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.version import Version

from swift_stvg.cli import main
from swift_stvg.errors import DataError
from swift_stvg.recipes.host import HOOK, by_name_here
from swift_stvg.rows.making import video_request
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.dataset import REENCODE_COMMAND, bounds_of_tokens, distribution, too_long
from swift_stvg.settings import Settings
from swift_stvg.sources import load_rows, parse_dataset
from swift_stvg.synthetic.clips import SynthConfig, generate
from swift_stvg.video.reader import probe
from swift_stvg.video.request import VIDEO_KEY
from tests.helpers import row_truth
from tests.running import SIZES, run
from tests.videos import write_as, write_late


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with six and three clips of three seconds."""
    root = tmp_path_factory.mktemp("check")
    generate(root / "stvg_synthetic", {"train": 6, "val": 3}, SynthConfig(duration_s=3.0, sentences_per_clip=1))
    return root


@pytest.fixture
def data(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of these clips, set as the data root."""
    shutil.copytree(whole, tmp_path / "data")
    monkeypatch.setenv("STVG_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("STVG_CACHE_DIR", "off")
    return tmp_path / "data/stvg_synthetic"


def checked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    status = main(["check", *words, "--format", "json"])
    return status, json.loads(capsys.readouterr().out)


def videos(data: Path, split: str = "train") -> list[Path]:
    return [data / json.loads(line)["video"] for line in (data / f"{split}.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_sound_dataset_may_go_on(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, report = checked(capsys, "stvg_synthetic:train/val", "--videos", "--template", "stvg_qwen2_5_vl")
    assert (status, report["go_on"], report["errors"], report["warnings"]) == (0, True, [], [])
    assert report["plugin_by_name"]["works"], "in the environment that tests/check.sh makes"
    assert (report["rows"], report["videos"], report["decoded"]) == (9, 9, {"clips": 9, "failed": []})
    assert [part["name"] for part in report["parts"]] == ["stvg_synthetic:train", "stvg_synthetic:val"]
    assert report["figures"]["clip, s"] == [3.0] * 6
    assert report["figures"]["clip, sampled frames"] == [6.0] * 6
    assert sum(report["frame_sizes"].values()) == 9
    (kind,) = report["files"]
    assert (kind["kind"], kind["rows"], kind["videos"], kind["slow"]) == ("h264 in mov", 9, 9, 0)
    assert kind["decoded"] == kind["clip"], "clips are whole files"
    rows = (
        load_rows("stvg_synthetic", "train", Settings.from_env())[0]
        + load_rows("stvg_synthetic", "val", Settings.from_env())[0]
    )
    row_truths = [RowTruth.from_json(row["stvg"]) for row in rows]
    lengths = [c.span[1] - c.span[0] + 1 for c in row_truths]
    assert report["figures"]["event, indices"][3] == pytest.approx(np.mean(lengths))
    assert report["facts"]["events of one index"] == lengths.count(1)
    assert report["rewards"]["lines"]["exact answer"] == {
        "rows": 9,
        "earns": {
            name: [value] * 3
            for name, value in zip(
                ("stvg_format", "stvg_consistency", "stvg_temporal", "stvg_spatial", "stvg_think", "total"),
                (1.0, 1.0, 1.0, 2.0, 0.0, 5.0),
                strict=True,
            )
        },
    }
    assert main(["score", "--oracle", "stvg_synthetic:train", "--format", "json"]) == 0
    oracle = json.loads(capsys.readouterr().out)["tables"][0]["rows"][0]["metrics"]["m_tIoU"]
    ceiling = report["ceiling"]["stvg_synthetic:train"]
    (reached,) = (table["rows"][0]["metrics"]["m_tIoU"] for table in ceiling if table["protocol"] == "tubedetr")
    assert reached == oracle


def test_a_missing_start_up_hook_is_warned_of(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sys.meta_path", [finder for finder in sys.meta_path if getattr(finder, "__name__", "") != HOOK]
    )
    works, how = by_name_here()
    status, report = checked(capsys, "stvg_synthetic:val", "--annotations_only")
    assert (status, report["plugin_by_name"]) == (0, {"works": works, "how": how})
    assert report["warnings"] == ([] if works else [f"--external_plugins swift_stvg does not work here: {how}"])
    assert works == (Version(version("ms-swift")) < Version("4.5.3"))


def test_every_unreadable_clip_is_listed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in videos(data)[:2]:
        content = bytearray(path.read_bytes())
        begin = content.index(b"mdat") + len(content) // 3
        content[begin : begin + len(content) // 2] = bytes(len(content) // 2)
        path.write_bytes(content)
    status, report = checked(capsys, "stvg_synthetic:train", "--videos")
    assert status == 1
    failed = report["decoded"]["failed"]
    dropped = report["parts"][0]["dropped"]
    assert len(failed) + sum(found["count"] for found in dropped.values()) == 2, "at the first frame, or further in"
    assert {f["video"] for f in failed} <= set(map(str, videos(data)[:2]))
    if failed:
        assert any(f"{len(failed)} of " in error for error in report["errors"])


@pytest.mark.slow
def test_damage_beyond_the_first_frame_is_found_by_decoding_only(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = videos(data)[0]
    content = path.read_bytes()
    middle = content.index(b"mdat") + 4 + 3 * (len(content) - content.index(b"mdat")) // 5
    path.write_bytes(content[:middle] + bytes(len(content) - middle))
    status, report = checked(capsys, "stvg_synthetic:train")
    seen = report["parts"][0]["dropped"]
    assert (status == 0) == (not seen)
    status, report = checked(capsys, "stvg_synthetic:train", "--videos")
    assert status == 1, "one of the two ways tells"


@pytest.mark.slow
def test_missing_videos(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = videos(data)
    paths[0].unlink()
    status, report = checked(capsys, "stvg_synthetic:train")
    assert (status, report["rows"]) == (1, 5)
    assert report["errors"] == ["stvg_synthetic:train: 1 of 6 annotations are dropped"]
    assert report["parts"][0]["dropped"]["video missing"]["count"] == 1
    status, report = checked(capsys, "stvg_synthetic:train", "--max_dropped", "0.2")
    assert (status, report["errors"]) == (0, [])
    assert report["warnings"] == ["stvg_synthetic:train: 1 of 6 annotations are dropped"]
    for path in paths[1:]:
        path.unlink()
    status, report = checked(capsys, "stvg_synthetic:train")
    assert (status, report["rows"]) == (1, 6), "the annotations are looked at all the same"
    assert report["errors"] == ["stvg_synthetic:train: all videos are missing"]
    assert any(what.startswith("videos of stvg_synthetic:train") for what in report["not_checked"])
    status, report = checked(capsys, "stvg_synthetic:train", "--annotations_only")
    assert (status, report["rows"], report["errors"]) == (0, 6, [])
    assert any(what.startswith("videos; ") for what in report["not_checked"])


def test_no_usable_row_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.jsonl").write_text('{"stvg_schema": 1}\n')
    status, report = checked(capsys, f"stvg_jsonl:{tmp_path / 'bad.jsonl'}")
    assert (status, report["rows"], report["rewards"]) == (1, 0, None)
    assert report["errors"] == [f"stvg_jsonl:{tmp_path / 'bad.jsonl'}: 1 of 1 annotations are dropped"]


def test_a_number_of_rows_is_drawn(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, report = checked(capsys, "stvg_synthetic:train/val#4", "stvg_synthetic:val")
    assert status == 0
    assert report["rows"] == 4 + 3
    assert sum(part["drawn"] for part in report["parts"][:2]) == 4
    assert [part["kept"] for part in report["parts"]] == [6, 3, 3]


def test_settings_that_do_not_fit_the_template(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STVG_COORDS", "norm1000")
    monkeypatch.setenv("STVG_SIDE_MULTIPLE", "32")
    status, report = checked(capsys, "stvg_synthetic:val", "--template", "stvg_qwen2_5_vl")
    assert status == 1
    assert report["errors"] == [
        "STVG_COORDS is norm1000, but stvg_qwen2_5_vl needs pixel",
        "STVG_SIDE_MULTIPLE is 32, but stvg_qwen2_5_vl needs a multiple of 28",
    ]


def test_settings_that_can_be_hacked(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--reward_funcs", "stvg_format", "stvg_think", "--reward_weights", "1", "1"]
    status, report = checked(capsys, "stvg_synthetic:val", *words)
    assert status == 1
    assert any("'think boxes far off, final boxes right' earns as much as" in error for error in report["errors"])
    monkeypatch.setenv("STVG_SPATIAL_FLOOR", "1")
    status, report = checked(capsys, "stvg_synthetic:val")
    assert status == 1
    assert any("'all boxes far off' earns as much as the exact" in error for error in report["errors"])


def test_the_report_can_be_read(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "stvg_synthetic:val", "--annotations_only"]) == 0
    text = capsys.readouterr().out
    for line in ("Check of 3 rows of 3 videos", "Properties of the rows", "y before x", "not checked: token lengths"):
        assert line in text
    assert text.endswith("The training can begin.\n")
    words = ["--max_completion_length", "20", "--format", "markdown", "--out", str(tmp_path / "report.md")]
    assert main(["check", "stvg_synthetic:val", *words]) == 1
    text = (tmp_path / "report.md").read_text()
    assert "- error: 3 of 3 exact answers are longer than --max\\_completion\\_length 20" in text.replace(
        "--max_completion_length", "--max\\_completion\\_length"
    )
    assert text.endswith("- Correct the errors before you train.\n")


LENGTHS = """
import json, sys
from pathlib import Path
from swift import get_processor, get_template
import swift_stvg.adapters
from swift_stvg.cli import main
from swift_stvg.settings import Settings
from swift_stvg.sources import load_rows

model, out = sys.argv[1:]
template = get_template(get_processor(model, model_type="qwen2_5_vl"), template_type="stvg_qwen2_5_vl")
template.set_mode("train")
real = []
for row in load_rows("stvg_synthetic", "val", Settings.from_env())[0]:
    whole = template.encode(dict(row))
    asked = template.encode(dict(row) | {"messages": row["messages"][:-1]})
    real.append([len(whole["input_ids"]), len(asked["input_ids"])])
    Path(row["videos"][0]).unlink()
words = ["check", "stvg_synthetic:val", "--annotations_only", "--model", model, "--model_type", "qwen2_5_vl"]
words += ["--template", "stvg_qwen2_5_vl", "--format", "json", "--out", out]
runs = []
for completion, prompt in ((4, max(asked for _, asked in real) - 1), (512, 4096)):
    status = main([*words, "--max_completion_length", str(completion), "--max_length", str(prompt)])
    runs.append([status, json.loads(Path(out).read_text())])
from swift_stvg.adapters import positions
kind = positions._model_class("qwen2_5_vl")
assert positions.faults_of("qwen2_5_vl"), "transformers is right: take another fault"
kind.get_rope_index = getattr(kind.get_rope_index, positions.THEIRS)  # as transformers has it
status = main([*words, "--max_completion_length", "512", "--max_length", "4096"])
runs.append([status, json.loads(Path(out).read_text())])
print("LENGTHS", json.dumps([real, runs]))
"""


@pytest.mark.swift
def test_token_lengths_are_those_of_the_template(data: Path, workspace: Path, tmp_path: Path) -> None:
    """Lengths without decoding equal the lengths for real frames."""
    words = [sys.executable, "-c", LENGTHS, str(workspace / "tiny"), str(tmp_path / "report.json")]
    printed = run(words, tmp_path, SIZES | {"STVG_DATA_ROOT": str(data.parent)})
    (line,) = [line for line in printed.splitlines() if line.startswith("LENGTHS")]
    real, ((status, report), (fine, other), (uncorrected, wrong)) = json.loads(line.removeprefix("LENGTHS"))
    whole, asked = np.array(real).T
    assert (status, fine, other["errors"]) == (1, 0, [])
    assert report["figures"]["prompt, tokens"] == pytest.approx(distribution(asked))
    # the template ends the answer with the token that ends a turn and a line break, the model with the former
    assert report["figures"]["exact answer, tokens"] == pytest.approx(distribution(whole - asked - 1))
    assert report["figures"]["prompt, tokens of pixels"][0] > 0
    assert any("3 of 3 exact answers are longer" in error for error in report["errors"])
    assert any("prompts are longer than --max_length" in error for error in report["errors"])
    assert (
        "3 of 3 rows have the prompts and positions of the model's release; corrected: in transformers"
        in (other["facts"]["prompts and positions"])
    )
    assert uncorrected == 1
    assert len(wrong["errors"]) == 3
    assert "the model's input differs from its pretraining: val_" in wrong["errors"][0]
    assert " is at position [" in wrong["errors"][0]


def test_limits_on_tokens() -> None:
    rows = [row_truth(row_id="a"), row_truth(row_id="b")]
    prompt, answer = np.array([100, 200]), np.array([50, 40])
    assert too_long(rows, prompt, answer, None, None) == []
    assert too_long(rows, prompt, answer, 240, None) == []
    assert too_long(rows, prompt, answer, 239, None) == [
        "1 of 2 prompts with their answers are longer than --max_length 239, up to 240 tokens, row b"
    ]
    assert too_long(rows, prompt, answer, 199, 50) == [
        "1 of 2 prompts are longer than --max_length 199, up to 200 tokens, row b"
    ]
    assert too_long(rows, prompt, answer, None, 49) == [
        "1 of 2 exact answers are longer than --max_completion_length 49, up to 50 tokens, row a"
    ]
    text = rows[0].format.render(rows[0].answer)
    digits = sum(map(str.isdigit, text))
    known, errors = bounds_of_tokens(rows, digits - 1)
    assert f"need {digits} to {len(text)} for" in known
    assert len(errors) == 1
    assert bounds_of_tokens(rows, digits)[1] == []


DATASETS = [
    ("hcstvg_v2:train", ("hcstvg_v2", ["train"], None)),
    ("vidstg:train/val#5000", ("vidstg", ["train", "val"], 5000)),
    ("vidstg:all", ("vidstg", ["train", "val", "test"], None)),
    ("stvg_jsonl:/my/own file.jsonl#7", ("stvg_jsonl", ["/my/own file.jsonl"], 7)),
    ("stvg_synthetic:x", ("stvg_synthetic", ["x"], None)),
]


@pytest.mark.parametrize(("text", "expected"), DATASETS)
def test_datasets_are_written_as_for_ms_swift(text: str, expected: tuple[str, list[str], int | None]) -> None:
    assert parse_dataset(text) == expected


@pytest.mark.parametrize(("text", "message"), [("hcstvg:train", "unknown dataset"), ("vidstg:val#many", "got 'many'")])
def test_datasets_that_are_none(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_dataset(text)


WRONG = [
    (["vidstg:tset"], "has no subset 'tset'"),
    (["stvg_synthetic:val", "--rows", "0"], "--rows must be at least 1"),
    (["stvg_synthetic:val", "--max_length", "9"], "also counts the tokens of pixels: give --model"),
    (["stvg_synthetic:val", "--videos", "--annotations_only"], "give one of them"),
    (["stvg_synthetic:val", "--workers", "0"], "--workers must be at least 1"),
    (["stvg_synthetic:val", "--reward_funcs", "stvg_form"], "unknown reward stvg_form"),
    (["stvg_synthetic:val", "--out", "no/such/folder/r.txt"], "there is no folder"),
    (["stvg_synthetic:val", "--template", "qwen2_5_vl"], "unknown template 'qwen2_5_vl'; the templates are"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_wrong_use_is_one_clear_error(
    data: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["check", *words]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "swift-stvg: error" in line]
    assert len(errors) == 1
    assert message in errors[0]


def test_a_clip_asks_for_what_the_template_would() -> None:
    made = row_truth()
    request = video_request(made)
    from swift_stvg.commands.clips import clip_of

    row = {"videos": ["a.mp4"], "chat_template_kwargs": {VIDEO_KEY: request.to_json()}}
    assert clip_of(row) == ("a.mp4", request)


@pytest.mark.slow
def test_files_that_take_long_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A clip at the end of a file with one key frame, before and after the advised re-encoding."""
    monkeypatch.setenv("STVG_DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("STVG_CACHE_DIR", str(tmp_path / "kept"))
    quick, slow = ({"options": {"x264-params": f"keyint={key}:scenecut=0"}} for key in (48, "infinite"))
    write_as(tmp_path / "quick.mp4", 600, **quick)
    write_as(tmp_path / "slow.mp4", 600, **slow)
    write_as(tmp_path / "old.ts", 600, codec="mpeg2video")
    line = {"stvg_schema": 1, "sentence": "it grows", "n_frames": 600, "fps": 25.0, "size_wh": [64, 48]}
    line |= {"span_frames": [500, 600], "tube": [[k, 1, 1, 30, 40] for k in range(500, 600)], "clip_frames": [500, 600]}
    names = ["quick.mp4", "slow.mp4", "old.ts"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line | {"id": n, "video": n}) + "\n" for n in names))
    for _ in range(2):  # the second time from what is kept
        _, report = checked(capsys, "stvg_jsonl:a.jsonl")
        mov, old = report["files"]
        assert (mov["kind"], mov["videos"], mov["slow"]) == ("h264 in mov", 2, 1)
        assert (old["kind"], old["videos"], old["slow"]) == ("mpeg2video in mpegts", 1, 1)
        assert old["decoded"] == 500 + old["clip"]
        advice = [text for text in report["warnings"] if "-c:v libx264" in text]
        assert len(advice) == 2
        assert advice[0].startswith(
            "1 of 2 videos, h264 in mov: more than 300 frames must be decoded to reach some frames"
        )


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")
@pytest.mark.parametrize("sound", [False, True])
def test_the_advice_keeps_frames_and_their_begin(tmp_path: Path, sound: bool) -> None:
    """If the picture begins after the sound, annotations may count the time before the picture."""
    old, new = write_late(tmp_path / "old.mp4", 25, 100, sound=sound), tmp_path / "new.mp4"
    places = {"OLD": str(old), "NEW.mp4": str(new)}
    words = [places.get(word, word) for word in shlex.split(REENCODE_COMMAND)]
    subprocess.run(words, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    before, after = probe(old), probe(new)
    assert after.n_frames == before.n_frames == 75
    assert np.diff(after.frame_times_s) == pytest.approx(np.diff(before.frame_times_s))
    assert after.lead_s == pytest.approx(before.lead_s, abs=0.01)
    assert before.lead_s == (1 if sound else 0)
