"""Compiles the modules named on standard input into `__pycache__`, with bytes that depend on nothing but the sources.

Run as a fresh process per batch: what `marshal` writes depends on which strings the process already holds, so a process
that compiled other files before would write other bytes for the same source, and no cache would be shared.
"""

from __future__ import annotations

import importlib.util
import py_compile
import sys
from pathlib import Path


def main(root: str, mode: str) -> None:
    """Compiles each module (a path relative to `root` a line on standard input) with PEP 552's invalidation `mode`.

    A file that is no valid Python for this interpreter (a template, a test of syntax errors) is left uncompiled, as pip
    leaves it. The recorded file name is the relative path; the interpreter replaces it on import.
    """
    for line in sys.stdin:
        path = line.rstrip("\n")
        source = Path(root, path)
        try:
            py_compile.compile(
                str(source),
                cfile=importlib.util.cache_from_source(str(source), optimization=""),
                dfile=path,
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode[mode.replace("-", "_").upper()],
            )
        except (py_compile.PyCompileError, UnicodeDecodeError):
            continue


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
