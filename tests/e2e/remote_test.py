"""Remote Execution: a cell runs on the worker that has its device, and where none has, the error says so at once.

By hand, for it takes minutes and a PostgreSQL: `bazel test //tests/e2e:remote_test`. docs/team-use.md has its figures.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.caches import free_port
from tests.e2e.grid import Workspace

ROOT = Path(os.environ.get("TEST_TMPDIR", "/nonexistent"))
MODELS = ("decoder/llama", "encoder/bert")


class Remote:
    """A server and its workers, one for the cpu and one that says that it has a cuda device."""

    def __init__(self) -> None:
        self.folder = ROOT / "remote"
        command = [os.environ["REMOTE"], *(f"--{name.lower()}={os.environ[name]}" for name in ("BUILDBOX", "POSTGRES"))]
        command += [f"--folder={self.folder}", f"--port={free_port()}"]
        self._process = subprocess.Popen(
            [*command, "--worker=accel=cpu", "--worker=accel=cuda"], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith("ready"), self._process.wait()

    def ran(self, worker: int) -> int:
        """Returns how many actions a worker has run."""
        log = (self.folder / f"worker-{worker}.log").read_text(encoding="utf-8", errors="replace")
        return log.count("Runner exited with code 0")

    def stop(self) -> int:
        """Ends all of it."""
        self._process.terminate()
        return self._process.wait()


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    """Yields the running servers."""
    made = Remote()
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def workspace(remote: Remote) -> Iterator[Workspace]:
    """Yields a workspace where cuda and xpu are made up: no model runs on them, but where it would is as for any."""
    made = Workspace(ROOT / "workspace", MODELS)
    made.without_wheels()
    made.flags = ["--disk_cache="]
    for device in ("cuda", "xpu"):
        row = f'_backend(name = "{device}", device = "{device}", runtime = "eager", dtype = "float32", '
        made.edit("toolchains/backends.bzl", row, row.replace("eager", "mock"))
    made.edit("toolchains/backends.bzl", ", absent = _CPU_WHEELS)", ")")
    devices = ROOT / "devices.json"
    devices.write_text(json.dumps({"cuda": {"model": "H100"}, "xpu": {"model": "Max"}}), encoding="utf-8")
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
