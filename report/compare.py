"""What got better, worse, new and gone between two states of the grid, and the same as Markdown."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from report.history import States
from report.words import MARKS, code, rank, spaced


@dataclasses.dataclass(frozen=True)
class Change:
    """One cell before and after, each as status and level; None where it did not run."""

    name: str
    backend: str
    before: tuple[str, str] | None
    after: tuple[str, str] | None


@dataclasses.dataclass(frozen=True)
class Difference:
    """The cells that are not as they were, by name."""

    better: tuple[Change, ...]
    worse: tuple[Change, ...]
    new: tuple[Change, ...]
    gone: tuple[Change, ...]
    same: int


def compare(before: States, after: States) -> Difference:
    """Returns what became of the cells of `before`, and which are new.

    A cell is better or worse by whether it is covered, then by its level, then by its status.
    """
    changes = [
        Change(name, backend, before.get((name, backend)), after.get((name, backend)))
        for name, backend in sorted(before.keys() | after.keys())
    ]
    both = [(change, _step(change)) for change in changes if change.before and change.after]
    return Difference(
        better=tuple(change for change, step in both if step > 0),
        worse=tuple(change for change, step in both if step < 0),
        new=tuple(change for change in changes if change.before is None),
        gone=tuple(change for change in changes if change.after is None),
        same=sum(step == 0 for _, step in both),
    )


def _step(change: Change) -> int:
    assert change.before and change.after
    before, after = rank(*change.before), rank(*change.after)
    return (after > before) - (after < before)


def markdown(difference: Difference, before: str, after: str) -> str:
    """Returns the difference as Markdown for a pull request.

    Args:
      difference: what `compare` returned.
      before: what the first state is, in a few words.
      after: what the second is.
    """
    counts = ", ".join(f"{len(part)} {word}" for word, part in _parts(difference))
    lines = ["### Coverage", "", f"{counts}, {difference.same} as before ({code(before)} to {code(after)})."]
    for word, part in _parts(difference):
        if part:
            lines += ["", *_table(word, part)]
    return "\n".join(lines) + "\n"


def _parts(difference: Difference) -> list[tuple[str, tuple[Change, ...]]]:
    return [(word, getattr(difference, word)) for word in ("worse", "better", "gone", "new")]


def _table(word: str, changes: Sequence[Change]) -> Iterator[str]:
    yield f"**{word.capitalize()}**"
    yield ""
    yield "| model | backend | before | after |"
    yield "| --- | --- | --- | --- |"
    for change in changes:
        yield f"| {code(change.name)} | {code(change.backend)} | {_state(change.before)} | {_state(change.after)} |"


def _state(state: tuple[str, str] | None) -> str:
    return f"{MARKS[state[0]]} {spaced(state[0])}, {state[1]}" if state else ""
