"""Streams of tokens: what runs along them, and which checks of sound need one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import torch

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


def test_a_frame_of_each_codebook_is_added_to_a_word() -> None:
    assert generation.frames_of_a_word(_cell(config=SimpleNamespace()), "user_audio_codes") == 1


def test_in_streams_of_codes_a_frame_is_changed_for_that_of_another_row() -> None:
    codes = torch.arange(24).reshape(2, 3, 4)
    after = generation.with_token(_cell(config=SimpleNamespace()), codes, 1)
    assert torch.equal(after[:, 1], codes[:, 1].flip(0))
    assert torch.equal(after[:, ::2], codes[:, ::2])


def test_a_frame_is_plain_where_none_of_its_codes_has_a_meaning() -> None:
    cell = _cell(config=SimpleNamespace(pad_token_id=3))
    assert generation.plain_positions(cell, torch.tensor([[1, 2], [1, 3], [3, 3], [4, 5]])) == [0, 3]


def test_a_class_that_compares_texts_with_sounds_writes_none() -> None:
    class Compares:
        def forward(self, input_ids: Any, input_features: Any, return_loss: Any = None) -> None: ...

    cell = _cell(model_class=Compares)
    assert audio._stream(cell) is None
    assert "compares" in (audio._no_decoder(cell) or "")


def test_a_class_that_speaks_writes_after_its_words_and_one_that_decodes_spectrograms_does_not() -> None:
    class Speaks:
        def forward(self, input_ids: Any, past_key_values: Any = None) -> None: ...

        @classmethod
        def can_generate(cls) -> bool:
            return True

    for decodes in (False, True):
        config = SimpleNamespace(is_encoder_decoder=decodes)
        stream = audio._stream(_cell(model_class=Speaks, config=config, inputs={"input_ids": torch.zeros(1, 2)}))
        assert (stream is None) == decodes


def test_codes_along_the_words_are_padded_with_them() -> None:
    config = SimpleNamespace(vocab_size=9, pad_token_id=0)
    config.get_text_config = lambda decoder=False: config
    words = torch.ones(2, 4, dtype=torch.long)
    given = {"input_ids": words, "attention_mask": words, "user_audio_codes": torch.ones(2, 3, 4, dtype=torch.long)}
    padded = generation.pad(_cell(config=config), given, 2, side="right")
    assert padded["user_audio_codes"].shape == (2, 3, 6)
    assert torch.equal(padded["user_audio_codes"][..., :4], given["user_audio_codes"])
    assert padded["input_ids"].shape == padded["attention_mask"].shape == (2, 6)


def test_keywords_that_are_handed_on_by_their_prefix_alone_are_not_taken_without_it() -> None:
    from transformers import LlamaForCausalLM, MoshiForConditionalGeneration, VisionEncoderDecoderModel

    assert generation._hands_on_by_prefix(MoshiForConditionalGeneration)
    assert not generation._hands_on_by_prefix(VisionEncoderDecoderModel)  # what has no prefix is its encoder's
    assert not generation._hands_on_by_prefix(LlamaForCausalLM)
