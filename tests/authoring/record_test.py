"""Recording: only what went well, what changed is said, a damaged file is mended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from authoring import observations, record
from harness import reference
from harness.verdict import ModelFacts

VALUE: dict[str, Any] = {"shape": [2, 3], "mean": 0.1, "std": 1.0, "max": 2.0, "at": [0.5, -2.0]}


def observation(tmp_path: Path, **values: dict[str, Any]) -> Path:
    """Writes an observation of the model as a run would."""
    facts = ModelFacts(parameters=7, gradient_share=1.0, inputs={"input_ids": "int64[2, 3]"}, classes=("LlamaModel",))
    path = tmp_path / "cpu.observed.json"
    path.write_text(
        reference.to_json("transformers-5.23", facts, ["common::deterministic"], values or {"LlamaModel.logits": VALUE})
    )
    return path


def test_a_recorded_file_is_a_reference(tmp_path: Path) -> None:
    target = tmp_path / "reference.json"
    assert record.record(observation(tmp_path), target) == ["recorded for the first time"]
    found = reference.load(target, "//models/decoder/llama:cpu", "transformers-5.23")
    assert (found.parameters, found.classes, found.values) == (7, ("LlamaModel",), {"LlamaModel.logits": VALUE})


def test_nothing_new_leaves_the_file_alone(tmp_path: Path) -> None:
    target = tmp_path / "reference.json"
    record.record(observation(tmp_path), target)
    near = {**VALUE, "mean": 0.1 + reference.TOLERANCE}
    before = target.read_bytes()
    assert record.record(observation(tmp_path, **{"LlamaModel.logits": near}), target) == []
    assert target.read_bytes() == before


def test_what_changed_is_said(tmp_path: Path) -> None:
    target = tmp_path / "reference.json"
    record.record(observation(tmp_path), target)
    far = {**VALUE, "at": [0.5, -1.9]}
    changed = record.record(observation(tmp_path, **{"LlamaModel.logits": far, "LlamaModel.loss": VALUE}), target)
    assert changed[0].startswith("LlamaModel.logits: value 2 of 2 is -1.9, recorded is -2")
    assert changed[1] == "LlamaModel.loss: new"


def test_a_damaged_file_is_mended(tmp_path: Path) -> None:
    target = tmp_path / "reference.json"
    target.write_text('{"version": 1, "values"')
    assert record.record(observation(tmp_path), target) == ["recorded for the first time"]
    assert json.loads(target.read_text())["version"] == 1


def test_a_run_that_went_wrong_is_not_recorded(tmp_path: Path) -> None:
    path = tmp_path / "cpu.observed.json"
    path.write_text(json.dumps({"refused": "//models/decoder/llama:cpu is failed: no"}))
    with pytest.raises(ValueError, match="is failed: no"):
        record.record(path, tmp_path / "reference.json")
    assert not (tmp_path / "reference.json").exists()


def test_models_are_found_by_the_path_of_their_observation() -> None:
    assert observations.packages(["_main/models/decoder/llama/cpu.observed.json"]) == {
        "llama": ("models/decoder/llama", "_main/models/decoder/llama/cpu.observed.json")
    }
