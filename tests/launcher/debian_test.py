"""A program comes from PATH or from Debian's packages, or else what stands in its place says why it does not."""

import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher import debian
from tests.launcher.host import Host, write_archive

PROGRAM = '#!/bin/sh\necho $LD_LIBRARY_PATH $FONTCONFIG_FILE "$@"\n'


@pytest.fixture
def fetch(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], Path]:
    """Returns what fetches Chromium on a made-up host of Debian `made-up` and gives the script that starts it."""
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"VERSION_CODENAME": "made-up"})
    monkeypatch.setenv("PATH", str(host.bin))
    monkeypatch.setattr("sys.argv", ["debian", f"--out={tmp_path}", "chromium"])
    monkeypatch.setattr(debian, "HOST", host.root)

    def run() -> Path:
        debian.main()
        assert not (tmp_path / "apt").exists()
        return tmp_path / "chromium"

    return run


def _offer(host: Host, files: dict[str, str]) -> None:
    folder = host.control / "archive" / "made-up"
    folder.mkdir(parents=True)
    write_archive(folder / "chromium-headless-shell_150_amd64.deb", files)


def _start(script: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([script, "--one", "two"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)


def test_package_is_unpacked_and_started_with_its_own_libraries(host: Host, fetch: Callable[[], Path]) -> None:
    _offer(host, {"usr/lib/chromium/chromium-headless-shell": PROGRAM, "usr/share/doc/chromium/copyright": "a licence"})
    script = fetch()
    root = script.parent / "root"
    said = _start(script).stdout.split()
    assert said[0].startswith(f"{root}/usr/lib/x86_64-linux-gnu:")
    assert said[1:] == [f"{root}/fonts.conf", "--one", "two"]
    assert str(root / "usr/share/fonts") in (root / "fonts.conf").read_text()
    assert "chromium-headless-shell_150_amd64.deb" in script.read_text(), "another version is another input"
    assert not (root / "usr/share/doc").exists()


def test_one_on_path_is_taken(host: Host, fetch: Callable[[], Path]) -> None:
    host.add("chromium", '#!/bin/sh\necho "$@"\n')
    assert _start(fetch()).stdout == "--one two\n"
    assert host.downloads() == []


def test_what_goes_wrong_is_said_by_what_would_be_started(host: Host, fetch: Callable[[], Path]) -> None:
    _offer(host, {"usr/lib/chromium/chromium-headless-shell": PROGRAM})
    host.order("apt-get-download-chromium-headless-shell", "E: Could not resolve 'mirror.invalid'")
    result = _start(fetch())
    assert result.returncode == 1
    assert "Could not resolve 'mirror.invalid'" in result.stderr and "Check the network" in result.stderr
    assert "Or install Debian's package chromium" in result.stderr and "Bazelisk" not in result.stderr


def test_release_without_chromium_is_named(host: Host, fetch: Callable[[], Path]) -> None:
    assert "made-up of http://mirror.invalid/debian has no installable" in _start(fetch()).stderr
