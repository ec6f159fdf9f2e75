"""A real browser, and its pages with their console messages and errors."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SECONDS = 10_000
"""Milliseconds to wait at most."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as started:
        instance = started.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield instance
        instance.close()


class Opened:
    """A page with its console messages and its errors."""

    def __init__(self, browser: Any, address: str, viewport: dict[str, int], **options: Any) -> None:
        self.complaints: list[str] = []
        self.page = browser.new_page(viewport=viewport, **options)
        self.page.set_default_timeout(SECONDS)
        self.errors: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self._error(str(error)))
        self.page.on("dialog", lambda dialog: (self._error(dialog.message), dialog.dismiss()))
        self.requests: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)

    def _console(self, message: Any) -> None:
        self.complaints.append(message.text)
        if message.type == "error":
            self.errors.append(message.text)

    def _error(self, text: str) -> None:
        self.complaints.append(text)
        self.errors.append(text)

    def count(self, expected: str) -> None:
        from playwright.sync_api import expect

        expect(self.page.locator("#count")).to_have_text(expected, timeout=SECONDS)

    def sentences(self) -> list[str]:
        return [str(text) for text in self.page.locator(".card h3").all_inner_texts()]


def playing(page: Any, video: Any) -> tuple[float, int]:
    """Length in seconds and width in pixels of a film, after checking that it plays and its frames are decoded."""
    for _ in range(200):
        ready, duration, now, width, paused = video.evaluate(
            "v => [v.readyState, v.duration, v.currentTime, v.videoWidth, v.paused]"
        )
        if now > 0.2 and not paused:  # the browser may have stopped it while it could not be seen
            assert ready >= 2
            return float(duration), int(width)
        page.wait_for_timeout(50)
    raise AssertionError(f"the film does not play: ready {ready}, at {now} s, paused {paused}")
