"""What `.ci/publish` asks Bazel for, and that it collects every test case."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

BAZELW = '#!/bin/sh\necho "$@"\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Returns a checkout with the script, and a Bazel that says what it is asked for."""
    root = tmp_path / "checkout"
    (root / ".ci").mkdir(parents=True)
    shutil.copy(Path(".ci/publish").resolve(), root / ".ci")
    (root / "bazelw").write_text(BAZELW, encoding="utf-8")
    (root / "bazelw").chmod(0o755)
    return root


def _publish(checkout: Path, *arguments: str, **environment: str) -> str:
    command = [str(checkout / ".ci/publish"), *arguments]
    done = subprocess.run(
        command, env={"PATH": os.environ["PATH"], **environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def test_every_test_case_is_collected_from_behind_the_link(checkout: Path, tmp_path: Path) -> None:
    for backend in ("cpu", "mock"):
        folder = tmp_path / f"out/k8-{backend}/testlogs/models/decoder/llama/{backend}"
        folder.mkdir(parents=True)
        (folder / "test.xml").write_text(backend, encoding="utf-8")
    (checkout / "bazel-out").symlink_to(tmp_path / "out")
    output = _publish(checkout, "site", "--config=ci")
    assert "run --config=ci //:coverage -- --quiet --out=site\n" in output
    junit = {path.name: path.read_text(encoding="utf-8") for path in (checkout / "site/junit").iterdir()}
    assert junit == {"models.decoder.llama.cpu.xml": "cpu", "models.decoder.llama.mock.xml": "mock"}


def test_github_alone_is_annotated_by_the_output(checkout: Path) -> None:
    annotated = "//deploy:annotate -- site/coverage.json\n"
    assert annotated not in _publish(checkout)
    assert annotated in _publish(checkout, GITHUB_ACTIONS="true")
