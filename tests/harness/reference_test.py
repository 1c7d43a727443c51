"""Reference values: what a summary holds, what counts as different, how a bad file is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness import reference
from harness.verdict import ModelFacts

LABEL = "//models/decoder/llama:cpu"


def text(environment: str = "transformers-5.23") -> str:
    """Returns a reference file of one value."""
    values = {"M.logits": reference.summary(torch.ones(2, 3))}
    return reference.to_json(environment, ModelFacts(parameters=3), ["common::deterministic"], values)


def test_a_tensor_equals_itself_within_rounding() -> None:
    tensor = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    near = tensor + 1e-5 * tensor.abs().max()
    assert reference.difference(reference.summary(tensor), reference.summary(near)) == ""


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (torch.zeros(4, 4), "shape [4, 4], recorded is [4, 5]"),
        (torch.arange(20.0).reshape(4, 5).flip(0), "value 1 of 8"),
        (torch.arange(20.0).reshape(4, 5) * 1.01, "mean is"),
        (torch.full((4, 5), float("nan")), "mean is 0"),
    ],
)
def test_another_tensor_differs(changed: torch.Tensor, says: str) -> None:
    before = reference.summary(torch.arange(20.0).reshape(4, 5))
    assert says in reference.difference(before, reference.summary(changed))


def test_masked_scores_and_empty_and_complex_outputs_have_a_summary() -> None:
    scores = torch.tensor([[0.5, float("-inf")]])
    assert reference.summary(scores)["max"] == 0.5
    assert reference.summary(scores.nan_to_num())["max"] == 0.5
    assert reference.summary(torch.zeros(0, 3)) == {"shape": [0, 3]}
    assert reference.difference({"shape": [0, 3]}, {"shape": [0, 3]}) == ""
    assert reference.summary(torch.tensor([3 + 4j]))["at"] == [3.0, 4.0]


def test_a_file_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    path.write_text(text())
    assert reference.load(path, LABEL, "transformers-5.23").values["M.logits"]["max"] == 1.0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (text()[:100], "damaged or cut short"),
        ("[]", "damaged or cut short"),
        (text().replace('"version": 1', '"version": 2'), "not of version 1"),
        (text("transformers-5.22"), "recorded for environment 'transformers-5.22', not 'transformers-5.23'"),
        (text().replace('"parameters"', '"parameter"'), "damaged or cut short"),
    ],
)
def test_a_bad_file_is_refused_with_the_command_that_mends_it(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "reference.json"
    path.write_text(content)
    with pytest.raises(reference.BadReference) as caught:
        reference.load(path, LABEL, "transformers-5.23")
    assert str(caught.value).startswith("models/decoder/llama/reference.json: ")
    assert says in str(caught.value)
    assert str(caught.value).endswith("record it again: bazel run //:record -- llama")
