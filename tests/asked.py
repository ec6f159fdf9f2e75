"""Clips, settings and sensitive random models, to compare several ways of asking a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swift_stvg.settings import BACKBONES, PREFIX
from swift_stvg.synthetic.tiny import ARCHITECTURES
from tests.videos import write_video

SENTENCE = "The red corner (of 2) – größer?"
TOKENS = 24


@dataclass(frozen=True)
class Case:
    """A clip with `gap_s` seconds between pictures, and the settings that differ from the defaults."""

    title: str
    count: int
    gap_s: float
    settings: dict[str, str]


CASES = [
    Case("2 a second, 8 samples", 40, 0.1, {}),
    Case("2 a second, 7 samples", 35, 0.1, {}),
    Case("1.25 a second, 5 samples", 40, 0.1, {"fps": "1.25"}),
    Case("1.25 a second, 6 samples", 48, 0.1, {"fps": "1.25", "query_first": "true"}),
    Case("4 a second, 16 samples, not evenly apart", 40, 0.1, {"fps": "4"}),
    Case("4 a second, 13 samples, by the second", 81, 0.04, {"fps": "4", "index_unit": "second"}),
    Case("longer than the cap, 6 samples", 90, 0.08, {"max_frames": "6", "system_prompt": "false"}),
    Case("longer than the cap, 5 samples", 90, 0.08, {"max_frames": "5", "style": "csv"}),
]


def settings_of(architecture: str, case: Case) -> dict[str, str]:
    backbone = BACKBONES[ARCHITECTURES[architecture]]
    fitting = {"coords": backbone.coords, "side_multiple": str(backbone.side_multiple), "max_side": "96"}
    return {PREFIX + name.upper(): value for name, value in (fitting | case.settings).items()}


def sensitive(folder: Path) -> None:
    """Sharpen the attention of a random model, so that its text depends on its whole input."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    weights = load_file(file)
    for name, value in weights.items():
        if value.ndim > 1 and ".layers." in name:
            weights[name] = value * (8 if "self_attn" in name else 3 if "mlp" in name else 1)
    save_file(weights, file, {"format": "pt"})


def add_adapter(model: Path, out: Path) -> None:
    """A random LoRA of the text layers only, with ms-swift's names."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    config = LoraConfig(r=4, target_modules=r".*language_model.*(q_proj|v_proj|up_proj)", init_lora_weights=False)
    get_peft_model(AutoModelForImageTextToText.from_pretrained(model), config).save_pretrained(out)


def write_clips(folder: Path) -> dict[str, Path]:
    """Write the clips of the cases. Returns their paths by title."""
    return {
        case.title: write_video(folder / f"{number}.mp4", [1 + k * case.gap_s for k in range(case.count)], (128, 96))
        for number, case in enumerate(CASES)
    }
