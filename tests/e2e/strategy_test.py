"""A verdict does not depend on how its action ran, nor on what happened to the run before it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.grid import Workspace

MODELS = ("decoder/llama", "decoder/mistral", "encoder/bert", "encoder/distilbert")
CELLS = ("decoder/llama:cpu", "encoder/bert:mock")
TARGET = "//models/decoder/llama:cpu"

BROKEN = {
    # No field of the configuration: the declaration's mistake, which the harness finds without running anything.
    "encoder/distilbert": '{"hiden_dim": 64}',
    # Four heads cannot share three: an exception from inside the modelling code, with frames in several packages.
    "decoder/mistral": '{"num_attention_heads": 4, "num_key_value_heads": 3}',
}
FAILING = {
    "encoder/distilbert:mock": "mock::config_keys_are_fields",
    "decoder/mistral:cpu": "common::forward_is_finite_with_documented_shapes",
}
"""Cells of the broken declarations, and the check that fails in each."""


@pytest.fixture(scope="module")
def workspace() -> Iterator[Workspace]:
    """Yields a workspace without any cache, so that every build runs its cells; two of its declarations are broken."""
    made = Workspace(Path(os.environ["TEST_TMPDIR"]) / "strategy", MODELS)
    made.flags = ["--disk_cache="]
    for model, config in BROKEN.items():
        made.edit(f"models/{model}/BUILD", "    main_class = ", f"    config = {config},\n    main_class = ")
    yield made
    made.shutdown()


def _verdicts(workspace: Workspace, *flags: str) -> dict[str, bytes]:
    # An action whose output is gone runs again, and its key is the same; `clean` would cost an analysis each time.
    for output in workspace.source.glob("bazel-out/*/bin/models/*/*/*.verdict.json"):
        output.unlink()
    cells = (*CELLS, *FAILING)
    targets = [f"//models/{cell}" for cell in cells]
    run = workspace.bazel("build", *flags, *targets)
    assert run.status == 0, run.output
    assert run.proved == set(targets), run.output
    return {cell: workspace.verdict(cell) for cell in cells}


def test_verdict_is_the_same_in_worker_sandbox_and_local(workspace: Workspace) -> None:
    worker = _verdicts(workspace, "--spawn_strategy=worker")
    found = {cell: json.loads(verdict) for cell, verdict in worker.items()}
    assert {cell: found[cell]["status"] for cell in CELLS} == dict.fromkeys(CELLS, "passed")
    assert {cell: found[cell]["failed_check"] for cell in FAILING} == FAILING
    assert {found[cell]["status"] for cell in FAILING} == {"failed"}
    assert "at transformers/" in worker["decoder/mistral:cpu"].decode()
    assert _verdicts(workspace, "--spawn_strategy=worker", "--config=fast") == worker
    assert _verdicts(workspace, "--spawn_strategy=linux-sandbox") == worker
    assert _verdicts(workspace, "--spawn_strategy=local") == worker


def _processes_below(root: Path) -> list[str]:
    """Returns the command lines of the running cells of the workspace at `root`, other than Bazel's server."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            where = os.readlink(process / "cwd")
        except OSError:
            continue
        if "harness/worker.py" in command and where.startswith(str(root)):
            found.append(f"{process.name}: {command}")
    return found


def _wait_until(condition: object, what: str) -> None:
    import time

    deadline = time.monotonic() + 120
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"waited 120 s for {what}"
        time.sleep(0.05)


def test_killed_server_leaves_no_orphan_and_the_next_run_is_clean(workspace: Workspace) -> None:
    workspace.bazel("clean")
    build = subprocess.Popen(
        workspace.command("build", TARGET),
        cwd=workspace.source,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _wait_until(lambda: _processes_below(workspace.output_user_root), "a worker to start")
    server = next(workspace.output_user_root.glob("*/server/server.pid.txt"))
    os.kill(int(server.read_text(encoding="utf-8")), signal.SIGKILL)
    build.wait()
    _wait_until(lambda: not _processes_below(workspace.output_user_root), "the workers to end")
    again = workspace.bazel("build", TARGET)
    assert again.status == 0, again.output


def test_killed_worker_fails_no_cell_for_good(workspace: Workspace) -> None:
    # It ends the workers too, so that those that are waited for are this build's.
    workspace.bazel("clean")
    build = subprocess.Popen(
        workspace.command("build", TARGET),
        cwd=workspace.source,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _wait_until(lambda: _processes_below(workspace.output_user_root), "a worker to start")
    for entry in _processes_below(workspace.output_user_root):
        os.kill(int(entry.partition(":")[0]), signal.SIGKILL)
    build.wait()
    again = workspace.bazel("build", TARGET)
    assert again.status == 0, again.output
    assert b'"status": "passed"' in workspace.verdict("decoder/llama:cpu")
