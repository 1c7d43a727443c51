"""Every check of vision, multimodal and audio models catches the broken model that it is there for."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import cache_utils

from harness.cell import Cell
from tests.harness.broken import (
    Break,
    assert_caught,
    attribute,
    checks_of,
    field,
    inputs_changed,
    module_of,
    output_of,
    outputs_changed,
    replacing,
    without,
)


def _given(name: str, change: Any) -> Break:
    """Returns a break that changes one argument of `forward` where it is given."""
    return inputs_changed(
        lambda given: {**given, name: change(given[name])} if isinstance(given.get(name), Tensor) else given
    )


def _cropped(pixels: Tensor) -> Tensor:
    return torch.cat([pixels[..., :-8], torch.zeros_like(pixels[..., -8:])], dim=-1)


def _as_in_memory(pixels: Tensor) -> Tensor:
    contiguous = torch.empty(pixels.shape).stride()
    return torch.as_strided(pixels, pixels.shape, contiguous, pixels.storage_offset())


def _no_positions(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        cell.model.vit.embeddings.position_embeddings.zero_()


def _loses_a_state(output: Any, given: dict[str, Any]) -> Any:
    if output.get("hidden_states") is not None:
        output["hidden_states"] = output["hidden_states"][:-1]
    return output


def _interpolated_wrongly(sound: Any) -> Any:
    return lambda self, *args, **given: 1.2 * sound(self, *args, **given)


VISION: dict[str, tuple[str, str, Break, str, bool]] = {
    "edge cropped": (
        "vit",
        "every_region_of_the_image_moves_the_output",
        _given("pixel_values", _cropped),
        "output of row 0 does not depend on pixels [0:8, 24:32]",
        False,
    ),
    "positions dropped": ("vit", "place_of_a_patch_matters", _no_positions, "change places", True),
    "read as grey": (
        "vit",
        "order_of_channels_matters",
        _given("pixel_values", lambda x: x.mean(1, keepdim=True).expand_as(x)),
        "order of the channels",
        False,
    ),
    "read as it lies in memory": (
        "vit",
        "memory_layout_does_not_matter",
        _given("pixel_values", _as_in_memory),
        "column by column in memory",
        False,
    ),
    "a hidden state lost": (
        "vit",
        "hidden_states_are_one_per_layer",
        outputs_changed(_loses_a_state),
        "hidden states",
        False,
    ),
    "interpolation changes the trained size": (
        "vit",
        "interpolated_positions_serve_other_sizes",
        attribute(
            lambda cell: type(cell.model.vit.embeddings), "interpolate_pos_encoding", replacing(_interpolated_wrongly)
        ),
        "interpolated to the size they have",
        False,
    ),
    "loss of other labels": (
        "vit",
        "loss_is_the_cross_entropy_of_the_labels",
        _given("labels", lambda x: x.flip(0)),
        "loss differs",
        False,
    ),
}


def _everything_visible(sound: Any) -> Any:
    def broken(**given: Any) -> Any:
        queries = given["inputs_embeds"].shape[1]
        past = given["past_key_values"].get_seq_length() if given.get("past_key_values") is not None else 0
        return torch.ones(queries, past + queries, dtype=torch.bool)[None, None]

    return broken


def _no_mask(sound: Any) -> Any:
    return lambda **given: sound(**{**given, "attention_mask": None, "position_ids": None})


def _stale(sound: Any) -> Any:
    """A cache whose first token is forgotten whenever one is added to it."""

    def broken(self: Any, keys: Tensor, values: Tensor, *args: Any, **given: Any) -> Any:
        filled = getattr(self, "keys", None) is not None and self.keys.numel() > 0
        keys, values = sound(self, keys, values, *args, **given)
        return (torch.cat([keys[:, :, 1:2], keys[:, :, 1:]], dim=2), values) if filled else (keys, values)

    return broken


_STALE_CACHE = attribute(lambda cell: cache_utils.DynamicLayer, "update", replacing(_stale))


def _accepts_any_number(self: Any, input_ids: Any, inputs_embeds: Any, image_features: Any) -> Any:
    mask = (input_ids == self.config.image_token_id).unsqueeze(-1)
    return mask.expand_as(inputs_embeds)


def _refuses_text_alone(given: dict[str, Any]) -> dict[str, Any]:
    if given.get("pixel_values") is None:
        raise ValueError("an image is needed")
    return given


def _drops_the_image(sound: Any) -> Any:
    @functools.wraps(sound)
    def broken(self: Any, *args: Any, pixel_values: Tensor, **given: Any) -> Any:
        return sound(self, *args, pixel_values=torch.zeros_like(pixel_values), **given)

    return broken


LANGUAGE = "model.language_model"

MULTIMODAL: dict[str, tuple[str, str, Break, str, bool]] = {
    "projector leads nowhere": (
        "llava",
        "image_moves_the_output",
        output_of("model.multi_modal_projector", torch.zeros_like),
        "does not move when pixel_values is changed",
        False,
    ),
    "protein ignored": (
        "evolla",
        "image_moves_the_output",
        _given("protein_input_ids", lambda x: torch.full_like(x, 9)),
        "does not move when protein_input_ids is changed",
        False,
    ),
    "video ignored": (
        "glm_ocr",
        "a_video_in_place_of_the_image_moves_the_output",
        _given("pixel_values_videos", torch.zeros_like),
        "when pixel_values_videos is changed",
        False,
    ),
    "video of another shape ignored": (
        "molmo2",
        "a_video_in_place_of_the_image_moves_the_output",
        _given("pixel_values_videos", torch.zeros_like),
        "when pixel_values_videos is changed",
        False,
    ),
    "text ignored": (
        "clip",
        "text_moves_the_output",
        _given("input_ids", lambda x: torch.full_like(x, 9)),
        "when a token of the text is changed",
        False,
    ),
    "images in each other's row": (
        "llava",
        "image_of_a_row_moves_that_row_only",
        _given("pixel_values", lambda x: x.flip(0)),
        "of row 0 differs",
        False,
    ),
    "other scale for texts": (
        "clip",
        "similarities_are_each_others_transpose",
        field("logits_per_text", lambda x: 1.1 * x),
        "logits_per_text differs",
        False,
    ),
    "embeddings not normalised": (
        "clip",
        "embeddings_have_unit_length",
        field("text_embeds", lambda x: 2 * x),
        "length of text_embeds differs",
        False,
    ),
    "loss of one direction": (
        "clip",
        "contrastive_loss_is_symmetric_cross_entropy",
        outputs_changed(
            lambda output, given: (
                output
                if output.get("loss") is None
                else type(output)(
                    **{**output, "loss": nn.functional.cross_entropy(output["logits_per_text"], torch.arange(2))}
                )
            )
        ),
        "loss differs",
        False,
    ),
    "any number of placeholders": (
        "llava",
        "placeholders_must_match_the_features",
        attribute(lambda cell: type(cell.model.model), "get_placeholder_mask", _accepts_any_number),
        "one image placeholder too few",
        False,
    ),
    "text alone refused": (
        "llava",
        "text_alone_runs_and_differs",
        inputs_changed(_refuses_text_alone),
        "an image is needed",
        False,
    ),
    "no causal mask": (
        "llava",
        "text_is_causal",
        attribute(module_of(LANGUAGE), "create_causal_mask", replacing(_everything_visible)),
        "when the later token",
        False,
    ),
    "left padding attended to": (
        "llava",
        "left_padding_does_not_change_logits",
        attribute(module_of(LANGUAGE), "create_causal_mask", replacing(_no_mask)),
        "on the left",
        False,
    ),
    "right padding reaches back": (
        "llava",
        "right_padding_does_not_change_logits",
        output_of("model.language_model.layers.0", lambda x: x - x.mean(1, keepdim=True)),
        "on the right",
        False,
    ),
    "stale cache": (
        "llava",
        "cached_and_uncached_greedy_generation_agree",
        _STALE_CACHE,
        "logits of new token 1",
        False,
    ),
    "stale cache against a plain forward": (
        "llava",
        "generation_agrees_with_a_loop_over_forward",
        _STALE_CACHE,
        "logits of new token 1",
        False,
    ),
    "generate drops the image": (
        "llava",
        "image_moves_what_is_generated",
        attribute(lambda cell: cell.model_class, "generate", replacing(_drops_the_image)),
        "logits of the first new token",
        False,
    ),
    "labels shifted twice": (
        "llava",
        "loss_is_the_cross_entropy_of_the_next_token",
        _given("labels", lambda x: x.roll(-1, dims=1)),
        "loss differs",
        False,
    ),
    "text padding moves the pooled token": (
        "clip",
        "text_padding_does_not_change_similarities",
        output_of("text_model.encoder.layers.0", lambda x: x - x.mean(1, keepdim=True)),
        "when 3 tokens of padding are added",
        False,
    ),
}


def _silent_tail(sound: Tensor) -> Tensor:
    size = sound.shape[1] // 4
    return torch.cat([sound[:, :-size], torch.zeros_like(sound[:, -size:])], dim=1)


def _one_more(sound: Any) -> Any:
    return lambda self, *args, **given: sound(self, *args, **given) + 1


def _averaged(output: Any, given: dict[str, Any]) -> Any:
    output["logits"] = given["input_values"].sort(dim=1).values[:, : output["logits"].shape[1], None] * torch.ones(
        output["logits"].shape[-1]
    )
    return output


def _counts_ignored(given: dict[str, Any]) -> dict[str, Any]:
    labels = given.get("labels")
    return given if labels is None else {**given, "labels": labels.clamp(min=1)}


def _no_cross_attention(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    for layer in cell.model.model.decoder.layers:
        layer.encoder_attn.register_forward_hook(
            lambda module, args, output: (torch.zeros_like(output[0]), *output[1:])
        )


def _forgets_the_sound(update: Any) -> Any:
    return lambda self, *args, **given: torch.zeros_like(update(self, *args, **given))


def _accepts_any_number_of_frames(self: Any, input_ids: Any, inputs_embeds: Any, audio_features: Any) -> Any:
    mask = (input_ids == self.config.audio_token_id).unsqueeze(-1)
    return mask.expand_as(inputs_embeds)


AUDIO: dict[str, tuple[str, str, Break, str, bool]] = {
    "end of the sound cut": (
        "wav2vec2",
        "every_part_of_the_sound_moves_the_output",
        _given("input_values", _silent_tail),
        "output of row 0 does not depend on input_values",
        False,
    ),
    "order in time lost": (
        "wav2vec2",
        "order_in_time_matters",
        outputs_changed(_averaged),
        "two halves of the sound",
        False,
    ),
    "mask over the sound forgotten": (
        "speech_to_text",
        "padding_does_not_change_the_output",
        without("attention_mask"),
        "when masked sound behind step",
        False,
    ),
    "padded frames silenced and attended to": (
        "wav2vec2",
        "padding_does_not_change_the_output",
        attribute(module_of(), "create_bidirectional_mask", lambda **given: None),
        "steps of masked padding are added",
        False,
    ),
    "mask over samples forgotten": (
        "wav2vec2",
        "padding_does_not_change_the_output",
        without("attention_mask"),
        "when masked sound behind step",
        False,
    ),
    "formula one frame long": (
        "wav2vec2",
        "output_length_follows_the_formula",
        attribute(lambda cell: cell.model_class, "_get_feat_extract_output_lengths", replacing(_one_more)),
        "the formula says",
        False,
    ),
    "ignored labels counted": (
        "wav2vec2",
        "ctc_loss_is_that_of_the_logits",
        inputs_changed(_counts_ignored),
        "loss differs",
        False,
    ),
    "no causal mask": (
        "speech_to_text",
        "decoder_causality",
        attribute(module_of("model.decoder"), "create_causal_mask", replacing(_everything_visible)),
        "when the later token",
        False,
    ),
    "sound of the piece before forgotten": (
        "voxtral_realtime",
        "cached_steps_match_one_pass",
        attribute(
            lambda cell: module_of()(cell).VoxtralRealtimeConv1dCacheLayer, "update", replacing(_forgets_the_sound)
        ),
        "when read from a cache of 11 tokens",
        False,
    ),
    "stale cache": (
        "speech_to_text",
        "cached_steps_match_one_pass",
        _STALE_CACHE,
        "when read from a cache of 7 tokens",
        False,
    ),
    "cross attention cut": (
        "speech_to_text",
        "cross_attention_is_used",
        _no_cross_attention,
        "logits of the first decoder token",
        True,
    ),
    "stale cache in generation": (
        "speech_to_text",
        "cached_and_uncached_greedy_generation_agree",
        _STALE_CACHE,
        "logits of new token",
        False,
    ),
    "labels not shifted": (
        "speech_to_text",
        "labels_are_shifted_into_decoder_inputs",
        attribute(module_of(), "shift_tokens_right", lambda ids, *rest: ids.clamp(min=0)),
        "labels shifted by hand",
        False,
    ),
    "frames of sound not read, behind a quantiser": (
        "encodec",
        "every_part_of_the_sound_moves_the_output",
        _given("input_values", lambda x: torch.cat([0 * x[..., :1600], x[..., 1600:]], dim=-1)),
        "output of row 0 does not depend on input_values 0 to 799",
        False,
    ),
    "text without causal mask": (
        "audioflamingo3",
        "decoder_causality",
        attribute(module_of(LANGUAGE), "create_causal_mask", replacing(_everything_visible)),
        "when the later token",
        False,
    ),
    "stale cache behind the sound": (
        "audioflamingo3",
        "cached_steps_match_one_pass",
        _STALE_CACHE,
        "when read from a cache of",
        False,
    ),
    "sound leads nowhere": (
        "audioflamingo3",
        "cross_attention_is_used",
        output_of("model.multi_modal_projector", torch.zeros_like),
        "logits of the last decoder token",
        False,
    ),
    "labels of the text shifted twice": (
        "audioflamingo3",
        "labels_are_shifted_into_decoder_inputs",
        _given("labels", lambda x: x.roll(-1, dims=1)),
        "loss differs",
        False,
    ),
    "labels of a speaker's text shifted twice": (
        "moshi",
        "labels_are_shifted_into_decoder_inputs",
        _given("text_labels", lambda x: x.roll(-1, dims=1)),
        "loss differs",
        False,
    ),
    "codes before the words attended to": (
        "moshi",
        "left_padding_does_not_change_logits",
        attribute(module_of("decoder.model"), "create_causal_mask", replacing(_no_mask)),
        "on the left",
        False,
    ),
    "masked frames heard": (
        "audioflamingo3",
        "padding_does_not_change_the_output",
        attribute(module_of("model.audio_tower"), "create_bidirectional_mask", lambda **given: None),
        "when masked sound behind step",
        False,
    ),
    "left padding attended to": (
        "audioflamingo3",
        "left_padding_does_not_change_logits",
        attribute(module_of(LANGUAGE), "create_causal_mask", replacing(_no_mask)),
        "on the left",
        False,
    ),
    "any number of placeholders of sound": (
        "audioflamingo3",
        "placeholders_must_match_the_sound",
        attribute(lambda cell: type(cell.model.model), "get_placeholder_mask", _accepts_any_number_of_frames),
        "one placeholder of sound too few",
        False,
    ),
    "forward louder than its decoder": (
        "encodec",
        "codes_decode_to_what_forward_gives",
        field("audio_values", lambda x: 1.1 * x),
        "sound differs",
        False,
    ),
    "part without causal mask": (
        "bark",
        "parts_that_generate_are_causal",
        output_of("semantic.layers.0", lambda x: x - x.mean(1, keepdim=True)),
        "semantic logits differs",
        False,
    ),
    "part with a stale cache": (
        "bark",
        "parts_give_the_same_logits_from_their_cache",
        _STALE_CACHE,
        "semantic logits of token 3",
        False,
    ),
}

CASES: dict[str, tuple[Any, ...]] = {
    f"{category}: {name}": (model, f"{category}::{check}", *rest)
    for category, cases in (("vision", VISION), ("multimodal", MULTIMODAL), ("audio", AUDIO))
    for name, (model, check, *rest) in cases.items()
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_broken_model_is_caught(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, check, broken, says, own = CASES[case]
    assert_caught(model, check, broken, says, monkeypatch, own=own)


@pytest.mark.parametrize("category", ["vision", "multimodal", "audio"])
def test_every_check_has_a_broken_model(category: str) -> None:
    assert {check for _, check, *_ in CASES.values() if check.startswith(f"{category}::")} == checks_of(category)
