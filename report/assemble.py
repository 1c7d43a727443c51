"""Puts declarations, verdicts, backends and inventory together to the grid's coverage, or says why they do not fit.

Pure: no files, no clock. What counts as covered is defined in `report.coverage_format`.
"""

from __future__ import annotations

import dataclasses
import typing
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from harness import verdict as verdicts
from harness.verdict import Verdict
from report.coverage_format import (
    NEVER_RAN,
    STATUSES,
    Cell,
    Check,
    Coverage,
    Folder,
    Group,
    Inventory,
    Model,
    Named,
    Summary,
)
from report.declaration import CATEGORIES, TIERS, Declaration, KnownFailure
from report.grid import Backend, Contents
from report.imported import Record
from report.strict import InputError

COVERED_FROM = "forward"

_RUN_STATUSES = typing.get_args(verdicts.Status)


def assemble(contents: Contents) -> Coverage:
    """Returns the coverage of the grid.

    Raises:
      InputError: nothing is declared, no verdict is there at all, two of them are of one cell, or one does not fit its
        declaration.
    """
    backends = _by_name(contents.backends)
    declarations = _by_label(contents.declarations)
    by_cell = _verdicts_by_cell(contents.verdicts, declarations, backends)

    ordered = sorted(
        declarations.values(), key=lambda item: (CATEGORIES.index(item.category), TIERS.index(item.tier), item.name)
    )
    cells = tuple(
        _cell(declaration, backend, by_cell.get(declaration.cell_label(backend.name)), contents)
        for declaration in ordered
        for backend in contents.backends
    )
    counting = {backend.name for backend in contents.backends if backend.counts}
    examining = {backend.name for backend in contents.backends if backend.checks == "category"}
    counted = [cell for cell in cells if cell.backend in counting]
    runs: dict[str, list[Cell]] = {declaration.label: [] for declaration in ordered}
    for cell in counted:
        runs[cell.model].append(cell)
    models = tuple(_model(declaration, runs[declaration.label], examining) for declaration in ordered)
    return Coverage(
        backends=contents.backends,
        models=models,
        cells=cells,
        total=_summary(models, counted),
        by_category={
            name: _summary([model for model in models if model.category == name], counted) for name in CATEGORIES
        },
        by_tier={name: _summary([model for model in models if model.tier == name], counted) for name in TIERS},
        by_backend={backend.name: _backend_summary(models, cells, backend) for backend in contents.backends},
        groups=_groups(models, counted),
        inventory=None if contents.inventory is None else _inventory(contents, contents.inventory, ordered, counted),
        named=_named(contents.named, models) if contents.named else None,
        upstream=contents.upstream,
    )


def _named(wanted: Mapping[str, str], models: Sequence[Model]) -> Named:
    by_name = {model.name: model for model in models}
    found = {name: by_name[model] for name, model in sorted(wanted.items()) if model in by_name}
    return Named(
        models=len(wanted),
        covered=sum(model.covered for model in found.values()),
        unavailable=tuple(name for name, model in found.items() if model.unavailable),
        other=tuple(name for name, model in found.items() if not model.covered and not model.unavailable),
        missing=tuple(sorted(wanted.keys() - found.keys())),
    )


def _by_name(backends: Sequence[Backend]) -> dict[str, Backend]:
    by_name = {backend.name: backend for backend in backends}
    if len(by_name) != len(backends):
        twice = [name for name, count in Counter(backend.name for backend in backends).items() if count > 1]
        raise InputError(f"backend {twice[0]!r} is in the table twice; remove one row of toolchains/backends.bzl")
    return by_name


def _by_label(declarations: Sequence[Declaration]) -> dict[str, Declaration]:
    if not declarations:
        raise InputError("no model is declared; declare one as docs/add-a-model.md shows")
    by_label: dict[str, Declaration] = {}
    by_name: dict[str, str] = {}
    for declaration in declarations:
        if declaration.label in by_label:
            raise InputError(f"{declaration.label}: declared twice in the grid; build it again")
        if declaration.name in by_name:
            raise InputError(
                f"{declaration.label}: the name {declaration.name!r} is taken by {by_name[declaration.name]}; "
                "rename one of the two"
            )
        by_label[declaration.label] = declaration
        by_name[declaration.name] = declaration.label
    return by_label


def _verdicts_by_cell(
    found: Sequence[Verdict], declarations: Mapping[str, Declaration], backends: Mapping[str, Backend]
) -> dict[str, Verdict]:
    if not found:
        raise InputError(
            "no verdicts yet: this build ran no cell. On this host `bazel test //models/...` shows which are skipped; "
            "the `mock` backend needs no hardware"
        )
    owners = {
        declaration.cell_label(backend): (declaration, backend)
        for declaration in declarations.values()
        for backend in declaration.backends
    }
    by_cell: dict[str, Verdict] = {}
    for verdict in found:
        if verdict.label in by_cell:
            raise InputError(f"{verdict.label}: two verdicts of one cell; build the grid again")
        if verdict.label not in owners:
            raise InputError(f"{verdict.label}: a verdict of a cell that nothing declares; build the grid again")
        declaration, backend = owners[verdict.label]
        _check_fits(verdict, declaration, backend, backends)
        by_cell[verdict.label] = verdict
    return by_cell


def _check_fits(verdict: Verdict, declaration: Declaration, backend: str, backends: Mapping[str, Backend]) -> None:
    """Raises InputError where the verdict contradicts the declaration, the table, or its own format's vocabulary."""
    if backend not in backends:
        raise InputError(f"{verdict.label}: backend {backend!r} is not in the table of backends; build the grid again")
    for field, said, declared in (
        ("name", verdict.name, declaration.name),
        ("category", verdict.category, declaration.category),
        ("environment", verdict.environment, declaration.environment),
        ("backend", verdict.backend, backend),
    ):
        if said != declared:
            raise InputError(
                f"{verdict.label}: the verdict says {field} {said!r}, the declaration {declared!r}; "
                "build the grid again"
            )
    if verdict.status not in _RUN_STATUSES:
        raise InputError(f"{verdict.label}: status {verdict.status!r} is not one of {', '.join(_RUN_STATUSES)}")
    levels: tuple[str, ...] = verdicts.LEVELS if backends[backend].counts else (*verdicts.LEVELS, "mock")
    if verdict.level not in levels:
        raise InputError(
            f"{verdict.label}: level {verdict.level!r} on backend {backend!r} is not one of {', '.join(levels)}"
        )


def is_covered(backend: Backend, status: str, level: str) -> bool:
    """Returns whether a cell counts; `report.coverage_format` has the reasons."""
    return (
        backend.counts
        and (status in verdicts.GREEN or status == "imported")
        and level in verdicts.LEVELS
        and verdicts.LEVELS.index(level) >= verdicts.LEVELS.index(COVERED_FROM)
    )


def _cell(declaration: Declaration, backend: Backend, verdict: Verdict | None, contents: Contents) -> Cell:
    """Returns the cell by this build's own verdict, else by an imported one, else by why there is none."""
    if verdict is None:
        found = contents.imported.get(declaration.cell_label(backend.name))
        if found is None or backend.name not in declaration.backends:
            return _cell_without_run(declaration, backend)
        return _imported_cell(declaration, backend, *found)
    return _cell_with_run(declaration, backend, verdict)


def _imported_cell(declaration: Declaration, backend: Backend, record: Record, why_stale: str) -> Cell:
    """Returns the cell of a verdict that another machine found; a stale one proves nothing."""
    if why_stale:
        return dataclasses.replace(
            _cell_without_run(declaration, backend),
            status="imported_stale",
            reason=f"{why_stale}; {record.origin}",
            device=record.verdict.device,
            imported=True,
        )
    _check_fits(record.verdict, declaration, backend.name, {backend.name: backend})
    cell = _cell_with_run(declaration, backend, record.verdict)
    reason = "; ".join(text for text in (cell.reason, record.origin) if text)
    status = "imported" if cell.status == "passed" else cell.status
    return dataclasses.replace(cell, status=status, reason=reason, imported=True)


def _cell_with_run(declaration: Declaration, backend: Backend, verdict: Verdict) -> Cell:
    expects = verdict.status in ("expected_failure", "unexpected_pass")
    return Cell(
        label=verdict.label,
        model=declaration.label,
        backend=backend.name,
        status=verdict.status,
        level=verdict.level,
        covered=is_covered(backend, verdict.status, verdict.level),
        reason=verdict.reason,
        failed_check=verdict.failed_check,
        runs=verdict.runs,
        known_failure=_known_failure(declaration, backend, verdict) if expects else None,
        checks=tuple(
            Check(id=check.id, level=check.level, core=check.core, outcome=check.outcome, message=check.message)
            for check in verdict.checks
        ),
        parameters=verdict.model.parameters,
        gradient_share=verdict.model.gradient_share,
        classes=verdict.model.classes,
        device=verdict.device,
    )


def _known_failure(declaration: Declaration, backend: Backend, verdict: Verdict) -> KnownFailure | None:
    """Returns the entry that the verdict came out of: the model's, or the backend's whose reason it gives."""
    of_backend = (known for known in backend.known_failures if verdict.reason.startswith(known.reason))
    return declaration.known_failure(backend.name, verdict.failed_check) or next(of_backend, None)


def _cell_without_run(declaration: Declaration, backend: Backend) -> Cell:
    if declaration.unavailable:
        status, reason = "no_package" if declaration.package else "absent", declaration.unavailable
    elif backend.name not in declaration.backends:
        status, reason = "not_declared", f"the model has no cell on {backend.name}"
    elif backend.absent:
        status, reason = "absent", backend.absent
    elif backend.tiers and declaration.tier not in backend.tiers:
        status, reason = "nightly", f"by default {backend.name} runs {' and '.join(backend.tiers)} models"
    else:
        device = ": ".join(filter(None, (repr(backend.device), backend.device_words)))
        status, reason = "no_hardware", f"no verdict in this build: its platform has no device {device}"
    return Cell(
        label=declaration.cell_label(backend.name),
        model=declaration.label,
        backend=backend.name,
        status=status,
        level="declared",
        covered=False,
        reason=reason,
    )


def _deepest(cells: Iterable[Cell]) -> str:
    return max((cell.level for cell in cells), key=lambda level: verdicts.LEVELS.index(level), default="declared")


def _model(declaration: Declaration, cells: Sequence[Cell], examining: Collection[str]) -> Model:
    """Returns the model as its cells on the backends that count prove it.

    Args:
      declaration: the model's.
      cells: its cells on those backends.
      examining: the backends whose cells examine the model itself.
    """
    examined = [cell for cell in cells if cell.backend in examining and cell.status not in NEVER_RAN]
    return Model(
        label=declaration.label,
        name=declaration.name,
        category=declaration.category,
        tier=declaration.tier,
        task=declaration.task,
        model_type=declaration.model_type,
        folder=declaration.folder,
        main_class=declaration.main_class,
        checkpoint=declaration.checkpoint,
        environment=declaration.environment,
        level=_deepest(examined or cells),
        covered=any(cell.covered for cell in cells),
        known_failures=declaration.known_failures,
        unavailable=declaration.unavailable,
        package=declaration.package,
    )


def _summary(models: Sequence[Model], counted: Iterable[Cell]) -> Summary:
    """Returns the summary of `models`.

    Args:
      models: the part of the grid.
      counted: cells on the backends that count; those of other models are left out.
    """
    labels = {model.label for model in models}
    levels = Counter(model.level for model in models)
    statuses = Counter(cell.status for cell in counted if cell.model in labels)
    return Summary(
        models=len(models),
        covered=sum(model.covered for model in models),
        levels={level: levels[level] for level in verdicts.LEVELS},
        statuses={status: statuses[status] for status in STATUSES},
    )


def _backend_summary(models: Sequence[Model], cells: Iterable[Cell], backend: Backend) -> Summary:
    here = {cell.model: cell for cell in cells if cell.backend == backend.name}
    declared = [cell for cell in here.values() if cell.status != "not_declared"]
    levels = Counter(cell.level for cell in declared)
    statuses = Counter(cell.status for cell in here.values())
    return Summary(
        models=len(declared),
        covered=sum(cell.covered for cell in declared),
        levels={level: levels[level] for level in (*verdicts.LEVELS, *(() if backend.counts else ("mock",)))},
        statuses={status: statuses[status] for status in STATUSES},
    )


def _groups(models: Sequence[Model], counted: Sequence[Cell]) -> tuple[Group, ...]:
    groups = []
    for category in CATEGORIES:
        for tier in TIERS:
            here = [model for model in models if (model.category, model.tier) == (category, tier)]
            if here:
                groups.append(Group(category=category, tier=tier, summary=_summary(here, counted)))
    return tuple(groups)


def _inventory(
    contents: Contents,
    folders: Mapping[str, Sequence[str]],
    ordered: Sequence[Declaration],
    counted: Sequence[Cell],
) -> Inventory:
    """Returns what the environment has against what is declared for it; models of another environment are not its."""
    declarations = [item for item in ordered if contents.environment in ("", item.environment)]
    exercised: dict[str, set[str]] = {}
    for cell in counted:
        exercised.setdefault(cell.model, set()).update(cell.classes)
    detail = []
    for folder, classes in sorted(folders.items()):
        here = [declaration for declaration in declarations if declaration.folder == folder]
        ran = set().union(*(exercised.get(declaration.label, set()) for declaration in here))
        reasons = {name: reason for declaration in here for name, reason in declaration.unexercised_classes.items()}
        if classes:
            detail.append(
                Folder(
                    folder=folder,
                    classes=tuple(sorted(classes)),
                    exercised=tuple(sorted(ran.intersection(classes))),
                    models=tuple(sorted(declaration.label for declaration in here)),
                    missing_because="" if here else contents.undeclared.get(folder, ""),
                    unexercised={name: reasons[name] for name in sorted(reasons.keys() & set(classes) - ran)},
                )
            )
    return Inventory(
        folders=len(detail),
        declared=sum(bool(item.models) for item in detail),
        missing=tuple(item.folder for item in detail if not item.models),
        vanished=tuple(
            sorted(
                item.label
                for item in declarations
                if item.folder not in folders and (item.folder or not item.unavailable)
            )
        ),
        detail=tuple(detail),
        environment=contents.environment,
        without_model=tuple(sorted(folder for folder, classes in folders.items() if not classes)),
    )
