"""Checks of decoders: causality, padding, caches, generation, positions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness import generation
from harness.cell import Cell
from harness.checking import check
from harness.compare import assert_close, assert_moved
from harness.generation import cross_entropy, logits_of, loss_of, parameters_of, partly_ignored, require, takes


@pytest.fixture(scope="session")
def inputs(cell: Cell) -> dict[str, Tensor]:
    """The cell's inputs."""
    return cell.inputs


# A decoder has a cache, generates, and takes a mask and labels: that it lacks one is no reason for a check not to
# apply, it is what the check finds. Decoders without attention (rwkv, mamba) lack some by design; once there is one,
# its declaration must say so, as data, for the code under test cannot be asked.
def _no_position_ids(cell: Cell) -> str | None:
    return None if takes(cell, "position_ids") else "forward takes no position_ids"


@check(level="consistent", core=True)
def test_causality(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds a causal mask that is missing, off by one, or lost in some layers: a later token moves earlier logits."""
    generation.assert_causal(cell, inputs)


@check(level="consistent", core=True)
def test_attention_mask_is_respected(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds an attention mask that is ignored, or lost in some layers: a masked token's content reaches others."""
    generation.assert_masked_token_ignored(cell, inputs)


@check(level="consistent", core=True)
def test_left_padding_does_not_change_logits(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds positions or masks that are wrong behind left padding, with position ids as generate derives them."""
    generation.assert_padding_ignored(cell, inputs, side="left")


@check(level="consistent")
def test_right_padding_does_not_change_logits(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds padding on the right that reaches the tokens before it, or moves their positions."""
    generation.assert_padding_ignored(cell, inputs, side="right")


@check(level="consistent", core=True)
def test_cached_steps_match_one_pass(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds a cache that is stale, off by one, or keyed to the wrong layer, token by token, on a left-padded batch."""
    padded = generation.left_padded_batch(cell, inputs)
    length = inputs["input_ids"].shape[1]
    generation.assert_cached_steps_match(cell, padded, [length - 3, 1, 1, 1])


@check(level="consistent")
def test_chunked_prefill_matches_one_pass(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds a causal mask or positions that are wrong when several tokens at once are read onto a filled cache."""
    length = inputs["input_ids"].shape[1]
    generation.assert_cached_steps_match(cell, inputs, [length // 2, length - length // 2])


@check(level="consistent", core=True)
def test_cached_and_uncached_greedy_generation_agree(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds generate taking other logits or tokens with the cache than without, on a batch with left padding."""
    prompt = generation.left_padded_batch(cell, inputs)
    cached = generation.generate(cell, prompt, use_cache=True)
    uncached = generation.generate(cell, prompt, use_cache=False)
    generation.assert_generations_agree(cell, cached, uncached)


@check(level="consistent")
def test_beam_search_agrees_with_and_without_cache(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds a cache whose rows are not reordered with the beams."""
    options = {"num_beams": 2, "max_new_tokens": 3}
    cached = generation.generate(cell, inputs, use_cache=True, **options)
    uncached = generation.generate(cell, inputs, use_cache=False, **options)
    assert_close("tokens of beam search", cached.tokens, uncached.tokens, cell.tolerance, "with the cache and without")


@check(level="consistent")
def test_sampling_is_reproducible(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds randomness in generation that the seed does not govern."""
    first = generation.generate(cell, inputs, do_sample=True, max_new_tokens=2)
    second = generation.generate(cell, inputs, do_sample=True, max_new_tokens=2)
    assert_close("sampled tokens", second.tokens, first.tokens, cell.tolerance, "with the same seed")


@check(level="consistent", core=True)
def test_token_order_matters(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds positions that were dropped: with one layer, swapping two earlier tokens leaves the last logits alone.

    A causal model of two layers notices order even without positions, through what each token could see; one
    layer does not, so the model's first layer alone is examined.
    """
    model = generation.first_layer_only(cell.model)
    tokens = inputs["input_ids"].clone()
    first, second = 1, tokens.shape[1] - 2
    for row in range(tokens.shape[0]):
        tokens[row, first] = generation.other_token(cell, int(tokens[row, second]))
    swapped = tokens.clone()
    swapped[:, first], swapped[:, second] = tokens[:, second], tokens[:, first]
    before = logits_of(cell, {**inputs, "input_ids": tokens}, model=model)[:, -1]
    after = logits_of(cell, {**inputs, "input_ids": swapped}, model=model)[:, -1]
    assert_moved(
        "logits of the last token", after, before, f"when tokens {first} and {second} change places (one layer)"
    )


@check(level="consistent", unless=_no_position_ids)
def test_position_ids_are_used(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds position ids that are ignored, and default positions that are not 0, 1, 2, …"""
    tokens = inputs["input_ids"]
    plain = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    before = logits_of(cell, inputs)
    explicit = logits_of(cell, {**inputs, "position_ids": plain})
    assert_close("logits", explicit, before, cell.tolerance, "when the default position ids are given explicitly")
    gap = plain.clone()
    gap[:, tokens.shape[1] // 2 :] += 1
    assert_moved("logits", logits_of(cell, {**inputs, "position_ids": gap}), before, "when position ids skip a place")


@check(level="consistent", core=True)
def test_loss_is_the_cross_entropy_of_the_next_token(cell: Cell, inputs: dict[str, Tensor]) -> None:
    """Finds labels that are shifted twice, not at all or the wrong way, and ignored labels (-100) that count."""
    require(cell, "labels")
    labels = partly_ignored(inputs["input_ids"])
    outputs = cell.forward(inputs={**inputs, "labels": labels})
    logits = cell.primary(outputs)
    expected = cross_entropy(logits[:, :-1], labels[:, 1:])
    auxiliary = getattr(outputs, "aux_loss", None)
    if isinstance(auxiliary, Tensor) and "output_router_logits" in parameters_of(cell.model_class):
        expected = expected + cell.config.get_text_config().router_aux_loss_coef * auxiliary
    assert_close(
        "loss",
        loss_of(cell, outputs),
        expected,
        cell.tolerance,
        "against the cross entropy of logits[:, :-1] at labels[:, 1:]",
    )
