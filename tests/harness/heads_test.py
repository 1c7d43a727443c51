"""What single classes of a folder need by themselves: a declaration's `heads`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput

from harness import build, generation, shapes, shrink
from harness import cell as cells
from harness.checks import common
from harness.spec import SpecError
from tests.harness import made_up
from tests.harness.broken import run_check, spec_of
from tests.harness.made_up import MadeUpClassifier, MadeUpForCausalLM


@pytest.fixture(autouse=True)
def made_up_folder() -> Iterator[None]:
    """The made-up model is a folder of transformers."""
    with made_up.folder():
        yield


def cell_with(head: dict[str, Any], **changes: Any) -> cells.Cell:
    """Returns a cell of the made-up model whose second class needs something by itself."""
    return cells.Cell(made_up.spec(heads={"MadeUpClassifier": head}, **changes))


def test_a_head_has_values_of_its_own_over_the_declared_ones() -> None:
    cell = cell_with({"config": {"hidden_size": 48}}, config={"hidden_size": 32, "intermediate_size": 40})
    config = cell.config_for(MadeUpClassifier)
    assert (config.hidden_size, config.intermediate_size) == (48, 40)
    assert cell.config_for(MadeUpForCausalLM).hidden_size == 32
    assert cell.fresh_model(cls=MadeUpClassifier).embed.weight.shape[1] == 48


def test_a_nested_value_leaves_its_neighbours_alone() -> None:
    both = build._over({"text": {"width": 1, "depth": 2}, "size": 3}, {"text": {"width": 4}})
    assert both == {"text": {"width": 4, "depth": 2}, "size": 3}


def test_a_key_of_a_head_that_is_no_field_names_the_nearest() -> None:
    cell = cell_with({"config": {"hiden_size": 48}})
    with pytest.raises(SpecError, match=r"'hiden_size' is not a field of .*did you mean 'hidden_size'"):
        cell.config_for(MadeUpClassifier)


def test_what_models_read_from_a_part_of_a_config_is_a_field_of_it(tmp_path: Path) -> None:
    module = ModuleType("modeling")
    module.__file__ = str(tmp_path / "modeling.py")
    Path(module.__file__).write_text("width = config.vision_config.model_args['width'] + getattr(config, 'depth')\n")
    assert build._read_names(module) == ["depth", "model_args", "vision_config"]


def test_a_model_without_a_method_for_videos_counts_their_frames_as_pictures() -> None:
    model = cells.Cell(made_up.spec()).model
    object.__setattr__(model, "get_image_features", lambda pixel_values: pixel_values.flatten(0, 1))
    video = {"pixel_values_videos": torch.zeros(2, 4, 7, 16)}
    assert build.count_features(model, "video", video, 2) == 4 * 7


def test_a_head_has_inputs_of_its_own() -> None:
    cell = cell_with({"inputs": {"attention_mask": None, "sequence_length": 5}})
    assert list(cell.make_inputs(cls=MadeUpClassifier)) == ["input_ids"]
    assert cell.make_inputs(cls=MadeUpClassifier)["input_ids"].shape == (2, 5)
    assert cell.inputs["input_ids"].shape == cell.inputs["attention_mask"].shape == (2, 13)


def test_a_class_without_forward_runs_the_method_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(self: Any, input_ids: torch.Tensor) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=self.embed(input_ids))

    monkeypatch.setattr(MadeUpClassifier, "forward", torch.nn.Module.forward, raising=False)
    monkeypatch.setattr(MadeUpClassifier, "encode", encode, raising=False)
    cell = cell_with({"runs": "encode"})
    assert cell.heads() == [MadeUpForCausalLM, MadeUpClassifier]
    outputs = cell.forward(cell.fresh_model(cls=MadeUpClassifier), cell.make_inputs(cls=MadeUpClassifier))
    assert list(outputs) == ["last_hidden_state"]


def test_a_part_of_a_container_may_return_a_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    class Part(MadeUpForCausalLM):
        def forward(self, input_ids: torch.Tensor, **given: Any) -> torch.Tensor:  # type: ignore[override]
            states: torch.Tensor = self.embed(input_ids)
            return states

    class Container(made_up.MadeUpPreTrainedModel):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.vocoder = Part(config)
            self.post_init()

    cell = cells.Cell(made_up.spec())
    outputs = cell.forward(cell.fresh_model(cls=Container), cell.make_inputs(cls=Container))
    assert list(cell.tensors(outputs)) == ["vocoder.output"]


def test_a_head_is_made_and_loaded_with_the_arguments_of_its_own() -> None:
    class Block(MadeUpForCausalLM):
        """A layer that is told its number."""

        def __init__(self, config: Any, number: int) -> None:
            super().__init__(config)
            self.numbered = torch.nn.Parameter(torch.ones(number))

    cell = cells.Cell(made_up.spec(heads={"Block": {"arguments": {"number": 3}}}))
    model = cell.fresh_model(cls=Block)
    assert model.numbered.shape == (3,)
    common._round_trip(cell, model)
    with pytest.raises(TypeError, match="number"):
        cells.Cell(made_up.spec()).fresh_model(cls=Block)


def test_projections_are_no_stack_of_layers() -> None:
    model = torch.nn.Module()
    model.layers = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.Linear(2, 2)) for _ in range(2)])
    model.projections = torch.nn.ModuleList([torch.nn.Linear(2, 2) for _ in range(3)])
    assert list(generation.text_layers(model)) == ["layers"]


def test_a_head_that_the_folder_does_not_have_is_an_error() -> None:
    cell = cells.Cell(dataclasses.replace(spec_of("bert"), heads={"BertForNothing": {"config": {"hidden_size": 32}}}))
    result = run_check(cell, "common::heads_build_run_and_round_trip")
    assert result.message.startswith("heads names BertForNothing, the folder's public classes are ")


def test_inputs_that_do_not_fit_a_head_are_caught() -> None:
    head = {"BertForTokenClassification": {"inputs": {"token_type_ids": {"kind": "mask", "shape": ["batch", 7]}}}}
    result = run_check(
        cells.Cell(dataclasses.replace(spec_of("bert"), heads=head)), "common::heads_build_run_and_round_trip"
    )
    assert result.message.startswith("BertForTokenClassification: ")


def test_labels_that_are_an_input_of_a_part_are_no_labels() -> None:
    class ReadingOrder(MadeUpForCausalLM):
        """A part: its labels say what each box is."""

    described = {"inputs": {"labels": {"kind": "integers", "shape": ["batch", 5]}}}
    spec = made_up.spec(heads={"ReadingOrder": described, "MadeUpForCausalLM": described})
    cell = cells.Cell(spec)
    assert "what it calls labels is an input" in str(common._no_loss(cell, ReadingOrder))
    assert common._no_loss(cell, MadeUpForCausalLM) is None


def test_a_place_that_holds_a_vector_gets_no_logit() -> None:
    config = shrink.shrink(made_up.TextConfig(vocab_size=160))
    inputs = {"input_ids": torch.zeros(2, 13, dtype=torch.long), "backbone_last_hidden_state": torch.zeros(2, 96)}
    assert shapes.documented_shapes("CsmDepthDecoderForCausalLM", config, inputs)["logits"] == (2, 12, 160)


def test_a_head_without_loss_is_caught_though_it_has_inputs_of_its_own() -> None:
    cell = cell_with({"inputs": {"sequence_length": 5}})
    assert CausalLMOutput is type(cell.forward(cell.fresh_model(cls=MadeUpClassifier), cell.make_inputs()))
    with pytest.raises(AssertionError, match="takes labels and gives no loss"):
        common._exercise_head(cell, MadeUpClassifier, cell.fresh_model(cls=MadeUpClassifier))
