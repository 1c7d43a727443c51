"""A modelgrid workspace inside a test: a copy of this one, with a Bazel server and caches of its own.

The environment's repositories are those that the outer Bazel fetched, handed over by `--override_repository`, so
that no test downloads a wheel.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

_REPOSITORIES = ("modelgrid_python", "tools_site", "transformers_5_23", "transformers_5_23_site")


def _fetched_repositories() -> dict[str, Path]:
    """Returns the outer Bazel's folder of each environment repository, by canonical name."""
    found = {}
    for folder in Path(os.environ["TEST_SRCDIR"]).iterdir():
        if folder.name.endswith(_REPOSITORIES):
            anchor = next(path for path in folder.iterdir() if path.is_file())
            # A symlinked file of the repository itself may lead out of it (the interpreter does): one step only.
            found[folder.name] = Path(os.readlink(anchor)).parent
    return found


@dataclasses.dataclass(frozen=True)
class Run:
    """What one Bazel command did.

    Attributes:
      status: Bazel's exit status: 0, or 3 where a test failed.
      output: what it printed, both streams.
      proved: labels of the cells whose verdict was made by a run, not by a cache.
      cached: labels of the cells whose verdict came from the disk cache.
    """

    status: int
    output: str
    proved: frozenset[str]
    cached: frozenset[str]


class Workspace:
    """A copy of the workspace with a few models.

    Args:
      root: folder of its own to make it in; not below `/tmp`, which the sandbox hides.
      models: packages to keep, such as `decoder/llama`.
      bzlmod: whether MODULE.bazel makes the repositories, or WORKSPACE does.
    """

    def __init__(self, root: Path, models: Sequence[str], *, bzlmod: bool = True) -> None:
        self.root = root
        self.source = root / "source"
        self.output_user_root = root / "output"
        self.flags: list[str] = [f"--disk_cache={root / 'disk'}"]
        self._repositories = _fetched_repositories()
        if not bzlmod:
            # Without bzlmod a repository's canonical name is the plain one.
            self.flags += ["--noenable_bzlmod", "--enable_workspace"]
            self._repositories = {
                next(plain for plain in reversed(_REPOSITORIES) if name.endswith(plain)): folder
                for name, folder in self._repositories.items()
            }
        main = Path(os.environ["TEST_SRCDIR"]) / os.environ["TEST_WORKSPACE"]
        for path in sorted(main.rglob("*")):
            relative = path.relative_to(main)
            model = relative.parts[0] == "models" and len(relative.parts) > 3
            if path.is_dir() or (model and "/".join(relative.parts[1:3]) not in models):
                continue
            if relative.parts[0] in ("external", "tests", "bazel-out") or path.suffix == ".pyc":
                continue
            target = self.source / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path.resolve(), target)
        assert not (self.source / ".git").exists(), "a copy that shares the repository would commit to it"

    def only(self, backends: Sequence[str]) -> None:
        """Leaves out the cells of other backends: what compiles or exports would take most of the test's time."""
        filters = ",".join(f"backend:{name}" for name in backends)
        (self.source / "user.bazelrc").write_text(f"test --test_tag_filters={filters}\n", encoding="utf-8")

    def repository(self, name: str) -> Path:
        """Returns the outer Bazel's folder of the repository `name`."""
        for canonical, folder in self._repositories.items():
            if canonical.endswith(name):
                return folder
        raise FileNotFoundError(f"{name} is not among the runfiles; add it to the test's data")

    def without_wheels(self) -> None:
        """Puts nothing in the place of the wheels, of which `mock` needs none: there is less to hash in each server."""
        empty = self.root / "site"
        (empty / "site").mkdir(parents=True)
        (empty / "manifest.txt").write_text("nothing\n", encoding="utf-8")
        (empty / "MODULE.bazel").touch()
        (empty / "WORKSPACE").touch()
        (empty / "BUILD.bazel").write_text(
            'exports_files(["manifest.txt", "site"])\n'
            'alias(name = "manifest", actual = "manifest.txt", visibility = ["//visibility:public"])\n',
            encoding="utf-8",
        )
        name = next(name for name in self._repositories if name.endswith("transformers_5_23_site"))
        self._repositories[name] = empty

    def command(
        self,
        *arguments: str,
        fetch: Sequence[str] = (),
        output_user_root: Path | None = None,
    ) -> list[str]:
        """Returns the command line of Bazel in this workspace.

        Args:
          *arguments: command and its arguments.
          fetch: repositories that this workspace makes itself.
          output_user_root: an output root other than this workspace's own.
        """
        overrides = [
            f"--override_repository={name}={folder}"
            for name, folder in self._repositories.items()
            if not any(name.endswith(own) for own in fetch)
        ]
        verb, *rest = arguments
        return [
            str(self.source / "bazelw"),
            f"--output_user_root={output_user_root or self.output_user_root}",
            "--max_idle_secs=60",
            # A server that lives for a minute is not worth optimising code for: a third of its CPU seconds.
            "--host_jvm_args=-XX:TieredStopAtLevel=1",
            "--host_jvm_args=-XX:+UseSerialGC",
            verb,
            *overrides,
            *self.flags,
            "--color=no",
            "--curses=no",
            "--show_progress_rate_limit=60",
            *rest,
        ]

    def bazel(
        self,
        *arguments: str,
        fetch: Sequence[str] = (),
        output_user_root: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> Run:
        """Runs Bazel to its end. Arguments as of `command`; `environment` is added to this process's."""
        log = self.root / "execution.json"
        log.unlink(missing_ok=True)
        verb, *rest = arguments
        logged = [f"--execution_log_json_file={log}"] if verb in ("build", "test", "run") else []
        done = subprocess.run(
            self.command(verb, *logged, *rest, fetch=fetch, output_user_root=output_user_root),
            cwd=self.source,
            env=_environment() | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        spawns = _spawns(log.read_text(encoding="utf-8")) if log.exists() else []
        verdicts = [spawn for spawn in spawns if spawn.get("mnemonic") == "ModelVerdict"]
        return Run(
            status=done.returncode,
            output=done.stdout,
            proved=frozenset(label(spawn) for spawn in verdicts if not spawn.get("cacheHit")),
            cached=frozenset(label(spawn) for spawn in verdicts if spawn.get("cacheHit")),
        )

    def verdict(self, cell: str) -> bytes:
        """Returns the bytes of the verdict of `cell`, such as `decoder/llama:cpu`, that was last built."""
        package, name = cell.split(":")
        found = sorted(
            self.source.glob(f"bazel-out/*/bin/models/{package}/{name}.verdict.json"),
            key=lambda path: path.stat().st_mtime,
        )
        return found[-1].read_bytes()

    def edit(self, path: str, old: str, new: str) -> None:
        """Replaces `old`, which must be there, in the file at `path`."""
        file = self.source / path
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new), encoding="utf-8")

    def shutdown(self) -> None:
        """Ends the Bazel server."""
        self.bazel("shutdown")


def _environment() -> dict[str, str]:
    """Returns this process's environment without what would tell the inner Bazel that it is in a test."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("TEST_", "RUNFILES_"))}


def label(spawn: dict[str, object]) -> str:
    """Returns the label of a spawn of the execution log without the main repository's mark."""
    return str(spawn["targetLabel"]).removeprefix("@@").removeprefix("@")


def _spawns(text: str) -> list[dict[str, object]]:
    """Returns the entries of an execution log: JSON objects one after the other."""
    decoder, position, found = json.JSONDecoder(), 0, []
    while position < len(text):
        value, position = decoder.raw_decode(text, position)
        found.append(value)
        while position < len(text) and text[position].isspace():
            position += 1
    return found
