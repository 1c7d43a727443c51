"""Sets up a Bazel prefix: one lock, one staging folder, one rename.

Which packages and how they are relocated is prefix.py's; how they come here is
apt.py's. This module keeps the promise that a prefix is whole or not there.
"""

import errno
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from launcher import apt, cache, prefix
from launcher.apt import Apt
from launcher.cache import say
from launcher.errors import INSTALL_BAZEL, LauncherError

# What the packages, the unpacked prefix and apt's lists take together.
_NEEDED_BYTES = 1_000_000_000


def bootstrap(folder: Path, target: Path, version: str) -> None:
    """Makes the prefix `target`, unless another process does so first.

    Raises:
        LauncherError: it cannot be made; nothing half-made is left, and completed
            downloads are kept for the next try.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with cache.locked(folder) as lock:
            if not cache.bazel_of(target).exists():
                _bootstrap(folder, target, version, lock)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise apt.disk_full_error(str(error)) from error
        raise LauncherError(
            f"cannot set up Bazel in {folder}: {error}\n"
            "Make that folder writable, or set MODELGRID_CACHE to one that is (not under /tmp).\n"
            f"{INSTALL_BAZEL}"
        ) from error


def _bootstrap(folder: Path, target: Path, version: str, lock: int) -> None:
    started = time.monotonic()
    downloader = Apt(folder / "apt", prefix.LEFT_OUT, lock)
    free = shutil.disk_usage(folder).free
    if free < _NEEDED_BYTES:
        raise apt.disk_full_error(f"{free / 1e6:.0f} MB are free at {folder}")
    say(f"no Bazel {version} on PATH; setting one up in {target}")
    _download(downloader, version)
    # Leftovers of killed starts: the lock is ours, so no launcher works on them. An
    # orphaned dpkg-deb may, for a moment: hence a name that is not used twice.
    for leftover in (*folder.glob("*.partial-*"), target):
        shutil.rmtree(leftover, ignore_errors=True)
    staging = target.with_name(f"{target.name}.partial-{os.getpid()}")
    try:
        prefix.build(sorted(downloader.archives.glob("*.deb")), staging, target, version)
        # Without this a power cut after the rename could leave empty files.
        os.sync()
        staging.rename(target)
        # Only from its final place can the server start; the wrapper gets its
        # name, which is the mark of a whole prefix, when it has.
        prefix.check(target, version)
        prefix.publish(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        if not cache.bazel_of(target).exists():
            shutil.rmtree(target, ignore_errors=True)
        raise
    shutil.rmtree(folder / "apt", ignore_errors=True)
    others = [path.name for path in folder.glob("bazel-*") if path != target]
    if others:
        say(f"this checkout no longer needs {', '.join(others)} in {folder}")
    say(f"Bazel {version} is ready after {time.monotonic() - started:.0f} s. To use it directly:")
    say(f'  export PATH="{cache.bazel_of(target).parent}:$PATH"')


def _download(downloader: Apt, version: str) -> None:
    problems = []
    for source in apt.debian_sources():
        for suite in apt.SUITES:
            say(f"reading the package lists of Debian {suite}")
            problem = downloader.select(source, suite)
            if problem:
                problems.append(f"{suite}: {problem}")
                continue
            packages = downloader.resolve(prefix.PACKAGES)
            if not prefix.is_right_version(packages, version):
                problems.append(f"{suite}: it has no installable Bazel {version}")
                continue
            downloader.download(prefix.PACKAGES, packages)
            return
    raise apt.download_error(f"this host's apt sources give no Bazel {version}", "\n".join(problems))


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    # Unwinds like Ctrl-C, so that the staging folder and apt-get go too.
    sys.exit(128 + signal.SIGTERM)
