"""The `onnxruntime` runtime: an ONNX graph, held to ONNX's own checker, in an ONNX Runtime session on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from transformers.exporters.exporter_onnx import OnnxExporter
from transformers.exporters.runners.runner_onnx import OnnxModelRunner

from harness.runtimes.eager import device_and_dtype
from harness.runtimes.exported import Exported
from harness.spec import Backend


class OnnxRuntime(Exported):
    """Runs models as ONNX graphs."""

    exporter = OnnxExporter

    def check(self, path: Path) -> None:
        """Checks operators, attributes, types and shapes."""
        onnx.checker.check_model(str(path), full_check=True)

    def open(self, program: Any, metadata: Any) -> OnnxModelRunner:
        """Returns a session of one thread: with more, the order of sums would depend on the machine."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return OnnxModelRunner.from_program(program, metadata, device="cpu", session_options=options)

    def nodes(self, program: Any) -> int:
        """Returns the number of nodes of the graph."""
        return len(program.graph)


def make(backend: Backend) -> OnnxRuntime:
    """Returns the adapter; raises HarnessFault as `harness.runtimes.eager.make` does."""
    return OnnxRuntime(*device_and_dtype(backend))
