"""The `mock` runtime: proves that a declaration and the harness are sound, with neither PyTorch nor transformers.

Everything is read, nothing is imported: the model's folder by `harness.scan`, the category's checks from their sources.
Each of those is reported as not run; a mock verdict says nothing of the model and counts for nothing.
"""

from __future__ import annotations

import ast
import difflib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.folders import path_of
from harness.reporter import HarnessFault, PlannedCheck, Reporter
from harness.scan import Config, Folder, ScanError, scan_folder
from harness.spec import MARKS, Spec, SpecError
from harness.verdict import CHECK_LEVELS, CheckResult, ModelFacts

COMMON_FIELDS = (
    "architectures",
    "chunk_size_feed_forward",
    "dtype",
    "id2label",
    "is_encoder_decoder",
    "label2id",
    "model_type",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "problem_type",
    "return_dict",
)
"""Fields that every configuration has from its base class, whose source is not among a mock cell's inputs."""


class Declaration:
    """What can be said of a declaration without running anything; each method raises SpecError for a mistake."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    @cached_property
    def folder(self) -> Folder:
        """The model's folder as its sources say."""
        return self._scan(self._spec.folder)

    def _scan(self, name: str) -> Folder:
        package = self._package(name)
        if package is None:
            raise ScanError(f"no model folder {name!r}")
        return scan_folder(package, name)

    @staticmethod
    def _package(name: str) -> Path | None:
        """Returns the transformers package that has the model folder `name` among this cell's inputs."""
        packages = [Path(entry) / "transformers" for entry in sys.path]
        return next((found for found in packages if (path_of(found, name) / "__init__.py").is_file()), None)

    def check_folder(self) -> None:
        """The folder exists in the environment and is one of the declared slices."""
        spec = self._spec
        try:
            found = self.folder
        except ScanError:
            raise SpecError(
                f"{spec.label}: model folder {spec.folder!r} is not in environment {spec.environment!r}"
                f"{_nearest(spec.folder, spec.slices)}"
            ) from None
        if spec.folder not in spec.slices:
            raise SpecError(f"{spec.label}: model folder {spec.folder!r} is not among the slices {list(spec.slices)}")
        if not found.classes:
            raise SpecError(f"{spec.label}: model folder {spec.folder!r} holds no model class")

    def check_class(self) -> None:
        """The main class is one of the folder's."""
        spec, known = self._spec, self.folder.classes
        if spec.main_class not in known:
            raise SpecError(
                f"{spec.label}: class {spec.main_class!r} is not in model folder {spec.folder!r}"
                f"{_nearest(spec.main_class, known)} (it has {', '.join(known)})"
            )

    def check_model_type(self) -> None:
        """Some configuration of the folder has the declared model type."""
        spec = self._spec
        known = sorted(config.model_type for config in self.folder.configs.values() if config.model_type)
        if spec.model_type not in known:
            raise SpecError(
                f"{spec.label}: no configuration in model folder {spec.folder!r} has model type {spec.model_type!r}"
                f"{_nearest(spec.model_type, known)} (it has {', '.join(known)})"
            )

    def check_config_keys(self) -> None:
        """Every declared key is a field of the configuration that it is given to, as far as sources tell."""
        config = next(c for c in self.folder.configs.values() if c.model_type == self._spec.model_type)
        self._check_keys(config, self._spec.config, "config")

    def _check_keys(self, config: Config, declared: Mapping[str, Any], where: str) -> None:
        known = [*config.fields, *config.sub_configs, *COMMON_FIELDS, *MARKS, *self._read_names]
        for key, value in declared.items():
            if key not in known:
                raise SpecError(f"{self._spec.label}: {where} key {key!r} is not a field of it{_nearest(key, known)}")
            if isinstance(value, Mapping) and key in config.sub_configs:
                inner = self._config_named(value.get("model_type") or config.sub_configs[key])
                if inner is not None:
                    self._check_keys(inner, value, f"{where}.{key}")

    @cached_property
    def _read_names(self) -> list[str]:
        """The names of the attributes that the folder's models read from a `config`, or a part of one."""
        package = self._package(self._spec.folder)
        files = path_of(package, self._spec.folder).glob("modeling_*.py") if package is not None else ()
        texts = [file.read_text(encoding="utf-8") for file in files]
        read = re.compile(r"""(?:(?<=config\.)|getattr\(config, ["'])(\w+)""")
        return sorted({name for text in texts for name in read.findall(text)})

    def _config_named(self, name: str) -> Config | None:
        """Returns the configuration of a class name or model type in any of the cell's slices."""
        # The core has a part of some slices, and a mock cell has no core.
        for folder in filter(self._package, self._spec.slices):
            for class_name, config in self._scan(folder).configs.items():
                if name in (class_name, config.model_type):
                    return config
        return None


def _nearest(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def plan(files: Iterable[Path]) -> list[PlannedCheck]:
    """Returns the checks that the sources of `files` hold, in the order in which a run takes them.

    Raises:
      HarnessFault: a check has no docstring, no level that exists, or its name twice; or the text is no Python.
    """
    found: list[tuple[int, PlannedCheck]] = []
    for file in files:
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except SyntaxError as error:
            raise HarnessFault(f"harness/checks/{file.name}: {error}") from error
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.append(_planned(file, node))
    found.sort(key=lambda item: item[0])
    names = [check.id for _, check in found]
    double = sorted({name for name in names if names.count(name) > 1})
    if double or not found:
        raise HarnessFault(f"checks that exist twice: {', '.join(double)}" if double else "no check was found")
    return [check for _, check in found]


def _planned(file: Path, node: ast.FunctionDef) -> tuple[int, PlannedCheck]:
    """Returns a check's place in the run and its plan, as its decorator says."""
    name = f"{file.stem}::{node.name.removeprefix('test_')}"
    calls = [d for d in node.decorator_list if isinstance(d, ast.Call) and getattr(d.func, "id", "") == "check"]
    if not calls:
        raise HarnessFault(f"check {name} has no @check(...)")
    values = {k.arg: k.value.value for k in calls[0].keywords if k.arg and isinstance(k.value, ast.Constant)}
    if values.get("level") not in CHECK_LEVELS:
        raise HarnessFault(f"check {name} has level {values.get('level')!r}, not one of {', '.join(CHECK_LEVELS)}")
    if not ast.get_docstring(node):
        raise HarnessFault(f"check {name} has no docstring that says which defect it finds")
    level = str(values["level"])
    place = len(CHECK_LEVELS) if values.get("last") else CHECK_LEVELS.index(level)
    return place, PlannedCheck(id=name, level=level, core=bool(values.get("core")))


def check_core(planned: Iterable[PlannedCheck], core: Mapping[str, Iterable[str]], category: str) -> None:
    """Raises a HarnessFault unless the category's list of core checks is that of the checks' own marks."""
    marked = {(check.level, check.id) for check in planned if check.core}
    listed = {(level, name) for level, names in core.items() for name in names}
    if marked != listed:
        odd = ", ".join(sorted(name for _, name in marked ^ listed))
        raise HarnessFault(f"harness/checks/core.py and the checks of category {category!r} disagree on: {odd}")


def run(spec: Spec, reporter: Reporter) -> None:
    """Checks the declaration, plans the category's checks and reports each as not run.

    Raises:
      HarnessFault: the checks themselves are not sound.
    """
    from harness.cell import check_files
    from harness.checks.core import CORE

    planned = plan(check_files(spec.category))
    check_core(planned, CORE[spec.category], spec.category)
    declaration = Declaration(spec)
    own: dict[str, Callable[[], None]] = {
        "mock::folder_is_a_declared_slice": declaration.check_folder,
        "mock::main_class_is_in_the_folder": declaration.check_class,
        "mock::model_type_is_in_the_folder": declaration.check_model_type,
        "mock::config_keys_are_fields": declaration.check_config_keys,
    }
    reporter.planned([*(PlannedCheck(id=name, level="mock", core=True) for name in own), *planned])
    failed = ""
    for name, verify in own.items():
        failed = _skip(reporter, name, failed) if failed else _report(reporter, name, verify)
    for check in planned:
        message = "mock: no model was run"
        reporter.finished(CheckResult(check.id, check.level, check.core, "not_run", message))
    reporter.facts(ModelFacts())
    reporter.done()


def _report(reporter: Reporter, name: str, verify: Callable[[], None]) -> str:
    """Runs one check of the declaration; returns its name if it failed."""
    reporter.started(name)
    try:
        verify()
    except SpecError as error:
        reporter.finished(CheckResult(name, "mock", True, "failed", str(error)))
        return name
    reporter.finished(CheckResult(name, "mock", True, "passed"))
    return ""


def _skip(reporter: Reporter, name: str, failed: str) -> str:
    reporter.finished(CheckResult(name, "mock", True, "not_run", f"{failed} failed"))
    return failed
