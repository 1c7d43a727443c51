"""The `onnxruntime` runtime agrees with eager mode, and its errors name the stage and the node, as real ones do."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from transformers.exporters.exporter_onnx import OnnxExporter

from harness.cell import Cell
from harness.runtimes.onnxruntime import OnnxRuntime, make
from harness.spec import Backend, Tolerance
from tests.harness.broken import run_check, spec_of

BACKEND = Backend("cpu_onnxruntime", "cpu", "onnxruntime", "float32", Tolerance(1e-4, 1e-5, 1e-6), "runtime")


def _cell(runtime: OnnxRuntime) -> Cell:
    cell = Cell(dataclasses.replace(spec_of("bert"), backend=BACKEND))
    cell.__dict__["runtime"] = runtime
    return cell


def _graph(operator: str, **attributes: Any) -> onnx.ModelProto:
    """Returns a graph of one node, `node_1`, on two vectors."""
    vectors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y", "z")]
    node = helper.make_node(operator, ["x", "y"], ["z"], name="node_1", **attributes)
    graph = helper.make_graph([node], "graph", vectors[:2], vectors[2:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _check(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)


def _open(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def _run(model: onnx.ModelProto) -> None:
    import numpy

    _open(model).run(None, {"x": numpy.ones(3, "float32"), "y": numpy.ones(4, "float32")})


@pytest.mark.parametrize(
    ("fails", "model", "blamed"),
    [
        (_check, _graph("NoSuchOperator"), "NoSuchOperator (node_1)"),
        (_open, _graph("NoSuchOperator"), "NoSuchOperator (node_1)"),
        (_open, _graph("Add", none=1), "Add (node_1)"),
        (_open, _graph("BitShift", direction="LEFT"), "BitShift (node_1)"),
        (_run, _graph("Add"), "Add (node_1)"),
    ],
)
def test_the_node_is_named(fails: Callable[[onnx.ModelProto], None], model: onnx.ModelProto, blamed: str) -> None:
    with pytest.raises(Exception, match=r"node_1") as caught:
        fails(model)
    assert make(BACKEND).blame(caught.value) == blamed


@pytest.mark.parametrize("check", ["runtime::agrees_with_eager", "runtime::second_shape_agrees"])
def test_a_sound_model_passes(check: str) -> None:
    result = run_check(_cell(make(BACKEND)), check)
    assert result.outcome == "passed", result.message


class _Spoilt(OnnxExporter):
    """Writes a graph with an operator that ONNX has not."""

    @classmethod
    def save_program(cls, program: Any, path: Any) -> None:
        """Saves the graph."""
        next(node for node in program.graph if node.op_type == "MatMul").op_type = "NoSuchOperator"
        super().save_program(program, path)


def test_a_graph_that_is_no_onnx_fails_its_check() -> None:
    runtime = make(BACKEND)
    runtime.exporter = _Spoilt
    result = run_check(_cell(runtime), "runtime::runs")
    assert result.outcome == "failed"
    assert "stage check at NoSuchOperator (" in result.message, result.message


def test_no_session_is_open_before_a_cell_runs() -> None:
    """A worker imports the row's `imports`, and forks: onnxruntime, which starts a thread, may not be among them."""
    loads = "import transformers.exporters.exporter_onnx, onnx, onnxscript.optimizer, onnxscript.rewriter"
    code = f"import sys; sys.path[:] = {sys.path!r}; {loads}; from harness import processes; "
    code += "print(processes.thread_count(), 'onnxruntime' in sys.modules)"
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    found = subprocess.run([sys.executable, "-c", code], env=one, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1", "False"]
