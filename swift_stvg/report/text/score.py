"""The report of `scoring.score` as text, Markdown or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from swift_stvg.report.text.blocks import escape_markdown, lines_block, table_block, write_report
from swift_stvg.scoring.cost import cost_line
from swift_stvg.scoring.ground_truth import AREA_EDGES, bin_labels
from swift_stvg.scoring.published import CANDIDATES, GAINS_BY_AREA, METRICS, PAPER, published_for

MOST_IDS = 10
"""At most this many ids of missing answers are printed."""


def render_score(report: dict[str, Any], form: str) -> str:
    """The report of `scoring.score` as text that ends with a newline; `form` is one of `blocks.REPORT_FORMATS`."""
    return write_report(report, form, _blocks)


def _blocks(report: dict[str, Any], markdown: bool) -> list[str]:
    blocks = [lines_block(preamble(report), markdown)]
    for table in report["tables"]:
        blocks.append(table_block(*score_table(table), markdown))
    if "diagnoses" in report:
        blocks.append(table_block(*diagnoses_table(report["diagnoses"], markdown), markdown))
    if "published" in report:
        blocks += _published(report, markdown)
    for name, reason in report["not_applicable"].items():
        blocks.append(lines_block([f"{name} does not apply: {reason}"], markdown))
    return blocks


def score_table(table: dict[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    """The title, header and rows of a table of the report."""
    rows = [
        [_label(row), str(row["samples"]), *(_figure(values, row) for values in row["metrics"].values())]
        for row in table["rows"]
    ]
    header = ["percent [95% interval]", "n", *table["rows"][0]["metrics"]]
    return f"{table['protocol']}: {table['description']}", header, rows


CAUSES = {"time": "time", "place": "place", "missing_boxes": "missing boxes", "no_answer": "no answer"}
KINDS = {
    "both_good": "boxes and time good",
    "boxes_good_time_wrong": "boxes good, time wrong",
    "time_good_boxes_wrong": "time good, boxes wrong",
    "both_wrong": "boxes and time wrong",
    "no_box_in_both_spans": "no box in both spans",
}


def diagnoses_table(diagnoses: Sequence[dict[str, Any]], markdown: bool) -> tuple[str, list[str], list[list[str]]]:
    """The title, header and rows of the table of diagnoses, with a column for each system."""
    columns = [_diagnosis(found) for found in diagnoses]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [[name, *(column.get(name, "-") for column in columns)] for name in names]
    systems = [escape_markdown(found["system"]) if markdown else found["system"] for found in diagnoses]
    return "Diagnoses: why answers lose", ["", *systems], rows


def _diagnosis(found: dict[str, Any]) -> dict[str, str]:
    """The figures of one system in words."""
    rows = {"protocol": found["protocol"], "answers diagnosed": str(found["answered"])}
    for name, key in (("start", "onset_s"), ("end", "end_s")):
        errors = found[key]
        if errors is not None:
            rows[f"{name}: mean error, s"] = f"{errors['mean']:+.2f}"
            rows[f"{name}: median error, s"] = f"{errors['median']:+.2f}"
            rows[f"{name}: too early, too late"] = f"{errors['too_early']:.1%}, {errors['too_late']:.1%}"
    if "loss" in found:
        rows["lost vIoU, points"] = f"{100 * found['loss']['total']:.1f}"
        rows |= {f"  {CAUSES[cause]}": f"{100 * found['loss'][cause]:.1f}" for cause in CAUSES}
        switches = found["identity_switches"]
        rows["answers with identity switches"] = f"{switches['answers']} of {switches['judged']}"
        rows["  identity switches"] = str(switches["switches"])
        rows |= {KINDS[kind]: str(found["boxes_and_time"][kind]) for kind in KINDS}
    return rows


def with_published(report: dict[str, Any]) -> dict[str, Any]:
    """The report with the published scores on its subsets."""
    rows = published_for(report["ground_truth"]["splits"])
    return report | {
        "published": [
            {"source": row.source, "date": row.date, "part": row.part}
            | {"split": row.split, "query": row.query, "method": row.method}
            | {"metrics": dict(zip(METRICS, row.values, strict=True))}
            for row in rows
        ]
    }


def preamble(report: dict[str, Any]) -> list[str]:
    """Lines about the ground truth, the systems, and answers that count 0 or were set aside. Details are indented."""
    truth = report["ground_truth"]
    splits = "" if truth["splits"] == [truth["from"]] else f" ({', '.join(truth['splits'])})"
    lines = [
        f"swift_stvg {report['swift_stvg']}. Ground truth: {truth['from']}{splits}, {truth['samples']} samples of "
        f"{truth['videos']} videos."
    ]
    for reason, found in truth["excluded"].items():
        lines.append(f"  not in the ground truth: {found['count']} x {reason}, e.g. {found['example']}")
    for note, found in truth["notes"].items():
        lines.append(f"  note: {found['count']} x {note}, e.g. {found['example']}")
    for system in report["systems"]:
        counts = system["counts"]
        well_formed = (
            f", {counts['well_formed']} of {counts['answers']} answers well-formed" if "answers" in counts else ""
        )
        lines.append(f"{system['name']}: {counts['scored']} of {counts['samples']} scored{well_formed}.")
        for reason, found in system["reasons"].items():
            title = "counts 0" if found["counts_zero"] else "set aside"
            lines.append(f"  {title}: {found['count']} x {reason}, e.g. {found['example']}")
            lines += _ids(found.get("ids", []))
        if system.get("read_as"):
            lines.append(f"  {system['read_as']}")
        lines += [f"  warning: {warning}" for warning in system["warnings"]]
        if "think_reward" in system:
            mean, low, high = system["think_reward"]
            interval = "" if low is None else f" [{low:.3f}, {high:.3f}]"
            lines.append(f"  mean think reward {mean:.3f}{interval}")
        if "cost" in system:
            lines.append(f"  {cost_line(system['cost'])}")
        if "settings" in system:
            lines.append("  made with " + ", ".join(f"{name} {value}" for name, value in system["settings"].items()))
    lines.append("; ".join(f"{name}: {value}" for name, value in report["how"].items()) + ".")
    return lines


def _ids(ids: Sequence[str]) -> list[str]:
    """A line with ids, if there are several."""
    if len(ids) < 2:
        return []
    more = f" and {len(ids) - MOST_IDS} more: --failures FILE lists them" if len(ids) > MOST_IDS else ""
    return [f"    {', '.join(ids[:MOST_IDS])}{more}"]


def _label(row: dict[str, Any]) -> str:
    name = str(row["system"])
    if "minus" in row:
        name += f" - {row['minus']}"
    elif row["part"] != "pred":
        name += f", {row['part']}"
    return f"  {row['by']} {row['group']}" if "group" in row else name


def _figure(values: Sequence[float | None], row: dict[str, Any]) -> str:
    sign = "+" if "minus" in row or row["part"] == "pred - think" else ""
    # + 0.0: no minus before a zero
    mean, *ends = (None if value is None else f"{round(100 * value, 1) + 0.0:{sign}.1f}" for value in values)
    return f"{mean} [{ends[0]}, {ends[1]}]" if ends[0] is not None else f"{mean} [one video]"


def _published(report: dict[str, Any], markdown: bool) -> list[str]:
    """Published scores below ours for each protocol, one block for each kind of query; and the gains by box area."""
    found = report["published"]
    if not found:
        splits = ", ".join(report["ground_truth"]["splits"])
        return [lines_block([f"This package has no published table for {splits}."], markdown)]
    blocks = []
    for split, query in dict.fromkeys((row["split"], row["query"]) for row in found):
        lines = _ours(report, query)
        for row in found:
            if (row["split"], row["query"]) == (split, query):
                source = "" if row["source"] in row["part"] else f", {row['date']}, {row['source']}"
                lines.append((row["part"], [row["method"] + source, *map(_printed, row["metrics"].values())]))
        rows = []
        for part, below in groupby(lines, key=lambda line: line[0]):
            rows += [[part, *[""] * len(METRICS)], *([f"  {name}", *cells] for _, (name, *cells) in below)]
        title = f"Published figures for {split}{', ' + query if query else ''}, as printed by their sources"
        blocks.append(table_block(title, ["percent", *METRICS], rows, markdown))
    return blocks + _gains(report, markdown)


def _ours(report: dict[str, Any], query: str | None) -> list[tuple[str, list[str]]]:
    """A heading and the cells of each of our rows about a kind of query. The paper's likely protocols come first."""
    lines = []
    for is_likely in (True, False):
        part = "computed here, " + ("protocols that the paper may have used" if is_likely else "other protocols")
        for table in report["tables"]:
            for row in table["rows"] if (table["protocol"] in CANDIDATES) == is_likely else ():
                if row["part"] == "pred" and "minus" not in row and _asked(row, query, report):
                    means = (row["metrics"].get(metric, [None])[0] for metric in METRICS)
                    cells = [_printed(None if mean is None else 100 * mean) for mean in means]
                    lines.append((part, [f"{row['system']} ({table['protocol']})", *cells]))
    return lines


def _gains(report: dict[str, Any], markdown: bool) -> list[str]:
    """The gains of final boxes over think boxes by box area, beside the paper's Fig. 4, if the report has them."""
    gains = {
        (f"{row['system']} ({table['protocol']})", row["group"]): _figure(row["metrics"]["m_vIoU"], row)
        for table in report["tables"]
        for row in table["rows"]
        if row["part"] == "pred - think" and row.get("by") == "area"
    }
    if not gains:
        return []
    systems = list(dict.fromkeys(system for system, _ in gains))
    rows = [
        [label, f"{gain:+d}", *(gains.get((system, label), "-") for system in systems)]
        for label, gain in zip(bin_labels(AREA_EDGES), GAINS_BY_AREA, strict=True)
    ]
    title = f"Gain of final boxes over think boxes in m_vIoU, beside Fig. 4 of {PAPER}, which names no dataset"
    header = ["box area over frame area", "Fig. 4", *(escape_markdown(name) if markdown else name for name in systems)]
    return [table_block(title, header, rows, markdown)]


def _printed(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _asked(row: dict[str, Any], query: str | None, report: dict[str, Any]) -> bool:
    """Whether one of our rows is about this kind of query, or about all samples if all are of this kind."""
    if "group" in row:
        return bool(row["by"] == "query" and row["group"] == query)
    return query is None or set(report["ground_truth"]["queries"]) == {query}
