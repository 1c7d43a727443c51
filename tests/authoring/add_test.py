"""`add`: what the environment says of a folder, the bounded search, and the BUILD file that comes of it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import pytest

from authoring import add, propose, search
from harness import shrink
from harness.build import config_class, default_config
from harness.spec import Spec

ENVIRONMENT = "transformers-5.23"
FOLDERS = {
    "llama": ("decoder", "LlamaForCausalLM", "text-generation"),
    "bert": ("encoder", "BertForMaskedLM", "fill-mask"),
    "t5": ("encoder_decoder", "T5ForConditionalGeneration", "text2text-generation"),
    "vit": ("vision", "ViTForImageClassification", "image-classification"),
    "clip": ("multimodal", "CLIPModel", "zero-shot-image-classification"),
    "whisper": ("audio", "WhisperForConditionalGeneration", "automatic-speech-recognition"),
}
INVENTORY: Mapping[str, Any] = {
    **{folder: {"classes": [main]} for folder, (_, main, _) in FOLDERS.items()},
    "byt5": {"classes": []},
}


def proposal_of(folder: str) -> propose.Proposal:
    """Returns the proposal for a folder."""
    found = propose.propose(folder, add.classes_of(folder, INVENTORY, ENVIRONMENT))
    assert found is not None
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_environment_says_what_a_folder_is(folder: str) -> None:
    found = proposal_of(folder)
    assert (found.category, found.main_class, found.task) == FOLDERS[folder]


def test_what_cannot_be_added_is_said() -> None:
    with pytest.raises(add.CannotAdd, match="no model folder 'lama'; did you mean 'llama'"):
        add.classes_of("lama", INVENTORY, ENVIRONMENT)
    with pytest.raises(add.CannotAdd, match="only a tokenizer or processor"):
        add.classes_of("byt5", INVENTORY, ENVIRONMENT)


def sample() -> tuple[Spec, Any]:
    """Returns llama's proposed spec and its default config."""
    spec = add._spec(proposal_of("llama"), INVENTORY, ENVIRONMENT)
    return spec, default_config(config_class(spec), {})


def test_a_search_stops_at_the_first_attempt_that_runs() -> None:
    def run(spec: Spec) -> None:
        if spec.config.get("num_hidden_layers") != 3:
            raise ValueError("too few layers")

    spec, full = sample()
    tried = list(search.search(spec, full, run))
    assert [attempt.error for attempt in tried] == ["ValueError: too few layers", ""]
    assert tried[-1].config == {"num_hidden_layers": 3}


@pytest.mark.parametrize(("code", "says"), [(0, "ended with status 0"), (7, "ended with status 1792")])
def test_a_search_is_bounded_and_survives_its_attempts(code: int, says: str) -> None:
    spec, full = sample()
    tried = list(search.search(spec, full, lambda _: os._exit(code)))
    assert 1 < len(tried) <= search.MOST_ATTEMPTS
    assert all(says in attempt.error for attempt in tried)


def test_attempts_set_only_fields_that_the_config_has() -> None:
    _, full = sample()
    known = shrink.field_values(full)
    for attempt in search.candidates(full):
        assert set(attempt.config) <= set(known)


def test_the_build_file_declares_what_was_found() -> None:
    found = search.Attempt({"vision_config": {"image_size": 96}, "hidden_size": 64}, {"sequence_length": 32})
    text = add.render(dataclasses.replace(proposal_of("clip"), name="clip_like"), "low", found)
    declared: dict[str, Any] = {}
    names = {"load": lambda *_: None, "hf_model": lambda **values: declared.update(values)}
    exec(text, names)  # noqa: S102 - a BUILD file is Python enough
    assert declared == {
        "name": "clip_like",
        "checkpoint": "openai/clip-vit-base-patch32",
        "config": {"vision_config": {"image_size": 96}, "hidden_size": 64},
        "inputs": {"sequence_length": 32},
        "main_class": "CLIPModel",
        "model_type": "clip",
        "task": "zero-shot-image-classification",
        "tier": "low",
    }


def test_a_folder_is_added_whole() -> None:
    proposal, text = add.add("llama", INVENTORY, None, "high", ENVIRONMENT)
    assert proposal.name == "llama"
    assert 'main_class = "LlamaForCausalLM"' in text
    assert "config" not in text
