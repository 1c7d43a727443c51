"""`bazel run //:coverage`: the state of the grid, from the verdicts of this very build, as a table and as files.

Exit codes: 0 the report was made, whatever it says; 1 the command line is wrong; 2 no report can be made from the
input, and the message says why. That a grid is good enough is for the gate to judge.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence

from absl import app, flags

from report import assemble, coverage_view, files, grid, strict, terminal

_GRID = flags.DEFINE_string("grid", None, "The grid file, as the rule wrote it.", required=True)
_ROOT = flags.DEFINE_string(
    "root", None, "Folder that the grid's paths are relative to. Without it they are runfiles paths."
)
_JSON = flags.DEFINE_string("json", None, "Write coverage.json to this file.")
_SVG = flags.DEFINE_string("svg", None, "Write a picture of the table, 80 columns wide, to this SVG file.")
_BRIEF = flags.DEFINE_bool("brief", False, "Leave out the list of models.")
_QUIET = flags.DEFINE_bool("quiet", False, "Write files only, print no table.")


def main(argv: Sequence[str]) -> int:
    """Makes the report that the flags ask for and returns the exit code."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; a file to write is --json=FILE")
    try:
        locate = files.locator(_ROOT.value)
        coverage = assemble.assemble(grid.load(locate(_GRID.value), locate))
        view = coverage_view.view(coverage, datetime.date.today(), _BRIEF.value)
        if _JSON.value:
            files.write(_JSON.value, coverage.to_json())
        if _SVG.value:
            files.write(_SVG.value, terminal.picture(view, "bazel run //:coverage"))
    except strict.InputError as error:
        print(f"coverage: {terminal.safe(str(error))}", file=sys.stderr)
        return 2
    if not _QUIET.value:
        terminal.show(view)
    return 0


if __name__ == "__main__":
    app.run(main)
