"""Sound as samples and as spectrograms, and what models take beside it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from harness.inputs.configs import first, node_with
from harness.inputs.request import FRAMES, SAMPLES, Maker, Request


def time_axis(request: Request) -> int:
    """Returns which axis of a spectrogram is time: the last where the model convolves over it, as Whisper does."""
    return (
        2
        if node_with(request.config, "num_mel_bins", "max_source_positions") is not None
        and first(request.config, "input_feat_per_channel") is None
        else 1
    )


def spectrum(request: Request) -> int:
    """Returns how many bins a spectrogram has."""
    names = (
        "input_feat_per_channel",
        "num_mel_bins",
        "n_mels",
        "feature_projection_input_dim",
        "audio_embed_dim",
        "feat_dim",
        "input_dim",
        "num_chroma",
    )
    bins = first(request.config, *names)
    return int(bins if isinstance(bins, int) else 80)


def input_features(request: Request, made: dict[str, Tensor]) -> Tensor:
    """A spectrogram: (batch, bins, frames) or (batch, frames, bins)."""
    bins = spectrum(request)
    if time_axis(request) == 2:
        frames = 2 * int(first(request.config, "max_source_positions"))
        return request.noise("input_features", request.batch, bins, request.size("frames", frames))
    return request.noise(
        "input_features",
        request.batch,
        request.size("frames", FRAMES),
        bins * int(first(request.config, "input_channels") or 1)
        if first(request.config, "input_feat_per_channel")
        else bins,
    )


def latents(request: Request, made: dict[str, Tensor]) -> Tensor:
    """What a codec's decoder makes sound of: vectors (batch, width, frames)."""
    return request.noise("latents", request.batch, int(first(request.config, "hidden_size") or 32), 8)


def spectrogram(name: str, *fields: str) -> Maker:
    """Returns a maker of a spectrogram (batch, frames, bins), of an even number of frames."""

    def make_spectrogram(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        bins = first(request.config, *fields)
        return None if bins is None else request.noise(name, request.batch, 10, int(bins))

    return make_spectrogram


def speaker(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """A voice, as a vector (batch, width)."""
    width = first(request.config, "speaker_embedding_dim")
    return None if width is None else request.noise("speaker_embeddings", request.batch, int(width))


def sound_beside_pictures(request: Request, made: dict[str, Tensor]) -> Tensor:
    """A spectrogram (batch, frames, bins) under the name that it has beside that of pictures (Phi-4)."""
    bins = int(first(request.config, "input_size"))
    return request.noise("audio_input_features", request.batch, request.size("frames", FRAMES), bins)


def sound_beside_pictures_mask(request: Request, made: dict[str, Tensor]) -> Tensor:
    """True along the frames that are heard."""
    return _heard(request, *made["audio_input_features"].shape[:2]).bool()


def vectors_of_sound(request: Request, made: dict[str, Tensor]) -> Tensor:
    """How many vectors the frames of each row become (batch,), and so how many places they take among the words."""
    heard = request.size("heard", made["audio_input_features"].shape[1])
    steps = int(first(request.config, "time_reduction")) * int(first(request.config, "downsample_rate") or 1)
    return torch.full((request.batch,), -(-heard // steps))


def _heard(request: Request, rows: int, length: int) -> Tensor:
    """Returns a mask over sound (rows, length) that leaves what is heard of it."""
    mask = torch.zeros(rows, length, dtype=torch.long)
    mask[:, : request.size("heard", length)] = 1
    return mask


def features_mask(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Ones along the frames of a spectrogram."""
    frames = made.get("input_features")
    if frames is None or frames.dim() != 3:
        return None
    bins = spectrum(request)
    axis = 2 if frames.shape[1] == bins and frames.shape[2] != bins else time_axis(request)
    heard = _heard(request, frames.shape[0], frames.shape[axis])
    by_place = "image_position_ids" in request.parameters  # Gemma 4 picks the frames by the mask
    return heard.bool() if by_place and heard is not None else heard


def padding_mask(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Ones along the samples, where the model takes words or a batch of sounds beside them."""
    sound = made.get("input_values")
    if sound is None or "input_ids" not in request.parameters:
        return None  # a codec alone cuts what it gives by the mask's length
    return _heard(request, sound.shape[0], sound.shape[-1])


def input_values(request: Request, made: dict[str, Tensor]) -> Tensor:
    """Samples (batch, samples), with a channel where the model separates them, or a spectrogram of fixed length."""
    if node_with(request.config, "num_mel_bins", "max_length", "patch_size") is not None:
        return request.noise(
            "input_values",
            request.batch,
            int(first(request.config, "max_length")),
            int(first(request.config, "num_mel_bins")),
        )
    samples = request.size("samples", SAMPLES)
    channels = first(request.config, "audio_channels")
    if channels is not None or first(request.config, "codebook_size", "codebook_dim") is not None:
        return request.noise("input_values", request.batch, int(channels or 1), samples)
    return request.noise("input_values", request.batch, samples)


def sound_frames(request: Request, made: Mapping[str, Tensor]) -> int:
    """Returns how many frames the configured convolutions make of the samples; those of a spectrogram stay."""
    if "input_features" in made:
        return int(made["input_features"].shape[time_axis(request)])
    frames = request.size("samples", SAMPLES)
    for kernel, stride in zip(first(request.config, "conv_kernel"), first(request.config, "conv_stride"), strict=True):
        frames = (frames - kernel) // stride + 1
    return frames


# ---------------------------------------------------------------------------------------------------------------------
# Speech that is given as codes or as vectors.

CODES = 5
"""Frames of codes, or vectors of speech, a row."""

VOICE = 3
"""Vectors of the voice that is spoken with."""

AMONG_WORDS = {
    "audio_prompt_latents": "audio_prompt_token_id",
    "audio_latents": "audio_latent_token_id",
    "audio_input_ids": "audio_token_id",
    "audio_input_ids_mask": "audio_token_id",
}
"""Inputs (batch, frames, …) that go where the words have a placeholder, and the field that says which it is."""


def voice(request: Request, made: dict[str, Tensor]) -> Tensor:
    """The voice to speak with, as vectors of a codec (batch, frames, width)."""
    width = int(first(request.config, "audio_prompt_dim", "latent_dim"))
    return request.noise("audio_prompt_latents", request.batch, VOICE, width)


def spoken(request: Request, made: dict[str, Tensor]) -> Tensor:
    """What was said so far, as vectors of a codec (batch, frames, width)."""
    return request.noise("audio_latents", request.batch, CODES, int(request.config.latent_dim))


def codes_among_words(request: Request, made: dict[str, Tensor]) -> Tensor:
    """Codes of sound (batch, frames, codebooks)."""
    size, books = (int(first(request.config, name)) for name in ("codebook_size", "num_codebooks"))
    return request.integers("audio_input_ids", 0, size, request.batch, CODES, books)


def codes_among_words_mask(request: Request, made: dict[str, Tensor]) -> Tensor:
    """Which frames of codes there are: all."""
    return torch.ones(request.batch, CODES, dtype=torch.bool)


def codes_along_words(name: str) -> Maker:
    """Returns a maker of the codes of one speaker (batch, codebooks, words)."""

    def make_codes(request: Request, made: dict[str, Tensor]) -> Tensor:
        config = request.config
        return request.integers(
            name, 0, int(config.audio_vocab_size), request.batch, int(config.num_codebooks), request.length
        )

    return make_codes


def cutoffs(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Where each sound of a row ends (batch, sounds), in samples: one sound a row."""
    return torch.full((request.batch, 1), made["input_values"].shape[-1]) if "input_values" in made else None
