"""Every model folder of the environment is declared, or stands in models/undeclared.json with the reason."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from runfiles import Runfiles

from report import declaration, grid
from report.declaration import Declaration

ENVIRONMENT = os.environ["MODELGRID_ENVIRONMENT"]


def _located(path: str) -> Path:
    runfiles = Runfiles.Create()
    found = runfiles.Rlocation(path) if runfiles else None
    assert found is not None, path
    return Path(found)


@pytest.fixture(scope="module")
def declarations() -> list[Declaration]:
    """All declarations of the workspace."""
    return [declaration.load(path) for path in sorted(_located("_main/models").glob("*/*/*.declaration.json"))]


@pytest.fixture(scope="module")
def folders() -> dict[str, tuple[str, ...]]:
    """The public model classes of each folder of the environment that has any."""
    found = grid.read_inventory(_located("transformers_5_23/inventory.json"))
    return {folder: classes for folder, classes in found.items() if classes}


@pytest.fixture(scope="module")
def undeclared() -> dict[str, str]:
    """The folders that have no declaration, each with the reason."""
    found: dict[str, str] = json.loads(_located("_main/models/undeclared.json").read_text(encoding="utf-8"))
    return found


def test_every_folder_is_declared_or_listed_with_a_reason(
    declarations: list[Declaration], folders: dict[str, tuple[str, ...]], undeclared: dict[str, str]
) -> None:
    declared = {item.folder for item in declarations if item.environment == ENVIRONMENT}
    missing = sorted(folders.keys() - declared - undeclared.keys())
    assert not missing, (
        f"{len(missing)} model folders of {ENVIRONMENT} have no declaration: {', '.join(missing)}\n"
        f"bazel run //:add -- {missing[0]} proposes one; if none can be made, say why in models/undeclared.json"
    )


def test_the_list_of_undeclared_folders_is_true(
    declarations: list[Declaration], folders: dict[str, tuple[str, ...]], undeclared: dict[str, str]
) -> None:
    declared = {item.folder for item in declarations if item.environment == ENVIRONMENT}
    stale = sorted(undeclared.keys() & declared)
    assert not stale, f"declared, and still in models/undeclared.json: {', '.join(stale)}; remove the entries"
    unknown = sorted(undeclared.keys() - folders.keys())
    assert not unknown, f"models/undeclared.json names {', '.join(unknown)}: no model folder of {ENVIRONMENT}"
    assert all(reason.strip() for reason in undeclared.values()), "an entry of models/undeclared.json has no reason"


def test_a_declared_folder_is_in_the_environment(
    declarations: list[Declaration], folders: dict[str, tuple[str, ...]]
) -> None:
    for item in declarations:
        if item.environment == ENVIRONMENT and not item.unavailable:
            assert item.folder in folders, f"{item.label}: folder {item.folder!r} is not in {ENVIRONMENT}"
            classes = folders[item.folder]
            assert item.main_class in classes, f"{item.label}: {item.main_class} is none of {', '.join(classes)}"


def test_every_model_that_people_named_is_declared(declarations: list[Declaration]) -> None:
    wanted: dict[str, str] = json.loads(_located("_main/models/named.json").read_text(encoding="utf-8"))
    names = {item.name for item in declarations}
    missing = sorted(name for name, model in wanted.items() if model not in names)
    assert len(wanted) == 129
    assert not missing, f"asked for and not declared: {', '.join(missing)}; bazel run //:add -- NAME proposes one"


def test_a_model_that_cannot_run_has_no_cell(declarations: list[Declaration]) -> None:
    gone = [item for item in declarations if item.unavailable]
    assert {"imagebind", "mistral_next"} <= {item.name for item in gone}
    for item in gone:
        assert item.backends == (), f"{item.label} is not to be had and has cells"
