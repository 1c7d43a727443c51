"""The `inductor` runtime: `torch.compile`, whose code for the CPU is C++ that a compiler of the host translates.

A model is compiled as one graph with every size dynamic. Where Dynamo cannot have one, it is compiled in parts, and
what lies between them is counted. What Dynamo would leave to eager mode without a word is an error.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch._dynamo import config as dynamo_config
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException, Unsupported, UserError
from torch._dynamo.utils import counters
from torch._inductor import config as inductor_config
from torch._inductor.compile_fx import compile_fx
from torch._inductor.exc import CppCompileError
from transformers.modeling_utils import PreTrainedModel

from harness.reporter import HarnessFault
from harness.runtimes import Prepared, StageError
from harness.runtimes.eager import Eager, device_and_dtype
from harness.spec import Backend

COMPILERS = ("g++", "clang++")
"""The first that is there compiles: the one that `toolchains/host/identify.py` put into the device's identity."""

FOLDERS = "/usr/bin:/bin:/usr/local/bin"

# What Dynamo and Inductor say behind the cause, up to the place in the model's code.
_ADVICE = re.compile(r"\n  (Hint|args\[0\]):.*?(?=\n\nfrom user code|\Z)|\n\nSet TORCHDYNAMO_VERBOSE.*", re.DOTALL)

_HEADER = "torch/include/torch/csrc/inductor/cpp_prefix.h"


class CompileError(Exception):
    """What Dynamo, Inductor or the C++ compiler refused, without command lines, arguments and advice."""


class LeftToEagerMode(Exception):  # noqa: N818 - what happened, and no error to PyTorch
    """Dynamo handed the model, or for other inputs a part of it, back to eager mode."""


class Inductor(Eager):
    """Runs models as compiled code."""

    def prepare(
        self, model: PreTrainedModel, inputs: Mapping[str, Any], others: Mapping[str, Any] | None = None
    ) -> Prepared:
        """Returns the model, which is compiled at its first call, and again for inputs that the code does not fit.

        It counts `graphs` of the first call, `recompiles` of later ones, `graph_breaks`, and `eager_frames`: functions
        that Dynamo gave up. Calling it raises StageError where it cannot be compiled or does not run.
        """
        torch._dynamo.reset()  # code of an earlier model would be among this one's
        runs = 0

        def translate(graph: torch.fx.GraphModule, examples: Sequence[Any]) -> Callable[..., Any]:
            code = compile_fx(graph, list(examples))
            prepared.counts["recompiles" if prepared.calls else "graphs"] += 1

            def run(*values: Any) -> Any:
                nonlocal runs
                runs += 1
                return code(*values)

            return run

        whole = torch.compile(model, backend=translate, fullgraph=True, dynamic=True)
        parts = torch.compile(model, backend=translate, dynamic=True)
        in_parts = False

        def run_parts(given: Mapping[str, Any]) -> tuple[Any, bool]:
            """Returns the outputs, and whether a function was left to eager mode."""
            breaks, frames = _graph_breaks(), _eager_frames()
            outputs = parts(**given)
            prepared.counts["graph_breaks"] += _graph_breaks() - breaks
            prepared.counts["eager_frames"] += _eager_frames() - frames
            return outputs, _eager_frames() > frames

        def call(**given: Any) -> Any:
            nonlocal in_parts
            runs_before, left = runs, False
            try:
                if not in_parts:
                    try:
                        outputs = whole(**given)
                    except (Unsupported, UserError):
                        in_parts = True
                if in_parts:
                    outputs, left = run_parts(given)
            except Exception as error:
                raise _staged(error) from error
            if runs == runs_before:
                raise StageError("run", LeftToEagerMode("no compiled code ran"))
            if prepared.calls and left:
                raise StageError("run", LeftToEagerMode("a function was given up that was not before"))
            return outputs

        prepared = Prepared(call)
        prepared.counts.update(graphs=0, graph_breaks=0, eager_frames=0, recompiles=0)
        return prepared


def _graph_breaks() -> int:
    return sum(counters["graph_break"].values())


def _eager_frames() -> int:
    return int(counters["frames"]["total"] - counters["frames"]["ok"])


def _staged(error: Exception) -> StageError:
    """Returns what happened with its stage: all that Dynamo raises by itself, it raises while it compiles."""
    if not isinstance(error, (TorchDynamoException, FailOnRecompileLimitHit)):
        return StageError("run", error)
    cause: BaseException = error
    while (inner := getattr(cause, "inner_exception", None)) is not None:
        cause = inner
    text = str(cause)
    if isinstance(cause, CppCompileError):
        text = "\n".join(line for line in cause.output.splitlines() if "error:" in line) or text
    return StageError("compile", CompileError(f"{type(cause).__name__}: {_ADVICE.sub('', text)}"))


def find_compiler(folders: str = FOLDERS) -> str:
    """Returns the path of the C++ compiler.

    Raises:
      HarnessFault: there is none.
    """
    found = next(filter(None, (shutil.which(name, path=folders) for name in COMPILERS)), None)
    if found is None:
        raise HarnessFault(
            f"runtime 'inductor': no C++ compiler ({' or '.join(COMPILERS)}) in {folders}: install one (Debian: g++)"
        )
    return found


def find_headers(path: Sequence[str]) -> Path:
    """Returns the folder of PyTorch's C++ headers, which the environments leave out and `packages` has.

    Raises:
      HarnessFault: it is nowhere on `path`.
    """
    for entry in path:
        if Path(entry, _HEADER).is_file():
            return Path(entry, "torch/include").absolute()
    raise HarnessFault(
        f"runtime 'inductor': no {_HEADER} on the path: the backend's row in toolchains/backends.bzl needs "
        'packages = "inductor"'
    )


@functools.cache
def _set_up() -> tempfile.TemporaryDirectory[str]:
    """Makes this process compile for itself: with one thread, and in a folder of its own that is gone when it ends."""
    inductor_config.cpp.cxx = (None, find_compiler())
    # An action has no PATH, and the compiler looks there for its linker.
    os.environ["PATH"] = FOLDERS
    # Both compilers read it. `-I` would have to come from PyTorch, which knows its own folder alone.
    os.environ["CPLUS_INCLUDE_PATH"] = str(find_headers(sys.path))
    folder = tempfile.TemporaryDirectory(prefix="modelgrid-")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder.name
    inductor_config.compile_threads = 1
    # Else a program is compiled and run for each instruction set, to see whether the processor does as it says.
    inductor_config.cpp.vec_isa_ok = True
    # They would lie in the host's /tmp whatever the folder is, shared by all runs, and their making needs `openssl`.
    # Each kernel reads the headers itself instead: bert took 42 CPU seconds and not 34.
    inductor_config.cpp_cache_precompile_headers = False
    # Sizes are dynamic, and the model's own numbers are not: `dynamic=True` compiles it twice to find that out.
    dynamo_config.specialize_float = True
    # Else Dynamo leaves a function that it compiled too often to eager mode.
    dynamo_config.fail_on_recompile_limit_hit = True
    return folder


def make(backend: Backend) -> Inductor:
    """Returns the adapter; raises HarnessFault as `device_and_dtype` does, and without compiler or headers."""
    _set_up()
    return Inductor(*device_and_dtype(backend))
