"""Checks of encoder-decoders: the decoder's causality and cache, the encoder's padding, what joins the two."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness import generation
from harness.cell import Cell
from harness.checking import check
from harness.compare import assert_close, assert_moved
from harness.generation import (
    DECODER_ONLY,
    DECODER_SIDE,
    Stream,
    cross_entropy,
    logits_of,
    loss_of,
    parameters_of,
    require,
)
from harness.inputs.request import IGNORED


@pytest.fixture(scope="session")
def inputs(cell: Cell) -> dict[str, Tensor]:
    """The cell's inputs with an explicit decoder side."""
    return _with_decoder(cell)


def _with_decoder(cell: Cell) -> dict[str, Tensor]:
    """Returns the cell's inputs; where they leave the decoder side to the model, the encoder's tokens serve."""
    given = dict(cell.inputs)
    if "decoder_input_ids" not in given:
        given["decoder_input_ids"] = given["input_ids"].clone()
    return given


def _encoder_side(cell: Cell) -> Stream:
    """Returns the stream that the encoder reads: the row's text, or the documents that were found for it."""
    if "context_input_ids" in parameters_of(cell.model_class):
        return Stream("context_input_ids", "context_attention_mask", "context_position_ids")
    return DECODER_ONLY


# An encoder-decoder has a cache, generates, and takes masks for both sides and labels: that it lacks one is what a
# check finds, never a reason for it not to apply. A model that lacks one by design needs data in its declaration.
@check(level="consistent", core=True)
def test_decoder_causality(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds a causal mask that is missing or off by one in the decoder: a later token moves earlier logits."""
    generation.assert_causal(cell, inputs, DECODER_SIDE)


@check(level="consistent")
def test_decoder_attention_mask_is_respected(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds a decoder mask that is ignored: a masked token's content reaches the tokens after it."""
    generation.assert_masked_token_ignored(cell, inputs, DECODER_SIDE)


@check(level="consistent")
def test_decoder_padding_does_not_change_logits(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds padding behind the decoder's tokens that reaches them."""
    generation.assert_padding_ignored(cell, inputs, side="right", stream=DECODER_SIDE)


@check(level="consistent", core=True)
def test_encoder_padding_does_not_change_logits(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds encoder padding that the encoder attends to, or the decoder's cross attention does."""
    side = _encoder_side(cell)
    require(cell, side.mask)
    before = logits_of(cell, inputs)
    given = {name: inputs[name] for name in inputs if not name.startswith("decoder_")}
    padded = generation.pad(cell, given, 3, side="right", stream=side)
    padded.pop(side.positions, None)
    after = logits_of(cell, {**inputs, **padded})
    assert_close(
        "decoder logits", after, before, cell.tolerance, "when 3 tokens of padding are added behind the encoder's"
    )


@check(level="consistent", core=True)
def test_encoder_attention_mask_is_respected(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds an encoder mask that is ignored by the encoder or by cross attention: a masked token moves the logits."""
    side = _encoder_side(cell)
    require(cell, side.mask)
    tokens = inputs[side.tokens]
    index = generation.plain_positions(cell, tokens[0])[1]
    mask = inputs.get(side.mask, torch.ones_like(tokens)).clone()
    mask[:, index] = 0
    masked = {**inputs, side.mask: mask}
    before = logits_of(cell, masked)
    after = logits_of(cell, {**masked, side.tokens: generation.with_token(cell, tokens, index)})
    assert_close("decoder logits", after, before, cell.tolerance, f"when the masked encoder token {index} is changed")
    assert_moved("decoder logits", before, logits_of(cell, inputs), f"when encoder token {index} is masked")


@check(level="consistent", core=True)
def test_cross_attention_is_used(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds a decoder that does not look at the encoder, at any of its positions."""
    before = logits_of(cell, inputs)
    side = _encoder_side(cell)
    tokens = inputs[side.tokens]
    plain = generation.plain_positions(cell, tokens[0])
    for index in sorted({plain[0], plain[-1]}):
        after = logits_of(cell, {**inputs, side.tokens: generation.with_token(cell, tokens, index)})
        assert_moved(
            "logits of the first decoder token", after[:, 0], before[:, 0], f"when encoder token {index} is changed"
        )


@check(level="consistent", core=True)
def test_encoder_token_order_matters(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds positions dropped in the encoder: without them, swapping two of its tokens leaves the decoder alone."""
    side = _encoder_side(cell)
    tokens = inputs[side.tokens].clone()
    plain = generation.plain_positions(cell, tokens[0])
    first, second = plain[0], plain[-1]
    for row in range(tokens.shape[0]):
        tokens[row, first] = generation.other_token(cell, int(tokens[row, second]))
    swapped = tokens.clone()
    swapped[:, first], swapped[:, second] = tokens[:, second], tokens[:, first]
    before = logits_of(cell, {**inputs, side.tokens: tokens})
    after = logits_of(cell, {**inputs, side.tokens: swapped})
    assert_moved("decoder logits", after, before, f"when encoder tokens {first} and {second} change places")


@check(level="consistent", core=True)
def test_cached_steps_match_one_pass(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds a cache that is stale, off by one, or mixes up self and cross attention, token by token."""
    length = inputs["decoder_input_ids"].shape[1]
    generation.assert_cached_steps_match(cell, inputs, [length - 2, 1, 1], DECODER_SIDE)


@check(level="consistent", core=True)
def test_cached_and_uncached_greedy_generation_agree(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds generate taking other logits or tokens with the cache than without."""
    prompt = {name: tensor for name, tensor in inputs.items() if not name.startswith("decoder_")}
    cached = generation.generate(cell, prompt, use_cache=True)
    uncached = generation.generate(cell, prompt, use_cache=False)
    generation.assert_generations_agree(cell, cached, uncached)


@check(level="consistent")
def test_generation_agrees_with_a_loop_over_forward(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds generate feeding the model something else than its encoder's tokens and what it generated so far."""
    prompt = {name: tensor for name, tensor in inputs.items() if not name.startswith("decoder_")}
    result = generation.generate(cell, prompt)
    start = result.tokens.shape[1] - len(result.logits)
    for index, logits in enumerate(result.logits):
        so_far = {**prompt, "decoder_input_ids": result.tokens[:, : start + index]}
        expected = logits_of(cell, so_far)[:, -1]
        assert_close(
            f"logits of new token {index}",
            logits,
            expected.to(logits),
            cell.tolerance,
            "between generate and a plain forward",
        )


@check(level="consistent", core=True)
def test_labels_are_shifted_into_decoder_inputs(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds labels shifted wrongly on their way into the decoder, a wrong start token, or -100 read as a token."""
    require(cell, "labels")
    labels = inputs["decoder_input_ids"].clone()
    labels[:, -1] = IGNORED
    base = {name: tensor for name, tensor in inputs.items() if not name.startswith("decoder_")}
    outputs = cell.forward(inputs={**base, "labels": labels})
    shifted = _shifted(cell, labels)
    expected = logits_of(cell, {**base, "decoder_input_ids": shifted})
    logits = cell.primary(outputs)
    assert_close("logits", logits, expected, cell.tolerance, "between labels and the same labels shifted by hand")
    assert_close(
        "loss",
        loss_of(cell, outputs),
        cross_entropy(logits, labels),
        cell.tolerance,
        "against the cross entropy of the logits at the labels",
    )


def _shifted(cell: Cell, labels: Tensor) -> Tensor:
    """Returns labels (batch, sequence) as the decoder must read them: one place later, behind the start token.

    A config without a start token is that of a model whose texts end with the code of their language: that last
    token, padding aside, is the first (mBART; `shift_tokens_right` in modeling_mbart.py).
    """
    tokens = labels.masked_fill(labels == IGNORED, generation.pad_token(cell))
    shifted = tokens.roll(1, dims=1)
    start = getattr(cell.config, "decoder_start_token_id", None)
    if start is not None:
        shifted[:, 0] = int(start)
    else:
        last = (labels != IGNORED).sum(dim=1) - 1
        shifted[:, 0] = tokens[torch.arange(tokens.shape[0], device=tokens.device), last]
    return shifted
