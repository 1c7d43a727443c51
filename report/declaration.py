"""The declaration format: one model as the rules declared it, for every report.

Reading is strict. Whether the model exists and works is for the verdicts of its cells to say.

Version 1 is one JSON object: `version` and the fields of `Declaration`. A field is added by a new version, and
each version reads its own.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from report import strict

VERSION = 1

CATEGORIES = ("encoder", "decoder", "encoder_decoder", "vision", "multimodal", "audio", "time_series", "decision")
"""In the order in which reports show them."""

TIERS = ("critical", "high", "medium", "low")
"""From what matters most to what matters least."""

_LABEL = re.compile(r"(?P<package>(?:@@?[^/:]*)?//[^:]*):(?P<target>[^:]+)")


@dataclasses.dataclass(frozen=True)
class KnownFailure:
    """A failure that the declaration expects.

    Attributes:
      match: the backend's name, or a check's id such as `decoder::causality`.
      reason: the real cause, in words.
      issue: link or upstream file; empty if there is none.
      expires: `YYYY-MM-DD`, after which the entry must be renewed.
      check: the first check that fails; empty where `match` is a check.
      message: what that check's message holds.
    """

    match: str
    reason: str
    issue: str
    expires: str
    check: str = ""
    message: str = ""


@dataclasses.dataclass(frozen=True)
class Declaration:
    """One model. The fields are those of `hf_model` in `//rules:defs.bzl`, where each is documented.

    Attributes:
      label: the declaration's label, `//models/decoder/llama:llama`.
      folder: the folder under `transformers/models` that holds the model's code.
      backends: name of every backend that the model has a cell for, whether or not this host can run it.
      unavailable: why no cell can run the model; empty where one can.
      package: the package that an unavailable model needs; empty where no package has an implementation.
    """

    label: str
    name: str
    category: str
    tier: str
    task: str
    model_type: str
    folder: str
    main_class: str
    checkpoint: str
    environment: str
    backends: tuple[str, ...]
    config: Mapping[str, Any]
    inputs: Mapping[str, Any]
    limits: Mapping[str, int]
    known_failures: tuple[KnownFailure, ...]
    not_applicable: Mapping[str, str]
    heads: Mapping[str, Any]
    unexercised_classes: Mapping[str, str]
    unused_parameters: Mapping[str, str]
    unavailable: str
    package: str

    def cell_label(self, backend: str) -> str:
        """Returns the label of this model's cell on `backend`, `//models/decoder/llama:cpu`."""
        return f"{self.label.rpartition(':')[0]}:{backend}"

    def known_failure(self, backend: str, check: str) -> KnownFailure | None:
        """Returns the entry that expects `check` to fail, or anything to fail on `backend`; None if there is none."""
        by_match = {entry.match: entry for entry in self.known_failures}
        return by_match.get(check) or by_match.get(backend)


def parse(value: Any, where: str) -> Declaration:
    """Returns the declaration that the JSON value `value` is.

    Args:
      value: decoded JSON.
      where: file that it came from, for messages.

    Raises:
      strict.InputError: it is of another version, has other fields, or a word outside the vocabulary.
    """
    declaration = strict.build(Declaration, strict.versioned(value, VERSION, where), where)
    if not _LABEL.fullmatch(declaration.label):
        raise strict.InputError(f"{where}: {declaration.label!r} is no label such as //models/decoder/llama:llama")
    for word, attribute, vocabulary in (
        (declaration.category, "category", CATEGORIES),
        (declaration.tier, "tier", TIERS),
    ):
        if word not in vocabulary:
            raise strict.InputError(
                f"{declaration.label}: {attribute} {word!r} is not one of {', '.join(vocabulary)}; build it again"
            )
    return declaration


def load(path: Path) -> Declaration:
    """Returns the declaration in the file at `path`; see `parse` for what it raises."""
    return parse(strict.read(path, "declaration"), str(path))
