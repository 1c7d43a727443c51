"""Our Python is formatted, linted and typed."""

from __future__ import annotations

from pathlib import Path

from tests.lint import sources

PYTHON = [file for file in sources.listed() if file.endswith(".py")]


def test_python_is_formatted() -> None:
    code, output = sources.run_module("ruff", ["format", "--check", "--diff", "--no-cache"], PYTHON)
    assert code == 0, f"run `ruff format`:\n{output}"


def test_python_has_no_lint() -> None:
    code, output = sources.run_module("ruff", ["check", "--no-cache"], PYTHON)
    assert code == 0, output


def test_python_is_typed(tmp_path: Path) -> None:
    arguments = ["--config-file=pyproject.toml", f"--cache-dir={tmp_path}", "--no-color-output"]
    code, output = sources.run_module("mypy", arguments, PYTHON)
    assert code == 0, output


def test_lint_is_found_where_there_is_some(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import os\ndef f(x): return x\n")
    for module, arguments in (
        ("ruff", ["format", "--check", "--no-cache", "--config=pyproject.toml"]),
        ("ruff", ["check", "--no-cache", "--config=pyproject.toml"]),
        ("mypy", ["--config-file=pyproject.toml", f"--cache-dir={tmp_path}/cache"]),
    ):
        code, output = sources.run_module(module, arguments, [str(bad)])
        assert code == 1, f"{module}: {output}"
