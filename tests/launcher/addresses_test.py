"""The addresses of a team's servers come from the environment, and whoever has none notices nothing of it."""

import stat
from pathlib import Path

import pytest

from tests.launcher.host import Host

READER, WRITER = "https://cache.example", "https://ci:secret@cache.example"


@pytest.fixture
def host(host: Host) -> Host:
    """A host with a Bazel on PATH, which says how it was called."""
    host.add_bazel("bazel")
    return host


def _called(host: Host, **env: str) -> list[str]:
    """Returns the arguments that Bazel got."""
    result = host.run("test", "//...", **env)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[3:]


def _lines(host: Host, **env: str) -> list[str]:
    """Returns the lines of the bazelrc that Bazel is given."""
    option, *rest = _called(host, **env)
    assert rest == ["test", "//..."]
    path = Path(option.removeprefix("--bazelrc="))
    assert path.parent == host.cache and stat.S_IMODE(path.stat().st_mode) == 0o600
    return path.read_text().splitlines()


def test_without_addresses_bazel_is_called_as_ever(host: Host) -> None:
    assert _called(host, MODELGRID_REMOTE_CACHE="") == ["test", "//..."]


def test_a_writer_writes_and_others_read(host: Host) -> None:
    assert _lines(host, MODELGRID_REMOTE_CACHE=READER, MODELGRID_REMOTE_CACHE_WRITER=WRITER) == [
        f"common:cache --remote_cache={READER}",
        f"common:ci --remote_cache={WRITER}",
    ]


def test_without_the_writers_address_ci_reads(host: Host) -> None:
    assert _lines(host, MODELGRID_REMOTE_CACHE=READER) == [
        f"common:cache --remote_cache={READER}",
        f"common:ci --remote_cache={READER}",
        "common:ci --noremote_upload_local_results",
    ]


def test_execution_has_an_address_of_its_own(host: Host) -> None:
    lines = _lines(host, MODELGRID_REMOTE_EXECUTOR="grpcs://build.example")
    assert lines == ["common:remote --remote_executor=grpcs://build.example"]


@pytest.mark.parametrize("odd", ["https://x --config=other", "https://x\ncommon --jobs=1", "'x'", "https://x#y"])
def test_what_is_no_address_is_refused_and_not_shown(host: Host, odd: str) -> None:
    result = host.run("test", MODELGRID_REMOTE_CACHE_WRITER=f"{odd}secret")
    assert result.returncode == 36
    assert "MODELGRID_REMOTE_CACHE_WRITER is no address" in result.stderr
    assert "secret" not in result.stdout + result.stderr
