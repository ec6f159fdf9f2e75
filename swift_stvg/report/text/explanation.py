"""The report of `scoring.explain` about single answers, as text, Markdown or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swift_stvg.report.text.blocks import lines_block, table_block, write_report
from swift_stvg.report.text.score import CAUSES


def render_explanation(report: dict[str, Any], form: str) -> str:
    """The report of `scoring.explain` as text that ends with a newline; `form` is one of `blocks.REPORT_FORMATS`."""
    return write_report(report, form, _blocks)


def _blocks(report: dict[str, Any], markdown: bool) -> list[str]:
    return [block for answer in report["answers"] for block in _explanation(answer, markdown)]


def _explanation(answer: dict[str, Any], markdown: bool) -> list[str]:
    (first, last), span = answer["true_span"], answer["span"]
    lines = [
        f"{answer['system']}, line {answer['line']}: {answer['subset']} {answer['id']}",
        f"sentence: {answer['sentence']}",
        f"video: {answer['video']}",
        f"answer: {answer['response']!r}",
        f"well-formed: {'yes' if answer['well_formed'] else 'no'}",
        f"span: {'cannot be read' if span is None else f'{span[0]} - {span[1]}'}; "
        f"the event: {first} - {last} of 0 - {answer['indices'] - 1} ({answer['unit']}s)",
        *(f"{part} boxes: {what}" for part, what in answer["boxes"].items()),
        *(f"  not read: {why}" for why in answer["failures"].values()),
        f"gives a tube: {'yes' if answer['fault'] is None else 'no, ' + answer['fault']}",
    ]
    if answer["counts_zero"] is not None:
        lines.append(f"counts 0: {answer['counts_zero']}")
    lines += [f"set aside: {what}" for what in answer["set_aside"]]
    if answer["diagnosis"] is not None:
        lines += diagnosis_lines(answer["diagnosis"])
    spatial, floor = answer["spatial"], answer["floor"]
    clamp = "" if floor is None else f", at least {floor:g}"
    means = "; ".join(f"{part} {found['mean']:.4f} over {found['frames']} frames" for part, found in spatial.items())
    blocks = [lines_block(lines, markdown)]
    header = ["index", "s", "frame", "true box", "think box", "GIoU", "L1", "term"]
    header += ["final box", "GIoU", "L1", "term", "gain", ""]
    rows = [
        [str(f["index"]), f"{f['s']:g}", str(f["frame"]), _box(f["true"])]
        + [cell for part in ("think", "pred") for cell in (_box(f[part]), *_term(f[f"{part}_terms"]))]
        + ["-" if f["gain"] is None else f"{f['gain']:+.3f}", f["note"]]
        for f in answer["frames"]
    ]
    title = f"Boxes in {answer['coords']}; term = GIoU - L1{clamp}; mean: {means}"
    blocks.append(table_block(title, header, rows, markdown))
    weights = answer["weights"]
    rows = [
        [name, f"{value:.4f}", f"{weights[name]:g}" if name in weights else ""]
        for name, value in answer["rewards"].items()
    ]
    blocks.append(
        table_block("Rewards", ["", "value", "weight"], [*rows, ["total", f"{answer['total']:.4f}", ""]], markdown)
    )
    metrics = answer["metrics"]
    if metrics:
        names = list(next(iter(metrics.values())))
        rows = [[name, *(f"{100 * values[m]:.1f}" for m in names)] for name, values in metrics.items()]
        blocks.append(table_block("Metrics of this answer", ["percent", *names], rows, markdown))
    return blocks


def diagnosis_lines(diagnosis: dict[str, Any]) -> list[str]:
    """The errors of one answer, in words. `diagnosis` is the result of `Diagnoses.sample`."""
    lines = []
    if diagnosis["answered"]:
        starts, ends = (_error(diagnosis[key]) for key in ("onset_s", "end_s"))
        lines.append(f"times: starts {starts}; ends {ends}")
    if "loss" in diagnosis:
        loss = diagnosis["loss"]
        parts = ", ".join(f"{name} {100 * loss[cause]:.1f}" for cause, name in CAUSES.items())
        lines.append(f"lost vIoU on the sampled frames: {100 * sum(loss.values()):.1f} points = {parts}")
        if diagnosis["identity_switches"]:
            lines.append(f"identity switches: {diagnosis['identity_switches']}")
    return lines


def _error(seconds: float) -> str:
    if abs(seconds) < 0.005:
        return "on time"
    return f"{abs(seconds):.2f} s too {'early' if seconds < 0 else 'late'}"


def _box(box: Sequence[float] | None) -> str:
    return "-" if box is None else " ".join(f"{value:g}" for value in box)


def _term(terms: dict[str, float] | None) -> list[str]:
    return ["-"] * 3 if terms is None else [f"{terms[name]:.3f}" for name in ("giou", "l1", "term")]
