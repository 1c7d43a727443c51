"""The spec: one declaration on one backend, as the rules wrote it and a cell reads it.

Parsing is strict: an unknown or missing field is an error that names the label, the field and the fix.
What the values mean to a model (does the class exist, is the config key a field) is the cell's to find out.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.reference import Reference

VERSION = 1

CATEGORIES = ("encoder", "decoder", "encoder_decoder", "vision", "multimodal", "audio", "time_series", "decision")


class SpecError(ValueError):
    """A spec that cannot be used. The message names the label, the fault and the fix."""


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far two results that should agree may differ: `|a - b| <= atol * max(1, max|b|) + rtol * |b|`."""

    rtol: float
    atol: float


@dataclasses.dataclass(frozen=True)
class Backend:
    """One row of `toolchains/backends.bzl`."""

    name: str
    device: str
    runtime: str
    dtype: str
    tolerance: Tolerance


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
    """

    match: str
    reason: str
    issue: str
    expires: str


@dataclasses.dataclass(frozen=True)
class Spec:
    """One cell. Field names are those of `hf_model` in `//rules:defs.bzl`, where each is documented.

    Attributes:
      label: the test's label, `//models/decoder/llama:cpu`; every error names it.
      folder: the folder under `transformers/models` that holds the model's code.
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
    unexercised_classes: Mapping[str, str]
    unused_parameters: Mapping[str, str]
    slices: tuple[str, ...]
    epoch: str
    reference: Reference | None = None


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
    data["backend"] = _build(Backend, backend, f"{label}: backend")
    data["known_failures"] = tuple(
        _build(KnownFailure, item, f"{label}: known_failures") for item in data.get("known_failures") or ()
    )
    data["slices"] = tuple(data.get("slices") or ())
    spec: Spec = _build(Spec, data, str(label))
    if spec.category not in CATEGORIES:
        raise SpecError(f"{spec.label}: category {spec.category!r} is not one of {', '.join(CATEGORIES)}")
    for field in dataclasses.fields(spec.limits):
        if getattr(spec.limits, field.name) <= 0:
            raise SpecError(f"{spec.label}: limits.{field.name} must be above zero; leave it out for the default")
    return spec


def load(path: Path) -> Spec:
    """Returns the spec in the file at `path`; see `parse` for what it raises."""
    return parse(path.read_text(encoding="utf-8"))
