"""The declaration format refuses what it does not know."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from harness import spec
from report import declaration
from report.strict import InputError
from tests.report import samples


def _load(tmp_path: Path, **changes: Any) -> declaration.Declaration:
    value = {"version": 1, **dataclasses.asdict(samples.declaration(known_failures=(samples.known_failure(),)))}
    path = tmp_path / "llama.declaration.json"
    path.write_text(json.dumps({**value, **changes}))
    return declaration.load(path)


def test_declaration_survives_its_file(tmp_path: Path) -> None:
    assert _load(tmp_path) == samples.declaration(known_failures=(samples.known_failure(),))


def test_cell_label_is_in_the_declarations_package() -> None:
    assert samples.declaration().cell_label("cpu") == "//models/decoder/llama:cpu"


def test_known_failure_of_a_check_goes_before_one_of_the_backend() -> None:
    of_check, of_backend = samples.known_failure("decoder::causality"), samples.known_failure("cpu")
    model = samples.declaration(known_failures=(of_backend, of_check))
    assert model.known_failure("cpu", "decoder::causality") == of_check
    assert model.known_failure("cpu", "decoder::cache") == of_backend
    assert model.known_failure("cuda", "decoder::cache") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "newer than this checkout"),
        ({"version": 0}, "build it again"),
        ({"version": True}, "version True"),
        ({"colour": "red"}, r"unknown fields \['colour'\]"),
        ({"tier": 3}, "tier: expected str, found int"),
        ({"backends": "cpu"}, "backends: expected a list"),
        ({"backends": ["cpu", None]}, r"backends\[1\]: expected str"),
        ({"known_failures": [{"match": "cpu"}]}, r"known_failures\[0\]: missing fields"),
        ({"limits": {"cpu_seconds": "60"}}, "limits.cpu_seconds: expected int"),
        ({"category": "decoders"}, "category 'decoders' is not one of"),
        ({"tier": "urgent"}, "tier 'urgent' is not one of"),
        ({"label": "llama"}, "is no label"),
    ],
)
def test_unknown_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _load(tmp_path, **changes)


@pytest.mark.parametrize("text", ["", "[1", "[" * 100_000, '{"version": NaN}', "[]", "\x00"])
def test_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "llama.declaration.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"llama\.declaration\.json: "):
        declaration.load(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        declaration.load(tmp_path / "llama.declaration.json")


def test_categories_are_those_that_have_checks() -> None:
    assert declaration.CATEGORIES == spec.CATEGORIES
