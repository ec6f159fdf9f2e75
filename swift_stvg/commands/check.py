"""`swift-stvg check`: a dataset as training will see it, and what the rewards pay on it."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg import __version__
from swift_stvg.checking import (
    LARGE,
    QUICK,
    bounds_of_tokens,
    distribution,
    facts,
    figures,
    file_kinds,
    frame_sizes,
    too_long,
)
from swift_stvg.commands import add_delivery, add_weights, check_writable, deliver, read_weights
from swift_stvg.commands.clips import Clip, add_workers, check_workers, clip_of, each_clip
from swift_stvg.errors import DataError, TemplateMismatch, VideoError
from swift_stvg.host import by_name_here
from swift_stvg.records import Sample
from swift_stvg.results import Answers
from swift_stvg.rewards import usual_weights
from swift_stvg.rows import Contract, sentence_of
from swift_stvg.scoring import GroundTruth, counted, score
from swift_stvg.selftest import EXACT, landscape
from swift_stvg.settings import BACKBONES, Settings
from swift_stvg.sources import LoadReport, load_samples, make_rows, parse_dataset
from swift_stvg.tables import render_check
from swift_stvg.video import frame_batches

MISSING = "video missing"
ANSWER = "exact answer, tokens"
ANSWERED = 8
"""Rows that an engine and the model answer."""
COMPARED = 5
"""Rows whose prompts and positions are held against those that the model was pretrained with."""


def add_options(check: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add = check.add_argument
    add("datasets", nargs="+", metavar="DATASET", help="as for `swift --dataset`, under the settings of the training")
    add("--template", metavar="NAME", help="hold the settings against this template")
    add("--model", help="measure token lengths with this model's processor")
    add("--model_type", help="as for ms-swift, where it cannot tell from the model")
    add(
        "--engine",
        choices=("vllm",),
        help="compare this engine's prompts, then its answers, with those of the model itself; needs --model",
    )
    add("--max_length", type=int, metavar="N", help="of the training; needs --model")
    add("--max_completion_length", type=int, metavar="N", help="of GRPO; ms-swift's default there is 512")
    add("--videos", action="store_true", help="decode all sampled frames of all clips")
    add("--annotations_only", action="store_true", help="open no video: believe what the annotations say of them")
    add("--max_dropped", type=float, default=0.05, metavar="SHARE", help="of a dataset that may be lost (default: .05)")
    add("--rows", type=int, default=200, help="most rows on which the rewards are tried (default: 200)")
    add("--seed", type=int, default=0, help="of what is drawn at random (default: 0)")
    add_weights(check)
    add_workers(check)
    add_delivery(check)
    check.epilog = (
        "With --engine, further options go to ms-swift, as for `swift infer`: --vllm_max_model_len, --torch_dtype. "
        "Exit status: 0 if training can begin, 1 if there is an error among the findings, or this one failed."
    )
    check.set_defaults(run=run, passes_on=True)


@dataclass(slots=True)
class _Part:
    """One split: its annotations and the rows that are left of it."""

    report: LoadReport
    annotations: int
    samples: list[Sample]
    rows: list[dict[str, Any]]


def run(args: argparse.Namespace) -> int:
    """Look at everything, print or write the report, and say whether to go on."""
    weights = read_weights(args)
    check_workers(args.workers)
    check_writable(args.out)
    if args.rows < 1:
        raise DataError(f"--rows must be at least 1, got {args.rows}")
    if args.videos and args.annotations_only:
        raise DataError("--videos decodes what --annotations_only leaves closed: give one of them")
    if not 0 <= args.max_dropped <= 1:
        raise DataError(f"--max_dropped must be a share from 0 to 1, got {args.max_dropped}")
    if args.engine and (not args.model or args.annotations_only):
        raise DataError("--engine answers rows: it needs --model and videos")
    if args.further and not args.engine:
        raise DataError(f"these options are for --engine, which was not given: {' '.join(args.further)}")
    if args.max_length is not None and not args.model:
        raise DataError("--max_length counts pixels too, which needs --model")
    check = _Check(args, Settings.from_env())
    report = check.report(weights)
    deliver(render_check(report, args.format), args.out)
    return 0 if report["go_on"] else 1


class _Check:
    """One run of the command.

    Attributes:
        errors: what stands in the way of training.
        warnings: what is to be known.
        not_checked: what was not looked at, and why.
    """

    def __init__(self, args: argparse.Namespace, settings: Settings) -> None:
        self._args = args
        self._settings = settings
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.not_checked: list[str] = []

    def report(self, weights: dict[str, float] | None) -> dict[str, Any]:
        """Everything that was found, as a dictionary that can be written as JSON."""
        template = self._template()  # what is wrong there is known before videos are opened
        parts = self._load()
        rows = [row for part in parts for row in part.rows]
        works, how = by_name_here()
        if not works:
            self.warnings.append(f"--external_plugins swift_stvg does not work here: {how}")
        report: dict[str, Any] = {
            "swift_stvg": __version__,
            "plugin_by_name": {"works": works, "how": how},
            "settings": self._settings.to_texts(),
            "parts": [
                {"name": part.report.name, "annotations": part.annotations, "kept": part.report.kept}
                | {
                    "drawn": len(part.rows),
                    "dropped": counted(part.report.dropped),
                    "notes": counted(part.report.notes),
                }
                for part in parts
            ],
            "rows": len(rows),
            "videos": len({row["videos"][0] for row in rows}),
            "facts": {},
            "figures": {},
            "frame_sizes": {},
            "files": [],
            "ceiling": {},
            "rewards": None,
            "decoded": None,
        }
        if rows:
            contracts = [Contract.from_json(row["stvg"]) for row in rows]
            report["facts"] = facts(contracts)
            report["figures"] = figures(contracts, [sentence_of(row["messages"]) for row in rows])
            report["figures"] |= self._tokens(template, rows, contracts)
            if template is not None:
                report["facts"]["prompts and positions"] = self._asked(template, rows)
                if self._args.engine and self.errors:
                    self.not_checked.append(f"answers of {self._args.engine}, because of the errors below")
                elif self._args.engine:
                    report["facts"][f"answers of {self._args.engine}"] = self._answered(rows)
            report["frame_sizes"] = frame_sizes(contracts)
            report["files"] = self._files(parts)
            report["ceiling"] = {part.report.name: self._ceiling(part) for part in parts if part.rows}
            report["rewards"] = self._rewards(contracts, weights)
            report["decoded"] = self._decode(rows)
        return report | {
            "not_checked": self.not_checked,
            "warnings": self.warnings,
            "errors": self.errors,
            "go_on": not self.errors,
        }

    def _template(self) -> Any:
        """The template of the model, where one is given; the settings are held against what is known of it."""
        name, settings = self._args.template, self._settings
        if name and name not in BACKBONES:
            raise DataError(f"unknown template {name!r}; the templates are: {', '.join(BACKBONES)}")
        if self._args.model:
            from swift_stvg.adapters.lengths import prepare

            template = prepare(self._args.model, name, self._args.model_type)
            try:
                template.require(settings.coords, (settings.side_multiple,))
            except TemplateMismatch as error:
                self.errors.append(str(error))
                return None
            return template
        if not name:
            self.not_checked.append("whether the settings suit the template; give --template or --model")
            return None
        backbone = BACKBONES[name]
        if settings.coords != backbone.coords:
            self.errors.append(f"STVG_COORDS is {settings.coords}, but {name} is for {backbone.coords}")
        if settings.side_multiple % backbone.side_multiple:
            self.errors.append(
                f"STVG_SIDE_MULTIPLE is {settings.side_multiple}, but {name} is for models that take multiples of "
                f"{backbone.side_multiple}"
            )
        return None

    def _load(self) -> list[_Part]:
        """The rows of all datasets."""
        generator = np.random.default_rng(self._args.seed)
        if self._args.annotations_only:
            self.not_checked.append("videos; times and sizes of their frames are those of the annotations")
        parts = []
        for text in self._args.datasets:
            name, splits, count = parse_dataset(text)
            of_this = [self._load_split(name, split) for split in splits]
            if count is not None:
                _draw(of_this, count, generator)
            parts += of_this
        return parts

    def _load_split(self, name: str, split: str) -> _Part:
        report = LoadReport(f"{name}:{split}")
        samples = load_samples(name, split, self._settings, report)
        annotations = len(samples) + report.n_dropped
        rows = make_rows(samples, self._settings, report, nominal=self._args.annotations_only)
        dropped = f"{report.name}: {report.n_dropped} of {annotations} annotations are dropped"
        if samples and report.dropped.get(MISSING, (0, ""))[0] == len(samples):
            self.errors.append(f"{report.name}: no video is there")
            self.not_checked.append(f"videos of {report.name}; what is said of its rows believes the annotations")
            rows = make_rows(samples, self._settings, LoadReport(report.name), nominal=True)
        elif report.n_dropped > self._args.max_dropped * annotations or not rows:
            self.errors.append(dropped)
        elif report.n_dropped:
            self.warnings.append(dropped)
        return _Part(report, annotations, samples, rows)

    def _tokens(self, template: Any, rows: list[dict[str, Any]], contracts: list[Contract]) -> dict[str, list[float]]:
        """Distributions of token lengths, if they can be known."""
        limit = self._args.max_completion_length
        if template is None:
            known, errors = bounds_of_tokens(contracts, limit)
            advice = "mend the settings first" if self._args.model else "give --model"
            self.not_checked.append(f"token lengths; {advice}. {known}")
            self.errors += errors
            return {}
        from swift_stvg.adapters.lengths import measure

        lengths = measure(template, rows, self._settings)
        self.errors += too_long(contracts, lengths.prompt, lengths.answer, self._args.max_length, limit)
        if self._args.max_length is None:
            self.not_checked.append("prompts against --max_length, which was not given")
        if limit is None:
            self.not_checked.append("answers against --max_completion_length, which was not given")
        columns = {"prompt, tokens": lengths.prompt, "prompt, tokens of pixels": lengths.pixels}
        return {name: distribution(values) for name, values in (columns | {ANSWER: lengths.answer}).items()}

    def _files(self, parts: list[_Part]) -> list[dict[str, Any]]:
        """What kinds of files the videos are that were opened."""
        opened = [
            (Contract.from_json(row["stvg"]), video)
            for part in parts
            for row in part.rows
            if (video := part.report.videos.get(Path(row["videos"][0]))) is not None
        ]
        kinds = file_kinds([contract for contract, _ in opened], [video for _, video in opened])
        for kind in kinds:
            if kind["slow"]:
                known = f"{kind['decoded']:.0f} frames are decoded at most, of which {kind['clip']:.0f} are the clip's"
                self.warnings.append(
                    f"{kind['slow']} of {kind['videos']} videos, {kind['kind']}, take more than {LARGE} frames to "
                    f"reach some: for a row, {known}. `{QUICK}` makes them quick"
                )
        return kinds

    def _asked(self, template: Any, rows: list[dict[str, Any]]) -> str:
        """Whether the model is asked as it was pretrained, on a few rows."""
        import transformers

        from swift_stvg.adapters.lengths import disagreements
        from swift_stvg.adapters.positions import mend
        from swift_stvg.adapters.prompts import PAD, transformers_keeps_outer_pair

        few = rows[:: max(1, len(rows) // COMPARED)][:COMPARED]
        different = disagreements(template, few, self._settings)
        self.errors += [f"the model is not asked as it was pretrained: {why}" for why in different]
        wrong = list(mend(template.config.model_type))
        if template.tag == PAD and transformers_keeps_outer_pair(template.processor):
            wrong.append("a video has a second pair of markers")
        corrected = " and ".join(wrong)
        how = f"; corrected: in transformers {transformers.__version__} {corrected}" if corrected else ""
        return f"{len(few) - len(different)} of {len(few)} rows as the model's release has them{how}"

    def _answered(self, rows: list[dict[str, Any]]) -> str:
        """Whether an engine answers as the model does that is trained, on a few rows."""
        from swift_stvg.adapters.parity import compare

        args = self._args
        few = [row | {"messages": row["messages"][:-1]} for row in rows[:: max(1, len(rows) // ANSWERED)][:ANSWERED]]
        given = {"infer_backend": args.engine, "template": args.template, "model_type": args.model_type}
        words = [word for name, value in given.items() if value for word in (f"--{name}", value)]
        found = compare(args.model, few, [*words, *args.further])
        for row, one in zip(few, found, strict=True):
            if not one.same:
                row_id = Contract.from_json(row["stvg"]).id
                self.errors.append(f"{row_id}: {args.engine} is not the model that is trained: {one.difference}")
        if differing := sum(one.prompt_differs_at is not None for one in found):
            return f"{differing} of {len(found)} prompts differ from training's; none was answered"
        tokens, agreeing = sum(one.tokens for one in found), sum(one.agreeing for one in found)
        return (
            f"{sum(one.same_text for one in found)} of {len(found)} greedy answers are the model's own; of {tokens} "
            f"tokens the model prefers {agreeing} too, and rounding decides {sum(one.close for one in found)} others; "
            f"log-probabilities differ by {max(one.logprob_gap for one in found):.2g} at most"
        )

    def _ceiling(self, part: _Part) -> list[dict[str, Any]]:
        """What the exact answers score, as `swift-stvg score --oracle` gives it."""
        oracle = Answers.oracle(part.samples, replace(self._settings, think=False))
        truth = GroundTruth.of_samples(part.report.name, part.samples, LoadReport(part.report.name))
        tables: list[dict[str, Any]] = score([oracle], truth, by=())[0]["tables"]
        return tables

    def _rewards(self, contracts: list[Contract], weights: dict[str, float] | None) -> dict[str, Any]:
        """What right and wrong answers earn on some of the rows."""
        chosen = np.sort(np.random.default_rng(self._args.seed).permutation(len(contracts))[: self._args.rows])
        found = landscape([contracts[i] for i in chosen], weights or usual_weights(contracts))
        for name, fault in found["faults"].items():
            what = "does not earn what it should" if name == EXACT else "earns as much as the exact answer, or more,"
            self.errors.append(f"reward: {name!r} {what} on {fault['rows']} rows, e.g. {fault['example']}")
        return found

    def _decode(self, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Which clips cannot be decoded, if that was asked for."""
        if not self._args.videos:
            if not self._args.annotations_only:
                self.not_checked.append("frames of videos beyond the first; --videos decodes all that are sampled")
            return None
        rows_of = Counter(map(clip_of, rows))
        reasons = each_clip(
            list(rows_of), partial(_failure, self._settings.decoder), self._args.workers, "clips decoded"
        )
        failed = [
            {"video": clip[0], "rows": count, "why": why}
            for (clip, count), why in zip(rows_of.items(), reasons, strict=True)
            if why is not None
        ]
        if failed:
            self.errors.append(f"{len(failed)} of {len(rows_of)} clips cannot be decoded, which ends GRPO")
        return {"clips": len(rows_of), "failed": failed}


def _failure(decoder: str, clip: Clip) -> str | None:
    """Why the sampled frames of a clip cannot be decoded; None if they can."""
    try:
        for _ in frame_batches(Path(clip[0]), np.array(clip[1].frames, dtype=np.int64), decoder):
            pass
    except VideoError as error:
        return str(error)
    return None


def _draw(parts: list[_Part], count: int, generator: np.random.Generator) -> None:
    """Keep so many rows of some parts together, and their samples."""
    ends = np.cumsum([0, *(len(part.rows) for part in parts)])
    chosen = np.sort(generator.permutation(ends[-1])[:count])
    for part, start, end in zip(parts, ends[:-1], ends[1:], strict=True):
        part.rows = [part.rows[i - start] for i in chosen if start <= i < end]
        ids = {Contract.from_json(row["stvg"]).id for row in part.rows}
        part.samples = [sample for sample in part.samples if sample.id in ids]
