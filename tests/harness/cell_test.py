"""The cell: what it makes when asked, what it says of outputs, and which modules it blames a model for."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel

from harness import build, scan
from harness import cell as cells
from harness.reporter import HarnessFault
from harness.runtimes import adapter
from harness.spec import Backend, Tolerance
from tests.harness import made_up


@pytest.fixture(name="cell")
def _cell() -> Iterator[cells.Cell]:
    """A cell of the made-up model."""
    with made_up.folder():
        yield cells.Cell(made_up.spec())


def test_the_model_runs_on_its_inputs(cell: cells.Cell) -> None:
    outputs = cell.forward()
    assert cell.primary(outputs).shape == (2, cell.inputs["input_ids"].shape[1], cell.config.vocab_size)
    assert not cell.model.training


def test_a_fresh_model_of_the_same_seed_gives_equal_outputs(cell: cells.Cell) -> None:
    again = cell.forward(model=cell.fresh_model())
    assert torch.equal(cell.primary(again), cell.primary(cell.forward()))
    other = cell.forward(model=cell.fresh_model(seed=3))
    assert not torch.equal(cell.primary(other), cell.primary(again))


def test_heads_start_with_the_main_class(cell: cells.Cell) -> None:
    assert [cls.__name__ for cls in cell.heads()] == ["MadeUpForCausalLM", "MadeUpClassifier"]


def test_tensors_are_named_by_path_and_caches_left_out(cell: cells.Cell) -> None:
    one = torch.ones(1)
    outputs = CausalLMOutputWithPast(logits=one, past_key_values=((one, one),), hidden_states=(one, one))
    assert list(cell.tensors(outputs)) == ["logits", "hidden_states.0", "hidden_states.1"]
    assert list(cell.tensors({"last_hidden_state": one, "ids": torch.ones(1, dtype=torch.long)})) == [
        "last_hidden_state"
    ]


def test_the_primary_output_is_what_the_class_is_for(cell: cells.Cell) -> None:
    one, two = torch.ones(1), torch.ones(2)
    assert cell.primary({"loss": one, "last_hidden_state": one, "logits": two}) is two
    assert cell.primary({"loss": one, "anything": two}) is two
    with pytest.raises(AssertionError, match="returned no floating tensor"):
        cell.primary({"ids": torch.ones(1, dtype=torch.long)})


def test_facts_say_what_was_run(cell: cells.Cell) -> None:
    assert cell.facts().parameters == 0
    cell.forward()
    facts = cell.facts()
    assert facts.parameters == sum(parameter.numel() for parameter in cell.model.parameters())
    assert facts.inputs["input_ids"] == f"int64[2, {cell.inputs['input_ids'].shape[1]}]"
    assert facts.classes == ("MadeUpForCausalLM",)


def test_a_slice_loaded_later_and_not_declared_is_named(cell: cells.Cell) -> None:
    name = "transformers.models.stowaway.modeling_stowaway"
    sys.modules[name] = types.ModuleType(name)
    try:
        assert cell.undeclared_slices() == ["stowaway"]
    finally:
        del sys.modules[name]


def test_configurations_of_the_core_are_nobodys_slice(cell: cells.Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("transformers.models.encoder_decoder")]:
        monkeypatch.delitem(sys.modules, name)
    package = "transformers.models.encoder_decoder"
    monkeypatch.setitem(sys.modules, f"{package}.configuration_encoder_decoder", types.ModuleType("c"))
    assert cell.undeclared_slices() == []
    monkeypatch.setitem(sys.modules, f"{package}.modeling_encoder_decoder", types.ModuleType("m"))
    assert cell.undeclared_slices() == ["encoder_decoder"]


def test_the_configurations_of_the_core_are_those_that_auto_imports() -> None:
    import transformers

    package = Path(str(transformers.__file__)).parent
    assert frozenset(scan.scan_folder(package, "auto").reaches) == cells.CORE_CONFIGS


class _Part(made_up.MadeUpForCausalLM):
    """A part of a container."""


class _Container(made_up.MadeUpPreTrainedModel):
    """Holds two models and has no forward."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.first = _Part(config)
        self.second = _Part(config)
        self.post_init()


def test_a_container_runs_through_its_parts(cell: cells.Cell) -> None:
    model = cell.fresh_model(cls=_Container)
    assert build.is_container(_Container)
    inputs = cell.make_inputs(cls=_Container)
    assert [name for name in inputs if name.endswith("input_ids")] == ["first.input_ids", "second.input_ids"]
    outputs = cell.tensors(cell.forward(model=model, inputs=inputs))
    assert list(outputs) == ["first.logits", "second.logits"]


def test_a_model_that_is_there_counts_its_own_placeholders(cell: cells.Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[PreTrainedModel] = []

    def count(model: PreTrainedModel, *_: Any) -> int:
        asked.append(model)
        return 1

    monkeypatch.setattr(build, "count_features", count)
    head = cell.fresh_model(cls=made_up.MadeUpClassifier)
    cell._features(made_up.MadeUpClassifier, head, 2)("image", {})
    cell._features(made_up.MadeUpForCausalLM, None, 2)("image", {})
    assert asked == [head, cell.model]


def test_a_class_with_a_forward_is_no_container() -> None:
    assert not build.is_container(made_up.MadeUpForCausalLM)
    assert issubclass(made_up.MadeUpForCausalLM, PreTrainedModel)


def test_a_category_without_checks_is_the_harness_fault() -> None:
    with pytest.raises(HarnessFault, match="checks of category 'poetry'"):
        cells.check_files("poetry")


def test_an_unknown_runtime_is_the_harness_fault() -> None:
    with pytest.raises(HarnessFault, match="names runtime 'steam'"):
        adapter(Backend("cpu_steam", "cpu", "steam", "float32", Tolerance(1e-4, 1e-5)))


def test_an_absent_device_is_the_harness_fault() -> None:
    with pytest.raises(HarnessFault, match="no PyTorch device 'abacus'"):
        adapter(Backend("abacus", "abacus", "eager", "float32", Tolerance(1e-4, 1e-5)))


def test_inputs_are_placed_in_the_backends_dtype() -> None:
    runtime = adapter(Backend("cpu_bf16", "cpu", "eager", "bfloat16", Tolerance(1e-2, 1e-2)))
    assert runtime.place(torch.ones(1)).dtype == torch.bfloat16
    assert runtime.place(torch.ones(1, dtype=torch.long)).dtype == torch.long
