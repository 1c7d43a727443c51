"""The core checks: those without which a model of a category cannot reach a level.

A verdict whose run lost one of them (a check renamed, a module cut short) stays below the level. A test holds this
list and the marks of the checks (`core=True`) equal.
"""

from __future__ import annotations

from collections.abc import Mapping

_COMMON: Mapping[str, tuple[str, ...]] = {
    "parsed": ("common::config_builds",),
    "built": ("common::model_builds",),
    "forward": ("common::forward_is_finite_with_documented_shapes",),
    "consistent": (
        "common::deterministic",
        "common::save_and_load_round_trip",
        "common::embeddings_are_tied_as_the_config_says",
        "common::tied_embeddings_survive_save_and_load",
        "common::every_trainable_parameter_gets_a_finite_gradient",
        "common::training_drops_what_the_config_says",
        "common::a_few_steps_lower_the_loss",
        "common::batching_does_not_change_a_row",
        "common::attention_implementations_agree",
        "common::output_dataclass_and_tuple_agree",
        "common::heads_build_run_and_round_trip",
        "common::every_input_moves_the_output",
        "common::heads_hand_on_what_they_are_given",
        "common::losses_are_what_the_heads_are_for",
        "common::logits_to_keep_gives_the_last_logits",
        "common::outputs_are_alive",
        "common::every_layer_does_something",
        "common::model_state_is_unchanged",
        "common::loads_only_declared_slices",
    ),
}

_REFERENCE: Mapping[str, tuple[str, ...]] = {"reference": ("common::outputs_match_the_reference",)}

_OWN: Mapping[str, tuple[str, ...]] = {
    "encoder": (
        "encoder::padding_does_not_change_the_other_tokens",
        "encoder::attention_mask_is_respected",
        "encoder::every_token_sees_both_directions",
        "encoder::token_order_matters",
        "encoder::masked_language_modelling_loss_ignores_minus_100",
    ),
    "decoder": (
        "decoder::causality",
        "decoder::attention_mask_is_respected",
        "decoder::left_padding_does_not_change_logits",
        "decoder::cached_steps_match_one_pass",
        "decoder::cached_and_uncached_greedy_generation_agree",
        "decoder::token_order_matters",
        "decoder::loss_is_the_cross_entropy_of_the_next_token",
    ),
    "encoder_decoder": (
        "encoder_decoder::decoder_causality",
        "encoder_decoder::encoder_padding_does_not_change_logits",
        "encoder_decoder::encoder_attention_mask_is_respected",
        "encoder_decoder::cross_attention_is_used",
        "encoder_decoder::encoder_token_order_matters",
        "encoder_decoder::cached_steps_match_one_pass",
        "encoder_decoder::cached_and_uncached_greedy_generation_agree",
        "encoder_decoder::labels_are_shifted_into_decoder_inputs",
    ),
    "vision": (
        "vision::every_region_of_the_image_moves_the_output",
        "vision::place_of_a_patch_matters",
        "vision::order_of_channels_matters",
        "vision::loss_is_the_cross_entropy_of_the_labels",
    ),
    "multimodal": (
        "multimodal::image_moves_the_output",
        "multimodal::text_moves_the_output",
        "multimodal::image_of_a_row_moves_that_row_only",
        "multimodal::similarities_are_each_others_transpose",
        "multimodal::contrastive_loss_is_symmetric_cross_entropy",
        "multimodal::placeholders_must_match_the_features",
        "multimodal::text_is_causal",
        "multimodal::left_padding_does_not_change_logits",
        "multimodal::generation_agrees_with_a_loop_over_forward",
        "multimodal::cached_and_uncached_greedy_generation_agree",
        "multimodal::loss_is_the_cross_entropy_of_the_next_token",
        "multimodal::text_padding_does_not_change_similarities",
    ),
    "audio": (
        "audio::every_part_of_the_sound_moves_the_output",
        "audio::order_in_time_matters",
        "audio::padding_does_not_change_the_output",
        "audio::output_length_follows_the_formula",
        "audio::ctc_loss_is_that_of_the_logits",
        "audio::decoder_causality",
        "audio::cached_steps_match_one_pass",
        "audio::cross_attention_is_used",
        "audio::cached_and_uncached_greedy_generation_agree",
        "audio::labels_are_shifted_into_decoder_inputs",
        "audio::left_padding_does_not_change_logits",
        "audio::placeholders_must_match_the_sound",
        "audio::codes_decode_to_what_forward_gives",
        "audio::parts_that_generate_are_causal",
        "audio::parts_give_the_same_logits_from_their_cache",
    ),
    "time_series": (
        "time_series::every_part_of_the_window_moves_the_forecast",
        "time_series::order_in_time_matters",
        "time_series::future_does_not_reach_back",
        "time_series::unobserved_values_do_not_move_location_and_scale",
        "time_series::location_and_scale_follow_the_values",
        "time_series::forecast_follows_the_scale_of_the_values",
        "time_series::loss_falls_to_its_least_at_the_forecast",
        "time_series::unobserved_future_does_not_count_in_the_loss",
        "time_series::sampled_futures_have_the_documented_shape",
    ),
    "decision": (
        "decision::return_state_and_past_action_move_the_next_action",
        "decision::an_action_does_not_see_itself_or_the_future",
        "decision::masked_steps_do_not_move_the_action",
        "decision::number_of_the_step_matters",
        "decision::order_of_steps_matters",
    ),
}

_RUNTIME: Mapping[str, tuple[str, ...]] = {
    "parsed": ("runtime::config_builds",),
    "built": ("runtime::model_builds",),
    "forward": ("runtime::runs",),
    "consistent": (
        "runtime::agrees_with_eager",
        "runtime::second_shape_agrees",
        "runtime::cached_step_agrees_with_eager",
        "runtime::loads_only_declared_slices",
    ),
}

CORE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "runtime": _RUNTIME,
} | {
    category: {**_COMMON, "consistent": (*_COMMON["consistent"], *own), **_REFERENCE} for category, own in _OWN.items()
}
"""For each category, and for `runtime`, by level the ids of its core checks.

`consistent` has those of the category's own module too.
"""
