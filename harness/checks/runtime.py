"""Checks of a backend that is not the reference: what a runtime or dtype makes of the model agrees with eager float32.

That the model itself is right is examined on `cpu`; here it must only be the same. Both sides have the same weights and
inputs, rounded to the backend's dtype, so that what differs is what the runtime computes.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from harness import generation
from harness.build import seeded
from harness.cell import Cell
from harness.checking import check
from harness.compare import assert_close_as_a_whole, assert_finite, magnitude, shown
from harness.inputs.request import DECODER_SEQUENCE, SEQUENCE, parameters
from harness.runtimes import Prepared
from harness.runtimes.eager import kept_in_float32, move

# How many rows the second inputs have, and how many tokens more than the first.
_ROWS = 3
_MORE_TOKENS = 4

# How many runs with disturbed layers show what a model makes of what its layers add.
_DRAWS = 8

# Of the norm. Two outputs that have nothing in common differ by 1.4 of it: beyond this, agreement would mean little.
_UNDETERMINED = 0.25


@dataclasses.dataclass(frozen=True)
class Reference:
    """The model in eager mode and float32 on the CPU.

    Attributes:
      layers: how many modules with weights one forward goes through.
    """

    model: Any
    layers: int

    def outputs(self, cell: Cell, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the outputs for inputs that were placed on the backend."""
        with torch.no_grad(), seeded(0):
            return cell.tensors(self.model(**_in_float32(inputs)))

    def disturbed(self, cell: Cell, inputs: Mapping[str, Tensor], share: float) -> list[dict[str, Tensor]]:
        """Returns the outputs of runs in which every layer's output is off by up to `share` of itself, at random."""
        runs = []
        for seed in range(_DRAWS):
            generator = torch.Generator().manual_seed(seed)  # of its own: what the model draws stays as it is

            def disturb(_module: Any, _inputs: Any, output: Any, generator: torch.Generator = generator) -> Any:
                return tree_map_only(torch.Tensor, lambda tensor: _off_by(tensor, share, generator), output)

            hooks = [module.register_forward_hook(disturb) for module in _layers(self.model)]
            try:
                runs.append(self.outputs(cell, inputs))
            finally:
                for hook in hooks:
                    hook.remove()
        return runs


def _layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Returns the modules that hold weights themselves."""
    return [module for module in model.modules() if any(True for _ in module.parameters(recurse=False))]


def _off_by(tensor: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Returns a floating tensor with each value off by a factor within `share` of one."""
    if not tensor.is_floating_point():
        return tensor
    return tensor * (1 + share * (2 * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) - 1))


def _in_float32(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns inputs on the CPU, floating ones in float32."""
    return {
        name: tensor.to("cpu", torch.float32 if tensor.is_floating_point() else None) for name, tensor in inputs.items()
    }


@pytest.fixture(scope="session")
def reference(cell: Cell) -> Reference:
    """The reference, with the weights that the backend's model has."""
    model = copy.deepcopy(cell.model)
    move(model, torch.device("cpu"), torch.float32)
    calls = [0]

    def count(*_: Any) -> None:
        calls[0] += 1

    hooks = [module.register_forward_hook(count) for module in _layers(model)]
    Reference(model, 0).outputs(cell, cell.inputs)
    for hook in hooks:
        hook.remove()
    return Reference(model, calls[0])


@pytest.fixture(scope="session")
def expected(cell: Cell, reference: Reference) -> dict[str, Tensor]:
    """The reference's outputs on the cell's inputs."""
    return reference.outputs(cell, cell.inputs)


@pytest.fixture(scope="session")
def prepared(cell: Cell) -> Callable[..., Any]:
    """The main model in the runtime's own form, made for the cell's inputs and the second ones."""
    return cell.runtime.prepare(cell.model, cell.inputs, _second_inputs(cell))


@pytest.fixture(scope="session")
def outputs(cell: Cell, prepared: Callable[..., Any]) -> dict[str, Tensor]:
    """What the runtime gives for the cell's inputs."""
    return _run(cell, prepared, cell.inputs)


def _run(cell: Cell, prepared: Callable[..., Any], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the runtime's outputs; fails where eager mode answered in its place."""
    before = prepared.calls if isinstance(prepared, Prepared) else 0
    with torch.no_grad(), seeded(0):
        found = cell.tensors(prepared(**inputs))
    if isinstance(prepared, Prepared):
        cell.runtime_counts.update(prepared.counts)
        assert prepared.calls > before, f"stage run: {cell.spec.backend.runtime} handed the call back to eager mode"
    cell.exercised(cell.model_class)
    return found


def _assert_agree(
    cell: Cell,
    reference: Reference,
    actual: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    when: str,
    disturbed: Callable[[float], list[dict[str, Tensor]]],
) -> None:
    """Asserts that outputs agree with the reference's within the policy of the dtype at the model's depth.

    The policy takes it that what a layer adds reaches the output no larger. A model that chooses (experts, codes,
    queries) or saturates amplifies it. Where the policy is exceeded, the reference itself therefore runs with each
    layer off by what the policy grants one, and twice the most that this moves a row of an output is allowed there.

    Args:
      disturbed: the same outputs of such runs, for the share that a layer's output is off by.
    """
    assert list(actual) == list(wanted), f"stage compare: outputs are {list(actual)} instead of {list(wanted)} {when}"
    per_layer = cell.tolerance.per_layer
    share = per_layer * math.sqrt(max(1, reference.layers))
    why = f"{per_layer:g} for {cell.spec.backend.dtype} x sqrt({reference.layers} layers)"
    runs: list[dict[str, Tensor]] = []
    for name, tensor in wanted.items():
        found, tensor = _without_masks(actual[name].cpu(), tensor)
        try:
            assert_close_as_a_whole(f"stage compare: {name}", found, tensor, share, why, when)
        except AssertionError as error:
            runs = runs or disturbed(per_layer)
            _assert_amplified(cell, error, found, tensor, [run[name] for run in runs], share)


def _assert_amplified(
    cell: Cell, error: AssertionError, actual: Tensor, wanted: Tensor, runs: list[Tensor], share: float
) -> None:
    """Raises `error`, with what was found, unless the difference is what the model makes of disturbed layers.

    Args:
      runs: what `wanted` becomes with disturbed layers.
      share: the policy's, which is allowed in any case.
    """
    bad = actual.shape != wanted.shape or not torch.isfinite(actual[torch.isfinite(wanted)]).all()
    if bad or wanted.is_complex():
        raise error
    steady = all(run.shape == wanted.shape for run in runs)
    moved = torch.stack([_off(run, wanted) for run in runs]) if steady else torch.full((1, *wanted.shape), math.inf)
    norm = max(float(_finite(wanted).norm()), 1e-30)
    together = float(moved.flatten(1).norm(dim=1).max()) / norm
    dtype, per_layer = cell.spec.backend.dtype, cell.tolerance.per_layer
    found = f"with each layer off by up to {per_layer:g} eager mode itself moves by up to {together:.3g} of the norm"
    head, _, rest = str(error).partition("\n")
    row = moved.amax(0) if wanted.dim() == 0 else moved.amax(0).amax(-1, keepdim=True)
    difference = _off(actual, wanted)
    too_far = difference > (2 * row).clamp(min=share * max(magnitude(wanted), 1e-30))
    if too_far.any() or float(difference.norm()) > max(share, 2 * together) * norm:
        raise AssertionError(f"{head}; {found}: that does not explain it\n{rest}") from error
    if together > _UNDETERMINED:
        raise AssertionError(f"{head}; {found}: {dtype} does not determine this output\n{rest}") from error
    cell.runtime_counts["outputs_amplified"] = cell.runtime_counts.get("outputs_amplified", 0) + 1


def _without_masks(actual: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both with zeros where both hold a mask of scores, which may be the least number of either's dtype."""
    if actual.shape != wanted.shape or not (actual.is_floating_point() and wanted.is_floating_point()):
        return actual, wanted
    masked = ~shown(actual) & ~shown(wanted) & (actual.sign() == wanted.sign())
    return actual.masked_fill(masked, 0), wanted.masked_fill(masked, 0)


def _finite(tensor: Tensor) -> Tensor:
    """Returns a tensor in double precision with zeros where a mask of scores or a missing number stands."""
    return torch.where(shown(tensor), tensor, torch.zeros_like(tensor)).double()


def _off(actual: Tensor, wanted: Tensor) -> Tensor:
    """Returns by how much each value is off."""
    return (_finite(actual) - _finite(wanted)).abs()


@check(level="parsed", core=True)
def test_config_builds(cell: Cell) -> None:
    """Finds a config that cannot be made where the backend runs."""
    wanted = cell.model_class.config_class
    assert wanted is None or isinstance(cell.config, wanted), f"config is a {type(cell.config).__name__}"


@check(level="built", core=True)
def test_model_builds(cell: Cell) -> None:
    """Finds a model that does not get onto the device, or not into the backend's dtype."""
    dtype = getattr(torch, cell.spec.backend.dtype)
    kept = kept_in_float32(cell.model, dtype)
    for name, tensor in cell.model.named_parameters():
        wanted = torch.float32 if name in kept else dtype
        assert tensor.dtype == wanted or not tensor.is_floating_point(), f"{name} is {tensor.dtype}, not {wanted}"
        assert_finite(name, tensor, "after the model is built")


@check(level="forward", core=True)
def test_runs(cell: Cell, expected: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
    """Finds what the runtime cannot export, compile, save, load or run, and outputs that it loses or makes NaN."""
    assert list(outputs) == list(expected), f"stage run: outputs are {list(outputs)} instead of {list(expected)}"
    for name, tensor in outputs.items():
        assert tensor.shape == expected[name].shape, (
            f"stage run: {name} has shape {list(tensor.shape)} instead of {list(expected[name].shape)}"
        )
        bad = ~torch.isfinite(tensor) & torch.isfinite(expected[name]).to(tensor.device)
        assert_finite(f"stage run: {name}", torch.where(bad, tensor, torch.zeros_like(tensor)))


@check(level="consistent", core=True)
def test_agrees_with_eager(
    cell: Cell, reference: Reference, expected: dict[str, Tensor], outputs: dict[str, Tensor]
) -> None:
    """Finds an operator that the runtime or the dtype computes otherwise than eager mode in float32."""
    disturbed = partial(reference.disturbed, cell, cell.inputs)
    _assert_agree(cell, reference, outputs, expected, "against eager mode in float32", disturbed)


def _second_inputs(cell: Cell) -> dict[str, Tensor]:
    """Returns inputs with more rows and, where the model reads text, more tokens; what the declaration sets stays."""
    sizes = {"sequence_length": SEQUENCE + _MORE_TOKENS, "decoder_sequence_length": DECODER_SEQUENCE + _MORE_TOKENS}
    free: dict[str, Any] = {name: size for name, size in sizes.items() if name not in cell.spec.inputs}
    return cell.make_inputs(seed=1, batch=_ROWS, **free)


def _one_shape_only(cell: Cell) -> str | None:
    second = _second_inputs(cell)
    if all(second[name].shape == tensor.shape for name, tensor in cell.inputs.items()):
        return "the declaration sets every size of the inputs: there is no second shape"
    return None


@check(level="consistent", core=True, unless=_one_shape_only)
def test_second_shape_agrees(cell: Cell, reference: Reference, prepared: Callable[..., Any]) -> None:
    """Finds a size that was taken for a constant: another batch or length fails, is wrong, or falls back to eager."""
    inputs = _second_inputs(cell)
    found = _run(cell, prepared, inputs)
    shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in inputs.items())
    wanted = reference.outputs(cell, inputs)
    disturbed = partial(reference.disturbed, cell, inputs)
    _assert_agree(cell, reference, found, wanted, f"with another shape ({shapes})", disturbed)


def _no_cache(cell: Cell) -> str | None:
    if cell.spec.category != "decoder":
        return f"a model of category {cell.spec.category}; decoders are run token by token"
    names = parameters(cell.model_class)
    return None if {"past_key_values", "use_cache"} <= set(names) else "forward takes no past_key_values"


@check(level="consistent", core=True, unless=_no_cache)
def test_cached_step_agrees_with_eager(cell: Cell, reference: Reference, expected: dict[str, Tensor]) -> None:
    """Finds a cache that the runtime does not fill, take or extend as eager mode does: prefill, then one token."""
    length = cell.inputs["input_ids"].shape[1]
    _, past = generation.step(cell, cell.inputs, 0, length - 1, {})
    logits, _ = generation.step(cell, cell.inputs, length - 1, length, past)
    wanted = cell.primary(expected)[:, -1:]

    def disturbed(share: float) -> list[dict[str, Tensor]]:
        runs = reference.disturbed(cell, cell.inputs, share)
        return [{"logits": cell.primary(run)[:, -1:]} for run in runs]

    when = f"from a cache of {length - 1} tokens"
    _assert_agree(cell, reference, {"logits": logits}, {"logits": wanted}, when, disturbed)


@check(level="consistent", core=True, last=True)
def test_loads_only_declared_slices(cell: Cell) -> None:
    """Finds a model that reaches code which its declaration does not name: an edit there would not rerun this cell."""
    undeclared = cell.undeclared_slices()
    assert not undeclared, f"the run loaded {', '.join(undeclared)}, which the cell does not depend on"
