"""Strict reading of JSON that another program wrote: exactly the fields of a frozen dataclass, of its types.

What the values mean is left to the format's own module.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """Input that no report can be made from. The message names the file or label, the fault and the fix."""


def read(path: Path, what: str) -> Any:
    """Returns the JSON value in the file at `path`.

    Args:
      path: file to read.
      what: what the file is, for the message.

    Raises:
      InputError: the file cannot be read or holds no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise InputError(f"{path}: {what} cannot be read ({error.strerror}); build it again") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {what} is not JSON ({error}); build it again") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def versioned(value: Any, version: int, where: str) -> dict[str, Any]:
    """Returns the object `value` without its version field.

    Raises:
      InputError: it is no object, or of another version.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, found {type(value).__name__}")
    found = value.get("version")
    if type(found) is not int or found != version:
        newer = "; it is newer than this checkout, update the checkout" if _is_newer(found, version) else ""
        raise InputError(f"{where}: version {found!r}, this report reads {version}{newer or '; build it again'}")
    return {key: item for key, item in value.items() if key != "version"}


def _is_newer(found: Any, version: int) -> bool:
    return type(found) is int and found > version


def build(cls: type[T], value: Any, where: str) -> T:
    """Returns the dataclass `cls` made from a JSON object with its fields and no others.

    Fields may be `str`, `int`, `float`, `bool`, `Mapping[str, ...]`, `tuple[X, ...]` or a dataclass; a field with a
    default may be left out.

    Raises:
      InputError: a field is missing, unknown, or of another type.
    """
    try:
        made: T = _reader(cls)(value)  # type: ignore[arg-type]
    except _FaultError as fault:
        raise InputError(f"{where}{fault.path}: {fault.message}") from None
    return made


class _FaultError(Exception):
    """What is wrong, and where: the path is put together on the way out, so that what is right costs nothing."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path

    def inside(self, step: str) -> _FaultError:
        return _FaultError(self.message, step + self.path)


_Reader = Callable[[Any], Any]


@functools.cache
def _reader(hint: Any) -> _Reader:
    """Returns what makes a value of the type `hint` from a JSON value, or raises `_FaultError`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (some,) = (argument for argument in arguments if argument is not type(None))
        read_some = _reader(some)
        return lambda value: None if value is None else read_some(value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _dataclass_reader(hint)
    if origin is tuple:
        return _tuple_reader(_reader(arguments[0]))
    if origin is Mapping:
        return _mapping_reader(_reader(arguments[1]))
    if hint is Any:
        return lambda value: value
    return _scalar_reader(hint)


def _dataclass_reader(cls: type[Any]) -> _Reader:
    hints = typing.get_type_hints(cls)
    readers = {field.name: _reader(hints[field.name]) for field in dataclasses.fields(cls)}
    required = {field.name for field in dataclasses.fields(cls) if _is_required(field)}

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _FaultError(f"expected an object, found {type(value).__name__}")
        if not required <= value.keys() <= readers.keys():
            missing, unknown = sorted(required - value.keys()), sorted(value.keys() - readers.keys())
            raise _FaultError(
                f"missing fields {missing}, unknown fields {unknown}; "
                "another version of the rules wrote it, build it again"
            )
        made = {}
        for name, item in value.items():
            try:
                made[name] = readers[name](item)
            except _FaultError as fault:
                raise fault.inside(f": {name}") from None
        return cls(**made)

    return read


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _tuple_reader(read_item: _Reader) -> _Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise _FaultError(f"expected a list, found {type(value).__name__}")
        made = []
        for item in value:
            try:
                made.append(read_item(item))
            except _FaultError as fault:
                raise fault.inside(f"[{len(made)}]") from None
        return tuple(made)

    return read


def _mapping_reader(read_item: _Reader) -> _Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _FaultError(f"expected an object, found {type(value).__name__}")
        made = {}
        for key, item in value.items():
            try:
                made[key] = read_item(item)
            except _FaultError as fault:
                raise fault.inside(f".{key}") from None
        return made

    return read


def _scalar_reader(cls: type[Any]) -> _Reader:
    def read(value: Any) -> Any:
        if type(value) is not cls and not (cls is float and type(value) is int):
            raise _FaultError(f"expected {cls.__name__}, found {type(value).__name__}")
        return value

    return read
