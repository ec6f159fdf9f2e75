"""The report of `scoring.score` as text, Markdown or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from swift_stvg.scoring.published import CANDIDATES, GAINS_BY_AREA, METRICS, PAPER, published_for
from swift_stvg.scoring.score import AREA_EDGES, bin_labels

REPORT_FORMATS = ("table", "markdown", "json")
SIZES = 10
"""Most sizes of frames that are printed."""
IDS = 10
"""Most ids of missing answers that are printed."""
_UNDERSCORE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""An underscore that Markdown could take for emphasis."""


def render(report: dict[str, Any], form: str) -> str:
    """A report as text that ends with a newline.

    Args:
        report: of `scoring.score`.
        form: one of `REPORT_FORMATS`.
    """
    if form == "json":
        return json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    markdown = form == "markdown"
    blocks = [_lines(preamble(report), markdown)]
    for table in report["tables"]:
        blocks.append(_block(*score_table(table), markdown))
    if "published" in report:
        blocks += _published(report, markdown)
    for name, reason in report["not_applicable"].items():
        blocks.append(_lines([f"{name} does not apply: {reason}"], markdown))
    return "\n\n".join(blocks) + "\n"


def score_table(table: dict[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    """Title, header and rows of one of a report's tables."""
    rows = [
        [_label(row), str(row["samples"]), *(_figure(values, row) for values in row["metrics"].values())]
        for row in table["rows"]
    ]
    header = ["percent [95% interval]", "n", *table["rows"][0]["metrics"]]
    return f"{table['protocol']}: {table['description']}", header, rows


def render_headroom(report: dict[str, Any], form: str) -> str:
    """A report of `headroom.measure` as text that ends with a newline; arguments as `render`."""
    if form == "json":
        return json.dumps(report, indent=1) + "\n"
    markdown = form == "markdown"
    weights = ", ".join(f"{name} {weight:g}" for name, weight in report["weights"].items())
    blocks = [
        _lines(
            [
                f"swift_stvg {report['swift_stvg']}. Headroom of {report['from']}: {report['rows']} rows of "
                f"{report['videos']} videos, {report['samples']} samples each.",
                f"reward: {weights}; a sample is better or worse than the greedy answer if its reward differs by more "
                f"than {report['margin']:g}.",
                "95% percentile bootstrap intervals over videos.",
            ],
            markdown,
        )
    ]
    for section, lines in report["figures"].items():
        columns = list(dict.fromkeys(column for line in lines.values() for column in line))
        rows = [[name, *(_plain(line.get(column)) for column in columns)] for name, line in lines.items()]
        blocks.append(_block(section, ["mean [95% interval]", *columns], rows, markdown))
    return "\n\n".join(blocks) + "\n"


def render_explanation(report: dict[str, Any], form: str) -> str:
    """Answers taken apart by `explain.explain` as text that ends with a newline; arguments as `render`."""
    if form == "json":
        return json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    blocks = [block for answer in report["answers"] for block in _explanation(answer, form == "markdown")]
    return "\n\n".join(blocks) + "\n"


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
    spatial, floor = answer["spatial"], answer["floor"]
    clamp = "" if floor is None else f", at least {floor:g}"
    means = "; ".join(f"{part} {found['mean']:.4f} over {found['frames']} frames" for part, found in spatial.items())
    blocks = [_lines(lines, markdown)]
    header = ["index", "s", "frame", "true box", "think box", "GIoU", "L1", "term"]
    header += ["final box", "GIoU", "L1", "term", "gain", ""]
    rows = [
        [str(f["index"]), f"{f['s']:g}", str(f["frame"]), _box(f["true"])]
        + [cell for part in ("think", "pred") for cell in (_box(f[part]), *_term(f[f"{part}_terms"]))]
        + ["-" if f["gain"] is None else f"{f['gain']:+.3f}", f["note"]]
        for f in answer["frames"]
    ]
    title = f"Boxes in {answer['coords']}; term = GIoU - L1{clamp}; mean: {means}"
    blocks.append(_block(title, header, rows, markdown))
    weights = answer["weights"]
    rows = [
        [name, f"{value:.4f}", f"{weights[name]:g}" if name in weights else ""]
        for name, value in answer["rewards"].items()
    ]
    blocks.append(
        _block("Rewards", ["", "value", "weight"], [*rows, ["total", f"{answer['total']:.4f}", ""]], markdown)
    )
    metrics = answer["metrics"]
    if metrics:
        names = list(next(iter(metrics.values())))
        rows = [[name, *(f"{100 * values[m]:.1f}" for m in names)] for name, values in metrics.items()]
        blocks.append(_block("Metrics of this answer", ["percent", *names], rows, markdown))
    return blocks


def _box(box: Sequence[float] | None) -> str:
    return "-" if box is None else " ".join(f"{value:g}" for value in box)


def _term(terms: dict[str, float] | None) -> list[str]:
    return ["-"] * 3 if terms is None else [f"{terms[name]:.3f}" for name in ("giou", "l1", "term")]


def render_check(report: dict[str, Any], form: str) -> str:
    """A report of `swift-stvg check` as text that ends with a newline; arguments as `render`."""
    if form == "json":
        return json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    markdown = form == "markdown"
    lines = [f"swift_stvg {report['swift_stvg']}. Check of {report['rows']} rows of {report['videos']} videos."]
    for part in report["parts"]:
        drawn = f", {part['drawn']} of them drawn at random" if part["drawn"] < part["kept"] else ""
        lines.append(f"{part['name']}: {part['annotations']} annotations, {part['kept']} rows{drawn}.")
        for title in ("dropped", "notes"):
            for reason, found in part[title].items():
                lines.append(f"  {title.rstrip('s')}: {found['count']} x {reason}, e.g. {found['example']}")
    lines += [f"{name}: {value}." for name, value in report["facts"].items()]
    if report["plugin_by_name"]["works"]:
        lines.append(f"--external_plugins swift_stvg works here: {report['plugin_by_name']['how']}.")
    blocks = [_lines(lines, markdown)]
    if report["figures"]:
        header = ["each row", "lowest", "5%", "median", "mean", "95%", "highest"]
        rows = [[name, *(f"{value:.4g}" for value in values)] for name, values in report["figures"].items()]
        blocks.append(_block("What the rows hold", header, rows, markdown))
        sizes = [[size, str(count)] for size, count in list(report["frame_sizes"].items())[:SIZES]]
        if len(report["frame_sizes"]) > SIZES:
            sizes.append([f"{len(report['frame_sizes']) - SIZES} more", ""])
        blocks.append(_block("Frames as the model receives them", ["width x height", "rows"], sizes, markdown))
    if report["files"]:
        header = ["kind of file", "rows", "videos", "slow", "frames of a clip", "to decode, at most"]
        rows = [
            [
                f["kind"],
                *(str(f[name]) for name in ("rows", "videos", "slow")),
                f"{f['clip']:.0f}",
                f"{f['decoded']:.0f}",
            ]
            for f in report["files"]
        ]
        blocks.append(_block("Video files", header, rows, markdown))
    for name, tables in report["ceiling"].items():
        for title, header, rows in map(score_table, tables):
            blocks.append(_block(f"What the exact answer scores on {name}, {title}", header, rows, markdown))
    if report["rewards"]:
        blocks.append(_landscape(report["rewards"], markdown))
    failed = (report["decoded"] or {}).get("failed", [])
    if failed:
        header = ["video that cannot be decoded", "rows", "why"]
        rows = [[f["video"], str(f["rows"]), escaped(f["why"]) if markdown else f["why"]] for f in failed]
        blocks.append(_block("Unreadable videos", header, rows, markdown))
    ending = [f"not checked: {what}" for what in report["not_checked"]]
    ending += [f"warning: {what}" for what in report["warnings"]] + [f"error: {what}" for what in report["errors"]]
    ending.append(
        "Nothing stands in the way of training." if report["go_on"] else "Do not train before the errors are gone."
    )
    blocks.append(_lines(ending, markdown))
    return "\n\n".join(blocks) + "\n"


def render_recipe(report: dict[str, Any], form: str) -> str:
    """A report of `swift-stvg recipe` as text that ends with a newline; arguments as `render`."""
    if form == "json":
        return json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    markdown = form == "markdown"
    each = f" of {report['gpu_gb']:g} GB" if report["gpu_gb"] else ""
    first = f"swift_stvg {report['swift_stvg']}. {report['recipe']} for {report['processes']} GPUs{each}."
    blocks = [_lines([first, *report["batches"]], markdown)]
    if report["memory"]:
        rows = [[part["what"], f"{part['gb']:.1f}", part["known"], part["how"]] for part in report["memory"]]
        rows += [[f"together, {phase}", f"{gb:.1f}", "estimated", ""] for phase, gb in report["peaks"].items()]
        blocks.append(_block("Memory of a GPU", ["", "GB", "known", "how"], rows, markdown))
    if report["times"]:
        blocks.append(_lines([f"time, {known}: {what}" for known, what in report["times"]], markdown))
    ending = [f"not known: {what}" for what in report["not_known"]]
    ending += [f"warning: {what}" for what in report["warnings"]] + [f"error: {what}" for what in report["errors"]]
    ending.append("ms-swift takes it." if report["go_on"] else "ms-swift would refuse it, or do something else.")
    blocks.append(_lines(ending, markdown))
    return "\n\n".join(blocks) + "\n"


def _landscape(rewards: dict[str, Any], markdown: bool) -> str:
    """What mistakes earn."""
    lines = rewards["lines"]
    columns = list(next(iter(lines.values()))["earns"])
    rows = [
        [name, str(line["rows"]), *(_range(line["earns"][column]) for column in columns)]
        for name, line in lines.items()
    ]
    weights = ", ".join(f"{name} {weight:g}" for name, weight in rewards["weights"].items())
    title = f"What answers earn on {rewards['rows']} rows, total = {weights}"
    return _block(title, ["mean [lowest, highest]", "rows", *columns], rows, markdown)


def _range(values: Sequence[float]) -> str:
    # + 0.0: no minus before a zero
    mean, low, high = (f"{round(value, 2) + 0.0:.2f}" for value in values)
    return mean if low == high else f"{mean} [{low}, {high}]"


def render_bench(report: dict[str, Any], form: str) -> str:
    """A report of `swift-stvg bench` as text that ends with a newline; arguments as `render`."""
    if form == "json":
        return json.dumps(report, indent=1) + "\n"
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    preamble = [f"swift_stvg {report['swift_stvg']} on {machine['cpu']}, {machine['cores']} cores; {versions}"]
    rounds = ", ".join(f"{name} {count}" for name, count in report["rounds"].items())
    preamble.append(f"medians of rounds in turns: {rounds}" + "; small sizes" * report["quick"])
    header = ["what", "ours", "baseline", "takes", "ratio", "peak MB"]
    rows = [
        [
            result["what"],
            f"{result['ours']:.3g} {result['unit']}",
            result["baseline"] or "-",
            "-" if result["theirs"] is None else f"{result['theirs']:.3g} {result['unit']}",
            "-" if result["ratio"] is None else f"{result['ratio']:.2g}",
            "-" if result["peak_mb"] is None else f"{result['peak_mb']:.0f}",
        ]
        for result in report["results"]
    ]
    markdown = form == "markdown"
    return _lines(preamble, markdown) + "\n\n" + _block("What things cost", header, rows, markdown) + "\n"


def _plain(values: Sequence[float | None] | None) -> str:
    if values is None or values[0] is None:
        return "-"
    mean, low, high = values
    return f"{mean:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")


def with_published(report: dict[str, Any]) -> dict[str, Any]:
    """The report with the published figures about its subsets."""
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
    """Lines on what was scored against what, and what was not; details are indented."""
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
        lines += [f"  warning: {warning}" for warning in system["warnings"]]
        if "think_reward" in system:
            mean, low, high = system["think_reward"]
            interval = "" if low is None else f" [{low:.3f}, {high:.3f}]"
            lines.append(f"  mean think reward {mean:.3f}{interval}")
        if "settings" in system:
            lines.append("  made with " + ", ".join(f"{name} {value}" for name, value in system["settings"].items()))
    lines.append("; ".join(f"{name}: {value}" for name, value in report["how"].items()) + ".")
    return lines


def _ids(ids: Sequence[str]) -> list[str]:
    """A line that names ids, if there are several."""
    if len(ids) < 2:
        return []
    more = f" and {len(ids) - IDS} more: --failures FILE lists them" if len(ids) > IDS else ""
    return [f"    {', '.join(ids[:IDS])}{more}"]


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
    """Published figures below ours under each protocol, one block for each kind of query; and the gains by area."""
    found = report["published"]
    if not found:
        splits = ", ".join(report["ground_truth"]["splits"])
        return [_lines([f"No published table about {splits} is known to this package."], markdown)]
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
        blocks.append(_block(title, ["percent", *METRICS], rows, markdown))
    return blocks + _gains(report, markdown)


def _ours(report: dict[str, Any], query: str | None) -> list[tuple[str, list[str]]]:
    """A heading and the cells of each of our rows about a kind of query; the paper's likely protocols come first."""
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
    """What final boxes gain over think boxes by area, beside the paper's Fig. 4, if a report tells it."""
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
    title = f"What final boxes gain over think boxes in m_vIoU, beside Fig. 4 of {PAPER}, which names no dataset"
    header = ["box area over frame area", "Fig. 4", *(escaped(name) if markdown else name for name in systems)]
    return [_block(title, header, rows, markdown)]


def _printed(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _asked(row: dict[str, Any], query: str | None, report: dict[str, Any]) -> bool:
    """Whether a row of ours is about this kind of query, or about all if that is all there is."""
    if "group" in row:
        return bool(row["by"] == "query" and row["group"] == query)
    return query is None or set(report["ground_truth"]["queries"]) == {query}


def _block(title: str, header: list[str], rows: list[list[str]], markdown: bool) -> str:
    """A table; its first column is text of others, the rest is ours."""
    if markdown:
        lines = ["| " + " | ".join([escaped(row[0]), *row[1:]]) + " |" for row in [header, *rows]]
        lines.insert(1, "|" + "---|" * len(header))
        return f"**{escaped(title)}**\n\n" + "\n".join(lines)
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in [header, *rows]
    ]
    return title + "\n" + "\n".join(lines)


def _lines(lines: list[str], markdown: bool) -> str:
    """Lines of text, or a Markdown list in which indented ones lie below the others."""
    if not markdown:
        return "\n".join(lines)
    return "\n".join(f"{line[: len(line) - len(line.lstrip())]}- {escaped(line.lstrip())}" for line in lines)


def escaped(text: str) -> str:
    """Text in which Markdown sees nothing special; the spaces before it stay."""
    body = "".join("\\" + c if c in "\\`*[]<>|#&~$" else c for c in text.lstrip(" "))
    return "&nbsp;" * (len(text) - len(text.lstrip(" "))) + _UNDERSCORE.sub(r"\\_", " ".join(body.splitlines()))
