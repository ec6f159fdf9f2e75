"""`swift-stvg app` in a real browser: upload, ask, play, download; error messages; users cannot see others' files."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.browsing import DESKTOP, PHONE, Opened, playing
from tests.pages import ANSWER
from tests.servers import server
from tests.videos import write_video

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
START_S = 120
LONG_MS = 60_000
EVIL = "<img src=x onerror='window.__pwned=1'>"
BAD = f"I see {EVIL} & nothing"
SETTINGS = {"STVG_INDEX_UNIT": "second", "STVG_CACHE_DIR": "off"}


@contextmanager
def app(folder: Path, *words: str, **settings: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The app as a process of its own, with its files below `folder`; its address."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
    env |= settings | {"TMPDIR": str(folder), "OPENAI_API_KEY": "none", "OMP_NUM_THREADS": "1"}
    with (folder / "said.txt").open("w") as said:
        command = [sys.executable, "-m", "swift_stvg.cli", "app", *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=env)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if found := re.match(r"Open (http://127\.0\.0\.1:\d+)/ in a browser", line):
                    yield found[1], process
                    break
            else:
                pytest.fail(f"it does not start: {(folder / 'said.txt').read_text()[-2000:]}")
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=START_S)


def says(request: dict[str, Any]) -> Any:
    """The answer to a request, by its sentence."""
    asked = json.dumps(request["messages"])
    if "server is gone" in asked:
        return 503, b"gone"
    return BAD if "unreadable" in asked else ANSWER


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, list[dict[str, Any]]]]:
    """The page's address, the folder of its files, and the requests that its server received."""
    folder = tmp_path_factory.mktemp("app")
    with (
        server(says) as (url, asked),
        app(folder, "--endpoint", url, "--retries", "0", "--max-mb", "1", **SETTINGS) as (address, _),
    ):
        yield address, folder, asked


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 4 seconds with a hostile name."""
    path = tmp_path_factory.mktemp("clips") / f"{EVIL} größe.mp4"
    return write_video(path, [k / 10 for k in range(40)], (160, 120))


def opened(browser: Any, address: str, viewport: dict[str, int] = DESKTOP, **options: Any) -> Opened:
    found = Opened(browser, address, viewport, **options)
    found.page.wait_for_selector("#find", timeout=LONG_MS)
    return found


def upload(page: Any, path: Path) -> None:
    page.set_input_files("#video input[type=file]", path)
    playwright.expect(page.locator("#chosen")).to_contain_text("pixels", timeout=LONG_MS)


def ask(page: Any, sentences: str) -> None:
    page.fill("#sentences textarea", sentences)
    page.click("#find")


def chosen(page: Any) -> str:
    """The address from which the browser loads the chosen video."""
    return str(page.locator("#chosen video").evaluate("v => v.src"))


def status(address: str, **headers: str) -> int:
    try:
        with urlopen(Request(address, headers=headers), timeout=30) as reply:
            return int(reply.status)
    except HTTPError as error:
        return error.code


def held(folder: Path) -> list[str]:
    """Names of the app's files, without example clips and empty files."""
    (own,) = folder.glob("swift-stvg-app-*")
    files = [path for path in own.rglob("*") if path.is_file() and "examples" not in path.parts]
    return sorted(path.name for path in files if path.stat().st_size)


def come_true(page: Any, what: Callable[[], bool]) -> bool:
    """Whether a condition becomes true within some seconds."""
    for _ in range(150):
        if what():
            return True
        page.wait_for_timeout(200)
    return what()


@pytest.mark.slow
def test_upload_ask_play_and_download(
    browser: Any, served: tuple[str, Path, list[dict[str, Any]]], clip: Path, tmp_path: Path
) -> None:
    address, folder, asked = served
    found = opened(browser, address)
    page = found.page
    upload(page, clip)
    about = page.locator("#chosen figcaption").inner_text()
    assert "160 × 120 pixels, 40 frames, 0.00 to 3.94 s" in about
    assert "onerror" in about, "its name is shown as text"
    assert page.locator("#chosen img, #found img").count() == 0
    page.fill("#from input", "0.5")
    page.fill("#to input", "3.5")
    ask(page, f"the {EVIL} moves\n\nsomething unreadable")
    cards = page.locator("#found article")
    playwright.expect(cards).to_have_count(2, timeout=LONG_MS)
    playwright.expect(page.locator("#found .files")).to_have_count(2, timeout=LONG_MS)
    assert page.locator("#found h3").all_inner_texts() == [f"the {EVIL} moves", "something unreadable"]
    sent = [part["type"] for part in asked[-1]["messages"][-1]["content"]]
    assert sent.count("image_url") == 6, "three seconds, two frames a second"
    duration, width = playing(page, page.locator("#found video").first)
    assert (duration, width) == (pytest.approx(3.0, abs=0.2), 480)
    rows = [row.split("\t") for row in cards.first.locator("tr").all_inner_texts()]
    assert [cell.strip() for cell in rows[0]] == ["second", "frame", "think box", "final box"]
    assert rows[1][0].strip() == "1.50"
    assert cards.first.locator(".chip").inner_text() == "ok"
    assert cards.last.locator(".chip").inner_text() == "unparsable"
    cards.last.locator("summary").click()
    assert cards.last.locator("pre").inner_text() == BAD
    got = {}
    for title in ("MP4", "JSON", "COCO", "MOT"):
        with page.expect_download() as waiting:
            cards.first.get_by_text(title, exact=True).click()
        got[title] = tmp_path / title
        waiting.value.save_as(got[title])
    record = json.loads(got["JSON"].read_text())
    assert (record["sentence"], record["status"]) == (f"the {EVIL} moves", "ok")
    assert str(folder) not in got["JSON"].read_text() + got["COCO"].read_text(), "no path of the machine"
    assert len(json.loads(got["COCO"].read_text())["annotations"]) == len(got["MOT"].read_text().splitlines()) == 2
    assert got["MP4"].read_bytes()[4:8] == b"ftyp"
    film = page.locator("#found video").first
    film.scroll_into_view_if_needed()
    playing(page, film)  # the browser stops what cannot be seen
    film.click()
    assert film.evaluate("v => v.paused")
    for size in (PHONE, DESKTOP):
        page.set_viewport_size(size)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], "nothing to scroll sideways"
    assert page.evaluate("window.__pwned") is None
    assert found.errors == []
    assert {url.split("/")[2] for url in found.requests if "//" in url} == {address.removeprefix("http://")}
    page.close()


@pytest.mark.long
def test_errors_are_said(
    browser: Any, served: tuple[str, Path, list[dict[str, Any]]], clip: Path, tmp_path: Path
) -> None:
    address, folder, _ = served
    found = opened(browser, address, PHONE, color_scheme="dark")
    page = found.page

    def said(expected: str, where: str = "#found") -> None:
        playwright.expect(page.locator(where)).to_contain_text(expected, timeout=LONG_MS)

    ask(page, "the dog")
    said("There is no video yet")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    page.set_input_files("#video input[type=file]", tmp_path / "broken.mp4")
    said("video unreadable: broken.mp4", "#chosen")
    assert come_true(page, lambda: "broken.mp4" not in held(folder)), "it is deleted"
    ask(page, "the dog")
    said("There is no video yet")
    upload(page, clip)
    ask(page, "  \n ")
    said("There is no sentence")
    ask(page, "\n".join(["the dog"] * 9))
    said("These are 9 sentences: give at most 8")
    ask(page, "<|im_end|>")
    said("<|im_end|>")
    page.fill("#from input", "soon")
    ask(page, "the dog")
    said("must be two numbers of seconds")
    page.fill("#from input", "9")
    ask(page, "the dog")
    said("clip outside the video: 9 to 1e+06 s of")
    page.fill("#from input", "")
    ask(page, "the server is gone")
    said("no answer to 1 of 1 questions: status 503")
    ask(page, "the dog")
    playwright.expect(page.locator("#found .chip")).to_have_text("ok", timeout=LONG_MS)
    assert str(folder) not in page.content(), "no path of the machine"
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert found.errors == []
    (tmp_path / "large.mp4").write_bytes(bytes((1 << 20) + 1))
    page.set_input_files("#video input[type=file]", tmp_path / "large.mp4")
    playwright.expect(page.locator("body")).to_contain_text("maximum allowed size", timeout=LONG_MS)
    page.close()


@pytest.mark.long
def test_users_do_not_see_each_others_files(
    browser: Any, served: tuple[str, Path, list[dict[str, Any]]], clip: Path, tmp_path: Path
) -> None:
    """This holds for two users with the same video too. Files that are not needed any more are deleted."""
    address, folder, _ = served
    one, other = (opened(browser, address) for _ in range(2))
    for each in (one, other):
        upload(each.page, clip)
    first, second = chosen(one.page), chosen(other.page)
    assert first.rpartition("/")[0] != second.rpartition("/")[0]
    assert (status(first), status(second)) == (200, 200)
    ask(one.page, "the dog")
    playwright.expect(one.page.locator("#found .files")).to_have_count(1, timeout=LONG_MS)
    assert other.page.locator("#found article").count() == 0
    assert other.page.locator("#chosen video").count() == 1
    one.page.close()
    assert come_true(other.page, lambda: status(first) == 404)
    assert status(second) == 200, "the other one still has it"
    for name in ("..%2f..%2fexamples%2fclip.jsonl", "%2e%2e/examples/clip.jsonl", "x/video.mp4", "x/..%5cvideo.mp4"):
        assert status(f"{address}/clips/{name}") in (403, 404), name
        assert status(f"{second.rpartition('/')[0]}/{name}") in (403, 404), name
    assert status(f"{address}/gradio_api/file={folder / 'said.txt'}") in (403, 404)
    assert status(address, Host="evil.example") == 400, "a foreign name for this machine"
    other.page.locator("button", has_text="visible").first.click()
    playwright.expect(other.page.locator("#chosen")).to_contain_text("clip_000000", timeout=LONG_MS)
    assert status(second) == 404, "another video was chosen"
    idle = opened(browser, address)
    other.page.close()
    assert come_true(idle.page, lambda: held(folder) == []), "everything was deleted"
    idle.page.close()


@pytest.mark.long
def test_nothing_is_left_where_it_ends_and_a_dead_server_is_said(browser: Any, clip: Path, tmp_path: Path) -> None:
    with server(lambda _: ANSWER) as (url, _):
        running = app(tmp_path, "--endpoint", url, "--retries", "0", **SETTINGS)
        address, process = running.__enter__()
        found = opened(browser, address)
        upload(found.page, clip)
    ask(found.page, "the dog")
    playwright.expect(found.page.locator("#found")).to_contain_text("no connection", timeout=LONG_MS)
    assert list(tmp_path.glob("swift-stvg-app-*"))
    running.__exit__(None, None, None)
    assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["said.txt"], "no upload is left"
    found.page.close()


@pytest.mark.long
def test_without_a_model_a_newcomer_sees_it_work(browser: Any, tmp_path: Path) -> None:
    """The small model of the package answers about an example clip, on a phone."""
    with app(tmp_path) as (address, _):
        found = opened(browser, address, PHONE)
        page = found.page
        page.locator("button", has_text="visible").first.click()
        playwright.expect(page.locator("#chosen")).to_contain_text("336 × 336 pixels", timeout=LONG_MS)
        page.click("#find")
        playwright.expect(page.locator("#found .chip")).to_have_text("ok", timeout=2 * LONG_MS)
        playing(page, page.locator("#found video"))
        assert page.locator("#found tbody tr").count() >= 2
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert found.errors == []
        page.close()


WRONG = [
    (["--max-mb", "0"], "--max-mb must be at least 1"),
    (["--endpoint", "nowhere"], "an endpoint must be a URL"),
    (["--timeout", "3"], "give --endpoint too"),
    (["--endpoint", "http://127.0.0.1:1/v1", "--retries", "0"], "lists no models"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "message"), WRONG)
def test_wrong_use_is_one_clear_error(words: list[str], message: str, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
    command = [sys.executable, "-m", "swift_stvg.cli", "app", *words]
    done = subprocess.run(command, env=env | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=START_S)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
