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
    rows = [name for name, row in TABLE.items() if not row["headers_of"]]
    assert sorted(path.parent.name for path in FOLDER.glob("*/requirements.in")) == sorted(rows)


def test_headers_are_of_the_torch_that_every_environment_has() -> None:
    for name in {str(row["headers_of"]) for row in TABLE.values()} - {""}:
        for lock in (FOLDER / name).glob("*.lock"):
            torch = locks.parse(lock)["torch"]
            for other in (path for path, row in TABLE.items() if row["transformers"]):
                found = locks.parse(FOLDER / other / lock.name)["torch"]
                assert found == torch, f"{other} has another torch than {name}"


@pytest.mark.parametrize("name", sorted(TABLE))
def test_own_model_folders_are_those_of_the_row(name: str) -> None:
    found = sorted(path.parent.name for path in (FOLDER / name).glob("models/*/__init__.py"))
    assert found == TABLE[name]["folders"]
    assert not found or TABLE[name]["transformers"], f"{name} has model folders and no transformers to put them into"


@pytest.mark.parametrize("name", sorted(TABLE))
def test_what_is_shared_is_of_an_environment_that_shares_nothing(name: str) -> None:
    shares = str(TABLE[name]["shares"])
    if shares:
        assert shares in TABLE, f"{name} shares wheels of {shares}, which is no environment"
        assert not TABLE[shares]["shares"], f"{name} shares wheels of {shares}, which shares others' itself"


@pytest.mark.parametrize("name", sorted(name for name in TABLE if TABLE[name]["shares"]))
def test_what_shares_has_the_same_large_wheels_and_beside_another_the_same_of_all(name: str) -> None:
    for lock in (FOLDER / name).glob("*.lock"):
        base = FOLDER / str(TABLE[name]["shares"]) / lock.name
        own, there = locks.parse(lock), locks.parse(base)
        # Without transformers it stands behind the other on one path, where two versions of a package must not be.
        same = {"torch"} if TABLE[name]["transformers"] else own.keys() & there.keys()
        for package in same:
            assert own[package] == there[package], f"{lock}: another {package} than {base}; pin it in requirements.in"
