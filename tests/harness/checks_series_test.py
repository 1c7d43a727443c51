"""Every check of models of time series and of decisions catches the broken model that it is there for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.harness.broken import (
    Break,
    assert_caught,
    attribute,
    checks_of,
    field,
    inputs_changed,
    outputs_changed,
    replacing,
    without,
)


def _given(name: str, change: Any) -> Break:
    """Returns a break that changes one argument of `forward` where it is given."""
    return inputs_changed(
        lambda given: {**given, name: change(given[name])} if isinstance(given.get(name), Tensor) else given
    )


def _without_beginning(values: Tensor) -> Tensor:
    size = values.shape[1] // 4
    return torch.cat([torch.zeros_like(values[:, :size]), values[:, size:]], dim=1)


def _as_a_bag(output: Any, given: dict[str, Any]) -> Any:
    steps = output["prediction_outputs"].shape[1]
    output["prediction_outputs"] = given["past_values"].sort(dim=1).values[:, :steps]
    return output


def _twice_the_loss(output: Any, given: dict[str, Any]) -> Any:
    output["loss"] = 2 * output["loss"]
    return output


def _one_step_short(sound: Any) -> Any:
    def broken(self: Any, *args: Any, **given: Any) -> Any:
        drawn = sound(self, *args, **given)
        drawn.sequences = drawn.sequences[:, :, :-1]
        return drawn

    return broken


def _history_as_a_bag(output: Any, given: dict[str, Any]) -> Any:
    states, actions = given["states"], output["action_preds"]
    output["action_preds"] = states[..., : actions.shape[-1]].sum(1, keepdim=True).expand_as(actions)
    return output


CASES: dict[str, tuple[str, str, Break, str]] = {
    "beginning of the window not read": (
        "patchtst",
        "time_series::every_part_of_the_window_moves_the_forecast",
        _given("past_values", _without_beginning),
        "forecast of row 0 does not depend on past_values 0 to 7",
    ),
    "order in time lost": (
        "patchtst",
        "time_series::order_in_time_matters",
        outputs_changed(_as_a_bag),
        "when the past is reversed",
    ),
    "lag of zero": (
        "time_series_transformer",
        "time_series::future_does_not_reach_back",
        _given("future_values", lambda x: x.roll(-1, dims=1)),
        "when the future value",
    ),
    "missing values counted": (
        "patchtst",
        "time_series::unobserved_values_do_not_move_location_and_scale",
        without("past_observed_mask"),
        "loc differs",
    ),
    "variance taken for the deviation": (
        "patchtst",
        "time_series::location_and_scale_follow_the_values",
        field("scale", lambda x: x.square()),
        "scale differs",
    ),
    "forecast not scaled back": (
        "patchtst",
        "time_series::forecast_follows_the_scale_of_the_values",
        field("prediction_outputs", lambda x: x / x.std()),
        "forecast differs",
    ),
    "loss against another future": (
        "patchtst",
        "time_series::loss_falls_to_its_least_at_the_forecast",
        _given("future_values", lambda x: -x),
        "beside it",
    ),
    "loss of another unit": (
        "time_series_transformer",
        "time_series::loss_falls_to_its_least_at_the_forecast",
        outputs_changed(_twice_the_loss),
        "loss differs",
    ),
    "unobserved future counted": (
        "time_series_transformer",
        "time_series::unobserved_future_does_not_count_in_the_loss",
        without("future_observed_mask"),
        "loss differs",
    ),
    "a step not sampled": (
        "time_series_transformer",
        "time_series::sampled_futures_have_the_documented_shape",
        attribute(lambda cell: cell.model_class, "generate", replacing(_one_step_short)),
        "sampled futures have shape",
    ),
    "wanted return lost": (
        "decision_transformer",
        "decision::return_state_and_past_action_move_the_next_action",
        _given("returns_to_go", torch.zeros_like),
        "when returns_to_go of step",
    ),
    "next state seen": (
        "decision_transformer",
        "decision::an_action_does_not_see_itself_or_the_future",
        _given("states", lambda x: x.roll(-1, dims=1)),
        "when states of step",
    ),
    "action to predict seen": (
        "decision_transformer",
        "decision::an_action_does_not_see_itself_or_the_future",
        _given("actions", lambda x: x.roll(-1, dims=1)),
        "when actions of step",
    ),
    "padding attended to": (
        "decision_transformer",
        "decision::masked_steps_do_not_move_the_action",
        without("attention_mask"),
        "masked steps are added before the episode",
    ),
    "time dropped": (
        "decision_transformer",
        "decision::number_of_the_step_matters",
        _given("timesteps", torch.zeros_like),
        "5 steps further on",
    ),
    "history as a bag": (
        "decision_transformer",
        "decision::order_of_steps_matters",
        outputs_changed(_history_as_a_bag),
        "when the first two steps change places",
    ),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_broken_model_is_caught(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, check, broken, says = CASES[case]
    assert_caught(model, check, broken, says, monkeypatch, own=False)


@pytest.mark.parametrize("category", ["time_series", "decision"])
def test_every_check_has_a_broken_model(category: str) -> None:
    assert {check for _, check, *_ in CASES.values() if check.startswith(f"{category}::")} == checks_of(category)
