"""Untrusted files: paths in annotations, content that must not run, and refusals before memory is used."""

from __future__ import annotations

import ast
import io
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import swift_stvg
from swift_stvg.cli import main
from swift_stvg.errors import DataError, SettingsError
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.settings import Settings
from swift_stvg.sources import load_rows
from swift_stvg.util.writing import add_checksum
from swift_stvg.video.frame_cache import FrameCache
from tests.annotations import TIMES, line, v1, vidor, vidstg, write_json
from tests.helpers import row_truth
from tests.videos import write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", TIMES)


def loaded(root: Path, name: str, split: str, **settings: Any) -> dict[str, int]:
    """Dropped rows by reason; {} if the row was kept."""
    try:
        _, report = load_rows(name, split, Settings(data_root=str(root), cache_dir=None, **settings))
    except DataError as error:
        return {reason: int(count) for count, reason in re.findall(r"dropped: (\d+) x ([^,]+), e\.g\.", str(error))}
    return {reason: count for reason, (count, _) in report.dropped.items()}


REFUSED = {"file outside the data root": 1}
PLACES = [  # name in the annotation, what comes of it by default, and under refuse
    ("videos/a.mp4", {}, {}),
    ("./videos/../videos/a.mp4", {}, {}),
    ("../annos/videos/a.mp4", {}, {}),
    ("../other/b.mp4", {}, {}),
    ("ROOT/other/b.mp4", {}, {}),
    ("linked.mp4", {}, REFUSED),
    ("folder/c.mp4", {}, REFUSED),
    ("../../outside/c.mp4", REFUSED, REFUSED),
    ("videos/../../../outside/c.mp4", REFUSED, REFUSED),
    ("folder/../c.mp4", {"video missing": 1}, {"video missing": 1}),
    ("OUTSIDE/c.mp4", REFUSED, REFUSED),
    ("/etc/passwd", REFUSED, REFUSED),
    ("ROOT-2/c.mp4", REFUSED, REFUSED),
    ("~/c.mp4", {"video missing": 1}, {"video missing": 1}),
    ("a\x00b", {"video missing": 1}, {"malformed annotation": 1}),
]

NO_VIDEOS = {"folder/../c.mp4": "video missing", "~/c.mp4": "video missing", "a\x00b": "video missing"}
NO_VIDEOS |= {"/etc/passwd": "video unreadable"}
"""The reasons for files that are not videos, for any rule about paths; all other files are videos."""


@pytest.mark.parametrize(("name", "by_default", "refusing"), PLACES, ids=[place[0] for place in PLACES])
def test_an_annotation_leads_no_further_than_the_data_root(
    tmp_path: Path, clip: Path, name: str, by_default: dict[str, int], refusing: dict[str, int]
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for path in (root / "annos/videos/a.mp4", root / "other/b.mp4", outside / "c.mp4", tmp_path / "root-2/c.mp4"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip.read_bytes())
    (root / "annos/linked.mp4").symlink_to(outside / "c.mp4")
    (root / "annos/folder").symlink_to(outside)
    (tmp_path / "also").symlink_to(root)
    allowed = {NO_VIDEOS[name]: 1} if name in NO_VIDEOS else {}
    name = name.replace("ROOT", str(root)).replace("OUTSIDE", str(outside))
    (root / "annos/mine.jsonl").write_text(json.dumps(line(video=name)) + "\n")
    assert loaded(root, "stvg_jsonl", "annos/mine.jsonl") == by_default
    assert loaded(root, "stvg_jsonl", "annos/mine.jsonl", outside="refuse") == refusing
    assert loaded(root, "stvg_jsonl", "annos/mine.jsonl", outside="allow") == allowed
    if str(root) not in name:
        assert loaded(tmp_path / "also", "stvg_jsonl", "annos/mine.jsonl") == by_default, "a data root that is a link"
        assert loaded(tmp_path / "also", "stvg_jsonl", "annos/mine.jsonl", outside="refuse") == refusing


def test_what_is_refused_says_how_to_allow_it(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(json.dumps(line(video="../secret.mp4")) + "\n")
    with pytest.raises(
        DataError, match=r"1 x file outside the data root, e\.g\. '\.\./secret\.mp4', line 1.*STVG_OUTSIDE"
    ):
        load_rows("stvg_jsonl", "mine.jsonl", Settings(data_root=str(tmp_path)))


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_links_in_the_trees_of_others(tmp_path: Path, clip: Path, linked: str) -> None:
    """HC-STVG's and VidSTG's files name videos, not paths. So only links lead out of the root; `refuse` stops them."""
    root, disk = tmp_path / "root", tmp_path / "disk"
    disk.mkdir()
    for name in ("a.mp4", "77.mp4"):
        (disk / name).write_bytes(clip.read_bytes())
    for folder, name in (("hc-stvg", "a.mp4"), ("vidstg", "77.mp4")):
        (root / folder).mkdir(parents=True)
        videos = root / folder / "videos"
        if linked == "folder":
            videos.symlink_to(disk)
        else:
            videos.mkdir()
            (videos / name).symlink_to(disk / name)
    write_json(root / "hc-stvg/train.json", {"a.mp4": v1()})
    write_json(root / "vidstg/test_annotations.json", [vidstg(questions=[])])
    write_json(root / "vidstg/bbox_annos/77.json", vidor())
    for dataset, split in (("hcstvg_v1", "train"), ("vidstg", "test")):
        assert loaded(root, dataset, split) == {}
        assert loaded(root, dataset, split, outside="refuse") == REFUSED


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b.mp4", "\x00", "*", "{a,b}", "x" * 5000])
def test_names_in_the_files_of_others_are_looked_up_only(tmp_path: Path, clip: Path, name: str) -> None:
    (tmp_path / "hc-stvg").mkdir()
    (tmp_path / "hc-stvg/good.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "b.mp4").write_bytes(clip.read_bytes())
    write_json(tmp_path / "hc-stvg/train.json", {name: v1(), "good.mp4": v1()})
    assert loaded(tmp_path, "hcstvg_v1", "train") == {"video missing": 1}


FORBIDDEN = {"eval", "exec", "compile", "__import__", "pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve"}
FORBIDDEN |= {"marshal", "shell", "yaml.load", "torch.load", "np.load", "numpy.load", "os.system", "os.popen", "mktemp"}


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def suspicious(source: str) -> list[str]:
    """Calls that execute content of a file, or load code from it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Call):
            names = [_dotted(node.func), *(keyword.arg or "" for keyword in node.keywords)]
            if any(keyword.arg == "allow_pickle" for keyword in node.keywords):
                found.append("allow_pickle")
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        found += [name for name in names if name in FORBIDDEN]
    return found


@pytest.mark.slow
def test_nothing_that_a_file_says_is_executed() -> None:
    package = Path(swift_stvg.__file__).parent
    sources = sorted(package.rglob("*.py"))
    assert len(sources) > 50
    assert {str(path): found for path in sources if (found := suspicious(path.read_text()))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "eval(x)",
        "np.load(f)",
        "f(allow_pickle=True)",
        "torch.load(f)",
        "subprocess.run(x, shell=True)",
        "from torch import load",
    ],
)
def test_such_things_are_found(source: str) -> None:
    assert suspicious(source)


REQUEST = (3, (56, 28))


def jpeg(size_wh: tuple[int, int], mode: str = "RGB") -> bytes:
    data = io.BytesIO()
    Image.new(mode, size_wh).save(data, "JPEG")
    return data.getvalue()


def claimed(size_wh: tuple[int, int]) -> bytes:
    data = bytearray(jpeg((56, 28)))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = size_wh[1].to_bytes(2, "big") + size_wh[0].to_bytes(2, "big")
    return bytes(data)


def packed(head: object, *pictures: bytes) -> bytes:
    text = head if isinstance(head, str) else json.dumps(head)
    return add_checksum(text.encode() + b"\n" + b"".join(pictures))


GOOD = jpeg((56, 28))
HOSTILE_FRAMES = {
    "a million pictures": packed([1] * 1_000_000),
    "fewer pictures": packed([len(GOOD)], GOOD),
    "a length of 1e300": packed("[1e300, 1, 1]"),
    "a length beyond any": packed(f"[{'9' * 400}, 1, 1]"),
    "lengths that run backwards": packed([-5, 10, -5], GOOD),
    "nested": packed("[" * 100_000),
    "an object": packed({"a": 1}),
    "another size": packed([len(jpeg((28, 28)))] * 3, *[jpeg((28, 28))] * 3),
    "grey": packed([len(jpeg((56, 28), "L"))] * 3, *[jpeg((56, 28), "L")] * 3),
    "pictures of 65000 x 65000": packed([len(GOOD)] * 3, *[claimed((65000, 65000))] * 3),
    "no pictures": packed([5, 5, 5], b"x" * 15),
    "100 MB": bytes(100_000_000),
}


@pytest.mark.parametrize("title", HOSTILE_FRAMES)
def test_cached_frames_of_strangers(tmp_path: Path, title: str) -> None:
    path = tmp_path / "x.frames"
    path.write_bytes(HOSTILE_FRAMES[title])
    start = time.monotonic()
    with pytest.raises(DataError, match=r"x\.frames is a damaged file of cached frames .*: delete it"):
        FrameCache(tmp_path).read(path, *REQUEST)
    assert time.monotonic() - start < 20
    path.write_bytes(packed([len(GOOD)] * 3, GOOD, GOOD, GOOD))
    assert FrameCache(tmp_path).read(path, *REQUEST).shape == (3, 28, 56, 3)


BOUNDS: list[tuple[str, dict[str, Any], str]] = [
    ("1e9 frames", {"n_frames": 10**9}, "malformed annotation"),
    ("20 million frames", {"n_frames": 2 * 10**7}, "invalid frame count or frame rate"),
    ("30 years", {"n_frames": 10**7, "fps": 0.01}, "invalid frame count or frame rate"),
    ("1e7 x 1e7 pixels", {"size_wh": [10**7, 10**7]}, "invalid frame size"),
    ("an event of 1e9 frames", {"span_frames": [0, 10**9 - 1]}, ""),
    ("a frame far beyond", {"tube": [[1e14, 1, 1, 2, 2]]}, "malformed annotation"),
    ("a frame beyond any", {"tube": [[1e300, 1, 1, 2, 2]]}, "malformed annotation"),
    ("1e300 pixels", {"tube": [[10, 1, 1, 1e300, 2]]}, "invalid box coordinates"),
    ("an infinite rate", {"fps": float("inf")}, "invalid frame count or frame rate"),
    ("a box of boxes", {"tube": [[[1], 1, 1, 2, 2]]}, "malformed annotation"),
]


@pytest.mark.parametrize(("title", "changes", "reason"), BOUNDS, ids=[bound[0] for bound in BOUNDS])
@pytest.mark.parametrize("unit", ["frame", "second"])
def test_what_annotations_announce_takes_no_memory(
    tmp_path: Path, clip: Path, title: str, changes: dict[str, Any], reason: str, unit: str
) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/a.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "mine.jsonl").write_text(json.dumps(line(**changes)) + "\n" + json.dumps(line(id="good")) + "\n")
    start = time.monotonic()
    assert loaded(tmp_path, "stvg_jsonl", "mine.jsonl", index_unit=unit) == ({reason: 1} if reason else {})
    words = ["check", f"stvg_jsonl:{tmp_path}/mine.jsonl", "--annotations_only", "--out", str(tmp_path / "x")]
    assert main(words) == bool(reason), "a row that is left out is an error of the file"
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    "text", ["[" * 10**6, '{"a":' * 10**5, f'{{"a.mp4": {"9" * 10**5}}}', '"' + "x" * 10**6, "\ufeff[]"]
)
def test_json_that_is_no_annotation(tmp_path: Path, text: str) -> None:
    (tmp_path / "hc-stvg").mkdir()
    (tmp_path / "hc-stvg/train.json").write_text(text)
    with pytest.raises(DataError):
        load_rows("hcstvg_v1", "train", Settings(data_root=str(tmp_path)))


def test_row_truths_of_strangers() -> None:
    whole = json.loads(row_truth().to_json())
    for key, value in {
        "span": [0, 10**9],
        "size_wh": [10**6 * 5, 10**6],
        "frames": [10**30],
        "interval_s": 1e-400,
    }.items():
        with pytest.raises(DataError, match="`stvg` column"):
            RowTruth.from_json(json.dumps(whole | {key: value}))


class Seen(HTMLParser):
    """Elements of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


NAMES = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://e.vil/x.png)",
]
NAMES += [
    "a | b | c",
    "`code`",
    "**bold** _it_ ~~gone~~",
    "line\n\n# heading\n\n- item",
    "&lt;b&gt;",
    "\u202eright",
    "http://e.vil",
    "$x$",
]


def test_markdown_of_hostile_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In categories, ids and file names, rendered by a Markdown library with tables on."""
    import markdown_it as markdown

    rows = []
    for i, name in enumerate(NAMES):
        made = json.loads(row_truth().to_json()) | {
            "id": f"{i} {name}",
            "category": name,
            "query": name,
            "dataset": name,
        }
        text = row_truth().format.render(row_truth().answer) if i % 2 else name
        rows.append(json.dumps({"stvg": json.dumps(made), "response": text, "videos": [name], "messages": []}))
    result = tmp_path / "<img src=x> | [a](b).jsonl"
    result.write_text("\n".join([*rows, "{"]) + "\n")
    for more in (["--by", "category,query"], ["--explain", f"1 {NAMES[1]}"]):
        assert main(["score", str(result), "--format", "markdown", *more]) == 0
        text = capsys.readouterr().out
        page = Seen()
        page.feed(markdown.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))
        assert page.tags <= {"ul", "li", "p", "strong", "table", "thead", "tbody", "tr", "th", "td"}, page.tags
        for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            widths = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
            assert len(widths) == 1, "no name adds a column"
        if "--by" in more:
            for name in NAMES:
                assert " ".join(name.split()) in " ".join(page.text.split()), name


def test_versions_are_said(tmp_path: Path) -> None:
    """Rows, annotations and caches of another version are errors that say what to do."""
    newer = json.dumps(json.loads(row_truth().to_json()) | {"v": 99})
    with pytest.raises(DataError, match="has version 99, but this package reads version 3: make the rows again"):
        RowTruth.from_json(newer)
    (tmp_path / "result.jsonl").write_text(json.dumps({"stvg": newer, "response": ""}) + "\n")
    for command in (["score"], ["show", "--out", str(tmp_path / "page")]):
        assert main([*command, str(tmp_path / "result.jsonl")]) == 1
    for version in ("1", "99", "\x00\xff", ""):
        (tmp_path / "version").write_text(version, encoding="latin-1")
        with pytest.raises(SettingsError, match=r"cached frames of version .*run `swift-stvg cache` again"):
            FrameCache(tmp_path)
    (tmp_path / "mine.jsonl").write_text(json.dumps(line(stvg_schema=2)) + "\n")
    with pytest.raises(DataError, match=r"stvg_schema 2, but this package reads 1"):
        load_rows("stvg_jsonl", "mine.jsonl", Settings(data_root=str(tmp_path)))
