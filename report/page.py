"""The page: one HTML file with the whole grid, which needs no network and runs no text of the data as code."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from harness.verdict import LEVELS
from report import charts, coverage_view, history, links, missing, page_data
from report.coverage_format import ATTENTION, STATUSES, Coverage, Summary
from report.declaration import CATEGORIES, TIERS
from report.words import MARKS, MEANINGS, safe_text, spaced

TEMPLATES = Path(__file__).parent / "templates"


def render(coverage: Coverage, records: history.History, date: str, revision: str = "", root: str = "") -> str:
    """Returns the page.

    Args:
      coverage: the grid.
      records: what the trend is drawn from, and which of its lines cannot be read.
      date: today, `YYYY-MM-DD`.
      revision: the commit that was built, if it is known.
      root: relative address of the workspace from the page, empty or with a final slash.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: safe_text(value) if type(value) is str else value,
    )
    environment.filters["spaced"] = spaced
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    program = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    environments = coverage.environments()
    names = {model.label: model for model in coverage.models}
    return environment.get_template("page.html.j2").render(
        attention=[cell for cell in coverage.cells if cell.status in ATTENTION],
        backend_rows=_backend_rows(coverage),
        bar=charts.bar,
        category_rows=[(spaced(name), summary, "") for name, summary in coverage.by_category.items()],
        category_names=CATEGORIES,
        coverage=coverage,
        data=Markup(page_data.to_script(coverage, date, root)),
        date=date,
        environments=environments,
        expected=[cell for cell in coverage.cells if cell.status == "expected_failure"],
        figures=_figures(coverage),
        headline=coverage_view.headline(coverage),
        levels=LEVELS,
        links=links,
        marks=MARKS,
        meanings=MEANINGS,
        names=names,
        problems=records.problems,
        program=Markup(program),
        program_hash=_hash(program),
        revision=revision,
        statuses=STATUSES,
        style=Markup(style),
        style_hash=_hash(style),
        tier_names=TIERS,
        tier_rows=[(name, summary, "") for name, summary in coverage.by_tier.items()],
        trend=_trend(records.records, environments[0]),
        undeclared=missing.folders(coverage),
        unexercised=missing.classes(coverage),
    )


def _hash(text: str) -> str:
    """Returns what allows an inline script or style, and no other, by the page's content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _figures(coverage: Coverage) -> list[tuple[int, int, str]]:
    """Returns the figures at the page's head: how many, of how many, what."""
    figures = [(coverage.total.covered, coverage.total.models, "declared models covered")]
    if coverage.named:
        figures.append((coverage.named.covered, coverage.named.models, "models that people named covered"))
    if coverage.inventory:
        detail = coverage.inventory.detail
        figures += [
            (coverage.inventory.declared, coverage.inventory.folders, "model folders declared"),
            (
                sum(len(folder.exercised) for folder in detail),
                sum(len(folder.classes) for folder in detail),
                "public model classes exercised",
            ),
        ]
    return figures


def _backend_rows(coverage: Coverage) -> list[tuple[str, Summary, str]]:
    """Returns each backend's summary, and in place of its bar why nothing ran or counts there; equal ones as one."""
    rows: list[tuple[str, Summary, str]] = []
    for backend in coverage.backends:
        summary = coverage.by_backend[backend.name]
        note = ""
        if backend.absent:
            note = f"absent: {backend.absent}"
        elif not backend.counts:
            note = f"{summary.statuses['passed']} declarations hold; no model ran, counts for nothing"
        elif not coverage_view.ran(summary):
            note = "no hardware here"
        if note and rows and rows[-1][1:] == (summary, note):
            rows[-1] = (f"{rows[-1][0]}, {backend.name}", summary, note)
        else:
            rows.append((backend.name, summary, note))
    return rows


def _trend(records: Sequence[history.Record], environment: str) -> charts.Trend | None:
    return charts.trend(history.rows([record for record in records if record.environment == environment]))
