"""What runs amount to: from the records of one or two runs to a verdict. Pure; runs nothing.

A pass is recorded from one run, and so is a failure that a declared entry explains to the check and the message:
whoever declared it saw it before. Anything else is confirmed by a second run in a fresh process: the same again is a
failure, anything else is flaky, and neither is ever tried a third time. Only a death by wall time is no evidence by
itself, since the clock also measures how busy the machine is: unless both runs die of it there is no verdict at all.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from harness.reporter import HarnessFault
from harness.spec import KnownFailure, Spec
from harness.verdict import CheckResult, Level, ModelFacts, Status, Verdict, reached_level

LIMITS = ("cpu", "wall", "memory")
"""Causes of death whose moment depends on the machine, so that two runs need not die in the same check."""


@dataclasses.dataclass(frozen=True)
class Death:
    """Why a run did not end as it should.

    Attributes:
      kind: `signal SIGSEGV`, `status 3`, `cpu`, `wall`, `memory`, `report`, `raised` or `processes`: what must be
        equal for two deaths to be the same.
      text: the cause in words, the same in every run of that cause.
    """

    kind: str
    text: str


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One run of a cell.

    Attributes:
      checks: every planned check in order, those that never ran as `not_run`, the one that died as `failed`.
      death: why the process did not end well; None when it did.
      blamed: the check that ran when the process died; empty if none did.
      output: the tail of what the process printed.
      cpu_seconds: user and system time of all its processes.
      wall_seconds: time on the clock.
      peak_bytes: the most memory that all its processes added.
      check_seconds: CPU seconds of each check that ran.
      observed: what the outputs came to.
      device_peak_bytes: the most of its device's own memory that it used; None where it has none.
    """

    checks: tuple[CheckResult, ...]
    facts: ModelFacts
    death: Death | None
    blamed: str
    output: str
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int
    check_seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    observed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    device_peak_bytes: int | None = None

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The checks that failed, in order."""
        return tuple(check for check in self.checks if check.outcome == "failed")


def passes(spec: Spec, record: RunRecord) -> bool:
    """Returns whether nothing failed, nothing was left out, and the process ended well.

    A mock cell leaves out what only a model can show, and says so.
    """
    fine = ("passed", "not_applicable", "not_run") if spec.backend.runtime == "mock" else ("passed", "not_applicable")
    return record.death is None and all(check.outcome in fine for check in record.checks)


def settled(spec: Spec, record: RunRecord) -> bool:
    """Returns whether one run is enough for a verdict."""
    if record.death is not None and record.death.kind == "wall":
        return False
    return passes(spec, record) or _known(spec, record) is not None


def difference(first: RunRecord, second: RunRecord) -> str:
    """Returns in what two runs differ, in words; empty when they tell the same.

    Two deaths by the same limit are the same wherever they struck, if the checks that both runs settled agree.
    """
    deaths = [record.death.kind if record.death else "" for record in (first, second)]
    if deaths[0] != deaths[1]:
        texts = [record.death.text if record.death else "ended well" for record in (first, second)]
        return f"first run: {texts[0]}; second run: {texts[1]}"
    found = [{check.id: check.outcome for check in record.checks} for record in (first, second)]
    if deaths[0] in LIMITS:
        for record, outcomes in zip((first, second), found, strict=True):
            for check in record.checks:
                if check.outcome == "not_run" or check.id == record.blamed:
                    del outcomes[check.id]
        names = [name for name in found[0] if name in found[1]]
    else:
        names = list(dict.fromkeys([*found[0], *found[1]]))
    for name in names:
        one, two = (outcomes.get(name, "not planned") for outcomes in found)
        if one != two:
            return f"{name} is {one} in the first run, {two} in the second"
    return ""


def judge(
    spec: Spec, runs: Sequence[RunRecord], core: Mapping[str, Sequence[str]], device: Mapping[str, str]
) -> Verdict:
    """Returns the verdict of a cell.

    Args:
      runs: one record that settles it, or two.
      core: for each level the ids of the core checks of the cell's category.
      device: identity of the device that the runs used.

    Raises:
      HarnessFault: only one of the runs died by wall time.
    """
    record = runs[0]
    status, reason, failed_check = _status(spec, runs)
    level = _level(spec, record, core)
    if status == "passed" and level != "mock":
        planned = {check.id for check in record.checks}
        lost = [name for names in core.values() for name in names if name not in planned]
        if lost:
            status, reason = "failed", f"core checks did not run: {', '.join(lost)}"
    return Verdict(
        label=spec.label,
        name=spec.name,
        category=spec.category,
        backend=spec.backend.name,
        environment=spec.environment,
        status=status,
        level=level,
        runs=len(runs),
        reason=reason,
        failed_check=failed_check,
        checks=record.checks,
        model=record.facts,
        device=device,
    )


def _level(spec: Spec, record: RunRecord, core: Mapping[str, Sequence[str]]) -> Level:
    """Returns what `record` proves; a process that died outside any check proves nothing."""
    if spec.backend.runtime == "mock":
        return "mock" if passes(spec, record) else "declared"
    if record.death is not None and not record.blamed:
        return "declared"
    return reached_level(record.checks, core)


def _status(spec: Spec, runs: Sequence[RunRecord]) -> tuple[Status, str, str]:
    """Returns status, reason and id of the failed check."""
    record = runs[0]
    if passes(spec, record):
        return _pass(spec, record)
    if len(runs) != 2 and not settled(spec, record):
        raise ValueError("a run that no entry explains needs a second one")
    kinds = [run.death.kind if run.death else "" for run in runs]
    if kinds.count("wall") == 1:
        raise HarnessFault(
            f"{spec.label}: one of two runs took more than {spec.limits.wall_seconds} s on the clock, the other did "
            "not: no verdict. The machine is too busy, or the model hangs at times; build again with fewer --jobs, "
            "or raise limits.wall_seconds"
        )
    name, message = _first_failure(record)
    differs = difference(runs[0], runs[-1])
    if differs:
        return "flaky", f"two runs of the same inputs differ: {differs}", name
    known = _known(spec, record)
    if known is None:
        other = "; not the failure that is expected on this backend" if _expected_here(spec) else ""
        return "failed", f"{name}: {message}{other}" if name else message, name
    stale = _stale_entry(spec, record)
    if stale is not None:
        return *stale, name
    issue = f" ({known.issue})" if known.issue else ""
    return "expected_failure", f"{known.reason}{issue}", name


def _pass(spec: Spec, record: RunRecord) -> tuple[Status, str, str]:
    for known in spec.known_failures:
        if known.match == spec.backend.name:
            return "unexpected_pass", _remove(known, "passes"), ""
    stale = _stale_entry(spec, record)
    return ("passed", "", "") if stale is None else (*stale, "")


def _stale_entry(spec: Spec, record: RunRecord) -> tuple[Status, str] | None:
    """Returns status and reason for the first known failure of a check that does not fail or does not exist.

    None where every entry still means something. A check that did not run says nothing of its entry, and neither does
    a run that died before it planned its checks.
    """
    outcomes = {check.id: check.outcome for check in record.checks}
    for known in spec.known_failures:
        outcome = outcomes.get(known.match, "")
        if outcome == "passed":
            return "unexpected_pass", _remove(known, "passes")
        if outcome == "not_applicable":
            return "unexpected_pass", _remove(known, "does not apply to this cell")
        if "::" in known.match and not outcome and outcomes:
            close = difflib.get_close_matches(known.match, outcomes, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            return "failed", f"known failure {known.match!r} names no check of this cell{hint}"
    return None


def _remove(known: KnownFailure, why: str) -> str:
    return f"known failure {known.match!r} ({known.reason}) {why}: remove the entry"


def _first_failure(record: RunRecord) -> tuple[str, str]:
    """Returns the first failed check and one line of why; the check is empty when the process died outside one."""
    for check in record.failed:
        return check.id, check.message.partition("\n")[0]
    if record.death is not None:
        return "", f"outside any check: {record.death.text}"
    left = next(check for check in record.checks if check.outcome == "not_run")
    return "", f"{left.id} did not run: {left.message.partition(chr(10))[0]}"


def _known(spec: Spec, record: RunRecord) -> KnownFailure | None:
    """Returns the known failure that explains the run, or None.

    Every failed check needs one of its own, so that a known failure hides no new one; the first failed check's is
    returned. What a backend cannot do (its own entries, and the model's that name it) explains the first failed check
    alone: the others of its level examine a model that does not run there.
    """
    failures = [(check.id, check.message) for check in record.failed]
    if record.death is not None:
        failures = failures or [("cell", record.death.text)]
    for failure in failures[:1]:
        for known in [*_expected_here(spec), *spec.backend.known_failures]:
            if known.explains(*failure):
                return known
    of_checks = [known for known in spec.known_failures if "::" in known.match]
    found = [next((known for known in of_checks if known.explains(*failure)), None) for failure in failures]
    return found[0] if found and None not in found else None


def _expected_here(spec: Spec) -> list[KnownFailure]:
    """Returns the model's known failures that are its backend's."""
    return [known for known in spec.known_failures if known.match == spec.backend.name]
