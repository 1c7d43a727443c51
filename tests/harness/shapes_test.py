"""What is documented of outputs besides their sizes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from harness.shapes import documented_mask, documented_shapes

TEXT = {"input_ids": torch.ones(2, 3, dtype=torch.long), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}


def test_scores_behind_a_text_and_of_its_padding_are_documented_as_masked() -> None:
    mask = documented_mask(SimpleNamespace(max_text_len=4), TEXT, torch.zeros(2, 5, 4))
    assert mask is not None
    assert mask.shape == (2, 5, 4)
    assert mask[0, 0].tolist() == [False, False, False, True]
    assert mask[1, 4].tolist() == [False, False, True, True]


def test_other_outputs_and_other_models_have_no_such_mask() -> None:
    assert documented_mask(SimpleNamespace(max_text_len=4), TEXT, torch.zeros(2, 5, 7)) is None
    assert documented_mask(SimpleNamespace(max_text_len=4), {}, torch.zeros(2, 5, 4)) is None
    assert documented_mask(SimpleNamespace(), TEXT, torch.zeros(2, 5, 4)) is None


def _logits(inputs: dict[str, torch.Tensor], **fields: Any) -> Any:
    config = SimpleNamespace(vocab_size=9, **fields)
    config.get_text_config = lambda decoder=False: config
    return documented_shapes("MadeUpForConditionalGeneration", config, inputs)["logits"]


def test_logits_of_speech_that_is_written_as_vectors_tell_whether_it_ends() -> None:
    assert _logits(TEXT, flow_head_config=object()) == (2, 3, 1)


def test_logits_of_codes_among_words_are_those_of_all_codebooks() -> None:
    codes = {"audio_input_ids": torch.zeros(2, 2, 4)}
    assert _logits({**TEXT, **codes}, num_codebooks=4, codebook_size=8) == (2, 3, 32)


def test_streams_of_codes_have_a_row_of_logits_each() -> None:
    codes = {"decoder_input_ids": torch.zeros(2, 5, 4)}
    assert _logits({**TEXT, **codes}) == (8, 5, 9)
    assert _logits({"input_ids": torch.zeros(2, 5, 4)}) == (2, 5, 9)


def test_a_melody_stands_before_the_codes() -> None:
    given = {"input_features": torch.zeros(2, 6, 12), "decoder_input_ids": torch.zeros(8, 5)}
    assert _logits(given, chroma_length=6) == (8, None, 9)


def test_a_writer_of_pictures_has_logits_of_their_codes_alone() -> None:
    assert _logits(TEXT, vision_vocab_size=5) == (2, 3, 5)
