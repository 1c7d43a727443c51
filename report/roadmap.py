"""The way to a proven grid: phases, what is done, what is left and when, computed from what is declared and recorded.

A phase is a tier, the most wanted first; the last one is what has no declaration yet. Done and its date are by the
stored history, the aim by the gate's quotas. Nothing here is planned by hand, so nothing here can be out of date.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Mapping, Sequence

from harness.verdict import LEVELS
from report import history
from report.declaration import TIERS
from report.gate import Quotas
from report.graph import Declared
from report.history import Record
from report.ranking import Missing
from report.words import code, markdown, rank


@dataclasses.dataclass(frozen=True)
class Phase:
    """One step of the roadmap.

    Attributes:
      tier: the tier whose models it is; `undeclared` for the last phase.
      models: number of its models.
      levels: for each level with a quota the number of models that are there or deeper, and the share asked for.
      left: models that no run covers yet, by name.
      impossible: models that no cell can run, by name; they are neither done nor left.
      since: date of the first record with nothing left; empty if something is.
      expected: date on which nothing would be left at the pace of the records; empty where they show none.
    """

    tier: str
    models: int
    levels: Mapping[str, tuple[int, float]]
    left: tuple[str, ...]
    impossible: tuple[str, ...]
    since: str
    expected: str


def phases(
    declared: Sequence[Declared], missing: Sequence[Missing], stored: history.History, quotas: Quotas
) -> list[Phase]:
    """Returns the phases in their order.

    Args:
      declared: every declared model.
      missing: folders without a declaration, the most wanted first.
      stored: the history.
      quotas: by tier, then level, the least share of the tier's models.
    """
    reached = _reached(stored.records)
    return [
        *(_phase(tier, [model for model in declared if model.tier == tier], reached, quotas[tier]) for tier in TIERS),
        Phase("undeclared", len(missing), {}, tuple(item.folder for item in missing), (), "", ""),
    ]


def _reached(records: Sequence[Record]) -> dict[str, dict[str, int]]:
    """Returns for each date, oldest first, the depth of each model that was covered as of then."""
    newest: dict[str, Record] = {}
    found = {}
    for record in records:
        newest[record.environment] = record
        depths: dict[str, int] = {}
        for each in newest.values():
            for (name, _), state in history.states(each).items():
                covered, depth, _ = rank(*state)
                if covered:
                    depths[name] = max(depth, depths.get(name, -1))
        found[record.date] = depths
    return found


def _phase(
    tier: str, models: Sequence[Declared], reached: Mapping[str, Mapping[str, int]], quotas: Mapping[str, float]
) -> Phase:
    names = {model.name for model in models if not model.unavailable}
    counts = {date: len(names & depths.keys()) for date, depths in reached.items()}
    now = reached[max(reached)] if reached else {}
    left = tuple(sorted(names - now.keys()))
    done = [date for date, count in counts.items() if count == len(names)]
    return Phase(
        tier=tier,
        models=len(models),
        levels={
            level: (sum(now.get(name, -1) >= LEVELS.index(level) for name in names), share)
            for level, share in quotas.items()
        },
        left=left,
        impossible=tuple(sorted(model.name for model in models if model.unavailable)),
        since="" if left or not done else min(done),
        expected=_expected(counts, len(names)) if left else "",
    )


def _expected(counts: Mapping[str, int], all_of_them: int) -> str:
    """Returns the day on which all are done at the pace of the records, first to last; empty where nothing moves."""
    if len(counts) < 2:
        return ""
    first, last = min(counts), max(counts)
    gained = counts[last] - counts[first]
    if gained <= 0:
        return ""
    days = (datetime.date.fromisoformat(last) - datetime.date.fromisoformat(first)).days
    ahead = math.ceil((all_of_them - counts[last]) * days / gained)
    return (datetime.date.fromisoformat(last) + datetime.timedelta(days=ahead)).isoformat()


HEADERS = ("phase", "models", "done", "left", "aim", "when")


def rows(found: Sequence[Phase]) -> list[tuple[str, ...]]:
    """Returns a row of text for each phase, in the order of `HEADERS`."""
    return [
        (
            f"{number} {phase.tier}",
            str(phase.models),
            str(phase.models - len(phase.left) - len(phase.impossible)),
            str(len(phase.left)) + (f" (+{len(phase.impossible)} impossible)" if phase.impossible else ""),
            ", ".join(
                f"{level} {count / phase.models:.0%} of {share:.0%}" for level, (count, share) in phase.levels.items()
            )
            if phase.models
            else "",
            _when(phase),
        )
        for number, phase in enumerate(found, 1)
    ]


def _when(phase: Phase) -> str:
    if not phase.left:
        return f"done by {phase.since}" if phase.since else ""
    return f"{phase.expected} at this pace" if phase.expected else "no pace on record"


def to_markdown(found: Sequence[Phase], as_of: str) -> str:
    """Returns the roadmap as a page; `as_of` is the newest record's date."""
    lines = ["# Roadmap", "", f"Computed from the declarations and the record of {markdown(as_of)}.", ""]
    lines += [f"| {' | '.join(HEADERS)} |", f"| {' | '.join('---' for _ in HEADERS)} |"]
    lines += [f"| {' | '.join(markdown(item) for item in row)} |" for row in rows(found)]
    for phase in found:
        if phase.left:
            lines += ["", f"## Left: {phase.tier}", "", ", ".join(code(name) for name in phase.left)]
    return "\n".join(lines) + "\n"
