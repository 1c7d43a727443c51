"""Finds a Bazelisk or Bazel on PATH that runs the pinned version.

Asking a program for its version may start a download, so the answer of a binary
is remembered by its identity. A script that said yes is asked each time: it may be
a version manager's shim, whose answer changes while its file does not.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.cache import say, write_atomically

# Set while a candidate is asked for its version. A candidate that turns out to
# run bazelw would otherwise ask itself for ever.
PROBE_VARIABLE = "MODELGRID_LAUNCHER_PROBE"
# A first run of Bazelisk downloads Bazel; a dead proxy must not hang for ever.
_PROBE_SECONDS = 300.0
_MEMORY_FORMAT = 1


@dataclass(frozen=True)
class Candidate:
    """A program on PATH that may serve, and what identifies its present content."""

    path: Path
    identity: str
    is_script: bool


def find_bazel(version: str, root: Path, cache: Path, env: Mapping[str, str], *, own: Path | None) -> str | None:
    """Returns the path of a program on PATH that runs Bazel `version`, or None.

    Args:
        version: The pinned version, such as "7.7.1".
        root: The workspace: candidates are asked there, as Bazelisk reads its
            .bazelversion, and its own bazelw is not a candidate.
        cache: The launcher's cache folder, which remembers the answers.
        env: The environment; PATH and USE_BAZEL_VERSION matter.
        own: The launcher's own Bazel if there is one. Then a candidate that said
            no before is not asked again: Bazelisk without a network is slow to fail.
    """
    memory = cache / "path-bazel.json"
    answers = _read_memory(memory)
    for candidate in _candidates(root, env):
        if own is not None and candidate.path.samefile(own):
            return str(own)
        key = f"{candidate.identity}:{version}:{env.get('USE_BAZEL_VERSION', '')}"
        serves = answers.get(key)
        if serves is None or (serves and candidate.is_script) or (not serves and own is None):
            serves = _ask(candidate.path, version, root, env)
            if answers.get(key) != serves:
                answers[key] = serves
                _write_memory(memory, answers)
        if serves:
            return str(candidate.path)
    return None


def _candidates(root: Path, env: Mapping[str, str]) -> Iterator[Candidate]:
    bazelw = root / "bazelw"
    for name in ("bazelisk", "bazel"):
        for folder in env.get("PATH", "").split(os.pathsep):
            path = Path.cwd() / folder / name
            try:
                status = path.stat()
                with path.open("rb") as handle:
                    is_script = handle.read(2) == b"#!"
            except OSError:
                continue
            if not os.access(path, os.X_OK) or path.samefile(bazelw):
                continue
            identity = f"{path.resolve()}:{status.st_size}:{status.st_mtime_ns}"
            yield Candidate(path, identity, is_script)


def _ask(path: Path, version: str, root: Path, env: Mapping[str, str]) -> bool:
    probe_env = {"USE_BAZEL_VERSION": version, **env, PROBE_VARIABLE: "1"}
    try:
        # stderr is the person's: Bazelisk shows its download there.
        result = subprocess.run(
            [str(path), "--version"],
            check=False,
            cwd=root,
            env=probe_env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=_PROBE_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        say(f"{path} does not work ({error}); not used")
        return False
    lines = result.stdout.splitlines()
    if result.returncode == 0 and f"bazel {version}" in lines:
        return True
    if result.returncode == 0 and lines:
        say(f"{path} is '{lines[-1]}', and this workspace needs bazel {version}; not used")
    else:
        say(f"{path} could not run bazel {version} (exit code {result.returncode}); not used")
    return False


def _read_memory(memory: Path) -> dict[str, bool]:
    try:
        content = json.loads(memory.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("format") != _MEMORY_FORMAT:
        return {}
    answers: dict[str, bool] = content["answers"]
    return answers


def _write_memory(memory: Path, answers: dict[str, bool]) -> None:
    try:
        write_atomically(memory, json.dumps({"format": _MEMORY_FORMAT, "answers": answers}))
    except OSError as error:
        say(f"cannot remember what is on PATH ({error}); the next start asks again")
