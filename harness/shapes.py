"""The documented shapes of a model's outputs, from the class's name, the config and the inputs.

A dimension that the documentation leaves to the architecture (a number of frames, a grid of features) is None.
The conventions are those of transformers/modeling_outputs.py and of the `For…` suffixes of the model classes.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Shape = tuple[int | None, ...]

# Inputs whose first dimension is the batch, the one that decides first.
_BATCHED = (
    "input_ids",
    "decoder_input_ids",
    "inputs_embeds",
    "input_features",
    "input_values",
    "pixel_values",
    "past_values",
    "states",
    "pixel_values_videos",
)

_LANGUAGE = ("ForCausalLM", "ForMaskedLM", "LMHeadModel", "LMHead", "ForConditionalGeneration", "ForPreTraining")
_LABELLED = ("ForSequenceClassification", "ForImageClassification", "ForAudioClassification")


def batch_size(inputs: Mapping[str, Tensor]) -> int | None:
    """Returns the number of rows of a set of inputs; None where none of the usual inputs is there."""
    by_argument = {name.rpartition(".")[2]: tensor for name, tensor in inputs.items()}  # a container's are `part.name`
    towers = {"grid_thw"} if "input_ids" in by_argument else {"grid_thw", "image_grid_thw"}
    if towers & by_argument.keys():  # a tower's: rows of patches of all pictures
        return None
    for name in _BATCHED:
        if name in by_argument and by_argument[name].dim():
            return int(by_argument[name].shape[0])
    return None


def row_axis(name: str, inputs: Mapping[str, Tensor]) -> int:
    """Returns the dimension of an input that holds its rows: the last where pictures are packed side by side."""
    packed = {"pixel_values": "target_sizes", "pixel_values_videos": "target_sizes_videos"}
    return -1 if packed.get(name) in inputs else 0


def documents_loss(cls: type[Any]) -> bool:
    """Returns whether an output that the signature of the class's `forward` names has a loss, or none is named."""
    returned = inspect.signature(cls.forward).return_annotation
    outputs = [part for part in typing.get_args(returned) or (returned,) if dataclasses.is_dataclass(part)]
    return not outputs or any(field.name == "loss" for part in outputs for field in dataclasses.fields(part))


def _text_config(config: Any) -> Any:
    """Returns the part of a config that is about text; of two such parts, that of the decoder."""
    try:
        return config.get_text_config()
    except ValueError:
        return config.get_text_config(decoder=True)


def _attribute(config: Any, *names: str) -> int | None:
    """Returns the first of the integer fields that the config, or its text part, has."""
    for part in (config, _text_config(config)):
        for name in names:
            value = getattr(part, name, None)
            if isinstance(value, int):
                return value
    return None


def _tokens(inputs: Mapping[str, Tensor], decoder: bool) -> int | None:
    """Returns the number of tokens per row; None where features of another modality join the text."""
    name = "decoder_input_ids" if decoder and "decoder_input_ids" in inputs else "input_ids"
    return int(inputs[name].shape[1]) if name in inputs else None


def documented_shapes(
    class_name: str,
    config: Any,
    inputs: Mapping[str, Tensor],
    *,
    contrastive: bool = False,
    judges_tokens: bool = False,
) -> dict[str, Shape]:
    """Returns the shape of each output that the documentation promises for a class, by the output's name.

    Args:
      class_name: for example `BertForTokenClassification`.
      inputs: the inputs of the forward, without labels.
      contrastive: whether the class compares texts with images.
      judges_tokens: whether the class tells of each token whether it was replaced.
    """
    shapes: dict[str, Shape] = {}
    batch = batch_size(inputs)
    # What writes pictures knows the codes of pictures alone, and reads words as well (GLM-Image).
    vocabulary = _attribute(config.get_text_config(decoder=True), "vision_vocab_size", "vocab_size")
    labels = _attribute(config, "num_labels")
    tokens = _tokens(inputs, decoder=True)
    if hasattr(config, "num_image_with_embedding") and "pixel_values" in inputs:
        tokens = None  # the features of the picture stand before the words (GIT)
    if hasattr(config, "chroma_length") and "input_features" in inputs:
        tokens = None  # the melody and the text stand before the codes (MusicGen Melody)
    if "audio_input_ids" in inputs and hasattr(config, "num_codebooks"):
        vocabulary = int(config.num_codebooks * config.codebook_size)  # the codes of all codebooks in a row
    if hasattr(config, "max_action_dim"):
        tokens, vocabulary = int(config.chunk_size), int(config.max_action_dim)  # what a robot is to do (PI0)
    if hasattr(config, "flow_head_config"):
        vocabulary = 1  # speech is written as vectors: the logits tell whether it ends
    if "backbone_last_hidden_state" in inputs and tokens is not None:
        tokens -= 1  # the first place holds a vector in the place of a word, and gets no logit (CSM's depth decoder)
    if "visual_embeds" in inputs:
        tokens = None  # the regions stand behind the words (VisualBERT)
    if class_name.endswith("ForMultipleChoice") and "input_ids" in inputs:
        shapes["logits"] = (batch, int(inputs["input_ids"].shape[1]))
    elif class_name.endswith("ForNextSentencePrediction"):
        shapes["logits"] = (batch, 2)
    elif class_name.endswith("ForCTC"):
        shapes["logits"] = (batch, None, vocabulary)
    elif class_name.endswith("SpadeELForTokenClassification"):  # a link to each token, or to none
        shapes["logits"] = (batch, tokens, None if tokens is None else tokens + 1)
    elif class_name.endswith(("ForTokenClassification", "ForAudioFrameClassification")):
        shapes["logits"] = (batch, tokens, labels)
    elif class_name.endswith(_LABELLED):
        shapes["logits"] = (batch, labels)
    elif class_name.endswith("ForXVector"):
        shapes["logits"] = shapes["embeddings"] = (batch, _attribute(config, "xvector_output_dim"))
    elif class_name.endswith("ForSemanticSegmentation"):
        shapes["logits"] = (batch, labels, None, None)
    elif class_name.endswith("ForImageSegmentation"):
        shapes["logits"] = (batch, None, None)
    elif class_name.endswith("ForMaskedImageModeling") and "pixel_values" in inputs:
        shapes["reconstruction"] = tuple(inputs["pixel_values"].shape)
    elif class_name.endswith("ForQuestionAnswering"):
        width = None if "pixel_values" in inputs else tokens  # patches may stand behind the words
        shapes["start_logits"] = shapes["end_logits"] = (batch, width)
    elif judges_tokens:
        shapes["logits"] = (batch, tokens)
    elif class_name.endswith(_LANGUAGE):
        if "decoder_input_ids" in inputs:  # a row for each codebook, where codes of sound are written
            batch = int(inputs["decoder_input_ids"].shape[0] * inputs["decoder_input_ids"].shape[2:].numel())
        shapes["logits"] = shapes["prediction_logits"] = (batch, tokens, vocabulary)
    if contrastive and class_name.endswith("Model"):
        names = ("pixel_values", "pixel_values_videos", "input_features", "input_values")
        other = next(inputs[name] for name in names if name in inputs)
        rows, images = int(inputs["input_ids"].shape[0]), int(other.shape[0])
        projection = _attribute(config, "projection_dim")
        shapes["logits_per_image"] = shapes["logits_per_video"] = shapes["logits_per_audio"] = (images, rows)
        shapes["logits_per_text"] = (rows, images)
        shapes["image_embeds"] = shapes["video_embeds"] = shapes["audio_embeds"] = (images, projection)
    return shapes


def documented_mask(config: Any, inputs: Mapping[str, Tensor], output: Tensor) -> Tensor | None:
    """Returns where an output is minus infinity by its documentation, of its shape; None where it is so nowhere.

    A detector that scores each object against each word of a text (Grounding DINO, arXiv 2303.05499) gives scores for
    `max_text_len` words: those behind the text, and those of its padding, are minus infinity.
    """
    words = getattr(config, "max_text_len", None)
    if not isinstance(words, int) or "input_ids" not in inputs or output.shape[-1:] != (words,):
        return None
    text = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).bool()
    hidden = torch.ones(text.shape[0], words, dtype=torch.bool, device=output.device)
    hidden[:, : text.shape[1]] = ~text
    return hidden.view(text.shape[0], *[1] * (output.dim() - 2), words).expand(output.shape)


def disagreement(actual: tuple[int, ...], documented: Shape) -> str:
    """Returns how a shape departs from the documented one, or an empty string where it does not."""
    text = "[" + ", ".join("…" if size is None else str(size) for size in documented) + "]"
    if len(actual) != len(documented):
        return f"has shape {list(actual)}, documented is {text}"
    for index, (size, wanted) in enumerate(zip(actual, documented, strict=True)):
        if wanted is not None and size != wanted:
            return f"has shape {list(actual)}, documented is {text}: dimension {index} is {size} instead of {wanted}"
    return ""
