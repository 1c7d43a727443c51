"""The runtimes that a backend may name, one adapter each.

An adapter says where a model lies and how it is called; what is called with which inputs, and how results are judged,
is the cell's and the checks'.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from harness.reporter import HarnessFault
from harness.spec import Backend

if TYPE_CHECKING:
    import torch
    from transformers.modeling_utils import PreTrainedModel

ADAPTERS: Mapping[str, str] = {"eager": "harness.runtimes.eager"}
"""The module of each runtime that runs models. `mock` runs none: `harness.cell` hands it to `harness.runtimes.mock`."""


class Runtime(Protocol):
    """How models run on one backend."""

    def place(self, value: torch.Tensor) -> torch.Tensor:
        """Returns an input on the device, floating ones in the backend's dtype."""

    def place_model(self, model: PreTrainedModel) -> PreTrainedModel:
        """Returns the model on the device and in the backend's dtype."""

    def prepare(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> Callable[..., Any]:
        """Returns what runs the model: compiled or converted for inputs like these where the runtime does that."""


def adapter(backend: Backend) -> Runtime:
    """Returns the adapter of a backend.

    Raises:
      HarnessFault: no adapter of that name exists.
    """
    if backend.runtime not in ADAPTERS:
        raise HarnessFault(
            f"backend {backend.name!r} names runtime {backend.runtime!r}; harness/runtimes has {', '.join(ADAPTERS)}"
        )
    runtime: Runtime = importlib.import_module(ADAPTERS[backend.runtime]).make(backend)
    return runtime
