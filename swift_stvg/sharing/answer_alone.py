"""Ask this model when something happens in a video and where, exactly as in its training.

    python answer.py clip.mp4 "the man in red sits down"            # here, with transformers
    python answer.py clip.mp4 "..." --clip 20 40                    # seconds of the video to look at
    python answer.py clip.mp4 "..." --server http://127.0.0.1:8000  # by `vllm serve`, told which frames these are
    python answer.py clip.mp4 "..." --row frames.mkv                # a row of data for stock `swift infer`

It prints the raw answer, then when (seconds of the file's presentation time) and where (pixels of the video: left, top,
right, bottom); --json prints one object. How the model was asked in training it reads from args.json beside it.

    pip install torch torchvision transformers qwen-vl-utils        # and peft, if this folder is an adapter

Frames are decoded by PyAV, which qwen-vl-utils installs, and resized by torchvision. Tried with transformers 4.57.6
(which cannot read whole models that transformers 5 saved), 5.2.0, 5.16.1 and 5.19.0. It needs no other file of the
package that it comes from, swift_stvg (Apache-2.0).
"""

from __future__ import annotations

import argparse
import base64
import inspect
import io
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

HERE = Path(__file__).absolute().parent  # not of the file that a link leads to, as in a cache of a hub
START, PAD, END = "<|vision_start|>", "<|video_pad|>", "<|vision_end|>"
TICKS = 10_000
"""Per second, in which frames are dated."""
NUMBER = r"\d+(?:\.\d+)?"
BOX = rf"\s*\[\s*({NUMBER})\s*,\s*({NUMBER})\s*,\s*({NUMBER})\s*,\s*({NUMBER})\s*\]"
FORMS = {
    "tags": (r"<time>\s*(\d+)\s*-\s*(\d+)\s*</time>", r"(\d+)\.", "<pred_bbox>"),
    "span_json": (r'"time":\s*\[\s*(\d+)\s*,\s*(\d+)\s*\]', r'"(\d+)":', '"boxes":'),
    "qwen_json": ("", r'"time":\s*(\d+)(?:\.0)?,[^{}]*?"bbox_2d":', "["),
}
"""Of styles but for those of lines: the time, what is before a box, and where the final boxes begin."""


class Question:
    """What the model is shown of a video, and in which words it is asked.

    Attributes:
        frames: (T, 3, H, W) uint8 as the model sees them; ticks: when each was, from the video's first frame on.
        step_s: nominal seconds between two frames.
        index_s: (size,) when each index that an answer may hold is, of the file's presentation time.
        end_s: when the video ends; size_wh: of its pictures in pixels.
        system, before, after: the system prompt, and the user's words before and after the video.
    """

    def __init__(
        self, video: str, sentence: str, record: dict[str, Any], clip_s: tuple[float, float] | None = None
    ) -> None:
        asked = record["stvg_settings"]
        all_s, self.end_s, ticks = frame_times(video)
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
        self.index_s = all_s[chosen]
        by_frame = asked["index_unit"] == "frame"
        if not by_frame:
            self.index_s = all_s[nearest(all_s, all_s[0] + np.arange(math.floor(all_s[-1] - all_s[0] + 1e-4) + 1))]
        self.frames, self.size_wh = read_frames(
            video, first + chosen, ticks, int(asked["max_side"]), int(asked["side_multiple"])
        )
        height, width = self.frames.shape[2:]
        extents = {"pixel": (width, height), "source": self.size_wh, "unit": (1, 1)}
        self.scale_wh = extents.get(asked["coords"], (1000, 1000))
        size = f", {self.scale_wh[0]} x {self.scale_wh[1]} pixels" * (asked["coords"] in ("pixel", "source"))

        facts = f"({'frame' if by_frame else 'second'}s 0 - {len(self.index_s) - 1}"
        facts += f", {1 / self.step_s:.4g} per second" * by_frame + f"{size})"
        first = asked["query_first"] == "true"
        self.before = f"{sentence.strip()}\n" if first else ""
        self.after = facts if first else f"{facts}\n{sentence.strip()}"
        self.system, self.begins, self.style = record["stvg_system"], record["stvg_answer_begins"], asked["style"]

    def prompt(self, video: str) -> str:
        """The whole prompt, with `video` in the place of the video."""
        system = f"<|im_start|>system\n{self.system}<|im_end|>\n" if self.system else ""
        user = f"<|im_start|>user\n{self.before}{video}{self.after}<|im_end|>\n"
        return f"{system}{user}<|im_start|>assistant\n{self.begins}"

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


def frame_times(video: str) -> tuple[Any, float, dict[int, int] | None]:
    """When each frame is shown, when the last one ends, and each frame's number by its time stamp, if it has one."""
    with av.open(video, metadata_errors="replace") as file:
        stream: Any = file.streams.best("video")
        if stream is None:
            sys.exit(f"{video} holds no picture")
        packets: Any = [p for p in file.demux(stream) if p.size and not p.is_discard and not p.is_corrupt]
        tick_s, rate = float(stream.time_base), float(stream.average_rate or 25)
    stamps = {packet.pts for packet in packets} - {None}
    by_pts = len(stamps) == len(packets)
    if not by_pts:  # some AVI files: pictures are shown in order
        stamps = {packet.dts for packet in packets} - {None}
    lasts = [packet.duration for packet in packets if packet.duration] or [0]
    if len(stamps) != len(packets):
        stamps, tick_s, lasts = set(range(len(packets))), 1 / rate, [1]
    if not stamps:
        sys.exit(f"{video} holds no frame")
    ticks = sorted(stamps)
    times_s = np.array(ticks) * tick_s
    end_s = times_s[-1] + (lasts[-1] * tick_s or (times_s[-1] - times_s[0]) / max(len(ticks) - 1, 1))
    return times_s, float(end_s), {tick: number for number, tick in enumerate(ticks)} if by_pts else None


def read_frames(
    video: str, chosen: Any, ticks: dict[int, int] | None, max_side: int, multiple: int
) -> tuple[torch.Tensor, tuple[int, int]]:
    """The chosen frames (T, 3, H, W) at the size of the training, and the video's own size."""
    wanted, found, size_wh = set(chosen.tolist()), [], (0, 0)
    with av.open(video, metadata_errors="replace") as file:
        for count, frame in enumerate(file.decode(file.streams.best("video"))):
            if (count if ticks is None else ticks.get(frame.pts)) in wanted:
                pixels = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), k=frame.rotation // 90))
                size_wh = pixels.shape[1], pixels.shape[0]
                scale, most = min(1.0, max_side / max(size_wh)), max_side // multiple * multiple
                width, height = (min(most, max(multiple, round(s * scale / multiple) * multiple)) for s in size_wh)
                picture = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
                found.append(resize(picture, [height, width], InterpolationMode.BICUBIC, antialias=True))
            if len(found) == len(wanted):
                break
    if len(found) < len(wanted):
        sys.exit(f"{video}: {len(found)} of {len(wanted)} frames could be decoded")
    return torch.cat(found), size_wh


def ask_here(question: Question, record: dict[str, Any], base: str | None, most: int) -> str:
    """The answer of the model in this folder, greedily."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    adapter = (HERE / "adapter_config.json").is_file()
    place = (base or record["model"]) if adapter else HERE
    dtype = getattr(torch, record.get("torch_dtype", ""), "auto")
    processor = AutoProcessor.from_pretrained(place)
    model: Any = AutoModelForImageTextToText.from_pretrained(place, dtype=dtype)
    whole = model
    if adapter:
        from peft import PeftModel

        whole = PeftModel.from_pretrained(model, HERE)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    whole = whole.to(device).eval()

    # the frames go in at the size that they have, all of them
    seen = processor.video_processor(
        videos=[question.frames], do_resize=False, do_sample_frames=False, return_tensors="pt"
    )
    grid, merge = seen["video_grid_thw"][0], processor.video_processor.merge_size
    tokens = PAD * (int(grid[1] * grid[2]) // merge**2)  # of a pair of frames
    timed = model.config.model_type.startswith("qwen3")
    if timed:  # without the further pair of markers around all that transformers >= 5.12 leaves there
        ticks = [*question.ticks, question.ticks[-1]]  # an odd last frame is shown twice
        pairs = [(ticks[i] / TICKS + ticks[i + 1] / TICKS) / 2 for i in range(0, len(question.ticks), 2)]
        video = "".join(f"<{middle_s:.1f} seconds>{START}{tokens}{END}" for middle_s in pairs)
    else:
        video = START + tokens * int(grid[0]) + END
    ids = processor.tokenizer(question.prompt(video), return_tensors="pt", add_special_tokens=False)["input_ids"]
    given = dict(seen) | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "mm_token_type_ids" in inspect.signature(model.forward).parameters:
        given["mm_token_type_ids"] = (ids == model.config.video_token_id) * 2
    asked: list[bool] = []
    if not timed:
        if hasattr(model.config.vision_config, "tokens_per_second"):
            given["second_per_grid_ts"] = [2 * question.step_s]
        mend(model.model, positions(ids[0], grid.tolist(), merge, model.config, 2 * question.step_s), asked)

    given = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in given.items()}
    end = processor.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    pixels = [model.config.image_token_id, model.config.video_token_id]
    with torch.inference_mode():
        made = whole.generate(
            **given,
            max_new_tokens=most,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=end[-1],
            suppress_tokens=pixels,
        )[0, ids.shape[1] :].tolist()
    if not timed and not asked:
        sys.exit("this transformers places tokens in a way that is not known here: take one that the head names")
    return str(processor.tokenizer.decode(made[:-1] if made[-1] in end else made))


def positions(ids: torch.Tensor, grid: list[int], merge: int, config: Any, pair_s: float) -> torch.Tensor:
    """Positions (3, 1, L) in time, height and width as Qwen2-VL and Qwen2.5-VL were pretrained.

    Text counts up. Patch (i, y, x) of a video that begins at p is at (p + i, p + y, p + x), for Qwen2.5-VL with
    floor(i * seconds of a pair of frames * tokens_per_second) in the place of i. What follows goes on after the
    largest position so far. Source: transformers 4.49.0, and vLLM.
    """
    frames = ids == config.video_token_id
    begin, count = int(frames.nonzero()[0]), int(frames.sum())
    step = pair_s * getattr(config.vision_config, "tokens_per_second", 1 / pair_s)
    times = torch.tensor([math.floor(i * step + 1e-6) for i in range(grid[0])])
    axes = times, torch.arange(grid[1] // merge), torch.arange(grid[2] // merge)
    patches = begin + torch.stack(torch.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    after = int(patches.max()) + 1 + torch.arange(len(ids) - begin - count)
    return torch.cat([torch.arange(begin).expand(3, -1), patches, after.expand(3, -1)], dim=1)[:, None]


def mend(model: Any, right: torch.Tensor, asked: list[bool]) -> None:
    """Make a model use these positions, if its own are others.

    transformers 5.3 to 5.24 place the text after a video among its frames, and 4.57 to 5.17 cut the seconds of a pair
    of frames to whole ones.
    """
    theirs = model.get_rope_index

    def get_rope_index(*args: Any, **kwargs: Any) -> Any:
        found, deltas = theirs(*args, **kwargs)
        asked.append(True)
        if not torch.equal(found.cpu(), right):
            print("corrected: the positions that this transformers gives the tokens", file=sys.stderr)
        return right.to(found), deltas + int(right.max()) - found.max()

    model.get_rope_index = get_rope_index


def to_png(frame: torch.Tensor) -> bytes:
    """A frame (3, H, W) as a file."""
    file = io.BytesIO()
    Image.fromarray(frame.permute(1, 2, 0).numpy()).save(file, "png")
    return file.getvalue()


def request(question: Question, timed: bool, most: int) -> dict[str, Any]:
    """What `vllm serve` is sent: the frames themselves, when they were, and that they stay as they are."""
    pictures = ",".join(base64.b64encode(to_png(frame)).decode() for frame in question.frames)
    count = len(question.frames)
    if timed:  # true times, as frame numbers of a video fine enough to tell them apart
        ticks = question.ticks
        when: dict[str, Any] = {"fps": TICKS, "frames_indices": ticks, "total_num_frames": ticks[-1] + 1}
    else:  # the nominal rate, lowered by so little that float32 loses no position
        pair_s = np.nextafter(np.float32(2 * question.step_s), np.float32(np.inf))
        when = {"fps": 2 / float(pair_s), "frames_indices": list(range(count)), "total_num_frames": count}
    content = [
        {"type": "text", "text": question.before},
        {"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{pictures}"}},
        {"type": "text", "text": question.after},
    ]
    system = [{"role": "system", "content": question.system}] if question.system else []
    more: dict[str, Any] = {}
    if timed:  # the model's chat template would leave one more pair of markers around the video
        more = {"chat_template": "{{ prompt }}", "chat_template_kwargs": {"prompt": question.prompt(PAD)}}
    return {
        "messages": [*system, {"role": "user", "content": content[not question.before :]}],
        "media_io_kwargs": {"video": when | {"num_frames": -1}},
        "mm_processor_kwargs": {"do_resize": False, "do_sample_frames": False},
        "bad_words": ["<|image_pad|>", PAD],
        "skip_special_tokens": False,
        "temperature": 0,
        "max_tokens": most,
    } | more


def ask_server(url: str, body: dict[str, Any]) -> str:
    """The answer of `vllm serve`, of its only model."""
    try:
        with urllib.request.urlopen(f"{url}/v1/models") as reply:
            body = {"model": json.load(reply)["data"][0]["id"]} | body
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(asked) as reply:
            return str(json.load(reply)["choices"][0]["message"]["content"])
    except urllib.error.HTTPError as error:
        sys.exit(f"{url} says {error.code}: {error.read().decode(errors='replace'):.1000}")
    except urllib.error.URLError as error:
        sys.exit(f"{url} cannot be reached: {error.reason}")


def row(question: Question, out: str) -> dict[str, Any]:
    """A row for `swift infer --val_dataset`, whose frames are written into a video without loss, an even number."""
    count, _, height, width = question.frames.shape
    with av.open(out, "w", format="matroska") as file:
        stream: Any = file.add_stream("ffv1", rate=Fraction(1 / question.step_s).limit_denominator(10_000))
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for number in range(count + count % 2):
            pixels = question.frames[min(number, count - 1)].permute(1, 2, 0).numpy()
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")))
        file.mux(stream.encode(None))
    system = [{"role": "system", "content": question.system}] if question.system else []
    return {
        "messages": [*system, {"role": "user", "content": f"{question.before}<video>{question.after}"}],
        "videos": [out],
        "chat_template_kwargs": {"nframes": count + count % 2, "resized_width": width, "resized_height": height},
    }


def main() -> None:
    """Ask, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("sentence")
    parser.add_argument(
        "--clip", nargs=2, type=float, metavar=("START", "END"), help="seconds to look at (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--server", metavar="URL", help="of vllm serve, up to the port")
    parser.add_argument("--row", metavar="FILE.mkv", help="print a row, whose frames go there")
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
        timed = record["stvg_template"].startswith("stvg_qwen3")
        text = ask_server(args.server.rstrip("/"), request(question, timed, args.max_new_tokens))
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
