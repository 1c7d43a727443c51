"""The CI systems' own schemas hold for our workflows, and zizmor finds nothing that a pull request could abuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint import sources

GITHUB, GITLAB = ".github/workflows/modelgrid.yml", ".gitlab-ci.yml"


def _schema(kind: str, path: str | Path) -> tuple[int, str]:
    return sources.run_module("check_jsonschema", [f"--builtin-schema=vendor.{kind}"], [str(path)])


def _zizmor(path: str | Path) -> tuple[int, str]:
    program = sources.site_of("check_jsonschema") / "bin" / "zizmor"
    # Offline: whether a tag has moved is for who has a network to ask.
    return sources.run([str(program), "--offline", "--no-progress", "--color=never", "--quiet"], [str(path)])


@pytest.mark.parametrize(("kind", "path"), [("github-workflows", GITHUB), ("gitlab-ci", GITLAB)])
def test_workflow_is_valid(kind: str, path: str) -> None:
    code, output = _schema(kind, path)
    assert code == 0, output


def test_workflow_has_no_weakness() -> None:
    code, output = _zizmor(GITHUB)
    assert code == 0, output


def test_mistakes_are_found(tmp_path: Path) -> None:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    for path, old, new, lint in (
        (GITHUB, "runs-on:", "runs_on:", lambda file: _schema("github-workflows", file)),
        (GITLAB, "  script:", "  skript:", lambda file: _schema("gitlab-ci", file)),
        (GITHUB, 'run: test "${RESULT}"', 'run: test "${{ github.event.pull_request.title }}"', _zizmor),
    ):
        text = Path(path).read_text(encoding="utf-8")
        assert old in text
        bad = folder / "bad.yml"
        bad.write_text(text.replace(old, new), encoding="utf-8")
        code, output = lint(bad)
        assert code != 0, f"{new}: {output}"
