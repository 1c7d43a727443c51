"""Runs a cell's checks in the foreground for a person: `bazel run //models/decoder/llama:cpu -- -k cache --pdb`.

Everything after the first flags goes to pytest. No verdict is written and nothing is cached; what counts is the
action's own run.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Returns our flags and what is left for pytest."""
    parser = argparse.ArgumentParser(prog="live", allow_abbrev=False, add_help=False)
    parser.add_argument("--root", required=True, help="the folder that holds harness/")
    parser.add_argument("--site", required=True, help="the environment's packages")
    parser.add_argument("--transformers", required=True, help="the folder that holds transformers/")
    parser.add_argument("--packages", default="", help="what the runtime needs beside them")
    parser.add_argument("--spec", required=True, type=Path, help="the cell's spec")
    parser.add_argument("--reference", type=Path, help="the recorded outputs")
    return parser.parse_known_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Returns pytest's exit status; 0 after a mock run, whose lines say what failed."""
    flags, rest = parse(arguments)
    # Ours last: the harness may hide no package. The script's own folder would let `harness/spec.py` pass as `spec`.
    folders = [os.path.abspath(it) for it in (flags.site, flags.transformers, flags.packages, flags.root) if it]
    own = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [*(entry for entry in sys.path if os.path.abspath(entry or ".") != own), *folders]
    os.environ.update(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", HF_HUB_OFFLINE="1")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # as in the worker: sums in another order would be other numbers

    from harness import cell
    from harness import reference as references
    from harness import spec as specs
    from harness.reporter import PrintReporter

    spec = specs.load(flags.spec)
    if flags.reference is not None:
        recorded = references.load(flags.reference, spec.label, spec.environment)
        spec = dataclasses.replace(spec, reference=recorded)
    if spec.backend.runtime == "mock":
        cell.run(spec, PrintReporter())
        return 0
    import pytest

    from harness.checking import CheckPlugin

    plugin = CheckPlugin(cell.Cell(spec), PrintReporter(), foreground=True)
    given = [*cell.pytest_arguments(cell.check_files(spec.checks), quiet=False), *rest]
    return int(pytest.main(given, plugins=[plugin]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
