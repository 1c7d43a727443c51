"""Makes what an exception or a check says the same in every run: what differs from place to place is taken out.

Knows nothing of checks and imports no library: a process without pytest or PyTorch uses it as well.
"""

from __future__ import annotations

import os
import re
import sys

_MAX_MESSAGE = 6000
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")
_PID = re.compile(r"\b(pid|PID|process)([ =:]+)\d+")
_TEMPORARY = re.compile(r"/(?:tmp|var/tmp|dev/shm)/[^\s'\":,)]+")
_PACKAGE_PATH = re.compile(r"/[^\s'\":,)]*?/(?=(?:transformers|torch|harness|numpy|huggingface_hub|safetensors)/)")


def clean(text: str) -> str:
    """Returns `text` without what differs from run to run or machine to machine: paths, addresses, pids."""
    for root in _roots():
        text = text.replace(root + "/", "")
    text = _PACKAGE_PATH.sub("", text)
    text = _TEMPORARY.sub("<temporary>", text)
    text = _ADDRESS.sub("0x…", text)
    text = _PID.sub(r"\1\2N", text)
    if len(text) > _MAX_MESSAGE:
        text = text[:_MAX_MESSAGE] + "\n… cut"
    return text.rstrip()


def _roots() -> list[str]:
    """Returns the folders that code and data are found in, the longest first."""
    found = set(sys.path)
    try:
        found.add(os.getcwd())
    except OSError:  # the model removed it: then no message can name a file in it that is there
        found.discard("")
    return sorted((entry.rstrip("/") for entry in found if len(entry) > 1), key=lambda entry: (-len(entry), entry))
