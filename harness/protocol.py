"""Bazel's JSON worker protocol: one JSON object per line each way. Knows nothing of what is asked.

The fields are those of `worker_protocol.proto` in the Bazel sources. Singleplex is the case that every request has
the id 0.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any


class ProtocolError(ValueError):
    """A line that is no work request. The text says why."""


@dataclasses.dataclass(frozen=True)
class WorkRequest:
    """One request.

    Attributes:
      arguments: the command line of the action, `@params` expanded.
      request_id: 0 for singleplex; otherwise the answer must carry it.
      cancel: whether this asks to give up the earlier request of the same id.
      sandbox_dir: folder that every path of the request is relative to, itself relative to the worker's; empty
        outside multiplex sandboxing.
    """

    arguments: tuple[str, ...] = ()
    request_id: int = 0
    cancel: bool = False
    sandbox_dir: str = ""


@dataclasses.dataclass(frozen=True)
class WorkResponse:
    """One answer. `output` is shown to the person who builds."""

    request_id: int
    exit_code: int
    output: str = ""
    was_cancelled: bool = False

    def to_line(self) -> bytes:
        """Returns the answer as it is sent, with its newline."""
        body: dict[str, Any] = {"exitCode": self.exit_code, "output": self.output, "requestId": self.request_id}
        if self.was_cancelled:
            body["wasCancelled"] = True
        return json.dumps(body).encode("ascii") + b"\n"


def parse_request(line: bytes) -> WorkRequest:
    """Returns the request in `line`.

    Raises:
      ProtocolError: it is not JSON, or a field has the wrong type. Unknown fields are Bazel's to add.
    """
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"work request is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ProtocolError(f"work request is a {type(data).__name__}, not an object")
    fields = {
        "arguments": data.get("arguments", []),
        "requestId": data.get("requestId", 0),
        "cancel": data.get("cancel", False),
        "sandboxDir": data.get("sandboxDir", ""),
    }
    wanted = {"arguments": list, "requestId": int, "cancel": bool, "sandboxDir": str}
    wrong = [name for name, kind in wanted.items() if type(fields[name]) is not kind]
    if "arguments" not in wrong and not all(isinstance(argument, str) for argument in fields["arguments"]):
        wrong.append("arguments")
    if wrong:
        raise ProtocolError(f"work request has the wrong type in {', '.join(wrong)}")
    return WorkRequest(tuple(fields["arguments"]), fields["requestId"], fields["cancel"], fields["sandboxDir"])


class LineBuffer:
    """Cuts a stream of bytes into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Takes the next bytes; gives each complete line that is not blank, without its newline."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
