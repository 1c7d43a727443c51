"""No file escapes the linters: what they are given is what is in the source tree.

Bazel gives a test only what its target names, so this test alone looks at the tree itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint import sources


def test_every_source_is_linted() -> None:
    root = Path("MODULE.bazel").resolve().parent
    missing = sorted({file for file in sources.walk(root) if sources.is_linted(file)} - set(sources.listed()))
    assert not missing, f"add to its package's `sources`, and the package's to //tests/lint:sources: {missing}"


@pytest.mark.parametrize(
    ("path", "linted"), [("a/b.py", True), ("a/BUILD", True), ("x.bzl", True), ("a.md", False), ("BUILDING", False)]
)
def test_only_python_and_starlark_are_linted(path: str, linted: bool) -> None:
    assert sources.is_linted(path) is linted


def test_walk_leaves_out_what_is_not_of_the_tree(tmp_path: Path) -> None:
    for name in ("a/b.py", ".hidden/c.py", "bazel-out/d.py", "__pycache__/e.py", "venv/pyvenv.cfg", "venv/f.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert sources.walk(tmp_path) == ["a/b.py"]
