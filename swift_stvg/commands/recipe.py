"""`swift-stvg recipe`: check a recipe against the rules of ms-swift, and estimate its GPU memory and time."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from swift_stvg import __version__
from swift_stvg.commands.shared import add_delivery, check_writable, deliver
from swift_stvg.recipes.footprint import report as footprint
from swift_stvg.recipes.host import by_name_here
from swift_stvg.recipes.rules import Recipe, batches, faults
from swift_stvg.report.text.recipe import render_recipe


def _gpus(text: str) -> tuple[int, float]:
    """The number of GPUs and the GB of each, from text such as 8x80."""
    found = re.fullmatch(r"([1-9]\d{0,5})[xX](\d+(?:\.\d+)?)", text)
    if not found or not 0 < float(found[2]) < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not NUMBERxGB, such as 8x80")
    return int(found[1]), float(found[2])


def add_options(recipe: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    recipe.add_argument("recipe", type=Path, metavar="FILE", help="a YAML file for `swift sft` or `swift rlhf`")
    recipe.add_argument(
        "--gpus",
        type=_gpus,
        metavar="NUMBERxGB",
        help="number of GPUs and GB of each, such as 8x80: estimate memory and time for them",
    )
    add_delivery(recipe)
    recipe.epilog = (
        "Options that are not listed override the recipe's, as after `swift rlhf FILE`. Exit status: 1 if ms-swift "
        "would refuse the recipe or treat it differently; otherwise 0."
    )
    recipe.set_defaults(run=run, passes_on=True)


def run(args: argparse.Namespace) -> int:
    """Check the recipe and deliver the report."""
    check_writable(args.out)
    machine: tuple[int, float] | None = args.gpus
    recipe = Recipe.read(args.recipe, args.further)
    own = recipe.processes
    processes = machine[0] if machine else own
    errors = faults(recipe, processes)
    works, how = by_name_here()
    named = "swift_stvg" in recipe.options.get("external_plugins", ())
    warnings = [f"external_plugins: swift_stvg does not work here: {how}"] if named and not works else []
    if machine and own != processes:
        warnings.append(f"the recipe starts {own} processes: set NPROC_PER_NODE and NNODES for {processes}")
    found: dict[str, Any] = {
        "memory": [],
        "peaks": {},
        "times": [],
        "not_known": ["memory and time; give --gpus, such as 8x80"],
    }
    if machine and not errors:
        found = footprint(recipe, *machine)
        for phase, gb in found["peaks"].items():
            if gb > machine[1]:
                warnings.append(f"{phase} needs an estimated {gb:.0f} GB, but a GPU has {machine[1]:g} GB")
    report = {
        "swift_stvg": __version__,
        "recipe": str(args.recipe),
        "processes": processes,
        "gpu_gb": machine[1] if machine else None,
        "batches": [] if errors else batches(recipe, processes),
        **found,
        "warnings": warnings,
        "errors": errors,
        "go_on": not errors,
    }
    deliver(render_recipe(report, args.format), args.out)
    return 0 if report["go_on"] else 1
