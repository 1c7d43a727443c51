"""The grid file, which a rule writes, and what it points to: declarations, verdicts, backends, inventory.

Reading only; `report.assemble` judges whether the parts fit each other.

Version 1 is one JSON object: `version` and the fields of `Grid`. Each path is relative to the program's `--root`,
or else a runfiles path (`$(rlocationpath ...)`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness import verdict as verdicts
from report import declaration, imported, strict
from report.declaration import Declaration, KnownFailure

VERSION = 1

Locate = Callable[[str], Path]


@dataclasses.dataclass(frozen=True)
class Backend:
    """One row of `toolchains/backends.bzl`.

    Attributes:
      counts: whether a run on it proves anything; false for `mock`.
      checks: `category`, where the model itself is examined, or `runtime`, where it must only be as on the reference.
      absent: why no implementation of this backend exists yet; empty where one does.
      device_words: what the device is, where its name does not say it.
      tiers: tiers that it runs by default; empty for all of them.
      known_failures: what the runtime cannot do, whatever the model.
    """

    name: str
    device: str
    runtime: str
    dtype: str
    counts: bool
    checks: str = "category"
    absent: str = ""
    device_words: str = ""
    tiers: tuple[str, ...] = ()
    known_failures: tuple[KnownFailure, ...] = ()


@dataclasses.dataclass(frozen=True)
class Grid:
    """The file as it stands.

    Attributes:
      declarations: path of every model's declaration.
      verdicts: path of every verdict that this build has.
      backends: every backend, in the order of the table.
      inventory: path of the environment's inventory, or None.
      named: path of the list of models that people asked for, or None.
      undeclared: path of the reasons why folders have no declaration, or None.
      upstream: for each environment the address of its folder of model folders.
      environment: the one whose inventory it is; empty for that of every declaration.
      imported: paths of the verdicts that other machines found.
      manifest: path of the bundle's manifest, which says what imported verdicts must be of; None without any.
    """

    declarations: tuple[str, ...]
    verdicts: tuple[str, ...]
    backends: tuple[Backend, ...]
    inventory: str | None
    named: str | None = None
    undeclared: str | None = None
    upstream: Mapping[str, str] = dataclasses.field(default_factory=dict)
    environment: str = ""
    imported: tuple[str, ...] = ()
    manifest: str | None = None


@dataclasses.dataclass(frozen=True)
class Contents:
    """What the grid file points to, read.

    Attributes:
      inventory: for each model folder of the environment its public concrete model classes; None without one.
      named: for each name that people asked for the model's; empty without a list.
      undeclared: for each folder without a declaration the reason; empty without a list.
      upstream: for each environment the address of its folder of model folders.
      environment: the one whose inventory it is; empty for that of every declaration.
      imported: by cell the verdict of another machine, and why it does not count any more; empty where it does.
    """

    declarations: tuple[Declaration, ...]
    verdicts: tuple[verdicts.Verdict, ...]
    backends: tuple[Backend, ...]
    inventory: Mapping[str, tuple[str, ...]] | None
    named: Mapping[str, str] = dataclasses.field(default_factory=dict)
    undeclared: Mapping[str, str] = dataclasses.field(default_factory=dict)
    upstream: Mapping[str, str] = dataclasses.field(default_factory=dict)
    environment: str = ""
    imported: Mapping[str, tuple[imported.Record, str]] = dataclasses.field(default_factory=dict)


def load(path: Path, locate: Locate) -> Contents:
    """Returns what the grid file at `path` points to.

    Args:
      path: the grid file.
      locate: gives the file that a path of the grid means.

    Raises:
      strict.InputError: a file is missing, damaged, or of another version.
    """
    value = strict.versioned(strict.read(path, "grid"), VERSION, str(path))
    grid = strict.build(Grid, value, str(path))
    return Contents(
        declarations=tuple(declaration.load(locate(item)) for item in grid.declarations),
        verdicts=tuple(_verdict(locate(item)) for item in grid.verdicts),
        backends=grid.backends,
        inventory=None if grid.inventory is None else read_inventory(locate(grid.inventory)),
        named={} if grid.named is None else read_texts(locate(grid.named), "list of named models"),
        undeclared={} if grid.undeclared is None else read_texts(locate(grid.undeclared), "list of undeclared folders"),
        upstream=grid.upstream,
        environment=grid.environment,
        imported={} if grid.manifest is None else _imported(grid, locate(grid.manifest), locate),
    )


def _imported(grid: Grid, manifest: Path, locate: Locate) -> dict[str, tuple[imported.Record, str]]:
    records = [record for path in grid.imported for record in imported.read(locate(path))]
    return imported.current(records, imported.read_manifest(manifest))


def _verdict(path: Path) -> verdicts.Verdict:
    value = strict.versioned(strict.read(path, "verdict"), verdicts.VERSION, f"{path}: verdict")
    return strict.build(verdicts.Verdict, value, f"{path}: verdict")


def read_texts(path: Path, what: str) -> dict[str, str]:
    """Returns the object from names to texts in the file at `path`, which is `what`; raises InputError for others."""
    value: Any = strict.read(path, what)
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise strict.InputError(f"{path}: {what}: expected an object from a name to a text; mend the file")
    return value


def read_inventory(path: Path) -> dict[str, tuple[str, ...]]:
    """Returns the public model classes of each folder of the inventory."""
    return _of_folders(path, "classes")


def read_model_types(path: Path) -> dict[str, str]:
    """Returns the folder of each model type of the inventory."""
    return {name: folder for folder, names in _of_folders(path, "model_types").items() for name in names}


def _of_folders(path: Path, field: str) -> dict[str, tuple[str, ...]]:
    value: Any = strict.read(path, "inventory")
    if not isinstance(value, dict):
        raise strict.InputError(f"{path}: inventory: expected an object, found {type(value).__name__}")
    folders: dict[str, tuple[str, ...]] = {}
    for folder, entry in value.items():
        names = entry.get(field) if isinstance(entry, dict) else None
        if not isinstance(names, list) or not all(isinstance(item, str) for item in names):
            raise strict.InputError(f"{path}: inventory: folder {folder!r} has no list of {field}; fetch it again")
        folders[folder] = tuple(names)
    return folders
