"""Addresses that a page may link to: nothing that a declaration says becomes one unchecked."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote

from report.coverage_format import Coverage, Model

_PACKAGE = re.compile(r"//((?:[\w.-]+/)*[\w.-]+):[^:]+")
_FOLDER = re.compile(r"\w+(/\w+)?")


def build_file(model: Model, root: str = "") -> str:
    """Returns the relative address of the model's BUILD file; empty for a label of another repository.

    Args:
      model: the model.
      root: relative address of the workspace from the page, with a final slash; empty if the page is in it.
    """
    found = _PACKAGE.fullmatch(model.label)
    if not found or ".." in found[1].split("/"):
        return ""
    return quote(f"{root}{found[1]}/BUILD")


def upstream(model: Model, coverage: Coverage) -> str:
    """Returns the address of the model's folder at the version of its environment; empty if it is not known."""
    base = web(coverage.upstream.get(model.environment, ""))
    folder = model.folder.replace(".", "/")  # a folder within one, as Python names it
    return f"{base}/{folder}" if base and _FOLDER.fullmatch(folder) else ""


def web(address: str) -> str:
    """Returns `address` if it is one of the web, and nothing else otherwise."""
    return address if re.fullmatch(r"https?://[^\s<>\"']+", address) else ""


def root_of(page: Path, workspace: Path) -> str:
    """Returns the relative address of `workspace` from the file `page`: empty, or with a final slash."""
    way = os.path.relpath(workspace, page.parent)
    return "" if way == "." else f"{Path(way).as_posix()}/"
