"""What exported programs are made for, when one serves again, and that no model is imported for their sake."""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch.export import Dim
from transformers.exporters import utils

from harness.runtimes import Prepared
from harness.runtimes.exported import Exported, _keep_what_is_of_loaded_models, _shapes

SOUND = ("input_features", "input_features_mask")
"""The inputs by which the exporters take a model for Qwen3-ASR, whose module they then import."""


@pytest.mark.parametrize("loaded", [False, True])
def test_a_preparer_that_imports_a_model_is_kept_where_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch, loaded: bool
) -> None:
    for name in ("_PATCHES", "_EXPORT_INPUT_PREPARERS"):
        for key, value in getattr(utils, name).items():
            monkeypatch.setitem(getattr(utils, name), key, value)
    if loaded:
        monkeypatch.setitem(sys.modules, "transformers.models.qwen3_asr", types.ModuleType("qwen3_asr"))
    before = set(utils._EXPORT_INPUT_PREPARERS)
    assert SOUND in before
    _keep_what_is_of_loaded_models()
    assert before - set(utils._EXPORT_INPUT_PREPARERS) == (set() if loaded else {SOUND})


def test_the_sizes_that_the_second_inputs_change_are_dynamic_and_no_others() -> None:
    first = {"pixels": torch.ones(2, 3, 8), "grid": [torch.ones(4)], "patches": (torch.ones(2, 5),), "count": 3}
    second = {"pixels": torch.ones(3, 3, 8), "grid": [torch.ones(6)], "patches": (torch.ones(2, 5),), "count": 3}
    found = _shapes(first, second)
    assert found == {"pixels": {0: Dim.AUTO}, "grid": [{0: Dim.AUTO}], "patches": ({},), "count": None}


@pytest.mark.parametrize("second", [[torch.ones(2), torch.ones(2)], torch.ones(2), None])
def test_what_is_of_another_kind_is_dynamic_throughout(second: Any) -> None:
    assert _shapes([torch.ones(4)], second) == [{0: Dim.AUTO}]
    assert _shapes(torch.ones(4), torch.ones(2, 2)) == {0: Dim.AUTO}


class _Config:
    """Of an export."""

    def __init__(self, dynamic: bool, dynamic_shapes: Any) -> None:
        self.dynamic_shapes = dynamic_shapes


class _Exporter:
    """Exports nothing, and keeps what it was asked for."""

    config_class = _Config
    program_suffix = ".txt"
    asked: ClassVar[list[tuple[Mapping[str, Any], Any]]] = []

    def export_program(self, _model: Any, inputs: Mapping[str, Any], config: _Config) -> tuple[Any, None]:
        """Returns how many were asked for before."""
        self.asked.append((inputs, config.dynamic_shapes))
        return str(len(self.asked)), None

    @staticmethod
    def save_program(program: str, path: Path) -> None:
        """Writes the text that stands for a program."""
        path.write_text(program, encoding="utf-8")

    @staticmethod
    def load_program(path: Path) -> str:
        """Reads it back."""
        return path.read_text(encoding="utf-8")


class _Program:
    """Answers with its number and the inputs that it was given."""

    def __init__(self, number: str) -> None:
        self._number = number

    def __call__(self, **inputs: Any) -> tuple[str, dict[str, Any]]:
        """Returns both."""
        return self._number, inputs


class _Numbered(Exported):
    """Programs that are numbers."""

    exporter: Any = _Exporter

    def open(self, program: Any, metadata: Any) -> _Program:
        """Returns the program."""
        return _Program(program)

    def nodes(self, program: Any) -> int:
        """Returns one."""
        return 1


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> _Numbered:
    monkeypatch.setattr("harness.runtimes.exported._keep_what_is_of_loaded_models", lambda: None)
    monkeypatch.setattr(_Exporter, "asked", [])
    return _Numbered(torch.device("cpu"), torch.float32)


def _model() -> Any:
    model = torch.nn.Linear(2, 2)
    model.config = types.SimpleNamespace(use_cache=True)
    return model


def _tokens(rows: int, length: int) -> torch.Tensor:
    return torch.ones(rows, length, dtype=torch.int64)


def _prepare(runtime: _Numbered, model: Any) -> Prepared:
    return runtime.prepare(model, {"input_ids": _tokens(2, 13)}, {"input_ids": _tokens(2, 17)})


def test_a_prefill_is_served_by_the_program_of_the_forward(runtime: _Numbered) -> None:
    model = _model()
    first = _prepare(runtime, model)
    assert _Exporter.asked[0][1] == {"input_ids": {1: Dim.AUTO}}
    again = runtime.prepare(model, {"input_ids": _tokens(2, 12), "use_cache": True, "past_key_values": None})
    assert again is first
    number, given = again(input_ids=_tokens(2, 12), use_cache=True, past_key_values=None)
    assert (number, list(given)) == ("1", ["input_ids"])


@pytest.mark.parametrize(
    "inputs",
    [
        {"input_ids": _tokens(3, 13)},  # the rows are what they were traced with
        {"input_ids": _tokens(2, 13)[None]},
        {"input_ids": _tokens(2, 13), "use_cache": False},
        {"input_ids": _tokens(2, 13), "attention_mask": _tokens(2, 13)},
        {"input_ids": _tokens(2, 1), "past_key_values": [torch.ones(2)]},
    ],
)
def test_other_inputs_get_a_program_of_their_own(runtime: _Numbered, inputs: Mapping[str, Any]) -> None:
    model = _model()
    first = _prepare(runtime, model)
    assert runtime.prepare(model, inputs) is not first
    assert _Exporter.asked[1][1] is None  # any size of it may change


def test_another_model_gets_a_program_of_its_own(runtime: _Numbered) -> None:
    assert _prepare(runtime, _model()) is not _prepare(runtime, _model())


def test_a_count_is_given_as_a_number(runtime: _Numbered) -> None:
    prepared = runtime.prepare(_model(), {"x": torch.ones(2, 2), "sample": torch.tensor(0), "scale": torch.tensor(0.5)})
    (asked, _), *_ = _Exporter.asked
    assert asked["sample"] == 0 and isinstance(asked["sample"], int)
    assert isinstance(asked["scale"], torch.Tensor)
    assert isinstance(prepared(x=torch.ones(2, 2), sample=torch.tensor(False))[1]["sample"], bool)
