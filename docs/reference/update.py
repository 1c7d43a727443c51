"""`bazel run //docs:update`: writes the reference pages into the source tree.

Each `NAME.binaryproto` beside this program, in its runfiles, becomes `docs/reference/NAME.md`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from docs.reference import render

FOLDER = Path("docs/reference")


def pages(root: Path) -> dict[str, str]:
    """Returns each page's file name and text, from what was extracted below `root`."""
    return {f"{path.stem}.md": render.page(path.read_bytes()) for path in sorted((root / FOLDER).glob("*.binaryproto"))}


def main() -> int:
    """Writes the pages and returns the exit code: 0, or 2 with a message where they cannot be made."""
    workspace = os.environ.get("BUILD_WORKSPACE_DIRECTORY")
    if not workspace:
        print(f"update: start it as `{render.COMMAND}`, which knows where the workspace is", file=sys.stderr)
        return 2
    try:
        # `bazel run` starts a program in its runfiles, at the root of this workspace.
        for name, text in pages(Path.cwd()).items():
            target = Path(workspace, FOLDER, name)
            target.write_text(text, encoding="utf-8")
            print(f"wrote {target}")
    except (render.RenderError, OSError) as error:
        print(f"update: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
