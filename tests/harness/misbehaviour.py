"""What a model's code can do to the process it runs in, by name; `fake_worker.py` serves it, `worker_test.py` uses it.

A fake cell has one check per level. Its behaviour runs inside the third, `fake::forward`; `BETWEEN` runs after the
last. What a behaviour needs from its test comes in the spec's `config`.
"""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.reporter import HarnessFault, PlannedCheck, Reporter
from harness.spec import Spec
from harness.verdict import CheckResult, ModelFacts

LEVELS = ("parsed", "built", "forward", "consistent")
PLAN = tuple(PlannedCheck(id=f"fake::{level}", level=level, core=True) for level in LEVELS)
FACTS = ModelFacts(parameters=10, gradient_share=1.0, inputs={"input_ids": "int64[2, 7]"}, moving_inputs=("input_ids",))
REPORT_FD = 200
FOREVER = 3600.0

Behaviour = Callable[[Spec], str | None]
"""Runs inside a check; a text fails the check."""


class Odd(Exception):
    """An exception that a model raises."""


def core(category: str) -> Mapping[str, Sequence[str]]:
    """Returns the core checks of every category."""
    return {check.level: (check.id,) for check in PLAN}


def run(spec: Spec, report: Reporter) -> None:
    """Runs the fake cell that the spec's name asks for."""
    if spec.name in INSTEAD:
        INSTEAD[spec.name](spec, report)
        return
    report.planned(PLAN)
    report.facts(FACTS)
    failed = ""
    for check in PLAN:
        if failed:
            report.finished(CheckResult(check.id, check.level, check.core, "not_run", f"{failed} failed"))
            continue
        report.started(check.id)
        message = WITHIN[spec.name](spec) if check.level == "forward" and spec.name in WITHIN else None
        outcome = "failed" if message else "passed"
        failed = check.id if message else ""
        report.finished(CheckResult(check.id, check.level, check.core, outcome, message or ""))
    report.done()
    if spec.name in BETWEEN:
        BETWEEN[spec.name](spec)


def _healthy(spec: Spec) -> str | None:
    assert tuple(Path.cwd().iterdir()) == ()
    assert sys.stdin.read() == ""
    return None


def _fail(spec: Spec) -> str:
    return f"logits differ by 0.41\ndetails of {os.environ['TMPDIR']} at 0x7f0011223344"


def _segfault(spec: Spec) -> None:
    print("about to read address zero")
    ctypes.string_at(0)


def _hang(spec: Spec) -> None:
    _note(spec)
    time.sleep(FOREVER)


def _stop(spec: Spec) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _busy(spec: Spec) -> None:
    while True:
        pass


def _busy_child(spec: Spec) -> None:
    pid = os.fork()
    if pid == 0:
        _busy(spec)
    os.waitpid(pid, 0)


def _short_busy_children(spec: Spec) -> None:
    """Burns time in children that are gone before anybody looks at them."""
    while True:
        pid = os.fork()
        if pid == 0:
            end = time.process_time() + 0.05
            while time.process_time() < end:
                pass
            os._exit(0)
        os.waitpid(pid, 0)


def _sleeping_child(spec: Spec, *, setsid: bool) -> None:
    pid = os.fork()
    if pid == 0:
        if setsid:
            os.setsid()
            if os.fork() != 0:
                os._exit(0)
        _note(spec)
        time.sleep(FOREVER)
        os._exit(0)
    _await(spec)


def _fork_and_hang(spec: Spec) -> None:
    _sleeping_child(spec, setsid=True)
    time.sleep(FOREVER)


def _helper_that_ends(spec: Spec) -> None:
    """Leaves a helper that ends when it sees the end of this process, as multiprocessing's does."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)


def _fork_returns(spec: Spec) -> None:
    """Comes back twice: once in the process that was asked, once in a copy."""
    pid = os.fork()
    if pid != 0:
        os.waitpid(pid, 0)


def _multiprocess(spec: Spec) -> str | None:
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        return None if pool.map(abs, [-1, -2]) == [1, 2] else "wrong"


def _fill_memory(spec: Spec) -> None:
    kept = []
    while True:
        kept.append(b"x" * 2**22)


def _fill_memory_in_children(spec: Spec) -> None:
    for _ in range(4):
        if os.fork() == 0:
            kept = b"x" * (30 * 2**20)
            time.sleep(FOREVER)
            os._exit(len(kept) % 2)
    time.sleep(FOREVER)


def _share_memory_with_children(spec: Spec) -> None:
    """Copies of a process share its pages: three of 40 MiB are still 40 MiB."""
    kept = b"x" * (40 * 2**20)
    read, write = os.pipe()
    pids = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        pids.append(pid)
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        time.sleep(0.01)
    os.close(write)
    for pid in pids:
        os.waitpid(pid, 0)
    assert kept


def _reserve_address_space(spec: Spec) -> None:
    """Address space is no memory."""
    import mmap

    no_reserve = 0x4000  # has a name in `mmap` since Python 3.13
    mmap.mmap(-1, 64 * 2**30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve).close()


def _print_binary(spec: Spec) -> str | None:
    block = bytes(range(256)) * 256
    for _ in range(160):
        os.write(1, block)
    os.write(2, b"\nthe end \xff\x00\x1b[31m\n")
    return "printed a lot" if spec.config.get("fail") else None


def _remove_working_directory(spec: Spec) -> None:
    shutil.rmtree(Path.cwd())


def _lock_folders(spec: Spec) -> None:
    folder = Path(os.environ["TMPDIR"], "locked")
    folder.mkdir()
    (folder / "file").write_text("kept")
    folder.chmod(0)


def _close_fds(spec: Spec) -> None:
    os.closerange(0, 1024)


def _close_standard_streams(spec: Spec) -> None:
    for fd in (0, 1, 2):
        os.close(fd)


def _kill_group(spec: Spec) -> None:
    os.killpg(0, signal.SIGTERM)


def _raise_in_check(spec: Spec) -> None:
    raise Odd("came out of a check")


def _raise_with_paths(spec: Spec) -> None:
    """Raises what a model's code says of files: of its own, of a package elsewhere, of a temporary one."""
    raise Odd(f"no field in {os.path.abspath(__file__)}, /opt/x/torch/nn/a.py or /tmp/y/z of pid {os.getpid()}")


def _recurse(spec: Spec) -> None:
    sys.setrecursionlimit(10**9)

    class Deep:
        def __repr__(self) -> str:
            return repr(self)

    repr(Deep())


def _flaky(spec: Spec) -> str | None:
    return "differs" if _first_time(spec) else None


def _flaky_death(spec: Spec) -> str | None:
    if _first_time(spec):
        os._exit(3)
    return "differs"


def _hang_once(spec: Spec) -> None:
    if _first_time(spec):
        time.sleep(FOREVER)


def _full_disk(spec: Spec) -> str:
    return f"OSError: [Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}: 'model.safetensors'"


def _threads_at_exit(spec: Spec) -> None:
    threading.Thread(target=time.sleep, args=(FOREVER,)).start()


def _files(spec: Spec) -> str:
    """Says which descriptors the run finds open."""
    links = {int(name): _link(name) for name in os.listdir("/proc/self/fd")}
    kinds = sorted(link.partition(":")[0] for fd, link in links.items() if fd > 2 and not link.startswith("/proc/"))
    return ", ".join(kinds)


def _link(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except FileNotFoundError:
        return "/proc/gone"


def _environment(spec: Spec) -> str:
    names = ("PYTHONHASHSEED", "OMP_NUM_THREADS", "HF_HUB_OFFLINE", "HF_TOKEN", "PYTHONPATH")
    return ", ".join(f"{name}={os.environ.get(name)}" for name in names) + f", hash {hash('modelgrid')}"


def _first_time(spec: Spec) -> bool:
    marker = Path(spec.config["file"])
    if marker.exists():
        return False
    marker.write_text("")
    return True


def _note(spec: Spec) -> None:
    """Leaves this process's pid where the test looks for it."""
    if "file" in spec.config:
        partial = Path(spec.config["file"] + f".{os.getpid()}")
        partial.write_text(str(os.getpid()))
        partial.rename(spec.config["file"])


def _await(spec: Spec) -> None:
    while not Path(spec.config["file"]).exists():
        time.sleep(0.002)


WITHIN: Mapping[str, Behaviour] = {
    "busy": _busy,
    "busy_child": _busy_child,
    "close_fds": _close_fds,
    "close_standard_streams": _close_standard_streams,
    "environment": _environment,
    "exit_0": lambda spec: os._exit(0),
    "exit_3": lambda spec: os._exit(3),
    "fail": _fail,
    "files": _files,
    "fill_memory": _fill_memory,
    "fill_memory_in_children": _fill_memory_in_children,
    "flaky": _flaky,
    "flaky_death": _flaky_death,
    "fork_and_hang": _fork_and_hang,
    "fork_returns": _fork_returns,
    "full_disk": _full_disk,
    "hang": _hang,
    "hang_once": _hang_once,
    "healthy": _healthy,
    "helper_that_ends": _helper_that_ends,
    "kill_group": _kill_group,
    "lock_folders": _lock_folders,
    "multiprocess": _multiprocess,
    "print_binary": _print_binary,
    "raise": _raise_in_check,
    "raise_with_paths": _raise_with_paths,
    "recurse": _recurse,
    "remove_working_directory": _remove_working_directory,
    "reserve_address_space": _reserve_address_space,
    "segfault": _segfault,
    "share_memory_with_children": _share_memory_with_children,
    "short_busy_children": _short_busy_children,
    "stop": _stop,
    "sys_exit": lambda spec: sys.exit(4),
    "sys_exit_text": lambda spec: sys.exit("no such head"),
    "threads_at_exit": _threads_at_exit,
}

BETWEEN: Mapping[str, Behaviour] = {
    "exit_after_done": lambda spec: os._exit(5),
    "leave_child": lambda spec: _sleeping_child(spec, setsid=False),
    "leave_session": lambda spec: _sleeping_child(spec, setsid=True),
    "leave_program": lambda spec: (subprocess.Popen(["sleep", "3600"], start_new_session=True), None)[1],
    "raise_after_done": _raise_in_check,
}


def _corrupt(line: bytes) -> Callable[[Spec, Reporter], None]:
    """Returns a run that plans, starts one check, and then writes `line` to the report's pipe."""

    def write(spec: Spec, report: Reporter) -> None:
        report.planned(PLAN)
        report.started(PLAN[0].id)
        os.write(REPORT_FD, line)

    return write


def _fault(spec: Spec, report: Reporter) -> None:
    raise HarnessFault("the package 'foo' is missing; fetch the environment anew")


def _model_import_error(spec: Spec, report: Reporter) -> None:
    report.planned(PLAN)
    report.started(PLAN[0].id)
    exec(compile("import no_such_package_of_the_model", "/site/transformers/modeling_x.py", "exec"), {})  # noqa: S102


def _no_core(spec: Spec, report: Reporter) -> None:
    """Passes everything it planned, but planned too little."""
    report.planned(PLAN[:3])
    for check in PLAN[:3]:
        report.started(check.id)
        report.finished(CheckResult(check.id, check.level, check.core, "passed"))
    report.done()


def _on_device(spec: Spec, report: Reporter) -> None:
    """Behaves, and used memory of a device."""
    report.planned(PLAN)
    for check in PLAN:
        report.started(check.id)
        report.finished(CheckResult(check.id, check.level, check.core, "passed"))
    report.device_peak(240 * 2**20)
    report.done()


INSTEAD: Mapping[str, Callable[[Spec, Reporter], None]] = {
    "on_device": _on_device,
    "die_before_plan": lambda spec, report: os._exit(7),
    "fault": _fault,
    "garbage": _corrupt(b"\xff\xfe not json\n"),
    "half_line": _corrupt(b'{"kind": "done"'),
    "long_line": _corrupt(b"x" * 300_000),
    "model_import_error": _model_import_error,
    "no_core": _no_core,
    "unknown_check": _corrupt(b'{"kind": "started", "cpu": 0, "id": "fake::other"}\n'),
    "wrong_fields": _corrupt(b'{"kind": "finished", "cpu": 0, "result": 3}\n'),
}
