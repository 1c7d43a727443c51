"""The mock runtime, run where neither PyTorch nor transformers nor pytest can be imported."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import harness.spec
from harness.reporter import HarnessFault, PlannedCheck
from harness.runtimes import mock
from harness.spec import Backend, Limits, Spec, Tolerance

CONFIGURATION = """
class MadeConfig(PreTrainedConfig):
    model_type = "made"
    hidden_size: int = 8
    vocab_size: int = 9
"""
MODELING = """
__all__ = ["MadeForCausalLM", "MadePreTrainedModel"]

class MadePreTrainedModel(PreTrainedModel):
    pass

class MadeForCausalLM(MadePreTrainedModel):
    def __init__(self, config):
        self.slope = config.made_slope
        self.bias = getattr(config, "made_bias", 3)
        self.depth = config.made_config.made_depth
"""
BLOCKED = """
import json, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "numpy", "pytest", "_pytest", "safetensors"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
sys.path[:0] = sys.argv[1:3]
from harness import cell, spec

class Reporter:
    def __init__(self): self.results = []
    def planned(self, checks): self.plan = [check.id for check in checks]
    def started(self, name): pass
    def finished(self, result): self.results.append([result.id, result.outcome, result.message])
    def facts(self, facts): pass
    def observed(self, values): pass
    def done(self): print(json.dumps([self.plan, self.results]))

cell.run(spec.parse(sys.stdin.read()), Reporter())
"""


def run(tmp_path: Path, **changes: Any) -> dict[str, tuple[str, str]]:
    """Runs a mock cell in a process of its own; returns outcome and message by check."""
    folder = tmp_path / "transformers" / "models" / "made"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "configuration_made.py").write_text(CONFIGURATION)
    (folder / "modeling_made.py").write_text(MODELING)
    values: dict[str, Any] = {
        "label": "//models/decoder/made:mock",
        "name": "made",
        "category": "decoder",
        "tier": "high",
        "task": "text-generation",
        "environment": "transformers-5.23",
        "model_type": "made",
        "folder": "made",
        "main_class": "MadeForCausalLM",
        "checkpoint": "made/up",
        "config": {"hidden_size": 4},
        "inputs": {},
        "limits": Limits(60, 600, 4096),
        "backend": Backend("mock", "cpu", "mock", "float32", Tolerance(0.0, 0.0)),
        "known_failures": (),
        "not_applicable": {},
        "heads": {},
        "unexercised_classes": {},
        "unused_parameters": {},
        "slices": ("made",),
        "epoch": "",
    }
    fields = dataclasses.asdict(Spec(**{**values, **changes}))
    del fields["reference"]  # a file of its own
    spec = json.dumps({"version": harness.spec.VERSION, **fields})
    root = str(Path(harness.spec.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, root, str(tmp_path)], input=spec, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    plan, results = json.loads(done.stdout)
    assert [name for name, _, _ in results] == plan
    return {name: (outcome, message) for name, outcome, message in results}


def test_a_sound_declaration_passes_and_no_check_of_a_model_runs(tmp_path: Path) -> None:
    results = run(tmp_path)
    own = {name: result for name, result in results.items() if name.startswith("mock::")}
    assert set(own.values()) == {("passed", "")}
    others = {result for name, result in results.items() if name not in own}
    assert others == {("not_run", "mock: no model was run")}
    assert "common::config_builds" in results
    assert any(name.startswith("decoder::") for name in results)


def test_a_key_that_only_the_models_read_is_a_field(tmp_path: Path) -> None:
    results = run(tmp_path, config={"made_slope": 2, "made_bias": 4, "made_depth": 5, "pad_token_id": 0})
    assert results["mock::config_keys_are_fields"] == ("passed", "")


@pytest.mark.parametrize(
    ("changes", "check", "message"),
    [
        ({"folder": "mad"}, "folder_is_a_declared_slice", "model folder 'mad' is not in environment"),
        ({"slices": ("other",)}, "folder_is_a_declared_slice", "'made' is not among the slices ['other']"),
        ({"main_class": "MadeForCausalML"}, "main_class_is_in_the_folder", "did you mean 'MadeForCausalLM'"),
        ({"model_type": "mode"}, "model_type_is_in_the_folder", "has model type 'mode'; did you mean 'made'"),
        ({"config": {"hiden_size": 4}}, "config_keys_are_fields", "config key 'hiden_size' is not a field"),
    ],
)
def test_a_mistake_is_found_and_what_follows_does_not_run(
    tmp_path: Path, changes: dict[str, Any], check: str, message: str
) -> None:
    results = run(tmp_path, **changes)
    outcome, text = results[f"mock::{check}"]
    assert outcome == "failed"
    assert text.startswith("//models/decoder/made:mock: ")
    assert message in text
    later = [name for name in results if name.startswith("mock::")]
    assert all(results[name][0] == "not_run" for name in later[later.index(f"mock::{check}") + 1 :])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('def test_a(cell):\n    "d"\n', "has no @check"),
        ('@check(level="parsed")\ndef test_a(cell):\n    pass\n', "has no docstring"),
        ('@check(level="deep")\ndef test_a(cell):\n    "d"\n', "has level 'deep'"),
        ("def test_a(:\n", "made.py"),
        ("x = 1\n", "no check was found"),
    ],
)
def test_checks_that_are_not_sound_are_the_harness_fault(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "made.py").write_text(source)
    with pytest.raises(HarnessFault, match=message):
        mock.plan([tmp_path / "made.py"])


def test_the_list_of_core_checks_must_be_that_of_the_marks() -> None:
    planned = [
        PlannedCheck(id="common::a", level="parsed", core=True),
        PlannedCheck(id="common::b", level="parsed", core=False),
    ]
    mock.check_core(planned, {"parsed": ("common::a",)}, "decoder")
    with pytest.raises(HarnessFault, match="disagree on: common::b"):
        mock.check_core(planned, {"parsed": ("common::a", "common::b")}, "decoder")
