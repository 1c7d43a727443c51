"""The addresses of a team's servers from the environment: Bazel's own settings files cannot read a variable.

They become a bazelrc of their own in the cache folder, which Bazel reads after all others; only its user may read it,
for an address may hold a password.
"""

import hashlib
import re
from collections.abc import Mapping

from launcher import cache
from launcher.errors import LauncherError

READER = "MODELGRID_REMOTE_CACHE"
WRITER = "MODELGRID_REMOTE_CACHE_WRITER"
EXECUTOR = "MODELGRID_REMOTE_EXECUTOR"

# Nothing that a bazelrc would read as the end of a flag, a quote or a comment.
_ADDRESS = re.compile(r"[^\s\"'\\#]+", re.ASCII)


def startup_options(env: Mapping[str, str]) -> list[str]:
    """Returns what makes Bazel read the addresses in `env`; nothing where there are none.

    Raises:
        LauncherError: one of them is no address, or the cache folder cannot be written.
    """
    lines = _lines(env)
    if not lines:
        return []
    text = "".join(f"{line}\n" for line in lines)
    # Its content names it: two checkouts with other addresses have files of their own.
    path = cache.cache_root(env) / f"remote-{hashlib.sha256(text.encode()).hexdigest()[:12]}.bazelrc"
    try:
        cache.write_atomically(path, text, mode=0o600)
    except OSError as error:
        raise LauncherError(f"cannot write {path}: {error}\nSet MODELGRID_CACHE to a folder of yours.") from error
    return [f"--bazelrc={path}"]


def _lines(env: Mapping[str, str]) -> list[str]:
    reader, writer, executor = (_address(env, name) for name in (READER, WRITER, EXECUTOR))
    lines = []
    if reader:
        lines.append(f"common:cache --remote_cache={reader}")
    if reader and not writer:
        # A pull request runs main's commands and has no more than an address to read from.
        lines += [f"common:ci --remote_cache={reader}", "common:ci --noremote_upload_local_results"]
    if writer:
        lines.append(f"common:ci --remote_cache={writer}")
    if executor:
        lines.append(f"common:remote --remote_executor={executor}")
    return lines


def _address(env: Mapping[str, str], name: str) -> str:
    address = env.get(name, "")
    if address and not _ADDRESS.fullmatch(address):
        # Not shown: it may hold a password.
        raise LauncherError(
            f"{name} is no address: it has a space, a quote, a backslash or a '#' in it.\n"
            "Give it like https://cache.example, with such signs as %XX, or unset it."
        )
    return address
