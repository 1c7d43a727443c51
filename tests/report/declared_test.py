"""The declared program reads what genquery writes, and needs no build."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from report.graph import Declared
from tests.report import samples


def _run(tmp_path: Path, *lines: str) -> tuple[int, str, str]:
    (tmp_path / "query").write_text("".join(f"{line}\n" for line in lines))
    result = samples.run("declared", f"--root={tmp_path}", "--query=query", f"--json={tmp_path}/declared.json")
    return result.returncode, result.stdout, result.stderr


def test_models_are_shown_by_category_and_tier(tmp_path: Path) -> None:
    source = json.dumps({"type": "SOURCE_FILE", "sourceFile": {"name": "//rules:defs.bzl"}})
    lines = (
        samples.query_line("zamba"),
        source,
        samples.query_line("x", rule="filegroup"),
        samples.query_line("bert", "encoder", tier="critical"),
    )
    code, shown, errors = _run(tmp_path, *lines)
    assert (code, errors) == (0, "")
    assert shown.startswith("2 models declared (transformers-5.23); nothing was run\n")
    assert shown.index("encoder/bert") < shown.index("decoder/zamba")
    assert "audio" in shown, "an empty category is shown"
    data = json.loads((tmp_path / "declared.json").read_text())
    assert data["version"] == 2
    assert Declared(**data["models"][0]).name == "bert"


def test_attribute_outside_the_vocabulary_is_shown_not_lost(tmp_path: Path) -> None:
    code, shown, _ = _run(tmp_path, samples.query_line("mystery", category="robotics", tier="urgent"))
    assert code == 0
    assert "robotics/mystery" in shown


def test_table_fits_80_columns(tmp_path: Path) -> None:
    long = "AVeryLongModelNameForConditionalGenerationWithTimestamps"
    _, shown, _ = _run(
        tmp_path, samples.query_line("a_model_with_quite_a_long_name", "encoder_decoder", main_class=long)
    )
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "…" not in shown


def test_hostile_attribute_stays_text(tmp_path: Path) -> None:
    _, shown, _ = _run(tmp_path, samples.query_line("llama", main_class="[red]X\x1b[2J"))
    assert "\x1b" not in shown and "[red]X" in shown


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no model is declared"),
        ("//models/decoder/llama:llama", "line 1: not JSON"),
        ('{"rule": {"ruleClass": "hf_model_declaration"}}', "line 1: a rule without 'attribute'"),
    ],
)
def test_other_input_exits_2(tmp_path: Path, line: str, message: str) -> None:
    code, shown, errors = _run(tmp_path, line)
    assert (code, shown) == (2, "")
    assert message in errors


def test_missing_attribute_is_named(tmp_path: Path) -> None:
    target = json.loads(samples.query_line("llama"))
    target["rule"]["attribute"] = [item for item in target["rule"]["attribute"] if item["name"] != "tier"]
    code, _, errors = _run(tmp_path, json.dumps(target))
    assert code == 2 and "a rule without 'tier'" in errors
