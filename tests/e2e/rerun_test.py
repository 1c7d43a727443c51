"""What a build shows about caching: an edit reruns exactly the cells that it can have affected.

What a cell's key holds and who is rerun is the same for `mock` as for all, and mock cells cost next to nothing: most of
this is shown by them. What only a model that runs can show is shown by one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from report import changes
from tests.e2e.grid import Run, Workspace

MODELS = ("decoder/gpt2", "decoder/llama", "encoder/bert")
CELLS = frozenset(f"//models/{model}:mock" for model in MODELS)

LLAMA = "//models/decoder/llama"
BACKENDS = ("cpu", "cpu_bfloat16", "mock")


@pytest.fixture(scope="module")
def workspace() -> Iterator[Workspace]:
    """Yields a workspace of mock cells, which have all passed once."""
    made = Workspace(Path(os.environ["TEST_TMPDIR"]) / "mock", MODELS)
    made.without_wheels()
    yield from _proven(made, ["mock"], CELLS)


@pytest.fixture(scope="module")
def llama() -> Iterator[Workspace]:
    """Yields a workspace of one model, which has passed once on each of the backends."""
    made = Workspace(Path(os.environ["TEST_TMPDIR"]) / "llama", ["decoder/llama"])
    yield from _proven(made, BACKENDS, frozenset(f"{LLAMA}:{backend}" for backend in BACKENDS))


def _proven(made: Workspace, backends: Sequence[str], cells: frozenset[str]) -> Iterator[Workspace]:
    made.only(backends)
    first = made.bazel("test", "//models/...")
    assert first.status == 0, first.output
    assert first.proved == cells
    yield made
    made.shutdown()


def after(workspace: Workspace, path: str, old: str, new: str, *flags: str) -> Run:
    """Returns the run of all cells after an edit, which is then taken back."""
    original = (workspace.source / path).read_text(encoding="utf-8")
    workspace.edit(path, old, new)
    try:
        return workspace.bazel("test", *flags, "//models/...")
    finally:
        (workspace.source / path).write_text(original, encoding="utf-8")


def _edited(workspace: Workspace, path: str) -> Run:
    text = (workspace.source / path).read_text(encoding="utf-8")
    return after(workspace, path, text, text + "\n# edited\n")


def test_nothing_changed_reruns_nothing(workspace: Workspace) -> None:
    run = workspace.bazel("test", "//models/...")
    assert run.status == 0, run.output
    assert run.proved == run.cached == frozenset()


def test_edited_declaration_reruns_exactly_its_cells(workspace: Workspace) -> None:
    run = after(workspace, "models/decoder/llama/BUILD", 'tier = "high"', 'tier = "medium"')
    assert run.status == 0, run.output
    assert run.proved == {f"{LLAMA}:mock"}


def test_edited_check_of_a_category_reruns_that_category(workspace: Workspace) -> None:
    run = _edited(workspace, "harness/checks/decoder.py")
    assert run.status == 0, run.output
    assert run.proved == {cell for cell in CELLS if "/decoder/" in cell}


def test_edited_worker_reruns_everything(workspace: Workspace) -> None:
    run = _edited(workspace, "harness/worker.py")
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
        assert f"{LLAMA}:mock: config key 'hiden_size'" in first.output
        assert "did you mean 'hidden_size'" in first.output
        assert first.proved == {f"{LLAMA}:mock"}
        # A clean output base takes the failure from the disk cache, and it is a failure still.
        clean = workspace.bazel("test", "--keep_going", "//models/...", output_user_root=workspace.root / "failing")
        assert clean.status == 3, clean.output
        assert clean.proved == frozenset()
        assert f"{LLAMA}:mock: config key 'hiden_size'" in clean.output
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
    # Without the fixture's filter, which would leave the cell out before anything is said of it.
    named = workspace.bazel("test", "--test_tag_filters=", "//models/decoder/llama:cuda")
    assert named.status != 0
    assert "incompatible" in named.output


def test_a_device_without_wheels_for_it_is_skipped_too(workspace: Workspace) -> None:
    devices = workspace.root / "devices.json"
    devices.write_text('{"cuda": {"model": "H100"}}', encoding="utf-8")
    run = workspace.bazel("test", f"--repo_env=MODELGRID_FAKE_DEVICES={devices}", "//models/...")
    assert run.status == 0, run.output
    assert run.proved == frozenset()


def test_declared_needs_no_run(workspace: Workspace) -> None:
    run = workspace.bazel("run", "//:declared")
    assert run.status == 0, run.output
    assert run.proved == run.cached == frozenset()
    for model in MODELS:
        assert model.split("/")[1] in run.output


def test_unknown_model_type_is_refused_with_the_nearest(workspace: Workspace) -> None:
    run = after(workspace, "models/decoder/llama/BUILD", 'name = "llama",', 'name = "llama",\n    model_type = "lama",')
    assert run.status == 1, run.output
    assert "//models/decoder/llama:llama: model type 'lama' is not in environment transformers-5.23" in run.output
    assert "did you mean 'llama'?" in run.output


def test_edited_check_of_a_category_does_not_rerun_other_runtimes(llama: Workspace) -> None:
    run = _edited(llama, "harness/checks/decoder.py")
    assert run.status == 0, run.output
    assert run.proved == {f"{LLAMA}:cpu", f"{LLAMA}:mock"}


def test_edited_check_of_a_runtime_reruns_its_backends(llama: Workspace) -> None:
    run = _edited(llama, "harness/checks/runtime.py")
    assert run.status == 0, run.output
    assert run.proved == {f"{LLAMA}:cpu_bfloat16"}


def test_what_a_backend_is_known_to_fail_does_not_rerun_what_passes(llama: Workspace) -> None:
    table = "toolchains/backends.bzl"
    settled = llama.bazel("test", "//models/...")  # the test before may have left another action in the output base
    assert settled.status == 0, settled.output
    run = after(llama, table, 'operator = "torch.fft"', 'operator = "torch.fft of half precision"')
    assert run.status == 0, run.output
    assert run.proved == frozenset()


def test_the_cells_of_a_backend_are_found_in_the_graph(llama: Workspace) -> None:
    run = llama.bazel("query", changes.cells_of(["cpu", "mock"], "//models/..."))
    assert run.status == 0, run.output
    found = {line for line in run.output.splitlines() if line.startswith("//models/")}
    assert found == {f"{LLAMA}:cpu", f"{LLAMA}:mock"}, run.output


def test_new_row_of_the_table_is_found_everywhere_and_reruns_nothing_else(llama: Workspace) -> None:
    table, settings = "toolchains/backends.bzl", ".bazelrc"
    originals = {path: (llama.source / path).read_text(encoding="utf-8") for path in (table, settings)}
    row = 'backend_row(name = "cpu_again", device = "cpu", runtime = "eager", dtype = "float32", checks = "runtime"),'
    config = "test:cpu_again --test_tag_filters=backend:cpu_again"
    llama.edit(table, "BACKENDS = [\n", f"BACKENDS = [\n    {row}\n")
    llama.edit(settings, "test:mock ", f"{config}\ntest:mock ")
    try:
        all_of_it = llama.bazel("test", "--test_tag_filters=backend:cpu,backend:cpu_again", "//models/...")
        assert all_of_it.status == 0, all_of_it.output
        assert all_of_it.proved == {f"{LLAMA}:cpu_again"}
        alone = llama.bazel("test", "--config=cpu_again", "//models/...")
        assert "1 test passes" in alone.output, alone.output
        built = llama.bazel("build", "//:grid", "//toolchains:cpu_again", "//toolchains:cpu_again.toolchain")
        assert built.status == 0, built.output
        grid = json.loads((llama.source / "bazel-bin/grid.json").read_text(encoding="utf-8"))
        assert "cpu_again" in [backend["name"] for backend in grid["backends"]]
        assert len([path for path in grid["verdicts"] if path.endswith("/cpu_again.verdict.json")]) == 1
    finally:
        for path, text in originals.items():
            (llama.source / path).write_text(text, encoding="utf-8")


def test_coverage_shows_the_grid_from_cached_verdicts(llama: Workspace) -> None:
    output = llama.root / "coverage.json"
    run = llama.bazel("run", "//:coverage", "--", f"--json={output}")
    assert run.status == 0, run.output
    assert run.proved == frozenset()
    text = output.read_text(encoding="utf-8")
    assert '"absent"' in text and '"consistent"' in text


def test_live_run_takes_arguments_for_pytest(llama: Workspace) -> None:
    run = llama.bazel("run", "//models/decoder/llama:cpu", "--", "-k", "causality")
    assert run.status == 0, run.output
    assert "causality" in run.output
    assert "1 passed" in run.output


def test_class_of_another_folder_fails_with_the_nearest(llama: Workspace) -> None:
    run = after(llama, "models/decoder/llama/BUILD", "LlamaForCausalLM", "LlamaForCausalLN", "--config=cpu")
    assert run.status == 3, run.output
    assert "//models/decoder/llama:cpu" in run.output
    assert "LlamaForCausalLN" in run.output and "LlamaForCausalLM" in run.output
