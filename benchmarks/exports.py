"""What a cell costs beside its runtime's own export or compilation, in one run: `bazel run //benchmarks:exports`.

Prints a Markdown table for RESULTS.md: CPU seconds of the cell, of all calls of the exporter or of Dynamo's compiler in
it, and their ratio. A decoder's cell exports two programs: the forward, which the prefill uses too, and the step on the
cache. The cells must have been built: their specs are read from there.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from typing import Any

from absl import app, flags

from authoring import forked
from benchmarks import cells

_BACKENDS = ("cpu_export", "cpu_onnxruntime", "cpu_openvino", "cpu_inductor")
_BACKEND = flags.DEFINE_enum("backend", "cpu_export", _BACKENDS, "The backend.")
_MODELS = flags.DEFINE_list(
    "models", ["encoder/bert", "decoder/gpt2", "encoder_decoder/t5", "vision/vit"], "Patterns of CATEGORY/NAME."
)
_ROOT = flags.DEFINE_string("root", None, "The checkout; by default the one of `bazel run`.")

CPU_SECONDS = 300


def measure(spec: Any) -> dict[str, float | str]:
    """Returns the CPU seconds of a cell and of its runtime's own work, and the first check that failed."""
    owner, name = _own_work(spec)
    work, spent = getattr(owner, name), 0.0

    def timed(*given: Any, **more: Any) -> Any:
        nonlocal spent
        begin = _cpu_seconds()
        try:
            return work(*given, **more)
        finally:
            spent += _cpu_seconds() - begin

    setattr(owner, name, timed)
    begin = _cpu_seconds()
    ran = cells.run_cell(spec)
    return {"cell": _cpu_seconds() - begin, "own": spent, "failed": ran.failed[0] if ran.failed else ""}


def _own_work(spec: Any) -> tuple[Any, str]:
    """Returns what has the function that exports or compiles, and its name."""
    from harness.runtimes import adapter

    runtime = adapter(spec.backend)
    if spec.backend.runtime == "inductor":
        from torch._dynamo import convert_frame

        return convert_frame, "_compile"
    return vars(type(runtime))["exporter"], "export_program"


def _cpu_seconds() -> float:
    """Returns those of this process and of the children that have ended, such as the C++ compiler."""
    return sum(os.times()[:4])


def main(argv: Sequence[str]) -> None:
    """Runs the program."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", HF_HUB_OFFLINE="1")  # read when torch is loaded
    from harness import spec as specs
    from harness.preload import preload

    preload(mock=False, more=["torch.export._trace", "transformers.exporters.exporter_dynamo"])
    root = cells.checkout(_ROOT.value)
    print(f"| `{_BACKEND.value}` | cell, CPU s | its runtime's own | ratio |\n| --- | --- | --- | --- |", flush=True)
    for path in [path for pattern in _MODELS.value for path in cells.built_specs(root, pattern, _BACKEND.value)]:
        work = functools.partial(measure, specs.load(path))
        found = forked.in_child(work, cpu_seconds=CPU_SECONDS, silent=True)
        name = path.parts[-2] + (f" (fails {found['failed']})" if found["failed"] else "")
        print(f"| {name} | {found['cell']:.1f} | {found['own']:.1f} | {found['cell'] / found['own']:.2f} |")


if __name__ == "__main__":
    sys.exit(app.run(main))
