"""What a build shows about caching: an edit reruns exactly the cells that it can have affected."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.grid import Run, Workspace

MODELS = ("decoder/gpt2", "decoder/llama", "encoder/bert")
BACKENDS = ("cpu", "cpu_bfloat16", "mock")
CELLS = frozenset(f"//models/{model}:{backend}" for model in MODELS for backend in BACKENDS)


@pytest.fixture(scope="module")
def workspace() -> Iterator[Workspace]:
    """Yields a workspace in which all cells have passed once."""
    made = Workspace(Path(os.environ["TEST_TMPDIR"]) / "rerun", MODELS)
    made.only(BACKENDS)
    first = made.bazel("test", "//models/...")
    assert first.status == 0, first.output
    assert first.proved == CELLS
    yield made
    made.shutdown()


def after(workspace: Workspace, path: str, old: str, new: str) -> Run:
    """Returns the run of all cells after an edit, which is then taken back."""
    original = (workspace.source / path).read_text(encoding="utf-8")
    workspace.edit(path, old, new)
    try:
        return workspace.bazel("test", "//models/...")
    finally:
        (workspace.source / path).write_text(original, encoding="utf-8")


def test_nothing_changed_reruns_nothing(workspace: Workspace) -> None:
    run = workspace.bazel("test", "//models/...")
    assert run.status == 0, run.output
    assert run.proved == run.cached == frozenset()


def test_edited_declaration_reruns_exactly_its_cells(workspace: Workspace) -> None:
    run = after(workspace, "models/decoder/llama/BUILD", 'tier = "high"', 'tier = "medium"')
    assert run.status == 0, run.output
    assert run.proved == {"//models/decoder/llama:cpu", "//models/decoder/llama:mock"}


def test_edited_check_of_a_category_reruns_that_category(workspace: Workspace) -> None:
    path = "harness/checks/decoder.py"
    text = (workspace.source / path).read_text(encoding="utf-8")
    run = after(workspace, path, text, text + "\n# edited\n")
    assert run.status == 0, run.output
    assert run.proved == {cell for cell in CELLS if "/decoder/" in cell and not cell.endswith("_bfloat16")}


def test_edited_check_of_a_runtime_reruns_its_backends(workspace: Workspace) -> None:
    path = "harness/checks/runtime.py"
    text = (workspace.source / path).read_text(encoding="utf-8")
    run = after(workspace, path, text, text + "\n# edited\n")
    assert run.status == 0, run.output
    assert run.proved == {cell for cell in CELLS if cell.endswith("_bfloat16")}


def test_new_row_of_the_table_is_found_everywhere_and_reruns_nothing_else(workspace: Workspace) -> None:
    table, settings = "toolchains/backends.bzl", ".bazelrc"
    originals = {path: (workspace.source / path).read_text(encoding="utf-8") for path in (table, settings)}
    row = '_backend(name = "cpu_again", device = "cpu", runtime = "eager", dtype = "float32", checks = "runtime"),'
    config = "test:cpu_again --test_tag_filters=backend:cpu_again"
    workspace.edit(table, "BACKENDS = [\n", f"BACKENDS = [\n    {row}\n")
    workspace.edit(settings, "test:mock ", f"{config}\ntest:mock ")
    try:
        cells = {f"//models/{model}:cpu_again" for model in MODELS}
        all_of_it = workspace.bazel("test", "--test_tag_filters=backend:cpu,backend:cpu_again", "//models/...")
        assert all_of_it.status == 0, all_of_it.output
        assert all_of_it.proved == cells
        alone = workspace.bazel("test", "--config=cpu_again", "//models/...")
        assert "3 tests pass" in alone.output, alone.output
        built = workspace.bazel("build", "//:grid", "//toolchains:cpu_again", "//toolchains:cpu_again.toolchain")
        assert built.status == 0, built.output
        grid = json.loads((workspace.source / "bazel-bin/grid.json").read_text(encoding="utf-8"))
        assert "cpu_again" in [backend["name"] for backend in grid["backends"]]
        assert len([path for path in grid["verdicts"] if path.endswith("/cpu_again.verdict.json")]) == len(MODELS)
    finally:
        for path, text in originals.items():
            (workspace.source / path).write_text(text, encoding="utf-8")


def test_edited_worker_reruns_everything(workspace: Workspace) -> None:
    text = (workspace.source / "harness/worker.py").read_text(encoding="utf-8")
    run = after(workspace, "harness/worker.py", text, text + "\n# edited\n")
    assert run.status == 0, run.output
    assert run.proved == CELLS


def test_epoch_reruns_everything(workspace: Workspace) -> None:
    run = workspace.bazel("test", "--//rules:epoch=again", "//models/...")
    assert run.status == 0, run.output
    assert run.proved == CELLS


def test_failing_cell_is_cached_and_still_fails(workspace: Workspace) -> None:
    build = "models/decoder/llama/BUILD"
    original = (workspace.source / build).read_text(encoding="utf-8")
    workspace.edit(build, 'tier = "high",', 'tier = "high",\n    config = {"hiden_size": 32},')
    try:
        first = workspace.bazel("test", "--keep_going", "//models/...")
        assert first.status == 3, first.output
        assert "//models/decoder/llama:cpu: config key 'hiden_size'" in first.output
        assert "did you mean 'hidden_size'" in first.output
        assert first.proved == {f"//models/decoder/llama:{backend}" for backend in BACKENDS}
        # A clean output base takes the failure from the disk cache, and it is a failure still.
        clean = workspace.bazel("test", "--keep_going", "//models/...", output_user_root=workspace.root / "failing")
        assert clean.status == 3, clean.output
        assert clean.proved == frozenset()
        assert "//models/decoder/llama:cpu: config key 'hiden_size'" in clean.output
    finally:
        workspace.bazel("shutdown", output_user_root=workspace.root / "failing")
        (workspace.source / build).write_text(original, encoding="utf-8")


def test_second_clean_output_base_reruns_nothing(workspace: Workspace) -> None:
    second = workspace.root / "second"
    try:
        run = workspace.bazel("test", "//models/...", output_user_root=second)
        assert run.status == 0, run.output
        assert run.proved == frozenset()
        assert run.cached == CELLS
    finally:
        workspace.bazel("shutdown", output_user_root=second)


def test_absent_hardware_is_skipped_and_said_so(workspace: Workspace) -> None:
    skipped = workspace.bazel("test", "--config=cuda", "--test_summary=detailed", "//models/decoder/llama/...")
    assert "//models/decoder/llama:cuda" in skipped.output and "SKIPPED" in skipped.output
    named = workspace.bazel("test", "//models/decoder/llama:cuda")
    assert named.status != 0
    assert "incompatible" in named.output


def test_a_device_without_wheels_for_it_is_skipped_too(workspace: Workspace) -> None:
    devices = workspace.root / "devices.json"
    devices.write_text('{"cuda": {"model": "H100"}}', encoding="utf-8")
    run = workspace.bazel("test", f"--repo_env=MODELGRID_FAKE_DEVICES={devices}", "//models/...")
    assert run.status == 0, run.output
    assert run.proved == frozenset()


def test_coverage_shows_the_grid_from_cached_verdicts(workspace: Workspace) -> None:
    output = workspace.root / "coverage.json"
    run = workspace.bazel("run", "//:coverage", "--", f"--json={output}")
    assert run.status == 0, run.output
    assert run.proved == frozenset()
    text = output.read_text(encoding="utf-8")
    assert '"absent"' in text and '"consistent"' in text


def test_declared_needs_no_run(workspace: Workspace) -> None:
    run = workspace.bazel("run", "//:declared")
    assert run.status == 0, run.output
    assert run.proved == run.cached == frozenset()
    for model in MODELS:
        assert model.split("/")[1] in run.output


def test_live_run_takes_arguments_for_pytest(workspace: Workspace) -> None:
    run = workspace.bazel("run", "//models/decoder/llama:cpu", "--", "-k", "causality")
    assert run.status == 0, run.output
    assert "causality" in run.output
    assert "1 passed" in run.output


def test_unknown_model_type_is_refused_with_the_nearest(workspace: Workspace) -> None:
    run = after(workspace, "models/decoder/llama/BUILD", 'name = "llama",', 'name = "llama",\n    model_type = "lama",')
    assert run.status == 1, run.output
    assert "//models/decoder/llama:llama: model type 'lama' is not in environment transformers-5.23" in run.output
    assert "did you mean 'llama'?" in run.output


def test_class_of_another_folder_fails_with_the_nearest(workspace: Workspace) -> None:
    run = after(workspace, "models/decoder/llama/BUILD", "LlamaForCausalLM", "LlamaForCausalLN")
    assert run.status == 3, run.output
    assert "//models/decoder/llama:cpu" in run.output
    assert "LlamaForCausalLN" in run.output and "LlamaForCausalLM" in run.output
