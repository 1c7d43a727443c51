"""Identifying devices from a driver's files and programs, made up here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from toolchains.host import identify
from toolchains.host.identify import Machine


def machine(root: Path, files: Mapping[str, str] | None = None, system: str = "linux", **outputs: str) -> Machine:
    """A machine with these files, and programs that print these outputs."""
    for path, text in (files or {}).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)

    def ask(command: Sequence[str]) -> str:
        return outputs.get(command[0].replace("-", "_"), "")

    return Machine(root, system, "arm64" if system == "darwin" else "x86_64", ask, "usr/include/python3.11")


def test_a_bare_machine_has_its_processor_and_says_what_is_absent(tmp_path: Path) -> None:
    found = identify.identify(machine(tmp_path))
    assert found["cpu"] == {"device": "cpu", "architecture": "x86_64"}
    assert found["cuda"] == {"device": "cuda", "present": False}
    assert [name for name, identity in found.items() if identity.get("present", True)] == ["cpu"]


PYTHON_H = {"usr/include/python3.11/Python.h": ""}


def compilers(root: Path, files: Mapping[str, str], **versions: str) -> Machine:
    """A machine with these files, and with compilers at these paths (`usr_bin_gxx`) that print these versions."""
    paths = {name.replace("_", "/").replace("xx", "++"): version for name, version in versions.items()}
    here = machine(root, {**files, **dict.fromkeys(paths, "")})
    outputs = {str(root / path): version for path, version in paths.items()}
    return dataclasses.replace(here, ask=lambda command: outputs.get(command[0], ""))


def test_a_compiler_and_the_headers_of_python_are_a_device(tmp_path: Path) -> None:
    files = {**PYTHON_H, "proc/cpuinfo": "flags\t: fpu avx2 fma avx512f avx512bw\n"}
    found = identify.cpu_cxx(compilers(tmp_path, files, usr_bin_gxx="g++ (Debian) 12.2.0\nCopyright\n"))
    assert found == {
        "architecture": "x86_64",
        "compiler": "/usr/bin/g++",
        "vectors": "avx2",
        "version": "g++ (Debian) 12.2.0",
    }


def test_another_compiler_or_version_of_it_is_another_identity(tmp_path: Path) -> None:
    versions = [{"usr_bin_gxx": "12.2"}, {"usr_bin_gxx": "13.1"}, {"usr_bin_clangxx": "12.2"}]
    found = [identify.cpu_cxx(compilers(tmp_path / str(i), PYTHON_H, **it)) for i, it in enumerate(versions)]
    assert None not in found
    assert len({json.dumps(identity) for identity in found}) == len(versions)


def test_a_compiler_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    found = identify.cpu_cxx(compilers(tmp_path, PYTHON_H, usr_bin_gxx="", usr_local_bin_clangxx="clang 19"))
    assert found is not None and found["compiler"] == "/usr/local/bin/clang++"


def test_without_a_compiler_or_the_headers_of_python_there_is_no_device(tmp_path: Path) -> None:
    assert identify.cpu_cxx(compilers(tmp_path / "bare", PYTHON_H)) is None
    assert identify.cpu_cxx(compilers(tmp_path / "no headers", {}, usr_bin_gxx="12.2")) is None


def test_nvidia_smi_gives_model_capability_and_driver(tmp_path: Path) -> None:
    output = "NVIDIA H100 80GB HBM3, 9.0, 550.54.15\nNVIDIA H100 80GB HBM3, 9.0, 550.54.15\n"
    assert identify.cuda(machine(tmp_path, nvidia_smi=output)) == {
        "capability": "9.0",
        "driver": "550.54.15",
        "model": "NVIDIA H100 80GB HBM3",
    }


def test_another_driver_is_another_identity(tmp_path: Path) -> None:
    old = identify.cuda(machine(tmp_path, nvidia_smi="NVIDIA A100, 8.0, 550.1\n"))
    assert old != identify.cuda(machine(tmp_path, nvidia_smi="NVIDIA A100, 8.0, 560.1\n"))


def test_nvidia_devices_without_nvidia_smi_are_told_by_the_kernel_module(tmp_path: Path) -> None:
    files = {
        "dev/nvidia0": "",
        "proc/driver/nvidia/version": "NVRM version: NVIDIA Kernel Module  550.54.15  Tue Mar  5\nGCC version:\n",
        "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA L4\nGPU UUID: \t GPU-1234\n",
    }
    assert identify.cuda(machine(tmp_path, files)) == {
        "capability": "unknown",
        "driver": "550.54.15",
        "model": "NVIDIA L4",
    }


def test_a_driver_without_devices_is_no_device(tmp_path: Path) -> None:
    assert identify.cuda(machine(tmp_path, {"proc/driver/nvidia/version": "NVRM version: x  550.54.15  y"})) is None


def test_amd_architecture_is_read_from_its_topology(tmp_path: Path) -> None:
    nodes = "sys/class/kfd/kfd/topology/nodes"
    files = {
        "dev/kfd": "",
        f"{nodes}/0/properties": "cpu_cores_count 64\ngfx_target_version 0\n",
        f"{nodes}/1/properties": "simd_count 304\ngfx_target_version 90402\n",
        "sys/module/amdgpu/version": "6.8.5\n",
        "sys/class/drm/card1/device/product_name": "AMD Instinct MI300X\n",
    }
    expected = {"capability": "gfx942", "driver": "6.8.5", "model": "AMD Instinct MI300X"}
    assert identify.rocm(machine(tmp_path, files)) == expected


@pytest.mark.parametrize(("version", "name"), [("90010", "gfx90a"), ("110000", "gfx1100"), ("90402", "gfx942")])
def test_amd_architectures_are_named_as_the_compiler_names_them(tmp_path: Path, version: str, name: str) -> None:
    files = {"dev/kfd": "", "sys/class/kfd/kfd/topology/nodes/0/properties": f"gfx_target_version {version}\n"}
    found = identify.rocm(machine(tmp_path, files))
    assert found is not None and found["capability"] == name


def test_amd_driver_without_a_gpu_is_no_device(tmp_path: Path) -> None:
    files = {"dev/kfd": "", "sys/class/kfd/kfd/topology/nodes/0/properties": "gfx_target_version 0\n"}
    assert identify.rocm(machine(tmp_path, files)) is None


@pytest.mark.parametrize(
    ("address", "vendor", "present"),
    [
        ("0000:03:00.0", "0x8086", True),
        ("0000:00:02.0", "0x8086", False),
        ("0000:03:00.0", "0x10de", False),
    ],
)
def test_only_a_discrete_intel_gpu_counts(tmp_path: Path, address: str, vendor: str, present: bool) -> None:
    device = f"sys/devices/pci/{address}"
    files = {
        f"{device}/vendor": vendor,
        f"{device}/device": "0x56a0",
        "proc/sys/kernel/osrelease": "6.8.0",
        "drivers/xe/x": "",
    }
    here = machine(tmp_path, files)
    (tmp_path / device / "driver").symlink_to(tmp_path / "drivers/xe")
    (tmp_path / "sys/class/drm/card0").mkdir(parents=True)
    (tmp_path / "sys/class/drm/card0/device").symlink_to(tmp_path / device)
    assert identify.xpu(here) == ({"driver": "xe 6.8.0", "model": "8086:56a0"} if present else None)


def test_apple_silicon_has_mps(tmp_path: Path) -> None:
    found = identify.mps(machine(tmp_path, system="darwin", sw_vers="15.1\n", sysctl="Apple M3 Max\n"))
    assert found == {"driver": "15.1", "model": "Apple M3 Max"}
    assert identify.mps(machine(tmp_path)) is None


def write(folder: Path, text: str) -> Path:
    path = folder / "devices.json"
    path.write_text(text)
    return path


def test_a_description_stands_in_for_looking(tmp_path: Path) -> None:
    described = write(tmp_path, '{"rocm": {"model": "made up"}}')
    assert identify.main([f"--out={tmp_path}", f"--described={described}"]) == 0
    assert json.loads((tmp_path / "rocm.json").read_text()) == {"device": "rocm", "model": "made up"}
    assert json.loads((tmp_path / "cuda.json").read_text()) == {"device": "cuda", "present": False}
    assert json.loads((tmp_path / "cpu.json").read_text())["device"] == "cpu"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"tpu": {}}', "unknown devices tpu"),
        ("{", "devices.json"),
        ('["cuda"]', "object"),
        ('{"cuda": {"n": 1}}', "strings"),
    ],
)
def test_a_bad_description_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, word: str) -> None:
    assert identify.main([f"--out={tmp_path}", f"--described={write(tmp_path, text)}"]) == 1
    assert word in capsys.readouterr().err
    assert not (tmp_path / "cuda.json").exists()


def test_a_program_that_is_missing_or_fails_says_nothing() -> None:
    assert identify.run(["no-such-program-anywhere"]) == ""
    assert identify.run(["false"]) == ""
