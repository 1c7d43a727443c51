"""The `inductor` runtime compiles, counts what it could not compile whole, and leaves nothing to eager mode unseen."""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo import config as dynamo_config

from harness.cell import Cell
from harness.reporter import HarnessFault
from harness.runtimes import Prepared, StageError, inductor
from harness.spec import Backend, Tolerance
from tests.harness.broken import run_check, spec_of
from toolchains.host import identify

BACKEND = Backend("cpu_inductor", "cpu_cxx", "inductor", "float32", Tolerance(1e-4, 1e-5, 1e-6), "runtime")


class Small(nn.Module):
    """A layer, what `between` does, and an activation."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self._between = between

    def forward(self, x: Tensor) -> Tensor:
        """Returns (batch, 4) for (batch, 4)."""
        return self._between(self.layer(x)).relu() + 1


def _plain(x: Tensor) -> Tensor:
    return x


def _breaks(x: Tensor) -> Tensor:
    torch._dynamo.graph_break()
    return x


def _breaks_in_a_loop(x: Tensor) -> Tensor:
    for _ in range(2):
        torch._dynamo.graph_break()
    return x


@torch.library.custom_op("modelgrid::unfinished", mutates_args=())
def _unfinished(x: Tensor) -> Tensor:
    return x.clone()


def _interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets graphs run as they are: what Dynamo does is the same, and no C++ is compiled."""
    monkeypatch.setattr(inductor, "compile_fx", lambda graph, _: graph)


def _prepare(between: Callable[[Tensor], Tensor]) -> tuple[Any, Prepared]:
    model: Any = Small(between)
    return model, inductor.make(BACKEND).prepare(model, {})


def _call(model: Any, prepared: Prepared, rows: int) -> None:
    x = torch.randn(rows, 4)
    with torch.no_grad():
        torch.testing.assert_close(prepared(x=x), model(x))


def _counts(prepared: Prepared) -> Mapping[str, int]:
    return {name: count for name, count in prepared.counts.items() if count}


def test_a_model_is_compiled_once_for_every_shape_without_the_users_path(monkeypatch: pytest.MonkeyPatch) -> None:
    inductor._set_up.cache_clear()
    monkeypatch.delenv("PATH", raising=False)  # as in an action
    model, prepared = _prepare(_plain)
    for rows in (2, 3):
        _call(model, prepared, rows)
    assert (prepared.calls, _counts(prepared)) == (2, {"graphs": 1})
    cache = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert list(cache.rglob("*.so")), "no C++ was compiled"
    assert cache.parent == Path(tempfile.gettempdir())


def test_a_shape_that_the_code_does_not_fit_is_compiled_anew_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    _interpreted(monkeypatch)
    model, prepared = _prepare(_plain)
    for rows in (2, 1):  # one row is a size of its own to Dynamo
        _call(model, prepared, rows)
    assert (prepared.calls, _counts(prepared)) == (2, {"graphs": 1, "recompiles": 1})


def test_a_graph_break_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    _interpreted(monkeypatch)
    model, prepared = _prepare(_breaks)
    for rows in (2, 3):
        _call(model, prepared, rows)
    assert (prepared.calls, _counts(prepared)) == (2, {"graphs": 2, "graph_breaks": 2})  # in the caller, and in itself


def test_a_function_that_is_left_to_eager_mode_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    _interpreted(monkeypatch)
    model, prepared = _prepare(_breaks_in_a_loop)
    _call(model, prepared, 2)
    assert prepared.calls == 1
    assert prepared.counts["eager_frames"] >= 1


def test_a_call_that_eager_mode_answers_alone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _interpreted(monkeypatch)
    model, prepared = _prepare(_plain)
    with (
        torch.compiler.set_stance("force_eager"),
        pytest.raises(StageError, match="stage run: LeftToEagerMode: no comp"),
    ):
        _call(model, prepared, 2)


class Forgetful(inductor.Inductor):
    """Leaves other shapes than the first to eager mode."""

    def prepare(self, model: Any, inputs: Mapping[str, Any], others: Mapping[str, Any] | None = None) -> Prepared:
        """Returns the model as it is compiled for one shape."""
        prepared = super().prepare(model, inputs)
        call = prepared._call

        def run(**given: Any) -> Any:
            fits = given["input_ids"].shape == inputs["input_ids"].shape
            with torch.compiler.set_stance("default" if fits else "force_eager"):
                return call(**given)

        prepared._call = run
        return prepared


@pytest.mark.parametrize(
    ("check", "outcome"), [("runtime::runs", "passed"), ("runtime::second_shape_agrees", "failed")]
)
def test_another_shape_that_is_left_to_eager_mode_is_caught(
    check: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _interpreted(monkeypatch)
    cell = Cell(dataclasses.replace(spec_of("bert"), backend=BACKEND))
    cell.__dict__["runtime"] = Forgetful(torch.device("cpu"), torch.float32)
    result = run_check(cell, check)
    assert result.outcome == outcome, result.message
    assert outcome == "passed" or "stage run: LeftToEagerMode" in result.message


def test_too_many_compilations_of_a_function_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _interpreted(monkeypatch)
    model, prepared = _prepare(_plain)
    with dynamo_config.patch(recompile_limit=1):
        _call(model, prepared, 2)
        with pytest.raises(StageError, match="stage compile: CompileError: FailOnRecompileLimitHit"):
            _call(model, prepared, 1)


def test_an_operator_that_cannot_be_compiled_is_named() -> None:
    model, prepared = _prepare(_unfinished)
    with pytest.raises(StageError, match=r"(?s)stage compile.*modelgrid.unfinished"):
        _call(model, prepared, 2)


def test_what_the_model_raises_is_raised_at_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("illegal instruction")

    monkeypatch.setattr(inductor, "compile_fx", lambda *_: broken)
    with pytest.raises(StageError, match="stage run: RuntimeError: illegal instruction"):
        _call(*_prepare(_plain), 2)


def test_the_compiler_is_the_one_that_the_device_is_identified_by() -> None:
    found = identify.cpu_cxx(identify.this_machine())
    assert found is not None
    assert found["compiler"] == inductor.find_compiler()


def test_without_a_compiler_the_fix_is_named(tmp_path: Path) -> None:
    with pytest.raises(HarnessFault, match=r"no C\+\+ compiler .* install one"):
        inductor.find_compiler(str(tmp_path))


def test_without_the_headers_the_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(HarnessFault, match='needs packages = "inductor"'):
        inductor.find_headers([str(tmp_path)])
    assert (inductor.find_headers(sys.path) / "c10").is_dir()
