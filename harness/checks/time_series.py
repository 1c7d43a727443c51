"""Checks of models of time series: the whole window counts, the future stays hidden, scaling does what it says.

What a model makes of a window comes in three kinds, told apart by the names of its outputs: a forecast in the values'
own unit, the parameters of a distribution over the scaled future, or features.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.cell import Cell
from harness.checking import check
from harness.compare import EFFECT, assert_close, assert_finite, assert_moved, magnitude
from harness.generation import parameters_of

_PARTS = 4  # the window is examined in so many parts of equal length
_FORECASTS = ("prediction_outputs", "mean_predictions")
_MASKS = ("past_observed_mask", "observed_mask")


def _forecast(tensors: dict[str, Tensor]) -> Tensor:
    """Returns what a model makes of a window, from its named outputs: rows first."""
    for name in _FORECASTS:
        if name in tensors:
            return tensors[name]
    parameters = [tensor for name, tensor in tensors.items() if name.startswith("params.")]
    if parameters:
        return torch.stack(parameters, dim=-1)
    return tensors["last_hidden_state"]


@pytest.fixture(scope="session")
def tensors(cell: Cell) -> dict[str, Tensor]:
    """The main model's outputs on the cell's inputs, computed once."""
    return cell.tensors(cell.forward())


def _after(cell: Cell, **changed: Tensor) -> dict[str, Tensor]:
    return cell.tensors(cell.forward(inputs={**cell.inputs, **changed}))


def _mask_name(cell: Cell) -> str | None:
    return next((name for name in _MASKS if name in cell.inputs), None)


def _no_statistics(cell: Cell) -> str | None:
    outputs = cell.tensors(cell.forward())
    return None if {"loc", "scale"} <= outputs.keys() else "the class hands out no location and scale of the window"


def _no_observed_mask(cell: Cell) -> str | None:
    if _mask_name(cell) is None:
        return "forward takes no mask of observed values"
    return _no_statistics(cell)


def _no_taught_future(cell: Cell) -> str | None:
    return None if "future_values" in cell.inputs else "the future is no input: the forecast is made in one step"


def _no_forecast(cell: Cell) -> str | None:
    found = set(_FORECASTS) & cell.tensors(cell.forward()).keys()
    return None if found else "the class gives parameters of a distribution over the scaled future, no forecast"


def _no_measured_future(cell: Cell) -> str | None:
    names = parameters_of(cell.model_class)
    return None if "future_values" in names and cell.model_class.__name__.endswith("ForPrediction") else "no forecast"


def _no_distribution(cell: Cell) -> str | None:
    return None if hasattr(cell.model, "output_distribution") else "the class forecasts values, no distribution"


def _no_future_mask(cell: Cell) -> str | None:
    taken = "future_observed_mask" in parameters_of(cell.model_class)
    return None if taken else "forward takes no mask of the observed future"


@check(level="consistent", core=True)
def test_every_part_of_the_window_moves_the_forecast(cell: Cell) -> None:
    """Finds parts of the past that are never read: a wrong stride of patches, a lag cut off, a mask that hides them."""
    values = cell.inputs["past_values"].clone().requires_grad_()
    forecast = _forecast(cell.tensors(cell.model(**{**cell.inputs, "past_values": values})))
    weights = torch.randn(forecast.shape, generator=torch.Generator().manual_seed(3)).to(forecast)
    (gradient,) = torch.autograd.grad((forecast * weights).sum(), values)
    assert_finite("gradient of past_values", gradient)
    size = gradient.shape[1] // _PARTS
    largest = magnitude(gradient)
    for row in range(gradient.shape[0]):
        for part in range(_PARTS):
            share = magnitude(gradient[row, part * size : (part + 1) * size]) / max(largest, 1e-12)
            assert share > EFFECT, (
                f"forecast of row {row} does not depend on past_values {part * size} to {(part + 1) * size - 1}: "
                f"their largest gradient is {share:.3g} of the window's"
            )


@check(level="consistent", core=True)
def test_order_in_time_matters(cell: Cell, tensors: dict[str, Tensor]) -> None:
    """Finds positions and time features that were dropped: the past in reverse must not give the same forecast."""
    after = _forecast(_after(cell, past_values=cell.inputs["past_values"].flip(1)))
    assert_moved("forecast", after, _forecast(tensors), "when the past is reversed")


@check(level="consistent", core=True, unless=_no_taught_future)
def test_future_does_not_reach_back(cell: Cell, tensors: dict[str, Tensor]) -> None:
    """Finds a decoder that sees the value that it is to forecast, or one behind it: a lost mask, a lag of zero."""
    future = cell.inputs["future_values"]
    before = _forecast(tensors)
    for step in {future.shape[1] // 2, future.shape[1] - 1}:
        changed = future.clone()
        changed[:, step] += 5
        after = _forecast(_after(cell, future_values=changed))
        edge = before.shape[1] - future.shape[1] + step + 1
        when = f"when the future value {step} is changed"
        assert_close(f"forecast up to step {step}", after[:, :edge], before[:, :edge], cell.tolerance, when)


@check(level="consistent", core=True, unless=_no_observed_mask)
def test_unobserved_values_do_not_move_location_and_scale(cell: Cell, tensors: dict[str, Tensor]) -> None:
    """Finds a scaler that counts missing values: the mask ignored in its sums, or in the number it divides by.

    Missing values themselves are given as zeros, as the documentation asks: models read them as they are.
    """
    name = _mask_name(cell)
    assert name is not None
    values = cell.inputs["past_values"]
    middle = values.shape[1] - 2  # inside what every scaler looks at, whatever the lags before it
    mask = cell.inputs[name].clone()
    mask[:, middle] = 0
    first, second = values.clone(), values.clone()
    first[:, middle], second[:, middle] = 0, 50
    hidden = _after(cell, past_values=first, **{name: mask})
    other = _after(cell, past_values=second, **{name: mask})
    for statistic in ("loc", "scale"):
        when = "when a value that was not observed is changed"
        assert_close(statistic, other[statistic], hidden[statistic], cell.tolerance, when)
    assert_moved("scale", hidden["scale"], tensors["scale"], "when a value is not observed")


@check(level="consistent", core=True, unless=_no_statistics)
def test_location_and_scale_follow_the_values(cell: Cell, tensors: dict[str, Tensor]) -> None:
    """Finds a scaler with a wrong formula or floor: values four times as large have four times the statistics."""
    after = _after(cell, past_values=4 * cell.inputs["past_values"])
    for statistic in ("loc", "scale"):
        expected = 4 * tensors[statistic]
        assert_close(statistic, after[statistic], expected, cell.tolerance, "when all values are four times as large")


@check(level="consistent", core=True, unless=_no_forecast)
def test_forecast_follows_the_scale_of_the_values(cell: Cell, tensors: dict[str, Tensor]) -> None:
    """Finds a forecast that is scaled back with other statistics than the values were scaled with."""
    after = _forecast(_after(cell, past_values=4 * cell.inputs["past_values"]))
    when = "when all values are four times as large"
    assert_close("forecast", after, 4 * _forecast(tensors), cell.tolerance, when)


@check(level="consistent", core=True, unless=_no_measured_future)
def test_loss_falls_to_its_least_at_the_forecast(cell: Cell) -> None:
    """Finds a loss against something else than the forecast: another unit, other steps, a wrong sign.

    A series forecast as it comes true must cost less than one that is off by its own spread.
    """
    given = cell.make_inputs(labels=True)
    outputs = cell.forward(inputs=given)
    future = given["future_values"]
    if hasattr(cell.model, "output_distribution"):
        mean = cell.model.output_distribution(outputs.params, loc=outputs.loc, scale=outputs.scale).mean
        truth = mean[:, -future.shape[1] :]
        measured = _distribution_loss(cell, outputs, truth)
        for sign in (-1, 1):
            worse = _distribution_loss(cell, outputs, truth + sign * 3 * outputs.scale.abs().max())
            assert measured < worse, f"loss is {measured:.6g} at the mean of the forecast and {worse:.6g} far from it"
        expected = _distribution_loss(cell, outputs, future)
        assert_close(
            "loss", outputs.loss, torch.tensor(expected), cell.tolerance, "against the likelihood of the forecast"
        )
        return
    truth = _forecast(cell.tensors(outputs))[:, : future.shape[1]]
    measured = float(cell.forward(inputs={**given, "future_values": truth}).loss)
    for sign in (-1, 1):
        worse = float(cell.forward(inputs={**given, "future_values": truth + sign * float(future.std())}).loss)
        assert measured < worse, f"loss is {measured:.6g} at the forecast itself and {worse:.6g} beside it"


def _distribution_loss(cell: Cell, outputs: object, future: Tensor) -> float:
    """Returns the mean negative log likelihood of a future under the forecast's distribution."""
    loc, scale, params = (getattr(outputs, name) for name in ("loc", "scale", "params"))
    distribution = cell.model.output_distribution(params, loc=loc, scale=scale)
    return float(-distribution.log_prob(future).mean())


@check(level="consistent", core=True, unless=_no_future_mask)
def test_unobserved_future_does_not_count_in_the_loss(cell: Cell) -> None:
    """Finds a loss that measures the forecast by values that were never observed."""
    given = cell.make_inputs(labels=True)
    future = given["future_values"]
    mask = torch.ones_like(future)
    mask[:, -1] = 0
    changed = future.clone()
    changed[:, -1] += 5  # the last step: no step behind it reads it
    first = cell.forward(inputs={**given, "future_observed_mask": mask}).loss
    second = cell.forward(inputs={**given, "future_observed_mask": mask, "future_values": changed}).loss
    assert_close("loss", second, first, cell.tolerance, "when a future value that was not observed is changed")
    whole = cell.forward(inputs=given).loss
    assert_moved("loss", first.reshape(1), whole.reshape(1), "when the last future value is not observed")


@check(level="consistent", core=True, unless=_no_distribution)
def test_sampled_futures_have_the_documented_shape(cell: Cell) -> None:
    """Finds `generate` losing or repeating steps, or drawing other futures from the same seed."""
    from harness.build import seeded

    given = {name: tensor for name, tensor in cell.inputs.items() if name != "future_values"}
    drawn = []
    for _ in range(2):
        with seeded(1):
            drawn.append(cell.model.generate(**given).sequences)
    rows, steps = cell.inputs["past_values"].shape[0], int(cell.config.prediction_length)
    wanted = [rows, int(cell.config.num_parallel_samples), steps]
    assert list(drawn[0].shape[:3]) == wanted, f"sampled futures have shape {list(drawn[0].shape)}, documented {wanted}"
    assert_finite("sampled futures", drawn[0])
    assert_close("sampled futures", drawn[1], drawn[0], cell.tolerance, "when drawn again from the same seed")
    assert_moved("sampled futures", drawn[0][:, :, -1], drawn[0][:, :, 0], "from the first step to the last")
