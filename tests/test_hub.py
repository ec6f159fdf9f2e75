"""A trained model is pushed to a hub and fetched, with the hubs' real clients; and it is served and asked."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import swift_stvg
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.settings import Settings
from swift_stvg.sources import load_rows
from swift_stvg.video.request import VIDEO_KEY, VideoRequest
from tests.hubs import TOKEN, Hub
from tests.running import TRAIN, SwiftFailed, as_words, json_lines, run

pytestmark = [pytest.mark.swift, pytest.mark.filterwarnings("default")]  # importing torch warns

PLUGIN = ["--external_plugins", "swift_stvg", "--template", "stvg_qwen2_5_vl"]
STOCK = ["--stock_template", "qwen2_5_vl"]  # which the tiny model's vocabulary would rule out
GREEDY = ["--temperature", "0", "--max_new_tokens", "160", "--max_batch_size", "8"]
LORA = TRAIN | {"tuner_type": "lora", "max_steps": "2", "save_steps": "2", "per_device_train_batch_size": "4"}


def mains(commands: list[list[str]], folder: Path, env: dict[str, str]) -> str:
    script = Path(__file__).with_name("mains.py")
    return run([sys.executable, str(script), json.dumps(commands)], folder, env, anew=True)


def pushed(folder: Path, name: str, env: dict[str, str], *words: str) -> str:
    """The output of `swift-stvg pushed`; raises SwiftFailed if it ends with an error."""
    command = [sys.executable, "-m", "swift_stvg.cli", "pushed", str(folder), "--hub_model_id", name, *words]
    return run(command, folder.parent, env, anew=True)


@pytest.fixture(scope="module")
def hub(workspace: Path) -> Iterator[Hub]:
    with Hub(workspace / "hub") as made:
        made.refuse = lambda call: "/commit/" in call and "/me/refused/" in call
        yield made


@pytest.fixture(scope="module")
def shared(workspace: Path, env: dict[str, str], cold_start: Path, hub: Hub, request: pytest.FixtureRequest) -> Path:
    """A folder with the pushed models and the plugin's answers before the push; without `--all`, one model only."""
    folder = workspace / "shared"
    full, lora = folder / "full", folder / "lora"
    options = LORA | {"model": str(cold_start), "dataset": "stvg_synthetic:train", "learning_rate": "1e-2"}
    card = ["swift-stvg", "card"]
    test = ["--val_dataset", "stvg_synthetic:test", *GREEDY, *PLUGIN]
    push = ["--push_to_hub", "true", "--hub_token", TOKEN, *PLUGIN, "--hub_model_id"]
    commands = [
        [*card, str(cold_start), "--out", str(full), "--hub_model_id", "me/full", "--license", "mit", *STOCK],
        ["export", "--model", str(full), *push, "me/full"],
        ["export", "--model", str(full), *push, "me/refused"],
    ]
    if request.config.getoption("--all"):
        commands += [
            ["sft", *as_words(options | {"output_dir": str(folder / "sft")}), "--external_plugins", "swift_stvg"],
            [*card, str(folder / "sft/checkpoint-2"), "--out", str(lora), "--base_model", "me/full"],
            ["infer", "--model", str(full), *test, "--result_path", str(folder / "full.jsonl")],
            ["infer", "--adapters", str(lora), *test, "--result_path", str(folder / "lora.jsonl")],
            ["export", "--adapters", str(lora), "--merge_lora", "true", *push, "me/merged"],
            ["export", "--adapters", str(lora), "--use_hf", "true", *push, "me/lora-hf"],
            ["export", "--adapters", str(lora), *push, "me/lora"],
        ]
    (folder / "said.txt").write_text(mains(commands, folder, env | hub.env))
    return folder


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "repository", "words"),
    [
        ("full", "me/full", []),
        ("lora-merged", "me/merged", []),
        ("lora", "me/lora", []),
        ("lora", "me/lora-hf", ["--use_hf", "true"]),
    ],
)
def test_what_arrives_is_what_was_sent(shared: Path, hub: Hub, name: str, repository: str, words: list[str]) -> None:
    arrived = hub.repos[repository]
    sent = {
        path.relative_to(shared / name).as_posix(): path.read_bytes()
        for path in (shared / name).rglob("*")
        if path.is_file() and path.name != ".ms_upload_cache"
    }
    assert {path for path in sent if arrived.get(path) != sent[path]} == set()
    assert set(arrived) - set(sent) <= {".gitattributes", ".gitignore"}
    assert any(path.endswith(".safetensors") for path in sent)
    assert "holds all" in pushed(shared / name, repository, hub.env, *words)


@pytest.mark.long
def test_a_push_says_what_those_without_a_plugin_will_lack(shared: Path) -> None:
    """The merged weights, which ms-swift wrote, lack files for users; folders that `card` wrote do not."""
    lines = [line for line in (shared / "said.txt").read_text().splitlines() if " lacks " in line]
    assert [line.partition("WARNING:swift] ")[2].partition(" lacks ")[0] for line in lines] == [
        str(shared / "lora-merged")
    ]


def test_an_upload_that_failed_is_noticed(shared: Path, hub: Hub) -> None:
    """ms-swift ended with status 0; otherwise the fixture `shared` would have failed."""
    assert "POST /api/v1/repos/models/me/refused/commit/master" in hub.calls
    with pytest.raises(SwiftFailed, match="me/refused lacks"):
        pushed(shared / "full", "me/refused", hub.env)


@pytest.mark.long
def test_it_answers_the_same_without_the_plugin(shared: Path, hub: Hub, env: dict[str, str], tmp_path: Path) -> None:
    """Stock `swift infer` fetches the model and its base by name, and gets the same frames as pictures.

    The test corrects positions for it, because the positions of the installed transformers differ from the training's.
    """
    rows = load_rows("stvg_synthetic", "test", Settings.from_env(env))[0]
    with (tmp_path / "rows.jsonl").open("w") as file:
        for number, row in enumerate(rows):
            frames = as_pictures(row, tmp_path / str(number))
            width, height = RowTruth.from_json(row["stvg"]).size_wh
            size = {"resized_width": width, "resized_height": height}
            line = {"messages": row["messages"], "videos": [frames], "chat_template_kwargs": size}
            file.write(json.dumps(line) + "\n")
    config = json.loads((shared / "full/config.json").read_text())
    tokens = ["vocabulary", str(config["image_token_id"]), str(config["video_token_id"])]
    stock = ["--val_dataset", str(tmp_path / "rows.jsonl"), *GREEDY]
    names = ("full", "merged", "lora", "lora-hf")
    where = [["--model", "me/full"], ["--model", "me/merged"], ["--adapters", "me/lora"]]
    where += [["--use_hf", "true", "--adapters", "me/lora-hf"]]
    mains(
        [["positions", "qwen2_5_vl"], tokens]
        + [
            ["infer", *words, *stock, "--result_path", str(tmp_path / f"{name}.jsonl")]
            for name, words in zip(names, where, strict=True)
        ],
        tmp_path,
        hub.env,
    )
    ids = {RowTruth.from_json(row["stvg"]).id: number for number, row in enumerate(rows)}
    for name, before in (("full", "full"), ("merged", "lora"), ("lora", "lora"), ("lora-hf", "lora")):
        answers = {
            ids[RowTruth.from_json(line["stvg"]).id]: line["response"]
            for line in json_lines(shared / f"{before}.jsonl")
        }
        after = [line["response"] for line in json_lines(tmp_path / f"{name}.jsonl")]
        assert after == [answers[number] for number in range(len(rows))], name
    assert json_lines(shared / "full.jsonl") != json_lines(shared / "lora.jsonl"), "the adapter changes something"


def as_pictures(row: dict[str, Any], folder: Path) -> list[str]:
    """The frames of a row as files."""
    from swift_stvg.video.frame_loader import decode

    frames = decode(row["videos"][0], VideoRequest.from_json(row["chat_template_kwargs"][VIDEO_KEY]))
    folder.mkdir()
    paths = [str(folder / f"{k}.png") for k in range(len(frames))]
    for path, pixels in zip(paths, frames.permute(0, 2, 3, 1).numpy(), strict=True):
        Image.fromarray(np.ascontiguousarray(pixels)).save(path)
    return paths


@pytest.fixture(scope="module")
def server(workspace: Path, env: dict[str, str], shared: Path) -> Iterator[str]:
    """Address of `swift deploy` with the shared model."""
    words = [sys.executable, "-m", "swift.cli.main", "deploy", "--model", str(shared / "full"), *PLUGIN]
    words += ["--host", "127.0.0.1", "--port", "8765", "--served_model_name", "stvg", *GREEDY]
    log = (workspace / "deploy.log").open("w")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
    process = subprocess.Popen(
        words,
        cwd=workspace,
        env=clean | env | {"OMP_NUM_THREADS": "1"},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # the command starts another one, which outlives it
    )
    try:
        yield _address(process, workspace / "deploy.log")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        log.close()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(600):
        time.sleep(0.5)
        said = log.read_text()
        assert process.poll() is None, said[-3000:]
        if "Uvicorn running on " in said:  # ms-swift takes another port if this one is taken
            address = said.partition("Uvicorn running on ")[2].split()[0]
            with urllib.request.urlopen(f"{address}/health", timeout=60) as answer:
                assert answer.status == 200
            return address
    raise AssertionError(log.read_text()[-3000:])


@pytest.mark.long
@pytest.mark.parametrize("how", ["message", "extra", "path"])
def test_a_server_is_asked_with_the_openai_client(server: str, shared: Path, env: dict[str, str], how: str) -> None:
    """It gives the answers of `swift infer` for every way to send the video."""
    from openai import OpenAI

    lines = json_lines(shared / "full.jsonl")
    line = max(
        lines, key=lambda line: swift_stvg.parse(line["response"], RowTruth.from_json(line["stvg"])).status == "ok"
    )
    row_truth, video = RowTruth.from_json(line["stvg"]), Path(line["videos"][0])
    sentence = line["messages"][0]["content"].replace("<video>", "")
    sentence = next(text for text in sentence.splitlines() if not text.startswith("("))
    spec, row = swift_stvg.ask(video, sentence, Settings.from_env(env))
    data = base64.b64encode(video.read_bytes()).decode()
    more = {"chat_template_kwargs": row["chat_template_kwargs"]}
    if how == "message":
        before, _, after = row["messages"][0]["content"].partition("<video>")
        part = {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{data}"}}
        parts = [{"type": "text", "text": before}, part, {"type": "text", "text": after}]
        messages: Any = [{"role": "user", "content": parts}]
    else:
        messages, more["videos"] = row["messages"], row["videos"] if how == "path" else [data]
    client = OpenAI(base_url=f"{server}/v1", api_key="none")
    reply = client.chat.completions.create(model="stvg", messages=messages, extra_body=more)
    text = reply.choices[0].message.content
    assert text == line["response"]
    found, expected = swift_stvg.parse(text, spec), swift_stvg.parse(text, row_truth)
    assert (found.status, found.file_span_s) == (expected.status, expected.file_span_s)
    assert np.array_equal(found.file_times_s, expected.file_times_s)
    if expected.pred_xyxy is not None:
        assert np.array_equal(found.pred_xyxy, expected.pred_xyxy, equal_nan=True)
