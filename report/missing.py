"""What the inventory has and the grid does not: folders without a declaration, and classes that nothing exercised."""

from __future__ import annotations

from report.coverage_format import Coverage


def folders(coverage: Coverage) -> list[tuple[str, int, str]]:
    """Returns each folder without a declaration: its name, its number of public classes, and the reason or nothing."""
    detail = coverage.inventory.detail if coverage.inventory else ()
    return [(item.folder, len(item.classes), item.missing_because) for item in detail if not item.models]


def classes(coverage: Coverage) -> list[tuple[str, str, str]]:
    """Returns each class of a declared model that no real run exercised: folder, class, and the reason or nothing."""
    detail = coverage.inventory.detail if coverage.inventory else ()
    return [
        (item.folder, name, item.unexercised.get(name, ""))
        for item in detail
        if item.models
        for name in item.classes
        if name not in item.exercised
    ]
