"""Verdicts of other machines: what is imported, what is refused by name, and how a report shows them."""

from __future__ import annotations

import dataclasses
import datetime
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.verdict import Verdict
from report import assemble, coverage_view, gate, history, import_verdicts, imported, markdown, page, terminal
from report.coverage_format import Coverage
from report.declaration import TIERS
from report.imported import Cell, Manifest, Record
from tests.report import samples

LLAMA = samples.declaration("llama")
BERT = samples.declaration("bert", "encoder")
DEVICE = {"capability": "9.0", "device": "cuda", "driver": "570.1", "model": "NVIDIA H100"}
PACKAGES = {"python": "3.12.1", "torch": "2.13.0+cu129", "transformers": "5.23.0"}


def _cell(model: Any, **fields: str) -> Cell:
    values = {
        "backend": "cuda",
        "category": model.category,
        "environment": model.environment,
        "harness": "h",
        "name": model.name,
        "reference": "",
        "spec": f"s-{model.name}",
        "tier": model.tier,
    }
    return Cell(**{**values, **fields})


MANIFEST = Manifest(
    backends={"cuda": {"device": "cuda"}},
    cells={model.cell_label("cuda"): _cell(model) for model in (LLAMA, BERT)},
    files={},
    transformers={"transformers-5.23": "5.23.0"},
)


def _verdict(model: Any = LLAMA, **fields: Any) -> Verdict:
    return samples.verdict(model, "cuda", **{"device": DEVICE, **fields})


def _record(model: Any = LLAMA, **fields: Any) -> Record:
    values: dict[str, Any] = {
        "cell": model.cell_label("cuda"),
        "date": "2026-11-28",
        "spec": f"s-{model.name}",
        "harness": "h",
        "reference": "",
        "packages": PACKAGES,
        "verdict": _verdict(model),
    }
    return Record(**{**values, **fields})


def _results(folder: Path, *records: Record) -> Path:
    """Writes records as the bundle does; returns the folder."""
    for index, record in enumerate(records):
        path = folder / "results" / "records" / str(index) / "cuda.json"
        path.parent.mkdir(parents=True)
        path.write_text(record.to_line())
    return folder / "results"


def _import(folder: Path, source: Path) -> tuple[int, str, str]:
    """Runs the command; returns exit code, output and errors."""
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({"version": 1, **dataclasses.asdict(MANIFEST)}))
    program = Path(imported.__file__).with_name("import_verdicts.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [f"--root={folder}", "--manifest=manifest.json", f"--into={folder / 'kept'}", str(source)]
    done = subprocess.run(
        [sys.executable, str(program), *arguments], check=False, capture_output=True, text=True, env=environment
    )
    return done.returncode, done.stdout, done.stderr


def _kept(folder: Path) -> tuple[Record, ...]:
    return imported.read(folder / "kept" / "cuda.jsonl")


def test_results_are_kept_one_line_a_cell(tmp_path: Path) -> None:
    source = _results(tmp_path, _record(LLAMA), _record(BERT))
    code, out, err = _import(tmp_path, source)
    assert (code, err) == (0, "")
    assert "2 verdicts on cuda, 2 of them green; capability 9.0, device cuda, driver 570.1, model NVIDIA H100" in out
    assert _kept(tmp_path) == (_record(LLAMA), _record(BERT))
    lines = (tmp_path / "kept" / "cuda.jsonl").read_text().splitlines()
    assert [json.loads(line)["cell"] for line in lines] == [LLAMA.cell_label("cuda"), BERT.cell_label("cuda")]


def test_a_zip_is_as_good_as_its_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "results.zip", "w") as packed:
        packed.writestr("records/decoder/llama/cuda.json", _record().to_line())
        packed.writestr("records/decoder/llama/cuda.log.txt", "what a person reads")
    assert _import(tmp_path, tmp_path / "results.zip")[0] == 0
    assert _kept(tmp_path) == (_record(),)


def test_a_second_import_replaces_the_same_device_and_keeps_another(tmp_path: Path) -> None:
    other = _record(verdict=_verdict(device={**DEVICE, "model": "NVIDIA A100"}))
    _import(tmp_path, _results(tmp_path / "1", _record(), other))
    _import(tmp_path, _results(tmp_path / "2", _record()))
    code, _, err = _import(tmp_path, _results(tmp_path / "3", other))
    assert code == 0, err
    newer = _record(date="2026-12-01")
    _import(tmp_path, _results(tmp_path / "4", newer))
    assert sorted((record.date, record.verdict.device["model"]) for record in _kept(tmp_path)) == [
        ("2026-11-28", "NVIDIA A100"),
        ("2026-12-01", "NVIDIA H100"),
    ]


def _text(**changes: Any) -> str:
    value = json.loads(_record().to_line())
    for path, item in changes.items():
        *outer, last = path.split("__")
        inner = value
        for step in outer:
            inner = inner[step]
        inner[last] = item
    return json.dumps(value)


BAD: Mapping[str, tuple[str, str]] = {
    "truncated": (_record().to_line()[:-40], "cut short or no JSON"),
    "no record": ('{"version": 1}', "no record of a cell"),
    "newer record": (_text(version=2), "it is newer than this checkout, update the checkout"),
    "newer verdict": (_text(verdict__version=2), "verdict: version 2, this report reads 1; it is newer"),
    "unknown field": (_text(verdict__colour="red"), "unknown fields ['colour']"),
    "unknown status": (_text(verdict__status="fine"), "'fine' 'consistent' is no status and level"),
    "mock": (_text(verdict__level="mock"), "'passed' 'mock' is no status and level"),
    "bad date": (_text(date="today"), "'today' is no date"),
    "undeclared": (_text(cell="//models/decoder/gone:cuda"), "//models/decoder/gone:cuda is no cell of this checkout"),
    "another model": (_text(verdict__label="//models/encoder/bert:cuda"), "a verdict of another cell: its label is"),
    "another name": (_text(verdict__name="bert"), "its name is 'bert', that of //models/decoder/llama:cuda 'llama'"),
    "another environment": (_text(verdict__environment="transformers-4.57"), "its environment is 'transformers-4.57'"),
    "another spec": (_text(spec="other"), "changed since: its declaration or backend; build the bundle"),
    "another harness": (_text(harness="other"), "changed since: the harness; build the bundle"),
    "another transformers": (_text(packages__transformers="5.22.2"), "changed since: its version of transformers"),
    "another device": (_text(verdict__device={"device": "cpu"}), "ran on device cpu, which identifies no cuda"),
    "no device": (_text(verdict__device={}), "ran on no device, which identifies no cuda"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_entry_is_named_and_nothing_is_imported(tmp_path: Path, case: str) -> None:
    text, message = BAD[case]
    source = _results(tmp_path, _record(BERT))
    bad = source / "records" / "bad.json"
    bad.write_text(text)
    code, out, err = _import(tmp_path, source)
    assert (code, out) == (2, "")
    assert f"import_verdicts: {bad}: " in err
    assert message in err
    assert err.endswith("nothing was imported\n")
    assert not (tmp_path / "kept").exists()


def test_a_bad_entry_leaves_what_was_there(tmp_path: Path) -> None:
    _import(tmp_path, _results(tmp_path / "1", _record()))
    before = (tmp_path / "kept" / "cuda.jsonl").read_bytes()
    source = _results(tmp_path / "2", _record(BERT), _record(spec="other"))
    assert _import(tmp_path, source)[0] == 2
    assert (tmp_path / "kept" / "cuda.jsonl").read_bytes() == before


@pytest.mark.parametrize("name", ["../records/llama.json", "records/../../llama.json", "/records/llama.json"])
def test_a_name_that_leads_out_of_the_zip_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "results.zip", "w") as packed:
        packed.writestr("records/decoder/bert/cuda.json", _record(BERT).to_line())
        packed.writestr(name, _record().to_line())
    code, _, err = _import(tmp_path, tmp_path / "results.zip")
    assert code == 2
    assert f"{name}: leads out of the zip" in err
    assert not (tmp_path / "kept").exists()


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    source = _results(tmp_path, _record(BERT))
    (tmp_path / "elsewhere.json").write_text(_record().to_line())
    (source / "records" / "link.json").symlink_to(tmp_path / "elsewhere.json")
    code, _, err = _import(tmp_path, source)
    assert (code, "leads out of" in err) == (2, True)


def test_a_zip_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as packed:
        packed.writestr("records/decoder/llama/cuda.json", _record().to_line())
    (tmp_path / "results.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:-30])
    code, _, err = _import(tmp_path, tmp_path / "results.zip")
    assert (code, "results.zip: damaged or cut short" in err) == (2, True)


def _packed(path: Path) -> bytearray:
    """Writes a zip as the bundle does; returns its bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("records/decoder/bert/cuda.json", _record(BERT).to_line())
        packed.writestr("records/decoder/llama/cuda.json", _record().to_line())
    return bytearray(path.read_bytes())


def test_a_flipped_byte_is_told_by_its_entry_and_nothing_is_imported(tmp_path: Path) -> None:
    source = tmp_path / "results.zip"
    data = _packed(source)
    with zipfile.ZipFile(source) as packed:
        info = packed.getinfo("records/decoder/llama/cuda.json")
    data[info.header_offset + 30 + len(info.filename) + 5] ^= 0xFF
    source.write_bytes(data)
    code, out, err = _import(tmp_path, source)
    assert (code, out) == (2, "")
    assert f"import_verdicts: {source}: {info.filename}: damaged (" in err
    assert err.endswith("nothing was imported\n")
    assert not (tmp_path / "kept").exists()


def test_no_flipped_byte_is_a_traceback_or_another_record(tmp_path: Path) -> None:
    source = tmp_path / "results.zip"
    whole = _packed(source)
    for place in range(len(whole)):
        for bits in (0x04, 0xFF):
            data = bytearray(whole)
            data[place] ^= bits
            source.write_bytes(data)
            records, problems = import_verdicts.collect(source, MANIFEST)
            assert problems or set(map(Record.to_line, records)) <= {_record(BERT).to_line(), _record().to_line()}


def test_a_source_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    assert "no such file or folder" in _import(tmp_path, tmp_path / "nowhere")[2]
    (tmp_path / "empty").mkdir()
    assert "holds no record" in _import(tmp_path, tmp_path / "empty")[2]


def test_two_records_of_one_cell_are_refused(tmp_path: Path) -> None:
    err = _import(tmp_path, _results(tmp_path, _record(), _record()))[2]
    assert "a second record of //models/decoder/llama:cuda" in err


def _coverage(*records: Record, **contents: Any) -> Coverage:
    cpu = [samples.verdict(model) for model in (LLAMA, BERT)]
    made = samples.contents([LLAMA, BERT], cpu)
    return assemble.assemble(dataclasses.replace(made, imported=imported.current(records, MANIFEST), **contents))


def _of(coverage: Coverage, model: Any = LLAMA) -> Any:
    return next(cell for cell in coverage.cells if cell.label == model.cell_label("cuda"))


def test_a_pass_of_today_is_imported_and_counts_on_its_backend() -> None:
    coverage = _coverage(_record())
    cell = _of(coverage)
    assert (cell.status, cell.level, cell.covered, cell.imported) == ("imported", "consistent", True, True)
    assert cell.device == DEVICE
    assert cell.reason == (
        "imported, ran on 2026-11-28: capability 9.0, device cuda, driver 570.1, model NVIDIA H100; "
        "torch 2.13.0+cu129, transformers 5.23.0"
    )
    summary = coverage.by_backend["cuda"]
    assert (summary.covered, summary.statuses["imported"], summary.statuses["passed"]) == (1, 1, 0)
    assert _of(coverage, BERT).status == "no_hardware"


def test_the_runtimes_own_packages_are_shown() -> None:
    cell = _of(_coverage(_record(packages={**PACKAGES, "onnxruntime": "1.32.0", "numpy": "2.4.6"})))
    assert cell.reason.endswith("; torch 2.13.0+cu129, transformers 5.23.0, onnxruntime 1.32.0")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"spec": "other"}, "its declaration or backend"),
        ({"harness": "other"}, "the harness"),
        ({"reference": "other"}, "its recorded outputs"),
        ({"packages": {**PACKAGES, "transformers": "5.22.2"}}, "its version of transformers"),
    ],
)
def test_what_changed_since_is_stale_and_counts_for_nothing(changed: Mapping[str, Any], why: str) -> None:
    cell = _of(_coverage(_record(**changed)))
    assert (cell.status, cell.level, cell.covered, cell.runs) == ("imported_stale", "declared", False, 0)
    assert cell.reason.startswith(f"changed since: {why}; imported, ran on 2026-11-28")


def test_a_failure_of_another_machine_needs_attention() -> None:
    failed = _verdict(status="failed", reason="row 0 differs", failed_check="decoder::causality", runs=2)
    coverage = _coverage(_record(verdict=failed))
    cell = _of(coverage)
    assert (cell.status, cell.covered, cell.imported) == ("failed", False, True)
    assert cell.reason.startswith("row 0 differs; imported, ran on")
    quotas: Mapping[str, Mapping[str, float]] = {tier: {} for tier in TIERS}
    offences = [offence.what for offence in gate.judge(coverage, quotas, history.History(), {}, "2026-11-28")]
    assert any("//models/decoder/llama:cuda: failed at decoder::causality" in what for what in offences)


def test_this_builds_own_verdict_comes_first() -> None:
    own = samples.verdict(LLAMA, "cuda", device={"device": "cuda"})
    made = samples.contents([LLAMA], [samples.verdict(LLAMA), own])
    made = dataclasses.replace(made, imported=imported.current([_record()], MANIFEST))
    assert _of(assemble.assemble(made)).status == "passed"


def test_of_two_devices_the_one_that_is_not_stale_is_shown() -> None:
    other = _record(date="2026-12-24", harness="other", verdict=_verdict(device={**DEVICE, "model": "NVIDIA A100"}))
    assert _of(_coverage(_record(), other)).device["model"] == "NVIDIA H100"


def test_every_form_of_the_report_names_the_device() -> None:
    coverage = _coverage(_record(), _record(BERT, spec="other"))
    stream = io.StringIO()
    terminal.show(coverage_view.view(coverage, datetime.date(2026, 11, 28)), stream)
    shown = " ".join(stream.getvalue().split())
    assert "imported from other machines (cells): cuda (1)" in shown
    assert "imported, and stale since (cells): cuda (1)" in shown
    assert "cuda: capability 9.0, device cuda, driver 570.1, model NVIDIA H100" in shown
    written = coverage.to_json()
    assert '"status": "imported"' in written and '"model": "NVIDIA H100"' in written
    assert "NVIDIA H100" in page.render(coverage, history.History(), "2026-11-28", "", "")
    assert "imported" in markdown.render(coverage, "2026-11-28")


def test_a_grid_file_brings_them(tmp_path: Path) -> None:
    from report import grid

    made = samples.contents([LLAMA], [samples.verdict(LLAMA)])
    path = samples.write_grid(tmp_path, made)
    value = json.loads(path.read_text())
    (tmp_path / "cuda.jsonl").write_text(imported.to_text([_record()]))
    (tmp_path / "manifest.json").write_text(json.dumps({"version": 1, **dataclasses.asdict(MANIFEST)}))
    path.write_text(json.dumps({**value, "imported": ["cuda.jsonl"], "manifest": "manifest.json"}))
    coverage = assemble.assemble(grid.load(path, lambda name: tmp_path / name))
    assert _of(coverage).status == "imported"
