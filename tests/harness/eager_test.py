"""The eager adapter: what is moved to the dtype, and what a class keeps in float32."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_utils import PreTrainedModel

from harness.runtimes.eager import Eager


def _model() -> PreTrainedModel:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=32, num_hidden_layers=1, **sizes))


def test_what_the_class_keeps_in_float32_stays_bit_for_bit() -> None:
    model = _model()
    model._keep_in_fp32_modules_strict = {"mlp.gate_proj", "inv_freq"}
    wanted = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    Eager(torch.device("cpu"), torch.bfloat16).place_model(model)
    kept = {name for name, tensor in model.state_dict().items() if tensor.dtype is torch.float32}
    assert kept == {"model.layers.0.mlp.gate_proj.weight"}
    assert all(torch.equal(model.state_dict()[name], wanted[name]) for name in kept)


def test_a_class_that_keeps_nothing_is_moved_whole() -> None:
    model = Eager(torch.device("cpu"), torch.bfloat16).place_model(_model())
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.bfloat16}


def test_complex_numbers_are_not_cast() -> None:
    model = _model()
    turns = torch.polar(torch.ones(3), torch.arange(3.0))
    model.register_buffer("turns", turns.clone(), persistent=False)
    Eager(torch.device("cpu"), torch.bfloat16).place_model(model)
    assert torch.equal(model.turns, turns)


def test_the_configs_of_a_model_and_of_those_inside_name_the_dtype_of_their_weights() -> None:
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    text = _model().config
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    model = LlavaForConditionalGeneration(LlavaConfig(text_config=text, vision_config={**tower, "image_size": 28}))
    Eager(torch.device("cpu"), torch.bfloat16).place_model(model)
    parts = (model.config, model.config.text_config, model.config.vision_config)
    assert [part.dtype for part in parts] == [torch.bfloat16] * 3
