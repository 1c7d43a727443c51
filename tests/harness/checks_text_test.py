"""Every check of encoders, decoders and encoder-decoders catches the broken model that it is there for."""

from __future__ import annotations

import functools
import inspect
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from transformers import cache_utils

from harness.cell import Cell
from harness.generation import text_layers
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
    run_check,
    shared_cell,
    without,
    zeroed,
)


def _mask(shift: int, *, only_chunks: bool = False) -> Any:
    """Returns a maker of causal masks that let a token see `shift` tokens ahead of it."""

    def make(sound: Any) -> Any:
        def broken(**given: Any) -> Any:
            queries = given["inputs_embeds"].shape[1]
            past = given["past_key_values"].get_seq_length() if given.get("past_key_values") is not None else 0
            if only_chunks and not (past and queries > 1):
                return sound(**given)
            ahead = torch.ones(queries, past + queries, dtype=torch.bool).tril(past + shift)
            return ahead[None, None]

        return broken

    return replacing(make)


def _no_padding(sound: Any) -> Any:
    """A maker of masks that forgets the attention mask."""
    return lambda **given: sound(**{**given, "attention_mask": None})


def _no_padding_at_all(sound: Any) -> Any:
    return lambda **given: sound(**{**given, "attention_mask": None, "position_ids": None})


_FORGETS_MASK = attribute(module_of(), "create_causal_mask", replacing(_no_padding))


def _stale(sound: Any) -> Any:
    """A cache whose first token is forgotten whenever one is added to it."""

    def broken(self: Any, keys: Tensor, values: Tensor, *args: Any, **given: Any) -> Any:
        filled = getattr(self, "keys", None) is not None and self.keys.numel() > 0
        keys, values = sound(self, keys, values, *args, **given)
        return (torch.cat([keys[:, :, 1:2], keys[:, :, 1:]], dim=2), values) if filled else (keys, values)

    return broken


_STALE_CACHE = attribute(lambda cell: cache_utils.DynamicLayer, "update", replacing(_stale))


def _shifted_labels(given: dict[str, Any]) -> dict[str, Any]:
    labels = given.get("labels")
    return given if labels is None else {**given, "labels": labels.roll(-1, dims=1)}


def _counts_ignored(given: dict[str, Any]) -> dict[str, Any]:
    labels = given.get("labels")
    return given if labels is None else {**given, "labels": labels.clamp(min=0)}


def _drifting(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def drift(output: Any, given: dict[str, Any]) -> Any:
        calls.append(1)
        output["logits"] = output["logits"] * (-1) ** (len(calls) // 3)
        return output

    outputs_changed(drift)(cell, monkeypatch)


def _own_positions(given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "position_ids": None}


def _one_sided(sound: Any) -> Any:
    def broken(**given: Any) -> Any:
        length = given["inputs_embeds"].shape[1]
        return torch.ones(length, length, dtype=torch.bool).tril()[None, None]

    return broken


_CENTRED = "model.decoder.layers.0"


def _feeds_other_tokens(sound: Any) -> Any:
    def broken(self: Any, input_ids: Tensor, **given: Any) -> Any:
        prepared = sound(self, input_ids, **given)
        prepared["decoder_input_ids"] = (prepared["decoder_input_ids"] + 7) % 100
        return prepared

    return broken


def _reorders_wrongly(self: Any, beam_idx: Tensor) -> None:
    for layer in self.layers:
        layer.keys = layer.keys.flip(0)


def _lost(*names: str) -> Break:
    """Returns a break that takes arguments out of `forward` of the main class: neither declared nor passed on."""

    def apply(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
        sound = cell.model_class.forward

        @functools.wraps(sound)
        def broken(self: Any, *args: Any, **given: Any) -> Any:
            unknown = [name for name in names if name in given]
            if unknown:
                raise TypeError(f"forward() got an unexpected keyword argument {unknown[0]!r}")
            return sound(self, *args, **given)

        signature = inspect.signature(sound)
        kept = [
            parameter
            for name, parameter in signature.parameters.items()
            if name not in names and parameter.kind is not parameter.VAR_KEYWORD
        ]
        broken.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
        monkeypatch.setattr(cell.model_class, "forward", broken)

    return apply


def _hidden_and_ignored(name: str) -> Break:
    """Returns a break that moves every argument of `forward` into `**kwargs` and drops one of them there."""

    def apply(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
        sound = cell.model_class.forward

        def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
            kwargs.pop(name, None)
            return sound(self, *args, **kwargs)

        monkeypatch.setattr(cell.model_class, "forward", broken)

    return apply


_NO_GENERATION = attribute(lambda cell: cell.model_class, "can_generate", classmethod(lambda cls: False))

DECODER: dict[str, tuple[str, str, Break, str, bool]] = {
    "no causal mask": (
        "llama",
        "causality",
        attribute(module_of(), "create_causal_mask", _mask(99)),
        "logits differs first at [0, 0, 0]",
        False,
    ),
    "causal mask off by one": (
        "llama",
        "causality",
        attribute(module_of(), "create_causal_mask", _mask(1)),
        "when the later token",
        False,
    ),
    "attention mask forgotten": ("llama", "attention_mask_is_respected", _FORGETS_MASK, "when the masked token", False),
    "positions not from the mask": (
        "gpt2",
        "left_padding_does_not_change_logits",
        inputs_changed(_own_positions),
        "on the left",
        False,
    ),
    "mask forgotten behind padding": (
        "llama",
        "left_padding_does_not_change_logits",
        # positions too: without a mask, positions that begin anew would be read as a packed row
        attribute(module_of(), "create_causal_mask", replacing(_no_padding_at_all)),
        "on the left",
        False,
    ),
    "padding shifts positions": (
        "gpt2",
        "right_padding_does_not_change_logits",
        output_of("transformer.h.0", lambda x: x - x.mean(1, keepdim=True)),
        "on the right",
        False,
    ),
    "stale cache": ("llama", "cached_steps_match_one_pass", _STALE_CACHE, "when read from a cache of 10 tokens", False),
    "chunk sees its own future": (
        "llama",
        "chunked_prefill_matches_one_pass",
        attribute(module_of(), "create_causal_mask", _mask(99, only_chunks=True)),
        "when read from a cache of 6 tokens",
        False,
    ),
    "stale cache in generation": (
        "llama",
        "cached_and_uncached_greedy_generation_agree",
        _STALE_CACHE,
        "logits of new token 1",
        False,
    ),
    "beams not reordered": (
        "gpt2",
        "beam_search_agrees_with_and_without_cache",
        attribute(lambda cell: cache_utils.DynamicCache, "reorder_cache", _reorders_wrongly),
        "tokens of beam search",
        False,
    ),
    "state between generations": ("llama", "sampling_is_reproducible", _drifting, "sampled tokens", False),
    "rotary positions dropped": (
        "llama",
        "token_order_matters",
        attribute(module_of(), "apply_rotary_pos_emb", lambda q, k, *args, **given: (q, k)),
        "change places",
        False,
    ),
    "position ids ignored": (
        "llama",
        "position_ids_are_used",
        inputs_changed(_own_positions),
        "when position ids skip a place",
        False,
    ),
    "recurrent state forgotten": (
        "mamba",
        "cached_steps_match_one_pass",
        inputs_changed(lambda given: {**given, "cache_params": None}),
        "when read from a cache of 10 tokens",
        False,
    ),
    "labels shifted twice": (
        "llama",
        "loss_is_the_cross_entropy_of_the_next_token",
        inputs_changed(_shifted_labels),
        "loss differs",
        False,
    ),
    "ignored labels counted": (
        "llama",
        "loss_is_the_cross_entropy_of_the_next_token",
        inputs_changed(_counts_ignored),
        "loss differs",
        False,
    ),
    "cannot generate": (
        "llama",
        "cached_and_uncached_greedy_generation_agree",
        _NO_GENERATION,
        "LlamaForCausalLM cannot generate: it has no GenerationMixin",
        False,
    ),
    "cannot sample": ("llama", "sampling_is_reproducible", _NO_GENERATION, "LlamaForCausalLM cannot generate", False),
    "cannot search": (
        "gpt2",
        "beam_search_agrees_with_and_without_cache",
        _NO_GENERATION,
        "GPT2LMHeadModel cannot generate",
        False,
    ),
    "no cache": (
        "llama",
        "cached_steps_match_one_pass",
        _lost("past_key_values"),
        "LlamaForCausalLM.forward takes no past_key_values, which every decoder model must take",
        False,
    ),
    "cache swallowed by keywords": (
        "llama",
        "cached_steps_match_one_pass",
        _hidden_and_ignored("past_key_values"),
        "logits of token",
        False,
    ),
    "cache never filled": (
        "llama",
        "chunked_prefill_matches_one_pass",
        field("past_key_values", lambda x: None),
        "returned no past_key_values",
        False,
    ),
    "no mask": ("llama", "attention_mask_is_respected", _lost("attention_mask"), "takes no attention_mask", False),
    "no mask to pad with": (
        "llama",
        "right_padding_does_not_change_logits",
        _lost("attention_mask"),
        "takes no attention_mask",
        False,
    ),
    "no mask for left padding": (
        "llama",
        "left_padding_does_not_change_logits",
        _lost("attention_mask"),
        "takes no attention_mask",
        False,
    ),
    "position ids swallowed by keywords": (
        "llama",
        "position_ids_are_used",
        _hidden_and_ignored("position_ids"),
        "when position ids skip a place",
        False,
    ),
    "no labels": (
        "llama",
        "loss_is_the_cross_entropy_of_the_next_token",
        _lost("labels"),
        "LlamaForCausalLM.forward takes no labels",
        False,
    ),
    "labels swallowed by keywords": (
        "llama",
        "loss_is_the_cross_entropy_of_the_next_token",
        _hidden_and_ignored("labels"),
        "LlamaForCausalLM was given labels and gives no loss",
        False,
    ),
}

_FORGETS_BIDIRECTIONAL = attribute(module_of(), "create_bidirectional_mask", replacing(_no_padding))

ENCODER: dict[str, tuple[str, str, Break, str, bool]] = {
    "padding attended to": (
        "bert",
        "padding_does_not_change_the_other_tokens",
        _FORGETS_BIDIRECTIONAL,
        "when 3 tokens of padding are added on the right",
        False,
    ),
    "attention mask forgotten": (
        "bert",
        "attention_mask_is_respected",
        _FORGETS_BIDIRECTIONAL,
        "when the masked token",
        False,
    ),
    "causal mask in an encoder": (
        "bert",
        "every_token_sees_both_directions",
        attribute(module_of(), "create_bidirectional_mask", replacing(_one_sided)),
        "does not move when the later token",
        False,
    ),
    "positions dropped": (
        "bert",
        "token_order_matters",
        zeroed("bert.embeddings.position_embeddings.weight"),
        "change places",
        True,
    ),
    "padding attended to by a class of the whole text": (
        "bert_classifier",
        "padding_does_not_change_the_other_tokens",
        _FORGETS_BIDIRECTIONAL,
        "when 3 tokens of padding are added on the right",
        False,
    ),
    "attention mask forgotten by a class of the whole text": (
        "bert_classifier",
        "attention_mask_is_respected",
        _FORGETS_BIDIRECTIONAL,
        "when the masked token",
        False,
    ),
    "causal mask under a class of the whole text": (
        "bert_classifier",
        "every_token_sees_both_directions",
        attribute(module_of(), "create_bidirectional_mask", replacing(_one_sided)),
        "main output does not move when token",
        False,
    ),
    "positions dropped under a class of the whole text": (
        "bert_classifier",
        "token_order_matters",
        zeroed("bert.embeddings.position_embeddings.weight"),
        "change places",
        True,
    ),
    "ignored row counted": (
        "bert_classifier",
        "masked_language_modelling_loss_ignores_minus_100",
        inputs_changed(_counts_ignored),
        "loss differs",
        False,
    ),
    "token types ignored": ("bert", "token_types_move_the_output", without("token_type_ids"), "token type 1", False),
    "ignored labels counted": (
        "bert",
        "masked_language_modelling_loss_ignores_minus_100",
        inputs_changed(_counts_ignored),
        "loss differs",
        False,
    ),
    "labels shifted": (
        "bert",
        "masked_language_modelling_loss_ignores_minus_100",
        inputs_changed(_shifted_labels),
        "loss differs",
        False,
    ),
    "no mask": (
        "bert",
        "padding_does_not_change_the_other_tokens",
        _lost("attention_mask"),
        "BertForMaskedLM.forward takes no attention_mask, which every encoder model must take",
        False,
    ),
    "no mask to respect": ("bert", "attention_mask_is_respected", _lost("attention_mask"), "takes no attention", False),
    "no labels": (
        "bert",
        "masked_language_modelling_loss_ignores_minus_100",
        _lost("labels"),
        "BertForMaskedLM.forward takes no labels",
        False,
    ),
    "labels swallowed by keywords": (
        "bert",
        "masked_language_modelling_loss_ignores_minus_100",
        _hidden_and_ignored("labels"),
        "BertForMaskedLM was given labels and gives no loss",
        False,
    ),
}

_BART_MASKS = module_of("model.decoder")


def _no_cross_padding(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    attribute(_BART_MASKS, "create_bidirectional_mask", replacing(_no_padding))(cell, monkeypatch)


def _no_encoder_positions(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        cell.model.model.encoder.embed_positions.weight.zero_()


def _no_cross_attention(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    for layer in cell.model.model.decoder.layers:
        layer.encoder_attn.register_forward_hook(
            lambda module, args, output: (torch.zeros_like(output[0]), *output[1:])
        )


ENCODER_DECODER: dict[str, tuple[str, str, Break, str, bool]] = {
    "no causal mask": (
        "bart",
        "decoder_causality",
        attribute(_BART_MASKS, "create_causal_mask", _mask(99)),
        "when the later token",
        False,
    ),
    "decoder mask forgotten": (
        "bart",
        "decoder_attention_mask_is_respected",
        without("decoder_attention_mask"),
        "when the masked token",
        False,
    ),
    "decoder padding reaches back": (
        "bart",
        "decoder_padding_does_not_change_logits",
        output_of(_CENTRED, lambda x: x - x.mean(1, keepdim=True)),
        "on the right",
        False,
    ),
    "encoder padding attended to": (
        "bart",
        "encoder_padding_does_not_change_logits",
        _no_cross_padding,
        "added behind the encoder's",
        False,
    ),
    "encoder mask forgotten": (
        "bart",
        "encoder_attention_mask_is_respected",
        without("attention_mask"),
        "when the masked encoder token",
        False,
    ),
    "cross attention cut": (
        "bart",
        "cross_attention_is_used",
        _no_cross_attention,
        "logits of the first decoder token",
        True,
    ),
    "encoder positions dropped": ("bart", "encoder_token_order_matters", _no_encoder_positions, "change places", True),
    "stale cache": ("bart", "cached_steps_match_one_pass", _STALE_CACHE, "when read from a cache of 7 tokens", False),
    "stale cache in generation": (
        "bart",
        "cached_and_uncached_greedy_generation_agree",
        _STALE_CACHE,
        "logits of new token",
        False,
    ),
    "generation feeds other tokens": (
        "bart",
        "generation_agrees_with_a_loop_over_forward",
        attribute(lambda cell: cell.model_class, "prepare_inputs_for_generation", replacing(_feeds_other_tokens)),
        "between generate and a plain forward",
        False,
    ),
    "labels not shifted": (
        "bart",
        "labels_are_shifted_into_decoder_inputs",
        attribute(module_of(), "shift_tokens_right", lambda ids, *rest: ids.clamp(min=0)),
        "labels shifted by hand",
        False,
    ),
    "language code not first": (
        "mbart",
        "labels_are_shifted_into_decoder_inputs",
        attribute(module_of(), "shift_tokens_right", lambda ids, pad: ids.roll(1, dims=1).clamp(min=pad)),
        "labels shifted by hand",
        False,
    ),
    "loss of other labels": (
        "bart",
        "labels_are_shifted_into_decoder_inputs",
        field("loss", lambda x: 1.5 * x),
        "loss differs",
        False,
    ),
    "cannot generate": (
        "bart",
        "cached_and_uncached_greedy_generation_agree",
        _NO_GENERATION,
        "BartForConditionalGeneration cannot generate",
        False,
    ),
    "cannot generate step by step": (
        "bart",
        "generation_agrees_with_a_loop_over_forward",
        _NO_GENERATION,
        "BartForConditionalGeneration cannot generate",
        False,
    ),
    "no cache": ("bart", "cached_steps_match_one_pass", _lost("past_key_values"), "takes no past_key_values", False),
    "no encoder mask": (
        "bart",
        "encoder_attention_mask_is_respected",
        _lost("attention_mask"),
        "takes no attention_mask, which every encoder_decoder model must take",
        False,
    ),
    "no encoder mask to pad with": (
        "bart",
        "encoder_padding_does_not_change_logits",
        _lost("attention_mask"),
        "takes no attention_mask",
        False,
    ),
    "no decoder mask": (
        "bart",
        "decoder_attention_mask_is_respected",
        _lost("decoder_attention_mask"),
        "takes no decoder_attention_mask",
        False,
    ),
    "no decoder mask to pad with": (
        "bart",
        "decoder_padding_does_not_change_logits",
        _lost("decoder_attention_mask"),
        "takes no decoder_attention_mask",
        False,
    ),
    "no labels": ("bart", "labels_are_shifted_into_decoder_inputs", _lost("labels"), "takes no labels", False),
}

CASES: dict[str, tuple[Any, ...]] = {
    f"{category}: {name}": (model, f"{category}::{check}", *rest)
    for category, cases in (("decoder", DECODER), ("encoder", ENCODER), ("encoder_decoder", ENCODER_DECODER))
    for name, (model, check, *rest) in cases.items()
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_broken_model_is_caught(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, check, broken, says, own = CASES[case]
    assert_caught(model, check, broken, says, monkeypatch, own=own)


@pytest.mark.parametrize("category", ["decoder", "encoder", "encoder_decoder"])
def test_every_check_has_a_broken_model(category: str) -> None:
    assert {check for _, check, *_ in CASES.values() if check.startswith(f"{category}::")} == checks_of(category)


def test_a_list_inside_the_layers_is_no_stack_of_layers() -> None:
    adapters = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    mixed = torch.nn.Module()
    mixed.layers = torch.nn.ModuleList([torch.nn.ReLU(), torch.nn.Sequential(adapters)])
    alike = torch.nn.Module()
    alike.layers = torch.nn.ModuleList([torch.nn.Sequential(adapters), torch.nn.Sequential(adapters)])
    assert text_layers(mixed) == {}
    assert list(text_layers(alike)) == ["layers"]


def test_the_encoder_reads_the_documents_where_a_class_takes_them() -> None:
    from transformers import BartForConditionalGeneration, RagTokenForGeneration

    from harness.checks import encoder_decoder

    sides = [
        encoder_decoder._encoder_side(cast(Cell, SimpleNamespace(model_class=cls))).tokens
        for cls in (BartForConditionalGeneration, RagTokenForGeneration)
    ]
    assert sides == ["input_ids", "context_input_ids"]


def test_what_a_forward_hands_on_itself_is_no_keyword_of_its_callers() -> None:
    from transformers import JevForDecision, LlamaForCausalLM

    from harness.generation import _sets

    assert _sets(JevForDecision, "use_cache")
    assert not _sets(LlamaForCausalLM, "use_cache")
    assert not _sets(JevForDecision, "attention_mask")


def test_a_decoder_that_reads_an_encoder_generates_with_a_cache_of_two_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness import generation

    cell = shared_cell("trocr")
    checks = ("cached_and_uncached_greedy_generation_agree", "beam_search_agrees_with_and_without_cache")
    assert [run_check(cell, f"decoder::{name}").outcome for name in checks] == ["passed", "passed"]
    monkeypatch.setattr(generation, "_reads_an_encoder", lambda cell, inputs: False)
    assert [run_check(cell, f"decoder::{name}").outcome for name in checks] == ["failed", "failed"]


def test_a_recurrent_state_is_no_cache_of_keys() -> None:
    from transformers import BertForMaskedLM, JambaForCausalLM, MambaForCausalLM, RwkvForCausalLM

    from harness.generation import recurrent_state

    assert recurrent_state(MambaForCausalLM) == "cache_params"
    assert recurrent_state(RwkvForCausalLM) == "state"
    assert recurrent_state(JambaForCausalLM) is None  # it has keys too, in one cache with the state
    assert recurrent_state(BertForMaskedLM) is None
