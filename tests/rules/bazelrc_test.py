"""`.bazelrc` has a `--config` for each backend of the table, and a reason above every flag."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

ROOT = Path(os.environ["TEST_SRCDIR"]) / os.environ["TEST_WORKSPACE"]
LINES = (ROOT / ".bazelrc").read_text(encoding="utf-8").splitlines()


def test_every_backend_has_a_config_that_selects_its_cells() -> None:
    grid = json.loads((ROOT / "tests/rules/backends.json").read_text(encoding="utf-8"))
    configs = dict(re.findall(r"^test:(\w+) --test_tag_filters=backend:(\w+)$", "\n".join(LINES), re.MULTILINE))
    assert configs == {name: name for name in grid}


def test_every_device_has_a_platform_of_remote_machines() -> None:
    grid = json.loads((ROOT / "tests/rules/backends.json").read_text(encoding="utf-8"))
    (line,) = [line for line in LINES if line.startswith("common:remote --extra_execution_platforms=")]
    platforms = [label.removeprefix("//toolchains/platforms:") for label in line.partition("=")[2].split(",")]
    assert platforms == sorted(set(grid.values()))


def test_every_group_of_flags_has_a_reason_above_it() -> None:
    for number, line in enumerate(LINES):
        if line and not line.startswith("#"):
            above = number - 1
            while LINES[above] and not LINES[above].startswith("#"):
                above -= 1
            assert LINES[above].startswith("#"), f".bazelrc:{number + 1}: {line} has no reason above it"


def test_the_users_own_file_is_read_last() -> None:
    assert [line for line in LINES if line][-1] == "try-import %workspace%/user.bazelrc"
