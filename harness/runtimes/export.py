"""The `export` runtime: `torch.export`, written to a file, read back, and run from there."""

from __future__ import annotations

import functools
from typing import Any

from torch._export.serde.serialize import GraphModuleDeserializer
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


@functools.cache
def _read_each_expression_once() -> None:
    """Makes `torch.export.load` remember which symbolic expression a text stands for.

    It reads every size and stride of every tensor anew (`_parse_sym_expr`), a few dozen texts some thousands of times:
    half of what loading took, and where they are long most of a cell. Reading one again changes nothing.
    """
    read = GraphModuleDeserializer._parse_sym_expr

    def read_once(self: Any, text: Any, hint: Any = None) -> Any:
        if not isinstance(text, str):
            return read(self, text, hint)
        symbols, known = vars(self).get("_modelgrid_read", (None, {}))
        if symbols is not self.symbol_name_to_symbol:  # a graph within the graph has symbols of its own
            known = {}
            self._modelgrid_read = self.symbol_name_to_symbol, known
        if (text, hint) not in known:
            known[text, hint] = read(self, text, hint)
        return known[text, hint]

    GraphModuleDeserializer._parse_sym_expr = read_once


def make(backend: Backend) -> Export:
    """Returns the adapter; raises HarnessFault as `harness.runtimes.eager.make` does."""
    _read_each_expression_once()
    return Export(*device_and_dtype(backend))
