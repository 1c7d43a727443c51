"""The `eager` runtime: PyTorch as it is, on any device that PyTorch knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers.modeling_utils import PreTrainedModel

from harness.reporter import HarnessFault
from harness.spec import Backend

_DEVICES = {"cpu": "cpu", "cpu_cxx": "cpu", "cuda": "cuda", "rocm": "cuda", "mps": "mps", "xpu": "xpu"}


class Eager:
    """Runs models as they are written, on one device in one dtype."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._device = device
        self._dtype = dtype

    def place(self, value: torch.Tensor) -> torch.Tensor:
        """Returns an input on the device, floating ones in the dtype."""
        return value.to(self._device, self._dtype if value.is_floating_point() else None)

    def place_model(self, model: PreTrainedModel) -> PreTrainedModel:
        """Returns the model itself, moved as in loading a checkpoint.

        What its class keeps in float32 stays so, and its configs name the dtype.
        """
        if self._device.type != "cpu" or self._dtype is not torch.float32:
            weights = model.state_dict()
            kept = {name: weights[name].clone() for name in kept_in_float32(model, self._dtype)}
            move(model, self._device, self._dtype)
            for name, tensor in model.state_dict(keep_vars=True).items():
                if name in kept:
                    tensor.data = kept[name].to(self._device)
        return model

    def prepare(
        self, model: PreTrainedModel, inputs: Mapping[str, Any], others: Mapping[str, Any] | None = None
    ) -> Callable[..., Any]:
        """Returns the model: there is nothing to prepare."""
        return model


def move(model: PreTrainedModel, device: torch.device, dtype: torch.dtype) -> None:
    """Moves weights and buffers to the device, floating ones to the dtype, which the configs then name.

    `Module.to` would cast complex numbers too, and lose the imaginary half of a table of rotations (Llama 4's vision);
    loading a checkpoint leaves them. Some models read in their config, and not from the weights, what pictures are to
    be cast to (Nemotron H Omni).
    """
    model._apply(lambda tensor: tensor.to(device, dtype if tensor.is_floating_point() else None))
    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            part.config.dtype = dtype


def kept_in_float32(model: PreTrainedModel, dtype: torch.dtype) -> set[str]:
    """Returns the names of weights that the model's class keeps in float32 in this dtype: a router, a sum of many."""
    patterns = getattr(model, "_keep_in_fp32_modules_strict", None)
    if dtype is torch.float32 or not patterns:
        return set()
    from transformers.core_model_loading import build_glob_alternation  # transformers 4 has no such module

    named, _, _ = build_glob_alternation(list(patterns))
    return {name for name, tensor in model.state_dict().items() if tensor.is_floating_point() and named.search(name)}


def device_and_dtype(backend: Backend) -> tuple[torch.device, torch.dtype]:
    """Returns what PyTorch calls the backend's device and dtype.

    Raises:
      HarnessFault: the device or dtype is not one of PyTorch's, or the device is not there.
    """
    dtype = getattr(torch, backend.dtype, None)
    if not isinstance(dtype, torch.dtype) or backend.device not in _DEVICES:
        raise HarnessFault(
            f"backend {backend.name!r}: no PyTorch device {backend.device!r} with dtype {backend.dtype!r}"
        )
    device = torch.device(_DEVICES[backend.device])
    if device.type != "cpu" and not getattr(torch, device.type).is_available():
        raise HarnessFault(f"backend {backend.name!r}: PyTorch sees no {backend.device} device on this machine")
    return device, dtype


def make(backend: Backend) -> Eager:
    """Returns the adapter; raises HarnessFault as `device_and_dtype` does."""
    return Eager(*device_and_dtype(backend))
