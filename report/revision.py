"""Which commit of the workspace is being reported on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def workspace() -> Path | None:
    """Returns the workspace that `bazel run` was called in; None outside of it."""
    folder = os.environ.get("BUILD_WORKSPACE_DIRECTORY")
    return Path(folder) if folder else None


def current(folder: Path | None) -> str:
    """Returns the short name of the commit that is checked out in `folder`, with a `+` where tracked files differ.

    Empty where there is no git, no commit, or no folder: a report is good without.
    """
    if folder is None:
        return ""
    commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return "" if not commit else f"{commit}{'+' if changed else ''}"


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
