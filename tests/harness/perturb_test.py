"""A changed input differs in a way that a model which reads it must notice."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from harness.perturb import perturbed


def _changed(name: str, value: torch.Tensor) -> torch.Tensor:
    return perturbed(cast(Any, None), {name: value}, name)[name]


def test_boxes_move_against_one_another() -> None:
    boxes = torch.tensor([[[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]])
    after = _changed("bbox", boxes)
    before_distance, distance = (box[:, 1] - box[:, 0] for box in (boxes, after))
    assert not torch.equal(distance, before_distance)


@pytest.mark.parametrize("name", ["token_type_ids", "asym_id", "sym_id", "entity_id"])
def test_which_tokens_are_of_one_type_changes(name: str) -> None:
    types = torch.tensor([[0, 0, 1, 1]])
    after = _changed(name, types)
    assert not torch.equal(after[:, :, None] == after[:, None], types[:, :, None] == types[:, None])
