"""What a copy of transformers holds, read from its sources and never imported: models, configs, and what reaches what.

The repository rule makes the slices and the inventory from it, and a cell of `mock` its checks of a declaration.
Imports and model classes are found by regular expression (25 MB of source in a fraction of a second), configs in the
syntax tree. What a model really loads is for a cell to see.
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.folders import NESTING, NOT_TORCH, names_of_folders, path_of

# Sources of the modelling files, and scripts that converted checkpoints: nothing imports them.
_NOT_IMPORTED = ("modular_", "convert_")
_MODEL = "PreTrainedModel"

# Each pattern starts with a literal, by which `re` skips through the text; what stands before it is looked at later.
_IMPORT = re.compile(
    r"from (?:\.\.|\.\.\.models\.|transformers\.models\.)(?P<folder>[a-z]\w*)[\w.]* import"
    r"|from (?:\.\.|\.\.\.models|transformers\.models) import (?P<names>\([^)]*\)|[^\n#]*)"
)
_IMPORT_MODULE = re.compile(r"import transformers\.models\.(?P<folder>[a-z]\w*)")
_DEFAULT_TYPES = (
    re.compile(r"""model_type["']?\s*[=:]\s*["']([\w-]+)["']"""),
    re.compile(r"""CONFIG_MAPPING\[["']([\w-]+)["']\]"""),
    re.compile(r"""for_model\(\s*["']([\w-]+)["']"""),
)
_PUBLIC = re.compile(r"\n__all__\s*(?:\+?=|\.extend\()\s*\[(.*?)\]", re.DOTALL)
_STRING = re.compile(r"""["'](\w+)["']""")
_CLASS = re.compile(r"\nclass (\w+)\(([^)]*)\)")
_COMMENT = re.compile(r"#.*")


class ScanError(Exception):
    """The directory is no transformers package. The message says what is missing."""


@dataclasses.dataclass(frozen=True)
class Config:
    """One config class.

    Attributes:
      model_type: what it calls itself in `config.json`; empty if it says nothing.
      fields: every key that its constructor knows, inherited ones and names of `attribute_map` included.
      sub_configs: the class name or model type of each nested config, by the field that holds it; empty where the
        default is another model's and not to be seen in the class.
    """

    model_type: str
    fields: tuple[str, ...]
    sub_configs: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Folder:
    """One folder below `transformers/models`, named as Python names it: `llama`, `deprecated.open_llama`.

    Attributes:
      model_types: every model type that `auto` resolves to this folder.
      configs: its config classes by name.
      classes: its public model classes that can be built: those of `__all__` without the abstract bases.
      imports: the other folders that its code imports.
      reaches: those, and the folders whose models its configs name as a default.
    """

    model_types: tuple[str, ...]
    configs: Mapping[str, Config]
    classes: tuple[str, ...]
    imports: tuple[str, ...]
    reaches: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Inventory:
    """All model folders of one copy of transformers, by name."""

    folders: Mapping[str, Folder]

    def core(self) -> tuple[str, ...]:
        """Returns the folders that `auto` imports, directly or not, sorted: any model may load their configs by it."""
        return self._closure("auto", lambda folder: folder.imports)

    def closure(self, folder: str) -> tuple[str, ...]:
        """Returns `folder` and every folder that it reaches, directly or not, sorted; of `auto` its `core`.

        `auto` itself belongs to no slice, and what it reaches by name to none but those that name it too.
        """
        if folder == "auto":
            return self.core()
        return tuple(sorted({folder, *self._closure(folder, lambda found: found.reaches)}))

    def _closure(self, start: str, step: Callable[[Folder], tuple[str, ...]]) -> tuple[str, ...]:
        """Returns what `step` leads to from `start`, without `start`, never through `auto`."""
        found: set[str] = set()
        pending = list(step(self.folders[start]))
        while pending:
            name = pending.pop()
            if name not in found and name != "auto":
                found.add(name)
                pending += step(self.folders[name])
        return tuple(sorted(found - {start}))


def scan(package: Path) -> Inventory:
    """Returns the inventory of the transformers package at `package` (the folder that holds `models`).

    Raises:
      ScanError: it is no transformers package.
    """
    if not (package / "__init__.py").is_file() or not (package / "models" / "auto").is_dir():
        raise ScanError(f"{package}: no transformers package: __init__.py and models/auto must be in it")
    names = names_of_folders(package)
    sources = _read_folders(package, names)
    types = _ModelTypes(package, names)
    owners = {name: folder for folder in names for name in (*sources[folder].models, *sources[folder].configs)}
    bases = {name: parents for folder in names for name, parents in sources[folder].models.items()}
    return Inventory({folder: _folder(folder, sources[folder], types, owners, bases) for folder in names})


def scan_folder(package: Path, folder: str) -> Folder:
    """Returns one folder of the package at `package`, without reading the others but for what its configs inherit.

    A model class that inherits from another folder's model is recognised by that base's name alone.

    Raises:
      ScanError: there is no such folder.
    """
    if not (path_of(package, folder) / "__init__.py").is_file():
        raise ScanError(f"{package}: no model folder {folder!r}")
    source = _read_folder(package, folder)
    names = sorted({folder, *source.imports, *names_of_folders(package)})
    return _folder(folder, source, _ModelTypes(package, names), dict.fromkeys(source.configs, folder), source.models)


@dataclasses.dataclass(frozen=True)
class _Source:
    """What the files of one folder say, before other folders are known."""

    imports: frozenset[str]
    default_types: frozenset[str]
    public: tuple[str, ...]
    models: Mapping[str, tuple[str, ...]]
    configs: Mapping[str, Config]


def _read_folders(package: Path, names: Sequence[str]) -> dict[str, _Source]:
    """Returns the source of each folder, read by as many processes as there are cores."""
    workers = min(os.cpu_count() or 1, 8)
    read = functools.partial(_read_folder, package)
    if workers == 1 or len(names) < 50:
        return {name: read(name) for name in names}
    with concurrent.futures.ProcessPoolExecutor(workers) as pool:
        return dict(zip(names, pool.map(read, names, chunksize=32), strict=True))


def _read_folder(package: Path, folder: str) -> _Source:
    """Returns what the files of one folder say."""
    imports: set[str] = set()
    default_types: set[str] = set()
    public: list[str] = []
    models: dict[str, tuple[str, ...]] = {}
    configs: dict[str, Config] = {}
    for path in sorted(path_of(package, folder).glob("*.py")):
        if path.name.startswith((*_NOT_IMPORTED, *NOT_TORCH)):
            continue
        text = "\n" + path.read_text(encoding="utf-8")
        if folder.startswith(f"{NESTING}."):  # a level deeper, so relative imports have a dot more
            imports.add(NESTING)
            text = text.replace("from ...", "from ..")
        imports |= set(_imported_folders(text))
        if path.name.startswith("modeling_"):
            default_types |= set(_default_types(text))
            models |= {match[1]: tuple(_names(match[2])) for match in _CLASS.finditer(text)}
            names = [name for block in _PUBLIC.findall(text) for name in _STRING.findall(_COMMENT.sub("", block))]
            public += [name for name in names if "pretrained" not in name.lower() or _runs(text, name)]
        elif path.name.startswith("configuration_") and folder != "auto":
            default_types |= set(_default_types(text))
            configs |= _configs(package, path)
    return _Source(frozenset(imports - {folder}), frozenset(default_types), tuple(public), models, configs)


def _runs(text: str, name: str) -> bool:
    """Returns whether a class of a module has a `forward`, or inherits a tower: what has none is the base of others."""
    bases, _, rest = text.partition(f"\nclass {name}(")[2].partition("):")
    inherited = bases.endswith("PretrainedModel")
    return inherited or "\n    def forward(" in rest.partition("\nclass ")[0]


def _imported_folders(text: str) -> Iterator[str]:
    """Yields each name below `transformers.models` that a module of a model folder imports from."""
    for pattern in (_IMPORT, _IMPORT_MODULE):
        for match in pattern.finditer(text):
            before = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
            if before.strip():
                continue
            names = match.groupdict().get("names")
            yield from [match["folder"]] if names is None else _names(names)


def _default_types(text: str) -> Iterator[str]:
    """Yields each model type that a module names as a value: its own, and those of the sub-configs it makes."""
    for pattern in _DEFAULT_TYPES:
        yield from pattern.findall(text)


def _names(text: str) -> list[str]:
    """Returns the last part of each dotted name in a comma-separated list, such as the bases of a class."""
    parts = _COMMENT.sub("", text).strip("() \t\n").split(",")
    return [part.split(" as ")[0].strip().split(".")[-1] for part in parts if part.strip() and "=" not in part]


def _folder(
    name: str,
    source: _Source,
    types: _ModelTypes,
    owners: Mapping[str, str],
    bases: Mapping[str, tuple[str, ...]],
) -> Folder:
    """Returns the folder of `source`, given which folder owns each class and what each class inherits from."""
    imported = {folder for folder in source.imports if folder in types.folders}
    reached = set(imported)
    reached |= {types.folder(model_type) for model_type in source.default_types if types.folder(model_type)}
    own = types.of_folder.get(name, {})
    # An alias has no config of its own: `auto` takes the class of the folder that defines it.
    reached |= {owners[config] for config in own.values() if config in owners}
    classes = [
        each
        for each in dict.fromkeys(source.public)
        if not each.endswith(_MODEL) and _is_model(each, bases, frozenset())
    ]
    return Folder(
        model_types=tuple(sorted(own)),
        configs=source.configs,
        classes=tuple(sorted(classes)),
        imports=tuple(sorted(imported - {name})),
        reaches=tuple(sorted(reached - {name})),
    )


def _is_model(name: str, bases: Mapping[str, tuple[str, ...]], seen: frozenset[str]) -> bool:
    """Returns whether the class inherits, directly or not, from a class named `...PreTrainedModel`."""
    if name.endswith(_MODEL):
        return True
    parents = () if name in seen else bases.get(name, ())
    return any(_is_model(parent, bases, seen | {name}) for parent in parents)


class _ModelTypes:
    """Which config class and which folder `auto` gives a model type.

    Attributes:
      folders: every model folder.
      configs: the name of each model type's config class.
      of_folder: the same by the folder that defines the type.
    """

    def __init__(self, package: Path, folders: Sequence[str]) -> None:
        self.folders = frozenset(folders)
        self.configs: dict[str, str] = {}
        self._special: dict[str, str] = {}
        for name in ("auto_mappings.py", "configuration_auto.py"):
            path = package / "models" / "auto" / name
            if path.is_file():
                tree = ast.parse(path.read_text(encoding="utf-8"))
                self.configs |= _string_pairs(tree, "CONFIG_MAPPING_NAMES")
                self._special |= _string_pairs(tree, "SPECIAL_MODEL_TYPE_TO_MODULE_NAME")
        self.of_folder: dict[str, dict[str, str]] = {}
        for model_type, config in self.configs.items():
            self.of_folder.setdefault(self.folder(model_type), {})[model_type] = config

    def folder(self, model_type: str) -> str:
        """Returns the folder that defines `model_type`, or the empty string if none does."""
        name = self._special.get(model_type, model_type.replace("-", "_"))
        return next((each for each in (name, f"{NESTING}.{name}") if each in self.folders), "")


def _string_pairs(tree: ast.Module, variable: str) -> dict[str, str]:
    """Returns the pairs of strings that a module's top level puts into the mapping named `variable`."""
    pairs: dict[str, str] = {}
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name == variable:
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if name == variable:
                pass
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="update")) as value):
                if name != variable:
                    continue
            case _:
                continue
        for node in ast.walk(value):
            match node:
                case ast.Tuple(elts=[ast.Constant(value=str(key)), ast.Constant(value=str(text))]):
                    pairs[key] = text
                case ast.Dict(keys=keys, values=values):
                    for key_node, value_node in zip(keys, values, strict=True):
                        match key_node, value_node:
                            case ast.Constant(value=str(key)), ast.Constant(value=str(text)):
                                pairs[key] = text
    return pairs


@dataclasses.dataclass(frozen=True)
class _ConfigClass:
    """One class of a module as written there: nothing inherited is in it."""

    bases: tuple[str, ...]
    model_type: str | None
    fields: tuple[str, ...]
    sub_configs: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class _Module:
    """The classes of a module, and where the names it imports come from: file and name there."""

    classes: Mapping[str, _ConfigClass]
    imports: Mapping[str, tuple[Path, str]]


def _configs(package: Path, path: Path) -> dict[str, Config]:
    """Returns the config classes that the module at `path` defines, with what they inherit."""
    found = {}
    for name in _module(package, path).classes:
        ancestry = list(_ancestry(package, path, name))
        # A class that says which model it is, or inherits from one that does, is a config; a helper beside it is not.
        if not any(each.model_type is not None for each in ancestry):
            continue
        fields = dict.fromkeys(field for each in reversed(ancestry) for field in each.fields)
        sub_configs: dict[str, str] = {}
        for each in reversed(ancestry):
            sub_configs |= each.sub_configs
        model_type = next(each.model_type for each in ancestry if each.model_type is not None)
        found[name] = Config(model_type, tuple(fields), sub_configs)
    return found


def _ancestry(package: Path, path: Path, name: str) -> Iterator[_ConfigClass]:
    """Yields the class `name` of the module at `path` and what it inherits from within transformers, nearest first."""
    module = _module(package, path)
    if name in module.classes:
        found = module.classes[name]
        yield found
        for base in found.bases:
            if base != name:
                yield from _ancestry(package, path, base)
    elif name in module.imports:
        yield from _ancestry(package, *module.imports[name])


@functools.cache
def _module(package: Path, path: Path) -> _Module:
    """Returns the module at `path`; an empty one if there is no such file."""
    if not path.is_file():
        return _Module({}, {})
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = {node.name: _config_class(node) for node in tree.body if isinstance(node, ast.ClassDef)}
    imports: dict[str, tuple[Path, str]] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level and node.module:
            source = path.parents[node.level - 1].joinpath(*node.module.split("."))
            # A package re-exports lazily; the config it means is in the module named like the folder.
            file = source / f"configuration_{source.name}.py" if source.is_dir() else source.with_suffix(".py")
            imports |= {alias.asname or alias.name: (file, alias.name) for alias in node.names}
    return _Module(classes, imports)


def _config_class(node: ast.ClassDef) -> _ConfigClass:
    """Returns what the class says of itself; its fields are annotations, arguments, setters or popped keywords."""
    model_type: str | None = None
    fields: list[str] = []
    sub_configs: dict[str, str] = {}
    for statement in node.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                if not _is_class_variable(annotation):
                    fields.append(name)
                elif name == "model_type" and isinstance(statement.value, ast.Constant):
                    model_type = str(statement.value.value)
            case ast.Assign(targets=[ast.Name(id="model_type")], value=ast.Constant(value=str(text))):
                model_type = text
            case ast.Assign(targets=[ast.Name(id="attribute_map")], value=ast.Dict(keys=keys)):
                fields += [key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
            case ast.Assign(targets=[ast.Name(id="sub_configs" | "sub_configs_defaults")], value=ast.Dict() as value):
                sub_configs |= _sub_configs(value)
            case ast.FunctionDef():
                fields += _keywords(statement)
    return _ConfigClass(
        bases=tuple(base.attr if isinstance(base, ast.Attribute) else ast.unparse(base) for base in node.bases),
        model_type=model_type,
        fields=tuple(dict.fromkeys(fields)),
        sub_configs=sub_configs,
    )


def _is_class_variable(annotation: ast.expr) -> bool:
    """Returns whether the annotation is `ClassVar`, with or without a type: such a name is no field."""
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    name = annotation.attr if isinstance(annotation, ast.Attribute) else getattr(annotation, "id", "")
    return name == "ClassVar"


def _sub_configs(value: ast.Dict) -> dict[str, str]:
    """Returns, for each nested config of the mapping, its default model type, or else the name of its class."""
    found = {}
    for key, spec in zip(value.keys, value.values, strict=True):
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            continue
        match spec:
            case ast.Name(id=name):
                found[key.value] = "" if name == "AutoConfig" else name
            case ast.Call(keywords=keywords):
                given = {keyword.arg: keyword.value for keyword in keywords}
                default = given.get("model_type", given.get("config_class"))
                found[key.value] = (
                    str(default.value) if isinstance(default, ast.Constant) else ast.unparse(default or spec)
                )
    return found


def _keywords(function: ast.FunctionDef) -> list[str]:
    """Returns the config keys that a method takes: a setter's name, arguments of `__init__`, keywords that it pops."""
    if any(isinstance(each, ast.Attribute) and each.attr == "setter" for each in function.decorator_list):
        return [function.name]
    if function.name not in ("__init__", "__post_init__"):
        return []
    names = [argument.arg for argument in (*function.args.args[1:], *function.args.kwonlyargs)]
    for node in ast.walk(function):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="kwargs"), attr="pop" | "get"),
                args=[ast.Constant(value=str(key)), *_],
            ):
                names.append(key)
    return names


def to_json(inventory: Inventory) -> dict[str, Any]:
    """Returns the inventory as `inventory.json` holds it: an entry for each folder, its closure as `slices`."""
    return {
        name: {
            "classes": list(folder.classes),
            "configs": {each: dataclasses.asdict(config) for each, config in sorted(folder.configs.items())},
            "model_types": list(folder.model_types),
            "reaches": list(folder.reaches),
            "slices": list(inventory.closure(name)),
        }
        for name, folder in inventory.folders.items()
    }


def _manifest(package: Path) -> str:
    """Returns one line for each module of the package, its sha256 and path, so that a change of any changes it."""
    paths = sorted(path for path in package.rglob("*") if path.suffix != ".pyc" and path.is_file())
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(package.parent)}\n" for path in paths
    )


def main(arguments: Sequence[str]) -> int:
    """Runs the command line of the repository rule; returns 0, or 1 after one message on standard error."""
    parser = argparse.ArgumentParser(prog="scan", description=__doc__)
    parser.add_argument("--package", type=Path, required=True, help="the transformers package")
    parser.add_argument("--inventory", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--manifest", type=Path, help="write a sha256 for each file of the package here")
    options = parser.parse_args(arguments)
    try:
        inventory = scan(options.package)
    except ScanError as error:
        print(error, file=sys.stderr)
        return 1
    options.inventory.write_text(json.dumps(to_json(inventory), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if options.manifest:
        options.manifest.write_text(_manifest(options.package), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
