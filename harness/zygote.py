"""The parent of all runs: answers work requests by forking one supervisor for each.

It does nothing else, so that no run can hurt it: it stays at one thread, reads requests and the short answers of
supervisors, and knows neither specs nor verdicts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import selectors
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from harness import processes
from harness.protocol import LineBuffer, ProtocolError, WorkRequest, WorkResponse, parse_request
from harness.reporter import HarnessFault
from harness.supervise import Cancelled, Job, Setting, Signals, prove, remove_tree

FAULT = 1
"""Exit code of an action that has no verdict."""

ParseJob = Callable[[WorkRequest], Job]
"""Makes a job of a request's arguments; raises HarnessFault for arguments that are none."""


@dataclasses.dataclass
class _Active:
    """A request that a supervisor works on."""

    request_id: int
    pid: int
    scratch: Path
    cancelled: bool = False
    answer: bytes = b""


class Zygote:
    """Forks supervisors and collects their answers.

    Args:
      setting: what every run has in common.
      protocol_fds: descriptors that runs must not see.
    """

    def __init__(self, setting: Setting, protocol_fds: frozenset[int] = frozenset()) -> None:
        self._setting = dataclasses.replace(setting, keep_fds=processes.open_fds() - protocol_fds)
        self._active: dict[int, _Active] = {}
        self._ready: set[int] = set()
        self._signals = Signals()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._signals.fd, selectors.EVENT_READ)
        processes.become_subreaper()

    def run_one(self, job: Job) -> WorkResponse:
        """Returns the answer for one job, for an action that has no worker."""
        try:
            if refusal := self._start(0, job):
                return refusal
            while True:
                for response in self._wait():
                    return response
                if self._signals.terminated:
                    self._cancel_all()
        finally:
            self._shut_down()

    def serve(self, requests: int, responses: int, parse_job: ParseJob) -> None:
        """Answers requests until the stream of them ends or SIGTERM comes; then ends what still runs.

        Args:
          requests: descriptor to read from.
          responses: descriptor to write to.
        """
        lines = LineBuffer()
        self._selector.register(requests, selectors.EVENT_READ)
        try:
            while not self._signals.terminated:
                answers = self._wait()
                if requests in self._ready:
                    data = os.read(requests, 65536)
                    if not data:
                        return
                    for line in lines.feed(data):
                        answers += self._take(line, parse_job)
                for answer in answers:
                    _write_all(responses, answer.to_line())
        except BrokenPipeError:
            return
        finally:
            self._shut_down()

    def _take(self, line: bytes, parse_job: ParseJob) -> list[WorkResponse]:
        """Begins what a line asks for; returns what can be answered at once."""
        try:
            request = parse_request(line)
        except ProtocolError as error:
            return [WorkResponse(0, FAULT, f"modelgrid worker: {error}\n")]
        if request.cancel:
            self._cancel(request.request_id)
            return []
        try:
            refusal = self._start(request.request_id, parse_job(request))
        except HarnessFault as fault:
            return [WorkResponse(request.request_id, FAULT, f"modelgrid: {fault}\n")]
        return [refusal] if refusal else []

    def _start(self, request_id: int, job: Job) -> WorkResponse | None:
        """Forks a supervisor for the job; returns an answer only if that cannot be done."""
        if any(active.request_id == request_id for active in self._active.values()):
            return WorkResponse(request_id, FAULT, f"modelgrid worker: request {request_id} is already running\n")
        if processes.thread_count() != 1:
            return WorkResponse(
                request_id,
                FAULT,
                f"modelgrid worker: {processes.thread_count()} threads in the process that forks, where only one is "
                "safe; a library started them on import: see harness/preload.py\n",
            )
        try:
            scratch = Path(tempfile.mkdtemp(prefix="modelgrid-"))
        except OSError as error:
            return WorkResponse(request_id, FAULT, f"modelgrid: no temporary folder: {error}; make room\n")
        read_fd, write_fd = os.pipe()
        zygote = os.getpid()
        try:
            pid = processes.fork()
        except OSError as error:
            os.close(read_fd)
            remove_tree(scratch)
            return WorkResponse(request_id, FAULT, f"modelgrid: no process could be started: {error}\n")
        finally:
            if os.getpid() == zygote:
                os.close(write_fd)
        if pid == 0:
            _supervisor_main(job, self._setting, scratch, write_fd, zygote)
        self._active[read_fd] = _Active(request_id, pid, scratch)
        self._selector.register(read_fd, selectors.EVENT_READ)
        return None

    def _wait(self) -> list[WorkResponse]:
        """Waits until something happens; returns the answers that are now complete."""
        self._ready = {key.fd for key, _ in self._selector.select()}
        if self._signals.fd in self._ready:
            self._signals.drain()
        done = []
        for fd in self._ready & self._active.keys():
            data = os.read(fd, 65536)
            self._active[fd].answer += data
            if not data:
                done.append(self._finish(fd))
        return done

    def _finish(self, fd: int) -> WorkResponse:
        """Takes leave of a supervisor that closed its pipe."""
        active = self._active.pop(fd)
        self._selector.unregister(fd)
        os.close(fd)
        status = processes.wait(active.pid)
        if active.scratch.exists():
            remove_tree(active.scratch)
        if active.cancelled:
            return WorkResponse(active.request_id, FAULT, was_cancelled=True)
        try:
            answer = json.loads(active.answer)
            return WorkResponse(active.request_id, answer["exit_code"], answer["output"])
        except (ValueError, KeyError, TypeError):
            self._end_strays()
            code = os.waitstatus_to_exitcode(status)
            return WorkResponse(
                active.request_id, FAULT, f"modelgrid worker: the supervisor of a run ended early (status {code})\n"
            )

    def _end_strays(self) -> None:
        """Ends what a supervisor that died left behind: it became this process's, as nothing else does."""
        with contextlib.suppress(TimeoutError):
            processes.kill_descendants(spare=frozenset(active.pid for active in self._active.values()))

    def _cancel(self, request_id: int) -> None:
        for active in self._active.values():
            if active.request_id == request_id:
                active.cancelled = True
                os.kill(active.pid, signal.SIGTERM)

    def _cancel_all(self) -> None:
        for active in self._active.values():
            self._cancel(active.request_id)

    def _shut_down(self) -> None:
        """Ends what still runs and waits until it has cleaned up."""
        self._cancel_all()
        while self._active:
            self._wait()
        self._selector.close()
        self._signals.close()


def _supervisor_main(job: Job, setting: Setting, scratch: Path, answer_fd: int, zygote: int) -> NoReturn:
    """The supervisor's whole life: a session of its own, one job, one answer."""
    code, output = FAULT, ""
    try:
        os.setsid()
        for fd in processes.open_fds() - setting.keep_fds - {0, 1, 2, answer_fd}:
            os.close(fd)
        signals = Signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        processes.die_with_parent(zygote, signal.SIGTERM)
        processes.become_subreaper()
        processes.unblock_signals()
        prove(job, setting, scratch, signals)
        code = 0
    except HarnessFault as fault:
        output = f"modelgrid: {fault}\n"
    except Cancelled:
        output = "cancelled\n"
    except BaseException:  # noqa: BLE001 - nothing of the supervisor may return into the zygote's code
        output = f"modelgrid: fault of the harness:\n{traceback.format_exc()}"
    try:
        processes.kill_descendants()
        remove_tree(scratch)
        _write_all(answer_fd, json.dumps({"exit_code": code, "output": output}).encode("ascii"))
    except (OSError, TimeoutError):
        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(0)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
