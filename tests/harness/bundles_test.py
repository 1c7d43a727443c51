"""A model that takes its tensors in a dataclass is run as one of tensors by name."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import torch
from torch import Tensor

from harness import bundles


@dataclasses.dataclass
class Atoms:
    """What a molecule is made of."""

    places: Tensor
    charges: Tensor


def _molecule() -> type[Any]:
    class Molecule:
        def forward(self, words: Tensor, atoms: Any, hints: Tensor | None = None) -> Tensor:
            """Returns a number that each tensor has a part in."""
            assert isinstance(atoms, Atoms)
            return words.sum() + 10 * atoms.places.sum() + 100 * atoms.charges.sum() + (0 if hints is None else hints)

    # A model's file has its annotations as classes; this one has them as text.
    Molecule.forward.__annotations__["atoms"] = Atoms
    return Molecule


def test_the_fields_stand_in_the_place_of_the_bundle() -> None:
    cls = _molecule()
    assert bundles.bundle_of(cls) is not None
    cls.forward = bundles.by_field(cls)
    assert list(inspect.signature(cls.forward).parameters) == ["self", "words", "places", "charges", "hints"]
    one = torch.ones(1)
    assert int(cls().forward(words=one, places=2 * one, charges=3 * one)) == 321
    assert int(cls().forward(words=one, places=2 * one, charges=3 * one, hints=1000 * one)) == 1321
    assert bundles.bundle_of(cls) is None


def test_what_may_be_left_out_is_no_bundle() -> None:
    class Decoder:
        def forward(self, words: Tensor, memory: Any = None) -> None:
            """Only the signature counts."""

    Decoder.forward.__annotations__["memory"] = Atoms
    assert bundles.bundle_of(Decoder) is None
