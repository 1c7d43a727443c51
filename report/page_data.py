"""The grid as the page's program reads it: each text once, each cell a short list, so that 650 x 12 cells stay small.

The page and this module are made together: the form has no version. `page.js` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from harness.verdict import LEVELS
from report import links
from report.coverage_format import STATUSES, Cell, Coverage, Folder, Model
from report.declaration import CATEGORIES, TIERS
from report.words import MARKS, MEANINGS, safe_text, spaced

_OUTCOMES = {"passed": "p", "failed": "f", "not_applicable": "n", "not_run": "r"}


class _Table:
    """Keeps each value once and gives its index."""

    def __init__(self) -> None:
        self._index: dict[Any, int] = {}

    def __call__(self, value: Any) -> int:
        return self._index.setdefault(value, len(self._index))

    def values(self) -> list[Any]:
        return list(self._index)


def to_script(coverage: Coverage, today: str, root: str) -> str:
    """Returns the data as JSON that may stand inside a `script` element.

    Args:
      coverage: the grid.
      today: `YYYY-MM-DD`; known failures that expire before it are marked.
      root: relative address of the workspace from the page.
    """
    texts, checks, sets, devices, known = _Table(), _Table(), _Table(), _Table(), _Table()

    def text(value: str) -> int:
        return texts(safe_text(value))

    def compact(cell: Cell) -> list[Any]:
        start = [STATUSES.index(cell.status), text(cell.reason)]
        if not cell.runs:
            return start
        entry = cell.known_failure
        return [
            *start,
            (*LEVELS, "mock").index(cell.level),
            int(cell.covered),
            text(cell.failed_check),
            cell.runs,
            -1 if entry is None else known((entry.match, entry.reason, entry.issue, entry.expires)),
            sets(tuple(checks((text(check.id), check.level, check.core)) for check in cell.checks)),
            "".join(_OUTCOMES.get(check.outcome, "r") for check in cell.checks),
            {index: text(check.message) for index, check in enumerate(cell.checks) if check.message},
            cell.parameters,
            round(cell.gradient_share, 4),
            [text(name) for name in cell.classes],
            devices(tuple(sorted(cell.device.items()))),
        ]

    cells: dict[str, list[list[Any]]] = {model.label: [] for model in coverage.models}
    for cell in coverage.cells:
        cells[cell.model].append(compact(cell))
    folders = {folder.folder: folder for folder in coverage.inventory.detail} if coverage.inventory else {}
    data = {
        "backends": [
            {
                "name": safe_text(backend.name),
                "on": safe_text(f"{backend.device}, {backend.runtime}, {backend.dtype}"),
                "counts": backend.counts,
                "absent": safe_text(backend.absent),
            }
            for backend in coverage.backends
        ],
        "models": [
            _model(model, coverage, root, folders.get(model.folder), cells[model.label]) for model in coverage.models
        ],
        "categories": CATEGORIES,
        "tiers": TIERS,
        "levels": (*LEVELS, "mock"),
        "statuses": [[name, spaced(name), MARKS[name], MEANINGS[name]] for name in STATUSES],
        "checks": checks.values(),
        "sets": sets.values(),
        "devices": [[safe_text(f"{name} {value}") for name, value in device] for device in devices.values()],
        "known": [
            [text(match), text(reason), text(issue), links.web(issue), safe_text(expires), expires < today]
            for match, reason, issue, expires in known.values()
        ],
    }
    data["texts"] = texts.values()  # the last: all others add to it
    return embed(data)


def embed(data: Any) -> str:
    """Returns JSON without the characters that could end a `script` element or begin a comment in one."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _model(
    model: Model, coverage: Coverage, root: str, folder: Folder | None, cells: Iterable[list[Any]]
) -> dict[str, Any]:
    left = sorted(set(folder.classes) - set(folder.exercised)) if folder else []
    return {
        "label": safe_text(model.label),
        "name": safe_text(model.name),
        "category": model.category,
        "tier": model.tier,
        "level": LEVELS.index(model.level),
        "covered": int(model.covered),
        "facts": [
            [name, safe_text(value)]
            for name, value in (
                ("main class", model.main_class),
                ("task", model.task),
                ("model type", model.model_type),
                ("checkpoint", model.checkpoint),
                ("environment", model.environment),
            )
            if value
        ],
        "build": links.build_file(model, root),
        "upstream": links.upstream(model, coverage),
        "left": [[safe_text(name), safe_text(folder.unexercised.get(name, "")) if folder else ""] for name in left],
        "cells": list(cells),
    }
