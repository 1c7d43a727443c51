"""`bazel run //:diff -- A B`: what got better, worse, new and gone, as Markdown for a pull request.

A and B are files of `bazel run //:coverage -- --json=FILE`, or histories: `models/history.jsonl` is its newest record,
`models/history.jsonl@2026-11-23` the newest of that date or before it, `...@615d5e3` that of a revision.

Exit codes: 0 the difference was shown, whatever it is; 1 the command line is wrong; 2 an input cannot be used.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from absl import app, flags

from report import files, states, strict, terminal

_MARKDOWN = flags.DEFINE_string("markdown", None, "Write the difference to this file too.")


def main(argv: Sequence[str]) -> int:
    """Shows the difference and returns the exit code."""
    if len(argv) != 3:
        raise app.UsageError("two states are compared: diff A.json B.json")
    try:
        text = states.difference(argv[1], argv[2])
        if _MARKDOWN.value:
            files.write(_MARKDOWN.value, text)
    except strict.InputError as error:
        print(f"diff: {terminal.safe(str(error))}", file=sys.stderr)
        return 2
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    app.run(main)
