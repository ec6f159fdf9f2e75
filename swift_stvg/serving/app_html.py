"""What the page of `swift-stvg app` shows of a video and of answers, as HTML. Text of users and models is escaped."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from swift_stvg.serving.grounding import NO_ANSWER, OK

MOST_TEXT = 20_000
"""At most this many characters of an answer are shown."""
CSS = """
.gradio-container { max-width: 1240px !important; }
footer { display: none !important; }
.stvg { overflow-wrap: anywhere; min-width: 0; }
.stvg bdi { unicode-bidi: isolate; }
.stvg h1 { margin: 0; }
.stvg p { margin: 6px 0; }
.stvg .faint, .stvg figcaption, .stvg summary { opacity: .75; font-size: 14px; }
.stvg figure { margin: 0; }
.stvg video, .stvg img { display: block; width: 100%; height: auto; max-height: 480px; object-fit: contain;
  background: #121419; border-radius: 8px; }
.stvg .preview video, .stvg .preview img { max-height: 220px; }
.stvg .film video { cursor: pointer; }
.stvg .film input { width: 100%; margin: 6px 0 0; accent-color: var(--color-accent); }
.stvg article { border: 1px solid var(--border-color-primary); border-radius: 12px; padding: 12px 14px;
  margin-bottom: 14px; background: var(--background-fill-primary); }
.stvg h3 { margin: 0 0 4px; font-size: 17px; font-weight: 600; }
.stvg .when { font-size: 15px; font-variant-numeric: tabular-nums; }
.stvg .chip { display: inline-block; border: 1px solid currentColor; border-radius: 99px; padding: 0 9px;
  font-size: 13px; margin-right: 8px; }
.stvg .good, .stvg .good bdi { color: #147a38; } .dark .stvg .good, .dark .stvg .good bdi { color: #2ecc5f; }
.stvg .bad, .stvg .bad bdi { color: #b92b20; } .dark .stvg .bad, .dark .stvg .bad bdi { color: #ff7a70; }
.stvg .error { border-left: 4px solid #d83a2e; padding: 8px 12px; background: var(--background-fill-secondary); }
.stvg .empty { border: 1px dashed var(--border-color-primary); border-radius: 12px; padding: 40px 20px;
  text-align: center; }
.stvg .scroll { overflow: auto; max-height: 260px; margin: 8px 0 0; }
.stvg .scroll table, .stvg .scroll tr { border: 0; }
.stvg .scroll table { border-collapse: collapse; width: 100%; margin: 0; font-size: 13.5px;
  font-variant-numeric: tabular-nums; }
.stvg .scroll th, .stvg .scroll td { text-align: right; padding: 4px 8px; white-space: nowrap; border: 0 solid;
  border-top-width: 1px; border-color: var(--border-color-primary); }
.stvg .scroll th { position: sticky; top: 0; background: var(--background-fill-secondary); font-weight: 600; }
.stvg pre { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 220px; overflow: auto; font-size: 12.5px;
  background: var(--background-fill-secondary); border-radius: 8px; padding: 8px 10px; margin: 6px 0; }
.stvg summary { cursor: pointer; }
.stvg .files { display: flex; flex-wrap: wrap; gap: 8px; margin-top: 10px; }
.stvg .files a { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 4px 14px;
  color: var(--body-text-color); text-decoration: none; font-size: 14px; }
.stvg .files a:hover { border-color: var(--color-accent); }
@media (max-width: 560px) { .stvg .scroll th, .stvg .scroll td { padding: 4px 3px; font-size: 12px; } }
.stvg progress { width: 100%; height: 8px; accent-color: var(--color-accent); }
"""
"""The style of the page. Colours are Gradio's variables, so that its light and dark modes work."""
HEAD = """<script>
// A film plays and pauses at a click. The browser's own controls would cover the time bar that is drawn into it.
const film = element => element.closest && element.closest(".stvg .film");
document.addEventListener("click", event => {
  if (event.target.tagName !== "VIDEO" || !film(event.target)) return;
  if (event.target.paused) event.target.play().catch(() => {}); else event.target.pause();
});
document.addEventListener("timeupdate", event => {
  const [found, video] = [film(event.target), event.target];
  if (found && video.duration) found.querySelector("input").value = video.currentTime / video.duration;
}, true);
document.addEventListener("input", event => {
  const found = film(event.target);
  if (!found) return;
  const video = found.querySelector("video");
  video.pause();
  if (video.duration) video.currentTime = event.target.value * video.duration;
});
</script>"""
"""The script of the page, which has no text of users in it."""


def element(tag: str, *children: str, **attributes: str | bool) -> str:
    """An element of HTML. Its attributes are escaped, its children must be HTML: `text`, or other elements."""
    written = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{html.escape(str(value))}"')
        for name, value in attributes.items()
        if value is not False
    )
    return f"<{tag}{written}>" + ("" if tag in ("img", "input") else f"{''.join(children)}</{tag}>")


def text(of: str) -> str:
    """Any text as HTML that shows it. Its direction of writing does not change that of the text around it."""
    return f"<bdi>{html.escape(of)}</bdi>"


def whole(*children: str) -> str:
    """What a component of the page holds."""
    return element("div", *children, class_="stvg")


def error(message: str) -> str:
    """An error message."""
    return element("p", text(message), class_="error", role="alert")


def progress(done: int, of: int, what: str) -> str:
    """How far a search is."""
    bar = element("progress", value=str(done), max=str(of))
    return element("div", element("p", text(what)), bar, role="status")


def start() -> str:
    """What stands where answers will be."""
    told = "Choose a video, write what to look for, and press Find. The answers will be here."
    return whole(element("p", told, class_="empty faint"))


def preview(name: str, address: str, about: str, still: bool) -> str:
    """The chosen video or picture, with its name and properties."""
    label = f"the chosen file {name}"
    moving = element("video", src=address, aria_label=label, controls=True, muted=True, playsinline=True)
    shown = element("img", src=address, alt=label) if still else moving
    caption = element("figcaption", element("b", text(name)), " ", text(about))
    return whole(element("figure", shown, caption, class_="preview"))


def answer(record: Mapping[str, Any], drawing: str | None, still: bool, files: Sequence[tuple[str, str, str]]) -> str:
    """One answer: drawing, time, why it could be read or not, boxes, text, and files.

    Args:
        record: as `grounding.make_record` makes it.
        drawing: the address of the drawn clip; None if there is none.
        still: whether the drawing is a picture.
        files: (title, address, name) of each file to download.
    """
    good, span_s, written = record["status"] == OK, record["span_s"], record["response"]
    when = "no time that can be read" if span_s is None else f"{span_s[0]:.2f} s to {span_s[1]:.2f} s"
    why = record["detail"] or "The answer could be read: a span, and one box for each of its indices."
    if len(written) > MOST_TEXT:
        written = f"{written[:MOST_TEXT]}… ({len(written)} characters)"
    parts = [
        element("h3", text(record["sentence"])),
        element(
            "p",
            element("span", text(record["status"]), class_=f"chip {'good' if good else 'bad'}"),
            element("span", when, class_="when"),
        ),
    ]
    if drawing is not None:
        parts.append(_film(drawing, f"the answer, drawn: {record['sentence']}", still))
    if record["boxes"]:
        parts.append(_table(record["boxes"]))
    parts.append(element("p", text(why), class_="faint" if good else "error"))
    if record["status"] != NO_ANSWER:
        parts.append(element("details", element("summary", "the answer as written"), element("pre", text(written))))
    links = [element("a", title, href=address, download=name) for title, address, name in files]
    return element("article", *parts, element("div", *links, class_="files"))


def failed(sentence: str, message: str) -> str:
    """A sentence that could not be searched for."""
    return element("article", element("h3", text(sentence)), error(message))


def _film(address: str, label: str, still: bool) -> str:
    if still:
        return element("img", src=address, alt=label)
    plays: dict[str, str | bool] = dict.fromkeys(("autoplay", "loop", "muted", "playsinline"), True)
    place = element("input", type="range", min="0", max="1", step="any", value="0", aria_label="position in the film")
    return element("div", element("video", src=address, aria_label=label, **plays), place, class_="film")


def _table(boxes: Sequence[Mapping[str, Any]]) -> str:
    """Seconds and pixels of each box."""
    titles = {"think_xyxy": "think box", "pred_xyxy": "final box"}
    parts = [part for part in titles if any(box[part] is not None for box in boxes)]
    rows = [
        [
            f"{box['time_s']:.2f}",
            str(box["frame"]),
            *("–" if box[part] is None else ", ".join(f"{value:.0f}" for value in box[part]) for part in parts),
        ]
        for box in boxes
    ]
    head = [element("th", cell, scope="col") for cell in ("second", "frame", *(titles[part] for part in parts))]
    body = [element("tr", *(element("td", cell) for cell in row)) for row in rows]
    table = element("table", element("thead", element("tr", *head)), element("tbody", *body))
    about = element("p", "Boxes are left, top, right, bottom in pixels of the file.", class_="faint")
    return element("div", table, class_="scroll", tabindex="0") + about
