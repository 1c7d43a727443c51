"""Checks of models that decide: an action follows from what was wanted, seen and done before it, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.cell import Cell
from harness.checking import check
from harness.compare import assert_close, assert_moved

# What an action may depend on at its own step, and what only at the steps before it.
_BEFORE_THE_ACTION = ("returns_to_go", "states")
_WITH_THE_ACTION = ("actions",)


@pytest.fixture(scope="session")
def actions(cell: Cell) -> Tensor:
    """The predicted actions (batch, steps, action) on the cell's inputs, computed once."""
    return cell.primary(cell.forward())


def _changed(cell: Cell, name: str, step: int) -> Tensor:
    """Returns the predicted actions when one input is changed at one step."""
    value = cell.inputs[name].clone()
    value[:, step] += 1
    return cell.primary(cell.forward(inputs={**cell.inputs, name: value}))


@check(level="consistent", core=True)
def test_return_state_and_past_action_move_the_next_action(cell: Cell, actions: Tensor) -> None:
    """Finds a stream that is embedded and then lost in the interleaving: a wrong stride, a swapped axis."""
    middle = actions.shape[1] // 2
    for name in _BEFORE_THE_ACTION:
        after = _changed(cell, name, middle)
        when = f"when {name} of step {middle} is changed"
        assert_moved(f"action of step {middle}", after[:, middle], actions[:, middle], when)
    for name in _WITH_THE_ACTION:
        after = _changed(cell, name, middle)
        when = f"when {name} of step {middle} are changed"
        assert_moved(f"action of step {middle + 1}", after[:, middle + 1], actions[:, middle + 1], when)


@check(level="consistent", core=True)
def test_an_action_does_not_see_itself_or_the_future(cell: Cell, actions: Tensor) -> None:
    """Finds a causal mask that is missing or off by one token: the action that is to be predicted is read."""
    for step in {actions.shape[1] // 2, actions.shape[1] - 1}:
        for name in (*_BEFORE_THE_ACTION, *_WITH_THE_ACTION):
            edge = step + 1 if name in _WITH_THE_ACTION else step
            after = _changed(cell, name, step)
            when = f"when {name} of step {step} are changed"
            assert_close(f"actions before step {edge}", after[:, :edge], actions[:, :edge], cell.tolerance, when)


@check(level="consistent", core=True)
def test_masked_steps_do_not_move_the_action(cell: Cell, actions: Tensor) -> None:
    """Finds a mask that is not spread over all tokens of a step: padding before an episode is then attended to."""
    count = 3
    steps = ("states", "actions", "returns_to_go", "timesteps")
    padded = {
        name: torch.cat([torch.zeros_like(cell.inputs[name][:, :count]), cell.inputs[name]], dim=1) for name in steps
    }
    mask = torch.ones(padded["timesteps"].shape, dtype=torch.long, device=actions.device)
    mask[:, :count] = 0
    after = cell.primary(cell.forward(inputs={**cell.inputs, **padded, "attention_mask": mask}))
    when = f"when {count} masked steps are added before the episode"
    assert_close("actions", after[:, count:], actions, cell.tolerance, when)


@check(level="consistent", core=True)
def test_number_of_the_step_matters(cell: Cell, actions: Tensor) -> None:
    """Finds positions that were dropped: the same steps at another time of the episode give another action."""
    after = cell.primary(cell.forward(inputs={**cell.inputs, "timesteps": cell.inputs["timesteps"] + 5}))
    assert_moved("actions", after, actions, "when the episode is 5 steps further on")


@check(level="consistent", core=True)
def test_order_of_steps_matters(cell: Cell, actions: Tensor) -> None:
    """Finds a history read as a bag: two earlier steps exchanged, with their numbers left in place."""
    order = torch.arange(actions.shape[1])
    order[0], order[1] = 1, 0
    swapped = {name: cell.inputs[name][:, order] for name in ("states", "actions", "returns_to_go")}
    after = cell.primary(cell.forward(inputs={**cell.inputs, **swapped}))
    assert_moved("the last action", after[:, -1], actions[:, -1], "when the first two steps change places")
