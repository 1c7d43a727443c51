"""What cells will cost is what they cost last; what never ran is guessed and said so."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from report import prediction
from report.strict import InputError


def _timings(root: Path, configuration: str, cell: str, made: int, *seconds: float) -> None:
    package, _, backend = cell.removeprefix("//").partition(":")
    path = root / "bazel-out" / configuration / "bin" / package / f"{backend}.timings.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"runs": [{"cpu_seconds": each} for each in seconds]}))
    os.utime(path, (made, made))


def test_the_newest_run_counts_with_its_confirmation(tmp_path: Path) -> None:
    _timings(tmp_path, "old", "//models/decoder/llama:cpu", 1, 9.0)
    _timings(tmp_path, "new", "//models/decoder/llama:cpu", 2, 1.5, 1.0)
    _timings(tmp_path, "new", "//models/decoder/gpt2:cpu", 1, 2.0)
    (tmp_path / "bazel-out/new/bin/models/decoder/gpt2/mock.timings.json").write_text("{half")
    assert prediction.seconds(tmp_path) == {"//models/decoder/llama:cpu": 2.5, "//models/decoder/gpt2:cpu": 2.0}


def test_a_cell_that_never_ran_is_taken_for_the_median() -> None:
    known = {"//models/a:cpu": 2.0, "//models/b:cpu": 4.0, "//models/c:cpu": 12.0}
    cells = ["//models/a:cpu", "//models/new:cpu", "//models/a:cuda"]
    assert prediction.rows(cells, known) == [["cpu", "2", "6", "1"], ["cuda", "1", "-", "1"]]


def test_what_is_kept_is_of_the_grid_and_not_moved_by_noise(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    llama, gpt2, gone = "//models/decoder/llama:cpu", "//models/decoder/gpt2:cpu", "//models/decoder/gone:cpu"
    file = tmp_path / prediction.FILE
    file.write_text(json.dumps({"version": 1, "seconds": {llama: 2.0, gpt2: 2.0, gone: 1.0}}))
    _timings(tmp_path, "new", llama, 1, 2.6)
    _timings(tmp_path, "new", gpt2, 1, 4.01)
    assert prediction.keep(tmp_path, [llama, gpt2]) == 2
    assert prediction.read(file) == {llama: 2.0, gpt2: 4.0}
    assert prediction.keep(tmp_path, [llama, gpt2]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{half", "is not JSON"),
        ('{"version": 2, "seconds": {}}', "newer than this checkout"),
        ('{"version": 1, "seconds": {"a": "1"}}', "seconds"),
    ],
)
def test_kept_seconds_that_cannot_be_used_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "seconds.json").write_text(text)
    with pytest.raises(InputError, match=message):
        prediction.read(tmp_path / "seconds.json")
