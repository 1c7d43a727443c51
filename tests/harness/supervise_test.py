"""The parts of supervision that need no worker; `worker_test.py` has the whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import supervise
from harness.reporter import HarnessFault
from harness.supervise import Signals, Tail, core_checks, remove_tree, write_outputs
from tests.harness import workers


def test_a_short_output_is_kept_whole() -> None:
    tail = Tail(10)
    tail.feed(b"12345")
    tail.feed(b"67890")
    assert tail.text() == "1234567890"


def test_of_a_long_output_the_end_is_kept() -> None:
    tail = Tail(10)
    for _ in range(1000):
        tail.feed(b"abcdefg")
    assert tail.text() == "(6990 bytes before this left out)\nefgabcdefg"


def test_output_that_is_no_text_is_made_visible() -> None:
    tail = Tail(100)
    tail.feed(b"\x00\xff\x1b \xc3\xa9\r\n")
    assert tail.text() == "\\x00\\xff\\x1b é\\x0d\n"


def test_outputs_are_written_all_or_none(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "no" / "folder"
    with pytest.raises(HarnessFault, match="outputs cannot be written"):
        write_outputs({good: "x", bad: "y"})
    assert list(tmp_path.iterdir()) == []
    write_outputs({good: "x", tmp_path / "other": "y"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good", "other"]


def test_an_output_that_cannot_be_put_in_place_takes_the_others_back(tmp_path: Path) -> None:
    first, taken = tmp_path / "first", tmp_path / "taken"
    taken.mkdir()
    (taken / "full").write_text("")
    with pytest.raises(HarnessFault, match="outputs cannot be written"):
        write_outputs({first: "x", taken: "y"})
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_folder_without_permissions_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    (folder / "b" / "c").mkdir(parents=True)
    (folder / "b" / "c" / "file").write_text("")
    (folder / "link").symlink_to(tmp_path)
    for path in (folder / "b" / "c", folder / "b", folder):
        path.chmod(0)
    remove_tree(folder)
    assert not folder.exists()
    assert tmp_path.exists()


def test_a_signal_becomes_a_byte_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    signals = Signals()
    try:
        os.kill(os.getpid(), signal.SIGCHLD)
        signals.drain()
        assert not signals.terminated
        os.kill(os.getpid(), signal.SIGTERM)
        signals.drain()
        assert signals.terminated
    finally:
        signals.close()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_category_without_core_checks_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HarnessFault, match="no core checks for 'robots'"):
        core_checks("robots")


THREADED = """
import os, sys, threading
sys.path[:0] = os.environ["FAKE_WORKER_PATH"].split(os.pathsep)
from pathlib import Path
from harness.supervise import Job, Setting, run_cell, core_checks
from harness.zygote import Zygote
stop = threading.Event()
threading.Thread(target=stop.wait).start()
nowhere = Path("/nonexistent")
try:
    print(Zygote(Setting(run_cell, core_checks)).run_one(Job(*[nowhere] * 7)).output, end="")
finally:
    stop.set()
"""


def test_a_process_with_threads_refuses_to_fork(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", THREADED],
        env=workers.environment(tmp_path / "tmp"),
        capture_output=True,
        text=True,
        check=True,
        timeout=workers.PATIENCE,
    )
    assert result.stdout.startswith("modelgrid worker: 2 threads in the process that forks, where only one is safe")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_supervisors_limits_leave_room_for_the_kernels() -> None:
    """RLIMIT_CPU is the second line: it must not strike before the first."""
    assert supervise._CPU_MARGIN > 2 * supervise.SAMPLE_SECONDS
