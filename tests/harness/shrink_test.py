"""The shrinker on made-up configurations: every rule by the relation that it must keep."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from harness import shrink
from harness.build import default_config
from tests.harness.made_up import PairConfig, StagedConfig, TextConfig, TowerConfig


def test_width_stays_heads_times_head_width() -> None:
    tiny = shrink.shrink(TextConfig())
    assert tiny.hidden_size == tiny.num_attention_heads * tiny.head_dim
    assert tiny.hidden_size <= 256
    assert tiny.num_attention_heads >= 2


def test_grouped_heads_stay_grouped_and_divide() -> None:
    tiny = shrink.shrink(TextConfig())
    assert 1 < tiny.num_key_value_heads < tiny.num_attention_heads
    assert tiny.num_attention_heads % tiny.num_key_value_heads == 0


def test_different_widths_stay_different_and_ordered() -> None:
    tiny = shrink.shrink(TextConfig())
    assert tiny.hidden_size < tiny.intermediate_size


def test_every_kind_of_layer_survives() -> None:
    tiny = shrink.shrink(TextConfig())
    assert set(tiny.layer_types) == {"sliding_attention", "full_attention"}
    assert len(tiny.layer_types) == tiny.num_hidden_layers == 4


def test_a_class_may_refuse_its_own_defaults() -> None:
    class Picky(TowerConfig):
        def __post_init__(self, **kwargs: Any) -> None:
            assert self.num_channels != 3, "the default is no good"
            super().__post_init__(**kwargs)

    assert shrink.shrink(Picky(num_channels=4), {"num_channels": 4}).num_channels == 4


def test_layers_of_one_kind_are_two() -> None:
    assert shrink.shrink(TowerConfig()).num_hidden_layers == 2


def test_rotary_sections_fill_half_the_head() -> None:
    tiny = shrink.shrink(TextConfig())
    assert sum(tiny.rope_parameters["mrope_section"]) == tiny.head_dim // 2
    assert tiny.rope_parameters["rope_theta"] == 1e6


def test_rotary_sections_left_to_the_model_fill_what_the_head_turns() -> None:
    class OpenSections(TextConfig):
        ignore_keys_at_rope_validation = frozenset({"mrope_section"})

    tiny = shrink.shrink(OpenSections(rope_parameters={"rope_theta": 1e6, "partial_rotary_factor": 0.5}))
    assert len(tiny.rope_parameters["mrope_section"]) == 3
    assert sum(tiny.rope_parameters["mrope_section"]) == tiny.head_dim // 4


def test_layers_that_override_a_field_still_do() -> None:
    full = TextConfig()
    places = [place for place, kind in enumerate(full.layer_types or []) if kind == "full_attention"]
    wide = {place: {"intermediate_size": 2 * full.intermediate_size} for place in places}
    tiny = shrink.shrink(TextConfig(per_layer_config=wide))
    widths = {
        kind: layer.intermediate_size for kind, layer in zip(tiny.layer_types, tiny.per_layer_config, strict=True)
    }
    assert widths["full_attention"] == 2 * widths["sliding_attention"]
    assert tiny.num_hidden_layers == len(tiny.layer_types) == 4


@pytest.mark.parametrize(("parts", "total"), [([16, 24, 24], 8), ([1, 1, 62], 4), ([11, 11, 10], 16)])
def test_rescale_keeps_the_sum(parts: list[int], total: int) -> None:
    scaled = shrink.rescale(parts, total)
    assert sum(scaled) == total
    assert len(scaled) == len(parts)


def test_number_of_stages_stays_with_the_lists_that_have_an_item_for_each() -> None:
    tiny = shrink.shrink(StagedConfig())
    assert tiny.num_encoder_blocks == len(tiny.depths) == len(tiny.hidden_sizes) == 4


def test_special_tokens_are_within_the_vocabulary_distinct_and_in_order() -> None:
    tiny = shrink.shrink(PairConfig())
    words = tiny.text_config
    assert words.vocab_size == shrink.VOCABULARY
    assert words.bos_token_id == 1
    assert tiny.image_token_index < words.eos_token_id < words.vocab_size


def test_a_configuration_with_words_gets_a_padding_token() -> None:
    assert shrink.shrink(TextConfig()).pad_token_id == 0


def test_a_window_is_shorter_than_the_texts_of_a_cell() -> None:
    from harness.inputs.request import SEQUENCE

    assert 1 < shrink.shrink(TextConfig()).sliding_window < SEQUENCE


def test_no_more_experts_are_chosen_than_there_are() -> None:
    tiny = shrink.shrink(TextConfig())
    assert 1 < tiny.num_experts_per_tok < tiny.num_experts


def test_equal_widths_stay_equal_across_sub_configurations() -> None:
    tiny = shrink.shrink(PairConfig())
    assert tiny.encoder_hidden_size == tiny.vision_config.hidden_size


def test_positions_of_a_picture_are_counted_anew() -> None:
    tiny = shrink.shrink(PairConfig())
    vision = tiny.vision_config
    assert tiny.image_seq_length == (vision.image_size // vision.patch_size) ** 2 == 16


def test_tile_sizes_follow_the_picture() -> None:
    tiny = shrink.shrink(PairConfig())
    side = tiny.vision_config.image_size
    assert tiny.image_grid_pinpoints == [[side, 2 * side], [2 * side, 2 * side]]


def test_a_stride_that_was_the_patch_stays_the_patch() -> None:
    tiny = shrink.shrink(TowerConfig())
    assert tiny.encoder_stride == tiny.patch_size


def test_a_placeholder_left_open_is_given_a_free_token() -> None:
    tiny = shrink.shrink(PairConfig(image_token_index=None))
    assert 0 < tiny.image_token_index < tiny.text_config.vocab_size
    assert tiny.image_token_index != tiny.text_config.eos_token_id


def test_stages_keep_number_rise_and_divisibility() -> None:
    tiny = shrink.shrink(StagedConfig())
    assert tiny.depths == [2, 2, 2, 2]
    assert sorted(set(tiny.hidden_sizes)) == tiny.hidden_sizes
    assert all(width % heads == 0 for width, heads in zip(tiny.hidden_sizes, tiny.num_heads, strict=True))


def test_the_last_stage_still_holds_a_window() -> None:
    tiny = shrink.shrink(StagedConfig())
    assert tiny.image_size // tiny.patch_size // 2**3 >= tiny.window_size


def test_declared_values_win_and_dependents_follow() -> None:
    declared = {"hidden_size": 48, "num_hidden_layers": 3}
    tiny = shrink.shrink(TextConfig(**declared), declared)
    assert tiny.hidden_size == 48
    assert tiny.num_hidden_layers == len(tiny.layer_types) == 3


def test_declared_values_of_a_sub_configuration_win_and_widths_that_fit_it_follow() -> None:
    declared = {"vision_config": {"hidden_size": 80}, "encoder_hidden_size": 80}
    tiny = shrink.shrink(default_config(PairConfig, declared), declared)
    assert tiny.vision_config.hidden_size == tiny.encoder_hidden_size == 80


def test_shrinking_twice_changes_nothing_more() -> None:
    once = shrink.shrink(StagedConfig())
    assert shrink.shrink(once).to_dict() == once.to_dict()


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("hidden_size", "width"),
        ("d_model", "width"),
        ("n_embd", "width"),
        ("encoder_ffn_dim", "width"),
        ("num_hidden_layers", "layers"),
        ("encoder_layers", "layers"),
        ("n_layer", "layers"),
        ("encoder_attention_heads", "heads"),
        ("n_head", "heads"),
        ("num_key_value_heads", "key_value_heads"),
        ("head_dim", "head_width"),
        ("d_kv", "head_width"),
        ("vocab_size", "vocabulary"),
        ("type_vocab_size", "keep"),
        ("decoder_start_token_id", "token"),
        ("max_position_embeddings", "positions"),
        ("n_positions", "positions"),
        ("image_size", "image"),
        ("patch_size", "patch"),
        ("depths", "stages"),
        ("layer_norm_eps", "keep"),
        ("conv_kernel", "keep"),
        ("hidden_dropout_prob", "keep"),
        ("num_mel_bins", "keep"),
        ("num_experts_per_tok", "chosen_experts"),
        ("num_local_experts", "experts"),
        ("index_n_heads", "keep"),
        ("index_topk", "window"),
        ("mamba_d_ssm", "width"),
    ],
)
def test_names_mean_what_they_say(name: str, meaning: str) -> None:
    assert shrink.meaning_of(name) == meaning


def test_layers_told_apart_by_number_stay_apart() -> None:
    class PickyConfig(TowerConfig):
        model_type = "made_up_picky"
        global_attn_indexes: tuple[int, ...] = (9, 19, 29, 38)

    tiny = shrink.shrink(PickyConfig())
    assert tiny.num_hidden_layers == 4
    assert len(set(tiny.global_attn_indexes)) == 4
    assert max(tiny.global_attn_indexes) < tiny.num_hidden_layers


def test_the_start_token_is_the_first_of_the_decoder() -> None:
    from transformers import T5Config, T5GemmaConfig

    assert shrink.shrink(T5Config()).decoder_start_token_id == 0
    assert shrink.shrink(T5GemmaConfig()).decoder_start_token_id == T5GemmaConfig().decoder.bos_token_id


def test_widths_of_stages_do_not_grow() -> None:
    tiny = shrink.shrink(StagedConfig(hidden_sizes=(16, 24, 384, 768)))
    assert tiny.hidden_sizes == [16, 24, 96, 128]


def test_a_backbone_keeps_the_switches_that_it_was_given() -> None:
    tiny = shrink.shrink(StagedConfig(return_class_token=True, memory_size=4096))
    assert tiny.return_class_token is True
    assert not hasattr(tiny, "memory_size")


def test_random_positions_stay_half_as_wide_as_the_features() -> None:
    from transformers import SamConfig

    tiny = shrink.shrink(SamConfig())
    assert 2 * tiny.vision_config.num_pos_feats == tiny.vision_config.output_channels
    assert tiny.vision_config.output_channels == tiny.prompt_encoder_config.hidden_size


def test_sizes_of_maps_follow_the_picture_of_the_backbone() -> None:
    from transformers import Sam3VisionConfig

    tiny = shrink.shrink(Sam3VisionConfig())
    side = tiny.backbone_config.image_size // tiny.backbone_config.patch_size
    assert tiny.backbone_feature_sizes == [[4 * side] * 2, [2 * side] * 2, [side] * 2]


def test_stages_that_are_lists_of_blocks_keep_their_outputs() -> None:
    from transformers import PPLCNetV3Config

    tiny = shrink.shrink(PPLCNetV3Config(out_indices=[2, 3, 4, 5]))
    assert tiny.out_indices == [2, 3, 4, 5]


class PretrainedConfig:
    """The base of all configurations as transformers 4 has it: no dataclass."""

    model_type = ""
    attribute_map: ClassVar[dict[str, str]] = {}
    sub_configs: ClassVar[dict[str, Any]] = {}
    is_encoder_decoder = False

    def __init__(self, *, pad_token_id: int | None = None, output_attentions: bool = False, **kwargs: Any) -> None:
        self.pad_token_id, self.output_attentions = pad_token_id, output_attentions

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def to_diff_dict(self) -> dict[str, Any]:
        return self.to_dict()


class OldTextConfig(PretrainedConfig):
    model_type = "old_text"

    def __init__(
        self, vocab_size: int = 50000, hidden_size: int = 4096, num_hidden_layers: int = 32, **kwargs: Any
    ) -> None:
        self.vocab_size, self.hidden_size, self.num_hidden_layers = vocab_size, hidden_size, num_hidden_layers
        super().__init__(**kwargs)


class OldPairConfig(PretrainedConfig):
    model_type = "old_pair"
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": OldTextConfig}

    def __init__(self, text_config: dict[str, Any] | None = None, projection_dim: int = 512, **kwargs: Any) -> None:
        self.text_config, self.projection_dim = OldTextConfig(**(text_config or {})), projection_dim
        super().__init__(**kwargs)


def test_a_configuration_that_is_no_dataclass_is_shrunk_by_the_arguments_of_its_constructor() -> None:
    tiny = shrink.shrink(OldTextConfig())
    assert isinstance(tiny, OldTextConfig)
    assert (tiny.vocab_size, tiny.hidden_size, tiny.num_hidden_layers) == (shrink.VOCABULARY, 128, 2)
    assert tiny.pad_token_id == 0  # an argument of the base alone


def test_a_part_of_a_configuration_that_is_no_dataclass_is_given_as_a_dictionary() -> None:
    tiny = shrink.shrink(OldPairConfig())
    assert (tiny.text_config.hidden_size, tiny.text_config.num_hidden_layers, tiny.projection_dim) == (128, 2, 32)
