"""Where a program that Bazel runs finds its input, and where it writes what the user asked for."""

from __future__ import annotations

import os
from pathlib import Path

from report.grid import Locate
from report.strict import InputError


def locator(root: str | None) -> Locate:
    """Returns what finds a file: below `root`, or among the program's runfiles if that is None.

    The function raises `InputError` for a path that is not among the runfiles.
    """
    if root is not None:
        return lambda path: Path(root, path)

    from runfiles import Runfiles  # Only a program that Bazel runs has any.

    runfiles = Runfiles.Create()

    def among_runfiles(path: str) -> Path:
        found = runfiles.Rlocation(path) if runfiles else None
        if found is None:
            raise InputError(f"{path}: not among the runfiles; use `bazel run`, or give --root")
        return Path(found)

    return among_runfiles


def for_user(path: str) -> Path:
    """Returns `path` as the user meant it: relative to where `bazel run` was called."""
    return Path(os.environ.get("BUILD_WORKING_DIRECTORY", ""), path).expanduser()


def write(path: str, text: str) -> None:
    """Writes `text` to the user's `path`, making its folder.

    Raises:
      InputError: it cannot be written.
    """
    target = for_user(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror}); choose another file") from None
