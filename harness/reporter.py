"""What a run says to whoever watches it: the `Reporter` that checks are reported to, and its two forms.

`PipeReporter` writes JSON lines to a supervisor that trusts none of them (`ReportReader`); `PrintReporter` serves a
person at a terminal. What an outcome means for the verdict is `supervise.py`'s.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any, Protocol

from harness.verdict import CheckResult, ModelFacts

OUTCOMES = ("passed", "failed", "not_applicable", "not_run")
MAX_MESSAGE = 16 * 1024
MAX_LINE = 256 * 1024
MAX_REPORT = 8 * 1024 * 1024


class HarnessFault(Exception):  # noqa: N818 - the word that people read, for this and not for a model's error
    """A fault of the harness, the environment or the machine, not of the model.

    Anything in a run may raise it: the action then fails, no verdict is written, and nothing is cached. The text
    names the fault and the fix.
    """


class CorruptReport(ValueError):  # noqa: N818 - says what it is of
    """The report pipe holds what no reporter writes. The text says what was wrong."""


@dataclasses.dataclass(frozen=True)
class PlannedCheck:
    """A check that the run means to do. `id`, `level` and `core` are those of `CheckResult`."""

    id: str
    level: str
    core: bool


class Reporter(Protocol):
    """The order of calls: `planned` once, then per check `started` and `finished`, then `done` once, last.

    A check whose outcome is `passed` or `failed` must have been started; one that does not apply or does not run may
    finish without. `facts` may come at any time before `done`; the last one counts.
    """

    def planned(self, checks: Sequence[PlannedCheck]) -> None:
        """Says which checks the run will do: all of them, in order, before the first starts."""

    def started(self, check_id: str) -> None:
        """Says that the check now runs. If the process dies, this check gets the blame."""

    def finished(self, result: CheckResult) -> None:
        """Gives the check's result; its id, level and core are those planned."""

    def facts(self, facts: ModelFacts) -> None:
        """Says what was run."""

    def observed(self, values: Mapping[str, Any]) -> None:
        """Says what the outputs came to, for a person to record: see `harness.reference`."""

    def device_peak(self, peak_bytes: int) -> None:
        """Says how much of its device's own memory the run used at most."""

    def done(self) -> None:
        """Says that every planned check has a result."""


class PipeReporter:
    """Writes one JSON object per line to a file descriptor.

    A copy of the process (a model that forks and returns into the harness) is ended at its first report: there must
    be one voice.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pid = os.getpid()

    def planned(self, checks: Sequence[PlannedCheck]) -> None:
        """Sends the plan."""
        self._write("planned", {"checks": [dataclasses.asdict(check) for check in checks]})

    def started(self, check_id: str) -> None:
        """Sends the check's start."""
        self._write("started", {"id": check_id})

    def finished(self, result: CheckResult) -> None:
        """Sends the check's result, its message cut to `MAX_MESSAGE`."""
        result = dataclasses.replace(result, message=_shorten(result.message))
        self._write("finished", {"result": dataclasses.asdict(result)})

    def facts(self, facts: ModelFacts) -> None:
        """Sends the facts."""
        self._write("facts", {"facts": dataclasses.asdict(facts)})

    def observed(self, values: Mapping[str, Any]) -> None:
        """Sends the values."""
        for name, value in values.items():
            self._write("observed", {"name": name, "value": value})

    def device_peak(self, peak_bytes: int) -> None:
        """Sends the number of bytes."""
        self._write("device_peak", {"bytes": peak_bytes})

    def done(self) -> None:
        """Sends the end."""
        self._write("done", {})

    def fault(self, text: str) -> None:
        """Says that the harness or its environment is at fault; the run has no verdict."""
        self._write("fault", {"text": _shorten(text)})

    def raised(self, text: str) -> None:
        """Says that an exception came out of the run itself, past every check."""
        self._write("raised", {"text": _shorten(text)})

    def _write(self, kind: str, body: Mapping[str, Any]) -> None:
        if os.getpid() != self._pid:
            os._exit(0)
        line = json.dumps({"kind": kind, "at": time.monotonic(), "cpu": time.process_time(), **body}) + "\n"
        if len(line) > MAX_LINE:
            raise ValueError(f"report of kind {kind!r} has {len(line)} bytes, more than {MAX_LINE}")
        data = line.encode("ascii")
        while data:
            data = data[os.write(self._fd, data) :]


class PrintReporter:
    """Writes plain text for a person, one line per check."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._counts = dict.fromkeys(OUTCOMES, 0)

    def planned(self, checks: Sequence[PlannedCheck]) -> None:
        """Prints how many checks there are."""
        self._print(f"{len(checks)} checks")

    def started(self, check_id: str) -> None:
        """Prints nothing: the result's line names the check."""

    def finished(self, result: CheckResult) -> None:
        """Prints outcome, id and message."""
        self._counts[result.outcome] += 1
        mark = {"passed": "ok", "failed": "FAILED", "not_applicable": "n/a", "not_run": "not run"}[result.outcome]
        self._print(f"{mark:>7}  {result.id}")
        for line in result.message.splitlines():
            self._print(f"         {line}")

    def facts(self, facts: ModelFacts) -> None:
        """Prints the facts."""
        inputs = ", ".join(f"{name} {shape}" for name, shape in facts.inputs.items())
        self._print(
            f"model: {facts.parameters:,} parameters, gradients reach {facts.gradient_share:.1%}, inputs {inputs}"
        )

    def observed(self, values: Mapping[str, Any]) -> None:
        """Prints nothing: the values are for the record."""

    def device_peak(self, peak_bytes: int) -> None:
        """Prints how much it was."""
        self._print(f"device memory: {peak_bytes / 2**20:.1f} MiB at most")

    def done(self) -> None:
        """Prints how many checks had which outcome."""
        self._print(", ".join(f"{count} {outcome}" for outcome, count in self._counts.items() if count))

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


def _shorten(text: str) -> str:
    """Returns `text`, cut at `MAX_MESSAGE` characters with a note that says so."""
    if len(text) <= MAX_MESSAGE:
        return text
    return text[:MAX_MESSAGE] + f"\n(cut after {MAX_MESSAGE} of {len(text)} characters)"


class ReportReader:
    """Reads what a child wrote to its report pipe, believing nothing.

    Attributes:
      planned: the checks the child planned, in order.
      results: the results so far, by check id.
      running: the id of the check that started and has not finished; None between checks.
      facts: the last facts reported.
      observed: what the outputs came to, by name.
      device_peak: the most bytes of its device's own memory that the run used; None where it has none.
      done: whether the child said that it was done.
      fault: text of a fault of the harness or environment that the child reported; None without one.
      exception: text of an exception that came out of the run; None without one.
      cpu_seconds: CPU time of each finished check by id, as the child measured it, in seconds.
    """

    def __init__(self) -> None:
        self.planned: tuple[PlannedCheck, ...] = ()
        self.results: dict[str, CheckResult] = {}
        self.running: str | None = None
        self.facts = ModelFacts()
        self.observed: dict[str, Any] = {}
        self.device_peak: int | None = None
        self.done = False
        self.fault: str | None = None
        self.exception: str | None = None
        self.cpu_seconds: dict[str, float] = {}
        self._by_id: dict[str, PlannedCheck] = {}
        self._started_cpu = 0.0
        self._buffer = b""
        self._bytes = 0
        self._lines = 0

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the pipe.

        Raises:
          CorruptReport: a line is no report, or contradicts an earlier one, or there is too much.
        """
        self._bytes += len(data)
        if self._bytes > MAX_REPORT:
            raise CorruptReport(f"more than {MAX_REPORT} bytes")
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._lines += 1
            self._line(line)
        if len(self._buffer) > MAX_LINE:
            raise CorruptReport(f"line {self._lines + 1} is longer than {MAX_LINE} bytes")

    def close(self) -> None:
        """Says that the pipe ended.

        Raises:
          CorruptReport: it ended inside a line, or `done` came before every planned check had a result.
        """
        if self._buffer:
            raise CorruptReport(f"the report ends inside line {self._lines + 1}")

    def _line(self, line: bytes) -> None:
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            raise CorruptReport(f"line {self._lines} is not JSON") from None
        kind = data.get("kind") if isinstance(data, dict) else None
        handler = {
            "planned": self._on_planned,
            "started": self._on_started,
            "finished": self._on_finished,
            "facts": self._on_facts,
            "observed": self._on_observed,
            "device_peak": self._on_device_peak,
            "done": self._on_done,
            "fault": self._on_fault,
            "raised": self._on_raised,
        }.get(kind if isinstance(kind, str) else "")
        if handler is None:
            raise CorruptReport(f"line {self._lines} has no known kind")
        if self.done:
            raise CorruptReport(f"line {self._lines} ({kind}) comes after done")
        try:
            handler(data)
        except CorruptReport:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptReport(f"line {self._lines} ({kind}) has the wrong fields: {error}") from None

    def _on_planned(self, data: Mapping[str, Any]) -> None:
        if self.planned:
            raise CorruptReport(f"line {self._lines} plans the checks a second time")
        self.planned = tuple(
            PlannedCheck(id=_text(item["id"]), level=_text(item["level"]), core=bool(item["core"]))
            for item in data["checks"]
        )
        self._by_id = {check.id: check for check in self.planned}
        if not self.planned or len(self._by_id) != len(self.planned):
            raise CorruptReport(f"line {self._lines} plans no check, or one of them twice")

    def _on_started(self, data: Mapping[str, Any]) -> None:
        check_id = self._known(data["id"])
        if self.running is not None:
            raise CorruptReport(f"check {check_id!r} started while {self.running!r} runs")
        self.running = check_id
        self._started_cpu = float(data["cpu"])

    def _on_finished(self, data: Mapping[str, Any]) -> None:
        item = data["result"]
        result = CheckResult(
            id=self._known(item["id"]),
            level=_text(item["level"]),
            core=bool(item["core"]),
            outcome=_text(item["outcome"]),
            message=_text(item["message"]),
        )
        plan = self._by_id[result.id]
        if (result.level, result.core) != (plan.level, plan.core):
            raise CorruptReport(f"check {result.id!r} finished with another level or core than planned")
        if result.outcome not in OUTCOMES:
            raise CorruptReport(f"check {result.id!r} finished with the unknown outcome {result.outcome!r}")
        if result.outcome != "passed" and not result.message:
            raise CorruptReport(f"check {result.id!r} is {result.outcome} without a reason")
        if self.running is not None and self.running != result.id:
            raise CorruptReport(f"check {result.id!r} finished while {self.running!r} runs")
        if self.running is None and result.outcome in ("passed", "failed"):
            raise CorruptReport(f"check {result.id!r} is {result.outcome} but never started")
        if self.running is not None:
            self.cpu_seconds[result.id] = round(float(data["cpu"]) - self._started_cpu, 3)
        self.running = None
        self.results[result.id] = result

    def _on_facts(self, data: Mapping[str, Any]) -> None:
        item = data["facts"]
        self.facts = ModelFacts(
            parameters=int(item["parameters"]),
            gradient_share=float(item["gradient_share"]),
            inputs={_text(name): _text(shape) for name, shape in item["inputs"].items()},
            moving_inputs=tuple(_text(name) for name in item["moving_inputs"]),
            classes=tuple(_text(name) for name in item["classes"]),
            runtime={_text(name): int(count) for name, count in item["runtime"].items()},
        )

    def _on_observed(self, data: Mapping[str, Any]) -> None:
        value = data["value"]
        if not isinstance(value, dict):
            raise CorruptReport(f"line {self._lines} observes a {type(value).__name__}")
        self.observed[_text(data["name"])] = value

    def _on_device_peak(self, data: Mapping[str, Any]) -> None:
        self.device_peak = int(data["bytes"])

    def _on_done(self, data: Mapping[str, Any]) -> None:
        missing = [check.id for check in self.planned if check.id not in self.results]
        if missing or not self.planned:
            raise CorruptReport(f"done, but these checks never finished: {', '.join(missing) or '(none was planned)'}")
        self.done = True

    def _on_fault(self, data: Mapping[str, Any]) -> None:
        self.fault = _text(data["text"])

    def _on_raised(self, data: Mapping[str, Any]) -> None:
        self.exception = _text(data["text"])

    def _known(self, check_id: Any) -> str:
        if not isinstance(check_id, str) or check_id not in self._by_id:
            raise CorruptReport(f"line {self._lines} names the check {check_id!r}, which was not planned")
        if check_id in self.results:
            raise CorruptReport(f"check {check_id!r} finished twice")
        return check_id


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise CorruptReport(f"expected text, found {type(value).__name__}")
    return value
