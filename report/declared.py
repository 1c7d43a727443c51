"""`bazel run //:declared`: what is declared, from the build graph alone: nothing is built and no model runs.

The input is the output of a genquery with `--output=streamed_jsonproto`: one JSON object a line for each target of
the rule `hf_model_declaration`, with defaults filled in.

Exit codes: 0 the table was made; 1 the command line is wrong; 2 the input cannot be used, and the message says why.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags
from rich.console import RenderableType

from report import files, strict, terminal
from report.declaration import CATEGORIES, TIERS

VERSION = 1

RULE = "hf_model_declaration"

_QUERY = flags.DEFINE_string("query", None, "The genquery's output.", required=True)
_ROOT = flags.DEFINE_string("root", None, "Folder that --query is relative to. Without it, it is a runfiles path.")
_JSON = flags.DEFINE_string("json", None, "Write declared.json to this file.")


@dataclasses.dataclass(frozen=True)
class Declared:
    """One model as the BUILD file declares it; the names are the rule's attributes.

    Attributes:
      location: `models/decoder/llama/BUILD:3:9`.
    """

    label: str
    name: str
    category: str
    tier: str
    task: str
    model_type: str
    main_class: str
    environment: str
    location: str


def parse(text: str) -> list[Declared]:
    """Returns the declarations that the genquery's output `text` holds, by category, tier, name.

    Raises:
      strict.InputError: a line is not what genquery writes, or nothing is declared.
    """
    found = [_declared(rule, number) for number, rule in _rules(text)]
    if not found:
        raise strict.InputError("no model is declared; declare one as docs/add-a-model.md shows")
    return sorted(found, key=lambda item: (_rank(CATEGORIES, item.category), _rank(TIERS, item.tier), item.name))


def _rank(vocabulary: Sequence[str], word: str) -> tuple[int, str]:
    """Returns what sorts `word` by `vocabulary`; genquery runs no rule, so a word outside it comes last."""
    return (vocabulary.index(word) if word in vocabulary else len(vocabulary), word)


def _rules(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            target = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise strict.InputError(f"line {number}: not JSON ({error}); use --output=streamed_jsonproto") from None
        rule = target.get("rule") if isinstance(target, dict) else None
        if isinstance(rule, dict) and rule.get("ruleClass") == RULE:
            yield number, rule


def _declared(rule: dict[str, Any], number: int) -> Declared:
    try:
        strings = {item["name"]: item.get("stringValue", "") for item in rule["attribute"]}
        names = [field.name for field in dataclasses.fields(Declared)]
        values = {name: strings[name] for name in names if name not in ("label", "location")}
        return Declared(label=rule["name"], location=rule.get("location", ""), **values)
    except (KeyError, TypeError) as error:
        raise strict.InputError(f"line {number}: a rule without {error}; use --output=streamed_jsonproto") from None


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
        models = parse(_text(files.locator(_ROOT.value)(_QUERY.value)))
        if _JSON.value:
            files.write(_JSON.value, to_json(models))
    except strict.InputError as error:
        print(f"declared: {terminal.safe(str(error))}", file=sys.stderr)
        return 2
    terminal.show(view(models))
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise strict.InputError(f"{path}: cannot be read ({error}); build it again") from None


if __name__ == "__main__":
    app.run(main)
