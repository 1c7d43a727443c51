"""The `openvino` runtime: a program converted by OpenVINO's PyTorch front end, compiled for its CPU plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from openvino import Model
from transformers.exporters.exporter_openvino import OpenVINOExporter
from transformers.exporters.runners.runner_openvino import OpenVINOModelRunner

from harness.runtimes.eager import device_and_dtype
from harness.runtimes.exported import Exported
from harness.spec import Backend

_PRECISION = {"float32": "f32", "bfloat16": "bf16"}


class OpenVino(Exported):
    """Runs models as OpenVINO models that keep their cache among inputs and outputs, as the others do."""

    exporter = OpenVINOExporter
    options: ClassVar[Mapping[str, Any]] = {"stateful": False}

    def open(self, program: Model, metadata: Any) -> OpenVINOModelRunner:
        """Returns a request of one thread, in the backend's dtype: the plugin's default on many CPUs is bfloat16."""
        dtype = _PRECISION[str(self._dtype).removeprefix("torch.")]
        config = {"INFERENCE_PRECISION_HINT": dtype, "INFERENCE_NUM_THREADS": 1}
        return OpenVINOModelRunner.from_program(program, metadata, device="cpu", config=config)

    def nodes(self, program: Model) -> int:
        """Returns the number of operators of the model."""
        return len(program.get_ops())


def make(backend: Backend) -> OpenVino:
    """Returns the adapter; raises HarnessFault as `harness.runtimes.eager.make` does."""
    return OpenVino(*device_and_dtype(backend))
