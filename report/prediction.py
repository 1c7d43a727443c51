"""What it will cost to run cells again: by the timings that their last runs left in this checkout's build outputs, or
else by those that `bazel run //:toolkit -- record` kept beside the history, in models/seconds.json.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from report import strict

FILE = "models/seconds.json"
"""The kept seconds, in the workspace: one line for each cell."""

VERSION = 1

HEADERS = ("backend", "cells", "CPU s", "never ran")

# A time that changed by less is noise of the machine: the kept one stays, and the file's diff is short.
_FACTOR, _SECONDS = 1.5, 0.3


@dataclasses.dataclass(frozen=True)
class Kept:
    """The CPU seconds of each cell, by its label."""

    seconds: Mapping[str, float]


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


def read(path: Path) -> dict[str, float]:
    """Returns the kept seconds in the file at `path`.

    Raises:
      strict.InputError: it cannot be read, or is of another version.
    """
    value = strict.versioned(strict.read(path, "kept seconds"), VERSION, str(path))
    return dict(strict.build(Kept, value, str(path)).seconds)


def keep(root: Path, cells: Iterable[str]) -> int:
    """Keeps what is known in the checkout of the cells, and of no others; returns how many entries changed.

    Raises:
      strict.InputError: the file cannot be used.
    """
    path = Path(root, FILE)
    before = read(path) if path.exists() else {}
    known = {**before, **{label: new for label, new in seconds(root).items() if _differs(before.get(label), new)}}
    kept = {label: round(known[label], 1) for label in sorted(set(cells) & set(known))}
    text = json.dumps({"version": VERSION, "seconds": kept}, indent=1) + "\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise strict.InputError(f"{path}: cannot be written ({error.strerror})") from None
    return sum(before.get(label) != kept.get(label) for label in {*before, *kept})


def _differs(old: float | None, new: float) -> bool:
    return old is None or (abs(new - old) > _SECONDS and max(new, old) > _FACTOR * min(new, old))


def rows(cells: Sequence[str], known: Mapping[str, float]) -> list[list[str]]:
    """Returns for each backend its cells, their predicted CPU seconds, and how many of them never ran.

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
