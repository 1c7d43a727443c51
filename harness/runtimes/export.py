"""The `export` runtime: `torch.export`, written to a file, read back, and run from there."""

from __future__ import annotations

from typing import Any

from transformers.exporters.exporter_dynamo import DynamoExporter
from transformers.exporters.runners.runner_dynamo import DynamoModelRunner

from harness.runtimes.eager import device_and_dtype
from harness.runtimes.exported import Exported
from harness.spec import Backend


class Export(Exported):
    """Runs models as exported programs."""

    exporter = DynamoExporter

    def open(self, program: Any, metadata: Any) -> DynamoModelRunner:
        """Returns the program as a module."""
        return DynamoModelRunner.from_program(program, metadata)

    def nodes(self, program: Any) -> int:
        """Returns the number of calls in the graph."""
        return sum(node.op == "call_function" for node in program.graph.nodes)


def make(backend: Backend) -> Export:
    """Returns the adapter; raises HarnessFault as `harness.runtimes.eager.make` does."""
    return Export(*device_and_dtype(backend))
