"""The stored history of the grid: one JSON line for each date, environment and revision, oldest first.

Version 1 of a line is one JSON object: `version` and the fields of `Record`. Lines that this version cannot read,
damaged or newer ones, are reported and kept as they are: `append` never drops what it does not understand.

`bazel run //:toolkit -- record` adds a line. `bazel run //:record` is another thing: the reference values of one model.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.verdict import LEVELS
from report import strict
from report.coverage_format import NEVER_RAN, STATUSES, Cell, Coverage

VERSION = 1


@dataclasses.dataclass(frozen=True)
class Record:
    """The grid of one environment on one day.

    Attributes:
      date: `YYYY-MM-DD`.
      revision: the commit, with a `+` behind it where files were changed; empty if it is not known.
      declared: number of models declared for it.
      covered: how many of them are covered.
      levels: number of models by the deepest level that they reached; every level is a key.
      folders: number of model folders of the environment, and how many of them are declared; zeros where the grid has
        no inventory of it.
      classes: number of public model classes of the environment, and how many of them are exercised; so too.
      cells: for each backend that counts and ran something, the names of the models by status and level:
        `{"cpu": {"passed consistent": "albert bert"}}`.
    """

    date: str
    environment: str
    revision: str
    declared: int
    covered: int
    levels: Mapping[str, int]
    folders: tuple[int, ...]
    classes: tuple[int, ...]
    cells: Mapping[str, Mapping[str, str]]

    def to_line(self) -> str:
        """Returns the record as a line of the file, without its end."""
        return json.dumps({"version": VERSION, **dataclasses.asdict(self)}, sort_keys=True, separators=(",", ":"))


@dataclasses.dataclass(frozen=True)
class Problem:
    """A line that cannot be read: its number, from 1 on, and why."""

    line: int
    reason: str


@dataclasses.dataclass(frozen=True)
class History:
    """What a history file says: its records, oldest first, and the lines that cannot be read."""

    records: tuple[Record, ...] = ()
    problems: tuple[Problem, ...] = ()

    def latest(self, environment: str) -> Record | None:
        """Returns the newest record of `environment`, or None."""
        return next((record for record in reversed(self.records) if record.environment == environment), None)


@dataclasses.dataclass(frozen=True)
class Before:
    """What a history says of one cell: its state, and the date of that."""

    state: tuple[str, str]
    date: str


Last = Mapping[tuple[str, str], Before]
"""What a history says of cells, by the model's name and the backend."""


def last_of_each(records: Iterable[Record]) -> dict[tuple[str, str], Before]:
    """Returns for each cell of the records, oldest first, what the last one that ran it says."""
    return {key: Before(state, record.date) for record in records for key, state in states(record).items()}


def baseline(stored: History, coverage: Coverage, environment: str) -> Last:
    """Returns what the cells of `coverage` are to be compared with.

    It is the newest record. Cells that it left to `--config=nightly` are in the last record that ran them; those that
    `coverage` leaves so are not compared.
    """
    records = [record for record in stored.records if record.environment == environment]
    last, newest = last_of_each(records), last_of_each(records[-1:])
    ran, left = states_of(coverage, environment), left_to_nightly(coverage)
    return {key: found for key, found in last.items() if key in ran or (key in newest and key not in left)}


def recall(stored: History, coverage: Coverage) -> Coverage:
    """Returns the grid with what the history says of the cells that it leaves to `--config=nightly`."""
    models = {model.label: model for model in coverage.models}
    last = {
        environment: last_of_each(record for record in stored.records if record.environment == environment)
        for environment in coverage.environments()
    }

    def recalled(cell: Cell) -> Cell:
        model = models[cell.model]
        found = last[model.environment].get((model.name, cell.backend)) if cell.status == "nightly" else None
        if found is None:
            return cell
        status, level = found.state
        said = f"by the record of {found.date}: {status.replace('_', ' ')}, level {level}"
        return dataclasses.replace(
            cell, recorded=f"{found.date} {status} {level}", reason="; ".join(filter(None, (cell.reason, said)))
        )

    return dataclasses.replace(coverage, cells=tuple(map(recalled, coverage.cells)))


def left_to_nightly(coverage: Coverage) -> set[tuple[str, str]]:
    """Returns the cells that `coverage` leaves to `--config=nightly`, by the model's name and the backend."""
    names = {model.label: model.name for model in coverage.models}
    return {(names[cell.model], cell.backend) for cell in coverage.cells if cell.status == "nightly"}


def read(path: Path) -> History:
    """Returns the history in the file at `path`; a file that does not exist is an empty one.

    Raises:
      strict.InputError: it exists and cannot be read as text.
    """
    records, problems = [], []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if line.strip():
            try:
                records.append(parse(line, f"line {number}"))
            except strict.InputError as error:
                problems.append(Problem(number, str(error)))
    return History(tuple(sorted(records, key=lambda record: record.date)), tuple(problems))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise strict.InputError(f"{path}: history cannot be read ({error}); mend the file") from None


def parse(line: str, where: str) -> Record:
    """Returns the record that `line` is.

    Raises:
      strict.InputError: it is damaged or of another version.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise strict.InputError(f"{where}: not JSON ({error}); mend the line") from None
    record = strict.build(Record, strict.versioned(value, VERSION, where), where)
    try:
        datetime.date.fromisoformat(record.date)
    except ValueError:
        raise strict.InputError(f"{where}: {record.date!r} is no date such as 2027-01-31; mend the line") from None
    if len(record.folders) != 2 or len(record.classes) != 2:
        raise strict.InputError(f"{where}: folders and classes are two numbers each; mend the line")
    states(record, where)
    return record


def records_of(coverage: Coverage, date: str, revision: str) -> tuple[Record, ...]:
    """Returns the record of each environment of `coverage`."""
    return tuple(_record(coverage, date, revision, environment) for environment in coverage.environments())


def _record(coverage: Coverage, date: str, revision: str, environment: str) -> Record:
    cells: dict[str, dict[str, list[str]]] = {}
    for (name, backend), (status, level) in states_of(coverage, environment).items():
        cells.setdefault(backend, {}).setdefault(f"{status} {level}", []).append(name)
    models = [model for model in coverage.models if model.environment == environment]
    inventory = coverage.inventory
    detail = inventory.detail if inventory and inventory.environment in ("", environment) else ()
    return Record(
        date=date,
        environment=environment,
        revision=revision,
        declared=len(models),
        covered=sum(model.covered for model in models),
        levels={level: sum(model.level == level for model in models) for level in LEVELS},
        folders=(len(detail), sum(bool(folder.models) for folder in detail)),
        classes=(
            sum(len(folder.classes) for folder in detail),
            sum(len(folder.exercised) for folder in detail),
        ),
        cells={
            backend: {state: " ".join(sorted(found)) for state, found in sorted(by_state.items())}
            for backend, by_state in sorted(cells.items())
        },
    )


States = Mapping[tuple[str, str], tuple[str, str]]
"""Status and level of each cell, by the model's name and the backend: of cells that ran, on backends that count."""


def states_of(coverage: Coverage, environment: str) -> States:
    """Returns the states of the models of `environment` in `coverage`.

    Imported verdicts are left out: a history is of what its own builds proved, and an edit of the harness, which makes
    them stale, makes no model worse.
    """
    names = {model.label: model.name for model in coverage.models if model.environment == environment}
    counts = {backend.name for backend in coverage.backends if backend.counts}
    return {
        (names[cell.model], cell.backend): (cell.status, cell.level)
        for cell in coverage.cells
        if cell.model in names and cell.backend in counts and cell.status not in NEVER_RAN and not cell.imported
    }


def states(record: Record, where: str = "") -> States:
    """Returns the states of a stored record.

    Raises:
      strict.InputError: a state is outside the vocabulary, or a cell has two.
    """
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for backend, by_state in record.cells.items():
        for state, names in by_state.items():
            status, _, level = state.partition(" ")
            if status not in STATUSES or level not in LEVELS:
                raise strict.InputError(f"{where}: {state!r} is no status and level; mend the line")
            for name in names.split():
                if (name, backend) in found:
                    raise strict.InputError(f"{where}: {name} on {backend} is there twice; mend the line")
                found[name, backend] = (status, level)
    return found


def append(path: Path, new: Record) -> str:
    """Adds `new` to the file at `path`, in place of an older record of its date, environment and revision.

    Every other line stays as it is, also one that cannot be read.

    Returns:
      What was done: `added` or `replaced`.

    Raises:
      strict.InputError: the file can be neither read nor written.
    """
    key = (new.date, new.environment, new.revision)
    kept, replaced = [], False
    for line in _text(path).splitlines():
        if _key(line) == key:
            replaced = True
        else:
            kept.append(line)
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text("".join(f"{line}\n" for line in [*kept, new.to_line()]), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise strict.InputError(f"{path}: cannot be written ({error.strerror}); choose another file") from None
    return "replaced" if replaced else "added"


def _key(line: str) -> tuple[str, str, str] | None:
    try:
        found = parse(line, "")
    except strict.InputError:
        return None
    return (found.date, found.environment, found.revision)


def rows(records: Sequence[Record]) -> list[tuple[str, dict[str, int]]]:
    """Returns what the chart shows: for each day its last record's models declared, covered, and deeper."""
    by_day = {record.date: record for record in records}
    deeper = LEVELS[LEVELS.index("consistent") :]
    return [
        (
            day,
            {
                "declared": record.declared,
                "covered": record.covered,
                "consistent or deeper": sum(record.levels.get(level, 0) for level in deeper),
            },
        )
        for day, record in sorted(by_day.items())
    ]
