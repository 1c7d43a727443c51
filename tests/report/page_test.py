"""The page as text: self-contained, small, and proof against what a model may say. What it does is `browser_test`'s."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from report import charts, history, links, page
from report.assemble import assemble
from report.coverage_format import Coverage
from tests.report import samples
from tests.report.samples import HOSTILE, contents, declaration, known_failure, verdict

NO_HISTORY = history.History()


class _Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def _hostile() -> Coverage:
    entry = dataclasses.replace(known_failure("cpu"), reason=HOSTILE, issue=HOSTILE)
    bad = declaration(name="x", label="//models/../../etc:x", checkpoint=HOSTILE, main_class=HOSTILE, folder="../..")
    llama = declaration(known_failures=(entry,))
    found = [
        verdict(llama, status="expected_failure", level="forward", reason=HOSTILE, failed_check=HOSTILE),
        dataclasses.replace(verdict(bad, status="failed", reason=HOSTILE), label="//models/../../etc:cpu"),
    ]
    grid = dataclasses.replace(
        contents([llama, bad], found),
        inventory={"llama": (HOSTILE,), HOSTILE: ("B",)},
        undeclared={HOSTILE: HOSTILE},
        upstream={"transformers-5.23": "https://example.org/models"},
    )
    return assemble(grid)


def test_page_asks_for_nothing_and_runs_its_own_program_alone() -> None:
    text = page.render(_hostile(), NO_HISTORY, "2026-11-24")
    elements = _Elements(text).found
    assert not [attributes for _, attributes in elements if "src" in attributes or "style" in attributes]
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
    assert [tag for tag, _ in elements].count("script") == 2, "the data and the program"
    assert "img" not in [tag for tag, _ in elements]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy and "default-src &#39;none&#39;" in policy[1].replace("'", "&#39;")
    for tag, kind in (("script", "script-src"), ("style", "style-src")):
        inside = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[-1]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy[1].replace("&#39;", "'")


def test_hostile_text_is_shown_as_text() -> None:
    text = page.render(_hostile(), NO_HISTORY, "2026-11-24")
    assert "\x1b" not in text and "\u202e" not in text
    assert r"\x1b[2J</script><script>alert(1)</script>" in _Elements(text).text


def test_links_go_nowhere_else() -> None:
    found = {attributes.get("href") for _, attributes in _Elements(page.render(_hostile(), NO_HISTORY, "")).found}
    assert all(link is None or link.startswith("#") for link in found)
    assert links.build_file(_hostile().models[0], "../") == "../models/decoder/llama/BUILD"
    assert links.build_file(_hostile().models[1]) == ""
    assert links.upstream(_hostile().models[0], _hostile()) == "https://example.org/models/llama"
    assert links.upstream(_hostile().models[1], _hostile()) == ""
    assert links.web("javascript:alert(1)") == links.web('https://x" onclick="y') == ""


def test_data_cannot_end_its_element() -> None:
    text = page.render(_hostile(), NO_HISTORY, "2026-11-24")
    inside = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert inside and "<" not in inside[1] and "&" not in inside[1]
    data = json.loads(inside[1])
    assert any("</script><script>alert(1)" in item for item in data["texts"])


def test_large_grid_is_at_most_three_megabytes() -> None:
    text = page.render(assemble(samples.large()), NO_HISTORY, "2026-11-24")
    assert len(text.encode()) <= 3_000_000


def test_bars_are_the_levels_of_the_models() -> None:
    models = [declaration(), declaration("gpt2"), declaration("opt"), declaration("bert")]
    found = [verdict(models[0]), verdict(models[1]), verdict(models[2], level="forward")]
    bar = charts.bar(assemble(contents(models, found)).total)
    assert [(part.level, part.count, part.x, part.width) for part in bar] == [
        ("consistent", 2, 0.0, 50.0),
        ("forward", 1, 50.0, 25.0),
        ("declared", 1, 75.0, 25.0),
    ]


@pytest.mark.parametrize("rows", [[("2026-11-23", {"declared": 0, "covered": 0})], [("2026-11-23", {"covered": 7})]])
def test_trend_of_one_day_is_a_point(rows: list[tuple[str, dict[str, int]]]) -> None:
    trend = charts.trend(rows)
    assert trend and all(len(line.points) == 1 for line in trend.lines)
    assert [date for _, date in trend.dates] == ["2026-11-23"]


def test_trend_keeps_time_and_its_labels_apart() -> None:
    trend = charts.trend(
        [("2026-11-01", {"a": 10, "b": 5}), ("2026-11-02", {"a": 20, "b": 20}), ("2026-11-11", {"a": 100, "b": 100})]
    )
    assert trend
    x = [point.x for point in trend.lines[0].points]
    assert x[1] - x[0] == pytest.approx((x[2] - x[0]) / 10, abs=0.2)
    labels = [line.label_y for line in trend.lines]
    assert labels[1] - labels[0] >= 14
    assert charts.trend([]) is None
