"""The declarations as the build graph has them: what a genquery with `--output=streamed_jsonproto` prints.

One JSON object a line for each target of the rule `hf_model_declaration`, with defaults filled in. Nothing is built.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from report import strict
from report.declaration import CATEGORIES, TIERS

RULE = "hf_model_declaration"


@dataclasses.dataclass(frozen=True)
class Declared:
    """One model as the BUILD file declares it; the names are the rule's attributes.

    Attributes:
      folder: the model folder of one that no cell can run, where it has one; of the others the model type says it.
      unavailable: why no cell can run it; empty where one can.
      location: `models/decoder/llama/BUILD:3:9`.
    """

    label: str
    name: str
    category: str
    tier: str
    task: str
    model_type: str
    main_class: str
    folder: str
    environment: str
    unavailable: str
    location: str


def read(path: Path) -> list[Declared]:
    """Returns the declarations in the genquery's output at `path`; raises InputError where `parse` does."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise strict.InputError(f"{path}: cannot be read ({error}); build it again") from None
    return parse(text)


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
