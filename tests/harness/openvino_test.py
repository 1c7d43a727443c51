"""The `openvino` runtime agrees with eager mode, in the dtype of its backend and not the plugin's default."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import openvino
import pytest
from transformers.exporters.exporter_openvino import OpenVINOExporter

from harness.cell import Cell
from harness.runtimes.eager import device_and_dtype
from harness.runtimes.openvino import OpenVino, make
from harness.spec import Backend, Tolerance
from tests.harness.broken import run_check, spec_of

BACKEND = Backend("cpu_openvino", "cpu", "openvino", "float32", Tolerance(1e-4, 1e-5, 1e-6), "runtime")


def _cell(runtime: OpenVino) -> Cell:
    cell = Cell(dataclasses.replace(spec_of("bert"), backend=BACKEND))
    cell.__dict__["runtime"] = runtime
    return cell


@pytest.mark.parametrize("check", ["runtime::agrees_with_eager", "runtime::second_shape_agrees"])
def test_a_sound_model_passes(check: str) -> None:
    result = run_check(_cell(make(BACKEND)), check)
    assert result.outcome == "passed", result.message


def test_the_plugin_computes_in_the_dtype_of_the_backend() -> None:
    opened: list[Any] = []

    class Watched(OpenVino):
        def open(self, program: Any, metadata: Any) -> Any:
            opened.append(super().open(program, metadata))
            return opened[-1]

    cell = _cell(Watched(*device_and_dtype(BACKEND)))
    cell.runtime.prepare(cell.model, cell.inputs)
    compiled = opened[0].compiled_model
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1


class _Spoilt(OpenVINOExporter):
    """Writes half of the model's graph."""

    @classmethod
    def save_program(cls, program: Any, path: Any) -> None:
        """Saves the graph, cut short."""
        super().save_program(program, path)
        text = path.read_text(encoding="utf-8")
        path.write_text(text[: len(text) // 2], encoding="utf-8")


def test_a_graph_that_cannot_be_read_back_fails_at_its_loading() -> None:
    runtime = make(BACKEND)
    runtime.exporter = _Spoilt
    result = run_check(_cell(runtime), "runtime::runs")
    assert result.outcome == "failed"
    assert "stage load: " in result.message, result.message


def test_no_thread_is_started_before_a_cell_runs() -> None:
    """A worker imports the row's `imports`, and forks."""
    code = f"import sys; sys.path[:] = {sys.path!r}; import openvino, transformers.exporters.exporter_openvino; "
    code += "from harness import processes; print(processes.thread_count())"
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    found = subprocess.run([sys.executable, "-c", code], env=one, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1"]
