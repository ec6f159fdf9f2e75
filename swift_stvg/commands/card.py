"""`swift-stvg card`: a model card, and an `args.json` that loads where the plugin is elsewhere or missing."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg import __version__
from swift_stvg.answers.format import AnswerFormat
from swift_stvg.commands.shared import names_of, read_dataset
from swift_stvg.errors import DataError
from swift_stvg.report.page.charts import picture_of_training
from swift_stvg.report.page.training import Curves, read_curves
from swift_stvg.report.text.blocks import escape_markdown
from swift_stvg.report.text.score import render_score
from swift_stvg.scoring.predictions import Answers
from swift_stvg.scoring.score import ALL_PROTOCOLS, GroundTruth, score
from swift_stvg.settings import Settings
from swift_stvg.sharing import checkpoint as sharing
from swift_stvg.sharing.usage import different, ways
from swift_stvg.util.jsonfile import no_garbage_collection, put_whole, read_json, write_whole

CURVE = "training.png"


def add_options(card: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add = card.add_argument
    add("checkpoint", type=Path, help="of ms-swift: full, LoRA or merged")
    add("--out", type=Path, metavar="DIR", help="put what using the model needs there, and leave the checkpoint alone")
    add("--force", action="store_true", help="replace a README.md that this command did not write")
    add("--hub_model_id", metavar="OWNER/NAME", help="as it will be pushed (default: the folder's name)")
    add("--base_model", metavar="OWNER/NAME", help="what was trained, where args.json holds a folder of this machine")
    add("--license", metavar="ID", help="such as apache-2.0")
    add("--stock_template", metavar="NAME", help="of ms-swift, behind a template that this package does not know")
    add("--scores", type=Path, metavar="FILE", help=".jsonl of `swift infer` with this checkpoint")
    add("--dataset", metavar="NAME:SUBSET", help="ground truth of --scores, from annotation files below STVG_DATA_ROOT")
    add("--protocol", type=names_of(ALL_PROTOCOLS), default=[], metavar="A,B", help="default: those that apply")
    add("--logging", type=Path, metavar="FILE", help="of the training (default: logging.jsonl beside the checkpoint)")
    card.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the card, its picture, and the arguments; everything is read before anything is written."""
    checkpoint: Path = args.checkpoint
    old = sharing.read_args(checkpoint)
    configs = {name: _object(checkpoint / name) for name in sharing.CONFIGS if (checkpoint / name).is_file()}
    adapter = configs.get(sharing.ADAPTER)
    base = args.base_model or sharing.base_model(old, adapter or {}, checkpoint)
    if adapter is not None and base is None:
        raise DataError(
            f"{checkpoint} is an adapter to {old.get('model')}, which others do not have: give --base_model "
            "OWNER/NAME as a hub knows it"
        )
    ours, noted = sharing.trained_with(old)
    template = sharing.stock_template(ours, args.stock_template)
    _check_readme((args.out or checkpoint) / sharing.README, checkpoint / sharing.README, args.force)
    if args.dataset and not args.scores:
        raise DataError("--dataset needs --scores")
    here = Settings.from_env()
    report, settings = _scored(args, here) if args.scores else (None, noted or here)
    new = sharing.public_args(
        old, template=template, ours=ours, settings=settings, base_model=base, adapter=adapter is not None
    )
    curves = _curves(args.logging, checkpoint)
    text = _card(args, new, ours, settings, report, curves, adapter is not None)
    _refuse_secrets(checkpoint, old, all_of_them=args.out is None)

    with sharing.new_folder(args.out) if args.out else nullcontext(checkpoint) as folder:
        if args.out:
            sharing.copy_model(checkpoint, folder)
        write_whole(folder / sharing.ARGS, _json(new))
        for name, config in configs.items():
            public = sharing.public_config(config, base)
            if public != config:
                write_whole(folder / name, _json(public))
        if (script := sharing.answer_script(ours)) is not None:
            write_whole(folder / sharing.ANSWER, script)
        if curves is not None:
            put_whole(folder / CURVE, picture_of_training(curves))
        write_whole(folder / sharing.README, text)
    _tell(args, args.out or checkpoint, old)
    return 0


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def _object(path: Path) -> dict[str, Any]:
    config = read_json(path)
    if not isinstance(config, dict):
        raise DataError(f"{path} must hold an object, got {type(config).__name__}")
    return config


def _check_readme(target: Path, source: Path, force: bool) -> None:
    """Refuse to replace a README.md that somebody wrote; PEFT's empty form, which comes with a LoRA, is nobody's."""
    for path in {target, source}:
        if path.is_file() and not force:
            text = path.read_text("utf-8", errors="replace")
            if sharing.MARK not in text and "[More Information Needed]" not in text:
                raise DataError(f"{path} was not written by this command: give --force to replace it")


def _curves(asked: Path | None, checkpoint: Path) -> Curves | None:
    beside = checkpoint.resolve().parent / "logging.jsonl"
    if asked is None and not beside.is_file():
        return None
    return read_curves(asked or beside)


def _scored(args: argparse.Namespace, settings: Settings) -> tuple[dict[str, Any], Settings]:
    with no_garbage_collection():
        answers = Answers.read(args.scores)
        truth = read_dataset(args.dataset, settings)[1] if args.dataset else GroundTruth.of_rows([answers])
        return score([answers], truth, protocols=args.protocol, by=["query"])[0], answers.settings


def _refuse_secrets(checkpoint: Path, old: Mapping[str, Any], *, all_of_them: bool) -> None:
    """Refuse to prepare files for a push that hold a token; `args.json` and what is rewritten do not count."""
    names = set(sharing.files_of(checkpoint, all_of_them=all_of_them)) - {sharing.ARGS, sharing.README}
    if found := [found for found in sharing.leaks(checkpoint, sharing.secrets(old, os.environ)) if found[0] in names]:
        file, what = found[0]
        hint = ": give --out DIR, which leaves out what only resuming needs" if all_of_them else ""
        raise DataError(f"{checkpoint / file} holds the value of {what}, which would be pushed with it{hint}")


def _tell(args: argparse.Namespace, folder: Path, old: Mapping[str, Any]) -> None:
    """What was written, and what else the folder holds that others have no use for."""
    print(f"{folder / sharing.README}: card of {_name(args)}")
    needed = set(sharing.files_of(folder, all_of_them=False))
    rest = [name for name in sharing.files_of(folder) if name not in needed]
    if rest:
        print(
            f"  of no use to others, but pushed with it: {', '.join(rest[:8])}{', ...' * (len(rest) > 8)}; --out DIR "
            "leaves them out",
            file=sys.stderr,
        )
    paths = {path: path for path in sharing.paths_of(old)}
    for file, path in sharing.leaks(folder, paths)[:8]:
        print(f"  {file} holds a path of this machine: {path}", file=sys.stderr)
    if not args.license:
        print("  no licence: give --license ID", file=sys.stderr)


def _name(args: argparse.Namespace) -> str:
    return str(args.hub_model_id or (args.out or args.checkpoint).resolve().name)


def _card(
    args: argparse.Namespace,
    new: Mapping[str, Any],
    template: str,
    settings: Settings,
    report: dict[str, Any] | None,
    curves: Curves | None,
    adapter: bool,
) -> str:
    name = _name(args)
    parts = [
        _front_matter(args, new, report, adapter),
        sharing.MARK,
        f"# {escape_markdown(name)}",
        "Spatio-temporal video grounding: given a video and a sentence, this model says when the described thing "
        "happens and where the object is in every frame. "
        + ("It is an adapter to" if adapter else "It was trained from")
        + f" {_code(new['model']) if 'model' in new else 'a local model'}, with "
        "[ms-swift](https://github.com/modelscope/ms-swift) and its plugin swift_stvg, after STVG-o1 "
        "([arXiv 2511.21375](https://arxiv.org/abs/2511.21375)). It answers like this:",
        _form(settings),
        "## Scores",
        render_score(report, "markdown").strip() if report else "Not measured.",
        "## Training",
        *_training(new, settings, curves),
        *ways(name, template, new, settings, adapter),
        "## Licence",
        f"{escape_markdown(args.license)}." if args.license else "Not stated; see the base model's.",
        f"_Card written by swift-stvg {__version__}._",
    ]
    return "\n\n".join(parts) + "\n"


def _form(settings: Settings) -> str:
    """An answer in the form that the model was trained to write, as Markdown's code."""
    said = AnswerFormat.of(settings).instruction()
    example = (
        said.partition("example:\n")[2] if settings.style == "csv" else said.partition("form: ")[2].splitlines()[0]
    )
    return "\n".join(f"    {line}" for line in example.splitlines())


def _front_matter(
    args: argparse.Namespace, new: Mapping[str, Any], report: dict[str, Any] | None, adapter: bool
) -> str:
    """What Hugging Face and ModelScope read, each what it knows."""
    from huggingface_hub import EvalResult, ModelCardData

    results = []
    for table in report["tables"] if report else []:
        split = ", ".join(report["ground_truth"]["splits"]) if report else ""
        for metric, (value, *_) in table["rows"][0]["metrics"].items():
            results.append(
                EvalResult(
                    task_type="video-text-to-text",
                    dataset_type=split.partition(":")[0],
                    dataset_name=split,
                    metric_type=metric,
                    metric_name=f"{metric} ({table['protocol']})",
                    metric_value=round(100 * value, 2),
                )
            )
    data = ModelCardData(
        license=args.license,
        base_model=new.get("model"),
        base_model_relation="adapter" if adapter else "finetune",
        library_name="peft" if adapter else "transformers",
        pipeline_tag="video-text-to-text",
        frameworks=["pytorch"],
        tasks=["visual-grounding"],
        tags=["swift_stvg", "ms-swift", "video-grounding", "spatio-temporal-video-grounding"],
        model_name=_name(args),
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def _training(new: Mapping[str, Any], settings: Settings, curves: Curves | None) -> list[str]:
    rows = [
        f"| {escape_markdown(name)} | {escape_markdown(_plain(new[name]))} |"
        for name in ("model", "tuner_type", *sharing.TOLD)
        if name in new and new[name] != []
    ]
    differing = different(settings)
    rows.append(f"| settings | {escape_markdown(' '.join(differing)) if differing else 'the defaults of swift_stvg'} |")
    parts = ["\n".join(["| | |", "|---|---|", *rows])]
    if curves is not None:
        parts += [f"![Figures logged during training]({CURVE})", _course(curves)]
    return parts


def _course(curves: Curves) -> str:
    """First and last figure of what was trained for, each the mean of a tenth of the steps."""
    name = "reward" if "reward" in curves.of else "loss" if "loss" in curves.of else next(iter(curves.of))
    steps, values = (np.array(part) for part in zip(*sorted(curves.of[name].items()), strict=True))
    tenth = max(1, len(values) // 10)
    return (
        f"{name.capitalize()}: {values[:tenth].mean():.3f} at the beginning, {values[-tenth:].mean():.3f} at the end "
        f"of {steps[-1]} steps (means of a tenth of what was logged)."
    )


def _plain(value: Any) -> str:
    return " ".join(map(_plain, value)) if isinstance(value, list) else str(value)


def _code(text: str) -> str:
    return f"`{text}`"
