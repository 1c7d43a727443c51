"""What inputs are asked for, and the words that a declaration uses to say more about them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import linecache
import re
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any

import torch
from torch import Tensor

from harness.inputs.configs import first

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

IGNORED = -100
"""torch's and transformers' own convention for a label that the loss must not see."""

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

KINDS = (
    "tokens",
    "mask",
    "flags",
    "zeros",
    "segments",
    "positions",
    "noise",
    "integers",
    "boxes",
    "unit_boxes",
    "parts",
    "made",
)
"""Values of `kind` where a declaration describes one tensor: `{"kind": "integers", "shape": ["batch", 4], "high": 9}`.

`tokens` are ordinary words, `mask` is ones, `flags` are true (or `value`), `segments` is zeros and then `last` ones,
`positions` count up from 0, each number `times` (1) times, `noise` is standard normal, `integers` are from `low` (0) up
to `high`, `boxes` are (left, top, right, bottom) of 0 to 1000, `unit_boxes` the same of 0 to 1, `parts` are several
tensors under one argument, a dictionary: each is described under its name in `parts`. `made` is an argument that
`forward` hands on to a model inside without naming it: it is made as where it is named. A shape may name `batch`, a
multiple of it (`4*batch`), `sequence`, and `tokens`, which is `sequence` with all placeholders; a class that chooses
among texts gets one for each choice behind the batch. A tensor given as null is left out.
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
        most = first(self.config, "max_position_embeddings", "n_positions") or 0  # XLNet says -1: no limit
        return min(self.size("sequence_length", SEQUENCE), most if most > 0 else 999)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the arguments of the class's `forward`, and of those that it is said to hand on."""
        named = parameters(self.cls)
        return (*named, *(name for name, value in self.options.items() if is_made(value) and name not in named))

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


def is_made(described: Any) -> bool:
    """Returns whether a declaration says of an argument that it is handed on, and made as where it is named."""
    return isinstance(described, Mapping) and described.get("kind") == "made"


def parameters(cls: type[Any]) -> tuple[str, ...]:
    """Returns the names of the arguments of the class's `forward`."""
    return tuple(inspect.signature(cls.forward).parameters)


def default_of(cls: type[Any], name: str) -> Any:
    """Returns the default of an argument of the class's `forward`."""
    return inspect.signature(cls.forward).parameters[name].default


@functools.cache
def source_of(function: Callable[..., Any]) -> str:
    """Returns the source of a function, its decorators included.

    `inspect.getsource` reads token by token to find the end, which the compiled code knows.
    """
    code = inspect.unwrap(function).__code__
    return "".join(linecache.getlines(code.co_filename)[code.co_firstlineno - 1 : _last_line(code)])


def _last_line(code: CodeType) -> int:
    """Returns the number of the last line of a function, of those inside it too."""
    inside = [_last_line(part) for part in code.co_consts if isinstance(part, CodeType)]
    return max(inside + [line for _, line, _, _ in code.co_positions() if line is not None])


def takes_labels(cls: type[Any], name: str = "labels") -> bool:
    """Returns whether the class's `forward` makes a loss of the argument: some take it only to refuse training."""
    refusals = r"not support training|not trainable|Training [^)]*is not supported"
    return name in parameters(cls) and not re.search(
        rf"raise (NotImplementedError\([^)]*[Tt]raining|ValueError\([^)]*({refusals}))",
        source_of(cls.forward),
    )


Maker = Callable[[Request, dict[str, Tensor]], "Tensor | None"]
"""Makes one input out of the request and what has been made before it; None where the class gets none."""
