"""Strict reading of JSON that another program wrote: exactly the fields of a frozen dataclass, of its types.

What the values mean is left to the format's own module.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Mapping
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
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, found {type(value).__name__}")
    hints, required = _fields(cls)  # type: ignore[arg-type]
    missing, unknown = sorted(required - value.keys()), sorted(value.keys() - hints.keys())
    if missing or unknown:
        raise InputError(
            f"{where}: missing fields {missing}, unknown fields {unknown}; "
            "another version of the rules wrote it, build it again"
        )
    return cls(**{name: _convert(hints[name], item, f"{where}: {name}") for name, item in value.items()})


@functools.cache
def _fields(cls: type[Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """Returns the type of each field of `cls`, and which fields have no default."""
    hints, fields = typing.get_type_hints(cls), dataclasses.fields(cls)
    return (
        {field.name: hints[field.name] for field in fields},
        frozenset(field.name for field in fields if _is_required(field)),
    )


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return _convert(hint, value, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise InputError(f"{where}: expected a list, found {type(value).__name__}")
        return tuple(_convert(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, dict):
            raise InputError(f"{where}: expected an object, found {type(value).__name__}")
        return {key: _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is Any:
        return value
    if type(value) is not hint and not (hint is float and type(value) is int):
        raise InputError(f"{where}: expected {hint.__name__}, found {type(value).__name__}")
    return value
