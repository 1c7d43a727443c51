"""Lock files: their name, their text, and whether one still fits its requirements.

A lock is pip's own requirements format, one exact version and one sha256 a package, for one interpreter and platform.
Finding versions is relock.py's, fetching them fetch.py's. Standard library only, and the `packaging` that pip ships.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})$")
_REQUIREMENTS = re.compile(r"^# requirements\.in: sha256:([0-9a-f]{64})$", re.MULTILINE)
_SYSTEMS = {"darwin": "macos", "win32": "windows"}


class LockError(Exception):
    """A lock or requirements file that cannot be used. The message says what is wrong and what to do."""


@dataclasses.dataclass(frozen=True)
class Pin:
    """One package of a lock: the name as PEP 503 normalises it, its exact version, the sha256 of its wheel."""

    name: str
    version: str
    sha256: str


def interpreter_tag() -> str:
    """Returns the tag of the running interpreter and platform, by which its locks are named: `cp311-linux_x86_64`."""
    system = _SYSTEMS.get(sys.platform, sys.platform)
    return f"cp{sys.version_info.major}{sys.version_info.minor}-{system}_{platform.machine().lower()}"


def relock_command(environment: str) -> str:
    """Returns the command that writes the lock of `environment` for the interpreter that Bazel uses."""
    return f"bazel run //toolchains/environments:relock -- {environment}"


def normalise(name: str) -> str:
    """Returns the package name in the form PEP 503 compares: lower case, runs of `-_.` as one `-`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_lines(path: Path) -> list[str]:
    """Returns the requirements in the file at `path`, sorted, without comments and options.

    Raises:
      LockError: the file is missing or asks for nothing.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LockError(f"{path}: {error.strerror}; every environment has a requirements.in") from None
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    found = sorted(line for line in lines if line and not line.startswith("-"))
    if not found:
        raise LockError(f"{path}: no requirement in it")
    return found


def requirements_digest(lines: Sequence[str]) -> str:
    """Returns the sha256 that a lock carries of the requirements it was made from."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def render(environment: str, tag: str, requirements: Sequence[str], pins: Sequence[Pin]) -> str:
    """Returns the text of the lock with `pins`, which `parse` reads back."""
    lines = [
        f"# Lock of the environment {environment} for {tag}. Do not edit; written by",
        f"#   {relock_command(environment)}",
        f"# requirements.in: sha256:{requirements_digest(requirements)}",
    ]
    for pin in sorted(pins, key=lambda pin: pin.name):
        lines += [f"{pin.name}=={pin.version} \\", f"    --hash=sha256:{pin.sha256}"]
    return "\n".join(lines) + "\n"


def parse(path: Path) -> dict[str, Pin]:
    """Returns the pins in the lock at `path` by normalised name.

    Raises:
      LockError: the file is missing, or a line is no exact version with one sha256.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LockError(f"{path}: {error.strerror}") from None
    pins: dict[str, Pin] = {}
    for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = _ENTRY.match(line.strip())
        if match is None:
            raise LockError(
                f"{path}: not `name==version --hash=sha256:...`: {line.strip()!r}; relock instead of editing"
            )
        pin = Pin(normalise(match["name"]), match["version"], match["sha256"])
        if pin.name in pins:
            raise LockError(f"{path}: {pin.name} is there twice; relock instead of editing")
        pins[pin.name] = pin
    if not pins:
        raise LockError(f"{path}: no package in it; relock")
    return pins


def check(lock: Path, requirements: Sequence[str]) -> list[str]:
    """Returns what is wrong with the lock at `lock` for `requirements`, one sentence each; nothing if it fits.

    Without network: it compares what was asked for then with what is asked for now, and the pins with the latter.

    Raises:
      LockError: the lock cannot be read.
    """
    pins = parse(lock)
    recorded = _REQUIREMENTS.search(lock.read_text(encoding="utf-8"))
    problems = []
    if recorded is None:
        problems.append("the line `# requirements.in: sha256:...` is missing")
    elif recorded[1] != requirements_digest(requirements):
        problems.append("requirements.in changed since it was written")
    return problems + _unsatisfied(pins, requirements, lock.stem)


def _unsatisfied(pins: Mapping[str, Pin], requirements: Sequence[str], tag: str) -> list[str]:
    """Returns one sentence for each of `requirements` that no pin satisfies on the platform of `tag`."""
    # A plain interpreter has pip's copy of it.
    where = "" if importlib.util.find_spec("packaging") else "pip._vendor."
    parser = importlib.import_module(f"{where}packaging.requirements")

    problems = []
    for line in requirements:
        try:
            requirement = parser.Requirement(line)
        except parser.InvalidRequirement as error:
            raise LockError(f"requirements.in: {line!r} is no requirement ({error})") from None
        if requirement.marker is not None and not requirement.marker.evaluate(_marker_values(tag)):
            continue
        pin = pins.get(normalise(requirement.name))
        if pin is None:
            problems.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(pin.version, prereleases=True):
            problems.append(f"{pin.name} {pin.version} does not satisfy {line!r}")
    return problems


def _marker_values(tag: str) -> dict[str, str]:
    """Returns the values of PEP 508's environment markers on the interpreter and platform of `tag`."""
    match = re.fullmatch(r"cp(\d)(\d+)-([a-z]+)_(\w+)", tag)
    if match is None:
        raise LockError(
            f"{tag}.lock: a lock is named after its interpreter and platform, such as cp311-linux_x86_64.lock"
        )
    major, minor, system, machine = match.groups()
    names = {"linux": ("linux", "Linux"), "macos": ("darwin", "Darwin"), "windows": ("win32", "Windows")}
    sys_platform, platform_system = names.get(system, (system, system))
    return {
        "implementation_name": "cpython",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": platform_system,
        "python_full_version": f"{major}.{minor}.0",
        "python_version": f"{major}.{minor}",
        "sys_platform": sys_platform,
    }
