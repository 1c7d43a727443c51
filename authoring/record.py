"""`bazel run //:record -- llama bert`: keeps what the outputs of these models' cells came to as their reference values.

The cells run first, as they do for `bazel test`: what is kept is a run's own observation. `--all` records every model,
`--missing` those without a reference. Only a cell that went well is recorded.

Exit codes: 0 all were recorded; 1 the command line is wrong; 2 something was not recorded, and the message says why.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from authoring.observations import packages
from harness import reference
from report import files, strict

_OBSERVED = flags.DEFINE_string(
    "observed", None, "Runfiles paths of the observations, separated by spaces.", required=True
)
_WORKSPACE = flags.DEFINE_string("workspace", None, "The checkout to write to; by default the one of `bazel run`.")
_ALL = flags.DEFINE_bool("all", False, "Record every model.")
_MISSING = flags.DEFINE_bool("missing", False, "Record the models that have no reference yet.")


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Returns what a new reference changes, a line each: facts that differ, values beyond the tolerance."""
    lines = []
    for name in sorted((before.keys() | after.keys()) - {"values", "version"}):
        if before.get(name) != after.get(name):
            lines.append(f"{name}: {before.get(name)} -> {after.get(name)}")
    old, new = before.get("values", {}), after.get("values", {})
    for name in sorted(old.keys() | new.keys()):
        if name not in new or name not in old:
            lines.append(f"{name}: {'gone' if name not in new else 'new'}")
        elif fault := reference.difference(old[name], new[name]):
            lines.append(f"{name}: {fault}")
    return lines


def record(observed: Path, target: Path) -> list[str]:
    """Writes the reference file `target` from an observation; returns what changed in it.

    Raises:
      ValueError: the observation says why it must not be recorded.
    """
    text = observed.read_text(encoding="utf-8")
    after = json.loads(text)
    if "refused" in after:
        raise ValueError(after["refused"])
    before = {}
    if target.exists():
        try:
            before = json.loads(target.read_text(encoding="utf-8"))
        except ValueError:
            before = {}  # a damaged file is what this command mends
    found = changes(before, after) if before else ["recorded for the first time"]
    if found:
        files.write(str(target), text)
    return found


def main(argv: Sequence[str]) -> int:
    """Records what was asked for and returns the exit code."""
    workspace = _WORKSPACE.value or os.environ.get("BUILD_WORKSPACE_DIRECTORY")
    if workspace is None:
        raise app.UsageError("no checkout to write to: use `bazel run //:record`, or give --workspace")
    known = packages(_OBSERVED.value.split())
    names = list(argv[1:])
    if _ALL.value or _MISSING.value:
        names = [
            name
            for name, (package, _) in known.items()
            if _ALL.value or not Path(workspace, package, "reference.json").exists()
        ]
    elif not names:
        raise app.UsageError("name the models to record, or give --all or --missing")
    locate = files.locator(None)
    refused = 0
    for name in names:
        if name not in known:
            print(f"record: no cell of {name!r} ran in this build", file=sys.stderr)
            refused += 1
            continue
        package, path = known[name]
        try:
            for line in record(locate(path), Path(workspace, package, "reference.json")):
                print(f"{package}: {line}")
        except (ValueError, OSError, strict.InputError) as error:
            print(f"record: {package}: not recorded: {error}", file=sys.stderr)
            refused += 1
    return 2 if refused else 0


if __name__ == "__main__":
    app.run(main)
