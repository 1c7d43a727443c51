"""The table of environments and the folders beside it fit one another."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from toolchains.environments import locks

FOLDER = Path("toolchains/environments")
TABLE: dict[str, dict[str, object]] = json.loads(Path(os.environ["TABLE"]).read_text(encoding="utf-8"))


def test_each_row_has_a_folder_and_each_folder_a_row() -> None:
    assert sorted(path.parent.name for path in FOLDER.glob("*/requirements.in")) == sorted(TABLE)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_what_is_shared_is_of_an_environment_that_shares_nothing(name: str) -> None:
    shares = str(TABLE[name]["shares"])
    if shares:
        assert shares in TABLE, f"{name} shares wheels of {shares}, which is no environment"
        assert not TABLE[shares]["shares"], f"{name} shares wheels of {shares}, which shares others' itself"


@pytest.mark.parametrize("name", sorted(name for name in TABLE if TABLE[name]["shares"]))
def test_sharing_saves_the_large_wheels(name: str) -> None:
    for lock in (FOLDER / name).glob("*.lock"):
        base = FOLDER / str(TABLE[name]["shares"]) / lock.name
        own, there = locks.parse(lock), locks.parse(base)
        for package in own.keys() & there.keys() if "torch" not in own else {"torch"}:
            # Packages beside an environment stand behind it on one path, others share torch or nothing worth it.
            assert own[package] == there[package], f"{lock}: another {package} than {base}"
