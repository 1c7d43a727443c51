"""What a changed file stands for, with a Bazel that answers from a list; the e2e test asks a real one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from report import changes
from report.strict import InputError
from report.workspace import Workspace

LLAMA = "//models/decoder/llama:cpu"
BACKENDS = ("cpu", "cuda")


class Graph(Workspace):
    """A checkout whose graph is a list of answers: what an expression must hold, and the lines that it finds."""

    def __init__(self, root: Path, found: dict[str, list[str]]) -> None:
        super().__init__(root, ["bazel"])
        self._found = found
        self.asked: list[str] = []

    def query(self, expression: str, *options: str) -> list[str]:
        """Returns the answer of the first entry that is part of the expression."""
        self.asked.append(expression)
        return next((lines for part, lines in self._found.items() if part in expression), [])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with three packages, and a module extension that names a program."""
    for package in ("models/decoder/llama", "harness", "rules"):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "BUILD").write_text("")
    (tmp_path / "rules/extensions.bzl").write_text('load(":repositories.bzl", "all")\n')
    (tmp_path / "rules/repositories.bzl").write_text('_scan = attr.label(default = "//harness:scan.py")\n')
    (tmp_path / "harness/scan.py").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("path", "there", "target"),
    [
        ("models/decoder/llama/reference.json", True, 'set("//models/decoder/llama:reference.json")'),
        ("models/decoder/llama/BUILD", True, 'set("//models/decoder/llama:all")'),
        ("harness/gone.py", False, 'set("//harness:all")'),
        ("harness/deep/er.py", True, 'set("//harness:deep/er.py")'),
    ],
)
def test_a_file_stands_for_its_targets(root: Path, path: str, there: bool, target: str) -> None:
    assert changes.touched(Graph(root, {target: [LLAMA]}), {path: there}, BACKENDS) == [LLAMA]


def test_a_bzl_file_stands_for_the_packages_that_load_it(root: Path) -> None:
    loads = ["//models/decoder/llama:BUILD", "@@sets//:BUILD.bazel", "//rules:defs.bzl"]
    graph = Graph(
        root, {"rbuildfiles(rules/cell.bzl)": loads, 'set("//models/decoder/llama:all" "@@sets//:all")': [LLAMA]}
    )
    assert changes.touched(graph, {"rules/cell.bzl": True}, BACKENDS) == [LLAMA]


def test_an_adapter_touches_the_cells_of_its_backends(root: Path) -> None:
    graph = Graph(
        root,
        {
            '"//harness:eager.py"': ["//toolchains:cuda"],
            changes.cells_of(["cuda"], "//models/..."): ["//models/a:cuda"],
        },
    )
    assert changes.touched(graph, {"harness/eager.py": True}, BACKENDS) == ["//models/a:cuda"]


def test_a_lock_touches_the_cells_of_its_environment(root: Path) -> None:
    graph = Graph(root, {r'attr("recorded_in", "^(transformers\-4\.57)$"': ["//models/old:cpu"]})
    path = "toolchains/environments/transformers-4.57/requirements.in"
    assert changes.touched(graph, {path: True}, BACKENDS) == ["//models/old:cpu"]


@pytest.mark.parametrize(
    "path", ["MODULE.bazel", "harness/scan.py", "rules/repositories.bzl", "toolchains/platforms/BUILD"]
)
def test_what_decides_how_all_is_built_touches_every_cell(root: Path, path: str) -> None:
    graph = Graph(root, {changes.CELLS.format(changes.UNIVERSE): ["//models/b:cpu", "//models/a:cpu"]})
    assert changes.touched(graph, {path: True, "README.md": True}, BACKENDS) == ["//models/a:cpu", "//models/b:cpu"]


def test_a_file_outside_of_packages_touches_nothing(root: Path) -> None:
    graph = Graph(root, {})
    assert changes.touched(graph, {"notes/today.md": True}, BACKENDS) == []
    assert graph.asked == []


def test_many_files_are_few_questions(root: Path) -> None:
    graph = Graph(root, {})
    changed = {f"harness/{number}.{kind}": True for number in range(99) for kind in ("py", "bzl")}
    assert changes.touched(graph, changed, BACKENDS) == []
    assert len(graph.asked) == 2, "one of what loads the .bzl files, and one of what depends on the others"


def test_environments_that_no_cell_is_in_are_not_asked_about(root: Path) -> None:
    graph = Graph(root, {})
    changes.touched(graph, {"harness/a.py": True}, BACKENDS)
    assert "rdeps(//models/... + //toolchains:cpu + //toolchains:cuda, " in graph.asked[0]


def test_why_shows_the_shortest_way_and_what_has_none(root: Path) -> None:
    edges = [
        f'  "{LLAMA}" -> "//harness:core"',
        '  "//harness:core" -> "//harness:a.py"',
        f'  "{LLAMA}" -> "//harness:b"',
    ]
    edges += [
        '  "//harness:b" -> "//harness:core"',
        '  "//toolchains:cpu" -> "//harness:eager.py"',
        '  "//toolchains:cpu"',
    ]
    graph = Graph(root, {"allpaths": edges})
    changed = dict.fromkeys(["harness/a.py", "harness/eager.py", "harness/other.py", ".bazelrc"], True)
    assert changes.why(graph, LLAMA, changed) == {
        ".bazelrc": [],
        "harness/a.py": [LLAMA, "//harness:core", "//harness:a.py"],
        "harness/eager.py": [LLAMA, "//toolchains:cpu", "//harness:eager.py"],
    }


def test_what_the_repositories_are_made_by_is_found_in_the_rules() -> None:
    found = changes.repository_files(Path())
    assert {"harness/scan.py", "toolchains/environments/fetch.py", "toolchains/host/identify.py"} <= found
    assert "rules/private/transformers.bzl" in found and "rules/private/grid.bzl" not in found


def test_git_says_what_changed_and_what_is_gone(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *words], cwd=tmp_path, check=True)

    git("init", "-q")
    checkout = tmp_path / "below"
    checkout.mkdir()
    for name in ("kept", "changed", "gone"):
        (checkout / name).write_text(name)
    (tmp_path / "outside").touch()
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    (checkout / "changed").write_text("otherwise")
    (checkout / "gone").unlink()
    (checkout / "new name").write_text("new")
    (tmp_path / "outside").write_text("of no interest")
    workspace = Workspace(checkout, ["bazel"])
    assert workspace.changed("HEAD") == {"changed": True, "gone": False, "new name": True}
    for revision in ("nowhere", "--output=x"):
        with pytest.raises(InputError, match="git knows no revision"):
            workspace.changed(revision)


def test_a_refusing_bazel_is_quoted(tmp_path: Path) -> None:
    bazel = tmp_path / "bazel"
    bazel.write_text("#!/bin/sh\necho 'ERROR: no such package' >&2\nexit 7\n")
    bazel.chmod(0o755)
    with pytest.raises(InputError, match="no such package"):
        Workspace(tmp_path, [str(bazel)]).query("//...")
    with pytest.raises(InputError, match="cannot be run"):
        Workspace(tmp_path, [str(tmp_path / "none")]).query("//...")


def test_bazel_is_asked_with_the_path_that_the_launcher_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bazel"
    program.write_text('#!/bin/sh\necho "$PATH"\n')
    program.chmod(0o755)
    monkeypatch.setenv("MODELGRID_PATH", "/of/the/user")
    assert Workspace(tmp_path, [str(program)]).query("//...") == ["/of/the/user"]
