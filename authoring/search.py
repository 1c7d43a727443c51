"""Looks for values that a model needs to be built small: bounded by attempts, and done while a declaration is written.

A cell never searches: what is found here is pinned as `config` or `inputs` in the declaration. Each attempt builds the
model and runs its forward once, in a forked child.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from authoring.forked import ChildFailed, in_child
from harness import shrink
from harness.spec import Spec

MOST_ATTEMPTS = 12
CPU_SECONDS = 30
WIDTHS = (64, 128)
LAYERS = (3, 4)


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One set of values and what came of it.

    Attributes:
      config: overrides of the shrunk config.
      inputs: overrides of the inputs.
      error: why the forward did not run; empty when it did.
    """

    config: Mapping[str, Any]
    inputs: Mapping[str, Any]
    error: str = ""


def candidates(full: Any) -> Iterator[Attempt]:
    """Yields what is tried, the simplest first: nothing, more layers, wider, larger pictures, longer texts.

    Args:
      full: the config class's defaults; only fields that it has are set.
    """
    yield Attempt({}, {})
    names = shrink.field_values(full)
    depths = [name for name, value in names.items() if shrink.meaning_of(name) == "layers" and isinstance(value, int)]
    widths = [name for name in ("hidden_size", "d_model", "n_embd", "dim") if isinstance(names.get(name), int)]
    for layers in LAYERS:
        if depths:
            yield Attempt({name: min(layers, names[name]) for name in depths}, {})
    for width in WIDTHS:
        for name in widths[:1]:
            yield Attempt({name: width}, {})
    for node, path in _nodes(full):
        side = getattr(node, "image_size", None)
        for size in (96, 128):
            if isinstance(side, int) and side > size:
                yield Attempt(_nested(path, {"image_size": size}), {})
    for length in (32, 64):
        yield Attempt({}, {"sequence_length": length})


def _nodes(config: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[Any, tuple[str, ...]]]:
    yield config, path
    for name, sub in shrink.sub_configs(config):
        yield from _nodes(sub, (*path, name))


def _nested(path: tuple[str, ...], values: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in reversed(path):
        values = {name: values}
    return values


def search(spec: Spec, full: Any, run: Callable[[Spec], None]) -> Iterator[Attempt]:
    """Yields the attempts in order; the last is the first that ran, or the last that was allowed.

    Args:
      spec: the proposed declaration, without overrides.
      full: the config class's defaults.
      run: builds the model and runs its forward; raises where that fails.
    """
    for number, attempt in enumerate(candidates(full)):
        if number == MOST_ATTEMPTS:
            return
        tried = dataclasses.replace(spec, config=attempt.config, inputs=attempt.inputs)
        error = _error(run, tried)
        yield dataclasses.replace(attempt, error=error)
        if not error:
            return


def _error(run: Callable[[Spec], None], spec: Spec) -> str:
    """Returns why `run` failed in a forked child, or an empty string."""
    try:
        in_child(lambda: run(spec), cpu_seconds=CPU_SECONDS)
    except ChildFailed as error:
        return str(error)
    return ""
