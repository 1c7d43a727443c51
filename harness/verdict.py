"""The verdict: the deterministic record of one cell's run, and its two other forms (JUnit XML, log).

Equal work gives equal bytes: no times, pids, paths or addresses. Reports read this format and nothing else
of the harness.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from xml.etree import ElementTree

VERSION = 1

Level = Literal["declared", "parsed", "built", "forward", "consistent", "reference", "weights", "mock"]
LEVELS: tuple[Level, ...] = ("declared", "parsed", "built", "forward", "consistent", "reference", "weights")

CHECK_LEVELS = ("parsed", "built", "forward", "consistent", "reference")
"""The levels that checks guard, in order."""

Status = Literal["passed", "failed", "flaky", "expected_failure", "unexpected_pass"]
GREEN: tuple[Status, ...] = ("passed", "expected_failure")

Outcome = Literal["passed", "failed", "not_applicable", "not_run"]


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Attributes:
      id: `<module>::<name>`, for example `decoder::causality`.
      level: the level that the check guards.
      core: whether the level cannot be reached without this check.
      outcome: what happened.
      message: why it failed, does not apply, or did not run; empty when passed.
    """

    id: str
    level: str
    core: bool
    outcome: str
    message: str = ""


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """What was run: how large, how alive.

    Attributes:
      parameters: number of parameters of the main class.
      gradient_share: share of the trainable parameters' elements that a gradient reached, 0 to 1.
      inputs: each input's dtype and shape, for example `int64[2, 7]`.
      moving_inputs: the inputs whose change moved the output.
      classes: the public model classes of the folder that were exercised.
      runtime: what the runtime counted (graphs, graph breaks, recompilations); empty where it counts nothing.
    """

    parameters: int = 0
    gradient_share: float = 0.0
    inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    moving_inputs: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    runtime: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The record of one cell.

    Attributes:
      runs: 1, or 2 where the first run was no pass and a second confirmed it or did not.
      reason: one line that says why the status is not `passed`; empty when it is.
      failed_check: id of the first check that failed; empty when none did or the process died outside one.
      device: the device's identity as the host detection wrote it.
    """

    label: str
    name: str
    category: str
    backend: str
    environment: str
    status: str
    level: str
    runs: int
    reason: str
    failed_check: str
    checks: tuple[CheckResult, ...]
    model: ModelFacts
    device: Mapping[str, str]

    def to_json(self) -> str:
        """Returns the canonical bytes of this verdict: sorted keys, two spaces, final newline."""
        return json.dumps({"version": VERSION, **dataclasses.asdict(self)}, indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> Verdict:
    """Returns the verdict in `text`.

    Raises:
      ValueError: the text is no verdict of this version.
    """
    data = json.loads(text)
    if not isinstance(data, dict) or data.pop("version", None) != VERSION:
        raise ValueError(f"not a verdict of version {VERSION}; rebuild it with this checkout's harness")
    try:
        data["checks"] = tuple(CheckResult(**item) for item in data["checks"])
        model = data["model"]
        data["model"] = ModelFacts(
            **{**model, "moving_inputs": tuple(model["moving_inputs"]), "classes": tuple(model["classes"])}
        )
        return Verdict(**data)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a verdict of version {VERSION}: {error}") from None


def reached_level(checks: Sequence[CheckResult], core: Mapping[str, Sequence[str]]) -> Level:
    """Returns the deepest level that `checks` prove.

    A level is reached when all before it are, every check of it passed or does not apply for a stated reason, and each
    of its core checks is among them; `reference` only where there was one to compare with.

    Args:
      checks: the results of the run.
      core: for each level the ids of the core checks that the category has, as the harness's own list says;
        a run that lost one cannot reach the level.
    """
    level: Level = "declared"
    by_id = {check.id: check for check in checks}
    candidates: tuple[Level, ...] = ("parsed", "built", "forward", "consistent", "reference")
    for candidate in candidates:
        here = [check for check in checks if check.level == candidate]
        settled = all(
            check.outcome == "passed" or (check.outcome == "not_applicable" and check.message) for check in here
        )
        if candidate == "reference":  # without a recorded reference its check does not apply, and proves nothing
            settled = any(check.outcome == "passed" for check in here)
        if not settled or not all(name in by_id for name in core.get(candidate, ())) or not core.get(candidate):
            break
        level = candidate
    return level


_CONTROL = re.compile(r"[^\t\n\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd]")


def printable(text: str) -> str:
    """Returns `text` with every control character, which XML and terminals must not see, as `\\xNN`."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def to_junit(verdict: Verdict) -> str:
    """Returns JUnit XML with one test case per check; a death outside a check is a case of its own.

    A failure that the declaration expects is shown as skipped, with its message.
    """
    expected = verdict.status == "expected_failure"
    cases: list[tuple[str, str, str]] = [
        (check.id, verdict.status if expected and check.outcome == "failed" else check.outcome, check.message)
        for check in verdict.checks
    ]
    if verdict.status not in GREEN and not any(outcome == "failed" for _, outcome, _ in cases):
        cases.append(("cell", "failed", verdict.reason))
    suite = ElementTree.Element(
        "testsuite",
        name=verdict.label,
        tests=str(len(cases)),
        failures=str(sum(outcome == "failed" for _, outcome, _ in cases)),
        skipped=str(sum(outcome not in ("passed", "failed") for _, outcome, _ in cases)),
    )
    for name, outcome, message in cases:
        case = ElementTree.SubElement(suite, "testcase", name=name, classname=verdict.label)
        first = printable(message.partition("\n")[0])
        if outcome == "failed":
            ElementTree.SubElement(case, "failure", message=first).text = printable(message)
        elif outcome != "passed":
            ElementTree.SubElement(case, "skipped", message=f"{outcome}: {first}")
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def to_log(verdict: Verdict, output: str = "") -> str:
    """Returns the text a person reads: the checks, the reason, and the tail of what the model printed."""
    mark = {"passed": "ok", "failed": "FAILED", "not_applicable": "n/a", "not_run": "not run"}
    lines = [f"{verdict.label}: {verdict.status}, level {verdict.level}"]
    if verdict.backend == "mock":
        lines.append("MOCK: no model ran; declaration and harness only. Counts for nothing.")
    if verdict.reason:
        lines.append(f"reason: {verdict.reason}")
    facts: Mapping[str, Any] = verdict.model.inputs
    if verdict.model.parameters:
        share = verdict.model.gradient_share
        lines.append(
            f"model: {verdict.model.parameters:,} parameters, "
            f"{f'gradients reach {share:.1%}, ' if share else ''}"
            f"inputs {', '.join(f'{name} {shape}' for name, shape in facts.items())}"
        )
    if verdict.model.runtime:
        lines.append(f"runtime: {', '.join(f'{count} {what}' for what, count in verdict.model.runtime.items())}")
    for check in verdict.checks:
        lines.append(f"  {mark[check.outcome]:>7}  {check.id}")
        lines.extend(f"             {line}" for line in check.message.splitlines())
    if output and verdict.status not in GREEN:
        lines += ["output of the run (end):", *(f"  {line}" for line in output.splitlines())]
    return printable("\n".join(lines)) + "\n"
