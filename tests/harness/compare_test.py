"""Comparisons, where outputs hold infinity: the masks that some scores have by design hide no difference."""

from __future__ import annotations

import pytest
import torch

from harness.compare import assert_close, assert_moved, effect, magnitude
from harness.spec import Tolerance

LOOSE = Tolerance(rtol=1e-4, atol=1e-5)
EXACT = Tolerance(rtol=0.0, atol=0.0)
MASKED = torch.tensor([1.0, 2.0, float("-inf")])


@pytest.mark.parametrize("tolerance", [LOOSE, EXACT])
def test_the_same_mask_of_infinity_agrees(tolerance: Tolerance) -> None:
    assert_close("logits", MASKED.clone(), MASKED, tolerance)


@pytest.mark.parametrize("tolerance", [LOOSE, EXACT])
def test_a_difference_beside_infinity_is_found(tolerance: Tolerance) -> None:
    with pytest.raises(AssertionError, match=r"logits differs first at \[1\] by 1"):
        assert_close("logits", torch.tensor([1.0, 3.0, float("-inf")]), MASKED, tolerance)


@pytest.mark.parametrize("value", [0.0, float("inf"), float("nan")])
def test_another_value_where_infinity_is_expected_is_found(value: float) -> None:
    with pytest.raises(AssertionError, match=r"logits differs first at \[2\]"):
        assert_close("logits", torch.tensor([1.0, 2.0, value]), MASKED, LOOSE)


def test_an_effect_is_measured_against_what_is_finite() -> None:
    assert magnitude(MASKED) == 2
    assert effect(torch.tensor([1.0, 2.2, float("-inf")]), MASKED) == pytest.approx(0.1)
    with pytest.raises(AssertionError, match="logits does not move when a word is changed"):
        assert_moved("logits", MASKED.clone(), MASKED, "when a word is changed")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mask_may_be_the_least_number_of_a_type(dtype: torch.dtype) -> None:
    masked = torch.tensor([1.0, 2.0, torch.finfo(dtype).min])
    assert magnitude(masked) == 2
    assert_close("logits", masked.clone(), masked, LOOSE)
    assert effect(torch.tensor([1.0, 2.2, torch.finfo(dtype).min]), masked) == pytest.approx(0.1)
    assert effect(torch.tensor([1.0, 2.0, 0.0]), masked) == float("inf")
    with pytest.raises(AssertionError, match=r"logits differs first at \[1\] by 1"):
        assert_close("logits", torch.tensor([1.0, 3.0, torch.finfo(dtype).min]), masked, LOOSE)
