"""AudioLDM2 as one module: diffusers' own pipeline over its own components, called with gradients.

Nothing of the computation stands here. `forward` is `AudioLDM2Pipeline.__call__`, from the tokens of a prompt through
CLAP, T5, the projection, GPT-2, the denoising loop, the decoder of the latents and the vocoder to a waveform.
"""

# mypy: allow-subclassing-any
from __future__ import annotations

import dataclasses
import inspect

import torch
from diffusers import AudioLDM2Pipeline, AutoencoderKL, DDIMScheduler
from diffusers.pipelines.audioldm2.modeling_audioldm2 import AudioLDM2ProjectionModel, AudioLDM2UNet2DConditionModel
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature
from transformers.modeling_utils import PreTrainedModel
from transformers.models.clap import ClapModel
from transformers.models.gpt2 import GPT2LMHeadModel
from transformers.models.speecht5 import SpeechT5HifiGan
from transformers.models.t5 import T5EncoderModel
from transformers.utils.generic import ModelOutput

from .configuration_audioldm2 import AudioLDM2Config


@dataclasses.dataclass
class AudioLDM2Output(ModelOutput):
    """The sound (batch, samples)."""

    waveform: Tensor | None = None


class _Tokens:
    """Stands where the pipeline has a tokenizer, which is no part of a model: gives tokens that are there already.

    Those of the prompt or, for the empty text that guidance leads away from, an end and padding.
    """

    def __init__(self, prompt: Tensor, mask: Tensor, end: int, pad: int) -> None:
        nothing = torch.full_like(prompt, pad)
        nothing[:, 0] = end
        self.model_max_length = prompt.shape[1]
        self._prompt = BatchFeature({"input_ids": prompt, "attention_mask": mask})
        self._nothing = BatchFeature({"input_ids": nothing, "attention_mask": (nothing == end).long()})

    def __call__(self, text: list[str] | None, **_: object) -> BatchFeature:
        return self._nothing if text and not any(text) else self._prompt


class AudioLDM2Model(PreTrainedModel):
    """The pipeline's components, and the pipeline as their `forward`."""

    config_class = AudioLDM2Config
    main_input_name = "input_ids"

    def __init__(self, config: AudioLDM2Config) -> None:
        super().__init__(config)
        self.text_encoder = ClapModel(config.text_encoder)
        self.text_encoder_2 = T5EncoderModel(config.text_encoder_2)
        self.language_model = GPT2LMHeadModel(config.language_model)
        self.projection_model = AudioLDM2ProjectionModel(
            config.text_encoder.projection_dim, config.text_encoder_2.d_model, config.language_model.n_embd
        )
        self.unet = AudioLDM2UNet2DConditionModel(**config.unet)
        self.vae = AutoencoderKL(**config.vae)
        self.vocoder = SpeechT5HifiGan(config.vocoder)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        input_ids_2: Tensor,
        attention_mask_2: Tensor,
        latents: Tensor,
        return_dict: bool = True,
    ) -> AudioLDM2Output | tuple[Tensor]:
        """Returns the sound that noise becomes under a prompt.

        Args:
          input_ids: the prompt as CLAP's tokens (batch, sequence), with `attention_mask`.
          input_ids_2: the prompt as T5's tokens (batch, sequence), with `attention_mask_2`.
          latents: the noise (batch, channels, frames, bins).
        """
        config = self.config
        text, text_2 = config.text_encoder.text_config, config.text_encoder_2
        pipeline = AudioLDM2Pipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            text_encoder_2=self.text_encoder_2,
            projection_model=self.projection_model,
            language_model=self.language_model,
            tokenizer=_Tokens(input_ids, attention_mask, text.eos_token_id, text.pad_token_id),
            tokenizer_2=_Tokens(input_ids_2, attention_mask_2, text_2.eos_token_id, text_2.pad_token_id),
            feature_extractor=None,
            unet=self.unet,
            scheduler=DDIMScheduler(**config.scheduler),
            vocoder=self.vocoder,
        )
        pipeline.set_progress_bar_config(disable=True)
        call = inspect.unwrap(AudioLDM2Pipeline.__call__)  # the decorated one leaves no graph for gradients
        waveform = call(
            pipeline,
            prompt=["a prompt"] * len(input_ids),
            latents=latents,
            num_inference_steps=config.num_inference_steps,
            guidance_scale=config.guidance_scale,
            max_new_tokens=config.max_new_tokens,
            output_type="pt",
        ).audios
        return AudioLDM2Output(waveform=waveform) if return_dict else (waveform,)


__all__ = ["AudioLDM2Model"]
