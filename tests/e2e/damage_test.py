"""A model whose code is damaged on purpose: the check meant for it fails, in that model's cells and in no other.

The damaged code is a checkout of transformers that `MODELGRID_TRANSFORMERS` points to, as a fork's would be.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.grid import Run, Workspace

MODELS = ("decoder/gpt2", "decoder/llama", "encoder/bert")


@dataclasses.dataclass(frozen=True)
class Damage:
    """One defect.

    Attributes:
      model: package of the model, such as `decoder/llama`.
      edits: what is replaced by what in the folder's modelling code.
      check: id of the check that is meant to find it.
    """

    model: str
    edits: dict[str, str]
    check: str


DAMAGE = {
    "causal mask dropped": Damage(
        "decoder/llama",
        {
            "attention_mask=causal_mask,": "attention_mask=None,",
            "self.is_causal = True": "self.is_causal = False",
        },
        "decoder::causality",
    ),
    "attention mask ignored": Damage(
        "encoder/bert",
        {"return attention_mask, encoder_attention_mask": "return None, encoder_attention_mask"},
        "encoder::attention_mask_is_respected",
    ),
    "cache written but not read": Damage(
        "decoder/llama",
        {"key_states, value_states = past_key_values.update(": "past_key_values.update("},
        "decoder::cached_steps_match_one_pass",
    ),
    "tied weight no longer tied": Damage(
        "decoder/gpt2",
        {'{"lm_head.weight": "transformer.wte.weight"}': "{}"},
        "common::embeddings_are_tied_as_the_config_says",
    ),
    "tied weight forgotten on save": Damage(
        "decoder/llama",
        {
            '    _tied_weights_keys = {"lm_head.weight"': '    _keys_to_ignore_on_save = ["lm_head.weight"]\n'
            '    _tied_weights_keys = {"lm_head.weight"'
        },
        "common::save_and_load_round_trip",
    ),
}


class Fork:
    """A checkout of transformers, and the workspace that is pointed at it."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root, MODELS)
        self.workspace.only(("cpu", "mock"))
        self.models = root / "fork" / "src" / "transformers" / "models"
        shutil.copytree(
            self.workspace.repository("transformers_5_23") / "transformers",
            self.models.parent,
            ignore=shutil.ignore_patterns("__pycache__"),
        )

    def test(self) -> Run:
        """Runs all cells against the fork as it now is."""
        return self.workspace.bazel(
            "test",
            "--keep_going",
            f"--repo_env=MODELGRID_TRANSFORMERS={self.models.parents[2]}",
            "//models/...",
            fetch=("transformers_5_23",),
        )

    def damage(self, damage: Damage) -> dict[Path, str]:
        """Applies `damage`; returns the original text of the file it changed."""
        folder = damage.model.split("/")[1]
        path = self.models / folder / f"modeling_{folder}.py"
        original = text = path.read_text(encoding="utf-8")
        for old, new in damage.edits.items():
            assert old in text, f"{path.name} has no {old!r}; write the damage for this version of transformers"
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
        return {path: original}


@pytest.fixture(scope="module")
def fork() -> Iterator[Fork]:
    """Yields a fork in which all cells have passed once."""
    made = Fork(Path(os.environ["TEST_TMPDIR"]) / "damage")
    healthy = made.test()
    assert healthy.status == 0, healthy.output
    yield made
    made.workspace.shutdown()


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_fails_the_check_meant_for_it(fork: Fork, name: str) -> None:
    damage = DAMAGE[name]
    originals = fork.damage(damage)
    try:
        run = fork.test()
    finally:
        for path, text in originals.items():
            path.write_text(text, encoding="utf-8")
    assert run.status == 3, run.output
    assert run.proved == {f"//models/{damage.model}:{backend}" for backend in ("cpu", "mock")}, run.output
    verdict = json.loads(fork.workspace.verdict(f"{damage.model}:cpu"))
    failed = {check["id"]: check["message"] for check in verdict["checks"] if check["outcome"] == "failed"}
    assert verdict["status"] == "failed"
    assert damage.check in failed, failed
    assert failed[damage.check]
