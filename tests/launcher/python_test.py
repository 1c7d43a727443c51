"""bazelw finds a Python that can run the launcher, or says which one is missing."""

from tests.launcher.host import Host

ERROR = 36


def test_missing_python_is_named_with_what_to_install(host: Host) -> None:
    (host.bin / "python3.11").unlink()
    result = host.run("build")
    assert result.returncode == ERROR
    assert "3.11 or newer is needed; found on PATH: no python3" in result.stderr
    assert "apt-get install python3.11" in result.stderr


def test_old_python_is_named_with_its_version(host: Host) -> None:
    (host.bin / "python3.11").unlink()
    host.add_old_python("python3")
    result = host.run("build")
    assert result.returncode == ERROR
    assert "python3 (Python 3.9)" in result.stderr


def test_shim_without_a_python_behind_it_is_passed_over(host: Host) -> None:
    host.add("python3.11", "#!/bin/sh\necho 'python3.11: command not found' >&2\nexit 127\n")
    host.add_python("python3.12")
    host.add_bazel("bazel")
    result = host.run("build")
    assert result.stdout.startswith("ran bazel\n"), result.stderr
    assert "command not found" not in result.stderr


def test_python_is_searched_once(host: Host) -> None:
    host.add_bazel("bazel")
    host.run("build")
    searched = (host.control / "pythons").read_text()
    assert "python3.11" in searched
    assert host.run("build").stdout.startswith("ran bazel\n")
    assert (host.control / "pythons").read_text() == searched


def test_remembered_python_that_is_gone_is_searched_again(host: Host) -> None:
    host.add_bazel("bazel")
    host.cache.mkdir()
    (host.cache / "python").write_text("/nonexistent/python3.11\n")
    assert host.run("build").stdout.startswith("ran bazel\n")


def test_chosen_python_is_used(host: Host) -> None:
    host.add_bazel("bazel")
    (host.bin / "python3.11").rename(host.bin / "mine")
    result = host.run("build", MODELGRID_PYTHON=str(host.bin / "mine"))
    assert result.stdout.startswith("ran bazel\n"), result.stderr


def test_chosen_python_that_is_missing_is_an_error(host: Host) -> None:
    result = host.run("build", MODELGRID_PYTHON="/nonexistent/python")
    assert result.returncode == ERROR
    assert "MODELGRID_PYTHON is '/nonexistent/python', which is not a program" in result.stderr


def test_chosen_python_that_is_old_is_an_error(host: Host) -> None:
    host.add_old_python("old")
    result = host.run("build", MODELGRID_PYTHON=str(host.bin / "old"))
    assert result.returncode == ERROR
    assert "which is Python 3.9; 3.11 or newer is needed" in result.stderr


def test_link_to_bazelw_works_from_elsewhere(host: Host) -> None:
    host.add_bazel("bazel")
    host.add("readlink", '#!/bin/sh\nPATH=/usr/bin:/bin exec readlink "$@"\n')
    real = host.root / "bazelw"
    host.root = host.root.parent / "elsewhere"
    host.root.mkdir()
    (host.root / "bazelw").symlink_to(real)
    assert host.run("build").stdout.startswith("ran bazel\n")
