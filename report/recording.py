"""Adds a grid to the stored history: `bazel run //:coverage -- --record`."""

from __future__ import annotations

from pathlib import Path

from report import compare, history
from report.coverage_format import Coverage

FILE = "models/history.jsonl"
"""The history, in the workspace."""


def append(coverage: Coverage, path: Path, date: str, commit: str) -> str:
    """Adds the grid to the history at `path` and returns what to tell the user.

    Raises:
      strict.InputError: the file cannot be used.
    """
    stored = history.read(path)
    lines = [f"{path}: kept, not understood: {problem.reason}" for problem in stored.problems]
    for new in history.records_of(coverage, date, commit):
        done = history.append(path, new)
        lines.append(f"{path}: {done} {new.date} {new.environment} {new.revision or '(no revision)'}")
        lines.append(f"{new.covered} of {new.declared} declared models covered")
        last = stored.latest(new.environment)
        if last:
            before = history.baseline(stored, coverage, new.environment)
            states = {key: found.state for key, found in before.items()}
            found = compare.compare(states, history.states(new))
            lines.append(
                f"since {last.date} {last.revision}: {len(found.worse)} worse, {len(found.better)} better, "
                f"{len(found.gone)} gone, {len(found.new)} new"
            )
    return "\n".join(lines)
