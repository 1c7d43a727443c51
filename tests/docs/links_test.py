"""Every relative link of the documentation leads to a file that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)[^)]*\)")
_PAGES = sorted(path for path in [*Path().glob("*.md"), *Path("docs").rglob("*.md"), *Path("benchmarks").glob("*.md")])


def test_there_are_pages() -> None:
    assert Path("README.md") in _PAGES
    assert Path("docs/add-a-model.md") in _PAGES


@pytest.mark.parametrize("page", _PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), f"{page} links to {link}, which is not there"
