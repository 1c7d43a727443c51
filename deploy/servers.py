"""Starts servers one after the other, each when the one before it is really up, and stops them in reverse.

They run as long as the program that starts them: Ctrl-C, a signal or its end ends them too. What they say goes to a log
file for each; the first that ends by itself ends all, with the end of its log.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn

_START_SECONDS = 300.0
_STOP_SECONDS = 20.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class ServerError(Exception):
    """A server that does not start, or that ended. The message says why, and what to do."""


@dataclasses.dataclass(frozen=True)
class Server:
    """One server.

    Attributes:
      name: for messages, and for its log's file name.
      command: its command line; it stays in the foreground.
      missing: returns what is still missing for it to be up, and nothing once it is.
      env: added to the environment.
    """

    name: str
    command: Sequence[str]
    missing: Callable[[], str]
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Servers:
    """The running servers; as a context, all are stopped at its end.

    Args:
      logs: folder for their logs.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[tuple[Server, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        while self._running:
            _, process = self._running.pop()
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, server: Server) -> None:
        """Starts `server` and returns when it is up.

        Raises:
          ServerError: it ended, or is not up after five minutes.
        """
        log = self._log(server)
        with log.open("wb") as output:
            process = subprocess.Popen(
                server.command,
                env={**os.environ, **server.env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for this program, which stops them in order; if it is killed they are not left behind.
                start_new_session=True,
                preexec_fn=lambda: _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),
            )
        self._running.append((server, process))
        deadline = time.monotonic() + _START_SECONDS
        while missing := server.missing():
            self.check()
            if time.monotonic() > deadline:
                raise ServerError(f"{server.name} is not up after {_START_SECONDS:.0f} s: {missing}\n{_tail(log)}")
            time.sleep(0.1)
        # An older server on the same port answers too.
        self.check()
        print(f"{server.name} is up", file=sys.stderr, flush=True)

    def check(self) -> None:
        """Raises ServerError if a server ended."""
        for server, process in self._running:
            if process.poll() is not None:
                raise ServerError(f"{server.name} ended ({process.returncode}):\n{_tail(self._log(server))}")

    def wait(self) -> NoReturn:
        """Waits until a server ends, which is an error."""
        while True:
            self.check()
            time.sleep(0.5)

    def _log(self, server: Server) -> Path:
        return self._logs / f"{server.name}.log"


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-20:]) or "it said nothing"


def listens(port: int) -> str:
    """Returns what is missing for a server on `port` of this machine to take connections."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError as error:
        return str(error)
    return ""


def run(main: Callable[[], None]) -> None:
    """Runs a program that serves until it is told to end; its errors are messages and not tracebacks."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        main()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    except (ServerError, OSError) as error:
        sys.exit(str(error))


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    # Unwinds like Ctrl-C, so that the servers end too.
    raise KeyboardInterrupt
