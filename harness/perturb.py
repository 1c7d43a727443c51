"""Changing one input of a model in a way that a model which uses it must notice.

Which outputs have to move is the checks' business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.generation import plain_positions, vocabulary, with_token
from harness.inputs.configs import placeholder

if TYPE_CHECKING:
    from harness.cell import Cell

# Inputs that say how another input is laid out. A change of one contradicts the other, so they cannot be
# changed alone; that the layout is right shows in the other checks of the category.
STRUCTURAL = frozenset(
    {
        "image_sizes",
        "image_grid_thw",
        "image_grid_hw",
        "image_grids",
        "image_token_pooling",
        "images_per_sample",
        "video_grids",
        "video_token_pooling",
        "image_position_ids",
        "video_grid_thw",
        "spatial_shapes",
        "target_sizes",
        "target_sizes_videos",
        "image_merge_sizes",
        "video_merge_sizes",
        "position_ids",
        "audio_input_ids_mask",
        "input_values_cutoffs",
        "audio_embed_sizes",
    }
)

# Kinds, chains and molecules of tokens: what counts may be only whether two tokens have the same.
_COMPARED = ("token_type_ids", "asym_id", "sym_id", "entity_id")

SOUND_MASKS = (
    "input_features_mask",
    "feature_attention_mask",
    "padding_mask",
    "input_values_mask",
    "audio_attention_mask",
)
"""Masks over the frames or samples of sound, where `attention_mask` is over the words."""


def is_structural(cell: Cell, name: str) -> bool:
    """Returns whether an input says how another one is laid out; a mask over sound counts its placeholders."""
    if name == "pixel_attention_mask" and "spatial_shapes" in cell.inputs:  # counts the placeholders of a picture
        return placeholder(cell.config, "image") is not None
    if name == "image_attention_mask" and "image_pixel_values" in cell.inputs:  # says how far a picture's crops reach
        return True
    tiles = name == "pixel_attention_mask" and cell.inputs[name].dim() == 2  # says which tiles of a picture there are
    return name in STRUCTURAL or tiles or (name in SOUND_MASKS and placeholder(cell.config, "audio") is not None)


def perturbed(cell: Cell, inputs: dict[str, Tensor], name: str, *, known: bool = False) -> dict[str, Tensor]:
    """Returns `inputs` with the one called `name` changed, of the same shape and within its range.

    Args:
      known: a word is changed to another of its row: a class beside the main one may know fewer.

    Raises:
      AssertionError: the change would be none (for example, an input that is empty).
    """
    value = inputs[name]
    if value.is_floating_point():
        after = _noisy(value)
        if name == "flattened_patches":  # their row and column stand before the pixels
            after[..., :2] = value[..., :2]
    elif name.endswith("input_ids") or name == "input_ids":
        after = _word_repeated(cell, value) if known else _other_tokens(cell, value)
    elif name.endswith("position_mask"):
        after = value.roll(1, dims=-1)  # as many places as before: the features that go there are given
    elif name == "mm_token_type_ids":
        after = torch.zeros_like(value)  # all are words: a picture's place cannot move without the picture
    elif name == "attention_mask" and value.shape == inputs.get("input_ids", value[:0]).shape:
        after = _word_dropped(cell, inputs["input_ids"], value)
    elif name in ("pixel_attention_mask", "pixel_mask"):
        after = _lower_half_dropped(value)  # one pixel dropped is less than a patch
    elif name.endswith("mask") or value.dtype is torch.bool or name == "bool_masked_pos":
        after = _dropped(value, sound=name in SOUND_MASKS or ("input_ids" not in inputs and name == "attention_mask"))
    elif name == "bbox":
        after = _moved_boxes(value)
    elif name in _COMPARED:
        after = value.clone()  # not in all places: a model that compares them would see no difference
        after[..., value.shape[-1] // 2 :] = _shifted(value)[..., value.shape[-1] // 2 :]
    else:
        after = _shifted(value)
    assert not torch.equal(after, value), f"{name} could not be changed; give it other values in the declaration"
    return {**inputs, name: after}


def _noisy(value: Tensor) -> Tensor:
    """Adds seeded noise of half the input's own spread."""
    generator = torch.Generator().manual_seed(11)
    noise = torch.randn(value.shape, generator=generator).to(value)
    spread = float(value.double().std()) if value.numel() > 1 else 1.0
    return value + 0.5 * max(spread, 1e-3) * noise


def _other_tokens(cell: Cell, value: Tensor) -> Tensor:
    """Replaces one inner plain token of each row."""
    flat = value.reshape(-1, value.shape[-1])
    plain = plain_positions(cell, flat[-1 if value.dim() > 2 else 0])  # all streams of codes begin alike
    assert plain, "input_ids hold no plain token"
    limit = vocabulary(cell)
    assert int(value.max()) < limit
    return with_token(cell, flat, plain[len(plain) // 2]).reshape(value.shape)


def _word_repeated(cell: Cell, value: Tensor) -> Tensor:
    """Replaces one inner plain token of each row by another plain one of the same row."""
    after = value.clone()
    for row, tokens in zip(after.reshape(-1, value.shape[-1]), value.reshape(-1, value.shape[-1]), strict=True):
        plain = plain_positions(cell, tokens) or list(range(len(tokens)))
        place = plain[len(plain) // 2]
        others = [index for index in plain if tokens[index] != tokens[place]]
        if others:
            row[place] = tokens[others[0]]
    return after


def _dropped(value: Tensor, *, sound: bool) -> Tensor:
    """Inverts one inner element of each row of a mask; where it lies over sound, drops the last quarter of each row.

    One sample dropped is less than one frame of sound: a model that counts frames does not see it.
    """
    flat = value.reshape(value.shape[0], -1).clone()
    if sound:
        flat[:, -(flat.shape[1] // 4) :] = 0
        return flat.reshape(value.shape)
    column = flat.shape[1] // 2
    flat[:, column] = (flat[:, column] == 0).to(flat.dtype)
    return flat.reshape(value.shape)


def _lower_half_dropped(value: Tensor) -> Tensor:
    """Drops the lower half of each picture from a mask over its pixels (…, height, width)."""
    after = value.clone()
    after[..., value.shape[-2] // 2 :, :] = 0
    return after


def _word_dropped(cell: Cell, tokens: Tensor, mask: Tensor) -> Tensor:
    """Inverts the mask at one inner word of each row: a masked placeholder would leave features without a place."""
    length = tokens.shape[-1]
    plain = plain_positions(cell, tokens.reshape(-1, length)[0])
    inner = [index for index in plain if 0 < index < length - 1] or [length // 2]
    column = inner[len(inner) // 2]
    after = mask.clone()
    after[..., column] = (after[..., column] == 0).to(mask.dtype)
    return after


def _moved_boxes(value: Tensor) -> Tensor:
    """Moves every second box (…, 4 coordinates) by one step towards the origin or away from it, still a box.

    Where all move alike, a model that reads the distances between boxes sees nothing.
    """
    after = value.clone()
    after[..., ::2, :] += -1 if int(value[..., :2].amin()) > 0 else 1
    return after


def _shifted(value: Tensor) -> Tensor:
    """Takes every element to the next value that occurs, and an input of one value to the one below, or 0 to 1."""
    values = value.unique()
    if values.numel() == 1:
        return torch.ones_like(value) if int(values[0]) == 0 else value - 1
    index = torch.searchsorted(values, value.contiguous())
    return values[(index + 1) % values.numel()]
