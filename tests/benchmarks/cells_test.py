"""What a run of a cell amounts to for the benchmarks: which results count as failures, and when the run ends."""

from __future__ import annotations

import types
from pathlib import Path

import pytest
from absl import app

from benchmarks import cells
from harness.spec import KnownFailure

KNOWN = (
    KnownFailure("decoder::causality", "a reason", "", "2027-01-01", message="logits differs"),
    KnownFailure("cpu", "a reason", "", "2027-01-01", check="common::deterministic", message="a second time"),
)


def heard(*results: tuple[str, str, str]) -> cells.Recorder:
    """Returns a recorder of a cell on `cpu` that heard these results: id, outcome, message."""
    recorder = cells.Recorder(types.SimpleNamespace(known_failures=KNOWN, backend=types.SimpleNamespace(name="cpu")))
    for name, outcome, message in results:
        recorder.finished(types.SimpleNamespace(id=name, outcome=outcome, message=message))
    return recorder


def test_a_failure_ends_the_run() -> None:
    with pytest.raises(pytest.exit.Exception):
        heard(("common::model_builds", "failed", "it does not"))


def test_only_the_failure_that_is_expected_is_none() -> None:
    assert not heard(("decoder::causality", "failed", "logits differs first at [0]")).failed
    assert not heard(("common::deterministic", "failed", "when it runs a second time")).failed
    with pytest.raises(pytest.exit.Exception):
        heard(("decoder::causality", "failed", "TypeError: no such argument"))


def test_a_failure_that_is_expected_and_does_not_come_is_one() -> None:
    with pytest.raises(pytest.exit.Exception):
        heard(("decoder::causality", "passed", ""))


def test_the_comparison_with_the_reference_ends_nothing() -> None:
    recorder = heard(
        (cells.REFERENCE, "failed", "loss: mean is 2, recorded is 1"),
        ("common::deterministic", "failed", "a second time"),
    )
    assert recorder.failed == [cells.REFERENCE]


def test_specs_are_found_by_pattern(tmp_path: Path) -> None:
    for name in ("decoder/llama", "decoder/gpt2", "vision/vit"):
        path = tmp_path / "bazel-out/k8-fastbuild/bin/models" / name / "cpu.spec.json"
        path.parent.mkdir(parents=True)
        path.touch()
    assert [path.parent.name for path in cells.built_specs(tmp_path, "decoder/*")] == ["gpt2", "llama"]
    with pytest.raises(app.UsageError, match="no spec of 'audio"):
        cells.built_specs(tmp_path, "audio/*")
