"""`bazel run //:drift`: which models' numbers changed between two environments, and by how much.

`--//:from=NAME` and `--//:to=NAME` say which environments, `--//:tiers=critical,high` which models. Every one of their
cells runs in both, or comes from the cache. Compared is what `//:record` would keep: shapes, statistics and places of
each output of each class, and the facts of the run.

Exit codes: 0 the comparison was made, whatever it says; 1 the command line is wrong; 2 there is nothing to compare.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from authoring.observations import packages
from harness import reference
from report import files, strict
from report.grid import Locate

VERSION = 1

NOISE = 1e-5
"""Below it two numbers are the same: they are kept with six digits."""

_PAIRS = flags.DEFINE_string("pairs", None, "The file of `hf_drift`.", required=True)


@dataclasses.dataclass(frozen=True)
class Drift:
    """How one model differs between two environments.

    Attributes:
      share: of the value that moved most, how far, as a share of its tensor's largest magnitude; 0 where none did.
      where: the name of that value.
      moved: number of values that moved, of `values`.
      values: number of values that both have.
      facts: what else differs, a line each: a shape, an output, a check, a class that one side lacks.
    """

    share: float
    where: str
    moved: int
    values: int
    facts: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.share or self.facts)


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Drift:
    """Returns how two observations of one model differ."""
    facts = [f"{side} it is not green: {found['refused']}" for side, found in _refused(before, after)]
    if facts:
        return Drift(0.0, "", 0, 0, tuple(facts))
    for name in sorted((before.keys() | after.keys()) - {"values", "version", "environment"}):
        facts += _fact(name, before.get(name), after.get(name))
    old, new = before["values"], after["values"]
    facts += [f"{name} is {'gone' if name in old else 'new'}" for name in sorted(old.keys() ^ new.keys())]
    shares: dict[str, float] = {}
    for name in sorted(old.keys() & new.keys()):
        if old[name]["shape"] != new[name]["shape"]:
            facts.append(f"{name} has shape {new[name]['shape']}, it was {old[name]['shape']}")
        else:
            shares[name] = share(old[name], new[name])
    where = max(shares, key=lambda name: shares[name], default="")
    moved = [name for name, value in shares.items() if value > NOISE]
    return Drift(shares[where] if moved else 0.0, where if moved else "", len(moved), len(shares), tuple(facts))


def _refused(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(side, found) for side, found in (("before", before), ("after", after)) if "refused" in found]


def _fact(name: str, before: Any, after: Any) -> list[str]:
    """Returns a line for each difference of one fact of a run: of a list, what it gained and what it lost."""
    if before == after:
        return []
    if isinstance(before, list) and isinstance(after, list):
        gone = [f"{name}: {item} is gone" for item in before if item not in after]
        return gone + [f"{name}: {item} is new" for item in after if item not in before]
    if isinstance(before, float) and isinstance(after, float) and abs(before - after) <= NOISE:
        return []
    return [f"{name}: {after}, it was {before}"]


def share(old: Mapping[str, Any], new: Mapping[str, Any]) -> float:
    """Returns the largest change of a value's statistics and places, as a share of its largest magnitude."""
    if "max" not in old:
        return 0.0
    pairs = [(old[name], new[name]) for name in ("mean", "std", "max")]
    pairs += list(zip(old["at"], new["at"], strict=True))
    return float(max(abs(one - other) for one, other in pairs) / max(old["max"], 1e-6))


def table(pairs: Mapping[str, Any], locate: Locate) -> list[str]:
    """Returns the lines to print for the file that `hf_drift` wrote, the models that moved most first."""
    sides = [pairs[side] for side in ("before", "after")]
    names = [side["environment"] for side in sides]
    old, new = (packages(side["observed"]) for side in sides)
    found = {
        new[name][0]: compare(_read(locate(old[name][1])), _read(locate(new[name][1])))
        for name in sorted(old.keys() & new.keys())
    }
    lines = [f"drift from {names[0]} to {names[1]}: {sum(map(bool, found.values()))} of {len(found)} models changed"]
    for package, drift in sorted(found.items(), key=lambda item: (-item[1].share, item[0])):
        if drift.share:
            beyond = ", beyond the tolerance of a reference" if drift.share > reference.TOLERANCE else ""
            lines.append(
                f"{package}: {drift.moved} of {drift.values} values moved, {drift.where} most, "
                f"by {drift.share:.2g} of its largest magnitude{beyond}"
            )
        lines += [f"{package}: {fact}" for fact in drift.facts]
    for environment, missing in ((names[1], old.keys() - new.keys()), (names[0], new.keys() - old.keys())):
        if missing:
            lines.append(f"not in {environment}: {', '.join(sorted(missing))}")
    return lines


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = strict.read(path, "an observation")
    return found


def main(argv: Sequence[str]) -> int:
    """Prints the comparison and returns the exit code."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; environments are flags of Bazel: --//:from=NAME")
    try:
        locate = files.locator(None)
        pairs = strict.versioned(strict.read(locate(_PAIRS.value), "the file of hf_drift"), VERSION, _PAIRS.value)
        print("\n".join(table(pairs, locate)))
    except strict.InputError as error:
        print(f"drift: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    app.run(main)
