"""The toolkit answers what is asked, runs what another target does, and says of bad input what to do."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from report import graph, history, toolkit
from report.assemble import assemble
from report.strict import InputError
from tests.report import samples
from tests.report.samples import contents, declaration, verdict


@pytest.fixture
def bazel(tmp_path: Path) -> Path:
    """A Bazel that keeps its command lines in a file beside it, and proposes mamba when it is told to add."""
    program = tmp_path / "bazel"
    program.write_text(
        f"""#!/bin/sh
echo "$*" >> {shlex.quote(str(tmp_path))}/asked
case "$*" in
  "run //:add "*) mkdir -p models/decoder/mamba && touch models/decoder/mamba/BUILD ;;
  test*) exit 3 ;;
esac
"""
    )
    program.chmod(0o755)
    return program


def _asked(bazel: Path, *words: str) -> tuple[int, str, list[str]]:
    done = samples.toolkit(bazel.parent, *words, MODELGRID_BAZEL=str(bazel))
    asked = bazel.with_name("asked")
    return done.returncode, done.stdout, asked.read_text().splitlines() if asked.exists() else []


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("coverage", "--html=a.html", "--markdown=a.md"), "run //:coverage -- --html=a.html --markdown=a.md"),
        (("record",), "run //:coverage -- --record --quiet"),
        (("drift", "--from=transformers-5.22"), "run //:drift --//:from=transformers-5.22"),
    ],
)
def test_what_proves_is_another_target(bazel: Path, words: tuple[str, ...], asked: str) -> None:
    assert _asked(bazel, *words)[::2] == (0, [asked])


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("test", "llama"), "test //models/decoder/llama:cpu"),
        (("test", "decoder/llama:mock"), "test //models/decoder/llama:mock"),
        (("test", "--backend=mock", "//models/decoder/llama"), "test //models/decoder/llama:mock"),
        (("validate",), "test --config=mock --keep_going --test_summary=terse //models/..."),
    ],
)
def test_a_failed_test_is_told_by_the_exit_code(bazel: Path, words: tuple[str, ...], asked: str) -> None:
    assert _asked(bazel, *words)[::2] == (3, [asked])


def test_what_is_added_is_run_and_no_longer_listed(bazel: Path) -> None:
    status, said, asked = _asked(bazel, "add", "mamba", "--tier=high")
    assert asked == ["run //:add -- mamba --tier=high", "test --keep_going //models/decoder/mamba:cpu"]
    assert status == 3 and "still says why mamba has no declaration: take it out" in said


def test_batch_adds_the_most_wanted(bazel: Path) -> None:
    assert _asked(bazel, "batch", "1")[2][0] == "run //:add -- t5"


def test_missing_is_ranked_with_its_reasons(tmp_path: Path) -> None:
    result = samples.toolkit(tmp_path, "missing")
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["t5", "40", "1", "not", "looked", "at"] in lines
    assert ["mamba", "-", "1", "its", "scan", "has", "no", "kernel", "here"] in lines
    assert "2 model folders" in result.stdout and "llama" not in result.stdout


def test_help_has_an_example_of_each_command_and_the_exit_codes(tmp_path: Path) -> None:
    result = samples.toolkit(tmp_path, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert all(f"  {name} " in result.stdout for name in toolkit.COMMANDS)
    assert "Exit codes: 0" in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("tset",), 1, "no command 'tset'; did you mean 'test'?"),
        (("affected",), 1, "--since=main"),
        (("batch", "many"), 1, "no number of models"),
        (("why", "llama", "--sincer=main"), 1, "why: no flag --sincer=main"),
        (("test", "lama"), 2, "no model 'lama' is declared; did you mean 'llama'?"),
        (("test", "llama:cup"), 2, "no backend 'cup'; did you mean 'cpu'?"),
        (("test", "llama", "--backend=tpu9"), 2, "no backend 'tpu9'; known: cpu, mock"),
        (("affected", "--since=HEAD", "--backend=cup"), 2, "no backend 'cup'"),
        (("drift", "transformers-5.22"), 1, "unexpected argument"),
        (("roadmap",), 2, "the history has no record"),
        (("diff", "none.json", "none.json"), 2, "cannot be read"),
        (("affected", "--since=nowhere"), 2, "git"),
    ],
)
def test_bad_input_says_what_to_do(tmp_path: Path, words: tuple[str, ...], code: int, message: str) -> None:
    result = samples.toolkit(tmp_path, *words)
    assert result.returncode == code, result.stderr
    assert message in result.stdout + result.stderr and "Traceback" not in result.stderr


def test_a_model_that_no_cell_can_run_says_why(tmp_path: Path) -> None:
    (tmp_path / "query").write_text(samples.query_line("llama", unavailable="needs detectron2"))
    with pytest.raises(InputError, match="no cell can run it: needs detectron2"):
        toolkit.find_cell(graph.read(tmp_path / "query"), "llama", "cpu", ["cpu"])


def test_roadmap_is_of_the_newest_record(tmp_path: Path) -> None:
    llama = declaration()
    for date, level in (("2026-11-23", "built"), ("2026-11-24", "consistent")):
        (record,) = history.records_of(assemble(contents([llama], [verdict(llama, level=level)])), date, "abc")
        history.append(tmp_path / "history.jsonl", record)
    result = samples.toolkit(tmp_path, "roadmap", f"--markdown={tmp_path}/roadmap.md")
    assert (result.returncode, result.stderr) == (0, "")
    assert "done by 2026-11-24" in result.stdout and "left, undeclared: t5, mamba" in result.stdout
    assert "| 2 high | 1 | 1 | 0 | forward 100% of 100% | done by 2026-11-24 |" in (tmp_path / "roadmap.md").read_text()
