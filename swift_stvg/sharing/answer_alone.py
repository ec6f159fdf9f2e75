"""Ask this model when something happens in a video and where, exactly as in its training.

    python answer.py clip.mp4 "the man in red sits down"            # here, with transformers
    python answer.py clip.mp4 "..." --clip 20 40                    # these seconds of the video only
    python answer.py clip.mp4 "..." --server http://127.0.0.1:8000  # with `vllm serve`
    python answer.py clip.mp4 "..." --row frames.mkv                # a row of data for ms-swift's `swift infer`

It prints the raw answer, then when (seconds of the video) and where (pixels of the video: left, top, right, bottom).
With --json it prints one object. args.json, beside this file, says how the model was asked in training.

    pip install torch torchvision transformers qwen-vl-utils        # and peft, if this folder is an adapter

Tried with transformers 4.57.6 (which cannot read whole models that transformers 5 saved), 5.2.0, 5.16.1 and 5.19.0.
From swift_stvg (Apache-2.0), which need not be installed.
"""

from __future__ import annotations

import argparse
import base64
import io
import itertools
import json
import math
import re
import sys
import urllib.error
import urllib.request
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

HERE = Path(__file__).absolute().parent  # in the cache of a hub this file is a link: the folder of the link is meant
START, PAD, END = "<|vision_start|>", "<|video_pad|>", "<|vision_end|>"
TICKS = 10_000  # in a second, to count times of frames in whole numbers
NUMBER = r"\d+(?:\.\d+)?"
BOX = rf"\s*\[\s*({NUMBER})\s*,\s*({NUMBER})\s*,\s*({NUMBER})\s*,\s*({NUMBER})\s*\]"
FORMS = {
    "tags": (r"<time>\s*(\d+)\s*-\s*(\d+)\s*</time>", r"(\d+)\.", "<pred_bbox>"),
    "span_json": (r'"time":\s*\[\s*(\d+)\s*,\s*(\d+)\s*\]', r'"(\d+)":', '"boxes":'),
    "qwen_json": ("", r'"time":\s*(\d+)(?:\.0)?,[^{}]*?"bbox_2d":', "["),
}
"""Of styles but for those of lines: the time, what is before a box, and where the final boxes begin."""


class Question:
    """What the model sees of a video, and the words that ask it.

    Attributes:
        frames: (T, 3, H, W) uint8, in the size that the model sees; ticks: (T,) their times since the first.
        step_s: nominal seconds between two frames; end_s: when the last frame ends.
        index_s: seconds in the video of each index that an answer may hold.
        size_wh: pixels of the video; scale_wh: largest coordinates of an answer.
        system, before, after: the system prompt, and the user's words before and after the video.
        begins: the words with which every answer begins; style: the form of answers.
    """

    def __init__(self, video: str, sentence: str, record: dict[str, Any], clip_s: Any = None) -> None:
        asked = record["stvg_settings"]
        all_s, self.end_s, numbers = frame_times(video)
        first, last = (0, len(all_s)) if clip_s is None else np.searchsorted(all_s, np.array(clip_s) - 5.01e-4).tolist()
        if first >= last:
            sys.exit(f"no frame of {video} is in the clip: it lasts from {all_s[0]:.2f} to {self.end_s:.2f} s")
        self.end_s = float(all_s[last]) if last < len(all_s) else self.end_s
        all_s = all_s[first:last]
        length_s = self.end_s - all_s[0]
        self.step_s = max(1 / float(asked["fps"]), length_s / int(asked["max_frames"]))
        count = max(1, math.ceil(length_s / self.step_s - 1e-6))
        chosen = np.unique(nearest(all_s, all_s[0] + self.step_s * np.arange(count)))
        self.ticks = [round(t * TICKS) for t in (all_s[chosen] - all_s[0]).tolist()]
        by_frame = asked["index_unit"] == "frame"
        seconds = np.arange(math.floor(all_s[-1] - all_s[0] + 1e-4) + 1)
        self.index_s = all_s[chosen if by_frame else nearest(all_s, all_s[0] + seconds)]
        wanted, sides = set((first + chosen).tolist()), (int(asked["max_side"]), int(asked["side_multiple"]))
        self.frames, self.size_wh = read_frames(video, wanted, numbers, *sides)
        height, width = self.frames.shape[2:]
        extents = {"pixel": (width, height), "source": self.size_wh, "unit": (1, 1)}
        self.scale_wh = extents.get(asked["coords"], (1000, 1000))
        size = f", {self.scale_wh[0]} x {self.scale_wh[1]} pixels" * (asked["coords"] in ("pixel", "source"))
        facts = f"({'frame' if by_frame else 'second'}s 0 - {len(self.index_s) - 1}"
        facts += f", {1 / self.step_s:.4g} per second" * by_frame + f"{size})"
        before = asked["query_first"] == "true"
        self.before = f"{sentence.strip()}\n" if before else ""
        self.after = facts if before else f"{facts}\n{sentence.strip()}"
        self.system, self.begins, self.style = record["stvg_system"], record["stvg_answer_begins"], asked["style"]

    def prompt(self, video: str) -> str:
        """The whole prompt, with the tokens `video` for the video."""
        system = f"<|im_start|>system\n{self.system}<|im_end|>\n" if self.system else ""
        user = f"<|im_start|>user\n{self.before}{video}{self.after}<|im_end|>\n"
        return f"{system}{user}<|im_start|>assistant\n{self.begins}"

    def messages(self, *video: dict[str, Any]) -> list[dict[str, Any]]:
        """The conversation, with the part `video` for the video; without it `<video>` stands in the text."""
        texts = [{"type": "text", "text": text} for text in (self.before, self.after)]
        content: Any = [*texts[: bool(self.before)], *video, texts[1]] if video else f"{self.before}<video>{self.after}"
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": content}]

    def read(self, text: str) -> tuple[list[float] | None, list[dict[str, Any]]]:
        """When, as seconds [begin, end], and a box for each index, of an answer in the form of the training."""
        if self.style in FORMS:
            time, label, start = FORMS[self.style]
            boxes = re.findall(label + BOX, text.partition(start)[2])
            spans = re.findall(time, text) if time else [(boxes[0][0], boxes[-1][0])] * bool(boxes)
        else:
            rows = [re.findall(NUMBER, line) for line in text.splitlines()]
            spans, boxes = [row for row in rows if len(row) == 2], [row for row in rows if len(row) == 5]
        top = len(self.index_s) - 1
        begin, end = (int(index) for index in spans[0]) if spans else (1, 0)
        if begin > min(end, top):
            return None, []
        end = min(end, top)
        # an event lasts half an interval beyond its first and last index, and to the ends of the video from its ends
        middle = (self.index_s[1:] + self.index_s[:-1]) / 2
        span_s = [self.index_s[0] if begin == 0 else middle[begin - 1], self.end_s if end == top else middle[end]]
        found: dict[int, dict[str, Any]] = {}
        scale = np.array(self.size_wh * 2) / np.array(self.scale_wh * 2)
        for label, *sides in boxes:
            index, box = int(label), [float(side) for side in sides]
            if begin <= index <= end and index not in found and box[0] <= box[2] and box[1] <= box[3]:
                xyxy = np.clip(np.array(box) * scale, 0, self.size_wh * 2)
                found[index] = {"time_s": round(float(self.index_s[index]), 3), "xyxy": xyxy.round(2).tolist()}
        return [round(float(t), 3) for t in span_s], [found[index] for index in sorted(found)]


def nearest(times_s: Any, wanted_s: Any) -> Any:
    """Which of the increasing times is nearest to each of the wanted ones; the earlier of two."""
    right = np.clip(np.searchsorted(times_s, wanted_s), min(1, len(times_s) - 1), len(times_s) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(wanted_s - times_s[left] <= times_s[right] - wanted_s + 1e-4, left, right)


def frame_times(video: str) -> tuple[Any, float, dict[Any, int]]:
    """When each frame is shown, when the last one ends, and the frames' numbers by their time stamps, if they have."""
    with av.open(video, metadata_errors="replace") as file:
        stream: Any = file.streams.best("video")
        if stream is None:
            sys.exit(f"{video} holds no picture")
        packets: Any = [p for p in file.demux(stream) if p.size and not p.is_discard and not p.is_corrupt]
        tick_s, rate = float(stream.time_base), float(stream.average_rate or 25)
    lasts = [packet.duration for packet in packets if packet.duration] or [0]
    for kind in ("pts", "dts"):  # some AVI files have the second only: their pictures are shown in order
        stamps = sorted({getattr(packet, kind) for packet in packets} - {None})
        if len(stamps) == len(packets):
            break
    else:
        stamps, tick_s, lasts = list(range(len(packets))), 1 / rate, [1]
    if not stamps:
        sys.exit(f"{video} holds no frame")
    times_s = np.array(stamps) * tick_s
    end_s = times_s[-1] + (lasts[-1] * tick_s or (times_s[-1] - times_s[0]) / max(len(times_s) - 1, 1))
    return times_s, float(end_s), {stamp: number for number, stamp in enumerate(stamps)} if kind == "pts" else {}


def read_frames(video: str, wanted: set[int], numbers: dict[Any, int], max_side: int, multiple: int) -> Any:
    """The wanted frames (T, 3, H, W) in the size of the training, and the video's own size."""
    found: list[torch.Tensor] = []
    with av.open(video, metadata_errors="replace") as file:
        for count, frame in enumerate(file.decode(file.streams.best("video"))):
            if (numbers.get(frame.pts) if numbers else count) in wanted:
                pixels = np.rot90(frame.to_ndarray(format="rgb24"), k=frame.rotation // 90)
                size_wh = pixels.shape[1], pixels.shape[0]
                scale, most = min(1.0, max_side / max(size_wh)), max_side // multiple * multiple
                width, height = (min(most, max(multiple, round(s * scale / multiple) * multiple)) for s in size_wh)
                picture = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].contiguous()
                found.append(resize(picture, [height, width], InterpolationMode.BICUBIC, antialias=True))
                if len(found) == len(wanted):
                    return torch.cat(found), size_wh
    sys.exit(f"{video}: {len(found)} of {len(wanted)} frames could be decoded")


def is_timed(record: dict[str, Any]) -> bool:
    """Whether the model reads the time of each pair of frames as text."""
    return str(record["stvg_template"]).startswith("stvg_qwen3")


def ask_here(question: Question, record: dict[str, Any], base: str | None, most: int) -> str:
    """The answer of the model in this folder: at each place the likeliest token."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    adapter = (HERE / "adapter_config.json").is_file()
    place = (base or record["model"]) if adapter else HERE
    processor, dtype = AutoProcessor.from_pretrained(place), getattr(torch, record.get("torch_dtype", ""), "auto")
    model: Any = AutoModelForImageTextToText.from_pretrained(place, dtype=dtype)
    config, device = model.config, "cuda" if torch.cuda.is_available() else "cpu"
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, HERE)
    model = model.to(device).eval()

    # every frame goes in, in the size that it has
    how = {"do_resize": False, "do_sample_frames": False, "return_tensors": "pt"}
    given = dict(processor.video_processor(videos=[question.frames], **how).to(device))
    pairs, *patches = given["video_grid_thw"][0].tolist()
    height, width = (side // processor.video_processor.merge_size for side in patches)  # tokens of a pair of frames
    if is_timed(record):  # each pair has its time and its markers; no others stand around all
        ticks = [*question.ticks, question.ticks[-1]]  # an odd last frame is shown twice
        middle_s = [(ticks[i] / TICKS + ticks[i + 1] / TICKS) / 2 for i in range(0, 2 * pairs, 2)]
        video = "".join(f"<{time_s:.1f} seconds>{START}{PAD * (height * width)}{END}" for time_s in middle_s)
    else:
        video = START + PAD * (pairs * height * width) + END
    tokenizer = processor.tokenizer
    ids = tokenizer(question.prompt(video), return_tensors="pt", add_special_tokens=False)["input_ids"].to(device)
    pair_s = 2 * question.step_s
    step = pair_s * getattr(config.vision_config, "tokens_per_second", 1 / pair_s)
    places = positions((ids[0] == config.video_token_id).tolist(), height, width, step).to(device)

    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    given |= {"input_ids": ids, "position_ids": places, "attention_mask": torch.ones_like(ids)}
    answer: list[int] = []
    with torch.inference_mode():
        while len(answer) < most:
            out = model(**given, use_cache=True, logits_to_keep=1)
            scores = out.logits[0, -1]
            scores[[config.image_token_id, config.video_token_id]] = -torch.inf  # these stand for pixels
            answer.append(int(scores.argmax()))
            if answer[-1] in ends:
                answer.pop()
                break
            given = {
                "input_ids": ids.new_tensor([[answer[-1]]]),
                "position_ids": places[..., -1:] + len(answer),
                "attention_mask": ids.new_ones(1, ids.shape[1] + len(answer)),
                "past_key_values": out.past_key_values,
            }
    return str(tokenizer.decode(answer))


def positions(pads: list[bool], height: int, width: int, step: float) -> torch.Tensor:
    """Positions (3, 1, L) in time, height and width, as the models were pretrained with.

    Text counts up. Token (i, y, x) of a video that begins at p is at (p + floor(i * step), p + y, p + x). What follows
    goes on after the largest position so far. transformers 5.3 to 5.24 and 4.57 to 5.17 would place tokens of Qwen2-VL
    or Qwen2.5-VL otherwise. Source: transformers 4.49.0.
    """
    parts: list[torch.Tensor] = []
    for pad, group in itertools.groupby(pads):
        begin, count = int(parts[-1].max()) + 1 if parts else 0, len(list(group))
        part = torch.arange(count).expand(3, -1)
        if pad:
            times = torch.tensor([math.floor(i * step + 1e-6) for i in range(count // (height * width))])
            axes = torch.meshgrid(times, torch.arange(height), torch.arange(width), indexing="ij")
            part = torch.stack(axes).reshape(3, -1)
        parts.append(begin + part)
    return torch.cat(parts, dim=1)[:, None]


def ask_server(url: str, question: Question, timed: bool, most: int) -> str:
    """The answer of `vllm serve`, which is sent the frames, when they were, and that they stay as they are."""
    pictures = []
    for frame in question.frames:
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(file := io.BytesIO(), "png")
        pictures.append(base64.b64encode(file.getvalue()).decode())
    indices, fps = list(range(len(pictures))), 1 / question.step_s
    if timed:  # true times, as numbers of frames of a video that has TICKS frames a second
        indices, fps = question.ticks, TICKS
    else:  # the nominal rate, lowered by so little that no position is lost in float32
        fps = 2 / float(np.nextafter(np.float32(2 * question.step_s), np.float32(np.inf)))
    when = {"fps": fps, "frames_indices": indices, "total_num_frames": indices[-1] + 1, "num_frames": -1}
    video = {"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{','.join(pictures)}"}}
    body: dict[str, Any] = {
        "messages": question.messages(video),
        "media_io_kwargs": {"video": when},
        "mm_processor_kwargs": {"do_resize": False, "do_sample_frames": False},
        "bad_words": ["<|image_pad|>", PAD],
        "skip_special_tokens": False,
        "temperature": 0,
        "max_tokens": most,
    }
    if timed:  # the chat template of the model would leave one more pair of markers around the video
        body |= {"chat_template": "{{ prompt }}", "chat_template_kwargs": {"prompt": question.prompt(PAD)}}
    try:
        with urllib.request.urlopen(f"{url}/v1/models") as reply:
            body["model"] = json.load(reply)["data"][0]["id"]
        headers, data = {"Content-Type": "application/json"}, json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/chat/completions", data, headers)) as reply:
            return str(json.load(reply)["choices"][0]["message"]["content"])
    except urllib.error.HTTPError as error:
        sys.exit(f"{url} says {error.code}: {error.read().decode(errors='replace'):.1000}")
    except urllib.error.URLError as error:
        sys.exit(f"{url} cannot be asked: {error.reason}")


def row(question: Question, out: str) -> dict[str, Any]:
    """A row for `swift infer --val_dataset`. The frames go into a video without loss, an even number of them."""
    count, _, height, width = question.frames.shape
    with av.open(out, "w", format="matroska") as file:
        stream: Any = file.add_stream("ffv1", rate=Fraction(1 / question.step_s).limit_denominator(10_000))
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for frame in torch.cat([question.frames, question.frames[-1:]])[: count + count % 2]:
            picture = av.VideoFrame.from_ndarray(frame.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
            file.mux(stream.encode(picture.reformat(format="bgr0")))
        file.mux(stream.encode(None))
    how = {"nframes": count + count % 2, "resized_width": width, "resized_height": height}
    return {"messages": question.messages(), "videos": [out], "chat_template_kwargs": how}


def main() -> None:
    """Ask, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("sentence")
    parser.add_argument("--clip", nargs=2, type=float, metavar=("START", "END"), help="seconds (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--server", metavar="URL", help="of vllm serve, up to the port")
    parser.add_argument("--row", metavar="FILE.mkv", help="print a row; its frames go into this file")
    parser.add_argument("--base", metavar="MODEL", help="of an adapter, if not the one that args.json names")
    parser.add_argument("--max_new_tokens", type=int, default=2048)
    args = parser.parse_args()
    record = json.loads((HERE / "args.json").read_text("utf-8"))
    if "stvg_system" not in record:
        sys.exit(f"{HERE / 'args.json'} does not say how the model was asked in training: swift-stvg card writes it")
    if not args.sentence.strip() or re.search(r"<\||<(video|image|audio|bbox)>", args.sentence):
        sys.exit("the sentence is empty, or holds a word such as <video> or <|im_end|>, which means something else")
    try:
        question = Question(args.video, args.sentence, record, args.clip)
    except (OSError, av.error.FFmpegError) as error:
        sys.exit(f"{args.video} cannot be read: {error}")
    if args.row:
        print(json.dumps(row(question, args.row), ensure_ascii=False))
        return
    if args.server:
        text = ask_server(args.server.rstrip("/"), question, is_timed(record), args.max_new_tokens)
    else:
        text = ask_here(question, record, args.base, args.max_new_tokens)
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
