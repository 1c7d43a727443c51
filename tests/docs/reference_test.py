"""The reference pages are what the .bzl files say, and the renderer refuses what it cannot render."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.reference import render, update

REFERENCE = Path("docs/reference")


def _field(number: int, value: bytes | int | str) -> bytes:
    """Returns one field of a message on the wire."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*result, value])


def _module(*fields: bytes) -> bytes:
    return b"".join([_field(5, "What it is for.\n\nAnd more."), _field(6, "//rules:x.bzl"), *fields])


def _parameter(name: str, doc: str, default: str = "") -> bytes:
    return _field(1, name) + _field(2, doc) + (_field(3, default) if default else _field(4, 1))


def test_pages_are_what_the_files_say() -> None:
    made = update.pages(Path.cwd())
    assert made, "nothing was extracted"
    for name, text in made.items():
        page = REFERENCE / name
        found = page.read_text(encoding="utf-8") if page.exists() else ""
        assert found == text, f"{page} is stale; run `{render.COMMAND}`"


def test_every_page_is_made() -> None:
    assert sorted(path.name for path in REFERENCE.glob("*.md")) == sorted(update.pages(Path.cwd()))


def test_function_shows_its_call_and_parameters() -> None:
    function = (
        _field(1, "hf_model")
        + _field(2, _parameter("name", "The name,\n  on two lines | and a bar."))
        + _field(2, _parameter("tags", "Tags.", "[]"))
        + _field(3, "Declares a model.")
        + _field(4, _field(1, "Nothing at all."))
    )
    text = render.page(_module(_field(3, function)))
    assert text.startswith("# `//rules:x.bzl`\n")
    assert 'load("//rules:x.bzl", "hf_model")\n\nhf_model(\n    name,\n    tags = [],\n)' in text
    assert "| `name` | The name, on two lines \\| and a bar. | required |" in text
    assert "| `tags` | Tags. | `[]` |" in text
    assert text.endswith("Returns nothing at all.\n")


def test_rule_provider_repository_rule_and_extension_have_a_form() -> None:
    attribute = _field(1, "tier") + _field(2, "How much it matters.") + _field(3, 4) + _field(6, '"high"')
    text = render.page(
        _module(
            _field(1, _field(1, "a_rule") + _field(2, "A rule.") + _field(3, attribute)),
            _field(2, _field(1, "AnInfo") + _field(2, "A provider.") + _field(3, _field(1, "x") + _field(2, "An x."))),
            _field(7, _field(1, "ext") + _field(2, "It adds.") + _field(3, _field(1, "add") + _field(2, "A tag."))),
            _field(8, _field(1, "a_repo") + _field(2, "A repository.") + _field(3, attribute) + _field(4, "HOME")),
        )
    )
    assert '| `tier` | How much it matters. | string | `"high"` |' in text
    assert "| `x` | An x. |" in text
    assert "### ext.add" in text
    assert "Reads from the environment: `HOME`." in text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_module(_field(3, _field(1, "f"))), "//rules:x.bzl: f has no documentation"),
        (_module(_field(1, _field(1, "r") + _field(2, "R.") + _field(3, _field(1, "a")))), "r: a has no documentation"),
        (_module(_field(4, _field(1, "an_aspect"))), "has an aspect"),
        (_module()[:-1], "cut short"),
        (b"\x80", "cut short"),
        (_module(b"\x0d1234"), "wire type 5"),
        (_field(5, 1), "field 5 is a number"),
    ],
)
def test_what_has_no_form_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(render.RenderError, match=message):
        render.page(data)
