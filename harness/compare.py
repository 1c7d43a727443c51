"""Comparing tensors the way a check reports it: what differs, where first, by how much, against what tolerance.

Every function raises `AssertionError` whose first line names the output, the position, the difference and the
tolerance. What to compare, and with which inputs, is the checks' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.spec import Tolerance

# An effect must exceed this share of the output's largest magnitude to count as one: four orders above the
# rounding of float32 (about 1e-7 of the magnitude per operation, 1e-6 over a small model), so that noise is
# never taken for an effect, and far below what a live input does to a re-randomised model (measured: above
# 1e-2 for nearly every input).
EFFECT = 1e-4


def magnitude(tensor: Tensor) -> float:
    """Returns the largest finite absolute value of `tensor` (any shape); 0.0 where there is none."""
    return float(_finite(tensor.detach()).abs().max()) if tensor.numel() else 0.0


MASKED = float(-torch.finfo(torch.bfloat16).min)
"""Masks of scores write minus infinity, or the least number of a type instead; no computed value comes near it."""


def shown(tensor: Tensor) -> Tensor:
    """Returns where `tensor` is a number, and not NaN or what a mask of scores leaves there."""
    return tensor.abs() < MASKED


def _finite(tensor: Tensor) -> Tensor:
    """What is not `shown` as zeros: what is measured against must not grow with it."""
    return torch.where(shown(tensor), tensor, torch.zeros_like(tensor))


def allowed(expected: Tensor, tolerance: Tolerance) -> Tensor:
    """Returns the difference that is allowed at each position of `expected`, same shape.

    It is `atol * max(1, largest magnitude) + rtol * |expected|`. The absolute part grows with the tensor's
    magnitude because an error of rounding is proportional to the terms that were summed, not to their sum: a
    logit near zero among logits near 100 carries the error of the large ones.
    """
    floor = tolerance.atol * max(1.0, magnitude(expected))
    return floor + tolerance.rtol * _finite(expected.detach()).abs()


def position(index: int, shape: torch.Size) -> str:
    """Returns the position of the flat `index` in `shape`, for example `[0, 3, 17]`."""
    out = []
    for size in reversed(shape):
        out.append(index % size)
        index //= size
    return str(out[::-1])


def assert_finite(name: str, tensor: Tensor, when: str = "") -> None:
    """Asserts that `tensor` holds neither NaN nor infinity."""
    bad = ~torch.isfinite(tensor.detach())
    if bad.any():
        first = int(bad.flatten().nonzero()[0])
        value = float(tensor.detach().flatten()[first])
        raise AssertionError(
            f"{name} is {value} at {position(first, tensor.shape)}{_tail(when)}\n"
            f"{int(bad.sum())} of {tensor.numel()} values are not finite"
        )


def assert_close(name: str, actual: Tensor, expected: Tensor, tolerance: Tolerance, when: str = "") -> None:
    """Asserts that two tensors agree within `tolerance`, see `allowed`.

    Args:
      name: the output as the model names it, for example `logits`.
      when: what was changed, as the end of the sentence, for example `when token 5 is changed`.
    """
    if actual.shape != expected.shape:
        raise AssertionError(f"{name} has shape {list(actual.shape)} instead of {list(expected.shape)}{_tail(when)}")
    if actual.numel() == 0:
        return
    actual, expected = actual.detach(), expected.detach()
    if not actual.is_floating_point() and not actual.is_complex():
        bad = actual != expected
        difference = bad.double()
        limit = "no difference allowed"
    else:
        actual, expected = _real(actual), _real(expected)
        difference = (actual - expected).abs()
        bound = allowed(expected, tolerance)
        bad = ~(difference <= bound)  # also true for NaN
        bad &= ~(torch.isinf(actual) & (actual == expected))  # the same mask of -inf on both sides is agreement
        limit = f"tolerance {tolerance.atol:g} x {max(1.0, magnitude(expected)):.3g} + {tolerance.rtol:g} relative"
    if not bad.any():
        return
    first = int(bad.flatten().nonzero()[0])
    worst = int(torch.nan_to_num(difference, nan=float("inf")).flatten().argmax())
    raise AssertionError(
        f"{name} differs first at {position(first, actual.shape)} by {float(difference.flatten()[first]):.3g} "
        f"({limit}){_tail(when)}\n"
        f"{int(bad.sum())} of {bad.numel()} values differ; the largest difference is "
        f"{float(difference.flatten()[worst]):.3g} at {position(worst, actual.shape)}: "
        f"{float(actual.flatten()[worst]):.6g} instead of {float(expected.flatten()[worst]):.6g}"
    )


def assert_all_close(
    actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: Tolerance, when: str = ""
) -> None:
    """Asserts that two sets of named outputs have the same names, and that each pair agrees."""
    if list(actual) != list(expected):
        raise AssertionError(f"outputs are {list(actual)} instead of {list(expected)}{_tail(when)}")
    for name, tensor in expected.items():
        assert_close(name, actual[name], tensor, tolerance, when)


def assert_close_as_a_whole(
    name: str, actual: Tensor, expected: Tensor, share: float, why: str, when: str = ""
) -> None:
    """Asserts that no value is off by more than `share` of the largest magnitude, nor all by more of their norm.

    Together: the Euclidean norm of the difference against that of `expected`. Rounding errors are independent, so it
    is the sharper of the two; one wrong value among many shows only in the other.

    Args:
      share: what is allowed, as a share.
      why: where `share` comes from, for the message.
    """
    if actual.shape != expected.shape:
        raise AssertionError(f"{name} has shape {list(actual.shape)} instead of {list(expected.shape)}{_tail(when)}")
    if actual.numel() == 0:
        return
    actual, expected = _real(actual.detach()), _real(expected.detach())
    same = (actual == expected) & torch.isinf(expected)  # the same mask on both sides
    difference = torch.where(same, torch.zeros_like(expected), (actual - expected).abs())
    largest = max(magnitude(expected), 1e-30)
    together = float(difference.norm()) / max(float(_finite(expected).norm()), 1e-30)
    worst = int(torch.nan_to_num(difference, nan=float("inf")).flatten().argmax())
    most = float(difference.flatten()[worst])
    if most <= share * largest and together <= share:  # both false for NaN
        return
    here, there = float(actual.flatten()[worst]), float(expected.flatten()[worst])
    raise AssertionError(
        f"{name} differs most at {position(worst, actual.shape)} by {most:.3g}, {most / largest:.3g} of the largest "
        f"magnitude, and in all by {together:.3g} of its norm (tolerance {share:.3g}: {why}){_tail(when)}\n"
        f"{here:.6g} instead of {there:.6g} there, a relative difference of {most / max(abs(there), 1e-30):.3g}"
    )


def effect(actual: Tensor, expected: Tensor) -> float:
    """Returns the largest difference as a share of the largest magnitude; infinity where the shapes differ."""
    if actual.shape != expected.shape:
        return float("inf")
    if actual.numel() == 0:
        return 0.0
    actual, expected = _real(actual.detach()), _real(expected.detach())
    finite = shown(actual) & shown(expected)
    if not torch.equal(shown(actual), shown(expected)):
        return float("inf")
    difference = torch.where(finite, (actual - expected).abs(), torch.zeros_like(expected))
    return magnitude(difference) / max(magnitude(expected), 1e-12)


def assert_moved(name: str, actual: Tensor, expected: Tensor, when: str) -> None:
    """Asserts that a change had an effect of more than `EFFECT` anywhere in the output."""
    share = effect(actual, expected)
    if not share > EFFECT:
        raise AssertionError(
            f"{name} does not move {when}: the largest change is {share:.3g} of its magnitude "
            f"(an effect is above {EFFECT:g})"
        )


def changed(outputs: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> dict[str, float]:
    """Returns the effect on each output that both sets have, by name."""
    return {name: effect(outputs[name], tensor) for name, tensor in reference.items() if name in outputs}


def _tail(when: str) -> str:
    return f" {when}" if when else ""


def _real(tensor: Tensor) -> Tensor:
    """Complex numbers as pairs, everything else in double precision."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.double()


def describe(value: Any) -> str:
    """Returns dtype and shape of a tensor, for example `int64[2, 7]`, and the type's name of anything else."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return type(value).__name__
