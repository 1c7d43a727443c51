"""What CI systems are shown of a failed cell, and that its text stays text."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from deploy import annotate
from report.assemble import assemble
from tests.report.samples import contents, declaration, verdict

REASON = "100% wrong\n::stop-commands::x"


@pytest.fixture
def coverage(tmp_path: Path) -> Path:
    """Returns a report with one failed cell and one passed."""
    bad, good = declaration("llama"), declaration("gpt2")
    verdicts = [verdict(bad, status="failed", failed_check="decoder::causality", reason=REASON), verdict(good)]
    path = tmp_path / "coverage.json"
    path.write_text(assemble(contents([bad, good], verdicts)).to_json(), encoding="utf-8")
    return path


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["annotate", *map(str, arguments)])
    return annotate.main()


def test_github_gets_one_command_for_each_failed_cell(
    coverage: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, coverage) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("::error file=models/decoder/llama/BUILD,title=//models/decoder/llama%3Acpu%3A failed")
    assert lines[0].endswith("::100%25 wrong%0A::stop-commands::x")


def test_gitlab_gets_a_code_quality_report(coverage: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _run(monkeypatch, coverage, f"--codequality={tmp_path}/quality.json") == 0
    (issue,) = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))
    assert issue["location"] == {"path": "models/decoder/llama/BUILD", "lines": {"begin": 1}}
    assert REASON in issue["description"]


def test_unreadable_report_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _run(monkeypatch, tmp_path / "none.json") == 2
