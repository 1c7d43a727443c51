"""Runs cells where there is no Bazel: `python bundle.zip --backend cuda --models 'decoder/*' --out results/`.

It starts the harness's own worker on the packages of this Python and asks it for one verdict after the other, as
Bazel does: the same limits, the same runs, the same outcome. Each verdict is a file of its own, written whole, so
that a run that was cut short goes on where it stopped. The standard library alone is imported here: nothing that a
model does can hurt this process.

Exit codes: 0 every verdict is green; 1 a cell has no verdict, and the message says why; 2 nothing could be run;
3 every cell has a verdict, and some are not green.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import difflib
import fnmatch
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

RECORD_VERSION = 1
MANIFEST_VERSION = 1
PACKAGES = ("torch", "transformers", "numpy", "pytest", "safetensors")
"""What the harness imports; Pillow and SciPy are wanted by some models alone."""

GREEN = ("passed", "expected_failure")
_SHARED = ("cpu", "cpu_cxx")
"""The devices that several runs can be on at once; any other is one run's alone."""

_RUNTIMES = {"cuda": "cuda", "rocm": "hip", "xpu": "xpu"}
"""For each device the field of torch/version.py that holds the version of its runtime, None in a build without it."""

_DEATHS = 3
"""So many ends of the worker in a row without a verdict between them are no fault of the cells."""


class Refused(Exception):  # noqa: N818 - says what it is of
    """Nothing can be run. The message says what is wrong and what to do."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the cells run.

    Attributes:
      site: folder that holds torch and what comes with it.
      transformers: folder that holds the transformers package.
      packages: version of each package, and of Python.
      device: identity of the device, as the host detection wrote it, and the runtime that torch is built with for it.
    """

    site: Path
    transformers: Path
    packages: Mapping[str, str]
    device: Mapping[str, Any]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(
        prog="bundle.zip", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", required=True, help="a backend of the table, such as cuda")
    parser.add_argument("--models", default="*", metavar="PATTERN", help="such as 'decoder/*', 'llama', '*/bert*'")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the results; default: results")
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time; default: 1")
    parser.add_argument("--list", action="store_true", help="print the cells that are meant and run none")
    return parser.parse_args(arguments)


def select(manifest: Mapping[str, Any], backend: str, pattern: str) -> list[str]:
    """Returns the labels of the cells that are meant.

    Args:
      pattern: matched against `decoder/llama` and against `llama`.

    Raises:
      Refused: there is no such backend, or no model of that name has a cell on it.
    """
    if backend not in manifest["backends"]:
        raise Refused(f"there is no backend {backend!r}; the bundle has {', '.join(sorted(manifest['backends']))}")
    here = {label: cell for label, cell in manifest["cells"].items() if cell["backend"] == backend}
    found = [
        label
        for label, cell in here.items()
        if fnmatch.fnmatchcase(f"{cell['category']}/{cell['name']}", pattern)
        or fnmatch.fnmatchcase(cell["name"], pattern)
    ]
    if not found:
        names = [f"{cell['category']}/{cell['name']}" for cell in here.values()]
        near = difflib.get_close_matches(pattern, [*names, *(cell["name"] for cell in here.values())], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"{len(here)} models have a cell on {backend}: --list"
        raise Refused(f"--models={pattern}: no such model has a cell on {backend}; {hint}")
    return sorted(found)


def unpack(bundle: Path, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Unpacks the bundle, checked file by file; returns its manifest and the text of each cell's spec.

    Raises:
      Refused: it is damaged or of another version.
    """
    again = "copy the bundle again, or build it anew: bazel build //:bundle"
    files: dict[str, bytes] = {}
    name = "the list of its files"
    try:
        with zipfile.ZipFile(bundle) as opened:
            for name in opened.namelist():
                files[name] = opened.read(name)
        name = "manifest.json"
        manifest: dict[str, Any] = json.loads(files.pop(name))
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise Refused(f"{bundle}: damaged at {name} ({error}); {again}") from None
    if manifest.get("version") != MANIFEST_VERSION:
        raise Refused(f"{bundle}: manifest of version {manifest.get('version')!r}, not {MANIFEST_VERSION}; {again}")
    for name in sorted({*files, *manifest["files"]}):
        if name not in files or hashlib.sha256(files[name]).hexdigest() != manifest["files"].get(name):
            raise Refused(f"{bundle}: {name} is not what the manifest says; {again}")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name])
    return manifest, dict(json.loads(line) for line in files["specs.jsonl"].decode().splitlines())


def look_around(folder: Path, device: str, imports: Sequence[str]) -> Place:
    """Returns where cells run on this machine.

    Args:
      folder: where the bundle is unpacked.
      device: the backend's.
      imports: modules and packages that its runtime needs beside what the harness imports.

    Raises:
      Refused: the system, a package or the device is not what cells need.
    """
    if sys.hexversion < 0x030B0000:
        raise Refused(f"the harness needs Python 3.11 or newer, and {sys.executable} is {sys.version.split()[0]}")
    if not sys.platform.startswith("linux"):
        raise Refused(f"the harness watches its runs through Linux's /proc, and this is {sys.platform}")
    names = list(dict.fromkeys([*PACKAGES, *(module.partition(".")[0] for module in imports)]))
    found = {name: importlib.util.find_spec(name) for name in names}
    missing = [name for name, spec in found.items() if spec is None or not spec.submodule_search_locations]
    if missing:
        raise Refused(f"{sys.executable} has no {', '.join(missing)}: pip install {' '.join(missing)}")
    folders = {name: Path((spec.submodule_search_locations or [""])[0]).parent for name, spec in found.items() if spec}
    for name in names:
        if name != "transformers" and folders[name] != folders["torch"]:
            raise Refused(
                f"torch is in {folders['torch']} and {name} in {folders[name]}: run the bundle with the Python of one "
                "virtual environment that has all of them"
            )
    packages = {name: _version(name, folders[name]) for name in names}
    packages["python"] = ".".join(map(str, sys.version_info[:3]))
    described = os.environ.get("MODELGRID_FAKE_DEVICES")
    identities = folder / "devices"
    identities.mkdir()
    command = [sys.executable, str(folder / "identify.py"), f"--out={identities}"]
    done = subprocess.run(
        [*command, *([f"--described={described}"] if described else [])], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise Refused(f"the devices of this machine cannot be identified: {done.stderr.strip()}")
    path = identities / f"{device}.json"
    identity = json.loads(path.read_text(encoding="utf-8"))
    if not identity.get("present", True):
        raise Refused(f"no {device} device was found on this machine; its driver must be loaded and visible here")
    if device in _RUNTIMES:
        identity["runtime"] = runtime_of(folders["torch"], device)
        path.write_text(json.dumps(identity, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return Place(folders["torch"], folders["transformers"], packages, identity)


def runtime_of(site: Path, device: str) -> str:
    """Returns the runtime that torch is built with for a device, such as `cuda 12.9`; `unknown` where it does not say.

    Args:
      site: folder that holds torch, which is not imported.

    Raises:
      Refused: torch is a build without any.
    """
    field = _RUNTIMES[device]
    text = (site / "torch" / "version.py").read_text(encoding="utf-8")
    found = re.search(rf"^{field}\b[^=\n]*= *(?:None|['\"](.+?)['\"])", text, re.MULTILINE)
    if found is None:
        return "unknown"
    if found[1] is None:
        raise Refused(
            f"torch {_version('torch', site)} is a build without {field}: no cell can run on {device}; "
            f"install the torch of your {device} runtime"
        )
    return f"{field} {found[1]}"


def jobs_on(device: str, asked: int) -> int:
    """Returns how many cells run at a time: one where they would wait for the device while their own clocks run."""
    if asked > 1 and device not in _SHARED:
        print(f"--jobs={asked}: {device} is one run's alone, so one cell runs at a time", flush=True)
        return 1
    return max(1, asked)


def _version(package: str, folder: Path) -> str:
    """Returns a package's version. That of a fork of transformers is in its sources alone."""
    if package == "transformers":
        text = (folder / package / "__init__.py").read_text(encoding="utf-8")
        found = re.search(r"""^__version__ = ["'](.+?)["']""", text, re.MULTILINE)
        return found[1] if found else "unknown"
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # it comes under another name: onnxruntime as onnxruntime-gpu
        others = sorted(set(importlib.metadata.packages_distributions().get(package, [])))
        return ", ".join(f"{other} {importlib.metadata.version(other)}" for other in others) or "unknown"


def in_environment(manifest: Mapping[str, Any], cells: Sequence[str], version: str) -> list[str]:
    """Returns the cells whose environment has this version of transformers, and says how many are left out.

    Raises:
      Refused: it is none of theirs.
    """
    wanted = {label: manifest["transformers"][manifest["cells"][label]["environment"]] for label in cells}
    kept = [label for label in cells if wanted[label] == version]
    for other in sorted(set(wanted.values()) - {version}):
        left = sum(found == other for found in wanted.values())
        print(f"left out: {left} cells of transformers {other}; this Python has {version}", flush=True)
    if not kept:
        versions = " or ".join(sorted(set(wanted.values())))
        raise Refused(
            f"transformers {version} is not what the cells are declared for: pip install transformers=={versions}"
        )
    return kept


class Results:
    """The folder of results: for each cell a record, and beside it what a person reads."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], place: Place) -> None:
        self._folder = folder
        self._cells: Mapping[str, Mapping[str, str]] = manifest["cells"]
        self._place = place

    def path(self, label: str) -> Path:
        """Returns where the cell's record lies."""
        cell = self._cells[label]
        return self._folder / "records" / cell["category"] / cell["name"] / f"{cell['backend']}.json"

    def read(self, label: str) -> dict[str, Any] | None:
        """Returns the verdict of an earlier run that this one would repeat; None where there is none."""
        try:
            record = json.loads(self.path(label).read_text(encoding="utf-8"))
            verdict = record["verdict"]
            same = record == {**self._record(label, verdict), "date": record["date"]}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return dict(verdict) if same and verdict["device"] == self._place.device else None

    def write(self, label: str, verdict: Mapping[str, Any]) -> None:
        """Writes the record of a cell that was just run, whole or not at all."""
        path = self.path(label)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(self._record(label, verdict), indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(partial, path)

    def _record(self, label: str, verdict: Mapping[str, Any]) -> dict[str, Any]:
        cell = self._cells[label]
        return {
            "cell": label,
            "date": datetime.date.today().isoformat(),
            "harness": cell["harness"],
            "packages": dict(self._place.packages),
            "reference": cell["reference"],
            "spec": cell["spec"],
            "verdict": verdict,
            "version": RECORD_VERSION,
        }

    def pack(self) -> Path:
        """Writes all records and logs into one zip, to be carried back; returns its path."""
        target = self._folder / "results.zip"
        partial = target.with_suffix(".partial")
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as made:
            for path in sorted((self._folder / "records").rglob("*")):
                if path.suffix in (".json", ".txt"):
                    made.write(path, path.relative_to(self._folder).as_posix())
        os.replace(partial, target)
        return target


class Asked(Protocol):
    """What verdicts are asked of."""

    def ask(self, number: int, arguments: Sequence[str]) -> bool:
        """Sends a request; returns whether any more are taken."""

    def answer(self) -> dict[str, Any] | None:
        """Returns the next answer; None at the end."""

    def close(self) -> int:
        """Ends it; returns its exit status."""


class Worker:
    """The harness's worker, asked over its pipes as Bazel asks it."""

    def __init__(self, root: Path, place: Place, imports: Sequence[str]) -> None:
        command = [
            *(sys.executable, "-I", "-S", "-B", str(root / "harness/worker.py"), "--persistent_worker"),
            f"--root={root}",
            f"--site={place.site}",
            f"--transformers={place.transformers}",
            *(f"--import={name}" for name in imports),
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root)

    def ask(self, number: int, arguments: Sequence[str]) -> bool:
        """Sends a request; returns whether the worker still takes any."""
        assert self._process.stdin is not None
        line = json.dumps({"arguments": list(arguments), "requestId": number}) + "\n"
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def answer(self) -> dict[str, Any] | None:
        """Returns the next answer; None where the worker has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def close(self) -> int:
        """Ends the worker, which ends what it runs; returns its exit status."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        return self._process.wait()


def run_all(
    cells: Mapping[str, Sequence[str]], start: Callable[[], Asked], jobs: int
) -> Iterator[tuple[str, str, float]]:
    """Yields for each cell its label, why it has no verdict (empty where it has one), and the seconds that it took.

    A worker that ends takes no other cell with it: those that it had begun have no verdict, the others get a new one.

    Args:
      cells: the arguments of each request.
      start: makes a worker.
      jobs: how many requests are out at a time.
    """
    waiting = list(enumerate(cells, 1))
    deaths = 0
    while waiting:
        worker = start()
        out: dict[int, tuple[str, float]] = {}
        while waiting or out:
            while waiting and len(out) < jobs:
                number, label = waiting.pop(0)
                out[number] = (label, time.monotonic())
                if not worker.ask(number, cells[label]):
                    break
            response = worker.answer()
            if response is None:
                break
            label, begin = out.pop(response["requestId"])
            fault = "" if response["exitCode"] == 0 else response["output"].strip() or "no reason given"
            deaths = 0 if not fault else deaths
            yield label, fault, time.monotonic() - begin
        status = worker.close()
        for label, begin in out.values():
            yield label, f"the worker ended (status {status}) while it ran", time.monotonic() - begin
        deaths += 1
        if deaths == _DEATHS and waiting:
            for _, label in waiting:
                yield label, f"not run: the worker ended {_DEATHS} times in a row", 0.0
            return


def run(options: argparse.Namespace, bundle: Path, work: Path) -> int:
    """Runs what the options ask for; returns the exit code. Raises Refused where nothing can be run."""
    manifest, specs = unpack(bundle, work)
    cells = select(manifest, options.backend, options.models)
    if options.list:
        print("\n".join(cells))
        return 0
    row = manifest["backends"][options.backend]
    place = look_around(work, row["device"], [*row["imports"], *row["packages"]])
    print(f"device: {', '.join(f'{name} {value}' for name, value in sorted(place.device.items()))}")
    print(f"packages: {', '.join(f'{name} {value}' for name, value in sorted(place.packages.items()))}", flush=True)
    cells = in_environment(manifest, cells, place.packages["transformers"])
    results = Results(options.out.absolute(), manifest, place)

    done = {label: verdict for label in cells if (verdict := results.read(label)) is not None}
    if done:
        print(f"resumed: {len(done)} of {len(cells)} cells have their verdict from an earlier run", flush=True)
    requests = {}
    for label in cells:
        if label not in done:
            requests[label] = _request(label, specs[label], manifest, results, work, row["device"])
    faults: dict[str, str] = {}
    jobs = jobs_on(row["device"], options.jobs)
    verdicts = run_all(requests, lambda: Worker(work, place, row["imports"]), jobs)
    for count, (label, fault, seconds) in enumerate(verdicts, len(done) + 1):
        if fault:
            faults[label] = fault
            said = f"NO VERDICT: {fault}"
        else:
            done[label] = json.loads((work / "out" / _slug(label) / "verdict.json").read_text(encoding="utf-8"))
            results.write(label, done[label])
            said = f"{done[label]['status']} {done[label]['level']}"
        reason = f": {done[label]['reason']}" if label in done and done[label]["status"] not in GREEN else ""
        print(f"[{count}/{len(cells)}] {label} {said} ({seconds:.1f} s){reason}", flush=True)
    return _finish(cells, done, faults, results)


def _slug(label: str) -> str:
    return label.removeprefix("//").replace("/", ".").replace(":", ".")


def _request(
    label: str, spec: str, manifest: Mapping[str, Any], results: Results, work: Path, device: str
) -> list[str]:
    """Returns the worker's arguments for a cell, whose spec and folders are there then."""
    own = work / "out" / _slug(label)
    own.mkdir(parents=True)
    (own / "spec.json").write_text(spec, encoding="utf-8")
    record = results.path(label)
    record.parent.mkdir(parents=True, exist_ok=True)
    arguments = [
        f"--spec={own / 'spec.json'}",
        f"--device={work / 'devices' / (device + '.json')}",
        f"--verdict={own / 'verdict.json'}",
        f"--junit={own / 'junit.xml'}",
        f"--observed={own / 'observed.json'}",
        f"--log={record.with_suffix('.log.txt')}",
        f"--timings={record.with_suffix('.timings.txt')}",
    ]
    if manifest["cells"][label]["reference"]:
        arguments.append(f"--reference={work / label.removeprefix('//').partition(':')[0] / 'reference.json'}")
    return arguments


def _finish(
    cells: Sequence[str], done: Mapping[str, Mapping[str, Any]], faults: Mapping[str, str], results: Results
) -> int:
    """Packs what there is, says what it is, and returns the exit code."""
    counts: dict[str, int] = {}
    for verdict in done.values():
        counts[verdict["status"]] = counts.get(verdict["status"], 0) + 1
    said = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "no verdict"
    print(f"{len(done)} of {len(cells)} cells have a verdict: {said}")
    if done:
        print(f"carry back {results.pack()}: bazel run //:import_verdicts -- results.zip")
    if faults:
        print(f"{len(faults)} have none; run the same command again for them alone", file=sys.stderr)
        return 1
    return 0 if all(verdict["status"] in GREEN for verdict in done.values()) else 3


def main(arguments: Sequence[str], bundle: Path) -> int:
    """Runs the program; returns its exit code."""
    options = parse(arguments)
    work = Path(tempfile.mkdtemp(prefix="modelgrid-bundle-"))
    try:
        return run(options, bundle, work)
    except Refused as refusal:
        print(f"bundle: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bundle: stopped; the same command goes on from here", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).parent))
