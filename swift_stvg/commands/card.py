"""`swift-stvg card`: write a model card, and make a checkpoint load without this package."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from swift_stvg.commands.shared import names_of
from swift_stvg.errors import DataError
from swift_stvg.report.page.charts import picture_of_training
from swift_stvg.report.page.training import Curves, read_curves
from swift_stvg.scoring.answer_file import AnswerFile
from swift_stvg.scoring.ground_truth import GroundTruth, read_dataset
from swift_stvg.scoring.matching import ALL_PROTOCOLS
from swift_stvg.scoring.score import score
from swift_stvg.settings import Settings
from swift_stvg.sharing import checkpoint as sharing
from swift_stvg.sharing.card import PICTURE, Card
from swift_stvg.sharing.trained_settings import require_same_settings, take_settings
from swift_stvg.util.json_reading import no_garbage_collection, read_json
from swift_stvg.util.output_folder import new_folder
from swift_stvg.util.writing import write_bytes_atomic, write_text_atomic


def add_options(card: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = card.add_argument
    add("checkpoint", type=Path, help="a checkpoint of ms-swift: full, LoRA or merged")
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="copy the files that users need to this folder, and do not change the checkpoint",
    )
    add("--force", action="store_true", help="replace a README.md that this command did not write")
    add("--hub_model_id", metavar="OWNER/NAME", help="the model's name on the hub (default: the folder's name)")
    add("--base_model", metavar="OWNER/NAME", help="the base model on a hub, if args.json names a local folder")
    add("--license", metavar="ID", help="licence, such as apache-2.0")
    add(
        "--stock_template",
        metavar="NAME",
        help="ms-swift's template for users, if you trained with your own template",
    )
    add("--scores", type=Path, metavar="FILE", help="result of `swift infer` with this checkpoint (.jsonl)")
    add("--dataset", metavar="NAME:SUBSET", help="ground truth for --scores from annotation files below STVG_DATA_ROOT")
    add(
        "--protocol",
        type=names_of(ALL_PROTOCOLS),
        default=[],
        metavar="A,B",
        help="protocols of the scores (default: all that apply)",
    )
    add(
        "--logging",
        type=Path,
        metavar="FILE",
        help="log of the training (default: logging.jsonl beside the checkpoint)",
    )
    card.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the card, its picture, and `args.json`. Everything is read before anything is written."""
    checkpoint: Path = args.checkpoint
    old = sharing.read_args(checkpoint)
    configs = {name: _object(checkpoint / name) for name in sharing.CONFIGS if (checkpoint / name).is_file()}
    adapter = configs.get(sharing.ADAPTER)
    base = args.base_model or sharing.base_model(old, adapter or {}, checkpoint)
    if adapter is not None and base is None:
        raise DataError(
            f"{checkpoint} is an adapter to {old.get('model')}, a local folder that others do not have: give "
            "--base_model OWNER/NAME, the base model on a hub"
        )
    ours, noted = sharing.trained_with(old)
    template = sharing.stock_template(ours, args.stock_template)
    if args.stock_template is None and sharing.has_other_ids(ours, configs.get("config.json", {})):
        template = ours
    _check_readme((args.out or checkpoint) / sharing.README, checkpoint / sharing.README, args.force)
    if args.dataset and not args.scores:
        raise DataError("--dataset is the ground truth for --scores: give --scores too")
    take_settings([checkpoint], partial(print, file=sys.stderr))
    settings, report = Settings.from_env(), None
    if args.scores:
        report, scored_with = _scored(args, settings)
        if noted is None:
            settings = scored_with
        else:
            require_same_settings(scored_with, settings)
    new = sharing.public_args(
        old, template=template, ours=ours, settings=settings, base_model=base, adapter=adapter is not None
    )
    curves = _curves(args.logging, checkpoint)
    text = Card(_name(args), args.license, new, ours, settings, report, curves, adapter=adapter is not None).to_text()
    _refuse_secrets(checkpoint, old, all_of_them=args.out is None)

    with new_folder(args.out) if args.out else nullcontext(checkpoint) as folder:
        if args.out:
            sharing.copy_model(checkpoint, folder)
        write_text_atomic(folder / sharing.ARGS, _json(new))
        for name, config in configs.items():
            public = sharing.public_config(config, base)
            if public != config:
                write_text_atomic(folder / name, _json(public))
        for name, script in sharing.answer_scripts(ours, settings).items():
            write_text_atomic(folder / name, script)
        if curves is not None:
            write_bytes_atomic(folder / PICTURE, picture_of_training(curves))
        write_text_atomic(folder / sharing.README, text)
    _print_summary(args, args.out or checkpoint, old)
    return 0


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def _object(path: Path) -> dict[str, Any]:
    config = read_json(path)
    if not isinstance(config, dict):
        raise DataError(f"{path} must hold a JSON object, got {type(config).__name__}")
    return config


def _check_readme(target: Path, source: Path, force: bool) -> None:
    """Refuse to replace a README.md that a person wrote. The empty template that PEFT saves may be replaced."""
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
        answers = AnswerFile.read(args.scores)
        truth = read_dataset(args.dataset, settings)[1] if args.dataset else GroundTruth.of_rows([answers])
        return score([answers], truth, protocols=args.protocol, by=["query"])[0], answers.settings


def _refuse_secrets(checkpoint: Path, old: Mapping[str, Any], *, all_of_them: bool) -> None:
    """Refuse a checkpoint with a token in a file. `args.json` and README.md are not checked: they are written again."""
    names = set(sharing.files_of(checkpoint, all_of_them=all_of_them)) - {sharing.ARGS, sharing.README}
    if found := [found for found in sharing.leaks(checkpoint, sharing.secrets(old, os.environ)) if found[0] in names]:
        file, what = found[0]
        hint = ": give --out DIR, which leaves out files that only resuming needs" if all_of_them else ""
        raise DataError(f"{checkpoint / file} holds the value of {what}, which would be pushed with the model{hint}")


def _print_summary(args: argparse.Namespace, folder: Path, old: Mapping[str, Any]) -> None:
    """Print what was written, which files users do not need, and which private paths are left."""
    print(f"{folder / sharing.README}: card of {_name(args)}")
    needed = set(sharing.files_of(folder, all_of_them=False))
    rest = [name for name in sharing.files_of(folder) if name not in needed]
    if rest:
        print(
            f"  users do not need these files, but they would be pushed: {', '.join(rest[:8])}"
            f"{', ...' * (len(rest) > 8)}; --out DIR leaves them out",
            file=sys.stderr,
        )
    paths = {path: path for path in sharing.paths_of(old)}
    for file, path in sharing.leaks(folder, paths)[:8]:
        print(f"  {file} holds a path of this machine: {path}", file=sys.stderr)
    if not args.license:
        print("  the card states no licence: give --license ID", file=sys.stderr)


def _name(args: argparse.Namespace) -> str:
    return str(args.hub_model_id or (args.out or args.checkpoint).resolve().name)
