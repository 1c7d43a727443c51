"""`bazel run //:diff -- A B`: what got better, worse, new and gone, as Markdown for a pull request.

A and B are files of `bazel run //:coverage -- --json=FILE`, or histories: `models/history.jsonl` is its newest record,
`models/history.jsonl@2026-11-23` the newest of that date or before it, `...@615d5e3` that of a revision.

Exit codes: 0 the difference was shown, whatever it is; 1 the command line is wrong; 2 an input cannot be used.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from absl import app, flags

from report import compare, coverage_format, files, history, strict, terminal

_MARKDOWN = flags.DEFINE_string("markdown", None, "Write the difference to this file too.")


def load(name: str) -> tuple[history.States, str, tuple[str, ...]]:
    """Returns the states that `name` means, what it is in a few words, and the environments it is of.

    Raises:
      strict.InputError: there is no such file or record, or it is damaged or newer.
    """
    path, _, which = name.partition(".jsonl@")
    if which or name.endswith(".jsonl"):
        record = _record(files_history(path + ".jsonl" if which else name), name, which)
        return history.states(record), f"{record.date} {record.revision}".strip(), (record.environment,)
    coverage = coverage_format.read(files.for_user(name))
    environments = tuple(sorted({model.environment for model in coverage.models}))
    return history.states_of(coverage), name, environments


def files_history(name: str) -> history.History:
    """Returns the history in the user's file `name`, which must be there."""
    path = files.for_user(name)
    if not path.is_file():
        raise strict.InputError(f"{path}: no such history; `bazel run //:history` makes one")
    return history.read(path)


def _record(stored: history.History, name: str, which: str) -> history.Record:
    for problem in stored.problems:
        print(f"diff: not read: {terminal.safe(problem.reason)}", file=sys.stderr)
    records = stored.records
    if re.fullmatch(r"\d{4}-\d\d-\d\d", which):
        records = tuple(record for record in records if record.date <= which)
    elif which:
        records = tuple(record for record in records if record.revision.startswith(which))
    if not records:
        raise strict.InputError(f"{name}: no such record; it has {_choices(stored) or 'none'}")
    return records[-1]


def _choices(stored: history.History) -> str:
    return ", ".join(f"{record.date} {record.revision}".strip() for record in stored.records[-5:])


def difference(before: str, after: str) -> str:
    """Returns the difference between two states, each named as on the command line, as Markdown.

    Raises:
      strict.InputError: one cannot be used, or they are of different environments.
    """
    first, first_words, first_environments = load(before)
    second, second_words, second_environments = load(after)
    if first_environments != second_environments:
        raise strict.InputError(
            f"{before} is of {', '.join(first_environments)}, {after} of {', '.join(second_environments)}; "
            "compare two states of one environment"
        )
    return compare.markdown(compare.compare(first, second), first_words, second_words)


def main(argv: Sequence[str]) -> int:
    """Shows the difference and returns the exit code."""
    if len(argv) != 3:
        raise app.UsageError("two states are compared: diff A.json B.json")
    try:
        text = difference(argv[1], argv[2])
        if _MARKDOWN.value:
            files.write(_MARKDOWN.value, text)
    except strict.InputError as error:
        print(f"diff: {terminal.safe(str(error))}", file=sys.stderr)
        return 2
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    app.run(main)
