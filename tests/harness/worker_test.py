"""The worker as a whole: whatever a run does, its own cell fails alone, and the worker goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.harness import workers
from tests.harness.workers import Cell, Worker, alive, make_cell, until


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("worker")
    with workers.started(folder / "tmp") as running:
        running.run(make_cell(folder / "first", "healthy"))
        yield running


@pytest.fixture
def healthy_after(worker: Worker, tmp_path: Path) -> Iterator[Worker]:
    """The shared worker; after the test it must have nothing left over and must prove a healthy cell."""
    before = worker.files()
    yield worker
    assert worker.run(make_cell(tmp_path / "after", "healthy")).status == "passed"
    assert worker.children() == []
    assert worker.files() == before
    assert list(worker.scratch.iterdir()) == []


def _outcomes(cell: Cell) -> Mapping[str, str]:
    return {check.id.removeprefix("fake::"): check.outcome for check in cell.verdict().checks}


def test_a_pass_is_recorded_from_one_run(healthy_after: Worker, tmp_path: Path) -> None:
    cell = make_cell(tmp_path / "cell", "healthy")
    verdict = healthy_after.run(cell)
    assert (verdict.status, verdict.level, verdict.runs, verdict.reason) == ("passed", "consistent", 1, "")
    assert verdict.model.parameters == 10
    assert verdict.device == {"device": "cpu", "machine": "x86_64"}
    timings = json.loads((cell.folder / "timings.json").read_text())
    assert len(timings["runs"]) == 1
    assert set(timings["runs"][0]["check_cpu_seconds"]) == {check.id for check in verdict.checks}


def test_memory_of_a_device_stands_beside_the_verdict_and_not_in_it(healthy_after: Worker, tmp_path: Path) -> None:
    cell = make_cell(tmp_path / "cell", "on_device")
    assert healthy_after.run(cell).status == "passed"
    assert json.loads((cell.folder / "timings.json").read_text())["runs"][0]["device_peak_mib"] == 240.0
    assert "peak" not in (cell.folder / "verdict.json").read_text()


DEATHS: Mapping[str, tuple[str, dict[str, int]]] = {
    "segfault": ("killed by signal SIGSEGV", {}),
    "recurse": ("killed by signal SIGSEGV", {}),
    "exit_0": ("exited with status 0 without finishing", {}),
    "exit_3": ("exited with status 3 without finishing", {}),
    "sys_exit": ("exited with status 4 without finishing", {}),
    "sys_exit_text": ("exited with status 1 without finishing", {}),
    "hang": ("took more than 1 s (wall)", {"wall_seconds": 1}),
    "stop": ("took more than 1 s (wall)", {"wall_seconds": 1}),
    "fork_and_hang": ("took more than 1 s (wall)", {"wall_seconds": 1}),
    "busy": ("used more than 1 CPU seconds", {"cpu_seconds": 1}),
    "busy_child": ("used more than 1 CPU seconds", {"cpu_seconds": 1}),
    "short_busy_children": ("used more than 1 CPU seconds", {"cpu_seconds": 1}),
    "fill_memory": ("used more than 64 MiB of resident memory", {"memory_mib": 64}),
    "fill_memory_in_children": ("used more than 64 MiB of resident memory", {"memory_mib": 64}),
    "close_fds": ("closed the pipe that reports its checks", {}),
    "kill_group": ("killed by signal SIGTERM", {}),
    "raise": ("raised Odd: came out of a check", {}),
    "raise_with_paths": (
        "raised Odd: no field in tests/harness/misbehaviour.py, torch/nn/a.py or <temporary> of pid N",
        {},
    ),
}


@pytest.mark.parametrize("behaviour", DEATHS)
def test_a_death_fails_the_check_that_ran(healthy_after: Worker, tmp_path: Path, behaviour: str) -> None:
    cause, limits = DEATHS[behaviour]
    config = {"file": str(tmp_path / "pid")} if behaviour == "fork_and_hang" else {}
    cell = make_cell(tmp_path / "cell", behaviour, limits=limits, config=config)
    verdict = healthy_after.run(cell)
    assert (verdict.status, verdict.runs) == ("failed", 2)
    assert verdict.reason == f"fake::forward: {cause}"
    assert verdict.failed_check == "fake::forward"
    assert verdict.level == "built"
    assert _outcomes(cell) == {"parsed": "passed", "built": "passed", "forward": "failed", "consistent": "not_run"}


CORRUPT: Mapping[str, str] = {
    "garbage": "line 3 is not JSON",
    "half_line": "the report ends inside line 3",
    "long_line": "line 3 is longer than 262144 bytes",
    "unknown_check": "line 3 names the check 'fake::other', which was not planned",
    "wrong_fields": "line 3 (finished) has the wrong fields: 'int' object is not subscriptable",
}


@pytest.mark.parametrize("behaviour", CORRUPT)
def test_a_corrupt_report_fails_the_cell_and_says_what_was_wrong(
    healthy_after: Worker, tmp_path: Path, behaviour: str
) -> None:
    verdict = healthy_after.run(make_cell(tmp_path / "cell", behaviour))
    assert verdict.status == "failed"
    assert verdict.reason == f"fake::parsed: wrote a corrupt report: {CORRUPT[behaviour]}"
    assert verdict.level == "declared"


OUTSIDE: Mapping[str, str] = {
    "die_before_plan": "exited with status 7 without finishing",
    "exit_after_done": "exited with status 5 without finishing",
    "raise_after_done": "wrote a corrupt report: line 12 (raised) comes after done",
}


@pytest.mark.parametrize("behaviour", OUTSIDE)
def test_a_death_outside_any_check_proves_nothing(healthy_after: Worker, tmp_path: Path, behaviour: str) -> None:
    verdict = healthy_after.run(make_cell(tmp_path / "cell", behaviour))
    assert (verdict.status, verdict.level, verdict.failed_check) == ("failed", "declared", "")
    assert verdict.reason == f"outside any check: {OUTSIDE[behaviour]}"


@pytest.mark.parametrize(
    ("behaviour", "names"), [("leave_child", "python"), ("leave_session", "python"), ("leave_program", "sleep")]
)
def test_processes_that_outlive_the_run_are_ended_and_named(
    healthy_after: Worker, tmp_path: Path, behaviour: str, names: str
) -> None:
    note = tmp_path / "pid"
    verdict = healthy_after.run(make_cell(tmp_path / "cell", behaviour, config={"file": str(note)}))
    assert verdict.status == "failed"
    assert verdict.reason.startswith(f"outside any check: left processes running: {names}")
    assert not note.exists() or not alive(int(note.read_text()))


HARMLESS = (
    "close_standard_streams",
    "fork_returns",
    "helper_that_ends",
    "lock_folders",
    "multiprocess",
    "print_binary",
    "remove_working_directory",
    "reserve_address_space",
    "share_memory_with_children",
    "threads_at_exit",
)


@pytest.mark.parametrize("behaviour", HARMLESS)
def test_what_harms_only_the_process_itself_does_not_fail_the_cell(
    healthy_after: Worker, tmp_path: Path, behaviour: str
) -> None:
    verdict = healthy_after.run(make_cell(tmp_path / "cell", behaviour, limits={"memory_mib": 64}))
    assert (verdict.status, verdict.reason) == ("passed", "")


def test_output_of_a_failed_run_is_kept_to_its_end_and_made_printable(healthy_after: Worker, tmp_path: Path) -> None:
    cell = make_cell(tmp_path / "cell", "print_binary", config={"fail": True})
    healthy_after.run(cell)
    log = cell.log()
    assert "the end \\xff\\x00\\x1b[31m" in log
    assert "bytes before this left out" in log
    assert len(log) < 6 * 64 * 1024


def test_a_segfault_leaves_the_trace_of_where_it_was(healthy_after: Worker, tmp_path: Path) -> None:
    cell = make_cell(tmp_path / "cell", "segfault")
    healthy_after.run(cell)
    assert "about to read address zero" in cell.log()
    assert "in _segfault" in cell.log()


def test_paths_and_addresses_of_a_run_are_not_in_the_verdict(healthy_after: Worker, tmp_path: Path) -> None:
    verdict = healthy_after.run(make_cell(tmp_path / "cell", "fail"))
    assert verdict.reason == "fake::forward: logits differ by 0.41"
    assert verdict.checks[2].message == "logits differ by 0.41\ndetails of <scratch>/tmp at 0x…"


def test_a_run_sees_its_report_and_no_other_descriptor(healthy_after: Worker, tmp_path: Path) -> None:
    assert healthy_after.run(make_cell(tmp_path / "cell", "files")).checks[2].message == "pipe"


def test_a_run_sees_a_clean_environment_and_a_fixed_hash_seed(healthy_after: Worker, tmp_path: Path) -> None:
    message = healthy_after.run(make_cell(tmp_path / "cell", "environment")).checks[2].message
    assert message.startswith("PYTHONHASHSEED=0, OMP_NUM_THREADS=1, HF_HUB_OFFLINE=1, HF_TOKEN=None, PYTHONPATH=None")
    code = "print(hash('modelgrid'))"
    seeded = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True
    )
    assert message.endswith(f"hash {seeded.stdout.strip()}")


def test_two_runs_that_differ_are_flaky(healthy_after: Worker, tmp_path: Path) -> None:
    cell = make_cell(tmp_path / "cell", "flaky", config={"file": str(tmp_path / "marker")})
    verdict = healthy_after.run(cell)
    assert (verdict.status, verdict.runs) == ("flaky", 2)
    assert verdict.reason == (
        "two runs of the same inputs differ: fake::forward is failed in the first run, passed in the second"
    )


def test_two_runs_that_end_differently_are_flaky(healthy_after: Worker, tmp_path: Path) -> None:
    cell = make_cell(tmp_path / "cell", "flaky_death", config={"file": str(tmp_path / "marker")})
    verdict = healthy_after.run(cell)
    assert verdict.status == "flaky"
    assert "first run: exited with status 3 without finishing; second run: ended well" in verdict.reason


def test_a_known_failure_is_expected(healthy_after: Worker, tmp_path: Path) -> None:
    known = [workers.known_failure("fake::forward")]
    verdict = healthy_after.run(make_cell(tmp_path / "cell", "segfault", known_failures=known))
    assert (verdict.status, verdict.runs) == ("expected_failure", 1)
    assert verdict.reason == "upstream bug (https://example.org/1)"


def _cell_on_a_backend_with_known_failures(folder: Path, name: str, text: str) -> Cell:
    cell = make_cell(folder, name)
    (folder / "known_failures.json").write_text(text)
    return cell


def test_what_a_backend_cannot_do_is_expected(healthy_after: Worker, tmp_path: Path) -> None:
    known = json.dumps([workers.known_failure("cpu", "fake::forward", "killed by signal*")])
    cell = _cell_on_a_backend_with_known_failures(tmp_path / "cell", "segfault", known)
    assert healthy_after.run(cell).status == "expected_failure"
    assert (cell.folder / "unused.txt").read_text().strip() == ""


def test_a_pass_does_not_ask_what_a_backend_cannot_do(healthy_after: Worker, tmp_path: Path) -> None:
    cell = _cell_on_a_backend_with_known_failures(tmp_path / "cell", "healthy", "nobody reads this")
    assert healthy_after.run(cell).status == "passed"
    assert (cell.folder / "unused.txt").read_text() == f"{cell.folder / 'known_failures.json'}\n"


def test_known_failures_that_cannot_be_read_are_no_verdict(healthy_after: Worker, tmp_path: Path) -> None:
    cell = _cell_on_a_backend_with_known_failures(tmp_path / "cell", "segfault", "[{")
    healthy_after.send(cell)
    answer = healthy_after.receive()
    assert answer["exitCode"] == 1
    assert "//models/decoder/segfault:cpu: known_failures.json: not JSON" in answer["output"]
    assert not (cell.folder / "verdict.json").exists()


def test_missing_core_checks_are_no_pass(healthy_after: Worker, tmp_path: Path) -> None:
    verdict = healthy_after.run(make_cell(tmp_path / "cell", "no_core"))
    assert (verdict.status, verdict.level) == ("failed", "forward")
    assert verdict.reason == "core checks did not run: fake::consistent"


def test_an_import_error_of_the_models_code_is_the_models_failure(healthy_after: Worker, tmp_path: Path) -> None:
    verdict = healthy_after.run(make_cell(tmp_path / "cell", "model_import_error"))
    assert verdict.status == "failed"
    assert "ModuleNotFoundError: No module named 'no_such_package_of_the_model'" in verdict.reason


FAULTS: Mapping[str, str] = {
    "fault": "the package 'foo' is missing; fetch the environment anew",
    "full_disk": "No space left on device during the run; make room and build again",
}


@pytest.mark.parametrize("behaviour", FAULTS)
def test_a_fault_of_the_environment_fails_the_action_without_a_verdict(
    healthy_after: Worker, tmp_path: Path, behaviour: str
) -> None:
    cell = make_cell(tmp_path / "cell", behaviour)
    healthy_after.send(cell)
    answer = healthy_after.receive()
    assert answer["exitCode"] == 1
    assert answer["output"] == f"modelgrid: //models/decoder/{behaviour}:cpu: {FAULTS[behaviour]}\n"
    assert cell.untouched()


def test_one_death_by_wall_time_is_no_verdict(healthy_after: Worker, tmp_path: Path) -> None:
    config = {"file": str(tmp_path / "marker")}
    cell = make_cell(tmp_path / "cell", "hang_once", limits={"wall_seconds": 1}, config=config)
    healthy_after.send(cell)
    answer = healthy_after.receive()
    assert answer["exitCode"] == 1
    assert "one of two runs took more than 1 s on the clock" in answer["output"]
    assert cell.untouched()


def test_outputs_that_cannot_be_written_fail_the_action(healthy_after: Worker, tmp_path: Path) -> None:
    cell = make_cell(tmp_path / "cell", "healthy")
    arguments = [argument.replace("/verdict.json", "/no/folder.json") for argument in cell.arguments()]
    healthy_after.send(cell, arguments=arguments)
    answer = healthy_after.receive()
    assert answer["exitCode"] == 1
    assert "outputs cannot be written" in answer["output"]
    assert cell.untouched()


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("version", 99, "spec version 99, this harness reads 1"),
        ("limits", {"cpu_seconds": 0}, "limits.cpu_seconds must be above zero"),
    ],
)
def test_a_spec_that_cannot_be_read_fails_the_action(
    healthy_after: Worker, tmp_path: Path, field: str, value: Any, text: str
) -> None:
    cell = make_cell(tmp_path / "cell", "healthy", **{field: value})
    healthy_after.send(cell)
    answer = healthy_after.receive()
    assert answer["exitCode"] == 1
    assert f"//models/decoder/healthy:cpu: {text}" in answer["output"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda arguments: arguments[1:], "missing arguments: --spec=PATH"),
        (lambda arguments: [*arguments, "--verdcit=x"], "argument '--verdcit=x' is none of --spec=PATH"),
        (lambda arguments: ["@no-such-file"], "the params file cannot be read"),
    ],
)
def test_wrong_arguments_fail_the_action(healthy_after: Worker, tmp_path: Path, change: Any, text: str) -> None:
    cell = make_cell(tmp_path / "cell", "healthy")
    healthy_after.send(cell, arguments=change(cell.arguments()))
    answer = healthy_after.receive()
    assert answer["exitCode"] == 1
    assert text in answer["output"]


def test_params_files_are_read(healthy_after: Worker, tmp_path: Path) -> None:
    cell = make_cell(tmp_path / "cell", "healthy")
    params = tmp_path / "params"
    params.write_text("\n".join(cell.arguments()) + "\n")
    for flag in (f"@{params}", f"--flagfile={params}"):
        healthy_after.send(cell, arguments=[flag])
        assert healthy_after.receive()["exitCode"] == 0


def test_a_malformed_request_is_answered_and_the_worker_goes_on(healthy_after: Worker) -> None:
    for line in (b"{not json}\n", b"[1]\n", b'{"arguments": "x"}\n', b'{"requestId": "1"}\n', b"\xff\xff\n"):
        healthy_after.send_bytes(line)
        answer = healthy_after.receive()
        assert answer["exitCode"] == 1
        assert "work request" in answer["output"]


def test_requests_arrive_in_pieces_and_in_bunches(healthy_after: Worker, tmp_path: Path) -> None:
    cells = [make_cell(tmp_path / str(number), "healthy") for number in (1, 2)]
    lines = [
        json.dumps({"arguments": cell.arguments(), "requestId": number}).encode() + b"\n"
        for number, cell in enumerate(cells, start=1)
    ]
    data = b"\n" + b"".join(lines)
    for begin in range(0, len(data), 100):
        healthy_after.send_bytes(data[begin : begin + 100])
    assert {healthy_after.receive()["requestId"] for _ in cells} == {1, 2}


def test_multiplexed_requests_run_at_once_and_do_not_meet(healthy_after: Worker, tmp_path: Path) -> None:
    behaviours = ["hang", "segfault", "healthy", "fill_memory", "fail", "exit_3"]
    limits = {"wall_seconds": 1, "memory_mib": 64}
    cells = [make_cell(tmp_path / name, name, limits=limits) for name in behaviours]
    for request_id, cell in enumerate(cells, start=1):
        healthy_after.send(cell, request_id)
    answers = [healthy_after.receive() for _ in cells]
    assert {answer["requestId"]: answer["exitCode"] for answer in answers} == dict.fromkeys(range(1, 7), 0)
    assert answers[-1]["requestId"] == 1, "the one that hangs holds nobody up"
    assert [cell.verdict().status == "passed" for cell in cells] == [name == "healthy" for name in behaviours]


def test_an_id_in_use_is_refused(healthy_after: Worker, tmp_path: Path) -> None:
    cell = make_cell(tmp_path / "cell", "hang")
    healthy_after.send(cell, 3)
    healthy_after.send(cell, 3)
    assert "request 3 is already running" in healthy_after.receive()["output"]
    healthy_after.send_bytes(b'{"requestId": 3, "cancel": true}\n')
    assert healthy_after.receive()["wasCancelled"]


def test_cancel_ends_the_run_and_all_it_started(healthy_after: Worker, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    cell = make_cell(tmp_path / "cell", "fork_and_hang", config={"file": str(note)})
    healthy_after.send(cell, 5)
    until(note.exists, "the run starts")
    healthy_after.send_bytes(b'{"requestId": 5, "cancel": true}\n')
    assert healthy_after.receive() == {"exitCode": 1, "output": "", "requestId": 5, "wasCancelled": True}
    assert not alive(int(note.read_text()))
    assert cell.untouched()


def test_cancel_of_what_does_not_run_is_ignored(healthy_after: Worker) -> None:
    healthy_after.send_bytes(b'{"requestId": 77, "cancel": true}\n')


def test_sandbox_dir_is_where_paths_start(tmp_path: Path) -> None:
    sandbox = tmp_path / "sandbox" / "1"
    cell = make_cell(sandbox / "out", "healthy")
    with workers.started(tmp_path / "tmp", cwd=tmp_path) as worker:
        worker.send(cell, 1, arguments=cell.arguments(sandbox), sandboxDir="sandbox/1")
        assert worker.receive()["exitCode"] == 0
    assert cell.verdict().status == "passed"


def test_two_hundred_cells_leave_nothing_behind(tmp_path: Path) -> None:
    with workers.started(tmp_path / "tmp") as worker:
        worker.run(make_cell(tmp_path / "first", "healthy"))
        before = worker.files()
        cells = [make_cell(tmp_path / str(number), "healthy") for number in range(200)]
        for request_id, cell in enumerate(cells):
            worker.send(cell, request_id)
            if request_id % 4 == 3:
                for _ in range(4):
                    assert worker.receive()["exitCode"] == 0
        assert worker.files() == before
        assert worker.children() == []
        assert list(worker.scratch.iterdir()) == []


def test_end_of_input_ends_the_worker_quietly(tmp_path: Path) -> None:
    with workers.started(tmp_path / "tmp") as worker:
        worker.run(make_cell(tmp_path / "cell", "healthy"))
        assert worker.end_input() == (0, "")


@pytest.mark.parametrize("how", ["end of input", "SIGTERM", "SIGKILL", "SIGKILL of the group"])
def test_nothing_outlives_the_worker(tmp_path: Path, how: str) -> None:
    note = tmp_path / "pid"
    cell = make_cell(tmp_path / "cell", "fork_and_hang", config={"file": str(note)})
    with workers.started(tmp_path / "tmp") as worker:
        worker.send(cell)
        until(note.exists, "the run starts")
        tree = [worker.pid, int(note.read_text()), *_below(worker.pid)]
        assert len(tree) >= 4
        if how == "end of input":
            worker.end_input()
        else:
            os.kill(worker.pid, signal.SIGTERM if how == "SIGTERM" else signal.SIGKILL)
            worker.process.wait()
        until(lambda: not any(alive(pid) for pid in tree), "every process ends")
        until(lambda: not list(worker.scratch.iterdir()), "the scratch folder is gone")
    assert cell.untouched()


def test_a_supervisor_that_is_killed_fails_its_action_alone(healthy_after: Worker, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    cell = make_cell(tmp_path / "cell", "fork_and_hang", config={"file": str(note)})
    healthy_after.send(cell)
    until(note.exists, "the run starts")
    (supervisor,) = healthy_after.children()
    os.kill(supervisor, signal.SIGKILL)
    answer = healthy_after.receive()
    assert answer["exitCode"] == 1
    assert "the supervisor of a run ended early (status -9)" in answer["output"]
    assert not alive(int(note.read_text()))


def _below(pid: int) -> list[int]:
    found = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [grandchild for child in found for grandchild in _below(child)]


def _one_run(cell: Cell, scratch: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*workers.command(), *cell.arguments()],
        env=workers.environment(scratch),
        capture_output=True,
        text=True,
        timeout=workers.PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("behaviour", ["healthy", "fail", "exit_3"])
def test_one_run_without_a_worker_gives_the_same_bytes(healthy_after: Worker, tmp_path: Path, behaviour: str) -> None:
    ours, theirs = make_cell(tmp_path / "worker", behaviour), make_cell(tmp_path / "alone", behaviour)
    healthy_after.run(ours)
    result = _one_run(theirs, tmp_path / "tmp")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert ours.outputs() == theirs.outputs()


def test_one_run_with_a_fault_says_so_and_exits_with_an_error(tmp_path: Path) -> None:
    cell = make_cell(tmp_path / "cell", "fault")
    result = _one_run(cell, tmp_path / "tmp")
    assert result.returncode == 1
    assert result.stdout == ""
    assert "the package 'foo' is missing" in result.stderr
    assert cell.untouched()


def _workspace(folder: Path, cell_py: str) -> Path:
    """Returns a root with the real harness but for `cell.py` and the list of core checks."""
    harness = folder / "harness"
    (harness / "checks").mkdir(parents=True)
    for name in (
        "folders",
        "judge",
        "messages",
        "preload",
        "processes",
        "protocol",
        "reference",
        "reporter",
        "spec",
        "supervise",
        "verdict",
        "worker",
        "zygote",
    ):
        (harness / f"{name}.py").symlink_to(workers.ROOT / "harness" / f"{name}.py")
    (harness / "cell.py").write_text(cell_py)
    core = "{'parsed': ('fake::a',), 'built': ('fake::a',), 'forward': ('fake::a',), 'consistent': ('fake::a',)}"
    (harness / "checks" / "core.py").write_text(f"CORE = {{'decoder': {core}}}\n")
    return folder


PASSING = """
from harness.reporter import PlannedCheck
from harness.verdict import CheckResult

def run(spec, report):
    report.planned([PlannedCheck("fake::a", "parsed", True)])
    report.started("fake::a")
    report.finished(CheckResult("fake::a", "parsed", True, "passed"))
    report.done()
"""


def _real_run(root: Path, cell: Cell, scratch: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Runs the real entry as the action does: isolated, from a folder, with relative paths."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-B", "harness/worker.py", "--root=.", *flags, *cell.arguments(root)],
        env=workers.environment(scratch),
        cwd=root,
        capture_output=True,
        text=True,
        timeout=workers.PATIENCE,
        check=False,
    )


def test_the_real_entry_runs_harness_cell(tmp_path: Path) -> None:
    root = _workspace(tmp_path / "root", PASSING)
    cell = make_cell(root / "out", "x", backend={"name": "mock", "runtime": "mock"})
    result = _real_run(root, cell, tmp_path / "tmp", "--mock")
    assert (result.returncode, result.stderr) == (0, "")
    assert (cell.verdict().status, cell.verdict().level) == ("passed", "mock")


@pytest.mark.parametrize(
    ("cell_py", "text"),
    [
        ("import no_such_package\n", "harness.cell cannot be loaded (ModuleNotFoundError"),
        ("def run(spec, report):\n    import no_such_package\n", "the harness cannot import what it needs"),
    ],
)
def test_an_import_error_of_the_harness_is_a_fault(tmp_path: Path, cell_py: str, text: str) -> None:
    root = _workspace(tmp_path / "root", cell_py)
    cell = make_cell(root / "out", "x", backend={"name": "mock", "runtime": "mock"})
    result = _real_run(root, cell, tmp_path / "tmp", "--mock")
    assert result.returncode == 1
    assert text in result.stderr
    assert cell.untouched()


def _broken_site(folder: Path) -> Path:
    folder.mkdir()
    (folder / "numpy.py").write_text("raise ImportError('libopenblas is not there')\n")
    return folder


def test_a_broken_environment_is_a_fault_of_the_action(tmp_path: Path) -> None:
    root = _workspace(tmp_path / "root", PASSING)
    cell = make_cell(root / "out", "x")
    result = _real_run(root, cell, tmp_path / "tmp", f"--site={_broken_site(tmp_path / 'site')}")
    assert result.returncode == 1
    assert "the environment lacks numpy or has it broken (ImportError: libopenblas is not there)" in result.stderr
    assert cell.untouched()


def test_a_broken_environment_is_told_in_the_first_answer(tmp_path: Path) -> None:
    root = _workspace(tmp_path / "root", PASSING)
    cell = make_cell(root / "out", "x")
    site = _broken_site(tmp_path / "site")
    argv = [sys.executable, "-I", "-S", "-B", "harness/worker.py", "--root=.", f"--site={site}"]
    with workers.started(tmp_path / "tmp", argv, cwd=root) as worker:
        worker.send(cell, 9)
        answer = worker.receive()
        assert (answer["requestId"], answer["exitCode"]) == (9, 1)
        assert "the environment lacks numpy" in answer["output"]
        assert worker.end_input()[0] == 1
