"""The coverage program: what a person sees, and what it writes."""

from __future__ import annotations

import dataclasses
import datetime
import io
import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.verdict import Verdict
from report import coverage_view, terminal
from report.assemble import assemble
from report.declaration import Declaration
from report.grid import Backend
from tests.report import samples
from tests.report.samples import contents, declaration, known_failure, verdict

TODAY = datetime.date(2030, 1, 1)


def _shown(
    declarations: Sequence[Declaration], verdicts: Sequence[Verdict], backends: Sequence[Backend] = samples.TABLE
) -> str:
    stream = io.StringIO()
    terminal.show(coverage_view.view(assemble(contents(declarations, verdicts, backends)), TODAY), stream)
    return stream.getvalue()


@pytest.fixture(autouse=True)
def _dumb_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "dumb")


def test_headline_counts_per_backend_and_names_levels() -> None:
    models = [declaration(), declaration("gpt2"), declaration("falcon")]
    found = [
        verdict(models[0]),
        verdict(models[1], level="forward"),
        verdict(models[2], status="failed", level="built"),
    ]
    grid = dataclasses.replace(contents(models, found), inventory={"llama": ("LlamaModel",), "mamba": ("MambaModel",)})
    assert coverage_view.headline(assemble(grid)) == [
        "2 of 3 declared models covered on cpu: 1 consistent, 1 forward, 1 built (1 failed)",
        "inventory: 1 of 2 model folders declared, 0 of 2 public model classes exercised",
    ]


def test_models_that_people_named_are_accounted_for() -> None:
    gone = declaration("imagebind", backends=(), unavailable="no package implements it")
    models = [declaration(), declaration("gpt2"), gone]
    found = [verdict(models[0]), verdict(models[1], status="failed", level="built")]
    names = {"LLaMA": "llama", "GPT-2": "gpt2", "ImageBind": "imagebind", "Mamba": "mamba"}
    grid = dataclasses.replace(contents(models, found), named=names)
    assert coverage_view.headline(assemble(grid))[1] == (
        "1 of 4 named models covered, 1 not to be had (ImageBind), 1 not covered (GPT-2), 1 missing (Mamba)"
    )


def test_hardware_that_is_missing_is_named() -> None:
    shown = _shown([declaration()], [verdict(declaration())])
    assert "no hardware here (cells): mock (1), cuda (1)" in shown


def test_mock_alone_covers_nothing() -> None:
    shown = _shown([declaration()], [verdict(declaration(), "mock")])
    assert "0 of 1 declared models covered" in shown
    assert "counts for nothing" in shown


def test_failure_comes_before_the_table_with_check_and_reason() -> None:
    broken = verdict(
        declaration(), status="failed", level="forward", reason="a future token", failed_check="decoder::x"
    )
    shown = " ".join(_shown([declaration()], [broken]).split())
    assert shown.index("FAIL //models/decoder/llama:cpu at decoder::x, level forward") < shown.index("category")
    assert "level forward a future token" in shown


@pytest.mark.parametrize(
    ("date", "words"), [("2029-12-31", "EXPIRED 2029-12-31"), ("2030-01-01", "expires 2030-01-01")]
)
def test_expected_failure_shows_reason_link_and_expiry(date: str, words: str) -> None:
    llama = declaration(known_failures=(known_failure(expires=date),))
    expected = verdict(llama, status="expected_failure", level="forward", failed_check="decoder::causality")
    shown = _shown([llama], [expected])
    for text in ("upstream masks nothing", "https://example.org/7", words, "XFAIL forward"):
        assert text in shown


def test_empty_category_is_shown() -> None:
    assert "audio" in _shown([declaration()], [verdict(declaration())])


HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]not red[/red] \u202egnp.exe\u200b :smile: \x9b31m \r\nsecond"


def test_control_characters_and_markup_in_a_reason_stay_text() -> None:
    broken = verdict(declaration(), status="failed", level="built", reason=HOSTILE, failed_check="decoder::\x1b[0m")
    shown = _shown([declaration()], [broken])
    assert not [char for char in shown if char not in "\n" and (ord(char) < 32 or 127 <= ord(char) < 160)]
    assert "\u202e" not in shown and "\u200b" not in shown
    flat = " ".join(shown.split())
    for text in (r"\x1b[2J", "[red]not red[/red]", r"\u202egnp.exe", ":smile:", r"\x9b31m"):
        assert text in flat


def test_hostile_declaration_stays_text() -> None:
    entry = dataclasses.replace(known_failure("cpu"), reason=HOSTILE, issue=HOSTILE, expires=HOSTILE)
    llama = declaration(name="[bold]x\x1b", known_failures=(entry,))
    shown = _shown([llama], [verdict(llama, status="expected_failure")])
    assert "\x1b" not in shown and "[bold]x" in shown


def _many(count: int) -> tuple[list[Declaration], list[Verdict], list[Backend]]:
    backends = [dataclasses.replace(samples.CPU, name=f"backend_{index}_onnxruntime") for index in range(count)]
    names = tuple(backend.name for backend in backends)
    llama = declaration("a_model_with_quite_a_long_name_v3_1", category="encoder_decoder", backends=names)
    found = [verdict(llama, name, status="unexpected_pass", reason="y" * 200, failed_check="z" * 99) for name in names]
    return [llama], found, backends


@pytest.mark.parametrize("count", [1, 2, 3, 4, 12])
def test_table_fits_80_columns(count: int) -> None:
    shown = _shown(*_many(count))
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "…" not in shown
    flat = "".join(shown.split())
    assert flat.count("XPASSconsistent") == count


def test_every_level_at_once_fits_80_columns() -> None:
    levels = ("declared", "parsed", "built", "forward", "consistent", "reference", "weights")
    models = [declaration(f"m{index}", "encoder_decoder") for index, _ in enumerate(levels)]
    found = [verdict(model, level=level) for model, level in zip(models, levels, strict=True)]
    shown = _shown(models, found)
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "…" not in shown


def test_program_writes_json_where_the_user_is(tmp_path: Path) -> None:
    grid = samples.write_grid(tmp_path, contents([declaration()], [verdict(declaration())]))
    home = tmp_path / "home"
    result = samples.run(
        "coverage",
        f"--root={tmp_path}",
        f"--grid={grid.name}",
        "--json=out/coverage.json",
        BUILD_WORKING_DIRECTORY=str(home),
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("1 of 1 declared models covered on cpu: 1 consistent\n")
    data = json.loads((home / "out/coverage.json").read_text())
    assert data["total"]["covered"] == 1


def test_program_can_be_quiet(tmp_path: Path) -> None:
    grid = samples.write_grid(tmp_path, contents([declaration()], [verdict(declaration())]))
    result = samples.run(
        "coverage", f"--root={tmp_path}", f"--grid={grid.name}", "--quiet", f"--json={tmp_path}/c.json"
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (tmp_path / "c.json").exists()


def test_pipe_and_no_color_get_no_escapes(tmp_path: Path) -> None:
    grid = samples.write_grid(tmp_path, contents([declaration()], [verdict(declaration())]))
    arguments = ("coverage", f"--root={tmp_path}", f"--grid={grid.name}")
    piped = samples.run(*arguments, TERM="xterm-256color")
    assert "\x1b" not in piped.stdout
    forced = samples.run(*arguments, TERM="xterm-256color", FORCE_COLOR="1")
    assert "\x1b[1;31m" in forced.stdout or "\x1b[32m" in forced.stdout
    uncoloured = samples.run(*arguments, TERM="xterm-256color", FORCE_COLOR="1", NO_COLOR="1")
    assert "\x1b[32m" not in uncoloured.stdout


def test_ascii_terminal_survives_other_letters(tmp_path: Path) -> None:
    broken = verdict(declaration(), status="failed", level="built", reason="größer als 模型")
    grid = samples.write_grid(tmp_path, contents([declaration()], [broken]))
    result = samples.run("coverage", f"--root={tmp_path}", f"--grid={grid.name}", PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.isascii()


def test_picture_is_the_table_and_needs_no_network(tmp_path: Path) -> None:
    broken = verdict(declaration(), status="failed", level="built", reason="<script>alert(1)</script>")
    grid = samples.write_grid(tmp_path, contents([declaration()], [broken]))
    result = samples.run("coverage", f"--root={tmp_path}", f"--grid={grid.name}", f"--svg={tmp_path}/table.svg")
    assert result.returncode == 0
    text = (tmp_path / "table.svg").read_text()
    svg = ElementTree.fromstring(text)
    words = " ".join("".join(svg.itertext()).split())
    assert "0 of 1 declared models covered on cpu" in words
    assert "<script>alert(1)</script>" in words
    assert not [node for node in svg.iter() if node.tag.endswith("script")]
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace("https://www.textualize.io", "")


def test_folder_gets_every_form_of_the_report(tmp_path: Path) -> None:
    samples.write_grid(tmp_path, contents([declaration()], [verdict(declaration())]))
    out = tmp_path / "ws" / "site"
    samples.run(
        "coverage",
        f"--root={tmp_path}",
        "--grid=grid.json",
        "--quiet",
        f"--out={out}",
        BUILD_WORKSPACE_DIRECTORY=str(tmp_path / "ws"),
    )
    assert sorted(path.name for path in out.iterdir()) == ["HF_COVERAGE_REPORT.md", "coverage.html", "coverage.json"]
    assert "(../models/decoder/llama/BUILD)" in (out / "HF_COVERAGE_REPORT.md").read_text()
    assert '"../models/decoder/llama/BUILD"' in (out / "coverage.html").read_text()


def test_stored_report_gives_the_same_as_the_build(tmp_path: Path) -> None:
    samples.write_grid(tmp_path, contents([declaration()], [verdict(declaration())]))
    built = samples.run("coverage", f"--root={tmp_path}", "--grid=grid.json", f"--out={tmp_path}/a")
    stored = samples.run("coverage", f"--from={tmp_path}/a/coverage.json", f"--out={tmp_path}/b")
    assert built.stdout == stored.stdout
    for name in ("HF_COVERAGE_REPORT.md", "coverage.html", "coverage.json"):
        assert (tmp_path / "a" / name).read_text() == (tmp_path / "b" / name).read_text()


def test_unreadable_line_of_the_history_is_said_and_on_the_page(tmp_path: Path) -> None:
    samples.write_grid(tmp_path, contents([declaration()], [verdict(declaration())]))
    (tmp_path / "history.jsonl").write_text("half a line\n")
    arguments = (f"--root={tmp_path}", "--grid=grid.json", "--history=history.jsonl", f"--html={tmp_path}/p")
    result = samples.run("coverage", *arguments)
    assert result.returncode == 0 and "history, not shown: line 1: not JSON" in result.stderr
    assert "history, not shown: line 1: not JSON" in (tmp_path / "p").read_text()


def test_brief_view_counts_expected_failures_by_check() -> None:
    models = [declaration(f"m{index}", known_failures=(known_failure("cpu"),)) for index in range(12)]
    found = [
        verdict(model, status="expected_failure", level="forward", failed_check=f"decoder::x{min(index, 9)}")
        for index, model in enumerate(models)
    ]
    models.append(declaration("gone", backends=(), unavailable="it has no wheel", package="natten"))
    stream = io.StringIO()
    terminal.show(coverage_view.view(assemble(contents(models, found)), TODAY, brief=True), stream)
    shown = stream.getvalue()
    for words in (
        "Expected failures: 12\n",
        "3 at decoder::x9",
        "3 at 3 other checks",
        "Not to be had: 1 models, 1 of",
    ):
        assert words in shown
    assert "upstream masks nothing" not in shown and "without --brief" in shown


def _refused(tmp_path: Path, *arguments: str) -> str:
    result = samples.run("coverage", f"--root={tmp_path}", "--grid=grid.json", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("coverage: ") and "Traceback" not in result.stderr
    return result.stderr


def test_no_verdicts_yet_exits_2(tmp_path: Path) -> None:
    samples.write_grid(tmp_path, contents([declaration()], []))
    assert "no verdicts yet" in _refused(tmp_path)


def test_file_that_cannot_be_written_exits_2(tmp_path: Path) -> None:
    samples.write_grid(tmp_path, contents([declaration()], [verdict(declaration())]))
    assert "cannot be written" in _refused(tmp_path, f"--json={tmp_path}/grid.json/no.json")


def test_message_of_an_error_is_printable(tmp_path: Path) -> None:
    llama = declaration()
    samples.write_grid(tmp_path, contents([llama], [verdict(llama, environment="\x1b[31m")]))
    assert "\x1b" not in _refused(tmp_path)


def test_stray_argument_exits_1(tmp_path: Path) -> None:
    result = samples.run("coverage", f"--root={tmp_path}", "--grid=grid.json", "out.json")
    assert result.returncode == 1
    assert "--json=FILE" in result.stdout + result.stderr
