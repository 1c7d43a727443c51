"""States of the grid by the names that people give them: a report, or a record of a history; and their difference.

`site/coverage.json` is a file of `bazel run //:coverage`; `models/history.jsonl` the newest record of a history,
`models/history.jsonl@2026-11-23` the newest of that date or before it, `...@615d5e3` that of a revision.
"""

from __future__ import annotations

import re
import sys

from report import compare, coverage_format, files, history, strict, terminal


def load(name: str) -> tuple[dict[str, history.States], str, set[tuple[str, str]]]:
    """Returns the states that `name` means by environment, what it is in a few words, and what it leaves to nightly.

    Raises:
      strict.InputError: there is no such file or record, or it is damaged or newer.
    """
    path, _, which = name.partition(".jsonl@")
    if which or name.endswith(".jsonl"):
        records = _records(files_history(path + ".jsonl" if which else name), name, which)
        newest = records[-1]
        by_environment = {record.environment: history.states(record) for record in records}
        return by_environment, f"{newest.date} {newest.revision}".strip(), set()
    coverage = coverage_format.read(files.for_user(name))
    by_environment = {item: history.states_of(coverage, item) for item in coverage.environments()}
    return by_environment, name, history.left_to_nightly(coverage)


def files_history(name: str) -> history.History:
    """Returns the history in the user's file `name`, which must be there."""
    path = files.for_user(name)
    if not path.is_file():
        raise strict.InputError(f"{path}: no such history; `bazel run //:toolkit -- record` makes one")
    return history.read(path)


def _records(stored: history.History, name: str, which: str) -> tuple[history.Record, ...]:
    """Returns the records that are meant, oldest first: of those of one environment the last is what counts."""
    for problem in stored.problems:
        print(f"diff: not read: {terminal.safe(problem.reason)}", file=sys.stderr)
    records = stored.records
    if re.fullmatch(r"\d{4}-\d\d-\d\d", which):
        records = tuple(record for record in records if record.date <= which)
    elif which:
        records = tuple(record for record in records if record.revision.startswith(which))
    if not records:
        raise strict.InputError(f"{name}: no such record; it has {_choices(stored) or 'none'}")
    return records


def _choices(stored: history.History) -> str:
    return ", ".join(f"{record.date} {record.revision}".strip() for record in stored.records[-5:])


def difference(before: str, after: str) -> str:
    """Returns the difference between two states, each named as on the command line, as Markdown.

    Raises:
      strict.InputError: one cannot be used, or they have no environment in common.
    """
    first, first_words, first_left = load(before)
    second, second_words, second_left = load(after)
    if not first.keys() & second.keys():
        raise strict.InputError(
            f"{before} is of {', '.join(first)}, {after} of {', '.join(second)}; compare two states of one environment"
        )
    left = first_left | second_left  # what one of them did not set out to run is neither gone nor new
    found = compare.compare(
        {cell: state for states in first.values() for cell, state in states.items() if cell not in left},
        {cell: state for states in second.values() for cell, state in states.items() if cell not in left},
    )
    return compare.markdown(found, first_words, second_words)
