"""The configuration of AudioLDM2: that of each component which `model_index.json` of a checkpoint lists."""

# mypy: allow-subclassing-any
from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.clap import ClapConfig
from transformers.models.gpt2 import GPT2Config
from transformers.models.speecht5 import SpeechT5HifiGanConfig
from transformers.models.t5 import T5Config


@strict
class AudioLDM2Config(PreTrainedConfig):
    """What `AudioLDM2Pipeline` is made from.

    The components that transformers has are described by its config classes, those of diffusers by the keywords that
    their `config.json` holds.
    """

    model_type = "audioldm2"
    sub_configs_defaults = {  # noqa: RUF012 - as every configuration of transformers has them
        "text_encoder": ClapConfig,
        "text_encoder_2": T5Config,
        "language_model": GPT2Config,
        "vocoder": SpeechT5HifiGanConfig,
    }

    text_encoder: Any = None
    text_encoder_2: Any = None
    language_model: Any = None
    vocoder: Any = None
    unet: Any = None
    vae: Any = None
    scheduler: Any = None
    num_inference_steps: int = 2
    max_new_tokens: int = 8
    guidance_scale: float = 3.5


__all__ = ["AudioLDM2Config"]
