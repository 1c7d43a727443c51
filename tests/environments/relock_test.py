"""Writing and checking locks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.environments.wheels import make_lock, make_wheel, sha256
from toolchains.environments import locks, relock


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment folder that asks for `top`, which needs `below`; pip knows the two from a folder alone."""
    links = tmp_path / "links"
    links.mkdir()
    make_wheel(links, "top", "2.0", requires=["Below_Package>=1"])
    make_wheel(links, "below_package", "1.5")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in {"CONFIG_FILE": os.devnull, "NO_INDEX": "1", "FIND_LINKS": str(links)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("BUILD_WORKSPACE_DIRECTORY", str(tmp_path))
    folder = tmp_path / "toolchains/environments/env"
    folder.mkdir(parents=True)
    (folder / "requirements.in").write_text("# why\ntop  # the one\nabsent; sys_platform == 'nowhere'\n")
    return folder


def test_the_lock_pins_what_is_asked_for_and_what_that_needs(environment: Path, tmp_path: Path) -> None:
    assert relock.main(["env"]) == 0
    pins = locks.parse(environment / f"{locks.interpreter_tag()}.lock")
    wheels = {path.name.split("-")[0].replace("_", "-"): sha256(path) for path in (tmp_path / "links").iterdir()}
    assert {name: pin.sha256 for name, pin in pins.items()} == wheels
    assert {name: pin.version for name, pin in pins.items()} == {"top": "2.0", "below-package": "1.5"}


def test_the_lock_names_no_place_of_this_machine(environment: Path, tmp_path: Path) -> None:
    assert relock.main(["env"]) == 0
    text = (environment / f"{locks.interpreter_tag()}.lock").read_text()
    assert str(tmp_path) not in text and "://" not in text
    assert "bazel run //toolchains/environments:relock -- env" in text


def test_locking_twice_writes_the_same(environment: Path) -> None:
    texts = []
    for _ in range(2):
        assert relock.main(["env"]) == 0
        texts.append((environment / f"{locks.interpreter_tag()}.lock").read_text())
    assert texts[0] == texts[1]


def test_a_fresh_lock_passes_the_check(environment: Path) -> None:
    assert relock.main(["env"]) == 0
    assert relock.main(["--check", "env"]) == 0


def test_changed_requirements_fail_the_check(environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert relock.main(["env"]) == 0
    (environment / "requirements.in").write_text("top>=3\n")
    assert relock.main(["--check", "env"]) == 1
    message = capsys.readouterr().err
    assert "requirements.in changed" in message and "top 2.0 does not satisfy 'top>=3'" in message
    assert "bazel run //toolchains/environments:relock -- env" in message


def test_a_changed_comment_passes_the_check(environment: Path) -> None:
    assert relock.main(["env"]) == 0
    (environment / "requirements.in").write_text("top\nabsent; sys_platform == 'nowhere'  # said otherwise\n")
    assert relock.main(["--check", "env"]) == 0


def test_a_lock_edited_by_hand_fails_the_check(environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert relock.main(["env"]) == 0
    lock = environment / f"{locks.interpreter_tag()}.lock"
    lock.write_text("".join(line for line in lock.read_text().splitlines(keepends=True) if not line.startswith("#")))
    assert relock.main(["--check", "env"]) == 1
    assert "the line `# requirements.in: sha256:...` is missing" in capsys.readouterr().err


def test_an_environment_without_a_lock_fails_the_check(environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert relock.main(["--check", "env"]) == 1
    assert "no lock" in capsys.readouterr().err


def test_requirements_that_cannot_be_met_leave_the_old_lock(environment: Path) -> None:
    assert relock.main(["env"]) == 0
    before = (environment / f"{locks.interpreter_tag()}.lock").read_text()
    (environment / "requirements.in").write_text("top==9\n")
    assert relock.main(["env"]) == 1
    assert (environment / f"{locks.interpreter_tag()}.lock").read_text() == before


def test_an_unknown_environment_is_an_error(environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert relock.main(["no-such"]) == 1
    assert "requirements.in" in capsys.readouterr().err


def test_markers_are_those_of_the_locks_platform(tmp_path: Path) -> None:
    asked = ["torch==2.0+cpu; sys_platform == 'linux'", "torch==2.0; sys_platform != 'linux'"]
    lock = make_lock(tmp_path, {"torch==2.0": "0" * 64})
    assert any("does not satisfy" in problem for problem in locks.check(lock, asked))
    other = lock.rename(tmp_path / "cp311-macos_arm64.lock")
    assert not any("does not satisfy" in problem for problem in locks.check(other, asked))


@pytest.mark.parametrize(
    ("line", "word"),
    [("one==1.0", "name==version"), ("one==1.0 --hash=md5:00", "name==version"), ("", "no package")],
)
def test_a_lock_without_hashes_is_refused(tmp_path: Path, line: str, word: str) -> None:
    (tmp_path / "cp311-linux_x86_64.lock").write_text(line)
    with pytest.raises(locks.LockError, match=word):
        locks.parse(tmp_path / "cp311-linux_x86_64.lock")


def test_a_package_locked_twice_is_refused(tmp_path: Path) -> None:
    lock = make_lock(tmp_path, {"One==1.0": "0" * 64, "one==1.1": "1" * 64})
    with pytest.raises(locks.LockError, match="twice"):
        locks.parse(lock)


@pytest.mark.parametrize(
    "environment", sorted(path.parent.name for path in Path(relock.__file__).parent.glob("*/requirements.in"))
)
def test_the_locks_of_this_workspace_fit_their_requirements(environment: str) -> None:
    assert relock.check(Path(relock.__file__).parent / environment) == []
