"""What the exporters do for models that are not loaded is left out, so that it imports none of them."""

from __future__ import annotations

import sys
import types

import pytest
from transformers.exporters import utils

from harness.runtimes.exported import _keep_what_is_of_loaded_models

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
