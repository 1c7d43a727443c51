"""What a cell costs beside what its runtime's own export costs, in one run: `bazel run //benchmarks:exports`.

Prints a Markdown table for RESULTS.md: CPU seconds of the cell, of all calls of the exporter in it, and their ratio. A
decoder's cell exports two programs: the forward, which the prefill uses too, and the step on the cache. The cells must
have been built: their specs are read from there.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from absl import app, flags

from authoring import forked
from benchmarks import cells

_BACKENDS = ("cpu_export", "cpu_onnxruntime", "cpu_openvino")
_BACKEND = flags.DEFINE_enum("backend", "cpu_export", _BACKENDS, "The backend.")
_MODELS = flags.DEFINE_list(
    "models", ["encoder/bert", "decoder/gpt2", "encoder_decoder/t5", "vision/vit"], "Patterns of CATEGORY/NAME."
)
_ROOT = flags.DEFINE_string("root", None, "The checkout; by default the one of `bazel run`.")

CPU_SECONDS = 300


def measure(spec: Any) -> dict[str, float | str]:
    """Returns the CPU seconds of a cell and of its exporter, and the first check that failed."""
    from harness.runtimes import adapter

    exporter = vars(type(adapter(spec.backend)))["exporter"]
    export, spent = exporter.export_program, 0.0

    def timed(*given: Any) -> Any:
        nonlocal spent
        begin = time.process_time()
        try:
            return export(*given)
        finally:
            spent += time.process_time() - begin

    exporter.export_program = timed
    begin = time.process_time()
    ran = cells.run_cell(spec)
    return {"cell": time.process_time() - begin, "export": spent, "failed": ran.failed[0] if ran.failed else ""}


def main(argv: Sequence[str]) -> None:
    """Runs the program."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", HF_HUB_OFFLINE="1")  # read when torch is loaded
    from harness import spec as specs
    from harness.preload import preload

    preload(mock=False, more=["torch.export._trace", "transformers.exporters.exporter_dynamo"])
    root = cells.checkout(_ROOT.value)
    print(f"| `{_BACKEND.value}` | cell, CPU s | its exports | ratio |\n| --- | --- | --- | --- |", flush=True)
    for path in [path for pattern in _MODELS.value for path in cells.built_specs(root, pattern, _BACKEND.value)]:
        work = functools.partial(measure, specs.load(path))
        found = forked.in_child(work, cpu_seconds=CPU_SECONDS, silent=True)
        name = path.parts[-2] + (f" (fails {found['failed']})" if found["failed"] else "")
        print(f"| {name} | {found['cell']:.1f} | {found['export']:.1f} | {found['cell'] / found['export']:.2f} |")


if __name__ == "__main__":
    sys.exit(app.run(main))
