"""Synthesises seeded inputs for any model class from its configuration and the signature of its `forward`.

What each argument is made of stands in `MAKERS`, by the argument's name; a declaration may set sizes or single tensors
(see `OPTIONS` and `KINDS`). How many placeholders a picture or a sound takes is counted by the model's own feature
extractor. Nothing is tried out: one set of inputs is made, and it fits or the cell fails.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from harness import shrink
from harness.build import nearest
from harness.spec import SpecError

BATCH = 2
SEQUENCE = 13
"""Tokens of text a row: longer than any shrunk window, and no multiple of a usual block."""

DECODER_SEQUENCE = 9
CHOICES = 3
ENTITIES = 3
REGIONS = 5
"""Regions of a picture, where a detector's features of them are given."""

OBJECTS = 2
"""Objects in the first picture of a batch, one less in the second."""

SAMPLES = 6400
"""Samples of sound a row: 0.4 seconds at 16 kHz, 19 frames of a usual feature extractor."""

FRAMES = 64
"""Frames of a spectrogram where no configuration says how many."""

VIDEO_FRAMES = 4

PROMPTS = 2
POINTS = 3
"""Objects that a picture is searched for, and points that say of each where it is."""

OPTIONS = (
    "batch",
    "sequence_length",
    "decoder_sequence_length",
    "image_size",
    "samples",
    "frames",
    "video_frames",
    "heard",
)
"""Keys of a declaration's `inputs` that set a size: rows, tokens, pixels a side, samples, frames of sound or video.

`heard` is how many frames or samples the mask over the sound leaves, by default all.
"""

KINDS = ("tokens", "mask", "flags", "zeros", "segments", "noise", "integers", "boxes", "unit_boxes")
"""Values of `kind` where a declaration describes one tensor: `{"kind": "integers", "shape": ["batch", 4], "high": 9}`.

`tokens` are ordinary words, `mask` is ones, `flags` are true, `segments` is zeros and then `last` ones, `noise` is
standard normal, `integers` are from `low` (0) up to `high`, `boxes` are (left, top, right, bottom) of 0 to 1000,
`unit_boxes` the same of 0 to 1. A shape may name `batch`, a multiple of it (`4*batch`), `sequence`, and `tokens`, which
is `sequence` with all placeholders; a class that chooses among texts gets one for each choice behind the batch. A
tensor given as null is left out.
"""

Features = Callable[[str, dict[str, Tensor]], int]
"""Returns how many placeholders a modality (`image`, `video`, `audio`) takes in one row, given its inputs."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What inputs are asked for.

    Attributes:
      cls: the model class.
      config: its configuration.
      category: the model's category; decoders get text without an end.
      features: counts placeholders.
      options: sizes and tensors that the declaration sets.
      labels: whether the class's labels are wanted.
      padding: how many tokens at the end of the last row are padding, masked out.
    """

    cls: type[Any]
    config: Any
    category: str
    features: Features
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0
    batch: int = BATCH
    labels: bool = False
    padding: int = 0

    def size(self, name: str, default: int) -> int:
        """Returns a declared size, or the default."""
        return int(self.options.get(name, default))

    @property
    def length(self) -> int:
        """Tokens of text a row, without placeholders."""
        most = _first(self.config, "max_position_embeddings", "n_positions") or 0  # XLNet says -1: no limit
        return min(self.size("sequence_length", SEQUENCE), most if most > 0 else 999)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the arguments of the class's `forward`."""
        return parameters(self.cls)

    def generator(self, name: str) -> torch.Generator:
        """Returns the generator of one input: equal for equal seeds whatever other inputs there are."""
        return torch.Generator().manual_seed(
            self.seed * 1_000_003 + sum(ord(c) * 31**i for i, c in enumerate(name)) % 2**40
        )

    def noise(self, name: str, *shape: int) -> Tensor:
        """Returns standard normal noise."""
        return torch.randn(shape, generator=self.generator(name))

    def integers(self, name: str, low: int, high: int, *shape: int) -> Tensor:
        """Returns integers from `low` up to and without `high`."""
        return torch.randint(low, max(high, low + 1), shape, generator=self.generator(name))


def parameters(cls: type[Any]) -> tuple[str, ...]:
    """Returns the names of the arguments of the class's `forward`."""
    return tuple(inspect.signature(cls.forward).parameters)


def _default(cls: type[Any], name: str) -> Any:
    """Returns the default of an argument of the class's `forward`."""
    return inspect.signature(cls.forward).parameters[name].default


def takes_labels(cls: type[Any], name: str = "labels") -> bool:
    """Returns whether the class's `forward` makes a loss of the argument: some take it only to refuse training."""
    refusals = r"not support training|not trainable|Training [^)]*is not supported"
    return name in parameters(cls) and not re.search(
        rf"raise (NotImplementedError\([^)]*[Tt]raining|ValueError\([^)]*({refusals}))",
        inspect.getsource(cls.forward),
    )


def make(request: Request, where: str) -> dict[str, Any]:
    """Returns the inputs of one call of the class's `forward`, on the CPU, by argument name in the signature's order.

    Args:
      request: what is asked for.
      where: the label, for errors.

    Raises:
      SpecError: a declared input is neither a size nor an argument of `forward`, or is not described rightly.
    """
    check_options(request, where)
    made: dict[str, Any] = {}
    names = [name for name in request.parameters if name in MAKERS]
    for name in sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else -1):
        if name in request.options and not isinstance(request.options[name], int):
            value = _declared(request, name, where, made)
        else:
            value = MAKERS[name](request, made)
        if value is not None:
            made[name] = value
    for name in [name for name in request.options if name in request.parameters and name not in made]:
        if (value := _declared(request, name, where, made)) is not None:
            made[name] = value
    if request.labels:
        made.update(make_labels(request, made))
    _finish_text(request, made)
    return {name: made[name] for name in [*request.parameters, *made] if name in made}


def check_options(request: Request, where: str) -> None:
    """Raises a SpecError for a declared input that means nothing to the main class."""
    known = [*OPTIONS, *request.parameters]
    for name in request.options:
        if name not in known:
            raise SpecError(
                f"{where}: inputs key {name!r} is neither a size ({', '.join(OPTIONS)}) nor an argument of "
                f"{request.cls.__name__}.forward{nearest(name, known)}"
            )


def _declared(request: Request, name: str, where: str, made: Mapping[str, Tensor]) -> Tensor | None:
    """Returns the tensor that the declaration describes for one argument."""
    described = request.options[name]
    if described is None:
        return None
    if not isinstance(described, Mapping) or described.get("kind") not in KINDS:
        raise SpecError(f"{where}: inputs key {name!r} needs a `kind` of {', '.join(KINDS)}, or null to leave it out")
    named = {"batch": request.batch, "sequence": request.length}
    if "input_ids" in made:
        named["tokens"] = made["input_ids"].shape[-1]
    shape = [_declared_size(size, named) for size in described.get("shape", ["batch", "sequence"])]
    if described.get("shape", ["batch"])[:1] == ["batch"]:
        shape[:1] = _row_shape(request)
    kind = described["kind"]
    if kind == "segments":
        segments = torch.zeros(shape, dtype=torch.long)
        segments[..., -described["last"] :] = 1
        return segments
    if kind == "tokens":
        return tokens(request, name, *shape)
    if kind == "flags":
        return torch.ones(shape, dtype=torch.bool)
    if kind == "boxes":
        return boxes(request, name, *shape)
    if kind == "unit_boxes":
        return boxes(request, name, *shape) / 1000
    if kind == "integers":
        return request.integers(name, described.get("low", 0), described.get("high", 2), *shape)
    return (
        {"mask": torch.ones, "zeros": torch.zeros}[kind](shape, dtype=torch.long)
        if kind != "noise"
        else request.noise(name, *shape)
    )


def _declared_size(size: int | str, named: Mapping[str, int]) -> int:
    """Returns the number that one entry of a declared shape stands for."""
    if isinstance(size, int):
        return size
    times, _, name = size.rpartition("*")
    return int(times or 1) * named[name]


# ---------------------------------------------------------------------------------------------------------------------
# What configurations say.


def nodes(config: Any) -> Iterator[Any]:
    """Yields a configuration and all below it, outermost first."""
    yield config
    for _, sub in shrink.sub_configs(config):
        yield from nodes(sub)


def _first(config: Any, *names: str) -> Any:
    """Returns the first value, in the tree of configurations, of a field with one of `names`; None if there is none."""
    for node in nodes(config):
        for name in names:
            value = getattr(node, name, None)
            if value is not None:
                return value
    return None


def _node(config: Any, *names: str) -> Any:
    """Returns the first configuration of the tree that has a value for every one of `names`."""
    return next((node for node in nodes(config) if all(getattr(node, name, None) is not None for name in names)), None)


def special_tokens(config: Any) -> set[int]:
    """Returns every token of the tree that has a meaning of its own."""
    found: set[int] = set()
    for node in nodes(config):
        for name, value in shrink.field_values(node).items():
            if shrink.meaning_of(name) == "token":
                found.update(
                    item for item in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(item, int)
                )
    return found


def placeholder(config: Any, modality: str) -> int | None:
    """Returns the token that stands for a piece of a picture, video or sound."""
    names = [f"{modality}_token_id", f"{modality}_token_index", f"{modality}_token"]
    value = next((v for name in names if (v := getattr(config, name, None)) is not None), None)
    return value if isinstance(value, int) else _first(config, *names)


def vocabulary(config: Any) -> int:
    """Returns the size of the text vocabulary, tokens."""
    text = config.get_text_config(decoder=False)
    size = getattr(text, "vocab_size", None) or _first(config, "vocab_size", "input_vocab_size", "text_vocab_size")
    return int(size) if isinstance(size, int) else shrink.VOCABULARY


# ---------------------------------------------------------------------------------------------------------------------
# Text.


def tokens(request: Request, name: str, *shape: int) -> Tensor:
    """Returns ordinary tokens: none with a meaning of its own."""
    size, special = vocabulary(request.config), special_tokens(request.config)
    low = shrink.FIRST_TOKEN if size > 2 * shrink.FIRST_TOKEN else 0
    words = torch.tensor([word for word in range(low, size) if word not in special] or [0])
    return words[request.integers(name, 0, len(words), *shape)]


def _row_shape(request: Request) -> tuple[int, ...]:
    choices = (CHOICES,) if request.cls.__name__.endswith("ForMultipleChoice") else ()
    return (request.batch, *choices)


def _reads_sound_instead(request: Request, made: Mapping[str, Tensor]) -> bool:
    """Returns whether sound takes the words' place: an encoder-decoder with one encoder reads the one or the other."""
    either = request.category == "audio" and getattr(request.config, "is_encoder_decoder", False)
    return either and "input_features" in made and not hasattr(request.config, "text_encoder")


def _input_ids(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Text, with a run of placeholders after the first token for each modality that the model puts among the words."""
    if _reads_sound_instead(request, made):
        return None
    codebooks = _codebooks(request)
    if codebooks:
        return tokens(request, "input_ids", request.batch, request.length, codebooks)
    room = (
        int(_first(request.config, "latent_query_num") or 0)
        if "image_embeds_position_mask" in request.parameters
        else 0
    )
    if "decoder_input_ids" not in request.parameters and _rows_of_codes(request) > 1:
        return tokens(request, "input_ids", request.batch * _rows_of_codes(request), request.length)
    words = tokens(request, "input_ids", *_row_shape(request), request.length + room)
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
    question = _first(request.config, "question_token_id")
    if isinstance(question, int):  # stands for what is asked for
        words[..., 1] = question
    if _ends(request):
        last = _end_token(request.config)
        if last is not None:
            words[..., -1] = last
    return words


def _masked_words(request: Request, made: dict[str, Tensor]) -> Tensor | None:
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


def _rows_of_codes(request: Request) -> int:
    """Returns how many rows of a decoder's tokens one row of sound has: one for each of its codebooks; 1 for text."""
    writer = getattr(request.config, "decoder", request.config)
    books = getattr(writer, "num_codebooks", None)
    reads = "encoder_hidden_states" in request.parameters or "decoder_input_ids" in request.parameters
    return int(books) if isinstance(books, int) and reads else 1


def _codebooks(request: Request) -> int:
    """Returns how many streams of codes `input_ids` has, or 0 where it is plain text."""
    if hasattr(request.config, "n_codes_total"):
        return int(request.config.n_codes_total)
    return 0


def _has_modality(request: Request, modality: str, made: Mapping[str, Tensor]) -> bool:
    """Returns whether the inputs hold a modality; `pixel_values` are a video where only videos have a placeholder."""
    names = MODALITIES[modality]
    if modality == "video" and placeholder(request.config, "image") is not None:
        names = names[:1]
    return any(name in made for name in names)


MODALITIES: dict[str, tuple[str, ...]] = {
    "image": ("pixel_values", "pixel_values_images", "image_patches"),
    "video": ("pixel_values_videos", "pixel_values"),
    "audio": ("input_features", "audio_values", "input_values", "audio_input_features"),
}


def _ends(request: Request) -> bool:
    """Returns whether rows end with the end token: encoders read whole texts, some find the end to pool there."""
    if request.category in ("encoder", "encoder_decoder"):
        return True
    return request.category != "decoder" and not request.cls.can_generate()


def _end_token(config: Any) -> int | None:
    value = _first(config, "eos_token_id")
    value = value[0] if isinstance(value, (list, tuple)) else value
    return value if isinstance(value, int) and 0 <= value < vocabulary(config) else None


def _decoder_mask(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    words = made.get("decoder_input_ids")
    return None if words is None else torch.ones_like(words[: words.shape[0] // _rows_of_codes(request)])


_SHIFTING_HEADS = ("ForQuestionAnswering", "ForSequenceClassification", "ForTokenClassification")
"""Heads on an encoder-decoder that read one text on both sides and shift it themselves."""


def _decoder_input_ids(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    answers = request.cls.__name__.endswith("ForQuestionAnswering") and "pixel_values" in request.parameters
    if not answers and (
        not getattr(request.config, "is_encoder_decoder", False) or request.cls.__name__.endswith(_SHIFTING_HEADS)
    ):
        return None
    rows = request.batch * _rows_of_codes(request)
    words = tokens(request, "decoder_input_ids", rows, request.size("decoder_sequence_length", DECODER_SEQUENCE))
    start = _first(request.config, "decoder_start_token_id", "bos_token_id")
    if isinstance(start, int) and 0 <= start < vocabulary(request.config):
        words[:, 0] = start
    return words


def _like(name: str, value: int) -> Callable[[Request, dict[str, Tensor]], Tensor | None]:
    """Returns a maker of a tensor of one value, of the shape of another input; none where that one is not given."""

    def make_like(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        return torch.full_like(made[name], value, dtype=torch.long) if name in made else None

    return make_like


def _token_type_ids(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Two segments where there are two types; placeholders and text where the model calls that its types."""
    if "input_ids" not in made:
        return None
    image = placeholder(request.config, "image")
    if image is not None:
        return (made["input_ids"] == image).long()
    kinds = _first(request.config, "type_vocab_size")
    if kinds is None:  # decoders that look the types up among the words
        return tokens(request, "token_type_ids", *made["input_ids"].shape) if request.category == "decoder" else None
    segments = torch.zeros_like(made["input_ids"])
    segments[..., segments.shape[-1] // 2 :] = min(1, int(kinds) - 1)
    return segments if int(kinds) > 1 else None


def _modality_types(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """0 for text, 1 for a placeholder of a picture, 2 of a video, 3 of sound."""
    if "input_ids" not in made:
        return None
    kinds = torch.zeros_like(made["input_ids"])
    for kind, modality in enumerate(("image", "video", "audio"), start=1):
        token = placeholder(request.config, modality)
        if token is not None:
            kinds[made["input_ids"] == token] = kind
    return kinds


def _attention_mask(request: Request, made: dict[str, Tensor]) -> Tensor | None:
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
    if "input_features" in made and made["input_features"].dim() == 3 and _time_axis(request) == 1:
        return torch.ones(request.batch, made["input_features"].shape[_time_axis(request)], dtype=torch.long)
    return None


def boxes(request: Request, name: str, *shape: int) -> Tensor:
    """Returns boxes (…, 4) as left, top, right, bottom of 0 to 1000."""
    corners = request.integers(name, 1, 500, *shape[:-1], 4)
    corners[..., 2:] += corners[..., :2]
    return corners


def _bbox(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    return boxes(request, "bbox", *made["input_ids"].shape, 4) if "input_ids" in made else None


def _entity_ids(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    size = _first(request.config, "entity_vocab_size")
    if size is None:
        return None
    count = {"ForEntityClassification": 1, "ForEntityPairClassification": 2}
    entities = next((n for suffix, n in count.items() if request.cls.__name__.endswith(suffix)), ENTITIES)
    return request.integers("entity_ids", 3, int(size), *_row_shape(request), entities)


def _entity_position_ids(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """The two tokens of each mention; the rest of the room that a mention has is unused."""
    if "entity_ids" not in made:
        return None
    room = int(_first(request.config, "max_mention_length") or 6)
    positions = torch.full((*made["entity_ids"].shape, room), -1)
    for entity in range(positions.shape[-2]):
        positions[..., entity, :2] = torch.tensor([2 * entity + 1, 2 * entity + 2])
    return positions


def _entity_edge(offset: int) -> Callable[[Request, dict[str, Tensor]], Tensor | None]:
    def make_edge(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        count = made["entity_ids"].shape[-1] if "entity_ids" in made else ENTITIES
        return (2 * torch.arange(count) + offset).repeat(request.batch, 1)

    return make_edge


def _finish_text(request: Request, made: dict[str, Tensor]) -> None:
    """Turns the end of the last row into padding where that was asked for."""
    mask, words = made.get("attention_mask"), made.get("input_ids")
    if request.padding and mask is not None and words is not None:
        pad = _first(request.config, "pad_token_id") or 0
        mask[-1, ..., -request.padding :] = 0
        words[-1, ..., -request.padding :] = pad


# ---------------------------------------------------------------------------------------------------------------------
# Pictures.


def _vision(config: Any) -> Any:
    """Returns the configuration that knows the size of pictures."""
    return _node(config, "image_size") or _node(config, "num_channels") or config


def _side(request: Request) -> tuple[int, int]:
    """Returns height and width of a picture, pixels."""
    declared = request.options.get("image_size")
    value = declared if declared is not None else getattr(_vision(request.config), "image_size", None)
    if isinstance(value, (list, tuple)):
        return int(value[0]), int(value[-1])
    return (int(value), int(value)) if isinstance(value, int) else (shrink.IMAGE_SIDE, shrink.IMAGE_SIDE)


def _channels(config: Any) -> int:
    value = next(
        (
            v
            for name in ("num_channels", "in_channels", "in_chans")
            if isinstance(v := getattr(_vision(config), name, None), int)
        ),
        None,
    )
    return value if value is not None else int(_first(config, "num_channels") or 3)


def _picture(request: Request, name: str, *lead: int) -> Tensor:
    height, width = _side(request)
    return request.noise(name, *lead, _channels(request.config), height, width)


def _pixel_values(request: Request, made: dict[str, Tensor]) -> Tensor:
    """Pictures (batch, channels, height, width); tiles or frames before the channels; rows of patches with a grid."""
    if {"image_position_ids", "pixel_position_ids"} & set(request.parameters):
        return _placed_patches(request, "pixel_values")
    if {"image_grid_thw", "grid_thw"} & set(request.parameters):
        return _patch_rows(request, "pixel_values")
    if "spatial_shapes" in request.parameters:  # a batch of rows of patches, each picture with a shape of its own
        return _patch_rows(request, "pixel_values").unflatten(0, (request.batch, -1))
    if _first(request.config, "image_grid_pinpoints") and "image_sizes" in request.parameters:
        return _picture(request, "pixel_values", request.batch, _tiles(request))
    if request.cls.__name__.endswith("ForKeypointMatching"):  # pairs of pictures
        return _picture(request, "pixel_values", request.batch, 2)
    frames = getattr(_vision(request.config), "num_frames", None)
    if isinstance(frames, int) and request.cls.__name__.endswith("VisionModel"):  # a tower reads frames as rows
        return _picture(request, "pixel_values", request.batch * request.size("video_frames", frames))
    if isinstance(frames, int) and "ForImage" not in request.cls.__name__:
        return _picture(request, "pixel_values", request.batch, request.size("video_frames", frames))
    if placeholder(request.config, "image") is None and placeholder(request.config, "video") is not None:
        return _picture(request, "pixel_values", request.batch, request.size("video_frames", VIDEO_FRAMES))
    images = getattr(request.config, "num_images", None)
    if request.cls.__name__.endswith("ForImagesAndTextClassification") and isinstance(images, int):
        return _picture(request, "pixel_values", request.batch, images)
    several = "pixel_attention_mask" in request.parameters or _first(request.config, "pixel_shuffle_factor") is not None
    if several or _looks_across(request):  # several pictures a row
        return _picture(request, "pixel_values", request.batch, 1)
    return _picture(request, "pixel_values", request.batch)


def _looks_across(request: Request) -> bool:
    """Returns whether each word may look at any of the pictures of its row, which a mask says (Idefics)."""
    return "image_attention_mask" in request.parameters and _first(request.config, "cross_layer_interval") is not None


def _image_attention_mask(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Ones for every word and picture (batch, words, pictures)."""
    if "input_ids" not in made or not _looks_across(request):
        return None
    return torch.ones(*made["input_ids"].shape, made["pixel_values"].shape[1], dtype=torch.long)


def _pixel_attention_mask(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Ones along the pixels of each of a row's pictures."""
    picture = made.get("pixel_values")
    if picture is not None and "spatial_shapes" in request.parameters:  # over rows of patches
        return torch.ones(picture.shape[:2], dtype=torch.long)
    if picture is None or picture.dim() != 5:
        return None
    if "tile_fine_mask" in request.parameters:  # over whole tiles
        return torch.ones(picture.shape[:2], dtype=torch.bool)
    return torch.ones(*picture.shape[:2], *picture.shape[-2:], dtype=torch.bool)


def _regions(name: str, *width: str) -> Callable[[Request, dict[str, Tensor]], Tensor | None]:
    """Returns a maker of a detector's features of a picture's regions: noise as wide as a field of `width` says."""

    def make_regions(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        size = _first(request.config, *width)
        return request.noise(name, *_row_shape(request), REGIONS, int(size)) if isinstance(size, int) else None

    return make_regions


def _region_ones(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Ones for every region."""
    found = made.get("visual_feats", made.get("visual_embeds"))
    return torch.ones(found.shape[:-1], dtype=torch.long) if found is not None else None


def _pooled_side(request: Request) -> int:
    """Returns the patches a side of a picture whose patches are given with their places: two windows of pooling."""
    return 2 * int(_first(request.config, "pooling_kernel_size") or 1)


def _placed_patches(request: Request, name: str) -> Tensor:
    """Patches (batch, patches, values of the pixels), from 0 to 1."""
    vision = _node(request.config, "patch_size") or request.config
    features = 3 * int(getattr(vision, "model_patch_size", None) or vision.patch_size) ** 2
    return request.noise(name, request.batch, _pooled_side(request) ** 2, features).sigmoid()


def _patch_places(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Column and row of each patch (batch, patches, 2)."""
    if "pixel_values" not in made:
        return None
    side = torch.arange(_pooled_side(request))
    rows, columns = torch.meshgrid(side, side, indexing="ij")
    return torch.stack([columns.flatten(), rows.flatten()], -1).expand(request.batch, -1, -1).contiguous()


def _original_size(request: Request) -> tuple[int, int]:
    """A picture half as high again as it is wide, so that tiling and unpadding have something to do."""
    height, width = _side(request)
    return height * 3 // 2, width


def _tiles(request: Request) -> int:
    """Returns how many tiles a picture is cut into, the overview included, by the model's own rule."""
    from transformers.image_processing_utils import select_best_resolution

    pinpoints = [list(point) for point in _first(request.config, "image_grid_pinpoints")]
    height, width = select_best_resolution(_original_size(request), pinpoints)
    side = _side(request)
    return (height // side[0]) * (width // side[1]) + 1


def _image_sizes(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    if "pixel_values" not in made or not _needs_sizes(request):
        return None
    size = _original_size(request) if _first(request.config, "image_grid_pinpoints") else _side(request)
    return torch.tensor([size] * request.batch)


def _needs_sizes(request: Request) -> bool:
    """Returns whether the pictures' original sizes are needed; some models take them for another backbone's sake."""
    extract = getattr(request.cls, "get_image_features", None)
    size = inspect.signature(extract).parameters.get("image_sizes") if extract is not None else None
    return extract is None or (size is not None and size.default is inspect.Parameter.empty)


def _grid(request: Request, name: str = "pixel_values") -> tuple[int, int, int]:
    """Returns frames, rows and columns of patches of a picture or video that is given as rows of patches."""
    merge = int(_first(request.config, "spatial_merge_size") or 2)
    frames = int(_first(request.config, "temporal_merge_size") or 1) if "video" in name else 1
    return frames, 2 * merge, 2 * merge


def _patch_rows(request: Request, name: str) -> Tensor:
    vision = _node(request.config, "patch_size") or request.config
    patch = vision.patch_size if isinstance(vision.patch_size, int) else vision.patch_size[0]
    frames, height, width = _grid(request, name)
    steps = getattr(vision, "temporal_patch_size", None) or getattr(vision, "patch_temporal", None) or 1
    features = _channels(request.config) * int(steps) * patch * patch
    patches = frames * height * width
    if hasattr(request.config, "vlm_config"):  # ColQwen2 pads the patches of each row
        return request.noise(name, request.batch, patches, features)
    return request.noise(name, request.batch * patches, features)


def _shapes(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Rows and columns of patches of each picture (SigLIP 2)."""
    return torch.tensor([_grid(request)[1:]] * request.batch) if "pixel_values" in made else None


def _merge_sizes(name: str) -> Callable[[Request, dict[str, Tensor]], Tensor | None]:
    """Returns a maker of how many patches a side become one, for each picture or video of an input."""

    def make_sizes(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        return torch.full((request.batch,), _grid(request)[1] // 2) if name in made else None

    return make_sizes


def _flattened_patches(request: Request, made: dict[str, Tensor]) -> Tensor:
    """Rows of patches, each behind the row and the column that it stands in, counted from 1 (Pix2Struct)."""
    _, rows, columns = _grid(request)
    width = int(_first(request.config, "patch_embed_hidden_size"))
    patches = request.noise("flattened_patches", request.batch, rows * columns, 2 + width)
    places = torch.cartesian_prod(torch.arange(1, rows + 1), torch.arange(1, columns + 1))
    patches[..., :2] = places
    return patches


def _grid_of(*names: str) -> Callable[[Request, dict[str, Tensor]], Tensor | None]:
    """Returns a maker of the grids of the patches in one of the named inputs, one picture or video a row."""

    def make_grid(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        found = next((name for name in names if name in made), None)
        return torch.tensor([_grid(request, found)] * request.batch) if found is not None else None

    return make_grid


def _tower_input(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """What a tower calls its hidden states: rows of patches, a picture, or features of an earlier tower."""
    if "grid_thw" in request.parameters:
        return _patch_rows(request, "hidden_states")
    main = getattr(request.cls, "main_input_name", None)
    if main == "pixel_values" and main not in request.parameters:
        return _picture(request, "hidden_states", request.batch)
    if main == "hidden_states":
        return request.noise("hidden_states", request.batch, request.length, int(request.config.hidden_size))
    return None


def _pixel_mask(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    picture = made.get("pixel_values")
    return (
        torch.ones(*picture.shape[:-3], *picture.shape[-2:], dtype=torch.long)
        if picture is not None and picture.dim() >= 4
        else None
    )


def _pixel_values_videos(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Videos (batch, frames, channels, height, width) where they stand among the words or are all that is taken."""
    required = _default(request.cls, "pixel_values_videos") is inspect.Parameter.empty
    if placeholder(request.config, "video") is None and "input_ids" in request.parameters and not required:
        return None
    if "video_grid_thw" in request.parameters:
        return _patch_rows(request, "pixel_values_videos")
    frames = getattr(_vision(request.config), "num_frames", None) or VIDEO_FRAMES
    return _picture(request, "pixel_values_videos", request.batch, request.size("video_frames", int(frames)))


def _high_resolution(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """The same pictures larger, for a tower of their own."""
    tower = getattr(request.config, "high_res_vision_config", None)
    side = getattr(tower, "image_size", None)
    if not isinstance(side, int):
        return None
    return request.noise("high_res_pixel_values", request.batch, _channels(tower), side, side)


def _condition(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """A picture as the condition, where text is not."""
    if "input_ids" in request.parameters:
        return None
    return _picture(request, "conditional_pixel_values", request.batch)


def _masked_patches(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Masks a random half of each row's patches where that is what the class learns from."""
    if not request.cls.__name__.endswith(("ForMaskedImageModeling", "ForPreTraining")):
        return None
    patch = getattr(_vision(request.config), "patch_size", None)
    if patch is None:
        return None
    (height, width), step = _side(request), patch if isinstance(patch, int) else patch[0]
    count = (height // step) * (width // step)
    tubes = _node(request.config, "num_frames", "tubelet_size")
    if tubes is not None:
        count *= int(tubes.num_frames) // int(tubes.tubelet_size)
    return request.noise("bool_masked_pos", request.batch, count).argsort(dim=1) < count // 2


def _prompt_depth(request: Request, made: dict[str, Tensor]) -> Tensor:
    """A coarse map of distances (batch, 1, height, width), a quarter as fine as the picture."""
    height, width = _side(request)
    return request.noise("prompt_depth", request.batch, 1, height // 4, width // 4).abs()


def _masking_noise(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """What decides which patches are masked (batch, patches): drawn anew in each call where it is not given."""
    single = getattr(request.config, "mask_ratio", None) and not hasattr(request.config, "masked_unit_size")
    count = shrink.patch_count(_vision(request.config)) if single else 0
    return torch.rand(request.batch, count, generator=request.generator("noise")) if count else None


def _image_positions(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Marks where among the words the pictures' features go, after the first word."""
    count = _first(request.config, "latent_query_num")
    if count is None or "input_ids" not in made:
        return None
    mask = torch.zeros(made["input_ids"].shape, dtype=torch.long)
    mask[:, 1 : 1 + int(count)] = 1
    return mask


def _scaled(request: Request, corners: Tensor) -> Tensor:
    """Returns places (…, x, y, x, y, …) of 0 to 1 in pixels of a picture."""
    height, width = _side(request)
    return corners * torch.tensor([width, height] * (corners.shape[-1] // 2), dtype=torch.float32)


def _input_points(request: Request, made: dict[str, Tensor]) -> Tensor:
    """Points in pixels (batch, prompts, points, 2): each prompt asks for an object of its own."""
    places = torch.rand((request.batch, PROMPTS, POINTS, 2), generator=request.generator("input_points"))
    return _scaled(request, places)


def _input_labels(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Whether a point is on the object (1), beside it (0), or is no point (-1): one of each."""
    return torch.tensor([1, 0, -1]).expand(made["input_points"].shape[:3]).clone() if "input_points" in made else None


def _input_boxes(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Boxes in pixels (batch, prompts, 4) as left, top, right, bottom, one for each prompt that has points."""
    if "input_points" not in made:
        return None
    places = torch.rand((request.batch, PROMPTS, 4), generator=request.generator("input_boxes"))
    return _scaled(request, torch.cat([places[..., :2] * 0.5, 0.5 + places[..., 2:] * 0.5], dim=-1))


def _input_masks(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """A coarse mask (batch, 1, height, width) to start from, four places for each of the picture's features."""
    prompts = _node(request.config, "mask_input_channels", "image_size", "patch_size")
    if prompts is None or "input_points" not in made:
        return None
    side = 4 * (int(prompts.image_size) // int(prompts.patch_size))
    return request.noise("input_masks", request.batch, 1, side, side)


# ---------------------------------------------------------------------------------------------------------------------
# Sound.


def _time_axis(request: Request) -> int:
    """Returns which axis of a spectrogram is time: the last where the model convolves over it, as Whisper does."""
    return (
        2
        if _node(request.config, "num_mel_bins", "max_source_positions") is not None
        and _first(request.config, "input_feat_per_channel") is None
        else 1
    )


def _spectrum(request: Request) -> int:
    """Returns how many bins a spectrogram has."""
    names = (
        "input_feat_per_channel",
        "num_mel_bins",
        "n_mels",
        "feature_projection_input_dim",
        "audio_embed_dim",
        "feat_dim",
        "input_dim",
    )
    bins = _first(request.config, *names)
    return int(bins if isinstance(bins, int) else 80)


def _input_features(request: Request, made: dict[str, Tensor]) -> Tensor:
    """A spectrogram: (batch, bins, frames) or (batch, frames, bins)."""
    bins = _spectrum(request)
    if _time_axis(request) == 2:
        frames = 2 * int(_first(request.config, "max_source_positions"))
        return request.noise("input_features", request.batch, bins, request.size("frames", frames))
    return request.noise(
        "input_features",
        request.batch,
        request.size("frames", FRAMES),
        bins * int(_first(request.config, "input_channels") or 1)
        if _first(request.config, "input_feat_per_channel")
        else bins,
    )


def _latents(request: Request, made: dict[str, Tensor]) -> Tensor:
    """What a codec's decoder makes sound of: vectors (batch, width, frames)."""
    return request.noise("latents", request.batch, int(_first(request.config, "hidden_size") or 32), 8)


def _spectrogram(name: str, *fields: str) -> Maker:
    """Returns a maker of a spectrogram (batch, frames, bins), of an even number of frames."""

    def make_spectrogram(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        bins = _first(request.config, *fields)
        return None if bins is None else request.noise(name, request.batch, 10, int(bins))

    return make_spectrogram


def _speaker(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """A voice, as a vector (batch, width)."""
    width = _first(request.config, "speaker_embedding_dim")
    return None if width is None else request.noise("speaker_embeddings", request.batch, int(width))


def _heard(request: Request, rows: int, length: int) -> Tensor:
    """Returns a mask over sound (rows, length) that leaves what is heard of it."""
    mask = torch.zeros(rows, length, dtype=torch.long)
    mask[:, : request.size("heard", length)] = 1
    return mask


def _features_mask(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Ones along the frames of a spectrogram."""
    frames = made.get("input_features")
    if frames is None or frames.dim() != 3:
        return None
    bins = _spectrum(request)
    axis = 2 if frames.shape[1] == bins and frames.shape[2] != bins else _time_axis(request)
    heard = _heard(request, frames.shape[0], frames.shape[axis])
    by_place = "image_position_ids" in request.parameters  # Gemma 4 picks the frames by the mask
    return heard.bool() if by_place and heard is not None else heard


def _padding_mask(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Ones along the samples, where the model takes words or a batch of sounds beside them."""
    sound = made.get("input_values")
    if sound is None or "input_ids" not in request.parameters:
        return None  # a codec alone cuts what it gives by the mask's length
    return _heard(request, sound.shape[0], sound.shape[-1])


def _input_values(request: Request, made: dict[str, Tensor]) -> Tensor:
    """Samples (batch, samples), with a channel where the model separates them, or a spectrogram of fixed length."""
    if _node(request.config, "num_mel_bins", "max_length", "patch_size") is not None:
        return request.noise(
            "input_values",
            request.batch,
            int(_first(request.config, "max_length")),
            int(_first(request.config, "num_mel_bins")),
        )
    samples = request.size("samples", SAMPLES)
    channels = _first(request.config, "audio_channels")
    if channels is not None or _first(request.config, "codebook_size", "codebook_dim") is not None:
        return request.noise("input_values", request.batch, int(channels or 1), samples)
    return request.noise("input_values", request.batch, samples)


def _sound_frames(request: Request, made: Mapping[str, Tensor]) -> int:
    """Returns how many frames the configured convolutions make of the samples; those of a spectrogram stay."""
    if "input_features" in made:
        return int(made["input_features"].shape[_time_axis(request)])
    frames = request.size("samples", SAMPLES)
    for kernel, stride in zip(
        _first(request.config, "conv_kernel"), _first(request.config, "conv_stride"), strict=True
    ):
        frames = (frames - kernel) // stride + 1
    return frames


def _plain_inputs(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """What a model reads that knows no modality (batch, elements, width); none where it reads text or pictures."""
    if {"input_ids", "pixel_values"} & {*request.parameters} or not hasattr(request.config, "d_model"):
        return None
    return request.noise("inputs", request.batch, request.length, int(request.config.d_model))


def _queries(request: Request, made: dict[str, Tensor]) -> Tensor:
    width = int(_first(request.config, "hidden_size") or 32)
    return request.noise("query_embeds", request.batch, 8, width)


def _encoder_states(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """What queries look at; models that can do without are given none."""
    width = _first(request.config, "encoder_hidden_size")
    if "query_embeds" not in made or width is None:
        return None
    return request.noise("encoder_hidden_states", request.batch, 5, int(width))


# ---------------------------------------------------------------------------------------------------------------------
# Series of numbers.


def _series_length(config: Any) -> int:
    """Returns how many steps of the past a model reads: the context, and what the longest lag looks back on."""
    return int(config.context_length) + max(_first(config, "lags_sequence") or [0])


def _series(request: Request, name: str, steps: int) -> Tensor:
    """Returns a series (batch, steps[, variates]) with a level and a spread, as a scaler expects one."""
    channels = getattr(request.config, "num_input_channels", None)
    width = int(channels or getattr(request.config, "input_size", None) or 1)
    shape = (request.batch, steps) if channels is None and width == 1 else (request.batch, steps, width)
    return 3.0 + 2.0 * request.noise(name, *shape)


def _past_values(request: Request, made: dict[str, Tensor]) -> Tensor:
    return _series(request, "past_values", _series_length(request.config))


def _future_values(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """The future as a decoder reads it when it is taught; where it is a label only it comes with the labels."""
    taught = "future_time_features" in request.parameters
    return _series(request, "future_values", int(request.config.prediction_length)) if taught else None


def _time_features(name: str) -> Maker:
    """Returns a maker of what is known of each step (batch, steps, features): its date, covariates."""

    def make_features(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        values = made.get(name)
        count = int(request.config.num_time_features) + int(request.config.num_dynamic_real_features)
        return None if values is None else request.noise(f"{name} features", *values.shape[:2], count)

    return make_features


def _static_categories(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    kinds = request.config.cardinality if request.config.num_static_categorical_features else []
    columns = [request.integers(f"category {index}", 0, int(size), request.batch) for index, size in enumerate(kinds)]
    return torch.stack(columns, dim=1) if columns else None


def _static_numbers(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    count = int(request.config.num_static_real_features)
    return request.noise("static_real_features", request.batch, count) if count else None


def _frequency(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """The kind of each series, such as daily or monthly."""
    kinds = _first(request.config, "freq_size")
    if kinds is None:
        return None
    row = torch.arange(request.batch).remainder(int(kinds))
    return row if request.cls.__name__.endswith("ForPrediction") else row[:, None]


def _observed(value: float) -> Maker:
    """Returns a maker of a mask of floats along a series: the models calculate with it."""

    def make_mask(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        return torch.full_like(made["past_values"], value) if "past_values" in made else None

    return make_mask


# ---------------------------------------------------------------------------------------------------------------------
# Trajectories of decisions.


def _trajectory(name: str, width: str | None = None) -> Maker:
    """Returns a maker of one quantity of each step of a trajectory, as wide as a field of the configuration says."""

    def make_steps(request: Request, made: dict[str, Tensor]) -> Tensor:
        size = 1 if width is None else int(getattr(request.config, width))
        return request.noise(name, request.batch, request.size("sequence_length", DECODER_SEQUENCE), size)

    return make_steps


def _timesteps(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """The number of each step, rows beginning at different steps of their episodes."""
    if "states" not in made:
        return None
    steps = torch.arange(made["states"].shape[1]) + 3
    return torch.stack([steps + row for row in range(request.batch)])


# ---------------------------------------------------------------------------------------------------------------------
# The table, and the order in which what depends on other inputs is made.

Maker = Callable[[Request, dict[str, Tensor]], "Tensor | None"]

MAKERS: dict[str, Maker] = {
    "pixel_values": _pixel_values,
    "pixel_values_videos": _pixel_values_videos,
    "conditional_pixel_values": _condition,
    "high_res_pixel_values": _high_resolution,
    "input_features": _input_features,
    "input_values": _input_values,
    "input_features_mask": _features_mask,
    "feature_attention_mask": _features_mask,
    "padding_mask": _padding_mask,
    "latents": _latents,
    "spectrogram": _spectrogram("spectrogram", "model_in_dim"),
    "decoder_input_values": _spectrogram("decoder_input_values", "num_mel_bins"),
    "speaker_embeddings": _speaker,
    "image_sizes": _image_sizes,
    "hidden_states": _tower_input,
    "flattened_patches": _flattened_patches,
    "spatial_shapes": _shapes,
    "image_merge_sizes": _merge_sizes("pixel_values"),
    "video_merge_sizes": _merge_sizes("pixel_values_videos"),
    "merge_sizes": _merge_sizes("pixel_values"),
    "image_position_ids": _patch_places,
    "pixel_position_ids": _patch_places,
    "image_grid_thw": _grid_of("pixel_values"),
    "video_grid_thw": _grid_of("pixel_values_videos"),
    "grid_thw": _grid_of("pixel_values", "hidden_states"),
    "pixel_mask": _pixel_mask,
    "pixel_attention_mask": _pixel_attention_mask,
    "bool_masked_pos": _masked_patches,
    "noise": _masking_noise,
    "prompt_depth": _prompt_depth,
    "states": _trajectory("states", "state_dim"),
    "actions": _trajectory("actions", "act_dim"),
    "returns_to_go": _trajectory("returns_to_go"),
    "timesteps": _timesteps,
    "input_points": _input_points,
    "input_labels": _input_labels,
    "input_boxes": _input_boxes,
    "input_masks": _input_masks,
    "visual_feats": _regions("visual_feats", "visual_feat_dim"),
    "visual_pos": _regions("visual_pos", "visual_pos_dim"),
    "visual_embeds": _regions("visual_embeds", "visual_embedding_dim"),
    "visual_attention_mask": _region_ones,
    "visual_token_type_ids": _region_ones,
    "region_to_phrase_position": lambda request, made: request.integers(
        "region_to_phrase_position", 0, request.length, request.batch, REGIONS
    ),
    "qformer_input_ids": lambda request, made: tokens(request, "qformer_input_ids", request.batch, request.length),
    "qformer_attention_mask": _like("qformer_input_ids", 1),
    "input_ids": _input_ids,
    "input_ids_masked": _masked_words,
    "image_attention_mask": _image_attention_mask,
    "attention_mask": _attention_mask,
    "token_type_ids": _token_type_ids,
    "mm_token_type_ids": _modality_types,
    "moe_mm_token_type_ids": _modality_types,
    "bbox": _bbox,
    "entity_ids": _entity_ids,
    "entity_attention_mask": _like("entity_ids", 1),
    "entity_token_type_ids": _like("entity_ids", 0),
    "entity_position_ids": _entity_position_ids,
    "entity_start_positions": _entity_edge(1),
    "entity_end_positions": _entity_edge(2),
    "image_embeds_position_mask": _image_positions,
    "codebook_idx": lambda request, made: torch.tensor(int(getattr(request.config, "n_codes_total", 2)) - 1),
    "inputs": _plain_inputs,
    "query_embeds": _queries,
    "encoder_hidden_states": _encoder_states,
    "decoder_input_ids": _decoder_input_ids,
    "decoder_attention_mask": _decoder_mask,
    "past_values": _past_values,
    "past_observed_mask": _observed(1.0),
    "observed_mask": _observed(1.0),
    "past_values_padding": _observed(0.0),
    "future_values": _future_values,
    "past_time_features": _time_features("past_values"),
    "future_time_features": _time_features("future_values"),
    "static_categorical_features": _static_categories,
    "static_real_features": _static_numbers,
    "freq": _frequency,
}
ORDER = tuple(MAKERS)


# ---------------------------------------------------------------------------------------------------------------------
# Labels, by the argument's name and what kind of head the class is.


def make_labels(request: Request, made: Mapping[str, Tensor]) -> dict[str, Any]:
    """Returns the labels that the class's `forward` takes, by argument name: tensors, for objects lists of them."""
    found: dict[str, Any] = {}
    parameters = request.parameters
    if "return_loss" in parameters and _default(request.cls, "return_loss") is not True:
        found["return_loss"] = torch.tensor(True)
    wanted = takes_labels(request.cls) and request.options.get("labels", True) is not None
    if wanted and (labels := _labels(request, made)) is not None:
        found["labels"] = labels
    if "past_values" in made:
        found.update(_series_labels(request, made))
    if takes_labels(request.cls, "mask_labels"):
        found.update(_segment_labels(request, made))
    if "codebook_pixel_values" in parameters:  # the pictures whose codes are what masked patches are compared with
        found["codebook_pixel_values"] = _picture(request, "codebook_pixel_values", request.batch)
    if "mlm_labels" in parameters and "input_ids" in made:
        found["mlm_labels"] = made["input_ids"].clone()
    if "matched_label" in parameters:
        found["matched_label"] = request.integers("matched_label", 0, 2, request.batch)
    if "ans" in parameters:
        found["ans"] = request.integers("ans", 0, int(_first(request.config, "num_qa_labels")), request.batch)
    if "itm_labels" in parameters:
        found["itm_labels"] = torch.ones(request.batch, dtype=torch.long)
    length = made["input_ids"].shape[-1] if "input_ids" in made else 1
    for name in ("start_positions", "end_positions"):
        if name in parameters:
            found[name] = request.integers(name, 1, length - 1, request.batch)
    if "initial_token_labels" in parameters:
        found["initial_token_labels"] = request.integers(
            "initial_token_labels", 0, int(request.config.num_labels), *made["input_ids"].shape
        )
        found["subsequent_token_labels"] = _next_tokens(made["input_ids"])
    if "bbox_first_token_mask" in parameters:  # of the labels alone: which of them count
        found["bbox_first_token_mask"] = torch.ones_like(made["input_ids"], dtype=torch.bool)
    if "question_positions" in parameters and request.cls.__name__.endswith("ForPreTraining"):
        found["question_positions"] = torch.ones(request.batch, 1, dtype=torch.long)  # where `input_ids` has it
    for name in ("next_sentence_label", "sentence_order_label"):
        if name in parameters:
            found[name] = request.integers(name, 0, 2, request.batch)
    if "entity_labels" in parameters and "entity_ids" in made:
        found["entity_labels"] = request.integers(
            "entity_labels", 0, int(_first(request.config, "entity_vocab_size")), *made["entity_ids"].shape
        )
    return found


def _classes(request: Request, name: str, row: int) -> Tensor:
    """Returns the classes of the objects in one picture: rows differ in how many they hold."""
    return request.integers(f"{name}.{row}", 0, int(request.config.num_labels), OBJECTS - row % OBJECTS)


def _object_masks(request: Request, made: Mapping[str, Tensor], row: int, count: int) -> Tensor:
    """Returns a mask of ones and zeros (objects, height, width) for each object of one picture."""
    return (request.noise(f"masks.{row}", count, *made["pixel_values"].shape[-2:]) > 0).float()


def _objects(request: Request, made: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Returns what each picture shows, as DETR takes it: classes, boxes as centre and size in 0 to 1, masks."""
    found: list[dict[str, Tensor]] = []
    for row in range(request.batch):
        classes = _classes(request, "labels", row)
        places = torch.rand((len(classes), 4), generator=request.generator(f"boxes.{row}"))
        boxes = torch.cat([0.3 + 0.4 * places[:, :2], 0.1 + 0.4 * places[:, 2:]], dim=-1)
        found.append({"class_labels": classes, "boxes": boxes})
        if request.cls.__name__.endswith(("ForSegmentation", "ForInstanceSegmentation")):
            found[-1]["masks"] = _object_masks(request, made, row, len(classes))
    return found


def _segment_labels(request: Request, made: Mapping[str, Tensor]) -> dict[str, Any]:
    """Returns what each picture shows, as MaskFormer takes it: a list of masks and one of their classes."""
    classes = [_classes(request, "class_labels", row) for row in range(request.batch)]
    masks = [_object_masks(request, made, row, len(held)) for row, held in enumerate(classes)]
    return {"mask_labels": masks, "class_labels": classes}


def _series_labels(request: Request, made: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the future that a forecast is measured by, and the class or the numbers that a series has."""
    found: dict[str, Tensor] = {}
    name, batch = request.cls.__name__, request.batch
    if "future_values" in request.parameters and name.endswith("ForPrediction"):
        steps = _first(request.config, "prediction_length", "horizon_length")
        found["future_values"] = _series(request, "future_values", int(steps))
    if "target_values" in request.parameters:
        count = int(request.config.num_targets)
        found["target_values"] = (
            request.integers("target_values", 0, count, batch)
            if name.endswith("Classification")
            else request.noise("target_values", batch, count)
        )
    return found


def _next_tokens(words: Tensor) -> Tensor:
    """Returns for each token the place of the next one, as labels of a head that links tokens (SPADE)."""
    return torch.arange(1, words.shape[-1] + 1).expand(words.shape).clone()


def judges_tokens(cls: type[Any]) -> bool:
    """Returns whether a class learns which tokens were replaced: it pre-trains, and has no words to predict."""
    return cls.__name__.endswith("ForPreTraining") and "input_ids" in parameters(cls) and not cls._tied_weights_keys


def _labels_of_regions(request: Request, made: Mapping[str, Tensor], classes: int) -> Tensor:
    """Returns labels of classes that read text with the regions of a picture (LXMERT, VisualBERT)."""
    name, batch = request.cls.__name__, request.batch
    answers = _first(request.config, "num_qa_labels")
    if name.endswith("ForQuestionAnswering") and isinstance(answers, int):
        return request.integers("labels", 0, answers, batch)
    if name.endswith("ForQuestionAnswering"):  # how well each answer fits
        return torch.softmax(request.noise("labels", batch, classes), -1)
    if name.endswith("ForRegionToPhraseAlignment"):
        return torch.softmax(request.noise("labels", batch, REGIONS, REGIONS), -1)
    if name.endswith("ForVisualReasoning"):
        return request.integers("labels", 0, classes, batch)
    length = made["input_ids"].shape[-1] + (REGIONS if "visual_embeds" in made else 0)
    return tokens(request, "labels", batch, length)


def _labels(request: Request, made: Mapping[str, Tensor]) -> Any:
    """Returns what goes under `labels`: classes, tokens, a map of classes, a transcript, or the objects of pictures."""
    name, batch, classes = request.cls.__name__, request.batch, int(getattr(request.config, "num_labels", None) or 2)
    if name.endswith("ForMultipleChoice"):
        return request.integers("labels", 0, CHOICES, batch)
    if "visual_feats" in made or "visual_embeds" in made:
        return _labels_of_regions(request, made, classes)
    if name.endswith("ForImageAndTextRetrieval"):  # whether the text is the picture's
        return request.integers("labels", 0, 2, batch)
    if name.endswith("ForCTC"):
        return tokens(request, "labels", batch, 3)
    if name.endswith("SpadeELForTokenClassification"):
        return _next_tokens(made["input_ids"])
    if name.endswith(("ForTokenClassification", "ForEntitySpanClassification")):
        reference = "entity_ids" if "Span" in name else "input_ids"
        return request.integers("labels", 0, classes, *made[reference].shape)
    if name.endswith(("ForObjectDetection", "ForSegmentation", "ForInstanceSegmentation")):
        return _objects(request, made)
    if name.endswith("DepthEstimation"):
        return request.noise("labels", batch, *_side(request)).abs() + 0.5
    if name.endswith("SemanticSegmentation"):
        return request.integers("labels", 0, classes, batch, *_side(request))
    if name.endswith("ForMaskedImageModeling") and "bool_masked_pos" in made:  # tokens of a picture's tokenizer
        return request.integers("labels", 0, vocabulary(request.config), int(made["bool_masked_pos"].sum()))
    if "prompt_masks" in made:  # what the prompt shows, painted over the picture
        return request.noise("labels", *made["pixel_values"].shape)
    if name.endswith("ForPoseEstimation"):  # a map for each point, as large as the head doubles the patches
        side = _side(request)[0] // int(request.config.patch_size)
        side *= 2 ** len(_first(request.config, "upsample_out_channels") or ())
        return request.noise("labels", batch, classes, side, side)
    if name.endswith("ForImageSegmentation"):
        return request.integers("labels", 0, 2, batch, *_side(request)).float()
    if judges_tokens(request.cls):
        return request.integers("labels", 0, 2, *made["input_ids"].shape)
    if name.endswith("ForAudioFrameClassification"):
        return torch.nn.functional.one_hot(
            request.integers("labels", 0, classes, batch, _sound_frames(request, made)), classes
        )
    if name.endswith("ForQuestionAnswering") and not {"start_positions", "decoder_input_ids"} & set(request.parameters):
        if "pixel_values" not in request.parameters:  # which tokens, of a table's cells, are the answer
            return request.integers("labels", 0, 2, *made["input_ids"].shape)
        return request.integers("labels", 0, 2, batch, classes).float()  # how good each of the known answers is
    if "Classification" in name or name.endswith(("NextSentencePrediction", "XVector")):
        return request.integers("labels", 0, classes, batch)
    if "decoder_input_values" in made:  # the frames that each step of a decoder of spectrograms gives
        rows, frames, bins = made["decoder_input_values"].shape
        return request.noise("labels", rows, frames * int(request.config.reduction_factor), bins)
    decoder = made.get("decoder_input_ids", made.get("input_ids"))
    if decoder is not None and _rows_of_codes(request) > 1:
        return tokens(request, "labels", batch, decoder.shape[1], _rows_of_codes(request))
    return tokens(request, "labels", *decoder.shape) if decoder is not None else None
