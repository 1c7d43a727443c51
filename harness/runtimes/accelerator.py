"""The `accelerator` runtime: eager mode on a device that is not the CPU, held to the same numbers in every run.

What the device does wrong is told apart. Memory that the run itself used up is the model's failure, in the same words
each time; memory that other processes hold, and a device that is lost, say nothing of the model: there is no verdict.
A run has the device to itself: others wait at a lock on the device's own node, which every sandbox of a machine shares.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers.modeling_utils import PreTrainedModel

from harness.reporter import HarnessFault
from harness.runtimes import Prepared, StageError
from harness.runtimes.eager import Eager, device_and_dtype
from harness.spec import Backend

_MIB = 2**20

# The node of the driver that all devices of a kind share.
_NODES = {"cuda": "/dev/nvidiactl", "rocm": "/dev/kfd", "xpu": "/dev/dri/renderD128"}

# What CUDA, ROCm, Level Zero and the kernels' drivers say of a device that is gone, not of what ran on it.
_LOST = re.compile(
    r"GPU is lost|fallen off the bus|busy or unavailable|uncorrectable ECC|no (CUDA|ROCm)-capable device"
    r"|DEVICE_LOST|device lost|system not yet initialized",
    re.IGNORECASE,
)


class OutOfMemory(Exception):  # noqa: N818 - the word that people read
    """The run used up the device's memory. The text is the same in every run, unlike PyTorch's own."""


class Accelerator(Eager):
    """Runs models as they are written on one accelerator.

    Args:
      name: the backend's.
      api: PyTorch's module of the device: `torch.cuda`, `torch.xpu`, `torch.mps`, or a test's.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, name: str, api: Any) -> None:
        super().__init__(device, dtype)
        self._name, self._api = name, api

    def place(self, value: torch.Tensor) -> torch.Tensor:
        """Returns an input on the device, floating ones in the dtype."""
        with self._faults("load"):
            return super().place(value)

    def place_model(self, model: PreTrainedModel) -> PreTrainedModel:
        """Returns the model itself, moved."""
        with self._faults("load"):
            return super().place_model(model)

    def prepare(
        self, model: PreTrainedModel, inputs: Mapping[str, Any], others: Mapping[str, Any] | None = None
    ) -> Prepared:
        """Returns the model, which waits for the device after each call: an error is then that of the call."""

        def run(**given: Any) -> Any:
            with self._faults("run"):
                outputs = model(**given)
                self._api.synchronize()
                return outputs

        return Prepared(run)

    def peak_bytes(self) -> int:
        """Returns the most memory of the device that PyTorch held for this run at once."""
        api = self._api
        # Apple's has no record of the most: what the driver holds at the end is what its allocator grew to.
        held = getattr(api, "max_memory_reserved", None) or api.driver_allocated_memory
        return int(held())

    @contextlib.contextmanager
    def _faults(self, stage: str) -> Iterator[None]:
        """Tells what the device does wrong apart.

        Raises:
          StageError: the run used up its memory.
          HarnessFault: it is lost, or others have its memory.
        """
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            text = str(error)
            if _LOST.search(text):
                first = text.strip().partition("\n")[0]
                raise HarnessFault(
                    f"backend {self._name!r}: the device was lost during the run ({first}): no verdict. Look at the "
                    "driver's own log (dmesg), bring the device back, and build again"
                ) from error
            if isinstance(error, torch.OutOfMemoryError) or "out of memory" in text:
                raise self._out_of_memory(stage) from error
            raise

    def _out_of_memory(self, stage: str) -> Exception:
        own = self._api.memory_reserved() if hasattr(self._api, "memory_reserved") else 0
        free, total = self._api.mem_get_info() if hasattr(self._api, "mem_get_info") else (0, 0)
        others = total - free - own
        if total and others > total // 2:
            return HarnessFault(
                f"backend {self._name!r}: out of memory, and other processes hold {others // _MIB} of the device's "
                f"{total // _MIB} MiB: no verdict. End them, and build again"
            )
        holds = f" of the {total // _MIB} MiB that the device has" if total else ""
        return StageError(stage, OutOfMemory(f"out of memory on {self._name}: the run needs more than there is{holds}"))


def take(node: Path) -> None:
    """Waits until no other run has the device, and keeps it until this process ends.

    Args:
      node: a file that all runs on the device see; one that does not exist is not waited for.
    """
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(node, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def make_deterministic() -> None:
    """Makes PyTorch choose kernels that give the same numbers again, in full precision.

    An operator without such a kernel warns and goes on: the comparison with the CPU judges what it gives.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    # TensorFloat-32 has ten bits of mantissa: not what a float32 backend is held to.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def make(backend: Backend, nodes: Mapping[str, str] = _NODES) -> Accelerator:
    """Returns the adapter, once the device is this run's alone; raises HarnessFault as `device_and_dtype` does."""
    device, dtype = device_and_dtype(backend)
    if backend.device in nodes:
        take(Path(nodes[backend.device]))
    make_deterministic()
    return Accelerator(device, dtype, backend.name, getattr(torch, device.type))
