"""Fonts for any text, and text that fits into lines."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from PIL import ImageFont

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


FALLBACKS = (
    *("NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "NotoSansSC-Regular.otf", "SourceHanSansSC-Regular.otf"),
    *("wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "uming.ttc", "msyh.ttc", "PingFang.ttc"),
    *("Arial Unicode.ttf", "DejaVuSans.ttf"),
)
"""Fonts of the system that are tried for characters that Pillow's own font lacks.

matplotlib.font_manager does not replace this: it does not say which characters a font has, and its cached list of fonts
does not contain fonts that were installed later.
"""


@lru_cache(maxsize=256)
def font_for(size: int, text: str) -> Font:
    """Pillow's own font, or the fallback that lacks the fewest characters of the text."""
    best, fewest = _load(None, size), _missing(None, text)
    for name in FALLBACKS:
        if fewest == 0:
            break
        if _load(name, size) is not None and (lacking := _missing(name, text)) < fewest:
            best, fewest = _load(name, size), lacking
    if best is None:
        raise ValueError("Pillow has no font of its own")
    return best


@lru_cache(maxsize=64)
def _load(name: str | None, size: int) -> Font | None:
    if name is None:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _missing(name: str | None, text: str) -> int:
    """Number of the text's characters that a font lacks."""
    font = _load(name, 16)
    if font is None:
        return len(text)
    unknown = bytes(font.getmask("\U0010ffff"))
    return sum(not c.isspace() and bytes(font.getmask(c)) == unknown for c in set(text))


def one_line(text: str) -> str:
    """Text on one line; characters that cannot be printed are replaced."""
    text = text[:600].encode("utf-8", "replace").decode()
    return " ".join("".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in text).split())


def wrap(text: str, font: Font, width: float, most: int) -> list[str]:
    """At most `most` lines of this width. Long words, and text without spaces, are cut anywhere."""
    lines: list[str] = []
    while text and len(lines) < most:
        end = len(text)
        while end > 1 and font.getlength(text[:end]) > width:
            end = max(1, min(end - 1, int(end * width / font.getlength(text[:end])) + 1))
        if end < len(text):
            space = text.rfind(" ", 0, end + 1)
            end = space if space > end // 2 else end
        lines.append(text[:end].strip())
        text = text[end:].strip()
    if text:
        last = lines[-1]
        while last and font.getlength(last + "…") > width:
            last = last[:-1]
        lines[-1] = last + "…"
    return lines or [""]
