"""Processes as Linux shows them: descendants, what they used, and their end. Knows nothing of models or checks.

A caller that is a subreaper (`become_subreaper`) keeps every descendant below it, whatever sessions and groups they
make, so that `descendants` misses none and `kill_descendants` leaves none.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import signal
import time
from pathlib import Path

HANDLED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
"""The signals that a parent of runs has handlers for."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_FORKED_WITHOUT_EXEC = 0x40
_TICKS = os.sysconf("SC_CLK_TCK")


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}): {os.strerror(error)}")


def become_subreaper() -> None:
    """Makes this process the parent of every descendant whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int, signum: signal.Signals) -> None:
    """Asks for `signum` when the parent ends, and ends this process at once if it already has.

    Args:
      parent: pid that the parent had before the fork.
    """
    _prctl(_PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:
        os._exit(1)


def fork() -> int:
    """Forks as `os.fork` does, with `HANDLED` signals blocked in the child until it calls `unblock_signals`.

    So no signal meant for the child runs a handler of the parent's in it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    pid = -1
    try:
        pid = os.fork()
    finally:
        if pid != 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def unblock_signals() -> None:
    """Lets signals through that `fork` blocked."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def open_fds() -> frozenset[int]:
    """Returns the numbers of the open file descriptors of this process."""
    listed = [int(name) for name in os.listdir("/proc/self/fd")]
    return frozenset(fd for fd in listed if _is_open(fd))  # the listing had a descriptor of its own


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def thread_count() -> int:
    """Returns how many threads this process has."""
    return len(os.listdir("/proc/self/task"))


def oom_kills() -> int:
    """Returns how many processes the kernel has killed for want of memory since it started."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a set of live processes uses.

    Attributes:
      pids: the processes, zombies left out.
      names: the kernel's names of them, sorted, each once.
      cpu_seconds: user and system time, with that of children they have waited for.
      resident_bytes: anonymous and shared memory. See `usage`.
    """

    pids: tuple[int, ...]
    names: tuple[str, ...]
    cpu_seconds: float
    resident_bytes: int


def _children(pid: int) -> list[int]:
    """Returns the children of every thread of `pid`; empty when it is gone."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return found
    return found


def descendants(pid: int) -> list[int]:
    """Returns the pids below `pid`, parents before children, zombies included."""
    found = _children(pid)
    for child in found:  # grows while it is walked
        found += _children(child)
    return found


def own_resident_bytes() -> int:
    """Returns the anonymous and shared memory of this process, in bytes."""
    return _resident(os.getpid())


def _resident(pid: int) -> int:
    total = 0
    with open(f"/proc/{pid}/status", "rb") as file:
        for line in file:
            if line.startswith((b"RssAnon:", b"RssShmem:")):
                total += int(line.split()[1]) * 1024
    return total


def usage(pid: int, inherited_bytes: int) -> Usage:
    """Returns what the live descendants of `pid` use together.

    Memory is what the processes added, not what they found: from each that still runs the image it was forked with,
    `inherited_bytes` is taken off, the memory its ancestor had at the fork. A page that a process only rewrites is
    therefore not charged; pages that two of them share are charged to both (`precise_resident_bytes` settles that).
    File mappings are the page cache's and not charged.
    """
    pids: list[int] = []
    names: set[str] = set()
    ticks = resident = 0
    for child in descendants(pid):
        try:
            with open(f"/proc/{child}/stat", "rb") as file:
                name, _, rest = file.read().partition(b"(")[2].rpartition(b")")
            fields = rest.split()
            ticks += sum(int(field) for field in fields[11:15])
            if fields[0] in (b"Z", b"X"):
                continue
            forked = int(fields[6]) & _FORKED_WITHOUT_EXEC
            resident += max(0, _resident(child) - (inherited_bytes if forked else 0))
        except (FileNotFoundError, ProcessLookupError):
            continue
        pids.append(child)
        names.add(name.decode("utf-8", "backslashreplace"))
    return Usage(tuple(pids), tuple(sorted(names)), ticks / _TICKS, resident)


def precise_resident_bytes(pid: int) -> int:
    """Returns the memory of the descendants of `pid` with each shared page split among its sharers.

    Slower than `usage` (the kernel walks page tables), so it is for confirming only.
    """
    total = 0
    for child in descendants(pid):
        try:
            with open(f"/proc/{child}/smaps_rollup", "rb") as file:
                for line in file:
                    if line.startswith((b"Pss_Anon:", b"Pss_Shmem:")):
                        total += int(line.split()[1]) * 1024
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def wait(pid: int) -> int:
    """Waits for the child `pid`; returns its wait status, 0 if something else has waited for it already."""
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return 0


def reap() -> list[tuple[int, int, float]]:
    """Waits for every child that has ended. Returns (pid, wait status, CPU seconds) of each; never blocks."""
    ended: list[tuple[int, int, float]] = []
    while True:
        try:
            pid, status, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, status, used.ru_utime + used.ru_stime))


def kill_descendants(spare: frozenset[int] = frozenset(), patience: float = 10.0) -> list[tuple[int, int, float]]:
    """Kills and reaps everything below this process, which must be a subreaper.

    Args:
      spare: direct children that stay, with all below them.
      patience: seconds after which a process that does not die is given up.

    Returns:
      What `reap` returned on the way.

    Raises:
      TimeoutError: something below could not be killed in time.
    """
    ended: list[tuple[int, int, float]] = []
    deadline = time.monotonic() + patience
    pause = 0.0005
    while True:
        ended += reap()
        targets = [child for child in _children(os.getpid()) if child not in spare]
        if not targets:
            return ended
        for target in targets:
            for pid in [target, *descendants(target)]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {targets} do not end when killed")
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
