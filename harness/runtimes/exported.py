"""What the runtimes of exported programs have in common: export, write to a file, read back, and run from there.

The exporters are transformers' own (`transformers.exporters`), which make caches known to `torch.export` and compute
what depends on the data ahead. The sizes that the second inputs have otherwise are dynamic, and of a step from a cache
all of them: one program must serve both.
"""

from __future__ import annotations

import inspect
import re
import sys
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.export import Dim
from transformers.exporters.base import HfExporter
from transformers.exporters.exporter_dynamo import get_auto_dynamic_shapes
from transformers.exporters.utils import _EXPORT_INPUT_PREPARERS, _PATCHES, prepare_for_export
from transformers.modeling_utils import PreTrainedModel

from harness.runtimes import Prepared, StageError
from harness.runtimes.eager import Eager


class Exported(Eager, ABC):
    """Runs models as programs that were exported, saved and loaded. A runtime says how in a subclass."""

    exporter: type[HfExporter]
    """transformers' exporter: it makes, saves and loads the program."""

    options: ClassVar[Mapping[str, Any]] = {}
    """Of the export's config, beside `dynamic`."""

    _last: tuple[PreTrainedModel, Mapping[str, Any], Prepared] | None = None
    """The program that was made last, and what for."""

    def check(self, path: Path) -> None:
        """Raises where the saved program is not valid by the format's own checker, if it has one."""

    @abstractmethod
    def open(self, program: Any, metadata: Any) -> Any:
        """Returns what runs a program that was read back: called with inputs by name."""

    def blame(self, error: Exception) -> str:
        """Returns the operator or node that the format or its runtime names in an error; empty where it names none."""
        return ""

    @abstractmethod
    def nodes(self, program: Any) -> int:
        """Returns how many operators a program has."""

    def prepare(
        self, model: PreTrainedModel, inputs: Mapping[str, Any], others: Mapping[str, Any] | None = None
    ) -> Prepared:
        """Returns the loaded program; the last one again where that must serve these inputs too.

        Raises:
          StageError: it could not be exported, saved, checked, loaded or opened.
        """
        given = _given(inputs)
        if self._last is not None and self._last[0] is model and _serves(self._last[1], _purpose(model, given, given)):
            return self._last[2]
        _keep_what_is_of_loaded_models()
        stage = "export"
        folder = tempfile.TemporaryDirectory(prefix="modelgrid-")
        try:
            exporter = self.exporter()
            shapes = None if others is None else _shapes(_ready(model, given), _ready(model, _given(others)))
            config = self.exporter.config_class(dynamic=True, dynamic_shapes=shapes, **self.options)
            program, metadata = exporter.export_program(model, dict(given), config)
            path = Path(folder.name) / f"model{self.exporter.program_suffix}"
            stage = "save"
            self.exporter.save_program(program, path)
            stage = "check"
            self.check(path)
            stage = "load"
            program = self.exporter.load_program(path)
            runner = self.open(program, metadata)
        except Exception as error:
            raise StageError(stage, error, self.blame(error)) from error

        def run(**inputs: Any) -> Any:
            ready = _ready(model, _given(inputs))
            try:
                return runner(**ready)
            except Exception as error:
                raise StageError("run", error, self.blame(error)) from error

        weakref.finalize(runner, folder.cleanup)  # it may read weights from there as long as it lives
        prepared = Prepared(run)
        prepared.counts["nodes"] = self.nodes(program)
        self._last = model, _purpose(model, given, others), prepared
        return prepared


def _given(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is given at all, a count or a flag as the number that `forward` takes it for."""
    return {
        name: value.item()
        if isinstance(value, torch.Tensor) and value.dim() == 0 and not value.is_floating_point()
        else value
        for name, value in inputs.items()
        if value is not None
    }


def _ready(model: PreTrainedModel, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the inputs of the program: the given ones, and what the exporter computes ahead of it."""
    return dict(prepare_for_export(model, dict(given))[1])


def _shapes(first: Any, second: Any) -> Any:
    """Returns which sizes of `first` are dynamic, as `torch.export` wants it: those that `second` has otherwise.

    Every size could be, and no second inputs would show that it works; but a tower of windows over pictures of any
    size took 82 CPU seconds to trace and 5 this way (hiera).
    """
    if type(first) is not type(second):
        return get_auto_dynamic_shapes(first)
    if isinstance(first, torch.Tensor):
        if first.dim() != second.dim():
            return get_auto_dynamic_shapes(first)
        return {index: Dim.AUTO for index, size in enumerate(first.shape) if size != second.shape[index]}
    if type(first) is dict and first.keys() == second.keys():
        return {name: _shapes(value, second[name]) for name, value in first.items()}
    if type(first) in (list, tuple) and len(first) == len(second):
        return type(first)(_shapes(*pair) for pair in zip(first, second, strict=True))
    return get_auto_dynamic_shapes(first)


def _purpose(
    model: PreTrainedModel, given: Mapping[str, Any], others: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Returns what a program is for, by name: the sizes of a tensor, None for any, or the value of a flag.

    Empty where there is more to an input, as to a cache. A prefill is the same program as a forward whose config asks
    for the cache: exporting it twice shows nothing more.
    """
    if not all(isinstance(value, (torch.Tensor, bool, int)) for value in given.values()):
        return {}
    found: dict[str, Any] = {"use_cache": getattr(model.config, "use_cache", None)}
    for name, value in given.items():
        other = others.get(name) if others is not None else None
        if isinstance(value, torch.Tensor):
            sizes = (
                other.shape if isinstance(other, torch.Tensor) and other.dim() == value.dim() else [None] * value.dim()
            )
            found[name] = tuple(size if size == sizes[index] else None for index, size in enumerate(value.shape))
        else:
            found[name] = value
    return found


def _serves(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Returns whether a program that was made for one purpose must serve another."""
    if not made or made.keys() != wanted.keys():
        return False
    for name, what in made.items():
        if not isinstance(what, tuple):
            if what != wanted[name]:
                return False
        elif len(what) != len(wanted[name]) or any(
            size not in (None, other) for size, other in zip(what, wanted[name], strict=True)
        ):
            return False
    return True


def _keep_what_is_of_loaded_models() -> None:
    """Drops what the exporters do for models that are not loaded: they would import each of them to do it."""
    for name, patches in _PATCHES.items():
        _PATCHES[name] = [
            patch
            for patch in patches
            if not patch[0].startswith("transformers.models.") or ".".join(patch[0].split(".")[:4]) in sys.modules
        ]
    for markers, preparer in list(_EXPORT_INPUT_PREPARERS.items()):
        needed = re.findall(r"from \.\.(models\.\w+)", inspect.getsource(preparer))
        if any(f"transformers.{name}" not in sys.modules for name in needed):
            del _EXPORT_INPUT_PREPARERS[markers]
