"""Writes or checks locks of environments: `bazel run //toolchains/environments:relock -- [--check] ENVIRONMENT...`.

pip resolves, with the user's own index settings and the interpreter that runs this program, which Bazel makes the one
of the environments. `python -m toolchains.environments.relock`, from the workspace's root, does the same for any other
interpreter. `--check` needs no network.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from toolchains.environments import locks


def resolve(requirements: Path) -> list[locks.Pin]:
    """Returns one pin for every package that `requirements` needs on this interpreter and platform.

    Raises:
      locks.LockError: pip found no solution, or reported a package without a hash.
    """
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.json")
        command = [sys.executable, "-E", "-P", "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--only-binary=:all:", f"--report={report}", f"--requirement={requirements}"]
        if subprocess.run(command, cwd=scratch, check=False).returncode != 0:
            raise locks.LockError(f"{requirements}: pip found no solution; its own words are above")
        packages = json.loads(report.read_text(encoding="utf-8"))["install"]
    return [_pin(package) for package in packages]


def _pin(package: dict[str, dict[str, dict[str, dict[str, str]]]]) -> locks.Pin:
    """Returns the pin of one entry of pip's installation report."""
    name, version = str(package["metadata"]["name"]), str(package["metadata"]["version"])
    sha256 = package["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
    if sha256 is None:
        raise locks.LockError(f"{name} {version}: pip reported no sha256; update pip (23.2 or newer) and relock")
    return locks.Pin(locks.normalise(name), version, sha256)


def relock(folder: Path) -> Path:
    """Writes the lock of the environment in `folder` for the running interpreter, and returns its path.

    Raises:
      locks.LockError: there is nothing to lock, or pip found no solution.
    """
    requirements = folder / "requirements.in"
    lines = locks.requirement_lines(requirements)
    lock = folder / f"{locks.interpreter_tag()}.lock"
    lock.write_text(locks.render(folder.name, lock.stem, lines, resolve(requirements)), encoding="utf-8")
    return lock


def check(folder: Path) -> list[str]:
    """Returns what is wrong with the locks in `folder`, one sentence each; nothing if all fit requirements.in.

    Raises:
      locks.LockError: requirements.in or a lock cannot be read.
    """
    lines = locks.requirement_lines(folder / "requirements.in")
    found = sorted(folder.glob("*.lock"))
    problems = [f"{lock.name}: {problem}" for lock in found for problem in locks.check(lock, lines)]
    return problems if found else [f"no lock in {folder.name}"]


def main(arguments: list[str]) -> int:
    """Runs the command line; returns 0, or 1 after one message for each environment that is not in order."""
    parser = argparse.ArgumentParser(prog="relock", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the locks fit requirements.in")
    parser.add_argument("environments", nargs="+", metavar="ENVIRONMENT", help="such as transformers-5.23")
    options = parser.parse_args(arguments)
    # Under `bazel run` this file is a link among the runfiles; the locks to write are in the workspace.
    workspace = os.environ.get("BUILD_WORKSPACE_DIRECTORY")
    root = Path(workspace, "toolchains/environments") if workspace else Path(__file__).parent
    status = 0
    for environment in options.environments:
        try:
            if options.check:
                problems = check(root / environment)
            else:
                lock, problems = relock(root / environment), []
                print(f"wrote {lock.relative_to(root.parent.parent)}")
        except locks.LockError as error:
            problems = [str(error)]
        if problems:
            status = 1
            print(f"{environment}: {'; '.join(problems)}. Relock: {locks.relock_command(environment)}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
