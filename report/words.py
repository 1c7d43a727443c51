"""The words, marks and order of statuses and levels that every form of the report shares."""

from __future__ import annotations

import functools
import re

from harness.verdict import GREEN, LEVELS, printable
from report import terminal

MARKS = {
    "passed": "●",
    "expected_failure": "◐",
    "failed": "✕",
    "flaky": "≈",
    "unexpected_pass": "▲",
    "imported": "◆",
    "imported_stale": "◇",
    "no_hardware": "○",
    "nightly": "◌",
    "absent": "–",
    "no_package": "□",
    "not_declared": "·",
}
"""A shape for each status: colour is never the only sign."""

MEANINGS = {
    "passed": "every check passed",
    "expected_failure": "fails as its declaration expects, with a reason and a date of expiry",
    "failed": "a check failed, twice alike",
    "flaky": "two runs disagree",
    "unexpected_pass": "passes although its declaration expects a failure",
    "imported": "every check passed on another machine; brought here by the bundle",
    "imported_stale": "ran on another machine, before its declaration or harness changed; counts for nothing",
    "no_hardware": "declared; this build has no device for it",
    "nightly": "declared; runs with --config=nightly",
    "absent": "no implementation exists",
    "no_package": "needs a package that no environment can have",
    "not_declared": "no cell on that backend",
}

_ORDER = (
    "failed",
    "flaky",
    "unexpected_pass",
    "not_declared",
    "absent",
    "no_package",
    "no_hardware",
    "nightly",
    "imported_stale",
    "expected_failure",
    "imported",
    "passed",
)


def rank(status: str, level: str) -> tuple[bool, int, int]:
    """Returns what orders cells of backends that count from worse to better: covered, then depth, then status."""
    depth = LEVELS.index(level) if level in LEVELS else -1
    return (status in GREEN or status == "imported") and depth >= LEVELS.index("forward"), depth, _ORDER.index(status)


def spaced(status: str) -> str:
    """Returns the status as people write it."""
    return status.replace("_", " ")


@functools.cache
def safe_text(text: str) -> str:
    """Returns untrusted `text` with its lines kept, and control, direction and invisible characters as escapes."""
    return "\n".join(terminal.safe(line) for line in printable(text).splitlines())


_MARKDOWN = re.compile(r"([\\`*_\[\]#|~<>@$]|:(?=\w+:))")


def markdown(text: str) -> str:
    """Returns untrusted `text` as one line of Markdown that shows it and means nothing else."""
    return _MARKDOWN.sub(r"\\\1", terminal.safe(text)).replace("&", "&amp;")


def code(text: str) -> str:
    """Returns untrusted `text` as a code span of Markdown that fits into a table."""
    return f"`{terminal.safe(text).replace('`', chr(0x2019)).replace('|', chr(0xA6))}`"
