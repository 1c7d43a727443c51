"""`bazel run //:coverage`: the state of the grid, from the verdicts of this very build, as a table and as files.

Every form is rendered from the same data, that of coverage.json; `--from=FILE` renders a stored one.

Exit codes: 0 the report was made, whatever it says; 1 the command line is wrong; 2 no report can be made from the
input, and the message says why. That a grid is good enough is for the gate to judge.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from report import (
    assemble,
    coverage_format,
    coverage_view,
    files,
    grid,
    history,
    links,
    markdown,
    page,
    prediction,
    recording,
    revision,
    strict,
    terminal,
)
from report.coverage_format import Coverage

MARKDOWN = "HF_COVERAGE_REPORT.md"
"""The report's name, by which people know it."""

_GRID = flags.DEFINE_string("grid", None, "The grid file, as the rule wrote it.")
_FROM = flags.DEFINE_string("from", None, "Report on this coverage.json, not on the build.")
_HISTORY = flags.DEFINE_string("history", None, "The stored history, for the trend.")
_ROOT = flags.DEFINE_string(
    "root", None, "Folder that the grid's paths are relative to. Without it they are runfiles paths."
)
_OUT = flags.DEFINE_string("out", None, f"Write coverage.json, {MARKDOWN} and coverage.html to this folder.")
_JSON = flags.DEFINE_string("json", None, "Write coverage.json to this file.")
_MARKDOWN = flags.DEFINE_string("markdown", None, "Write the report as Markdown to this file.")
_HTML = flags.DEFINE_string("html", None, "Write the page with the whole grid to this file.")
_SVG = flags.DEFINE_string("svg", None, "Write a picture of the table, 80 columns wide, to this SVG file.")
_RECORD = flags.DEFINE_bool("record", False, f"Add the build to the history of the checkout, {recording.FILE}.")
_BRIEF = flags.DEFINE_bool("brief", False, "Counts instead of lists: of expected failures, and of models.")
_QUIET = flags.DEFINE_bool("quiet", False, "Write files only, print no table.")


def main(argv: Sequence[str]) -> int:
    """Makes the report that the flags ask for and returns the exit code."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; a file to write is --json=FILE")
    if not _GRID.value and not _FROM.value:
        raise app.UsageError("nothing to report on; use `bazel run //:coverage`, or give --from=coverage.json")
    try:
        coverage, stored = _read()
        coverage = history.recall(stored, coverage)
        today = datetime.date.today()
        view = coverage_view.view(coverage, today, _BRIEF.value)
        _write(coverage, stored, today.isoformat())
        if _SVG.value:
            files.write(_SVG.value, terminal.picture(view, "bazel run //:coverage"))
        recorded = _record(coverage, today) if _RECORD.value else ""
    except strict.InputError as error:
        print(f"coverage: {terminal.safe(str(error))}", file=sys.stderr)
        return 2
    if not _QUIET.value:
        terminal.show(view)
    for line in recorded.splitlines():
        print(terminal.safe(line))
    for problem in stored.problems:
        print(f"coverage: history, not shown: {terminal.safe(problem.reason)}", file=sys.stderr)
    return 0


def _read() -> tuple[Coverage, history.History]:
    locate = files.locator(_ROOT.value)
    if _FROM.value:
        coverage = coverage_format.read(files.for_user(_FROM.value))
    else:
        coverage = assemble.assemble(grid.load(locate(_GRID.value or ""), locate))
    return coverage, history.read(locate(_HISTORY.value)) if _HISTORY.value else history.History()


def _record(coverage: Coverage, today: datetime.date) -> str:
    """Adds the build to the history and returns what to tell the user."""
    workspace = revision.workspace()
    if workspace is None:
        raise strict.InputError("no checkout to write the record to; use `bazel run //:coverage -- --record`")
    if _FROM.value:
        raise strict.InputError(
            "a stored report says neither when nor of which commit it is; record a build: no --from"
        )
    said = recording.append(coverage, workspace / recording.FILE, today.isoformat(), revision.current(workspace))
    changed = prediction.keep(workspace, [cell.label for cell in coverage.cells])
    return f"{said}\n{workspace / prediction.FILE}: the seconds of {changed} cells are new or others"


def _write(coverage: Coverage, stored: history.History, today: str) -> None:
    """Writes the files that the flags ask for."""
    workspace = revision.workspace()
    commit = "" if _FROM.value else revision.current(workspace)

    def root(path: str) -> str:
        return links.root_of(files.for_user(path).absolute(), workspace) if workspace else ""

    def wanted(flag: str | None, name: str) -> list[str]:
        return [*([flag] if flag else []), *([str(Path(_OUT.value, name))] if _OUT.value else [])]

    for path in wanted(_JSON.value, "coverage.json"):
        files.write(path, coverage.to_json())
    for path in wanted(_MARKDOWN.value, MARKDOWN):
        files.write(path, markdown.render(coverage, today, commit, root(path)))
    for path in wanted(_HTML.value, "coverage.html"):
        files.write(path, page.render(coverage, stored, today, commit, root(path)))


if __name__ == "__main__":
    app.run(main)
