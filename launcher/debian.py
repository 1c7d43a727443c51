"""Unpacks programs of Debian's packages, with the libraries they need, for what a test or a server of ours starts.

The same signed archive and the same code that `bazelw` takes Bazel from; nothing is installed. Where the host has the
programs itself, those are taken instead.
"""

import argparse
import dataclasses
import glob
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher import apt
from launcher.apt import Apt
from launcher.errors import INSTALL_BAZEL, LauncherError


@dataclasses.dataclass(frozen=True)
class Bundle:
    """Programs that come together.

    Attributes:
      packages: what they are in, the better first: one of them is enough.
      programs: each by its name, with the paths it may lie at, as patterns.
      left_out: packages that are not needed. The C library is the host's, whose release the packages are of.
      releases: of Debian, in the order they are tried, where it is not the host's own; then with its own C library.
      names: what else the one program may be called on PATH.
    """

    packages: Sequence[str]
    programs: Mapping[str, Sequence[str]]
    left_out: Sequence[str] = ()
    releases: Sequence[str] = ()
    names: Sequence[str] = ()


BUNDLES = {
    # The workers of Remote Execution. The stable release has none.
    "buildbox": Bundle(
        packages=("buildbox",),
        programs={
            "buildbox-casd": ("usr/bin/buildbox-casd",),
            "buildbox-run-hosttools": ("usr/bin/buildbox-run-hosttools",),
            "buildbox-worker": ("usr/bin/buildbox-worker",),
        },
        left_out=("bubblewrap", "fuse3", "mount"),
        releases=apt.SUITES,
    ),
    "chromium": Bundle(
        # The shell without windows is half the size; an older Debian has the whole browser alone.
        packages=("chromium-headless-shell", "chromium"),
        programs={"chromium": ("usr/lib/chromium/chromium-headless-shell", "usr/lib/chromium/chromium")},
        # For accelerated drawing, for opening other programs, and for configuring an installed system: a third of
        # 160 MB.
        left_out=(
            "debconf",
            "libc6",
            "libgl1-mesa-dri",
            "lsb-base",
            "mesa-libgallium",
            "sysvinit-utils",
            "x11-common",
            "x11-utils",
            "xdg-utils",
        ),
        names=("chromium-browser", "google-chrome", "chrome"),
    ),
    "nginx": Bundle(
        packages=("nginx",),
        programs={"nginx": ("usr/sbin/nginx",)},
        left_out=("debconf", "iproute2", "libc6"),
    ),
    # A host that has it keeps it beside PATH.
    "postgresql": Bundle(
        packages=("postgresql-18", "postgresql-17", "postgresql-15"),
        programs={name: (f"usr/lib/postgresql/*/bin/{name}",) for name in ("initdb", "postgres")},
        left_out=(
            "debconf",
            "libc6",
            "libllvm14",
            "libllvm19",
            "locales",
            "perl",
            "postgresql-client-15",
            "postgresql-client-17",
            "postgresql-client-18",
            "postgresql-common",
            "ssl-cert",
            "tzdata",
        ),
    ),
}

_UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/lintian", "usr/share/bug", "usr/share/locale", "usr/share/X11")

# What the host itself has beside PATH lies below it.
HOST = Path("/")

_START = """\
#!/bin/sh
# {packages}
root="$(dirname "$(readlink -f "$0")")/root"
lib="$root/usr/lib/x86_64-linux-gnu"
libraries="$lib:$root/lib/x86_64-linux-gnu:$lib/pulseaudio"
"""
_WRAPPER = (
    _START
    + """\
export LD_LIBRARY_PATH="$libraries"
export FONTCONFIG_FILE="$root/fonts.conf"
exec "$root/{program}" "$@"
"""
)
# No LD_LIBRARY_PATH: what the program starts is the host's, with the host's C library.
_WITH_OWN_C_LIBRARY = (
    _START
    + """\
exec "$lib/ld-linux-x86-64.so.2" --library-path "$libraries" "$root/{program}" "$@"
"""
)
_FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
<dir>{fonts}</dir><cachedir prefix="xdg">fontconfig</cachedir>
<alias><family>sans-serif</family><prefer><family>DejaVu Sans</family></prefer></alias>
<alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
"""


def unpack(bundle: Bundle, state: Path, folder: Path) -> dict[str, str]:
    """Unpacks the programs into `folder`/root, with downloads in `state`, and returns the script that starts each.

    Raises:
        LauncherError: the host's apt gives none, and the message says why.
    """
    with open(os.devnull) as nothing:
        downloader = Apt(state, bundle.left_out, nothing.fileno())
        files = _download(bundle, downloader)
    root = folder / "root"
    root.mkdir(parents=True)
    for archive in sorted(downloader.archives.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", archive, root], check=True)
    for name in _UNUSED:
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "fonts.conf").write_text(_FONTS.format(fonts=root / "usr/share/fonts"))
    scripts = {}
    for name, places in bundle.programs.items():
        found = _first(root, places)
        if found is None:
            raise LauncherError(f"{', '.join(files)}: no {name} where its package had one\n{_instead(bundle)}")
        template = _WITH_OWN_C_LIBRARY if bundle.releases else _WRAPPER
        scripts[name] = template.format(packages=" ".join(files), program=found.relative_to(root))
    return scripts


def _first(root: Path, places: Sequence[str]) -> Path | None:
    """Returns the first file below `root` that one of the patterns matches."""
    return next((Path(path) for place in places for path in sorted(glob.glob(str(root / place)))), None)


def _download(bundle: Bundle, downloader: Apt) -> list[str]:
    """Downloads the bundle's packages and returns their file names."""
    releases = bundle.releases or [platform.freedesktop_os_release().get("VERSION_CODENAME", "")]
    problems = []
    for source in apt.debian_sources():
        for release in releases:
            problem = downloader.select(source, release)
            for name in bundle.packages if not problem else ():
                packages = downloader.resolve([name])
                if packages:
                    downloader.download([name], packages)
                    return sorted(package.file_name for package in packages)
            problems.append(problem or f"{release} of {source.uri} has no installable {' or '.join(bundle.packages)}")
    raise apt.download_error("this host's apt sources do not give it", "\n".join(problems))


def on_host(bundle: Bundle) -> dict[str, str]:
    """Returns the scripts that start the host's own programs; none where it lacks one of them."""
    scripts = {}
    for name, places in bundle.programs.items():
        on_path = next(filter(None, map(shutil.which, (name, *bundle.names))), None)
        found = on_path or _first(HOST, places)
        if found is None:
            return {}
        scripts[name] = f'#!/bin/sh\nexec "{found}" "$@"\n'
    return scripts


def _instead(bundle: Bundle) -> str:
    return f"Or install Debian's package {bundle.packages[-1]}, or put {', '.join(bundle.programs)} on PATH otherwise."


def main() -> None:
    """Writes a script for each program of the bundle into --out: what starts it, or what says why there is none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("bundle", choices=BUNDLES)
    options = parser.parse_args()
    folder: Path = options.out
    bundle = BUNDLES[options.bundle]
    try:
        scripts = on_host(bundle) or unpack(bundle, folder / "apt", folder)
    except (LauncherError, OSError, subprocess.CalledProcessError) as error:
        # Not a failed fetch, which would fail every target of the package: what needs the program says this.
        message = f"no {options.bundle}: {error}".replace(INSTALL_BAZEL, _instead(bundle))
        (folder / "message.txt").write_text(f"{message}\n", encoding="utf-8")
        refusal = '#!/bin/sh\ncat "$(dirname "$(readlink -f "$0")")/message.txt" >&2\nexit 1\n'
        scripts = dict.fromkeys(bundle.programs, refusal)
        print(message, file=sys.stderr)
    shutil.rmtree(folder / "apt", ignore_errors=True)
    for name, script in scripts.items():
        (folder / name).write_text(script, encoding="utf-8")
        (folder / name).chmod(0o755)


if __name__ == "__main__":
    main()
