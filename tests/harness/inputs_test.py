"""Synthesised inputs: what is made follows from the signature, the configuration and the declaration."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import pytest
import torch

from harness import shrink
from harness.inputs import make as make_inputs
from harness.inputs import request
from harness.inputs.configs import special_tokens
from harness.inputs.labels import judges_tokens
from harness.inputs.request import CHOICES, SEQUENCE, Request, source_of, takes_labels
from harness.inputs.text import boxes
from harness.shapes import row_axis
from harness.spec import SpecError
from tests.harness.made_up import PairConfig, TextConfig, TowerConfig


class Words:
    """Takes text."""

    def forward(self, input_ids: Any, attention_mask: Any = None, labels: Any = None, past: Any = None) -> None:
        """Only the signature counts."""

    @classmethod
    def can_generate(cls) -> bool:
        """It writes."""
        return True


class WordsAndPictures(Words):
    """Takes both."""

    def forward(self, input_ids: Any, pixel_values: Any = None, attention_mask: Any = None) -> None:  # type: ignore[override]
        """Only the signature counts."""


class WordsAndLengths(Words):
    """Takes both, and how much of each picture there is."""

    def forward(self, input_ids: Any, pixel_values: Any = None, frames_of_each: Any = None) -> None:  # type: ignore[override]
        """Only the signature counts."""


class WordsForMultipleChoice(Words):
    """Takes several texts a row."""


class PicturesForImageClassification(Words):
    """Takes pictures."""

    def forward(self, pixel_values: Any, labels: Any = None) -> None:  # type: ignore[override]
        """Only the signature counts."""


def make(cls: type[Any], config: Any, **changes: Any) -> dict[str, torch.Tensor]:
    """Returns inputs of a class; three features a picture."""
    values: dict[str, Any] = {"category": "decoder", "features": lambda modality, made: 3}
    return make_inputs(Request(cls=cls, config=config, **{**values, **changes}), "//models/decoder/made_up:cpu")


@pytest.fixture(name="words")
def _words() -> Any:
    return shrink.shrink(TextConfig())


def test_only_arguments_of_forward_are_given(words: Any) -> None:
    assert list(make(Words, words)) == ["input_ids", "attention_mask"]


def test_the_same_seed_gives_the_same_inputs_and_another_others(words: Any) -> None:
    first = make(Words, words)["input_ids"]
    assert torch.equal(first, make(Words, words)["input_ids"])
    assert not torch.equal(first, make(Words, words, seed=1)["input_ids"])


def test_words_are_ordinary(words: Any) -> None:
    made = make(Words, words, batch=20, options={"sequence_length": 60})["input_ids"]
    assert not {*made.flatten().tolist()} & special_tokens(words)
    assert int(made.min()) >= shrink.FIRST_TOKEN
    assert int(made.max()) < words.vocab_size


def test_encoders_read_texts_with_an_end(words: Any) -> None:
    assert bool((make(Words, words, category="encoder")["input_ids"][:, -1] == words.eos_token_id).all())


def test_a_picture_takes_as_many_placeholders_as_the_model_says() -> None:
    config = shrink.shrink(PairConfig())
    made = make(WordsAndPictures, config, category="multimodal")
    assert (made["input_ids"] == config.image_token_index).sum(1).tolist() == [3, 3]
    assert made["pixel_values"].shape == (2, 3, 32, 32)
    assert made["attention_mask"].shape == made["input_ids"].shape


def test_choices_come_between_batch_and_sequence(words: Any) -> None:
    made = make(WordsForMultipleChoice, words, labels=True)
    assert made["input_ids"].shape == (2, CHOICES, SEQUENCE)
    assert made["attention_mask"].shape == made["input_ids"].shape
    assert int(made["labels"].max()) < CHOICES


def test_labels_are_words_or_classes_by_the_head(words: Any) -> None:
    assert make(Words, words, labels=True)["labels"].shape == (2, SEQUENCE)
    assert make(PicturesForImageClassification, shrink.shrink(TowerConfig()), labels=True)["labels"].shape == (2,)


def test_padding_masks_the_end_of_the_last_row(words: Any) -> None:
    made = make(Words, words, padding=4)
    assert made["attention_mask"].sum(1).tolist() == [SEQUENCE, SEQUENCE - 4]
    assert bool((made["input_ids"][-1, -4:] == words.pad_token_id).all())


def test_declared_sizes_and_tensors_are_taken(words: Any) -> None:
    options = {"sequence_length": 5, "past": {"kind": "integers", "shape": ["batch", 2], "low": 3, "high": 4}}
    made = make(Words, words, options=options)
    assert made["input_ids"].shape == (2, 5)
    assert made["past"].tolist() == [[3, 3], [3, 3]]


def test_placeholders_can_be_counted_with_declared_tensors() -> None:
    options = {"frames_of_each": {"kind": "integers", "shape": ["batch"], "low": 4, "high": 5}}
    made = make(
        WordsAndLengths,
        shrink.shrink(PairConfig()),
        category="multimodal",
        features=lambda modality, made: int(made["frames_of_each"][0]),
        options=options,
    )
    assert (made["input_ids"] == shrink.shrink(PairConfig()).image_token_index).sum(1).tolist() == [4, 4]


def test_a_tensor_declared_null_is_left_out(words: Any) -> None:
    assert "attention_mask" not in make(Words, words, options={"attention_mask": None})


def test_boxes_are_boxes(words: Any) -> None:
    asked = Request(cls=Words, config=words, category="encoder", features=lambda modality, made: 0)
    places = boxes(asked, "bbox", 2, 9, 4)
    assert bool((places[..., 2:] > places[..., :2]).all())
    assert int(places.max()) <= 1000


def test_an_unknown_input_is_an_error_with_the_nearest_name(words: Any) -> None:
    with pytest.raises(SpecError, match=r"inputs key 'sequence_lenght' is neither .*did you mean 'sequence_length'"):
        make(Words, words, options={"sequence_lenght": 5})


class WordsHandedOn:
    """Names its words alone, and hands the rest on to a model inside."""

    def forward(self, input_ids: Any, **kwargs: Any) -> None:
        """Only the signature counts."""


def test_what_a_model_inside_takes_can_be_declared_where_forward_hands_keywords_on(words: Any) -> None:
    types = {"kind": "segments", "last": 2, "shape": ["batch", "tokens"]}
    made = make(WordsHandedOn, words, options={"token_type_ids": types})
    assert made["token_type_ids"].sum(-1).tolist() == [2, 2]
    assert "token_type_ids" not in make(WordsHandedOn, words)
    with pytest.raises(SpecError, match=r"inputs key 'token_type_idz' is neither .*did you mean 'token_type_ids'"):
        make(WordsHandedOn, words, options={"token_type_idz": types})


def test_an_unknown_kind_is_an_error(words: Any) -> None:
    with pytest.raises(SpecError, match="inputs key 'past' needs a `kind` of tokens"):
        make(Words, words, options={"past": {"kind": "word"}})


def test_a_declared_tensor_has_the_choices_of_a_class_with_choices(words: Any) -> None:
    made = make(WordsForMultipleChoice, words, options={"past": {"kind": "integers"}})
    assert made["past"].shape == made["input_ids"].shape == (2, CHOICES, SEQUENCE)


def test_a_class_that_pre_trains_without_words_to_predict_judges_tokens(words: Any) -> None:
    judge = type("WordsForPreTraining", (Words,), {"_tied_weights_keys": None})
    predictor = type("WordsForPreTraining", (Words,), {"_tied_weights_keys": {"head.weight": "words.weight"}})
    assert set(make(judge, words, labels=True)["labels"].flatten().tolist()) == {0, 1}
    assert int(make(predictor, words, labels=True)["labels"].max()) > 1
    assert not judges_tokens(type("PicturesForPreTraining", (PicturesForImageClassification,), {}))


def test_labels_that_link_tokens_name_the_next_one(words: Any) -> None:
    linker = type("WordsSpadeELForTokenClassification", (Words,), {})
    assert make(linker, words, labels=True)["labels"][1].tolist() == list(range(1, SEQUENCE + 1))


def test_a_negative_limit_of_positions_is_none(words: Any) -> None:
    words.max_position_embeddings = -1
    assert make(Words, words)["input_ids"].shape == (2, SEQUENCE)


def test_a_question_stands_in_the_text(words: Any) -> None:
    words.question_token_id = 7
    assert make(Words, words)["input_ids"][:, 1].tolist() == [7, 7]


def test_labels_of_answers_without_a_span_mark_tokens(words: Any) -> None:
    made = make(type("WordsForQuestionAnswering", (Words,), {}), words, labels=True)
    assert made["labels"].shape == made["input_ids"].shape
    assert set(made["labels"].flatten().tolist()) == {0, 1}


class Future:
    """Forecasts."""

    def forward(self, past_values: Any, past_observed_mask: Any = None, labels: Any = None) -> None:
        """Only the signature counts."""


def _series_config(**fields: Any) -> Any:
    config = TextConfig()
    for name, value in {"context_length": 8, **fields}.items():
        setattr(config, name, value)
    return config


def test_a_window_has_room_for_the_longest_lag_and_all_of_it_is_observed() -> None:
    made = make(Future, _series_config(lags_sequence=[1, 3]), category="time_series")
    assert list(made["past_values"].shape) == [2, 11]
    assert bool((made["past_observed_mask"] == 1).all())


def test_a_window_of_several_channels_has_them_last() -> None:
    made = make(Future, _series_config(num_input_channels=3), category="time_series")
    assert list(made["past_values"].shape) == [2, 8, 3]


class Sound:
    """Hears."""

    def forward(self, input_features: Any, input_features_mask: Any = None) -> None:
        """Only the signature counts."""


def test_the_mask_over_sound_leaves_what_is_heard() -> None:
    made = make(Sound, TextConfig(), category="audio", options={"frames": 10, "heard": 4})
    assert made["input_features_mask"].sum(1).tolist() == [4, 4]


class Codes:
    """Writes codes of sound."""

    def forward(self, decoder_input_ids: Any, decoder_attention_mask: Any = None, labels: Any = None) -> None:
        """Only the signature counts."""


def test_a_decoder_of_codebooks_has_a_row_for_each() -> None:
    config = TextConfig()
    config.is_encoder_decoder, config.num_codebooks = True, 4
    made = make(Codes, config, category="audio", labels=True)
    assert made["decoder_input_ids"].shape[0] == 8
    assert made["decoder_attention_mask"].shape[0] == 2
    assert list(made["labels"].shape) == [2, made["decoder_input_ids"].shape[1], 4]


def test_a_transducer_reads_a_start_before_its_labels() -> None:
    class Transducer:
        def forward(self, decoder_input_ids: Any, decoder_cache: Any = None, labels: Any = None) -> None: ...

    config = TextConfig()
    config.is_encoder_decoder = True
    made = make(Transducer, config, category="audio", labels=True)
    assert made["labels"].shape[1] == made["decoder_input_ids"].shape[1] - 1


def test_streams_of_codes_stand_beside_one_another_and_are_taught_by_row() -> None:
    config = TextConfig()
    config.is_encoder_decoder, config.delay_pattern = True, [0, 2, 3]
    made = make(Codes, config, category="audio", labels=True)
    rows, steps, streams = made["decoder_input_ids"].shape
    assert (rows, streams) == (2, 3)
    assert list(made["decoder_attention_mask"].shape) == [rows, steps]
    assert list(made["labels"].shape) == [rows * streams, steps]


def test_a_model_with_a_codec_reads_its_codes_behind_the_text() -> None:
    config = TextConfig()
    config.codec_config, config.num_codebooks, config.codebook_vocab_size = object(), 4, 7
    made = make(Words, config, category="audio", labels=True)
    assert made["input_ids"].shape[2] == 5
    assert int(made["input_ids"][..., 1:].max()) < 7
    assert made["labels"].shape == made["input_ids"].shape[:2]


def test_speech_so_far_has_places_among_the_words_and_gives_way_to_labels() -> None:
    class Says(Words):
        def forward(  # type: ignore[override]
            self, input_ids: Any, audio_prompt_latents: Any = None, audio_latents: Any = None, labels: Any = None
        ) -> None: ...

    config = TextConfig()
    config.audio_prompt_token_id, config.audio_bos_token_id, config.audio_latent_token_id = 5, 6, 7
    config.latent_dim = 8
    made = make(Says, config, category="audio")
    for name, token in (("audio_prompt_latents", 5), ("audio_latents", 7)):
        assert (made["input_ids"] == token).sum(1).tolist() == [made[name].shape[1]] * 2
    taught = make(Says, config, category="audio", labels=True)
    assert taught["labels"].shape == made["audio_latents"].shape
    assert "audio_latents" not in taught


def test_speech_is_taught_with_a_spectrogram_as_long_as_its_words_last() -> None:
    class Speaks(Words):
        def forward(self, input_ids: Any, duration_labels: Any = None) -> None: ...  # type: ignore[override]

    made = make(Speaks, TextConfig(), category="audio", labels=True)
    frames = made["duration_labels"].sum(1)
    heard = (made["spectrogram_labels"] != -100).any(-1).sum(1)
    assert frames.tolist() == heard.tolist()
    assert made["pitch_labels"].shape == made["energy_labels"].shape == (*made["input_ids"].shape, 1)
    assert frames[0] != frames[1]


def test_detectors_learn_classes_and_boxes_and_rows_differ_in_objects() -> None:
    class MadeUpForObjectDetection:
        def forward(self, pixel_values: Any, labels: Any = None) -> None: ...

    labels = make(MadeUpForObjectDetection, shrink.shrink(TowerConfig()), labels=True)["labels"]
    assert [len(row["class_labels"]) for row in labels] == [2, 1]
    for row in labels:
        assert row["boxes"].shape == (len(row["class_labels"]), 4)
        assert bool(((row["boxes"] > 0) & (row["boxes"] < 1)).all())


def test_segmenters_learn_a_mask_for_each_class() -> None:
    class MadeUpForUniversalSegmentation:
        def forward(self, pixel_values: Any, mask_labels: Any = None, class_labels: Any = None) -> None: ...

    made = make(MadeUpForUniversalSegmentation, shrink.shrink(TowerConfig()), labels=True)
    for masks, classes in zip(made["mask_labels"], made["class_labels"], strict=True):
        assert masks.shape == (len(classes), *made["pixel_values"].shape[-2:])


def test_the_source_of_a_function_goes_to_its_last_line() -> None:
    def outer(value: int) -> Any:
        def inner() -> str:
            return (
                f"{value}"
                "last"
            )  # fmt: skip

        return inner

    for function in (outer, make_inputs, judges_tokens, Words.can_generate):
        assert source_of(function) == inspect.getsource(function)


def test_a_class_that_refuses_training_gets_no_labels() -> None:
    class MadeUpForDepthEstimation:
        def forward(self, pixel_values: Any, labels: Any = None) -> None:
            if labels is not None:
                raise NotImplementedError("Training is not implemented yet")

    assert not takes_labels(MadeUpForDepthEstimation)
    assert "labels" not in make(MadeUpForDepthEstimation, shrink.shrink(TowerConfig()), labels=True)


class PicturesWithShapes(Words):
    """Takes rows of patches, each picture with a shape of its own."""

    def forward(  # type: ignore[override]
        self, pixel_values: Any, pixel_attention_mask: Any = None, spatial_shapes: Any = None
    ) -> None:
        """Only the signature counts."""


class PicturesWithGrids(Words):
    """Takes pictures and videos as rows of patches of all rows together."""

    def forward(
        self, pixel_values: Any, image_grid_thw: Any = None, pixel_values_videos: Any = None, video_grid_thw: Any = None
    ) -> None:
        """Only the signature counts."""


def test_shapes_count_the_patches_of_a_picture() -> None:
    made = make(PicturesWithShapes, shrink.shrink(TowerConfig()), category="multimodal")
    assert made["pixel_values"].shape[:2] == made["pixel_attention_mask"].shape
    assert made["spatial_shapes"].prod(-1).tolist() == [made["pixel_values"].shape[1]] * 2


def test_grids_count_the_patches_of_pictures_and_videos() -> None:
    made = make(PicturesWithGrids, shrink.shrink(TowerConfig()), category="multimodal")
    assert int(made["image_grid_thw"].prod(-1).sum()) == made["pixel_values"].shape[0]
    assert int(made["video_grid_thw"].prod(-1).sum()) == made["pixel_values_videos"].shape[0]


class PicturesToMake(Words):
    """Takes pictures, and the grid of the one that it makes behind those of a row."""

    def forward(self, pixel_values: Any, image_grid_thw: Any = None, images_per_sample: Any = None) -> None:  # type: ignore[override]
        """Only the signature counts."""


def test_the_last_grid_of_a_row_is_that_of_a_picture_to_be_made() -> None:
    made = make(PicturesToMake, shrink.shrink(TowerConfig()), category="multimodal")
    grids = made["image_grid_thw"].split(made["images_per_sample"].tolist())
    assert [len(grid) for grid in grids] == [2, 2]
    assert sum(int(grid[:-1].prod(-1).sum()) for grid in grids) == made["pixel_values"].shape[0]
    assert all(grid[-1].tolist() != grid[0].tolist() for grid in grids)


class PicturesByNumber(Words):
    """Takes the patches of crops and of frames, and the numbers of those that become one vector."""

    def forward(  # type: ignore[override]
        self,
        pixel_values: Any,
        image_token_pooling: Any,
        image_grids: Any,
        pixel_values_videos: Any,
        video_token_pooling: Any,
        video_grids: Any,
    ) -> None:
        """Only the signature counts."""


def test_each_patch_of_a_batch_is_pooled_once_but_the_last_of_each_row() -> None:
    made = make(PicturesByNumber, shrink.shrink(TowerConfig()), category="multimodal")
    for pictures, pooling in (("pixel_values", "image_token_pooling"), ("pixel_values_videos", "video_token_pooling")):
        patches = made[pictures].shape[:2].numel()
        rows = made[pooling].unflatten(0, (2, -1)).flatten(1).tolist()
        for row, numbers in enumerate(rows):
            share = range(row * patches // 2, (row + 1) * patches // 2)
            assert numbers[-1] == -1
            assert sorted(numbers[:-1]) == [*share][:-1]
    high, low = made["image_grids"][:, :2].prod(-1), made["image_grids"][:, 2:].prod(-1)
    assert int((high + low).sum()) == len(made["image_token_pooling"])
    assert int(made["video_grids"].prod(-1).sum()) == len(made["video_token_pooling"])


class PicturesByRowsAndColumns(Words):
    """Takes pictures as rows of patches, and the frames of all videos in one tensor."""

    def forward(  # type: ignore[override]
        self, input_ids: Any, pixel_values: Any, image_grid_hw: Any, pixel_values_videos: Any
    ) -> None:
        """Only the signature counts."""


def test_grids_without_frames_count_the_patches_and_frames_stand_without_rows() -> None:
    config = shrink.shrink(TowerConfig())
    config.video_token_id = 30
    made = make(PicturesByRowsAndColumns, config, category="multimodal")
    assert int(made["image_grid_hw"].prod(-1).sum()) == made["pixel_values"].shape[0]
    assert made["pixel_values"].dim() == 2
    assert made["pixel_values_videos"].shape[0] == 2 * request.VIDEO_FRAMES
    assert made["pixel_values_videos"].dim() == 4


class CropsAndSound(Words):
    """Takes pictures as crops and sound beside them."""

    def forward(  # type: ignore[override]
        self,
        image_pixel_values: Any,
        image_sizes: Any,
        image_attention_mask: Any,
        audio_input_features: Any,
        audio_embed_sizes: Any,
        audio_attention_mask: Any,
    ) -> None:
        """Only the signature counts."""


def test_crops_follow_the_whole_picture_and_sound_says_what_becomes_of_it() -> None:
    config = shrink.shrink(TowerConfig())
    config.crop_size, config.input_size, config.time_reduction = 2 * config.patch_size, 5, 8
    made = make(CropsAndSound, config, category="multimodal", options={"heard": 20})
    side = config.crop_size
    crops = made["image_sizes"].prod(-1) // side**2
    assert made["image_pixel_values"].shape == (2, 1 + int(crops[0]), 3, side, side)
    assert made["image_attention_mask"].shape == (2, 1 + int(crops[0]), 2, 2)
    assert made["audio_input_features"].shape[-1] == 5
    assert made["audio_embed_sizes"].tolist() == [3, 3]
    assert made["audio_attention_mask"].sum(-1).tolist() == [20, 20]


class PackedPictures(Words):
    """Takes pictures and videos of all rows in one row of patches."""

    def forward(
        self,
        pixel_values: Any,
        target_sizes: Any = None,
        pixel_values_videos: Any = None,
        target_sizes_videos: Any = None,
    ) -> None:
        """Only the signature counts."""


def test_packed_pictures_are_as_wide_as_their_patches_and_rows_lie_along_them() -> None:
    made = make(PackedPictures, shrink.shrink(TowerConfig()), category="multimodal")
    for pictures, sizes in (("pixel_values", "target_sizes"), ("pixel_values_videos", "target_sizes_videos")):
        rows, channels, patch, width = made[pictures].shape
        assert (rows, channels) == (1, 3)
        assert width == patch * int(made[sizes].prod(-1).sum())
        assert row_axis(pictures, made) == -1
    assert row_axis("pixel_values", {"pixel_values": made["pixel_values"]}) == 0


class Robot(Words):
    """Learns what to do from what is given as `actions`, and has no trajectory of states."""

    def forward(self, state: Any, actions: Any = None) -> None:  # type: ignore[override]
        """Only the signature counts."""


def test_a_robot_learns_actions_as_labels(words: Any) -> None:
    words.max_action_dim, words.chunk_size = 5, 4
    assert "actions" not in make(Robot, words)
    assert make(Robot, words, labels=True)["actions"].shape == (2, 4, 5)


def test_declared_segments_boxes_and_multiples_of_the_batch(words: Any) -> None:
    options = {"past": {"kind": "segments", "last": 4, "shape": ["batch", "tokens"]}}
    past = make(Words, words, options=options)["past"]
    assert past.shape == (2, SEQUENCE)
    assert past.sum(-1).tolist() == [4, 4]
    assert bool((past[:, -4:] == 1).all())
    pairs = {"kind": "positions", "shape": ["batch", "2*sequence"], "times": 2}
    assert make(Words, words, options={"past": pairs})["past"][1].tolist()[:5] == [0, 0, 1, 1, 2]
    made = make(Words, words, options={"past": {"kind": "unit_boxes", "shape": ["3*batch", 4]}})["past"]
    assert made.shape == (6, 4)
    assert bool(((made >= 0) & (made <= 1)).all())


class PicturesWithPrompts(Words):
    """Takes pictures and what shows where to look."""

    def forward(
        self,
        pixel_values: Any,
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        input_masks: Any = None,
    ) -> None:
        """Only the signature counts."""


class PicturesForKeypointMatching(Words):
    """Takes pairs of pictures."""

    def forward(self, pixel_values: Any) -> None:  # type: ignore[override]
        """Only the signature counts."""


class PicturesForPreTraining(Words):
    """Takes videos of which half is hidden."""

    def forward(self, pixel_values: Any, bool_masked_pos: Any = None, noise: Any = None) -> None:  # type: ignore[override]
        """Only the signature counts."""


class PicturesForObjectDetection(Words):
    """Takes labels only to refuse them."""

    def forward(self, pixel_values: Any, labels: Any = None) -> None:  # type: ignore[override]
        """Refuses."""
        raise ValueError("PicturesForObjectDetection does not support training")


def test_prompts_lie_on_the_picture_one_of_each_kind() -> None:
    from transformers import SamConfig

    tiny = shrink.shrink(SamConfig())
    made = make(PicturesWithPrompts, tiny, category="vision")
    side = made["pixel_values"].shape[-1]
    assert made["input_points"].shape == (2, request.PROMPTS, request.POINTS, 2)
    assert bool(((made["input_points"] >= 0) & (made["input_points"] <= side)).all())
    assert set(made["input_labels"].flatten().tolist()) == {-1, 0, 1}
    assert bool((made["input_boxes"][..., 2:] > made["input_boxes"][..., :2]).all())
    assert made["input_masks"].shape[-1] == 4 * tiny.prompt_encoder_config.image_embedding_size


def test_matchers_get_pairs_of_pictures() -> None:
    made = make(PicturesForKeypointMatching, shrink.shrink(TowerConfig()), category="vision")
    assert made["pixel_values"].dim() == 5
    assert made["pixel_values"].shape[:2] == (2, 2)


def test_half_of_the_patches_of_every_row_are_masked_and_what_masks_them_is_given() -> None:
    from transformers import VideoMAEConfig, ViTMAEConfig

    tiny = shrink.shrink(VideoMAEConfig())
    made = make(PicturesForPreTraining, tiny, category="vision")
    patches = tiny.num_frames // tiny.tubelet_size * shrink.patch_count(tiny)
    assert made["bool_masked_pos"].shape == (2, patches)
    assert made["bool_masked_pos"].sum(-1).tolist() == [patches // 2] * 2
    assert "noise" not in made
    tiny = shrink.shrink(ViTMAEConfig())
    assert make(PicturesForPreTraining, tiny, category="vision")["noise"].shape == (2, shrink.patch_count(tiny))


def test_classes_that_refuse_labels_get_none() -> None:
    assert not takes_labels(PicturesForObjectDetection)
    assert takes_labels(PicturesForImageClassification)


def test_text_that_the_code_splits_by_its_own_tokens_has_them(words: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SPECIAL_TOKENS", [101, 102], raising=False)
    row = make(Words, words)["input_ids"][0].tolist()
    assert row[0] == 101
    assert [place for place, word in enumerate(row) if word == 102] == [4, 8, 12]


def test_an_argument_that_is_handed_on_is_made_as_where_it_is_named() -> None:
    class HandsOn(Words):
        """Hands pictures on to a model inside."""

        def forward(self, input_ids: Any, **given: Any) -> None:  # type: ignore[override]
            """Only the signature counts."""

    config = shrink.shrink(PairConfig())
    named = make(WordsAndPictures, config)
    handed = make(HandsOn, config, options={"pixel_values": {"kind": "made"}})
    assert torch.equal(handed["pixel_values"], named["pixel_values"])
    assert torch.equal(handed["input_ids"], named["input_ids"])  # with its placeholders
    assert "pixel_values" not in make(HandsOn, config)


def test_flags_may_be_false(words: Any) -> None:
    described = {"kind": "flags", "shape": ["batch", 3], "value": False}
    made = make(WordsAndLengths, words, options={"pixel_values": None, "frames_of_each": described})
    assert made["frames_of_each"].dtype == torch.bool
    assert not made["frames_of_each"].any()


def test_a_declared_argument_may_hold_several_tensors_by_name(words: Any) -> None:
    parts = {"image": {"kind": "noise", "shape": ["batch", 3]}, "mask": {"kind": "flags", "shape": [4]}, "label": None}
    made = make(
        WordsAndLengths, words, options={"pixel_values": None, "frames_of_each": {"kind": "parts", "parts": parts}}
    )
    held: Any = made["frames_of_each"]
    assert (held["image"].shape, held["mask"].dtype, held["label"]) == ((2, 3), torch.bool, None)
    assert not torch.equal(held["image"][0], held["image"][1])
