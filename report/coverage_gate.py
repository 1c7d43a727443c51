"""`bazel test //:coverage_gate`: whether the grid is good enough; `report.gate` says what is.

Exit codes: 0 good enough; 1 it is not, and each offender is named; 2 the input cannot be judged, and the message says
why.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence

from absl import app, flags

from report import assemble, coverage_view, files, gate, grid, history, strict, terminal

_GRID = flags.DEFINE_string("grid", None, "The grid file, as the rule wrote it.", required=True)
_QUOTAS = flags.DEFINE_string("quotas", None, "The table of quotas.", required=True)
_HISTORY = flags.DEFINE_string("history", None, "The stored history; its last record is the baseline.", required=True)
_DROPS = flags.DEFINE_string("drops", None, "The table of drops with a reason.", required=True)
_ROOT = flags.DEFINE_string("root", None, "Folder that the paths are relative to. Without it they are runfiles paths.")


def main(argv: Sequence[str]) -> int:
    """Prints each offence and returns the exit code."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    try:
        locate = files.locator(_ROOT.value)
        coverage = assemble.assemble(grid.load(locate(_GRID.value), locate))
        offences = gate.judge(
            coverage,
            gate.read_quotas(locate(_QUOTAS.value)),
            history.read(locate(_HISTORY.value)),
            grid.read_texts(locate(_DROPS.value), "table of drops"),
            datetime.date.today().isoformat(),
        )
    except strict.InputError as error:
        print(f"coverage_gate: {terminal.safe(str(error))}", file=sys.stderr)
        return 2
    for offence in offences:
        print(f"{terminal.safe(offence.what)}\n  look: {terminal.safe(offence.look)}")
    print("\n".join(coverage_view.headline(coverage)))
    print(f"coverage_gate: {f'{len(offences)} offences' if offences else 'open'}")
    return 1 if offences else 0


if __name__ == "__main__":
    app.run(main)
