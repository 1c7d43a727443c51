"""A small grid to report on: declarations and verdicts with what a test does not care about filled in."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.verdict import CheckResult, ModelFacts, Verdict
from report.declaration import CATEGORIES, TIERS, Declaration, KnownFailure
from report.grid import Backend, Contents

CPU = Backend(name="cpu", device="cpu", runtime="eager", dtype="float32", counts=True)
MOCK = Backend(name="mock", device="cpu", runtime="mock", dtype="float32", counts=False)
CUDA = Backend(name="cuda", device="cuda", runtime="eager", dtype="float32", counts=True)
TABLE = (CPU, MOCK, CUDA)


def declaration(name: str = "llama", category: str = "decoder", tier: str = "high", **fields: Any) -> Declaration:
    values: dict[str, Any] = {
        "label": f"//models/{category}/{name}:{name}",
        "name": name,
        "category": category,
        "tier": tier,
        "task": "text-generation",
        "model_type": name,
        "folder": name,
        "main_class": "LlamaForCausalLM",
        "checkpoint": "meta-llama/Llama-3.2-1B",
        "environment": "transformers-5.23",
        "backends": tuple(backend.name for backend in TABLE),
        "config": {},
        "inputs": {},
        "limits": {"cpu_seconds": 60, "memory_mib": 4096, "wall_seconds": 900},
        "known_failures": (),
        "not_applicable": {},
        "heads": {},
        "unexercised_classes": {},
        "unused_parameters": {},
        "unavailable": "",
        "package": "",
    }
    return Declaration(**{**values, **fields})


def known_failure(match: str = "decoder::causality", expires: str = "2099-01-01") -> KnownFailure:
    return KnownFailure(match=match, reason="upstream masks nothing", issue="https://example.org/7", expires=expires)


def verdict(of: Declaration, backend: str = "cpu", **fields: Any) -> Verdict:
    values: dict[str, Any] = {
        "label": of.cell_label(backend),
        "name": of.name,
        "category": of.category,
        "backend": backend,
        "environment": of.environment,
        "status": "passed",
        "level": "mock" if backend == "mock" else "consistent",
        "runs": 1,
        "reason": "",
        "failed_check": "",
        "checks": (CheckResult("common::config_builds", "parsed", True, "passed"),),
        "model": ModelFacts(parameters=1000, gradient_share=1.0, classes=("LlamaForCausalLM",)),
        "device": {"device": backend},
    }
    return Verdict(**{**values, **fields})


def contents(
    declarations: Sequence[Declaration], verdicts: Sequence[Verdict], backends: Sequence[Backend] = TABLE
) -> Contents:
    return Contents(
        declarations=tuple(declarations), verdicts=tuple(verdicts), backends=tuple(backends), inventory=None
    )


HOSTILE = (
    "\x1b[2J</script><script>alert(1)</script><img src=x onerror=alert(1)> `code` | [a](javascript:b) \u202egnp & \"'"
)
"""Text that a model's exception could have, and that must stay text everywhere."""


def large(models: int = 650, backends: int = 12) -> Contents:
    """Returns a grid in which every cell has run, with as many checks, classes and messages as the real one has."""
    table = tuple(
        dataclasses.replace(CPU, name=f"backend{index}", device=f"device{index}") for index in range(backends)
    )
    names = [backend.name for backend in table]
    declared = [
        declaration(
            f"model_{index}", CATEGORIES[index % len(CATEGORIES)], TIERS[index % len(TIERS)], backends=tuple(names)
        )
        for index in range(models)
    ]
    return contents(declared, [_run_of(model, name) for model in declared for name in names], table)


def _run_of(model: Declaration, backend: str) -> Verdict:
    number = int(model.name.partition("_")[2]) + int(backend.removeprefix("backend"))
    failed = number % 29 == 0
    outcomes = ["not_applicable" if (number + place) % 4 == 0 else "passed" for place in range(30)]
    checks = [
        CheckResult(
            f"common::a_check_with_the_name_{place}",
            "consistent" if place > 4 else "forward",
            place < 9,
            "failed" if failed and place == 9 else outcome,
            f"{model.name} has no such thing as {place}" if outcome == "not_applicable" and place < 6 else "",
        )
        for place, outcome in enumerate(outcomes)
    ]
    return verdict(
        model,
        backend,
        status="failed" if failed else "passed",
        level="forward" if failed or number % 7 == 0 else "consistent",
        reason="row 0 changes by 0.25 where nothing may change" if failed else "",
        failed_check=checks[9].id if failed else "",
        checks=tuple(checks),
        model=ModelFacts(1000 + number, 0.97, classes=tuple(f"{model.name}Head{head}" for head in range(4))),
        device={"device": backend, "name": "an accelerator", "driver": "1.2.3"},
    )


def write_grid(folder: Path, what: Contents) -> Path:
    """Writes `what` as the rules do and returns the path of the grid file."""
    files: dict[str, list[str]] = {"declarations": [], "verdicts": []}
    for index, item in enumerate(what.declarations):
        path = folder / f"{index}.declaration.json"
        path.write_text(json.dumps({"version": 1, **dataclasses.asdict(item)}))
        files["declarations"].append(path.name)
    for index, found in enumerate(what.verdicts):
        path = folder / f"{index}.verdict.json"
        path.write_text(found.to_json())
        files["verdicts"].append(path.name)
    inventory = None
    if what.inventory is not None:
        inventory = "inventory.json"
        entries = {name: {"classes": classes, "model_types": [name]} for name, classes in what.inventory.items()}
        (folder / inventory).write_text(json.dumps(entries))
    backends = [dataclasses.asdict(backend) for backend in what.backends]
    grid = folder / "grid.json"
    grid.write_text(json.dumps({"version": 1, **files, "backends": backends, "inventory": inventory}))
    return grid


def run(program: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs `report.<program>` as a user does, on a terminal that can do nothing."""
    clean = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "FORCE_COLOR", "NO_COLOR")}
    return subprocess.run(
        [sys.executable, "-m", f"report.{program}", *arguments],
        env={**clean, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8", **environ},
        capture_output=True,
        text=True,
        check=False,
    )


_ATTRIBUTES = {
    "tier": "high",
    "task": "text-generation",
    "model_type": "llama",
    "main_class": "LlamaForCausalLM",
    "environment": "transformers-5.23",
    "folder": "",
    "unavailable": "",
}


def query_line(name: str, category: str = "decoder", rule: str = "hf_model_declaration", **changes: str) -> str:
    """Returns a line of a genquery with `--output=streamed_jsonproto`."""
    values = {"name": name, "category": category, **_ATTRIBUTES, **changes}
    attributes = [{"name": key, "type": "STRING", "stringValue": value} for key, value in values.items()]
    attributes += [{"name": "visibility", "type": "STRING_LIST"}, {"name": "cpu_seconds", "type": "INTEGER"}]
    target = {"name": f"//models/{category}/{name}:{name}", "ruleClass": rule, "location": "models/BUILD:3:9"}
    return json.dumps({"type": "RULE", "rule": {**target, "attribute": attributes}})


def toolkit(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs the toolkit in a checkout where llama is declared, of an environment that has mamba and t5 too."""
    names = ("llama", "mamba", "t5")
    inventory = {name: {"classes": [f"{name.title()}Model"], "model_types": [name]} for name in names}
    weights = {"usage": 3, "distinct": 2, "demand": 3, "resources": 1, "complexity": 1}
    ratings = {"t5": dict.fromkeys(weights, 4)}
    tables = {
        "inventory": inventory,
        "quotas": {tier: {"forward": 1.0} for tier in TIERS},
        "ranking": {"version": 1, "source": "made up", "weights": weights, "ratings": ratings},
        "seconds": {"version": 1, "seconds": {}},
        "undeclared": {"mamba": "its scan has no kernel here"},
    }
    for name, value in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    (folder / "query").write_text(query_line("llama") + "\n")
    return run(
        "toolkit",
        f"--root={folder}",
        "--backends=cpu,mock",
        "--environment=transformers-5.23",
        "--history=history.jsonl",
        "--query=query",
        *(f"--{name}={name}.json" for name in tables),
        *words,
        **{"BUILD_WORKSPACE_DIRECTORY": str(folder), **environ},
    )
