"""The part of a model's card that says how to ask it: with this package, transformers, vLLM and ms-swift alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.records import VideoInfo
from swift_stvg.rows.making import make_prompt, make_prompt_spec
from swift_stvg.settings import BACKBONES, PREFIX, Settings
from swift_stvg.sharing import checkpoint as sharing

SENTENCE = "the man in the red coat stands up"
SAMPLE_S, SAMPLE_WH = 20, (1280, 720)
"""Length and size of the clip of the examples."""

_TIMED = "stvg_qwen3"
"""First letters of the templates whose models read times as text."""
_OUTER_PAIR = (
    "transformers 5.12 and later leave one more pair of vision markers around a video than the processor that came "
    "with the model (5.12.0, 5.16.1 and 5.24.0 were read; 4.57.6 to 5.9.0 do not)"
)


_VLLM_TRIED = {
    "stvg_qwen2_vl": f"its texts were those of {sharing.ANSWER} in 8 of 8 clips.",
    "stvg_qwen2_5_vl": f"its texts were those of {sharing.ANSWER} in 8 of 8 clips.",
    "stvg_qwen3_vl": f"its texts were those of {sharing.ANSWER} in 8 of 8 clips.",
    "stvg_qwen3_5": (
        f"its texts were those of {sharing.ANSWER} in 8 of 8 clips, with one kernel of vLLM replaced by plain torch, "
        "because on a CPU its own takes bfloat16 only."
    ),
}
"""Results of vLLM 0.32 on a CPU with random models of an architecture (tests/engines/pushed.py)."""


def usage_sections(name: str, template: str, new: Mapping[str, Any], settings: Settings, adapter: bool) -> list[str]:
    """The sections about using the model, as Markdown.

    Args:
        name: name of the model on the hub.
        template: template of the training.
        new: arguments from `checkpoint.public_args`.
        settings: settings of the training.
        adapter: whether the checkpoint is an adapter.
    """
    parts = ["## Use", _legend(settings), "### With swift_stvg", *_with_plugin(name, template, new, adapter)]
    if settings.style == "ids":
        return [
            *parts,
            "Other ways cannot work: an answer names an object by its number. The tracks of the objects come from a "
            "file, and swift_stvg draws their numbers onto the frames (`STVG_PROPOSALS`).",
        ]
    if template not in BACKBONES:
        return [*parts, "### With ms-swift alone", *_bare(name, new, settings, adapter)]
    return [
        *parts,
        "### With transformers",
        *_with_transformers(template, settings, adapter),
        "### With vLLM",
        *_with_vllm(name, template, new, adapter),
        "### With ms-swift alone",
        *_with_stock(name, template, new, adapter),
    ]


def changed_settings(settings: Settings) -> list[str]:
    """NAME=VALUE of the settings that are not the defaults."""
    defaults = Settings().to_texts()
    return [f"{PREFIX}{n.upper()}={v}" for n, v in settings.to_texts().items() if v != defaults[n]]


def _legend(settings: Settings) -> str:
    index = "a sampled frame, counted from 0" if settings.index_unit == "frame" else "a second"
    unit = (
        "pixels of the frame as the model receives it"
        if settings.coords == "pixel"
        else AnswerFormat.of(settings).extent
    )
    return (
        f"The model sees {settings.fps:g} frames a second, at most {settings.max_frames}, with a longer side of at "
        f"most {settings.max_side} pixels and sides that are multiples of {settings.side_multiple}. The prompt says "
        f"how they are numbered. An index, before a box or in the time, is {index}. Coordinates are {unit}: left, top, "
        "right, bottom. With other frames or another prompt than in training, the model answers worse."
    )


def _with_plugin(name: str, template: str, new: Mapping[str, Any], adapter: bool) -> list[str]:
    return [
        "The plugin gives the model frames as in training, and reads its answers. It takes the settings of the "
        f"training from `{sharing.ARGS}`.",
        _block(
            "bash",
            f"swift infer {_model(name, new, adapter)} --external_plugins swift_stvg --template {template} \\",
            "    --val_dataset stvg_jsonl:clips.jsonl --temperature 0 --max_new_tokens 2048 --result_path result.jsonl",
            "swift-stvg score result.jsonl",
        ),
    ]


def _with_transformers(template: str, settings: Settings, adapter: bool) -> list[str]:
    further = " peft" if adapter else ""
    return [
        f"[{sharing.ANSWER}]({sharing.ANSWER}), beside the weights, asks the model as in training, and prints seconds "
        "and pixels of the video. The model's text is the same as with swift_stvg. A folder of numbered pictures can "
        "take the place of the video.",
        _block(
            "bash",
            f"pip install torch torchvision transformers qwen-vl-utils{further}",
            f'python {sharing.ANSWER} clip.mp4 "{SENTENCE}"',
        ),
        f"{_transformers_versions(template, settings)} {sharing.ANSWER} corrects that. Code of your own that calls "
        "the processor must give `video_metadata` with the times of the frames and `do_sample_frames=False` "
        "(transformers 5 ignores `fps` for Qwen2.5-VL, and takes 24 frames a second), `do_resize=False`, and the "
        f"system prompt of the training, which is `{sharing.OUR_SYSTEM}` in `{sharing.ARGS}`.",
    ]


def _transformers_versions(template: str, settings: Settings) -> str:
    """The versions of transformers with which the model gets the same input as in its training."""
    if template.startswith(_TIMED):
        return f"All versions that were tried give the tokens the positions of the training, but {_OUTER_PAIR}."
    said = (
        "transformers 5.3 to 5.24 place the text after a video among its frames, unlike the model's release and its "
        "training; 4.57.6 to 5.2 do not."
    )
    if template == "stvg_qwen2_5_vl":
        whole = (2 / settings.fps).is_integer()
        clips = f"clips of more than {settings.max_frames / settings.fps:g} s" if whole else "all clips"
        said += (
            " 4.57.6 to 5.17 also cut the seconds of a pair of frames to whole seconds. For this model this concerns "
            f"{clips} ({2 / settings.fps:g} s a pair{' in shorter ones' if whole else ''})."
        )
    return said


def _is_tried(template: str, new: Mapping[str, Any]) -> bool:
    """Whether trials were made with models of this architecture: one that has its template's name."""
    name = template.removeprefix("stvg_")
    return template in _VLLM_TRIED and new.get("model_type", name) == name


def _with_vllm(name: str, template: str, new: Mapping[str, Any], adapter: bool) -> list[str]:
    merge = [f"swift export --adapters {name} --merge_lora true --output_dir merged"] if adapter else []
    timed = template.startswith(_TIMED)
    own = f" The prompt goes along, since {_OUTER_PAIR}, and vLLM does as transformers." if timed else ""
    tried = "This was not tried with models of this kind."
    if _is_tried(template, new):
        tried = f"With random models of this architecture {_VLLM_TRIED[template]}"
    trusted = f"--trust-request-mm-kwargs{' --trust-request-chat-template' * timed}"
    return [
        "Use vLLM 0.31 or later (tried: 0.32, on a CPU). vLLM chooses other frames if it gets a file, so "
        f"{sharing.ENGINES} sends the frames.{own}",
        _block(
            "bash",
            *merge,
            f"vllm serve {'merged' if adapter else name} {trusted}",
            f'python {sharing.ENGINES} clip.mp4 "{SENTENCE}" --server http://127.0.0.1:8000',
        ),
        "In the request, `media_io_kwargs` gives the times of the frames. A `num_frames` of -1 keeps all frames; by "
        "default vLLM keeps 32. `mm_processor_kwargs` keeps the frames unchanged. vLLM accepts it in requests only "
        f"with the option above, which is for clients that you trust; otherwise it answers with an error. {tried}",
        _block(
            "json",
            '{"messages": [..., {"role": "user", "content": [',
            '    {"type": "video_url", "video_url": {"url": "data:video/jpeg;base64,FRAME,FRAME,..."}},',
            '    {"type": "text", "text": "(frames 0 - 39, ...)\\nTHE SENTENCE"}]}],',
            ' "media_io_kwargs": {"video": {"fps": 2.0, "frames_indices": [0, 1, ...], "total_num_frames": 40,',
            '                               "num_frames": -1}},',
            ' "mm_processor_kwargs": {"do_resize": false, "do_sample_frames": false}}',
        ),
    ]


def _with_stock(name: str, template: str, new: Mapping[str, Any], adapter: bool) -> list[str]:
    if new["template"] == template:
        stock, (image, video) = sharing.stock_template(template, None), BACKBONES[template].pixel_ids
        return [
            f"ms-swift's own template {stock} cannot be used without the plugin: it has the ids {image} and {video} of "
            "the tokens for pixels written in, and this model's vocabulary has others. It ends with \"Video features "
            'and video tokens do not match". So `args.json` names the plugin and its template. With the plugin the own '
            f"template runs too: `--external_plugins swift_stvg --template {stock}`. It chooses and resizes frames in "
            "its own way, so answers differ."
        ]
    return [
        "ms-swift loads the model without a plugin too. It chooses other frames if it gets a file. So "
        f"{sharing.ENGINES} writes a film that holds only the frames of the training, and the row.",
        _block(
            "bash",
            f'python {sharing.ENGINES} clip.mp4 "{SENTENCE}" --row frames.mkv > row.jsonl',
            f"swift infer {_model(name, new, adapter)} --val_dataset row.jsonl --temperature 0 --max_new_tokens 2048",
        ),
        _stock_differs(template, new),
    ]


_STOCK_TRIED = {"stvg_qwen2_vl": 4, "stvg_qwen2_5_vl": 0, "stvg_qwen3_vl": 1, "stvg_qwen3_5": 0}
"""Number of 8 clips with the same answer from ms-swift 4.6.0 alone and transformers 5.19.0 (tests/engines/stock.py)."""


def _stock_differs(template: str, new: Mapping[str, Any]) -> str:
    seen = ""
    if _is_tried(template, new):
        seen = (
            f" With ms-swift 4.6.0 and transformers 5.19.0 random models of this kind gave the answer of "
            f"{sharing.ANSWER} for {_STOCK_TRIED[template]} of 8 clips."
        )
    return _why_stock_differs(template) + seen


def _why_stock_differs(template: str) -> str:
    if template.startswith(_TIMED):
        return (
            "Differences: times are those of evenly spaced frames, an odd last frame is repeated, and "
            f"{_OUTER_PAIR}; ms-swift keeps this pair."
        )
    return "The positions of the installed transformers may differ, as above; nothing corrects them in this case."


def _bare(name: str, new: Mapping[str, Any], settings: Settings, adapter: bool) -> list[str]:
    """The section for a template of another package, which has no script."""
    times_s = np.arange(25 * SAMPLE_S) / 25
    question = make_prompt_spec(VideoInfo(Path("clip.mp4"), times_s, float(SAMPLE_S), SAMPLE_WH), settings)
    row = make_prompt(question, SENTENCE, Path("clip.mp4"))
    width, height = question.size_wh
    row["chat_template_kwargs"] = {"fps": settings.fps, "resized_width": width, "resized_height": height}
    return [
        "ms-swift alone loads the model too. It samples frames in its own way, so answers may differ from those with "
        f"the plugin. The prompt for a clip of {SAMPLE_S} s and {SAMPLE_WH[0]} x {SAMPLE_WH[1]} pixels, as a line of "
        "`clips.jsonl`:",
        _block("json", json.dumps(row, ensure_ascii=False)),
        _block("bash", f"swift infer {_model(name, new, adapter)} --val_dataset clips.jsonl --max_new_tokens 2048"),
    ]


def _model(name: str, new: Mapping[str, Any], adapter: bool) -> str:
    return f"--model {new['model']} --adapters {name}" if adapter else f"--model {name}"


def _block(kind: str, *lines: str) -> str:
    return "\n".join([f"```{kind}", *lines, "```"])
