"""The portable bundle: made, unpacked and run as its users run it, cut short, resumed, and refused."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from deploy.bundle import main, make
from harness import worker
from harness.verdict import from_json

ROOT = Path(worker.__file__).parents[1]
BACKENDS = {
    "cpu": {"checks": "runtime", "device": "cpu", "imports": [], "runtime": "eager"},
    "cpu_odd": {"checks": "runtime", "device": "cpu", "imports": ["no_such_package.part"], "runtime": "eager"},
    "cuda": {"checks": "runtime", "device": "cuda", "imports": [], "runtime": "eager"},
}


def _spec(name: str, backend: str, **fields: Any) -> str:
    spec = {
        "version": 1,
        "label": f"//models/decoder/{name}:{backend}",
        "name": name,
        "category": "decoder",
        "tier": "high",
        "task": "text-generation",
        "environment": "transformers-test",
        "model_type": name,
        "folder": name,
        "main_class": f"{name.title()}ForCausalLM",
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
        "limits": {"cpu_seconds": 60, "memory_mib": 4096, "wall_seconds": 900},
        "backend": {
            "name": backend,
            "device": BACKENDS[backend]["device"],
            "runtime": "eager",
            "dtype": "float32",
            "tolerance": {"rtol": 1e-4, "atol": 1e-5, "per_layer": 1e-6},
            "checks": "runtime",
            "known_failures": [],
        },
        **fields,
    }
    return json.dumps(spec, indent=1)


def _make(folder: Path, specs: Sequence[str], version: str) -> Path:
    """Makes a bundle of these specs with the harness under test; returns its path."""
    folder.mkdir(exist_ok=True)
    harness = sorted(path.relative_to(ROOT) for path in (ROOT / "harness").rglob("*.py"))
    checks = [path for path in harness if path.parent.name == "checks" and path.name not in ("__init__.py", "core.py")]
    adapters = [path for path in harness if path.parent.name == "runtimes" and path.name != "__init__.py"]
    lines = [json.dumps([json.loads(spec)["label"], spec]) for spec in specs]
    (folder / "specs.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "backends.json").write_text(json.dumps(BACKENDS))
    requirements = folder / "transformers-test" / "requirements.in"
    requirements.parent.mkdir(exist_ok=True)
    requirements.write_text(f"torch\ntransformers=={version}\n")
    arguments = [
        f"--out={folder / 'bundle.zip'}",
        f"--manifest={folder / 'manifest.json'}",
        f"--backends={folder / 'backends.json'}",
        f"--specs={folder / 'specs.jsonl'}",
        f"--main={main.__file__}",
        f"--identify={ROOT / 'toolchains/host/identify.py'}",
        "--reference-backend=cpu",
        f"--environment={requirements}",
        *(f"--core={path}" for path in harness if path not in [*checks, *adapters]),
        *(f"--check={path}" for path in checks),
        *(f"--adapter=eager={path}" for path in adapters if path.name == "eager.py"),
    ]
    here = os.getcwd()
    os.chdir(ROOT)
    try:
        assert make.main(arguments) == 0
    finally:
        os.chdir(here)
    return folder / "bundle.zip"


def _version() -> str:
    import transformers

    return str(transformers.__version__)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    specs = [
        _spec("llama", "cpu"),
        _spec("nothing", "cpu"),
        _spec("qwen2", "cpu"),
        _spec("llama", "cuda"),
        _spec("llama", "cpu_odd"),
    ]
    return _make(tmp_path_factory.mktemp("bundle"), specs, _version())


def _start(bundle: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen(
        [sys.executable, str(bundle), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **(environment or {})},
    )


def _run(bundle: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    process = _start(bundle, *arguments, environment=environment)
    out, err = process.communicate()
    return process.returncode, out, err


def test_a_killed_run_goes_on_where_it_stopped(bundle: Path, tmp_path: Path) -> None:
    first = _start(bundle, "--backend=cpu", f"--out={tmp_path}")
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("[1/3]"):
            first.send_signal(signal.SIGKILL)
            break
    first.communicate()
    llama = tmp_path / "records/decoder/llama/cpu.json"
    before = (llama.stat().st_mtime_ns, llama.read_bytes())

    code, out, err = _run(bundle, "--backend=cpu", f"--out={tmp_path}")
    assert "resumed: 1 of 3 cells" in out, err
    assert (llama.stat().st_mtime_ns, llama.read_bytes()) == before
    # A model that cannot be built fails its own cell, after and before others that pass.
    records = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("records/*/*/cpu.json")}
    found = {name: from_json(json.dumps(record["verdict"])) for name, record in records.items()}
    assert {name: (verdict.status, verdict.level) for name, verdict in found.items()} == {
        "llama": ("passed", "consistent"),
        "nothing": ("failed", "declared"),
        "qwen2": ("passed", "consistent"),
    }
    assert found["nothing"].runs == 2
    cell = json.loads((bundle.parent / "manifest.json").read_text())["cells"]["//models/decoder/llama:cpu"]
    for field in ("spec", "harness", "reference"):
        assert records["llama"][field] == cell[field]
    assert records["llama"]["packages"]["transformers"] == _version()
    assert found["llama"].device["device"] == "cpu"
    assert code == 3
    with zipfile.ZipFile(tmp_path / "results.zip") as packed:
        assert packed.read("records/decoder/llama/cpu.json") == before[1]


REFUSED: Mapping[str, tuple[list[str], str]] = {
    "backend": (["--backend=cudda"], "there is no backend 'cudda'; the bundle has cpu, cpu_odd, cuda"),
    "model": (["--backend=cpu", "--models=lama"], "did you mean 'llama'?"),
    "package": (["--backend=cpu_odd"], "has no no_such_package: pip install no_such_package"),
    "device": (["--backend=cuda"], "no cuda device was found on this machine"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_run_is_refused(bundle: Path, tmp_path: Path, case: str) -> None:
    arguments, message = REFUSED[case]
    described = tmp_path / "devices.json"
    described.write_text("{}")
    environment = {"MODELGRID_FAKE_DEVICES": str(described)}
    code, out, err = _run(bundle, *arguments, f"--out={tmp_path / 'out'}", environment=environment)
    assert (code, message in err, out) == (2, True, ""), err
    assert not (tmp_path / "out").exists()


def test_another_transformers_is_refused_with_the_version_to_install(tmp_path: Path) -> None:
    other = _make(tmp_path, [_spec("llama", "cpu")], "1.2.3")
    code, out, err = _run(other, "--backend=cpu", f"--out={tmp_path / 'out'}")
    assert (code, "pip install transformers==1.2.3" in err) == (2, True), err
    assert "left out: 1 cells of transformers 1.2.3" in out


def test_a_damaged_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    files["harness/judge.py"] += b"\n# changed on the way\n"
    make.write_zip(tmp_path / "changed.zip", files)
    with pytest.raises(main.Refused, match=r"harness/judge\.py is not what the manifest says"):
        main.unpack(tmp_path / "changed.zip", tmp_path / "work")
    (tmp_path / "cut.zip").write_bytes(bundle.read_bytes()[:-1000])
    with pytest.raises(main.Refused, match=r"cut.zip: damaged .*; copy the bundle again"):
        main.unpack(tmp_path / "cut.zip", tmp_path / "work")


def test_a_flipped_byte_is_refused_by_the_name_of_its_file(bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as opened:
        info = opened.getinfo("harness/judge.py")
    assert info.compress_type == zipfile.ZIP_DEFLATED
    data = bytearray(bundle.read_bytes())
    data[info.header_offset + 30 + len(info.filename) + 5] ^= 0xFF
    (tmp_path / "flipped.zip").write_bytes(data)
    with pytest.raises(main.Refused, match=r"damaged at harness/judge\.py .*; copy the bundle again"):
        main.unpack(tmp_path / "flipped.zip", tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_equal_input_makes_equal_bytes(bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as opened:
        specs = [json.loads(line)[1] for line in opened.read("specs.jsonl").decode().splitlines()]
    assert _make(tmp_path, specs, _version()).read_bytes() == bundle.read_bytes()


def test_a_cells_harness_is_what_it_uses_and_no_more() -> None:
    files = {
        f"harness/{name}": b"1" for name in ("core.py", "runtimes/eager.py", "checks/runtime.py", "checks/audio.py")
    }
    specs = {"//models/decoder/llama:cpu": _spec("llama", "cpu")}

    def of(changed: str) -> str:
        now = {**files, changed: b"2"}
        return make.cells_of(specs, now, ["harness/core.py"], {"eager": ["harness/runtimes/eager.py"]}, "cpu")[
            "//models/decoder/llama:cpu"
        ]["harness"]

    before = of("nothing")
    assert of("harness/checks/audio.py") == before
    for used in ("harness/core.py", "harness/runtimes/eager.py", "harness/checks/runtime.py"):
        assert of(used) != before


def test_a_backends_row_names_the_packages_that_its_adapter_imports() -> None:
    source = b"import re\nimport onnx.helper\nfrom onnxruntime import X\nfrom harness.spec import Y\nfrom . import z\n"
    assert make.packages_of([source]) == ["onnx", "onnxruntime"]
    adapters = {path.stem: path.read_bytes() for path in (ROOT / "harness/runtimes").glob("*.py")}
    assert {"onnx", "onnxruntime"} <= set(make.packages_of([adapters["onnxruntime"]]))
    assert "openvino" in make.packages_of([adapters["openvino"]])
    assert make.packages_of([adapters["eager"], adapters["accelerator"]]) == ["torch", "transformers"]


def test_a_package_of_the_adapter_alone_that_is_missing_is_refused(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack = main.unpack

    def with_another(path: Path, folder: Path) -> Any:
        manifest, specs = unpack(path, folder)
        manifest["backends"]["cpu"]["packages"].append("no_such_runtime")
        return manifest, specs

    monkeypatch.setattr(main, "unpack", with_another)
    options = main.parse(["--backend=cpu", f"--out={tmp_path / 'out'}"])
    with pytest.raises(main.Refused, match="has no no_such_runtime: pip install no_such_runtime"):
        main.run(options, bundle, tmp_path / "work")


VERSIONS = "__version__ = '2.13.0'\ncuda: Optional[str] = '12.9'\nhip: Optional[str] = None\n"


def test_the_runtime_is_the_one_that_torch_is_built_with(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    path = tmp_path / "torch" / "version.py"
    path.write_text(VERSIONS)
    assert main.runtime_of(tmp_path, "cuda") == "cuda 12.9"
    assert main.runtime_of(tmp_path, "xpu") == "unknown"
    with pytest.raises(main.Refused, match="build without hip: no cell can run on rocm; install"):
        main.runtime_of(tmp_path, "rocm")
    path.write_text('hip = "7.0"\n')
    assert main.runtime_of(tmp_path, "rocm") == "hip 7.0"


def test_the_runtime_is_part_of_the_devices_identity(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = tmp_path / "devices.json"
    described.write_text('{"cuda": {"model": "made up"}}')
    monkeypatch.setenv("MODELGRID_FAKE_DEVICES", str(described))
    monkeypatch.setattr(main, "runtime_of", lambda site, device: "cuda 12.9")
    work = tmp_path / "work"
    main.unpack(bundle, work)
    place = main.look_around(work, "cuda", [])
    assert place.device == {"device": "cuda", "model": "made up", "runtime": "cuda 12.9"}
    assert json.loads((work / "devices/cuda.json").read_text()) == place.device


def test_a_package_under_another_name_is_recorded_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: {"no_such_module": ["pytest"]})
    assert main._version("no_such_module", tmp_path) == f"pytest {pytest.__version__}"
    assert main._version("nothing_at_all", tmp_path) == "unknown"


@pytest.mark.parametrize(("backend", "asked", "jobs"), [("cuda", 4, 1), ("cuda", 1, 1), ("cpu", 4, 4), ("cpu", 0, 1)])
def test_a_device_of_one_run_alone_has_one_cell_at_a_time(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    backend: str, asked: int, jobs: int,
) -> None:  # fmt: skip
    place = main.Place(tmp_path, tmp_path, {"transformers": _version()}, {"device": backend})
    found: list[int] = []

    def run_none(cells: object, start: object, at_a_time: int) -> list[Any]:
        found.append(at_a_time)
        return []

    monkeypatch.setattr(main, "look_around", lambda *given: place)
    monkeypatch.setattr(main, "run_all", run_none)
    main.run(main.parse([f"--backend={backend}", f"--jobs={asked}", f"--out={tmp_path / 'out'}"]), bundle, tmp_path)
    assert found == [jobs]
    assert (f"--jobs={asked}: {backend} is one run's alone" in capsys.readouterr().out) is (jobs < asked)


class _Worker:
    """Answers requests until it comes to one that ends it."""

    def __init__(self) -> None:
        self._asked: list[tuple[int, str]] = []

    def ask(self, number: int, arguments: Sequence[str]) -> bool:
        self._asked.append((number, arguments[0]))
        return True

    def answer(self) -> dict[str, Any] | None:
        number, what = self._asked.pop(0)
        if what == "ends the worker":
            return None
        return {"requestId": number, "exitCode": int(what == "fault"), "output": what}

    def close(self) -> int:
        return -9


def test_the_end_of_the_worker_loses_no_other_cell() -> None:
    asked = {"a": ["fine"], "b": ["ends the worker"], "c": ["fault"], "d": ["fine"]}
    found = [(label, fault) for label, fault, _ in main.run_all(asked, _Worker, 1)]
    assert found == [("a", ""), ("b", "the worker ended (status -9) while it ran"), ("c", "fault"), ("d", "")]


def test_a_worker_that_never_starts_is_given_up() -> None:
    asked = {str(number): ["ends the worker"] for number in range(5)}
    faults = [fault for _, fault, _ in main.run_all(asked, _Worker, 1)]
    assert [fault.partition(" (")[0] for fault in faults[:3]] == ["the worker ended"] * 3
    assert faults[3:] == ["not run: the worker ended 3 times in a row"] * 2
