"""A cell is explained from Bazel's action graph and the times of its files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from report import explain
from report.strict import InputError
from report.workspace import Workspace

CELL = "//models/decoder/llama:cpu"
INPUTS = (
    "harness/worker.py",
    "harness/checks/common.py",
    "bazel-out/k8/bin/models/decoder/llama/cpu.spec.json",
    "external/_main~environments~transformers_5_23/transformers/models/llama/modeling_llama.py",
    "external/_main~environments~transformers_5_23_site/site",
)
OUTPUTS = tuple(f"bazel-out/k8/bin/models/decoder/llama/cpu.{kind}" for kind in ("verdict.json", "log.txt"))


class Checkout(Workspace):
    """A checkout whose action graph is made up."""

    def __init__(self, root: Path, graph: dict[str, Any]) -> None:
        super().__init__(root, ["bazel"])
        self._graph = graph

    def actions(self, expression: str) -> str:
        """Returns the made-up graph as aquery prints it."""
        return json.dumps(self._graph)


def _graph() -> dict[str, Any]:
    fragments: dict[str, int] = {}
    entries = []
    for path in (*INPUTS, *OUTPUTS):
        parts = path.split("/")
        for depth in range(len(parts)):
            name, above = "/".join(parts[: depth + 1]), "/".join(parts[:depth])
            if name not in fragments:
                fragments[name] = len(fragments) + 1
                parent = {"parentId": fragments[above]} if above else {}
                entries.append({"id": fragments[name], "label": parts[depth], **parent})
    ids = {path: number for number, path in enumerate((*INPUTS, *OUTPUTS), 1)}
    sets = [
        {"id": 1, "directArtifactIds": [ids[INPUTS[0]]], "transitiveDepSetIds": [2]},
        {"id": 2, "directArtifactIds": [ids[path] for path in INPUTS[1:]]},
    ]
    return {
        "actions": [{"inputDepSetIds": [1], "outputIds": [ids[path] for path in OUTPUTS]}],
        "artifacts": [{"id": number, "pathFragmentId": fragments[path]} for path, number in ids.items()],
        "depSetOfFiles": sets,
        "pathFragments": entries,
    }


def _write(root: Path, path: str, moment: int) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).touch()
    os.utime(root / path, (moment, moment))


def test_inputs_are_grouped_and_the_newest_named(tmp_path: Path) -> None:
    _write(tmp_path, "harness/worker.py", 100)
    _write(tmp_path, OUTPUTS[0], 200)
    _write(tmp_path, "harness/checks/common.py", 300)
    told = "\n".join(explain.lines(Checkout(tmp_path, _graph()), CELL))
    assert "  transformers_5_23, folder llama: 1 file\n" in told and "  harness/checks: 1 file\n" in told
    assert told.index("since then: harness/checks/common.py") < told.index("before it: harness/worker.py")
    assert f"bazel run {CELL} -- -k forward --pdb" in told


def test_a_cell_that_never_ran_says_so(tmp_path: Path) -> None:
    assert "It has not run in this checkout." in list(explain.lines(Checkout(tmp_path, _graph()), CELL))


def test_a_cell_without_hardware_has_nothing_to_explain(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run on this host"):
        list(explain.lines(Checkout(tmp_path, {}), CELL))
