"""What the terminal shows of a coverage: the headline, what needs attention, the summary, and every model's levels."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from harness.verdict import LEVELS
from report.coverage_format import ATTENTION, NEVER_RAN, Cell, Coverage, Inventory, Summary
from report.grid import Backend
from report.terminal import STYLES, plain, table

_WORDS = {
    "expected_failure": "XFAIL",
    "failed": "FAIL",
    "flaky": "FLAKY",
    "unexpected_pass": "XPASS",
    "imported": "imported",
    "imported_stale": "stale",
    "no_hardware": "no hardware",
    "nightly": "nightly",
    "absent": "absent",
    "no_package": "no package",
    "not_declared": "-",
}
_CHECKS_IN_BRIEF = 8
"""How many lines the brief view gives to the checks of expected failures."""

_BACKENDS_IN_A_ROW = 3
"""How many columns as wide as `XPASS consistent` stand beside a model's name in 80 columns."""


def view(coverage: Coverage, today: datetime.date, brief: bool = False) -> list[RenderableType]:
    """Returns what a terminal shows.

    Args:
      coverage: the grid.
      today: known failures that expire before it are marked.
      brief: counts of expected failures and unavailable models instead of each, and no list of models.
    """
    parts: list[RenderableType] = [*(plain(line, "bold") for line in headline(coverage)), *_notes(coverage), Text()]
    parts += _attention(coverage)
    if brief:
        parts += _counts(coverage, today)
        parts.append(_summary(coverage))
    else:
        parts += _expected(coverage, today)
        parts += _unavailable(coverage)
        parts.append(_summary(coverage))
        parts += _models(coverage)
    return parts


def headline(coverage: Coverage) -> list[str]:
    """Returns one sentence for each backend that counts and ran something, and one for the inventory."""
    lines = []
    for backend in coverage.backends:
        summary = coverage.by_backend[backend.name]
        if backend.counts and ran(summary):
            lines.append(
                f"{summary.covered} of {summary.models} declared models covered on {backend.name}: "
                f"{_levels(summary)}{_troubles(summary)}"
            )
    if not lines:
        lines.append(f"0 of {coverage.total.models} declared models covered: no backend that counts ran here")
    if coverage.named:
        named = coverage.named
        parts = [f"{named.covered} of {named.models} named models covered"]
        for names, word in (
            (named.unavailable, "not to be had"),
            (named.other, "not covered"),
            (named.missing, "missing"),
        ):
            if names:
                parts.append(f"{len(names)} {word} ({', '.join(names)})")
        lines.append(", ".join(parts))
    if coverage.inventory:
        inventory = coverage.inventory
        classes = sum(len(item.classes) for item in inventory.detail)
        exercised = sum(len(item.exercised) for item in inventory.detail)
        lines.append(
            f"inventory: {inventory.declared} of {inventory.folders} model folders declared, "
            f"{exercised} of {classes} public model classes exercised"
        )
    return lines


def without_model(inventory: Inventory) -> str:
    """Returns how many folders hold no model class, and which."""
    names = inventory.without_model
    return f"model folders without a model class, so nothing to declare: {len(names)} ({', '.join(names)})"


def ran(summary: Summary) -> bool:
    """Returns whether any cell of the summary has a verdict."""
    return any(count for status, count in summary.statuses.items() if status not in NEVER_RAN)


def _levels(summary: Summary) -> str:
    """Returns the levels that models reached, deepest first: `49 consistent, 3 forward`."""
    return ", ".join(f"{summary.levels[level]} {level}" for level in reversed(LEVELS) if summary.levels[level])


def _troubles(summary: Summary) -> str:
    words = ("failed", "flaky", "unexpected_pass", "expected_failure", "imported")
    found = [f"{summary.statuses[word]} {word.replace('_', ' ')}" for word in words if summary.statuses[word]]
    return f" ({', '.join(found)})" if found else ""


def _notes(coverage: Coverage) -> Iterator[Text]:
    """Yields what does not count and what did not run: never silently absent."""
    for backend in coverage.backends:
        summary = coverage.by_backend[backend.name]
        if not backend.counts and ran(summary):
            passed = summary.statuses["passed"]
            yield plain(
                f"{backend.name}: {passed} of {summary.models} declarations hold; no model ran, counts for nothing"
            )
    for status, words in (
        ("imported", "imported from other machines"),
        ("imported_stale", "imported, and stale since"),
        ("no_hardware", "no hardware here"),
        ("nightly", "only with --config=nightly"),
        ("absent", "no implementation yet"),
    ):
        idle = [
            f"{backend.name} ({coverage.by_backend[backend.name].statuses[status]})"
            for backend in coverage.backends
            if coverage.by_backend[backend.name].statuses[status]
        ]
        if idle:
            yield plain(f"{words} (cells): {', '.join(idle)}", STYLES[status])
    for name, found in _recorded(coverage).items():
        said = ", ".join(f"{count} {words}" for words, count in found.items())
        yield plain(f"of these by the history, not by this build: {name} {said}", STYLES["nightly"])
    for device in sorted({_device(cell) for cell in coverage.cells if cell.imported}):
        yield plain(f"imported from: {device}", STYLES["imported"])
    if coverage.inventory and coverage.inventory.without_model:
        yield plain(without_model(coverage.inventory), "dim")
    if coverage.inventory and coverage.inventory.vanished:
        yield plain(f"declared, but not in the environment: {', '.join(coverage.inventory.vanished)}", "bold red")


def _recorded(coverage: Coverage) -> dict[str, Counter[str]]:
    """Returns for each backend how many cells, left to `--config=nightly`, were recorded when and as what."""
    found: dict[str, Counter[str]] = {}
    for cell in coverage.cells:
        if cell.recorded:
            date, status, _ = cell.recorded.split()
            found.setdefault(cell.backend, Counter())[f"{status.replace('_', ' ')} on {date}"] += 1
    return found


def _device(cell: Cell) -> str:
    return f"{cell.backend}: {', '.join(f'{name} {value}' for name, value in sorted(cell.device.items()))}"


def _attention(coverage: Coverage) -> Iterator[RenderableType]:
    """Yields each cell that fails its test: what, where, why."""
    cells = [cell for cell in coverage.cells if cell.status in ATTENTION]
    if cells:
        yield plain("Needs attention", "bold")
    for cell in cells:
        yield Text.assemble(plain(_WORDS[cell.status], STYLES[cell.status]), " ", _where(cell))
        yield _indented(cell.reason)
    if cells:
        yield Text()


def _counts(coverage: Coverage, today: datetime.date) -> Iterator[RenderableType]:
    """Yields how many failures are expected, by check, and how many models are not to be had."""
    cells = [cell for cell in coverage.cells if cell.status == "expected_failure"]
    if cells:
        expired = sum(cell.known_failure.expires < today.isoformat() for cell in cells if cell.known_failure)
        yield plain(f"Expected failures: {len(cells)}{f', {expired} EXPIRED' if expired else ''}", "bold")
        by_check = Counter(cell.failed_check or "the cell" for cell in cells).most_common()
        shown = by_check if len(by_check) <= _CHECKS_IN_BRIEF else by_check[: _CHECKS_IN_BRIEF - 1]
        for check, count in shown:
            yield _indented(f"{count} at {check}")
        rest = len(cells) - sum(count for _, count in shown)
        if rest:
            yield _indented(f"{rest} at {len(by_check) - len(shown)} other checks")
    gone = [model for model in coverage.models if model.unavailable]
    if gone:
        packages = sum(bool(model.package) for model in gone)
        yield plain(f"Not to be had: {len(gone)} models, {packages} of them for want of a package", "bold")
    if cells or gone:
        yield plain("Each with its reason: bazel run //:coverage, without --brief")
        yield Text()


def _expected(coverage: Coverage, today: datetime.date) -> Iterator[RenderableType]:
    """Yields each expected failure with the declaration's reason, link and date of expiry."""
    cells = [cell for cell in coverage.cells if cell.status == "expected_failure"]
    if cells:
        yield plain("Expected failures", "bold")
    for cell in cells:
        yield Text.assemble(plain("XFAIL", STYLES[cell.status]), " ", _where(cell))
        known = cell.known_failure
        yield _indented(known.reason if known else cell.reason)
        if known and known.issue:
            yield _indented(known.issue)
        if known:
            expired = known.expires < today.isoformat()
            yield _indented(f"{'EXPIRED' if expired else 'expires'} {known.expires}", "bold red" if expired else "")
    if cells:
        yield Text()


def _unavailable(coverage: Coverage) -> Iterator[RenderableType]:
    """Yields each model that no cell can run, with the reason."""
    models = [model for model in coverage.models if model.unavailable]
    if models:
        yield plain("Declared, and not to be had", "bold")
    for model in models:
        word = f"no package {model.package}" if model.package else "absent"
        yield Text.assemble(plain(model.label), " ", plain(word, "dim"))
        yield _indented(model.unavailable)
    if models:
        yield Text()


def _where(cell: Cell) -> Text:
    check = f"at {cell.failed_check}, " if cell.failed_check else ""
    return plain(f"{cell.label} {check}level {cell.level}")


def _indented(text: str, style: str = "") -> RenderableType:
    return Padding(plain(text, style), (0, 0, 0, 2), expand=False)


def _summary(coverage: Coverage) -> RenderableType:
    """Returns the table by category and tier."""
    rows = []
    for category, whole in coverage.by_category.items():
        groups = [group for group in coverage.groups if group.category == category]
        rows += [_row(category, group.tier, group.summary) for group in groups]
        if not groups:
            rows.append(_row(category, "", whole))
    rows.append(_row("total", "", coverage.total, "bold"))
    columns = ("category", "tier", "declared", "covered", "deepest level")
    return table("Coverage by category and tier", columns, rows, numbers=("declared", "covered"))


def _row(category: str, tier: str, summary: Summary, style: str = "") -> list[Text]:
    complete = summary.models and summary.covered == summary.models
    covered = plain(str(summary.covered), "green" if complete else "red" if summary.models else "dim")
    return [
        plain(category, style),
        plain(tier, style),
        plain(str(summary.models), style),
        covered,
        plain(_levels(summary) or "-", style),
    ]


def _models(coverage: Coverage) -> Iterator[RenderableType]:
    """Yields the grid of models and backends; backends without any run are in the notes instead."""
    shown = [backend for backend in coverage.backends if ran(coverage.by_backend[backend.name])]
    cells = {(cell.model, cell.backend): cell for cell in coverage.cells}
    for start in range(0, len(shown), _BACKENDS_IN_A_ROW):
        chunk: list[Backend] = shown[start : start + _BACKENDS_IN_A_ROW]
        rows = [
            [plain(f"{model.category}/{model.name}"), *(_mark(cells[model.label, backend.name]) for backend in chunk)]
            for model in coverage.models
        ]
        yield Text()
        headers = [backend.name if backend.counts else f"{backend.name} (never counts)" for backend in chunk]
        yield table("Models", ("model", *headers), rows)


def _mark(cell: Cell) -> Text:
    """Returns the cell in a few characters: its level, after its status where that is not `passed`."""
    words = [_WORDS[cell.status]] if cell.status in _WORDS else []
    if cell.runs:
        words.append(cell.level)
    return plain(" ".join(words), STYLES[cell.status])
