"""Fixtures of the launcher's tests."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launcher.host import Host


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder outside /tmp, where the launcher refuses to work."""
    made = Path(tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR", "/var/tmp")))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def host(folder: Path) -> Host:
    """A made-up Debian host without Bazel."""
    return Host(folder)
