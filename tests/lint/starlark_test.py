"""Our Starlark and BUILD files are formatted and linted by buildifier."""

from __future__ import annotations

import os
from pathlib import Path

from tests.lint import sources

STARLARK = [file for file in sources.listed() if not file.endswith(".py")]

# What is under `rules/private` is private to this workspace, not to its folder: toolchains and tests use it too.
ARGUMENTS = ("-mode=check", "-lint=warn", "-warnings=-bzl-visibility")


def _buildifier() -> str:
    return str(Path(os.environ.get("BUILDIFIER", "buildifier")))


def test_starlark_is_formatted_and_has_no_lint() -> None:
    code, output = sources.run([_buildifier(), *ARGUMENTS], STARLARK)
    assert code == 0, f"run `buildifier` on what it names:\n{output}"


def test_lint_is_found_where_there_is_some(tmp_path: Path) -> None:
    bad = tmp_path / "bad.bzl"
    bad.write_text("def f( x ):\n    return x\n")
    code, output = sources.run([_buildifier(), *ARGUMENTS], [str(bad)])
    assert code != 0
    assert "module-docstring" in output and "reformat" in output
