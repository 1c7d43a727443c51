"""Makes tiny wheels for tests of what locks and fetches them; no network and no build tool is needed."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    files: Mapping[str, str | bytes] | None = None,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
) -> Path:
    """Writes the wheel `name` to `folder`, with one module of that name unless `files` say otherwise."""
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    metadata = [
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        *(f"Requires-Dist: {r}\n" for r in requires),
    ]
    contents: dict[str, str | bytes] = {
        **({f"{name}.py": f"VERSION = {version!r}\n"} if files is None else files),
        f"{info}/METADATA": "".join(metadata),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    contents[f"{info}/RECORD"] = "".join(f"{member},,\n" for member in [*contents, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in contents.items():
            archive.writestr(zipfile.ZipInfo(member), content)
    return path


def sha256(path: Path) -> str:
    """Returns the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_lock(folder: Path, pins: Mapping[str, str]) -> Path:
    """Writes a lock of `name==version` to sha256 into the environment `folder`; returns its path."""
    folder.mkdir(exist_ok=True)
    path = folder / "cp311-linux_x86_64.lock"
    path.write_text("".join(f"{pin} \\\n    --hash=sha256:{digest}\n" for pin, digest in pins.items()))
    return path
