"""Parsing of specs: exact, and every refusal names the label, the fault and the fix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness import spec as specs
from harness.spec import Backend, KnownFailure, Limits, SpecError, Tolerance
from tests.harness.workers import known_failure, spec_text


def _changed(**changes: Any) -> str:
    return json.dumps({**json.loads(spec_text("llama")), **changes})


def _without(name: str) -> str:
    data = json.loads(spec_text("llama"))
    del data[name]
    return json.dumps(data)


def test_a_spec_is_read_with_all_its_parts(tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    file.write_text(spec_text("llama", known_failures=[known_failure("cpu")], config={"hidden_size": 32}))
    spec = specs.load(file)
    assert spec.label == "//models/decoder/llama:cpu"
    assert spec.backend == Backend("cpu", "cpu", "eager", "float32", Tolerance(1e-5, 1e-5, 1e-6))
    assert spec.limits == Limits(20, 20, 512)
    assert spec.known_failures == (KnownFailure("cpu", "upstream bug", "https://example.org/1", "2030-01-01"),)
    assert spec.config == {"hidden_size": 32}
    assert spec.slices == ("llama",)


LIMITS = {"cpu_seconds": 1, "wall_seconds": 1, "memory_mib": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "spec: not JSON"),
        ("[]", "spec: expected an object; rebuild it"),
        (_changed(version=2), "//models/decoder/llama:cpu: spec version 2, this harness reads 1; rebuild it"),
        (_changed(colour="red"), "//models/decoder/llama:cpu: missing fields .., unknown fields .'colour'."),
        (_without("folder"), "//models/decoder/llama:cpu: missing fields .'folder'., unknown fields .."),
        (_changed(limits=3), "//models/decoder/llama:cpu: limits: expected an object, found int"),
        (_changed(limits={"cpu_seconds": 1}), "limits: missing fields .'memory_mib', 'wall_seconds'."),
        (_changed(limits={**LIMITS, "memory_mib": 0}), "limits.memory_mib must be above zero; leave it out"),
        (_changed(limits={**LIMITS, "cpu_seconds": -1}), "limits.cpu_seconds must be above zero"),
        (_changed(backend=None), "backend.tolerance: expected an object"),
        (spec_text("llama", backend={"checks": "few"}), "backend.checks 'few' is not one of category, runtime"),
        (_changed(known_failures=[{"match": "cpu"}]), "known_failures: missing fields"),
        (_changed(category="robots"), "//models/decoder/llama:cpu: category 'robots' is not one of encoder, decoder"),
    ],
)
def test_what_cannot_be_used_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        specs.parse(text)
