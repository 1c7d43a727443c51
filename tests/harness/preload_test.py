"""What a worker has loaded when it begins to fork."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.harness import workers

CODE = """
import os, sys
sys.path[:0] = os.environ["FAKE_WORKER_PATH"].split(os.pathsep)
import json
from harness import processes
from harness.preload import preload
preload(mock=sys.argv[1] == "mock")
print(json.dumps({"threads": processes.thread_count(), "modules": sorted(sys.modules)}))
"""


def _loaded(kind: str, scratch: Path) -> Any:
    result = subprocess.run(
        [sys.executable, "-c", CODE, kind],
        env={**workers.environment(scratch), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout.splitlines()[-1])


def test_a_mock_worker_loads_neither_torch_nor_transformers(tmp_path: Path) -> None:
    loaded = _loaded("mock", tmp_path / "tmp")
    assert not {"torch", "transformers", "numpy"} & set(loaded["modules"])
    assert "harness.cell" in loaded["modules"]


def test_a_worker_loads_what_cells_share_and_stays_at_one_thread(tmp_path: Path) -> None:
    loaded = _loaded("real", tmp_path / "tmp")
    modules = set(loaded["modules"])
    assert loaded["threads"] == 1
    assert {"torch", "transformers.modeling_utils", "harness.cell", "harness.checking", "harness.build"} <= modules
    folders = {name.split(".")[2] for name in modules if name.startswith("transformers.models.")}
    assert folders <= {"auto"}, "a model's folder is one cell's, not every cell's"
    assert not [name for name in modules if name.startswith("harness.checks.")]
