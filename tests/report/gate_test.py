"""The gate: what keeps it shut, each offender named with a command; and what it cannot judge."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.verdict import Verdict
from report import gate, history
from report.assemble import assemble
from report.coverage_format import Coverage
from report.declaration import TIERS, Declaration
from report.gate import Offence
from report.strict import InputError
from tests.report import samples
from tests.report.samples import contents, declaration, known_failure, verdict

OPEN: Mapping[str, Mapping[str, float]] = {tier: {} for tier in TIERS}
TODAY = "2026-11-24"
LLAMA = declaration()


def _coverage(models: Sequence[Declaration], found: Sequence[Verdict]) -> Coverage:
    return assemble(contents(models, found))


def _judge(
    models: Sequence[Declaration],
    found: Sequence[Verdict],
    quotas: Mapping[str, Mapping[str, float]] = OPEN,
    drops: Mapping[str, str] | None = None,
    stored: history.History | None = None,
) -> list[Offence]:
    """Judges a grid against `quotas`, and against itself where no history is given."""
    coverage = _coverage(models, found)
    itself = history.History(history.records_of(coverage, "2026-11-23", "abc"))
    return gate.judge(coverage, quotas, stored or itself, drops or {}, TODAY)


def test_good_grid_opens_the_gate() -> None:
    assert _judge([LLAMA], [verdict(LLAMA)], {**OPEN, "high": {"consistent": 1.0}}) == []


def test_each_model_that_a_quota_lacks_is_named_with_its_command() -> None:
    models = [LLAMA, declaration("gpt2"), declaration("opt")]
    found = [verdict(models[0]), verdict(models[1], level="forward"), verdict(models[2], level="forward")]
    quotas = {**OPEN, "high": {"forward": 1.0, "consistent": 0.5}}
    assert _judge(models, found, quotas) == [
        Offence(
            f"tier high: 1 of 3 models at consistent or deeper, the quota is 50%; {label} is at forward",
            f"./bazelw test {label.rpartition(':')[0]}:all",
        )
        for label in ("//models/decoder/gpt2:gpt2", "//models/decoder/opt:opt")
    ]


def test_share_that_is_just_reached_is_enough() -> None:
    models = [LLAMA, declaration("gpt2")]
    found = [verdict(models[0]), verdict(models[1], level="forward")]
    assert _judge(models, found, {**OPEN, "high": {"consistent": 0.5}}) == []


def test_model_that_is_not_covered_reaches_nothing_however_deep_it_is() -> None:
    (short, failed) = _judge(
        [LLAMA], [verdict(LLAMA, status="failed", reason="no")], {**OPEN, "high": {"forward": 1.0}}
    )
    assert "0 of 1 models at forward" in short.what and "//models/decoder/llama:cpu: failed: no" in failed.what


def test_mock_fills_no_quota() -> None:
    (short,) = _judge([LLAMA], [verdict(LLAMA, "mock")], {**OPEN, "high": {"forward": 1.0}})
    assert "0 of 1 models" in short.what


@pytest.mark.parametrize("status", ["failed", "flaky", "unexpected_pass"])
def test_status_that_asks_for_somebody_shuts_the_gate(status: str) -> None:
    (offence,) = _judge([LLAMA], [verdict(LLAMA, status=status, reason="because", failed_check="decoder::x")])
    assert offence.what == f"//models/decoder/llama:cpu: {status.replace('_', ' ')} at decoder::x: because"
    assert offence.look == "./bazelw test //models/decoder/llama:cpu"


@pytest.mark.parametrize(("expires", "shut"), [("2026-11-23", True), ("2026-11-24", False)])
def test_expired_known_failure_shuts_the_gate(expires: str, shut: bool) -> None:
    llama = declaration(known_failures=(known_failure(expires=expires),))
    found = verdict(llama, status="expected_failure", level="forward", failed_check="decoder::causality")
    offences = _judge([llama], [found])
    assert bool(offences) is shut
    assert not shut or "expired on 2026-11-23" in offences[0].what


@pytest.mark.parametrize(("expires", "shut"), [("2026-11-23", True), ("2026-11-24", False)])
def test_expired_known_failure_of_a_backend_shuts_the_gate(expires: str, shut: bool) -> None:
    known = dataclasses.replace(known_failure("cpu", expires), check="runtime::runs")
    cpu = dataclasses.replace(samples.CPU, known_failures=(known,))
    coverage = assemble(contents([LLAMA], [verdict(LLAMA)], (cpu,)))
    itself = history.History(history.records_of(coverage, "2026-11-23", "abc"))
    said = "cpu: the known failure of runtime::runs expired on 2026-11-23: upstream masks nothing"
    look = "./bazelw test --config=cpu //models/..., then mend it or renew the date in toolchains/backends.bzl"
    assert gate.judge(coverage, OPEN, itself, {}, TODAY) == ([Offence(said, look)] if shut else [])


def test_cell_without_verdict_where_others_ran_shuts_the_gate() -> None:
    models = [LLAMA, declaration("gpt2")]
    (offence,) = _judge(models, [verdict(LLAMA)])
    assert offence.what == "//models/decoder/gpt2:cpu: no verdict, though cpu runs here"


def test_backend_that_runs_nothing_here_does_not() -> None:
    assert _judge([LLAMA], [verdict(LLAMA)]) == [], "cuda has no verdict at all"


def test_model_that_vanished_from_the_environment_shuts_the_gate() -> None:
    coverage = assemble(dataclasses.replace(contents([LLAMA], [verdict(LLAMA)]), inventory={"bert": ("B",)}))
    stored = history.History(history.records_of(coverage, "2026-11-23", ""))
    (offence,) = gate.judge(coverage, OPEN, stored, {}, TODAY)
    assert offence.what == "//models/decoder/llama:llama: its folder is not in the environment"


def _stored(level: str = "reference", **fields: Any) -> history.History:
    return history.History((dataclasses.replace(_old(level), **fields),))


def _old(level: str) -> history.Record:
    (record,) = history.records_of(_coverage([LLAMA], [verdict(LLAMA, level=level)]), "2026-11-23", "abc")
    return record


def test_drop_shuts_the_gate_until_its_reason_is_there() -> None:
    (offence,) = _judge([LLAMA], [verdict(LLAMA)], stored=_stored())
    assert "llama cpu: passed consistent, was passed reference on 2026-11-23; no reason" in offence.what
    assert offence.look == "./bazelw test //models/decoder/llama:cpu"
    assert _judge([LLAMA], [verdict(LLAMA)], stored=_stored(), drops={"llama cpu": "the check is stricter"}) == []
    assert _judge([LLAMA], [verdict(LLAMA)], stored=_stored(), drops={"llama cpu": " "}) == [offence]


def test_cell_that_is_gone_is_a_drop() -> None:
    gpt2 = declaration("gpt2")
    (offence,) = _judge([gpt2], [verdict(gpt2)], stored=_stored())
    assert offence.what.startswith("llama cpu: gone, was passed reference")
    assert offence.look == "git log -- 'models/*/llama'"


COSTLY = dataclasses.replace(samples.CPU, name="cpu_export", runtime="export", tiers=("critical",))


def _nightly(*ran: str) -> Coverage:
    """Returns a grid of a critical model and llama, of which these ran on the costly backend too."""
    models = [declaration(name, tier=tier, backends=("cpu", COSTLY.name)) for name, tier in NIGHTLY.items()]
    found = [verdict(model) for model in models]
    found += [verdict(model, COSTLY.name) for model in models if model.name in ran]
    return assemble(contents(models, found, (samples.CPU, COSTLY)))


NIGHTLY = {"bert": "critical", "llama": "high"}


def test_what_is_left_to_nightly_is_not_gone_and_is_held_to_its_last_record() -> None:
    whole, daily = _nightly("bert", "llama"), _nightly("bert")
    records = [*history.records_of(whole, "2026-11-23", "abc"), *history.records_of(daily, "2026-11-24", "def")]
    assert gate.judge(daily, OPEN, history.History(tuple(records[:1])), {}, TODAY) == []
    assert gate.judge(whole, OPEN, history.History(tuple(records)), {}, TODAY) == []
    deeper = dataclasses.replace(records[0], cells={"cpu_export": {"passed weights": "llama"}})
    (offence,) = gate.judge(whole, OPEN, history.History((deeper, records[1])), {}, TODAY)
    assert offence.what.startswith("llama cpu_export: passed consistent, was passed weights on 2026-11-23")


def test_each_environment_has_a_baseline_of_its_own() -> None:
    old = declaration("old", environment="transformers-4.57")
    both = [verdict(LLAMA), verdict(old)]
    assert _judge([LLAMA, old], both) == []
    assert _judge([LLAMA, old], both, stored=_stored("consistent")) == [], "a new environment beside the recorded one"
    (offence,) = _judge([old], [verdict(old)], stored=_stored("consistent"))
    assert "no record of transformers-4.57: it has transformers-5.23 alone" in offence.what, "in place of it"


def test_backend_that_the_history_has_and_this_host_has_not_is_no_drop() -> None:
    cells = {"cpu": {"passed consistent": "llama"}, "cuda": {"passed consistent": "llama"}}
    assert _judge([LLAMA], [verdict(LLAMA)], stored=_stored(cells=cells)) == []


def test_reason_for_a_drop_that_is_none_shuts_the_gate() -> None:
    (offence,) = _judge([LLAMA], [verdict(LLAMA)], drops={"llama cpu": "was slow"})
    assert "'llama cpu' is no worse" in offence.what


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (history.History(), "no record of transformers-5.23: it is empty"),
        (_stored(environment="transformers-4.57"), "no record of transformers-5.23: it has transformers-4.57 alone"),
        (history.History(_stored("consistent").records, (history.Problem(3, "line 3: not JSON"),)), "line 3: not JSON"),
    ],
)
def test_history_that_is_no_baseline_shuts_the_gate(stored: history.History, message: str) -> None:
    coverage = _coverage([LLAMA], [verdict(LLAMA)])
    (offence,) = gate.judge(coverage, OPEN, stored, {}, TODAY)
    assert message in offence.what


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([], "expected an object with the tiers"),
        ({"critical": {}}, "expected an object with the tiers critical, high, medium, low"),
        ({**OPEN, "low": {"built": 1}}, "low: expected levels from forward on"),
        ({**OPEN, "low": {"forward": 95}}, "low, forward: 95 is no share"),
        ({**OPEN, "low": {"forward": True}}, "low, forward: True is no share"),
    ],
)
def test_table_that_is_none_is_refused(tmp_path: Path, table: Any, message: str) -> None:
    path = tmp_path / "quotas.json"
    path.write_text(json.dumps(table))
    with pytest.raises(InputError, match=message):
        gate.read_quotas(path)


def _run(tmp_path: Path, found: Verdict) -> tuple[int, str]:
    samples.write_grid(tmp_path, contents([LLAMA], [found]))
    (tmp_path / "quotas.json").write_text(json.dumps({**OPEN, "high": {"forward": 1.0}}))
    (tmp_path / "drops.json").write_text("{}")
    (tmp_path / "history.jsonl").write_text(_old("consistent").to_line() + "\n")
    names = {"grid": "grid.json", "quotas": "quotas.json", "drops": "drops.json", "history": "history.jsonl"}
    result = samples.run("coverage_gate", f"--root={tmp_path}", *(f"--{flag}={name}" for flag, name in names.items()))
    return result.returncode, result.stdout + result.stderr


def test_program_exits_0_1_or_2(tmp_path: Path) -> None:
    code, said = _run(tmp_path, verdict(LLAMA))
    assert (code, said.splitlines()[-1]) == (0, "coverage_gate: open")
    code, said = _run(tmp_path, verdict(LLAMA, status="failed", reason="\x1b[2J"))
    assert (code, said.splitlines()[-1]) == (1, "coverage_gate: 3 offences")
    assert "look: ./bazelw test //models/decoder/llama:cpu" in said and "\x1b" not in said
    code, said = _run(tmp_path, dataclasses.replace(verdict(LLAMA), environment="x"))
    assert code == 2 and "build the grid again" in said
