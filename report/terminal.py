"""Tables and lines for a terminal of any width, with or without colours, that untrusted text cannot break out of.

What they show is for `report.coverage` and `report.declared` to say.
"""

from __future__ import annotations

import io
import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import TextIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.verdict import printable

STYLES = {
    "passed": "green",
    "expected_failure": "yellow",
    "failed": "bold red",
    "flaky": "bold red",
    "unexpected_pass": "bold red",
    "imported": "cyan",
    "imported_stale": "dim",
    "no_hardware": "dim",
    "nightly": "dim",
    "absent": "dim",
    "no_package": "dim",
    "not_declared": "dim",
}
"""Colour is never the only sign: each status has its own word too."""

PICTURE_WIDTH = 80

_SVG_FONT_FACES = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)


def safe(text: str) -> str:
    """Returns `text` as one line without control, direction and invisible characters, which it shows as escapes."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    line = " ".join(printable(text).split())
    return "".join(
        f"\\u{ord(char):04x}" if unicodedata.category(char) in ("Cf", "Zl", "Zp", "Co") else char for char in line
    )


def plain(text: str, style: str = "") -> Text:
    """Returns `text` for rich, made safe and never read as markup."""
    return Text(safe(text), style=style)


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[Text | str]], numbers: Collection[str] = ()
) -> Table:
    """Returns a table of text, which may wrap, and numbers, which are flush right and never do.

    Args:
      title: the table's title.
      columns: headers.
      rows: cells; each a string, or a Text that is safe already.
      numbers: headers of the columns that hold numbers.
    """
    result = Table(
        title=plain(title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for header in columns:
        if header in numbers:
            result.add_column(plain(header), justify="right", no_wrap=True)
        else:
            result.add_column(plain(header), overflow="fold")
    for row in rows:
        result.add_row(*(item if isinstance(item, Text) else plain(item) for item in row))
    return result


def show(parts: Sequence[RenderableType], stream: TextIO | None = None) -> None:
    """Prints `parts` on `stream`, standard output by default.

    rich finds the width and whether there are colours: `NO_COLOR`, `TERM=dumb`, `COLUMNS` and pipes are respected.
    """
    if stream is None and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # A terminal without a letter gets its number instead.
    Console(file=stream or sys.stdout, highlight=False, emoji=False, markup=False).print(Group(*parts))


def picture(parts: Sequence[RenderableType], title: str) -> str:
    """Returns `parts` as an SVG picture of a terminal 80 columns wide. It names no font of another server."""
    console = Console(
        file=io.StringIO(),
        record=True,
        width=PICTURE_WIDTH,
        force_terminal=True,
        color_system="truecolor",
        no_color=False,
        legacy_windows=False,
        highlight=False,
        emoji=False,
        markup=False,
    )
    console.print(Group(*parts))
    return _SVG_FONT_FACES.sub("", console.export_svg(title=safe(title), unique_id="modelgrid"))
