"""`coverage.json`: the state of the whole grid, from which every other form of the report is rendered.

Version 2 is one JSON object: `version` and the fields of `Coverage`, sorted keys, no times: equal work gives equal
bytes. Each model, cell and folder is a line of its own. Who reads it must refuse a version that they do not know.

What counts. A cell is **covered** if it is a real run (its backend counts; `mock` never does), its status is
`passed` or `expected_failure`, and it reached `forward` or deeper. So an expected failure counts with the level that
it did reach and no deeper: a model whose cache is known to be broken is covered at `forward`; a model that is known
not to run at all is not covered. `failed`, `flaky` and `unexpected_pass` never count, whatever level they reached,
for each asks a person to do something. A model is covered if one of its cells is. Its level is that of the cells that
examine the model itself; what a runtime gives as eager mode does says nothing of what eager mode gets wrong. Only where
no such cell ran is it the level on the others.

A verdict of another machine, imported from a bundle, is such a run as long as its declaration and harness are today's:
it counts, on its backend, under a status of its own, so that no sum hides where it comes from. A stale one counts for
nothing. One that is no pass keeps its status, and is as much in need of attention as any.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from report import strict
from report.declaration import CATEGORIES, TIERS, KnownFailure
from report.grid import Backend

VERSION = 2

STATUSES = (
    "passed",
    "expected_failure",
    "failed",
    "flaky",
    "unexpected_pass",
    "imported",
    "imported_stale",
    "no_hardware",
    "nightly",
    "absent",
    "no_package",
    "not_declared",
)
"""`imported`: passed on another machine, by the bundle, with the declaration and the harness of today.
`imported_stale`: it ran there, and one of the two has changed since.
`no_hardware`: declared, but this build has no verdict. `nightly`: its backend leaves the model's tier to
`--config=nightly`. `absent`: the backend, or the model, has no implementation.
`no_package`: the model needs a package that no environment can have.
`not_declared`: the model has no cell on that backend. The others are the verdict's own."""

NEVER_RAN = ("imported_stale", "no_hardware", "nightly", "absent", "no_package", "not_declared")
"""The statuses without a verdict that says anything of today."""

ATTENTION = ("failed", "flaky", "unexpected_pass")
"""The statuses that fail a test."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One check of a cell: see `harness.verdict.CheckResult`."""

    id: str
    level: str
    core: bool
    outcome: str
    message: str


@dataclasses.dataclass(frozen=True)
class Cell:
    """One model on one backend.

    Attributes:
      label: `//models/decoder/llama:cpu`.
      model: label of the model's declaration.
      level: how deep the run proves it; `declared` without a run, `mock` on the mock backend.
      covered: see the module's docstring.
      reason: one line that says why the status is not `passed`; empty when it is.
      failed_check: id of the first check that failed, or empty.
      runs: how often it ran for this verdict; 0 without a verdict.
      known_failure: the declaration's entry that an `expected_failure` or `unexpected_pass` is about, if any.
      checks: every check, in the order in which they ran.
      parameters: number of parameters of the tiny model.
      gradient_share: share of them that a gradient reached, 0 to 1.
      classes: the public model classes that were exercised.
      device: the device's identity.
      imported: whether another machine ran it.
      recorded: of a `nightly` cell, date, status and level by the last record of the history that ran it:
        `2026-11-30 passed consistent`. It counts for nothing.
    """

    label: str
    model: str
    backend: str
    status: str
    level: str
    covered: bool
    reason: str
    failed_check: str = ""
    runs: int = 0
    known_failure: KnownFailure | None = None
    checks: tuple[Check, ...] = ()
    parameters: int = 0
    gradient_share: float = 0.0
    classes: tuple[str, ...] = ()
    device: Mapping[str, str] = dataclasses.field(default_factory=dict)
    imported: bool = False
    recorded: str = ""


@dataclasses.dataclass(frozen=True)
class Model:
    """One declaration, as far as readers of a report need it.

    Attributes:
      level: the deepest level that the runs which examine the model itself prove, or else the others on backends that
        count; `declared` without any.
      covered: whether one of its cells is.
      unavailable: why no cell can run it; empty where one can.
      package: the package that it needs then, if that is the reason.
    """

    label: str
    name: str
    category: str
    tier: str
    task: str
    model_type: str
    folder: str
    main_class: str
    checkpoint: str
    environment: str
    level: str
    covered: bool
    known_failures: tuple[KnownFailure, ...]
    unavailable: str
    package: str


@dataclasses.dataclass(frozen=True)
class Summary:
    """Counts of one part of the grid.

    Attributes:
      models: number of declared models.
      covered: how many of them are covered.
      levels: number of models by the deepest level that they reached; every level is a key.
      statuses: number of cells by status, on backends that count; every status is a key.
    """

    models: int
    covered: int
    levels: Mapping[str, int]
    statuses: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Group:
    """The summary of one category at one tier."""

    category: str
    tier: str
    summary: Summary


@dataclasses.dataclass(frozen=True)
class Folder:
    """One model folder of the environment that has public model classes.

    Attributes:
      folder: its name under `transformers/models`.
      classes: its public concrete model classes.
      exercised: those of them that a real run exercised.
      models: labels of the declarations of the folder; empty means that the model is missing.
      missing_because: why it has no declaration, where it has none and somebody wrote the reason.
      unexercised: for each class that a declaration leaves out on purpose, the reason.
    """

    folder: str
    classes: tuple[str, ...]
    exercised: tuple[str, ...]
    models: tuple[str, ...]
    missing_because: str = ""
    unexercised: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Inventory:
    """The denominator: what the environment offers.

    Attributes:
      folders: number of model folders with public model classes.
      declared: how many of them have a declaration.
      missing: names of those that have none.
      vanished: labels of declarations whose folder is not in the inventory.
      detail: every folder.
      environment: the one whose inventory it is; empty for that of every declaration.
      without_model: names of the folders that hold no model class (most have a tokenizer alone), which are none of
        `folders`: there is nothing to declare.
    """

    folders: int
    declared: int
    missing: tuple[str, ...]
    vanished: tuple[str, ...]
    detail: tuple[Folder, ...]
    environment: str = ""
    without_model: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Named:
    """What became of the models that people asked for by name.

    Attributes:
      models: number of names.
      covered: how many of them are covered.
      unavailable: those that are declared as not to be had.
      other: those that are declared and not covered.
      missing: those that have no declaration.
    """

    models: int
    covered: int
    unavailable: tuple[str, ...]
    other: tuple[str, ...]
    missing: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Coverage:
    """The whole grid.

    Attributes:
      backends: in the order of the table.
      models: by category, tier, name.
      cells: for each model in that order, one for every backend in the table's order.
      total: of everything. So are `by_category` and `by_tier`, in which every category and tier is a key.
      by_backend: `models` counts those declared on the backend, and `statuses` that backend's cells alone,
        also for a backend that does not count.
      groups: category by tier, without the pairs that have no model.
      inventory: None where the grid has none.
      named: None where the grid has no list of names.
      upstream: for each environment the address of its folder of model folders.
    """

    backends: tuple[Backend, ...]
    models: tuple[Model, ...]
    cells: tuple[Cell, ...]
    total: Summary
    by_category: Mapping[str, Summary]
    by_tier: Mapping[str, Summary]
    by_backend: Mapping[str, Summary]
    groups: tuple[Group, ...]
    inventory: Inventory | None
    named: Named | None
    upstream: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def environments(self) -> tuple[str, ...]:
        """Returns the environments of the models, that of the inventory first, the others by name."""
        main = self.inventory.environment if self.inventory else ""
        return tuple(sorted({model.environment for model in self.models}, key=lambda name: (name != main, name)))

    def to_json(self) -> str:
        """Returns the canonical text: sorted keys, a line for each entry of a list, final newline, ASCII."""
        return _lines({"version": VERSION, **vars(self)}) + "\n"


def read(path: Path) -> Coverage:
    """Returns the coverage in the file at `path`.

    Raises:
      strict.InputError: it cannot be read, is of another version, or has other fields.
    """
    where = f"{path}: coverage"
    found = strict.build(Coverage, strict.versioned(strict.read(path, "coverage"), VERSION, where), where)
    return dataclasses.replace(  # JSON's objects have no order of their own
        found,
        by_category=_ordered(found.by_category, CATEGORIES, where),
        by_tier=_ordered(found.by_tier, TIERS, where),
        by_backend=_ordered(found.by_backend, [backend.name for backend in found.backends], where),
    )


def _ordered(by_name: Mapping[str, Summary], order: Sequence[str], where: str) -> dict[str, Summary]:
    if set(by_name) != set(order):
        raise strict.InputError(
            f"{where}: its summaries are of {sorted(by_name)}, not of {sorted(order)}; make it again"
        )
    return {name: by_name[name] for name in order}


def _lines(value: Any, depth: int = 2) -> str:
    """Returns JSON in which what is deeper than `depth` is on one line: diffs stay short, and so does the file."""
    if depth and dataclasses.is_dataclass(value):
        value = vars(value)
    if not depth or not value or not isinstance(value, dict | tuple):
        return json.dumps(value, sort_keys=True, default=vars)
    if isinstance(value, tuple):
        return "[\n" + ",\n".join(_lines(item, 0) for item in value) + "\n]"
    pairs = (f"{json.dumps(key)}: {_lines(item, depth - 1)}" for key, item in sorted(value.items()))
    return "{\n" + ",\n".join(pairs) + "\n}"
