"""Any input at all: completions, files of tubes, row truths and raw annotations, made by hypothesis.

`tests/fuzz.py` searches for the same failures with coverage, without a time limit.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.records import Tube
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import REWARDS
from tests.annotations import older, processed, shared, trajectories, v1, v2, vidor, vidstg
from tests.fuzzing import (
    FORMATS,
    WORDS,
    check_hcstvg,
    check_jsonl,
    check_merged,
    check_read,
    check_rewards,
    check_row_truth,
    check_scores,
    check_tubes,
    check_tubes_file,
    check_vidstg,
    standing,
)
from tests.helpers import answer, boxes, row_truth

EXACT = boxes(2, 5)
SEEDS = json.loads((Path(__file__).parent / "data/fuzz/completions.json").read_text())
SEEDS += sorted({fmt.example() for fmt in FORMATS})
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

tags = st.sampled_from(
    ["<time>", "</time>", "<think_bbox>", "</think_bbox>", "<pred_bbox>", "</pred_bbox>", "<", ">", "</", "<time"]
)
marks = st.sampled_from([" - ", ", ", ". [", "]", "[", ".", ":", "-", "–", "to", "s", "\n", "\t", "\u00a0", "\u3000"])
strange = st.sampled_from(
    ["NaN", "1e999", "-1e-999", "٣", "２", "²", "\x00", "\ud800", "\U0001f600", "0" * 50, "9" * 20]
)
words = st.sampled_from(WORDS)
pieces = st.lists(
    st.one_of(
        tags,
        marks,
        strange,
        words,
        st.integers(-10, 10**9).map(str),
        st.sampled_from(["2 - 5", EXACT, boxes(0, 9, "0, 0, 100, 100")]),
        st.text(max_size=8),
    ),
    max_size=30,
).map("".join)


@st.composite
def spoiled(draw: st.DrawFn) -> str:
    """A completion that was cut, doubled, and written over in places."""
    text: str = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(text))), draw(st.integers(0, 20))
        put = draw(st.one_of(tags, marks, strange, words, st.text(max_size=4), st.just(text[at : at + length] * 2)))
        text = text[:at] + put + text[at + length :]
    return text


@given(st.one_of(pieces, spoiled(), st.text()), st.sampled_from(FORMATS))
def test_any_completion_is_read(text: str, fmt: Any) -> None:
    check_read(text, fmt)


numerals = st.lists(
    st.one_of(
        words.filter(lambda word: "<" not in word), st.sampled_from("0259.:,-– ()'\"年x"), st.integers(0, 99).map(str)
    ),
    max_size=8,
).map("".join)


@given(numerals, numerals, st.sampled_from(["", " ", ": ", ". "]), st.sampled_from(FORMATS))
def test_no_number_is_read_as_another(time: str, label: str, mark: str, fmt: AnswerFormat) -> None:
    if fmt.style in ("csv", "fig8"):
        check_read(f"{time}\n{label},1,2,3,4\n{time}", fmt)
    elif fmt.style == "qwen_json":
        check_read(
            f'[{{"time": {time}{mark}, "bbox_2d": [1, 2, 3, 4]}}, {{"time": "{label}", "bbox_2d": [{time}]}}]', fmt
        )
    elif fmt.style == "span_json":
        check_read(f'{{"time": [{time}], "boxes": {{"3": [1, 2, 3, 4], "{label}"{mark}: [1, 2, 3, 4]}}}}', fmt)
    else:
        check_read(answer(time, f"1. [1, 2, 3, 4], {label}{mark}[1, 2, 3, 4]", f"{label}{mark}[1, 2, 3, 4]"), fmt)


@pytest.mark.slow
@given(st.lists(st.one_of(pieces, spoiled()), max_size=5))
def test_any_completion_earns_what_it_may(texts: list[str]) -> None:
    check_rewards(texts)


@pytest.mark.slow
@given(st.integers(0, 200), st.characters(), st.booleans())
def test_one_character_changed(position: int, character: str, insert: bool) -> None:
    """Texts that are nearly answers find disagreements between the strict and the lenient reader."""
    text = answer("2 - 5", EXACT, EXACT)
    position %= len(text)
    check_rewards([text[:position] + character + text[position + (not insert) :]])


@pytest.mark.slow
@given(st.lists(st.one_of(pieces, spoiled()), max_size=5))
def test_any_completion_scores_from_0_to_1(texts: list[str]) -> None:
    check_scores(texts)


@pytest.mark.parametrize("text", SEEDS)
def test_the_seeds_of_the_long_run(text: str) -> None:
    for fmt in FORMATS:
        check_read(text, fmt)
    check_rewards([text])
    check_scores([text])


HOSTILE: dict[str, Callable[[int], str]] = {  # text of about n characters
    "digits": lambda n: "<time>" + "1" * n,
    "digits of other scripts": lambda n: "<time>" + "٣" * n,
    "exponents": lambda n: "<time> 1" + "e9" * (n // 2),
    "one letter": lambda n: "a" * n,
    "NUL": lambda n: "<pred_bbox>" + "\x00" * n,
    "half characters": lambda n: "<think_bbox>" + "\ud800" * n,
    "spaces": lambda n: answer("2 - 5", " " * n, EXACT),
    "open entries": lambda n: "<pred_bbox>" + "1. [" * (n // 4),
    "half entries": lambda n: "<pred_bbox>" + "1.[1," * (n // 5),
    "entries without end": lambda n: "<time> 1 - 2 </time> <think_bbox>" + "5. [1, 2, 3, 4], " * (n // 17),
    "long valid list": lambda n: answer("2 - 5", boxes(0, n // 26), EXACT),
    "valid list, bad end": lambda n: answer("2 - 5", boxes(0, n // 26) + ", x", EXACT),
    "tags": lambda n: "<time><think_bbox><pred_bbox>" * (n // 29),
    "nested tags": lambda n: "<time>" * (n // 13) + "</time>" * (n // 13),
    "brackets": lambda n: "<" * n,
    "numbers": lambda n: "<time>" + "5 " * (n // 2),
    "spaced digits": lambda n: "<pred_bbox>" + "1       " * (n // 8),
    "answers": lambda n: answer("2 - 5", EXACT, EXACT) * (n // 250),
    "different times": lambda n: "".join(f"<time> {i} to </time>" for i in range(n // 22)),
    "different lists": lambda n: "".join(f"<pred_bbox> {i}, [1, 2, 3, 4]" for i in range(n // 30)),
    "a list cut off, again and again": lambda n: "".join("<pred_bbox>2. [1, 2, 3"[: i % 20] for i in range(n // 10)),
    "thoughts": lambda n: "<think></think>" * (n // 15),
    "answer blocks": lambda n: "<answer><time> 2 - 5 </time>" * (n // 28),
    "clock times": lambda n: "<time>" + "00:02 - " * (n // 8),
    "one endless clock time": lambda n: "<pred_bbox>" + "00:" * (n // 3) + "[1, 2, 3, 4]",
    "full-width boxes": lambda n: "<time>2-5</time><pred_bbox>" + "２：【１，２，３，４】，" * (n // 13),
    "words before boxes": lambda n: "<pred_bbox>" + "frame 2 " * (n // 8) + "[1, 2, 3, 4]",
    "boxes without an index": lambda n: "<pred_bbox> 2. [1, 2, 3, 4]" + "(1, 2, 3, 4)" * (n // 12),
    "points and colons": lambda n: "<time>" + ".:" * (n // 2),
}
HOSTILE_LINES: dict[str, Callable[[int], str]] = {
    "spans": lambda n: "1,2\n" * (n // 4),
    "boxes": lambda n: "1,2\n" + "1,2,3,4,5\n" * (n // 10),
    "one line": lambda n: "1," * (n // 2),
    "no lines": lambda n: "\n" * n,
    "different spans": lambda n: "".join(f"{i},{i + 1}\n" for i in range(n // 12)),
    "clock times": lambda n: "".join(f"0:{i}, 0:{i}0\n" for i in range(n // 18)),
    "brackets": lambda n: "[2,1,2,3,4],\n" * (n // 13),
    "gaps": lambda n: "1,2" + (" " * 199 + "\n") * (n // 200),
}
ITEM = '{"time": 2.0, "bbox_2d": [1, 2, 3, 4]}'
HOSTILE_JSON: dict[str, Callable[[int], str]] = {
    "braces": lambda n: "{" * n,
    "open objects": lambda n: '{"time": 2.0, "bbox_2d": [1,' * (n // 28),
    "keys": lambda n: '"time":' * (n // 7),
    "keys of an object": lambda n: "{" + '"time": 1, ' * (n // 11) + "}",
    "small objects of keys": lambda n: ("{" + '"time": 1, ' * 50 + "}") * (n // 552),
    "brackets": lambda n: '{"time": 1, "bbox_2d": ' + "[" * n,
    "quotes": lambda n: '"' * n,
    "the same object": lambda n: "[" + f"{ITEM}, " * (n // 42) + "]",
    "other objects": lambda n: "".join(f'{{"time": {i}, "bbox_2d": [1, 2, 3, {i}]}}' for i in range(n // 40)),
    "many a second": lambda n: "".join(f'{{"time": 2.{i}, "bbox_2d": [1, 2, 3, 4]}}' for i in range(n // 40)),
    "a long valid list": lambda n: "[" + ", ".join([ITEM] * (n // 42)) + "]",
    "gaps": lambda n: "[" + ITEM.replace(" ", " " * 8) * (n // 80),
    "spaces": lambda n: '{"time":' + " " * n + "2}",
    "a long label": lambda n: ITEM[:-1] + ', "label": "' + "a" * n + '"}',
    "boxes": lambda n: '{"time": [2, 5], "boxes": {' + '"2": [1, 2, 3, 4], ' * (n // 19) + "}}",
    "different times": lambda n: "".join(f'"time": [2, {i}], ' for i in range(n // 18)),
    "different boxes": lambda n: "".join(f'"boxes": {{"{i}": [1, 2, 3, 4]}}, ' for i in range(n // 30)),
    "thoughts": lambda n: "<think>" * (n // 14) + "</think>" * (n // 16),
    "a thought": lambda n: "<think>" + "a" * n + '</think><answer>{"time": [2, 5]}</answer>',
}
JSON_FORMATS = [fmt for fmt in FORMATS if fmt.style.endswith("json")]
TEXTS = [(name, text, FORMATS[0]) for name, text in HOSTILE.items()]
TEXTS += [(f"lines: {name}", text, FORMATS[4]) for name, text in HOSTILE_LINES.items()]
TEXTS += [
    (f"{fmt.style}, {'think, ' * fmt.think}{fmt.coords}: {name}", text, fmt)
    for fmt in JSON_FORMATS
    for name, text in HOSTILE_JSON.items()
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "hostile", "fmt"), TEXTS, ids=[name for name, _, _ in TEXTS])
def test_time_grows_linearly(
    name: str, hostile: Callable[[int], str], fmt: AnswerFormat, request: pytest.FixtureRequest
) -> None:
    """Sixteen times the text takes about sixteen times as long; a quadratic step would take 256 times."""
    short = 1 << (15 if request.config.getoption("--all") else 13)

    def seconds(size: int) -> float:
        text = hostile(size)
        taken = []
        for _ in range(2):
            start = time.process_time()
            batch = Batch([text], [row_truth(fmt=fmt, frames="either")])
            assert all(np.isfinite(reward(batch)).all() for reward in REWARDS.values())
            taken.append(time.process_time() - start)
        return min(taken)

    assert seconds(16 * short) < 4 * 16 * (seconds(short) + 0.001)


numbers = st.one_of(
    st.integers(-10, 300),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([10**9, 10**30, 10**400, -(2**63), 2**63, 1e300, 0.1, 1e-300, 9_999_999]),
)
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        numbers,
        st.text(max_size=8),
        st.sampled_from(["7", "", "\ud800", "\x00", "<video>", "<|im_end|>", "../../etc/passwd", "NaN", "declarative"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.sampled_from(["tid", "0", "1", "x", "bbox"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def changed(draw: st.DrawFn, original: Any) -> Any:
    """A copy of nested data with changed or deleted values in up to four places."""
    data = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 4))):
        place, path = data, []
        while isinstance(place, dict | list) and place and (not path or draw(st.booleans())):
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            path.append((place, draw(st.sampled_from(keys))))
            place = path[-1][0][path[-1][1]]
        if not path:
            return draw(values)
        parent, key = path[-1]
        kind = draw(st.sampled_from(["other", "other", "number", "gone", "twice"]))
        if kind == "gone":
            del parent[key]
        elif kind == "twice" and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        else:
            parent[key] = draw(numbers if kind == "number" else values)
    return data


@given(st.one_of(changed(v1()), changed(v2()), changed(older()), changed(processed()), values))
def test_any_entry_of_hcstvg(entry: Any) -> None:
    check_hcstvg(entry)


LINE = {
    "stvg_schema": 1,
    "id": "a",
    "video": "a.mp4",
    "sentence": "it moves",
    "n_frames": 200,
    "fps": 25.0,
    "size_wh": [320, 240],
    "span_frames": [50, 80],
    "tube": [[f, 10, 20, 60, 90] for f in range(50, 80)],
    "clip_frames": [0, 200],
    "query": "declarative",
    "category": "square",
}


@given(st.one_of(changed(LINE).map(json.dumps), st.text()))
def test_any_line_of_our_own_schema(line: str) -> None:
    check_jsonl(line)


@in_one_folder
@given(
    st.one_of(changed(vidstg()), values),
    st.one_of(st.just(vidor()), changed({"trajectories": vidor()["trajectories"][38:44]})).map(json.dumps),
)
def test_any_annotation_of_vidstg(tmp_path: Path, annotation: Any, trajectories: str) -> None:
    check_vidstg(annotation, trajectories.encode("utf-8", "surrogatepass"), tmp_path)


def fewer(content: dict[str, Any]) -> dict[str, Any]:
    """A file of sentences with few boxes."""
    for entry in content.values():
        if "target_bboxs" in entry:
            entry["target_bboxs"] = [*entry["target_bboxs"][:3], {}]
    if "trajectories" in content:
        boxes = content["trajectories"]["77"]["1"]
        content["trajectories"]["77"]["1"] = {frame: boxes[frame] for frame in ("40", "41", "99")}
    return content


@in_one_folder
@given(
    st.one_of(
        changed(fewer(shared())).map(json.dumps), changed(fewer(trajectories())).map(json.dumps), st.text(max_size=40)
    )
)
def test_any_file_of_sentences_with_boxes(tmp_path: Path, content: str) -> None:
    check_merged(content.encode("utf-8", "surrogatepass"), tmp_path)


TUBES = {"a": {"span_frames": [5, 30], "boxes": {"5": [0, 0, 50, 50], "7": [40, 40, 120, 120], "30": [1, 1, 6, 6]}}}


@in_one_folder
@given(st.one_of(changed(TUBES).map(json.dumps).map(str.encode), st.binary(max_size=60)))
def test_any_file_of_tubes(tmp_path: Path, data: bytes) -> None:
    check_tubes_file(data, tmp_path / "tubes.json")


coordinates = st.one_of(st.floats(-1e7, 1e7), st.just(float("nan")), st.sampled_from([0.0, 40.0, 120.0, 1e7, -1e7]))


@st.composite
def any_tubes(draw: st.DrawFn) -> Tube:
    """Tubes that an answer or a file can give: any span, and boxes at any place, of any shape, or unreadable."""
    frames = sorted(draw(st.sets(st.integers(0, 60), max_size=8)))
    boxes_xyxy = [draw(st.lists(coordinates, min_size=4, max_size=4)) for _ in frames]
    span = draw(st.integers(0, 60)), draw(st.integers(0, 10_000_000))
    return Tube(span, np.array(frames, dtype=np.int64), np.array(boxes_xyxy, dtype=np.float64).reshape(-1, 4))


@pytest.mark.slow
@given(st.lists(st.one_of(st.none(), any_tubes()), min_size=1, max_size=4))
def test_any_tube_scores_from_0_to_1(tubes: list[Tube | None]) -> None:
    check_tubes([standing()] * len(tubes), tubes)


@given(st.one_of(changed(json.loads(row_truth(gaps=(3,)).to_json())).map(json.dumps), st.text()))
def test_any_row_truth(text: str) -> None:
    check_row_truth(text)
