"""The text of a model card: what the model does, its scores, its training, and how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from swift_stvg import __version__
from swift_stvg.answers.format import AnswerFormat
from swift_stvg.report.page.training import Curves
from swift_stvg.report.text.blocks import escape_markdown
from swift_stvg.report.text.score import render_score
from swift_stvg.settings import Settings
from swift_stvg.sharing.checkpoint import CARD_ARGS, MARK
from swift_stvg.sharing.usage import changed_settings, usage_sections

PICTURE = "training.png"
"""Name of the picture of the training's curves, beside the card."""


@dataclass(frozen=True, slots=True, eq=False)
class Card:
    """What a card is made from.

    Attributes:
        name: OWNER/NAME of the model on a hub, or the folder's name.
        licence: an id such as apache-2.0; None if it is not known.
        args: `args.json` without private values, from `checkpoint.public_args`.
        template: the template of the training.
        settings: the settings of the training.
        report: the report of `scoring.score`; None if nothing was scored.
        curves: what the training logged; None if there is no log.
        adapter: whether the checkpoint is an adapter and not a whole model.
    """

    name: str
    licence: str | None
    args: Mapping[str, Any]
    template: str
    settings: Settings
    report: Mapping[str, Any] | None
    curves: Curves | None
    adapter: bool

    def to_text(self) -> str:
        """The card as Markdown with front matter."""
        base = f"`{self.args['model']}`" if "model" in self.args else "a local model"
        parts = [
            self._front_matter(),
            MARK,
            f"# {escape_markdown(self.name)}",
            "Spatio-temporal video grounding: given a video and a sentence, this model says when the described thing "
            "happens and where the object is in every frame. "
            f"It {'is an adapter to' if self.adapter else 'was trained from'} {base}, with "
            "[ms-swift](https://github.com/modelscope/ms-swift) and its plugin swift_stvg, after STVG-o1 "
            "([arXiv 2511.21375](https://arxiv.org/abs/2511.21375)). It answers like this:",
            self._example(),
            "## Scores",
            render_score(dict(self.report), "markdown").strip() if self.report else "Not measured.",
            "## Training",
            *self._training(),
            *usage_sections(self.name, self.template, self.args, self.settings, self.adapter),
            "## Licence",
            f"{escape_markdown(self.licence)}." if self.licence else "Not stated; see the base model's.",
            f"_Card written by swift-stvg {__version__}._",
        ]
        return "\n\n".join(parts) + "\n"

    def _example(self) -> str:
        """An answer in the format of the training, as a Markdown code block."""
        example = AnswerFormat.of(self.settings).example()
        return "\n".join(f"    {line}" for line in example.splitlines())

    def _front_matter(self) -> str:
        """The metadata that Hugging Face and ModelScope read."""
        from huggingface_hub import EvalResult, ModelCardData

        results = []
        for table in self.report["tables"] if self.report else []:
            split = ", ".join(self.report["ground_truth"]["splits"]) if self.report else ""
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
            license=self.licence,
            base_model=self.args.get("model"),
            base_model_relation="adapter" if self.adapter else "finetune",
            library_name="peft" if self.adapter else "transformers",
            pipeline_tag="video-text-to-text",
            frameworks=["pytorch"],
            tasks=["visual-grounding"],
            tags=["swift_stvg", "ms-swift", "video-grounding", "spatio-temporal-video-grounding"],
            model_name=self.name,
            eval_results=results or None,
        )
        return f"---\n{data.to_yaml()}\n---"

    def _training(self) -> list[str]:
        rows = [
            f"| {escape_markdown(name)} | {escape_markdown(_plain(self.args[name]))} |"
            for name in ("model", "tuner_type", *CARD_ARGS)
            if name in self.args and self.args[name] != []
        ]
        differing = changed_settings(self.settings)
        settings = escape_markdown(" ".join(differing)) if differing else "the defaults of swift_stvg"
        rows.append(f"| settings | {settings} |")
        parts = ["\n".join(["| | |", "|---|---|", *rows])]
        if self.curves is not None:
            parts += [f"![Figures logged during training]({PICTURE})", _course(self.curves)]
        return parts


def _course(curves: Curves) -> str:
    """The reward at the beginning and at the end of the training, or the loss if there is no reward."""
    name = "reward" if "reward" in curves.of else "loss" if "loss" in curves.of else next(iter(curves.of))
    steps, values = (np.array(part) for part in zip(*sorted(curves.of[name].items()), strict=True))
    tenth = max(1, len(values) // 10)
    return (
        f"{name.capitalize()}: {values[:tenth].mean():.3f} at the beginning, {values[-tenth:].mean():.3f} at the end "
        f"of {steps[-1]} steps (means of a tenth of what was logged)."
    )


def _plain(value: Any) -> str:
    return " ".join(map(_plain, value)) if isinstance(value, list) else str(value)
