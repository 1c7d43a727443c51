"""The difference between two states: better, worse, new, gone, as Markdown, or why there is none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from report import compare, history
from report.assemble import assemble
from tests.report import samples
from tests.report.samples import contents, declaration, verdict

BEFORE = {
    ("llama", "cpu"): ("passed", "reference"),
    ("gpt2", "cpu"): ("expected_failure", "forward"),
    ("bert", "cpu"): ("passed", "consistent"),
    ("opt", "cpu"): ("passed", "forward"),
}
AFTER = {
    ("llama", "cpu"): ("failed", "reference"),
    ("gpt2", "cpu"): ("passed", "consistent"),
    ("bert", "cpu"): ("passed", "consistent"),
    ("mamba", "cpu"): ("passed", "forward"),
}


def test_every_cell_is_in_one_part() -> None:
    found = compare.compare(BEFORE, AFTER)
    parts = {word: [change.name for change in getattr(found, word)] for word in ("better", "worse", "new", "gone")}
    assert parts == {"better": ["gpt2"], "worse": ["llama"], "new": ["mamba"], "gone": ["opt"]}
    assert found.same == 1


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (("failed", "reference"), ("expected_failure", "forward")),
        (("passed", "built"), ("passed", "forward")),
        (("expected_failure", "forward"), ("passed", "forward")),
        (("unexpected_pass", "consistent"), ("passed", "forward")),
    ],
)
def test_covered_comes_before_level_and_level_before_status(worse: tuple[str, str], better: tuple[str, str]) -> None:
    key = ("llama", "cpu")
    assert len(compare.compare({key: better}, {key: worse}).worse) == 1
    assert len(compare.compare({key: worse}, {key: better}).better) == 1


def test_markdown_names_what_changed_and_nothing_else() -> None:
    text = compare.markdown(compare.compare(BEFORE, AFTER), "main", "pull|request")
    assert "1 worse, 1 better, 1 gone, 1 new, 1 as before (`main` to `pull¦request`)." in text
    assert "| `llama` | `cpu` | ● passed, reference | ✕ failed, reference |" in text
    assert "bert" not in text


def _files(folder: Path) -> tuple[str, str]:
    llama = declaration()
    for name, level in (("a.json", "forward"), ("b.json", "consistent")):
        coverage = assemble(contents([llama], [verdict(llama, level=level)]))
        (folder / name).write_text(coverage.to_json())
        (record,) = history.records_of(coverage, f"2026-11-2{3 if name == 'a.json' else 4}", name[0])
        history.append(folder / "history.jsonl", record)
    return str(folder / "a.json"), str(folder / "b.json")


def test_program_compares_two_reports(tmp_path: Path) -> None:
    before, after = _files(tmp_path)
    result = samples.toolkit(tmp_path, "diff", before, after, f"--markdown={tmp_path}/diff.md")
    assert (result.returncode, result.stderr) == (0, "")
    assert "| `llama` | `cpu` | ● passed, forward | ● passed, consistent |" in result.stdout
    assert (tmp_path / "diff.md").read_text() == result.stdout


@pytest.mark.parametrize("which", ["@2026-11-23", "@a"])
def test_program_compares_a_report_with_the_history(tmp_path: Path, which: str) -> None:
    _, after = _files(tmp_path)
    result = samples.toolkit(tmp_path, "diff", f"{tmp_path}/history.jsonl{which}", after)
    assert "1 better" in result.stdout
    assert (
        "0 better, 0 gone, 0 new, 1 as before"
        in samples.toolkit(tmp_path, "diff", f"{tmp_path}/history.jsonl", after).stdout
    )


def test_what_a_report_leaves_to_nightly_is_not_gone(tmp_path: Path) -> None:
    costly = dataclasses.replace(samples.CPU, name="cpu_export", tiers=("critical",))
    llama = declaration(backends=("cpu", "cpu_export"))
    for name, ran in (("nightly.json", ("cpu", "cpu_export")), ("daily.json", ("cpu",))):
        grid = contents([llama], [verdict(llama, backend) for backend in ran], (samples.CPU, costly))
        (tmp_path / name).write_text(assemble(grid).to_json())
    for pair in (("nightly.json", "daily.json"), ("daily.json", "nightly.json")):
        result = samples.toolkit(tmp_path, "diff", *(f"{tmp_path}/{name}" for name in pair))
        assert "0 better, 0 gone, 0 new, 1 as before" in result.stdout


def test_unreadable_line_of_the_history_is_said(tmp_path: Path) -> None:
    _, after = _files(tmp_path)
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"version": 9}\n')
    assert "not read: line 3: version 9" in samples.toolkit(tmp_path, "diff", f"{tmp_path}/history.jsonl", after).stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.json", "cannot be read"),
        ("none.jsonl", "no such history"),
        ("history.jsonl@2020-01-01", "no such record; it has 2026-11-23 a, 2026-11-24 b"),
        ("half.json", "is not JSON"),
        ("newer.json", "it is newer than this checkout"),
        ("other.json", "compare two states of one environment"),
    ],
)
def test_input_that_cannot_be_used_exits_2(tmp_path: Path, name: str, message: str) -> None:
    _, after = _files(tmp_path)
    (tmp_path / "half.json").write_text('{"version": 2, ')
    (tmp_path / "newer.json").write_text('{"version": 99}')
    other = declaration(environment="transformers-4.57")
    (tmp_path / "other.json").write_text(assemble(contents([other], [verdict(other)])).to_json())
    result = samples.toolkit(tmp_path, "diff", f"{tmp_path}/{name}", after)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr and "Traceback" not in result.stderr


def test_one_argument_exits_1(tmp_path: Path) -> None:
    result = samples.toolkit(tmp_path, "diff", "a.json")
    assert result.returncode == 1 and "diff A.json B.json" in result.stdout + result.stderr
