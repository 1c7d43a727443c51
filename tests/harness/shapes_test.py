"""What is documented of outputs besides their sizes."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from harness.shapes import documented_mask

TEXT = {"input_ids": torch.ones(2, 3, dtype=torch.long), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}


def test_scores_behind_a_text_and_of_its_padding_are_documented_as_masked() -> None:
    mask = documented_mask(SimpleNamespace(max_text_len=4), TEXT, torch.zeros(2, 5, 4))
    assert mask is not None
    assert mask.shape == (2, 5, 4)
    assert mask[0, 0].tolist() == [False, False, False, True]
    assert mask[1, 4].tolist() == [False, False, True, True]


def test_other_outputs_and_other_models_have_no_such_mask() -> None:
    assert documented_mask(SimpleNamespace(max_text_len=4), TEXT, torch.zeros(2, 5, 7)) is None
    assert documented_mask(SimpleNamespace(max_text_len=4), {}, torch.zeros(2, 5, 4)) is None
    assert documented_mask(SimpleNamespace(), TEXT, torch.zeros(2, 5, 4)) is None
