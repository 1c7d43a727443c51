"""What has no declaration, in the order in which it is worth having one: the answer of `missing` and `batch`.

The order is data: `models/ranking.json` gives the weight of each criterion, and for each folder a rating from 0 to 5 by
each. A folder without ratings comes last, and is said to have none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from report import strict
from report.graph import Declared

CRITERIA = ("usage", "distinct", "demand", "resources", "complexity")
"""Use of its checkpoints; an architecture like no other; how often it is asked for; what a run costs (5: little); how
much of its own a declaration needs (5: nothing)."""

HIGHEST = 5

VERSION = 1


@dataclasses.dataclass(frozen=True)
class Ranking:
    """The ranking's inputs.

    Attributes:
      source: where the ratings are from, for people.
      weights: weight of each criterion.
      ratings: for each folder its rating by each criterion, 0 to 5.
    """

    source: str
    weights: Mapping[str, int]
    ratings: Mapping[str, Mapping[str, int]]

    def score(self, folder: str) -> int | None:
        """Returns the weighted sum, None for a folder that nobody rated."""
        ratings = self.ratings.get(folder)
        return None if ratings is None else sum(self.weights[name] * ratings[name] for name in CRITERIA)


@dataclasses.dataclass(frozen=True)
class Missing:
    """One model folder without a declaration.

    Attributes:
      reason: why there is none, as models/undeclared.json says; empty where nobody has looked yet.
      score: its place in the ranking; None without ratings.
      classes: number of its public model classes.
    """

    folder: str
    reason: str
    score: int | None
    classes: int


def read(path: Path) -> Ranking:
    """Returns the ranking in the file at `path`.

    Raises:
      strict.InputError: it is of another version, or a criterion or rating is missing, unknown or out of range.
    """
    value = strict.versioned(strict.read(path, "ranking"), VERSION, str(path))
    ranking = strict.build(Ranking, value, str(path))
    for where, ratings in {"weights": ranking.weights, **ranking.ratings}.items():
        if set(ratings) != set(CRITERIA):
            raise strict.InputError(f"{path}: {where} has {sorted(ratings)}; it must have {', '.join(CRITERIA)}")
        if where != "weights" and not all(0 <= rating <= HIGHEST for rating in ratings.values()):
            raise strict.InputError(f"{path}: {where} has a rating outside 0 to {HIGHEST}")
    return ranking


def missing(
    classes: Mapping[str, Sequence[str]],
    model_types: Mapping[str, str],
    declared: Sequence[Declared],
    reasons: Mapping[str, str],
    ranking: Ranking,
) -> list[Missing]:
    """Returns the folders that have no declaration, what is most worth having first.

    Args:
      classes: the public model classes of each folder of the environment.
      model_types: the folder of each model type of the environment.
      declared: the models that are declared in the environment.
      reasons: for each folder that was looked at and has none, why.
      ranking: what decides the order.
    """
    taken = {model.folder or model_types.get(model.model_type) for model in declared}
    found = [
        Missing(folder, reasons.get(folder, ""), ranking.score(folder), len(names))
        for folder, names in classes.items()
        if names and folder not in taken
    ]
    return sorted(found, key=lambda item: (item.score is None, -(item.score or 0), item.folder))


def vanished(model_types: Mapping[str, str], declared: Sequence[Declared]) -> list[str]:
    """Returns the labels of the models whose model type the environment does not have any more."""
    return [model.label for model in declared if not model.unavailable and model.model_type not in model_types]
