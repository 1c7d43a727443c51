"""What configurations say of inputs: vocabularies, placeholders, widths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness import shrink


def nodes(config: Any) -> Iterator[Any]:
    """Yields a configuration and all below it, outermost first."""
    yield config
    for _, sub in shrink.sub_configs(config):
        yield from nodes(sub)


def first(config: Any, *names: str) -> Any:
    """Returns the first value, in the tree of configurations, of a field with one of `names`; None if there is none."""
    for node in nodes(config):
        for name in names:
            value = getattr(node, name, None)
            if value is not None:
                return value
    return None


def node_with(config: Any, *names: str) -> Any:
    """Returns the first configuration of the tree that has a value for every one of `names`."""
    return next((node for node in nodes(config) if all(getattr(node, name, None) is not None for name in names)), None)


def special_tokens(config: Any) -> set[int]:
    """Returns every token of the tree that has a meaning of its own."""
    found: set[int] = set()
    for node in nodes(config):
        for name, value in shrink.field_values(node).items():
            if shrink.meaning_of(name) == "token":
                found.update(
                    item for item in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(item, int)
                )
    return found


def placeholder(config: Any, modality: str) -> int | None:
    """Returns the token that stands for a piece of a picture, video or sound."""
    names = [f"{modality}_token_id", f"{modality}_token_index", f"{modality}_token"]
    value = next((v for name in names if (v := getattr(config, name, None)) is not None), None)
    return value if isinstance(value, int) else first(config, *names)


def vocabulary(config: Any) -> int:
    """Returns the size of the text vocabulary, tokens."""
    text = config.get_text_config(decoder=False)
    size = getattr(text, "vocab_size", None) or first(config, "vocab_size", "input_vocab_size", "text_vocab_size")
    return int(size) if isinstance(size, int) else shrink.VOCABULARY
