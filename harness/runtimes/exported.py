"""What the runtimes of exported programs have in common: export, write to a file, read back, and run from there.

The exporters are transformers' own (`transformers.exporters`), which make caches known to `torch.export` and compute
what depends on the data ahead. Every dimension is dynamic, so that one program must serve every shape.
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

from transformers.exporters.base import HfExporter
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

    def prepare(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> Prepared:
        """Returns the loaded program.

        Raises:
          StageError: it could not be exported, saved, checked, loaded or opened.
        """
        _keep_what_is_of_loaded_models()
        stage = "export"
        folder = tempfile.TemporaryDirectory(prefix="modelgrid-")
        try:
            exporter = self.exporter()
            config = self.exporter.config_class(dynamic=True, **self.options)
            program, metadata = exporter.export_program(model, dict(inputs), config)
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

        def run(**given: Any) -> Any:
            _, ready, _ = prepare_for_export(model, dict(given))
            try:
                return runner(**ready)
            except Exception as error:
                raise StageError("run", error, self.blame(error)) from error

        weakref.finalize(runner, folder.cleanup)  # it may read weights from there as long as it lives
        prepared = Prepared(run)
        prepared.counts["nodes"] = self.nodes(program)
        return prepared


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
