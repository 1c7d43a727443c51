"""Runs of cells without Bazel, for what is measured about the checks. Their specs must have been built."""

from __future__ import annotations

import os
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import pytest
from absl import app

REFERENCE = "common::outputs_match_the_reference"


class Recorder:
    """A reporter that keeps what it hears, and ends the run where a check of the model by itself has failed.

    A failure that the declaration expects is none; its passing is one.
    """

    def __init__(self, spec: Any) -> None:
        self._spec = spec
        self._known: set[str] = set()
        self.passed: list[str] = []
        self.failed: list[str] = []
        self.messages: dict[str, str] = {}
        self.model: Any = None
        self.values: Any = None

    def planned(self, checks: object) -> None:
        """Is of no interest."""

    def started(self, check_id: str) -> None:
        """Is of no interest."""

    def facts(self, facts: Any) -> None:
        """Keeps what was run."""
        self.model = facts

    def observed(self, values: Any) -> None:
        """Keeps what the outputs came to."""
        self.values = values

    def device_peak(self, peak_bytes: int) -> None:
        """Is of no interest."""

    def finished(self, result: Any) -> None:
        """Keeps what passed and what failed."""
        self.messages[result.id] = result.message
        if result.outcome == "passed":
            self.passed.append(result.id)
        names = (self._spec.backend.name, result.id)
        known = [each for each in self._spec.known_failures if each.match in names]
        expected = any(each.explains(result.id, result.message) for each in known)
        gone = result.outcome == "passed" and any(result.id in (each.match, each.check) for each in known)
        if gone or (result.outcome == "failed" and not expected):
            self.failed.append(result.id)
            if result.id != REFERENCE:
                pytest.exit("caught")

    def done(self) -> None:
        """Is of no interest."""


def run_cell(spec: Any, change: MetaPathFinder | None = None) -> Recorder:
    """Returns what a run of the cell had to say, up to the first failure that needs no reference.

    Args:
      change: finds modules that the model is to be loaded from instead of its own.
    """
    from harness import cell
    from harness.reporter import HarnessFault

    if change is not None:
        sys.meta_path.insert(0, change)
    recorder = Recorder(spec)
    try:
        cell.run(spec, recorder)
    except HarnessFault:
        if not recorder.failed:
            raise
    return recorder


def built_specs(root: Path, pattern: str, backend: str = "cpu") -> list[Path]:
    """Returns the specs that were built of the cells whose models match `CATEGORY/NAME`, in order.

    Raises:
      app.UsageError: there is none.
    """
    found = {
        "/".join(path.parts[-3:-1]): path for path in root.glob(f"bazel-out/*/bin/models/{pattern}/{backend}.spec.json")
    }
    if not found:
        raise app.UsageError(f"no spec of {pattern!r}: bazel build --output_groups=spec //models/...")
    return [found[name] for name in sorted(found)]


def checkout(flag: str | None) -> Path:
    """Returns the root of the checkout: of the flag, else of `bazel run`, else here."""
    return Path(flag or os.environ.get("BUILD_WORKSPACE_DIRECTORY") or ".")
