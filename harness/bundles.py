"""Models whose `forward` takes tensors bundled in a dataclass, as models of tensors: ESMFold2's takes its atoms so."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor


def bundle_of(cls: type[Any]) -> inspect.Parameter | None:
    """Returns the argument of a class's `forward` that must be a dataclass, if it has one.

    What may be left out is no such one: the outputs of another model, a cache.
    """
    for parameter in inspect.signature(cls.forward).parameters.values():
        if parameter.default is parameter.empty and dataclasses.is_dataclass(parameter.annotation):
            return parameter
    return None


def by_field(cls: type[Any]) -> Callable[..., Any]:
    """Returns the `forward` that takes the fields of the bundle by their names, in its place."""
    run, bundle = cls.forward, bundle_of(cls)
    assert bundle is not None, f"{cls.__name__}.forward takes no bundle"
    names = [field.name for field in dataclasses.fields(bundle.annotation)]
    signature = inspect.signature(run)

    @functools.wraps(run)
    def forward(self: Any, **given: Any) -> Any:
        fields = {name: given.pop(name) for name in names}
        return run(self, **{bundle.name: bundle.annotation(**fields)}, **given)

    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        fields = [parameter.replace(name=name, annotation=Tensor) for name in names]
        parameters += fields if parameter == bundle else [parameter]
    forward.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return forward
