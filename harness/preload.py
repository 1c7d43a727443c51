"""What a worker imports once, before it forks: all that every cell needs and no cell may change.

Model folders of transformers are not among it: which of them a cell may load is its own affair. Neither is anything
that starts a thread on import: a process with threads cannot be forked safely.
"""

from __future__ import annotations

import gc
import importlib
import pkgutil
import sys
from collections.abc import Iterable, Set

from harness.folders import folder_of
from harness.reporter import HarnessFault

LIBRARIES = (
    "numpy",
    "numpy.random",
    "torch",
    "pytest",
    "_pytest.helpconfig",
    "_pytest.skipping",
    "numpy.ctypeslib",
    "safetensors.torch",
    # What transformers loads only when a model is built: five CPU seconds that each cell would pay.
    "transformers.modeling_utils",
    "transformers.modeling_layers",
    "transformers.masking_utils",
    "transformers.generation.utils",
    "transformers.models.auto.modeling_auto",
)

PROGRAMS = ("live", "scan", "worker")
"""Modules of the harness that are entries, not parts of a run."""

MOCK = ("harness.cell",)


_FIX = {
    True: "; the lock file and what was fetched disagree: fetch the environment anew (bazel fetch --force)",
    False: "; the harness is broken, or a file of it is missing from //harness:core",
}


def _blame(name: str, libraries: Set[str]) -> str:
    return f"the environment lacks {name} or has it broken" if name in libraries else f"{name} cannot be loaded"


def modules(*, mock: bool) -> list[str]:
    """Returns what to import, in order: libraries, then all of the harness that is not one category's."""
    if mock:
        return list(MOCK)
    found = sorted(module.name for module in pkgutil.iter_modules(importlib.import_module("harness").__path__))
    return [
        *LIBRARIES,
        *(f"harness.{name}" for name in found if name not in PROGRAMS and name != "checks"),
    ]


def preload(*, mock: bool, more: Iterable[str] = ()) -> None:
    """Imports everything and freezes it for the garbage collector, so that runs share its memory.

    Args:
      mock: leave out torch and transformers, which a mock cell must do without.
      more: modules of the environment that the runtime needs.

    Raises:
      HarnessFault: a module is missing or broken; the text names it and the fix.
    """
    gc.disable()  # nothing of what is imported is garbage; looking for it costs a tenth of the start
    libraries = {*LIBRARIES, *more}
    for name in [*modules(mock=mock), *more]:
        try:
            importlib.import_module(name)
        except Exception as error:
            raise HarnessFault(
                f"{_blame(name, libraries)} ({type(error).__name__}: {error}){_FIX[name in libraries]}"
            ) from error
    if not mock:
        importlib.import_module("harness.build").warm_up()
    slices = sorted({folder_of(name) for name in sys.modules if name.startswith("transformers.models.")} - {"auto"})
    if slices:
        raise HarnessFault(f"harness/preload.py loads model folders, which are not every cell's: {', '.join(slices)}")
    gc.collect()
    gc.freeze()
    gc.enable()
