"""The cache of `bazel run //deploy:cache` inside a test, and clones that know it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.grid import Workspace

MODELS = ("decoder/gpt2", "decoder/llama", "encoder/bert")
CELLS = frozenset(f"//models/{model}:mock" for model in MODELS)
"""What is cached, for whom and under which key is the same for `mock` as for all."""


def free_port() -> int:
    """Returns a port that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cache:
    """A running cache.

    Args:
      folder: for its configuration and its store.
      store: where its store is, if not in the folder.
    """

    def __init__(self, folder: Path, store: Path | None = None) -> None:
        self.folder = folder
        self.store = store or folder / "store"
        self.port = free_port()
        self.start()

    def start(self) -> None:
        """Starts it and returns when it is up."""
        command = [sys.executable, "-m", "deploy.cache", f"--nginx={os.environ['NGINX']}", f"--folder={self.folder}"]
        self._process = subprocess.Popen(
            [*command, f"--store={self.store}", f"--port={self.port}"],
            env={**os.environ, "PYTHONPATH": os.getcwd()},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith("ready"), self._process.wait()
        self.answered()

    def stop(self) -> int:
        """Ends it and returns its exit status."""
        self._process.terminate()
        return self._process.wait()

    def answered(self) -> Counter[str]:
        """Returns how often each method got each status since this was last asked, such as `PUT 201`."""
        log = self.folder / "access.log"
        lines = log.read_text(encoding="utf-8").splitlines()
        log.write_bytes(b"")
        return Counter(f"{method} {status}" for method, _, status, _ in (line.split() for line in lines))

    def clone(self, root: Path, *, writer: bool = False, models: Sequence[str] = MODELS) -> Workspace:
        """Returns a clone that knows the cache, and may write to it; it has no other cache."""
        clone = Workspace(root, models)
        clone.without_wheels()
        clone.flags = ["--disk_cache="]
        who = "writer" if writer else "reader"
        (clone.source / "user.bazelrc").write_text(f"import {self.folder}/{who}.bazelrc\n", encoding="utf-8")
        return clone
