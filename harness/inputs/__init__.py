"""Synthesises seeded inputs for any model class from its configuration and the signature of its `forward`.

What each argument is made of stands in `table.py`, by the argument's name; a declaration may set sizes or single
tensors (see `OPTIONS` and `KINDS` in `request.py`). How many placeholders a picture or a sound takes is counted by the
model's own feature extractor. Nothing is tried out: one set of inputs is made, and it fits or the cell fails.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.build import nearest
from harness.inputs.labels import make_labels
from harness.inputs.request import KINDS, OPTIONS, Request, is_made, parameters
from harness.inputs.table import MAKERS, ORDER
from harness.inputs.text import boxes, finish_text, row_shape, tokens
from harness.spec import SpecError


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
    declared = [name for name in request.options if name in _declarable(request.cls) and name not in MAKERS]
    for name in declared:  # before the text, whose placeholders may be counted with them
        if not _waits_for_text(request.options[name]):
            made[name] = _declared(request, name, where, made)
    names = [name for name in request.parameters if name in MAKERS]
    for name in sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else -1):
        described = request.options.get(name, 0)
        if not isinstance(described, int) and not is_made(described):
            value = _declared(request, name, where, made)
        else:
            value = MAKERS[name](request, made)
        if value is not None:
            made[name] = value
    for name in [name for name in request.options if name in _declarable(request.cls) and name not in made]:
        if is_made(request.options[name]):
            continue  # its maker has none for this class
        if (value := _declared(request, name, where, made)) is not None:
            made[name] = value
    if request.labels:
        made.update(make_labels(request, made))
    finish_text(request, made)
    return {name: made[name] for name in [*request.parameters, *made] if made.get(name) is not None}


def _declarable(cls: type[Any]) -> tuple[str, ...]:
    """Returns the names of the tensors that a declaration may describe.

    Where `forward` hands keywords on to a model inside, what a processor gives that model need not be named (ColPali).
    """
    hands_on = any(given.kind is given.VAR_KEYWORD for given in inspect.signature(cls.forward).parameters.values())
    return (*parameters(cls), *(MAKERS if hands_on else ()))


def _waits_for_text(described: Any) -> bool:
    """Returns whether a declared tensor is left out or has a place for each token, placeholders included."""
    return described is None or (isinstance(described, Mapping) and "tokens" in described.get("shape", ()))


def check_options(request: Request, where: str) -> None:
    """Raises a SpecError for a declared input that means nothing to the main class."""
    known = [*OPTIONS, *_declarable(request.cls)]
    for name in request.options:
        if name not in known:
            raise SpecError(
                f"{where}: inputs key {name!r} is neither a size ({', '.join(OPTIONS)}) nor an argument of "
                f"{request.cls.__name__}.forward{nearest(name, known)}"
            )


def _declared(request: Request, name: str, where: str, made: Mapping[str, Tensor]) -> Any:
    """Returns the tensor that the declaration describes for one argument, or those of its parts by name."""
    return _described(request, name, request.options[name], where, made)


def _described(request: Request, name: str, described: Any, where: str, made: Mapping[str, Tensor]) -> Any:
    if described is None:
        return None
    if not isinstance(described, Mapping) or described.get("kind") not in KINDS:
        raise SpecError(f"{where}: inputs key {name!r} needs a `kind` of {', '.join(KINDS)}, or null to leave it out")
    kind = described["kind"]
    if kind == "parts":
        parts = {part: f"{name}.{part}" for part in described["parts"]}
        return {part: _described(request, path, described["parts"][part], where, made) for part, path in parts.items()}
    named = {"batch": request.batch, "sequence": request.length}
    if "input_ids" in made:
        named["tokens"] = made["input_ids"].shape[-1]
    shape = [_declared_size(size, named) for size in described.get("shape", ["batch", "sequence"])]
    if described.get("shape", ["batch"])[:1] == ["batch"]:
        shape[:1] = row_shape(request)
    if kind == "segments":
        segments = torch.zeros(shape, dtype=torch.long)
        segments[..., -described["last"] :] = 1
        return segments
    if kind == "positions":
        return (torch.arange(shape[-1]) // described.get("times", 1)).expand(shape).clone()
    if kind == "tokens":
        return tokens(request, name, *shape)
    if kind == "flags":
        return torch.full(shape, bool(described.get("value", True)))
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
