"""Verdicts of other machines: what a bundle brings back, held to the declarations, and the file that keeps them.

A record is one JSON object: `version` and the fields of `Record`. The bundle writes one file for each cell; the
workspace keeps them in `models/imported/BACKEND.jsonl`, a line for each cell and device: a diff shows what came.

Whether a record still counts is decided by hashes: of the cell's spec, of the harness that proved it, and of the
recorded outputs that it was held to. The bundle's manifest has those of today.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import verdict as verdicts
from harness.verdict import Verdict
from report import strict
from report.strict import InputError

VERSION = 1

FOLDER = "models/imported"
"""Where the workspace keeps them."""

_EVERYWHERE = ("numpy", "pytest", "python", "safetensors")
"""Packages of every cell, which the report does not show; what else there is beside torch is the runtime's."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One cell's verdict of another machine.

    Attributes:
      cell: label of the cell.
      date: `YYYY-MM-DD` on which it ran.
      spec: SHA-256 of the cell's spec.
      harness: digest of the harness's files that the cell uses.
      reference: SHA-256 of the recorded outputs; empty without any.
      packages: versions of Python and of what the cell ran on.
      verdict: what the harness said; the device's identity is in it.
    """

    cell: str
    date: str
    spec: str
    harness: str
    reference: str
    packages: Mapping[str, str]
    verdict: Verdict

    def to_line(self) -> str:
        """Returns the record as a line of the workspace's file, without its end."""
        verdict = json.loads(self.verdict.to_json())
        return json.dumps({"version": VERSION, **vars(self), "verdict": verdict}, sort_keys=True)

    @property
    def device(self) -> str:
        """The device's identity in words."""
        return ", ".join(f"{name} {value}" for name, value in sorted(self.verdict.device.items()))

    @property
    def origin(self) -> str:
        """Where and when it ran, in words."""
        first = [name for name in ("torch", "transformers") if name in self.packages]
        others = sorted(self.packages.keys() - {*first, *_EVERYWHERE})
        versions = ", ".join(f"{name} {self.packages[name]}" for name in [*first, *others])
        return f"imported, ran on {self.date}: {self.device}; {versions}"


@dataclasses.dataclass(frozen=True)
class Cell:
    """What the bundle's manifest says of a cell: what a record of it must say too."""

    backend: str
    category: str
    environment: str
    harness: str
    name: str
    reference: str
    spec: str
    tier: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The manifest of the bundle that this checkout builds.

    Attributes:
      backends: rows of the table, as far as the bundle needs them.
      cells: every cell, by label.
      files: SHA-256 of each file of the bundle.
      transformers: version of transformers in each environment.
    """

    backends: Mapping[str, Mapping[str, Any]]
    cells: Mapping[str, Cell]
    files: Mapping[str, str]
    transformers: Mapping[str, str]


def read_manifest(path: Path) -> Manifest:
    """Returns the manifest in the file at `path`; raises InputError for another file."""
    value = strict.versioned(strict.read(path, "bundle's manifest"), VERSION, str(path))
    return strict.build(Manifest, value, str(path))


def parse(text: str, where: str) -> Record:
    """Returns the record that `text` is.

    Args:
      where: the file, or its entry in a zip, for messages.

    Raises:
      InputError: it is cut short, of another version, has other fields, or a word outside the vocabulary.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: cut short or no JSON ({error}); copy the results again") from None
    if not isinstance(value, dict) or not isinstance(value.get("verdict"), dict):
        raise InputError(f"{where}: no record of a cell; give what the bundle wrote")
    fields = strict.versioned(value, VERSION, where)
    fields["verdict"] = strict.versioned(fields["verdict"], verdicts.VERSION, f"{where}: verdict")
    record = strict.build(Record, fields, where)
    try:
        datetime.date.fromisoformat(record.date)
    except ValueError:
        raise InputError(f"{where}: {record.date!r} is no date such as 2027-01-31; run the cell again") from None
    verdict = record.verdict
    if verdict.status not in typing.get_args(verdicts.Status) or verdict.level not in verdicts.LEVELS:
        raise InputError(f"{where}: {verdict.status!r} {verdict.level!r} is no status and level; run the cell again")
    return record


def stale(record: Record, manifest: Manifest) -> str:
    """Returns what has changed since the record was made, in words; empty where nothing has."""
    cell = manifest.cells.get(record.cell)
    if cell is None:
        return "the cell is not declared any more"
    changed = [
        word
        for word, was, now in (
            ("its declaration or backend", record.spec, cell.spec),
            ("the harness", record.harness, cell.harness),
            ("its recorded outputs", record.reference, cell.reference),
            ("its version of transformers", record.packages.get("transformers"), _transformers(manifest, cell)),
        )
        if was != now
    ]
    return f"changed since: {', '.join(changed)}" if changed else ""


def _transformers(manifest: Manifest, cell: Cell) -> str:
    return manifest.transformers.get(cell.environment, "")


def check(record: Record, manifest: Manifest, where: str) -> None:
    """Raises InputError where a record that is to be imported is not of the cell that it says, as declared now."""
    cell = manifest.cells.get(record.cell)
    if cell is None:
        raise InputError(
            f"{where}: {record.cell} is no cell of this checkout; declare the model, or import where it is declared"
        )
    verdict = record.verdict
    for field, said, declared in (
        ("label", verdict.label, record.cell),
        ("name", verdict.name, cell.name),
        ("category", verdict.category, cell.category),
        ("backend", verdict.backend, cell.backend),
        ("environment", verdict.environment, cell.environment),
    ):
        if said != declared:
            raise InputError(
                f"{where}: a verdict of another cell: its {field} is {said!r}, that of {record.cell} {declared!r}; "
                "copy the results again"
            )
    why = stale(record, manifest)
    if why:
        raise InputError(
            f"{where}: {record.cell}: {why}; build the bundle of this checkout (bazel build //:bundle) and run the "
            "cell with it, or import at the revision that the bundle is of"
        )
    device = manifest.backends[cell.backend]["device"]
    if verdict.device.get("device") != device or "present" in verdict.device:
        raise InputError(
            f"{where}: {record.cell}: ran on {record.device or 'no device'}, which identifies no {device}; "
            "run it on one"
        )


def read(path: Path) -> tuple[Record, ...]:
    """Returns the records in a file of the workspace; one that does not exist has none.

    Raises:
      InputError: it cannot be read, or a line of it is no record.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); mend the file") from None
    return tuple(parse(line, f"{path}: line {number}") for number, line in enumerate(lines, 1) if line.strip())


def merge(kept: Iterable[Record], new: Iterable[Record]) -> tuple[Record, ...]:
    """Returns the records with one for each cell and device: a new one takes the place of an older."""
    by_key = {(record.cell, record.device): record for record in [*kept, *new]}
    return tuple(by_key[key] for key in sorted(by_key))


def to_text(records: Sequence[Record]) -> str:
    """Returns the text of a file of the workspace."""
    return "".join(f"{record.to_line()}\n" for record in records)


def current(records: Iterable[Record], manifest: Manifest) -> dict[str, tuple[Record, str]]:
    """Returns for each cell the record that counts, and why it does not any more: the newest, stale ones last."""
    judged = [(record, stale(record, manifest)) for record in records]
    judged.sort(key=lambda item: (not item[1], item[0].date, item[0].device))
    return {record.cell: (record, why) for record, why in judged}
