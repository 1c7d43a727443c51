"""What a worker imports once, before it forks: all that every cell needs and no cell may change.

Model folders of transformers are not among it: which of them a cell may load is its own affair. Neither is anything
that starts a thread on import: a process with threads cannot be forked safely.
"""

from __future__ import annotations

import gc
import importlib
import sys

from harness.reporter import HarnessFault

HARNESS = ("harness.spec", "harness.verdict", "harness.reporter")

LIBRARIES = ("numpy", "torch", "pytest", "safetensors.torch", "transformers")


def preload(*, mock: bool) -> None:
    """Imports everything and freezes it for the garbage collector, so that runs share its memory.

    Args:
      mock: leave out torch and transformers, which a mock cell must do without.

    Raises:
      HarnessFault: a module is missing or broken; the text names it and the fix.
    """
    for name in HARNESS if mock else (*LIBRARIES, *HARNESS):
        try:
            importlib.import_module(name)
        except Exception as error:
            raise HarnessFault(
                f"the environment lacks {name} or has it broken ({type(error).__name__}: {error}); the lock file and "
                "what was fetched disagree: fetch it anew (bazel sync, or remove the output base's external folder)"
            ) from error
    slices = sorted({name.split(".")[2] for name in sys.modules if name.startswith("transformers.models.")} - {"auto"})
    if slices:
        raise HarnessFault(f"harness/preload.py loads model folders, which are not every cell's: {', '.join(slices)}")
    gc.collect()
    gc.freeze()
