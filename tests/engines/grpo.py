"""grpo.py FOLDER [MODE ...]: GRPO of a tiny Qwen2.5-VL with vLLM's rollouts, colocated and from `swift rollout`.

It makes three steps on a CPU with weights that change, in float32. It ends with status 1 if a reward or loss is not
finite, if vLLM's log-probabilities differ from the trainer's (they agree only if each step's weights arrive), or if an
answer holds a placeholder token for pixels. vLLM must not write these two tokens; in the trainer they have the
probability that a random model gives any token. Log-probabilities differ by that share, and may differ by twice as
much. Run it in the environment that make.sh builds; cpu.py says what it replaces.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.running import TRAIN, as_words, json_lines

HERE = Path(__file__).parent
PORT = "8432"
PLUGIN = HERE.parents[1] / "swift_stvg/plugin/swift_stvg_plugin.py"
PLUGINS = (PLUGIN, HERE / "cpu.py", HERE / "unequal.py")
OPTIONS = TRAIN | {
    "rlhf_type": "grpo",
    "dataset": "stvg_synthetic:train#8",
    "reward_funcs": "unequal stvg_format stvg_spatial",
    "num_generations": "2",
    "per_device_train_batch_size": "2",
    "max_steps": "3",
    "save_strategy": "no",
    "learning_rate": "1e-3",
    "max_completion_length": "16",
    "beta": "0",
    "dataloader_num_workers": "0",
    "use_vllm": "true",
    "log_rollout_offpolicy_metrics": "true",
}
VLLM = {"vllm_max_model_len": "1024", "vllm_enforce_eager": "true"}


def words_of(command: str, options: dict[str, str]) -> list[str]:
    plugins = ["--external_plugins", *map(str, PLUGINS)]
    return [sys.executable, "-m", "swift.cli.main", command, *plugins, *as_words(options)]


def run(words: list[str], env: dict[str, str], log: Path) -> None:
    """Run a command; an error status is an error."""
    with log.open("w") as file:
        done = subprocess.run(words, env=env, stdout=file, stderr=file)
    if done.returncode:
        sys.exit(f"{log} ends with:\n{log.read_text()[-3000:]}")


def serve(model: Path, env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start `swift rollout` of the model, and wait until it answers."""
    names = ("model_type", "template", "torch_dtype")
    options = {name: TRAIN[name] for name in names} | VLLM | {"model": str(model), "host": "127.0.0.1", "port": PORT}
    with log.open("w") as file:
        words = words_of("rollout", options)
        server = subprocess.Popen(words, env=env, stdout=file, stderr=file, start_new_session=True)
    for _ in range(600):
        time.sleep(1)
        if server.poll() is not None:
            sys.exit(f"{log} ends with:\n{log.read_text()[-3000:]}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health/", timeout=5).close()
        except (urllib.error.URLError, OSError):
            continue
        return server
    os.killpg(server.pid, signal.SIGTERM)
    sys.exit(f"the server is not up after ten minutes; see {log}")


def main() -> int:
    folder, wanted = Path(sys.argv[1]).resolve(), sys.argv[2:] or ["colocate", "server"]
    from swift_stvg.cli import main as command
    from swift_stvg.synthetic.tiny import TinyConfig, build
    from tests.asked import sensitive

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "tiny").exists():
        build(folder / "tiny", TinyConfig())
        sensitive(folder / "tiny")
        command(["synth", str(folder / "stvg_synthetic"), "--split", "train=8", "--duration-s", "4"])
    config = json.loads((folder / "tiny/config.json").read_text())
    pixels = {config["image_token_id"], config["video_token_id"]}
    largest = 2 * len(pixels) / config["text_config"]["vocab_size"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
    env |= {"STVG_DATA_ROOT": str(folder), "STVG_MAX_SIDE": "56", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    failed = 0
    for mode in wanted:
        answers = folder / f"{mode}.answers"
        answers.unlink(missing_ok=True)
        out = folder / mode
        how = {"vllm_mode": mode, "output_dir": str(out), "model": str(folder / "tiny")}
        how |= VLLM if mode == "colocate" else {"vllm_server_host": "127.0.0.1", "vllm_server_port": PORT}
        server = None if mode == "colocate" else serve(folder / "tiny", env, folder / "rollout.log")
        try:
            run(words_of("rlhf", OPTIONS | how), env | {"ANSWERS": str(answers)}, folder / f"{mode}.log")
        finally:
            if server is not None:
                os.killpg(server.pid, signal.SIGTERM)  # `swift` starts other processes
                server.wait(60)
        report = judged(
            [line for line in json_lines(out / "logging.jsonl") if "loss" in line], answers, pixels, largest
        )
        print(json.dumps({"mode": mode} | report), flush=True)
        failed += not report["good"]
    return 1 if failed else 0


def judged(steps: list[dict[str, Any]], answers: Path, pixels: set[int], largest: float) -> dict[str, Any]:
    """The values of three steps, and whether they are right; gaps are roots of mean squares."""
    rewards = [step["reward"] for step in steps]
    finite = all(math.isfinite(step[name]) for step in steps for name in step if name.startswith(("reward", "loss")))
    gaps = [math.sqrt(2 * max(step["rollout_correction/k3_kl"], 0)) for step in steps]
    held = sum(token in pixels for line in json_lines(answers) for token in line)
    good = len(steps) == 3 and finite and max(gaps) < largest and not held
    return {"good": good, "rewards": rewards, "gaps of log-probabilities": gaps, "placeholders": held}


if __name__ == "__main__":
    sys.exit(main())
