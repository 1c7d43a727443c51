"""`bazel run //:history`: adds this build's grid to the stored history, and says what changed since the last record.

Reference values of one model are another thing: `bazel run //:record` keeps those.

Exit codes: 0 it was added; 1 the command line is wrong; 2 it was not, and the message says why.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from report import files, grid, recording, revision, strict, terminal

FILE = "models/history.jsonl"

_GRID = flags.DEFINE_string("grid", None, "The grid file, as the rule wrote it.", required=True)
_HISTORY = flags.DEFINE_string("history", None, f"Add to this file. Default: {FILE} of the workspace.")
_ROOT = flags.DEFINE_string("root", None, "Folder that the grid's paths are relative to. Without it: runfiles.")


def main(argv: Sequence[str]) -> int:
    """Adds the record that the flags ask for and returns the exit code."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; a file to add to is --history=FILE")
    try:
        workspace = revision.workspace()
        if _HISTORY.value is None and workspace is None:
            raise strict.InputError("no workspace: use `bazel run //:history`, or give --history=FILE")
        path = files.for_user(_HISTORY.value) if _HISTORY.value else Path(workspace or "", FILE)
        locate = files.locator(_ROOT.value)
        contents = grid.load(locate(_GRID.value), locate)
        said = recording.append(contents, path, datetime.date.today().isoformat(), revision.current(workspace))
    except strict.InputError as error:
        print(f"history: {terminal.safe(str(error))}", file=sys.stderr)
        return 2
    for line in said.splitlines():
        print(terminal.safe(line))
    return 0


if __name__ == "__main__":
    app.run(main)
