"""Drift: what moved is said with its size, what a side lacks by its name, and rounding is no drift."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from authoring import drift


def value(first: float = 0.5, shape: tuple[int, ...] = (2, 3)) -> dict[str, Any]:
    return {"shape": list(shape), "mean": 0.1, "std": 1.0, "max": 2.0, "at": [first, -2.0]}


def observed(checks: tuple[str, ...] = ("common::deterministic",), **values: dict[str, Any]) -> dict[str, Any]:
    """What a run came to, as a reference file has it."""
    return {"checks": list(checks), "gradient_share": 1.0, "parameters": 7, "values": values, "version": 1}


def test_equal_observations_have_not_drifted() -> None:
    assert not drift.compare(observed(logits=value()), observed(logits=value()))


def test_a_moved_value_is_measured_by_its_tensors_largest_magnitude() -> None:
    found = drift.compare(observed(logits=value(), loss=value()), observed(logits=value(0.7), loss=value()))
    assert (round(found.share, 6), found.where, found.moved, found.values) == (0.1, "logits", 1, 2)


def test_the_last_of_six_digits_is_rounding() -> None:
    assert not drift.compare(observed(logits=value(0.5)), observed(logits=value(0.500001)))


def test_a_new_shape_a_lost_output_and_a_lost_check_are_told() -> None:
    before = observed(("common::deterministic", "decoder::causality"), logits=value(), hidden=value())
    found = drift.compare(before, observed(logits=value(shape=(2, 4))))
    assert found.facts == (
        "checks: decoder::causality is gone",
        "hidden is gone",
        "logits has shape [2, 4], it was [2, 3]",
    )


def test_a_cell_that_is_not_green_is_told_with_its_reason() -> None:
    found = drift.compare({"refused": "//models/decoder/llama:cpu is failed: boom"}, observed())
    assert found.facts == ("before it is not green: //models/decoder/llama:cpu is failed: boom",)
    assert found


def test_the_model_that_moved_most_comes_first_and_missing_ones_last(tmp_path: Path) -> None:
    sides: dict[str, dict[str, Any]] = {
        "before": {"llama": observed(a=value()), "bert": observed(a=value()), "gone": observed()},
        "after": {"llama": observed(a=value(0.5004)), "bert": observed(a=value(0.9)), "same": observed()},
    }
    for side, models in sides.items():
        for name, content in models.items():
            path = tmp_path / f"{side}/models/decoder/{name}/cpu.observed.json"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(content))
    pairs = {
        side: {
            "environment": f"env-{side}",
            "observed": [f"{side}/models/decoder/{name}/cpu.observed.json" for name in models],
        }
        for side, models in sides.items()
    }
    assert drift.table(pairs, lambda path: tmp_path / path) == [
        "drift from env-before to env-after: 2 of 2 models changed",
        "models/decoder/bert: 1 of 1 values moved, a most, by 0.2 of its largest magnitude, "
        "beyond the tolerance of a reference",
        "models/decoder/llama: 1 of 1 values moved, a most, by 0.0002 of its largest magnitude",
        "not in env-after: gone",
        "not in env-before: same",
    ]


def test_the_program_asks_for_the_file_of_pairs_and_for_nothing_else() -> None:
    command = [sys.executable, drift.__file__]
    finished = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "flag --pairs=None" in finished.stderr
