"""Entries of `known_failures` for cells that failed: what is known is filled in, the reason is left to a person.

An entry with an empty reason is refused by the rules, so that none can be pasted and forgotten.
"""

from __future__ import annotations

import datetime
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from report.coverage_format import Cell, Coverage

DAYS = 90
"""How long a proposed entry lasts before somebody must look at it again."""

_SAME = 3
"""So many models that fail alike on a backend have one cause, which is stated once, in the table."""

_MOST = 120

_PLACE = re.compile(r"(?:stage [^:]*: |\w+: )*Exception from \S+:\s*")
"""A line that says where in a runtime's sources an error was raised, and nothing of what it is."""


def proposals(coverage: Coverage, today: datetime.date) -> str:
    """Returns the entries as Starlark, with where each belongs; empty where no cell failed.

    A cell that is flaky gets none: two runs that disagree are a fault to be found, not one to be expected.
    """
    expires = (today + datetime.timedelta(days=DAYS)).isoformat()
    failed = [cell for cell in coverage.cells if cell.status == "failed"]
    alike: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    for cell in failed:
        if not _of_checks(cell):
            alike[cell.backend, cell.failed_check or "cell", _pattern(_message(cell, cell.failed_check))].append(cell)
    parts = []
    shared: set[str] = set()
    for (backend, check, message), cells in alike.items():
        if len(cells) >= _SAME:
            shared.update(cell.label for cell in cells)
            parts.append(_of_backend(backend, check, message, cells, expires))
    parts += [_of_model(cell, expires) for cell in failed if cell.label not in shared]
    return "\n".join(parts)


def _of_checks(cell: Cell) -> bool:
    """Returns whether the model's own checks failed: its entries are then by check, and one for each of them."""
    return bool(cell.failed_check) and not cell.failed_check.startswith("runtime::")


def _message(cell: Cell, check: str) -> str:
    """Returns why a check failed, in a line; without a check why the process died, as the harness will compare it."""
    found = next((found.message for found in cell.checks if found.id == check), "")
    if not found:
        found = re.split("; (?:imported, ran on|not the failure that)", cell.reason)[0]
    says_more = (line.strip() for line in found.splitlines() if line.strip() and not _PLACE.fullmatch(line.strip()))
    return next(says_more, found.partition("\n")[0]).removeprefix("outside any check: ")


def _pattern(message: str) -> str:
    """Returns what a message holds apart from its numbers, which another size or release would change."""
    return re.sub(r"\d+([.,]\d+)*(e[-+]?\d+)?", "*", message)[:_MOST].strip()


def _of_model(cell: Cell, expires: str) -> str:
    if _of_checks(cell):
        failures = [check.id for check in cell.checks if check.outcome == "failed"]
        entries = {check: {"message": _pattern(_message(cell, check))} for check in failures}
    else:
        message = _pattern(_message(cell, cell.failed_check))
        entries = {cell.backend: {"check": cell.failed_check or "cell", "message": message}}
    lines = [f"# {cell.label}: into {cell.label.removeprefix('//').partition(':')[0]}/BUILD", "known_failures = {"]
    for match, fields in entries.items():
        lines += [f"    {json.dumps(match)}: known_failure(", *_fields(fields, expires, "        "), "    ),"]
    return "\n".join([*lines, "},", ""])


def _of_backend(backend: str, check: str, message: str, cells: Sequence[Cell], expires: str) -> str:
    labels = ", ".join(cell.label for cell in cells)
    fields = {"operator": "", "check": check, "message": message}
    lines = [
        f"# {len(cells)} models fail alike: {labels}",
        f"# one entry for all, into known_failures of backend {backend!r} in toolchains/backends.bzl",
        "cannot(",
        *_fields(fields, expires, "    "),
        "),",
        "",
    ]
    return "\n".join(lines)


def _fields(fields: Mapping[str, str], expires: str, indent: str) -> Iterator[str]:
    for name, value in {**fields, "expires": expires, "issue": ""}.items():
        yield f"{indent}{name} = {json.dumps(value, ensure_ascii=False)},"
    yield f'{indent}reason = "",  # the cause, in words that a maintainer would accept; empty, it is refused'
