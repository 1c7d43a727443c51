"""A Bazelisk or Bazel on PATH serves if, and only if, it runs the pinned version."""

from pathlib import Path

import pytest

from launcher import on_path
from tests.launcher.host import VERSION, Host

BROKEN_BAZELISK = "#!/bin/sh\necho asked >>'{log}'\necho 'could not download' >&2\nexit 1\n"


def test_pinned_bazel_runs_with_the_arguments_as_they_are(host: Host) -> None:
    host.add_bazel("bazel")
    result = host.run("--output_base=a b", "test", "//...", "*")
    assert result.returncode == 0
    assert result.stdout.splitlines() == [
        "ran bazel",
        str(host.root),
        VERSION,
        "--output_base=a b",
        "test",
        "//...",
        "*",
    ]
    assert host.prefixes() == []


def test_bazelisk_comes_before_bazel(host: Host) -> None:
    host.add_bazel("bazel")
    host.add_bazel("bazelisk")
    assert host.run("build").stdout.startswith("ran bazelisk\n")


def test_bazel_of_another_version_is_not_used(host: Host) -> None:
    host.add_bazel("bazel", "8.0.0")
    result = host.run("build")
    assert "ran bazel" not in result.stdout
    assert f"is 'bazel 8.0.0', and this workspace needs bazel {VERSION}" in result.stderr
    assert len(host.prefixes()) == 1


def test_version_must_match_exactly(host: Host) -> None:
    host.add_bazel("bazel", f"{VERSION}0")
    assert "ran bazel" not in host.run("build").stdout


def test_bazelisk_that_cannot_download_falls_back_with_a_note(host: Host) -> None:
    host.add("bazelisk", BROKEN_BAZELISK.format(log=host.control / "log"))
    result = host.run("build")
    assert result.returncode == 0
    assert "could not download" in result.stderr
    assert f"could not run bazel {VERSION} (exit code 1); not used" in result.stderr
    assert len(host.prefixes()) == 1


def test_refusal_is_not_asked_for_again_once_a_prefix_is_there(host: Host) -> None:
    host.add("bazelisk", BROKEN_BAZELISK.format(log=host.control / "log"))
    host.run("build")
    before = host.log.count("asked")
    assert before == 1
    result = host.run("build")
    assert host.log.count("asked") == before
    assert result.stderr == ""


def test_refusal_is_asked_for_again_while_there_is_no_prefix(host: Host) -> None:
    host.withdraw("forky")
    host.add("bazelisk", BROKEN_BAZELISK.format(log=host.control / "log"))
    assert host.run("build").returncode != 0
    host.add_bazel("bazelisk")
    assert host.run("build").stdout.startswith("ran bazelisk\n")


def test_script_that_changes_its_answer_is_noticed(host: Host) -> None:
    """A version manager's shim stays the same file while what it runs changes."""
    answer = host.control / "answer"
    answer.write_text(f"bazel {VERSION}")
    host.add("cat", '#!/bin/sh\nPATH=/usr/bin:/bin exec cat "$@"\n')
    host.add("bazel", f"#!/bin/sh\ncat '{answer}'\n")
    assert host.run("--help").stdout == f"bazel {VERSION}"
    answer.write_text("bazel 8.0.0")
    assert "bazel 8.0.0" not in host.run("--help").stdout


def test_binary_is_asked_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def answer(path: Path, *_: object) -> bool:
        asked.append(path)
        return True

    monkeypatch.setattr(on_path, "_ask", answer)
    binary = host.add("bazel", "\x7fELF")
    for _ in range(2):
        found = on_path.find_bazel(VERSION, host.root, host.cache, host.env, own=None)
        assert found == str(binary)
    assert asked == [binary]
    binary.write_text("\x7fELF of another version")
    on_path.find_bazel(VERSION, host.root, host.cache, host.env, own=None)
    assert asked == [binary, binary]


def test_link_to_bazelw_is_no_candidate(host: Host) -> None:
    (host.bin / "bazel").symlink_to(host.root / "bazelw")
    result = host.run("build")
    assert result.returncode == 0
    assert "not used" not in result.stderr
    assert len(host.prefixes()) == 1


def test_script_that_runs_bazelw_does_not_recurse(host: Host) -> None:
    host.add("bazel", f'#!/bin/sh\nexec "{host.root}/bazelw" "$@"\n')
    result = host.run("build")
    assert result.returncode == 0
    assert "this bazel on PATH is bazelw itself" in result.stderr
    assert len(host.prefixes()) == 1


def test_own_prefix_on_path_is_run_and_not_asked(host: Host) -> None:
    host.run("build")
    bazel = host.prefixes()[0] / "bin" / "bazel"
    result = host.run("build", PATH=f"{bazel.parent}:{host.bin}")
    assert "--nosystem_rc" in result.stdout
    assert not (host.cache / "path-bazel.json").exists()


def test_bazel_gets_the_default_action_for_a_broken_pipe(host: Host) -> None:
    host.add(
        "bazel",
        '#!/bin/sh\n[ "$1" = --version ] && echo "bazel 7.7.1" && exit\n'
        'while read -r line; do echo "$line"; done </proc/self/status\n',
    )
    status = dict(line.split(":", 1) for line in host.run("query").stdout.splitlines() if ":" in line)
    ignored = int(status["SigIgn"], 16)
    assert not ignored >> (13 - 1) & 1, "SIGPIPE is ignored"


def test_bazel_that_is_not_pinned_to_the_known_version_is_not_bootstrapped(host: Host) -> None:
    (host.root / ".bazelversion").write_text("8.0.0\n")
    result = host.run("build")
    assert result.returncode == 36
    assert "Install Bazelisk or Bazel 8.0.0" in result.stderr
    assert host.prefixes() == []
