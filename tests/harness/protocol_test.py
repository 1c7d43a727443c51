"""Bazel's JSON worker protocol."""

from __future__ import annotations

import json

import pytest

from harness.protocol import LineBuffer, ProtocolError, WorkRequest, WorkResponse, parse_request


def test_a_singleplex_request_has_the_id_zero() -> None:
    line = b'{"arguments":["--spec=a"],"inputs":[{"path":"a","digest":"eA=="}]}'
    assert parse_request(line) == WorkRequest(arguments=("--spec=a",), request_id=0)


def test_a_multiplex_request_has_id_and_sandbox() -> None:
    line = b'{"arguments":[],"requestId":7,"sandboxDir":"__sandbox/7","verbosity":10}'
    assert parse_request(line) == WorkRequest(request_id=7, sandbox_dir="__sandbox/7")


def test_a_cancel_request_names_the_request() -> None:
    assert parse_request(b'{"requestId":7,"cancel":true}') == WorkRequest(request_id=7, cancel=True)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"3", "is a int, not an object"),
        (b'{"arguments":"x"}', "wrong type in arguments"),
        (b'{"arguments":[1]}', "wrong type in arguments"),
        (b'{"requestId":true}', "wrong type in requestId"),
        (b'{"requestId":"1","cancel":1,"sandboxDir":2}', "wrong type in requestId, cancel, sandboxDir"),
    ],
)
def test_what_is_no_request_is_refused(line: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        parse_request(line)


def test_a_response_is_one_line_of_ascii() -> None:
    line = WorkResponse(3, 1, "täglich\nzwei Zeilen\udcff").to_line()
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert json.loads(line) == {"exitCode": 1, "output": "täglich\nzwei Zeilen\udcff", "requestId": 3}


def test_a_response_to_a_cancelled_request_says_so() -> None:
    assert json.loads(WorkResponse(3, 1, was_cancelled=True).to_line())["wasCancelled"] is True


def test_lines_are_cut_wherever_the_bytes_break() -> None:
    buffer = LineBuffer()
    assert list(buffer.feed(b"on")) == []
    assert list(buffer.feed(b"e\n\n \ntwo\nthr")) == [b"one", b"two"]
    assert list(buffer.feed(b"ee\n")) == [b"three"]
