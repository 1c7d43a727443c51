"""Drives a worker as Bazel does: a process, requests as lines on its input, answers as lines from its output."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import verdict as verdicts
from harness.verdict import Verdict

ROOT = Path(__file__).parents[2]
FAKE = str(Path(__file__).with_name("fake_worker.py"))
PATIENCE = 30.0
"""Seconds that a test waits for what must happen: only ever used up when it does not."""


def spec_text(name: str, **fields: Any) -> str:
    """Returns a spec that runs the behaviour `name`; `fields` replace those of the default."""
    limits = {"cpu_seconds": 20, "wall_seconds": 20, "memory_mib": 512, **fields.pop("limits", {})}
    backend = {
        "name": "cpu",
        "device": "cpu",
        "runtime": "eager",
        "dtype": "float32",
        "tolerance": {"rtol": 1e-5, "atol": 1e-5, "per_layer": 1e-6},
        "checks": "category",
        "known_failures": [],
        **fields.pop("backend", {}),
    }
    spec = {
        "version": 1,
        "label": f"//models/decoder/{name}:cpu",
        "name": name,
        "category": "decoder",
        "tier": "high",
        "task": "text-generation",
        "environment": "transformers-5.23",
        "model_type": name,
        "folder": name,
        "main_class": "FakeForCausalLM",
        "checkpoint": "",
        "config": {},
        "inputs": {},
        "known_failures": [],
        "not_applicable": {},
        "heads": {},
        "unexercised_classes": {},
        "unused_parameters": {},
        "slices": [name],
        "epoch": "",
        "limits": limits,
        "backend": backend,
        **fields,
    }
    return json.dumps(spec)


def known_failure(match: str, check: str = "", message: str = "") -> Mapping[str, str]:
    """Returns a known failure as it stands in a spec."""
    return {
        "match": match,
        "reason": "upstream bug",
        "issue": "https://example.org/1",
        "expires": "2030-01-01",
        "check": check,
        "message": message,
    }


@dataclasses.dataclass(frozen=True)
class Cell:
    """The files of one action."""

    folder: Path

    def arguments(self, base: Path | None = None) -> list[str]:
        """Returns the per-run arguments, relative to `base` if given."""
        names = {
            "spec": "spec.json",
            "device": "device.json",
            "verdict": "verdict.json",
            "junit": "junit.xml",
            "log": "log.txt",
            "timings": "timings.json",
            "observed": "observed.json",
        }
        if (self.folder / "known_failures.json").exists():
            names.update(known_failures="known_failures.json", unused="unused.txt")
        folder = self.folder if base is None else self.folder.relative_to(base)
        return [f"--{name}={folder / file}" for name, file in names.items()]

    def verdict(self) -> Verdict:
        """Returns the verdict that was written."""
        return verdicts.from_json((self.folder / "verdict.json").read_text())

    def log(self) -> str:
        """Returns the log that was written."""
        return (self.folder / "log.txt").read_text()

    def outputs(self) -> Mapping[str, bytes]:
        """Returns the deterministic outputs, by name."""
        return {name: (self.folder / name).read_bytes() for name in ("verdict.json", "junit.xml", "log.txt")}

    def untouched(self) -> bool:
        """Returns whether no output was written."""
        return sorted(path.name for path in self.folder.iterdir()) == ["device.json", "spec.json"]


def make_cell(folder: Path, name: str, **fields: Any) -> Cell:
    """Writes the inputs of a cell that runs the behaviour `name` into the new folder `folder`."""
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(spec_text(name, **fields))
    (folder / "device.json").write_text('{"device": "cpu", "machine": "x86_64"}\n')
    return Cell(folder)


def command(script: str = FAKE, *more: str, root: Path = ROOT) -> list[str]:
    """Returns the command line that starts a worker for mock cells, without --persistent_worker."""
    return [sys.executable, "-S", "-B", script, f"--root={root}", "--mock", *more]


def environment(scratch: Path) -> dict[str, str]:
    """Returns what a worker's environment holds; its temporary files go below `scratch`."""
    scratch.mkdir(exist_ok=True)
    return {
        "PATH": os.environ.get("PATH", ""),
        "TMPDIR": str(scratch),
        "FAKE_WORKER_PATH": os.pathsep.join([str(ROOT), *sys.path]),
        "HF_TOKEN": "must not be seen",
        "PYTHONHASHSEED": "7",
    }


class Worker:
    """A running persistent worker."""

    def __init__(self, scratch: Path, argv: Sequence[str] | None = None, cwd: Path | None = None) -> None:
        self.scratch = scratch
        self.process = subprocess.Popen(
            [*(argv or command()), "--persistent_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(scratch),
            cwd=cwd,
            bufsize=0,
        )
        self._buffer = b""

    @property
    def pid(self) -> int:
        """The zygote's pid."""
        return self.process.pid

    def send_bytes(self, data: bytes) -> None:
        """Sends raw bytes."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def send(self, cell: Cell, request_id: int = 0, **more: Any) -> None:
        """Sends a request to run a cell."""
        request = {"arguments": cell.arguments(), "requestId": request_id, **more}
        self.send_bytes(json.dumps(request).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        """Returns the next answer."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            data = self.process.stdout.read(65536) if ready else b""
            assert data, f"no answer: {'the worker ended' if ready else 'the worker is silent'}"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def run(self, cell: Cell) -> Verdict:
        """Runs a cell that must get a verdict, and returns it."""
        self.send(cell)
        answer = self.receive()
        assert answer == {"exitCode": 0, "output": "", "requestId": 0}, answer["output"]
        return cell.verdict()

    def end_input(self) -> tuple[int, str]:
        """Closes the worker's input; returns its exit code and what it wrote to standard error."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors.decode(errors="replace")

    def files(self) -> int:
        """Returns how many descriptors the zygote has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def children(self) -> list[int]:
        """Returns the zygote's children, zombies included."""
        return [int(word) for word in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]


@contextlib.contextmanager
def started(scratch: Path, argv: Sequence[str] | None = None, cwd: Path | None = None) -> Iterator[Worker]:
    """Runs a worker for the length of a block."""
    worker = Worker(scratch, argv, cwd)
    try:
        yield worker
    finally:
        worker.process.kill()
        worker.process.communicate()


def until(condition: Callable[[], bool], what: str) -> None:
    """Polls until `condition` holds; fails the test where it never does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Returns whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
