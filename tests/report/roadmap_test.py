"""The roadmap is computed: done by what is recorded, left by what is declared, dates by the pace between records."""

from __future__ import annotations

import dataclasses

from report import graph, history, roadmap
from report.assemble import assemble
from report.declaration import TIERS
from report.ranking import Missing
from report.roadmap import Phase
from tests.report import samples
from tests.report.samples import contents, declaration, verdict

QUOTAS = {tier: {"forward": 1.0, "consistent": 0.5} for tier in TIERS}
NAMES = ("bert", "gpt2", "llama", "opt")


def _record(date: str, *levels: str) -> history.Record:
    models = [declaration(name) for name in NAMES]
    found = [verdict(model, level=level) for model, level in zip(models, levels, strict=False)]
    (record,) = history.records_of(assemble(contents(models, found)), date, "abc")
    return record


def _high(*records: history.Record, unavailable: str = "") -> Phase:
    lines = [samples.query_line(name) for name in NAMES[:3]] + [samples.query_line("opt", unavailable=unavailable)]
    missing = [Missing("mamba", "", 3, 1)]
    stored = history.History(tuple(records))
    found = roadmap.phases(graph.parse("\n".join(lines)), missing, stored, QUOTAS)
    assert [phase.tier for phase in found] == [*TIERS, "undeclared"]
    assert found[-1].left == ("mamba",)
    return found[1]


def test_what_is_covered_is_done_and_the_rest_left() -> None:
    phase = _high(_record("2026-11-23", "consistent", "forward", "built"))
    assert phase.left == ("llama", "opt")
    assert phase.levels == {"forward": (2, 1.0), "consistent": (1, 0.5)}
    assert (phase.since, phase.expected) == ("", "")


def test_what_no_cell_can_run_is_neither_done_nor_left() -> None:
    phase = _high(_record("2026-11-23", *["forward"] * 3), unavailable="needs natten")
    assert (phase.left, phase.impossible, phase.since) == ((), ("opt",), "2026-11-23")


def test_a_date_is_expected_at_the_pace_of_the_records() -> None:
    first, second = _record("2026-11-20", "forward"), _record("2026-11-24", "forward", "forward", "forward")
    assert _high(first, second).expected == "2026-11-26"
    assert _high(second, dataclasses.replace(first, date="2026-11-25")).expected == "", "it went backwards"


def test_an_environment_without_a_record_of_the_day_keeps_its_last() -> None:
    other = dataclasses.replace(_record("2026-11-24", "built"), environment="transformers-4.57", cells={})
    assert _high(_record("2026-11-23", *["forward"] * 4), other).left == ()
