"""Which cells a change can touch, from the build graph: the answer of `affected` and `why`.

A file reaches a cell in one of five ways. A file that a target depends on: the graph has the way. A BUILD file: all
targets of its package, for the graph does not know which rule a line belongs to. A `.bzl` file: all targets of the
packages that load it. An adapter of a runtime: the cells of its backends, which toolchain resolution ties to it and no
edge of the graph does. The folder of an environment: the cells that are declared in it. What decides how everything is
built, or how repositories are made, touches every cell.

The answer may be too large and is never too small; what truly reruns is decided by the contents, when Bazel builds.
Files that git ignores, and a checkout of transformers elsewhere, are not looked at.
"""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from report.workspace import Workspace

UNIVERSE = "//models/..."

CELLS = 'kind("hf_cell_test rule", {})'

BACKENDS = "//toolchains"
"""The package with the rule of each backend. Not all of it is asked: it names environments that no cell is in."""

BUILD_FILES = ("BUILD", "BUILD.bazel")

EVERYTHING = ("MODULE.bazel", "WORKSPACE", ".bazelrc", ".bazelversion")
"""Files of the root that decide how everything is built."""

ENVIRONMENTS = "toolchains/environments/"

PLATFORMS = "toolchains/platforms/"
"""Named by `.bazelrc`, not by an edge of the graph."""

REPOSITORIES = "rules/extensions.bzl"
"""What makes every repository; what it loads and names decides how they are made."""

_LABEL = re.compile(r'"(?://([\w./-]*))?:([\w./-]+)"')


@dataclasses.dataclass(frozen=True)
class _Change:
    """What a changed file stands for: targets of the graph, `.bzl` files, environments, or everything."""

    targets: tuple[str, ...] = ()
    loaded: str = ""
    environment: str = ""
    everything: bool = False


def touched(
    workspace: Workspace, changed: Mapping[str, bool], backends: Sequence[str], within: str = UNIVERSE
) -> list[str]:
    """Returns the labels of the cells that the changed files can touch, sorted.

    Args:
      workspace: the checkout.
      changed: paths relative to it, and whether each is still there.
      backends: every backend of the table.
      within: a target pattern: the cells that are asked about.

    Raises:
      InputError: Bazel cannot load the packages.
    """
    changes = list(_changes(workspace.root, changed).values())
    cells = CELLS.format(within)
    if any(change.everything for change in changes):
        return sorted(workspace.query(cells))
    files = [change.loaded for change in changes if change.loaded]
    targets = [target for change in changes for target in change.targets] + _loading(workspace, files, backends)
    found = set(_dependents(workspace, targets, backends, within))
    environments = sorted({change.environment for change in changes if change.environment})
    if environments:
        names = "|".join(re.escape(name) for name in environments)
        found.update(workspace.query(f'attr("recorded_in", "^({names})$", {cells})'))
    return sorted(found)


def _changes(root: Path, changed: Mapping[str, bool]) -> dict[str, _Change]:
    decisive = {*EVERYTHING, *repository_files(root)}
    return {path: _change(root, path, there, path in decisive) for path, there in sorted(changed.items())}


def _change(root: Path, path: str, there: bool, decisive: bool) -> _Change:
    environment, _, rest = path.removeprefix(ENVIRONMENTS).partition("/")
    if path.startswith(ENVIRONMENTS) and rest:
        return _Change(environment=environment)
    if decisive or path.startswith(PLATFORMS):
        return _Change(everything=True)
    package = package_of(root, path)
    if package is None:
        return _Change()
    name = PurePosixPath(path).name
    if name.endswith(".bzl"):
        return _Change(loaded=path)
    # A file that is gone took a glob's target with it: the package as a whole stands for it.
    if name in BUILD_FILES or not there:
        return _Change(targets=(f"//{package}:all",))
    return _Change(targets=(f"//{package}:{PurePosixPath(path).relative_to(package or '.')}",))


def package_of(root: Path, path: str) -> str | None:
    """Returns the package that a file belongs to, `""` for the root's, None outside of every package."""
    for folder in PurePosixPath(path).parents:
        if any(Path(root, folder, name).is_file() for name in BUILD_FILES):
            return "" if str(folder) == "." else str(folder)
    return None


def repository_files(root: Path) -> set[str]:
    """Returns the files that repositories are made by: what the module extension loads, and the programs these name."""
    found: set[str] = set()
    pending = [REPOSITORIES]
    while pending:
        path = pending.pop()
        if path in found or not Path(root, path).is_file():
            continue
        found.add(path)
        if path.endswith(".bzl"):
            here = PurePosixPath(path).parent
            for package, name in _LABEL.findall(Path(root, path).read_text(encoding="utf-8")):
                pending.append(str(PurePosixPath(package or here, name)))
    return found


def _loading(workspace: Workspace, files: Sequence[str], backends: Sequence[str]) -> list[str]:
    """Returns the packages whose BUILD files load one of the `.bzl` files, however far away, as target patterns."""
    if not files:
        return []
    scope = ",".join([UNIVERSE, *(f"{BACKENDS}:{name}" for name in backends)])
    labels = workspace.query(f"rbuildfiles({', '.join(files)})", f"--universe_scope={scope}")
    return [f"{label.rpartition(':')[0]}:all" for label in labels if label.rpartition(":")[2] in BUILD_FILES]


def _dependents(workspace: Workspace, targets: Sequence[str], backends: Sequence[str], within: str) -> list[str]:
    """Returns the cells that depend on any of the targets."""
    if not targets:
        return []
    kinds = "hf_cell_test rule|backend rule"
    universe = " + ".join([within, *(f"{BACKENDS}:{name}" for name in backends)])
    reached = workspace.query(f'kind("{kinds}", rdeps({universe}, {_set(targets)}))')
    adapted = sorted(label.rpartition(":")[2] for label in reached if label.startswith(f"{BACKENDS}:"))
    cells = {label for label in reached if not label.startswith(f"{BACKENDS}:")}
    if adapted:
        cells.update(workspace.query(cells_of(adapted, within)))
    return sorted(cells)


def cells_of(backends: Sequence[str], within: str) -> str:
    """Returns the query for the cells of some backends: each depends on one toolchain as it was resolved."""
    names = "|".join(re.escape(name) for name in backends)
    return f'attr("backend", "{BACKENDS}:({names})[.]resolved$", {CELLS.format(within)})'


def _set(targets: Iterable[str]) -> str:
    quoted = " ".join(f'"{target}"' for target in dict.fromkeys(targets))
    return f"set({quoted})"


def why(workspace: Workspace, cell: str, changed: Mapping[str, bool]) -> dict[str, list[str]]:
    """Returns each changed file that can touch the cell, with one way through the graph from the cell to it.

    The way is empty where no edge shows it: for what decides how everything, or the cell's environment, is built.

    Raises:
      InputError: Bazel cannot load the packages.
    """
    targets = {}
    found: dict[str, list[str]] = {}
    backend = cell.rpartition(":")[2]
    for path, change in _changes(workspace.root, changed).items():
        if change.everything:
            found[path] = []
        elif change.environment:
            if workspace.query(f'attr("recorded_in", "^{re.escape(change.environment)}$", {cell})'):
                found[path] = []
        else:
            loaded = [change.loaded] if change.loaded else []
            targets[path] = [*change.targets, *_loading(workspace, loaded, [backend])]
    every = [target for each in targets.values() for target in each]
    ways = _ways(workspace, cell, every) if every else {}
    for path, each in targets.items():
        reached = [ways[label] for target in each for label in ways if _is_in(label, target)]
        if reached:
            found[path] = min(reached, key=len)
    return dict(sorted(found.items()))


def _is_in(label: str, target: str) -> bool:
    """Returns whether a target, or a pattern of all targets of a package, has the label."""
    package, _, name = target.rpartition(":")
    return label.rpartition(":")[0] == package if name == "all" else label == target


def _ways(workspace: Workspace, cell: str, targets: Sequence[str]) -> dict[str, list[str]]:
    """Returns the shortest way from the cell to each label that it shares with the targets, or that leads there."""
    backend = f"{BACKENDS}:{cell.rpartition(':')[2]}"
    flags = ("--output=graph", "--nograph:factored", "--graph:node_limit=-1")
    lines = workspace.query(f"allpaths({cell} + {backend}, {_set(targets)})", *flags)
    edges: dict[str, list[str]] = {cell: [backend]}
    known = set()
    for line in lines:
        labels = re.findall(r'"([^"]+)"', line)
        known.update(labels)
        if len(labels) == 2:
            edges.setdefault(labels[0], []).append(labels[1])
    ways, pending = {cell: [cell]}, deque([cell])
    while pending:
        here = pending.popleft()
        for label in edges.get(here, ()):
            if label in known and label not in ways:
                ways[label] = [*ways[here], label]
                pending.append(label)
    return {label: way for label, way in ways.items() if label in known}
