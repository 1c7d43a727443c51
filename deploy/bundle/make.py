"""Puts the bundle together: the specs of all cells, the harness that runs them, and a manifest of hashes.

A cell's hashes are of what its verdict depends on: its spec, the harness that it uses (the core, its checks, its
runtime's adapter), and its recorded outputs. Equal input gives equal bytes.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import re
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

VERSION = 1


def digest(data: bytes) -> str:
    """Returns the SHA-256 of `data` as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_of(files: Mapping[str, bytes], names: Iterable[str]) -> str:
    """Returns one digest of the files `names`, whatever their order."""
    lines = [f"{name} {digest(files[name])}\n" for name in sorted(set(names))]
    return digest("".join(lines).encode())


def transformers_of(requirements: str) -> str:
    """Returns the version of transformers that the text of a requirements.in asks for; empty where it does for none."""
    found = re.search(r"^transformers==(\S+)", requirements, re.MULTILINE)
    return found[1] if found else ""


def packages_of(sources: Iterable[bytes]) -> list[str]:
    """Returns the packages that Python sources import, but for the harness and Python's own."""
    modules: set[str] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                modules.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module)
    return sorted({module.partition(".")[0] for module in modules} - {"harness", *sys.stdlib_module_names})


def cells_of(
    specs: Mapping[str, str],
    files: Mapping[str, bytes],
    core: Sequence[str],
    adapters: Mapping[str, Sequence[str]],
    reference_backend: str,
) -> dict[str, dict[str, str]]:
    """Returns what the manifest says of each cell, by label.

    Args:
      specs: the text of each cell's spec.
      files: content of every file of the bundle, by its path there.
      core: paths of the harness without checks and adapters.
      adapters: for each runtime the paths of its adapter.
      reference_backend: the backend that recorded outputs are of.
    """
    harness: dict[tuple[str, str], str] = {}
    cells = {}
    for label, text in specs.items():
        spec = json.loads(text)
        backend, category = spec["backend"], spec["category"]
        modules = ["runtime"] if backend["checks"] == "runtime" else ["common", category]
        key = (" ".join(modules), backend["runtime"])
        if key not in harness:
            checks = [f"harness/checks/{module}.py" for module in modules]
            harness[key] = digest_of(files, [*core, *checks, *adapters[backend["runtime"]]])
        reference = f"{label.removeprefix('//').partition(':')[0]}/reference.json"
        recorded = reference in files and backend["name"] == reference_backend
        cells[label] = {
            "backend": backend["name"],
            "category": category,
            "environment": spec["environment"],
            "harness": harness[key],
            "name": spec["name"],
            "reference": digest(files[reference]) if recorded else "",
            "spec": digest(text.encode()),
            "tier": spec["tier"],
        }
    return cells


def write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    """Writes the files into a zip, in order of their names and without times."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        for name in sorted(files):
            made.writestr(zipfile.ZipInfo(name), files[name], zipfile.ZIP_DEFLATED, 9)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make", description=__doc__, fromfile_prefix_chars="@")
    for name in ("out", "manifest", "backends", "specs", "main", "identify"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--reference-backend", required=True)
    for name in ("core", "check", "reference", "environment"):
        parser.add_argument(f"--{name}", type=Path, action="append", default=[])
    parser.add_argument("--adapter", action="append", default=[], help="RUNTIME=FILE")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Writes the bundle and its manifest; returns 0."""
    options = _parse(arguments)
    adapters: dict[str, list[str]] = {}
    for entry in options.adapter:
        runtime, _, path = entry.partition("=")
        adapters.setdefault(runtime, []).append(path)
    paths = [
        *options.core,
        *options.check,
        *options.reference,
        *(Path(name) for each in adapters.values() for name in each),
    ]
    files = {path.as_posix(): path.read_bytes() for path in paths}
    files["__main__.py"] = options.main.read_bytes()
    files["identify.py"] = options.identify.read_bytes()
    files["specs.jsonl"] = options.specs.read_bytes()
    specs = dict(json.loads(line) for line in files["specs.jsonl"].decode().splitlines())
    core = [path.as_posix() for path in options.core]
    versions = {path.parent.name: transformers_of(path.read_text(encoding="utf-8")) for path in options.environment}
    backends = json.loads(options.backends.read_text(encoding="utf-8"))
    for row in backends.values():
        row["packages"] = packages_of(files[name] for name in adapters[row["runtime"]])
    manifest: dict[str, Any] = {
        "backends": backends,
        "cells": cells_of(specs, files, core, adapters, options.reference_backend),
        "files": {name: digest(data) for name, data in files.items()},
        "transformers": {name: version for name, version in versions.items() if version},
        "version": VERSION,
    }
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    options.manifest.write_text(text, encoding="utf-8")
    write_zip(options.out, {**files, "manifest.json": text.encode()})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
