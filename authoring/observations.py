"""Where the observations of a build's cells lie, for the commands that read them."""

from __future__ import annotations

from collections.abc import Sequence


def packages(paths: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Returns for each model's name its package, `models/decoder/llama`, and the path of its observation."""
    found = {}
    for path in paths:
        package = "models/" + path.partition("models/")[2].rpartition("/")[0]
        found[package.rpartition("/")[2]] = (package, path)
    return found
