"""From a video and sentences to records, through a real server and through ms-swift."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.cli import main
from swift_stvg.errors import DataError, EndpointError, RowError, StvgError, VideoError
from swift_stvg.records import Sample, VideoInfo
from swift_stvg.report.drawing import Overlay, render, shown_size
from swift_stvg.rows.making import make_prompt, make_prompt_spec, make_row_truth
from swift_stvg.rows.reply import parse
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.protocols import evaluate
from swift_stvg.scoring.tubes import answer_tube, read_tubes
from swift_stvg.serving.asking import ask, clip_frames
from swift_stvg.serving.endpoint import Endpoint
from swift_stvg.serving.engines import Reply
from swift_stvg.serving.exporters import to_coco, to_mot, to_tubes
from swift_stvg.serving.grounding import EVERY_FRAME, Grounded, ground, make_record
from swift_stvg.settings import Settings
from swift_stvg.sources import load_rows
from swift_stvg.video.reader import probe, read_frames
from tests.running import SIZES, SwiftFailed, json_lines
from tests.servers import server
from tests.videos import picture, write_video

pytestmark = pytest.mark.filterwarnings("default")  # importing torch warns

HERE = Settings(cache_dir=None, max_side=112, side_multiple=28)
"""The model receives a clip of 224 x 112 pixels at 112 x 56: a box in the answer is half as large as in the record."""
ANSWER = "<time> 1 - 2 </time> <think_bbox> 1. [10, 10, 30, 30], 2. [10, 10, 30, 30] </think_bbox> "
ANSWER += "<pred_bbox> 1. [20, 10, 40, 30], 2. [30, 10, 50, 30] </pred_bbox>"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at 25 frames per second; the model receives frames 0, 12, 25 and 37."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", np.arange(50) / 25, size_wh=(224, 112))


def answered(clip: Path, text: str, settings: Settings = HERE, **how: Any) -> Grounded:
    with server(lambda _: text) as (url, _):
        (found,) = ground(clip, ["the white part"], Endpoint(url, retries=0), settings, **how)
    return found


@pytest.mark.slow
def test_a_record_is_in_seconds_and_pixels_of_the_video(clip: Path) -> None:
    record = answered(clip, ANSWER).record
    assert (record["id"], record["status"], record["detail"]) == ("clip.mp4", "ok", "")
    assert record["size_wh"] == [224, 112]
    assert record["span_s"] == pytest.approx([0.24, 1.24])  # half-way from 0 to .48, and from 1 to 1.48
    assert record["span_frames"] == [7, 31], "a frame half-way belongs to the earlier index, as in the scorer"
    assert record["boxes"] == [
        {"time_s": 0.48, "frame": 12, "given": True, "think_xyxy": [20, 20, 60, 60], "pred_xyxy": [40, 20, 80, 60]},
        {"time_s": 1.0, "frame": 25, "given": True, "think_xyxy": [20, 20, 60, 60], "pred_xyxy": [60, 20, 100, 60]},
    ]
    assert record["response"] == ANSWER
    assert record["messages"][-1]["content"].endswith("the white part")
    json.dumps(record)


@pytest.mark.slow
def test_boxes_come_at_any_rate(clip: Path) -> None:
    dense = answered(clip, ANSWER, rate=EVERY_FRAME).record["boxes"]
    assert [box["frame"] for box in dense] == list(range(7, 32))
    assert [box["frame"] for box in dense if box["given"]] == [12, 25]
    left = [box["pred_xyxy"][0] for box in dense]
    assert left[:6] == [40] * 6, "before the first box"
    assert np.diff(left[5:19]) == pytest.approx([20 / 13] * 13, abs=0.02), "linearly between the two"
    assert [box["frame"] for box in answered(clip, ANSWER, rate=5).record["boxes"]] == [7, 12, 17, 22, 27]
    assert answered(clip, ANSWER, rate=1e12).record["boxes"] == dense


def test_times_count_from_the_start_of_the_file(clip: Path) -> None:
    record = answered(clip, ANSWER, clip_s=(0.4, 2.0)).record
    assert [box["frame"] for box in record["boxes"]] == [22, 35]
    assert [box["time_s"] for box in record["boxes"]] == pytest.approx([0.88, 1.4])


def test_nothing_is_said_of_what_is_outside_the_clip(clip: Path) -> None:
    answer = ANSWER.replace("2", "1").replace("1 - 1", "0 - 1")
    record = answered(clip, answer, clip_s=(0.4, 1.0), rate=EVERY_FRAME).record
    assert record["span_s"] == [0.4, 1.0]
    assert record["span_frames"] == [10, 24]
    assert [box["frame"] for box in record["boxes"]] == list(range(10, 25))
    spec, _ = ask(clip, "one", HERE, clip_s=(0.4, 1.0))
    assert parse(answer, spec).file_span_s == pytest.approx((0.4, 1.0))


def test_seconds_of_a_clip_are_those_of_the_file(tmp_path: Path) -> None:
    """The times of a record are valid for --clip, also if the first frame is not at 0."""
    late = write_video(tmp_path / "late.mp4", 3 + np.arange(50) / 25, size_wh=(224, 112))
    start_s = probe(late).frame_times_s[0]
    assert start_s > 1
    record = answered(late, ANSWER.replace("1 - 2", "1 - 3"), clip_s=(start_s + 0.4, start_s + 2)).record
    assert record["boxes"][0]["time_s"] == pytest.approx(start_s + 0.88)
    again = answered(late, ANSWER, clip_s=tuple(record["span_s"])).record
    assert again["span_s"][1] <= record["span_s"][1]
    assert record["span_frames"][0] <= again["span_frames"][0]


@pytest.mark.parametrize(("fps", "span", "frames"), [(2.5, "1,3", [2, 5, 7]), (29.97, "1,3", [30, 60, 90])])
def test_a_box_of_a_second_stands_at_the_frame_nearest_to_it(
    tmp_path: Path, fps: float, span: str, frames: list[int]
) -> None:
    video = write_video(tmp_path / "v.mp4", np.arange(round(5 * fps)) / fps, size_wh=(224, 112))
    settings = Settings(cache_dir=None, max_side=112, style="csv", index_unit="second", coords="norm1000")
    text = f"{span}\n1,0,0,500,500\n2,100,0,500,500\n3,900,0,1000,500"
    record = answered(video, text, settings).record
    assert [(box["frame"], box["given"]) for box in record["boxes"]] == [(frame, True) for frame in frames]
    assert [box["pred_xyxy"] for box in record["boxes"]] == [[0, 0, 112, 56], [22.4, 0, 112, 56], [201.6, 0, 224, 56]]
    first, last = record["span_frames"]
    assert (first, last) == ((frames[0] + 0) // 2 + 1, (frames[2] + round(4 * fps)) // 2)


@pytest.mark.slow
def test_a_rate_takes_no_more_than_the_frames_it_is_for() -> None:
    """A video of ten hours: a table of all times and frames would not fit into memory."""
    times_s = np.arange(1_000_000) / 28
    info = VideoInfo(Path("long.mp4"), times_s, 1_000_000 / 28, (224, 112))
    spec = make_prompt_spec(info, HERE)
    row = make_prompt(spec, "one", info.path)
    boxes = "0. [20, 10, 40, 30], 9. [30, 10, 50, 30]"
    text = f"<time> 0 - 99999 </time> <think_bbox> {boxes} </think_bbox> <pred_bbox> {boxes} </pred_bbox>"
    record = make_record(spec, info, row, "one", Reply(text), rate=2)
    assert [box["frame"] for box in record["boxes"][:3]] == [0, 14, 28]
    assert len(record["boxes"]) == 71429


def test_a_span_at_the_end_reaches_the_end() -> None:
    """In a file whose last picture is shown for six seconds, and in a part of it."""
    info = VideoInfo(Path("slides.mp4"), np.arange(100) / 25, 10.0, (224, 112))
    text = ANSWER.replace("1 - 2", "0 - 8")
    for clip_s, end_s in ((None, 10.0), ((0.0, 3.96), 3.96)):
        spec = make_prompt_spec(info, HERE, clip_s and clip_frames(info, clip_s))
        record = make_record(spec, info, make_prompt(spec, "one", info.path), "one", Reply(text))
        assert record["span_s"] == [0.0, end_s]
        assert parse(text, spec).file_span_s == pytest.approx((0.0, end_s))
        overlay = Overlay.of(spec, "one", text)
        assert (overlay.duration_s, overlay.tracks[0].span_s[1]) == pytest.approx((end_s, end_s)), "as it is drawn"
    assert spec.timeline.clip_span_s((0, 6)) == pytest.approx((0.0, 3.24)), "half-way to the next"


def test_times_of_a_record_can_be_asked_about() -> None:
    """They are rounded to thousandths: at 30 frames per second, nearly all of them are off."""
    info = VideoInfo(Path("v.mp4"), np.arange(90) / 30, 3.0, (224, 112))
    for frame in (1, 2, 50):
        time_s = round(frame / 30, 3)
        assert clip_frames(info, (time_s, 9.0)) == (frame, 90)
        assert clip_frames(info, (0.0, time_s)) == (0, frame)


STATUSES = [
    ("nothing", "unparsable", "no <time>; no <pred_bbox>", None, 0),
    ("<time> 1 - 1 </time>", "unparsable", "no <pred_bbox>", [0.24, 0.74], 0),
    (
        ANSWER.replace("2. [30", "3. [30"),
        "inconsistent",
        "the boxes do not have the indices of the span",
        [0.24, 1.24],
        2,
    ),
    (ANSWER.replace("1 - 2", "1 - 9"), "inconsistent", "goes beyond the last index, 3", [0.24, 2.0], 2),
    (ANSWER.replace("1 - 2", "2 - 1"), "inconsistent", "runs backwards", None, 0),
]


@pytest.mark.parametrize(("text", "status", "detail", "span_s", "boxes"), STATUSES, ids=[case[2] for case in STATUSES])
def test_wrong_answers_are_records_too(
    clip: Path, text: str, status: str, detail: str, span_s: list[float] | None, boxes: int
) -> None:
    record = answered(clip, text).record
    assert record["status"] == status
    assert detail in record["detail"]
    assert record["span_s"] == (span_s and pytest.approx(span_s, abs=0.03))
    assert len(record["boxes"]) == boxes
    json.dumps(record, allow_nan=False)


def test_plain_lines_of_seconds(clip: Path) -> None:
    """Answers of a model that was asked for lines: with fences and decimals, on a grid of seconds."""
    settings = Settings(cache_dir=None, max_side=112, style="csv", index_unit="second", coords="norm1000")
    text = "```csv\n0,1\n0.0, 100, 100, 300, 300\n1, 200, 100, 400.4, 300\n```"
    with server(lambda _: text) as (url, asked):
        (found,) = ground(clip, ["the white part"], Endpoint(url, retries=0), settings)
    assert found.record["status"] == "ok"
    assert [(box["time_s"], box["pred_xyxy"]) for box in found.record["boxes"]] == [
        (0.0, [22.4, 11.2, 67.2, 33.6]),
        (1.0, [44.8, 11.2, 89.69, 33.6]),
    ]
    assert found.record["boxes"][0]["think_xyxy"] is None
    assert "lines of whole numbers" in asked[0]["messages"][0]["content"]


SPOKEN = [
    # style, coordinates, an answer, the label of the third frame
    ("qwen_json", "norm1000", '[{"time": 0.0, "bbox_2d": [100, 200, 300, 600], "label": "it"}]', "<1.0 seconds>"),
    ("qwen_json", "pixel", '```json\n[{"time": 0.0, "bbox_2d": [11.2, 11.2, 33.6, 33.6]}]\n```', "<1.0 seconds>"),
    ("span_json", "norm1000", '<answer>{"time": [0.1, 0.4], "boxes": {"0": [100, 200, 300, 600]}}', "<1.0 seconds>"),
    ("span_json", "source", '{"time": [0, 0], "boxes": {"0": [22.4, 22.4, 67.2, 67.2]}}', "<1.0 seconds>"),
    ("fig8", "unit", "0-0\nsecond,x1,y1,x2,y2\n0,0.1,0.2,0.3,0.6", "frame 2, 1.00 s:"),
    ("csv", "unit", "0,0\n0,0.1,0.2,0.3,0.6", "frame 2, 1.00 s:"),
    ("tags", "source", "<time> 0 - 0 </time> <pred_bbox> 0. [22.4, 22.4, 67.2, 67.2] </pred_bbox>", "frame 2, 1.00 s:"),
]


@pytest.mark.parametrize(("style", "coords", "text", "label"), SPOKEN, ids=[f"{c[0]}, {c[1]}" for c in SPOKEN])
def test_every_style_is_asked_read_and_drawn(
    style: str, coords: str, text: str, label: str, clip: Path, tmp_path: Path
) -> None:
    settings = Settings(cache_dir=None, max_side=112, style=style, index_unit="second", coords=coords, think=False)
    with server(lambda _: text) as (url, asked):
        (found,) = ground(clip, ["the white part"], Endpoint(url, retries=0), settings)
    assert (found.record["status"], found.record["span_frames"]) == ("ok", [0, 12])
    assert [box["pred_xyxy"] for box in found.record["boxes"]] == [pytest.approx([22.4, 22.4, 67.2, 67.2])]
    render(found.overlay, clip, tmp_path / "drawn.png")
    system, user = asked[0]["messages"]
    assert system["content"] == AnswerFormat.of(settings).instruction()
    texts = [part["text"] for part in user["content"] if part["type"] == "text"]
    assert texts[2] == label
    assert ("224 x 112 pixels" in texts[4], "112 x 56 pixels" in texts[4]) == (coords == "source", coords == "pixel")


def test_the_time_alone(clip: Path, tmp_path: Path) -> None:
    found = answered(clip, "<time> 1 - 2 </time>", replace(HERE, boxes=False))
    assert (found.record["status"], found.record["boxes"]) == ("ok", [])
    assert found.record["span_s"] == pytest.approx([0.24, 1.24])
    (track,) = found.overlay.tracks
    assert track.span_s == pytest.approx((0.24, 1.24))
    render(found.overlay, clip, tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as drawn:
        assert drawn.size[0] > 300


def test_servers_are_sent_the_frames_of_the_timeline(clip: Path) -> None:
    with server(lambda _: ANSWER) as (url, asked):
        engine = Endpoint(url, "mine", body={"max_tokens": None, "seed": 7}, key="secret")
        ground(clip, ["one", "two"], engine, HERE)
    assert len(asked) == 2
    assert {request["model"] for request in asked} == {"mine"}
    assert all("max_tokens" not in request and request["seed"] == 7 for request in asked)
    system, user = asked[0]["messages"]
    assert system["content"].startswith("You are given a video")
    texts = [part["text"] for part in user["content"] if part["type"] == "text"]
    assert texts[:4] == ["frame 0, 0.00 s:", "frame 1, 0.48 s:", "frame 2, 1.00 s:", "frame 3, 1.48 s:"]
    assert "(frames 0 - 3, 2 per second, 112 x 56 pixels)\n" in texts[4]
    urls = [part["image_url"]["url"] for part in user["content"] if part["type"] == "image_url"]
    for number, url_of_frame in zip((0, 12, 25, 37), urls, strict=True):
        sent = Image.open(io.BytesIO(base64.b64decode(url_of_frame.removeprefix("data:image/jpeg;base64,"))))
        expected = Image.fromarray(picture(number, (224, 112))).resize((112, 56), Image.Resampling.BICUBIC)
        assert np.abs(np.asarray(sent, dtype=float) - np.asarray(expected, dtype=float)).mean() < 3


def test_swift_deploy_is_sent_the_file_and_what_to_look_at(clip: Path) -> None:
    with server(lambda _: ANSWER) as (url, asked):
        (found,) = ground(clip, ["one"], Endpoint(url, send="video"), HERE)
    assert base64.b64decode(asked[0]["videos"][0]) == clip.read_bytes()
    assert asked[0]["messages"] == found.record["messages"]
    assert json.loads(asked[0]["chat_template_kwargs"]["stvg_video"])["frames"] == [0, 12, 25, 37]


def chat(content: Any) -> tuple[int, bytes]:
    return 200, json.dumps({"choices": [{"message": {"content": content}}]}).encode()


NO_ANSWERS = [
    ((500, b"{}"), "no answer to 1 of 1 questions: status 500"),
    ((400, b'{"message": "too many images"}'), "too many images"),
    ((401, b'{"error": {"message": "who are you"}}'), "status 401: .*who are you"),
    ((404, b'{"error": {"message": "no model mine"}}'), "status 404: .*no model mine"),
    ((200, b"<html>hello</html>", "text/html"), "no chat completion: '<html>hello</html>'"),
    ((200, b'{"choices": ['), "no chat completion"),
    ((200, b"[1, 2]"), r"no chat completion: \[1, 2\]"),
    ((200, b'{"choices": []}'), "no chat completion"),
    ((200, b"[" * 200_000), "no chat completion"),
    (chat(None), "an answer without text"),
    (chat([{"type": "text"}]), "an answer without text"),
]


@pytest.mark.parametrize(("said", "message"), NO_ANSWERS, ids=[str(case[0])[:40] for case in NO_ANSWERS])
def test_servers_that_fail_are_one_clear_error(clip: Path, said: Any, message: str) -> None:
    with server(lambda _: said) as (url, _), pytest.raises(EndpointError, match=message):
        ground(clip, ["one"], Endpoint(url, "mine", retries=0), HERE)


@pytest.mark.slow
def test_a_server_that_is_down_and_one_that_hangs(clip: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        down = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(EndpointError, match=r"lists no models \(no connection"):
        Endpoint(down, retries=0)
    with pytest.raises(EndpointError, match="no answer to 1 of 1 questions: no connection"):
        ground(clip, ["one"], Endpoint(down, "mine", retries=0), HERE)
    let_go, answered = threading.Event(), []

    def hang(_: Any) -> str:
        let_go.wait(60)
        answered.append(ANSWER)
        return ANSWER

    with server(hang) as (url, asked):
        with pytest.raises(EndpointError, match=r"no answer within 0.3 s"):
            ground(clip, ["one"], Endpoint(url, "mine", retries=1, timeout_s=0.3), HERE)
        assert answered == [], "nobody waited for it"
        let_go.set()
        assert len(asked) == 2, "once more, then no more"


@pytest.mark.parametrize("key", ["x", "1", "none"])
def test_what_stands_for_a_key_of_a_local_server_changes_no_answer(clip: Path, key: str) -> None:
    with server(lambda _: ANSWER) as (url, _):
        (found,) = ground(clip, ["one"], Endpoint(url, "mine", key=key), HERE)
    assert (found.record["status"], found.record["response"]) == ("ok", ANSWER)


@pytest.mark.slow
def test_a_key_stays_secret(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " sk-SECRET\r")
    said = ["status 400, your request", "an answer without text", "no chat completion"]

    def repeat(request: dict[str, Any]) -> Any:
        key = request["Authorization"]
        kind = request["messages"][-1]["content"][-1]["text"].splitlines()[-1]
        if kind == said[0]:
            return 400, json.dumps({"error": {"message": "x" * 270 + f"your header: {key} {key}"}}).encode()
        return chat({"key": key}) if kind == said[1] else (200, json.dumps([key]).encode())

    with server(lambda request: request["Authorization"]) as (url, asked):
        (found,) = ground(clip, ["one"], Endpoint(url), HERE)
    assert asked[0]["Authorization"] == "Bearer sk-SECRET"
    assert found.record["response"] == "Bearer ***"
    with server(lambda request: repeat(request) if len(asked) > 1 else ANSWER) as (url, asked):
        records = [found.record for found in ground(clip, ["good", *said], Endpoint(url, at_once=1), HERE)]
    assert [record["status"] for record in records] == ["ok", *["no answer"] * 3]
    assert "SEC" not in json.dumps(records)
    for key in ("sk-SECRET\x00", "sk-SECRET\u2026", "sk-SEC\r\nRET"):
        with pytest.raises(DataError, match="OPENAI_API_KEY holds characters that a key cannot have") as error:
            Endpoint("http://127.0.0.1:1/v1", "mine", key=key)
        assert "SEC" not in str(error.value)
    out = tmp_path / "a.jsonl"
    for url in ("http://me:SECRET@127.0.0.1:1/v1", "http://127.0.0.1:1/v1?key=SECRET", "me:SECRET@host"):
        words = ["ground", "--dataset", "stvg_synthetic:test", "--endpoint", url, "--out", str(out), "--model", "m"]
        assert main(words) == 1
        assert "SEC" not in (said_here := capsys.readouterr().err)
        assert "a URL without user, password" in said_here
    assert not out.exists()


@pytest.mark.slow
def test_an_answer_that_never_ends_is_given_up(clip: Path) -> None:
    dripped: list[bytes] = []
    sent: list[int] = []

    def drip() -> Iterator[bytes]:
        for _ in range(1000):  # 80 s, or until nobody listens
            time.sleep(0.08)
            dripped.append(b" ")
            yield b" "

    def flood() -> Iterator[bytes]:
        for size in [1 << 16] * 1600:  # 100 MiB
            sent.append(size)
            yield b" " * size

    with server(lambda _: drip()) as (url, _):
        with pytest.raises(EndpointError, match=r"no answer within 0.4 s"):
            ground(clip, ["one"], Endpoint(url, "mine", retries=0, timeout_s=0.4), HERE)
        assert len(dripped) < 1000
    with server(lambda _: flood()) as (url, _), pytest.raises(EndpointError, match="more than 16 MiB"):
        ground(clip, ["one"], Endpoint(url, "mine", retries=0), HERE)
    assert sum(sent) < 1 << 26


def test_failures_that_pass_are_tried_again_and_others_are_records(clip: Path) -> None:
    times: dict[str, int] = {}

    def say(request: dict[str, Any]) -> Any:
        sentence = request["messages"][-1]["content"][-1]["text"].splitlines()[-1]
        times[sentence] = times.get(sentence, 0) + 1
        return (503, b"{}") if sentence == "never" or times[sentence] == 1 else ANSWER

    with server(say) as (url, _):
        found = ground(clip, ["at last", "never"], Endpoint(url, retries=1), HERE)
    assert times == {"at last": 2, "never": 2}
    assert [grounded.record["status"] for grounded in found] == ["ok", "no answer"]
    assert found[1].record["detail"].startswith("status 503")
    assert (found[1].record["response"], found[1].record["boxes"]) == ("", [])


WRONG = [
    (lambda clip, url: ground(clip.with_name("none.mp4"), ["one"], Endpoint(url), HERE), VideoError, "video missing"),
    (lambda clip, url: ground(clip, [" "], Endpoint(url), HERE), RowError, "no sentence"),
    (
        lambda clip, url: ground(clip, [], Endpoint(url), HERE),
        DataError,
        "there is no sentence to look for: give at least one",
    ),
    (lambda clip, url: ground(clip, ["a <video>"], Endpoint(url), HERE), RowError, "reserved words"),
    (lambda clip, url: ground(clip, ["one"], Endpoint(url), HERE, clip_s=(5, 9)), RowError, "lasts from 0.00 to 2.0"),
    (lambda clip, url: ground(clip, ["one"], Endpoint(url), HERE, rate=0), DataError, "above 0"),
    (
        lambda clip, url: Endpoint("localhost:8000"),
        DataError,
        "must be a URL such as http://127.0.0.1:8000/v1, got 'localhost:8000'",
    ),
    (lambda clip, url: Endpoint(url, timeout_s=0), DataError, "above 0"),
]


@pytest.mark.parametrize(("ask", "error", "message"), WRONG, ids=[case[2] for case in WRONG])
def test_wrong_inputs_are_one_clear_error(
    clip: Path, ask: Callable[[Path, str], Any], error: type[StvgError], message: str
) -> None:
    with server(lambda _: ANSWER) as (url, asked):
        with pytest.raises(error, match=message):
            ask(clip, url)
        assert asked == []


def test_exports(clip: Path, tmp_path: Path) -> None:
    with server(lambda request: "no" if "two" in json.dumps(request["messages"]) else ANSWER) as (url, _):
        records = [found.record for found in ground(clip, ["one", "two"], Endpoint(url), HERE)]
    assert to_mot(records[0]) == "13,1,41.00,21.00,40.00,40.00,1,-1,-1,-1\n26,1,61.00,21.00,40.00,40.00,1,-1,-1,-1\n"
    assert to_mot(records[1]) == ""
    coco = json.loads(to_coco(records))
    assert [(image["frame_id"], image["file_name"]) for image in coco["images"]] == [
        (frame, f"clip/{frame:06d}.jpg") for frame in range(50)
    ]
    by_id = {image["id"]: image for image in coco["images"]}
    assert [(by_id[a["image_id"]]["frame_id"], a["time_s"], a["bbox"], a["area"]) for a in coco["annotations"]] == [
        (12, 0.48, [40, 20, 40, 40], 1600),
        (25, 1.0, [60, 20, 40, 40], 1600),
    ]
    assert {(a["category_id"], a["instance_id"]) for a in coco["annotations"]} == {(1, 1)}
    assert coco["categories"] == [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]
    (tmp_path / "tubes.json").write_text(to_tubes(records))
    tubes, faults, _ = read_tubes(tmp_path / "tubes.json")
    assert faults == {}
    assert tubes["clip.mp4"].span_frames == (7, 31)
    assert tubes["clip.mp4"].boxes_xyxy.tolist() == [[40, 20, 80, 60], [60, 20, 100, 60]]


@pytest.mark.slow
def test_coco_vid_is_read_as_mmtracking_does(clip: Path) -> None:
    """Its `CocoVID.get_img_ids_from_vid` puts ids into a list by `frame_id`; annotations go by `instance_id`."""
    records = [answered(clip, ANSWER).record, answered(clip, ANSWER, rate=EVERY_FRAME).record]
    records.append(records[0] | {"videos": ["/elsewhere/clip.mp4"]})
    coco = json.loads(to_coco(records))
    for video in coco["videos"]:
        images = [image for image in coco["images"] if image["video_id"] == video["id"]]
        ids = [0] * len(images)
        for image in images:
            ids[image["frame_id"]] = image["id"]
        assert 0 not in ids
        assert {image["file_name"].partition("/")[0] for image in images} == {video["name"]}
    assert [video["name"] for video in coco["videos"]] == ["clip_1", "clip_2"], "nothing of two files is mixed"
    assert len({image["file_name"] for image in coco["images"]}) == len(coco["images"]) == 100
    assert [a["instance_id"] for a in coco["annotations"]] == [1] * 2 + [2] * 25 + [3] * 2
    with pytest.raises(DataError, match=r"2 records are called 'clip.mp4'"):
        to_tubes(records[1:])


def test_boxes_without_an_area_are_not_exported(clip: Path) -> None:
    """Such boxes lie outside the picture; trackers and detectors do not accept them."""
    record = answered(clip, ANSWER.replace("1. [20, 10, 40, 30], 2", "1. [120, 10, 140, 30], 2")).record
    assert record["boxes"][0]["pred_xyxy"] == [224, 20, 224, 60]
    assert [line.split(",")[0] for line in to_mot(record).splitlines()] == ["26"]
    assert len(json.loads(to_coco([record]))["annotations"]) == 1


@pytest.mark.parametrize("rate", [None, EVERY_FRAME])
@pytest.mark.parametrize("inverted", [(0,), (1,), (3,), (1, 2), (0, 1, 2, 3), ()])
def test_exported_tubes_score_as_the_answer(
    clip: Path, tmp_path: Path, inverted: tuple[int, ...], rate: float | None
) -> None:
    info = probe(clip)
    sample = Sample(
        id="a",
        dataset="made",
        split="up",
        sentence="it moves",
        video=clip,
        annotated_frames=50,
        annotated_fps=25.0,
        size_wh=(224, 112),
        span_frames=(0, 50),
        tube_frames=np.arange(50),
        tube_xyxy=np.tile([40.0, 20, 80, 60], (50, 1)) + np.arange(50)[:, None] / 2,
    )
    row_truth = make_row_truth(sample, info, HERE)
    boxes = [f"{i}. " + ("[40, 30, 20, 10]" if i in inverted else f"[{20 + 5 * i}, 10, 40, 30]") for i in range(4)]
    text = f"<time> 0 - 3 </time> <think_bbox> {', '.join(boxes)} </think_bbox> <pred_bbox> {', '.join(boxes)} "
    text += "</pred_bbox>"
    record = make_record(row_truth, info, make_prompt(row_truth, "it moves", clip), "it moves", Reply(text), rate)
    (tmp_path / "tubes.json").write_text(to_tubes([{"id": "a"} | record]))
    tubes, faults, _ = read_tubes(tmp_path / "tubes.json")
    assert faults == {}
    pred = row_truth.format.parse(text).pred
    direct = answer_tube((0, 3), pred, row_truth, sample)
    expected, found = (evaluate([sample], [tube], "hcstvg_official") for tube in (direct, tubes["a"]))
    assert found.viou[0] == pytest.approx(expected.viou[0], abs=1e-3)
    assert found.tiou[0] == expected.tiou[0] == 1
    assert (expected.viou[0] > 0) == (len(inverted) < 4)


@pytest.mark.slow
def test_the_command_writes_everything(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STVG_MAX_SIDE", "112")
    monkeypatch.setenv("STVG_CACHE_DIR", "off")
    words = ["--out", str(tmp_path / "out"), "--format", "coco", "mot", "tubes", "--rate", "all"]
    with server(lambda _: ANSWER) as (url, _):
        assert main(["ground", str(clip), "one", "two", "--endpoint", url, *words]) == 0
        assert main(["ground", str(clip), "one", "--endpoint", url, "--draw", "png", "--out", str(tmp_path / "b")]) == 0
    names = "1.mp4 2.mp4 answers.jsonl coco.json mot_1.txt mot_2.txt tubes.json"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names.split()
    first, second = json_lines(tmp_path / "out/answers.jsonl")
    assert (first["id"], second["id"]) == ("clip.mp4", "clip.mp4#2")
    assert len((tmp_path / "out/mot_1.txt").read_text().splitlines()) == len(first["boxes"]) == 25
    drawn = probe(tmp_path / "out/1.mp4")
    assert drawn.n_frames == 50
    x1, y1, x2, y2 = (round(c * shown_size((224, 112))[0] / 224) for c in (40, 20, 80, 60))
    left, *_, right = read_frames(tmp_path / "out/1.mp4", np.array([0, 12]))[[0, 1], y1 : y2 + 1, x1 : x2 + 1]
    red = [(frame[..., 0].astype(int) - frame[..., 1] > 60).sum() for frame in (left, right)]
    assert red[0] == 0 < red[1], "a box in red at frame 12, none at frame 0"
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["1.png", "answers.jsonl"]


@pytest.mark.slow
def test_a_folder_holds_one_run_and_nothing_of_others(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STVG_MAX_SIDE", "112")
    monkeypatch.setenv("STVG_CACHE_DIR", "off")
    own, out = tmp_path / "own", tmp_path / "new" / "out"
    own.mkdir()
    (own / "coco.json").write_text("of somebody")
    with server(lambda _: ANSWER) as (url, asked):
        words = ["ground", str(clip), "-5 is written there", "--endpoint", url, "--out"]
        assert main([*words, str(own), "--format", "coco"]) == 1
        assert "is not empty, and it does not hold answers of swift-stvg ground" in capsys.readouterr().err
        assert asked == []
        assert (own / "coco.json").read_text() == "of somebody"
        assert main([*words, str(out), "--format", "coco", "mot", "--draw", "gif"]) == 0
        for name in ("notes.txt", "2.gif"):
            (out / name).write_text("mine")
        assert main([*words, str(out), "--draw", "none"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["2.gif", "answers.jsonl", "notes.txt"]
    assert json_lines(out / "answers.jsonl")[0]["sentence"] == "-5 is written there"
    with server(lambda _: (500, b"{}")) as (url, _):
        words = ["ground", str(clip), "one", "--endpoint", url, "--retries", "0", "--out"]
        assert main([*words, str(tmp_path / "na" / "nb")]) == 1
        assert main([*words, str(out)]) == 1
    assert not (tmp_path / "na").exists()
    assert len(list(out.iterdir())) == 3, "what was there before a run that failed stays"


@pytest.mark.slow
def test_every_frame_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds for a video with more frames than pages show too; a progress bar counts the frames."""
    monkeypatch.setenv("STVG_MAX_SIDE", "112")
    long = write_video(tmp_path / "long.mp4", np.arange(200) / 25, size_wh=(64, 32))
    with server(lambda _: ANSWER) as (url, _):
        assert main(["ground", str(long), "one", "--endpoint", url, "--out", str(tmp_path / "out")]) == 0
    assert probe(tmp_path / "out/1.mp4").n_frames == 200


def test_a_picture_is_a_video_of_one_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STVG_MAX_SIDE", "112")
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(picture(20, (224, 112)))))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by 90 degrees
    turned.save(tmp_path / "a.JPG", exif=exif, quality=95)
    text = "<time> 0 - 0 </time> <think_bbox> 0. [0, 0, 9, 9] </think_bbox> <pred_bbox> 0. [0, 0, 20, 56] </pred_bbox>"
    with server(lambda _: text) as (url, asked):
        out = ["--endpoint", url, "--out", str(tmp_path / "out")]
        assert main(["ground", str(tmp_path / "a.JPG"), "white", *out]) == 0
    (record,) = json_lines(tmp_path / "out/answers.jsonl")
    assert (record["status"], record["size_wh"]) == ("ok", [224, 112])
    assert record["boxes"][0]["pred_xyxy"] == [0, 0, 40, 112]
    assert sum(part["type"] == "image_url" for part in asked[0]["messages"][-1]["content"]) == 1
    assert (tmp_path / "out/1.png").is_file()
    assert json.loads(to_coco([record]))["images"][0]["file_name"] == "a.JPG"
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing else")
    with pytest.raises(VideoError, match="cannot be decoded"):
        probe(tmp_path / "broken.png")


@pytest.mark.slow
def test_a_folder_of_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """It is sampled at the rate of the setting, sent as images, and drawn as a film; a server cannot read a folder."""
    monkeypatch.setenv("STVG_MAX_SIDE", "112")
    monkeypatch.setenv("STVG_FOLDER_FPS", "10")
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(20):
        Image.fromarray(picture(number, (224, 112))).save(folder / f"{number:04d}.png")
    with server(lambda _: ANSWER) as (url, asked):
        words = ["ground", str(folder), "one", "--endpoint", url, "--retries", "0"]
        assert main([*words, "--out", str(tmp_path / "out")]) == 0
        with pytest.raises(EndpointError, match="is a picture or a folder of pictures: send images"):
            ground(folder, ["one"], Endpoint(url, send="video", retries=0), Settings.from_env())
    (record,) = json_lines(tmp_path / "out/answers.jsonl")
    assert (record["status"], record["n_frames"], record["size_wh"]) == ("ok", 20, [224, 112])
    texts = [part["text"] for part in asked[0]["messages"][-1]["content"] if part["type"] == "text"]
    assert texts[:4] == ["frame 0, 0.00 s:", "frame 1, 0.50 s:", "frame 2, 1.00 s:", "frame 3, 1.50 s:"]
    assert probe(tmp_path / "out/1.mp4").n_frames == 20


USES = [
    (["--endpoint", "http://127.0.0.1:1/v1"], "give a video and sentences, or --dataset"),
    (["--model", "m", "--max_new_tokens", "8", "clip.mp4", "one"], "options for ms-swift come after"),
    (["clip.mp4", "one", "--model", "m", "--dataset", "stvg_synthetic:test"], "give a video and sentences, or --dat"),
    (
        ["clip.mp4", "one", "--endpoint", "http://127.0.0.1:1/v1", "--max_new_tokens", "9"],
        "leave out these options, which are for ms-swift: --max_new_tokens",
    ),
    (
        ["clip.mp4", "one", "--endpoint", "http://127.0.0.1:1/v1", "--format", "mot"],
        "--format and --draw write files: give --out",
    ),
    (["clip.mp4", "one", "--model", "m", "--draw", "gif"], "--format and --draw write files: give --out"),
    (["clip.mp4", "one", "--model", "m", "--send", "video"], "are for a server: give --endpoint"),
    (["none.mp4", "one", "--model", "m"], "video missing"),
    (["--dataset", "stvg_synthetic:test", "--model", "m"], "--dataset needs --out, a .jsonl file"),
    (["--dataset", "stvg_synthetic:test", "--model", "m", "--out", "a.jsonl", "--draw", "gif"], "are for one video"),
    (["clip.mp4", "one", "--endpoint", "http://127.0.0.1:1/v1", "--retries", "0", "--out", "new"], "lists no models"),
    (["clip.mp4", "one", "--model", "./nothing"], "no model at ./nothing"),
    (
        ["--dataset", "stvg_synthetic:test#0", "--model", "m", "--out", "a.jsonl"],
        "must be a whole number above 0, got '0'",
    ),
    (["clip.mp4", "one", "--model", "m", "--out", "clip.mp4"], "clip.mp4 cannot be used as a folder: Not a directory"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "message"), USES, ids=[case[1] for case in USES])
def test_wrong_use_is_one_clear_error(
    clip: Path,
    tmp_path: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "clip.mp4").symlink_to(clip)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STVG_CACHE_DIR", "off")
    assert main(["ground", *words]) == 1
    assert not Path("new").exists()
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("swift-stvg: error: ")]
    assert len(errors) == 1
    assert message in errors[0]


@pytest.fixture
def synthetic(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The held-out rows by video, and their settings in the environment."""
    for name, value in {**SIZES, "STVG_DATA_ROOT": str(workspace / "data"), "STVG_CACHE_DIR": "off"}.items():
        monkeypatch.setenv(name, value)
    rows, _ = load_rows("stvg_synthetic", "test", Settings.from_env())
    return {row["videos"][0]: row for row in rows}


@pytest.mark.slow
def test_a_dataset_is_answered_kept_and_scored(
    synthetic: dict[str, dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server knows the truth, and at first fails for one row: only this row is asked again."""
    rows = list(synthetic.values())
    exact = {RowTruth.from_json(row["stvg"]).id: row["messages"][-1]["content"] for row in rows}
    broken = {rows[3]["videos"][0]}

    def say(request: dict[str, Any]) -> Any:
        row = next(r for r in rows if r["messages"][:1] == request["messages"] and same_video(r, request))
        return (400, b"{}") if row["videos"][0] in broken else exact[RowTruth.from_json(row["stvg"]).id]

    def same_video(row: dict[str, Any], request: dict[str, Any]) -> bool:
        return base64.b64decode(request["videos"][0]) == Path(row["videos"][0]).read_bytes()

    out = tmp_path / "answers.jsonl"
    words = ["ground", "--dataset", "stvg_synthetic:test", "--out", str(out), "--send", "video", "--retries", "0"]
    with server(say) as (url, asked):
        assert main([*words, "--endpoint", url]) == 0
        assert f"1 of {len(rows)} answers: no answer" in capsys.readouterr().err
        assert main(["score", str(out), "--format", "json"]) == 0
        report = json.loads(capsys.readouterr().out)
        share = 1 - 1 / len(rows)
        assert report["tables"][0]["rows"][0]["metrics"]["m_vIoU"][0] == pytest.approx(share, abs=1e-6)
        before = out.read_text()
        assert main([*words, "--endpoint", url]) == 0
        assert out.read_text() == before, "a row that is never answered stays, and counts 0"
        said = capsys.readouterr().err
        assert f"{len(rows) - 1} answers kept from an earlier run, 1 rows asked now" in said
        assert "1 of 1 answers: no answer" in said
        broken.clear()
        asked.clear()
        out.write_text(out.read_text() + '{"response": "cut off')
        assert main([*words, "--endpoint", url]) == 0
        assert len(asked) == 1
        assert f"{len(rows) - 1} answers kept from an earlier run, 1 rows asked now" in capsys.readouterr().err
    assert main(["score", str(out), "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["tables"][0]["rows"][0]["metrics"]["m_vIoU"][0] == pytest.approx(1, abs=1e-6)
    assert report["ground_truth"]["samples"] == len(rows)
    assert [json.loads(line)["status"] for line in out.read_text().splitlines()] == ["ok"] * len(rows)
    answers = out.read_text()
    for more, message in (
        (["--endpoint", url, "--model", "other"], "with model tiny, not model other: give another --out"),
        (["--endpoint", "http://127.0.0.1:1/v1"], "not endpoint http://127.0.0.1:1/v1"),
    ):
        assert main([*words, *more]) == 1
        assert message in capsys.readouterr().err
    monkeypatch.setenv("STVG_COORDS", "norm1000")
    assert main([*words, "--endpoint", url]) == 1
    assert "with coords pixel, not coords norm1000" in capsys.readouterr().err
    monkeypatch.setenv("STVG_COORDS", "pixel")
    assert out.read_text() == answers
    foreign = json.dumps({"response": "", "stvg": rows[0]["stvg"]}) + "\n"
    out.write_text(foreign)
    assert main([*words, "--endpoint", "http://127.0.0.1:1/v1"]) == 1
    assert "line 1 of" in capsys.readouterr().err
    assert out.read_text() == foreign, "a result of something else is not lost"


@pytest.mark.slow
def test_the_first_rows_that_no_model_takes_do_not_end_a_run(
    synthetic: dict[str, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "answers.jsonl"
    words = ["ground", "--dataset", "stvg_synthetic:test#3", "--out", str(out), "--retries", "0", "--at-once", "1"]
    asked_first: list[Any] = []

    def say(request: dict[str, Any]) -> Any:
        asked_first.append(request)
        return (400, b"{}") if len(asked_first) < 3 else "nothing"

    with server(say) as (url, _):
        assert main([*words, "--endpoint", url]) == 0
    lines = json_lines(out)
    assert [line["status"] for line in lines] == ["no answer", "no answer", "unparsable"]
    assert [line["videos"] for line in lines] == [row["videos"] for row in synthetic.values()][:3], "as `swift infer`"
    out.unlink()
    with server(lambda _: (503, b"{}")) as (url, asked):
        assert main([*words, "--endpoint", url]) == 1
        assert len(asked) == 1
    assert "no answer to 1 of 3 questions: status 503" in capsys.readouterr().err
    assert not out.exists(), "nothing is left of a server that is down"
    with server(lambda _: (400, b"{}")) as (url, asked):
        assert main([*words, "--endpoint", url]) == 1
        assert len(asked) == 3
    assert "no answer to 3 of 3 questions: status 400" in capsys.readouterr().err


@pytest.mark.slow
def test_one_refusal_is_one_answer_less(
    clip: Path, synthetic: dict[str, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A moderated row, or a model that is removed: earlier answers are kept."""
    with server(lambda _: ANSWER if len(asked) < 5 else (404, b'{"error": {"message": "gone"}}')) as (url, asked):
        found = ground(clip, list("abcdefg"), Endpoint(url, retries=0, at_once=1), HERE)
    assert len(asked) == 7, "at the third one in a row it is clear, and no more would be asked"
    assert [grounded.record["status"] for grounded in found] == ["ok"] * 4 + ["no answer"] * 3
    assert "gone" in found[5].record["detail"]
    out = tmp_path / "answers.jsonl"
    words = ["ground", "--dataset", "stvg_synthetic:test", "--out", str(out), "--retries", "0", "--at-once", "1"]
    with server(lambda _: (403, b"{}") if len(asked) == 2 else "nothing") as (url, asked):
        assert main([*words, "--endpoint", url]) == 0
        assert [line["status"] for line in json_lines(out)].count("no answer") == 1
        assert len(asked) == len(synthetic)


@pytest.mark.slow
def test_a_server_that_goes_down_is_left_alone(
    synthetic: dict[str, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "answers.jsonl"
    words = ["ground", "--dataset", "stvg_synthetic:test", "--out", str(out), "--retries", "0", "--at-once", "1"]
    up = [True]
    with server(lambda _: "nothing" if up[0] and len(asked) < 2 else (503, b"{}")) as (url, asked):
        assert main([*words, "--endpoint", url]) == 1
        assert len(asked) == 4 < len(synthetic)
        assert f"no answer to 1 of {len(synthetic)} questions after the first 3: status 503" in capsys.readouterr().err
        assert [line["status"] for line in json_lines(out)] == ["unparsable"] + ["no answer"] * 2, "what came is kept"
        asked.clear()
        assert main([*words[:2], "stvg_synthetic:test#2", *words[3:], "--endpoint", url]) == 0
        up[0] = False
        before = out.read_text()
        assert main([*words[:2], "stvg_synthetic:test#3", *words[3:], "--endpoint", url]) == 1, "one is left, of three"
        assert "no answer to 1 of 1 questions: status 503" in capsys.readouterr().err
        assert out.read_text() == before


FOREIGN = [
    '{"my": "notes"}',
    "my notes, without a line end",
    "[1]",
    '{"response": "of something else"}',
    "\n{}",
    '{"response": ' + "[" * 100_000,
]


@pytest.mark.slow
@pytest.mark.parametrize("content", FOREIGN, ids=[content[:30] for content in FOREIGN])
def test_files_of_others_stay(
    synthetic: dict[str, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    out = tmp_path / "notes.jsonl"
    out.write_text(content)
    with server(lambda _: "nothing") as (url, asked):
        assert main(["ground", "--dataset", "stvg_synthetic:test#2", "--out", str(out), "--endpoint", url]) == 1
    assert asked == []
    assert "line 1 of" in capsys.readouterr().err
    assert out.read_text() == content


@pytest.mark.slow
def test_runs_that_were_killed_and_odd_answers(
    synthetic: dict[str, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a character, half a first line, half a pair of surrogates, another model: nothing is lost or mixed."""
    out = tmp_path / "answers.jsonl"
    words = ["ground", "--dataset", "stvg_synthetic:test#3", "--out", str(out), "--retries", "0", "--at-once", "1"]
    models = ["tiny"]
    odd = json.dumps({"choices": [{"message": {"content": "a \ud83d b"}}]}).encode()
    down = [True]
    if_killed_now: list[bytes] = []

    def say(_: Any) -> Any:
        if_killed_now.append(out.read_bytes())
        if len(asked) == 1:
            return 200, odd
        return (500, b"{}") if down[0] else "nothing"

    out.write_bytes('{"response": "a cut-off \u00e9'.encode()[:-1])
    with server(say, models) as (url, asked):
        assert main([*words, "--endpoint", url]) == 0
        assert [line["response"] for line in json_lines(out)] == ["a \ud83d b", "", ""]
        assert {line["model"] for line in json_lines(out)} == {"tiny"}
        assert if_killed_now[0] == b"", "what was cut off is gone before anything follows it"
        assert json.loads(if_killed_now[1])["response"] == "a \ud83d b"
        out.write_bytes(out.read_bytes() + b'{"resp')
        models[0], before = "other", out.read_bytes()
        assert main([*words, "--endpoint", url]) == 1
        assert "with model tiny, not model other: give another --out" in capsys.readouterr().err
        assert out.read_bytes() == before
        models[0], down[0] = "tiny", False
        assert main([*words, "--endpoint", url]) == 0
        assert "1 answers kept from an earlier run, 2 rows asked now" in capsys.readouterr().err
        assert len(json_lines(out)) == 3
        for more in (["--body", '{"max_tokens": 9}'], ["--send", "video"]):
            assert main([*words, "--endpoint", url, *more]) == 1
            assert f"not {more[0][2:]} " in capsys.readouterr().err


def test_answers_that_are_cut_off_say_so(clip: Path) -> None:
    said = {"choices": [{"message": {"content": ANSWER[:40]}, "finish_reason": "length"}]}
    for usage, message in (({"completion_tokens": 24}, "after 24 tokens: raise"), (None, "cut off: raise")):
        with server(lambda _, usage=usage: (200, json.dumps(said | {"usage": usage}).encode())) as (url, _):
            (found,) = ground(clip, ["one"], Endpoint(url), HERE)
        assert found.record["status"] == "unparsable"
        assert message in found.record["detail"]


def test_an_interrupt_does_not_wait_for_the_server(clip: Path) -> None:
    let_go, answered = threading.Event(), []

    def hang(_: Any) -> str:
        threading.Timer(0.3, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
        let_go.wait(60)
        answered.append(ANSWER)
        return ANSWER

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with server(hang) as (url, _):
            with pytest.raises(KeyboardInterrupt):
                ground(clip, ["one"], Endpoint(url, "mine"), HERE)
            assert answered == []
            let_go.set()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.swift
def test_options_of_ms_swift_and_a_dataset(
    synthetic: dict[str, dict[str, Any]], workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, model = tmp_path / "answers.jsonl", str(workspace / "tiny")
    words = ["ground", "--dataset", "stvg_synthetic:test#2", "--model", model, "--out", str(out)]
    options = ["--max_new_tokens", "8", "--torch_dtype", "float32", "--model_type", "qwen2_5_vl"]
    assert main([*words, *options]) == 0
    lines = json_lines(out)
    assert len(lines) == 2
    assert "cut off after 8 tokens" in lines[0]["detail"]
    out.unlink()
    capsys.readouterr()
    assert main([*words, "--stream", "true"]) == 1
    assert "--stream true is not supported: leave it out" in capsys.readouterr().err
    assert main([*words, "--max_new_tokens", "abc"]) == 1
    said = capsys.readouterr().err
    assert "invalid int value: 'abc'" in said
    assert "usage:" not in said


@pytest.mark.swift
def test_a_model_answers_about_any_video(synthetic: dict[str, dict[str, Any]], workspace: Path, tmp_path: Path) -> None:
    """The answer to a video and a sentence equals the answer to their row; wrong use is an error."""
    from swift_stvg.adapters.engine import SwiftEngine

    rows, model = list(synthetic.values())[:2], str(workspace / "tiny")
    how = ("--model_type", "qwen2_5_vl", "--torch_dtype", "float32", "--max_new_tokens", "24")
    engine = SwiftEngine(model, *how)
    prompts = [{**row, "messages": row["messages"][:-1]} for row in rows]
    expected = engine.answer(prompts)
    for row, reply in zip(rows, expected, strict=True):
        sentence = row["messages"][0]["content"].partition("\n")[2]
        (found,) = ground(Path(row["videos"][0]), [sentence], engine)
        assert found.record["response"] == reply.text
        assert found.record["messages"] == row["messages"][:-1]
    for options in (("--template", "qwen2_5_vl"), ("--template=qwen2_5_vl",), ("--nonsense", "1")):
        with pytest.raises(DataError, match=r"not a template of swift_stvg|knows these options: --nonsense"):
            SwiftEngine(model, *how, *options)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="ms-swift cannot take"):
        SwiftEngine(str(tmp_path / "empty"))
    damaged = {**prompts[0], "videos": [str(tmp_path / "gone.mp4")]}
    replies = engine.answer([damaged, prompts[1]])
    assert replies[1] == expected[1], "one video that is gone is one answer less"
    assert replies[0] == Reply("", replies[0].failure)
    assert "video missing" in str(replies[0].failure)


@pytest.mark.swift
def test_swift_deploy_answers(
    workspace: Path, env: dict[str, str], clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real server of a tiny model answers for frames as pictures, and for the video as the engine does."""
    from swift_stvg.adapters.engine import SwiftEngine

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "swift.cli.main", "deploy", "--port", str(port)]
    words += ["--host", "127.0.0.1", "--torch_dtype", "float32", "--external_plugins", "swift_stvg"]
    words += ["--model", str(workspace / "tiny"), "--model_type", "qwen2_5_vl", "--template", "stvg_qwen2_5_vl"]
    words += ["--served_model_name", "tiny", "--max_new_tokens", "24"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")} | env
    for name, value in SIZES.items():
        monkeypatch.setenv(name, value)
    log = tmp_path / "log.txt"
    with log.open("wb") as file:
        where = {"cwd": tmp_path, "env": clean, "stdout": file, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(words, **where, start_new_session=True)
    try:
        url, how = f"http://127.0.0.1:{port}/v1", {"retries": 0, "timeout_s": 240, "body": {"max_tokens": 24}}
        (found,) = ground(clip, ["the red square"], until_up(process, url, log, how))
        (whole,) = ground(clip, ["the red square"], Endpoint(url, send="video", **how))
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # `swift` starts another process
        process.wait(30)
    assert found.record["status"] in ("ok", "unparsable", "inconsistent"), found.record["detail"]
    assert found.record["response"]
    options = ("--model_type", "qwen2_5_vl", "--torch_dtype", "float32", "--max_new_tokens", "24")
    (own,) = ground(clip, ["the red square"], SwiftEngine(str(workspace / "tiny"), *options))
    assert whole.record["response"] == own.record["response"] != ""


def until_up(process: Any, url: str, log: Path, how: dict[str, Any]) -> Endpoint:
    """Wait until the server lists its model. Returns the endpoint."""
    for _ in range(300):
        if process.poll() is not None:
            raise SwiftFailed(log.read_text()[-4000:])
        try:
            return Endpoint(url, **how)
        except EndpointError:
            time.sleep(1)
    raise SwiftFailed(f"not up after five minutes: {log.read_text()[-4000:]}")


def test_answers_are_printed_for_a_person_or_as_records(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STVG_MAX_SIDE", "112")
    monkeypatch.setenv("STVG_CACHE_DIR", "off")
    with server(lambda _: ANSWER) as (url, asked):
        words = ["ground", str(clip), "one", "--endpoint", url]
        assert main(words) == 0
        printed = capsys.readouterr()
        assert printed.out.startswith(
            "'one': 0.24 to 1.24 s, 2 boxes. Status: ok\n      0.48 s  frame     12     40.0 "
        )
        assert re.search(
            r"cost of 1 answers: \d+\.\d\d s per video, .* per second of video, .* boxes per second", printed.err
        )
        assert main([*words, "--format", "json", "--samples", "3", "--vote", "median"]) == 0
        record = json.loads(capsys.readouterr().out)
        assert record["samples"] == [ANSWER] * 3
        assert record["seconds"] > 0
        assert [request["temperature"] for request in asked] == [0, 1, 1, 1]
        for body in ('{"temperature": 0}', '{"seed": 1}'):
            assert main([*words, "--samples", "2", "--body", body]) == 1
            assert "--samples needs different answers" in capsys.readouterr().err
        assert main([*words, "--samples", "0"]) == 1
        assert "samples must be at least 1" in capsys.readouterr().err
