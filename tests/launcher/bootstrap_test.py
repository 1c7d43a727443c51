"""A bootstrapped prefix is whole or not there, whatever happens on the way."""

import os
import signal

import pytest

from launcher import apt
from launcher.errors import LauncherError
from tests.launcher.host import TIMEOUT_SECONDS, VERSION, Host

ERROR = 36
INSTALL = "Or install Bazelisk"
DATA = "apt-get-download-bazel-bootstrap-data"  # the first package to be downloaded
BAZEL = "apt-get-download-bazel-bootstrap"  # the second
ALL_PACKAGES = ["bazel-bootstrap-data", "bazel-bootstrap", "libc6", "openjdk-25-jre-headless"]
NO_SPACE = "E: Write error - write (28: No space left on device)"


def assert_nothing_made(host: Host) -> None:
    assert host.prefixes() == []


def assert_fails(host: Host, *messages: str) -> None:
    result = host.run("build")
    assert result.returncode == ERROR, result.stderr
    for message in (*messages, INSTALL):
        assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert_nothing_made(host)


def test_bazel_runs_from_the_prefix_with_the_users_options_last(host: Host) -> None:
    result = host.run("--bazelrc=mine", "--noworkspace_rc", "test", "//...")
    assert result.returncode == 0, result.stderr
    (prefix,) = host.prefixes()
    arguments = result.stdout.splitlines()
    assert arguments[:2] == ["--nosystem_rc", f"--bazelrc={prefix}/bazelrc"]
    assert f"--install_base={prefix}/usr/share/bazel" in arguments
    assert arguments[-4:] == ["--bazelrc=mine", "--noworkspace_rc", "test", "//..."]


def test_progress_goes_to_stderr_and_ends_with_the_line_for_path(host: Host) -> None:
    result = host.run("build")
    (prefix,) = host.prefixes()
    assert "bazelw" not in result.stdout
    assert result.stderr.splitlines()[-1] == f'bazelw:   export PATH="{prefix}/bin:$PATH"'


def test_second_start_asks_no_tool(host: Host) -> None:
    host.run("build")
    before = host.log
    assert before
    assert host.run("build").stderr == ""
    assert host.log == before


def test_both_modes_find_every_packaged_module_in_the_prefix(host: Host) -> None:
    host.run("build")
    (prefix,) = host.prefixes()
    rc = (prefix / "bazelrc").read_text()
    for kind in ("module", "repository"):
        for name in ("rules_python", "bazel_skylib", "platforms"):
            lines = [line for line in rc.splitlines() if f"--override_{kind}={name}=" in line]
            assert len(lines) == 1
            assert os.path.isdir(lines[0].rpartition("=")[2])
    assert ".partial" not in rc


def test_class_path_and_links_point_into_the_prefix(host: Host) -> None:
    host.run("build")
    (prefix,) = host.prefixes()
    share = prefix / "usr" / "share" / "bazel"
    class_path = (share / "bazel_classpath_debian_depends.txt").read_text().splitlines()
    assert class_path[0] == f"{prefix}/usr/share/java/a.jar"
    assert all(line.startswith(str(prefix)) for line in class_path)
    java = prefix / "usr/lib/jvm/java-25-openjdk-amd64"
    assert (java / "lib/jvm.cfg").read_text() == "-server KNOWN\n"
    patched = (host.control / "patchelf").read_text()
    assert f"--set-interpreter {prefix}/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" in patched


def test_certificates_are_a_java_key_store_and_no_link_to_the_host(host: Host) -> None:
    host.run("build")
    (prefix,) = host.prefixes()
    store = prefix / "usr/lib/jvm/java-25-openjdk-amd64/lib/security/cacerts"
    assert not store.is_symlink()
    assert store.read_bytes()[:8] == bytes.fromhex("feedfeed00000002")


def test_downloads_are_gone_once_the_prefix_is_whole(host: Host) -> None:
    host.run("build")
    assert not (host.cache / "apt").exists()


def test_killed_download_goes_on_with_what_is_there(host: Host) -> None:
    host.order(BAZEL, "stop")
    first = host.start("build")
    host.wait_for_stop()
    first.kill()
    first.wait()
    assert_nothing_made(host)
    host.allow(BAZEL)
    second = host.start("build")
    assert second.stderr is not None
    # apt-get outlives its launcher, so it must keep others away until it ends.
    assert "another bazelw is setting up Bazel" in second.stderr.readline()
    host.release()
    stdout, _ = second.communicate(timeout=TIMEOUT_SECONDS)
    assert stdout.splitlines()[-1] == "build"
    assert host.downloads() == ALL_PACKAGES


def test_terminated_download_takes_apt_along_and_keeps_what_is_there(host: Host) -> None:
    host.order(BAZEL, "stop")
    process = host.start("build")
    host.wait_for_stop()
    process.terminate()
    # Returns only when apt-get, which never gets its "go", is gone too.
    process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 128 + signal.SIGTERM
    assert_nothing_made(host)
    host.allow(BAZEL)
    result = host.run("build")
    assert "(the rest is already here)" in result.stderr
    assert host.downloads() == [*ALL_PACKAGES[:2], *ALL_PACKAGES[1:]]


def test_killed_unpacking_leaves_no_prefix_and_the_next_start_makes_one(host: Host) -> None:
    host.order("dpkg-deb-extract", "stop")
    process = host.start("build")
    host.wait_for_stop()
    process.kill()
    process.wait()
    assert all(".partial-" in path.name for path in host.prefixes())
    host.allow("dpkg-deb-extract")
    assert host.run("build").returncode == 0
    assert [path.name.count(".partial") for path in host.prefixes()] == [0]
    assert sorted(host.downloads()) == sorted(ALL_PACKAGES)


def test_prefix_without_its_mark_is_made_anew(host: Host) -> None:
    """A start killed between the rename and the check leaves this."""
    host.run("build")
    (prefix,) = host.prefixes()
    (prefix / "bin" / "bazel").rename(prefix / "bin" / "bazel.unchecked")
    (prefix / "usr" / "bin" / "bazel").write_text("half a file")
    result = host.run("build")
    assert "is ready after" in result.stderr
    assert "--nosystem_rc" in result.stdout


def test_two_at_once_make_one_prefix(host: Host) -> None:
    host.order(DATA, "stop")
    first = host.start("build")
    host.wait_for_stop()
    second = host.start("test")
    assert second.stderr is not None
    assert "another bazelw is setting up Bazel" in second.stderr.readline()
    host.release()
    first_out, _ = first.communicate(timeout=TIMEOUT_SECONDS)
    second_out, _ = second.communicate(timeout=TIMEOUT_SECONDS)
    assert first_out.splitlines()[-1] == "build"
    assert second_out.splitlines()[-1] == "test"
    assert host.downloads() == ALL_PACKAGES


def test_full_disk_while_downloading(host: Host) -> None:
    host.order(DATA, NO_SPACE)
    assert_fails(host, "the disk is full", "MODELGRID_CACHE")


def test_full_disk_while_unpacking_keeps_the_downloads(host: Host) -> None:
    host.order("dpkg-deb-extract", "tar: write error: No space left on device")
    assert_fails(host, "the disk is full")
    host.allow("dpkg-deb-extract")
    assert host.run("build").returncode == 0
    assert sorted(host.downloads()) == sorted(ALL_PACKAGES)


def test_no_network(host: Host) -> None:
    for suite in apt.SUITES:
        host.order(f"apt-get-update-{suite}", "E: Temporary failure resolving 'mirror.invalid'")
    assert_fails(host, "Temporary failure resolving", "Check the network")


def test_wrong_signature_is_refused(host: Host) -> None:
    for suite in apt.SUITES:
        host.order(f"apt-get-update-{suite}", "E: GPG error: InRelease: NO_PUBKEY 123")
    assert_fails(host, "signature could not be verified", "debian-archive-keyring")


def test_next_suite_is_tried_where_the_first_has_no_bazel(host: Host) -> None:
    host.withdraw("forky")
    host.offer("sid")
    assert host.run("build").returncode == 0
    assert "apt-get-resolve-sid" in host.log


def test_no_suite_with_the_version_names_both(host: Host) -> None:
    host.withdraw("forky")
    assert_fails(host, f"forky: it has no installable Bazel {VERSION}", "sid: ")


def test_damaged_download_is_fetched_again(host: Host) -> None:
    host.order("dpkg-deb-extract", "broken")
    assert_fails(host, "cannot unpack")
    (libc,) = (host.cache / "apt" / "archives").glob("libc6_*.deb")
    content = bytearray(libc.read_bytes())
    content[600] ^= 1
    libc.write_bytes(content)
    host.allow("dpkg-deb-extract")
    assert host.run("build").returncode == 0
    assert host.downloads().count("libc6") == 2
    assert host.downloads().count("bazel-bootstrap") == 1


def test_server_that_does_not_start_leaves_no_prefix(host: Host) -> None:
    host.control.joinpath("archive/forky").rename(host.control / "archive/sound")
    host.offer("forky")
    archive = host.control / "archive/forky" / f"bazel-bootstrap_{VERSION}+ds-8_amd64.deb"
    # Archives are not compressed, and the label has as many letters as before.
    archive.write_bytes(archive.read_bytes().replace(b"Build label: 7.7.1", b"Build label: 6.6.6"))
    assert_fails(host, "the unpacked Bazel does not start")


@pytest.mark.parametrize("tool", ["apt-get", "dpkg-deb"])
def test_host_without_debians_tools(host: Host, tool: str) -> None:
    (host.bin / tool).unlink()
    assert_fails(host, f"there is no {tool} here")


def test_other_processor(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(LauncherError, match="x86-64 Linux only, and this is Linux on riscv64"):
        apt.Apt(host.cache / "apt", [], keep_open=0)
    assert_nothing_made(host)


def test_host_without_debian_sources(host: Host) -> None:
    (host.control / "etc/sources.list.d/debian.sources").unlink()
    assert_fails(host, "none of this host's apt sources offers the Debian archive's main")


def test_cache_that_cannot_be_made(host: Host) -> None:
    host.cache.write_text("a file is in the way")
    result = host.run("build")
    assert result.returncode == ERROR
    assert "cannot set up Bazel in" in result.stderr
    assert "set MODELGRID_CACHE to one that is" in result.stderr


def test_cache_under_tmp_is_refused(host: Host) -> None:
    result = host.run("build", MODELGRID_CACHE="/tmp/modelgrid-cache")
    assert result.returncode == ERROR
    assert "the cache folder /tmp/modelgrid-cache is under /tmp" in result.stderr
    assert not os.path.exists("/tmp/modelgrid-cache")


def test_cache_that_is_a_link_into_tmp_is_refused(host: Host) -> None:
    host.cache.symlink_to("/tmp/modelgrid-cache")
    assert "is under /tmp" in host.run("build").stderr


def test_output_root_under_tmp_is_refused_unless_one_is_chosen(host: Host) -> None:
    result = host.run("build", HOME="/tmp/home")
    assert result.returncode == ERROR
    assert "Bazel's output root /tmp/home/.cache/bazel is under /tmp" in result.stderr
    chosen = host.run(f"--output_user_root={host.root}", "build", HOME="/tmp/home")
    assert chosen.returncode == 0


def test_cache_is_under_home_by_default(host: Host) -> None:
    result = host.run("build", MODELGRID_CACHE="")
    assert f"--bazelrc={host.env['HOME']}/.cache/modelgrid/bazel-{VERSION}-" in result.stdout
    result = host.run("build", MODELGRID_CACHE="", XDG_CACHE_HOME=str(host.root / "xdg"))
    assert f"--bazelrc={host.root}/xdg/modelgrid/bazel-{VERSION}-" in result.stdout


def test_changed_recipe_makes_a_new_prefix(host: Host) -> None:
    host.run("build")
    with (host.root / "launcher" / "prefix.py").open("a") as recipe:
        recipe.write("# another recipe\n")
    result = host.run("build")
    assert len(host.prefixes()) == 2
    assert "this checkout no longer needs" in result.stderr
