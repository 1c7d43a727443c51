"""The accelerator adapter on a made-up device: PyTorch computes on the CPU, what the device does is ours."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.cell import Cell
from harness.reporter import HarnessFault
from harness.runtimes import Prepared, StageError, accelerator, adapter
from harness.runtimes.accelerator import Accelerator
from harness.spec import Backend, Tolerance
from tests.harness.broken import run_check, spec_of

MIB = 2**20


class FakeDevice:
    """PyTorch's module of a device that is not there, with 1024 MiB.

    Args:
      fault: what the device raises when it is waited for.
      others: MiB that other processes hold.
    """

    def __init__(self, fault: BaseException | None = None, others: int = 0) -> None:
        self._fault, self._others = fault, others
        self.calls = 0

    def synchronize(self) -> None:
        self.calls += 1
        if self._fault is not None:
            raise self._fault

    def memory_reserved(self) -> int:
        return 200 * MIB

    def max_memory_reserved(self) -> int:
        return 240 * MIB

    def mem_get_info(self) -> tuple[int, int]:
        return (1024 - 200 - self._others) * MIB, 1024 * MIB


def _backend(device: str = "cuda", dtype: str = "float32") -> Backend:
    return Backend(device, device, "accelerator", dtype, Tolerance(1e-4, 1e-5, 1e-6), "runtime")


def _cell(device: FakeDevice, change: Callable[[Any], None] | None = None) -> Cell:
    cell = Cell(dataclasses.replace(spec_of("llama"), backend=_backend()))
    runtime = Accelerator(torch.device("cpu"), torch.float32, "cuda", device)
    if change is not None:
        prepare = runtime.prepare

        def changed(model: Any, inputs: Mapping[str, Any], others: Mapping[str, Any] | None = None) -> Prepared:
            prepared = prepare(model, inputs, others)
            call = prepared._call

            def run(**given: Any) -> Any:
                outputs = call(**given)
                change(outputs)
                return outputs

            prepared._call = run
            return prepared

        runtime.prepare = changed  # type: ignore[method-assign]
    cell.__dict__["runtime"] = runtime
    return cell


@pytest.mark.parametrize("check", ["runtime::runs", "runtime::agrees_with_eager", "runtime::second_shape_agrees"])
def test_a_good_device_passes_and_is_waited_for(check: str) -> None:
    device = FakeDevice()
    result = run_check(_cell(device), check)
    assert (result.outcome, result.message) == ("passed", "")
    assert device.calls > 0


def test_the_most_memory_that_was_used_is_told() -> None:
    assert _cell(FakeDevice()).device_peak_bytes() == 240 * MIB
    on_cpu = Cell(spec_of("llama"))
    assert on_cpu.runtime is not None and on_cpu.device_peak_bytes() is None


def test_a_device_that_computes_otherwise_than_the_cpu_is_caught() -> None:
    def wrong(outputs: Any) -> None:
        outputs.logits[1, -1, 17] += 0.01

    result = run_check(_cell(FakeDevice(), wrong), "runtime::agrees_with_eager")
    assert (result.outcome, "stage compare: logits differs most" in result.message) == ("failed", True)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. Process 4711 has 79.11 GiB in use."),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.52 GB, other allocations: 1.2 GB)"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_out_of_memory_fails_in_the_same_words_each_time(error: BaseException) -> None:
    result = run_check(_cell(FakeDevice(error)), "runtime::runs")
    assert result.outcome == "failed"
    said = "stage run: OutOfMemory: out of memory on cuda: the run needs more than there is of the 1024 MiB"
    assert said in result.message
    assert "4711" not in result.message


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_memory_that_others_hold_is_no_failure_of_the_model(error: BaseException) -> None:
    runtime = Accelerator(torch.device("cpu"), torch.float32, "cuda", FakeDevice(error, others=800))
    with pytest.raises(HarnessFault, match="other processes hold 800 of the device's 1024 MiB: no verdict"):
        runtime.prepare(torch.nn.Identity(), {})(input=torch.ones(1))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: GPU is lost",
        "CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCUDA kernel errors might be reported later",
        "CUDA error: uncorrectable ECC error encountered",
        "HIP error: no ROCm-capable device is detected",
        "level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)",
    ],
)
def test_a_lost_device_is_no_failure_of_the_model(text: str) -> None:
    runtime = Accelerator(torch.device("cpu"), torch.float32, "cuda", FakeDevice(RuntimeError(text)))
    with pytest.raises(HarnessFault, match=r"the device was lost during the run .*: no verdict"):
        runtime.prepare(torch.nn.Identity(), {})(input=torch.ones(1))


def test_what_a_kernel_does_wrong_is_the_models_failure() -> None:
    error = RuntimeError("CUDA error: device-side assert triggered")
    result = run_check(_cell(FakeDevice(error)), "runtime::runs")
    assert (result.outcome, "device-side assert triggered" in result.message) == ("failed", True)


@pytest.fixture
def settings() -> Iterator[None]:
    """Puts back what a run may set, since its process is its own and this one is not."""
    before = (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32)
    matmul = torch.backends.cuda.matmul
    others = (matmul.allow_tf32, matmul.allow_bf16_reduced_precision_reduction)
    yield
    torch.use_deterministic_algorithms(False)
    cudnn = torch.backends.cudnn
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32 = before
    matmul.allow_tf32, matmul.allow_bf16_reduced_precision_reduction = others
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_kernels_are_deterministic_and_of_full_precision(settings: None) -> None:
    torch.backends.cudnn.benchmark = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = True
    accelerator.make_deterministic()
    assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.mark.parametrize("device", ["cuda", "rocm", "mps", "xpu"])
def test_a_device_that_pytorch_does_not_see_gives_no_verdict(device: str) -> None:
    with pytest.raises(HarnessFault, match=f"backend '{device}': PyTorch sees no {device} device on this machine"):
        adapter(_backend(device))


def _hold(node: Path, log: Path, number: int) -> None:
    """Takes the device, and writes when it has it and when it is about to let it go."""
    accelerator.take(node)
    with log.open("a", buffering=1) as file:
        file.write(f"{number} has it\n")
        sum(range(300_000))
        file.write(f"{number} lets go\n")


def test_runs_on_one_device_come_one_after_the_other(tmp_path: Path) -> None:
    node, log = tmp_path / "node", tmp_path / "log"
    node.touch()
    context = multiprocessing.get_context("fork")
    runs = [context.Process(target=_hold, args=(node, log, number)) for number in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    lines = [line.partition(" ") for line in log.read_text().splitlines()]
    assert len(lines) == 8
    for first, last in zip(lines[::2], lines[1::2], strict=True):
        assert (first[0], first[2], last[2]) == (last[0], "has it", "lets go")


def test_a_device_without_a_node_is_not_waited_for(tmp_path: Path) -> None:
    accelerator.take(tmp_path / "nothing")


def test_an_input_that_does_not_fit_fails_where_it_is_loaded() -> None:
    runtime = Accelerator(torch.device("cpu"), torch.float32, "cuda", FakeDevice())

    class Tensor:
        def is_floating_point(self) -> bool:
            return False

        def to(self, *_: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(StageError, match="stage load: OutOfMemory"):
        runtime.place(Tensor())
