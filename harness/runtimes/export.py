"""The `export` runtime: `torch.export` with every dimension dynamic, written to a file, read back, and run from there.

The export is transformers' own (`transformers.exporters`), which makes caches known to `torch.export` and computes what
depends on the data ahead.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers.exporters.configs import DynamoConfig
from transformers.exporters.exporter_dynamo import DynamoExporter
from transformers.exporters.runners.runner_dynamo import DynamoModelRunner
from transformers.exporters.utils import _PATCHES, prepare_for_export
from transformers.modeling_utils import PreTrainedModel

from harness.runtimes import Prepared, StageError
from harness.runtimes.eager import Eager, device_and_dtype
from harness.spec import Backend


class Export(Eager):
    """Runs models as programs that were exported, saved and loaded."""

    def prepare(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> Prepared:
        """Returns the loaded program.

        Raises:
          StageError: it could not be exported, saved or loaded.
        """
        stage = "export"
        _keep_patches_of_loaded_models()
        try:
            program, metadata = DynamoExporter().export_program(model, dict(inputs), DynamoConfig(dynamic=True))
            with tempfile.TemporaryDirectory(prefix="modelgrid-") as folder:
                path = Path(folder) / "model.pt2"
                stage = "save"
                torch.export.save(program, path)
                stage = "load"
                runner = DynamoModelRunner.from_program(torch.export.load(path), metadata)
        except Exception as error:
            raise StageError(stage, error) from error

        def run(**given: Any) -> Any:
            _, ready, _ = prepare_for_export(model, dict(given))
            try:
                return runner(**ready)
            except Exception as error:
                raise StageError("run", error) from error

        prepared = Prepared(run)
        prepared.counts["nodes"] = sum(node.op == "call_function" for node in program.graph.nodes)
        return prepared


def _keep_patches_of_loaded_models() -> None:
    """Drops the exporter's patches of models that are not loaded: it would import each of them to patch it."""
    _PATCHES["dynamo"] = [
        patch
        for patch in _PATCHES["dynamo"]
        if not patch[0].startswith("transformers.models.") or ".".join(patch[0].split(".")[:4]) in sys.modules
    ]


def make(backend: Backend) -> Export:
    """Returns the adapter; raises HarnessFault as `harness.runtimes.eager.make` does."""
    return Export(*device_and_dtype(backend))
