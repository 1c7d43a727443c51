"""The report as Markdown: complete, and proof against what a model may say."""

from __future__ import annotations

import dataclasses

from report import markdown
from report.assemble import assemble
from report.words import code
from tests.report.samples import HOSTILE, contents, declaration, known_failure, verdict


def _rendered() -> str:
    models = [
        declaration(known_failures=(known_failure(expires="2026-01-01"),)),
        declaration("gpt2"),
        declaration("gone", backends=(), unavailable="it has no wheel", package="natten"),
    ]
    found = [
        verdict(models[0], status="expected_failure", level="forward", failed_check="decoder::causality"),
        verdict(models[1], status="failed", level="built", reason=HOSTILE, failed_check="decoder::x"),
    ]
    models[0] = dataclasses.replace(models[0], unexercised_classes={"LlamaModel": "a part of the other"})
    inventory = {
        "llama": ("LlamaForCausalLM", "LlamaModel"),
        "mamba": ("MambaModel",),
        "rwkv": ("RwkvModel",),
        "byt5": (),
    }
    grid = dataclasses.replace(contents(models, found), inventory=inventory, undeclared={"mamba": "not finished"})
    return markdown.render(assemble(grid), "2026-11-24", "abc+", "../")


def test_report_says_what_is_wrong_missing_and_expired() -> None:
    text = _rendered()
    for line in (
        "- 1 of 3 declared models covered on cpu: 1 forward, 1 built, 1 declared (1 failed, 1 expected failure)",
        "| `//models/decoder/llama:cpu` | forward | `decoder::causality` | upstream masks nothing "
        "| EXPIRED 2026-01-01 |",
        "- [gone](../models/decoder/gone/BUILD), no package natten: it has no wheel",
        "- mamba (1 classes): not finished",
        "- rwkv (1 classes): no reason recorded",
        "2 of 3 model folders have no declaration.",
        "There are model folders without a model class, so nothing to declare: 1 (byt5).",
        "- `LlamaModel` (llama): a part of the other",
        "| [gpt2](../models/decoder/gpt2/BUILD) | decoder | high | ✕ built |",
    ):
        assert line in text.splitlines(), line
    assert "look: `./bazelw test //models/decoder/gpt2:cpu`" in text


def test_every_table_has_one_width() -> None:
    tables: list[list[str]] = [[]]
    for line in _rendered().splitlines():
        if line.startswith("|"):
            tables[-1].append(line)
        elif tables[-1]:
            tables.append([])
    assert len(tables) == 5
    for rows in filter(None, tables):
        assert len({row.replace("\\|", "").count("|") for row in rows}) == 1


def test_hostile_text_is_escaped() -> None:
    text = _rendered()
    assert "\x1b" not in text and "\u202e" not in text
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert "[a](javascript" not in text
    assert code("a`b|c\nd") == "`a’b¦c d`"
