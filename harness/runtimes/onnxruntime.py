"""The `onnxruntime` runtime: an ONNX graph, held to ONNX's own checker, in an ONNX Runtime session on the CPU."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from transformers.exporters.exporter_onnx import OnnxExporter
from transformers.exporters.runners.runner_onnx import OnnxModelRunner

from harness.runtimes.eager import device_and_dtype
from harness.runtimes.exported import Exported
from harness.spec import Backend

_ERRORS_ONLY = 3

# How the checker and ONNX Runtime name the node that they refuse.
_NODES = [
    re.compile(pattern)
    for pattern in (
        r"Name: (?P<name>\S+) OpType: (?P<operator>\w+)",
        r'Node, \("(?P<name>[^"]*)", (?P<operator>\w+)',
        r"Node ?\((?P<name>[^)]*)\) Op \((?P<operator>\w+)\)",
        r"operator \((?P<operator>\w+)\) in node \((?P<name>[^)]*)\)",
        r"implementation for (?P<operator>\w+)\(\d+\) node with name '(?P<name>[^']*)'",
        r"running (?P<operator>\w+) node\. Name:'(?P<name>[^']*)'",
    )
]


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
        options.log_severity_level = _ERRORS_ONLY
        return OnnxModelRunner.from_program(program, metadata, device="cpu", session_options=options)

    def blame(self, error: Exception) -> str:
        """Returns the operator and the node's name; a conversion names an operator of torch instead."""
        for pattern in _NODES:
            if found := pattern.search(str(error)):
                return f"{found['operator']} ({found['name']})"
        return ""

    def nodes(self, program: Any) -> int:
        """Returns the number of nodes of the graph."""
        return len(program.graph)


def make(backend: Backend) -> OnnxRuntime:
    """Returns the adapter; raises HarnessFault as `harness.runtimes.eager.make` does."""
    return OnnxRuntime(*device_and_dtype(backend))
