"""Words, the placeholders among them, and what goes along with them: masks, types, boxes, entities."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from harness import shrink
from harness.inputs.configs import first, placeholder, special_tokens, vocabulary
from harness.inputs.request import CHOICES, DECODER_SEQUENCE, ENTITIES, Request
from harness.inputs.sound import CODES, VOICE, time_axis


def tokens(request: Request, name: str, *shape: int) -> Tensor:
    """Returns ordinary tokens: none with a meaning of its own."""
    size, special = vocabulary(request.config), special_tokens(request.config)
    low = shrink.FIRST_TOKEN if size > 2 * shrink.FIRST_TOKEN else 0
    words = torch.tensor([word for word in range(low, size) if word not in special] or [0])
    return words[request.integers(name, 0, len(words), *shape)]


def row_shape(request: Request) -> tuple[int, ...]:
    """Returns the leading sizes of text: rows, and for each as many texts as it chooses among."""
    choices = (CHOICES,) if request.cls.__name__.endswith("ForMultipleChoice") else ()
    return (request.batch, *choices)


def _reads_sound_instead(request: Request, made: Mapping[str, Tensor]) -> bool:
    """Returns whether sound takes the words' place: an encoder-decoder with one encoder reads the one or the other."""
    either = request.category == "audio" and getattr(request.config, "is_encoder_decoder", False)
    return either and "input_features" in made and not hasattr(request.config, "text_encoder")


def input_ids(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Text, with a run of placeholders after the first token for each modality that the model puts among the words."""
    if _reads_sound_instead(request, made):
        return None
    codebooks = _codebooks(request)
    if codebooks:
        made_codes = tokens(request, "input_ids", request.batch, request.length, codebooks)
        codes = getattr(request.config, "codebook_vocab_size", None)
        if isinstance(codes, int):
            made_codes[..., 1:] %= codes
        return made_codes
    room = (
        int(first(request.config, "latent_query_num") or 0) if "image_embeds_position_mask" in request.parameters else 0
    )
    if "decoder_input_ids" not in request.parameters and rows_of_codes(request) > 1:
        return tokens(request, "input_ids", request.batch * rows_of_codes(request), request.length)
    words = tokens(request, "input_ids", *row_shape(request), request.length + room)
    for modality, start, end in (
        ("image", ("vision_start", "boi"), ("vision_end", "eoi")),
        ("video", ("vision_start",), ("vision_end",)),
        ("audio", ("audio_start",), ("audio_end",)),
    ):
        token = placeholder(request.config, modality)
        if token is None or not _has_modality(request, modality, made):
            continue
        count = request.features(modality, made)
        run = [*_mark(request.config, start), *[token] * count, *_mark(request.config, end)]
        words = torch.cat(
            [words[..., :1], torch.tensor(run, dtype=torch.long).expand(*words.shape[:-1], -1), words[..., 1:]], dim=-1
        )
    marks = getattr(sys.modules[request.cls.__module__], "SPECIAL_TOKENS", ())
    if marks:  # what the code splits a text into phrases by, at both ends and between: each phrase sees itself alone
        words[..., 0], words[..., 4::4], words[..., -1] = marks[0], marks[1], marks[1]
    if "audio_latents" in made:
        words = _with_speech(request.config, words)
    question = first(request.config, "question_token_id")
    if isinstance(question, int):  # stands for what is asked for
        words[..., 1] = question
    if _ends(request):
        last = _end_token(request.config)
        if last is not None:
            words[..., -1] = last
    return words


def _with_speech(config: Any, words: Tensor) -> Tensor:
    """Returns the words behind the places of a voice and before those of the speech so far."""
    before = [*_mark(config, ("audio_prompt_bos",)), *[config.audio_prompt_token_id] * VOICE]
    behind = [config.audio_bos_token_id, *[config.audio_latent_token_id] * CODES]
    runs = [torch.tensor(run).expand(words.shape[0], -1) for run in (before, behind)]
    return torch.cat([runs[0], words, runs[1]], dim=-1)


def masked_words(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """The text again, every fourth word another one: what a masked language model reads."""
    if "input_ids" not in made:
        return None
    words = made["input_ids"].clone()
    words[..., 2::4] = tokens(request, "input_ids_masked", *words[..., 2::4].shape)
    return words


def _mark(config: Any, names: tuple[str, ...]) -> list[int]:
    """Returns the token that stands before or behind placeholders, where the configuration has one."""
    fields = [f"{name}_token_{suffix}" for name in names for suffix in ("id", "index")]
    return [token for field in fields if isinstance(token := getattr(config, field, None), int)][:1]


def rows_of_codes(request: Request) -> int:
    """Returns how many rows of a decoder's tokens one row of sound has: one for each of its codebooks; 1 for text."""
    writer = getattr(request.config, "decoder", request.config)
    books = getattr(writer, "num_codebooks", None)
    reads = "encoder_hidden_states" in request.parameters or "decoder_input_ids" in request.parameters
    return int(books) if isinstance(books, int) and reads else 1


def _codebooks(request: Request) -> int:
    """Returns how many streams of codes stand beside one another in the tokens, the last dimension; 0 for plain text.

    A model with a codec of its own is given the codec's codes where it takes no sound, behind the text's token where
    those have a vocabulary of their own.
    """
    config = request.config
    if hasattr(config, "n_codes_total"):
        return int(config.n_codes_total)
    if hasattr(config, "codec_config") and "input_values" not in request.parameters:
        return int(config.num_codebooks) + hasattr(config, "codebook_vocab_size")
    return 0


def _delayed_streams(request: Request) -> int:
    """Returns how many streams of codes a decoder writes beside one another, each with its delay; 0 if it does not."""
    return len(getattr(request.config, "delay_pattern", None) or ())


def _has_modality(request: Request, modality: str, made: Mapping[str, Tensor]) -> bool:
    """Returns whether the inputs hold a modality; `pixel_values` are a video where only videos have a placeholder."""
    names = MODALITIES[modality]
    if modality == "video" and placeholder(request.config, "image") is not None:
        names = names[:1]
    return any(name in made for name in names)


MODALITIES: dict[str, tuple[str, ...]] = {
    "image": ("pixel_values", "pixel_values_images", "image_patches", "image_pixel_values"),
    "video": ("pixel_values_videos", "pixel_values"),
    "audio": ("input_features", "audio_values", "input_values", "audio_input_features", "audio_input_ids"),
}


def _ends(request: Request) -> bool:
    """Returns whether rows end with the end token: encoders read whole texts, some find the end to pool there."""
    if request.category in ("encoder", "encoder_decoder"):
        return True
    return request.category != "decoder" and not request.cls.can_generate()


def _end_token(config: Any) -> int | None:
    value = first(config, "eos_token_id")
    value = value[0] if isinstance(value, (list, tuple)) else value
    return value if isinstance(value, int) and 0 <= value < vocabulary(config) else None


def decoder_mask(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Ones along the decoder's words."""
    words = made.get("decoder_input_ids")
    return None if words is None else torch.ones(words.shape[0] // rows_of_codes(request), words.shape[1]).long()


_SHIFTING_HEADS = ("ForQuestionAnswering", "ForSequenceClassification", "ForTokenClassification")
"""Heads on an encoder-decoder that read one text on both sides and shift it themselves."""


def decoder_input_ids(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """The words that a decoder has given, behind its start token."""
    answers = request.cls.__name__.endswith("ForQuestionAnswering") and "pixel_values" in request.parameters
    if (
        not answers
        and rows_of_codes(request) == 1
        and (not getattr(request.config, "is_encoder_decoder", False) or request.cls.__name__.endswith(_SHIFTING_HEADS))
    ):
        return None
    rows = request.batch * rows_of_codes(request)
    length = request.size("decoder_sequence_length", DECODER_SEQUENCE)
    streams = _delayed_streams(request)
    words = tokens(request, "decoder_input_ids", rows, length, *([streams] if streams else []))
    start = first(request.config, "decoder_start_token_id", "bos_token_id")
    if isinstance(start, int) and 0 <= start < vocabulary(request.config):
        words[:, 0] = start
    return words


def like(name: str, value: int) -> Callable[[Request, dict[str, Tensor]], Tensor | None]:
    """Returns a maker of a tensor of one value, of the shape of another input; none where that one is not given."""

    def make_like(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        return torch.full_like(made[name], value, dtype=torch.long) if name in made else None

    return make_like


def token_type_ids(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Two segments where there are two types; placeholders and text where the model calls that its types."""
    if "input_ids" not in made:
        return None
    image = placeholder(request.config, "image")
    if image is not None:
        return (made["input_ids"] == image).long()
    kinds = first(request.config, "type_vocab_size")
    if kinds is None:  # decoders that look the types up among the words
        return tokens(request, "token_type_ids", *made["input_ids"].shape) if request.category == "decoder" else None
    segments = torch.zeros_like(made["input_ids"])
    segments[..., segments.shape[-1] // 2 :] = min(1, int(kinds) - 1)
    return segments if int(kinds) > 1 else None


def modality_types(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """0 for text, 1 for a placeholder of a picture, 2 of a video, 3 of sound."""
    if "input_ids" not in made:
        return None
    kinds = torch.zeros_like(made["input_ids"])
    for kind, modality in enumerate(("image", "video", "audio"), start=1):
        token = placeholder(request.config, modality)
        if token is not None:  # a video on the placeholders of pictures is one of those (Molmo2)
            kinds[(made["input_ids"] == token) & (kinds == 0)] = kind
    return kinds


def attention_mask(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Ones along the text; along the sound where there is no text."""
    if "states" in made:
        return torch.ones(made["states"].shape[:2], dtype=torch.long)
    if "input_ids" in made:
        return torch.ones(
            made["input_ids"].shape[: 3 if made["input_ids"].dim() == 3 and not _codebooks(request) else 2],
            dtype=torch.long,
        )
    if "flattened_patches" in made:
        return torch.ones(made["flattened_patches"].shape[:2], dtype=torch.long)
    if "input_values" in made and made["input_values"].dim() == 2:
        return torch.ones_like(made["input_values"], dtype=torch.long)
    if "input_features" in made and made["input_features"].dim() == 3 and time_axis(request) == 1:
        return torch.ones(request.batch, made["input_features"].shape[time_axis(request)], dtype=torch.long)
    return None


def boxes(request: Request, name: str, *shape: int) -> Tensor:
    """Returns boxes (…, 4) as left, top, right, bottom of 0 to 1000."""
    corners = request.integers(name, 1, 500, *shape[:-1], 4)
    corners[..., 2:] += corners[..., :2]
    return corners


def bbox(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Where on the page each word stands."""
    return boxes(request, "bbox", *made["input_ids"].shape, 4) if "input_ids" in made else None


def entity_ids(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """The entities that the text mentions."""
    size = first(request.config, "entity_vocab_size")
    if size is None:
        return None
    count = {"ForEntityClassification": 1, "ForEntityPairClassification": 2}
    entities = next((n for suffix, n in count.items() if request.cls.__name__.endswith(suffix)), ENTITIES)
    return request.integers("entity_ids", 3, int(size), *row_shape(request), entities)


def entity_position_ids(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """The two tokens of each mention; the rest of the room that a mention has is unused."""
    if "entity_ids" not in made:
        return None
    room = int(first(request.config, "max_mention_length") or 6)
    positions = torch.full((*made["entity_ids"].shape, room), -1)
    for entity in range(positions.shape[-2]):
        positions[..., entity, :2] = torch.tensor([2 * entity + 1, 2 * entity + 2])
    return positions


def entity_edge(offset: int) -> Callable[[Request, dict[str, Tensor]], Tensor | None]:
    """Returns a maker of the place where each mention begins, or the place behind it."""

    def make_edge(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        count = made["entity_ids"].shape[-1] if "entity_ids" in made else ENTITIES
        return (2 * torch.arange(count) + offset).repeat(request.batch, 1)

    return make_edge


def finish_text(request: Request, made: dict[str, Tensor]) -> None:
    """Turns the end of the last row into padding where that was asked for."""
    mask, words = made.get("attention_mask"), made.get("input_ids")
    if request.padding and mask is not None and words is not None:
        pad = first(request.config, "pad_token_id") or 0
        mask[-1, ..., -request.padding :] = 0
        words[-1, ..., -request.padding :] = pad


def plain_inputs(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """What a model reads that knows no modality (batch, elements, width); none where it reads text or pictures."""
    if {"input_ids", "pixel_values"} & {*request.parameters} or not hasattr(request.config, "d_model"):
        return None
    return request.noise("inputs", request.batch, request.length, int(request.config.d_model))


def queries(request: Request, made: dict[str, Tensor]) -> Tensor:
    """Queries (batch, 8, width), where a Q-Former is the model."""
    width = int(first(request.config, "hidden_size") or 32)
    return request.noise("query_embeds", request.batch, 8, width)


def encoder_states(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """What queries look at; models that can do without are given none."""
    width = first(request.config, "encoder_hidden_size")
    if "query_embeds" not in made or width is None:
        return None
    return request.noise("encoder_hidden_states", request.batch, 5, int(width))
