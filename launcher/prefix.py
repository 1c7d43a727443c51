"""Turns Debian's packages into a Bazel that runs from a private folder of an older host.

Every odd line answers something that failed without it; the reason is beside it.
"""

import concurrent.futures
import hashlib
import os
import shutil
import ssl
import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from launcher.apt import Package, disk_full_error
from launcher.cache import bazel_of, say
from launcher.errors import INSTALL_BAZEL, LauncherError

# patchelf is taken from the same archive: the same signature, and no second tool to have.
PACKAGES = ("bazel-bootstrap", "default-jre-headless", "patchelf")

# Needed to compile Java or C++, to bootstrap Bazel, or to configure an installed
# system; the server needs none of them. Together they are 480 of 660 MB, most of it
# the compiler half of the JDK.
LEFT_OUT = (
    "build-essential",
    "ca-certificates",
    "ca-certificates-java",
    "debconf",
    "default-jdk-headless",
    "dpkg",
    "java-common",
    "libeclipse-jdt-core-java",
    "libjgit-java",
    "libjs-jquery",
    "libmaven-enforcer-plugin-java",
    "libmaven3-core-java",
    "libpam-modules",
    "libpam-runtime",
    "libproguard-java",
    "node-core-js",
    "node-html5shiv",
    "openssl",
    "perl",
    "perl-base",
    "python3",
    "ucf",
    "unzip",
    "util-linux",
    "velocity",
    "zlib1g-dev",
)

_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_LINKER = f"{_LIBRARIES}/ld-linux-x86-64.so.2"
_BAZEL_SHARE = "usr/share/bazel"
# No program reads them here, and they are half of the files.
_UNUSED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/lintian",
    "usr/share/maven-repo",
    "usr/share/bug",
    "usr/share/locale",
    "usr/sbin",
    "usr/include",
    "var",
)

# Where the packages keep each module. Bzlmod takes them as module overrides, and
# WORKSPACE mode as repository overrides; each mode ignores the other's lines.
_MODULES = {
    "bazel_features": "tools/features",
    "bazel_skylib": "tools/skylib",
    "platforms": "tools/platforms",
    "rules_cc": "rules/cc",
    "rules_java": "rules/java",
    "rules_license": "rules/license",
    "rules_proto": "rules/proto",
    "rules_python": "rules/python",
}

# Bazel's own MODULE.bazel names these, and the registry would be asked for them.
# Their targets are loaded, never built: genquery over a test reaches @zlib//:zlib.
_STUBS = {
    "apple_support": "",
    "buildozer": "",
    "protobuf": "",
    "zlib": 'cc_library(name = "zlib", visibility = ["//visibility:public"])\n',
}

# Every test rule refers to this target, and genquery loads it: offline that is a
# failed download. Only `bazel coverage` runs it.
_COVERAGE_BUILD = """\
sh_binary(
    name = "coverage_report_generator",
    srcs = ["unavailable.sh"],
    visibility = ["//visibility:public"],
)
"""
_COVERAGE_SCRIPT = """\
#!/bin/sh
echo "bazel coverage needs a Bazel release; install Bazelisk instead of this bootstrapped Bazel" >&2
exit 1
"""
_COVERAGE_REPOSITORIES = (
    "bazel_tools~remote_coverage_tools_extension~remote_coverage_tools",  # Bzlmod
    "remote_coverage_tools",  # WORKSPACE
)

# Startup options are given by the wrapper, not by the rc file, so that
# --ignore_all_rc_files leaves a Bazel that starts.
_WRAPPER = """\
#!/bin/sh
# --nosystem_rc: the system's rc file belongs to a Bazel installed there.
# trust_install_base: unpacked files do not have the timestamps of Bazel's own extraction.
# host_jvm_args: Bazel 7 uses what this Java warns about on every start.
exec {prefix}/usr/bin/bazel --nosystem_rc --bazelrc={prefix}/bazelrc \\
  --install_base={prefix}/usr/share/bazel --trust_install_base --server_javabase={java} \\
  --host_jvm_args=--enable-native-access=ALL-UNNAMED \\
  --host_jvm_args=--sun-misc-unsafe-memory-access=allow "$@"
"""


def is_right_version(packages: Iterable[Package], version: str) -> bool:
    """Tells whether apt's solution has the Bazel of this version and a Java for it."""
    names = [package.file_name for package in packages]
    bazel = any(name.startswith(f"bazel-bootstrap_{version}") for name in names)
    return bazel and any("-jre-headless_" in name for name in names)


def build(archives: Sequence[Path], staging: Path, target: Path, version: str) -> None:
    """Unpacks the archives into `staging`, made to run once that is renamed to `target`.

    Raises:
        LauncherError: a package does not unpack, or is not as this recipe knows it.
        OSError: the folder cannot be written.
    """
    say(f"unpacking {len(archives)} packages")
    staging.mkdir(parents=True)
    _unpack_all(archives, staging)
    for folder in _UNUSED:
        shutil.rmtree(staging / folder, ignore_errors=True)
    _keep_links_inside(staging)
    java = _java_home(staging)
    _relocate_programs(staging, target, java)
    _complete_classpath(staging, target, version)
    _write_certificates(staging / java / "lib" / "security" / "cacerts")
    _write_rc(staging, target)
    wrapper = _unchecked_wrapper(staging)
    wrapper.parent.mkdir()
    wrapper.write_text(_WRAPPER.format(prefix=target, java=target / java))
    wrapper.chmod(0o755)
    (staging / "packages.txt").write_text("".join(f"{file.name}\n" for file in archives))


def check(prefix: Path, version: str) -> None:
    """Starts the prefix's server once.

    Raises:
        LauncherError: it does not start, or is another version.
    """
    say("starting it once")
    # Outside the prefix a server left by a failed check could not be told from others.
    root = prefix / "check"
    command = [str(_unchecked_wrapper(prefix)), "--batch", f"--output_user_root={root}"]
    command += ["--ignore_all_rc_files", "version"]
    result = _run(command, cwd=prefix)
    _remove_output_root(root)
    if result.returncode != 0 or f"Build label: {version}" not in result.stdout.splitlines():
        raise _unknown_layout(f"the unpacked Bazel does not start: {result.stderr.strip()}")
    wrapper = prefix / "usr/share/bazel/process-wrapper"
    if _run([str(wrapper), "/bin/true"]).returncode != 0:
        raise _unknown_layout(f"{wrapper} does not run")


def publish(prefix: Path) -> None:
    """Gives the wrapper its name, which marks the prefix as whole."""
    _unchecked_wrapper(prefix).rename(bazel_of(prefix))


def _unchecked_wrapper(prefix: Path) -> Path:
    return bazel_of(prefix).with_name("bazel.unchecked")


def _unpack_all(archives: Sequence[Path], staging: Path) -> None:
    # Decompression is what takes the time; two at once suit the smallest machines.
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=2)
    try:
        for _ in pool.map(lambda archive: _unpack(archive, staging), archives):
            pass
    finally:
        # After an error or Ctrl-C the rest is not wanted any more.
        pool.shutdown(cancel_futures=True)


def _unpack(archive: Path, staging: Path) -> None:
    result = _run(["dpkg-deb", "-x", str(archive), str(staging)])
    if "No space left" in result.stderr:
        raise disk_full_error(result.stderr.strip())
    if result.returncode != 0:
        raise LauncherError(
            f"cannot unpack {archive.name}: {result.stderr.strip()}\n"
            f"Delete {archive.parent} and start again.\n{INSTALL_BAZEL}"
        )


def _keep_links_inside(staging: Path) -> None:
    """Makes absolute links relative: they mean the prefix's /etc and /usr, not the host's."""
    for folder, folders, files in os.walk(staging):
        for path in (Path(folder, name) for name in (*folders, *files)):
            if path.is_symlink() and (link := path.readlink()).is_absolute():
                path.unlink()
                path.symlink_to(os.path.relpath(f"{staging}{link}", folder))


def _java_home(staging: Path) -> Path:
    """Returns the JDK's folder, relative to the prefix."""
    homes = [path for path in (staging / "usr/lib/jvm").glob("*") if (path / "bin/java").is_file()]
    homes = [path for path in homes if not path.is_symlink()]
    if len(homes) != 1:
        raise _unknown_layout(f"expected one Java in usr/lib/jvm, found {len(homes)}")
    return homes[0].relative_to(staging)


def _relocate_programs(staging: Path, target: Path, java: Path) -> None:
    libraries = str(target / _LIBRARIES)
    tools = sorted((staging / "usr/libexec").glob("*/bazel/*"))
    if not tools:
        raise _unknown_layout("Bazel's tools are not in usr/libexec")
    programs = dict.fromkeys([staging / "usr/bin/bazel", *tools], libraries)
    for name in ("bin/java", "bin/keytool", "lib/jspawnhelper"):
        programs[staging / java / name] = f"$ORIGIN/../lib:{libraries}"
    for program, search_path in programs.items():
        # patchelf itself needs the new C library, so it runs through that one's linker.
        command = [str(staging / _LINKER), "--library-path", str(staging / _LIBRARIES)]
        command += [str(staging / "usr/bin/patchelf")]
        command += ["--set-interpreter", str(target / _LINKER)]
        # DT_RPATH, as DT_RUNPATH does not reach the libraries of libraries, and
        # LD_LIBRARY_PATH (often set on hosts with an accelerator) would override it.
        command += ["--force-rpath", "--set-rpath", search_path, str(program)]
        result = _run(command)
        if result.returncode != 0:
            raise _unknown_layout(f"cannot relocate {program.name}: {result.stderr.strip()}")


def _complete_classpath(staging: Path, target: Path, version: str) -> None:
    """The client reads the server's class path from a file of absolute paths."""
    file = staging / _BAZEL_SHARE / "bazel_classpath_debian_depends.txt"
    jars = [f"{target}{line}" for line in file.read_text().split()]
    # The package forgets these; the server dies on its first connection without.
    jars += [f"{target}/usr/share/java/perfmark-{part}.jar" for part in ("api", "impl", "java9")]
    # Without a label the server is a "development version": native.bazel_version is
    # empty, and bazel_features takes that for the newest Bazel of all.
    label = "build-label"
    (staging / label).mkdir()
    (staging / label / "build-data.properties").write_text(f"build.label={version}\n")
    jars.append(str(target / label))
    file.write_text("".join(f"{jar}\n" for jar in jars))


def _write_certificates(file: Path) -> None:
    """Writes the host's trusted certificates as a Java key store.

    Debian makes it when a package is configured, which nothing here is. Without it
    no TLS connection succeeds, to a module registry or to a remote cache.

    The format is JKS, version 2 (sun.security.provider.JavaKeyStore): entries, then
    the SHA-1 of the password, a constant and the entries.
    """

    def text(value: str) -> bytes:
        return struct.pack(">H", len(value)) + value.encode("ascii")

    certificates = ssl.create_default_context().get_ca_certs(binary_form=True)
    content = struct.pack(">III", 0xFEEDFEED, 2, len(certificates))
    for number, certificate in enumerate(certificates):
        content += struct.pack(">I", 2) + text(f"host-{number}") + struct.pack(">Q", 0)
        content += text("X.509") + struct.pack(">I", len(certificate)) + certificate
    password = "changeit".encode("utf-16-be")  # Java's fixed default for this file
    digest = hashlib.sha1(password + b"Mighty Aphrodite" + content).digest()
    file.unlink(missing_ok=True)  # a link to a file that Debian would generate
    file.write_bytes(content + digest)


def _write_rc(staging: Path, target: Path) -> None:
    lines = [
        "# Written by modelgrid's launcher; it comes after the workspace's and the user's",
        "# rc files, and the command line comes after it.",
        "",
        "# Resolution is decided by the overrides below: a lock file would only carry",
        "# this machine's paths into the workspace.",
        "common --lockfile_mode=off",
    ]
    for module, folder in _MODULES.items():
        path = Path(_BAZEL_SHARE) / folder
        if not (staging / path).is_dir():
            raise _unknown_layout(f"{path} is missing")
        lines.append(f"common --override_module={module}={target / path}")
        lines.append(f"common --override_repository={module}={target / path}")
    for module, content in _STUBS.items():
        stub = staging / "stubs" / module
        stub.mkdir(parents=True)
        (stub / "MODULE.bazel").write_text(f'module(name = "{module}")\n')
        (stub / "WORKSPACE").write_text("")
        (stub / "BUILD.bazel").write_text(content)
        lines.append(f"common --override_module={module}={target}/stubs/{module}")
    lines.append(f"common --override_repository=zlib={target}/stubs/zlib")
    coverage = staging / "stubs" / "remote_coverage_tools"
    coverage.mkdir()
    (coverage / "WORKSPACE").write_text("")
    (coverage / "BUILD.bazel").write_text(_COVERAGE_BUILD)
    (coverage / "unavailable.sh").write_text(_COVERAGE_SCRIPT)
    (coverage / "unavailable.sh").chmod(0o755)
    for repository in _COVERAGE_REPOSITORIES:
        lines.append(f"common --override_repository={repository}={target}/stubs/{coverage.name}")
    (staging / "bazelrc").write_text("\n".join(lines) + "\n")


def _remove_output_root(root: Path) -> None:
    """Deletes a Bazel output root, parts of which Bazel makes read-only."""
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o755)
    shutil.rmtree(root, ignore_errors=True)


def _run(command: Sequence[str], cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=cwd,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )


def _unknown_layout(what: str) -> LauncherError:
    return LauncherError(
        f"{what}.\nDebian's packages may have changed since this launcher was written; "
        f"please report it.\n{INSTALL_BAZEL}"
    )
