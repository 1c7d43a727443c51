"""Remote Execution: a cell runs on the worker that has its device, and where none has, the error says so at once.

A machine that is lost is a worker that is stopped: it does not say that it goes, and its connections stay open.

By hand, for it takes minutes and a PostgreSQL: `bazel test //tests/e2e:remote_test`. docs/team-use.md has its figures.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.caches import free_port
from tests.e2e.grid import Workspace

ROOT = Path(os.environ.get("TEST_TMPDIR", "/nonexistent"))
MODELS = ("decoder/llama", "encoder/bert")
WORKERS = ("cpu", "cuda", "rocm", "rocm")
"""The device that each worker says that it has."""

SILENCE, PATIENCE = 20, 30
"""Seconds until a worker is lost, and until an action that nobody takes is refused."""


class Remote:
    """A server and its workers."""

    def __init__(self) -> None:
        self.folder = ROOT / "remote"
        self._lost: list[int] = []
        self._port = free_port()
        command = [os.environ["REMOTE"], *(f"--{name.lower()}={os.environ[name]}" for name in ("BUILDBOX", "POSTGRES"))]
        command += [f"--folder={self.folder}", f"--port={self._port}", f"--silence={SILENCE}", f"--patience={PATIENCE}"]
        command += [f"--worker=accel={device}" for device in WORKERS]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith("ready"), self._process.wait()

    def ran(self, worker: int) -> int:
        """Returns how many actions a worker has run."""
        log = (self.folder / f"worker-{worker}.log").read_text(encoding="utf-8", errors="replace")
        return log.count("Runner exited with code 0")

    def lose_a_busy_worker(self, build: subprocess.Popen[str]) -> None:
        """Stops the first of the workers that runs an action for `build`."""
        workers = _processes(f"--bots-remote=http://127.0.0.1:{self._port}")
        while True:
            for child, parent in _processes("buildbox-run-hosttools").items():
                if parent in workers and child not in workers:
                    os.kill(parent, signal.SIGSTOP)
                    self._lost.append(parent)
                    return
            assert build.poll() is None, build.communicate()[0]
            time.sleep(0.01)

    def stop(self) -> int:
        """Ends all of it."""
        self._process.terminate()
        for lost in self._lost:
            os.kill(lost, signal.SIGCONT)
        return self._process.wait()


def _processes(words: str) -> dict[int, int]:
    """Returns the processes with `words` in their command line, each with its parent."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            parent = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]
        except OSError:
            continue
        if words in command:
            found[int(process.name)] = int(parent)
    return found


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    """Yields the running servers."""
    made = Remote()
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def workspace(remote: Remote) -> Iterator[Workspace]:
    """Yields a workspace where other devices are made up: no model runs on them, but where it would is as for any."""
    made = Workspace(ROOT / "workspace", MODELS)
    made.without_wheels()
    made.flags = ["--disk_cache="]
    for device in ("cuda", "rocm", "xpu"):
        row = f'name = "{device}", device = "{device}", runtime = '
        made.edit(
            "toolchains/backends.bzl",
            f'{row}"accelerator", dtype = "float32", checks = "runtime"',
            f'{row}"mock", dtype = "float32"',
        )
    made.edit("toolchains/backends.bzl", ", absent = _CPU_WHEELS)", ")")
    devices = ROOT / "devices.json"
    models = {"cuda": {"model": "H100"}, "rocm": {"model": "MI300X"}, "xpu": {"model": "Max"}}
    devices.write_text(json.dumps(models), encoding="utf-8")
    made.flags.append(f"--repo_env=MODELGRID_FAKE_DEVICES={devices}")
    (made.source / "user.bazelrc").write_text(f"import {remote.folder}/remote.bazelrc\n", encoding="utf-8")
    yield made
    made.shutdown()


def test_cell_runs_on_the_worker_with_its_device(remote: Remote, workspace: Workspace) -> None:
    targets = [f"//models/{model}:mock" for model in MODELS]
    run = workspace.bazel("build", "--config=remote", *targets)
    assert run.status == 0, run.output
    assert run.proved == set(targets)
    on_cpu = remote.ran(0)
    assert on_cpu >= len(MODELS) and remote.ran(1) == 0
    run = workspace.bazel("build", "--config=remote", "//models/decoder/llama:cuda")
    assert run.status == 0, run.output
    assert remote.ran(1) == 1 and remote.ran(0) == on_cpu


def test_device_that_no_worker_has_is_an_error_at_once(workspace: Workspace) -> None:
    began = time.monotonic()
    run = workspace.bazel("build", "--config=remote", "//models/decoder/llama:xpu")
    print(f"\nrefused after {time.monotonic() - began:.1f} s")
    assert run.status != 0
    assert "accel" in run.output and "xpu" in run.output, run.output


def test_second_clean_clone_runs_nothing(remote: Remote, workspace: Workspace) -> None:
    before = remote.ran(0)
    workspace.bazel("clean")
    run = workspace.bazel("build", "--config=remote", *(f"//models/{model}:mock" for model in MODELS))
    assert run.status == 0, run.output
    assert run.proved == frozenset()
    assert remote.ran(0) == before


def _start(workspace: Workspace, target: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        workspace.command("build", "--config=remote", target),
        cwd=workspace.source,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_action_of_a_lost_worker_is_done_by_another(remote: Remote, workspace: Workspace) -> None:
    began = time.monotonic()
    build = _start(workspace, "//models/decoder/llama:rocm")
    remote.lose_a_busy_worker(build)
    output = build.communicate()[0]
    print(f"\na worker lost, another there: {time.monotonic() - began:.1f} s")
    assert build.returncode == 0, output
    assert json.loads(workspace.verdict("decoder/llama:rocm"))["status"] == "passed"
    assert remote.ran(2) + remote.ran(3) == 1


def test_action_of_the_only_worker_that_is_lost_is_refused_in_time(remote: Remote, workspace: Workspace) -> None:
    began = time.monotonic()
    build = _start(workspace, "//models/encoder/bert:cuda")
    remote.lose_a_busy_worker(build)
    output = build.communicate()[0]
    print(f"\nthe only worker lost: {time.monotonic() - began:.1f} s")
    assert build.returncode != 0
    assert "queued for too long" in output, output
