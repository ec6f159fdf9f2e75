"""stock.py FOLDER [ARCHITECTURE ...]: what ms-swift alone answers to the rows that answer_engines.py makes.

FOLDER is that of pushed.py, which left the texts of answer.py there. Nothing of swift_stvg is imported. Prints a line
for each clip; what differs is a fact of the installed transformers, not an error.
"""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import sys
from functools import partial
from pathlib import Path

import transformers
from swift.infer_engine import InferRequest, RequestConfig, TransformersEngine


def row_of(words: list[str]) -> dict:
    """What answer_engines.py prints with --row."""
    sys.argv, said = words, io.StringIO()
    for name in ("answer", "answer_video"):  # of the folder before
        sys.modules.pop(name, None)
    with contextlib.redirect_stdout(said):
        runpy.run_path(words[0], run_name="__main__")
    return json.loads(said.getvalue())


def without(generate, unwanted: list[int], *args, generation_config, **kwargs):
    """Generate without tokens that stand for pixels."""
    generation_config.suppress_tokens = unwanted
    return generate(*args, generation_config=generation_config, **kwargs)


def main() -> None:
    root = Path(sys.argv[1])
    for architecture in sys.argv[2:] or ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5"):
        asked = json.loads((root / f"{architecture}.json").read_text())
        config = json.loads((root / architecture / "config.json").read_text())
        record = json.loads((root / f"{architecture}-0" / "args.json").read_text())
        pixels = [config["image_token_id"], config["video_token_id"]]
        kinds = {"model_type": architecture, "template_type": architecture, "torch_dtype": "float32"}
        engine = TransformersEngine(str(root / f"{architecture}-0"), **kinds)  # as card left it
        # a tiny model has other ids for these tokens than the templates, whose classes hold numbers
        engine.template.image_token_id, engine.template.video_token_id = pixels
        generate = engine.template.generate
        # which no trained model writes, and random ones do
        engine.template.generate = partial(without, generate, pixels)
        for number, case in enumerate(asked):
            row = row_of([*case["words"], "--row", str(root / f"{architecture}-{number}.mkv")])
            wanted = RequestConfig(max_tokens=case["tokens"], temperature=0)
            text = engine.infer([InferRequest(**row)], wanted, use_tqdm=False)[0].choices[0].message.content
            text = text.removeprefix(record["stvg_answer_begins"])  # ms-swift prints an empty thought, too
            same = text == case["response"]
            line = {"transformers": transformers.__version__, "architecture": architecture, "case": case["title"]}
            line |= {"same": same} if same else {"same": same, "text": text, "expected": case["response"]}
            print("STOCK", json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
