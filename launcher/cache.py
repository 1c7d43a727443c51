"""The launcher's private cache folder: where it is, its lock, what is whole in it.

Layout: `python` (the interpreter remembered by bazelw), `path-bazel.json` (see
on_path.py), `remote-*.bazelrc` (see addresses.py), `lock`, `apt/` (download state,
gone once a prefix is complete) and one `bazel-<version>-<recipe>/` prefix per recipe.
"""

import contextlib
import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from launcher.errors import LauncherError

# The modules that decide what a prefix contains: a change in one of them makes
# a new prefix instead of reusing one built by other rules.
_RECIPE_MODULES = ("apt.py", "prefix.py", "bootstrap.py")


def say(message: str) -> None:
    """Prints one progress line to stderr; stdout belongs to Bazel."""
    print(f"bazelw: {message}", file=sys.stderr, flush=True)


def cache_root(env: Mapping[str, str]) -> Path:
    """Returns the absolute cache folder; it need not exist yet.

    Raises:
        LauncherError: the folder is under /tmp, or there is no home folder.
    """
    chosen = env.get("MODELGRID_CACHE")
    root = Path.cwd() / (chosen or user_cache(env) / "modelgrid")
    if is_under_tmp(root):
        raise LauncherError(
            f"the cache folder {root} is under /tmp, which Bazel's sandbox replaces by an "
            "empty one: its own tools would vanish.\n"
            "Set MODELGRID_CACHE to a folder outside /tmp."
        )
    return root


def user_cache(env: Mapping[str, str]) -> Path:
    """Returns the user's cache folder, as Bazel itself determines it.

    Raises:
        LauncherError: neither XDG_CACHE_HOME nor HOME is set.
    """
    if env.get("XDG_CACHE_HOME"):
        return Path(env["XDG_CACHE_HOME"])
    if env.get("HOME"):
        return Path(env["HOME"]) / ".cache"
    raise LauncherError(
        "there is no place for a cache: HOME is not set.\nSet HOME, or MODELGRID_CACHE to a folder outside /tmp."
    )


def is_under_tmp(path: Path) -> bool:
    """Tells whether the path, links followed, is /tmp or below it."""
    return path.resolve().is_relative_to(Path("/tmp").resolve())


def prefix_path(cache: Path, version: str) -> Path:
    """Returns where the prefix of this version and of the present recipe belongs."""
    digest = hashlib.sha256()
    for module in _RECIPE_MODULES:
        digest.update((Path(__file__).parent / module).read_bytes())
    return cache / f"bazel-{version}-{digest.hexdigest()[:12]}"


def bazel_of(prefix: Path) -> Path:
    """Returns the prefix's Bazel, which exists if and only if the prefix is whole."""
    return prefix / "bin" / "bazel"


def write_atomically(path: Path, text: str, mode: int = 0o666) -> None:
    """Writes a small file so that no reader ever sees half of it, nor whoever `mode` keeps out any of it.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.touch(mode)
    partial.write_text(text)
    partial.replace(path)


@contextlib.contextmanager
def locked(cache: Path) -> Iterator[int]:
    """Holds the cache's lock; waits for another launcher that has it, and says so.

    Yields the lock's file descriptor. A child that inherits it keeps the lock
    beyond a killed launcher, so that nobody works beside an orphan.

    Raises:
        OSError: the cache folder cannot be written.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another bazelw is setting up Bazel in {cache}; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle.fileno()
