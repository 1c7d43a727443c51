"""The runtimes that a backend may name, one adapter each: the module of the runtime's name in this folder.

An adapter says where a model lies and how it is called; what is called with which inputs, and how results are judged,
is the cell's and the checks'.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from harness.reporter import HarnessFault
from harness.spec import Backend

if TYPE_CHECKING:
    import torch
    from transformers.modeling_utils import PreTrainedModel


_OPERATOR = re.compile(r"\baten(\.|::)\w+(\.\w+)*")


class Prepared:
    """A model in a runtime's own form: called like the model, and counts what the runtime did.

    Attributes:
      counts: what goes into the verdict, such as graphs and recompilations.
      calls: how many calls the runtime's own code answered. One that it hands back to eager mode must not count.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        self.counts: Counter[str] = Counter()
        self.calls = 0

    def __call__(self, **inputs: Any) -> Any:
        """Returns the output for inputs by name."""
        outputs = self._call(**inputs)
        self.calls += 1
        return outputs


class Runtime(Protocol):
    """How models run on one backend."""

    def place(self, value: torch.Tensor) -> torch.Tensor:
        """Returns an input on the device, floating ones in the backend's dtype."""

    def place_model(self, model: PreTrainedModel) -> PreTrainedModel:
        """Returns the model on the device and in the backend's dtype."""

    def prepare(
        self, model: PreTrainedModel, inputs: Mapping[str, Any], others: Mapping[str, Any] | None = None
    ) -> Callable[..., Any]:
        """Returns what runs the model: compiled or converted for inputs like these where the runtime does that.

        Such a runtime returns a `Prepared`, and raises StageError where it cannot.

        Args:
          model: the model.
          inputs: as they will be given.
          others: inputs of other sizes that it will be given too; by default any size may come.
        """


class StageError(Exception):
    """What a runtime could not do. The text names the stage and, where it is known, the operator or node.

    Args:
      stage: `export`, `compile`, `save`, `check`, `load` or `run`.
      cause: what the runtime raised.
      operator: what it could not deal with; by default the first operator that the cause names.
    """

    def __init__(self, stage: str, cause: BaseException, operator: str = "") -> None:
        text = str(cause).strip()
        named = _OPERATOR.search(text)
        operator = operator or (named[0] if named else "")
        at = f" at {operator}" if operator else ""
        super().__init__(f"stage {stage}{at}: {type(cause).__name__}: {text}")


def adapter(backend: Backend) -> Runtime:
    """Returns the adapter of a backend.

    Raises:
      HarnessFault: no adapter of that name exists, or the environment lacks what it needs.
    """
    name = f"{__name__}.{backend.runtime}"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            fix = f"there is no {name}; write it, or mend the row of toolchains/backends.bzl"
        else:
            fix = f"the environment lacks {error.name}; lock one that has it, or declare the model in another"
        raise HarnessFault(f"backend {backend.name!r} names runtime {backend.runtime!r}: {fix}") from error
    runtime: Runtime = module.make(backend)
    return runtime
