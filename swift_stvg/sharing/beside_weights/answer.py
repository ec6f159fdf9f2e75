"""Ask this model when something happens in a video and where, exactly as in its training.

    python answer.py clip.mp4 "the man in red sits down"
    python answer.py clip.mp4 "the man in red sits down" --clip 20 40    # these seconds of the video only
    python answer.py frames/ "the man in red sits down" --folder_fps 25  # a folder of numbered pictures

It prints the raw answer, then when (seconds of the video) and where (pixels of the video: left, top, right, bottom).
With --json it prints one object. args.json, beside this file, says how the model was asked in training.
answer_video.py chooses the frames. answer_engines.py asks through vLLM or ms-swift.

    pip install torch torchvision transformers qwen-vl-utils    # and peft, if this folder is an adapter

Tried with transformers 4.57.6 (which cannot read whole models that transformers 5 saved), 5.2.0, 5.16.1 and 5.19.0.
From swift_stvg (Apache-2.0), which need not be installed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).absolute().parent))  # in the cache of a hub this file is a link to elsewhere

from answer_video import Clip, open_clip

HERE = Path(__file__).absolute().parent
START, PAD, END = "<|vision_start|>", "<|video_pad|>", "<|vision_end|>"
FOUR = r"\s*,\s*".join([r"(\d+(?:\.\d+)?)"] * 4)
FORMS = {
    "tags": (r"<time>\s*(\d+)\s*-\s*(\d+)\s*</time>", "<pred_bbox>", rf"(\d+)\.\s*\[\s*{FOUR}\s*\]"),
    "csv": (r"(?m)^(\d+)\s*,\s*(\d+)\s*$", "\n", rf"(?m)^(\d+)\s*,\s*{FOUR}\s*$"),
    "fig8": (r"(?m)^(\d+)-(\d+)\s*$", "\n", rf"(?m)^(\d+)\s*,\s*{FOUR}\s*$"),
    "span_json": (r'"time":\s*\[\s*(\d+)\s*,\s*(\d+)\s*\]', '"boxes":', rf'"(\d+)":\s*\[\s*{FOUR}\s*\]'),
    "qwen_json": ("", "[", rf'"time":\s*(\d+)(?:\.0)?,[^{{}}]*?"bbox_2d":\s*\[\s*{FOUR}\s*\]'),
}
"""Styles of answers: the first and the last index, what the final boxes follow, and a box with its index."""


class Question:
    """A sentence about a clip, as the model was asked in training; `record` is args.json."""

    def __init__(self, clip: Clip, sentence: str, record: dict[str, Any]) -> None:
        self.clip, self.record, asked = clip, record, record["stvg_settings"]
        by_frame = asked["index_unit"] == "frame"
        rate = f", {1 / clip.step_s:.4g} per second" * by_frame
        extents = {"pixel": clip.frames.shape[:1:-1], "source": clip.size_wh, "unit": (1, 1)}
        self.scale_wh = extents.get(asked["coords"], (1000, 1000))  # the largest coordinates of an answer
        size = f", {self.scale_wh[0]} x {self.scale_wh[1]} pixels" * (asked["coords"] in ("pixel", "source"))
        facts = f"({'frame' if by_frame else 'second'}s 0 - {len(clip.index_s) - 1}{rate}{size})"
        self.timed = record["stvg_template"].startswith("stvg_qwen3")  # each pair of frames has its time as text
        self.before, self.after = "", f"{facts}\n{sentence.strip()}"  # the user's words around the video
        if asked["query_first"] == "true":
            self.before, self.after = f"{sentence.strip()}\n", facts

    def prompt(self, video: str) -> str:
        """The whole prompt, with the tokens `video` for the video."""
        system = self.record["stvg_system"]
        return (
            f"<|im_start|>system\n{system}<|im_end|>\n" * bool(system)
            + f"<|im_start|>user\n{self.before}{video}{self.after}<|im_end|>\n"
            + f"<|im_start|>assistant\n{self.record['stvg_answer_begins']}"
        )

    def read(self, text: str) -> tuple[list[float] | None, list[dict[str, Any]]]:
        """When, as seconds [begin, end], and a box for each index, of an answer in the form of the training."""
        span, start, box = FORMS[self.record["stvg_settings"]["style"]]
        boxes = re.findall(box, text.partition(start)[2])
        spans = re.findall(span, text) if span else [(boxes[0][0], boxes[-1][0])] * bool(boxes)
        begin, end = map(int, spans[0]) if spans else (1, 0)
        end = min(end, len(self.clip.index_s) - 1)
        if begin > end:
            return None, []
        found: dict[int, dict[str, Any]] = {}
        scale = np.array(self.clip.size_wh * 2) / np.array(self.scale_wh * 2)
        for number, *texts in boxes:
            index, sides = int(number), [float(text) for text in texts]
            if begin <= index <= end and index not in found and sides[0] <= sides[2] and sides[1] <= sides[3]:
                xyxy = np.clip(np.array(sides) * scale, 0, self.clip.size_wh * 2).round(2).tolist()
                found[index] = {"time_s": round(float(self.clip.index_s[index]), 3), "xyxy": xyxy}
        return self.clip.span_s(begin, end), [found[index] for index in sorted(found)]


def load(record: dict[str, Any], base: str | None) -> tuple[Any, Any]:
    """The model of this folder, and what prepares its input."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    adapter = (HERE / "adapter_config.json").is_file()
    place = (base or record["model"]) if adapter else HERE
    dtype = getattr(torch, record.get("torch_dtype", ""), "auto")
    model: Any = AutoModelForImageTextToText.from_pretrained(place, dtype=dtype)
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, HERE)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), AutoProcessor.from_pretrained(place)


def inputs(question: Question, config: Any, processor: Any) -> dict[str, torch.Tensor]:
    """Pixels, tokens and positions of the prompt. Every frame goes in, in the size that it has."""
    clip, how = question.clip, {"do_resize": False, "do_sample_frames": False, "return_tensors": "pt"}
    given = dict(processor.video_processor(videos=[clip.frames], **how))
    pairs, *patches = given["video_grid_thw"][0].tolist()
    height, width = (side // processor.video_processor.merge_size for side in patches)  # tokens of a pair of frames
    if question.timed:  # each pair has markers of its own; no others stand around all
        times_s = np.append(clip.times_s, clip.times_s[-1])  # an odd last frame is shown twice
        middle_s = [(times_s[i] + times_s[i + 1]) / 2 for i in range(0, 2 * pairs, 2)]
        video = "".join(f"<{time_s:.1f} seconds>{START}{PAD * (height * width)}{END}" for time_s in middle_s)
    else:
        video = START + PAD * (pairs * height * width) + END
    ids = processor.tokenizer(question.prompt(video), return_tensors="pt", add_special_tokens=False)["input_ids"]
    pair_s = 2 * clip.step_s
    step = pair_s * getattr(config.vision_config, "tokens_per_second", 1 / pair_s)
    places = positions((ids[0] == config.video_token_id).tolist(), height, width, step)
    return given | {"input_ids": ids, "position_ids": places, "attention_mask": torch.ones_like(ids)}


def positions(pads: list[bool], height: int, width: int, step: float) -> torch.Tensor:
    """Positions (3, 1, L) in time, height and width, as the models were pretrained with.

    Text counts up. Token (i, y, x) of a video that begins at p is at (p + floor(i * step), p + y, p + x). What follows
    goes on after the largest position so far. transformers 5.3 to 5.24 and 4.57 to 5.17 would place tokens of Qwen2-VL
    or Qwen2.5-VL otherwise. Source: transformers 4.49.0.
    """
    parts, begin = [], 0
    for pad, group in itertools.groupby(pads):
        n = torch.arange(len(list(group)))
        pair, token = n // (height * width), n % (height * width)
        video = [(pair.double() * step + 1e-6).long(), token // width, token % width]
        parts.append(begin + torch.stack(video if pad else [n, n, n]))
        begin = int(parts[-1].max()) + 1
    return torch.cat(parts, dim=1)[:, None]


def generate(model: Any, given: dict[str, Any], ends: list[int], most: int) -> list[int]:
    """The likeliest token at each place, up to one of `ends`, `most` at most."""
    length, place, answer = given["input_ids"].shape[1], given["position_ids"][..., -1:], list[int]()
    while len(answer) < most:
        out = model(**given, use_cache=True, logits_to_keep=1)
        scores = out.logits[0, -1]
        scores[[model.config.image_token_id, model.config.video_token_id]] = -torch.inf  # these stand for pixels
        token = scores.argmax()
        if int(token) in ends:
            break
        answer.append(int(token))
        given = {
            "input_ids": token.reshape(1, 1),
            "position_ids": place + len(answer),
            "attention_mask": token.new_ones(1, length + len(answer)),
            "past_key_values": out.past_key_values,
        }
    return answer


def ask_here(question: Question, args: argparse.Namespace) -> str:
    """The answer of the model in this folder."""
    model, processor = load(question.record, args.base)
    given = {name: tensor.to(model.device) for name, tensor in inputs(question, model.config, processor).items()}
    ends = processor.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    with torch.inference_mode():
        answer = generate(model, given, ends, args.max_new_tokens)
    return str(processor.tokenizer.decode(answer))


def question_of(args: argparse.Namespace) -> Question:
    """What the command line asks."""
    record = json.loads((HERE / "args.json").read_text("utf-8"))
    if "stvg_system" not in record:
        sys.exit(f"{HERE / 'args.json'} does not say how the model was asked in training: swift-stvg card writes it")
    if not args.sentence.strip() or re.search(r"<\||<(video|image|audio|bbox)>", args.sentence):
        sys.exit("the sentence is empty, or holds a word such as <video> or <|im_end|>, which means something else")
    clip = open_clip(args.video, record["stvg_settings"], args.clip, args.folder_fps)
    return Question(clip, args.sentence, record)


def main(ask: Callable[..., str | None] = ask_here, about: str | None = __doc__, **options: dict[str, Any]) -> None:
    """Ask with `ask`, and print the answer, if there is one."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("sentence")
    parser.add_argument("--clip", nargs=2, type=float, metavar=("START", "END"), help="seconds (default: all)")
    parser.add_argument("--folder_fps", type=float, default=25.0, help="pictures a second of a folder (default: 25)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--max_new_tokens", type=int, default=2048)
    for name, how in (options or {"base": {"help": "model of an adapter, if not the one in args.json"}}).items():
        parser.add_argument(f"--{name}", **how)
    args = parser.parse_args()
    question = question_of(args)
    if (text := ask(question, args)) is None:
        return
    span_s, boxes = question.read(text)
    if args.json:
        print(json.dumps({"response": text, "span_s": span_s, "boxes": boxes}, ensure_ascii=False))
        return
    print(text)
    print("no time can be read" if span_s is None else f"{span_s[0]:.2f} to {span_s[1]:.2f} s")
    for box in boxes:
        print(f"{box['time_s']:.2f} s: {box['xyxy']}")


if __name__ == "__main__":
    main()
