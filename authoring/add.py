"""`bazel run //:add -- mamba`: proposes a declaration for a model folder of the environment and writes its BUILD file.

What the environment says (category, main class, model type, task, checkpoint) is introspected. Then the model is built
small and run once; where that fails a few further values are tried, bounded by attempts, and what helped is pinned in
the declaration. Nothing is overwritten. What could not be decided is said; the whole cell is `bazel test` away.

Exit codes: 0 a declaration was written; 1 the command line is wrong; 2 none could be made, and the message says why.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from authoring.propose import Proposal, propose
from authoring.search import Attempt, search
from harness.spec import CATEGORIES, Backend, Limits, Spec, Tolerance

_INVENTORY = flags.DEFINE_string("inventory", None, "The environment's inventory.", required=True)
_ENVIRONMENT = flags.DEFINE_string("environment", None, "The environment that it is of.", required=True)
_WORKSPACE = flags.DEFINE_string("workspace", None, "The checkout to write to; by default the one of `bazel run`.")
_CATEGORY = flags.DEFINE_enum("category", None, CATEGORIES, "The category, where the proposal's is not right.")
_TIER = flags.DEFINE_enum("tier", "low", ("critical", "high", "medium", "low"), "How much a failure matters.")
_PRINT = flags.DEFINE_bool("print", False, "Print the declaration and write nothing.")


class CannotAdd(ValueError):  # noqa: N818 - says what happened
    """No declaration can be made. The message says why, and what to do."""


def render(proposal: Proposal, tier: str, found: Attempt) -> str:
    """Returns the BUILD file of a proposal."""
    lines = ['load("//rules:defs.bzl", "hf_model")', "", "hf_model(", f'    name = "{proposal.name}",']
    if proposal.checkpoint:
        lines.append(f'    checkpoint = "{proposal.checkpoint}",')
    for name, values in (("config", found.config), ("inputs", found.inputs)):
        if values:
            lines.append("    # found by `bazel run //:add`: the first of its attempts with which the forward ran")
            lines.append(f"    {name} = {_starlark(values, 1)},")
    lines.append(f'    main_class = "{proposal.main_class}",')
    if proposal.model_type != proposal.name:
        lines.append(f'    model_type = "{proposal.model_type}",')
    return "\n".join([*lines, f'    task = "{proposal.task}",', f'    tier = "{tier}",', ")", ""])


def _starlark(value: Any, depth: int) -> str:
    """Returns a value as Starlark, formatted as buildifier does."""
    if isinstance(value, Mapping):
        inside = [
            f"{'    ' * (depth + 1)}{json.dumps(key)}: {_starlark(value[key], depth + 1)}," for key in sorted(value)
        ]
        if len(inside) == 1 and not isinstance(next(iter(value.values())), Mapping):
            return "{" + inside[0].strip().rstrip(",") + "}"
        return "\n".join(["{", *inside, "    " * depth + "}"])
    return repr(value) if isinstance(value, (bool, int, float)) or value is None else json.dumps(value)


def classes_of(folder: str, inventory: Mapping[str, Any], environment: str) -> dict[str, Any]:
    """Returns the folder's public model classes by name.

    Args:
      environment: name of the environment whose inventory it is.

    Raises:
      CannotAdd: the environment has no such folder, it holds no model, or it needs a package that is not there.
    """
    if folder not in inventory:
        close = difflib.get_close_matches(folder, inventory, n=1)
        raise CannotAdd(
            f"{environment} has no model folder {folder!r}" + (f"; did you mean {close[0]!r}?" if close else "")
        )
    names = inventory[folder]["classes"]
    if not names:
        raise CannotAdd(f"{folder} holds no model class, only a tokenizer or processor: nothing to declare")
    found = {}
    package = importlib.import_module(f"transformers.models.{folder}")
    for name in names:
        try:
            found[name] = getattr(package, name)
        except (ImportError, AttributeError) as error:
            raise CannotAdd(f"{folder}: {name} cannot be imported ({str(error).strip().splitlines()[0]})") from None
    return found


def _forward(spec: Spec) -> None:
    """Builds the model and runs its forward; the outputs must be finite."""
    import torch

    from harness.cell import Cell

    cell = Cell(spec)
    for name, tensor in cell.tensors(cell.forward()).items():
        assert bool(torch.isfinite(tensor).all()), f"{name} is not finite"


def _spec(proposal: Proposal, inventory: Mapping[str, Any], environment: str) -> Spec:
    """Returns the spec of the proposal's cell on `cpu`."""
    return Spec(
        label=f"//models/{proposal.category}/{proposal.name}:cpu",
        name=proposal.name,
        category=proposal.category,
        tier="low",
        task=proposal.task,
        environment=environment,
        model_type=proposal.model_type,
        folder=proposal.name,
        main_class=proposal.main_class,
        checkpoint=proposal.checkpoint,
        config={},
        inputs={},
        limits=Limits(60, 900, 4096),
        backend=Backend("cpu", "cpu", "eager", "float32", Tolerance(1e-4, 1e-5)),
        known_failures=(),
        not_applicable={},
        heads={},
        unexercised_classes={},
        unused_parameters={},
        slices=tuple(inventory),
        epoch="",
    )


def add(
    folder: str, inventory: Mapping[str, Any], category: str | None, tier: str, environment: str
) -> tuple[Proposal, str]:
    """Returns the proposal for a folder of an environment and its BUILD file.

    Raises:
      CannotAdd: see `classes_of`; or `auto` knows none of the classes; or no attempt ran.
    """
    from harness.build import config_class, default_config

    proposal = propose(folder, classes_of(folder, inventory, environment))
    if proposal is None:
        raise CannotAdd(
            f"{folder}: `auto` knows none of {', '.join(inventory[folder]['classes'])}, so nothing says what they are "
            "for: write its BUILD file by hand, as docs/add-a-model.md shows"
        )
    if category:
        proposal = dataclasses.replace(proposal, category=category)
    spec = _spec(proposal, inventory, environment)
    tried = list(search(spec, default_config(config_class(spec), {}), _forward))
    if tried[-1].error:
        lines = [f"  {dict(attempt.config)} {dict(attempt.inputs)}: {attempt.error[:300]}" for attempt in tried]
        raise CannotAdd(f"{folder}: none of {len(tried)} attempts ran its forward:\n" + "\n".join(lines))
    return proposal, render(proposal, tier, tried[-1])


def main(argv: Sequence[str]) -> int:
    """Adds each model that was named and returns the exit code."""
    workspace = _WORKSPACE.value or os.environ.get("BUILD_WORKSPACE_DIRECTORY")
    if workspace is None or len(argv) < 2:
        raise app.UsageError("name the model folders to add: bazel run //:add -- mamba")
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    inventory = json.loads(Path(_INVENTORY.value).read_text(encoding="utf-8"))
    failed = 0
    for folder in argv[1:]:
        taken = [path.parent for path in Path(workspace, "models").glob(f"*/{folder}/BUILD")]
        try:
            if taken:
                raise CannotAdd(f"{taken[0]} declares it already")
            proposal, text = add(folder, inventory, _CATEGORY.value, _TIER.value, _ENVIRONMENT.value)
        except CannotAdd as error:
            print(f"add: {error}", file=sys.stderr)
            failed += 1
            continue
        if _PRINT.value:
            print(text)
            continue
        target = Path(workspace, "models", proposal.category, folder, "BUILD")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        package = f"//models/{proposal.category}/{folder}"
        print(f"wrote {package}; its forward runs. Now: bazel test {package}:cpu && bazel run //:record -- {folder}")
        print(
            f"look at category {proposal.category!r}, task {proposal.task!r} and tier {_TIER.value!r}: they are guesses"
        )
    return 2 if failed else 0


if __name__ == "__main__":
    app.run(main)
