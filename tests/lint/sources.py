"""The files that the lint tests look at, and how they run a linter on them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

BAZEL_FILES = ("BUILD", "BUILD.bazel", "MODULE.bazel", "WORKSPACE", "WORKSPACE.bzlmod")


def is_linted(path: str) -> bool:
    """Returns whether a linter looks at files of this name."""
    return path.endswith((".py", ".bzl")) or Path(path).name in BAZEL_FILES


def listed() -> list[str]:
    """Returns the files that the test depends on, relative to the workspace's root, its working directory.

    Bazel gives the list in `SOURCES`, the names of which are those of `//tests/lint:sources`; outside Bazel, where
    the variable is not set, it is every file in the tree.
    """
    given = os.environ.get("SOURCES")
    files = walk(Path.cwd()) if given is None else [str(Path(file)) for file in given.split()]
    return sorted(file for file in files if is_linted(file))


def walk(root: Path) -> list[str]:
    """Returns every file below `root`, relative to it, without what is hidden, made by Bazel, or not of this tree."""
    found: list[str] = []
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        folders[:] = [name for name in folders if not _is_foreign(here / name)]
        found += [str((here / name).relative_to(root)) for name in files]
    return found


def _is_foreign(folder: Path) -> bool:
    made = folder.name.startswith((".", "bazel-")) or folder.name == "__pycache__"
    return made or folder.is_symlink() or (folder / "pyvenv.cfg").exists()


def run(command: Sequence[str], files: Sequence[str]) -> tuple[int, str]:
    """Runs `command` on `files`; returns its exit code and everything it printed."""
    assert files, "no files to lint"
    result = subprocess.run(
        [*command, *files], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return result.returncode, result.stdout


def run_module(module: str, arguments: Sequence[str], files: Sequence[str]) -> tuple[int, str]:
    """Runs the Python package `module` on `files`, with the packages that the test itself has.

    Returns:
      Its exit code and everything it printed.
    """
    # The linter's own folder of packages alone: mypy refuses a path that holds what it is to check.
    python = ["env", f"PYTHONPATH={site_of(module)}", sys.executable, "-B", "-m", module]
    return run([*python, *arguments], files)


def site_of(module: str) -> Path:
    """Returns the folder of packages that the Python package `module` is in."""
    package = __import__(module).__file__
    assert package is not None
    return Path(package).parent.parent
