"""Model cards, arguments without traces of the machine, and the comparison of a hub with a pushed folder."""

from __future__ import annotations

import base64
import errno
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import swift_stvg
from swift_stvg.answers.format import AnswerFormat
from swift_stvg.cli import main
from swift_stvg.commands import card
from swift_stvg.errors import VideoError
from swift_stvg.settings import BACKBONES, Settings
from swift_stvg.sharing import checkpoint as sharing
from tests.helpers import answer, boxes, row_truth
from tests.hubs import Hub
from tests.running import SwiftFailed, run

SECRET = "hf_verysecretvalue"
ARGS: dict[str, Any] = {
    "swift_version": "4.5.2",
    "tuner_type": "full",
    "model": "/models/secret-project/Qwen2.5-VL-7B",
    "model_type": "qwen2_5_vl",
    "template": "stvg_qwen2_5_vl",
    "external_plugins": ["/home/somebody/stvg/plugin.py"],
    "dataset": ["hcstvg_v2:train", "stvg_jsonl:/home/somebody/data/mine.jsonl"],
    "system": "/home/somebody/system.txt",
    "reward_funcs": ["stvg_format", "stvg_temporal"],
    "learning_rate": 1e-6,
    "max_steps": -1,
    "hub_token": SECRET,
    "swanlab_token": "swanlab-0123456789",
    "output_dir": "/home/somebody/output",
    "training_args": f"GRPOConfig(output_dir='/home/somebody/output', hub_token='{SECRET}')",
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint folder of ms-swift."""
    folder = tmp_path / "run" / "checkpoint-10"
    folder.mkdir(parents=True)
    (folder / "args.json").write_text(json.dumps(ARGS))
    (folder / "config.json").write_text(
        '{"_name_or_path": "/models/secret-project/Qwen2.5-VL-7B", "bos_token_id": null}'
    )
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "optimizer.pt").write_bytes(b"moments")
    (folder / "training_args.bin").write_bytes(b"pickled: /home/somebody/output")
    lines = [{"reward": k / 10, "loss": 0.1, "global_step/max_steps": f"{k}/10"} for k in range(1, 11)]
    (folder.parent / "logging.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A result of `swift infer`: one exact answer and one whose final boxes miss."""
    path = tmp_path / "result.jsonl"
    texts = [answer("2 - 5", boxes(2, 5), boxes(2, 5, box)) for box in ("20, 20, 60, 60", "70, 70, 90, 90")]
    rows = [
        {"response": t, "stvg": row_truth(row_id=f"r{i}").to_json(), "videos": [f"v{i}.mp4"]}
        for i, t in enumerate(texts)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def front_matter(readme: Path) -> dict[str, Any]:
    _, head, _ = readme.read_text().split("---\n", 2)
    return yaml.safe_load(head)


@pytest.mark.slow
def test_card(checkpoint: Path, result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "shared"
    before = {p.name: p.read_bytes() for p in checkpoint.iterdir()}
    words = ["card", str(checkpoint), "--out", str(out), "--hub_model_id", "me/my_model", "--license", "apache-2.0"]
    assert main([*words, "--base_model", "Qwen/Qwen2.5-VL-7B-Instruct", "--scores", str(result)]) == 0
    assert capsys.readouterr().err == "", "nothing is missing, and nothing of the machine left"
    assert {p.name: p.read_bytes() for p in checkpoint.iterdir()} == before
    names = {p.name for p in out.iterdir()}
    scripts = {"answer.py", "answer_engines.py", "answer_video.py"}
    assert names == {"README.md", "args.json", "config.json", "model.safetensors", "training.png"} | scripts
    head = front_matter(out / "README.md")
    assert (head["license"], head["base_model"]) == ("apache-2.0", "Qwen/Qwen2.5-VL-7B-Instruct")
    (scored,) = head["model-index"][0]["results"]
    values = {metric["type"]: metric["value"] for metric in scored["metrics"]}
    assert (values["m_tIoU"], values["m_vIoU"]) == (100.0, 50.0), "an exact answer, and one that misses"
    text = (out / "README.md").read_text()
    for said in (
        "100.0 [100.0, 100.0] | 50.0 [0.0, 100.0]",  # with intervals
        "hcstvg_v2:train stvg_jsonl:mine.jsonl",
        "Reward: 0.100 at the beginning, 1.000 at the end of 10 steps",
        "swift infer --model me/my_model --external_plugins swift_stvg --template stvg_qwen2_5_vl",
        "python answer.py clip.mp4",
        "python answer_engines.py clip.mp4",
        "vllm serve me/my_model --trust-request-mm-kwargs\n",
        "swift infer --model me/my_model --val_dataset row.jsonl",
        "For this model this concerns clips of more than 64 s (1 s a pair in shorter ones)",
        "(training.png)",
    ):
        assert said in text, said
    with Image.open(out / "training.png") as picture:
        assert picture.size[0] > 300


def test_arguments_hold_nothing_of_the_machine(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "shared"
    assert main(["card", str(checkpoint), "--out", str(out)]) == 0
    args = json.loads((out / "args.json").read_text())
    assert (args["template"], args["external_plugins"], args["stvg_template"]) == ("qwen2_5_vl", [], "stvg_qwen2_5_vl")
    assert "model" not in args, "a folder of this machine is of no use to others"
    assert args["dataset"] == ["hcstvg_v2:train", "stvg_jsonl:mine.jsonl"]
    assert "system" not in args, "ms-swift would take the name of a file for the prompt itself"
    assert json.loads((out / "config.json").read_text()) == {"bos_token_id": None}
    for path in out.iterdir():
        data = path.read_bytes()
        assert not [what for what in (b"/home/", b"/models/", SECRET.encode(), b"swanlab-0") if what in data], path


@pytest.mark.slow
def test_a_second_card_knows_what_the_first_did(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STVG_FPS", "1")
    assert main(["card", str(checkpoint)]) == 0
    assert "training_args.bin holds a path of this machine: /home/somebody/output" in capsys.readouterr().err
    monkeypatch.delenv("STVG_FPS")
    assert main(["card", str(checkpoint), "--license", "mit"]) == 0
    text = (checkpoint / "README.md").read_text()
    assert "STVG_FPS=1.0" in text.replace("\\", "")
    assert "--template stvg_qwen2_5_vl" in text


def test_a_secret_is_not_prepared_for_a_push(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkpoint / "training_args.bin").write_bytes(b"pickled: " + SECRET.encode())
    before = {p.name: p.read_bytes() for p in checkpoint.iterdir()}
    assert main(["card", str(checkpoint)]) == 1
    said = capsys.readouterr().err
    assert "training_args.bin holds the value of hub_token" in said
    assert SECRET not in said
    assert {p.name: p.read_bytes() for p in checkpoint.iterdir()} == before
    assert main(["card", str(checkpoint), "--out", str(tmp_path / "shared")]) == 0, "there it is left out"
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    (checkpoint / "config.json").write_text('{"note": "0123456789abcdef"}')
    assert main(["card", str(checkpoint), "--out", str(tmp_path / "again")]) == 1
    assert "config.json holds the value of WANDB_API_KEY" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("AWS_SECRET_ACCESS_KEY", "/bPxRfiCYEXAMPLEKEY+wJalrXUtnFEMI/K7MDENG", True),  # such keys may begin so
        ("GOOGLE_API_KEY_FILE", __file__, False),  # where a secret lies is none
        ("GOOGLE_API_KEY_FILE", str(Path(__file__).parent), False),
        ("HF_TOKEN", "hf_0123456789", True),
        ("HF_TOKEN", "/short", False),  # too short to look for
        ("HF_TOKEN", "/" + "x" * 5000, True),  # longer than a path can be
        ("PATH", "/usr/local/bin", False),  # not called so
    ],
)
def test_what_is_a_secret(name: str, value: str, secret: bool) -> None:
    assert sharing.secrets({}, {name: value}) == ({name: value} if secret else {})
    assert sharing.secrets({"hub_token": value}, {}) == ({"hub_token": value} if secret else {})


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("model-00001-of-00002.safetensors", True),
        ("sub/adapter_model.bin", True),
        ("pytorch_model.bin", True),
        ("pytorch_model-00001-of-00002.bin", True),
        ("model.Q4_K_M.gguf", True),
        ("pytorch_model.bin.index.json", False),
        ("model.safetensors.index.json", False),
        ("training_args.bin", False),  # holds paths and tokens
    ],
)
def test_weights_are_linked_and_the_rest_is_looked_into(tmp_path: Path, name: str, weights: bool) -> None:
    file = tmp_path / "checkpoint" / name
    file.parent.mkdir(parents=True)
    file.write_text(SECRET)
    assert sharing.leaks(tmp_path / "checkpoint", {"hub_token": SECRET}) == ([] if weights else [(name, "hub_token")])
    sharing.copy_model(tmp_path / "checkpoint", tmp_path / "out")
    if name != "training_args.bin":  # which is left out
        assert (tmp_path / "out" / name).samefile(file) == weights


@pytest.mark.slow
def test_a_readme_of_others_stays(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = checkpoint / "README.md"
    readme.write_text("# my notes of a year\n")
    assert main(["card", str(checkpoint)]) == 1
    assert "give --force" in capsys.readouterr().err
    assert readme.read_text() == "# my notes of a year\n"
    assert json.loads((checkpoint / "args.json").read_text()) == ARGS, "nothing was begun"
    assert main(["card", str(checkpoint), "--force"]) == 0
    assert main(["card", str(checkpoint)]) == 0, "this one is ours"
    readme.write_text("# Model Card for Model ID\n[More Information Needed]\n")
    assert main(["card", str(checkpoint)]) == 0, "PEFT's form, not filled in"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give --base_model"),  # an adapter to a folder of this machine
        (["--base_model", "Qwen/Qwen2.5-VL-7B-Instruct"], ""),
    ],
)
def test_an_adapter_names_its_base(
    checkpoint: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = checkpoint / "adapter_config.json"
    config.write_text(json.dumps({"base_model_name_or_path": "/models/secret-project/Qwen2.5-VL-7B", "r": 8}))
    assert main(["card", str(checkpoint), *words]) == bool(said)
    assert said in capsys.readouterr().err
    if not said:
        base = "Qwen/Qwen2.5-VL-7B-Instruct"
        assert json.loads(config.read_text()) == {"base_model_name_or_path": base, "r": 8}
        assert json.loads((checkpoint / "args.json").read_text())["model"] == base
        assert front_matter(checkpoint / "README.md")["base_model_relation"] == "adapter"
        text = (checkpoint / "README.md").read_text()
        assert f"swift infer --model {base} --adapters checkpoint-10 --val_dataset row.jsonl" in text
        assert "vllm serve merged --trust-request-mm-kwargs\n" in text


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("/home/me/.cache/modelscope/hub/models/Qwen/Qwen2___5-VL-7B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("/home/me/.cache/modelscope/hub/Qwen/Qwen2___5-VL-7B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("/cache/models--Qwen--Qwen2.5-VL-7B-Instruct/snapshots/0123abcd", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("/models/Qwen2.5-VL-7B-Instruct", None),  # whose?
        ("tests/hubs.py", None),  # looks like an id, and is a file
        ("../Qwen/model", None),
        (None, None),
    ],
)
def test_hub_id(model: str | None, found: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    assert sharing.hub_id(model) == found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loaded_from", "beside", "found"),
    [
        ("/home/me/.cache/modelscope/hub/models/output/sft-merged", False, "output/sft-merged"),
        ("/data/cache/models--output--sft-merged/snapshots/0123abcd", False, "output/sft-merged"),
        ("/home/somebody/output/sft-merged", True, None),  # the folder is there
        ("/home/somebody/output/sft-merged", False, "Give --base_model"),  # it was, on another machine
        (None, False, "Give --base_model"),
    ],
)
def test_what_looks_like_an_id_may_be_a_folder_of_the_training(
    checkpoint: Path,
    loaded_from: str | None,
    beside: bool,
    found: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """This holds for any working folder."""
    args = ARGS | {"model": "output/sft-merged"} | ({"model_dir": loaded_from} if loaded_from else {})
    (checkpoint / "args.json").write_text(json.dumps(args))
    folder = checkpoint.parents[1] / "output" / "sft-merged"
    if beside:
        folder.mkdir(parents=True)
    for where in (checkpoint.parents[1], Path("/")):
        monkeypatch.chdir(where)
        if found == "Give --base_model":
            assert main(["card", str(checkpoint)]) == 1
            assert found in capsys.readouterr().err
            assert json.loads((checkpoint / "args.json").read_text()) == args
        else:
            assert main(["card", str(checkpoint)]) == 0
            assert json.loads((checkpoint / "args.json").read_text()).get("model") == found
    assert main(["card", str(checkpoint), "--base_model", "me/base"]) == 0
    assert main(["card", str(checkpoint)]) == 0, "what an earlier card says is known"
    assert json.loads((checkpoint / "args.json").read_text())["model"] == "me/base"


_PAIR = ["one more pair of vision markers", "--trust-request-chat-template"]
DIFFERENCES = {
    "stvg_qwen2_vl": ["text after a video among its frames"],
    "stvg_qwen2_5_vl": ["text after a video among its frames", "whole seconds"],
    "stvg_qwen3_vl": _PAIR,
    "stvg_qwen3_5": _PAIR,
    "stvg_qwen3_8": [*_PAIR, "This was not tried with models of this kind"],
    "stvg_internvl": ["It samples frames in its own way", '"resized_width": 336, "resized_height": 196'],
}
"""What a card must say, by template: of each backbone, and of one that another package adds."""


@pytest.mark.parametrize(("model_type", "tried"), [("qwen3_vl", True), ("qwen3_vl_moe", False)])
def test_the_card_claims_trials_of_this_architecture_only(checkpoint: Path, model_type: str, tried: bool) -> None:
    args = ARGS | {"template": "stvg_qwen3_vl", "model_type": model_type}
    (checkpoint / "args.json").write_text(json.dumps(args))
    assert main(["card", str(checkpoint)]) == 0
    text = (checkpoint / "README.md").read_text()
    assert ("random models of this architecture its texts were" in text) == tried
    assert ("random models of this kind gave the answer" in text) == tried
    assert ("This was not tried with models of this kind" in text) != tried


@pytest.mark.slow
@pytest.mark.parametrize("template", [*BACKBONES, "stvg_internvl"])
def test_the_card_says_how_each_way_differs(checkpoint: Path, template: str) -> None:
    (checkpoint / "args.json").write_text(json.dumps(ARGS | {"template": template}))
    assert main(["card", str(checkpoint), "--stock_template", "x"]) == 0
    text = (checkpoint / "README.md").read_text()
    assert [words for words in DIFFERENCES[template] if words not in text] == []
    record = json.loads((checkpoint / "args.json").read_text())
    assert (checkpoint / "answer.py").is_file() == (template in BACKBONES) == ("stvg_system" in record)
    assert (sharing.missing_for_users(checkpoint) is None) == (template in BACKBONES)


def test_a_model_that_names_objects_gets_no_scripts(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STVG_STYLE", "ids")
    assert main(["card", str(checkpoint)]) == 0
    assert list(checkpoint.glob("answer*.py")) == []
    assert "Other ways cannot work: an answer names an object" in (checkpoint / "README.md").read_text()
    assert sharing.missing_for_users(checkpoint) is None, "`swift-stvg card` would not write them"


@pytest.mark.parametrize(
    ("settings", "system", "recorded"),
    [
        ({}, None, AnswerFormat.of(Settings()).instruction()),
        ({"system_prompt": "false"}, None, "You are a helpful assistant."),  # what the template has by default
        ({"system_prompt": "false"}, "Look twice.", "Look twice."),  # --system
        ({"style": "csv"}, "Look twice.", AnswerFormat.of(Settings(style="csv")).instruction()),
    ],
)
def test_the_system_prompt_of_the_training_is_recorded(
    checkpoint: Path, settings: dict[str, str], system: str | None, recorded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"STVG_{name.upper()}", value)
    (checkpoint / "args.json").write_text(json.dumps(ARGS | {"system": system}))
    assert main(["card", str(checkpoint)]) == 0
    assert json.loads((checkpoint / "args.json").read_text())["stvg_system"] == recorded


@pytest.mark.swift
@pytest.mark.filterwarnings("default")  # importing ms-swift warns
def test_stock_templates() -> None:
    from swift_stvg.adapters.templates import TEMPLATES

    assert {name: sharing.stock_template(name, None) for name in BACKBONES} == {n: s for n, (s, _) in TEMPLATES.items()}
    assert sharing.stock_template("qwen2_5_vl", None) == "qwen2_5_vl"
    assert sharing.stock_template("stvg_internvl", "internvl_hf") == "internvl_hf"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (None, "holds no args.json"),
        ("[]", "must hold an object"),
        ("{", "cannot be read as JSON"),
        ('{"template": "stvg_internvl"}', "Give --stock_template"),
        ('{"template": 5}', "must say what template"),
        ('{"template": "stvg_qwen2_vl", "stvg_settings": {"fps": "no"}}', "STVG_FPS"),
    ],
)
def test_what_is_no_checkpoint(tmp_path: Path, args: str | None, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    if args is not None:
        (tmp_path / "args.json").write_text(args)
    assert main(["card", str(tmp_path)]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "README.md").exists()


def _full_disk(curves: object) -> bytes:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_copy_goes_into_a_folder_of_its_own(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["card", str(checkpoint), "--out", str(checkpoint.parent)]) == 1
    assert "is not empty: choose another folder, or delete this one" in capsys.readouterr().err
    out = checkpoint.parents[1] / "new" / "shared"
    monkeypatch.setattr(card, "picture_of_training", _full_disk)
    assert main(["card", str(checkpoint), "--out", str(out)]) == 1
    assert "No space left" in capsys.readouterr().err
    assert list(out.parent.iterdir()) == [], "no half of a folder stays"


@pytest.mark.slow
@pytest.mark.parametrize("client", [[], ["--use_hf"]])
def test_pushed(tmp_path: Path, client: list[str]) -> None:
    """With both clients: the hub has all files, lacks a file, or has another file."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    content = {"args.json": b"{}", "model.safetensors": b"w" * 1000, "sub/more.txt": b"more"}
    for name, data in content.items():
        (folder / name).write_bytes(data)
    (folder / ".ms_upload_cache").write_text("the client's own")
    with Hub(tmp_path / "hub") as hub:
        words = [sys.executable, "-m", "swift_stvg.cli", "pushed", str(folder), "--hub_model_id", "me/model", *client]

        def check() -> str:
            try:
                return run(words, tmp_path, hub.env, anew=True)
            except SwiftFailed as error:
                return f"failed: {error}"

        if not client:
            assert "does not list the files of me/model" in check()
        hub.create("me/model")
        hub.repos["me/model"] |= content
        said = check()
        assert "holds all 3 files" in said
        assert "lacks answer.py, answer_video.py, answer_engines.py, the settings in args.json" in said
        hub.repos["me/model"] |= {"model.safetensors": b"v" * 1000, "args.json": b"[]"}
        del hub.repos["me/model"]["sub/more.txt"]
        said = check()
        assert said.startswith("failed")
        assert "missing on the hub: sub/more.txt" in said
        assert "another file on the hub: args.json" in said
        assert "another file on the hub: model.safetensors" in said
        hub.refuse = lambda call: call.endswith(("/repo", "/resolve/main/args.json"))
        said = check()
        assert "swift-stvg: error: args.json of me/model cannot be downloaded" in said
        assert "Traceback" not in said


def test_parse_reads_what_ask_asked(tmp_path: Path) -> None:
    from tests.videos import write_video

    video = write_video(tmp_path / "v.mp4", [1 + k / 10 for k in range(40)], (128, 64))
    settings = Settings(max_side=56, cache_dir=None)
    spec, row = swift_stvg.ask(video, "the red corner", settings)
    assert set(row) == {"messages", "videos", "chat_template_kwargs"}
    found = swift_stvg.parse(answer("2 - 3", boxes(2, 3, "0, 0, 28, 14"), boxes(2, 3, "14, 7, 28, 14")), spec)
    assert (found.status, found.detail) == ("ok", "")
    start_s = spec.timeline.clip_start_s
    assert found.file_span_s == pytest.approx((start_s + 0.75, start_s + 1.75))
    assert found.file_times_s.tolist() == pytest.approx([start_s + 1.0, start_s + 1.5])
    assert found.think_xyxy is not None
    assert found.pred_xyxy is not None
    assert found.think_xyxy.tolist() == [[0, 0, 64, 32]] * 2, "pixels of the video, not of the frames"
    assert found.pred_xyxy.tolist() == [[32, 16, 64, 32]] * 2
    for text, status in (
        (None, "unparsable"),
        ("no", "unparsable"),
        (answer("5 - 2", "x", boxes(2, 5)), "inconsistent"),
    ):
        found = swift_stvg.parse(text, spec)
        assert (found.status, found.file_span_s, found.pred_xyxy) == (status, None, None)
    assert swift_stvg.parse(answer("2 - 3", "", boxes(2, 2)), spec).status == "inconsistent"
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = swift_stvg.nonsense  # type: ignore[attr-defined]


@pytest.mark.swift
@pytest.mark.filterwarnings("default")  # importing ms-swift warns
def test_videos_reach_the_template_in_any_form(tmp_path: Path) -> None:
    from swift_stvg.adapters.templates import video_file

    content = bytes(range(256)) * 20
    path = tmp_path / "v.mp4"
    path.write_bytes(content)
    text = base64.b64encode(content).decode()
    with video_file(str(path)) as found:
        assert found == (str(path), None)
    names = set()
    with Hub(tmp_path / "hub") as hub:
        hub.create("me/videos")
        hub.put("me/videos", "v.mp4", content)
        address = f"{hub.url}/me/videos/resolve/main"
        for given in (text, f"data:video/mp4;base64,{text}", f"{address}/v.mp4"):
            with video_file(given) as (where, name):
                assert Path(where).read_bytes() == content
                names.add(name)
            assert not Path(where).exists()
        for bad in ("data:video/mp4;base64,###", "x" * 5000 + "!", f"{address}/missing.mp4"):
            with pytest.raises(VideoError), video_file(bad):
                pass
    assert len(names) == 1, "the same content is remembered under one name"
