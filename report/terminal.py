"""Tables and lines for a terminal of any width, with or without colours, that untrusted text cannot break out of.

What they show is for `report.coverage` and `report.declared` to say.
"""

from __future__ import annotations

import io
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
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
    "no_hardware": "dim",
    "absent": "dim",
    "not_declared": "dim",
}
"""Colour is never the only sign: each status has its own word too."""

PICTURE_WIDTH = 80

_SVG_FONT_FACES = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)


def safe(text: str) -> str:
    """Returns `text` as one line without control, direction and invisible characters, which it shows as escapes."""
    line = " ".join(printable(text).split())
    return "".join(
        f"\\u{ord(char):04x}" if unicodedata.category(char) in ("Cf", "Zl", "Zp", "Co") else char for char in line
    )


def plain(text: str, style: str = "") -> Text:
    """Returns `text` for rich, made safe and never read as markup."""
    return Text(safe(text), style=style)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Text | str]], left: int = 1) -> Table:
    """Returns a table whose first `left` columns are text and whose others are numbers, flush right.

    Args:
      title: the table's title.
      columns: headers.
      rows: cells; each a string, or a Text that is safe already.
      left: number of columns that are flush left. They may wrap, numbers never do.
    """
    result = Table(
        title=plain(title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for index, header in enumerate(columns):
        if index < left:
            result.add_column(plain(header), overflow="fold")
        else:
            result.add_column(plain(header), justify="right", no_wrap=True)
    for row in rows:
        result.add_row(*(item if isinstance(item, Text) else plain(item) for item in row))
    return result


def show(parts: Sequence[RenderableType], stream: TextIO | None = None) -> None:
    """Prints `parts` on `stream`, standard output by default.

    rich finds the width and whether there are colours: `NO_COLOR`, `TERM=dumb`, `COLUMNS` and pipes are respected.
    """
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
