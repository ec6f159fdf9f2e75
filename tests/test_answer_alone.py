"""answer.py beside the weights, run where swift_stvg cannot be imported, says what `ground` says."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from swift_stvg.answers.format import Answer, AnswerFormat, BoxList
from swift_stvg.cli import main
from swift_stvg.rows.making import make_prompt, video_request
from swift_stvg.serving.asking import prompt_spec_of
from swift_stvg.serving.engines import Reply
from swift_stvg.serving.grounding import make_record
from swift_stvg.settings import BACKBONES, Settings
from swift_stvg.sharing.beside_weights import answer as answer_script
from swift_stvg.sharing.beside_weights import answer_engines
from swift_stvg.sharing.beside_weights.answer import Question
from swift_stvg.sharing.beside_weights.answer_video import open_clip
from swift_stvg.sharing.checkpoint import ANSWER, ENGINES, SCRIPTS, public_args
from swift_stvg.synthetic.tiny import ARCHITECTURES, TinyConfig, build
from tests.asked import CASES, SENTENCE, TOKENS, Case, add_adapter, sensitive, settings_of, write_clips
from tests.helpers import EVERY_FORMAT
from tests.running import run
from tests.servers import server
from tests.videos import write_sound

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # importing torch warns


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The cases' files, by title."""
    return write_clips(tmp_path_factory.mktemp("clips"))


@dataclass(frozen=True)
class Made:
    """Of an architecture: what `ground` records and what answer.py prints, by kind of checkpoint and title."""

    ground: dict[tuple[str, str], dict[str, Any]]
    alone: dict[tuple[str, str], dict[str, Any]]


def question_of(
    video: Path,
    settings: Settings,
    architecture: str = "qwen3_vl",
    clip_s: tuple[float, float] | None = None,
    folder_fps: float = 25.0,
) -> Question:
    """As the script makes it beside a model of these settings."""
    how = {"template": "", "ours": f"stvg_{architecture}", "base_model": None, "adapter": False}
    record = public_args({}, settings=settings, **how)
    return Question(open_clip(str(video), record["stvg_settings"], clip_s, folder_fps), SENTENCE, record)


OTHERS = [pytest.param(name, marks=pytest.mark.long) for name in ARCHITECTURES if name != "qwen2_5_vl"]


@pytest.fixture(scope="module", params=["qwen2_5_vl", *OTHERS])
def made(request: pytest.FixtureRequest, clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Asked of a random model with all weights, and of an adapter to it."""
    from swift_stvg.adapters.engine import SwiftEngine
    from swift_stvg.serving.grounding import ground

    architecture, folder = request.param, tmp_path_factory.mktemp(request.param)
    kinds = {"full": folder / "full", "lora": folder / "lora"}
    build(kinds["full"], TinyConfig(architecture=architecture, spatial_merge=2))
    sensitive(kinds["full"])
    add_adapter(kinds["full"], kinds["lora"])
    options = ["--model_type", architecture, "--torch_dtype", "float32", "--max_new_tokens", str(TOKENS)]
    own, commands = {}, {}
    for kind, checkpoint in kinds.items():
        args = {
            "template": ARCHITECTURES[architecture],
            "model": "me/base",
            "model_dir": "/x",
            "torch_dtype": "float32",
        }
        (checkpoint / "args.json").write_text(json.dumps(args))
        adapter = ["--adapters", str(checkpoint)] if kind == "lora" else []
        engine = SwiftEngine(str(kinds["full"]), *options, *adapter)
        for number, case in enumerate(CASES if kind == "full" else CASES[2:4]):
            out = folder / f"{kind}-{number}"
            with pytest.MonkeyPatch.context() as patch:
                for name, value in settings_of(architecture, case).items():
                    patch.setenv(name, value)
                assert main(["card", str(checkpoint), "--out", str(out), "--base_model", "me/base"]) == 0
                own[kind, case.title] = ground(clips[case.title], [SENTENCE], engine)[0].record
            words = [str(out / ANSWER), str(clips[case.title]), SENTENCE, "--json", "--max_new_tokens", str(TOKENS)]
            commands[kind, case.title] = words + (["--base", str(kinds["full"])] if kind == "lora" else [])
    words = [sys.executable, str(Path(__file__).with_name("alone.py")), json.dumps([*commands.values()])]
    printed = run(words, folder, {}, anew=True)
    found = [json.loads(line[7:]) for line in printed.splitlines() if line.startswith("ANSWER ")]
    return Made(own, {which: json.loads(text) for which, text in zip(commands, found, strict=True)})


@pytest.mark.swift
def test_the_text_is_that_of_ground(made: Made) -> None:
    assert {which: found["response"] for which, found in made.alone.items()} == {
        which: record["response"] for which, record in made.ground.items()
    }
    texts = [record["response"] for record in made.ground.values()]
    assert len(set(texts)) == len(texts), "these models see a difference"


FORMS = {
    "tags": ("<time> 1 - 3 </time>", " <think_bbox> 1. [0, 0, 9, 9] </think_bbox> <pred_bbox> {} </pred_bbox>"),
    "csv": ("1,3", "\n{}"),
}
BOXES = {
    "tags": "1. [10, 20, 40, 50], 2. [0, 0, 999, 12], 3. [9, 9, 3, 3]",
    "csv": "1,10,20,40,50\n2,0,0,999,12\n3,9,9,3,3",
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
@pytest.mark.parametrize("architecture", ["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("span", ["1 - 3", "0 - 2", "2 - 500", "3 - 1", "400 - 500", "none"])
def test_when_and_where_are_those_of_ground(case: Case, architecture: str, span: str, clips: dict[str, Path]) -> None:
    """Of a written answer: seconds of the file and pixels of the video."""
    settings = Settings.from_env(settings_of(architecture, case) | {"STVG_CACHE_DIR": "off"})
    info, question = prompt_spec_of(clips[case.title], settings, None)
    time, boxes = FORMS[settings.style]
    text = time.replace("1 - 3", span).replace("1,3", span.replace(" - ", ",")) + boxes.format(BOXES[settings.style])
    expected = make_record(question, info, {}, SENTENCE, Reply(text))
    span_s, found = question_of(clips[case.title], settings, architecture).read(text)
    assert span_s == expected["span_s"]
    final = [box for box in expected["boxes"] if box["pred_xyxy"] is not None]
    assert [(box["time_s"], box["xyxy"]) for box in found] == [(box["time_s"], box["pred_xyxy"]) for box in final]


@pytest.mark.parametrize("fmt", [fmt for fmt in EVERY_FORMAT if fmt.boxes], ids=str)
def test_every_style_is_read_as_by_ground(fmt: AnswerFormat, clips: dict[str, Path]) -> None:
    settings = Settings(
        cache_dir=None, think=fmt.think, index_unit=fmt.unit, coords=fmt.coords, style=fmt.style, max_side=96
    )
    video = clips[CASES[0].title]
    info, question = prompt_spec_of(video, settings, None)
    index, boxes_xyxy = np.array([1, 2]), np.array([[10.0, 20, 40, 50], [0, 0, 90, 12]])
    text = fmt.render(Answer((1, 2), BoxList(index, boxes_xyxy + 1), BoxList(index, boxes_xyxy)))
    expected = make_record(question, info, {}, SENTENCE, Reply(text))
    found = question_of(video, settings)
    content = make_prompt(question, SENTENCE, video)["messages"][-1]["content"]
    assert f"{found.before}<video>{found.after}" == content
    span_s, final = found.read(text)
    assert expected["status"] == "ok"
    assert span_s == expected["span_s"]
    assert [(box["time_s"], box["xyxy"]) for box in final] == [
        (box["time_s"], box["pred_xyxy"]) for box in expected["boxes"]
    ]


CLIPS = [(1.0, 3.0), (1.33, 2.71), (0.0, 99.0), (2.0, 2.05), (2.5, 99.0), (1.0, 1.1)]


@pytest.mark.parametrize("clip_s", CLIPS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_a_part_of_a_video_is_that_of_ground(case: Case, clip_s: tuple[float, float], clips: dict[str, Path]) -> None:
    """Frames, words, and what an answer says: seconds of the whole file."""
    settings = Settings.from_env(settings_of("qwen3_vl", case) | {"STVG_CACHE_DIR": "off"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from swift_stvg.video.frame_loader import decode
    video = clips[case.title]
    info, question = prompt_spec_of(video, settings, clip_s)
    found = question_of(video, settings, clip_s=clip_s)
    content = make_prompt(question, SENTENCE, video)["messages"][-1]["content"]
    assert f"{found.before}<video>{found.after}" == content
    request = video_request(question)
    assert found.clip.frames.equal(decode(str(video), request))
    assert found.clip.times_s.tolist() == [round(t, 4) for t in request.times_s]
    time, boxes = FORMS[settings.style]
    text = time.replace("1 - 3", "0 - 2").replace("1,3", "0,2") + boxes.format(BOXES[settings.style])
    wanted = make_record(question, info, {}, SENTENCE, Reply(text))
    span_s, places = found.read(text)
    assert span_s == wanted["span_s"]
    assert [box["time_s"] for box in places] == [
        box["time_s"] for box in wanted["boxes"] if box["pred_xyxy"] is not None
    ]


@pytest.mark.parametrize("unit", ["frame", "second"])
def test_a_folder_of_pictures_is_that_of_ground(unit: str, tmp_path: Path) -> None:
    """Names of other lengths, so that their texts have another order than their numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from swift_stvg.video.frame_loader import decode
    for number in range(6, 60, 2):
        shade = np.full((48, 64, 3), 4 * number, np.uint8)
        Image.fromarray(shade).save(tmp_path / f"frame2_{number}.png")
    (tmp_path / ".hidden.png").write_text("no picture")
    (tmp_path / "notes.txt").write_text("no picture")
    settings = Settings(cache_dir=None, max_side=56, index_unit=unit, folder_fps=8.0)
    _, question = prompt_spec_of(tmp_path, settings, (0.4, 3.0))
    found = question_of(tmp_path, settings, clip_s=(0.4, 3.0), folder_fps=8.0)
    assert f"{found.before}<video>{found.after}" == make_prompt(question, SENTENCE, tmp_path)["messages"][-1]["content"]
    request = video_request(question)
    assert found.clip.frames.equal(decode(str(tmp_path), request))
    assert found.clip.times_s.tolist() == [round(t, 4) for t in request.times_s]
    assert found.clip.span_s(0, len(found.clip.index_s) - 1) == [0.5, 3.0]


@pytest.mark.parametrize(
    "names",
    [
        ("1.png", "2.png", "4.png"),  # a gap
        ("a1.png", "b2.png"),  # two numberings
        ("1.png", "01.png"),  # one number twice
        ("1.png", "2.jpg"),
        ("a.png", "b.png"),  # no numbers
        ("a.txt",),
    ],
    ids=str,
)
def test_pictures_in_no_clear_order_are_refused(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        Image.new("RGB", (64, 48)).save(tmp_path / name, "png")
    with pytest.raises(SystemExit, match="must hold pictures of one numbering without gaps"):
        question_of(tmp_path, Settings())


def test_pictures_of_different_sizes_are_refused(tmp_path: Path) -> None:
    for number, size in enumerate([(64, 48), (48, 64)]):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    with pytest.raises(SystemExit, match="holds pictures of different sizes"):
        question_of(tmp_path, Settings(), folder_fps=1.0)


def asked_of(video: Path, architecture: str, case: Case) -> Question:
    return question_of(video, Settings.from_env(settings_of(architecture, case)), architecture)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
@pytest.mark.parametrize("architecture", ["qwen2_5_vl", "qwen3_vl"])
def test_a_server_is_sent_frames_and_times(architecture: str, case: Case, clips: dict[str, Path]) -> None:
    question = asked_of(clips[case.title], architecture, case)
    timed = architecture == "qwen3_vl"
    with server(lambda _: "an answer") as (url, requests):
        assert answer_engines.ask_server(url.removesuffix("/v1"), question, 24) == "an answer"
    (request,) = requests
    (video,) = [part for part in request["messages"][-1]["content"] if part["type"] == "video_url"]
    files = video["video_url"]["url"].removeprefix("data:video/jpeg;base64,").split(",")
    sent = np.stack([np.asarray(Image.open(io.BytesIO(base64.b64decode(file)))) for file in files])
    assert np.array_equal(sent, question.clip.frames.permute(0, 2, 3, 1))
    when = request["media_io_kwargs"]["video"]
    times_s = np.array(when["frames_indices"]) / when["fps"]
    true_s = question.clip.times_s if timed else question.clip.step_s * np.arange(len(files))
    assert times_s == pytest.approx(true_s, rel=1e-6)
    assert (when["num_frames"], when["total_num_frames"]) == (-1, when["frames_indices"][-1] + 1)
    texts = [part["text"] for part in request["messages"][-1]["content"] if part["type"] == "text"]
    assert texts == [text for text in (question.before, question.after) if text]
    assert (request["model"], request["max_tokens"], "chat_template" in request) == ("tiny", 24, timed)


def test_a_server_that_refuses_or_is_not_there(clips: dict[str, Path]) -> None:
    question = asked_of(clips[CASES[0].title], "qwen2_5_vl", CASES[0])
    with server(lambda _: (400, b"too long")) as (url, _), pytest.raises(SystemExit, match="says 400: too long"):
        answer_engines.ask_server(url.removesuffix("/v1"), question, 24)
    with pytest.raises(SystemExit, match=r"http://127\.0\.0\.1:9 cannot be asked"):
        answer_engines.ask_server("http://127.0.0.1:9", question, 24)


@pytest.mark.parametrize("case", CASES[:3], ids=lambda case: case.title)
def test_a_row_has_the_frames_in_a_film(case: Case, clips: dict[str, Path], tmp_path: Path) -> None:
    question = asked_of(clips[case.title], "qwen2_5_vl", case)
    row = answer_engines.row(question, str(tmp_path / "frames.mkv"))
    with av.open(str(tmp_path / "frames.mkv")) as film:
        found = np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])
        rate = float(film.streams.video[0].average_rate)
    frames = question.clip.frames.permute(0, 2, 3, 1).numpy()
    count = len(frames) + len(frames) % 2
    assert np.array_equal(found, np.concatenate([frames, frames[-1:]])[:count])
    assert rate == pytest.approx(1 / question.clip.step_s, rel=1e-3)
    height, width = frames.shape[1:3]
    assert row["chat_template_kwargs"] == {"nframes": count, "resized_width": width, "resized_height": height}
    assert row["videos"] == [str(tmp_path / "frames.mkv")]


def test_a_clip_outside_the_video(clips: dict[str, Path]) -> None:
    with pytest.raises(SystemExit, match=r"no frame of .* is in the clip: it lasts from 1.00 to 4.94 s"):
        question_of(clips[CASES[0].title], Settings(), clip_s=(9.0, 11.0))


@pytest.mark.swift
@pytest.mark.parametrize("template", BACKBONES)
def test_what_is_recorded_of_a_backbone_is_its_template(template: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from swift_stvg.adapters.templates import TEMPLATE_MAPPING
    meta, backbone = TEMPLATE_MAPPING[template], BACKBONES[template]
    assert (meta.default_system or "") == backbone.system
    assert meta.prompt[-1].endswith(f"<|im_start|>assistant\n{backbone.answer_begins}")


@pytest.mark.parametrize(
    ("video", "sentence", "recorded", "said"),
    [
        ("missing.mp4", SENTENCE, True, "missing.mp4 cannot be read"),
        ("text.mp4", SENTENCE, True, "text.mp4 cannot be read"),
        ("sound.mp4", SENTENCE, True, "sound.mp4 holds no picture"),
        ("missing.mp4", " ", True, "the sentence is empty"),
        ("missing.mp4", "the <video>", True, "which means something else"),
        ("missing.mp4", "no <|im_end|>", True, "which means something else"),
        ("missing.mp4", SENTENCE, False, "does not say how the model was asked"),  # stock args.json
    ],
)
def test_bad_input_is_one_clear_line(
    video: str, sentence: str, recorded: bool, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    write_sound(tmp_path / "sound.mp4")
    how = {"template": "", "ours": "stvg_qwen2_5_vl" if recorded else "x", "base_model": None, "adapter": False}
    (tmp_path / "args.json").write_text(json.dumps(public_args({}, settings=Settings(), **how)))
    monkeypatch.setattr(answer_script, "HERE", tmp_path)
    monkeypatch.setattr("sys.argv", ["answer.py", str(tmp_path / video), sentence])
    with pytest.raises(SystemExit, match=re.escape(said)):
        answer_script.main()


def test_its_files_may_be_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the cache of a hub, where a snapshot's files lead to others elsewhere, under other names."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    for number, name in enumerate(SCRIPTS):
        shutil.copy(Path(answer_script.__file__).with_name(name), tmp_path / f"blobs/{number}")
        (tmp_path / "snapshot" / name).symlink_to(tmp_path / f"blobs/{number}")
    words = [sys.executable, str(tmp_path / "snapshot" / ENGINES), "no.mp4", "a man", "--server", "http://127.0.0.1:9"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert f"{tmp_path}/snapshot/args.json" in done.stderr
