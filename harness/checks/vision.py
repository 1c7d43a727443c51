"""Checks of vision models: every part of the image counts, where it lies counts, features have the config's shapes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.cell import Cell
from harness.checking import check
from harness.compare import EFFECT, assert_close, assert_finite, assert_moved, magnitude
from harness.generation import cross_entropy, takes

_PIXELS = ("pixel_values", "pixel_values_videos")
_REGIONS = 4  # per side: the image is examined in 4 x 4 parts


@pytest.fixture(scope="session")
def primary(cell: Cell) -> Tensor:
    """The main output on the cell's inputs, computed once."""
    return cell.primary(cell.forward())


def _pixels(cell: Cell) -> tuple[str, Tensor]:
    """Returns the input that holds the pictures, or the frames of videos, and its name."""
    name = next((name for name in _PIXELS if name in cell.inputs), None)
    assert name is not None, f"the inputs hold no picture ({', '.join(cell.inputs)})"
    return name, cell.inputs[name]


def _with_pixels(cell: Cell, pixels: Tensor) -> Tensor:
    return cell.primary(cell.forward(inputs={**cell.inputs, _pixels(cell)[0]: pixels}))


def _patch(cell: Cell) -> int:
    """Returns the side of a patch in pixels; a quarter of the image where the model has no patches."""
    size = getattr(cell.config, "patch_size", None)
    size = size[0] if isinstance(size, (list, tuple)) else size
    height = _pixels(cell)[1].shape[-2]
    return size if isinstance(size, int) and 2 * size <= height else max(1, height // 4)


def _fixed_size(cell: Cell) -> str | None:
    return None if takes(cell, "interpolate_pos_encoding") else "forward takes no interpolate_pos_encoding"


def _no_class_labels(cell: Cell) -> str | None:
    if not cell.model_class.__name__.endswith("ForImageClassification"):
        return f"{cell.model_class.__name__} is no classifier"
    return None if takes(cell, "labels") else "forward takes no labels"


def _no_stages(cell: Cell) -> str | None:
    if _states(cell) is None:
        return "the config states neither depths nor num_hidden_layers for its hidden states"
    output = cell.forward()
    if not hasattr(output, "hidden_states"):
        return f"{type(output).__name__} keeps the hidden states of the model's parts under names of their own"
    return None


def _states(cell: Cell) -> int | None:
    """Returns how many hidden states the config promises: the embedding's and one per stage or layer.

    Where each stage has an embedding of its own (a list of patch sizes), there is none before the first.
    """
    depths = getattr(cell.config, "depths", None)
    if isinstance(depths, (list, tuple)):
        patches = getattr(cell.config, "patch_sizes", None)
        return len(depths) + (0 if isinstance(patches, (list, tuple)) and len(patches) == len(depths) else 1)
    layers = getattr(cell.config, "num_hidden_layers", None)
    return layers + 1 if isinstance(layers, int) else None


@check(level="consistent", core=True)
def test_every_region_of_the_image_moves_the_output(cell: Cell) -> None:
    """Finds parts of the image that are never read: a crop, a wrong stride, patches that are dropped."""
    name, given = _pixels(cell)
    pixels = given.clone().requires_grad_()
    primary = cell.primary(cell.model(**{**cell.inputs, name: pixels}))
    weights = torch.randn(primary.shape, generator=torch.Generator().manual_seed(3)).to(primary)
    (gradient,) = torch.autograd.grad((primary * weights).sum(), pixels)
    assert_finite(f"gradient of {name}", gradient)
    rows = gradient.abs().flatten(0, -4).amax(dim=1) if gradient.dim() > 4 else gradient.abs().amax(dim=1)
    height, width = rows.shape[-2] // _REGIONS, rows.shape[-1] // _REGIONS
    largest = magnitude(rows)
    for row in range(rows.shape[0]):
        for down in range(_REGIONS):
            for across in range(_REGIONS):
                part = rows[row, down * height : (down + 1) * height, across * width : (across + 1) * width]
                share = magnitude(part) / max(largest, 1e-12)
                assert share > EFFECT, (
                    f"output of row {row} does not depend on pixels [{down * height}:{(down + 1) * height}, "
                    f"{across * width}:{(across + 1) * width}]: their largest gradient is {share:.3g} of the image's"
                )


@check(level="consistent", core=True)
def test_place_of_a_patch_matters(cell: Cell, primary: Tensor) -> None:
    """Finds positions that were dropped: without them, an image with two patches exchanged gives the same output."""
    side = _patch(cell)
    pixels = _pixels(cell)[1].clone()
    first = pixels[..., :side, :side].clone()
    down = (pixels.shape[-2] // side - 1) * side
    across = (pixels.shape[-1] // side - 1) * side
    pixels[..., :side, :side] = pixels[..., down : down + side, across : across + side]
    pixels[..., down : down + side, across : across + side] = first
    assert_moved(
        "the main output", _with_pixels(cell, pixels), primary, "when the first and the last patch change places"
    )


@check(level="consistent", core=True)
def test_order_of_channels_matters(cell: Cell, primary: Tensor) -> None:
    """Finds an image read as grey, or one channel read three times."""
    pixels = _pixels(cell)[1].flip(-3)
    assert_moved("the main output", _with_pixels(cell, pixels), primary, "when the order of the channels is reversed")


@check(level="consistent")
def test_memory_layout_does_not_matter(cell: Cell, primary: Tensor) -> None:
    """Finds a view of the pixels that takes their place in memory for their place in the image."""
    _, pixels = _pixels(cell)
    other = pixels.transpose(-1, -2).contiguous().transpose(-1, -2)
    assert_close(
        "the main output",
        _with_pixels(cell, other),
        primary,
        cell.tolerance,
        "when the pixels lie column by column in memory",
    )


@check(level="consistent", unless=_no_stages)
def test_hidden_states_are_one_per_layer(cell: Cell) -> None:
    """Finds hidden states that are missing, doubled, or of the wrong batch."""
    outputs = cell.forward(output_hidden_states=True)
    states = outputs.hidden_states
    assert states is not None, "forward(output_hidden_states=True) returned none"
    assert len(states) == _states(cell), f"{len(states)} hidden states, the config promises {_states(cell)}"
    for index, state in enumerate(states):
        packed = "image_sizes" in cell.inputs and state.shape[0] == 1  # pictures of sizes of their own, in one sequence
        assert packed or state.shape[0] == _pixels(cell)[1].shape[0], f"hidden_states {index} has {state.shape[0]} rows"
        assert_finite(f"hidden_states {index}", state)


@check(level="consistent", unless=_fixed_size)
def test_interpolated_positions_serve_other_sizes(cell: Cell, primary: Tensor) -> None:
    """Finds an interpolation of positions that changes the trained size, or fails on a larger image."""
    same = cell.primary(cell.forward(interpolate_pos_encoding=True))
    assert_close(
        "the main output", same, primary, cell.tolerance, "when positions are interpolated to the size they have"
    )
    name, pixels = _pixels(cell)
    larger = torch.cat([pixels] * 2, dim=-1)
    larger = torch.cat([larger, larger], dim=-2)
    others = {key: value for key, value in cell.inputs.items() if key != "noise"}  # one value for each patch
    outputs = cell.forward(inputs={**others, name: larger}, interpolate_pos_encoding=True)
    assert_finite("the main output", cell.primary(outputs), "on an image of twice the size")
    assert_moved("the main output", cell.primary(outputs), primary, "when the image is repeated to twice the size")


@check(level="consistent", core=True, unless=_no_class_labels)
def test_loss_is_the_cross_entropy_of_the_labels(cell: Cell) -> None:
    """Finds a classification loss that is not the cross entropy of the logits at the labels."""
    count = cell.config.num_labels
    _, pixels = _pixels(cell)
    labels = torch.arange(pixels.shape[0], device=pixels.device) % count
    outputs = cell.forward(inputs={**cell.inputs, "labels": labels})
    assert_close(
        "loss",
        outputs.loss,
        cross_entropy(outputs.logits, labels),
        cell.tolerance,
        "against the cross entropy of the logits",
    )
