"""Fetches the wheels of a lock with pip and lays them out as one directory, byte for byte the same on every machine.

The repository rules run it, from the workspace's root: `python -m toolchains.environments.fetch`. pip only downloads
and checks the hashes, with the user's own index settings; unpacking a wheel is unzipping it, and doing that here leaves
out what pip would add of this machine.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import csv
import dataclasses
import errno
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from toolchains.environments import locks

# What a runtime that compiles C++ needs beside an environment: two thirds of the files that it would have with them.
HEADERS = r"torch/include/.*"

# What no cell reads in an environment. Tests alone are a fifth of the size, and Remote Execution pays for every file of
# the directory in every action. `torch/bin/torch_shm_manager` must stay, `import torch` looks for it.
UNUSED = (
    HEADERS,
    r"torch/share/.*",
    r"torch/test/.*",
    r"torch/bin/(?!torch_shm_manager$).*",
    r"torch/lib/[^/]*\.(a|lib)",
    r"(networkx|numpy|sympy)/(.*/)?tests/.*",
    # What the modelling files were generated from, and scripts that converted checkpoints: nothing imports them.
    r"transformers/models/[^/]+/(modular|convert)_[^/]*",
)
# Modules a compiling process takes in one go; fixed, because it shapes the bytes (see precompile.py).
BATCH = 200

_DISK_FULL = "the disk is full: make room for about 2 GB under Bazel's output root (`bazel info output_base`)"
_NO_NETWORK = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|Read timed out|ProxyError|ConnectionResetError|SSLError"
    r"|Temporary failure in name resolution|Name or service not known|Network is unreachable|Connection refused"
    r"|RemoteDisconnected|CERTIFICATE_VERIFY_FAILED"
)
_NO_MATCH = re.compile(r"No matching distribution found for (\S+)")
_HASH_MISMATCH = re.compile(
    r"^ {4}(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+?)(?: \(from.*| from .*)?:\s*$"
    r".*?Expected sha256 (?P<expected>[0-9a-f]+).*?Got\s+(?P<got>[0-9a-f]+)",
    re.MULTILINE | re.DOTALL,
)


class FetchError(Exception):
    """Nothing was fetched. The message is for a person: what is wrong and what to do."""


def download(environment: str, pins: Sequence[locks.Pin], folder: Path) -> list[Path]:
    """Downloads the wheel of each pin into `folder` and returns their paths, sorted.

    Raises:
      FetchError: pip is missing or failed; the message is one clear sentence on why.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(f"{pin.name}=={pin.version} --hash=sha256:{pin.sha256}\n" for pin in pins))
    failed, output = _pip_download(folder, "--require-hashes", f"--requirement={requirements}")
    if failed:
        if missing := _NO_MATCH.search(output):
            # Of an index that it could not reach, without retries left to complain of, pip speaks in debug output only.
            _, details = _pip_download(folder, "-vv", missing[1])
            output = "\n".join([*re.findall(r"Could not fetch URL.*", details), output])
        raise FetchError(explain(output, environment))
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != len(pins):
        raise FetchError(f"pip downloaded {len(wheels)} wheels for the {len(pins)} packages of the lock:\n{output}")
    return wheels


def _pip_download(folder: Path, *arguments: str) -> tuple[bool, str]:
    """Runs `pip download` into `folder`; returns whether it failed, and all that it said."""
    command = [sys.executable, "-E", "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", f"--dest={folder}", *arguments]
    # pip buffers downloads in its temporary folder: keep them on the disk that has the room.
    settings = {**os.environ, "TMPDIR": str(folder), "PIP_REQUIRE_VIRTUALENV": "0"}
    finished = subprocess.run(
        command, cwd=folder, env=settings, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return finished.returncode != 0, finished.stdout


def explain(output: str, environment: str) -> str:
    """Returns the reason of a failed `pip download` for a person, from pip's own `output`."""
    relock = locks.relock_command(environment)
    tag = locks.interpreter_tag()
    if "No module named pip" in output:
        return (
            f"{sys.executable} has no pip: install it "
            f"(`{sys.executable} -m ensurepip`, or your system's package python3-pip)"
        )
    if "[Errno 28]" in output or "No space left on device" in output:
        return _DISK_FULL
    if mismatch := _HASH_MISMATCH.search(output):
        return (
            f"{mismatch['name']} {mismatch['version']}: the index has a wheel with sha256 {mismatch['got']}, the lock "
            f"says {mismatch['expected']}. Either it was damaged or replaced, or your index builds its own: "
            f"only if you trust it, relock with `{relock}`"
        )
    if _NO_NETWORK.search(output):
        return (
            "no connection to the package index: check the network and pip's settings (`python3 -m pip config list`); "
            f"pip's last words: {_last_line(output)}"
        )
    if missing := _NO_MATCH.search(output):
        return _no_wheel(missing[1], tag, relock)
    return f"pip failed, and this is what it said:\n{output.strip()[-4000:]}"


def _no_wheel(requirement: str, tag: str, relock: str) -> str:
    """Returns the message for a requirement without a wheel on any index that pip was told of."""
    if requirement.startswith("torch==") and "+" in requirement:
        hint = (
            "this build is on PyTorch's own index of CPU wheels, not on PyPI: "
            "add that index to pip (`pip config set global.extra-index-url ...`), or its wheel to pip's find-links"
        )
    else:
        hint = f"configure an index that has it (`python3 -m pip config list` shows yours), or relock with `{relock}`"
    offline = " (and PIP_NO_INDEX limits it to its find-links)" if os.environ.get("PIP_NO_INDEX") else ""
    return f"{requirement}: no wheel for {tag} on the indexes that pip is set to use{offline}; {hint}"


def _last_line(output: str) -> str:
    """Returns the last line of pip's output that is an error, or the last at all."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1] if lines else "none")


def unpack(wheels: Iterable[Path], site: Path, *, headers: bool = False) -> dict[str, str]:
    """Unzips `wheels` into `site`, without what is `UNUSED`; returns the sha256 of each file by its relative path.

    With `headers` it unzips the `HEADERS` and nothing else.

    Scripts land in `bin/`, except those that an installer has to rewrite for one interpreter: run them by `python -m`.

    Raises:
      FetchError: two wheels hold different files of one name, or a wheel's member would land outside `site`.
    """
    unused = re.compile(f"(?!{HEADERS}).*" if headers else "|".join(UNUSED))
    digests: dict[str, str] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                path = _installed_path(member.filename)
                if path is None or member.is_dir() or unused.fullmatch(path):
                    continue
                if Path(path).is_absolute() or ".." in Path(path).parts:
                    raise FetchError(f"{wheel.name}: {member.filename!r} would be unpacked outside its directory")
                content = archive.read(member)
                if path.startswith("bin/") and content.startswith(b"#!python"):
                    continue
                digest = hashlib.sha256(content).hexdigest()
                if digests.setdefault(path, digest) != digest:
                    raise FetchError(f"{wheel.name}: {path} is in another wheel of the lock too, with other content")
                target = site / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                executable = path.startswith("bin/") or (member.external_attr >> 16) & 0o111
                target.chmod(0o755 if executable else 0o644)
    return digests


def _installed_path(member: str) -> str | None:
    """Returns where the wheel format puts a member, relative to site-packages; None for what is not installed."""
    match = re.fullmatch(r"[^/]+\.data/([^/]+)/(.+)", member)
    if match is None:
        return member
    scheme, path = match.groups()
    return {"purelib": path, "platlib": path, "data": path, "scripts": f"bin/{path}"}.get(scheme)


@dataclasses.dataclass(frozen=True)
class Shared:
    """The site of another environment that is there already, to take from what both locks have.

    Attributes:
      lock: that environment's.
      manifest: of its site, which lies beside it.
    """

    lock: Path
    manifest: Path

    def pins(self, wanted: Iterable[locks.Pin]) -> list[locks.Pin]:
        """Returns those of `wanted` whose wheel, by its hash, the other lock has too."""
        there = locks.parse(self.lock)
        return [pin for pin in wanted if there.get(pin.name) == pin]

    def link(self, pins: Iterable[locks.Pin], site: Path) -> dict[str, str]:
        """Puts the files of the wheels of `pins` into `site`, compiled modules too; returns the sha256 of each by path.

        They are hard links where the file system has them: two environments then are hardly larger than one.

        Raises:
          FetchError: the other site lacks a wheel that its lock names.
        """
        source = self.manifest.parent / "site"
        lines = self.manifest.read_text(encoding="utf-8").splitlines()
        digests = {path: digest for digest, _, path in (line.partition("  ") for line in lines)}
        records = {}
        for path in digests:
            if found := re.fullmatch(r"([^/]+)-([^/-]+)\.dist-info/RECORD", path):
                records[locks.normalise(found[1]), found[2]] = path
        linked: dict[str, str] = {}
        for pin in pins:
            if (pin.name, pin.version) not in records:
                raise FetchError(f"{self.manifest}: {pin.name} {pin.version} is missing there; fetch that one anew")
            for path in _files_of(source / records[pin.name, pin.version]):
                if path in digests:
                    linked[path] = digests[path]
                    (site / path).parent.mkdir(parents=True, exist_ok=True)
                    _link(source / path, site / path)
        return linked


def _files_of(record: Path) -> Iterator[str]:
    """Yields the installed path of each file that a wheel's RECORD names, and of the module compiled from it."""
    with record.open(encoding="utf-8", newline="") as lines:
        for row in csv.reader(lines):
            path = _installed_path(row[0])
            if path is None:
                continue
            yield path
            if path.endswith(".py"):
                yield importlib.util.cache_from_source(path, optimization="")


def _link(source: Path, target: Path) -> None:
    """Makes `target` the same file as `source`, or a copy of it where the file system has no such links."""
    if target.exists():  # wheels of one namespace may bring the same file
        return
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise
        shutil.copy2(source, target)


def precompile(site: Path, paths: Iterable[str], mode: str) -> dict[str, str]:
    """Compiles the modules among `paths` with PEP 552's `mode`; returns the sha256 of each `.pyc` by its path."""
    modules = sorted(path for path in paths if path.endswith(".py"))
    batches = [modules[start : start + BATCH] for start in range(0, len(modules), BATCH)]
    command = [sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name("precompile.py")), str(site), mode]

    def compile_batch(batch: list[str]) -> None:
        subprocess.run(command, input="\n".join(batch), text=True, check=True, env={"PYTHONHASHSEED": "0"})

    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(compile_batch, batches))
    return {
        str(path.relative_to(site)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in site.glob("**/__pycache__/*.pyc")
    }


def fetch(
    lock: Path,
    only: Sequence[str],
    without: Sequence[str],
    site: Path,
    manifest: Path,
    mode: str,
    shared: Shared | None = None,
    *,
    headers: bool = False,
) -> None:
    """Makes `site` of the packages of `lock` (only those in `only`, if any; none of `without`) and writes `manifest`.

    What `shared` has is linked from there, and the rest fetched. With `headers` the site has the `HEADERS` alone.

    The manifest has one line a file, `<sha256>  <path>`, sorted by path: it changes when and only when the site does.

    Raises:
      FetchError, locks.LockError: nothing was made.
    """
    pins = locks.parse(lock)
    for name in [*only, *without]:
        if name not in pins:
            raise FetchError(f"{lock}: no package {name} in it")
    chosen = [pin for pin in pins.values() if pin.name not in without and (not only or pin.name in only)]
    there = shared.pins(chosen) if shared else []
    missing = [pin for pin in chosen if pin not in there]
    with tempfile.TemporaryDirectory(dir=manifest.parent, prefix="fetch-") as scratch:
        wheels, staged = Path(scratch, "wheels"), Path(scratch, "site")
        wheels.mkdir()
        staged.mkdir()
        try:
            wheels_there = download(lock.parent.name, missing, wheels) if missing else []
            digests = unpack(wheels_there, staged, headers=headers)
            digests |= precompile(staged, digests, mode)
            if shared:
                digests = _merged(shared.link(there, staged), digests, lock)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise FetchError(_DISK_FULL) from None
            raise
        site.mkdir(parents=True, exist_ok=True)
        for entry in staged.iterdir():
            entry.rename(site / entry.name)
    manifest.write_text("".join(f"{digests[path]}  {path}\n" for path in sorted(digests)), encoding="utf-8")


def _merged(linked: Mapping[str, str], fetched: Mapping[str, str], lock: Path) -> dict[str, str]:
    """Returns the digests of both.

    Raises:
      FetchError: they disagree on a file, as two wheels may not.
    """
    for path in linked.keys() & fetched.keys():
        if linked[path] != fetched[path]:
            raise FetchError(f"{lock}: {path} is in two wheels of the lock, with different content")
    return {**linked, **fetched}


def main(arguments: list[str]) -> int:
    """Runs the command line; returns 0, or 1 after one message on standard error."""
    parser = argparse.ArgumentParser(prog="fetch", description=__doc__)
    parser.add_argument("--lock", type=Path, required=True, help="lock file; its folder's name is the environment's")
    parser.add_argument("--only", action="append", default=[], metavar="PACKAGE", help="fetch this one (repeatable)")
    parser.add_argument(
        "--without", action="append", default=[], metavar="PACKAGE", help="leave this one out (repeatable)"
    )
    parser.add_argument("--site", type=Path, required=True, help="directory to make, or an existing one to add to")
    parser.add_argument(
        "--manifest", type=Path, required=True, help="file to write; downloads go beside it for a while"
    )
    parser.add_argument("--pyc", choices=["unchecked-hash", "checked-hash"], required=True, help="PEP 552 invalidation")
    parser.add_argument("--headers", action="store_true", help="only the C++ headers, which are left out otherwise")
    parser.add_argument("--share-lock", type=Path, help="lock of an environment whose wheels may be linked")
    parser.add_argument("--share-manifest", type=Path, help="manifest of that environment's site, beside it")
    options = parser.parse_args(arguments)
    shared = Shared(options.share_lock, options.share_manifest) if options.share_lock else None
    try:
        fetch(
            options.lock,
            options.only,
            options.without,
            options.site,
            options.manifest,
            options.pyc,
            shared,
            headers=options.headers,
        )
    except (FetchError, locks.LockError) as error:
        print(f"{options.lock.parent.name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
