"""`bazel run //:declared`: what is declared, from the build graph alone: nothing is built and no model runs.

Exit codes: 0 the table was made; 1 the command line is wrong; 2 the input cannot be used, and the message says why.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence

from absl import app, flags
from rich.console import RenderableType

from report import files, graph, strict, terminal
from report.declaration import CATEGORIES, TIERS
from report.graph import Declared

VERSION = 2

_QUERY = flags.DEFINE_string("query", None, "The genquery's output.", required=True)
_ROOT = flags.DEFINE_string("root", None, "Folder that --query is relative to. Without it, it is a runfiles path.")
_JSON = flags.DEFINE_string("json", None, "Write declared.json to this file.")


def to_json(models: Sequence[Declared]) -> str:
    """Returns `declared.json`: `version` and `models`, each with the fields of `Declared`."""
    data = {"version": VERSION, "models": [dataclasses.asdict(model) for model in models]}
    return json.dumps(data, indent=2, sort_keys=True) + "\n"


def view(models: Sequence[Declared]) -> list[RenderableType]:
    """Returns what a terminal shows: the counts by category and tier, then every model."""
    categories = [*CATEGORIES, *sorted({model.category for model in models} - set(CATEGORIES))]
    tiers = [tier for tier in TIERS if any(model.tier == tier for model in models)]
    counts = [
        [category, *(_count(models, category, tier) for tier in tiers), _count(models, category)]
        for category in categories
    ]
    counts.append(["total", *(_count(models, None, tier) for tier in tiers), _count(models)])
    rows = [[f"{model.category}/{model.name}", model.tier, model.main_class] for model in models]
    environments = sorted({model.environment for model in models})
    return [
        terminal.plain(f"{len(models)} models declared ({', '.join(environments)}); nothing was run", "bold"),
        terminal.plain(""),
        terminal.table("Declared by category and tier", ("category", *tiers, "all"), counts, numbers=(*tiers, "all")),
        terminal.plain(""),
        terminal.table("Models", ("model", "tier", "main class"), rows),
    ]


def _count(models: Sequence[Declared], category: str | None = None, tier: str | None = None) -> str:
    return str(sum(category in (None, model.category) and tier in (None, model.tier) for model in models))


def main(argv: Sequence[str]) -> int:
    """Shows the table and returns the exit code."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; a file to write is --json=FILE")
    try:
        models = graph.read(files.locator(_ROOT.value)(_QUERY.value))
        if _JSON.value:
            files.write(_JSON.value, to_json(models))
    except strict.InputError as error:
        print(f"declared: {terminal.safe(str(error))}", file=sys.stderr)
        return 2
    terminal.show(view(models))
    return 0


if __name__ == "__main__":
    app.run(main)
