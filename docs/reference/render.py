"""Renders one public .bzl file's reference page, as Markdown, from what Bazel's `starlark_doc_extract` extracted.

Bazel writes a `stardoc_output.ModuleInfo` protocol buffer (its own src/main/protobuf/stardoc_output.proto). Of that
message a page needs strings and flags alone, so it is read here from the wire format, field by field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

COMMAND = "bazel run //docs:update"

_TYPES = {
    1: "name",
    2: "int",
    3: "label",
    4: "string",
    5: "list of strings",
    6: "list of ints",
    7: "list of labels",
    8: "bool",
    9: "dict of labels to strings",
    10: "dict of strings",
    11: "dict of strings to lists of strings",
    12: "output",
    13: "list of outputs",
}
_WITHOUT_FORM = {4: "an aspect", 9: "a symbolic macro"}


class RenderError(ValueError):
    """What Bazel extracted cannot be rendered. The message says what and where."""


class Message:
    """A decoded message of the wire format: its fields by number. A field that is not there is empty."""

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[int | bytes]] = {}
        for number, value in _decode(data):
            self._fields.setdefault(number, []).append(value)

    def text(self, number: int) -> str:
        """Returns the string in field `number`."""
        value = self._last(number, b"")
        if not isinstance(value, bytes):
            raise RenderError(f"field {number} is a number where a string should be; another version of Bazel?")
        return value.decode("utf-8")

    def texts(self, number: int) -> list[str]:
        """Returns the strings in the repeated field `number`."""
        return [value.decode("utf-8") for value in self._fields.get(number, []) if isinstance(value, bytes)]

    def integer(self, number: int) -> int:
        """Returns the integer, flag or enumerator in field `number`."""
        value = self._last(number, 0)
        if not isinstance(value, int):
            raise RenderError(f"field {number} is a string where a number should be; another version of Bazel?")
        return value

    def messages(self, number: int) -> list[Message]:
        """Returns the messages in the repeated field `number`."""
        return [Message(value) for value in self._fields.get(number, []) if isinstance(value, bytes)]

    def message(self, number: int) -> Message:
        """Returns the message in field `number`."""
        found = self.messages(number)
        return found[-1] if found else Message(b"")

    def _last(self, number: int, default: int | bytes) -> int | bytes:
        return self._fields.get(number, [default])[-1]


def _decode(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yields the number and the value of each field (protobuf.dev, "Encoding")."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, position = _varint(data, position)
            yield number, value
        elif wire_type == 2:
            length, position = _varint(data, position)
            if position + length > len(data):
                raise RenderError("the extracted file is cut short; build it again")
            yield number, data[position : position + length]
            position += length
        else:
            raise RenderError(f"field {number} has wire type {wire_type}, which no page needs; another version?")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if position >= len(data):
            raise RenderError("the extracted file is cut short; build it again")
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return result, position


@dataclasses.dataclass(frozen=True)
class _Row:
    """One parameter, attribute or field."""

    name: str
    doc: str
    type: str = ""
    default: str = ""
    mandatory: bool = False


def page(data: bytes) -> str:
    """Returns the page for the module that `data`, a serialised ModuleInfo, describes.

    Raises:
      RenderError: `data` is damaged, a symbol has no documentation, or is of a kind that has no form here.
    """
    module = Message(data)
    file = module.text(6)
    for number, kind in _WITHOUT_FORM.items():
        if module.messages(number):
            raise RenderError(f"{file} has {kind}; give it a form in docs/reference/render.py")
    parts = [
        f"# `{file}`",
        f"<!-- Made by `{COMMAND}` from the file's docstrings. Edit those. -->",
        _documented(module.text(5), file),
        *(_function(item, file) for item in module.messages(3)),
        *(_rule(item, file, "Rule") for item in module.messages(1)),
        *(_rule(item, file, "Repository rule") for item in module.messages(8)),
        *(_extension(item, file) for item in module.messages(7)),
        *(_provider(item, file) for item in module.messages(2)),
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _function(function: Message, file: str) -> str:
    name = function.text(1)
    rows = [
        _Row(
            name=parameter.text(1),
            doc=_documented(parameter.text(2), f"{file}: {name}: {parameter.text(1)}"),
            default=parameter.text(3),
            mandatory=bool(parameter.integer(4)),
        )
        for parameter in function.messages(2)
    ]
    returns, deprecated = function.message(4).text(1), function.message(5).text(1)
    parts = [
        f"## {name}",
        f'```python\nload("{file}", "{name}")\n\n{_call(name, rows)}\n```',
        f"**Deprecated.** {deprecated}" if deprecated else "",
        _documented(function.text(3), f"{file}: {name}"),
        _table("parameter", rows),
        f"Returns {returns[0].lower()}{returns[1:]}" if returns else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _call(name: str, rows: list[_Row]) -> str:
    arguments = [f"    {row.name} = {row.default}," if row.default else f"    {row.name}," for row in rows]
    return "\n".join([f"{name}(", *arguments, ")"]) if arguments else f"{name}()"


def _rule(rule: Message, file: str, kind: str) -> str:
    name = rule.text(1)
    parts = [
        f"## {name}",
        f"{kind}. {_documented(rule.text(2), f'{file}: {name}')}",
        _table("attribute", _attributes(rule, 3, f"{file}: {name}")),
    ]
    environ = rule.texts(4) if kind == "Repository rule" else []
    if environ:
        parts.append(f"Reads from the environment: {', '.join(f'`{variable}`' for variable in environ)}.")
    return "\n\n".join(part for part in parts if part)


def _extension(extension: Message, file: str) -> str:
    name = extension.text(1)
    parts = [f"## {name}", f"Module extension. {_documented(extension.text(2), f'{file}: {name}')}"]
    for tag in extension.messages(3):
        where = f"{file}: {name}.{tag.text(1)}"
        parts += [
            f"### {name}.{tag.text(1)}",
            _documented(tag.text(2), where),
            _table("attribute", _attributes(tag, 3, where)),
        ]
    return "\n\n".join(part for part in parts if part)


def _provider(provider: Message, file: str) -> str:
    name = provider.text(1)
    where = f"{file}: {name}"
    rows = [
        _Row(name=field.text(1), doc=_documented(field.text(2), f"{where}: {field.text(1)}"))
        for field in provider.messages(3)
    ]
    return "\n\n".join([f"## {name}", f"Provider. {_documented(provider.text(2), where)}", _table("field", rows)])


def _attributes(owner: Message, number: int, where: str) -> list[_Row]:
    return [
        _Row(
            name=attribute.text(1),
            doc=_documented(attribute.text(2), f"{where}: {attribute.text(1)}"),
            type=_TYPES.get(attribute.integer(3), "unknown"),
            default=attribute.text(6),
            mandatory=bool(attribute.integer(4)),
        )
        for attribute in owner.messages(number)
    ]


def _documented(doc: str, where: str) -> str:
    if not doc.strip():
        raise RenderError(f"{where} has no documentation; write it in the file")
    return doc.strip()


def _table(what: str, rows: list[_Row]) -> str:
    """Returns a table of `rows` with the columns that any of them fills."""
    if not rows:
        return ""
    columns: Mapping[str, list[str]] = {
        what: [f"`{row.name}`" for row in rows],
        "meaning": [_cell(row.doc) for row in rows],
        "type": [row.type for row in rows],
        "default": ["required" if row.mandatory else _code(row.default) for row in rows],
    }
    used = {header: cells for header, cells in columns.items() if any(cells)}
    lines = [list(used), ["---"] * len(used), *(list(line) for line in zip(*used.values(), strict=True))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{_cell(text)}`" if text else ""
