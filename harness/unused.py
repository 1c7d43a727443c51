"""Parameters that a model has and its forward, by design, does not use: each rule with its reason.

A parameter without gradient that no rule covers is a dead parameter.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.cell import Cell


def reason_unused(cell: Cell, name: str) -> str | None:
    """Returns why the parameter `name` of the main class gets no gradient by design, or None."""
    for pattern, reason in _rules(cell).items():
        if fnmatch.fnmatchcase(name, pattern):
            return reason
    return None


def _rules(cell: Cell) -> dict[str, str]:
    """Returns the patterns of parameter names that this cell's config leaves unused, with the reason of each."""
    return {"*masked_spec_embed": "replaces masked time steps, which only training with SpecAugment has"}
