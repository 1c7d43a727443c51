"""Made-up configurations, models and specs for the tests of the harness: no folder of transformers is needed."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_outputs import CausalLMOutput
from transformers.modeling_utils import PreTrainedModel

from harness.spec import Backend, Limits, Spec, Tolerance


class TowerConfig(PreTrainedConfig):
    """A tower for pictures."""

    model_type = "made_up_tower"

    hidden_size: int = 1408
    num_attention_heads: int = 16
    num_hidden_layers: int = 39
    image_size: int = 224
    patch_size: int = 14
    encoder_stride: int = 14
    num_channels: int = 3


class TextConfig(PreTrainedConfig):
    """A decoder with grouped heads, windows in some layers and rotary sections."""

    model_type = "made_up_text"

    vocab_size: int = 50000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 8
    head_dim: int = 128
    max_position_embeddings: int = 32768
    sliding_window: int | None = 4096
    num_experts: int = 64
    num_experts_per_tok: int = 8
    layer_types: list[str] | None = None
    rope_parameters: dict[str, Any] | None = None
    eos_token_id: int | None = 49999
    bos_token_id: int | None = 1
    pad_token_id: int | None = None
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        if self.layer_types is None:
            kinds = ["sliding_attention"] * 5 + ["full_attention"]
            self.layer_types = [kinds[place % 6] for place in range(self.num_hidden_layers)]
        if self.rope_parameters is None:
            self.rope_parameters = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
        super().__post_init__(**kwargs)


class PairConfig(PreTrainedConfig):
    """Both, with a projection between and a placeholder for pictures."""

    model_type = "made_up_pair"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {"text_config": TextConfig, "vision_config": TowerConfig}

    text_config: dict[str, Any] | PreTrainedConfig | None = None
    vision_config: dict[str, Any] | PreTrainedConfig | None = None
    encoder_hidden_size: int = 1408
    image_token_index: int | None = 49000
    image_seq_length: int = 256
    image_grid_pinpoints: list[list[int]] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.image_grid_pinpoints is None:
            self.image_grid_pinpoints = [[224, 448], [448, 448]]
        super().__post_init__(**kwargs)


class StagedConfig(PreTrainedConfig):
    """A pyramid of stages, as Swin's or ResNet's."""

    model_type = "made_up_stages"

    depths: tuple[int, ...] = (3, 4, 23, 3)
    num_encoder_blocks: int = 4
    hidden_sizes: tuple[int, ...] = (96, 192, 384, 768)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    image_size: int = 224
    patch_size: int = 4
    window_size: int = 7


class MadeUpPreTrainedModel(PreTrainedModel):
    """Base of the made-up models."""

    config_class = TextConfig
    base_model_prefix = "model"


class MadeUpForCausalLM(MadeUpPreTrainedModel):
    """The smallest causal model: it sees only the token itself."""

    _tied_weights_keys: ClassVar[dict[str, str]] = {"head.weight": "embed.weight"}

    def __init__(self, config: TextConfig) -> None:
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.layer_scale = nn.Parameter(torch.full((config.hidden_size,), 1e-6))
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The words."""
        return self.embed

    def get_output_embeddings(self) -> nn.Module:
        """The head."""
        return self.head

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> CausalLMOutput:
        """Returns logits (batch, sequence, vocabulary)."""
        states = self.norm(self.embed(input_ids)) * self.layer_scale
        return CausalLMOutput(logits=self.head(states))


class MadeUpClassifier(MadeUpForCausalLM):
    """A second head of the folder."""


@contextmanager
def folder(name: str = "made_up") -> Iterator[None]:
    """Makes `transformers.models.<name>` exist for the time of the body, with the classes of this module."""
    package = f"transformers.models.{name}"
    modules = {package: types.ModuleType(package)}
    modules[package].__path__ = [str(Path(__file__).parent / "made_up_folder")]
    for stem, members in (
        (f"configuration_{name}", (TextConfig, PairConfig)),
        (f"modeling_{name}", (MadeUpPreTrainedModel, MadeUpForCausalLM, MadeUpClassifier)),
    ):
        module = types.ModuleType(f"{package}.{stem}")
        vars(module).update({cls.__name__: cls for cls in members})
        module.__all__ = [cls.__name__ for cls in members]  # type: ignore[attr-defined]
        modules[module.__name__] = module
    sys.modules.update(modules)
    try:
        yield
    finally:
        for key in modules:
            sys.modules.pop(key, None)


def spec(**changes: Any) -> Spec:
    """Returns a spec of the made-up model with some fields changed."""
    values: dict[str, Any] = {
        "label": "//models/decoder/made_up:cpu",
        "name": "made_up",
        "category": "decoder",
        "tier": "high",
        "task": "text-generation",
        "environment": "transformers-5.23",
        "model_type": "made_up_text",
        "folder": "made_up",
        "main_class": "MadeUpForCausalLM",
        "checkpoint": "made/up",
        "config": {},
        "inputs": {},
        "limits": Limits(60, 600, 4096),
        "backend": Backend("cpu", "cpu", "eager", "float32", Tolerance(1e-4, 1e-5)),
        "known_failures": (),
        "not_applicable": {},
        "heads": {},
        "unexercised_classes": {},
        "unused_parameters": {},
        "slices": ("made_up",),
        "epoch": "",
    }
    return Spec(**{**values, **changes})
