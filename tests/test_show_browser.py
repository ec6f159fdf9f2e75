"""The page in a real browser, from disk: its content, its controls, and scripts that must not run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from swift_stvg.cli import main
from swift_stvg.rows.row_truth import RowTruth
from tests.browsing import DESKTOP, PHONE, Opened, playing
from tests.shown import ANSWERS, CLIPS, OTHERS, data_of, logged, moved, rows_of, write_result

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
pytestmark = pytest.mark.slow


def shown(browser: Any, folder: Path, viewport: dict[str, int], **options: Any) -> Opened:
    return Opened(browser, (folder / "index.html").as_uri(), viewport, **options)


@pytest.fixture(scope="session")
def page_folder(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything on it; the last sample is not drawn."""
    folder = tmp_path_factory.mktemp("page")
    result = write_result(folder / "result.jsonl", rows_of(shapes))
    (folder / "logging.jsonl").write_text("".join(logged(i, reward=i / 10) for i in range(1, 9)))
    words = ["--logging", str(folder / "logging.jsonl"), "--overlays", "1", "--workers", "1", "--also", "sheet"]
    assert main(["show", str(result), "--out", str(folder / "out"), *words]) == 0
    return folder / "out"


@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light")])
def test_it_can_be_seen(browser: Any, page_folder: Path, tmp_path: Path, viewport: dict[str, int], scheme: str) -> None:
    opened = shown(browser, page_folder, viewport, color_scheme=scheme)
    page = opened.page
    assert page.locator(".card").count() == CLIPS
    assert page.locator("figure svg").count() == 6
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], "nothing to scroll sideways"
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) > 380) == (scheme == "light")
    picture = page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert len(picture) > 30_000, "not an empty page"
    assert opened.complaints == []
    assert {url.partition(":")[0] for url in opened.requests} <= {"file", "data"}
    page.close()


def test_sorting(browser: Any, page_folder: Path) -> None:
    opened = shown(browser, page_folder, DESKTOP)
    page = opened.page

    def column(text: str) -> list[float]:
        return [float(t.split()[1]) for t in page.locator(".scores .main").all_inner_texts() if t.startswith(text)]

    best = column("vIoU")
    assert best == sorted(best, reverse=True)
    assert best[0] > 0.9
    page.select_option("#sort", "worst")
    playwright.expect(page.locator(".scores .main").first).to_have_text("vIoU 0.00")
    assert column("vIoU") == sorted(best)
    for name, sign in (("most improved by refining", "▲"), ("most damaged by refining", "▼")):
        page.select_option("#sort", name)
        playwright.expect(page.locator(".scores").first).to_contain_text(sign)
    assert opened.complaints == []
    page.close()


def test_filters(browser: Any, page_folder: Path) -> None:
    opened = shown(browser, page_folder, DESKTOP)
    page = opened.page
    opened.count(f"{CLIPS} of {CLIPS}")
    word = opened.sentences()[0].split()[-1]
    page.fill("#text", word.upper())
    expected = sum(word in sentence for sentence in opened.sentences())
    opened.count(f"{expected} of {CLIPS}")
    assert all(word in sentence for sentence in opened.sentences())
    page.fill("#text", "nothing like it")
    opened.count(f"0 of {CLIPS}")
    page.click("button[type=reset]")
    opened.count(f"{CLIPS} of {CLIPS}")
    scores = [card["vIoU"] for card in data_of(page_folder)["cards"]]
    page.fill("#low", "0.01")
    opened.count(f"6 of {CLIPS}")
    page.fill("#high", "0.9")
    within = sum(0.01 <= score <= 0.9 for score in scores)
    assert 0 < within < 6
    opened.count(f"{within} of {CLIPS}")
    page.click("button[type=reset]")
    page.select_option("#status", "unparsable (counts 0)")
    opened.count(f"1 of {CLIPS}")
    page.select_option("#status", "drawn")
    opened.count(f"4 of {CLIPS}")
    assert opened.complaints == []
    page.close()


def test_a_film_plays(browser: Any, page_folder: Path) -> None:
    opened = shown(browser, page_folder, PHONE)
    page = opened.page
    video = page.locator("video").first
    assert video.evaluate("v => [v.preload, v.readyState]") == ["none", 0], "nothing is loaded before it is wanted"
    page.locator(".play").first.focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator(".stage").first).to_have_class("stage playing")
    duration, width = playing(page, video)
    assert width >= 360
    assert duration == pytest.approx(2.0, abs=0.2)
    page.keyboard.press("Enter")
    playwright.expect(page.locator(".stage").first).to_have_class("stage")
    page.locator(".seek").nth(1).evaluate("s => { s.value = 500; s.dispatchEvent(new Event('input')); }")
    page.wait_for_timeout(600)
    assert page.locator("video").nth(1).evaluate("v => v.currentTime") == pytest.approx(duration / 2, abs=0.1)
    assert opened.complaints == []
    page.close()


def test_a_point_leads_to_its_sample(browser: Any, page_folder: Path) -> None:
    opened = shown(browser, page_folder, DESKTOP)
    page = opened.page
    points = page.locator("figure svg a")
    assert points.count() == 6
    assert {points.nth(i).get_attribute("tabindex") for i in range(6)} == {"-1"}
    points.first.click(force=True)
    opened.count("sample 1 alone")
    assert page.locator(".card").count() == 1
    page.locator(".card summary").click()
    playwright.expect(page.locator(".card pre").first).to_contain_text("<time>")
    page.fill("#text", " ")
    opened.count(f"{CLIPS} of {CLIPS}")
    assert opened.complaints == []
    page.close()


def test_two_systems(browser: Any, shapes: Path, tmp_path: Path) -> None:
    """Sorting by the winner, filters for one right system, both systems in one film; on a desktop and on a phone."""
    rows = rows_of(shapes)
    first = write_result(tmp_path / "<b>a.jsonl", rows)
    second = write_result(tmp_path / "b.jsonl", rows, OTHERS)
    words = ["--out", str(tmp_path / "out"), "--workers", "1"]
    assert main(["show", str(first), str(second), *words]) == 0
    opened = shown(browser, tmp_path / "out", DESKTOP)
    page = opened.page
    opened.count(f"{CLIPS} of {CLIPS}")
    assert page.locator("#legend span:visible").all_inner_texts()[:3] == ["truth", "A: <b>a.jsonl", "B: b.jsonl"]
    won = page.locator(".card .scores span:nth-child(3)")
    assert won.first.inner_text().startswith("A wins by")
    page.select_option("#sort", "B wins by most")
    playwright.expect(won.first).to_contain_text("B wins by")
    leads = [float(text.split()[-1]) for text in won.all_inner_texts() if text.startswith("B wins")]
    assert leads == sorted(leads, reverse=True)
    assert len(leads) == 3
    for choice, number in (("only A right", 1), ("only B right", 2), ("neither right", 1), ("both right", 4)):
        page.select_option("#status", choice)
        opened.count(f"{number} of {CLIPS}")
    page.select_option("#status", "only A right")
    opened.count(f"1 of {CLIPS}")
    page.locator(".card .play").click()
    playing(page, page.locator(".card video"))
    page.locator(".card summary").click()
    playwright.expect(page.locator(".card pre")).to_have_count(3)  # both answers and the truth
    page.fill("#right", "0.1")
    opened.count(f"0 of {CLIPS}")
    page.click("button[type=reset]")
    opened.count(f"{CLIPS} of {CLIPS}")
    page.locator("figure svg a").first.click(force=True)
    opened.count("sample 1 alone")
    page.set_viewport_size(PHONE)
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert opened.complaints == []
    page.close()


EVIL = [
    "<script>window.__pwned=1</script>",
    '"><img src=x onerror="window.__pwned=1">',
    "</script><script>window.__pwned=1</script>",
    "<!--<script>\u2028window.__pwned=1;//",
    "javascript:window.__pwned=1",
    "$data ${script} '`\\u003cscript\\u003e",
    "\u202e<svg onload=window.__pwned=1>",
    "<iframe srcdoc='<script>parent.__pwned=1</script>'>",
]


def test_hostile_text_is_shown_and_does_not_run(browser: Any, shapes: Path, tmp_path: Path) -> None:
    rows = rows_of(shapes)
    result = write_result(tmp_path / "<img src=x onerror=window.__pwned=1>.jsonl", rows, [lambda row: ""] * CLIPS)
    lines = [json.loads(line) for line in result.read_text().splitlines()]
    for i, (line, evil) in enumerate(zip(lines, EVIL, strict=True)):
        row_truth = json.loads(line["stvg"]) | {"id": f"{i}{evil}", "category": evil, "query": evil, "sentence": evil}
        exact = moved(RowTruth.from_json(line["stvg"]), 0.1, 0.0) if i % 2 else ""
        line |= {"stvg": json.dumps(row_truth), "response": exact + evil}
        line["messages"] = [{"role": "user", "content": f"<video>(facts)\n{evil}"}]
        if i == 0:
            line["videos"] = [evil]
    result.write_text("".join(json.dumps(line) + "\n" for line in lines) + EVIL[0] + "\n")
    name = "rewards/<img src=x onerror=window.__pwned=1>/mean"
    (tmp_path / "logging.jsonl").write_text(logged(1, **{name: 1.0}) + logged(2, **{name: 2.0}))
    words = ["--out", str(tmp_path / "out"), "--logging", str(tmp_path / "logging.jsonl"), "--workers", "1"]
    assert main(["show", str(result), *words]) == 0
    opened = shown(browser, tmp_path / "out", DESKTOP)
    page = opened.page
    for details in page.locator("summary").all():
        details.click()
    page.select_option("#sort", "as in the file")
    playwright.expect(page.locator(".card h3").first).to_have_text(EVIL[0])
    assert page.locator(".card h3").evaluate_all("all => all.map(h => h.textContent)") == EVIL
    playwright.expect(page.locator("h1")).to_have_text(result.name)
    assert name in page.locator("figcaption").all_inner_texts()
    for details in page.locator(".card summary").all():
        details.click()
    assert EVIL[2] in page.locator(".card pre").all_inner_texts()[0::1][4]
    page.wait_for_timeout(300)
    assert page.evaluate("window.__pwned") is None
    assert page.locator("iframe, main img, script:not([id]) ~ script").count() == 0
    assert opened.complaints == []
    page.close()


def test_nothing_but_its_own_script_may_run(browser: Any, page_folder: Path) -> None:
    opened = shown(browser, page_folder, DESKTOP)
    opened.page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.__pwned = 1';"
        " document.body.append(s); const d = document.createElement('div');"
        " d.innerHTML = '<img src=x onerror=\"window.__pwned = 1\">'; document.body.append(d); }"
    )
    opened.page.wait_for_timeout(300)
    assert opened.page.evaluate("window.__pwned") is None
    assert any("Content Security Policy" in complaint for complaint in opened.complaints)
    opened.page.close()


@pytest.mark.long
def test_two_thousand_samples(browser: Any, shapes: Path, tmp_path: Path) -> None:
    """Cards are made as they come into view."""
    lines = []
    rows = rows_of(shapes)
    for i in range(2000):
        row = rows[i % CLIPS]
        made = json.loads(row["stvg"]) | {"id": f"row{i:04}"}
        text = ANSWERS[i % CLIPS](RowTruth.from_json(row["stvg"]))
        lines.append(json.dumps(row | {"stvg": json.dumps(made), "response": text}) + "\n")
    (tmp_path / "many.jsonl").write_text("".join(lines))
    words = ["--out", str(tmp_path / "out"), "--overlays", "0", "--workers", "1"]
    assert main(["show", str(tmp_path / "many.jsonl"), *words]) == 0
    opened = shown(browser, tmp_path / "out", DESKTOP)
    page = opened.page
    opened.count("2000 of 2000")
    assert page.locator(".card").count() <= 48
    before = page.locator(".card").count()
    page.locator("#more").scroll_into_view_if_needed()
    playwright.expect(page.locator(".card").nth(before)).to_be_attached()
    assert page.locator(".card").count() < 500
    page.fill("#text", "row1234")
    opened.count("1 of 2000")
    assert "not drawn" in page.locator(".stage").inner_text()
    assert opened.complaints == []
    page.close()


def test_a_dataset(browser: Any, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STVG_DATA_ROOT", str(shapes))
    monkeypatch.setenv("STVG_CACHE_DIR", "off")
    words = ["--dataset", "stvg_synthetic:test", "--out", str(tmp_path / "out"), "--overlays", "1", "--workers", "1"]
    assert main(["show", *words]) == 0
    opened = shown(browser, tmp_path / "out", PHONE)
    page = opened.page
    opened.count(f"{CLIPS} of {CLIPS}")
    assert page.locator("video").count() == 4
    assert page.locator(".answers:visible").count() == 0
    page.select_option("#sort", "longest event")
    assert opened.complaints == []
    page.close()


CATEGORIES = [
    "</text><script>window.__pwned=1</script>",
    "$\\frac{<img src=x onerror='window.__pwned=1'>}",
    "]]>&lt;b&gt;",
]


def test_hostile_categories_of_a_dataset(
    browser: Any, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in a table and on the axis of a chart, which is SVG inside the page."""
    root = tmp_path / "data/stvg_synthetic"
    shutil.copytree(shapes / "stvg_synthetic", root)
    lines = [json.loads(line) for line in (root / "test.jsonl").read_text().splitlines()]
    for i, line in enumerate(lines):
        line |= {"category": CATEGORIES[i % len(CATEGORIES)], "id": f"{i} {EVIL[i % len(EVIL)]}"}
    (root / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setenv("STVG_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("STVG_CACHE_DIR", "off")
    words = ["--dataset", "stvg_synthetic:test", "--out", str(tmp_path / "out"), "--overlays", "0", "--workers", "1"]
    assert main(["show", *words]) == 0
    opened = shown(browser, tmp_path / "out", DESKTOP)
    page = opened.page
    opened.count(f"{CLIPS} of {CLIPS}")
    ticks = page.locator("figure svg text").evaluate_all("all => all.map(t => t.textContent)")
    assert {name[:24].replace("$", "S") for name in CATEGORIES} <= set(ticks)
    cells = page.locator("td").evaluate_all("all => all.map(t => t.textContent.trim())")
    assert set(CATEGORIES) <= set(cells)
    page.wait_for_timeout(300)
    assert page.evaluate("window.__pwned") is None
    assert page.locator("figure script, figure img, td img, td script, td b").count() == 0
    assert opened.complaints == []
    page.close()
