"""The grid file and what it points to: damage and other versions are refused by the file's name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from report import files, grid
from report.strict import InputError
from tests.report import samples

FILES = ("grid.json", "0.declaration.json", "0.verdict.json", "inventory.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a folder with a grid of one model, its verdict and an inventory."""
    llama = samples.declaration()
    contents = samples.contents([llama], [samples.verdict(llama)])
    samples.write_grid(tmp_path, dataclasses.replace(contents, inventory={"llama": ("LlamaModel",)}))
    return tmp_path


def _load(folder: Path) -> grid.Contents:
    return grid.load(folder / "grid.json", files.locator(str(folder)))


def _change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_grid_is_read(folder: Path) -> None:
    llama = samples.declaration()
    assert _load(folder) == grid.Contents(
        declarations=(llama,),
        verdicts=(samples.verdict(llama),),
        backends=samples.TABLE,
        inventory={"llama": ("LlamaModel",)},
    )


@pytest.mark.parametrize("name", FILES[:3])
@pytest.mark.parametrize(("version", "message"), [(2, "it is newer than this checkout"), (0, "build it again")])
def test_other_version_is_refused(folder: Path, name: str, version: int, message: str) -> None:
    _change(folder / name, version=version)
    with pytest.raises(InputError, match=rf"{name}.*version {version}, this report reads 1; {message}"):
        _load(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("text", ["", "[]", '{"version": 1, "llama": {}}', "\x00", "[" * 100_000])
def test_damaged_file_is_refused(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=name):
        _load(folder)


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name}.*No such file"):
        _load(folder)


def test_file_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "0.verdict.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match=r"0\.verdict\.json: verdict is not JSON"):
        _load(folder)


def test_verdict_with_a_field_of_another_type_is_refused(folder: Path) -> None:
    _change(folder / "0.verdict.json", reason=7)
    with pytest.raises(InputError, match="reason: expected str, found int"):
        _load(folder)


def test_backend_may_say_that_it_has_no_implementation(folder: Path) -> None:
    _change(folder / "grid.json", backends=[dataclasses.asdict(samples.CPU) | {"absent": "no adapter yet"}])
    assert _load(folder).backends[0].absent == "no adapter yet"
