"""The stored history: what is kept, what is read back, and that nothing is lost which cannot be read."""

from __future__ import annotations

import dataclasses
import datetime
import io
import json
from pathlib import Path

import pytest

from report import coverage_view, history, terminal
from report.assemble import assemble
from report.coverage_format import Coverage
from report.strict import InputError
from tests.report import samples
from tests.report.samples import contents, declaration, verdict


def _coverage(level: str = "consistent", environment: str = "transformers-5.23") -> Coverage:
    models = [declaration(environment=environment), declaration("gpt2", environment=environment)]
    found = [verdict(models[0], level=level), verdict(models[1]), verdict(models[1], "mock")]
    grid = dataclasses.replace(contents(models, found), inventory={"llama": ("A", "LlamaForCausalLM"), "mamba": ("B",)})
    return assemble(grid)


def _record(date: str = "2026-11-23", revision: str = "abc", **fields: str) -> history.Record:
    (record,) = history.records_of(_coverage(**fields), date, revision)
    return record


def test_record_has_what_ran_on_backends_that_count() -> None:
    record = _record(level="forward")
    assert record.cells == {"cpu": {"passed consistent": "gpt2", "passed forward": "llama"}}
    assert (record.declared, record.covered, record.folders, record.classes) == (2, 2, (2, 1), (3, 1))
    assert history.states(record) == history.states_of(_coverage(level="forward"), "transformers-5.23")


def test_record_survives_its_line(tmp_path: Path) -> None:
    path = tmp_path / "new" / "history.jsonl"
    assert history.append(path, _record()) == "added"
    assert history.read(path) == history.History((_record(),))
    assert len(path.read_text().splitlines()) == 1


def test_same_day_and_revision_is_replaced_and_another_is_added(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history.append(path, _record(level="forward"))
    assert history.append(path, _record()) == "replaced"
    assert history.append(path, _record(revision="def")) == "added"
    assert [record.revision for record in history.read(path).records] == ["abc", "def"]
    assert history.read(path).latest("transformers-5.23") == _record(revision="def")
    assert history.read(path).latest("transformers-4.57") is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{half a li", "line 1: not JSON"),
        ("[1]", "line 1: expected an object"),
        ('{"version": 2, "colour": "red"}', "newer than this checkout"),
        ('{"version": 1}', "missing fields"),
    ],
)
def test_line_that_cannot_be_read_is_reported_and_kept(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(f"{line}\n")
    history.append(path, _record())
    assert path.read_text().splitlines()[0] == line
    found = history.read(path)
    assert found.records == (_record(),)
    assert [problem.line for problem in found.problems] == [1]
    assert reason in found.problems[0].reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"date": "yesterday"}, "is no date"),
        ({"folders": [1]}, "two numbers each"),
        ({"cells": {"cpu": {"passed deep": "llama"}}}, "is no status and level"),
        ({"cells": {"cpu": {"passed forward": "llama", "passed built": "llama"}}}, "there twice"),
    ],
)
def test_line_that_means_nothing_is_refused(changes: dict[str, object], reason: str) -> None:
    line = json.dumps({**json.loads(_record().to_line()), **changes})
    with pytest.raises(InputError, match=reason):
        history.parse(line, "line 7")


def test_each_environment_of_a_grid_has_a_record_of_its_own() -> None:
    models = [declaration(), declaration("old", environment="transformers-4.57")]
    grid = dataclasses.replace(
        contents(models, [verdict(models[0]), verdict(models[1], level="forward")]),
        inventory={"llama": ("LlamaForCausalLM",)},
        environment="transformers-5.23",
    )
    found = history.records_of(assemble(grid), "2026-11-23", "")
    assert [(record.environment, record.declared, record.folders) for record in found] == [
        ("transformers-5.23", 1, (1, 1)),
        ("transformers-4.57", 1, (0, 0)),
    ]
    assert [record.cells["cpu"] for record in found] == [{"passed consistent": "llama"}, {"passed forward": "old"}]


def test_chart_has_the_last_record_of_each_day() -> None:
    records = [_record(level="built"), _record(level="forward", revision="b"), _record("2026-11-24")]
    assert history.rows(records) == [
        ("2026-11-23", {"declared": 2, "covered": 2, "consistent or deeper": 1}),
        ("2026-11-24", {"declared": 2, "covered": 2, "consistent or deeper": 2}),
    ]


def test_program_adds_to_the_workspace_and_says_what_changed(tmp_path: Path) -> None:
    llama = declaration()
    samples.write_grid(tmp_path, contents([llama], [verdict(llama, level="forward")]))
    arguments = ("coverage", f"--root={tmp_path}", "--grid=grid.json", "--record", "--quiet")
    first = samples.run(*arguments, BUILD_WORKSPACE_DIRECTORY=str(tmp_path))
    assert (first.returncode, first.stderr) == (0, "")
    samples.write_grid(tmp_path, contents([llama], [verdict(llama)]))
    second = samples.run(*arguments, BUILD_WORKSPACE_DIRECTORY=str(tmp_path))
    assert "0 worse, 1 better, 0 gone, 0 new" in second.stdout
    assert len(history.read(tmp_path / "models/history.jsonl").records) == 1


def test_program_without_a_workspace_exits_2(tmp_path: Path) -> None:
    samples.write_grid(tmp_path, contents([declaration()], [verdict(declaration())]))
    result = samples.run("coverage", f"--root={tmp_path}", "--grid=grid.json", "--record", BUILD_WORKSPACE_DIRECTORY="")
    assert result.returncode == 2 and "no checkout to write the record to" in result.stderr


def test_a_stored_report_is_not_recorded_as_that_of_today(tmp_path: Path) -> None:
    (tmp_path / "coverage.json").write_text(_coverage().to_json())
    arguments = (f"--from={tmp_path}/coverage.json", "--record")
    result = samples.run("coverage", *arguments, BUILD_WORKSPACE_DIRECTORY=str(tmp_path))
    assert result.returncode == 2 and "no --from" in result.stderr
    assert not (tmp_path / "models").exists()


def test_what_a_build_leaves_to_nightly_is_recalled_and_counts_for_nothing() -> None:
    costly = dataclasses.replace(samples.CPU, name="cpu_export", tiers=("critical",))
    llama = declaration(backends=("cpu", "cpu_export"))
    ran = [verdict(llama), verdict(llama, "cpu_export", status="expected_failure", level="built")]
    nightly, daily = (assemble(contents([llama], found, (samples.CPU, costly))) for found in (ran, ran[:1]))
    stored = history.History(history.records_of(nightly, "2026-11-23", "abc"))
    recalled = history.recall(stored, daily)
    cell = next(cell for cell in recalled.cells if cell.backend == "cpu_export")
    assert cell.recorded == "2026-11-23 expected_failure built"
    assert cell.reason.endswith("critical models; by the record of 2026-11-23: expected failure, level built")
    assert not cell.covered
    assert recalled.by_backend == daily.by_backend
    assert history.recall(stored, nightly) == nightly
    stream = io.StringIO()
    terminal.show(coverage_view.view(recalled, datetime.date(2026, 11, 24)), stream)
    assert "of these by the history, not by this build: cpu_export 1 expected failure on 2026-11-23" in " ".join(
        stream.getvalue().split()
    )
