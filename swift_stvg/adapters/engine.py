"""A model in one of ms-swift's engines, which answers rows."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from typing import Any

from swift_stvg.errors import DataError, StvgError, VideoError
from swift_stvg.serving.engines import Reply, Row, cut_off


class SwiftEngine:
    """A model in ms-swift's engine.

    Args:
        model: a model or checkpoint, as for `swift infer`.
        options: further words of the command line of `swift infer`. Answers are greedy if they set no temperature.

    Raises:
        DataError: ms-swift does not know the model or an option, or no template of swift_stvg fits the model.
    """

    at_once = 16

    def __init__(self, model: str, *options: str) -> None:
        words = ["--model", model, "--stream", "false", "--temperature", "0", "--max_new_tokens", "2048", *options]
        args = swift_arguments(model, words)
        self._pipeline = start_pipeline(args)
        # with strict=False, a video that cannot be decoded costs one answer and does not end the call
        self._pipeline.infer_engine.strict = False
        self._config = self._pipeline.args.get_request_config()

    def answer(self, rows: Sequence[Row]) -> list[Reply]:
        """As `Engine.answer`; TemplateMismatch for rows that were made for another backbone."""
        began = time.monotonic()
        found = self._pipeline.infer(list(rows), self._config, use_tqdm=False, **self._pipeline.infer_kwargs)
        seconds = (time.monotonic() - began) / max(1, len(rows))
        return [replace(_reply(response), seconds=seconds) for response in found]


def start_pipeline(args: Any) -> Any:
    """ms-swift's pipeline of `swift infer`, from its arguments, with all of swift_stvg registered."""
    from swift.pipelines.infer.infer import SwiftInfer

    return SwiftInfer(args)


def swift_arguments(model: str, words: list[str]) -> Any:
    """Arguments of `swift infer` with the template of swift_stvg that fits the model."""
    if model.startswith((".", "/", "~")) and not os.path.exists(os.path.expanduser(model)):
        raise DataError(f"no model at {model}")
    from swift.arguments import InferArguments
    from swift.template import TEMPLATE_MAPPING
    from swift.utils import parse_args

    from swift_stvg.adapters.templates import StvgTemplate

    def is_ours(name: str) -> bool:  # called after plugins are imported, because they may register templates
        return name in TEMPLATE_MAPPING and issubclass(TEMPLATE_MAPPING[name].template_cls, StvgTemplate)

    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    _check_words(words)
    try:
        try:
            args, _ = parse_args(InferArguments, words)
        except ValueError:  # several model types or stock templates fit the model
            if "--model_type" not in words:
                words += ["--model_type", model_type_of(model)]
            fitting = fitting_template(words[words.index("--model_type") + 1])
            if "--template" not in words and is_ours(fitting):
                words += ["--template", fitting]
            args, _ = parse_args(InferArguments, words)
    except DataError:
        raise
    except (ValueError, AssertionError) as error:
        raise DataError(f"ms-swift cannot take {model}: {error!s:.500}") from None
    if args.stream:
        raise DataError("--stream true is not supported: leave it out")
    if not is_ours(args.template):
        fitting = fitting_template(args.model_type)
        if "--template" in words or not is_ours(fitting):
            known = ", ".join(sorted(filter(is_ours, TEMPLATE_MAPPING)))
            raise DataError(
                f"{model} ({args.model_type}) has the template {args.template}, not a template of swift_stvg: {known}. "
                "Add one as in examples/add_a_backbone, or serve the model and give --endpoint"
            )
        args.template, args.template_meta = fitting, TEMPLATE_MAPPING[fitting]
    return args


def _check_words(words: list[str]) -> None:
    """Refuse unknown options of `swift infer` and impossible values. The model is not looked for.

    ms-swift's own parser would print a hundred lines of usage before the message.

    Raises:
        DataError: an option is unknown, or a value is impossible.
    """
    from swift.arguments import InferArguments
    from swift.utils import parse_args

    class Words(InferArguments):  # type: ignore[misc]
        def __post_init__(self) -> None:
            """Do nothing; the original method looks for the model."""

    try:
        with redirect_stderr(io.StringIO()) as said:
            _, unknown = parse_args(Words, words)
    except SystemExit:
        raise DataError(f"ms-swift: {said.getvalue().rpartition(': error: ')[2].strip()}") from None
    if unknown:
        raise DataError(f"neither swift-stvg nor ms-swift knows these options: {' '.join(unknown)}")


def fitting_template(model_type: str) -> str:
    """The template of swift_stvg for a model type of ms-swift. It may not exist.

    It has the name of the type, or of the stock template of its models: Qwen3-VL's models of experts have a type of
    their own, and share a template with the others.
    """
    from swift.model import MODEL_MAPPING
    from swift.template import TEMPLATE_MAPPING

    stock = MODEL_MAPPING[model_type].candidate_templates if model_type in MODEL_MAPPING else []
    names = [f"stvg_{name}" for name in (model_type, *stock)]
    return next((name for name in names if name in TEMPLATE_MAPPING), names[0])


def model_type_of(model: str) -> str:
    """The ms-swift type of a model. If several types have its architecture, it is the type with a swift_stvg template.

    Raises:
        DataError: no type or several types have such a template, or ms-swift does not know the model.
    """
    from swift.model import MODEL_MAPPING, get_model_info_meta
    from swift.template import TEMPLATE_MAPPING
    from transformers import PretrainedConfig

    try:
        return str(get_model_info_meta(model)[0].model_type)
    except ValueError as error:
        reason = error
    try:
        architectures = PretrainedConfig.get_config_dict(model)[0].get("architectures") or []
    except OSError as error:
        raise DataError(f"ms-swift cannot take {model}: {error!s:.500}") from None
    types = [name for name, meta in MODEL_MAPPING.items() if set(meta.architectures) & set(architectures)]
    ours = [name for name in types if f"stvg_{name}" in TEMPLATE_MAPPING]
    if not types:
        raise DataError(f"ms-swift cannot take {model}: {reason!s:.500}")
    if len(ours) != 1:
        raise DataError(f"several model types fit {model}: give --model_type {' or '.join(ours or types)}")
    return str(ours[0])


def _reply(response: Any) -> Reply:
    if isinstance(response, VideoError):
        return Reply("", str(response))
    if isinstance(response, StvgError):
        raise response
    if isinstance(response, Exception):
        return Reply("", f"{type(response).__name__}: {response}")
    choice = response.choices[0]
    tokens = response.usage.completion_tokens
    return Reply(choice.message.content or "", cut=cut_off(choice.finish_reason, tokens), tokens=tokens)
