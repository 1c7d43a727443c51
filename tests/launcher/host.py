"""A made-up host for one test: a copy of bazelw, a PATH of fakes, a Debian mirror."""

import io
import os
import select
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

REPOSITORY = Path(__file__).absolute().parent.parent.parent
VERSION = "7.7.1"
# Generous: only a hanging test ever waits so long.
TIMEOUT_SECONDS = 120.0

_JAVA = "usr/lib/jvm/java-25-openjdk-amd64"
# Answers like a real client: --version, version, else its arguments, one a line.
_BAZEL = """\
#!/bin/sh
for argument; do
  case $argument in
    --version) echo "bazel 7.7.1"; exit 0 ;;
    version) echo "Build label: 7.7.1"; exit 0 ;;
  esac
done
printf '%s\\n' "$@"
"""
_TRUE = "#!/bin/sh\nexit 0\n"
# What the recipe relies on, spread over packages as Debian does.
_PACKAGES: dict[str, dict[str, str]] = {
    f"bazel-bootstrap-data_{VERSION}_all.deb": {
        "usr/share/bazel/bazel_classpath_debian_depends.txt": "/usr/share/java/a.jar\n",
        **{
            f"usr/share/bazel/{folder}/MODULE.bazel": ""
            for folder in (
                "tools/features",
                "tools/skylib",
                "tools/platforms",
                "rules/cc",
                "rules/java",
                "rules/license",
                "rules/proto",
                "rules/python",
            )
        },
    },
    f"bazel-bootstrap_{VERSION}+ds-8_amd64.deb": {
        "usr/bin/bazel": _BAZEL,
        "usr/libexec/x86_64-linux-gnu/bazel/process-wrapper": _TRUE,
        "usr/share/bazel/process-wrapper": "-> ../../libexec/x86_64-linux-gnu/bazel/process-wrapper",
        "usr/share/doc/bazel-bootstrap/copyright": "a licence",
    },
    "libc6_2.43_amd64.deb": {
        # The recipe runs patchelf through it; here it only notes with what.
        "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2": '#!/bin/sh\necho "$*" >>"$FAKE_PATCHELF"\n',
    },
    "openjdk-25-jre-headless_25_amd64.deb": {
        f"{_JAVA}/bin/java": _TRUE,
        f"{_JAVA}/lib/jvm.cfg": "-> /etc/java-25-openjdk/jvm.cfg",
        f"{_JAVA}/lib/security/cacerts": "-> /etc/ssl/certs/java/cacerts",
        "etc/java-25-openjdk/jvm.cfg": "-server KNOWN\n",
    },
}
_SOURCES = """\
Types: deb
URIs: http://mirror.invalid/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


class Host:
    """Where a test runs bazelw; everything it can reach is under `folder`."""

    def __init__(self, folder: Path) -> None:
        """Makes a host with a Python, no Bazel, and a Debian mirror that has one."""
        self.root = folder / "workspace"
        self.bin = folder / "bin"
        self.control = folder / "control"
        self.cache = folder / "cache"
        for made in (self.root, self.bin, self.control / "etc" / "sources.list.d"):
            made.mkdir(parents=True)
        shutil.copy(REPOSITORY / "bazelw", self.root / "bazelw")
        shutil.copytree(
            REPOSITORY / "launcher",
            self.root / "launcher",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        (self.root / ".bazelversion").write_text(f"{VERSION}\n")
        (self.control / "etc" / "sources.list.d" / "debian.sources").write_text(_SOURCES)
        (self.control / "log").touch()
        for pipe in ("reached", "go"):
            os.mkfifo(self.control / pipe)
        self.add_python("python3.11")
        for tool in ("apt-get", "apt-config", "dpkg-deb"):
            self._add_fake(tool)
        self.offer("forky")

    @property
    def env(self) -> dict[str, str]:
        """The environment of a run: nothing of the real host's but its encoding."""
        return {
            "PATH": str(self.bin),
            "HOME": str(self.root.parent / "home"),
            "MODELGRID_CACHE": str(self.cache),
            "FAKE_PATCHELF": str(self.control / "patchelf"),
            "LC_ALL": "C.UTF-8",
        }

    @property
    def log(self) -> list[str]:
        """What was asked of the fake tools so far."""
        return (self.control / "log").read_text().splitlines()

    def downloads(self) -> list[str]:
        """The packages that apt-get began to download so far."""
        start = "apt-get-download-"
        return [line.removeprefix(start) for line in self.log if line.startswith(start)]

    def prefixes(self) -> list[Path]:
        """The prefixes in the cache, of which nothing may be half-made."""
        return sorted(self.cache.glob("bazel-*"))

    def add(self, name: str, script: str) -> Path:
        """Puts a script on PATH."""
        path = self.bin / name
        path.write_text(script)
        path.chmod(0o755)
        return path

    def add_python(self, name: str) -> None:
        """Puts this test's own interpreter on PATH; each of its runs leaves a line in `pythons`."""
        log = self.control / "pythons"
        log.touch()
        self.add(name, f'#!/bin/sh\necho {name} >>"{log}"\nexec "{sys.executable}" "$@"\n')

    def add_old_python(self, name: str) -> None:
        """Puts an interpreter on PATH that takes itself for Python 3.9."""
        self.add(
            name,
            "#!/bin/sh\n# Called as: -E -s -S -c PROGRAM\n"
            f'exec "{sys.executable}" -E -s -S -c "import sys; sys.version_info = (3, 9, 1)\n$5"\n',
        )

    def add_bazel(self, name: str, version: str = VERSION) -> None:
        """Puts a Bazel on PATH that says its version, or "ran NAME" and its arguments."""
        log = self.control / "log"
        self.add(
            name,
            f'#!/bin/sh\nif [ "$1" = --version ]; then echo asked-{name} >>"{log}"\n'
            f'  echo "bazel {version}"; exit 0; fi\n'
            f'printf \'%s\\n\' \'ran {name}\' "$PWD" "$USE_BAZEL_VERSION" "$@"\n',
        )

    def offer(self, suite: str) -> None:
        """Puts the packages on the mirror, in this suite."""
        folder = self.control / "archive" / suite
        folder.mkdir(parents=True)
        for name, files in _PACKAGES.items():
            write_archive(folder / name, files)

    def withdraw(self, suite: str) -> None:
        """Removes a suite's packages from the mirror."""
        shutil.rmtree(self.control / "archive" / suite)

    def order(self, action: str, message: str) -> None:
        """Makes a tool's action fail with the message; see debian_tools.py."""
        (self.control / action).write_text(message)

    def allow(self, action: str) -> None:
        """Takes an order back."""
        (self.control / action).unlink()

    def start(self, *arguments: str, **env: str) -> "subprocess.Popen[str]":
        """Starts bazelw."""
        return subprocess.Popen(
            [self.root / "bazelw", *arguments],
            cwd=self.root,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """Runs bazelw to its end."""
        process = self.start(*arguments, **env)
        stdout, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def wait_for_stop(self) -> None:
        """Waits until a tool has reached an action ordered to "stop"."""
        # Opened for writing too, so that opening does not wait for ever.
        pipe = os.open(self.control / "reached", os.O_RDWR)
        try:
            ready, _, _ = select.select([pipe], [], [], TIMEOUT_SECONDS)
            assert ready, "no tool came to the ordered stop"
            os.read(pipe, 100)
        finally:
            os.close(pipe)

    def release(self) -> None:
        """Lets a stopped tool go on."""
        (self.control / "go").write_text("go\n")

    def _add_fake(self, tool: str) -> None:
        program = Path(__file__).absolute().parent / "debian_tools.py"
        self.add(
            tool,
            f'#!/bin/sh\nexec "{sys.executable}" -E -s -S "{program}" "{self.control}" {tool} "$@"\n',
        )


def write_archive(path: Path, files: dict[str, str]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.mode = 0o755
            if content.startswith("-> "):
                member.type = tarfile.SYMTYPE
                member.linkname = content.removeprefix("-> ")
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content.encode()))
