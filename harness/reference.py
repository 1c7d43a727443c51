"""Reference values: what a cell's outputs came to when a person recorded them, and how a later run is held to them.

A reference file lies beside a model's BUILD file. `bazel run //:record -- NAME` writes it from a run's own
observation. It holds, for every output of every class that ran, and for the gradients, a shape, a few statistics and
a handful of positions: a changed model is seen even where it is consistent with itself.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from harness.verdict import ModelFacts

VERSION = 1

TOLERANCE = 1e-3
"""How far a number may be from the recorded one, as a share of the tensor's largest magnitude.

Other instruction sets and thread counts of one architecture order sums differently; see benchmarks/RESULTS.md for how
far that moved any model."""

CHECK = "common::outputs_match_the_reference"
"""Id of the check that holds a run to its reference."""

POSITIONS = 8
_DIGITS = 6


class BadReference(ValueError):  # noqa: N818 - says what it is of
    """A reference file that cannot be used. The message names the file, the fault and the fix."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """What was recorded.

    Attributes:
      environment: name of the environment that it was recorded in.
      parameters: number of parameters of the main class.
      gradient_share: share of them that a gradient reached.
      inputs: dtype and shape of each input.
      moving_inputs: the inputs whose change moved the output.
      classes: the public model classes that ran.
      checks: the checks that passed; one that no longer applies is a capability lost.
      values: by `Class.output` what `summary` says.
    """

    environment: str
    parameters: int
    gradient_share: float
    inputs: Mapping[str, str]
    moving_inputs: tuple[str, ...]
    classes: tuple[str, ...]
    checks: tuple[str, ...]
    values: Mapping[str, Mapping[str, Any]]


def load(path: Path, label: str, environment: str) -> Reference:
    """Returns the reference in the file at `path`.

    Args:
      path: of the file.
      label: of the cell, for messages.
      environment: that the cell runs in.

    Raises:
      BadReference: the file is cut short, of another version, or recorded for another environment.
    """
    package, _, _ = label.removeprefix("//").partition(":")
    file, name = f"{package}/{path.name}", package.rpartition("/")[2]
    mend = f"record it again: bazel run //:record -- {name}"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("version") != VERSION:
            raise BadReference(f"{file}: not of version {VERSION}; {mend}")
        lists = {name: tuple(data[name]) for name in ("moving_inputs", "classes", "checks")}
        found = Reference(**{**data, **lists})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, BadReference):
            raise
        raise BadReference(f"{file}: damaged or cut short ({type(error).__name__}); {mend}") from None
    if found.environment != environment:
        raise BadReference(f"{file}: recorded for environment {found.environment!r}, not {environment!r}; {mend}")
    return found


def to_json(environment: str, facts: ModelFacts, checks: Sequence[str], values: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the text of a reference file with what a run observed: one line a value, for the sake of diffs."""
    data = {"version": VERSION, "environment": environment, "checks": list(checks), **dataclasses.asdict(facts)}
    del data["runtime"]  # of other backends than the reference
    lines = [f" {json.dumps(key)}: {json.dumps(data[key])}," for key in sorted(data)]
    rows = [f"  {json.dumps(name)}: {json.dumps(values[name], sort_keys=True)}" for name in sorted(values)]
    return "\n".join(["{", *lines, ' "values": {', ",\n".join(rows), " }", "}", ""])


def summary(tensor: Tensor) -> dict[str, Any]:
    """Returns shape, mean, standard deviation, largest magnitude and the values at evenly spread positions.

    Masked scores count as zeros.
    """
    import torch

    from harness.compare import shown

    flat = tensor.detach().to("cpu").flatten()
    flat = torch.where(shown(flat), flat, torch.zeros_like(flat))
    flat = (torch.view_as_real(flat).flatten() if flat.is_complex() else flat).double()
    if not flat.numel():
        return {"shape": list(tensor.shape)}
    places = torch.linspace(0, flat.numel() - 1, min(POSITIONS, flat.numel())).round().long()
    return {
        "shape": list(tensor.shape),
        "mean": _rounded(float(flat.mean())),
        "std": _rounded(float(flat.std(correction=0))),
        "max": _rounded(float(flat.abs().max())),
        "at": [_rounded(float(value)) for value in flat[places]],
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def difference(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Returns how a tensor differs from the recorded one, or an empty string where it does not."""
    if recorded["shape"] != now["shape"]:
        return f"shape {now['shape']}, recorded is {recorded['shape']}"
    if "max" not in recorded:
        return ""
    allowed = TOLERANCE * max(recorded["max"], 1e-6)
    pairs = [(name, recorded[name], now[name]) for name in ("mean", "std", "max")]
    pairs += [
        (f"value {index + 1} of {len(now['at'])}", *pair)
        for index, pair in enumerate(zip(recorded["at"], now["at"], strict=True))
    ]
    for name, was, value in pairs:
        if not abs(value - was) <= allowed:
            share = abs(value - was) / max(recorded["max"], 1e-6)
            return f"{name} is {value:.6g}, recorded is {was:.6g} ({share:.2g} of the largest magnitude)"
    return ""
