"""zero.py FOLDER [CASE ...]: compare trainings on CPUs with DeepSpeed's ZeRO-1, 2 and 3 or torch's FSDP2, and without.

    python -m venv ENV && ENV/bin/pip install -c constraints.txt -e '.[dev]'
    ENV/bin/pip install wheel setuptools hjson ninja py-cpuinfo msgpack
    DS_BUILD_OPS=0 DS_ACCELERATOR=cpu ENV/bin/pip install --no-deps --no-build-isolation deepspeed==0.19.8
    ENV/bin/python tests/engines/zero.py FOLDER

A tiny Qwen2.5-VL is trained for three steps from the same seed: SFT and GRPO, all weights with the vision tower, and
LoRA, in one and in two processes that talk over gloo. Cases are names such as `sft-full-2-zero3`; all by default. Then
a checkpoint of ZeRO-3, and one of FSDP2 (configs/fsdp2.json), answers. A training goes on from it, and is compared with
the one that was not stopped. Ends with 1 if a run fails or its losses are others. DeepSpeed runs in bfloat16: with
float32 ms-swift asks for fp16, which DeepSpeed's CPU accelerator refuses. FSDP2 runs in float32 (shard.py), and needs
no DeepSpeed. DeepSpeed compiles an operator in its first run, which takes a minute or two and a C++ compiler.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import re
import shutil
import socket
import sys
from importlib import import_module
from importlib.metadata import version
from itertools import product
from pathlib import Path

from tests.running import TRAIN, as_words, json_lines

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PLUGINS = (ROOT / "swift_stvg/plugin/swift_stvg_plugin.py", HERE / "shard.py", HERE / "unequal.py")
AGAINST = {"none": "none", "zero1": "none", "zero2": "none", "zero3": "none", "none32": "none32", "fsdp2": "none32"}
"""Engines, each with the run without an engine to compare it with."""
KINDS = ("sft-full", "sft-lora", "grpo-full", "grpo-lora")
CLOSE = 0.01
"""Share by which losses of SFT may differ: DeepSpeed keeps weights in float32 beside those in bfloat16."""
COMMON = TRAIN | {
    "torch_dtype": "bfloat16",
    "dataset": "stvg_synthetic:train#12",
    "max_steps": "3",
    "save_steps": "1",
    "dataloader_num_workers": "0",
    "learning_rate": "1e-4",
    "per_device_train_batch_size": "2",
    "gradient_accumulation_steps": "1",
    "seed": "7",
}
GRPO = {
    "rlhf_type": "grpo",
    "reward_funcs": "unequal stvg_format stvg_spatial",
    "num_generations": "2",
    "max_completion_length": "16",
}
LORA = {"tuner_type": "lora", "target_modules": "all-linear", "freeze_vit": "true", "freeze_aligner": "true"}


def work(command: str, words: list[str], env: dict[str, str], log: Path) -> None:
    """The work of a process: the same as `swift COMMAND`."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.environ.update(env)
    from swift.pipelines import infer_main, rlhf_main, sft_main

    {"sft": sft_main, "rlhf": rlhf_main, "infer": infer_main}[command](words)


def run(command: str, options: dict[str, str], processes: int, env: dict[str, str], log: Path) -> str:
    """Run a command in several processes, as torchrun does. Returns "", or the end of the log if a process failed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    plugins = [*PLUGINS, HERE / "meet.py"] if "deepspeed" in options else PLUGINS
    words = ["--external_plugins", *map(str, plugins), *as_words(options)]
    fork = multiprocessing.get_context("fork")
    children = []
    for rank in range(processes):
        own = env | {"ANSWERS": f"{log}.{rank}.answers", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        own |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        own |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
        child = fork.Process(target=work, args=(command, words, own, Path(f"{log}.{rank}")))
        child.start()
        children.append(child)
    for child in children:
        child.join(600)
    for child in children:  # one that waits for another which has ended
        if child.is_alive():
            child.kill()
            child.join()
    failed = [rank for rank, child in enumerate(children) if child.exitcode != 0]
    return Path(f"{log}.{failed[0]}").read_text()[-2000:] if failed else ""


def options_of(case: str, folder: Path) -> tuple[str, dict[str, str], int]:
    """Command, options and processes of a case."""
    algorithm, weights, processes, engine = case.split("-")
    options = COMMON | {"model": str(folder / "tiny"), "output_dir": str(folder / case)}
    if weights == "lora":
        options |= LORA
    if algorithm == "grpo":
        options |= GRPO
    if engine.startswith("zero"):
        options |= {"deepspeed": engine}
    if AGAINST[engine] == "none32":
        options |= {"torch_dtype": "float32"}
    if engine == "fsdp2":
        options |= {"fsdp": str(ROOT / "configs/fsdp2.json"), "gradient_checkpointing": "false"}
    if processes == "2":
        options |= {"ddp_backend": "gloo"}
    return {"sft": "sft", "grpo": "rlhf"}[algorithm], options, int(processes)


def numbers_of(folder: Path, algorithm: str) -> list[float]:
    """Losses of SFT or rewards of GRPO of the steps."""
    name = "loss" if algorithm == "sft" else "reward"
    return [float(line[name]) for line in json_lines(folder / "logging.jsonl") if name in line and "grad_norm" in line]


def alike(found: list[float], expected: list[float], algorithm: str) -> bool:
    """Whether a run's numbers equal those without an engine. For GRPO, whether there are three numbers: GRPO samples
    tokens, and other rounding gives other tokens.
    """
    finite = len(found) == 3 and all(map(math.isfinite, found))
    compared = zip(found, expected, strict=False) if algorithm == "sft" else ()
    return finite and all(abs(a - b) <= CLOSE * abs(b) for a, b in compared)


def halved(folder: Path, case: str, processes: int) -> bool:
    """Whether each process has held its share of the weights, as shard.py prints it."""
    said = [Path(f"{folder / case}.log.{rank}").read_text() for rank in range(processes)]
    shares = [[int(n) for n in re.findall(r"FSDP2 holds (\d+) of (\d+)", text)[-1]] for text in said]
    return all(abs(held * processes - whole) < 0.01 * whole for held, whole in shares)


def goes_on(folder: Path, case: str, env: dict[str, str]) -> dict[str, object]:
    """Whether the checkpoint after the second step leads to the same third step, and answers."""
    command, options, processes = options_of(case, folder)
    begun = folder / case / "checkpoint-2"
    infer = {name: options[name] for name in ("model_type", "template", "torch_dtype")}
    infer |= {"model": str(begun), "val_dataset": "stvg_synthetic:train#2", "max_new_tokens": "8"}
    report: dict[str, object] = {"checkpoint of": case}
    answers = folder / f"{case}.jsonl"
    answers.unlink(missing_ok=True)
    error = run("infer", infer | {"result_path": str(answers)}, 1, env, folder / f"{case}-infer.log")
    report["answers"] = 0 if error else len(json_lines(answers))
    options |= {"model": str(begun), "resume_from_checkpoint": str(begun)}
    options |= {"output_dir": str(folder / f"{case}-resumed")}
    error = error or run(command, options, processes, env, folder / f"{case}-resumed.log")
    whole = numbers_of(folder / case, "sft")[-1]
    resumed = math.nan if error else numbers_of(folder / f"{case}-resumed", "sft")[-1]
    good = not error and report["answers"] == 2 and abs(resumed - whole) <= CLOSE * whole
    return report | {"third loss, whole and resumed": [whole, resumed], "good": good, "error": error[-600:]}


def main() -> int:
    from swift_stvg.cli import main as command
    from swift_stvg.synthetic.tiny import TinyConfig, build

    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "tiny").exists():
        build(folder / "tiny", TinyConfig())
        command(["synth", str(folder / "stvg_synthetic"), "--split", "train=12", "--duration-s", "4"])
    import_module("swift.pipelines")  # before processes are forked
    print(json.dumps({name: version(name) for name in ("ms-swift", "torch", "transformers")}), flush=True)
    env = {
        "DS_ACCELERATOR": "cpu",
        "TORCH_EXTENSIONS_DIR": str(folder / "extensions"),
        "STVG_DATA_ROOT": str(folder),
        "STVG_MAX_SIDE": "56",
        "OMP_NUM_THREADS": "1",
    }
    cases = sys.argv[2:] or [
        f"{kind}-{n}-{engine}"
        for n, kind, engine in product((1, 2), KINDS, AGAINST)
        if AGAINST[engine] == "none" or n == 2  # one process has nothing to shard
    ]
    expected: dict[str, list[float]] = {}
    failed = 0
    for case in cases:
        shutil.rmtree(folder / case, ignore_errors=True)
        algorithm, engine = case.split("-")[0], case.split("-")[3]
        name, options, processes = options_of(case, folder)
        error = run(name, options, processes, env, folder / f"{case}.log")
        found = [] if error else numbers_of(folder / case, algorithm)
        expected[case] = found
        without = case.removesuffix(engine) + AGAINST[engine]
        good = not error and alike(found, expected.get(without, found), algorithm)
        if engine == "fsdp2":
            good = good and halved(folder, case, processes)
        print(json.dumps({"case": case, "good": good, "numbers": found, "error": error[-600:]}), flush=True)
        failed += not good
    for case in ("sft-full-1-zero3", "sft-full-2-zero3", "sft-full-2-fsdp2"):
        if case in cases:
            report = goes_on(folder, case, env)
            print(json.dumps(report), flush=True)
            failed += not report["good"]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
