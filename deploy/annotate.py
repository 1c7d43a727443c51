"""Shows a CI system which cells ask for a person: `bazel run //deploy:annotate -- coverage.json`.

GitHub reads workflow commands from the output, one for each cell; GitLab reads the code quality report that
`--codequality=FILE` writes. What a cell says is text to both: it cannot end its line, nor begin another command.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

from report import coverage_format, strict

# GitHub shows no more than ten of a step; the summary and the page have all.
_SHOWN = 10


def _cells(path: Path) -> list[coverage_format.Cell]:
    return [cell for cell in coverage_format.read(path).cells if cell.status in coverage_format.ATTENTION]


def _file(cell: coverage_format.Cell) -> str:
    return cell.label.removeprefix("//").partition(":")[0] + "/BUILD"


def commands(cells: list[coverage_format.Cell]) -> list[str]:
    """Returns a workflow command of GitHub for each of the first cells."""
    lines = []
    for cell in cells[:_SHOWN]:
        title = f"{cell.label}: {cell.status} {cell.failed_check}".strip()
        lines.append(f"::error file={_property(_file(cell))},title={_property(title)}::{_escaped(cell.reason)}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def code_quality(cells: list[coverage_format.Cell]) -> str:
    """Returns the cells as GitLab's code quality report."""
    return json.dumps(
        [
            {
                "check_name": cell.failed_check or cell.status,
                "description": f"{cell.label}: {cell.status}: {cell.reason}",
                "fingerprint": hashlib.sha256(f"{cell.label} {cell.failed_check}".encode()).hexdigest(),
                "location": {"path": _file(cell), "lines": {"begin": 1}},
                "severity": "major",
            }
            for cell in cells
        ],
        indent=1,
    )


def main() -> int:
    """Prints or writes what the CI system shows; returns 0, or 2 if the report cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("coverage", help="coverage.json of `bazel run //:coverage -- --out=FOLDER`")
    parser.add_argument("--codequality", help="write GitLab's report there instead")
    options = parser.parse_args()
    here = Path(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    try:
        cells = _cells(here / options.coverage)
    except strict.InputError as error:
        print(f"annotate: {error}", file=sys.stderr)
        return 2
    if options.codequality:
        (here / options.codequality).write_text(code_quality(cells) + "\n", encoding="utf-8")
    else:
        print("\n".join(commands(cells)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
