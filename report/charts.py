"""Geometry of the page's charts. What they look like is for the template and the style sheet."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence

from harness.verdict import LEVELS
from report.coverage_format import Summary


@dataclasses.dataclass(frozen=True)
class Segment:
    """One part of a bar: of a level, from `x` on, both in percent of the bar."""

    level: str
    count: int
    x: float
    width: float


def bar(summary: Summary) -> tuple[Segment, ...]:
    """Returns the levels of the models of `summary`, deepest first; none without a model."""
    segments, done = [], 0
    for level in (*reversed(LEVELS), "mock"):
        count = summary.levels.get(level, 0)
        if count:
            segments.append(
                Segment(level, count, round(100 * done / summary.models, 3), round(100 * count / summary.models, 3))
            )
            done += count
    return tuple(segments)


@dataclasses.dataclass(frozen=True)
class Point:
    """One value of a line, where it stands in the picture."""

    x: float
    y: float
    date: str
    value: int


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of the trend.

    Attributes:
      label_y: where its label stands: near its end, and apart from the other labels.
    """

    name: str
    points: tuple[Point, ...]
    label_y: float


@dataclasses.dataclass(frozen=True)
class Trend:
    """Lines over time in a picture `width` x `height`, with lines of the grid (y, value) and dates below (x, date)."""

    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, int], ...]
    dates: tuple[tuple[float, str], ...]
    width: int = 460
    height: int = 190


_LEFT, _RIGHT, _TOP, _BOTTOM = 32, 150, 12, 26
_LABEL = 14


def trend(rows: Sequence[tuple[str, Mapping[str, int]]]) -> Trend | None:
    """Returns the trend of `rows`, each a date `YYYY-MM-DD` and its values by name; None without a row."""
    if not rows:
        return None
    width, height = Trend((), (), ()).width, Trend((), (), ()).height
    days = [datetime.date.fromisoformat(date).toordinal() for date, _ in rows]
    span = max(days) - min(days)
    top = max(1, *(value for _, values in rows for value in values.values()))
    step = next(size * int(10**power) for power in range(9) for size in (1, 2, 5) if size * int(10**power) * 4 >= top)
    top = step * -(-top // step)

    def x(day: int) -> float:
        share = (day - days[0]) / span if span else 1.0
        return round(_LEFT + share * (width - _LEFT - _RIGHT), 1)

    def y(value: int) -> float:
        return round(height - _BOTTOM - value / top * (height - _TOP - _BOTTOM), 1)

    dates = {x(day): rows[index][0] for index, day in enumerate(days) if index in (0, len(days) - 1)}
    lines: list[Line] = []
    last = 0.0
    for name in sorted(rows[-1][1], key=lambda name: -rows[-1][1][name]):
        points = tuple(
            Point(x(day), y(values[name]), date, values[name])
            for day, (date, values) in zip(days, rows, strict=True)
            if name in values
        )
        last = max(points[-1].y, last + _LABEL) if lines else points[-1].y
        lines.append(Line(name, points, last))
    return Trend(
        lines=tuple(lines),
        ticks=tuple((y(value), value) for value in range(0, top + 1, step)),
        dates=tuple(dates.items()),
    )
