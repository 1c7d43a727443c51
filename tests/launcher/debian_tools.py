"""The programs of a made-up Debian host: apt-get, apt-config and dpkg-deb.

Run as `debian_tools.py CONTROL TOOL ARGUMENTS...` by the scripts that `host.py` puts on
PATH. The folder CONTROL tells it how to behave: a file `TOOL-ACTION` holds either a
message, with which that action fails, or "stop", which means: write to the pipe
`reached`, then wait on the pipe `go`. Every call is a line of CONTROL/log.
"""

import hashlib
import shutil
import sys
import tarfile
from pathlib import Path


def main(control: Path, tool: str, arguments: list[str]) -> int:
    """Returns the exit status of the imitated tool."""
    if tool == "apt-config":
        return _apt_config(control)
    if tool == "dpkg-deb":
        return _dpkg_deb(control, arguments)
    return _apt_get(control, arguments)


def _apt_config(control: Path) -> int:
    print(f"FILE='{control}/etc/sources.list'")
    print(f"FOLDER='{control}/etc/sources.list.d/'")
    return 0


def _dpkg_deb(control: Path, arguments: list[str]) -> int:
    option, archive, folder = arguments
    assert option == "-x"
    if not _obey(control, "dpkg-deb-extract"):
        return 2
    with tarfile.open(archive) as tar:
        for member in tar:
            # tarfile itself fails where two processes make the same folder at once.
            Path(folder, member.name).parent.mkdir(parents=True, exist_ok=True)
            tar.extract(member, folder, filter="fully_trusted")
    return 0


def _apt_get(control: Path, arguments: list[str]) -> int:
    state = Path(arguments[arguments.index("-c") + 1]).parent
    suite = _suite(state)
    debs = sorted((control / "archive" / suite).glob("*.deb"))
    if "update" in arguments:
        return 0 if _obey(control, f"apt-get-update-{suite}") else 100
    if "--print-uris" in arguments:
        _log(control, f"apt-get-resolve-{suite}")
        for deb in debs:
            digest = hashlib.sha256(deb.read_bytes()).hexdigest()
            print(f"'mirror/{deb.name}' {deb.name} {deb.stat().st_size} SHA256:{digest}")
        return 0 if debs else 100
    assert "--download-only" in arguments
    for deb in debs:
        if (state / "archives" / deb.name).exists():
            continue
        if not _obey(control, f"apt-get-download-{deb.name.partition('_')[0]}"):
            return 100
        partial = state / "archives" / "partial" / deb.name
        shutil.copy(deb, partial)
        partial.rename(state / "archives" / deb.name)
    return 0


def _suite(state: Path) -> str:
    lines = (state / "sources" / "debian.sources").read_text().splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith("Suites:"))


def _obey(control: Path, action: str) -> bool:
    _log(control, action)
    order = control / action
    if not order.exists():
        return True
    message = order.read_text()
    if message == "stop":
        (control / "reached").write_text("reached\n")
        (control / "go").read_text()
        return True
    print(message, file=sys.stderr)
    return False


def _log(control: Path, action: str) -> None:
    with (control / "log").open("a") as log:
        log.write(action + "\n")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
