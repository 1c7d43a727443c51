"""What a cell's verdict depends on and when it was made: the answer of `explain`, from Bazel's own action graph."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from report.strict import InputError
from report.workspace import Workspace

_NEWEST = 5


def declaration(root: Path, location: str) -> str:
    """Returns the text of the BUILD file at `location`, which is `models/decoder/llama/BUILD:3:9`.

    Raises:
      InputError: it cannot be read.
    """
    path = Path(root, location.partition(":")[0])
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def lines(workspace: Workspace, cell: str) -> Iterator[str]:
    """Yields what to tell about a cell: its inputs, its last run, and how to run it by hand.

    Raises:
      InputError: Bazel cannot analyse the cell, or this host cannot run it.
    """
    inputs, outputs = _files(json.loads(workspace.actions(f'mnemonic("ModelVerdict", {cell})')))
    if not inputs:
        raise InputError(f"{cell} has no run on this host; `bazel run //:coverage` says why")
    yield "Its verdict depends on:"
    for group, count in sorted(Counter(map(_group, inputs)).items()):
        yield f"  {group}: {count} file{'s' if count != 1 else ''}"
    yield ""
    yield from _last_run(workspace.root, _ending(outputs, ".verdict.json"), inputs)
    yield ""
    yield f"The log: {_ending(outputs, '.log.txt')}"
    yield f"By hand, with pytest's flags and in the foreground: bazel run {cell} -- -k forward --pdb"


def _ending(paths: Sequence[str], suffix: str) -> str:
    return next(path for path in paths if path.endswith(suffix))


def _last_run(root: Path, output: str, inputs: Sequence[str]) -> Iterator[str]:
    """Yields when the verdict was made, and which of its inputs in the checkout are the newest, before and since."""
    verdict = Path(root, output)
    if not verdict.exists():
        yield "It has not run in this checkout."
        return
    made = verdict.stat().st_mtime
    sources = [
        path for path in inputs if not path.startswith(("bazel-out/", "external/")) and Path(root, path).is_file()
    ]
    newest = sorted(((Path(root, path).stat().st_mtime, path) for path in sources), reverse=True)
    yield f"It was made or fetched at {_at(made)}. Of its inputs in the checkout the newest are"
    for moment, path in [item for item in newest if item[0] > made]:
        yield f"  since then: {path}, {_at(moment)}: the cell reruns if the content is another"
    for moment, path in [item for item in newest if item[0] <= made][:_NEWEST]:
        yield f"  before it: {path}, {_at(moment)}"


def _at(moment: float) -> str:
    return datetime.datetime.fromtimestamp(moment).isoformat(" ", "seconds")


def _files(actions: Any) -> tuple[list[str], list[str]]:
    """Returns the inputs and the outputs of the first action in aquery's JSON, relative to the exec root."""
    if not actions.get("actions"):
        return [], []
    fragments = {item["id"]: item for item in actions["pathFragments"]}
    artifacts = {item["id"]: item["pathFragmentId"] for item in actions["artifacts"]}
    sets = {item["id"]: item for item in actions["depSetOfFiles"]}

    def path(fragment: int) -> str:
        item = fragments[fragment]
        return f"{path(item['parentId'])}/{item['label']}" if item.get("parentId") else str(item["label"])

    action = actions["actions"][0]
    pending, seen = list(action["inputDepSetIds"]), set()
    found: set[str] = set()
    while pending:
        if (number := pending.pop()) not in seen:
            seen.add(number)
            pending += sets[number].get("transitiveDepSetIds", [])
            found.update(path(artifacts[item]) for item in sets[number].get("directArtifactIds", []))
    return sorted(found), [path(artifacts[item]) for item in action["outputIds"]]


def _group(path: str) -> str:
    """Returns what a file of the verdict's inputs is, for people."""
    parts = path.split("/")
    if parts[0] == "external":
        repository = parts[1].rpartition("~")[2]
        below = parts[parts.index("models") + 1 :] if "models" in parts else []
        return f"{repository}, folder {below[0]}" if len(below) > 1 else repository
    if parts[0] == "bazel-out":
        return "what the rules wrote: its spec"
    return "/".join(parts[:-1])
