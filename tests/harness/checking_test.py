"""The plugin: levels gate, a check that skips itself fails, reasons are required, messages are the same everywhere."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness import checking, messages
from harness.cell import pytest_arguments
from harness.reporter import HarnessFault, PlannedCheck
from harness.spec import KnownFailure
from harness.verdict import CheckResult, ModelFacts


class Recorder:
    """A reporter that keeps what it hears."""

    def __init__(self) -> None:
        self.plan: list[PlannedCheck] = []
        self.begun: list[str] = []
        self.results: dict[str, CheckResult] = {}

    def planned(self, checks: Sequence[PlannedCheck]) -> None:
        """Keeps the plan."""
        self.plan = list(checks)

    def started(self, check_id: str) -> None:
        """Keeps the order."""
        self.begun.append(check_id)

    def finished(self, result: CheckResult) -> None:
        """Keeps the result."""
        self.results[result.id] = result

    def facts(self, facts: ModelFacts) -> None:
        """Nothing."""

    def observed(self, values: Mapping[str, Any]) -> None:
        """Nothing."""

    def device_peak(self, peak_bytes: int) -> None:
        """Nothing."""

    def done(self) -> None:
        """Nothing."""


class FakeCell:
    """What the made-up checks look at."""

    outcomes: ClassVar[dict[str, str]] = {}

    class spec:
        label = "//models/decoder/made_up:cpu"
        not_applicable: ClassVar[dict[str, str]] = {}
        known_failures: ClassVar[tuple[KnownFailure, ...]] = ()


HEAD = "import pytest\nfrom harness.checking import check\n"


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *bodies: str, recorder: Recorder | None = None) -> Recorder:
    """Runs one file of checks per body in this process; returns `recorder`, by default a new one."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    files = []
    for number, body in enumerate(bodies):
        files.append(tmp_path / f"made{number}_{abs(hash(str(tmp_path)))}.py")
        files[-1].write_text(HEAD + body)
    recorder = recorder or Recorder()
    plugin = checking.CheckPlugin(FakeCell(), recorder)  # type: ignore[arg-type]
    status = pytest.main(pytest_arguments(files, quiet=True), plugins=[plugin])
    plugin.raise_fault(int(status))
    return recorder


def outcomes(recorder: Recorder) -> dict[str, tuple[str, str]]:
    """Returns outcome and message by the check's short name."""
    return {name.partition("::")[2]: (result.outcome, result.message) for name, result in recorder.results.items()}


def test_levels_run_in_order_and_the_plan_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = run(
        tmp_path,
        monkeypatch,
        '@check(level="consistent", core=True)\ndef test_late(cell):\n    "d"\n'
        '@check(level="parsed")\ndef test_early(cell):\n    "d"\n'
        '@check(level="parsed", last=True)\ndef test_guard(cell):\n    "d"\n',
    )
    assert [name.partition("::")[2] for name in recorder.begun] == ["early", "late", "guard"]
    assert [(check.level, check.core) for check in recorder.plan] == [
        ("parsed", False),
        ("consistent", True),
        ("parsed", False),
    ]


def test_a_failed_level_keeps_later_ones_from_running_and_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = run(
        tmp_path,
        monkeypatch,
        '@check(level="built")\ndef test_breaks(cell):\n    "d"\n    assert False, "no weights"\n'
        '@check(level="built")\ndef test_sibling(cell):\n    "d"\n',
        '@check(level="forward")\ndef test_later(cell):\n    "d"\n'
        '@check(level="consistent")\ndef test_latest(cell):\n    "d"\n',
    )
    found = outcomes(recorder)
    breaks = next(name for name in recorder.results if name.endswith("::breaks"))
    assert found["breaks"][0] == "failed"
    assert found["breaks"][1].startswith("no weights\n")
    assert found["sibling"] == ("passed", "")
    assert found["later"] == found["latest"] == ("not_run", f"{breaks} failed")


@pytest.mark.parametrize(
    ("level", "message", "then"),
    [("consistent", "no *", "passed"), ("consistent", "other", "not_run"), ("forward", "no *", "not_run")],
)
def test_a_known_failure_of_a_model_that_runs_keeps_its_numbers_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, message: str, then: str
) -> None:
    known = KnownFailure(f"made0_{abs(hash(str(tmp_path)))}::breaks", "a cause", "", "2999-01-01", message=message)
    monkeypatch.setattr(FakeCell.spec, "known_failures", (known,))
    recorder = run(
        tmp_path,
        monkeypatch,
        f'@check(level="{level}")\ndef test_breaks(cell):\n    "d"\n    assert False, "no weights"\n'
        '@check(level="reference")\ndef test_compares(cell):\n    "d"\n',
    )
    assert outcomes(recorder)["compares"][0] == then


@pytest.mark.parametrize(
    "body", ['pytest.skip("tired")', 'pytest.xfail("known")', 'pytest.importorskip("no_such_thing")']
)
def test_a_check_that_skips_itself_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    found = outcomes(run(tmp_path, monkeypatch, f'@check(level="parsed")\ndef test_lazy(cell):\n    "d"\n    {body}\n'))
    assert found["lazy"][0] == "failed"
    assert "skipped itself" in found["lazy"][1]


def test_a_check_marked_to_fail_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = '@pytest.mark.xfail\n@check(level="parsed")\ndef test_hopeless(cell):\n    "d"\n    assert False\n'
    assert outcomes(run(tmp_path, monkeypatch, body))["hopeless"][0] == "failed"


def test_a_declaration_exempts_a_check_above_forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stem = f"made0_{abs(hash(str(tmp_path)))}"
    body = (
        '@check(level="forward")\ndef test_runs(cell):\n    "d"\n'
        '@check(level="consistent")\ndef test_cache(cell):\n    "d"\n    1 / 0\n'
    )
    monkeypatch.setattr(FakeCell.spec, "not_applicable", {f"{stem}::cache": "no cache by design"})
    assert outcomes(run(tmp_path, monkeypatch, body))["cache"] == ("not_applicable", "no cache by design")
    for name, fault in ((f"{stem}::cash", "no check of this model's category"), (f"{stem}::runs", "must pass it")):
        monkeypatch.setattr(FakeCell.spec, "not_applicable", {name: "by design"})
        found = outcomes(run(tmp_path, monkeypatch, body))
        assert found["runs"][0] == "failed"
        assert fault in found["runs"][1]


def test_what_does_not_apply_needs_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = outcomes(
        run(
            tmp_path,
            monkeypatch,
            '@check(level="parsed", unless=lambda cell: "no cache")\ndef test_cache(cell):\n    "d"\n    1 / 0\n'
            '@check(level="parsed", unless=lambda cell: " ")\ndef test_silent(cell):\n    "d"\n'
            '@check(level="parsed", unless=lambda cell: None)\ndef test_applies(cell):\n    "d"\n'
            '@check(level="parsed", unless=lambda cell: cell.nothing)\ndef test_raises(cell):\n    "d"\n',
        )
    )
    assert found["cache"] == ("not_applicable", "no cache")
    assert found["silent"][0] == "failed"
    assert found["applies"] == ("passed", "")
    assert found["raises"][0] == "failed"
    assert "AttributeError" in found["raises"][1]


def test_fixtures_of_a_file_survive_checks_that_do_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fixture = '@pytest.fixture(scope="session")\ndef shared():\n    return []\n'
    n_a = '@check(level="parsed", unless=lambda cell: "not here")\ndef test_other(cell):\n    "d"\n'
    last = '@check(level="consistent", last=True)\ndef test_guard(cell, shared):\n    "d"\n'
    first = '@check(level="parsed")\ndef test_first(cell, shared):\n    "d"\n'
    found = outcomes(
        run(tmp_path, monkeypatch, fixture + first + last, first.replace("first(cell, shared", "second(cell") + n_a)
    )
    assert {outcome for outcome, _ in found.values()} == {"passed", "not_applicable"}


def test_a_test_without_the_decorator_is_the_harness_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HarnessFault, match="without @check"):
        run(tmp_path, monkeypatch, 'def test_plain(cell):\n    "d"\n')


def test_a_file_that_cannot_be_loaded_is_the_harness_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HarnessFault, match="no_such_module"):
        run(tmp_path, monkeypatch, "import no_such_module\n")


FAULT = 'HarnessFault("PyTorch sees no cuda device")'


@pytest.mark.parametrize(
    "body",
    [
        f'@check(level="parsed")\ndef test_device(cell):\n    "d"\n    raise {FAULT}\n',
        f'@check(level="parsed", unless=lambda cell: fault())\ndef test_device(cell):\n    "d"\n'
        f"def fault():\n    raise {FAULT}\n",
        f"@pytest.fixture\ndef device():\n    raise {FAULT}\n"
        '@check(level="parsed")\ndef test_device(cell, device):\n    "d"\n',
        f"@pytest.fixture\ndef device():\n    yield\n    raise {FAULT}\n"
        '@check(level="parsed")\ndef test_device(cell, device):\n    "d"\n',
        f'@check(level="parsed")\ndef test_device(cell):\n    "d"\n    try:\n        raise {FAULT}\n'
        '    except Exception as error:\n        raise AssertionError("no device") from error\n',
        f'@check(level="parsed")\ndef test_device(cell):\n    "d"\n    try:\n        raise {FAULT}\n'
        '    except Exception:\n        assert False, "no device"\n',
    ],
    ids=["check", "unless", "fixture", "teardown", "cause", "context"],
)
def test_a_harness_fault_inside_a_check_is_no_result_and_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    recorder = Recorder()
    head, later = (
        "from harness.reporter import HarnessFault\n",
        '@check(level="parsed")\ndef test_later(cell):\n    "d"\n',
    )
    with pytest.raises(HarnessFault, match=r"^PyTorch sees no cuda device$"):
        run(tmp_path, monkeypatch, head + body + later, recorder=recorder)
    assert [name.partition("::")[2] for name in recorder.begun] == ["device"]
    assert recorder.results == {}


def test_a_check_needs_level_name_and_docstring() -> None:
    def test_nothing(cell: Any) -> None:
        pass

    with pytest.raises(ValueError, match="level 'deep' is not one of"):
        checking.check(level="deep")
    with pytest.raises(ValueError, match="needs a docstring"):
        checking.check(level="parsed")(test_nothing)


def test_an_error_starts_with_its_type_and_an_assertion_with_its_words() -> None:
    assert checking.describe(RuntimeError("shapes")).startswith("RuntimeError: shapes")
    assert checking.describe(AssertionError("logits differ\nby 3")).startswith("logits differ\nby 3")
    assert checking.describe(AssertionError()).startswith("assertion failed without a message")


def test_messages_lose_paths_addresses_and_process_ids() -> None:
    ours, theirs = f"{os.getcwd()}/harness/cell.py", "/usr/lib/site-packages/torch/nn/a.py"
    text = f"<x at 0x7f00deadbeef> in {ours}, {theirs}, /tmp/x9/y pid 4711"
    cleaned = messages.clean(text)
    assert cleaned == "<x at 0x…> in harness/cell.py, torch/nn/a.py, <temporary> pid N"


def test_a_message_is_cleaned_where_the_working_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert messages.clean("pid 4711 at /usr/lib/site-packages/torch/a.py") == "pid N at torch/a.py"
