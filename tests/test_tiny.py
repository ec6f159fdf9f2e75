"""Tiny random models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.errors import DataError, StvgError
from swift_stvg.synthetic.tiny import TinyConfig, build
from tests.helpers import answer, boxes

pytestmark = pytest.mark.filterwarnings("default")  # importing torch warns


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    assert 100_000 < build(folder) < 5_000_000
    return folder


@pytest.fixture(scope="session")
def tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.slow
def test_same_seed_same_weights(folder: Path, tmp_path: Path) -> None:
    build(tmp_path / "again")
    build(tmp_path / "other", TinyConfig(seed=1))
    weights = [(f / "model.safetensors").read_bytes() for f in (folder, tmp_path / "again", tmp_path / "other")]
    assert weights[0] == weights[1] != weights[2]


TEXTS = [
    answer("2 - 5", boxes(2, 5), boxes(2, 5)),
    AnswerFormat().instruction(),
    "größe ٣ 你好 🙂 \t\n <|im_start|>user\n",
    "12, 345, 9999. [",
]


@pytest.mark.parametrize("text", TEXTS, ids=["answer", "instruction", "scripts", "numbers"])
def test_any_text_survives_the_tokenizer(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_answers_are_short(tokenizer: Any) -> None:
    text = answer("2 - 5", boxes(2, 5), boxes(2, 5))
    assert len(tokenizer(text)["input_ids"]) <= 8 * 6 + 12, "six tokens a box"


def test_folders_in_use_are_refused(folder: Path) -> None:
    with pytest.raises(StvgError, match="is not empty: choose another folder, or delete this one"):
        build(folder)


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        StvgError,
        match="unknown architecture 'gpt': give one of qwen2_vl, qwen2_5_vl, qwen3_vl, qwen3_vl_moe, qwen3_5,",
    ):
        build(tmp_path / "gpt", TinyConfig(architecture="gpt"))
    assert not (tmp_path / "gpt").exists()


VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"
ASSISTANT = "<|im_start|>assistant\n"
PROMPTS = [  # as the chat templates on the hub give them
    ("qwen2_vl", {}, "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", ASSISTANT),
    ("qwen2_5_vl", {}, "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", ASSISTANT),
    ("qwen3_vl", {}, "", ASSISTANT),
    ("qwen3_5", {}, "", f"{ASSISTANT}<think>\n"),
    ("qwen3_5", {"enable_thinking": False}, "", f"{ASSISTANT}<think>\n\n</think>\n\n"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "options", "system", "ends"), PROMPTS)
def test_the_chat_template_is_that_of_the_real_models(
    architecture: str, options: dict[str, Any], system: str, ends: str, tmp_path: Path
) -> None:
    from transformers import AutoProcessor

    build(tmp_path / "model", TinyConfig(architecture=architecture))
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    parts = [{"type": "video", "video": "v.mp4"}, {"type": "text", "text": "Where?"}]
    messages = [{"role": "user", "content": parts}]
    user = f"<|im_start|>user\n{VIDEO}Where?<|im_end|>\n"
    asked: dict[str, Any] = {"tokenize": False, "add_generation_prompt": True} | options
    assert processor.apply_chat_template(messages, **asked) == system + user + ends
    messages.insert(0, {"role": "system", "content": "Answer."})
    own = "<|im_start|>system\nAnswer.<|im_end|>\n"
    assert processor.apply_chat_template(messages, **asked) == own + user + ends, "a system prompt takes the place"


@pytest.mark.slow
def test_no_option_says_what_a_folder_holds(folder: Path, tmp_path: Path) -> None:
    """A folder of `tiny` names its type. For another folder, the type with a template of this package is used."""
    from swift_stvg.adapters.engine import model_type_of, swift_arguments

    bare = tmp_path / "bare"
    shutil.copytree(folder, bare, ignore=shutil.ignore_patterns("args.json"))
    for where in (folder, bare):
        assert model_type_of(str(where)) == "qwen2_5_vl"
        args = swift_arguments(str(where), ["--model", str(where), "--stream", "false"])
        assert (args.model_type, args.template) == ("qwen2_5_vl", "stvg_qwen2_5_vl")
    config = json.loads((bare / "config.json").read_text())
    for architecture, message in (
        ("Qwen2ForCausalLM", "several model types fit .*: give --model_type "),
        ("NoSuchModel", "ms-swift cannot take .*bare"),
    ):
        (bare / "config.json").write_text(json.dumps(config | {"architectures": [architecture]}))
        with pytest.raises(DataError, match=message) as raised:
            model_type_of(str(bare))
        assert "\n" not in str(raised.value)


def test_ids_of_the_released_models_are_those_of_the_stock_templates() -> None:
    from swift.template import TEMPLATE_MAPPING

    from swift_stvg.settings import BACKBONES

    for name, backbone in BACKBONES.items():
        stock = TEMPLATE_MAPPING[name.removeprefix("stvg_")].template_cls
        assert (stock.image_token_id, stock.video_token_id) == backbone.pixel_ids, name


def test_the_stock_template_takes_other_ids_too(folder: Path) -> None:
    from swift import get_processor, get_template

    import swift_stvg.adapters  # noqa: F401 - registers ours

    processor = get_processor(str(folder))
    made = get_template(processor, template_type="qwen2_5_vl")
    tokens = ["<|image_pad|>", "<|video_pad|>"]
    assert [made.image_token_id, made.video_token_id] == processor.tokenizer.convert_tokens_to_ids(tokens)


def test_what_is_shared_of_such_a_model_names_the_plugin(folder: Path, tmp_path: Path) -> None:
    """ms-swift's own template holds other ids. The card says so, unless a template is given."""
    from swift_stvg.cli import main

    assert main(["card", str(folder), "--out", str(tmp_path / "shared"), "--hub_model_id", "me/it"]) == 0
    args = json.loads((tmp_path / "shared/args.json").read_text())
    assert (args["template"], args["external_plugins"]) == ("stvg_qwen2_5_vl", ["swift_stvg"])
    assert "has the ids 151655 and 151656" in (tmp_path / "shared/README.md").read_text()
    words = ["--out", str(tmp_path / "named"), "--hub_model_id", "me/it", "--stock_template", "qwen2_5_vl"]
    assert main(["card", str(folder), *words]) == 0
    args = json.loads((tmp_path / "named/args.json").read_text())
    assert (args["template"], args["external_plugins"]) == ("qwen2_5_vl", [])
