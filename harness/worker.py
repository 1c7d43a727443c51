"""Entry of the action that proves a cell, as a persistent worker or as one run. Runs nothing itself.

Only the standard library's argparse parses the flags: importing absl would cost each start more than it gives.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from harness.protocol import WorkRequest
    from harness.supervise import Job, Setting
    from harness.zygote import Zygote

_FOREIGN = ("PYTHON", "HF_", "HUGGINGFACE_", "TRANSFORMERS_", "TORCH", "PYTORCH_", "OMP_", "MKL_", "OPENBLAS_", "KMP_")
_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DEACTIVATE_ASYNC_LOAD": "1",
    "HF_HOME": "/nonexistent/modelgrid",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}
_FILES = ("spec", "device", "verdict", "junit", "log", "timings", "observed")
_OPTIONAL = ("reference", "known_failures", "unused")


def _startup_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="worker.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("--root", required=True, help="folder that holds harness/")
    parser.add_argument("--site", default="", help="folder of the environment's packages")
    parser.add_argument("--transformers", default="", help="folder that holds transformers/")
    parser.add_argument("--packages", default="", help="folder of what the runtime needs beside them")
    parser.add_argument("--mock", action="store_true", help="serve mock cells: no torch, no transformers")
    parser.add_argument("--import", action="append", default=[], dest="imports", help="module that the runtime needs")
    parser.add_argument("--persistent_worker", action="store_true", help="answer work requests on standard input")
    return parser


def import_path(arguments: argparse.Namespace, base: str) -> list[str]:
    """Returns the absolute folders that Python imports from, those of the harness last: it may hide no package.

    Links are kept: a sandbox is made of them.
    """
    names = (arguments.transformers, arguments.site, arguments.packages, arguments.root)
    return [os.path.normpath(os.path.join(base, name)) for name in names if name]


def parse_job(arguments: Sequence[str], base: str, path: Sequence[str] = ()) -> Job:
    """Returns the job that the per-run arguments describe.

    Args:
      arguments: `--spec=…` and so on, or `@FILE` / `--flagfile=FILE` with one of them per line.
      base: folder that relative paths start from.
      path: what the child puts before its `sys.path`.

    Raises:
      HarnessFault: an argument is missing, unknown or unreadable.
    """
    from pathlib import Path

    from harness.reporter import HarnessFault
    from harness.supervise import Job

    found: dict[str, Path] = {}
    given: dict[str, str] = {}
    pending = list(arguments)
    while pending:
        argument = pending.pop(0)
        for prefix in ("@", "--flagfile="):
            if argument.startswith(prefix):
                file = os.path.join(base, argument.removeprefix(prefix))
                try:
                    pending[:0] = Path(file).read_text(encoding="utf-8").splitlines()
                except (OSError, UnicodeDecodeError) as error:
                    raise HarnessFault(f"the params file cannot be read: {error}") from error
                break
        else:
            name, _, value = argument.removeprefix("--").partition("=")
            known = (*_FILES, *_OPTIONAL)
            if not argument.startswith("--") or name not in known or not value:
                raise HarnessFault(f"argument {argument!r} is none of {', '.join(f'--{name}=PATH' for name in known)}")
            found[name] = Path(os.path.normpath(os.path.join(base, value)))
            given[name] = value
    missing = [f"--{name}=PATH" for name in _FILES if name not in found]
    if missing:
        raise HarnessFault(f"missing arguments: {', '.join(missing)}")
    return Job(**found, known_failures_given=given.get("known_failures", ""), import_path=tuple(path))


def _begin_again_clean(argv: Sequence[str]) -> None:
    """Replaces this process by one with a fixed hash seed and no foreign settings, unless it is that already.

    The order of sets of strings depends on the seed, which isolated mode (`-I`) cannot be given: `-P` and `-s` with a
    cleaned environment isolate as well.
    """
    if not sys.flags.hash_randomization and all(os.environ.get(name) == value for name, value in _ENVIRONMENT.items()):
        return
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    flags = ["-s", "-S", "-P", "-B", "-X", "utf8"]
    os.execve(sys.executable, [sys.executable, *flags, *argv], {**kept, **_ENVIRONMENT})


def _take_protocol_streams() -> tuple[int, int]:
    """Moves standard input and output away from whoever might touch them; returns their new numbers."""
    requests, responses = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    return requests, responses


def main(argv: Sequence[str], setting: Setting | None = None) -> int:
    """Runs the program; returns its exit code: 0 whenever a verdict was written.

    Args:
      setting: what a run does; None for the checks of `harness.cell`. Tests have others.
    """
    _begin_again_clean(argv)
    arguments, rest = _startup_parser().parse_known_args(argv[1:])
    base = os.getcwd()
    standard = [entry for entry in sys.path if entry not in ("", os.path.dirname(os.path.abspath(argv[0])))]
    sys.path[:] = standard + import_path(arguments, base)
    requests, responses = _take_protocol_streams()

    from harness.preload import preload
    from harness.reporter import HarnessFault
    from harness.supervise import Setting, core_checks, run_cell
    from harness.zygote import Zygote

    try:
        preload(mock=arguments.mock, more=arguments.imports)
        zygote = Zygote(setting or Setting(run_cell, core_checks), frozenset({requests, responses}))
        if arguments.persistent_worker:
            return serve(zygote, arguments, base, requests, responses)
        response = zygote.run_one(parse_job(rest, base))
    except HarnessFault as fault:
        if arguments.persistent_worker:
            _answer_with(str(fault), requests, responses)
        print(f"modelgrid: {fault}", file=sys.stderr)
        return 1
    sys.stderr.write(response.output)
    return response.exit_code


def serve(zygote: Zygote, arguments: argparse.Namespace, base: str, requests: int, responses: int) -> int:
    """Answers work requests until there are no more; returns 0."""

    def job_of(request: WorkRequest) -> Job:
        if not request.sandbox_dir:
            return parse_job(request.arguments, base)
        inside = os.path.join(base, request.sandbox_dir)
        return parse_job(request.arguments, inside, import_path(arguments, inside))

    zygote.serve(requests, responses, job_of)
    return 0


def _answer_with(fault: str, requests: int, responses: int) -> None:
    """Answers the first request with a fault of the start, so that Bazel shows it where a person looks."""
    from harness.protocol import LineBuffer, WorkResponse, parse_request

    lines = LineBuffer()
    while data := os.read(requests, 65536):
        for line in lines.feed(data):
            os.write(responses, WorkResponse(parse_request(line).request_id, 1, f"modelgrid: {fault}\n").to_line())
            return


def _end(code: int) -> NoReturn:
    """Ends without tearing down the interpreter: that takes torch longer than many a run."""
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _end(main(sys.argv))
