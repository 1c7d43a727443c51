"""`HF_COVERAGE_REPORT.md`: the grid as Markdown for people who read in a repository or a pull request."""

from __future__ import annotations

from pathlib import Path

import jinja2

from harness.verdict import LEVELS
from report import coverage_view, links, missing
from report.coverage_format import ATTENTION, Coverage
from report.words import MARKS, MEANINGS, code, markdown, spaced

_TEMPLATES = Path(__file__).parent / "templates"


def render(coverage: Coverage, date: str, revision: str = "", root: str = "") -> str:
    """Returns the report.

    Args:
      coverage: the grid.
      date: today, `YYYY-MM-DD`.
      revision: the commit that was built, if it is known.
      root: relative address of the workspace from the file, empty or with a final slash.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=False,  # Markdown has other letters to escape: `finalize` does, for all but what is code already.
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: markdown(value) if type(value) is str else value,
    )
    environment.filters.update(code=lambda text: _Markdown(code(text)), spaced=spaced)
    cells = {(cell.model, cell.backend): cell for cell in coverage.cells}
    shown = [backend for backend in coverage.backends if coverage_view.ran(coverage.by_backend[backend.name])]
    text = environment.get_template("report.md.j2").render(
        attention=[cell for cell in coverage.cells if cell.status in ATTENTION],
        cells=cells,
        coverage=coverage,
        date=date,
        environments=coverage.environments(),
        expected=[cell for cell in coverage.cells if cell.status == "expected_failure"],
        headline=coverage_view.headline(coverage),
        levels=LEVELS,
        marks={status: _Markdown(mark) for status, mark in MARKS.items()},
        meanings=MEANINGS,
        model_link=lambda model: _link(model.name, links.build_file(model, root)),
        models={model.label: model for model in coverage.models},
        revision=revision,
        shown=shown,
        summaries=[
            ("category", coverage.by_category.items()),
            ("tier", coverage.by_tier.items()),
            ("backend", coverage.by_backend.items()),
        ],
        undeclared=missing.folders(coverage),
        unexercised=missing.classes(coverage),
        without_model=coverage_view.without_model,
    )
    return text.rstrip() + "\n"


class _Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


def _link(name: str, address: str) -> str:
    return _Markdown(f"[{markdown(name)}]({address})") if address else markdown(name)
