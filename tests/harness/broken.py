"""Real models, built tiny, to be broken on purpose: what runs one check over one, and the usual ways to break one."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness import checking
from harness import checks as checks_package
from harness.cell import Cell, pytest_arguments
from harness.checking import CheckPlugin
from harness.reporter import PlannedCheck
from harness.spec import Backend, Limits, Spec, Tolerance
from harness.verdict import CheckResult, ModelFacts

Break = Callable[[Cell, pytest.MonkeyPatch], None]

# name: category, model type, folder, main class
MODELS = {
    "bert": ("encoder", "bert", "bert", "BertForMaskedLM"),
    "bert_classifier": ("encoder", "bert", "bert", "BertForSequenceClassification"),
    "llama": ("decoder", "llama", "llama", "LlamaForCausalLM"),
    "mixtral": ("decoder", "mixtral", "mixtral", "MixtralForCausalLM"),
    "gpt2": ("decoder", "gpt2", "gpt2", "GPT2LMHeadModel"),
    "bart": ("encoder_decoder", "bart", "bart", "BartForConditionalGeneration"),
    "vit": ("vision", "vit", "vit", "ViTForImageClassification"),
    "clip": ("multimodal", "clip", "clip", "CLIPModel"),
    "llava": ("multimodal", "llava", "llava", "LlavaForConditionalGeneration"),
    "glm_ocr": ("multimodal", "glm_ocr", "glm_ocr", "GlmOcrForConditionalGeneration"),
    "molmo2": ("multimodal", "molmo2", "molmo2", "Molmo2ForConditionalGeneration"),
    "evolla": ("multimodal", "evolla", "evolla", "EvollaForProteinText2Text"),
    "mamba": ("decoder", "mamba", "mamba", "MambaForCausalLM"),
    "trocr": ("decoder", "trocr", "trocr", "TrOCRForCausalLM"),
    "mbart": ("encoder_decoder", "mbart", "mbart", "MBartForConditionalGeneration"),
    "wav2vec2": ("audio", "wav2vec2", "wav2vec2", "Wav2Vec2ForCTC"),
    "speech_to_text": ("audio", "speech_to_text", "speech_to_text", "Speech2TextForConditionalGeneration"),
    "bark": ("audio", "bark", "bark", "BarkModel"),
    "audioflamingo3": ("audio", "audioflamingo3", "audioflamingo3", "AudioFlamingo3ForConditionalGeneration"),
    "moshi": ("audio", "moshi", "moshi", "MoshiForConditionalGeneration"),
    "encodec": ("audio", "encodec", "encodec", "EncodecModel"),
    "patchtst": ("time_series", "patchtst", "patchtst", "PatchTSTForPrediction"),
    "time_series_transformer": (
        "time_series",
        "time_series_transformer",
        "time_series_transformer",
        "TimeSeriesTransformerForPrediction",
    ),
    "decision_transformer": (
        "decision",
        "decision_transformer",
        "decision_transformer",
        "DecisionTransformerModel",
    ),
    "voxtral_realtime": (
        "audio",
        "voxtral_realtime",
        "voxtral_realtime",
        "VoxtralRealtimeForConditionalGeneration",
    ),
}

CONFIGS: dict[str, dict[str, Any]] = {
    "molmo2": {
        "adapter_config": {"text_hidden_size": 128, "vision_feature_layer": [1, 0]},
        "vision_config": {"image_size": [32, 32], "num_position_embeddings": 16, "patch_size": 8},
    },
    "moshi": {
        "audio_vocab_size": 64,
        "depth_decoder_config": {"audio_vocab_size": 64, "sliding_window": 9},
        "sliding_window": 128,
    },
    "time_series_transformer": {
        "context_length": 16,
        "num_time_features": 2,
        "prediction_length": 6,
        "scaling": "std",
    },
}

INPUTS: dict[str, dict[str, Any]] = {
    "bark": {"labels": None},
    "trocr": {"encoder_hidden_states": {"kind": "noise", "shape": ["batch", 5, 64]}},
    "glm_ocr": {"pixel_values_videos": None, "video_grid_thw": None},
    "molmo2": {"pixel_values_videos": None, "video_grids": None, "video_token_pooling": None},
    "voxtral_realtime": {"input_features": {"kind": "noise", "shape": ["batch", 128, 104]}},
    "evolla": {
        "protein_attention_mask": {"kind": "mask", "shape": ["batch", 7]},
        "protein_input_ids": {"high": 20, "kind": "integers", "low": 5, "shape": ["batch", 7]},
    },
}


def spec_of(name: str) -> Spec:
    """Returns the spec of one of `MODELS` on `cpu`, with the tolerance of `toolchains/backends.bzl`."""
    category, model_type, folder, main_class = MODELS[name]
    return Spec(
        label=f"//models/{category}/{name}:cpu",
        name=name,
        category=category,
        tier="high",
        task="test",
        environment="transformers-5.23",
        model_type=model_type,
        folder=folder,
        main_class=main_class,
        checkpoint="",
        config=CONFIGS.get(name, {}),
        inputs=INPUTS.get(name, {}),
        limits=Limits(60, 600, 4096),
        backend=Backend("cpu", "cpu", "eager", "float32", Tolerance(rtol=1e-4, atol=1e-5)),
        known_failures=(),
        not_applicable={},
        heads={},
        unexercised_classes={},
        unused_parameters={},
        slices=(folder, "clip", "llama", "encodec"),
        epoch="",
    )


@functools.cache
def shared_cell(name: str) -> Cell:
    """Returns a cell that tests share: break its classes and modules by `monkeypatch` only."""
    return Cell(spec_of(name))


class _Results:
    """A reporter that keeps the results."""

    def __init__(self) -> None:
        self.results: list[CheckResult] = []

    def planned(self, checks: Sequence[PlannedCheck]) -> None: ...
    def started(self, check_id: str) -> None: ...
    def finished(self, result: CheckResult) -> None:
        self.results.append(result)

    def facts(self, facts: ModelFacts) -> None: ...
    def observed(self, values: Mapping[str, Any]) -> None: ...
    def device_peak(self, peak_bytes: int) -> None: ...
    def done(self) -> None: ...


def run_check(cell: Cell, check_id: str) -> CheckResult:
    """Returns what one check finds in a cell, run by the real plugin with its fixtures and its `unless`.

    A check that runs last runs behind two others, which give it something to find.
    """
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    module, _, name = check_id.partition("::")
    file = Path(str(checks_package.__path__[0])) / f"{module}.py"
    before = ("model_builds", "deterministic") if name == "model_state_is_unchanged" else ()
    results = _Results()
    files = [Path(f"{file}::test_{each}") for each in (*before, name)]
    pytest.main(pytest_arguments(files, quiet=True), plugins=[CheckPlugin(cell, results)])
    assert results.results and results.results[-1].id == check_id, f"{check_id} is no check"
    return results.results[-1]


@functools.cache
def healthy(name: str, check_id: str) -> CheckResult:
    """Returns what a check finds in the model as it is."""
    return run_check(shared_cell(name), check_id)


def inputs_changed(change: Callable[[dict[str, Any]], dict[str, Any]], path: str = "") -> Break:
    """Returns a break that changes the arguments of `forward` of the main class, or of the class of a submodule."""
    return _wrapped(lambda forward, self, args, given: forward(self, *args, **change(given)), path)


def outputs_changed(change: Callable[[Any, dict[str, Any]], Any], path: str = "") -> Break:
    """Returns a break that changes what `forward` returns; `change` sees the output and the arguments."""
    return _wrapped(lambda forward, self, args, given: change(forward(self, *args, **given), given), path)


def _wrapped(call: Callable[..., Any], path: str) -> Break:
    def apply(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
        cls: type[nn.Module] = type(cell.model.get_submodule(path))
        forward = cls.forward

        @functools.wraps(forward)
        def broken(self: Any, *args: Any, **given: Any) -> Any:
            return call(forward, self, args, given)

        monkeypatch.setattr(cls, "forward", broken)

    return apply


def without(*names: str, path: str = "") -> Break:
    """Returns a break that ignores arguments of `forward`."""
    return inputs_changed(lambda given: {key: value for key, value in given.items() if key not in names}, path)


def output_of(path: str, change: Callable[[Tensor], Tensor]) -> Break:
    """Returns a break that changes the (first) tensor that a submodule's class returns."""

    def changed(output: Any, given: dict[str, Any]) -> Any:
        if isinstance(output, Tensor):
            return change(output)
        if isinstance(output, dict):
            first = next(iter(output))
            output[first] = change(output[first])
            return output
        return (change(output[0]), *output[1:])

    return outputs_changed(changed, path)


def field(name: str, change: Callable[[Tensor], Any]) -> Break:
    """Returns a break that changes one field of the main output."""

    def changed(output: Any, given: dict[str, Any]) -> Any:
        if not isinstance(output, tuple) and output.get(name) is not None:
            output[name] = change(output[name])
        return output

    return outputs_changed(changed)


def attribute(owner: Callable[[Cell], Any], name: str, value: Any) -> Break:
    """Returns a break that replaces an attribute of what `owner` finds: a function of a module, a method of a class.

    A `value` that takes the old attribute (marked by `replacing`) is called with it.
    """

    def apply(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
        found = owner(cell)
        new = value(getattr(found, name)) if getattr(value, "_replacing", False) else value
        monkeypatch.setattr(found, name, new)

    return apply


def replacing(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Marks a function that makes the broken attribute from the sound one."""
    make._replacing = True  # type: ignore[attr-defined]
    return make


def module_of(path: str = "") -> Callable[[Cell], Any]:
    """Returns a finder of the Python module that defines a submodule's class."""

    def find(cell: Cell) -> Any:
        import sys

        return sys.modules[type(cell.model.get_submodule(path)).__module__]

    return find


def both(*breaks: Break) -> Break:
    """Returns several breaks as one."""

    def apply(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
        for one in breaks:
            one(cell, monkeypatch)

    return apply


def zeroed(path: str) -> Break:
    """Returns a break of one instance: a parameter set to zero. For a cell of its own."""

    def apply(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
        with torch.no_grad():
            cell.model.get_parameter(path).zero_()

    return apply


def assert_caught(
    model: str, check_id: str, broken: Break, says: str, monkeypatch: pytest.MonkeyPatch, *, own: bool
) -> None:
    """Asserts that a check passes the sound model, fails the broken one, and says where in its first line."""
    sound = healthy(model, check_id)
    assert sound.outcome == "passed", f"the sound {model}: {sound.outcome} {sound.message}"
    cell = Cell(spec_of(model)) if own else shared_cell(model)
    broken(cell, monkeypatch)
    result = run_check(cell, check_id)
    assert result.outcome == "failed", f"{check_id} does not catch it"
    first = result.message.partition("\n")[0]
    assert says in first, f"first line: {first}"


def checks_of(module: str) -> set[str]:
    """Returns the ids of the checks that a module of `harness/checks` defines."""
    found = importlib.import_module(f"harness.checks.{module}")
    return {
        f"{module}::{name.removeprefix('test_')}"
        for name, value in vars(found).items()
        if hasattr(value, checking._MARK)
    }
