"""The documents agree with the code: commands run, links have targets, tables equal the code's tables."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from PIL import Image

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.cli import COMMANDS, main
from swift_stvg.rewards.functions import REWARDS
from swift_stvg.rows.making import frame_size
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.ground_truth import FACETS
from swift_stvg.scoring.headroom import Sampled
from swift_stvg.scoring.matching import ALL_PROTOCOLS
from swift_stvg.scoring.tubes import read_tubes
from swift_stvg.settings import BACKBONES, STYLES, Settings, describe_settings
from swift_stvg.sources import SOURCES, load_rows
from swift_stvg.sources.files import DataRoot
from swift_stvg.sources.jsonl import read_sample
from tests.helpers import hcstvg_entry, stcat_entry
from tests.pages import REALLY, SERVER
from tests.running import SIZES, json_lines
from tests.videos import picture

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "configs/*.md", "examples/**/*.md", "tests/GUARANTEES.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)
BY_NAME = {str(page): page for page in PAGES}
README = BY_NAME["README.md"]
MODELS = {"qwen2_5_vl": "Qwen/Qwen2.5-VL-7B-Instruct", "qwen3_vl": "Qwen/Qwen3-VL-8B-Instruct"}
"""Models that the pages name, by the architecture of the tiny models that replace them."""
OTHERS = {"OpenGVLab/InternVL3-1B-hf": "qwen3_vl", "Qwen/Qwen3-VL-2B-Instruct": "qwen3_vl", "MODEL": "qwen2_5_vl"}
"""Further names for these models."""
LIMIT_S = 900
"""Seconds that all commands may take together."""
FEWER = {"train=4000": "train=16", "test=40": "test=4", "--max_new_tokens 2048": "--max_new_tokens 64"}
"""Smaller numbers of clips and tokens for the test."""


# ---------------------------------------------------------------------------------------------------------- reading


@cache
def text_of(page: Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text_of(page))


def inline(page: Path) -> Iterator[Token]:
    """Every link, picture and code span."""
    for token in tokens(page):
        yield from token.children or ()


def fences(page: Path) -> Iterator[tuple[str, str, int]]:
    """Language, content and line of each block of code."""
    for token in tokens(page):
        if token.type == "fence":
            yield token.info, token.content, (token.map or [0])[0] + 1


@cache
def anchors(page: Path) -> set[str]:
    """Anchors of the headings, in GitHub's form."""
    found: set[str] = set()
    for token, content in pairwise(tokens(page)):
        if token.type != "heading_open":
            continue
        words = "".join(child.content for child in content.children or () if child.type in ("text", "code_inline"))
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return found


@dataclass
class Try:
    """A command or block of Python on a page.

    Attributes:
        page, line: its place.
        words: arguments for `tests.pages`, or a command of the shell.
        env: its environment variables.
        out: the file for its output.
        shown: lines of output that the page shows after the block, for the last command.
    """

    page: Path
    line: int
    words: list[str]
    env: dict[str, str] = field(default_factory=dict)
    out: str | None = None
    shown: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.words[0]}"


COMMENT = re.compile(r"(^|\s)#.*")
SETTING = re.compile(r"([A-Z_][A-Z0-9_]*)=(.*)")


def commands(page: Path) -> list[Try]:
    """All commands of a page, as in one terminal: exported variables and Python names are kept."""
    found: list[Try] = []
    exported: dict[str, str] = {}
    blocks = ""
    for language, content, line in fences(page):
        if language == "python":
            blocks += content
            found.append(Try(page, line, ["code", blocks], dict(exported)))
        if language == "text" and found:
            found[-1].shown = content.splitlines()
        if language != "bash":
            continue
        for number, text in joined(content):
            for much, little in FEWER.items():
                text = text.replace(much, little)
            words = shlex.split(COMMENT.sub("", text))
            if not words:
                continue
            env = dict(exported)
            if words[0] == "export":
                exported |= dict(SETTING.fullmatch(word).groups() for word in words[1:])  # type: ignore[union-attr]
                continue
            while setting := SETTING.fullmatch(words[0]):
                env[setting[1]] = setting[2]
                del words[0]
            out = None
            if ">" in words:
                at = words.index(">")
                (out,) = words[at + 1 :]
                del words[at:]
            found.append(Try(page, line + number, words, env, out))
    return found


def joined(block: str) -> Iterator[tuple[int, str]]:
    """Lines of a shell with their numbers. A line that ends with a backslash is joined with the next line."""
    whole, first = "", 0
    for number, line in enumerate(block.splitlines(), 1):
        first = first or number
        if line.endswith("\\"):
            whole += line[:-1]
            continue
        yield first, whole + line
        whole, first = "", 0


EVERY = [each for page in PAGES for each in commands(page)]
TRIED = [each for each in EVERY if each.words[0] in ("swift", "swift-stvg", "python", "code")]
SHELL = [each for each in EVERY if each not in TRIED]


# ---------------------------------------------------------------------------------------------------------- trying


def data_root(root: Path, synthetic: Path) -> None:
    """Synthetic clips as stvg_synthetic, HC-STVG v1 and v2, and VidSTG in STCAT's form."""
    (root / "stvg_synthetic").symlink_to(synthetic)
    for split in ("train", "test"):
        lines = json_lines(synthetic / f"{split}.jsonl")[:8]
        hcstvg = dict(hcstvg_entry(line) for line in lines)
        vidstg = {str(number): stcat_entry(number, line) for number, line in enumerate(lines)}
        for name, content in (("hc-stvg", hcstvg), ("hc-stvg2/annos/hcstvg_v2", hcstvg), ("vidstg/vstg_annos", vidstg)):
            (root / name).mkdir(parents=True, exist_ok=True)
            (root / name / f"{split}.json").write_text(json.dumps(content))
    for name in ("hc-stvg/v1_video", "hc-stvg2/v2_video", "vidstg/videos"):
        (root / name).symlink_to(synthetic / "videos")


def write_answers(path: Path, rows: list[dict[str, Any]]) -> None:
    """A result of `swift infer` with the exact answers."""
    lines = []
    for row in rows:
        row_truth = RowTruth.from_json(row["stvg"])
        text = row_truth.format.render(row_truth.answer)
        messages = [*row["messages"][:-1], {"role": "assistant", "content": text}]
        lines.append(json.dumps(row | {"response": text, "messages": messages}) + "\n")
    path.write_text("".join(lines))


def write_samples(path: Path, rows: list[dict[str, Any]]) -> None:
    """Answers of `swift-stvg headroom`: for each row the exact answer, and an answer without the last box."""
    truths = [RowTruth.from_json(row["stvg"]) for row in rows]
    exact = [truth.format.render(truth.answer) for truth in truths]
    samples = [[text, text.rpartition(", ")[0]] for text in exact]
    path.write_text(Sampled(truths, [row["videos"][0] for row in rows], exact, samples).to_lines())


@pytest.fixture(scope="session")
def given(workspace: Path, env: dict[str, str], cold_start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds all that the pages name: data, models, answers, clips."""
    folder = tmp_path_factory.mktemp("pages") / "given"
    root = folder / "data"
    root.mkdir(parents=True)
    data_root(root, workspace / "data/stvg_synthetic")
    for architecture, name in MODELS.items():
        tiny = workspace / "tiny"
        if architecture != "qwen2_5_vl":
            tiny = folder.parent / architecture
            assert main(["tiny", str(tiny), "--architecture", architecture]) == 0
        for given_name in (name, *(other for other, of in OTHERS.items() if of == architecture)):
            (folder / given_name).parent.mkdir(exist_ok=True)
            (folder / given_name).symlink_to(tiny)
    for name in ("configs", "examples", "constraints.txt", "constraints-gpu.txt"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "CHECKPOINT").symlink_to(cold_start)
    (folder / "output").mkdir()
    (folder / "output/logging.jsonl").symlink_to(cold_start.parent / "logging.jsonl")
    clip = workspace / "data/stvg_synthetic/videos/test_000000.mp4"
    (folder / "clip.mp4").symlink_to(clip)
    settings = Settings.from_env({**env, "STVG_DATA_ROOT": str(root), "STVG_CACHE_DIR": "off"})
    write_answers(folder / "answers.jsonl", load_rows("hcstvg_v1", "test", settings)[0])
    write_samples(folder / "kept.jsonl", load_rows("hcstvg_v1", "test", settings)[0])
    rows = load_rows("vidstg", "test", settings)[0]
    write_answers(folder / "mine.jsonl", rows)
    row_truths = [RowTruth.from_json(row["stvg"]) for row in rows]
    tubes = {c.id: {"span_frames": [0, 20], "boxes": {"0": [1, 1, 9, 9], "9": [3, 3, 9, 9]}} for c in row_truths}
    (folder / "theirs.json").write_text(json.dumps(tubes))
    benchmark = json.loads(gzip.decompress((ROOT / "tests/data/vue_stg.json.gz").read_bytes()))["given"]
    (folder / "predicted.csv").write_text(benchmark.pop("predicted.csv"))
    (folder / "vue-stg-benchmark").mkdir()
    for name, text in benchmark.items():
        (folder / "vue-stg-benchmark" / name).write_text(text)
    line = json_lines(workspace / "data/stvg_synthetic/test.jsonl")[0]
    (folder / "clips.jsonl").write_text(json.dumps(line | {"video": "clip.mp4"}) + "\n")
    steps = [("8 completions, film", 8, 20), ("16 completions, film", 16, 20), ("8 completions, home video", 8, 60)]
    timed = [{"what": w, "at": {"generations": n, "length_s": s}, "ours": 1.0, "theirs": 9.0} for w, n, s in steps]
    (folder / "bench.json").write_text(json.dumps({"results": timed}))
    (folder / "others.jsonl").write_text('{"messages": [{"role": "user", "content": "2 + 2?"}], "solution": "4"}\n')
    (folder / "Charades_v1_480").mkdir()
    (folder / "Charades_v1_480/3MSZA.mp4").symlink_to(clip)
    (folder / "charades_sta_train.txt").write_text("3MSZA 1.0 2.0##person turn a light on.\n")
    (folder / "lf-stvg-1min/annos").mkdir(parents=True)
    (folder / "lf-stvg-1min/video").mkdir()
    (folder / "lf-stvg-1min/video/a.mp4").symlink_to(clip)
    lengthened = {"caption": "he waves", "width": 64, "height": 48, "img_num": 9, "st_frame": 2, "bbox": [[1, 2, 9, 9]]}
    (folder / "lf-stvg-1min/annos/test.json").write_text(json.dumps({"a.mp4": lengthened}))
    (folder / "train2014").mkdir()
    Image.fromarray(picture(10)).save(folder / "train2014/10.png")
    ref = {"image": "10.png", "sentence": "the white part", "bbox": [0, 12, 20, 36]}
    (folder / "refcoco_train.jsonl").write_text(json.dumps(ref) + "\n")
    return folder


def try_all(given: Path, pages: list[Path], scratch: Path) -> dict[str, Any]:
    """Run every command of the pages, each page in its own folder. Returns the results, and the options of commands."""
    tries = []
    for page in pages:
        folder = scratch / "at" / page
        folder.mkdir(parents=True)
        for path in given.iterdir():  # who reads README has made nothing yet
            if page != README or path.name in ("configs", "examples"):
                (folder / path.name).symlink_to(path)
        for each in (each for each in TRIED if each.page == page):
            words = [substituted(word, given) for word in each.words]
            if page == README and words[0] == "swift":
                words.append(REALLY)
            more = {name: substituted(value, given) for name, value in each.env.items()}
            about = {"STVG_CACHE_DIR": str(scratch / "cache"), "RECORD_TO": str(scratch / "record")}
            env = about | ({} if page == README else SIZES) | {"OPENAI_API_KEY": "none"} | more
            tries.append({"words": words, "env": env, "folder": str(folder), "out": each.out})
    (scratch / "tries.json").write_text(json.dumps(tries))
    paths = [str(scratch / name) for name in ("tries.json", "results.json")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
    clean |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, "-m", "tests.pages", *paths]
    done = subprocess.run(words, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr[-3000:]
    content: dict[str, Any] = json.loads(Path(paths[1]).read_text())
    return content


def substituted(word: str, given: Path) -> str:
    """A word for the test, with the test's data root and servers."""
    plugin = ROOT / "swift_stvg/plugin/swift_stvg_plugin.py"
    word = word.replace("$(swift-stvg plugin)", str(plugin))
    word = re.sub(r"(?<![\w/.])/data\b", str(given / "data"), word)
    return word.replace("http://127.0.0.1:8000", SERVER).replace("https://api.openai.com", SERVER)


OTHER_PAGES = [page for page in PAGES if page != README]


@pytest.mark.swift
@pytest.mark.timeout(1500)  # one after the other, in one process
@pytest.mark.parametrize(
    "pages",
    [pytest.param([README], id="README"), pytest.param(OTHER_PAGES, id="the others", marks=pytest.mark.long)],
)
def test_what_pages_tell_to_type_works(given: Path, pages: list[Path], tmp_path: Path) -> None:
    """Commands run as they are written, their output is as shown, and all options on pages exist."""
    content = try_all(given, pages, tmp_path)
    faults = []
    tried = [each for page in pages for each in TRIED if each.page == page]
    for each, result in zip(tried, content["results"], strict=True):
        if "failed" in result:
            faults.append(f"{each}: {result['failed']}")
            continue
        printed = iter([alike(line) for line in result["printed"].splitlines()])
        for line in each.shown:
            if line != "..." and not any(alike(line.removesuffix("...")) in other for other in printed):
                faults.append(f"{each}: not printed, or not in this order: {line}")
    faults += [f"{page}: {fault}" for page in PAGES for fault in unknown_options(page, content["options"])]
    assert not faults, "\n".join(faults)


def alike(line: str) -> str:
    """Whether two lines are the same except for numbers and widths of columns."""
    return re.sub(r"\s+", " ", re.sub(r"[-+]?\d+(\.\d+)?", "#", line)).strip()


@pytest.mark.parametrize("each", SHELL, ids=str)
def test_what_a_shell_runs_is_there(each: Try) -> None:
    """These scripts are run by hand, because they install packages or run everything."""
    command, *words = each.words
    if command == "bash":
        assert subprocess.run(["bash", "-n", str(ROOT / words[0])]).returncode == 0
    elif command == "git":
        assert words[0] == "clone"
    elif command == "cd":
        assert words == ["swift_stvg"]
    else:
        assert (command, words[0]) == ("pip", "install"), f"no way to try this is known: {each.words}"
        for option, value in pairwise(words):
            assert option != "-c" or (ROOT / value).is_file()
            assert option != "-e" or value in (".", ".[app]", ".[eval]", ".[gpu]")


# ---------------------------------------------------------------------------------------------------------- names


def known(span: str, options: dict[str, list[str]]) -> set[str] | None:
    """The options that a code span may use; None if it is not about a command."""
    words = span.split()
    if words[0].startswith("--"):
        return {name for names in options.values() for name in names}
    if words[0] in ("swift", "swift-stvg") and len(words) > 1:
        return set(options[f"{words[0]} {words[1]}"]) if f"{words[0]} {words[1]}" in options else set()
    return None


def unknown_options(page: Path, options: dict[str, list[str]]) -> Iterator[str]:
    """Options in code spans of a page that no command has."""
    for token in inline(page):
        if token.type != "code_inline" or not token.content.strip():
            continue
        names = known(token.content, options)
        if names is not None:
            for word in re.findall(r"(?<!\S)--[\w-]+", token.content):
                if word not in names | FOREIGN:
                    yield f"`{token.content}`: {word} is unknown"


FOREIGN = {"--help", "--version", "--all", "--fast", "--fresh", "--print"}
FOREIGN |= {"--folder_fps", "--trust-request-mm-kwargs", "--no-build-isolation"}
"""Options of scripts and of other packages."""


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for token in inline(page):
        target = str(token.attrs.get("href") or token.attrs.get("src") or "")
        if not target or target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page.parent / name).resolve() if name else ROOT / page
        assert path.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(path.relative_to(ROOT)), f"{target} is no heading"


def test_every_page_is_linked() -> None:
    """Every page is reached from README by links."""
    seen, left = {README}, [README]
    while left:
        page = left.pop()
        for token in inline(page):
            name = str(token.attrs.get("href") or "").partition("#")[0]
            path = (ROOT / page.parent / name).resolve()
            if path.is_dir() and (path / "README.md").is_file():
                path /= "README.md"
            if name and path.suffix == ".md" and path.is_relative_to(ROOT):
                other = path.relative_to(ROOT)
                if other in PAGES and other not in seen:
                    seen.add(other)
                    left.append(other)
    assert set(PAGES) - seen == set()


def test_readme_is_short() -> None:
    assert len(text_of(README).splitlines()) <= 220


def test_settings_page_is_that_of_the_code() -> None:
    page = text_of(BY_NAME["docs/settings.md"])
    table = [f"| `{name}` | `{default}` | {meaning} |" for name, default, meaning in describe_settings()]
    assert [line for line in page.splitlines() if line.startswith("| `")] == table


@pytest.mark.parametrize(
    ("page", "name"),
    [
        *(
            ("README.md", name)
            for name in (*REWARDS, *SOURCES, *BACKBONES, *(s for source in SOURCES.values() for s in source.splits))
        ),
        *(("README.md", f"swift-stvg {name}") for commands in COMMANDS.values() for name in commands),
        *(("docs/scoring.md", name) for name in (*ALL_PROTOCOLS, *FACETS)),
        *(("docs/backbones.md", name) for name in BACKBONES),
    ],
)
def test_names_are_documented(page: str, name: str) -> None:
    assert re.search(rf"`{re.escape(name)}[ `]", text_of(BY_NAME[page]))


def test_the_settings_of_templates_are_those_of_the_code() -> None:
    defaults = Settings()
    for name, backbone in BACKBONES.items():
        (row,) = [line for line in text_of(README).splitlines() if line.startswith(f"| `{name}`")]
        assert ("STVG_COORDS=norm1000" in row) == (backbone.coords != defaults.coords)
        assert (f"STVG_SIDE_MULTIPLE={backbone.side_multiple}" in row) == (
            backbone.side_multiple != defaults.side_multiple
        )


SAID = re.compile(r"\.\.\.|\[.*?\]|'[^']*'|\b\w*[_\d]\w*\b|[()=]")
"""Separators between the fixed parts of a message."""


def source(package: str) -> str:
    """The Python code of a package, with string literals of several parts joined."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    text = "\n".join(path.read_text(encoding="utf-8") for path in Path(spec.origin).parent.rglob("*.py"))
    return re.sub(r'"\s*\n\s*f?"', "", text)


def test_messages_are_those_of_the_code() -> None:
    rows = [line.split(" | ")[0] for line in text_of(BY_NAME["docs/troubleshooting.md"]).splitlines()]
    messages = [message for row in rows if row.startswith("| `") for message in re.findall(r"`([^`]+)`", row)]
    code = source("swift_stvg") + source("swift")
    parts = [part.strip(" .,:") for message in messages for part in SAID.split(message)]
    parts = [part for part in parts if len(part.split()) > 1]
    assert len(parts) >= len(messages) - 2
    assert [part for part in parts if part not in code] == []


# ---------------------------------------------------------------------------------------------------------- examples


def line_with(page: str, beginning: str) -> str:
    return next(line for line in text_of(BY_NAME[page]).splitlines() if line.startswith(beginning))


def test_the_example_line_is_valid() -> None:
    line = line_with("docs/data.md", '{"stvg_schema"')
    sample = read_sample(line, "README", DataRoot(Path("folder")), Path("folder"), "stvg_jsonl", "README")
    assert sample.tube_frames.tolist() == [50, 51]
    assert np.array_equal(sample.tube_xyxy, np.array([row[1:] for row in json.loads(line)["tube"]]))


def test_the_example_answer_is_possible() -> None:
    """Under the default settings, it has the right form and lies in a 16:9 frame as the model receives it."""
    text = line_with("README.md", "    <time>").strip()
    form, size_wh = AnswerFormat.of(Settings()), frame_size((1280, 720), Settings().max_side, Settings().side_multiple)
    answer = form.parse(text)
    assert form.is_valid(text)
    assert answer.fault(40, form.scale_wh(size_wh, (1280, 720))) is None
    for boxes in (answer.think, answer.pred):
        assert boxes is not None
        assert (boxes.boxes_xyxy >= 0).all()
        assert (boxes.boxes_xyxy[:, 2:] <= size_wh).all()
        assert (boxes.boxes_xyxy[:, :2] < boxes.boxes_xyxy[:, 2:]).all()


def test_the_examples_of_styles_are_those_of_the_code() -> None:
    for style in STYLES:
        fmt = AnswerFormat(False, "second", "unit" if style == "fig8" else "norm1000", style=style)
        row = line_with("docs/answers.md", f"| `{style}` | `")
        assert fmt.example().replace("\n", "⏎").replace("\t", " ") in row


@pytest.mark.parametrize(("beginning", "frames"), [('{"ID": {"span_frames"', [50, 62]), ('{"ID": {"st_frame"', [50])])
def test_the_examples_of_tubes_are_valid(beginning: str, frames: list[int], tmp_path: Path) -> None:
    (tmp_path / "tubes.json").write_text(line_with("docs/scoring.md", beginning))
    tubes, faults, repeated = read_tubes(tmp_path / "tubes.json")
    assert tubes["ID"].frames.tolist() == frames
    assert (faults, repeated) == ({}, [])
