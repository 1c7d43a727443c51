"""The verdict's formats: the same bytes for the same work, and every form readable whatever a model printed."""

from __future__ import annotations

import dataclasses
import json
from xml.etree import ElementTree

import pytest

from harness import verdict as verdicts
from harness.verdict import CheckResult, ModelFacts, Status, Verdict, reached_level

CHECKS = (
    CheckResult("common::config_builds", "parsed", True, "passed"),
    CheckResult("common::attention", "built", False, "not_applicable", "has no attention"),
    CheckResult("decoder::causality", "forward", True, "failed", "logits differ\nat 3 <&> \x00\x1b[31m é \ud800"),
    CheckResult("decoder::cache", "consistent", True, "not_run", "decoder::causality failed"),
)
VERDICT = Verdict(
    label="//models/decoder/x:cpu",
    name="x",
    category="decoder",
    backend="cpu",
    environment="transformers-5.23",
    status="failed",
    level="built",
    runs=2,
    reason="decoder::causality: logits differ",
    failed_check="decoder::causality",
    checks=CHECKS,
    model=ModelFacts(1234, 0.5, {"input_ids": "int64[2, 7]"}, ("input_ids",), ("XModel",)),
    device={"device": "cpu"},
)


def test_json_comes_back_equal() -> None:
    assert verdicts.from_json(VERDICT.to_json()) == VERDICT


def test_json_is_canonical() -> None:
    text = VERDICT.to_json()
    assert text.isascii()
    assert text.endswith("}\n")
    data = json.loads(text)
    assert list(data) == sorted(data)
    assert data["version"] == verdicts.VERSION
    reordered = dataclasses.replace(VERDICT, device=dict(reversed([*VERDICT.device.items(), ("a", "b")])))
    assert reordered.to_json() == dataclasses.replace(VERDICT, device={"a": "b", "device": "cpu"}).to_json()


@pytest.mark.parametrize("change", [{"version": 2}, {"extra": 1}, {"checks": [{"id": "x"}]}, {"model": {}}])
def test_another_version_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a verdict of version 1"):
        verdicts.from_json(json.dumps({**json.loads(VERDICT.to_json()), **change}))


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(ValueError, match="not a verdict"):
        verdicts.from_json("[]")


LEVELS = ("parsed", "built", "forward", "consistent")
CORE = {level: (f"c::{level}",) for level in LEVELS}


def _checks(*outcomes: str) -> list[CheckResult]:
    return [
        CheckResult(f"c::{level}", level, True, outcome, "" if outcome == "passed" else "why")
        for level, outcome in zip(LEVELS, outcomes, strict=True)
    ]


@pytest.mark.parametrize(
    ("outcomes", "level"),
    [
        (("passed", "passed", "passed", "passed"), "consistent"),
        (("passed", "passed", "not_applicable", "passed"), "consistent"),
        (("passed", "passed", "passed", "failed"), "forward"),
        (("passed", "failed", "passed", "passed"), "parsed"),
        (("failed", "passed", "passed", "passed"), "declared"),
        (("passed", "passed", "not_run", "not_run"), "built"),
    ],
)
def test_a_level_is_reached_when_all_up_to_it_are_settled(outcomes: tuple[str, ...], level: str) -> None:
    assert reached_level(_checks(*outcomes), CORE) == level


def test_not_applicable_without_a_reason_settles_nothing() -> None:
    checks = _checks("passed", "passed", "passed", "not_applicable")
    checks[3] = dataclasses.replace(checks[3], message="")
    assert reached_level(checks, CORE) == "forward"


def test_a_failed_check_that_is_not_core_keeps_its_level_from_being_reached() -> None:
    extra = CheckResult("c::extra", "forward", False, "failed", "why")
    assert reached_level([*_checks("passed", "passed", "passed", "passed"), extra], CORE) == "built"


def test_a_core_check_that_is_missing_keeps_its_level_from_being_reached() -> None:
    assert reached_level(_checks("passed", "passed", "passed", "passed")[:3], CORE) == "forward"
    core = {**CORE, "built": ("c::built", "c::lost")}
    assert reached_level(_checks("passed", "passed", "passed", "passed"), core) == "parsed"


def test_a_level_without_a_list_of_core_checks_is_not_reached() -> None:
    assert reached_level(_checks("passed", "passed", "passed", "passed"), {}) == "declared"


def test_junit_has_a_case_for_every_check_and_is_well_formed() -> None:
    suite = ElementTree.fromstring(verdicts.to_junit(VERDICT))[0]
    assert suite.attrib == {"name": VERDICT.label, "tests": "4", "failures": "1", "skipped": "2"}
    cases = {case.attrib["name"]: case for case in suite}
    assert list(cases) == [check.id for check in CHECKS]
    failure = cases["decoder::causality"][0]
    assert (failure.tag, failure.attrib["message"]) == ("failure", "logits differ")
    assert failure.text == "logits differ\nat 3 <&> \\x00\\x1b[31m é \\xd800"
    assert cases["common::attention"][0].attrib["message"] == "not_applicable: has no attention"
    assert cases["decoder::cache"][0].attrib["message"] == "not_run: decoder::causality failed"
    assert len(cases["common::config_builds"]) == 0


@pytest.mark.parametrize("status", ["failed", "flaky", "unexpected_pass"])
def test_a_red_cell_without_a_failed_check_has_a_case_of_its_own(status: Status) -> None:
    red = dataclasses.replace(VERDICT, status=status, checks=CHECKS[:1], reason="outside any check: died")
    suite = ElementTree.fromstring(verdicts.to_junit(red))[0]
    assert [case.attrib["name"] for case in suite] == ["common::config_builds", "cell"]
    assert suite[1][0].attrib["message"] == "outside any check: died"


def test_the_log_says_what_a_person_needs() -> None:
    lines = verdicts.to_log(VERDICT, "Traceback\n\x07boom").splitlines()
    assert lines[0] == "//models/decoder/x:cpu: failed, level built"
    assert lines[1] == "reason: decoder::causality: logits differ"
    assert lines[2] == "model: 1,234 parameters, gradients reach 50.0%, inputs input_ids int64[2, 7]"
    assert "   FAILED  decoder::causality"[1:] in "\n".join(lines)
    assert lines[-3:] == ["output of the run (end):", "  Traceback", "  \\x07boom"]


def test_the_output_of_a_green_run_is_left_out() -> None:
    passed = dataclasses.replace(VERDICT, status="passed", reason="")
    assert "boom" not in verdicts.to_log(passed, "boom")


def test_the_log_of_a_mock_says_mock() -> None:
    assert "MOCK: no model ran" in verdicts.to_log(dataclasses.replace(VERDICT, backend="mock"))
