"""Series of numbers, and trajectories of decisions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harness.inputs.configs import first
from harness.inputs.request import DECODER_SEQUENCE, Maker, Request


def _series_length(config: Any) -> int:
    """Returns how many steps of the past a model reads: the context, and what the longest lag looks back on."""
    return int(config.context_length) + max(first(config, "lags_sequence") or [0])


def make_series(request: Request, name: str, steps: int) -> Tensor:
    """Returns a series (batch, steps[, variates]) with a level and a spread, as a scaler expects one."""
    channels = getattr(request.config, "num_input_channels", None)
    width = int(channels or getattr(request.config, "input_size", None) or 1)
    shape = (request.batch, steps) if channels is None and width == 1 else (request.batch, steps, width)
    return 3.0 + 2.0 * request.noise(name, *shape)


def past_values(request: Request, made: dict[str, Tensor]) -> Tensor:
    """The steps that a forecast begins from."""
    return make_series(request, "past_values", _series_length(request.config))


def future_values(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """The future as a decoder reads it when it is taught; where it is a label only it comes with the labels."""
    taught = "future_time_features" in request.parameters
    return make_series(request, "future_values", int(request.config.prediction_length)) if taught else None


def time_features(name: str) -> Maker:
    """Returns a maker of what is known of each step (batch, steps, features): its date, covariates."""

    def make_features(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        values = made.get(name)
        count = int(request.config.num_time_features) + int(request.config.num_dynamic_real_features)
        return None if values is None else request.noise(f"{name} features", *values.shape[:2], count)

    return make_features


def static_categories(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """A class of each kind that the series has, such as its shop and its product."""
    kinds = request.config.cardinality if request.config.num_static_categorical_features else []
    columns = [request.integers(f"category {index}", 0, int(size), request.batch) for index, size in enumerate(kinds)]
    return torch.stack(columns, dim=1) if columns else None


def static_numbers(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """What is known of a series as numbers."""
    count = int(request.config.num_static_real_features)
    return request.noise("static_real_features", request.batch, count) if count else None


def frequency(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """The kind of each series, such as daily or monthly."""
    kinds = first(request.config, "freq_size")
    if kinds is None:
        return None
    row = torch.arange(request.batch).remainder(int(kinds))
    return row if request.cls.__name__.endswith("ForPrediction") else row[:, None]


def observed(value: float) -> Maker:
    """Returns a maker of a mask of floats along a series: the models calculate with it."""

    def make_mask(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        return torch.full_like(made["past_values"], value) if "past_values" in made else None

    return make_mask


def trajectory(name: str, width: str | None = None) -> Maker:
    """Returns a maker of one quantity of each step of a trajectory, as wide as a field of the configuration says."""

    def make_steps(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        if width is not None and not hasattr(request.config, width):  # actions of another kind (PI0)
            return None
        size = 1 if width is None else int(getattr(request.config, width))
        return request.noise(name, request.batch, request.size("sequence_length", DECODER_SEQUENCE), size)

    return make_steps


def timesteps(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """The number of each step, rows beginning at different steps of their episodes."""
    if "states" not in made:
        return None
    steps = torch.arange(made["states"].shape[1]) + 3
    return torch.stack([steps + row for row in range(request.batch)])
