"""Runs a function in a forked child and brings its answer back: whatever a model does there, the caller goes on."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from typing import Any

ADDRESS_SPACE = 16 << 30
"""Bytes: a child that asks for more fails, and not the machine."""


class ChildFailed(Exception):  # noqa: N818 - says what happened
    """The child gave no answer. The message is its exception's type and text, or how the process ended."""


def in_child(work: Callable[[], Any], *, cpu_seconds: int, silent: bool = False) -> Any:
    """Returns what `work` returns in a forked child, as JSON keeps it.

    Args:
      work: what to run.
      cpu_seconds: after so many the child is killed.
      silent: whether what it prints is thrown away.

    Raises:
      ChildFailed: it raised, or its process ended before it had an answer.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        with os.fdopen(write, "w", encoding="utf-8", errors="replace") as file:
            json.dump(_answer(work, cpu_seconds, silent), file)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as file:
        text = file.read()
    _, status = os.waitpid(pid, 0)
    if not text:
        raise ChildFailed(f"the process ended with status {status}")
    answer = json.loads(text)
    if "error" in answer:
        raise ChildFailed(answer["error"])
    return answer["value"]


def _answer(work: Callable[[], Any], cpu_seconds: int, silent: bool) -> dict[str, Any]:
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        if silent:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 1)
            os.dup2(null, 2)
        return {"value": work()}
    except BaseException as error:  # noqa: BLE001 - whatever it raises is the caller's to judge
        return {"error": f"{type(error).__name__}: {error}"}
