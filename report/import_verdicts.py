"""`bazel run //:import_verdicts -- results.zip`: brings back what the portable bundle found on another machine.

Every entry is held to the declarations of this checkout first; if one is not right, nothing is imported. Exit codes:
0 imported; 1 the command line is wrong; 2 nothing was imported, and each message names the entry and the fix.
"""

from __future__ import annotations

import os
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from absl import app, flags

from report import files, imported, revision, terminal
from report.imported import Record
from report.strict import InputError

_MANIFEST = flags.DEFINE_string("manifest", None, "The manifest of the bundle of this checkout.", required=True)
_ROOT = flags.DEFINE_string("root", None, "Folder that the paths are relative to. Without it they are runfiles paths.")
_INTO = flags.DEFINE_string("into", None, "Folder to keep the records in; by default that of the checkout.")

_MOST_BYTES = 4 * 2**20
"""No record is as large: an entry that says so is no record."""

_DAMAGED = (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile)
"""What `zipfile` raises where bytes are missing or not as they were: a name, a method or the data cannot be read."""


def entries(source: Path) -> Iterator[tuple[str, str]]:
    """Yields name and text of each record in the folder or zip of a bundle's results.

    Raises:
      InputError: there is no such thing, it is damaged, or an entry points out of it.
    """
    if source.is_dir():
        yield from _of_folder(source)
    elif source.exists():
        yield from _of_zip(source)
    else:
        raise InputError(f"{source}: no such file or folder; give the folder or the results.zip that the bundle wrote")


def _of_folder(source: Path) -> Iterator[tuple[str, str]]:
    inside = source.resolve()
    for path in sorted((source / "records").rglob("*.json")):
        if not path.resolve().is_relative_to(inside):
            raise InputError(f"{path}: leads out of {source}; copy the results without links")
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path}: larger than any record; copy the results again")
        yield str(path), _decoded(path.read_bytes(), str(path))


def _of_zip(source: Path) -> Iterator[tuple[str, str]]:
    try:
        with zipfile.ZipFile(source) as opened:
            for info in opened.infolist():
                where = f"{source}: {info.filename}"
                parts = PurePosixPath(info.filename).parts
                if ".." in parts or info.filename.startswith("/") or "\\" in info.filename:
                    raise InputError(f"{where}: leads out of the zip; the bundle writes no such name, pack it again")
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise InputError(f"{where}: a link, no record; pack the results again without links")
                if parts[:1] == ("records",) and info.filename.endswith(".json"):
                    if info.file_size > _MOST_BYTES:
                        raise InputError(f"{where}: larger than any record; copy the results again")
                    yield where, _decoded(_read(opened, info, where), where)
    except InputError:
        raise
    except _DAMAGED as error:
        raise InputError(f"{source}: damaged or cut short ({error}); copy it again") from None


def _read(opened: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> bytes:
    try:
        return opened.read(info)
    except _DAMAGED as error:
        raise InputError(f"{where}: damaged ({error}); copy the results again") from None


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: cut short or no text ({error.reason}); copy the results again") from None


def collect(source: Path, manifest: imported.Manifest) -> tuple[list[Record], list[str]]:
    """Returns the records of a bundle's results, and what is wrong with those that cannot be imported."""
    found: dict[str, Record] = {}
    problems = []
    try:
        for where, text in entries(source):
            try:
                record = imported.parse(text, where)
                imported.check(record, manifest, where)
                if record.cell in found:
                    raise InputError(
                        f"{where}: a second record of {record.cell}; import one machine's results at a time"
                    )
                found[record.cell] = record
            except InputError as error:
                problems.append(str(error))
    except InputError as error:
        problems.append(str(error))
    if not found and not problems:
        problems.append(f"{source}: holds no record; give the folder or the results.zip that the bundle wrote")
    return list(found.values()), problems


def store(folder: Path, records: Sequence[Record], manifest: imported.Manifest) -> list[str]:
    """Adds the records to the files of the workspace, all or none; returns what to tell the user.

    Raises:
      InputError: a file cannot be read or written.
    """
    texts = {}
    lines = []
    for backend in sorted({record.verdict.backend for record in records}):
        new = [record for record in records if record.verdict.backend == backend]
        path = folder / f"{backend}.jsonl"
        kept = imported.read(path)
        texts[path] = imported.to_text(imported.merge(kept, new))
        devices = sorted({record.device for record in new})
        green = sum(record.verdict.status in ("passed", "expected_failure") for record in new)
        lines.append(f"{path}: {len(new)} verdicts on {backend}, {green} of them green; {'; '.join(devices)}")
        old = sum(bool(imported.stale(record, manifest)) for record in kept)
        if old:
            lines.append(f"{path}: {old} of the {len(kept)} that were there before were stale")
    partials = {path: path.with_name(f"{path.name}.partial") for path in texts}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            partials[path].write_text(text, encoding="utf-8")
        for path, partial in partials.items():
            os.replace(partial, path)
    except OSError as error:
        for partial in partials.values():
            partial.unlink(missing_ok=True)
        raise InputError(f"{folder}: cannot be written ({error.strerror}); nothing was imported") from None
    return lines


def main(argv: Sequence[str]) -> int:
    """Imports what the command line names and returns the exit code."""
    if len(argv) != 2:
        raise app.UsageError("name one folder or results.zip that the bundle wrote")
    try:
        manifest = imported.read_manifest(files.locator(_ROOT.value)(_MANIFEST.value or ""))
        records, problems = collect(files.for_user(argv[1]), manifest)
        if problems:
            raise InputError("\n".join([*problems, "nothing was imported"]))
        workspace = revision.workspace()
        if not _INTO.value and workspace is None:
            raise InputError("no checkout to import into; use `bazel run //:import_verdicts -- results.zip`")
        folder = files.for_user(_INTO.value) if _INTO.value else Path(workspace or "", imported.FOLDER)
        for line in store(folder, records, manifest):
            print(terminal.safe(line))
    except InputError as error:
        for line in str(error).splitlines():
            print(f"import_verdicts: {terminal.safe(line)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    app.run(main)
