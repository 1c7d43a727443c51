"""What a shared cache gives a team, by its hits: a second clone proves nothing, and who only reads leaves no trace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.caches import CELLS, Cache, free_port
from tests.e2e.grid import Run, Workspace


@pytest.fixture(scope="module")
def cache() -> Iterator[Cache]:
    """Yields an empty cache."""
    made = Cache(Path(os.environ["TEST_TMPDIR"]) / "cache")
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def main_branch(cache: Cache) -> Iterator[Workspace]:
    """Yields a clone that proved everything and uploaded it."""
    clone = cache.clone(Path(os.environ["TEST_TMPDIR"]) / "main", writer=True)
    first = _test(clone, "--config=ci")
    assert first.status == 0, first.output
    assert first.proved == CELLS
    answered = cache.answered()
    assert answered["PUT 201"] > len(CELLS) and answered["PUT 401"] == 0, answered
    yield clone
    clone.shutdown()


@pytest.fixture(scope="module")
def pull_request(cache: Cache, main_branch: Workspace) -> Iterator[Workspace]:
    """Yields a second clone, which may only read."""
    clone = cache.clone(Path(os.environ["TEST_TMPDIR"]) / "second")
    yield clone
    clone.shutdown()


def _test(workspace: Workspace, *flags: str) -> Run:
    return workspace.bazel("test", *flags, "--config=mock", "//models/...")


def test_second_clean_clone_proves_nothing(cache: Cache, pull_request: Workspace) -> None:
    run = _test(pull_request, "--config=cache")
    assert run.status == 0, run.output
    assert run.proved == frozenset()
    assert run.cached == CELLS
    answered = cache.answered()
    assert answered["GET 200"] > 0 and answered["GET 404"] == 0, answered


def test_changed_model_is_proven_alone_and_not_written(cache: Cache, pull_request: Workspace) -> None:
    cache.answered()
    pull_request.edit("models/decoder/llama/BUILD", 'tier = "high"', 'tier = "medium"')
    run = _test(pull_request, "--config=cache")
    assert run.status == 0, run.output
    assert run.proved == {"//models/decoder/llama:mock"}
    assert not [answer for answer in cache.answered() if answer.startswith("PUT")]


def test_server_refuses_what_a_pull_request_tries_to_write(cache: Cache, pull_request: Workspace) -> None:
    cache.answered()
    pull_request.edit("models/decoder/llama/BUILD", 'tier = "medium"', 'tier = "low"')
    # As an edited .bazelrc would have it.
    run = _test(pull_request, "--config=cache", "--remote_upload_local_results")
    assert run.status == 0, run.output
    assert run.proved == {"//models/decoder/llama:mock"}
    answered = cache.answered()
    assert answered["PUT 401"] > 0 and answered["PUT 201"] == 0, answered
    assert "401" in run.output, run.output


def test_verdicts_stay_in_the_cache_and_test_cases_do_not(main_branch: Workspace) -> None:
    main_branch.bazel("clean")
    run = _test(main_branch, "--config=ci")
    assert run.status == 0, run.output
    assert run.cached == CELLS
    assert list(main_branch.source.glob("bazel-out/*/testlogs/models/decoder/llama/mock/test.xml"))
    assert not list(main_branch.source.glob("bazel-out/*/bin/models/decoder/llama/mock.verdict.json"))


def test_corrupt_blob_is_seen_and_proven_anew(cache: Cache, pull_request: Workspace) -> None:
    cell = "encoder/bert:mock"
    everything = ("build", "--config=cache", "--remote_download_outputs=all", f"//models/{cell}")
    assert pull_request.bazel(*everything).status == 0
    good = pull_request.verdict(cell)
    damaged = [blob for blob in (cache.store / "cas").glob("*/*") if blob.read_bytes() == good]
    assert len(damaged) == 1
    damaged[0].write_bytes(good.replace(b"mock", b"real"))
    pull_request.bazel("clean")
    run = pull_request.bazel(*everything)
    assert run.status == 0, run.output
    assert run.proved == {f"//models/{cell}"}
    assert pull_request.verdict(cell) == good


def test_cache_that_is_gone_costs_time_and_nothing_else(pull_request: Workspace) -> None:
    gone = f"--remote_cache=http://127.0.0.1:{free_port()}"
    run = pull_request.bazel("test", "--config=cache", gone, "--//rules:epoch=again", "//models/encoder/bert:mock")
    assert run.status == 0, run.output
    assert run.proved == {"//models/encoder/bert:mock"}
