"""Identifies the devices of this machine by their drivers' own means, one JSON object each.

What is in an identity is in the key of every verdict of the device, so it holds what can change a result (model,
compute capability, driver) and nothing that tells two equal machines apart (serial numbers, addresses, counts). No
package that a cell runs on is imported: the identity is there before any environment is.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

Identity = Mapping[str, str | bool]


class IdentityError(Exception):
    """The description of devices that stands in for the machine cannot be used."""


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where to look: the machine's own files and programs, or a test's.

    Attributes:
      root: what the device and driver files lie under.
      system: `sys.platform` of the machine.
      architecture: of the processor, as `uname -m` says it.
      ask: runs a program and returns its output; empty if it is missing or fails.
      include: where the headers of the interpreter are that cells run on, below `root`.
    """

    root: Path
    system: str
    architecture: str
    ask: Callable[[Sequence[str]], str]
    include: str = ""

    def read(self, path: str) -> str:
        """Returns the text of a file under `root`, empty if it cannot be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""


def run(command: Sequence[str]) -> str:
    """Returns the output of `command`; empty if it is missing, fails, or takes more than 60 seconds."""
    program = shutil.which(command[0])
    if program is None:
        return ""
    try:
        finished = subprocess.run([program, *command[1:]], capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return ""
    return finished.stdout if finished.returncode == 0 else ""


def this_machine() -> Machine:
    """Returns the machine that runs this."""
    return Machine(Path("/"), sys.platform, platform.machine().lower(), run, sysconfig.get_path("include").lstrip("/"))


def cpu(machine: Machine) -> Identity | None:
    """Returns the processor's identity: the architecture alone, so that equal builds share their verdicts."""
    return {"architecture": machine.architecture}


# Where actions find programs, whatever the user's PATH says. `harness/runtimes/inductor.py` takes the same compiler.
FOLDERS = ("usr/bin", "bin", "usr/local/bin")
COMPILERS = ("g++", "clang++")

_VECTORS = {"avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}, "avx2": {"avx2", "fma"}}


def cpu_cxx(machine: Machine) -> Identity | None:
    """Returns the identity of a processor that code is compiled for on this machine: its vectors, and the compiler.

    The code includes the headers of the interpreter; without them there is no such device.
    """
    paths = [machine.root / folder / name for name in COMPILERS for folder in FOLDERS]
    versions = ((path, machine.ask([str(path), "--version"]).partition("\n")[0]) for path in paths if path.exists())
    path, version = next((found for found in versions if found[1]), (None, ""))
    if path is None or not (machine.root / machine.include / "Python.h").is_file():
        return None
    flags = set(re.findall(r"\w+", machine.read("proc/cpuinfo")))
    return {
        "architecture": machine.architecture,
        "compiler": "/" + str(path.relative_to(machine.root)),
        "vectors": next((name for name, needed in _VECTORS.items() if needed <= flags), "unknown"),
        "version": version,
    }


def cuda(machine: Machine) -> Identity | None:
    """Returns the identity of NVIDIA's devices: model, compute capability and driver."""
    query = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    rows = [[cell.strip() for cell in line.split(",")] for line in machine.ask(query).splitlines()]
    rows = [row for row in rows if len(row) == 3]
    if rows:
        return {
            "capability": _each(row[1] for row in rows),
            "driver": rows[0][2],
            "model": _each(row[0] for row in rows),
        }
    if not any((machine.root / "dev").glob("nvidia[0-9]*")):
        return None
    # Without nvidia-smi (a container with the devices alone) the kernel module still tells model and version.
    folder = machine.root / "proc/driver/nvidia/gpus"
    models = [re.search(r"Model:\s*(.+)", machine.read(str(path))) for path in sorted(folder.glob("*/information"))]
    version = re.search(r"\s(\d+\.[\d.]+)\s", machine.read("proc/driver/nvidia/version"))
    return {
        "capability": "unknown",
        "driver": version[1] if version else "unknown",
        "model": _each(model[1].strip() for model in models if model) or "unknown",
    }


def rocm(machine: Machine) -> Identity | None:
    """Returns the identity of AMD's compute devices: architecture (such as `gfx942`), product and driver."""
    if not (machine.root / "dev/kfd").exists():
        return None
    architectures = []
    for path in sorted((machine.root / "sys/class/kfd/kfd/topology/nodes").glob("*/properties")):
        version = re.search(r"gfx_target_version (\d+)", machine.read(str(path)))
        if version and int(version[1]):
            major, rest = divmod(int(version[1]), 10000)
            architectures.append(f"gfx{major}{rest // 100:x}{rest % 100:x}")
    if not architectures:
        return None
    products = [machine.read(str(path)) for path in (machine.root / "sys/class/drm").glob("card*/device/product_name")]
    return {
        "capability": _each(architectures),
        "driver": machine.read("sys/module/amdgpu/version") or "unknown",
        "model": _each(product for product in products if product) or "unknown",
    }


def xpu(machine: Machine) -> Identity | None:
    """Returns the identity of Intel's discrete devices: PCI device and kernel driver.

    One on the processor's own bus (`0000:00`) is integrated graphics, which is no target of any runtime here.
    """
    models, drivers = [], []
    for card in sorted((machine.root / "sys/class/drm").glob("card[0-9]*")):
        device = card / "device"
        if machine.read(str(device / "vendor")) != "0x8086" or device.resolve().name.startswith("0000:00:"):
            continue
        models.append("8086:" + machine.read(str(device / "device")).removeprefix("0x"))
        drivers.append((device / "driver").resolve().name)
    if not models:
        return None
    return {"driver": f"{_each(drivers)} {machine.read('proc/sys/kernel/osrelease')}".strip(), "model": _each(models)}


def mps(machine: Machine) -> Identity | None:
    """Returns the identity of Apple's GPU: the chip it is part of, and the system, which carries its driver."""
    if machine.system != "darwin" or machine.architecture != "arm64":
        return None
    return {
        "driver": machine.ask(["sw_vers", "-productVersion"]).strip() or "unknown",
        "model": machine.ask(["sysctl", "-n", "machdep.cpu.brand_string"]).strip() or "unknown",
    }


DETECTORS: Mapping[str, Callable[[Machine], Identity | None]] = {
    "cpu": cpu,
    "cpu_cxx": cpu_cxx,
    "cuda": cuda,
    "mps": mps,
    "rocm": rocm,
    "xpu": xpu,
}


def _each(values: Iterable[str]) -> str:
    """Returns the distinct values, sorted, in one string."""
    return ", ".join(sorted(set(values)))


def identify(machine: Machine, described: Mapping[str, Identity] | None = None) -> dict[str, Identity]:
    """Returns the identity of each device by its name; an absent one has only `"present": false`.

    Args:
      machine: where to look.
      described: stands in for looking, by device; the processor is always the machine's own.

    Raises:
      IdentityError: `described` names an unknown device.
    """
    if unknown := sorted(set(described or {}) - set(DETECTORS)):
        raise IdentityError(f"unknown devices {', '.join(unknown)}; known are {', '.join(DETECTORS)}")
    identities: dict[str, Identity] = {}
    for device, detect in DETECTORS.items():
        found = detect(machine) if described is None or device == "cpu" else described.get(device)
        identities[device] = {"device": device, "present": False} if found is None else {**found, "device": device}
    return identities


def _described(path: Path) -> dict[str, Identity]:
    """Returns the devices that the JSON file at `path` describes: an object of strings for each present device."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IdentityError(f"{path}: {error}") from None
    entries = value.values() if isinstance(value, dict) else [value]
    if not all(isinstance(entry, dict) and all(isinstance(text, str) for text in entry.values()) for entry in entries):
        raise IdentityError(
            f'{path}: must hold an object of strings for each device, such as {{"cuda": {{"model": "H100"}}}}'
        )
    return dict(value)


def main(arguments: Sequence[str]) -> int:
    """Writes `<device>.json` for each device; returns 0, or 1 after one message on standard error."""
    parser = argparse.ArgumentParser(prog="identify", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--described", type=Path, help="JSON file of devices that stands in for looking")
    options = parser.parse_args(arguments)
    try:
        identities = identify(this_machine(), _described(options.described) if options.described else None)
    except IdentityError as error:
        print(f"MODELGRID_FAKE_DEVICES: {error}", file=sys.stderr)
        return 1
    for device, identity in identities.items():
        text = json.dumps(identity, indent=2, sort_keys=True) + "\n"
        (options.out / f"{device}.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
