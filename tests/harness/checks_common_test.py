"""Every check of `common` catches the broken model that it is there for, and the list of core checks is right."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import sys
import types
from collections.abc import Mapping
from typing import Any, cast

import pytest
import torch
from torch import nn
from transformers import LlavaConfig, PreTrainedModel

from harness import cell as cell_module
from harness import reference
from harness.cell import Cell
from harness.checking import _MARK
from harness.checks.common import _tied_config
from harness.checks.core import CORE
from harness.reference import Reference
from harness.shapes import documents_loss
from harness.spec import CATEGORIES, Spec
from harness.unused import reason_unused
from harness.verdict import CheckResult, ModelFacts, reached_level
from tests.harness.broken import (
    Break,
    assert_caught,
    attribute,
    both,
    field,
    inputs_changed,
    module_of,
    output_of,
    outputs_changed,
    replacing,
    run_check,
    shared_cell,
    spec_of,
    without,
)


def _config_loses_a_field(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = type(cell.config)
    sound = cls.from_dict.__func__

    def lossy(owner: Any, /, values: dict[str, Any], **options: Any) -> Any:
        return sound(owner, {key: value for key, value in values.items() if key != "num_hidden_layers"}, **options)

    monkeypatch.setattr(cls, "from_dict", classmethod(lossy))


def _nan_weight(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        next(iter(cell.model.parameters())).view(-1)[5] = float("nan")


def _nan_in_a_mask(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cell.model.register_buffer("kept_mask", torch.tensor([float("-inf"), 0.0, float("nan")]))


def _left_in_training_mode(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cell.model.bert.encoder.train()


def _dead_parameter(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cell.model.register_parameter("forgotten", nn.Parameter(torch.ones(3)))


def _untied(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cell.model.lm_head.weight = nn.Parameter(cell.model.lm_head.weight.detach().clone())


def _layer_passes_on(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cell.model.bert.encoder.layer[0].forward = lambda hidden_states, *args, **given: hidden_states


def _tower_passes_on(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cell.model.vision_model.encoder.layers[0].forward = lambda hidden_states, *args, **given: hidden_states


def _tied_by_hand(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cell.model.lm_head.weight = cell.model.model.embed_tokens.weight


def _running_statistic(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cell.model.bert.embeddings.LayerNorm.register_forward_hook(lambda module, *_: module.bias.data.add_(0.01))


def _forgets_a_weight_on_save(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = cell.model_class
    sound = cls.save_pretrained

    def lossy(self: Any, folder: str, **options: Any) -> None:
        state = {
            key: value for key, value in self.state_dict().items() if "encoder.layer.1.output.dense.bias" not in key
        }
        sound(self, folder, state_dict=state, **options)

    monkeypatch.setattr(cls, "save_pretrained", lossy)


def _forgets_a_tie_on_load(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = cell.model_class
    sound = cls.from_pretrained.__func__

    def lossy(owner: Any, /, *args: Any, **options: Any) -> Any:
        model, info = sound(owner, *args, **options)
        model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
        return model, info

    monkeypatch.setattr(cls, "from_pretrained", classmethod(lossy))


def _head(name: str, change: Any) -> Break:
    """Returns a break of another class of the folder; `change` gets its sound forward, itself and the arguments."""

    def apply(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
        cls = getattr(module_of()(cell), name)
        sound = cls.forward

        @functools.wraps(sound)
        def broken(self: Any, *args: Any, **given: Any) -> Any:
            return change(sound, self, given)

        broken.__signature__ = inspect.signature(sound)  # type: ignore[attr-defined]
        monkeypatch.setattr(cls, "forward", broken)

    return apply


def _head_without(name: str, argument: str) -> Break:
    return _head(name, lambda sound, self, given: sound(self, **{**given, argument: None}))


def _classifies_numbers(sound: Any, self: Any, given: dict[str, Any]) -> Any:
    self.config.problem_type = "multi_label_classification" if self.config.num_labels == 1 else None
    if self.config.num_labels == 1:
        given = {**given, "labels": given["labels"][:, None]}
    return sound(self, **given)


def _counts_ignored_labels(sound: Any, self: Any, given: dict[str, Any]) -> Any:
    labels = given.get("labels")
    return sound(self, **{**given, "labels": labels if labels is None else labels.clamp(min=0)})


def _counts_answers_cut_off(sound: Any, self: Any, given: dict[str, Any]) -> Any:
    start = given.get("start_positions")
    last = given["input_ids"].shape[1] - 1
    return sound(self, **{**given, "start_positions": start if start is None else start.clamp(max=last)})


def _last_of_the_tuple_lost(sound: Any, self: Any, given: dict[str, Any]) -> Any:
    output = sound(self, **given)
    return output[:-1] if isinstance(output, tuple) else output


def _head_ignores_labels(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    _head_without("BertForTokenClassification", "labels")(cell, monkeypatch)


def _head_gives_nan(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = module_of()(cell).BertForQuestionAnswering
    sound = cls.forward

    def broken(self: Any, *args: Any, **given: Any) -> Any:
        output = sound(self, *args, **given)
        output.start_logits[1, 2] = float("nan")
        return output

    broken.__signature__ = __import__("inspect").signature(sound)  # type: ignore[attr-defined]
    monkeypatch.setattr(cls, "forward", broken)


def _forgets_a_dropout(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: Any, hidden_states: torch.Tensor, input_tensor: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(self.dense(hidden_states) + input_tensor)

    monkeypatch.setattr(type(cell.model.bert.encoder.layer[0].output), "forward", forward)


def _forgets_to_mask_steps(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(cell.model.wav2vec2), "_mask_hidden_states", lambda self, states, *args, **given: states)


def _in_training_only(change: Any) -> Break:
    """Returns a break that changes what the encoder's layers return in training."""

    def apply(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
        cls = type(cell.model.bert.encoder.layer[0])
        sound = cls.forward

        @functools.wraps(sound)
        def forward(self: Any, *args: Any, **given: Any) -> Any:
            states = sound(self, *args, **given)
            return change(self, states) if self.training else states

        monkeypatch.setattr(cls, "forward", forward)

    return apply


def _unseeded(layer: Any, states: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator()
    generator.seed()
    kept = torch.rand(states.shape, generator=generator) >= layer.output.dropout.p
    return states * kept


def _reversed_tuple(output: Any, given: dict[str, Any]) -> Any:
    return tuple(reversed(output)) if isinstance(output, tuple) else output


def _state_between_calls(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def count(output: Any, given: dict[str, Any]) -> Any:
        calls.append(1)
        output["logits"] = output["logits"] + 1e-3 * len(calls)
        return output

    outputs_changed(count)(cell, monkeypatch)


ENCODER = "bert.encoder"
LAYER = "bert.encoder.layer.1"

# name: model, check, break, what the first line says, whether the break changes an instance
CASES: dict[str, tuple[str, str, Break, str, bool]] = {
    "config loses a field": ("bert", "config_builds", _config_loses_a_field, "'num_hidden_layers'", True),
    "NaN weight": ("bert", "model_builds", _nan_weight, "embeddings", True),
    "NaN beside the -inf of a mask": ("bert", "model_builds", _nan_in_a_mask, "kept_mask is nan at [2]", True),
    "left in training mode": ("bert", "model_builds", _left_in_training_mode, "bert.encoder", True),
    "NaN in the logits": (
        "bert",
        "forward_is_finite_with_documented_shapes",
        field("logits", lambda x: x.masked_fill(torch.arange(x.shape[1])[:, None] == 3, float("nan"))),
        "logits is nan at [0, 3, 0]",
        False,
    ),
    "one logit too few": (
        "bert",
        "forward_is_finite_with_documented_shapes",
        field("logits", lambda x: x[..., :-1]),
        "logits has shape",
        False,
    ),
    "dropout in evaluation": (
        "bert",
        "deterministic",
        output_of(ENCODER, lambda x: nn.functional.dropout(x, 0.1, training=True)),
        "when the same forward runs a second time",
        False,
    ),
    "state kept between calls": ("bert", "deterministic", _state_between_calls, "a second time", False),
    "weight forgotten on save": (
        "bert",
        "save_and_load_round_trip",
        _forgets_a_weight_on_save,
        "missing keys after save and load: bert.encoder.layer.1.output.dense.bias",
        False,
    ),
    "tie forgotten on load": (
        "gpt2",
        "save_and_load_round_trip",
        _forgets_a_tie_on_load,
        "lm_head.weight",
        False,
    ),
    "untied head": ("gpt2", "embeddings_are_tied_as_the_config_says", _untied, "lm_head.weight is separate", True),
    "head tied against the config": (
        "llama",
        "embeddings_are_tied_as_the_config_says",
        _tied_by_hand,
        "is tied, the config says tie_word_embeddings=False",
        True,
    ),
    "tied keys forgotten": (
        "llama",
        "tied_embeddings_survive_save_and_load",
        attribute(lambda cell: cell.model_class, "_tied_weights_keys", None),
        "output embedding lm_head.weight is separate, the config says tie_word_embeddings=True",
        False,
    ),
    "tied keys misspelt": (
        "llama",
        "tied_embeddings_survive_save_and_load",
        attribute(lambda cell: cell.model_class, "_tied_weights_keys", {"lm_haed.weight": "model.embed_tokens.weight"}),
        "lm_ha",
        False,
    ),
    "tied only until it is saved": (
        "llama",
        "tied_embeddings_survive_save_and_load",
        _forgets_a_tie_on_load,
        "parameters differ after save and load: lm_head.weight",
        False,
    ),
    "forgotten parameter": (
        "bert",
        "every_trainable_parameter_gets_a_finite_gradient",
        _dead_parameter,
        "no gradient reaches forgotten",
        True,
    ),
    "detached layer": (
        "bert",
        "every_trainable_parameter_gets_a_finite_gradient",
        output_of(ENCODER, lambda x: x.detach()),
        "no gradient reaches bert.embeddings",
        False,
    ),
    "dropout forgotten": (
        "bert",
        "training_drops_what_the_config_says",
        _forgets_a_dropout,
        "bert.encoder.layer.*.output.dropout changes nothing in training",
        False,
    ),
    "masked steps forgotten": (
        "wav2vec2",
        "training_drops_what_the_config_says",
        _forgets_to_mask_steps,
        "Wav2Vec2Config.mask_time_prob changes nothing in training",
        False,
    ),
    "noise that no probability turns off": (
        "bert",
        "training_drops_what_the_config_says",
        _in_training_only(lambda layer, states: nn.functional.dropout(states, 0.1)),
        "in training with each probability at zero",
        False,
    ),
    "noise without the seed": (
        "bert",
        "training_drops_what_the_config_says",
        _in_training_only(_unseeded),
        "another the second time, from the same seed",
        False,
    ),
    "loss cut off from the weights": (
        "bert",
        "a_few_steps_lower_the_loss",
        field("loss", lambda x: x.detach() + 0 * x),
        "loss does not fall",
        False,
    ),
    "labels without loss": (
        "vit",
        "a_few_steps_lower_the_loss",
        without("labels"),
        "ViTForImageClassification was given labels and gives no loss",
        False,
    ),
    "statistics over the batch": (
        "bert",
        "batching_does_not_change_a_row",
        output_of(LAYER, lambda x: x - x.mean(0, keepdim=True)),
        "of row 0 differs first at [0, 0,",
        False,
    ),
    "eager attention of another scale": (
        "bert",
        "attention_implementations_agree",
        attribute(
            module_of(),
            "eager_attention_forward",
            replacing(lambda sound: lambda module, q, k, v, mask, **given: sound(module, 1.1 * q, k, v, mask, **given)),
        ),
        "between eager and sdpa attention",
        False,
    ),
    "tuple out of order": (
        "bert",
        "output_dataclass_and_tuple_agree",
        both(
            without("return_dict"),
            outputs_changed(
                lambda output, given: (output["logits"] + 1,) if given.get("return_dict") is False else output
            ),
        ),
        "tuple element 0",
        False,
    ),
    "head without loss": (
        "bert",
        "heads_build_run_and_round_trip",
        _head_ignores_labels,
        "BertForTokenClassification: takes labels and gives no loss",
        False,
    ),
    "NaN in a head": (
        "bert",
        "heads_build_run_and_round_trip",
        _head_gives_nan,
        "BertForQuestionAnswering: start_logits is nan at [1, 2]",
        False,
    ),
    "token types ignored": (
        "bert",
        "every_input_moves_the_output",
        without("token_type_ids"),
        "token_type_ids moves no output",
        False,
    ),
    "attention mask ignored": (
        "llama",
        "every_input_moves_the_output",
        without("attention_mask"),
        "attention_mask moves no output",
        False,
    ),
    "mask kept by a head": (
        "bert",
        "heads_hand_on_what_they_are_given",
        _head_without("BertForTokenClassification", "attention_mask"),
        "BertForTokenClassification: attention_mask moves no output when it is changed",
        False,
    ),
    "cache kept by a head": (
        "bert",
        "heads_hand_on_what_they_are_given",
        _head_without("BertLMHeadModel", "past_key_values"),
        "BertLMHeadModel: the main output does not move when it is read from a cache of 12 tokens",
        False,
    ),
    "all logits of a head kept": (
        "bert",
        "heads_hand_on_what_they_are_given",
        _head("BertLMHeadModel", lambda sound, self, given: sound(self, **{**given, "logits_to_keep": 0})),
        "BertLMHeadModel: logits has shape [2, 13, ",
        False,
    ),
    "tuple of a head cut short": (
        "bert",
        "heads_hand_on_what_they_are_given",
        _head("BertForQuestionAnswering", _last_of_the_tuple_lost),
        "BertForQuestionAnswering: the tuple holds 2 tensors, the output's fields loss, start_logits, end_logits",
        False,
    ),
    "tuple without the loss": (
        "bert",
        "output_dataclass_and_tuple_agree",
        outputs_changed(lambda output, given: output[-1:] if isinstance(output, tuple) else output),
        "the tuple holds 1 tensors, the output's fields loss, logits hold 2",
        False,
    ),
    "numbers measured as classes": (
        "bert",
        "losses_are_what_the_heads_are_for",
        _head("BertForSequenceClassification", _classifies_numbers),
        "BertForSequenceClassification: loss differs first at [] by",
        False,
    ),
    "ignored labels of a head counted": (
        "bert",
        "losses_are_what_the_heads_are_for",
        _head("BertForTokenClassification", _counts_ignored_labels),
        "BertForTokenClassification: loss differs",
        False,
    ),
    "answers that were cut off counted": (
        "bert",
        "losses_are_what_the_heads_are_for",
        _head("BertForQuestionAnswering", _counts_answers_cut_off),
        "BertForQuestionAnswering: loss differs",
        False,
    ),
    "all logits kept": (
        "llama",
        "logits_to_keep_gives_the_last_logits",
        without("logits_to_keep"),
        "logits has shape [2, 13, ",
        False,
    ),
    "one logit too many kept": (
        "llama",
        "logits_to_keep_gives_the_last_logits",
        inputs_changed(lambda given: {**given, "logits_to_keep": given.get("logits_to_keep", -1) + 1}),
        "with logits_to_keep=1",
        False,
    ),
    "constant logits": (
        "bert",
        "outputs_are_alive",
        field("logits", lambda x: torch.zeros_like(x) + 3),
        "the same for different rows",
        False,
    ),
    "layer that does nothing": (
        "bert",
        "every_layer_does_something",
        _layer_passes_on,
        "hidden_states 1 equals hidden_states 0: the layer between does nothing",
        True,
    ),
    "layer of a tower that does nothing": (
        "clip",
        "every_layer_does_something",
        _tower_passes_on,
        "vision_model_output.hidden_states 1 equals",
        True,
    ),
    "hidden states not returned": (
        "llama",
        "every_layer_does_something",
        field("hidden_states", lambda x: None),
        "LlamaForCausalLM returns no hidden_states",
        False,
    ),
    "model changed by running": ("bert", "model_state_is_unchanged", _running_statistic, "LayerNorm.bias is not", True),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_broken_model_is_caught(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, check, broken, says, own = CASES[case]
    assert_caught(model, f"common::{check}", broken, says, monkeypatch, own=own)


def test_a_probability_that_is_said_to_be_unused_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    check, name = "common::training_drops_what_the_config_says", "bert.encoder.layer.*.output.dropout"
    said = Cell(dataclasses.replace(spec_of("bert"), unused_parameters={name: "nothing reads it"}))
    assert run_check(said, "common::every_trainable_parameter_gets_a_finite_gradient").outcome == "passed"
    live = run_check(said, check)
    assert live.message.startswith(f"unused_parameters {name!r} of the declaration matches a probability that acts")
    _forgets_a_dropout(said, monkeypatch)
    assert run_check(said, check).outcome == "passed"


def test_each_of_two_broken_heads_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = shared_cell("bert")
    both(_head_ignores_labels, _head_gives_nan)(cell, monkeypatch)
    result = run_check(cell, "common::heads_build_run_and_round_trip")
    assert result.message.startswith("BertForQuestionAnswering: start_logits is nan")
    assert "BertForTokenClassification fails too: takes labels and gives no loss" in result.message


def test_a_constant_that_the_first_forward_makes_need_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(spec_of("bert"))
    sound = type(cell.model).forward

    @functools.wraps(sound)
    def forward(self: Any, *args: Any, **given: Any) -> Any:
        self.register_buffer("frames", torch.ones(2), persistent=False)
        return sound(self, *args, **given)

    monkeypatch.setattr(type(cell.model), "forward", forward)
    assert run_check(cell, "common::save_and_load_round_trip").outcome == "passed"


@pytest.mark.parametrize(("model", "kept"), [("mamba", False), ("llama", None)])
def test_gradients_leave_a_recurrent_state_out(model: str, kept: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(spec_of(model))
    sound = type(cell.model).forward
    seen: list[Any] = []

    @functools.wraps(sound)
    def forward(self: Any, *args: Any, **given: Any) -> Any:
        seen.append(given.get("use_cache"))
        return sound(self, *args, **given)

    monkeypatch.setattr(type(cell.model), "forward", forward)
    assert run_check(cell, "common::every_trainable_parameter_gets_a_finite_gradient").outcome == "passed"
    assert seen == [kept]


def test_undeclared_slice_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(spec_of("bert"))
    assert run_check(cell, "common::loads_only_declared_slices").outcome == "passed"
    monkeypatch.setitem(sys.modules, "transformers.models.made_up", types.ModuleType("made_up"))
    result = run_check(cell, "common::loads_only_declared_slices")
    assert result.outcome == "failed"
    assert result.message.startswith("the run loaded made_up of transformers/models")


class _Listener:
    """A reporter that keeps all it hears of one run."""

    def __init__(self) -> None:
        self.results: dict[str, CheckResult] = {}
        self.model = ModelFacts()
        self.values: dict[str, Any] = {}

    def planned(self, checks: object) -> None: ...
    def started(self, check_id: str) -> None: ...
    def done(self) -> None: ...

    def finished(self, result: CheckResult) -> None:
        self.results[result.id] = result

    def facts(self, facts: ModelFacts) -> None:
        self.model = facts

    def observed(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)

    def device_peak(self, peak_bytes: int) -> None: ...


def _run(spec: Spec) -> _Listener:
    """Runs the whole cell of `spec`."""
    listener = _Listener()
    cell_module.run(spec, listener)
    return listener


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The reference of llama, as a run records it."""
    spec, path = spec_of("llama"), tmp_path_factory.mktemp("recorded") / "reference.json"
    run = _run(spec)
    assert run.results[reference.CHECK].outcome == "not_applicable"
    passed = [name for name, result in run.results.items() if result.outcome == "passed"]
    path.write_text(reference.to_json(spec.environment, run.model, passed, run.values))
    return reference.load(path, spec.label, spec.environment)


def test_a_sound_model_matches_its_reference(recorded: Reference) -> None:
    run = _run(dataclasses.replace(spec_of("llama"), reference=recorded))
    assert run.results[reference.CHECK].outcome == "passed"


def test_a_changed_model_that_agrees_with_itself_is_caught(
    recorded: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    forward = LlamaRMSNorm.forward
    monkeypatch.setattr(LlamaRMSNorm, "forward", lambda self, states: 1.01 * forward(self, states))
    run = _run(dataclasses.replace(spec_of("llama"), reference=recorded))
    failed = [result for result in run.results.values() if result.outcome == "failed"]
    assert [result.id for result in failed] == [reference.CHECK]
    assert failed[0].message.startswith("LlamaForCausalLM.")
    assert "if that is meant: bazel run //:record -- llama" in failed[0].message


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"parameters": 1}, "parameters, recorded are 1"),
        ({"inputs": {}}, "inputs are {'input_ids'"),
        ({"moving_inputs": ("pixel_values",)}, "pixel_values no longer moves the output"),
        ({"classes": ("LlamaGone",)}, "LlamaGone no longer runs"),
        ({"gradient_share": 1.5}, "recorded are 150.0%"),
        ({"values": {"LlamaModel.gone": {"shape": []}}}, "LlamaModel.gone is no longer an output"),
    ],
)
def test_what_the_reference_had_and_a_run_has_not_is_caught(
    recorded: Reference, changes: dict[str, Any], says: str
) -> None:
    run = _run(dataclasses.replace(spec_of("llama"), reference=dataclasses.replace(recorded, **changes)))
    assert run.results[reference.CHECK].outcome == "failed"
    assert says in run.results[reference.CHECK].message


def test_a_check_that_no_longer_applies_is_caught(recorded: Reference) -> None:
    exempt = {"decoder::causality": "it is said to be bidirectional"}
    run = _run(dataclasses.replace(spec_of("llama"), reference=recorded, not_applicable=exempt))
    assert run.results[reference.CHECK].message.startswith("decoder::causality no longer applies; it passed")


def _marked(module: str) -> dict[str, Any]:
    found = importlib.import_module(f"harness.checks.{module}")
    return {
        f"{module}::{name.removeprefix('test_')}": getattr(value, _MARK)
        for name, value in vars(found).items()
        if hasattr(value, _MARK)
    }


@pytest.mark.parametrize("category", CATEGORIES)
def test_core_checks_are_those_marked_core(category: str) -> None:
    marked = {**_marked("common"), **_marked(category)}
    listed = {name: level for level, names in CORE[category].items() for name in names}
    assert listed == {name: mark.level for name, mark in marked.items() if mark.core}


@pytest.mark.parametrize("category", CATEGORIES)
def test_level_needs_every_core_check(category: str) -> None:
    results = [
        CheckResult(id=name, level=level, core=True, outcome="passed")
        for level, names in CORE[category].items()
        for name in names
    ]
    assert reached_level(results, CORE[category]) == "reference"
    assert reached_level(results[:-1], CORE[category]) == "consistent"
    assert reached_level(results[:-2], CORE[category]) == "forward"


def test_only_the_indexer_of_sparse_attention_may_get_no_gradient() -> None:
    indexer = "model.layers.0.self_attn.indexer.wk.weight"
    assert reason_unused(Cell(spec_of("llama")), indexer) is None
    described = dataclasses.replace(
        spec_of("llama"), model_type="deepseek_v32", folder="deepseek_v32", main_class="DeepseekV32ForCausalLM"
    )
    assert reason_unused(Cell(described), indexer) is not None
    assert reason_unused(Cell(described), "model.layers.0.self_attn.q_b_proj.weight") is None


def test_a_bare_model_whose_output_has_no_loss_owes_none() -> None:
    from transformers.models.bert.modeling_bert import BertForMaskedLM, BertModel

    assert documents_loss(BertForMaskedLM)
    assert not documents_loss(BertModel)


def test_a_tied_checkpoint_says_so_of_its_text_as_well() -> None:
    config = LlavaConfig(tie_word_embeddings=False)
    tied = _tied_config(config)
    assert (tied.tie_word_embeddings, tied.text_config.tie_word_embeddings) == (True, True)
    assert (config.tie_word_embeddings, config.text_config.tie_word_embeddings) == (False, False)


def test_every_check_of_common_has_a_broken_model() -> None:
    apart = {"loads_only_declared_slices", "outputs_match_the_reference"}
    broken = {check for _, check, *_ in CASES.values()} | apart
    assert broken == {name.partition("::")[2] for name in _marked("common")}


def test_numbers_of_patches_begin_anew_in_a_row_alone() -> None:
    from harness.checks.common import _row

    pooling = torch.tensor([[0, 1], [2, -1], [4, 5], [6, -1]])
    inputs = {"input_ids": torch.zeros(2, 3), "pixel_values": torch.zeros(2, 4, 5), "image_token_pooling": pooling}
    assert _row(inputs, 2, 0)["image_token_pooling"].tolist() == [[0, 1], [2, -1]]
    assert _row(inputs, 2, 1)["image_token_pooling"].tolist() == [[0, 1], [2, -1]]


def test_hooks_that_a_call_leaves_are_taken_off_and_others_stay() -> None:
    from harness.checks.common import _HOOKED, _hooks_taken_off

    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    own = model[0].register_forward_hook(lambda module, given, output: None)
    setattr(model[0], _HOOKED, True)
    with _hooks_taken_off(cast(PreTrainedModel, model)):
        for layer in model:
            layer.register_forward_hook(lambda module, given, output: None)
            setattr(layer, _HOOKED, True)
    assert [list(layer._forward_hooks) for layer in model] == [[own.id], []]
    assert [hasattr(layer, _HOOKED) for layer in model] == [True, False]
