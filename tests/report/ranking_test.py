"""What has no declaration is ranked by data, and bad data is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from report import graph, ranking
from report.strict import InputError
from tests.report import samples

WEIGHTS = {"usage": 3, "distinct": 2, "demand": 3, "resources": 1, "complexity": 1}
RATING = dict.fromkeys(WEIGHTS, 1)


def _write(path: Path, **changes: object) -> Path:
    made = {"version": 1, "source": "made up", "weights": WEIGHTS, "ratings": {"b": RATING}}
    path.write_text(json.dumps(made | changes))
    return path


def test_the_most_wanted_comes_first_and_the_unrated_last(tmp_path: Path) -> None:
    ratings = {"b": RATING, "c": RATING | {"usage": 5}}
    read = ranking.read(_write(tmp_path / "ranking.json", ratings=ratings))
    classes = {"a": ("A",), "b": ("B", "BB"), "c": ("C",), "of_a_type": ("D",), "absent": ("E",), "tokenizer": ()}
    declared = graph.parse(
        samples.query_line("kind") + "\n" + samples.query_line("x", folder="absent", model_type="", unavailable="no")
    )
    found = ranking.missing(classes, {"llama": "of_a_type"}, declared, {"b": "its reason"}, read)
    assert [(item.folder, item.score, item.classes, item.reason) for item in found] == [
        ("c", 22, 1, ""),
        ("b", 10, 2, "its reason"),
        ("a", None, 1, ""),
    ]


def test_a_model_that_the_environment_lost_is_named() -> None:
    declared = graph.parse(samples.query_line("llama"))
    assert ranking.vanished({"gpt2": "gpt2"}, declared) == ["//models/decoder/llama:llama"]
    assert ranking.vanished({"llama": "llama"}, declared) == []


def test_the_ranking_of_this_checkout_can_be_used() -> None:
    assert ranking.read(Path("models/ranking.json")).source


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "newer than this checkout"),
        ({"ratings": {"b": RATING | {"fame": 1}}}, "b has"),
        ({"ratings": {"b": RATING | {"usage": 6}}}, "outside 0 to 5"),
        ({"weights": {"usage": 1}}, "weights has"),
    ],
)
def test_a_ranking_that_cannot_be_used_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = _write(tmp_path / "ranking.json", **changes)
    with pytest.raises(InputError, match=message) as caught:
        ranking.read(path)
    assert str(path) in str(caught.value)
