"""The checks of `swift-stvg check`, and their report."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg import __version__
from swift_stvg.commands.clips import Clip, clip_of, each_clip
from swift_stvg.errors import DataError, TemplateMismatch, VideoError
from swift_stvg.recipes.host import by_name_here
from swift_stvg.records import Sample
from swift_stvg.rewards.functions import usual_weights
from swift_stvg.rewards.known_mistakes import EXACT, rewards_of_mistakes
from swift_stvg.rewards.selection import Selected
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.answer_file import AnswerFile
from swift_stvg.scoring.dataset import (
    LARGE_GROUP,
    REENCODE_COMMAND,
    bounds_of_tokens,
    distribution,
    file_kinds,
    frame_sizes,
    row_counts,
    row_distributions,
    too_long,
)
from swift_stvg.scoring.ground_truth import GroundTruth
from swift_stvg.scoring.score import counted, score
from swift_stvg.scoring.selected import describe, read_selected
from swift_stvg.settings import BACKBONES, PREFIX, Settings
from swift_stvg.sharing.trained_settings import take_settings
from swift_stvg.sources import SOURCES, LoadReport, load_samples, make_rows, parse_dataset
from swift_stvg.sources.proposals import load_proposals
from swift_stvg.video.probing import probe_all
from swift_stvg.video.reader import frame_batches

_VIDEO_MISSING = "video missing"
ANSWER = "exact answer, tokens"
SELECTED_ANSWER = "answer, tokens"
ANSWERED = 8
"""Number of rows that both an engine and the model answer."""
COMPARED = 5
"""Number of rows for the comparison of prompts and positions with the model's pretraining."""


@dataclass(slots=True)
class _Part:
    """One split: the number of its annotations, its samples, and the rows that were made from them.

    A file of `swift-stvg select` has rows and no samples; `selected` says how each row was chosen.
    """

    report: LoadReport
    annotations: int
    samples: list[Sample]
    rows: list[dict[str, Any]]
    selected: list[Selected] = field(default_factory=list)


class Check:
    """One run of the command.

    Attributes:
        errors: problems that prevent a training.
        warnings: problems that do not prevent it.
        not_checked: the checks that were left out, each with the reason.
    """

    def __init__(self, args: argparse.Namespace, settings: Settings) -> None:
        self._args = args
        self._files_of_select = {name: read_selected(Path(name)) for name in args.datasets if _is_selected(name)}
        self._settings = self._of_rows(settings)
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.not_checked: list[str] = []

    def report(self, weights: dict[str, float] | None) -> dict[str, Any]:
        """Run all checks. Returns the report as a dictionary for JSON."""
        template = self._template()  # first, since opening videos takes longer
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
                    "selected": describe(part.rows, part.selected) if part.rows and part.selected else None,
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
            row_truths = [RowTruth.from_json(row["stvg"]) for row in rows]
            report["facts"] = row_counts(row_truths)
            report["figures"] = row_distributions(row_truths)
            report["figures"] |= self._tokens(template, rows, row_truths)
            if template is not None:
                report["facts"]["prompts and positions"] = self._compare_prompts(template, rows)
                if self._args.engine and self.errors:
                    self.not_checked.append(f"answers of {self._args.engine}, because of the errors below")
                elif self._args.engine:
                    report["facts"][f"answers of {self._args.engine}"] = self._compare_answers(rows)
            report["frame_sizes"] = frame_sizes(row_truths)
            report["files"] = self._files(parts)
            report["ceiling"] = {part.report.name: self._oracle_scores(part) for part in parts if part.samples}
            report["rewards"] = self._rewards(row_truths, weights)
            report["decoded"] = self._decode(rows)
        return report | {
            "not_checked": self.not_checked,
            "warnings": self.warnings,
            "errors": self.errors,
            "go_on": not self.errors,
        }

    def _template(self) -> Any:
        """The model's template, if a model is given. The settings are compared with what the template needs."""
        name, settings = self._args.template, self._settings
        if name and name not in BACKBONES:
            raise DataError(f"unknown template {name!r}; the templates are: {', '.join(BACKBONES)}")
        if self._args.model:
            from swift_stvg.adapters.lengths import prepare

            template = prepare(self._args.model, name, self._args.model_type)
            take_settings([template.processor.model_info.model_dir], partial(print, file=sys.stderr))
            self._settings = settings = Settings.from_env()
            try:
                template.require(settings.coords, (settings.side_multiple,))
            except TemplateMismatch as error:
                self.errors.append(str(error))
                return None
            return template
        if not name:
            self.not_checked.append("whether the settings fit the template; give --template or --model")
            return None
        backbone = BACKBONES[name]
        if settings.coords != backbone.coords:
            self.errors.append(f"STVG_COORDS is {settings.coords}, but {name} needs {backbone.coords}")
        if settings.side_multiple % backbone.side_multiple:
            self.errors.append(
                f"STVG_SIDE_MULTIPLE is {settings.side_multiple}, but {name} needs a multiple of "
                f"{backbone.side_multiple}"
            )
        return None

    def _load(self) -> list[_Part]:
        """The parts of all datasets, with their rows."""
        generator = np.random.default_rng(self._args.seed)
        if self._args.annotations_only:
            self.not_checked.append("videos; times and sizes of frames are taken from the annotations")
        parts = []
        for text in self._args.datasets:
            if text in self._files_of_select:
                parts.append(self._load_selected(text))
                continue
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
        for reason, detail in load_proposals(self._settings).faults:
            report.note(f"{reason}, left out", detail)
        if samples and report.dropped.get(_VIDEO_MISSING, (0, ""))[0] == len(samples):
            self.errors.append(f"{report.name}: all videos are missing")
            self.not_checked.append(
                f"videos of {report.name}; times and sizes of frames are taken from the annotations"
            )
            rows = make_rows(samples, self._settings, LoadReport(report.name), nominal=True)
        else:
            self._check_dropped(report, annotations, bool(rows))
        return _Part(report, annotations, samples, rows)

    def _load_selected(self, name: str) -> _Part:
        """The rows of a file of `swift-stvg select`."""
        report = LoadReport(name)
        part = _Part(report, 0, [], [])
        found = self._files_of_select[name]
        paths = set() if self._args.annotations_only else {Path(row["videos"][0]) for row in found[0]}
        videos = probe_all(paths, name, self._settings)
        for row, how in zip(*found, strict=True):
            part.annotations += 1
            path = Path(row["videos"][0])
            video = videos.get(path)
            if isinstance(video, VideoError):
                report.drop(VideoError(video.reason, f"{video.detail}, row {RowTruth.from_json(row['stvg']).id}"))
                continue
            if video is not None:
                report.videos[path] = video
            part.rows.append(row)
            part.selected.append(how)
        report.kept = len(part.rows)
        self._check_dropped(report, part.annotations, bool(part.rows))
        return part

    def _check_dropped(self, report: LoadReport, annotations: int, kept: bool) -> None:
        """Add an error if too many annotations were dropped, or a warning if at least one was."""
        dropped = f"{report.name}: {report.n_dropped} of {annotations} annotations are dropped"
        if report.n_dropped > self._args.max_dropped * annotations or not kept:
            self.errors.append(dropped)
        elif report.n_dropped:
            self.warnings.append(dropped)

    def _of_rows(self, settings: Settings) -> Settings:
        """The settings to check: those in files of `swift-stvg select`, whose rows are not made again, or `settings`.

        Raises:
            DataError: the files, or a dataset beside them, have other settings.
        """
        kept = {name: RowTruth.from_json(rows[0]["stvg"]).settings for name, (rows, _) in self._files_of_select.items()}
        if len(kept) < len(self._args.datasets):
            kept["this environment"] = settings
        (first, of_first), *others = kept.items()
        for name, other in others:
            differing = [n for n, text in of_first.to_texts().items() if other.to_texts()[n] != text]
            if differing:
                raise DataError(
                    f"{first} and {name} have different settings, which cannot be trained together: "
                    + ", ".join(f"{PREFIX}{n.upper()}" for n in differing)
                )
        same = {f.name: getattr(of_first, f.name) for f in fields(Settings) if f.name in of_first.to_texts()}
        return replace(settings, **same)

    def _tokens(self, template: Any, rows: list[dict[str, Any]], row_truths: list[RowTruth]) -> dict[str, list[float]]:
        """Distributions of token lengths; empty without a template."""
        limit = self._args.max_completion_length
        if template is None:
            known, errors = bounds_of_tokens(row_truths, limit)
            advice = "correct the settings first" if self._args.model else "give --model"
            self.not_checked.append(f"token lengths; {advice}. {known}")
            self.errors += errors
            return {}
        from swift_stvg.adapters.lengths import measure

        rejected = [_with_rejected(row) for row in rows if "rejected_response" in row]
        row_truths = [*row_truths, *(RowTruth.from_json(row["stvg"]) for row in rejected)]
        lengths = measure(template, [*rows, *rejected], self._settings)
        self.errors += too_long(row_truths, lengths.prompt, lengths.answer, self._args.max_length, limit)
        if self._args.max_length is None:
            self.not_checked.append("whether prompts fit; give --max_length")
        if limit is None:
            self.not_checked.append("whether answers fit; give --max_completion_length")
        columns = {"prompt, tokens": lengths.prompt, "prompt, tokens of pixels": lengths.pixels}
        answer = SELECTED_ANSWER if self._files_of_select else ANSWER
        return {name: distribution(values) for name, values in (columns | {answer: lengths.answer}).items()}

    def _files(self, parts: list[_Part]) -> list[dict[str, Any]]:
        """The kinds of the video files that were opened, and a warning for each kind that is slow to read."""
        opened = [
            (RowTruth.from_json(row["stvg"]), video)
            for part in parts
            for row in part.rows
            if (video := part.report.videos.get(Path(row["videos"][0]))) is not None
        ]
        kinds = file_kinds([row_truth for row_truth, _ in opened], [video for _, video in opened])
        for kind in kinds:
            if kind["slow"]:
                self.warnings.append(
                    f"{kind['slow']} of {kind['videos']} videos, {kind['kind']}: more than {LARGE_GROUP} frames must "
                    f"be decoded to reach some frames. A clip has {kind['clip']:.0f} frames on average, and reading it "
                    f"decodes at most {kind['decoded']:.0f}. `{REENCODE_COMMAND}` makes such files quick to read"
                )
        return kinds

    def _compare_prompts(self, template: Any, rows: list[dict[str, Any]]) -> str:
        """Compare prompts and positions of a few rows with those of the model's pretraining."""
        import transformers

        from swift_stvg.adapters.lengths import disagreements
        from swift_stvg.adapters.positions import correct_positions
        from swift_stvg.adapters.prompts import PAD, transformers_keeps_outer_pair

        few = rows[:: max(1, len(rows) // COMPARED)][:COMPARED]
        different = disagreements(template, few, self._settings)
        self.errors += [f"the model's input differs from its pretraining: {why}" for why in different]
        wrong = list(correct_positions(template.config.model_type))
        if template.tag == PAD and transformers_keeps_outer_pair(template.processor):
            wrong.append("a video has a second pair of markers")
        corrected = " and ".join(wrong)
        how = f"; corrected: in transformers {transformers.__version__} {corrected}" if corrected else ""
        return (
            f"{len(few) - len(different)} of {len(few)} rows have the prompts and positions of the model's release{how}"
        )

    def _compare_answers(self, rows: list[dict[str, Any]]) -> str:
        """Compare an engine's answers to a few rows with the trained model's answers."""
        from swift_stvg.adapters.parity import compare

        args = self._args
        few = [row | {"messages": row["messages"][:-1]} for row in rows[:: max(1, len(rows) // ANSWERED)][:ANSWERED]]
        given = {"infer_backend": args.engine, "template": args.template, "model_type": args.model_type}
        words = [word for name, value in given.items() if value for word in (f"--{name}", value)]
        found = compare(args.model, few, [*words, *args.further])
        for row, one in zip(few, found, strict=True):
            if not one.same:
                row_id = RowTruth.from_json(row["stvg"]).id
                self.errors.append(f"{row_id}: {args.engine} differs from the trained model: {one.difference}")
        if differing := sum(one.prompt_differs_at is not None for one in found):
            return f"{differing} of {len(found)} prompts differ from the prompts of training; no answer was generated"
        tokens, agreeing = sum(one.tokens for one in found), sum(one.agreeing for one in found)
        return (
            f"{sum(one.same_text for one in found)} of {len(found)} greedy answers equal the model's own; of {tokens} "
            f"tokens the model prefers {agreeing} too, and rounding decides {sum(one.close for one in found)} others; "
            f"log-probabilities differ by {max(one.logprob_gap for one in found):.2g} at most"
        )

    def _oracle_scores(self, part: _Part) -> list[dict[str, Any]]:
        """The scores of the exact answers, as `swift-stvg score --oracle` gives them.

        If answers name an object, they are the scores of the best tracks: the upper bound of the method.
        """
        names_object = self._settings.style == "ids"
        oracle = AnswerFile.oracle(part.samples, replace(self._settings, think=False, object_viou=0.0))
        truth = GroundTruth.of_samples(part.report.name, part.samples, LoadReport(part.report.name))
        by = ("area", "length") if names_object else ()
        tables: list[dict[str, Any]] = score([oracle], truth, by=by)[0]["tables"]
        return tables

    def _rewards(self, row_truths: list[RowTruth], weights: dict[str, float] | None) -> dict[str, Any]:
        """The rewards of right and wrong answers to some of the rows."""
        chosen = np.sort(np.random.default_rng(self._args.seed).permutation(len(row_truths))[: self._args.rows])
        found = rewards_of_mistakes([row_truths[i] for i in chosen], weights or usual_weights(row_truths))
        for name, fault in found["faults"].items():
            what = "does not earn the full reward" if name == EXACT else "earns as much as the exact answer, or more,"
            self.errors.append(f"reward: {name!r} {what} on {fault['rows']} rows, e.g. {fault['example']}")
        return found

    def _decode(self, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
        """The clips that cannot be decoded; None without --videos."""
        if not self._args.videos:
            if not self._args.annotations_only:
                self.not_checked.append("frames after the first of each video; --videos decodes all sampled frames")
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
            self.errors.append(
                f"{len(failed)} of {len(rows_of)} clips cannot be decoded; such a clip ends a GRPO training"
            )
        return {"clips": len(rows_of), "failed": failed}


def _is_selected(dataset: str) -> bool:
    """Whether a dataset is the path of a file that `swift-stvg select` wrote."""
    return Path(dataset).suffix == ".jsonl" and dataset.partition(":")[0] not in SOURCES


def _with_rejected(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a pair with its rejected answer."""
    return row | {"messages": [*row["messages"][:-1], {"role": "assistant", "content": row["rejected_response"]}]}


def _failure(decoder: str, clip: Clip) -> str | None:
    """Why a clip's sampled frames cannot be decoded; None if they can."""
    try:
        for _ in frame_batches(Path(clip[0]), np.array(clip[1].frames, dtype=np.int64), decoder):
            pass
    except VideoError as error:
        return str(error)
    return None


def _draw(parts: list[_Part], count: int, generator: np.random.Generator) -> None:
    """Keep `count` random rows of all parts together, and their samples."""
    ends = np.cumsum([0, *(len(part.rows) for part in parts)])
    chosen = np.sort(generator.permutation(ends[-1])[:count])
    for part, start, end in zip(parts, ends[:-1], ends[1:], strict=True):
        part.rows = [part.rows[i - start] for i in chosen if start <= i < end]
        ids = {RowTruth.from_json(row["stvg"]).id for row in part.rows}
        part.samples = [sample for sample in part.samples if sample.id in ids]
