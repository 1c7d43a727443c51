"""Downloads packages of the Debian archive with the host's apt-get, installing nothing.

The mirror and the signing keys are the host's own; apt's lists, status and cache
are private. Signatures and hashes are checked by apt, and the hashes once more here.
"""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.cache import say
from launcher.errors import INSTALL_BAZEL, LauncherError

# Debian's releases that have the pinned Bazel, in the order they are tried.
SUITES = ("forky", "sid")

# Key files of the Debian archive, as its package debian-archive-keyring installs them.
_KEYRINGS = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
)
_PROGRESS_SECONDS = 10.0


@dataclass(frozen=True)
class Source:
    """One mirror of the Debian archive, as the host's apt knows it."""

    uri: str
    signed_by: str  # a key file, an inline key block, or "" for the keys apt trusts
    archive_keys: bool  # whether the keys are certainly those of the Debian archive


@dataclass(frozen=True)
class Package:
    """One file that apt would download."""

    file_name: str
    size: int  # bytes
    sha256: str


def debian_sources() -> list[Source]:
    """Returns the host's mirrors of the Debian main archive, the surest first.

    Both `.sources` (deb822) and `.list` (one line each) files are read.

    Raises:
        LauncherError: there is none, or this is no host with apt.
    """
    keyring = next((path for path in _KEYRINGS if Path(path).exists()), "")
    files = _source_files()
    found: dict[str, Source] = {}
    for fields in _entries(files):
        suites = fields["suites"].split()
        if "deb" not in fields["types"].split() or "main" not in fields["components"].split():
            continue
        if all(suite.endswith(("-security", "/updates")) for suite in suites):
            continue  # the security archive has no forky and no Bazel
        signed_by = fields["signed-by"]
        archive_keys = "debian-archive" in signed_by
        if not signed_by:
            signed_by = keyring
        for uri in fields["uris"].split():
            if not uri.startswith("cdrom:"):
                found.setdefault(uri.rstrip("/"), Source(uri, signed_by, archive_keys))
    if not found:
        raise LauncherError(
            "none of this host's apt sources offers the Debian archive's main component, so "
            "there is nowhere to take Bazel from. Read: "
            f"{', '.join(map(str, files)) or 'no file'}.\n{INSTALL_BAZEL}"
        )
    return sorted(found.values(), key=lambda source: not source.archive_keys)


def _source_files() -> list[Path]:
    """Asks apt where its sources are."""
    command = ["apt-config", "shell", "FILE", "Dir::Etc::sourcelist/f"]
    command += ["FOLDER", "Dir::Etc::sourceparts/d"]
    try:
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise LauncherError(
            f"cannot ask apt for its sources: {error}\nCheck that `apt-config dump` works.\n{INSTALL_BAZEL}"
        ) from error
    places = dict(line.partition("=")[::2] for line in shlex.split(answer))
    files = [Path(places["FILE"])] if "FILE" in places else []
    folder = Path(places.get("FOLDER", "/nonexistent"))
    if folder.is_dir():
        files += sorted(folder.iterdir())
    return [file for file in files if file.is_file()]


def _entries(files: Iterable[Path]) -> Iterator[Mapping[str, str]]:
    for file in files:
        text = file.read_text(errors="replace")
        if file.suffix == ".sources":
            yield from _deb822_entries(text)
        elif file.suffix == ".list":
            yield from _one_line_entries(text)


def _deb822_entries(text: str) -> Iterator[Mapping[str, str]]:
    fields: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields and fields.get("enabled", "yes").lower() not in ("no", "false"):
                yield _complete(fields)
            fields, name = {}, ""
        elif line[0].isspace():
            fields[name] = f"{fields.get(name, '')}\n{line}"
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.lower()
            fields[name] = value.strip()


def _one_line_entries(text: str) -> Iterator[Mapping[str, str]]:
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 2:
            continue
        options: dict[str, str] = {}
        kind, rest = words[0], words[1:]
        if rest[0].startswith("["):
            bracket = " ".join(rest)
            inside, _, after = bracket[1:].partition("]")
            options = dict(pair.split("=", 1) for pair in inside.split() if "=" in pair)
            rest = after.split()
        if len(rest) < 3:
            continue
        yield _complete(
            {
                "types": kind,
                "uris": rest[0],
                "suites": rest[1],
                "components": " ".join(rest[2:]),
                "signed-by": options.get("signed-by", ""),
            }
        )


def _complete(fields: Mapping[str, str]) -> Mapping[str, str]:
    names = ("types", "uris", "suites", "components", "signed-by")
    return {name: fields.get(name, "") for name in names}


class Apt:
    """apt-get with private state, on one mirror at a time."""

    def __init__(self, state: Path, absent: Iterable[str], keep_open: int) -> None:
        """Prepares the state folder; one made by an interrupted start is taken over.

        Args:
            state: The folder for lists and downloaded packages.
            absent: Packages that are declared installed, so that apt leaves them
                and what only they need out.
            keep_open: A file descriptor that apt-get inherits (the cache's lock).

        Raises:
            LauncherError: this is no x86-64 host with apt-get and dpkg-deb.
            OSError: the folder cannot be written.
        """
        if platform.machine() != "x86_64" or platform.system() != "Linux":
            raise LauncherError(
                "bazelw can set up Bazel on x86-64 Linux only, and this is "
                f"{platform.system()} on {platform.machine()}.\n{INSTALL_BAZEL}"
            )
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise LauncherError(
                    f"there is no {tool} here: without Bazel on PATH, bazelw takes it from the "
                    f"Debian archive, and this host has no access to one.\n{INSTALL_BAZEL}"
                )
        self.archives = state / "archives"
        self._state = state
        self._keep_open = keep_open
        for folder in ("lists/partial", "archives/partial", "sources"):
            (state / folder).mkdir(parents=True, exist_ok=True)
        (state / "status").write_text("".join(_installed_stanza(name) for name in absent))
        (state / "apt.conf").write_text(_apt_conf(state))

    def select(self, source: Source, suite: str) -> str:
        """Makes apt see this mirror and suite alone; returns "" or what went wrong."""
        lines = [
            "Types: deb",
            f"URIs: {source.uri}",
            f"Suites: {suite}",
            "Components: main",
        ]
        if source.signed_by:
            lines.append(f"Signed-By: {source.signed_by}")
        (self._state / "sources" / "debian.sources").write_text("\n".join(lines) + "\n")
        result = self._run(["update"])
        return "" if result.returncode == 0 else _last_lines(result.stderr)

    def resolve(self, names: Sequence[str]) -> list[Package]:
        """Returns the files that installing the named packages takes, none for no solution."""
        result = self._run(["install", "--print-uris", *names])
        if result.returncode != 0:
            return []
        packages = []
        for line in result.stdout.splitlines():
            # 'URI' FILE SIZE SHA256:HASH
            words = line.split()
            if len(words) == 4 and words[3].startswith("SHA256:"):
                packages.append(Package(words[1], int(words[2]), words[3][len("SHA256:") :]))
        return packages

    def download(self, names: Sequence[str], packages: Sequence[Package]) -> None:
        """Downloads what `resolve` returned; files already here and right are kept.

        Raises:
            LauncherError: a download failed; what is complete stays for the next try.
            OSError: the folder cannot be written.
        """
        wanted = {package.file_name: package for package in packages}
        for file in self.archives.glob("*.deb"):
            # An older version, or a file damaged after apt checked it.
            if file.name not in wanted or not _is_whole(file, wanted[file.name]):
                file.unlink()
        missing = [p for p in packages if not (self.archives / p.file_name).exists()]
        if not missing:
            return
        total = sum(package.size for package in missing)
        say(
            f"downloading {len(missing)} packages, {_megabytes(total)}"
            + ("" if len(missing) == len(packages) else " (the rest is already here)")
        )
        result = self._run(["install", "--download-only", *names], watch=missing)
        for package in packages:
            if not _is_whole(self.archives / package.file_name, package):
                raise download_error(
                    f"could not download {package.file_name}",
                    _last_lines(result.stderr),
                )

    def _run(self, arguments: Sequence[str], watch: Sequence[Package] = ()) -> "subprocess.CompletedProcess[str]":
        """Runs apt-get; reports the progress of the `watch`ed downloads."""
        command = [
            "apt-get",
            "-qq",
            "-y",
            "-c",
            str(self._state / "apt.conf"),
            *arguments,
        ]
        errors = self._state / "stderr"
        with errors.open("w+") as stderr, (self._state / "stdout").open("w+") as stdout:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
                pass_fds=(self._keep_open,),
            )
            try:
                self._wait(process, watch)
            finally:
                # Reached with a living process only when this one is interrupted.
                if process.poll() is None:
                    process.terminate()
                    process.wait()
            stdout.seek(0)
            stderr.seek(0)
            return subprocess.CompletedProcess(command, process.returncode, stdout.read(), stderr.read())

    def _wait(self, process: "subprocess.Popen[bytes]", watch: Sequence[Package]) -> None:
        total = sum(package.size for package in watch)
        last = time.monotonic()
        while True:
            try:
                process.wait(1.0 if watch else None)
                return
            except subprocess.TimeoutExpired:
                if time.monotonic() - last >= _PROGRESS_SECONDS:
                    last = time.monotonic()
                    here = sum(p.size for p in watch if (self.archives / p.file_name).exists())
                    say(f"  {_megabytes(here)} of {_megabytes(total)}")


def download_error(what: str, detail: str) -> LauncherError:
    """Returns the error for a failed apt-get, which names the likely cause and the way out."""
    lowered = detail.lower()
    if "no space left" in lowered or "enough free space" in lowered:
        return disk_full_error(detail)
    if "no_pubkey" in lowered or "not signed" in lowered or "gpg error" in lowered:
        advice = (
            "The archive's signature could not be verified with this host's keys. "
            "Update the package debian-archive-keyring."
        )
    elif any(sign in lowered for sign in ("resolv", "connect", "timed out", "unreachable", "network")):
        advice = "The mirror in this host's apt sources cannot be reached. Check the network."
    else:
        advice = "Check that `apt-get update` works on this host."
    return LauncherError(f"{what}:\n{detail}\n{advice} Then start again; it goes on from here.\n{INSTALL_BAZEL}")


def disk_full_error(detail: str) -> LauncherError:
    """Returns the error for a full disk."""
    return LauncherError(
        f"the disk is full: {detail}\n"
        "Setting up Bazel takes about 1 GB while it runs and 0.5 GB after. Make room, or set "
        "MODELGRID_CACHE to a folder on another disk (not under /tmp), and start again.\n"
        f"{INSTALL_BAZEL}"
    )


def _is_whole(file: Path, package: Package) -> bool:
    if not file.is_file() or file.stat().st_size != package.size:
        return False
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest() == package.sha256


def _installed_stanza(name: str) -> str:
    return (
        f"Package: {name}\nStatus: install ok installed\nVersion: 9999:0\n"
        "Architecture: amd64\nMulti-Arch: allowed\nMaintainer: none\n"
        "Description: left out\n\n"
    )


def _apt_conf(state: Path) -> str:
    settings = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": str(state / "sources"),
        # The host's pins speak of the host's suites.
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State": str(state),
        "Dir::State::lists": str(state / "lists"),
        "Dir::State::status": str(state / "status"),
        "Dir::Cache": str(state),
        "Dir::Cache::archives": str(state / "archives"),
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Dir::Log": str(state),
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "APT::Install-Recommends": "false",
        "APT::Install-Suggests": "false",
        # `update` otherwise ends well when a mirror cannot be reached.
        "APT::Update::Error-Mode": "any",
        "APT::Get::AllowUnauthenticated": "false",
        "Acquire::AllowInsecureRepositories": "false",
        "Acquire::AllowDowngradeToInsecureRepositories": "false",
        # Root's apt downloads as another user, who may not enter root's home.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "Acquire::ForceHash": "SHA256",  # the hash that --print-uris prints
    }
    # Hooks of the host's configuration would act on the host, and expect root.
    hooks = (
        "APT::Architectures",
        "APT::Update::Pre-Invoke",
        "APT::Update::Post-Invoke",
        "APT::Update::Post-Invoke-Success",
        "DPkg::Pre-Invoke",
        "DPkg::Post-Invoke",
        "DPkg::Pre-Install-Pkgs",
        "AptCli::Hooks::Install",
        "AptCli::Hooks::Upgrade",
    )
    cleared = "".join(f"#clear {name};\n" for name in hooks)
    return cleared + "".join(f'{name} "{value}";\n' for name, value in settings.items())


def _last_lines(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-4:]) or "apt-get said nothing"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
