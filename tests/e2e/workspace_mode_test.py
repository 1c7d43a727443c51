"""The same workspace without bzlmod: WORKSPACE makes the same repositories, and a cell gets the same verdict."""

from __future__ import annotations

import os
from pathlib import Path

from tests.e2e.grid import Workspace


def test_a_cell_is_proven_without_bzlmod() -> None:
    root = Path(os.environ["TEST_TMPDIR"]) / "workspace_mode"
    bzlmod = Workspace(root / "bzlmod", ("encoder/bert",))
    plain = Workspace(root / "plain", ("encoder/bert",), bzlmod=False)
    target = "//models/encoder/bert:cpu"
    try:
        for workspace in (bzlmod, plain):
            run = workspace.bazel("test", target)
            assert run.status == 0, run.output
            assert run.proved == {target}
        assert plain.verdict("encoder/bert:cpu") == bzlmod.verdict("encoder/bert:cpu")
    finally:
        bzlmod.shutdown()
        plain.shutdown()
