"""Runs one cell: a child under limits, a second one where the first does not settle it, and the outputs of the action.

Everything here happens in a process of its own per request (`zygote.py` forks it), which is the subreaper of what the
model starts: it sees all of it, charges all of it to the limits, and ends all of it. What the runs amount to is
`judge.py`'s. The child is untrusted: it may die in any way, and only its cell fails.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import fcntl
import importlib
import io
import json
import os
import random
import re
import resource
import selectors
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from harness import processes
from harness import reference as references
from harness import spec as specs
from harness import verdict as verdicts
from harness.judge import Death, RunRecord, judge, passes, settled
from harness.messages import clean
from harness.reporter import CorruptReport, HarnessFault, PipeReporter, Reporter, ReportReader
from harness.spec import Spec
from harness.verdict import CheckResult

Run = Callable[[Spec, Reporter], None]
"""What a child does. `run_cell` but in tests."""

Core = Callable[[str], Mapping[str, Sequence[str]]]
"""Gives the core checks of a category, by level."""

SAMPLE_SECONDS = 0.025
OUTPUT_TAIL = 64 * 1024
_CPU_MARGIN = 5
_MAX_FILE_BYTES = 8 * 1024**3
_REPORT_FD = 200
_STATUS_PIPE_LOST = 97
_FULL_DISK = re.compile(r"No space left on device|Disk quota exceeded|os error 28\b")


class Cancelled(Exception):  # noqa: N818 - nothing went wrong
    """The request was cancelled, or the worker ended: there is nobody to answer."""


@dataclasses.dataclass(frozen=True)
class Job:
    """The files of one action, as absolute paths, and what the child puts before its `sys.path`.

    Attributes:
      known_failures: what the backend cannot do; asked only if the cell does not pass.
      known_failures_given: its path as the action has it.
      unused: where that path is written if nobody asked, as Bazel's `unused_inputs_list` wants it.
    """

    spec: Path
    device: Path
    verdict: Path
    junit: Path
    log: Path
    timings: Path
    observed: Path
    reference: Path | None = None
    known_failures: Path | None = None
    known_failures_given: str = ""
    unused: Path | None = None
    import_path: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Setting:
    """What every run of a worker has in common.

    Attributes:
      run: what a child does.
      core: where the core checks of a category are listed.
      keep_fds: file descriptors that the loaded libraries hold and a child must find open.
      leftover_seconds: how long processes that outlive the run may take to end by themselves, as helpers do that
        watch for its end.
    """

    run: Run
    core: Core
    keep_fds: frozenset[int] = frozenset()
    leftover_seconds: float = 2.0


def run_cell(spec: Spec, report: Reporter) -> None:
    """Runs the checks of `spec` in this process.

    Raises:
      HarnessFault: the harness itself cannot be loaded.
    """
    try:
        cell = importlib.import_module("harness.cell")
    except Exception as error:
        raise HarnessFault(f"harness.cell cannot be loaded: {type(error).__name__}: {error}") from error
    cell.run(spec, report)


def core_checks(checks: str) -> Mapping[str, Sequence[str]]:
    """Returns the core checks of a category or of `runtime`, by level.

    Raises:
      HarnessFault: the harness has no list for it.
    """
    try:
        table: Mapping[str, Mapping[str, Sequence[str]]] = importlib.import_module("harness.checks.core").CORE
        return table[checks]
    except (ImportError, AttributeError, KeyError) as error:
        raise HarnessFault(f"harness/checks/core.py has no core checks for {checks!r}: {error}") from error


def prove(job: Job, setting: Setting, scratch: Path, signals: Signals) -> None:
    """Runs the cell of `job` once or twice and writes verdict, JUnit XML, log, timings and what was observed.

    Args:
      scratch: an empty folder for what the runs need; it is the caller's to remove.

    Raises:
      HarnessFault: the harness, the environment or the machine is at fault; nothing is written.
      Cancelled: somebody gave up on this request; nothing is written.
    """
    try:
        spec = specs.load(job.spec)
        if job.reference is not None:
            recorded = references.load(job.reference, spec.label, spec.environment)
            spec = dataclasses.replace(spec, reference=recorded)
        device = json.loads(job.device.read_text(encoding="utf-8"))
    except (specs.SpecError, references.BadReference, OSError, ValueError) as error:
        raise HarnessFault(str(error)) from error
    records = [supervise(spec, setting, scratch / "run-1", signals, job.import_path)]
    unused = job.known_failures_given
    if not passes(spec, records[0]) and job.known_failures is not None:
        spec, unused = _with_known_failures(spec, job.known_failures), ""
    if not settled(spec, records[0]):
        records.append(supervise(spec, setting, scratch / "run-2", signals, job.import_path))
    verdict = judge(spec, records, setting.core(spec.checks), device)
    write_outputs(
        {
            job.junit: verdicts.to_junit(verdict),
            job.log: verdicts.to_log(verdict, records[0].output),
            job.timings: _timings(records),
            job.observed: _observed(spec, verdict, records[0]),
            **({job.unused: unused + "\n"} if job.unused is not None else {}),
            job.verdict: verdict.to_json(),
        }
    )


def _with_known_failures(spec: Spec, path: Path) -> Spec:
    """Returns the spec with what its backend cannot do.

    Raises:
      HarnessFault: the file cannot be used.
    """
    try:
        known = specs.load_known_failures(path, spec.label)
    except (specs.SpecError, OSError, ValueError) as error:
        raise HarnessFault(str(error)) from error
    return dataclasses.replace(spec, backend=dataclasses.replace(spec.backend, known_failures=known))


def write_outputs(outputs: Mapping[Path, str]) -> None:
    """Writes each text to its file, all of them or none.

    Raises:
      HarnessFault: the disk is full, or a folder cannot be written.
    """
    written: list[Path] = []
    try:
        for path, text in outputs.items():
            temporary = path.with_name(path.name + ".tmp")
            written.append(temporary)
            temporary.write_text(text, encoding="utf-8")
        for path in outputs:
            os.replace(path.with_name(path.name + ".tmp"), path)
            written.append(path)
    except OSError as error:
        for path in written:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        raise HarnessFault(f"outputs cannot be written: {error}; make room or mend the permissions") from error


def _observed(spec: Spec, verdict: verdicts.Verdict, record: RunRecord) -> str:
    """Returns what a person may record as the reference, or why not: only a run that went well is worth repeating."""
    if verdict.status not in verdicts.GREEN and verdict.failed_check != references.CHECK:
        return json.dumps({"refused": f"{verdict.label} is {verdict.status}: {verdict.reason}"}) + "\n"
    passed = [check.id for check in record.checks if check.outcome == "passed" and check.level != "reference"]
    return references.to_json(spec.environment, record.facts, passed, record.observed)


def _timings(records: Sequence[RunRecord]) -> str:
    """Returns the side output that nothing depends on: seconds and MiB of each run, also of a device with its own."""
    runs = [
        {
            "cpu_seconds": round(record.cpu_seconds, 3),
            "wall_seconds": round(record.wall_seconds, 3),
            "peak_mib": round(record.peak_bytes / 2**20, 1),
            "check_cpu_seconds": dict(record.check_seconds),
            **(
                {}
                if record.device_peak_bytes is None
                else {"device_peak_mib": round(record.device_peak_bytes / 2**20, 1)}
            ),
        }
        for record in records
    ]
    return json.dumps({"version": 1, "runs": runs}, indent=2, sort_keys=True) + "\n"


class Signals:
    """Turns signals into bytes on a file descriptor that a selector can wait for.

    Attributes:
      fd: readable when a signal came.
      terminated: whether SIGTERM or SIGINT came.
    """

    def __init__(self) -> None:
        self.fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.terminated = False
        self._before = {
            signum: signal.signal(signum, lambda *_: None) for signum in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
        }
        self._fd_before = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)

    def drain(self) -> None:
        """Takes note of the signals that came."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.fd, 512):
                self.terminated |= signal.SIGTERM in data or signal.SIGINT in data

    def close(self) -> None:
        """Puts things back as they were."""
        signal.set_wakeup_fd(self._fd_before)
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        os.close(self.fd)
        os.close(self._write_fd)


class Tail:
    """The end of a stream of bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._data = bytearray()
        self._total = 0

    def feed(self, data: bytes) -> None:
        """Takes the next bytes."""
        self._total += len(data)
        self._data += data
        if len(self._data) > 2 * self._size:
            del self._data[: -self._size]

    def text(self) -> str:
        """Returns the tail with every byte that is no text made visible, and a note of what is left out."""
        text = verdicts.printable(bytes(self._data[-self._size :]).decode("utf-8", "backslashreplace"))
        left_out = self._total - self._size
        return f"({left_out} bytes before this left out)\n{text}" if left_out > 0 else text


def supervise(
    spec: Spec, setting: Setting, scratch: Path, signals: Signals, import_path: Sequence[str] = ()
) -> RunRecord:
    """Runs a fresh child under the limits of `spec`. This process must be a subreaper with one thread.

    Args:
      scratch: folder to make for the child's working directory and temporary files; removed at the end.

    Raises:
      HarnessFault: the child reported one, or it could not be started or ended, or the machine ran out of memory.
      Cancelled: SIGTERM came.
    """
    try:
        for name in ("work", "tmp", "home"):
            (scratch / name).mkdir(parents=True)
        child = _Child(spec, setting, scratch, signals, import_path)
    except OSError as error:
        raise HarnessFault(f"no run could be started: {error}") from error
    try:
        child.watch()
        return child.record()
    finally:
        child.close()
        remove_tree(scratch)


class _Child:
    """One child from fork to record."""

    def __init__(
        self, spec: Spec, setting: Setting, scratch: Path, signals: Signals, import_path: Sequence[str]
    ) -> None:
        if processes.thread_count() != 1:
            raise HarnessFault(
                f"the worker has {processes.thread_count()} threads and must have one to fork safely; a library "
                "started them on import: set its thread count to 1 before the import (harness/worker.py)"
            )
        self._spec, self._setting, self._scratch, self._signals = spec, setting, scratch, signals
        self._reader, self._tail = ReportReader(), Tail(OUTPUT_TAIL)
        self._death: Death | None = None
        self._status: int | None = None
        self._reaped_cpu = self._cpu = 0.0
        self._peak = 0
        self._oom_kills = processes.oom_kills()
        self._inherited = processes.own_resident_bytes()
        self._selector = selectors.DefaultSelector()
        self._selector.register(signals.fd, selectors.EVENT_READ, self._on_signal)
        report_read, report_write = os.pipe()
        output_read, output_write = os.pipe()
        self._pipes: dict[int, Callable[[bytes], None]] = {report_read: self._on_report, output_read: self._tail.feed}
        self._begin = time.monotonic()
        try:
            parent = os.getpid()
            self._pid = processes.fork()
            if self._pid == 0:
                _child_main(spec, setting, scratch, import_path, parent, report_write, output_write)
        except OSError:
            self.close()
            raise
        finally:
            os.close(report_write)
            os.close(output_write)
        for fd in self._pipes:
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ, None)

    def watch(self) -> None:
        """Waits for the end of the child and of all it started, and brings it about where a limit is passed."""
        next_sample = self._begin
        leftover_until = None
        while self._death is None:
            now = time.monotonic()
            if now >= next_sample:
                used = self._sample(now)
                next_sample = now + SAMPLE_SECONDS
                if self._status is not None:
                    leftover_until = leftover_until or now + self._setting.leftover_seconds
                    if not used.pids:
                        break
                    if now >= leftover_until:
                        self._die("processes", f"left processes running: {', '.join(used.names)}")
                        break
            for key, _ in self._selector.select(max(0.0, next_sample - time.monotonic())):
                if key.data is not None:
                    key.data()
                else:
                    self._read(key.fd)
            if self._status is not None and leftover_until is None:
                next_sample = time.monotonic()
        self._end()

    def _on_signal(self) -> None:
        self._signals.drain()
        self._count(processes.reap())
        if self._signals.terminated:
            raise Cancelled

    def _count(self, ended: Sequence[tuple[int, int, float]]) -> None:
        for pid, status, cpu_seconds in ended:
            self._reaped_cpu += cpu_seconds
            if pid == self._pid:
                self._status = status

    def _read(self, fd: int) -> bool:
        """Takes what the pipe holds, up to its size; returns whether there was anything."""
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return False
        if not data:
            if fd in self._selector.get_map():
                self._selector.unregister(fd)
            return False
        try:
            self._pipes[fd](data)
        except CorruptReport as error:
            self._die("report", f"wrote a corrupt report: {error}")
        return True

    def _on_report(self, data: bytes) -> None:
        if self._death is None:
            self._reader.feed(data)

    def _die(self, kind: str, text: str) -> None:
        """Notes the cause of death; the first one counts."""
        self._death = self._death or Death(kind, text)

    def _sample(self, now: float) -> processes.Usage:
        """Compares what is used with the limits."""
        limits = self._spec.limits
        used = processes.usage(os.getpid(), self._inherited)
        self._cpu = max(self._cpu, self._reaped_cpu + used.cpu_seconds)
        self._peak = max(self._peak, used.resident_bytes)
        if self._cpu > limits.cpu_seconds:
            self._die("cpu", f"used more than {limits.cpu_seconds} CPU seconds")
        elif used.resident_bytes > limits.memory_mib * 2**20 and self._memory_exceeded():
            self._die("memory", f"used more than {limits.memory_mib} MiB of resident memory")
        elif now - self._begin > limits.wall_seconds:
            self._die("wall", f"took more than {limits.wall_seconds} s (wall)")
        return used

    def _memory_exceeded(self) -> bool:
        """Confirms a first look, which counts pages once for each process that shares them.

        The second look comes a moment later because a process between `vfork` and `exec` shows its parent's memory.
        """
        limit = self._spec.limits.memory_mib * 2**20
        if processes.precise_resident_bytes(os.getpid()) <= limit:
            return False
        time.sleep(0.005)
        return processes.usage(os.getpid(), self._inherited).resident_bytes > limit

    def _end(self) -> None:
        """Ends what still runs and takes what is left in the pipes."""
        try:
            self._count(processes.kill_descendants())
        except TimeoutError as error:
            raise HarnessFault(f"{self._spec.label}: {error}") from error
        for fd in self._pipes:
            while self._read(fd):
                pass
        self._cpu = max(self._cpu, self._reaped_cpu)
        self._wall = time.monotonic() - self._begin

    def record(self) -> RunRecord:
        """Returns what the run showed.

        Raises:
          HarnessFault: the run is no evidence about the model.
        """
        reader = self._reader
        if reader.fault is not None:
            raise HarnessFault(f"{self._spec.label}: {self._stable(reader.fault)}")
        death = self._death or self._natural_death()
        blamed = reader.running if death is not None and reader.running is not None else ""
        checks = tuple(self._result(check, death, blamed) for check in reader.planned)
        texts = [check.message for check in checks if check.outcome == "failed"] + [death.text if death else ""]
        for text in texts:
            if found := _FULL_DISK.search(text):
                raise HarnessFault(f"{self._spec.label}: {found.group()} during the run; make room and build again")
        return RunRecord(
            checks=checks,
            facts=reader.facts,
            death=death,
            blamed=blamed,
            output=self._tail.text(),
            cpu_seconds=self._cpu,
            wall_seconds=self._wall,
            peak_bytes=self._peak,
            check_seconds=reader.cpu_seconds,
            observed=reader.observed,
            device_peak_bytes=reader.device_peak,
        )

    def _natural_death(self) -> Death | None:
        """Returns why the child ended by itself without a complete report; None when all is well."""
        assert self._status is not None, "the child was reaped"
        code = os.waitstatus_to_exitcode(self._status)
        if code == -signal.SIGXCPU:
            return Death("cpu", f"used more than {self._spec.limits.cpu_seconds} CPU seconds")
        if code == -signal.SIGKILL and processes.oom_kills() > self._oom_kills:
            raise HarnessFault(
                f"{self._spec.label}: the kernel killed the run because the machine is out of memory; build again "
                "with fewer --jobs, or lower limits.memory_mib so that the cell is stopped before the machine is hurt"
            )
        if code < 0:
            name = _signal_name(-code)
            return Death(f"signal {name}", f"killed by signal {name}")
        if self._reader.exception is not None:
            return Death("raised", f"raised {self._stable(self._reader.exception)}")
        if code == _STATUS_PIPE_LOST:
            return Death("report", "closed the pipe that reports its checks")
        if code == 0:
            try:
                self._reader.close()
            except CorruptReport as error:
                return Death("report", f"wrote a corrupt report: {error}")
            if self._reader.done:
                return None
        return Death(f"status {code}", f"exited with status {code} without finishing")

    def _result(self, check: Any, death: Death | None, blamed: str) -> CheckResult:
        found = self._reader.results.get(check.id)
        if found is not None:
            return dataclasses.replace(found, message=self._stable(found.message))
        cause = death.text if death is not None else "no cause known"
        outcome, message = ("failed", cause) if check.id == blamed else ("not_run", f"the run ended before: {cause}")
        return CheckResult(check.id, check.level, check.core, outcome, message)

    def _stable(self, text: str) -> str:
        """Returns `text` without the paths of this run and without addresses, so that equal runs give equal bytes."""
        return re.sub(r"0x[0-9a-fA-F]{6,}", "0x…", text.replace(str(self._scratch), "<scratch>"))

    def close(self) -> None:
        """Closes what this run opened; ends what it started."""
        processes.kill_descendants()
        self._selector.close()
        for fd in self._pipes:
            with contextlib.suppress(OSError):
                os.close(fd)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def remove_tree(path: Path) -> None:
    """Removes a folder that a model wrote in, whatever permissions it left; says so on stderr where it cannot."""
    shutil.rmtree(path, ignore_errors=True)
    if not path.exists():
        return
    with contextlib.suppress(OSError):
        path.chmod(stat.S_IRWXU)
    for folder, names, _ in os.walk(path):  # lists a folder only after its parent was yielded
        for name in names:
            with contextlib.suppress(OSError):
                os.chmod(os.path.join(folder, name), stat.S_IRWXU)
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        print(f"modelgrid worker: {path} could not be removed", file=sys.stderr)


def _child_main(
    spec: Spec, setting: Setting, scratch: Path, import_path: Sequence[str], parent: int, report: int, output: int
) -> NoReturn:
    """The child: makes this process the model's own, runs, and ends without any exit handler."""
    status = 1
    try:
        os.setsid()
        processes.die_with_parent(parent, signal.SIGKILL)
        report = _own_fds(report, output, setting.keep_fds)
        _own_limits(spec)
        _own_environment(scratch)
        sys.path[:0] = import_path
        importlib.invalidate_caches()
        _seed()
        status = _guarded(setting.run, spec, report)
    except BaseException:  # noqa: BLE001 - nothing of the child may return into the supervisor's code
        _show_exception()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # the model closed it
                stream.flush()
        os._exit(status)


def _show_exception() -> None:
    """Prints the traceback where it goes to the log, if the model has left that open."""
    with contextlib.suppress(OSError, ValueError):
        traceback.print_exc()


def _own_fds(report: int, output: int, keep: frozenset[int]) -> int:
    """Leaves the child its standard streams, what libraries hold, and the report pipe; returns its new number."""
    signal.set_wakeup_fd(-1)
    for signum in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
    processes.unblock_signals()
    os.dup2(output, 1)
    os.dup2(output, 2)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what was printed before a crash must be seen
    high = fcntl.fcntl(report, fcntl.F_DUPFD_CLOEXEC, _REPORT_FD)
    for fd in processes.open_fds() - keep - {0, 1, 2, high}:
        os.close(fd)
    return high


def _own_limits(spec: Spec) -> None:
    """Second lines of defence, for what the supervisor could miss between two looks."""
    cpu = spec.limits.cpu_seconds + _CPU_MARGIN
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + _CPU_MARGIN))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    most = _MAX_FILE_BYTES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILE_BYTES)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("900")
    faulthandler.enable(file=2)


def _own_environment(scratch: Path) -> None:
    """Gives the child folders of its own. The working directory holds nothing: inputs are read by absolute path."""
    os.chdir(scratch / "work")
    os.environ.update(TMPDIR=str(scratch / "tmp"), HOME=str(scratch / "home"), HF_HUB_OFFLINE="1")
    tempfile.tempdir = None


def _seed() -> None:
    """Seeds the random generators of the modules that are loaded."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def _guarded(run: Run, spec: Spec, report: int) -> int:
    """Runs and reports what comes out; returns the exit status."""
    reporter = PipeReporter(report)
    try:
        try:
            run(spec, reporter)
        except SystemExit as leave:
            if isinstance(leave.code, str):
                print(leave.code, file=sys.stderr)
            return leave.code if isinstance(leave.code, int) else int(leave.code is not None)
        except HarnessFault as fault:
            reporter.fault(str(fault))
            return 1
        except BaseException as error:  # noqa: BLE001 - a model may raise anything
            _show_exception()
            text = f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0]
            if isinstance(error, ImportError) and _raised_by_harness(error):
                reporter.fault(f"the harness cannot import what it needs: {text}")
            else:
                reporter.raised(clean(text))  # it goes into the verdict, which names no place of this machine
            return 1
    except OSError:
        _show_exception()
        return _STATUS_PIPE_LOST
    return 0


def _raised_by_harness(error: BaseException) -> bool:
    """Returns whether the import that failed is one of the harness's own, not of a model's code."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    files = [file for file in files if not file.startswith("<frozen importlib")]
    return bool(files) and os.path.dirname(files[-1]).startswith(os.path.dirname(__file__))
