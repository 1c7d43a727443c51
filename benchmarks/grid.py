"""Times the main job on this machine, from a fresh clone with empty caches, and against one `py_test` per model.

`python3 benchmarks/grid.py FOLDER` (not below /tmp) prints a Markdown table for benchmarks/RESULTS.md. Everything is
measured in one run, since machines differ and are noisy: trust the ratios.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Ten of the critical and high tiers, all six categories.
PEER_MODELS = (
    "audio/wav2vec2",
    "audio/whisper",
    "decoder/gpt2",
    "decoder/llama",
    "encoder/bert",
    "encoder/roberta",
    "encoder_decoder/t5",
    "multimodal/clip",
    "vision/resnet",
    "vision/vit",
)

_PEER_BUILD = """
load("@rules_python//python:defs.bzl", "py_test")

[
    py_test(
        name = model.replace("/", "_"),
        size = "large",
        srcs = glob(["harness/**/*.py"]),
        args = [
            "--root=.",
            "--site=../_main~local~packages/site",
            "--transformers=../_main~local~packages",
            "--spec=specs/" + model + ".json",
        ],
        data = ["specs/" + model + ".json", "@packages//:files"],
        legacy_create_init = False,
        main = "harness/live.py",
    )
    for model in {models}
]
"""

_PEER_LOCAL = '''
def _packages_impl(rctx):
    for name in ["site", "transformers"]:
        rctx.symlink({sources}[name], name)
    rctx.file("BUILD.bazel", """filegroup(
    name = "files",
    srcs = glob(["site/**", "transformers/**"]),
    visibility = ["//visibility:public"],
)""")

packages = repository_rule(implementation = _packages_impl)

local = module_extension(implementation = lambda _ctx: packages(name = "packages"))
'''


@dataclasses.dataclass
class Timed:
    """A command and how long it took.

    Attributes:
      seconds: on the clock.
      output: what it printed.
    """

    seconds: float
    output: str


class Clone:
    """A fresh clone of this checkout's HEAD with an output root and caches of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(self.source)], check=True)
        self._environment = {**os.environ, "MODELGRID_CACHE": str(folder / "launcher")}

    def bazel(self, *arguments: str, cwd: Path | None = None, ok: tuple[int, ...] = (0,)) -> Timed:
        """Runs Bazel; raises RuntimeError where it ends with another status than those of `ok`."""
        verb, *rest = arguments
        cached = ["--disk_cache="] if verb in ("build", "test", "run") else []
        command = [str(self.source / "bazelw"), f"--output_user_root={self.folder / 'output'}", verb, *cached, *rest]
        start = time.monotonic()
        done = subprocess.run(
            command,
            cwd=cwd or self.source,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - start
        if done.returncode not in ok:
            raise RuntimeError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout[-4000:]}")
        return Timed(seconds, done.stdout)

    def append(self, path: str, text: str) -> None:
        """Appends `text` to a file of the clone."""
        with (self.source / path).open("a", encoding="utf-8") as file:
            file.write(text)


def worker_megabytes(folder: Path) -> list[int]:
    """Returns the resident memory of each worker process that runs below `folder`, MiB, largest first."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            command = (process / "cmdline").read_bytes()
            below = os.readlink(process / "cwd").startswith(str(folder))
            status = (process / "status").read_text(encoding="utf-8")
        except OSError:
            continue
        if b"harness/worker.py" in command and below:
            found.append(int(status.split("VmRSS:")[1].split()[0]) // 1024)
    return sorted(found, reverse=True)


def loop_seconds() -> float:
    """Returns the CPU seconds of ten million additions: how fast this machine is at the moment."""
    start, total = time.process_time(), 0
    for number in range(10_000_000):
        total += number
    return time.process_time() - start


def main_job(clone: Clone) -> Iterator[tuple[str, str]]:
    """Yields what was measured of the main job, and its value."""
    cells = ("test", "--config=cpu", "//models/...")
    yield "ten million additions, CPU seconds", f"{loop_seconds():.2f}"
    yield "first command: launcher, seconds", f"{clone.bazel('version').seconds:.0f}"
    fetch = clone.bazel("build", "--nobuild", "//models/...")
    yield "first command: wheels, repositories, analysis, seconds", f"{fetch.seconds:.0f}"
    yield "52 cells cold, seconds", f"{clone.bazel(*cells).seconds:.1f}"
    # The checks are an input and no part of the worker: all cells rerun in the workers that are there.
    clone.append("harness/checks/common.py", "\n# edited\n")
    yield "52 cells, warm workers, after an edit of a common check, seconds", f"{clone.bazel(*cells).seconds:.1f}"
    yield "nothing changed, seconds", f"{clone.bazel(*cells).seconds:.1f}"
    build = clone.source / "models/decoder/llama/BUILD"
    text = build.read_text(encoding="utf-8")
    build.write_text(text.replace('tier = "high"', 'tier = "medium"'), encoding="utf-8")
    yield (
        "one declaration edited, its verdict, seconds",
        f"{clone.bazel('build', '//models/decoder/llama:cpu').seconds:.1f}",
    )
    build.write_text(text, encoding="utf-8")
    yield "resident memory of a worker, MiB", ", ".join(map(str, worker_megabytes(clone.folder)))
    heap = clone.bazel("info", "used-heap-size-after-gc").output.strip().splitlines()[-1]
    yield "heap of the Bazel server after the run", heap


def against_py_test(clone: Clone) -> Iterator[tuple[str, str]]:
    """Yields the times of ten models, cold, as our cells and as one `py_test` each."""
    targets = [f"//models/{model}:cpu" for model in PEER_MODELS]
    clone.bazel("clean")
    clone.bazel("shutdown")
    clone.bazel("build", "--nobuild", *targets)
    ours = clone.bazel("test", *targets)
    yield "10 models cold, cells, seconds", f"{ours.seconds:.1f}"
    peer = _peer_workspace(clone)
    clone.bazel("build", "--nobuild", "//...", cwd=peer)
    theirs = clone.bazel("test", "--jobs=2", "--local_test_jobs=2", "//...", cwd=peer, ok=(0, 3))
    yield "10 models cold, one py_test each with all packages as runfiles, seconds", f"{theirs.seconds:.1f}"
    yield "ten million additions, CPU seconds, now", f"{loop_seconds():.2f}"
    yield "ratio", f"{theirs.seconds / ours.seconds:.1f}"


def _peer_workspace(clone: Clone) -> Path:
    """Makes the workspace with one `py_test` per model, which runs the same checks on the same specs; returns it."""
    peer = clone.folder / "peer"
    peer.mkdir()
    shutil.copytree(clone.source / "harness", peer / "harness", ignore=shutil.ignore_patterns("BUILD"))
    external = Path(clone.bazel("info", "output_base").output.strip().splitlines()[-1]) / "external"
    sources = {
        "site": next(external.glob("*transformers_5_23_site")) / "site",
        "transformers": next(external.glob("*transformers_5_23")) / "transformers",
    }
    for model in PEER_MODELS:
        spec = next(clone.source.glob(f"bazel-out/*/bin/models/{model}/cpu.spec.json"))
        target = peer / "specs" / f"{model}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(spec, target)
    shutil.copy(clone.source / ".bazelversion", peer)
    (peer / ".bazelrc").write_text("common --incompatible_strict_action_env --test_env=PYTHONDONTWRITEBYTECODE=1\n")
    (peer / "MODULE.bazel").write_text(
        'bazel_dep(name = "rules_python", version = "1.7.0")\n'
        'local = use_extension("//:local.bzl", "local")\nuse_repo(local, "packages")\n'
    )
    (peer / "local.bzl").write_text(
        _PEER_LOCAL.replace("{sources}", json.dumps({name: str(path) for name, path in sources.items()}))
    )
    (peer / "BUILD").write_text(_PEER_BUILD.replace("{models}", json.dumps(PEER_MODELS)))
    return peer


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="empty folder to work in, some 8 GiB; not below /tmp")
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True)
    clone = Clone(folder)
    print("| what | measured |\n| --- | --- |")
    for name, value in itertools.chain(main_job(clone), against_py_test(clone)):
        print(f"| {name} | {value} |", flush=True)
    clone.bazel("shutdown")
    clone.bazel("shutdown", cwd=folder / "peer")


if __name__ == "__main__":
    main()
