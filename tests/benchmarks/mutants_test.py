"""The mutation benchmark's own parts: what is changed, that draws repeat, that a changed module is what is loaded."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import mutants
from harness import reference

SOURCE = """
class Layer:
    def forward(self, hidden_states, mask, past_key_values=None):
        residual = hidden_states
        hidden_states = self.norm(hidden_states)
        hidden_states = self.attention(hidden_states, attention_mask=mask, past_key_values=past_key_values)
        if hidden_states.shape[1] > 3:
            hidden_states = residual + hidden_states
        return torch.cat(hidden_states, residual)
"""

KINDS = {
    "arguments exchanged": "torch.cat(residual, hidden_states)",
    "cache ignored": "past_key_values=None)",
    "condition turned round": "shape[1] <= 3",
    "mask ignored": "attention_mask=None",
    "operator swapped": "residual - hidden_states",
    "step skipped": "hidden_states = hidden_states",
    "term dropped": "hidden_states = residual\n",
}


def all_mutants(seed: int = 0) -> list[tuple[mutants.Mutant, str]]:
    return list(mutants.mutate(SOURCE, set(range(1, 20)), 100, seed))


def test_each_kind_of_change_is_made_and_each_mutant_is_one_change() -> None:
    original = ast.unparse(ast.parse(SOURCE))
    found = all_mutants()
    for kind, text in KINDS.items():
        assert any(mutant.kind == kind and text in changed for mutant, changed in found), kind
    assert len({changed for _, changed in found}) == len(found)
    for mutant, changed in found:
        lines = [(a, b) for a, b in zip(original.splitlines(), changed.splitlines(), strict=True) if a != b]
        assert len(lines) == 1, mutant
        assert mutant.before != mutant.after or mutant.kind == "number off by one"


def test_a_draw_repeats_and_takes_the_kinds_in_turn() -> None:
    first = [mutant for mutant, _ in mutants.mutate(SOURCE, set(range(1, 20)), 8, 3)]
    assert first == [mutant for mutant, _ in mutants.mutate(SOURCE, set(range(1, 20)), 8, 3)]
    assert len({mutant.kind for mutant in first}) == 8


def test_only_executed_lines_are_changed() -> None:
    assert {mutant.line for mutant, _ in mutants.mutate(SOURCE, {8}, 100, 0)} == {8}


def test_the_changed_source_is_what_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "made_up_module.py"
    path.write_text("def value():\n    return 1 + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    change = mutants._Changed("made_up_module", str(path), "def value():\n    return 1 - 1\n")
    monkeypatch.setattr(sys, "meta_path", [change, *sys.meta_path])
    monkeypatch.delitem(sys.modules, "made_up_module", raising=False)
    module = importlib.import_module("made_up_module")
    assert module.value() == 0
    assert "1 - 1" in inspect.getsource(module.value)


def test_a_child_that_dies_or_raises_is_a_fate() -> None:
    def dies() -> None:
        import os

        os._exit(3)

    def raises() -> None:
        raise ValueError("no such thing")

    assert mutants.in_child(dies) == "the process ended with status 768"
    assert mutants.in_child(raises) == "ValueError: no such thing"
    assert mutants.in_child(lambda: ["a::b"]) == ["a::b"]


@dataclasses.dataclass(frozen=True)
class _Spec:
    name: str = "made_up"
    folder: str = "made_up"
    label: str = "//models/decoder/made_up:cpu"
    environment: str = "transformers-test"
    reference: Any = None


def _studied(folder: Path, monkeypatch: pytest.MonkeyPatch, answers: Sequence[Any]) -> list[mutants.Mutant]:
    """Returns the mutants of a model of which children answer so, one after the other."""
    (folder / "modeling_made_up.py").write_text(SOURCE)
    place = importlib.util.spec_from_file_location("modeling_made_up", folder / "modeling_made_up.py")
    left = iter(answers)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: place)
    monkeypatch.setattr(mutants, "in_child", lambda work: next(left))
    monkeypatch.setattr(reference, "load", lambda *given: None)
    return list(mutants.study(_Spec(), 1, 0))


def test_a_model_that_fails_on_the_further_inputs_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = [list(range(1, 20)), [], "{}"]
    error = "ValueError: no such thing"
    assert _studied(tmp_path, monkeypatch, [whole, [], error, [], error]) == []
    assert f"made_up: left out, its own code fails on the further inputs: {error}" in capsys.readouterr().err
    (mutant,) = _studied(tmp_path, monkeypatch, [whole, [], {"1 0 logits": 1}, [], error])
    assert mutant.fate == "escaped"


def test_the_table_counts_without_the_equivalent() -> None:
    fates = ["caught", "caught", "caught by reference", "equivalent", "escaped"]
    lines = "\n".join(
        mutants.table([mutants.Mutant("m", 1, "k", "a", "b", fate, "c" * (i < 3)) for i, fate in enumerate(fates)])
    )
    assert "| m | 2 | 1 | 1 | 1 |" in lines
    assert "2 (50%) are caught without reference values, \n3 (75%) with them." in lines
