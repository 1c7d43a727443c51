"""Checks of models of several modalities: each counts, each row keeps to itself, placeholders match features."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GenerationMixin

from harness import generation
from harness.cell import Cell
from harness.checking import check
from harness.compare import assert_all_close, assert_close, assert_finite, assert_moved
from harness.generation import (
    DECODER_ONLY,
    DECODER_SIDE,
    Stream,
    cross_entropy,
    logits_of,
    parameters_of,
    partly_ignored,
    takes,
)
from harness.perturb import perturbed
from harness.shapes import row_axis

_VISUAL = (
    "pixel_values",
    "pixel_values_videos",
    "image_pixel_values",
    "image_patches",
    "flattened_patches",
    "visual_feats",
    "visual_embeds",
)
_PROTEIN = ("protein_input_ids",)
"""What a text is about where that is a protein: its tokens are read by an encoder of their own, as pixels are."""

_IMAGE_TOKEN = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")


@pytest.fixture(scope="session")
def outputs(cell: Cell) -> dict[str, Tensor]:
    """The main model's outputs on the cell's inputs, computed once."""
    return cell.tensors(cell.forward())


@pytest.fixture(scope="session")
def primary(cell: Cell) -> Tensor:
    """The main output on the cell's inputs, computed once."""
    return cell.primary(cell.forward())


def _visual(cell: Cell) -> list[str]:
    """Returns the names of the inputs that hold what the text is about: images, videos, a protein."""
    return [name for name in (*_VISUAL, *_PROTEIN) if name in cell.inputs]


def _contrastive(cell: Cell) -> bool:
    """Whether the main class compares texts with images, by its output's fields (`logits_per_text`)."""
    return "logits_per_text" in cell.tensors(cell.forward())


def _not_contrastive(cell: Cell) -> str | None:
    return None if _contrastive(cell) else "the class gives no similarity of texts and images"


def _contrastive_reason(cell: Cell) -> str | None:
    return "every text is compared with every image by design" if _contrastive(cell) else None


def _not_generative(cell: Cell) -> str | None:
    return None if cell.model_class.can_generate() else "the class does not generate text"


def _stream(cell: Cell) -> Stream:
    """Returns the stream that is generated: the text itself, or what a decoder behind it writes (Florence-2)."""
    return DECODER_SIDE if getattr(cell.config, "is_encoder_decoder", False) else DECODER_ONLY


def _prompt(cell: Cell) -> dict[str, Tensor]:
    """Returns what generation starts from."""
    if _stream(cell) is DECODER_ONLY:
        return cell.inputs
    return {name: tensor for name, tensor in cell.inputs.items() if not name.startswith("decoder_")}


def _always_cached(cell: Cell) -> str | None:
    if _not_generative(cell) is not None:
        return _not_generative(cell)
    if cell.model_class.generate is not GenerationMixin.generate and hasattr(cell.model, "language_model"):
        return "generate hands embeddings to its language model, and generation from embeddings always uses the cache"
    return None


def _no_next_token_loss(cell: Cell) -> str | None:
    return _not_generative(cell) or (None if takes(cell, "labels") else "forward takes no labels")


def _placeholder(cell: Cell) -> int | None:
    """Returns the token that stands for an image's features; None where the config has none."""
    for name in _IMAGE_TOKEN:
        value = getattr(cell.config, name, None)
        if isinstance(value, int):
            return value
    return getattr(getattr(cell.config, "vision_config", None), "image_token_id", None)  # Phi-4 has it there


def _no_placeholders(cell: Cell) -> str | None:
    token = _placeholder(cell)
    if token is None or "input_ids" not in cell.inputs:
        return "the config has no image token: features reach the text without placeholders"
    if not bool((cell.inputs["input_ids"] == token).any()):
        return "the inputs hold no image placeholder"
    return None


def _no_return_loss(cell: Cell) -> str | None:
    return _not_contrastive(cell) or (
        None if "return_loss" in parameters_of(cell.model_class) else "forward takes no return_loss"
    )


def _needs_image(cell: Cell) -> str | None:
    required = inspect.signature(cell.model_class.forward).parameters.get(_visual(cell)[0])  # none if it is handed on
    if required is not None and required.default is required.empty:
        return f"forward requires {required.name}"
    return _not_generative(cell) or _no_placeholders(cell)


def _fixed_positions(cell: Cell) -> str | None:
    """Why left padding moves the logits by design: learned absolute positions that nothing tells of the padding."""
    if _not_generative(cell) is not None:
        return _not_generative(cell)
    if _stream(cell) is DECODER_SIDE:
        return "an encoder reads the text, and its padding goes on the right"
    tables = [name for name, module in cell.model.named_modules() if isinstance(module, nn.Embedding)]
    absolute = [name for name in tables if name.endswith("embeddings.position_embeddings") and "text" in name]
    if absolute and not takes(cell, "position_ids"):
        return (
            f"{absolute[0]} is indexed from 0 in every row and forward takes no position_ids: padding goes on the right"
        )
    return None


@check(level="consistent", core=True)
def test_image_moves_the_output(cell: Cell, primary: Tensor) -> None:
    """Finds an image that is accepted and ignored: a projector that leads nowhere, features never put in place."""
    names = _visual(cell)
    assert names, f"the inputs hold no image or video ({', '.join(cell.inputs)})"
    for name in names:
        after = cell.primary(cell.forward(inputs=perturbed(cell, cell.inputs, name)))
        assert_moved("the main output", after, primary, f"when {name} is changed")


def _no_video_apart(cell: Cell) -> str | None:
    if "pixel_values_videos" not in parameters_of(cell.model_class):
        return "the class takes no videos"
    by_type = {"image_grid_thw", "mm_token_type_ids"} <= cell.inputs.keys()
    if "pixel_values_videos" in cell.inputs or not (by_type or _PICTURES.keys() & cell.inputs.keys()):
        return "the inputs hold a video, or no picture whose place it could take"
    return None


_PICTURES = {"image_grid_hw": (), "image_grids": ("video_grids", "video_token_pooling")}
"""Grids of pictures whose videos are of another shape, and what such a video has besides its frames."""


def _video_alone(cell: Cell) -> dict[str, Tensor]:
    """Returns the inputs with a video where the picture was."""
    own = next((names for grid, names in _PICTURES.items() if grid in cell.inputs), None)
    if own is not None:
        pictures = ("pixel_values", "image_token_pooling", *_PICTURES)
        options: dict[str, Any] = {name: None for name in pictures if name in cell.inputs}
        options |= dict.fromkeys(("pixel_values_videos", *own), 1)  # made, whatever the declaration leaves out
        return cell.make_inputs(**options)
    names = {"pixel_values": "pixel_values_videos", "image_grid_thw": "video_grid_thw"}
    inputs = {names.get(name, name): tensor for name, tensor in cell.inputs.items()}
    inputs["mm_token_type_ids"] = 2 * cell.inputs["mm_token_type_ids"]  # 1 is a picture, 2 a video
    return inputs


@check(level="consistent", unless=_no_video_apart)
def test_a_video_in_place_of_the_image_moves_the_output(cell: Cell) -> None:
    """Finds a video that is accepted and ignored, where videos and pictures stand on the same placeholders."""
    inputs = _video_alone(cell)
    before = cell.primary(cell.forward(inputs=inputs))
    after = cell.primary(cell.forward(inputs=perturbed(cell, inputs, "pixel_values_videos")))
    assert_moved("the main output", after, before, "when pixel_values_videos is changed")


@check(level="consistent", core=True)
def test_text_moves_the_output(cell: Cell, primary: Tensor) -> None:
    """Finds a text that is accepted and ignored."""
    names = [name for name in ("input_ids", "decoder_input_ids") if name in cell.inputs]
    assert names, f"the inputs hold no text ({', '.join(cell.inputs)})"
    for name in names:
        after = cell.primary(cell.forward(inputs=perturbed(cell, cell.inputs, name)))
        assert_moved("the main output", after, primary, "when a token of the text is changed")


@check(level="consistent", core=True)
def test_image_of_a_row_moves_that_row_only(cell: Cell, primary: Tensor) -> None:
    """Finds images given to the wrong row, or mixed across the batch."""
    for name in _visual(cell):
        value = cell.inputs[name]
        rows, axis = primary.shape[0], row_axis(name, cell.inputs)
        size = value.shape[axis]
        assert rows > 1 and size % rows == 0, f"{name} of {size} cannot be split into {rows} rows"
        per_row = size // rows
        changed = perturbed(cell, cell.inputs, name)[name]
        mixed = torch.cat([value.narrow(axis, 0, size - per_row), changed.narrow(axis, size - per_row, per_row)], axis)
        outputs = cell.forward(inputs={**cell.inputs, name: mixed})
        after = _per_image(cell, outputs)
        before = _per_image(cell, cell.forward())
        assert_close(
            "the main output of row 0", after[0], before[0], cell.tolerance, f"when {name} of row {rows - 1} is changed"
        )
        assert_moved(f"the main output of row {rows - 1}", after[-1], before[-1], f"when its {name} is changed")


def _per_image(cell: Cell, outputs: object) -> Tensor:
    """Returns the main output with one row per image."""
    tensors = cell.tensors(outputs)
    for name in ("logits_per_image", "logits_per_video"):
        if name in tensors:
            return tensors[name]
    return cell.primary(outputs)


@check(level="consistent", core=True, unless=_not_contrastive)
def test_similarities_are_each_others_transpose(cell: Cell, outputs: dict[str, Tensor]) -> None:
    """Finds the similarity of images to texts departing from that of texts to images."""
    images = next(outputs[name] for name in ("logits_per_image", "logits_per_video") if name in outputs)
    assert_close(
        "logits_per_text",
        outputs["logits_per_text"],
        images.T,
        cell.tolerance,
        "against the transpose of the images' logits",
    )


@check(level="consistent", unless=_not_contrastive)
def test_embeddings_have_unit_length(cell: Cell, outputs: dict[str, Tensor]) -> None:
    """Finds embeddings that are compared without being normalised."""
    for name in ("text_embeds", "image_embeds", "video_embeds"):
        if name in outputs:
            length = outputs[name].norm(dim=-1)
            assert_close(f"length of {name}", length, torch.ones_like(length), cell.tolerance, "")


@check(level="consistent", core=True, unless=_no_return_loss)
def test_contrastive_loss_is_symmetric_cross_entropy(cell: Cell) -> None:
    """Finds a contrastive loss that is not the mean of both directions' cross entropy with the pairs in order.

    Where the similarities have a bias, each pair is a yes or no of its own (SigLIP, arXiv 2303.15343, algorithm 1).
    """
    outputs = cell.forward(inputs={**cell.inputs, "return_loss": True})
    logits = outputs.logits_per_text
    pairs = torch.arange(logits.shape[0], device=logits.device)
    if hasattr(cell.model, "logit_bias"):
        signs = 2 * torch.eye(len(pairs), device=logits.device) - 1
        expected, what = -nn.functional.logsigmoid(signs * logits).sum(-1).mean(), "sigmoid loss"
    else:
        both = nn.functional.cross_entropy(logits, pairs) + nn.functional.cross_entropy(logits.T, pairs)
        expected, what = both / 2, "symmetric cross entropy"
    assert_close("loss", outputs.loss, expected, cell.tolerance, f"against the {what} of the similarities")


@check(level="consistent", core=True, unless=_no_placeholders)
def test_placeholders_must_match_the_features(cell: Cell) -> None:
    """Finds a model that takes fewer placeholders than features, and so loses or displaces a part of the image."""
    tokens = cell.inputs["input_ids"].clone()
    token = _placeholder(cell)
    row, column = (tokens == token).nonzero()[-1].tolist()
    tokens[row, column] = generation.other_token(cell, int(tokens[row, column]))
    try:
        cell.forward(inputs={**cell.inputs, "input_ids": tokens})
    except (ValueError, RuntimeError):
        return
    raise AssertionError(
        "one image placeholder too few is accepted: features of the image are lost, or go to another row\n"
        f"placeholder at {[row, column]} replaced, {int((tokens == token).sum())} left for all rows"
    )


@check(level="consistent", unless=_needs_image)
def test_text_alone_runs_and_differs(cell: Cell, primary: Tensor) -> None:
    """Finds a text-only path that fails, and an image that adds nothing to its placeholders."""
    token = _placeholder(cell)
    tokens = cell.inputs["input_ids"].clone()
    tokens[tokens == token] = generation.other_token(cell, int(token or 0))
    along = ("attention_mask", "token_type_ids", "decoder_input_ids", "decoder_attention_mask")
    text = {name: tensor for name, tensor in cell.inputs.items() if name in along}
    after = cell.primary(cell.forward(inputs={**text, "input_ids": tokens}))
    assert_finite("the main output", after, "on text alone")
    assert_moved("the main output", after, primary, "when the image is left out")


@check(level="consistent", core=True, unless=_not_generative)
def test_text_is_causal(cell: Cell) -> None:
    """Finds a causal mask that is missing or off by one: a later token of the text moves earlier logits."""
    generation.assert_causal(cell, cell.inputs, _stream(cell))


@check(level="consistent", unless=_not_generative)
def test_right_padding_does_not_change_logits(cell: Cell) -> None:
    """Finds padding on the right that reaches the tokens before it."""
    generation.assert_padding_ignored(cell, cell.inputs, side="right", stream=_stream(cell))
    if _stream(cell) is DECODER_SIDE and "input_ids" in cell.inputs:
        before = logits_of(cell, cell.inputs)
        after = logits_of(cell, generation.pad(cell, cell.inputs, 3, side="right"))
        assert_close("logits", after, before, cell.tolerance, "when 3 tokens of padding are added behind the encoder's")


@check(level="consistent", core=True, unless=_fixed_positions)
def test_left_padding_does_not_change_logits(cell: Cell) -> None:
    """Finds positions, masks or image features that go astray behind left padding."""
    generation.assert_padding_ignored(cell, cell.inputs, side="left")


@check(level="consistent", core=True, unless=_not_generative)
def test_generation_agrees_with_a_loop_over_forward(cell: Cell) -> None:
    """Finds generate reading a stale cache, or feeding other tokens or features than the prompt's and its own."""
    stream, prompt = _stream(cell), _prompt(cell)
    result = generation.generate(cell, prompt)
    start = result.tokens.shape[1] - len(result.logits)
    for index, logits in enumerate(result.logits):
        tokens = result.tokens[:, : start + index]
        so_far = (
            generation.continued(prompt, tokens) if stream is DECODER_ONLY else {**prompt, "decoder_input_ids": tokens}
        )
        expected = logits_of(cell, so_far)[:, -1]
        assert_close(
            f"logits of new token {index}",
            logits,
            expected.to(logits),
            cell.tolerance,
            "between generate and a plain forward",
        )


@check(level="consistent", core=True, unless=_always_cached)
def test_cached_and_uncached_greedy_generation_agree(cell: Cell) -> None:
    """Finds generate taking other logits or tokens with the cache than without, image included."""
    cached = generation.generate(cell, _prompt(cell), use_cache=True)
    uncached = generation.generate(cell, _prompt(cell), use_cache=False)
    generation.assert_generations_agree(cell, cached, uncached)


@check(level="consistent", unless=_not_generative)
def test_image_moves_what_is_generated(cell: Cell) -> None:
    """Finds an image that forward reads and generate drops."""
    name = _visual(cell)[0]
    first = generation.generate(cell, _prompt(cell), max_new_tokens=1).logits[0]
    second = generation.generate(cell, perturbed(cell, _prompt(cell), name), max_new_tokens=1).logits[0]
    assert_moved("logits of the first new token", second, first, f"when {name} is changed")


@check(level="consistent", core=True, unless=_no_next_token_loss)
def test_loss_is_the_cross_entropy_of_the_next_token(cell: Cell) -> None:
    """Finds labels that are shifted twice, not at all or the wrong way, and ignored labels (-100) that count."""
    if _stream(cell) is DECODER_SIDE:
        _assert_loss_of_the_decoder(cell)
        return
    labels = partly_ignored(cell.inputs["input_ids"])
    outputs = cell.forward(inputs={**cell.inputs, "labels": labels})
    logits = logits_of(cell, cell.inputs)
    assert_close(
        "loss",
        outputs.loss,
        cross_entropy(logits[:, -labels.shape[1] : -1], labels[:, 1:]),  # behind features that stand before the text
        cell.tolerance,
        "against the cross entropy of logits[:, :-1] at labels[:, 1:]",
    )


def _assert_loss_of_the_decoder(cell: Cell) -> None:
    """Asserts that the loss is the cross entropy of a decoder's logits at the labels, which it reads shifted."""
    labels = partly_ignored(cell.inputs["decoder_input_ids"])
    outputs = cell.forward(inputs={**_prompt(cell), "labels": labels})
    logits = cell.primary(outputs)
    assert_close("loss", outputs.loss, cross_entropy(logits, labels), cell.tolerance, "against the cross entropy")
    words = generation.with_token(cell, cell.inputs["decoder_input_ids"], 0)  # the start token is no label
    plain = cell.forward(inputs={**_prompt(cell), "labels": words})
    shifted = words.roll(1, dims=1)
    shifted[:, 0] = _start_token(cell)
    expected = logits_of(cell, {**_prompt(cell), "decoder_input_ids": shifted})
    assert_close("logits", cell.primary(plain), expected, cell.tolerance, "between labels and them shifted by hand")


def _start_token(cell: Cell) -> int:
    """Returns the token that a decoder's text starts with: the configuration's own, or its decoder's first."""
    for config in (cell.config, cell.config.get_text_config(decoder=True)):
        if (start := getattr(config, "decoder_start_token_id", None)) is not None:
            return int(start)
    return int(cell.config.get_text_config(decoder=True).bos_token_id)


def _no_text_mask(cell: Cell) -> str | None:
    return _not_contrastive(cell) or (None if takes(cell, "attention_mask") else "forward takes no attention_mask")


@check(level="consistent", core=True, unless=_no_text_mask)
def test_text_padding_does_not_change_similarities(cell: Cell, outputs: dict[str, Tensor]) -> None:
    """Finds padding that the text encoder attends to, or that moves the token it pools."""
    padded = generation.pad(cell, cell.inputs, 3, side="right")
    padded.pop("position_ids", None)
    after = cell.tensors(cell.forward(inputs=padded))
    names = [name for name in ("logits_per_text", "text_embeds") if name in outputs]
    assert_all_close(
        {name: after[name] for name in names},
        {name: outputs[name] for name in names},
        cell.tolerance,
        "when 3 tokens of padding are added",
    )
