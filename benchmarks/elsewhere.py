"""Whether recorded values hold on a lesser CPU: runs cells with SSE4 alone and two threads, held to their references.

`bazel run //benchmarks:elsewhere -- --models='vision/*'` prints a line for each cell that has a reference: it holds, or
which check failed and how. The cells must have been built: their specs are read from there. A reference is kept only
where its cell passes here as well.

Exit codes: 0 all hold; 1 the command line is wrong; 2 some do not.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from authoring import forked
from benchmarks import cells

_MODELS = flags.DEFINE_list("models", ["*/*"], "Patterns of CATEGORY/NAME.")
_ROOT = flags.DEFINE_string("root", None, "The checkout; by default the one of `bazel run`.")

SETTINGS = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OMP_NUM_THREADS": "2",
    "MKL_NUM_THREADS": "2",
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_OFFLINE": "1",
    "HF_DEACTIVATE_ASYNC_LOAD": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
CPU_SECONDS = 300


def fault(spec: Any) -> str:
    """Returns in what the cell fails here, or an empty string where it passes and its outputs were compared."""
    ran = cells.run_cell(spec)
    if ran.failed:
        return f"{ran.failed[0]}: {ran.messages[ran.failed[0]].partition(chr(10))[0]}"
    return (
        "" if cells.REFERENCE in ran.passed else f"not compared: {ran.messages.get(cells.REFERENCE, 'never reached')}"
    )


def main(argv: Sequence[str]) -> int:
    """Runs the program; returns its exit code."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    os.environ.update(SETTINGS)  # read when torch is loaded
    from harness import reference
    from harness import spec as specs
    from harness.preload import preload

    preload(mock=False)
    import torch

    print(f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads", flush=True)
    root = cells.checkout(_ROOT.value)
    counts: collections.Counter[str] = collections.Counter()
    for path in [path for pattern in _MODELS.value for path in cells.built_specs(root, pattern)]:
        package = Path("models", *path.parts[-3:-1])
        recorded = root / package / "reference.json"
        if not recorded.exists():
            continue
        spec = specs.load(path)
        spec = dataclasses.replace(spec, reference=reference.load(recorded, spec.label, spec.environment))
        try:
            found = forked.in_child(functools.partial(fault, spec), cpu_seconds=CPU_SECONDS, silent=True)
        except forked.ChildFailed as error:
            found = str(error)
        counts["fails" if found else "holds"] += 1
        print(f"{package}: {f'fails: {found}' if found else 'holds'}", flush=True)
    print(f"{counts['holds']} hold, {counts['fails']} do not")
    return 2 if counts["fails"] else 0


if __name__ == "__main__":
    sys.exit(app.run(main))
