"""Decides which Bazel serves this workspace and becomes it.

Order: Bazelisk or the pinned Bazel on PATH; a prefix unpacked earlier; else a new
one. After the first time this must cost next to nothing, so what only a bootstrap
needs is imported only then.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from launcher import addresses, cache, on_path
from launcher.errors import EXIT_CODE, LauncherError

# The one version that prefix.py knows how to unpack and relocate.
BOOTSTRAP_VERSION = "7.7.1"


def main(argv: Sequence[str]) -> NoReturn:
    """Runs Bazel in place of this process; `argv` is the workspace and Bazel's arguments."""
    root, *arguments = argv
    try:
        program = choose_bazel(Path(root), arguments, os.environ)
        arguments = [*addresses.startup_options(os.environ), *arguments]
        # Python ignores SIGPIPE, and an ignored signal stays so across exec: Bazel
        # would not notice that `bazelw query ... | head` has seen enough.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        # For Bazelisk, which would otherwise go by the folder it is started in.
        os.environ.setdefault("USE_BAZEL_VERSION", pinned_version(Path(root)))
        # For a program of `bazel run` that runs Bazel in turn (report/workspace.py): a version manager's shim of
        # python3 puts folders before it, and the host would be looked at anew, as another one, each time.
        os.environ["MODELGRID_PATH"] = os.environ.get("PATH", os.defpath)
        os.execv(program, [program, *arguments])
    except LauncherError as error:
        for line in str(error).splitlines():
            cache.say(line)
        sys.exit(EXIT_CODE)
    except KeyboardInterrupt:
        cache.say("interrupted; the next start goes on from here")
        sys.exit(130)


def choose_bazel(root: Path, arguments: Sequence[str], env: Mapping[str, str]) -> str:
    """Returns the path of the Bazel to run, after bootstrapping one if need be.

    Raises:
        LauncherError: no Bazel of the pinned version can be had; it says why.
    """
    if on_path.PROBE_VARIABLE in env:
        raise LauncherError("this bazel on PATH is bazelw itself")
    version = pinned_version(root)
    folder = cache.cache_root(env)
    prefix = cache.prefix_path(folder, version)
    bazel = cache.bazel_of(prefix)
    ready = bazel.exists()
    found = on_path.find_bazel(version, root, folder, env, own=bazel if ready else None)
    if found:
        _remember_python(folder, env)
        return found
    if version != BOOTSTRAP_VERSION:
        raise LauncherError(
            f".bazelversion asks for Bazel {version}, which is not on PATH; bazelw itself can "
            f"only set up {BOOTSTRAP_VERSION}.\n"
            f"Install Bazelisk or Bazel {version}."
        )
    _check_output_root(arguments, env)
    if not ready:
        from launcher.bootstrap import bootstrap

        bootstrap(folder, prefix, version)
    _remember_python(folder, env)
    return str(bazel)


def pinned_version(root: Path) -> str:
    """Returns the content of .bazelversion.

    Raises:
        LauncherError: there is no such file, or it is empty.
    """
    try:
        lines = (root / ".bazelversion").read_text().split()
    except OSError as error:
        raise LauncherError(
            f"cannot read the pinned Bazel version: {error}\nRestore .bazelversion from version control."
        ) from error
    if not lines:
        raise LauncherError(f"{root / '.bazelversion'} is empty.\nRestore it from version control.")
    return lines[0]


def _check_output_root(arguments: Sequence[str], env: Mapping[str, str]) -> None:
    chosen = any(argument.startswith(("--output_user_root", "--output_base")) for argument in arguments)
    if not chosen and cache.is_under_tmp(cache.user_cache(env) / "bazel"):
        raise LauncherError(
            f"Bazel's output root {cache.user_cache(env) / 'bazel'} is under /tmp, which its "
            "sandbox replaces by an empty one.\n"
            "Set XDG_CACHE_HOME to a folder outside /tmp, or pass --output_user_root=FOLDER "
            "before Bazel's command."
        )


def _remember_python(folder: Path, env: Mapping[str, str]) -> None:
    memory = folder / "python"
    if env.get("MODELGRID_PYTHON") or memory.exists():
        return
    try:
        # Not the link of a virtual environment, which comes and goes.
        cache.write_atomically(memory, os.path.realpath(sys.executable) + "\n")
    except OSError as error:
        cache.say(f"cannot remember the Python interpreter ({error}); the next start looks again")
