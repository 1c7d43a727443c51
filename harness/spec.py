"""The spec: one declaration on one backend, as the rules wrote it and a cell reads it.

Parsing is strict: an unknown or missing field is an error that names the label, the field and the fix.
What the values mean to a model (does the class exist, is the config key a field) is the cell's to find out.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.reference import Reference

VERSION = 1

CATEGORIES = ("encoder", "decoder", "encoder_decoder", "vision", "multimodal", "audio", "time_series", "decision")

CHECKS = ("category", "runtime")

MARKS = ("vision_start_token_id", "vision_end_token_id", "audio_start_token_id", "audio_end_token_id")
"""What stands before and behind placeholders: where a configuration class does not list it, its checkpoints say it."""


class SpecError(ValueError):
    """A spec that cannot be used. The message names the label, the fault and the fix."""


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far two results that should agree may differ: `|a - b| <= atol * max(1, max|b|) + rtol * |b|`.

    Attributes:
      per_layer: against float32 in eager mode, the error of one layer as a share of the output's magnitude; it grows
        with the square root of the number of layers, as independent errors of rounding do.
    """

    rtol: float
    atol: float
    per_layer: float = 0.0


@dataclasses.dataclass(frozen=True)
class Backend:
    """One row of `toolchains/backends.bzl`.

    Attributes:
      checks: `category`, all checks of the model's category, or `runtime`, agreement with eager mode in float32.
      known_failures: what the runtime cannot do, whatever the model.
    """

    name: str
    device: str
    runtime: str
    dtype: str
    tolerance: Tolerance
    checks: str = "category"
    known_failures: tuple[KnownFailure, ...] = ()


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one run of the cell may use. CPU time is the budget; wall time is only the backstop.

    Attributes:
      cpu_seconds: user and system time of the child and its own children.
      wall_seconds: time on the clock.
      memory_mib: resident memory of the child and its own children, MiB.
    """

    cpu_seconds: int
    wall_seconds: int
    memory_mib: int


@dataclasses.dataclass(frozen=True)
class KnownFailure:
    """A failure that is expected, with the cause a maintainer of the model would accept.

    Attributes:
      match: the backend's name, or a check's id such as `decoder::causality`.
      reason: the real cause, in words.
      issue: link or upstream file; empty if there is none.
      expires: `YYYY-MM-DD`, after which the entry must be renewed.
      check: the first check that fails, `cell` for a death outside any check; empty where `match` is a check.
      message: what that check's message holds, `*` standing for anything; empty for any message.
    """

    match: str
    reason: str
    issue: str
    expires: str
    check: str = ""
    message: str = ""

    def explains(self, check: str, message: str) -> bool:
        """Returns whether this is the failure of `check` with `message`."""
        pattern = ".*".join(re.escape(part) for part in self.message.split("*"))
        return check == (self.check or self.match) and re.search(pattern, message, re.DOTALL) is not None


@dataclasses.dataclass(frozen=True)
class Spec:
    """One cell. Field names are those of `hf_model` in `//rules:defs.bzl`, where each is documented.

    Attributes:
      label: the test's label, `//models/decoder/llama:cpu`; every error names it.
      folder: the folder under `transformers/models` that holds the model's code.
      heads: what a class needs by itself, by its name: `config`, `inputs`, `arguments`, `runs`.
      slices: every model folder that the cell may load (the closure of `folder`).
      reference: what was recorded for the cell; None without it. It is a file of its own beside the spec.
    """

    label: str
    name: str
    category: str
    tier: str
    task: str
    environment: str
    model_type: str
    folder: str
    main_class: str
    checkpoint: str
    config: Mapping[str, Any]
    inputs: Mapping[str, Any]
    limits: Limits
    backend: Backend
    known_failures: tuple[KnownFailure, ...]
    not_applicable: Mapping[str, str]
    heads: Mapping[str, Mapping[str, Any]]
    unexercised_classes: Mapping[str, str]
    unused_parameters: Mapping[str, str]
    slices: tuple[str, ...]
    epoch: str
    reference: Reference | None = None

    @property
    def checks(self) -> str:
        """What the cell's own checks are called: those of the category, or `runtime`."""
        return self.category if self.backend.checks == "category" else self.backend.checks


def _build(cls: type[Any], value: Any, where: str) -> Any:
    """Makes the dataclass `cls` from a JSON object with exactly its fields.

    Raises:
      SpecError: a field is missing or unknown.
    """
    if not isinstance(value, dict):
        raise SpecError(f"{where}: expected an object, found {type(value).__name__}")
    names = {field.name for field in dataclasses.fields(cls)} - {"reference"}
    missing, unknown = sorted(names - value.keys()), sorted(value.keys() - names)
    if missing or unknown:
        raise SpecError(
            f"{where}: missing fields {missing}, unknown fields {unknown}; "
            "the spec was written by another version of the rules, rebuild it"
        )
    return cls(**value)


def _known_failures(value: Any, where: str) -> tuple[KnownFailure, ...]:
    return tuple(_build(KnownFailure, item, where) for item in value or ())


def parse(text: str) -> Spec:
    """Returns the spec that `text` (JSON) holds.

    Raises:
      SpecError: the text is no JSON, is of another version, or has other fields than `Spec`.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecError(f"spec: not JSON ({error}); rebuild it") from None
    if not isinstance(data, dict):
        raise SpecError("spec: expected an object; rebuild it")
    label = data.get("label", "spec")
    version = data.pop("version", None)
    if version != VERSION:
        raise SpecError(f"{label}: spec version {version!r}, this harness reads {VERSION}; rebuild it")
    data["limits"] = _build(Limits, data.get("limits"), f"{label}: limits")
    backend = dict(data.get("backend") or {})
    backend["tolerance"] = _build(Tolerance, backend.get("tolerance"), f"{label}: backend.tolerance")
    backend["known_failures"] = _known_failures(backend.get("known_failures"), f"{label}: backend.known_failures")
    data["backend"] = _build(Backend, backend, f"{label}: backend")
    data["known_failures"] = _known_failures(data.get("known_failures"), f"{label}: known_failures")
    data["slices"] = tuple(data.get("slices") or ())
    spec: Spec = _build(Spec, data, str(label))
    if spec.backend.checks not in CHECKS:
        raise SpecError(f"{spec.label}: backend.checks {spec.backend.checks!r} is not one of {', '.join(CHECKS)}")
    if spec.category not in CATEGORIES:
        raise SpecError(f"{spec.label}: category {spec.category!r} is not one of {', '.join(CATEGORIES)}")
    for field in dataclasses.fields(spec.limits):
        if getattr(spec.limits, field.name) <= 0:
            raise SpecError(f"{spec.label}: limits.{field.name} must be above zero; leave it out for the default")
    return spec


def load(path: Path) -> Spec:
    """Returns the spec in the file at `path`; see `parse` for what it raises."""
    return parse(path.read_text(encoding="utf-8"))


def load_known_failures(path: Path, label: str) -> tuple[KnownFailure, ...]:
    """Returns what the backend of `label` cannot do, from the file at `path`.

    Raises:
      SpecError: it is no JSON list of known failures.
    """
    where = f"{label}: {path.name}"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise SpecError(f"{where}: not JSON ({error}); rebuild it") from None
    if not isinstance(value, list):
        raise SpecError(f"{where}: expected a list; rebuild it")
    return _known_failures(value, where)
