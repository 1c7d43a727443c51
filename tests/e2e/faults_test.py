"""A cache that dies, fills up, is slow, or has two builds at once: the verdicts are right, or there is an error.

By hand, for it takes minutes: `bazel test --test_output=all //tests/e2e:faults_test`. docs/team-use.md has its figures.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.caches import CELLS, Cache, free_port
from tests.e2e.grid import Workspace

ROOT = Path(os.environ.get("TEST_TMPDIR", "/nonexistent"))


@pytest.fixture(scope="module")
def cache() -> Iterator[Cache]:
    """Yields an empty cache."""
    made = Cache(ROOT / "cache")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def clone(cache: Cache) -> Iterator[Workspace]:
    """Yields a clone that may write, and has proven everything without any cache."""
    made = cache.clone(ROOT / "clone", writer=True)
    run = made.bazel("test", "--config=mock", "//models/...")
    assert run.status == 0 and run.proved == CELLS, run.output
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def right(clone: Workspace) -> dict[str, bytes]:
    """Returns the verdict of each cell as it is without any cache."""
    return _verdicts(clone)


@pytest.fixture(autouse=True)
def _clean(clone: Workspace, right: dict[str, bytes]) -> None:
    clone.bazel("clean")


def _verdicts(workspace: Workspace) -> dict[str, bytes]:
    return {cell: workspace.verdict(cell.removeprefix("//models/")) for cell in CELLS}


def _command(workspace: Workspace, *flags: str) -> list[str]:
    everything = "--remote_download_outputs=all"
    return workspace.command("test", "--config=ci", everything, *flags, "--config=mock", "//models/...")


def _start(workspace: Workspace, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        _command(workspace, *flags),
        cwd=workspace.source,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _say(what: str, began: float, **figures: object) -> None:
    print(f"\n{what}: {time.monotonic() - began:.1f} s {figures}")


def test_cache_killed_and_started_again_mid_build(cache: Cache, clone: Workspace, right: dict[str, bytes]) -> None:
    began = time.monotonic()
    build = _start(clone)
    while not (cache.folder / "access.log").read_bytes():
        assert build.poll() is None, build.communicate()[0]
        time.sleep(0.01)
    before = cache.answered()
    cache.stop()
    time.sleep(1)
    cache.start()
    output = build.communicate()[0]
    _say("killed and started again", began, before=dict(before), after=dict(cache.answered()))
    assert build.returncode == 0, output
    assert _verdicts(clone) == right


def test_full_disk_of_the_cache(clone: Workspace, right: dict[str, bytes]) -> None:
    store = ROOT / "small"
    store.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", store], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("only root can make a small disk")
    full = Cache(ROOT / "full", store)
    try:
        began = time.monotonic()
        (store / "filler").write_bytes(b"x" * 48 * 1024)
        address = (full.folder / "writer.bazelrc").read_text(encoding="utf-8").split()[-1]
        build = _start(clone, address)
        output = build.communicate()[0]
        answered = full.answered()
        _say("full disk", began, answered=dict(answered))
        assert build.returncode == 0, output
        assert answered["PUT 500"] > 0
        assert _verdicts(clone) == right
        # What fitted is used, and what did not is proven.
        clone.bazel("clean")
        again = clone.bazel(
            "test", "--config=ci", "--remote_download_outputs=all", address, "--config=mock", "//models/..."
        )
        _say("and again", began, proved=len(again.proved), cached=len(again.cached))
        assert again.status == 0, again.output
        assert _verdicts(clone) == right
    finally:
        full.stop()
        subprocess.run(["umount", store], check=True)


def _slow(port: int, behind: int, seconds: float) -> None:
    """Passes connections on to port `behind`, each answer `seconds` later."""
    server = socket.create_server(("127.0.0.1", port))

    def carry(source: socket.socket, target: socket.socket, wait: float) -> None:
        try:
            while data := source.recv(65536):
                time.sleep(wait)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def accept() -> None:
        while True:
            near, _ = server.accept()
            far = socket.create_connection(("127.0.0.1", behind))
            threading.Thread(target=carry, args=(near, far, 0.0), daemon=True).start()
            threading.Thread(target=carry, args=(far, near, seconds), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


@pytest.mark.parametrize("seconds", [0.5, 20.0])
def test_slow_cache(cache: Cache, clone: Workspace, right: dict[str, bytes], seconds: float) -> None:
    port = free_port()
    _slow(port, cache.port, seconds)
    began = time.monotonic()
    cache.answered()
    run = clone.bazel(
        "test",
        "--config=cache",
        f"--remote_cache=http://127.0.0.1:{port}",
        "--remote_timeout=5s",
        "--remote_download_outputs=all",
        "--config=mock",
        "//models/...",
    )
    _say(f"answers {seconds} s late", began, proved=len(run.proved), cached=len(run.cached))
    assert run.status == 0, run.output
    assert _verdicts(clone) == right


def test_two_builds_at_once_on_one_cache(cache: Cache, clone: Workspace) -> None:
    other = cache.clone(ROOT / "other", writer=True)
    try:
        began = time.monotonic()
        builds = [_start(workspace, "--//rules:epoch=together") for workspace in (clone, other)]
        outputs = [build.communicate()[0] for build in builds]
        _say("two on one cache", began, answered=dict(cache.answered()))
        assert [build.returncode for build in builds] == [0, 0], outputs
        assert _verdicts(clone) == _verdicts(other)
        other.bazel("clean")
        third = other.bazel("test", "--config=ci", "--//rules:epoch=together", "--config=mock", "//models/...")
        assert third.proved == frozenset() and third.cached == CELLS, third.output
    finally:
        other.shutdown()
        shutil.rmtree(other.source)


def test_two_builds_at_once_on_one_output_tree(clone: Workspace, right: dict[str, bytes]) -> None:
    began = time.monotonic()
    builds = [_start(clone), _start(clone)]
    outputs = [build.communicate()[0] for build in builds]
    _say("two on one output tree", began)
    assert [build.returncode for build in builds] == [0, 0], outputs
    assert any("Another command" in output for output in outputs), outputs
    assert _verdicts(clone) == right
