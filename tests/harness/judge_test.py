"""The policy: what one or two runs amount to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from harness import spec as specs
from harness.judge import Death, RunRecord, judge, settled
from harness.reporter import HarnessFault
from harness.verdict import CheckResult, ModelFacts, Verdict
from tests.harness.workers import known_failure, spec_text

LEVELS = ("parsed", "built", "forward", "consistent")
CORE = {level: (f"fake::{level}",) for level in LEVELS}
CPU = Death("cpu", "used more than 60 CPU seconds")
WALL = Death("wall", "took more than 600 s (wall)")
MEMORY = Death("memory", "used more than 64 MiB of resident memory")
SEGFAULT = Death("signal SIGSEGV", "killed by signal SIGSEGV")


def _record(*outcomes: str, death: Death | None = None, message: str = "wrong by 0.4", blame: bool = True) -> RunRecord:
    """Returns a run whose checks, one a level, had these outcomes; a death is blamed on the failed one."""
    checks = tuple(
        CheckResult(f"fake::{level}", level, True, outcome, "" if outcome == "passed" else message)
        for level, outcome in zip(LEVELS, outcomes, strict=True)
    )
    blamed = next((check.id for check in checks if check.outcome == "failed"), "") if death and blame else ""
    return RunRecord(checks, ModelFacts(), death, blamed, "", 1.0, 1.0, 0)


PASS = _record("passed", "passed", "passed", "passed")
FAIL = _record("passed", "passed", "failed", "not_run")
FAIL_EARLIER = _record("passed", "failed", "not_run", "not_run")


def _judge(*runs: RunRecord, core: Any = CORE, **fields: Any) -> Verdict:
    return judge(specs.parse(spec_text("x", **fields)), runs, core, {"device": "cpu"})


def test_a_pass_needs_one_run() -> None:
    verdict = _judge(PASS)
    assert (verdict.status, verdict.level, verdict.runs, verdict.reason, verdict.failed_check) == (
        "passed",
        "consistent",
        1,
        "",
        "",
    )
    assert (verdict.label, verdict.backend, verdict.device) == ("//models/decoder/x:cpu", "cpu", {"device": "cpu"})


def test_what_is_no_pass_needs_a_second_run() -> None:
    with pytest.raises(ValueError, match="needs a second one"):
        _judge(FAIL)


def test_not_applicable_is_a_pass() -> None:
    assert _judge(_record("passed", "passed", "passed", "not_applicable")).level == "consistent"


def test_not_run_without_a_failure_is_no_pass() -> None:
    record = _record("passed", "passed", "passed", "not_run", message="left out")
    verdict = _judge(record, record)
    assert (verdict.status, verdict.reason) == ("failed", "fake::consistent did not run: left out")


def test_the_same_failure_twice_is_a_failure() -> None:
    verdict = _judge(FAIL, FAIL)
    assert (verdict.status, verdict.level, verdict.runs) == ("failed", "built", 2)
    assert (verdict.failed_check, verdict.reason) == ("fake::forward", "fake::forward: wrong by 0.4")


def test_the_reason_is_the_first_line_of_the_message() -> None:
    record = _record("passed", "passed", "failed", "not_run", message="wrong\nat frame")
    assert _judge(record, record).reason == "fake::forward: wrong"


def test_another_number_in_the_message_is_the_same_failure() -> None:
    assert _judge(FAIL, _record("passed", "passed", "failed", "not_run", message="wrong by 0.5")).status == "failed"


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        (FAIL, PASS, "fake::forward is failed in the first run, passed in the second"),
        (FAIL, FAIL_EARLIER, "fake::built is passed in the first run, failed in the second"),
        (
            FAIL,
            dataclasses.replace(FAIL, checks=FAIL.checks[:3]),
            "fake::consistent is not_run in the first run, not planned in the second",
        ),
        (
            dataclasses.replace(FAIL, death=SEGFAULT, blamed="fake::forward"),
            FAIL,
            "first run: killed by signal SIGSEGV; second run: ended well",
        ),
        (
            dataclasses.replace(FAIL, death=CPU),
            dataclasses.replace(FAIL, death=MEMORY),
            "first run: used more than 60 CPU seconds; second run: used more than 64 MiB of resident memory",
        ),
        (
            dataclasses.replace(FAIL, death=SEGFAULT),
            dataclasses.replace(FAIL_EARLIER, death=SEGFAULT),
            "fake::built is passed in the first run, failed in the second",
        ),
    ],
)
def test_different_runs_are_flaky_and_the_difference_is_named(first: RunRecord, second: RunRecord, what: str) -> None:
    verdict = _judge(first, second)
    assert (verdict.status, verdict.runs) == ("flaky", 2)
    assert verdict.reason == f"two runs of the same inputs differ: {what}"


@pytest.mark.parametrize("limit", [CPU, WALL, MEMORY])
def test_a_limit_may_strike_in_another_check(limit: Death) -> None:
    early = _record("passed", "failed", "not_run", "not_run", death=limit)
    late = _record("passed", "passed", "failed", "not_run", death=limit)
    assert _judge(early, late).status == "failed"


def test_a_limit_does_not_hide_results_that_differ() -> None:
    first = _record("passed", "passed", "failed", "not_run", death=CPU)
    second = _record("failed", "passed", "failed", "not_run", death=dataclasses.replace(CPU))
    second = dataclasses.replace(second, blamed="fake::forward")
    assert _judge(first, second).status == "flaky"


@pytest.mark.parametrize("other", [PASS, FAIL, _record("passed", "passed", "failed", "not_run", death=CPU)])
@pytest.mark.parametrize("order", [1, -1])
def test_one_death_by_wall_time_is_no_verdict(other: RunRecord, order: int) -> None:
    wall = _record("passed", "passed", "failed", "not_run", death=WALL)
    runs = [wall, other][::order]
    if runs[0] is PASS:
        return  # a pass has no second run
    with pytest.raises(HarnessFault, match=r"//models/decoder/x:cpu: one of two runs took more than 20 s on the clock"):
        _judge(*runs)


def test_a_death_outside_any_check_proves_nothing() -> None:
    record = _record("passed", "passed", "passed", "passed", death=SEGFAULT)
    verdict = _judge(record, record)
    assert (verdict.status, verdict.level, verdict.failed_check) == ("failed", "declared", "")
    assert verdict.reason == "outside any check: killed by signal SIGSEGV"


HERE = known_failure("cpu", "fake::forward", "wrong by")


@pytest.mark.parametrize("known", [HERE, known_failure("fake::forward"), known_failure("fake::forward", "", "wr*0.4")])
def test_a_known_failure_is_expected(known: Mapping[str, str]) -> None:
    verdict = _judge(FAIL, known_failures=[known])
    assert (verdict.status, verdict.runs, verdict.failed_check) == ("expected_failure", 1, "fake::forward")
    assert verdict.reason == "upstream bug (https://example.org/1)"


def test_one_run_settles_a_pass_and_what_an_entry_explains() -> None:
    spec = specs.parse(spec_text("x", known_failures=[HERE]))
    assert settled(spec, PASS)
    assert settled(spec, FAIL)
    assert not settled(spec, FAIL_EARLIER)
    assert not settled(specs.parse(spec_text("x")), FAIL)


def test_one_death_by_wall_time_settles_nothing_whatever_is_expected() -> None:
    record = _record("passed", "passed", "failed", "not_run", message=WALL.text, death=WALL)
    assert not settled(specs.parse(spec_text("x", known_failures=[known_failure("fake::forward")])), record)


def test_a_known_failure_of_the_backend_covers_a_death_outside_any_check() -> None:
    record = _record("passed", "passed", "passed", "passed", death=SEGFAULT)
    known = known_failure("cpu", "cell", "SIGSEGV")
    assert _judge(record, record, known_failures=[known]).status == "expected_failure"


@pytest.mark.parametrize(
    "known",
    [
        known_failure("cuda", "fake::forward"),
        known_failure("fake::consistent"),
        known_failure("fake::forward", "", "NaN"),
        known_failure("cpu", "fake::forward", "NaN"),
        known_failure("cpu", "fake::built", "wrong"),
    ],
)
def test_a_known_failure_of_something_else_is_none(known: Mapping[str, str]) -> None:
    verdict = _judge(FAIL, FAIL, known_failures=[known])
    assert verdict.status == "failed"
    assert ("not the failure that is expected on this backend" in verdict.reason) == (known["match"] == "cpu")


def test_what_a_backend_cannot_do_is_expected_of_any_model_and_missed_in_none() -> None:
    backend = {"known_failures": [HERE]}
    assert _judge(FAIL, FAIL, backend=backend).status == "expected_failure"
    assert _judge(FAIL_EARLIER, FAIL_EARLIER, backend=backend).status == "failed"
    assert _judge(PASS, backend=backend).status == "passed"


def test_a_known_failure_hides_no_other() -> None:
    both = _record("passed", "passed", "failed", "failed")
    assert _judge(both, both, known_failures=[known_failure("fake::forward")]).status == "failed"
    known = [known_failure("fake::forward"), known_failure("fake::consistent")]
    assert _judge(both, both, known_failures=known).status == "expected_failure"


def test_a_known_failure_is_no_excuse_for_flakiness() -> None:
    assert _judge(FAIL, PASS, known_failures=[HERE]).status == "flaky"


@pytest.mark.parametrize("match", ["cpu", "fake::forward"])
def test_a_pass_with_a_known_failure_is_unexpected(match: str) -> None:
    verdict = _judge(PASS, known_failures=[known_failure(match)])
    assert verdict.status == "unexpected_pass"
    assert verdict.reason == f"known failure {match!r} (upstream bug) passes: remove the entry"


def test_a_pass_with_a_known_failure_of_another_backend_is_a_pass() -> None:
    assert _judge(PASS, known_failures=[known_failure("cuda")]).status == "passed"


def test_a_known_failure_of_no_check_is_a_mistake_and_said_so() -> None:
    verdict = _judge(PASS, known_failures=[known_failure("fake::foward")])
    assert verdict.status == "failed"
    assert verdict.reason == "known failure 'fake::foward' names no check of this cell; did you mean 'fake::forward'?"


def test_a_known_failure_whose_check_does_not_apply_says_so() -> None:
    record = _record("passed", "passed", "passed", "not_applicable", message="has no cache")
    verdict = _judge(record, known_failures=[known_failure("fake::consistent")])
    assert verdict.status == "unexpected_pass"
    assert verdict.reason == (
        "known failure 'fake::consistent' (upstream bug) does not apply to this cell: remove the entry"
    )


@pytest.mark.parametrize("explained", [HERE, known_failure("fake::forward")])
@pytest.mark.parametrize(
    ("other", "status", "reason"),
    [
        ("fake::built", "unexpected_pass", "known failure 'fake::built' (upstream bug) passes: remove the entry"),
        (
            "fake::parsed",
            "unexpected_pass",
            "known failure 'fake::parsed' (upstream bug) does not apply to this cell: remove the entry",
        ),
        (
            "fake::foward",
            "failed",
            "known failure 'fake::foward' names no check of this cell; did you mean 'fake::forward'?",
        ),
    ],
)
def test_a_known_failure_that_happens_hides_no_stale_entry(
    explained: Mapping[str, str], other: str, status: str, reason: str
) -> None:
    record = _record("not_applicable", "passed", "failed", "not_run")
    verdict = _judge(record, record, known_failures=[explained, known_failure(other)])
    assert (verdict.status, verdict.reason, verdict.failed_check) == (status, reason, "fake::forward")


@pytest.mark.parametrize("other", ["cuda", "fake::consistent"])
def test_a_known_failure_that_happens_leaves_alone_what_did_not_run(other: str) -> None:
    known = [known_failure("fake::forward"), known_failure(other)]
    assert _judge(FAIL, FAIL, known_failures=known).status == "expected_failure"


def test_a_failure_that_nobody_knows_is_told_before_a_stale_entry() -> None:
    verdict = _judge(FAIL, FAIL, known_failures=[known_failure("fake::built")])
    assert (verdict.status, verdict.reason) == ("failed", "fake::forward: wrong by 0.4")


def test_a_run_that_planned_nothing_says_nothing_of_its_entries() -> None:
    record = dataclasses.replace(FAIL, checks=(), death=SEGFAULT, blamed="")
    known = [known_failure("cpu", "cell", "SIGSEGV"), known_failure("fake::forward")]
    assert _judge(record, record, known_failures=known).status == "expected_failure"


def test_a_run_that_lost_a_core_check_does_not_pass() -> None:
    verdict = _judge(PASS, core={**CORE, "consistent": ("fake::consistent", "fake::causality")})
    assert (verdict.status, verdict.level) == ("failed", "forward")
    assert verdict.reason == "core checks did not run: fake::causality"


MOCK = {"name": "mock", "runtime": "mock"}


def test_mock_passes_at_its_own_level_without_core_checks() -> None:
    verdict = _judge(dataclasses.replace(PASS, checks=PASS.checks[:1]), backend=MOCK)
    assert (verdict.status, verdict.level) == ("passed", "mock")


def test_mock_may_leave_out_what_only_a_model_can_show() -> None:
    record = _record("passed", "not_run", "not_run", "not_run", message="mock: no model was run")
    verdict = _judge(record, backend=MOCK)
    assert (verdict.status, verdict.level, verdict.runs, verdict.reason) == ("passed", "mock", 1, "")


def test_mock_that_fails_proves_nothing() -> None:
    verdict = _judge(FAIL, FAIL, backend=MOCK)
    assert (verdict.status, verdict.level) == ("failed", "declared")


def test_a_known_failure_of_a_check_that_mock_leaves_out_is_no_unexpected_pass() -> None:
    record = _record("passed", "not_run", "not_run", "not_run", message="mock: no model was run")
    assert _judge(record, backend=MOCK, known_failures=[known_failure("fake::forward")]).status == "passed"
