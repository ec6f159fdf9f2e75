"""Compare an inference engine with the trained model itself: prompts, texts and log-probabilities.

The engine runs in a process of its own, so that its memory is free again when the model is loaded for comparison:

    python -m swift_stvg.adapters.parity QUESTIONS.json ANSWERS.json
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from swift_stvg.adapters.engine import start_pipeline, swift_arguments
from swift_stvg.errors import DataError
from swift_stvg.serving.engines import Row

CLOSE = {"float32": 1e-3}
OTHERWISE_CLOSE = 0.1
"""Largest difference of a log-probability that rounding explains: by type of the weights, and for all other types."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The engine's prompt and answer for a row.

    Attributes:
        prompt: token ids of the engine's prompt, pixels included.
        trained: token ids of the prompt in training.
        tokens: token ids of the answer. If any prompt of the run differs, nothing is generated, and this is empty.
        logprobs: natural logarithms of the tokens' probabilities, as the engine gives them.
        text: the answer.
    """

    prompt: list[int]
    trained: list[int]
    tokens: list[int]
    logprobs: list[float]
    text: str


@dataclass(frozen=True, slots=True)
class Compared:
    """One row, asked of the engine and of the model.

    Attributes:
        prompt_differs_at: place of the first token that differs between the prompts, its ids in training, and its ids
            in the engine. A list of ids is empty if that prompt has ended. None if the prompts are equal. If the prompt
            of any row differs, no row is answered.
        same_text: whether the model's own greedy answer is the same text.
        tokens: number of tokens of the engine's answer.
        agreeing: number of these tokens that are also the model's most likely token, given the tokens before.
        close: number of the other tokens whose log-probability is within `tolerance` of the most likely token's. For
            these tokens rounding decides.
        logprob_gap: largest difference of a token's log-probability between engine and model.
        placeholders: number of placeholder tokens for pixels in the engine's answer. An answer must not hold any.
        text: the engine's answer.
        own_text: the model's answer.
        tolerance: largest difference of a log-probability that rounding explains, `CLOSE` for the model's type.
    """

    prompt_differs_at: tuple[int, list[int], list[int]] | None
    same_text: bool
    tokens: int
    agreeing: int
    close: int
    logprob_gap: float
    placeholders: int
    text: str
    own_text: str
    tolerance: float

    @property
    def same(self) -> bool:
        """Whether engine and model are the same model, up to rounding."""
        alike = self.agreeing + self.close == self.tokens and not self.placeholders
        return self.prompt_differs_at is None and alike and self.logprob_gap < self.tolerance

    @property
    def difference(self) -> str:
        """What differs, in words. Read it only if `same` is false."""
        if self.prompt_differs_at:
            place, ours, theirs = self.prompt_differs_at
            return f"token {place} of the prompt has the id {ours} in training and {theirs} in the engine"
        if self.placeholders:
            return f"{self.placeholders} tokens of its answer are placeholders for pixels"
        if self.agreeing + self.close < self.tokens:
            return (
                f"{self.tokens - self.agreeing - self.close} of {self.tokens} tokens are not the model's choice. The "
                f"engine wrote {self.text!r:.200}, the model {self.own_text!r:.200}"
            )
        return f"a log-probability differs by {self.logprob_gap:.2g}"


def compare(model: str, rows: Sequence[Row], options: Sequence[str], max_new_tokens: int = 64) -> list[Compared]:
    """Ask an engine and the model itself, greedily.

    Args:
        model: a model or checkpoint, as for `swift infer`.
        rows: rows of a dataset of swift_stvg without answers.
        options: further options of `swift infer`, among them `--infer_backend` with the engine's name.
        max_new_tokens: maximum number of tokens of an answer.

    Raises:
        DataError: the engine ended with an error. The message quotes it.
    """
    answered = _ask_engine(model, rows, options, max_new_tokens)
    if any(engine.prompt != engine.trained for engine in answered):
        return [_only_prompts(engine) for engine in answered]
    own = start_pipeline(swift_arguments(model, _words(model, _without_engine(options), max_new_tokens)))
    return [_compare(own, row, engine) for row, engine in zip(rows, answered, strict=True)]


def _words(model: str, options: Sequence[str], max_new_tokens: int) -> list[str]:
    given = {"model": model, "stream": "false", "temperature": "0", "max_new_tokens": str(max_new_tokens)}
    return [*(word for name, value in given.items() for word in (f"--{name}", value)), *options]


def _without_engine(options: Sequence[str]) -> list[str]:
    """The options that the transformers backend takes too."""
    kept, taken = [], False
    for word in options:
        if word.startswith("--"):
            taken = word.startswith(("--vllm_", "--sglang_", "--lmdeploy_", "--infer_backend"))
        if not taken:
            kept.append(word)
    return kept


def _ask_engine(model: str, rows: Sequence[Row], options: Sequence[str], max_new_tokens: int) -> list[Answered]:
    with TemporaryDirectory(prefix="stvg_parity_") as folder:
        questions, answers = Path(folder, "questions.json"), Path(folder, "answers.json")
        words = _words(model, options, max_new_tokens)
        questions.write_text(json.dumps({"model": model, "words": words, "rows": list(rows)}))
        command = [sys.executable, "-m", "swift_stvg.adapters.parity", str(questions), str(answers)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        if done.returncode or not answers.exists():
            raise DataError(f"the engine ended with status {done.returncode}:\n{done.stdout[-3000:]}")
        return [Answered(**answer) for answer in json.loads(answers.read_text())]


def _only_prompts(engine: Answered) -> Compared:
    longest = max(len(engine.prompt), len(engine.trained))
    pairs = ((engine.trained[i : i + 1], engine.prompt[i : i + 1]) for i in range(longest))
    differing = next(((i, ours, theirs) for i, (ours, theirs) in enumerate(pairs) if ours != theirs), None)
    return Compared(differing, False, 0, 0, 0, 0.0, 0, "", "", OTHERWISE_CLOSE)


def _compare(own: Any, row: Row, engine: Answered) -> Compared:
    (found,) = own.infer([row], _config(own), use_tqdm=False, **own.infer_kwargs)
    template, text = own.template, found.choices[0].message.content
    logprobs = _logprobs(own, row, engine.tokens)  # (K, V)
    pixels = [template.image_token_id, template.video_token_id]
    allowed = logprobs.index_fill(1, torch.tensor(pixels), float("-inf"))  # an answer must not hold these tokens
    chosen = torch.tensor(engine.tokens)
    tolerance = CLOSE.get(str(own.model.dtype).removeprefix("torch."), OTHERWISE_CLOSE)
    of_chosen = logprobs.gather(1, chosen[:, None])[:, 0]
    agree = allowed.argmax(1) == chosen
    near = ~agree & (allowed.amax(1) - of_chosen < tolerance)
    gap = (of_chosen - torch.tensor(engine.logprobs)).abs().max()
    return Compared(
        None,
        text == engine.text,
        len(engine.tokens),
        int(agree.sum()),
        int(near.sum()),
        float(gap),
        sum(token in pixels for token in engine.tokens),
        engine.text,
        text,
        tolerance,
    )


def _logprobs(own: Any, row: Row, tokens: list[int]) -> torch.Tensor:
    """The model's log-probabilities (K, V) at the place of each token of an answer to a row."""
    template, model = own.template, own.model
    encoded = template.encode(row)
    encoded["input_ids"] = [*encoded["input_ids"], *tokens]
    if (kinds := encoded.get("mm_token_type_ids")) is not None:
        encoded["mm_token_type_ids"] = torch.cat([kinds, kinds.new_zeros(len(tokens))])
    encoded = {name: value for name, value in encoded.items() if name not in ("labels", "loss_scale", "length")}
    batch = template.data_collator([encoded])
    batch = {k: v.to(model.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items() if k != "labels"}
    known = {name: value for name, value in batch.items() if name not in ("text_position_ids",)}
    with torch.no_grad():
        logits = model(**known, use_cache=False).logits[0, -len(tokens) - 1 : -1]
    return logits.float().log_softmax(-1).cpu()


def _config(pipeline: Any) -> Any:
    config = pipeline.args.get_request_config()
    config.logprobs, config.return_details = True, True
    return config


class _SeenError(Exception):
    """Ends a request before anything is generated, and holds its prompt."""

    def __init__(self, token_ids: list[int]) -> None:
        super().__init__(token_ids)
        self.token_ids = token_ids


class _OnlyPrompts:
    """Stands in for vLLM's engine: makes the prompt of a request, then ends the request."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def add_request(self, request_id: str, prompt: Any, params: Any, **_: Any) -> None:
        made = self._engine.input_processor.process_inputs(request_id, prompt, params, ("generate",))
        raise _SeenError(list(made.prompt_token_ids))

    def generate(self, prompt: Any, params: Any, request_id: str, **_: Any) -> None:  # of the asynchronous engine
        self.add_request(request_id, prompt, params)


def _prompts(pipeline: Any, rows: Sequence[Row]) -> list[list[int]]:
    """Token ids of the rows' prompts, as vLLM's own processors make them for the engine; nothing is generated."""
    engine = pipeline.infer_engine.engine
    pipeline.infer_engine.engine = _OnlyPrompts(engine)
    found = []
    try:
        for row in rows:
            try:
                pipeline.infer([row], _config(pipeline), use_tqdm=False, **pipeline.infer_kwargs)
            except _SeenError as seen:
                found.append(pipeline.template.as_trained(seen.token_ids))
    finally:
        pipeline.infer_engine.engine = engine
        engine.renderer.clear_mm_cache()  # otherwise it does not send these videos again
    return found


def _main(questions: str, answers: str) -> None:
    """Load the engine in this process, and write its answers."""
    asked = json.loads(Path(questions).read_text())
    pipeline = start_pipeline(swift_arguments(asked["model"], asked["words"]))
    rows, template = asked["rows"], pipeline.template
    prompts = _prompts(pipeline, rows)
    mode = template.mode
    template.set_mode("transformers")
    trained = [list(template.encode(row)["input_ids"]) for row in rows]
    template.set_mode(mode)
    made = [
        {"prompt": p, "trained": t, "tokens": [], "logprobs": [], "text": ""}
        for p, t in zip(prompts, trained, strict=True)
    ]
    if prompts == trained:
        found = pipeline.infer(rows, _config(pipeline), use_tqdm=False, **pipeline.infer_kwargs)
        for one, response in zip(made, found, strict=True):
            choice = response.choices[0]
            one["prompt"], one["tokens"] = template.as_trained(list(response.prompt_token_ids)), list(choice.token_ids)
            one["logprobs"] = [token["logprob"] for token in choice.logprobs["content"]]
            one["text"] = choice.message.content
    Path(answers).write_text(json.dumps(made))


if __name__ == "__main__":
    _main(*sys.argv[1:])
