"""The bundle's specs are those of the cells, and it has every cell that counts."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

ROOT = Path(os.environ["TEST_SRCDIR"]) / os.environ["TEST_WORKSPACE"]
MANIFEST = json.loads((ROOT / "bundle.manifest.json").read_text(encoding="utf-8"))
SPECS = dict(json.loads(line) for line in (ROOT / "models/specs.jsonl").read_text(encoding="utf-8").splitlines())
TABLE = json.loads((ROOT / "tests/rules/backends.json").read_text(encoding="utf-8"))


def test_a_spec_is_that_of_the_cells_own_action() -> None:
    text = (ROOT / "models/decoder/llama/cpu.spec.json").read_text(encoding="utf-8")
    assert SPECS["//models/decoder/llama:cpu"] == text
    assert MANIFEST["cells"]["//models/decoder/llama:cpu"]["spec"] == hashlib.sha256(text.encode()).hexdigest()


def test_what_a_backend_cannot_do_is_in_the_bundles_spec_alone() -> None:
    cell = json.loads((ROOT / "models/decoder/llama/cpu_bfloat16.spec.json").read_text(encoding="utf-8"))
    bundled = json.loads(SPECS["//models/decoder/llama:cpu_bfloat16"])
    assert cell["backend"]["known_failures"] == []
    assert "bfloat16" in {entry["reason"].partition(":")[0] for entry in bundled["backend"]["known_failures"]}
    cell["backend"]["known_failures"] = bundled["backend"]["known_failures"]
    assert cell == bundled


def test_every_backend_but_mock_is_there_whether_or_not_it_can_run_here() -> None:
    assert set(MANIFEST["backends"]) == set(TABLE) - {"mock"}
    for backend in MANIFEST["backends"]:
        assert f"//models/decoder/llama:{backend}" in MANIFEST["cells"]
    assert SPECS.keys() == MANIFEST["cells"].keys()


def test_each_environment_says_its_transformers() -> None:
    environments = {cell["environment"] for cell in MANIFEST["cells"].values()}
    assert all(MANIFEST["transformers"][environment] for environment in environments)
