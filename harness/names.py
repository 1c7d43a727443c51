"""Which names of model folders transformers offers at its top (`from transformers import UdopConfig`).

transformers maps each name to its module once, when it is imported. In a worker that is before the folders of a cell
are there, and another cell's may be; so each cell's child makes that map anew, from the folders that the cell declares.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import Any


def offer(folders: Collection[str]) -> None:
    """Makes the names of these model folders, of those that are there, importable from the top of transformers.

    Those of other folders are no longer: whether a name resolves must not depend on what ran in a worker before.
    """
    from transformers.utils.import_utils import _LazyModule, define_import_structure

    models = importlib.import_module("transformers.models")
    kept = {*folders, "auto"}
    root = Path(models.__path__[0])
    for module, prefix in ((importlib.import_module("transformers"), "models."), (models, "")):
        if "_class_to_module" not in vars(module):
            continue  # a cell has no models/__init__.py: there the package is one of folders alone
        _forget(module, prefix, kept)
        for folder in sorted(kept):
            if (root / folder).is_dir():
                structure = define_import_structure(str(root / folder), prefix=f"{prefix}{folder}")
                _add(module, vars(_LazyModule(module.__name__, str(root), structure)))


def _forget(module: ModuleType, prefix: str, kept: Collection[str]) -> None:
    """Takes the names of all other folders out of the maps of a lazy module."""

    def foreign(path: str) -> bool:
        inner = path.removeprefix(prefix)
        return (prefix == "" or inner != path) and inner.partition(".")[0] not in kept

    maps: dict[str, Any] = vars(module)
    gone = {name for name, path in maps["_class_to_module"].items() if foreign(path)}
    gone |= {path for path in maps["_modules"] if foreign(path)}
    maps["_modules"] -= gone
    for name in ("_class_to_module", "_object_missing_backend", "_import_structure"):
        for key in maps[name].keys() & gone:
            del maps[name][key]
    maps["__all__"] = [name for name in maps["__all__"] if name not in gone]


def _add(module: ModuleType, found: dict[str, Any]) -> None:
    """Adds the maps of one folder to those of a lazy module."""
    maps: dict[str, Any] = vars(module)
    maps["_modules"] |= found["_modules"]
    for name in ("_class_to_module", "_object_missing_backend", "_import_structure"):
        maps[name].update(found[name])
    maps["__all__"] = list(dict.fromkeys([*maps["__all__"], *found["__all__"]]))
