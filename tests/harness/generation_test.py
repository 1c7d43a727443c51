"""Streams of tokens: what runs along them, and which checks of sound need one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from harness import generation
from harness.cell import Cell
from harness.checks import audio


def _cell(**values: Any) -> Cell:
    return cast(Cell, SimpleNamespace(**values))


def test_sound_is_added_to_words_where_the_config_says_how_much() -> None:
    streamed, apart = (_cell(config=SimpleNamespace(**held)) for held in ({"audio_length_per_tok": 8}, {}))
    assert generation.frames_of_a_word(streamed, "input_features") == 8
    assert generation.frames_of_a_word(streamed, "attention_mask") == 0
    assert generation.frames_of_a_word(apart, "input_features") == 0


def test_a_class_that_compares_texts_with_sounds_writes_none() -> None:
    class Compares:
        def forward(self, input_ids: Any, input_features: Any, return_loss: Any = None) -> None: ...

    cell = _cell(model_class=Compares)
    assert audio._stream(cell) is None
    assert "compares" in (audio._no_decoder(cell) or "")
