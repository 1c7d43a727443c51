"""Proposed known failures: what is filled in, what is left to a person, and that the harness takes them."""

from __future__ import annotations

import datetime
import re
from typing import Any

from harness.spec import KnownFailure
from harness.verdict import CheckResult, Verdict
from report import assemble, proposal
from report.declaration import Declaration
from tests.report import samples

TODAY = datetime.date(2026, 11, 28)
MESSAGE = "stage export at aten.foo.default: NotImplementedError: no kernel for [3, 17]\nand more"


def _proposed(*found: tuple[Declaration, Verdict]) -> str:
    models = [model for model, _ in found]
    return proposal.proposals(assemble.assemble(samples.contents(models, [item for _, item in found])), TODAY)


def _failed(name: str, backend: str, *checks: tuple[str, str], **fields: Any) -> tuple[Declaration, Verdict]:
    model = samples.declaration(name)
    results = tuple(CheckResult(check, "forward", True, "failed", message) for check, message in checks)
    first = checks[0] if checks else ("", "")
    values = {"status": "failed", "failed_check": first[0], "reason": f"{first[0]}: {first[1]}", "runs": 2, **fields}
    return model, samples.verdict(model, backend, checks=results, **values)


def test_a_models_failure_on_a_backend_names_check_and_message_and_no_reason() -> None:
    text = _proposed(_failed("llama", "cuda", ("runtime::runs", MESSAGE)))
    assert (
        text
        == """\
# //models/decoder/llama:cuda: into models/decoder/llama/BUILD
known_failures = {
    "cuda": known_failure(
        check = "runtime::runs",
        message = "stage export at aten.foo.default: NotImplementedError: no kernel for [*, *]",
        expires = "2027-02-26",
        issue = "",
        reason = "",  # the cause, in words that a maintainer would accept; empty, it is refused
    ),
},
"""
    )


def test_the_harness_recognises_the_failure_by_what_is_proposed() -> None:
    text = _proposed(_failed("llama", "cuda", ("runtime::runs", MESSAGE)))
    (message,) = re.findall(r'message = "(.*)"', text)
    entry = KnownFailure("cuda", "the cause", "", "2027-02-26", "runtime::runs", message)
    assert entry.explains("runtime::runs", MESSAGE.replace("17", "19"))
    assert not entry.explains("runtime::runs", "stage run: another failure")
    assert not entry.explains("runtime::agrees_with_eager", MESSAGE)


def test_each_failed_check_of_the_model_itself_gets_an_entry() -> None:
    text = _proposed(_failed("llama", "cpu", ("decoder::causality", "moved by 0.5"), ("common::gradients", "is nan")))
    assert '"decoder::causality": known_failure(\n        message = "moved by *",' in text
    assert '"common::gradients": known_failure(\n        message = "is nan",' in text
    assert '"cpu"' not in text


def test_a_death_outside_any_check_is_named_as_the_harness_names_it() -> None:
    text = _proposed(_failed("llama", "cuda", reason="outside any check: killed by signal SIGSEGV"))
    assert 'check = "cell",\n        message = "killed by signal SIGSEGV",' in text


def test_a_line_that_only_says_where_an_error_was_raised_is_not_proposed() -> None:
    first = "stage compile: RuntimeError: Exception from src/inference/src/cpp/core.cpp:123:"
    message = f"{first}\nException from src/core/src/pass.cpp:45:\nCheck 'rank > 2' failed"
    text = _proposed(_failed("llama", "cuda", ("runtime::runs", message)))
    assert "message = \"Check 'rank > *' failed\"," in text
    assert f'message = "{first.replace("123", "*")}",' in _proposed(_failed("opt", "cuda", ("runtime::runs", first)))


def test_three_models_that_fail_alike_get_one_entry_of_the_backend() -> None:
    names = ("llama", "gpt2", "opt")
    text = _proposed(*(_failed(name, "cuda", ("runtime::runs", MESSAGE)) for name in names))
    assert text.startswith("# 3 models fail alike: //models/decoder/gpt2:cuda, //models/decoder/llama:cuda")
    assert "into known_failures of backend 'cuda' in toolchains/backends.bzl\ncannot(\n    operator = \"\"," in text
    assert text.count("reason = ") == text.count('reason = "",') == 1
    assert "known_failure(" not in text


def test_flaky_and_passing_cells_get_none() -> None:
    flaky = _failed("llama", "cuda", ("runtime::runs", MESSAGE), status="flaky")
    model = samples.declaration("gpt2")
    assert _proposed(flaky, (model, samples.verdict(model, "cuda"))) == ""
