"""Unpacks Debian's headless Chromium, with the libraries and the fonts it needs, for the test of the report's page.

The same signed archive and the same code that `bazelw` takes Bazel from; nothing is installed. A Chromium on PATH is
taken instead where there is one.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from launcher import apt
from launcher.apt import Apt
from launcher.errors import INSTALL_BAZEL, LauncherError

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# The shell without windows is half the size; an older Debian has the whole browser alone.
_PACKAGES = ("chromium-headless-shell", "chromium")
_PROGRAMS = ("usr/lib/chromium/chromium-headless-shell", "usr/lib/chromium/chromium")

# The C library is the host's, whose release the packages are of. The others are for accelerated drawing, for opening
# other programs, and for configuring an installed system: a third of 160 MB.
LEFT_OUT = (
    "debconf",
    "libc6",
    "libgl1-mesa-dri",
    "lsb-base",
    "mesa-libgallium",
    "sysvinit-utils",
    "x11-common",
    "x11-utils",
    "xdg-utils",
)
_UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/lintian", "usr/share/bug", "usr/share/locale", "usr/share/X11")

_INSTALL = "Or install Chromium (Debian's package chromium), or put another one on PATH."

_WRAPPER = """\
#!/bin/sh
# {packages}
root="$(dirname "$(readlink -f "$0")")/root"
lib="$root/usr/lib/x86_64-linux-gnu"
export LD_LIBRARY_PATH="$lib:$root/lib/x86_64-linux-gnu:$lib/pulseaudio"
export FONTCONFIG_FILE="$root/fonts.conf"
exec "$root/{program}" "$@"
"""
_FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
<dir>{fonts}</dir><cachedir prefix="xdg">fontconfig</cachedir>
<alias><family>sans-serif</family><prefer><family>DejaVu Sans</family></prefer></alias>
<alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
"""


def unpack(state: Path, folder: Path) -> str:
    """Unpacks Chromium into `folder`/root, with downloads in `state`, and returns the script that starts it.

    Raises:
        LauncherError: the host's apt gives none, and the message says why.
    """
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    with open(os.devnull) as nothing:
        downloader = Apt(state, LEFT_OUT, nothing.fileno())
        names = _download(downloader, release)
    root = folder / "root"
    root.mkdir(parents=True)
    for archive in sorted(downloader.archives.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", archive, root], check=True)
    for name in _UNUSED:
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "fonts.conf").write_text(_FONTS.format(fonts=root / "usr/share/fonts"))
    program = next((name for name in _PROGRAMS if (root / name).exists()), None)
    if program is None:
        raise LauncherError(f"{', '.join(names)}: no Chromium where its package had one\n{_INSTALL}")
    return _WRAPPER.format(packages=" ".join(names), program=program)


def _download(downloader: Apt, release: str) -> list[str]:
    """Downloads the packages of the host's own release and returns their file names."""
    problems = []
    for source in apt.debian_sources():
        problem = downloader.select(source, release)
        for name in _PACKAGES if not problem else ():
            packages = downloader.resolve([name])
            if packages:
                downloader.download([name], packages)
                return sorted(package.file_name for package in packages)
        problems.append(problem or f"{release} of {source.uri} has no installable {' or '.join(_PACKAGES)}")
    raise apt.download_error("this host's apt sources give no Chromium", "\n".join(problems))


def on_path() -> str:
    """Returns the script that starts the host's own Chromium; empty where there is none."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    return f'#!/bin/sh\nexec "{found}" "$@"\n' if found else ""


def main() -> None:
    """Writes `chromium` into --out: what starts one, or what says why there is none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    folder: Path = parser.parse_args().out
    try:
        script = on_path() or unpack(folder / "apt", folder)
    except (LauncherError, OSError, subprocess.CalledProcessError) as error:
        # Not a failed fetch, which would fail every target of the package: the test that needs it says this.
        message = str(error).replace(INSTALL_BAZEL, _INSTALL)
        (folder / "message.txt").write_text(f"no Chromium: {message}\n", encoding="utf-8")
        script = '#!/bin/sh\ncat "$(dirname "$(readlink -f "$0")")/message.txt" >&2\nexit 1\n'
        print(message, file=sys.stderr)
    shutil.rmtree(folder / "apt", ignore_errors=True)
    (folder / "chromium").write_text(script, encoding="utf-8")
    (folder / "chromium").chmod(0o755)


if __name__ == "__main__":
    main()
