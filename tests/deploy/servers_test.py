"""Servers start in order, are waited for, and end with the program that started them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deploy import servers
from deploy.cache import configure
from deploy.servers import Server, ServerError, Servers

WAITS = [sys.executable, "-c", "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"]


def _server(name: str, sign: Path) -> Server:
    return Server(name, [*WAITS, str(sign)], lambda: "" if sign.exists() else "no sign of it")


def test_each_is_up_before_the_next_and_none_is_left(tmp_path: Path) -> None:
    with Servers(tmp_path) as running:
        running.start(_server("one", tmp_path / "1"))
        assert (tmp_path / "1").exists()
        running.start(_server("two", tmp_path / "2"))
        running.check()
        processes = [process for _, process in running._running]
    assert all(process.poll() is not None for process in processes)


def test_what_ends_by_itself_is_named_with_its_last_words(tmp_path: Path) -> None:
    last = [sys.executable, "-c", "raise SystemExit('the port is taken')"]
    with Servers(tmp_path) as running, pytest.raises(ServerError, match=r"one ended \(1\):\nthe port is taken"):
        running.start(Server("one", last, lambda: "not up"))


def test_what_does_not_come_up_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_START_SECONDS", 0.0)
    with Servers(tmp_path) as running, pytest.raises(ServerError, match="one is not up after 0 s: no answer"):
        running.start(Server("one", [*WAITS, str(tmp_path / "1")], lambda: "no answer"))


def test_password_stays_the_same_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    first = configure(tmp_path, tmp_path / "store", 1)
    assert configure(tmp_path, tmp_path / "store", 2) == first
    assert first in (tmp_path / "writer.bazelrc").read_text(encoding="utf-8")
    assert first not in (tmp_path / "reader.bazelrc").read_text(encoding="utf-8")
    assert first not in (tmp_path / "passwords").read_text(encoding="utf-8")
    for name in ("password", "passwords", "writer.bazelrc"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
