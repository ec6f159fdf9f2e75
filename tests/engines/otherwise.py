"""A plugin that gives vLLM a token twice, and prevents generation: the comparison of prompts must find this before."""

from swift.template import Template
from vllm.v1.engine.core import EngineCore

encode = Template.encode


def encode_otherwise(self, *args, **kwargs):
    encoded = encode(self, *args, **kwargs)
    if self.mode == "vllm":
        encoded["input_ids"] = [encoded["input_ids"][0], *encoded["input_ids"]]
    return encoded


def refuse(*_):
    raise AssertionError("a request has reached the engine")


Template.encode = encode_otherwise
EngineCore.add_request = refuse
