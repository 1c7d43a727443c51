"""What it will cost to run cells again, by the timings that their last runs left in this checkout's build outputs."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

HEADERS = ("backend", "cells", "CPU s", "never ran here")


def seconds(root: Path) -> dict[str, float]:
    """Returns the CPU seconds of the last run of each cell, by its label; what cannot be read is left out."""
    newest: dict[str, tuple[float, float]] = {}
    # Each backend is a configuration of its own, and so is its folder.
    for path in root.glob("bazel-out/*/bin/models/*/*/*.timings.json"):
        try:
            found = float(sum(run["cpu_seconds"] for run in json.loads(path.read_text(encoding="utf-8"))["runs"]))
            made = path.stat().st_mtime
        except (OSError, ValueError, KeyError, TypeError):
            continue
        label = f"//{'/'.join(path.parts[-4:-1])}:{path.name.partition('.')[0]}"
        newest[label] = max(newest.get(label, (0.0, 0.0)), (made, found))
    return {label: found for label, (_, found) in newest.items()}


def rows(cells: Sequence[str], known: Mapping[str, float]) -> list[list[str]]:
    """Returns for each backend its cells, their predicted CPU seconds, and how many of them never ran here.

    For a cell that never ran the median of its backend's others stands; without any there is no prediction.
    """
    measured = defaultdict(list)
    for label, found in known.items():
        measured[_backend(label)].append(found)
    by_backend = defaultdict(list)
    for label in cells:
        by_backend[_backend(label)].append(label)
    result = []
    for backend, labels in sorted(by_backend.items()):
        runs = measured[backend]
        usual = statistics.median(runs) if runs else 0.0
        total = sum(known.get(label, usual) for label in labels)
        never = sum(label not in known for label in labels)
        result.append([backend, str(len(labels)), f"{total:.0f}" if runs else "-", str(never)])
    return result


def _backend(label: str) -> str:
    return label.rpartition(":")[2]
