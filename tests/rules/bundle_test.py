"""The bundle's specs are those of the cells, byte for byte, and it has every cell that counts."""

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
    for backend in ("cpu", "cpu_bfloat16"):
        text = (ROOT / f"models/decoder/llama/{backend}.spec.json").read_text(encoding="utf-8")
        label = f"//models/decoder/llama:{backend}"
        assert SPECS[label] == text
        assert MANIFEST["cells"][label]["spec"] == hashlib.sha256(text.encode()).hexdigest()


def test_every_backend_but_mock_is_there_whether_or_not_it_can_run_here() -> None:
    assert set(MANIFEST["backends"]) == set(TABLE) - {"mock"}
    for backend in MANIFEST["backends"]:
        assert f"//models/decoder/llama:{backend}" in MANIFEST["cells"]
    assert SPECS.keys() == MANIFEST["cells"].keys()


def test_each_environment_says_its_transformers() -> None:
    environments = {cell["environment"] for cell in MANIFEST["cells"].values()}
    assert all(MANIFEST["transformers"][environment] for environment in environments)
