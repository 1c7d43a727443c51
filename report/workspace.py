"""The user's checkout as the toolkit sees it: its Bazel, its git, and nothing else."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from report.strict import InputError

BAZEL = "MODELGRID_BAZEL"
"""Environment variable with the command that runs Bazel, where the checkout's launcher is not the one to use."""

PATH = "MODELGRID_PATH"
"""Environment variable with the PATH that the launcher started Bazel with: another is another host to repositories."""

_NOT_ALL_FOUND = 3
"""What `bazel query --keep_going` exits with when a label does not exist."""


class Workspace:
    """A checkout, and how Bazel and git are asked about it.

    Attributes:
      root: the checkout's folder.
      bazel: the command that runs Bazel there.
    """

    def __init__(self, root: Path, bazel: Sequence[str]) -> None:
        self.root = root
        self.bazel = tuple(bazel)

    def query(self, expression: str, *options: str) -> list[str]:
        """Returns the labels that `bazel query` finds; a label of the expression that does not exist finds nothing.

        Raises:
          InputError: the query failed; what Bazel said is in the message.
        """
        flags = ["--noshow_progress", "--order_output=no", "--keep_going"]
        # An expression may name more files than fit on a command line.
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".query") as file:
            file.write(expression)
            file.flush()
            command = [*self.bazel, "query", *flags, *options, f"--query_file={file.name}"]
            return self._checked(command, "bazel", _NOT_ALL_FOUND).splitlines()

    def actions(self, expression: str) -> str:
        """Returns what `bazel aquery --output=jsonproto` prints for an expression.

        Raises:
          InputError: the query failed.
        """
        return self._checked([*self.bazel, "aquery", "--noshow_progress", "--output=jsonproto", expression], "bazel")

    def run(self, *arguments: str) -> int:
        """Runs Bazel in the foreground, with the user's terminal, and returns its exit code.

        Raises:
          InputError: there is no such program.
        """
        command = [*self.bazel, *arguments]
        print(f"$ {shlex.join(command)}", flush=True)
        try:
            # Where the user is: files that the command line names are relative to it.
            where = os.environ.get("BUILD_WORKING_DIRECTORY", self.root)
            return subprocess.run(command, cwd=where, env=_environment(), check=False).returncode
        except OSError as error:
            raise InputError(f"{command[0]}: cannot be run ({error.strerror}); set {BAZEL} to the command") from None

    def git(self, *arguments: str) -> str:
        """Returns what git prints.

        Raises:
          InputError: there is no git, or it refused; what it said is in the message.
        """
        return self._checked(["git", *arguments], "git")

    def changed(self, since: str) -> dict[str, bool]:
        """Returns the files that differ from a revision, committed or not, and whether each is still there.

        A file that moved is one that is gone and one that is new.

        Raises:
          InputError: git does not know the revision.
        """
        known = f"{since}^{{commit}}"
        try:
            revision = self.git("rev-parse", "--verify", "--quiet", "--end-of-options", known).strip()
        except InputError:
            raise InputError(
                f"git knows no revision {since!r} here; name a commit, a branch or a tag (a shallow clone has few)"
            ) from None
        fields = self.git("diff", "--name-status", "--no-renames", "--relative", "-z", revision, "--").split("\0")
        found = {path: status != "D" for status, path in zip(fields[::2], fields[1::2], strict=False)}
        untracked = self.git("ls-files", "--others", "--exclude-standard", "-z").split("\0")
        return found | {path: True for path in untracked if path}

    def _checked(self, command: Sequence[str], name: str, *accepted: int) -> str:
        try:
            done = subprocess.run(
                command, cwd=self.root, env=_environment(), check=False, capture_output=True, text=True
            )
        except OSError as error:
            raise InputError(f"{command[0]}: cannot be run ({error.strerror})") from None
        if done.returncode not in (0, *accepted):
            said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("INFO")]
            raise InputError(f"{name} refused: {' '.join(said[-3:])}")
        return done.stdout


def _environment() -> dict[str, str]:
    """Returns the environment of this program with the PATH of the Bazel that runs it, where the launcher said it."""
    known = os.environ.get(PATH)
    return {**os.environ, **({"PATH": known} if known else {})}


def find() -> Workspace:
    """Returns the checkout of this `bazel run`, with the launcher and the output root that it was started with.

    Raises:
      InputError: no `bazel run` started this program.
    """
    root = os.environ.get("BUILD_WORKSPACE_DIRECTORY")
    if not root:
        raise InputError("no checkout to look at; use `bazel run //:toolkit -- COMMAND`")
    told = os.environ.get(BAZEL)
    if told:
        return Workspace(Path(root), shlex.split(told))
    return Workspace(Path(root), [str(Path(root, "bazelw")), *_startup(Path.cwd())])


def _startup(where: Path) -> list[str]:
    """Returns the startup option with which Bazel meets the server that runs this program: it runs below its output."""
    for folder in where.parents:
        if folder.name == "execroot":
            return [f"--output_user_root={folder.parent.parent}"]
    return []
