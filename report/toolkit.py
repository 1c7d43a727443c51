"""`bazel run //:toolkit -- COMMAND`: what people ask of the grid day by day, in one program.

The questions are answered by modules of their own; what proves or writes is another target, which is run for you.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from absl import app, flags

from report import (
    changes,
    coverage_format,
    explain,
    files,
    gate,
    graph,
    grid,
    history,
    prediction,
    proposal,
    ranking,
    roadmap,
    states,
    terminal,
)
from report import workspace as checkout
from report.graph import Declared
from report.strict import InputError
from report.words import safe_text

_BACKENDS = flags.DEFINE_list("backends", None, "Every backend of the table.", required=True)
_ENVIRONMENT = flags.DEFINE_string("environment", None, "The environment whose inventory it is.", required=True)
_HISTORY = flags.DEFINE_string("history", None, "The stored history.", required=True)
_INVENTORY = flags.DEFINE_string("inventory", None, "What the environment offers.", required=True)
_QUERY = flags.DEFINE_string("query", None, "The declarations, as genquery prints them.", required=True)
_QUOTAS = flags.DEFINE_string("quotas", None, "The table of quotas.", required=True)
_RANKING = flags.DEFINE_string("ranking", None, "What decides the order of `missing`.", required=True)
_ROOT = flags.DEFINE_string("root", None, "Folder that the paths are relative to. Without it they are runfiles paths.")
_SECONDS = flags.DEFINE_string("seconds", None, "What cells took, as `record` kept it.", required=True)
_UNDECLARED = flags.DEFINE_string("undeclared", None, "Why some folders have no declaration.", required=True)

_BACKEND = flags.DEFINE_string("backend", "cpu", "The backend of the cells that are meant.")
_MARKDOWN = flags.DEFINE_string("markdown", None, "coverage, diff, roadmap: write it to this file too.")
_SINCE = flags.DEFINE_string("since", None, "affected, why: the revision to compare the checkout with.")

EXIT_CODES = """\
Exit codes: 0 done; 1 the command line is wrong; 2 the question cannot be answered, and the message says why and what
to do. A command that runs Bazel ends with Bazel's own code, of which 3 is a failed test."""


@dataclasses.dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
      example: what may follow its name on the command line.
      help: what it does, in a line.
      run: does it with the words that follow its name and returns the exit code.
      forwards: whether flags that are not ours go on to the target that it runs.
    """

    example: str
    help: str
    run: Callable[[Sequence[str]], int]
    forwards: bool = False


def _file(path: str | None) -> Path:
    return files.locator(_ROOT.value)(path or "")


def _declared() -> list[Declared]:
    return graph.read(_file(_QUERY.value))


def _missing() -> list[ranking.Missing]:
    inventory = _file(_INVENTORY.value)
    return ranking.missing(
        grid.read_inventory(inventory),
        grid.read_model_types(inventory),
        [model for model in _declared() if model.environment == _ENVIRONMENT.value],
        grid.read_texts(_file(_UNDECLARED.value), "list of undeclared folders"),
        ranking.read(_file(_RANKING.value)),
    )


def _near(word: str, words: Collection[str], otherwise: str) -> str:
    """Returns the advice for a word that is none of the known ones."""
    close = difflib.get_close_matches(word, words, n=1)
    return f"did you mean {close[0]!r}?" if close else otherwise


def find_cell(models: Sequence[Declared], name: str, backend: str, backends: Sequence[str]) -> tuple[Declared, str]:
    """Returns the model and the label of the cell that people call `name`.

    Args:
      models: every declared model.
      name: `llama`, `decoder/llama`, `decoder/llama:cuda` or a label.
      backend: the backend where the name says none.
      backends: every backend.

    Raises:
      InputError: there is no such model or backend, or no cell of it can run.
    """
    path, _, named = name.removeprefix("//").removeprefix("models/").partition(":")
    wanted = path.rstrip("/").rpartition("/")[2]
    model = next((model for model in models if model.name == wanted), None)
    if model is None:
        hint = _near(wanted, [model.name for model in models], "`bazel run //:declared` lists them")
        raise InputError(f"no model {wanted!r} is declared; {hint}")
    if model.unavailable:
        raise InputError(f"{model.label}: no cell can run it: {model.unavailable}")
    return model, f"{model.label.rpartition(':')[0]}:{_known(named or backend, backends)}"


def _known(backend: str, backends: Sequence[str]) -> str:
    if backend not in backends:
        raise InputError(
            f"there is no backend {backend!r}; {_near(backend, backends, 'known: ' + ', '.join(backends))}"
        )
    return backend


def _backend() -> str:
    return _known(_BACKEND.value, _BACKENDS.value)


def _cell(models: Sequence[Declared], name: str) -> tuple[Declared, str]:
    return find_cell(models, name, _BACKEND.value, _BACKENDS.value)


def _one(words: Sequence[str], what: str) -> str:
    if len(words) != 1:
        raise app.UsageError(f"name one {what}")
    return words[0]


def _none(words: Sequence[str]) -> None:
    if words:
        raise app.UsageError(f"unexpected argument {words[0]!r}")


def _since() -> str:
    if not _SINCE.value:
        raise app.UsageError("name the revision to compare with: --since=main")
    return str(_SINCE.value)


def _coverage(words: Sequence[str]) -> int:
    ours = [f"--markdown={_MARKDOWN.value}"] if _MARKDOWN.value else []
    return checkout.find().run("run", "//:coverage", "--", *words, *ours)


def _record(words: Sequence[str]) -> int:
    _none(words)
    return checkout.find().run("run", "//:coverage", "--", "--record", "--quiet")


def _drift(words: Sequence[str]) -> int:
    """Its flags are build settings: what they name is built."""
    _none([word for word in words if not word.startswith("--")])
    return checkout.find().run("run", "//:drift", *(word.replace("--", "--//:", 1) for word in words))


def _add(words: Sequence[str]) -> int:
    """Writes the declarations and then runs their cells: a declaration that was never run says nothing."""
    if not [word for word in words if not word.startswith("-")]:
        raise app.UsageError("name the model folders to add")
    here, backend = checkout.find(), _backend()
    before = set(here.root.glob("models/*/*/BUILD"))
    status = here.run("run", "//:add", "--", *words)
    new = sorted(path.parent for path in set(here.root.glob("models/*/*/BUILD")) - before)
    if not new:
        return status
    tested = here.run("test", "--keep_going", *(f"//{path.relative_to(here.root)}:{backend}" for path in new))
    listed = grid.read_texts(_file(_UNDECLARED.value), "list of undeclared folders")
    for path in new:
        if path.name in listed:
            print(f"models/undeclared.json still says why {path.name} has no declaration: take it out")
    return tested or status


def _batch(words: Sequence[str]) -> int:
    count = _one(words, "number of models to add")
    if not count.isdecimal() or not int(count):
        raise app.UsageError(f"{count!r} is no number of models; give 1 or more")
    folders = [item.folder for item in _missing()[: int(count)]]
    if not folders:
        raise InputError("every model folder of the environment is declared; there is nothing to add")
    return _add(folders)


def _test(words: Sequence[str]) -> int:
    if not words:
        raise app.UsageError("name the models to test")
    models = _declared()
    return checkout.find().run("test", *(_cell(models, word)[1] for word in words))


def _validate(words: Sequence[str]) -> int:
    """The mock backend is this very thing: every declaration against the environment's sources, and no model runs."""
    _none(words)
    return checkout.find().run("test", "--config=mock", "--keep_going", "--test_summary=terse", changes.UNIVERSE)


def _show_missing(words: Sequence[str]) -> int:
    _none(words)
    found = _missing()
    rows = [
        [item.folder, "-" if item.score is None else str(item.score), str(item.classes), item.reason or "not looked at"]
        for item in found
    ]
    title = f"{len(found)} model folders of {_ENVIRONMENT.value} without a declaration"
    terminal.show(
        [
            terminal.table(title, ("folder", "score", "classes", "why"), rows, numbers=("score", "classes")),
            terminal.plain("`add FOLDER` proposes a declaration and runs it; models/ranking.json decides the order"),
        ]
    )
    for label in ranking.vanished(
        grid.read_model_types(_file(_INVENTORY.value)),
        [model for model in _declared() if model.environment == _ENVIRONMENT.value],
    ):
        print(
            f"{label}: its model type is not in {_ENVIRONMENT.value} any more; mend its model_type, or name the last "
            "environment that has it (docs/add-an-environment.md)"
        )
    return 0


def _roadmap(words: Sequence[str]) -> int:
    _none(words)
    stored = history.read(_file(_HISTORY.value))
    for problem in stored.problems:
        print(f"roadmap: not read: {terminal.safe(problem.reason)}", file=sys.stderr)
    if not stored.records:
        raise InputError("the history has no record, so nothing is known to be done; `record` adds one")
    found = roadmap.phases(_declared(), _missing(), stored, gate.read_quotas(_file(_QUOTAS.value)))
    as_of = stored.records[-1].date
    if _MARKDOWN.value:
        files.write(_MARKDOWN.value, roadmap.to_markdown(found, as_of))
    parts = [
        terminal.table(f"Roadmap, as of {as_of}", roadmap.HEADERS, roadmap.rows(found), numbers=("models", "done"))
    ]
    terminal.show(
        [*parts, *(terminal.plain(f"left, {phase.tier}: {', '.join(phase.left)}") for phase in found if phase.left)]
    )
    return 0


def _affected(words: Sequence[str]) -> int:
    """Labels go to standard output and figures to standard error: `bazel test $(... affected ...)` takes the labels."""
    within, backend = _one(words, "target pattern") if words else changes.UNIVERSE, _backend()
    here = checkout.find()
    changed = here.changed(_since())
    cells = changes.touched(here, changed, _BACKENDS.value, within)
    for label in cells:
        if label.endswith(f":{backend}"):
            print(label)
    rows = prediction.rows(cells, prediction.read(_file(_SECONDS.value)) | prediction.seconds(here.root))
    said = (
        f"{len(changed)} files changed since {_since()} and can touch {len(cells)} cells; CPU s are of their last runs"
    )
    table = terminal.table("", prediction.HEADERS, rows, numbers=prediction.HEADERS[1:])
    terminal.show([terminal.plain(said), *([table] if cells else [])], sys.stderr)
    return 0


def _why(words: Sequence[str]) -> int:
    _, cell = _cell(_declared(), _one(words, "cell, such as decoder/llama:cpu"))
    here = checkout.find()
    found = changes.why(here, cell, here.changed(_since()))
    if not found:
        print(f"nothing that changed since {_since()} can touch {cell}")
    for path, way in found.items():
        print(terminal.safe(f"{path}: {' -> '.join(way) if way else 'decides how all of its environment is built'}"))
    return 0


def _explain(words: Sequence[str]) -> int:
    model, cell = _cell(_declared(), _one(words, "cell, such as decoder/llama:cpu"))
    here = checkout.find()
    told = list(explain.lines(here, cell))
    print(f"{cell} is declared in {model.location}, in {model.environment}:\n")
    for line in [*explain.declaration(here.root, model.location).splitlines(), "", *told]:
        print(" " * (len(line) - len(line.lstrip(" "))) + terminal.safe(line))
    return 0


def _diff(words: Sequence[str]) -> int:
    if len(words) != 2:
        raise app.UsageError("two states are compared: diff A.json B.json")
    text = states.difference(words[0], words[1])
    if _MARKDOWN.value:
        files.write(_MARKDOWN.value, text)
    sys.stdout.write(text)
    return 0


def _propose(words: Sequence[str]) -> int:
    found = coverage_format.read(files.for_user(_one(words, "coverage.json")))
    text = proposal.proposals(found, datetime.date.today())
    print(safe_text(text) if text else "no cell failed: there is nothing to propose")
    return 0


COMMANDS = {
    "coverage": Command("--out=site", "prove the grid and show it; all flags of //:coverage", _coverage, True),
    "record": Command("", "add the proven grid to models/history.jsonl", _record),
    "diff": Command("models/history.jsonl site/coverage.json", "what got better, worse, new and gone", _diff),
    "roadmap": Command("--markdown=ROADMAP.md", "what is done, what is left, and when", _roadmap),
    "missing": Command("", "folders without a declaration, the most wanted first", _show_missing),
    "add": Command("moshi", "write a declaration and run its cell; all flags of //:add", _add, True),
    "batch": Command("3", "add the next three of the missing", _batch),
    "validate": Command("", "every declaration against the environment; no model runs", _validate),
    "test": Command("llama t5 --backend=cpu", "run cells", _test),
    "explain": Command("llama", "a cell's declaration, inputs, last run, and how to run it by hand", _explain),
    "why": Command("llama --since=main", "which changed files can make a cell rerun, and how", _why),
    "affected": Command("--since=main //models/decoder/...", "the cells that a change can touch", _affected),
    "propose": Command("site/coverage.json", "entries of known_failures for what failed; you write why", _propose),
    "drift": Command(
        "--from=transformers-5.22", "what changed between two environments; flags of //:drift", _drift, True
    ),
}


def usage() -> str:
    """Returns the commands, each with an example, and the exit codes."""
    lines = [f"  {f'{name} {command.example}':<44}  {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(["bazel run //:toolkit -- COMMAND", "", *lines, "", EXIT_CODES])


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns the exit code."""
    name, words = (argv[1] if len(argv) > 1 else "help"), argv[2:]
    if name == "help":
        print(usage())
        return 0
    try:
        if name not in COMMANDS:
            raise app.UsageError(f"no command {name!r}; {_near(name, COMMANDS, 'known: ' + ', '.join(COMMANDS))}")
        unknown = [word for word in words if word.startswith("-") and not COMMANDS[name].forwards]
        if unknown:
            raise app.UsageError(f"no flag {unknown[0]}")
        return COMMANDS[name].run(words)
    except app.UsageError as error:
        print(f"{name}: {terminal.safe(str(error))} (--help has an example of each command)", file=sys.stderr)
        return 1
    except InputError as error:
        print(f"{name}: {terminal.safe(str(error))}", file=sys.stderr)
        return 2


def _parse(argv: list[str]) -> list[str]:
    """Returns what is no flag of ours: the command, its words, and what goes on to the target that it runs."""
    if "--help" in argv or "-h" in argv:
        print(usage())
        sys.exit(0)
    found: list[str] = flags.FLAGS(argv, known_only=True)
    return found


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
