"""What a run says: both reporters, and the reader that believes nothing."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from harness.reporter import (
    MAX_LINE,
    MAX_MESSAGE,
    MAX_REPORT,
    CorruptReport,
    PipeReporter,
    PlannedCheck,
    PrintReporter,
    Reporter,
    ReportReader,
)
from harness.verdict import CheckResult, ModelFacts

PLAN = (PlannedCheck("a::one", "parsed", True), PlannedCheck("a::two", "built", False))
FACTS = ModelFacts(
    parameters=3, gradient_share=0.5, inputs={"x": "int64[2]"}, moving_inputs=("x",), classes=("XModel", "XForY")
)
ONE = CheckResult("a::one", "parsed", True, "passed")
TWO = CheckResult("a::two", "built", False, "failed", "no\nbecause")


def _written(tell: Callable[[PipeReporter], Any]) -> bytes:
    """Returns what a reporter wrote to its pipe, which holds 64 KiB."""
    read, write = os.pipe()
    try:
        tell(PipeReporter(write))
    finally:
        os.close(write)
    with os.fdopen(read, "rb") as file:
        return file.read()


def _tell(report: Reporter) -> None:
    report.planned(PLAN)
    report.facts(FACTS)
    report.started("a::one")
    report.finished(ONE)
    report.started("a::two")
    report.finished(TWO)
    report.done()


def test_what_is_written_is_what_is_read() -> None:
    reader = ReportReader()
    reader.feed(_written(_tell))
    reader.close()
    assert reader.planned == PLAN
    assert reader.results == {"a::one": ONE, "a::two": TWO}
    assert reader.facts == FACTS
    assert (reader.done, reader.running, reader.fault, reader.exception) == (True, None, None, None)
    assert set(reader.cpu_seconds) == {"a::one", "a::two"}


def test_bytes_may_come_in_any_pieces() -> None:
    reader = ReportReader()
    for byte in _written(_tell):
        reader.feed(bytes([byte]))
    assert reader.done


def test_the_running_check_is_known() -> None:
    def tell(report: PipeReporter) -> None:
        report.planned(PLAN)
        report.started("a::one")

    reader = ReportReader()
    reader.feed(_written(tell))
    assert reader.running == "a::one"


def test_faults_and_exceptions_arrive() -> None:
    reader = ReportReader()
    reader.feed(_written(lambda report: report.fault("no package")))
    reader.feed(_written(lambda report: report.raised("ValueError: x")))
    assert (reader.fault, reader.exception) == ("no package", "ValueError: x")


def test_long_messages_are_cut_with_a_note() -> None:
    long = dataclasses.replace(TWO, message="x" * (MAX_MESSAGE + 10))

    def tell(report: PipeReporter) -> None:
        report.planned(PLAN)
        report.started(TWO.id)
        report.finished(long)

    reader = ReportReader()
    reader.feed(_written(tell))
    assert reader.results[TWO.id].message.endswith(f"(cut after {MAX_MESSAGE} of {MAX_MESSAGE + 10} characters)")


def test_a_line_that_is_too_long_is_the_writers_error() -> None:
    with pytest.raises(ValueError, match=r"'facts' has [0-9]+ bytes, more than"):
        _written(lambda report: report.facts(ModelFacts(classes=("x" * MAX_LINE,))))


def test_a_copy_of_the_process_says_nothing() -> None:
    def tell(report: PipeReporter) -> None:
        report.planned(PLAN)
        pid = os.fork()
        if pid == 0:
            report.started("a::one")
            os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    assert _written(tell).count(b"\n") == 1


def _line(kind: str, **body: Any) -> bytes:
    return json.dumps({"kind": kind, "cpu": 0.0, **body}).encode() + b"\n"


def _result(result: CheckResult, **changes: Any) -> bytes:
    return _line("finished", result={**dataclasses.asdict(result), **changes})


PLANNED = _line("planned", checks=[dataclasses.asdict(check) for check in PLAN])
STARTED = _line("started", id="a::one")

CORRUPT = {
    "not json": (b"nonsense\n", "line 1 is not JSON"),
    "not text": (b"\xff\xfe\n", "line 1 is not JSON"),
    "deep": (b"[" * 100_000 + b"\n", "line 1 is not JSON"),
    "no object": (b"[1]\n", "line 1 has no known kind"),
    "unknown kind": (_line("hello"), "line 1 has no known kind"),
    "kind of a wrong type": (b'{"kind": []}\n', "line 1 has no known kind"),
    "empty plan": (_line("planned", checks=[]), "plans no check"),
    "plan with one check twice": (_line("planned", checks=[dataclasses.asdict(PLAN[0])] * 2), "one of them twice"),
    "two plans": (PLANNED * 2, "plans the checks a second time"),
    "plan of the wrong type": (_line("planned", checks=3), r"line 1 \(planned\) has the wrong fields"),
    "started before the plan": (STARTED, "names the check 'a::one', which was not planned"),
    "started without a clock": (PLANNED + b'{"kind": "started", "id": "a::one"}\n', "wrong fields: 'cpu'"),
    "two at once": (PLANNED + STARTED + _line("started", id="a::two"), "'a::two' started while 'a::one' runs"),
    "never started": (PLANNED + _result(ONE), "passed but never started"),
    "another finishes": (PLANNED + STARTED + _result(TWO), "'a::two' finished while 'a::one' runs"),
    "finished twice": (PLANNED + STARTED + _result(ONE) * 2, "'a::one' finished twice"),
    "another level": (PLANNED + STARTED + _result(ONE, level="built"), "another level or core than planned"),
    "no core": (PLANNED + STARTED + _result(ONE, core=False), "another level or core than planned"),
    "unknown outcome": (PLANNED + STARTED + _result(ONE, outcome="xfailed"), "unknown outcome 'xfailed'"),
    "no reason": (PLANNED + _result(ONE, outcome="not_applicable"), "not_applicable without a reason"),
    "message of a wrong type": (PLANNED + STARTED + _result(ONE, message=3), "expected text, found int"),
    "done too early": (PLANNED + _line("done"), "never finished: a::one, a::two"),
    "done without a plan": (_line("done"), r"never finished: \(none was planned\)"),
    "facts of a wrong type": (_line("facts", facts={"parameters": "many"}), "wrong fields"),
    "a line without end": (b"x" * (MAX_LINE + 1), "line 1 is longer than"),
    "too much": (_line("facts", facts=dataclasses.asdict(FACTS)) * (MAX_REPORT // 100), "more than [0-9]+ bytes"),
}


@pytest.mark.parametrize("case", CORRUPT)
def test_the_reader_says_what_is_wrong(case: str) -> None:
    data, message = CORRUPT[case]
    with pytest.raises(CorruptReport, match=message):
        ReportReader().feed(data)


def test_nothing_may_follow_done() -> None:
    reader = ReportReader()
    reader.feed(_written(_tell))
    with pytest.raises(CorruptReport, match=r"line 8 \(facts\) comes after done"):
        reader.feed(_line("facts", facts=dataclasses.asdict(FACTS)))


def test_an_end_inside_a_line_is_corrupt() -> None:
    reader = ReportReader()
    reader.feed(PLANNED + b'{"kind"')
    with pytest.raises(CorruptReport, match="ends inside line 2"):
        reader.close()


def test_a_person_sees_every_check_and_the_counts() -> None:
    stream = io.StringIO()
    _tell(PrintReporter(stream))
    assert stream.getvalue().splitlines() == [
        "2 checks",
        "model: 3 parameters, gradients reach 50.0%, inputs x int64[2]",
        "     ok  a::one",
        " FAILED  a::two",
        "         no",
        "         because",
        "1 passed, 1 failed",
    ]
