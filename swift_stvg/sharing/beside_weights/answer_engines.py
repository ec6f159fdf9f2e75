"""Asks this model as in its training, through vLLM or ms-swift. answer.py, beside this file, asks transformers.

    python answer_engines.py clip.mp4 "the man in red sits down" --server http://127.0.0.1:8000    # `vllm serve`
    python answer_engines.py clip.mp4 "the man in red sits down" --row frames.mkv    # a row for `swift infer`

README.md says with which options the server starts, and in what ms-swift differs.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
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

sys.path.insert(0, str(Path(__file__).absolute().parent))

from answer import PAD, Question, main

TICKS = 10_000  # in a second, to count times of frames in whole numbers


def messages(question: Question, *video: dict[str, Any]) -> list[dict[str, Any]]:
    """The conversation, with the part `video` for the video; without it `<video>` stands in the text."""
    texts = [{"type": "text", "text": text} for text in (question.before, question.after)]
    content: Any = f"{question.before}<video>{question.after}"
    if video:
        content = [*texts[: bool(question.before)], *video, texts[1]]
    prompt = question.record["stvg_system"]
    system = [{"role": "system", "content": prompt}] if prompt else []
    return [*system, {"role": "user", "content": content}]


def request(question: Question, most: int) -> dict[str, Any]:
    """The request to `vllm serve`: the frames, when they were, and that they stay as they are."""
    pictures, clip = [], question.clip
    for frame in clip.frames:
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(file := io.BytesIO(), "png")
        pictures.append(base64.b64encode(file.getvalue()).decode())
    # the nominal rate, lowered by so little that no position is lost in float32
    indices, fps = list(range(len(pictures))), 2 / float(np.nextafter(np.float32(2 * clip.step_s), np.float32(np.inf)))
    if question.timed:  # true times, as numbers of frames of a video that has TICKS frames a second
        indices, fps = [round(time_s * TICKS) for time_s in clip.times_s.tolist()], TICKS
    when = {"fps": fps, "frames_indices": indices, "total_num_frames": indices[-1] + 1, "num_frames": -1}
    video = {"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{','.join(pictures)}"}}
    body: dict[str, Any] = {
        "messages": messages(question, video),
        "media_io_kwargs": {"video": when},
        "mm_processor_kwargs": {"do_resize": False, "do_sample_frames": False},
        "bad_words": ["<|image_pad|>", PAD],
        "skip_special_tokens": False,
        "temperature": 0,
        "max_tokens": most,
    }
    if question.timed:  # the chat template of the model would leave one more pair of markers around the video
        body |= {"chat_template": "{{ prompt }}", "chat_template_kwargs": {"prompt": question.prompt(PAD)}}
    return body


def ask_server(url: str, question: Question, most: int) -> str:
    """The answer of a server."""
    body = request(question, most)
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
    frames = question.clip.frames
    count, _, height, width = frames.shape
    with av.open(out, "w", format="matroska") as file:
        stream: Any = file.add_stream("ffv1", rate=Fraction(1 / question.clip.step_s).limit_denominator(10_000))
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for frame in torch.cat([frames, frames[-1:]])[: count + count % 2]:
            picture = av.VideoFrame.from_ndarray(frame.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
            file.mux(stream.encode(picture.reformat(format="bgr0")))
        file.mux(stream.encode(None))
    how = {"nframes": count + count % 2, "resized_width": width, "resized_height": height}
    return {"messages": messages(question), "videos": [out], "chat_template_kwargs": how}


def ask(question: Question, args: argparse.Namespace) -> str | None:
    """The answer of the server; None if a row is wanted, which is printed."""
    if args.row:
        print(json.dumps(row(question, args.row), ensure_ascii=False))
        return None
    if not args.server:
        sys.exit("give --server URL or --row FILE.mkv")
    return ask_server(args.server.rstrip("/"), question, args.max_new_tokens)


if __name__ == "__main__":
    server = {"metavar": "URL", "help": "of vllm serve, up to the port"}
    main(ask, __doc__, server=server, row={"metavar": "FILE.mkv", "help": "print a row; its frames go into this file"})
