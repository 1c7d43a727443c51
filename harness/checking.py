"""What makes a pytest function a check, and the plugin that runs checks in level order and reports each.

The plugin decides what is run, what does not apply and what an earlier failure keeps from running; what a check
examines is its own affair, and what the results amount to is the parent's (`harness.verdict`).
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from _pytest.runner import runtestprotocol

from harness.messages import clean
from harness.reporter import HarnessFault, PlannedCheck, Reporter
from harness.verdict import CHECK_LEVELS, CheckResult

if TYPE_CHECKING:
    from harness.cell import Cell

_MARK = "__modelgrid_check__"
_FRAMES_SHOWN = 6

Function = TypeVar("Function", bound=Callable[..., None])
Unless = Callable[["Cell"], "str | None"]


@dataclasses.dataclass(frozen=True)
class CheckMark:
    """What `@check` says of a check.

    Attributes:
      level: the level that the check guards, one of `CHECK_LEVELS`.
      core: whether the level cannot be reached without it.
      unless: returns why the check does not apply to a cell, or None where it does.
      last: runs after every other check, whatever its level: for what the checks themselves may have broken.
    """

    level: str
    core: bool = False
    unless: Unless | None = None
    last: bool = False


def check(
    *, level: str, core: bool = False, unless: Unless | None = None, last: bool = False
) -> Callable[[Function], Function]:
    """Makes a pytest function a check; see `CheckMark` for the arguments.

    Raises:
      ValueError: the level is unknown, or the function's name or docstring is missing.
    """
    if level not in CHECK_LEVELS:
        raise ValueError(f"check level {level!r} is not one of {', '.join(CHECK_LEVELS)}")

    def mark(function: Function) -> Function:
        if not function.__name__.startswith("test_"):
            raise ValueError(f"check {function.__name__!r} must be named test_…")
        if not (function.__doc__ or "").strip():
            raise ValueError(f"check {function.__name__!r} needs a docstring that says which defect it finds")
        setattr(function, _MARK, CheckMark(level, core, unless, last))
        return function

    return mark


def check_id(item: pytest.Item) -> str:
    """Returns the id that verdicts use, for example `decoder::causality`."""
    name = item.name.removeprefix("test_")
    return f"{item.path.stem}::{name}"


def run_order(mark: CheckMark) -> int:
    """Returns the place of a check's level; checks of one place keep the order of their files."""
    return len(CHECK_LEVELS) if mark.last else CHECK_LEVELS.index(mark.level)


class CheckPlugin:
    """Pytest plugin of one cell: gives checks the fixture `cell`, gates them by level, streams results.

    Args:
      cell: the cell under test.
      reporter: where plan and results go.
      foreground: a person watches: pytest's own reporting stays on, and its selection options (`-k`) are obeyed.
    """

    def __init__(self, cell: Cell, reporter: Reporter, *, foreground: bool = False) -> None:
        self._cell = cell
        self._reporter = reporter
        self._foreground = foreground
        self._failed: dict[str, str] = {}
        self._faults: list[str] = []
        self._fault: HarnessFault | None = None
        self._refused = ""
        self.results: list[CheckResult] = []

    def pytest_configure(self, config: pytest.Config) -> None:
        """Adds the fixture `cell`."""
        config.pluginmanager.register(_fixtures(self._cell))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keeps what went wrong while the checks were collected."""
        if report.failed:
            self._faults.append(str(report.longrepr))

    def pytest_internalerror(self, excrepr: object) -> None:
        """Keeps what went wrong inside pytest or this plugin."""
        self._faults.append(str(excrepr))

    def raise_fault(self, status: int) -> None:
        """Raises a HarnessFault unless pytest's exit status says that the checks ran, whatever they found.

        One that came out of a check is raised itself: it is no result of that check.
        """
        if self._fault is not None:
            raise self._fault
        if self._faults or status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            text = clean("\n".join(self._faults)) or "no check was collected"
            raise HarnessFault(
                f"{self._cell.spec.label}: the checks could not run (pytest exit status {status})\n{text}"
            )

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Orders the checks by level and announces them all before the first runs."""
        unmarked = [item.nodeid for item in items if _mark_of(item) is None]
        if unmarked:
            raise HarnessFault(f"tests without @check: {', '.join(unmarked)}")
        items.sort(key=lambda item: run_order(_require_mark(item)))
        planned = [(check_id(item), _require_mark(item)) for item in items]
        self._refused = self._undeclarable({check_id(item): _require_mark(item) for item in items})
        self._reporter.planned([PlannedCheck(id=name, level=mark.level, core=mark.core) for name, mark in planned])

    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Runs one check, or says why not."""
        mark = _require_mark(item)
        name = check_id(item)
        earlier = self._earlier_failure(mark)
        if earlier:
            self._finish(name, mark, "not_run", f"{earlier} failed")
            _leave(item, nextitem)
            return True
        self._reporter.started(name)
        if self._refused:
            self._finish(name, mark, "failed", self._refused)
            _leave(item, nextitem)
            return True
        try:
            reason = self._cell.spec.not_applicable.get(name)
            if reason is None and mark.unless:
                reason = mark.unless(self._cell)
        except BaseException as error:  # noqa: BLE001 - a check's condition must not end the run
            _reraise_control(error)
            if self._note_fault(error):
                self._stop(item)
                return True
            self._finish(name, mark, "failed", f"the check's `unless` raised\n{describe(error)}")
            _leave(item, nextitem)
            return True
        if reason is not None:
            outcome = ("not_applicable", reason) if reason.strip() else ("failed", "`unless` gave an empty reason")
            self._finish(name, mark, *outcome)
            _leave(item, nextitem)
            return True
        if self._foreground:
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = runtestprotocol(item, nextitem=nextitem, log=self._foreground)
        if self._fault is not None:
            self._stop(item)
        else:
            self._finish(name, mark, *_outcome(reports))
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        """Keeps the exception beside pytest's report, so that the message is ours and deterministic."""
        report: Any = yield
        if call.excinfo is not None:
            report.modelgrid_error = call.excinfo.value
            self._note_fault(call.excinfo.value)
        return report

    def _undeclarable(self, marks: Mapping[str, CheckMark]) -> str:
        """Returns what is wrong with the declared `not_applicable`, or an empty string."""
        label = self._cell.spec.label
        for name in self._cell.spec.not_applicable:
            if name not in marks:
                return f"{label}: not_applicable names {name!r}, which is no check of this model's category"
            if run_order(marks[name]) < CHECK_LEVELS.index("consistent"):
                return f"{label}: not_applicable names {name!r}, of level {marks[name].level}: every model must pass it"
        return ""

    def _note_fault(self, error: BaseException) -> bool:
        """Keeps the fault of the harness or the environment that `error` is or comes from; returns whether it is one.

        What a check or the model made of a fault that it caught is still no evidence about the model.
        """
        seen: set[int] = set()
        link: BaseException | None = error
        while link is not None and id(link) not in seen:
            if isinstance(link, HarnessFault):
                self._fault = self._fault or link
                return True
            seen.add(id(link))
            link = link.__cause__ or link.__context__
        return False

    def _stop(self, item: pytest.Item) -> None:
        """Keeps every further check from running: there will be no verdict."""
        item.session.shouldstop = str(self._fault)

    def _earlier_failure(self, mark: CheckMark) -> str:
        """Returns the id of a failed check that keeps one with `mark` from running, or an empty string."""
        for level in CHECK_LEVELS[: CHECK_LEVELS.index(mark.level)]:
            if level in self._failed:
                return self._failed[level]
        return ""

    def _expected(self, failed: CheckResult) -> bool:
        """Returns whether a failure of a check is known, and of a level at which the model runs.

        What it is compared with was recorded of a model that fails there, and shows whether it is as it was.
        """
        known = self._cell.spec.known_failures
        return failed.level == "consistent" and any(each.explains(failed.id, failed.message) for each in known)

    def _finish(self, name: str, mark: CheckMark, outcome: str, message: str) -> None:
        result = CheckResult(
            id=name,
            level=mark.level,
            core=mark.core,
            outcome=outcome,
            message=clean(message),
        )
        if outcome == "failed" and not self._expected(result):
            self._failed.setdefault(mark.level, name)
        self.results.append(result)
        self._cell.outcomes[name] = outcome
        self._reporter.finished(result)


def _fixtures(given: Cell) -> object:
    """Returns a plugin with the fixture `cell`, which gives `given`."""

    class Fixtures:
        @pytest.fixture(scope="session")
        @classmethod
        def cell(cls) -> Cell:
            """The cell under test."""
            return given

    return Fixtures()


def _leave(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Tears down what the next check does not need, as pytest itself does after a check that ran."""
    item.session._setupstate.teardown_exact(nextitem)


def _mark_of(item: pytest.Item) -> CheckMark | None:
    function = getattr(item, "function", None)
    mark: CheckMark | None = getattr(function, _MARK, None)
    return mark


def _require_mark(item: pytest.Item) -> CheckMark:
    mark = _mark_of(item)
    if mark is None:
        raise HarnessFault(f"test without @check: {item.nodeid}")
    return mark


def _outcome(reports: Sequence[pytest.TestReport]) -> tuple[str, str]:
    """Returns outcome and message of a check from pytest's reports of its set-up, call and tear-down."""
    for report in reports:
        if report.outcome == "skipped" or hasattr(report, "wasxfail"):
            reason = describe(getattr(report, "modelgrid_error", None)) if report.outcome == "skipped" else ""
            return (
                "failed",
                f"check skipped itself; state the reason in its `unless`\n{reason}",
            )
        if report.outcome == "failed":
            error = getattr(report, "modelgrid_error", None)
            return "failed", describe(error) if error is not None else str(report.longrepr)
    return "passed", ""


def _reraise_control(error: BaseException) -> None:
    """Lets a debugger's or a person's wish to stop through."""
    if isinstance(error, (KeyboardInterrupt, SystemExit, pytest.exit.Exception)):
        raise error


def describe(error: BaseException | None) -> str:
    """Returns what a person needs of an exception: one line first, then details and where it was raised.

    A failed assertion with a message of its own starts with that message; any other exception with its type.
    """
    if error is None:
        return "no exception was kept"
    text = str(error).strip()
    if not isinstance(error, AssertionError) and type(error).__name__ not in (
        "SpecError",
        "Failed",
        "Skipped",
    ):
        text = f"{type(error).__name__}: {text}"
    first, _, rest = (text or "assertion failed without a message").partition("\n")
    where = [f"at {frame}" for frame in _frames(error)]
    return "\n".join([first, *(line for line in rest.splitlines() if line.strip()), *where])


def _frames(error: BaseException) -> list[str]:
    """Returns the innermost frames that are ours or the model's, as `file:line in function`."""
    seen: BaseException = error
    while seen.__cause__ is not None:
        seen = seen.__cause__
    frames = [
        f"{frame.filename}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(seen.__traceback__)
        if "/_pytest/" not in frame.filename and "/pluggy/" not in frame.filename
    ]
    return frames[-_FRAMES_SHOWN:]
