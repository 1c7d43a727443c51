"""Whether the grid is good enough, by the tables in `models/`; `report.coverage_gate` is the program.

`quotas.json` says for each tier which share of its models must be covered at a level or deeper: `{"critical":
{"forward": 1.0}}`. `drops.json` holds the reason for each cell that is known to be worse than the stored history says:
`{"llama cpu": "..."}`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.verdict import LEVELS
from report import compare, history, strict
from report.coverage_format import ATTENTION, Coverage, Model
from report.declaration import TIERS

Quotas = Mapping[str, Mapping[str, float]]


@dataclasses.dataclass(frozen=True)
class Offence:
    """One thing that keeps the gate shut, and the command to look at it."""

    what: str
    look: str


def judge(
    coverage: Coverage, quotas: Quotas, stored: history.History, drops: Mapping[str, str], today: str
) -> list[Offence]:
    """Returns everything that keeps the gate shut; nothing if it is open.

    Args:
      coverage: the grid of this build.
      quotas: by tier, then level, the least share of the tier's models, 0 to 1.
      stored: the history; what is compared is its newest record of each environment of the grid.
      drops: for `model backend` the reason why it may be worse than stored.
      today: `YYYY-MM-DD`.
    """
    return [
        *_short(coverage, quotas),
        *_attention(coverage),
        *_expired(coverage, today),
        *_silent(coverage),
        *_dropped(coverage, stored, drops),
    ]


def _test(label: str) -> str:
    return f"./bazelw test {label}"


def _short(coverage: Coverage, quotas: Quotas) -> Iterator[Offence]:
    for tier, by_level in quotas.items():
        models = [model for model in coverage.models if model.tier == tier]
        for level, share in by_level.items():
            lacking = [model for model in models if not _reaches(model, level)]
            reached = len(models) - len(lacking)
            if reached < share * len(models):
                head = f"tier {tier}: {reached} of {len(models)} models at {level} or deeper, the quota is {share:.0%}"
                for model in lacking:
                    why = f"; not to be had: {model.unavailable}" if model.unavailable else ""
                    yield Offence(f"{head}; {model.label} is at {model.level}{why}", _test(_package(model) + ":all"))


def _package(model: Model) -> str:
    return model.label.rpartition(":")[0]


def _reaches(model: Model, level: str) -> bool:
    return model.covered and LEVELS.index(model.level) >= LEVELS.index(level)


def _attention(coverage: Coverage) -> Iterator[Offence]:
    for cell in coverage.cells:
        if cell.status in ATTENTION:
            words = cell.status.replace("_", " ")
            check = f" at {cell.failed_check}" if cell.failed_check else ""
            yield Offence(f"{cell.label}: {words}{check}: {cell.reason}", _test(cell.label))


def _expired(coverage: Coverage, today: str) -> Iterator[Offence]:
    for model in coverage.models:
        for known in model.known_failures:
            if known.expires < today:
                yield Offence(
                    f"{model.label}: the known failure of {known.match} expired on {known.expires}: {known.reason}",
                    f"{_test(_package(model) + ':all')}, then mend it or renew the date in its BUILD file",
                )
    for backend in coverage.backends:
        for known in backend.known_failures:
            if known.expires < today:
                yield Offence(
                    f"{backend.name}: the known failure of {known.check} expired on {known.expires}: {known.reason}",
                    f"./bazelw test --config={backend.name} //models/..., then mend it or renew the date in "
                    "toolchains/backends.bzl",
                )


def _silent(coverage: Coverage) -> Iterator[Offence]:
    """Yields cells without a verdict on a backend that did run others here: one without hardware runs none."""
    running = {cell.backend for cell in coverage.cells if cell.runs and not cell.imported}
    for cell in coverage.cells:
        if cell.status == "no_hardware" and cell.backend in running:
            yield Offence(f"{cell.label}: no verdict, though {cell.backend} runs here", _test(cell.label))
    for label in coverage.inventory.vanished if coverage.inventory else ():
        yield Offence(f"{label}: its folder is not in the environment", f"./bazelw query {label} --output=build")


def _dropped(coverage: Coverage, stored: history.History, drops: Mapping[str, str]) -> Iterator[Offence]:
    for problem in stored.problems:
        yield Offence(f"history: {problem.reason}", "git log -p models/history.jsonl")
    labels = {model.name: _package(model) for model in coverage.models}
    known = set()
    for environment in coverage.environments():
        if stored.latest(environment) is None:
            others = {record.environment for record in stored.records}
            if not others or others - set(coverage.environments()):  # else it is new beside those that are recorded
                held = f"it has {', '.join(sorted(others))} alone" if others else "it is empty"
                yield Offence(
                    f"the stored history has no record of {environment}: {held}", "./bazelw run //:toolkit -- record"
                )
            continue
        before = history.baseline(stored, coverage, environment)
        for change in _worse(before, history.states_of(coverage, environment)):
            key = f"{change.name} {change.backend}"
            known.add(key)
            if not drops.get(key, "").strip():
                was, now_is = " ".join(change.before or ()), " ".join(change.after or ("gone",))
                look = f"git log -- 'models/*/{change.name}'"
                if change.name in labels:
                    look = _test(f"{labels[change.name]}:{change.backend}")
                date = before[change.name, change.backend].date
                what = f"{key}: {now_is}, was {was} on {date}; no reason stands in models/drops.json"
                yield Offence(what, look)
    for key in sorted(drops.keys() - known):
        yield Offence(
            f"models/drops.json: {key!r} is no worse than the stored history says; take it out",
            "./bazelw run //:coverage",
        )


def _worse(before: history.Last, now: history.States) -> list[compare.Change]:
    """Returns what is worse or gone; a backend that runs nothing here says nothing of what ran elsewhere."""
    running = {backend for _, backend in now}
    states = {key: found.state for key, found in before.items() if key[1] in running}
    difference = compare.compare(states, now)
    return [*difference.worse, *difference.gone]


def read_quotas(path: Path) -> Quotas:
    """Returns the table of quotas.

    Raises:
      strict.InputError: it is damaged, leaves a tier out, or has a level or share that is none.
    """
    value: Any = strict.read(path, "table of quotas")
    if not isinstance(value, dict) or set(value) != set(TIERS):
        raise strict.InputError(f"{path}: expected an object with the tiers {', '.join(TIERS)}; mend the file")
    for tier, by_level in value.items():
        if not isinstance(by_level, dict) or not set(by_level) <= set(LEVELS[LEVELS.index("forward") :]):
            raise strict.InputError(f"{path}: {tier}: expected levels from forward on; mend the file")
        for level, share in by_level.items():
            if type(share) not in (int, float) or not 0 <= share <= 1:
                raise strict.InputError(f"{path}: {tier}, {level}: {share!r} is no share from 0 to 1; mend the file")
    return value
