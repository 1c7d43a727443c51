"""`bazel run //tests/report:pictures -- site/coverage.html docs`: the pictures of the page in the documentation."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.report.browser import Browser, chromium

_CELL = "#grid tbody [data-cell].s-expected_failure"


def take(page: Path, folder: Path) -> None:
    """Writes page-light.png, the head of `page`, and page-dark.png, the details of an expected failure."""
    with tempfile.TemporaryDirectory() as scratch, Browser(chromium(), Path(scratch)) as browser:
        size = {"width": 1360, "height": 960, "deviceScaleFactor": 1, "mobile": False}
        browser.call("Emulation.setDeviceMetricsOverride", **size)
        browser.prefer("light")
        browser.open(page.absolute().as_uri())
        browser.settle()
        browser.picture(folder / "page-light.png")
        browser.prefer("dark")
        browser.click(_CELL if browser.run(f"!!document.querySelector('{_CELL}')") else "#grid [data-cell]")
        browser.picture(folder / "page-dark.png")
        assert browser.errors == [], browser.errors


if __name__ == "__main__":
    here = Path(os.environ.get("BUILD_WORKING_DIRECTORY", ""))
    take(here / sys.argv[1], here / sys.argv[2])
