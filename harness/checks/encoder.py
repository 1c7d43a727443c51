"""Checks of encoders: padding, masks, both directions, order, the loss of masked tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness import generation
from harness.cell import Cell
from harness.checking import check
from harness.compare import assert_close, assert_moved
from harness.generation import cross_entropy, logits_of, loss_of, partly_ignored, require, takes
from harness.inputs.request import IGNORED


@pytest.fixture(scope="session")
def logits(cell: Cell) -> Tensor:
    """The main output on the cell's inputs, computed once."""
    return logits_of(cell, cell.inputs)


# An encoder takes a mask and has the loss of masked tokens: that it lacks one is what a check finds, never a reason
# for it not to apply. An encoder of another training (electra's, dpr's) must say so in its declaration, as data.
def _one_token_type(cell: Cell) -> str | None:
    if not takes(cell, "token_type_ids"):
        return "forward takes no token_type_ids"
    size = getattr(cell.config, "type_vocab_size", 0)
    return None if size > 1 else f"the config has {size} token types, there is no other to change to"


def _pooled(cell: Cell, logits: Tensor) -> bool:
    """Whether the main output is one vector a row (a class of the text, an embedding) and has no place per token."""
    return logits.dim() < 2 or (logits.dim() == 2 and logits.shape[1] != cell.inputs["input_ids"].shape[1])


@check(level="consistent", core=True)
def test_padding_does_not_change_the_other_tokens(cell: Cell) -> None:
    """Finds padding that is attended to, or that shifts the positions of the tokens before it."""
    require(cell, "attention_mask")
    logits = logits_of(cell, cell.inputs)
    if not _pooled(cell, logits):
        generation.assert_padding_ignored(cell, cell.inputs, side="right")
        return
    padded = logits_of(cell, generation.pad(cell, cell.inputs, 3, side="right"))
    assert_close("main output", padded, logits, cell.tolerance, "when 3 tokens of padding are added on the right")


@check(level="consistent", core=True)
def test_attention_mask_is_respected(cell: Cell) -> None:
    """Finds an attention mask that is ignored, or lost in some layers: a masked token's content reaches others."""
    require(cell, "attention_mask")
    logits = logits_of(cell, cell.inputs)
    if not _pooled(cell, logits):
        generation.assert_masked_token_ignored(cell, cell.inputs)
        return
    tokens = cell.inputs["input_ids"]
    plain = [index for index in generation.plain_positions(cell, tokens[0]) if 0 < index < tokens.shape[1] - 1]
    assert plain, "no plain inner token, masking cannot be examined; give a longer sequence"
    mask = torch.ones_like(tokens)
    mask[:, plain[0]] = 0
    masked = {**cell.inputs, "attention_mask": mask}
    first = logits_of(cell, masked)
    second = logits_of(cell, {**masked, "input_ids": generation.with_token(cell, tokens, plain[0])})
    assert_close("main output", second, first, cell.tolerance, f"when the masked token {plain[0]} is changed")
    assert_moved("main output", first, logits, f"when token {plain[0]} is masked")


@check(level="consistent", core=True)
def test_every_token_sees_both_directions(cell: Cell, logits: Tensor) -> None:
    """Finds a causal mask in an encoder, or attention cut to one side: a token must move those before and after it."""
    tokens = cell.inputs["input_ids"]
    plain = generation.plain_positions(cell, tokens[0])
    first, last = plain[0], plain[-1]
    assert last - first > 1, "too few plain tokens to look both ways; give a longer sequence"
    later = logits_of(cell, {**cell.inputs, "input_ids": generation.with_token(cell, tokens, last)})
    earlier = logits_of(cell, {**cell.inputs, "input_ids": generation.with_token(cell, tokens, first)})
    if _pooled(cell, logits):
        assert_moved("main output", later, logits, f"when token {last} is changed")
        assert_moved("main output", earlier, logits, f"when token {first} is changed")
        return
    assert_moved(
        f"output at position {first}", later[:, first], logits[:, first], f"when the later token {last} is changed"
    )
    assert_moved(
        f"output at position {last}", earlier[:, last], logits[:, last], f"when the earlier token {first} is changed"
    )


@check(level="consistent", core=True)
def test_token_order_matters(cell: Cell, logits: Tensor) -> None:
    """Finds positions that were dropped: without them, swapping two tokens leaves every other output alone."""
    tokens = cell.inputs["input_ids"].clone()
    plain = generation.plain_positions(cell, tokens[0])
    assert len(plain) >= 4, "too few plain tokens to swap two; give a longer sequence"
    first, second, watched = plain[1], plain[-1], plain[0]
    for row in range(tokens.shape[0]):
        tokens[row, first] = generation.other_token(cell, int(tokens[row, second]))
    inputs = {**cell.inputs, "input_ids": tokens}
    before = logits_of(cell, inputs)
    after = logits_of(cell, generation.exchanged(inputs, first, second))
    when = f"when tokens {first} and {second} change places"
    if _pooled(cell, logits):
        assert_moved("main output", after, before, when)
    else:
        assert_moved(f"output at position {watched}", after[:, watched], before[:, watched], when)


@check(level="consistent", unless=_one_token_type)
def test_token_types_move_the_output(cell: Cell) -> None:
    """Finds token types that are accepted and ignored, and a default that is not type 0."""
    tokens = cell.inputs["input_ids"]
    zeros = torch.zeros_like(tokens)
    base = {name: tensor for name, tensor in cell.inputs.items() if name != "token_type_ids"}
    default = logits_of(cell, base)
    assert_close(
        "logits",
        logits_of(cell, {**base, "token_type_ids": zeros}),
        default,
        cell.tolerance,
        "when token type 0 is given explicitly",
    )
    ones = zeros.clone()
    ones[:, tokens.shape[1] // 2 :] = 1
    assert_moved(
        "logits", logits_of(cell, {**base, "token_type_ids": ones}), default, "when the second half is of token type 1"
    )


def _first_row_ignored(classes: Tensor) -> Tensor:
    """Returns one label a row (batch,), the first ignored, from classes (batch, sequence)."""
    labels = classes[:, 0].clone()
    labels[0] = IGNORED
    return labels


@check(level="consistent", core=True)
def test_masked_language_modelling_loss_ignores_minus_100(cell: Cell, logits: Tensor) -> None:
    """Finds a loss that counts ignored labels (-100), is shifted, or is no cross entropy of the logits."""
    require(cell, "labels")
    classes = cell.inputs["input_ids"] % logits.shape[-1]  # the words themselves where the classes are the words
    labels = partly_ignored(classes) if not _pooled(cell, logits) else _first_row_ignored(classes)
    outputs = cell.forward(inputs={**cell.inputs, "labels": labels})
    expected = cross_entropy(cell.primary(outputs), labels)
    assert_close(
        "loss",
        loss_of(cell, outputs),
        expected,
        cell.tolerance,
        "against the cross entropy of the logits at labels other than -100",
    )
