"""How much the checks see: damages modelling code on purpose and counts what is caught.

`bazel run //benchmarks:mutants -- --models=llama,bert` prints a Markdown table for benchmarks/RESULTS.md and writes
every mutant with its fate to --json. The cells must have been built: their specs are read from there; the reference
values are those of a run without a mutant.

A mutant is one change of the syntax tree of the model's own modelling file, drawn with a seed from all places that the
cell's checks execute: a term dropped, an operator swapped, a mask or a cache ignored, a number off by one, a condition
turned round, a layer's step skipped, two arguments exchanged. It runs in a forked child through the cell until a check
fails: one of the model by itself, or, behind them all, the comparison with the reference values. What is never caught
is compared with the original on further inputs (other seeds, padded rows, training mode, generation): where nothing
differs it is called equivalent.
"""

from __future__ import annotations

import ast
import collections
import copy
import dataclasses
import functools
import importlib.abc
import importlib.util
import json
import linecache
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from absl import app, flags

from authoring import forked
from benchmarks.cells import REFERENCE, built_specs, checkout, run_cell

_MODELS = flags.DEFINE_list("models", [], "Names of the models; by default all of DEFAULT_MODELS.")
_COUNT = flags.DEFINE_integer("count", 10, "Mutants of each model.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the draw.")
_JSON = flags.DEFINE_string("json", None, "Write every mutant and its fate to this file.")
_ROOT = flags.DEFINE_string("root", None, "The checkout; by default the one of `bazel run`.")

DEFAULT_MODELS = (
    "bert", "deberta", "electra", "mpnet", "llama", "gpt2", "mixtral", "falcon", "mamba", "t5", "bart", "vit",
    "resnet", "convnext", "detr", "clip", "blip", "llava", "qwen2_vl", "wav2vec2", "whisper", "encodec",
    "patchtst", "decision_transformer",
)  # fmt: skip

CPU_SECONDS = 60
SEEDS = (1, 2, 3)


@dataclasses.dataclass
class Mutant:
    """One change and what became of it.

    Attributes:
      line: of the modelling file.
      kind: what was done.
      before: the statement as it was.
      after: the statement as it is.
      fate: `caught`, `caught by reference`, `equivalent`, `escaped`, or `broken` where the file no longer loads.
      check: the first check that failed.
    """

    model: str
    line: int
    kind: str
    before: str
    after: str
    fate: str = ""
    check: str = ""


# ---------------------------------------------------------------------------------------------------------------------
# Mutations.


def mutations(tree: ast.Module, executed: set[int]) -> list[tuple[str, int, Callable[[], None]]]:
    """Returns each possible change of `tree` as (kind, line, what makes it), for the executed lines of functions."""
    found: list[tuple[str, int, Callable[[], None]]] = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or function.name.startswith(("_init", "__", "reset", "get_")):
            continue
        for node in ast.walk(function):
            if getattr(node, "lineno", 0) in executed:
                found += [(kind, getattr(node, "lineno", 0), make) for kind, make in _changes(node)]
    return sorted(found, key=lambda item: (item[1], item[0]))


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yields the kinds of change that fit one node."""
    if isinstance(node, ast.BinOp):
        swapped = _SWAPPED.get(type(node.op))
        if swapped:
            yield "operator swapped", functools.partial(setattr, node, "op", swapped())
        if isinstance(node.op, (ast.Add, ast.Sub)):
            yield "term dropped", functools.partial(_become, node, node.left)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        turned = _TURNED.get(type(node.ops[0]))
        if turned:
            yield "condition turned round", functools.partial(setattr, node, "ops", [turned()])
    elif isinstance(node, ast.Call):
        for keyword in node.keywords:
            name = keyword.arg or ""
            if "mask" in name or name == "position_bias":
                yield "mask ignored", functools.partial(setattr, keyword, "value", ast.Constant(None))
            if "past_key" in name or "cache" in name:
                yield "cache ignored", functools.partial(setattr, keyword, "value", ast.Constant(None))
        if len(node.args) >= 2 and not any(isinstance(item, (ast.Starred, ast.Constant)) for item in node.args[:2]):
            exchanged = [*node.args[1::-1], *node.args[2:]]
            yield "arguments exchanged", functools.partial(setattr, node, "args", exchanged)
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield "number off by one", functools.partial(setattr, node, "value", node.value + 1)
    elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and node.value.args:
        target, first = node.targets[0], node.value.args[0]
        if isinstance(target, ast.Name) and isinstance(first, ast.Name) and target.id == first.id:
            yield "step skipped", functools.partial(setattr, node, "value", first)


_SWAPPED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}
_TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
}


def _become(node: ast.AST, other: ast.AST) -> None:
    """Turns a node into another in place."""
    node.__class__ = other.__class__
    node.__dict__ = dict(other.__dict__)


def statement(tree: ast.Module, line: int) -> str:
    """Returns the innermost statement at `line`, its first line, as text."""
    best: ast.stmt | None = None
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    for node in statements:
        here = node.lineno <= line <= (node.end_lineno or node.lineno)
        if here and (best is None or node.lineno >= best.lineno):
            best = node
    if best is None:
        return ""
    shown = copy.copy(best)
    for name in ("body", "orelse"):
        if getattr(shown, name, None):
            setattr(shown, name, [ast.Pass()] if name == "body" else [])
    return " ".join(ast.unparse(ast.fix_missing_locations(shown)).split())[:160]


def mutate(source: str, executed: set[int], count: int, seed: int) -> Iterator[tuple[Mutant, str]]:
    """Yields `count` mutants of a module, drawn with a seed, kinds in turn, with the changed source."""
    generator = random.Random(seed)
    tree = ast.parse(source)
    places = mutations(tree, executed)
    by_kind: dict[str, list[int]] = collections.defaultdict(list)
    for index, (kind, _, _) in enumerate(places):
        by_kind[kind].append(index)
    for indices in by_kind.values():
        generator.shuffle(indices)
    seen: set[str] = set()
    kinds = sorted(by_kind)
    generator.shuffle(kinds)
    while count and any(by_kind.values()):
        for kind in kinds:
            if not by_kind[kind] or not count:
                continue
            fresh = ast.parse(source)
            _, line, make = mutations(fresh, executed)[by_kind[kind].pop()]
            make()
            ast.fix_missing_locations(fresh)
            changed = ast.unparse(fresh)
            if changed in seen:
                continue
            seen.add(changed)
            count -= 1
            yield Mutant("", line, kind, statement(tree, line), statement(fresh, line)), changed


# ---------------------------------------------------------------------------------------------------------------------
# Runs.


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):  # type: ignore[misc]
    """Loads one module from another source."""

    def __init__(self, name: str, path: str, source: str) -> None:
        self._name, self._path, self._source = name, path, source

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> Any:
        """Returns a spec for the changed module alone."""
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def get_filename(self, fullname: str) -> str:
        """Returns where the original lies."""
        return self._path

    def get_data(self, path: str | bytes) -> bytes:
        """Returns the changed source; who asks for the text of a function (`inspect`, the harness) gets it as well."""
        linecache.cache[self._path] = (len(self._source), None, self._source.splitlines(keepends=True), self._path)
        return self._source.encode()

    def path_stats(self, path: str) -> Any:
        """Keeps Python from taking the original's compiled file."""
        raise OSError(path)


def in_child(work: Callable[[], Any]) -> Any:
    """Returns what `work` returns in a forked child; a string that says how it ended, where it gave no answer."""
    try:
        return forked.in_child(work, cpu_seconds=CPU_SECONDS, silent=True)
    except forked.ChildFailed as error:
        return str(error)


def baseline(spec: Any, path: str) -> tuple[list[int], list[str], str]:
    """Runs the cell as it is.

    Returns:
      The lines of the file at `path` that the checks execute, the checks that fail, and the text of a reference.
    """
    from harness import reference

    lines: set[int] = set()
    codes: dict[CodeType, bool] = {}

    def local(frame: FrameType, event: str, _: object) -> Any:
        if event == "line":
            lines.add(frame.f_lineno)
        return local

    def trace(frame: FrameType, event: str, _: object) -> Any:
        code = frame.f_code
        if code not in codes:
            codes[code] = code.co_filename == path and code.co_name != "<module>"
        return local if codes[code] else None

    sys.settrace(trace)
    ran = run_cell(dataclasses.replace(spec, reference=None), None)
    sys.settrace(None)
    text = "" if ran.failed else reference.to_json(spec.environment, ran.model, ran.passed, ran.values)
    return sorted(lines), ran.failed, text


def observe(spec: Any, change: _Changed | None) -> dict[str, Any]:
    """Returns what the main model does on further inputs: outputs, losses, gradients and generated text, summarised."""
    import torch

    from harness import cell as cells
    from harness.generation import takes
    from harness.reference import summary

    if change is not None:
        sys.meta_path.insert(0, change)
    cell = cells.Cell(spec)
    seen: dict[str, Any] = {}
    for seed in SEEDS:
        for padding in (0, 3):
            inputs = cell.make_inputs(seed=seed, padding=padding)
            for name, tensor in cell.tensors(cell.forward(inputs=inputs)).items():
                seen[f"{seed} {padding} {name}"] = [float(tensor.double().nan_to_num().abs().sum()), summary(tensor)]
    for cls in cell.heads():
        model = cell.fresh_model(cls=cls)
        inputs = cell.make_inputs(cls=cls, labels="labels" not in spec.inputs)
        torch.manual_seed(0)
        for name, tensor in cell.tensors(model.train()(**inputs)).items():
            seen[f"train {cls.__name__} {name}"] = [float(tensor.double().nan_to_num().abs().sum()), summary(tensor)]
    if cell.model_class.can_generate() and takes(cell, "input_ids"):
        torch.manual_seed(0)
        out = cell.model.generate(**cell.inputs, max_new_tokens=8, num_beams=2, do_sample=False)
        seen["generated"] = out.tolist() if isinstance(out, torch.Tensor) else repr(out)
    return seen


def judge(spec: Any, change: _Changed, original: Any) -> tuple[str, str]:
    """Returns a mutant's fate and the check that caught it."""
    failed = in_child(lambda: run_cell(spec, change).failed)
    if isinstance(failed, str):
        return "caught", failed
    if failed:
        return "caught by reference" if failed == [REFERENCE] else "caught", failed[-1]
    seen = in_child(lambda: observe(spec, change))
    return ("equivalent" if seen == original else "escaped"), ""


def spec_of(root: Path, name: str) -> Any:
    """Returns the spec of a model's cell that was built."""
    from harness import spec as specs

    return specs.load(built_specs(root, f"*/{name}")[0])


def study(spec: Any, count: int, seed: int) -> Iterator[Mutant]:
    """Yields the mutants of one model with their fates."""
    from harness import reference

    module = importlib.util.find_spec(f"transformers.models.{spec.folder}.modeling_{spec.folder}")
    if module is None or module.origin is None:
        raise app.UsageError(f"{spec.name}: {spec.folder} has no modeling_{spec.folder}.py")
    source = Path(module.origin).read_text(encoding="utf-8")
    ran = in_child(lambda: baseline(spec, str(module.origin)))
    lines, failed, text = ([], ran, "") if isinstance(ran, str) else ran
    if failed:
        print(f"{spec.name}: left out, the cell fails without a mutant: {failed}", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "reference.json")
        path.write_text(text, encoding="utf-8")
        spec = dataclasses.replace(spec, reference=reference.load(path, spec.label, spec.environment))
    # The same code, printed as mutants are: nothing of that alone may be caught.
    printed = _Changed(module.name, str(module.origin), ast.unparse(ast.parse(source)))
    failed = in_child(lambda: run_cell(spec, printed).failed)
    if failed:
        print(f"{spec.name}: left out, the cell fails with its own code printed anew: {failed}", file=sys.stderr)
        return
    original = in_child(lambda: observe(spec, None))
    if isinstance(original, str):  # a mutant that ends in the same words would count as equivalent
        print(f"{spec.name}: left out, its own code fails on the further inputs: {original}", file=sys.stderr)
        return
    for mutant, changed in mutate(source, set(lines), count, seed):
        mutant.model = spec.name
        mutant.fate, mutant.check = judge(spec, _Changed(module.name, str(module.origin), changed), original)
        print(f"{spec.name}:{mutant.line} {mutant.kind}: {mutant.fate} {mutant.check}", file=sys.stderr, flush=True)
        yield mutant


def table(mutants: Sequence[Mutant]) -> Iterator[str]:
    """Yields the lines of the Markdown table: per model, per check, and in total."""
    fates = ("caught", "caught by reference", "equivalent", "escaped")
    yield "| model | " + " | ".join(fates) + " |"
    yield "| --- |" + " --- |" * len(fates)
    for name in dict.fromkeys(mutant.model for mutant in mutants):
        counts = collections.Counter(mutant.fate for mutant in mutants if mutant.model == name)
        yield f"| {name} | " + " | ".join(str(counts[fate]) for fate in fates) + " |"
    total = collections.Counter(mutant.fate for mutant in mutants)
    yield "| total | " + " | ".join(str(total[fate]) for fate in fates) + " |"
    alive = len(mutants) - total["equivalent"]
    both = total["caught"] + total["caught by reference"]
    yield ""
    yield f"{len(mutants)} mutants, {total['equivalent']} equivalent on all inputs tried. Of the other {alive}:"
    yield f"{total['caught']} ({total['caught'] / max(1, alive):.0%}) are caught without reference values, "
    yield f"{both} ({both / max(1, alive):.0%}) with them."
    yield ""
    yield "| first check that failed | mutants |"
    yield "| --- | --- |"
    for check, number in collections.Counter(mutant.check for mutant in mutants if mutant.check).most_common():
        yield f"| {check} | {number} |"


def main(argv: Sequence[str]) -> None:
    """Runs the benchmark."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", HF_HUB_OFFLINE="1", HF_DEACTIVATE_ASYNC_LOAD="1")
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    from harness.preload import preload

    preload(mock=False)
    root = checkout(_ROOT.value)
    begin, mutants = time.monotonic(), []
    names = _MODELS.value or DEFAULT_MODELS
    for name in names:
        for mutant in study(spec_of(root, name), _COUNT.value, _SEED.value):
            mutants.append(mutant)
            if _JSON.value:  # after each, so that a run that is cut short has not been in vain
                text = json.dumps([dataclasses.asdict(item) for item in mutants], indent=1)
                Path(_JSON.value).write_text(text, encoding="utf-8")
    print("\n".join(table(mutants)))
    left_out = sorted(set(names) - {mutant.model for mutant in mutants})
    if left_out:
        print(f"\n{len(left_out)} of {len(names)} models left out, see above: {', '.join(left_out)}")
    print(f"\n{time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    app.run(main)
