"""Every check of a backend catches the runtime that it is there for: adapters that fail, fall back or are wrong."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.cell import Cell
from harness.checking import _MARK
from harness.checks import runtime as checks
from harness.checks.core import CORE
from harness.runtimes import Prepared, StageError
from harness.runtimes.eager import Eager
from harness.spec import Backend, Tolerance
from harness.verdict import CheckResult, reached_level
from tests.harness.broken import run_check, spec_of

AGREES, RUNS = "runtime::agrees_with_eager", "runtime::runs"
SECOND, STEP = "runtime::second_shape_agrees", "runtime::cached_step_agrees_with_eager"


class Fake(Eager):
    """A runtime that is eager mode, but for what `change` does to an output, and for where it fails.

    Args:
      change: gets the output and the inputs by name.
      stage: where it fails, if anywhere.
      falls_back: whether it hands other shapes than the first to eager mode.
    """

    def __init__(
        self, change: Callable[[Any, dict[str, Any]], None] | None = None, stage: str = "", falls_back: bool = False
    ) -> None:
        super().__init__(torch.device("cpu"), torch.float32)
        self._change, self._stage, self._falls_back = change, stage, falls_back

    def prepare(self, model: Any, inputs: Mapping[str, Any], others: Mapping[str, Any] | None = None) -> Prepared:
        """Returns the model in the form of a runtime."""
        if self._stage not in ("", "run"):
            raise StageError(self._stage, NotImplementedError("no such operator"), "aten.foo.default")
        first = inputs["input_ids"].shape

        def call(**given: Any) -> Any:
            if self._stage == "run":
                raise StageError("run", RuntimeError("illegal instruction"))
            outputs = model(**given)
            if self._change:
                self._change(outputs, given)
            if self._falls_back and given["input_ids"].shape != first:
                prepared.calls -= 1  # its own code did not answer
            return outputs

        prepared = Prepared(call)
        return prepared


def _cell(runtime: Any, name: str = "llama", dtype: str = "float32", per_layer: float = 1e-6) -> Cell:
    backend = Backend("cpu_fake", "cpu", "eager", dtype, Tolerance(1e-4, 1e-5, per_layer), "runtime")
    cell = Cell(dataclasses.replace(spec_of(name), backend=backend))
    if runtime is not None:
        cell.__dict__["runtime"] = runtime
    return cell


def _one_element(outputs: Any, given: dict[str, Any]) -> None:
    outputs.logits[1, -1, 17] += 0.01


def _everything_a_little(outputs: Any, given: dict[str, Any]) -> None:
    outputs.logits *= 1.00002


def _nan(outputs: Any, given: dict[str, Any]) -> None:
    outputs.logits[0, 0, 0] = float("nan")


def _second_batch_as_the_first(outputs: Any, given: dict[str, Any]) -> None:
    outputs.logits[2:] = 0


def _stale_cache(outputs: Any, given: dict[str, Any]) -> None:
    for layer in outputs.past_key_values.layers if given.get("use_cache") else ():
        layer.keys[:, :, 0] = 0


@pytest.mark.parametrize(
    ("check", "runtime", "says"),
    [
        (RUNS, Fake(stage="export"), "stage export at aten.foo.default: NotImplementedError: no such operator"),
        (RUNS, Fake(stage="compile"), "stage compile at aten.foo.default"),
        (RUNS, Fake(stage="save"), "stage save at aten.foo.default"),
        (RUNS, Fake(stage="check"), "stage check at aten.foo.default"),
        (RUNS, Fake(stage="load"), "stage load at aten.foo.default"),
        (RUNS, Fake(stage="run"), "stage run: RuntimeError: illegal instruction"),
        (RUNS, Fake(_nan), "stage run: logits is nan at [0, 0, 0]"),
        (AGREES, Fake(_one_element), "stage compare: logits differs most at [1, 12, 17] by 0.01"),
        (AGREES, Fake(_everything_a_little), "and in all by 2e-05 of its norm (tolerance 4.58e-06: 1e-06 for float32"),
        (SECOND, Fake(_second_batch_as_the_first), "with another shape (input_ids [3, 17], attention_mask [3, 17])"),
        (SECOND, Fake(falls_back=True), "stage run: eager handed the call back to eager mode"),
        (STEP, Fake(_stale_cache), "from a cache of 12 tokens"),
    ],
)
def test_a_broken_runtime_is_caught(check: str, runtime: Fake, says: str) -> None:
    result = run_check(_cell(runtime), check)
    assert (result.outcome, says in result.message) == ("failed", True), result.message


@pytest.mark.parametrize("check", [name for names in CORE["runtime"].values() for name in names])
def test_a_sound_runtime_passes(check: str) -> None:
    assert run_check(_cell(Fake()), check).outcome == "passed"


@pytest.mark.parametrize("check", [RUNS, AGREES, SECOND, STEP])
def test_bfloat16_agrees_within_its_policy_and_not_within_that_of_float32(check: str) -> None:
    assert run_check(_cell(None, dtype="bfloat16", per_layer=0.0078), check).outcome == "passed"
    strict = run_check(_cell(None, dtype="bfloat16"), check)
    assert strict.outcome == ("passed" if check == RUNS else "failed"), strict.message


def test_a_token_that_goes_to_another_expert_is_no_fault_and_is_counted() -> None:
    cell = _cell(None, "mixtral", dtype="bfloat16", per_layer=0.0078)
    assert run_check(cell, AGREES).outcome == "passed"
    assert cell.runtime_counts == {"outputs_amplified": 1}


def _another_expert_at_the_first_token(outputs: Any, given: dict[str, Any]) -> None:
    outputs.logits[0, 0] = outputs.logits[0, 0].flip(-1)


def test_a_token_that_no_router_is_in_doubt_of_is_compared_as_ever() -> None:
    result = run_check(_cell(Fake(_another_expert_at_the_first_token), "mixtral", per_layer=0.0078), AGREES)
    assert "logits differs most at [0, 0, " in result.message and "that does not explain it" in result.message


@pytest.mark.parametrize(
    ("off", "moved", "says"),
    [
        ([[0.3, 0.0], [0.0, 0.0]], [[0.0, 0.2], [0.0, 0.0]], ""),
        ([[0.5, 0.0], [0.0, 0.0]], [[0.0, 0.2], [0.0, 0.0]], "itself moves by up to 0.1 of the norm: that does not"),
        ([[0.0, 0.0], [0.3, 0.0]], [[0.0, 0.2], [0.0, 0.0]], "that does not explain it"),
        ([[0.3, 0.0], [0.0, 0.0]], [[0.0, 0.6], [0.0, 0.0]], "float32 does not determine this output"),
        ([[3.0, 0.0], [0.0, 0.0]], [[0.0, 0.6], [0.0, 0.0]], "that does not explain it"),
        ([[float("nan"), 0.0], [0.0, 0.0]], [[0.0, 0.2], [0.0, 0.0]], "the policy's own words"),
    ],
)
def test_what_disturbed_layers_explain(off: list[list[float]], moved: list[list[float]], says: str) -> None:
    wanted, error = torch.ones(2, 2), AssertionError("the policy's own words\nand numbers")
    runs = [wanted, wanted + torch.tensor(moved)]

    def examine() -> None:
        checks._assert_amplified(_cell(Fake()), error, wanted + torch.tensor(off), wanted, runs, share=0.01)

    if not says:
        examine()
        return
    with pytest.raises(AssertionError, match=says):
        examine()


def test_a_mask_of_scores_is_the_same_in_every_dtype_and_no_number_is_a_mask() -> None:
    least = [torch.finfo(dtype).min for dtype in (torch.bfloat16, torch.float32)]
    actual, wanted = torch.tensor([least[0], 1.0, -math.inf, math.inf]), torch.tensor([least[1], 2.0, -1.0, -math.inf])
    bare = checks._without_masks(actual, wanted)
    assert [tensor.tolist() for tensor in bare] == [[0.0, *actual.tolist()[1:]], [0.0, *wanted.tolist()[1:]]]


def test_an_output_whose_size_rounding_changes_is_not_determined() -> None:
    with pytest.raises(AssertionError, match="by up to inf of the norm: float32 does not determine this output"):
        checks._assert_amplified(
            _cell(Fake()), AssertionError("off"), torch.ones(2) * 2, torch.ones(2), [torch.ones(3)], share=0.01
        )


def test_a_model_without_a_cache_has_no_step() -> None:
    assert run_check(_cell(None, "bert"), STEP).outcome == "not_applicable"


def test_core_checks_are_those_marked_core() -> None:
    marks = {f"runtime::{name[5:]}": getattr(value, _MARK, None) for name, value in vars(checks).items()}
    marked = {name: mark.level for name, mark in marks.items() if mark and mark.core}
    assert marked == {name: level for level, names in CORE["runtime"].items() for name in names}


def test_agreement_reaches_consistent_and_no_deeper() -> None:
    results = [CheckResult(name, level, True, "passed") for level, names in CORE["runtime"].items() for name in names]
    assert reached_level(results, CORE["runtime"]) == "consistent"
    assert reached_level(results[:3], CORE["runtime"]) == "forward"


def test_reference_keeps_a_table_of_rotations() -> None:
    cell = _cell(Fake())
    cell.model.register_buffer("turns", torch.polar(torch.ones(1), torch.ones(1)), persistent=False)

    def turn(model: Any, _inputs: Any, outputs: Any) -> None:
        outputs.logits.mul_(model.turns.imag)

    cell.model.register_forward_hook(turn)
    result = run_check(cell, AGREES)
    assert result.outcome == "passed", result.message


def test_reference_is_not_changed_by_the_backend() -> None:
    cell = _cell(None, dtype="bfloat16")
    inputs: dict[str, Tensor] = {"pixel_values": torch.ones(1, dtype=torch.bfloat16)}
    assert checks._in_float32(inputs)["pixel_values"].dtype == torch.float32
    assert cell.model.dtype == torch.bfloat16
