"""Fetching a lock's wheels: what is laid out, that it is the same everywhere, and one clear error for each mishap."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.environments.wheels import make_lock, make_wheel, sha256
from toolchains.environments import fetch

ROOT = Path(fetch.__file__).parents[2]


def run_fetch(
    lock: Path, out: Path, links: Path, *options: str, python: str = sys.executable, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Runs the program as the repository rule does; `links` is pip's only source unless `settings` say otherwise."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links), "PIP_RETRIES": "0"}
    out.mkdir(exist_ok=True)
    command = [python, "-E", "-s", "-B", "-m", "toolchains.environments.fetch", f"--lock={lock}"]
    command += [f"--site={out / 'site'}", f"--manifest={out / 'manifest.txt'}", "--pyc=unchecked-hash", *options]
    return subprocess.run(command, cwd=ROOT, env=kept | pip | settings, capture_output=True, text=True, check=False)


def files_of(out: Path) -> Mapping[str, str]:
    site = out / "site"
    return {str(path.relative_to(site)): sha256(path) for path in sorted(site.rglob("*")) if path.is_file()}


def assert_failed_cleanly(finished: subprocess.CompletedProcess[str], out: Path, *words: str) -> None:
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    for word in words:
        assert word in finished.stderr
    assert list(out.iterdir()) == []


@pytest.fixture
def links(tmp_path: Path) -> Path:
    folder = tmp_path / "links"
    folder.mkdir()
    return folder


def test_every_file_is_in_the_manifest_with_its_hash(tmp_path: Path, links: Path) -> None:
    lock = make_lock(tmp_path / "env", {"one==1.0": sha256(make_wheel(links, "one"))})
    finished = run_fetch(lock, tmp_path / "out", links)
    assert (finished.returncode, finished.stderr) == (0, "")
    lines = (tmp_path / "out/manifest.txt").read_text().splitlines()
    assert lines == [f"{digest}  {path}" for path, digest in sorted(files_of(tmp_path / "out").items())]
    assert {line.split("  ")[1] for line in lines} > {"one.py", "one-1.0.dist-info/METADATA"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.txt", "site"]


def test_modules_are_compiled_and_import_from_there(tmp_path: Path, links: Path) -> None:
    lock = make_lock(tmp_path / "env", {"one==1.0": sha256(make_wheel(links, "one"))})
    assert run_fetch(lock, tmp_path / "out", links).returncode == 0
    site = tmp_path / "out/site"
    (compiled,) = site.glob("__pycache__/one.*.pyc")
    assert compiled.read_bytes()[4:8] == bytes([1, 0, 0, 0])  # PEP 552: hash-based, not checked against the source
    program = f"import sys; sys.path[:0] = [{str(site)!r}]; import one; print(one.__cached__, one.VERSION)"
    output = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.split() == [str(compiled), "1.0"]


def test_two_machines_make_the_same_bytes(tmp_path: Path, links: Path) -> None:
    # More modules than a batch, with constants whose order or sharing could leak from the compiling process.
    module = "KEYS = frozenset({'%d', 'self', 'name'})\ndef f(self, name='value%d'): return name in {'a', 'b', 'c'}\n"
    files = {f"many/m{number}.py": module % (number, number) for number in range(fetch.BATCH + 30)}
    lock = make_lock(tmp_path / "env", {"many==1.0": sha256(make_wheel(links, "many", files=files))})
    (tmp_path / "elsewhere").mkdir()
    assert run_fetch(lock, tmp_path / "here", links).returncode == 0
    assert run_fetch(lock, tmp_path / "elsewhere/deep", links, PYTHONHASHSEED="5", LC_ALL="C", HOME="/").returncode == 0
    assert files_of(tmp_path / "here") == files_of(tmp_path / "elsewhere/deep")
    assert not any(str(tmp_path).encode() in path.read_bytes() for path in tmp_path.glob("here/site/**/*.pyc"))


def test_a_changed_wheel_changes_the_manifest(tmp_path: Path, links: Path) -> None:
    manifests = []
    for content in ("A = 1\n", "A = 2\n"):
        lock = make_lock(tmp_path / "env", {"one==1.0": sha256(make_wheel(links, "one", files={"one.py": content}))})
        assert run_fetch(lock, tmp_path / content[4], links).returncode == 0
        manifests.append((tmp_path / content[4] / "manifest.txt").read_text())
    assert manifests[0] != manifests[1]


def test_only_and_without_choose_packages(tmp_path: Path, links: Path) -> None:
    lock = make_lock(tmp_path / "env", {f"{name}==1.0": sha256(make_wheel(links, name)) for name in ("one", "two")})
    assert run_fetch(lock, tmp_path / "a", links, "--only=two").returncode == 0
    assert run_fetch(lock, tmp_path / "b", links, "--without=two").returncode == 0
    assert [(tmp_path / out / "site" / f"{name}.py").exists() for out in "ab" for name in ("one", "two")] == [
        False,
        True,
        True,
        False,
    ]


def test_what_no_cell_reads_is_left_out_and_what_torch_needs_stays(tmp_path: Path, links: Path) -> None:
    kept = ("torch/__init__.py", "torch/bin/torch_shm_manager", "torch/testing/__init__.py")
    dropped = ("torch/include/a/b.h", "torch/test/t.py", "torch/bin/test_api", "torch/lib/libx.a")
    wheel = make_wheel(links, "torch", files=dict.fromkeys([*kept, *dropped], ""))
    lock = make_lock(tmp_path / "env", {"torch==1.0": sha256(wheel)})
    assert run_fetch(lock, tmp_path / "out", links).returncode == 0
    found = {path for path in files_of(tmp_path / "out") if path.startswith("torch/") and not path.endswith(".pyc")}
    assert found == set(kept)
    assert run_fetch(lock, tmp_path / "headers", links, "--headers").returncode == 0
    assert set(files_of(tmp_path / "headers")) == {"torch/include/a/b.h"}


def test_programs_are_kept_and_scripts_of_an_installer_are_not(tmp_path: Path, links: Path) -> None:
    files: dict[str, str | bytes] = {
        "tool-1.0.data/scripts/binary": b"\x7fELF",
        "tool-1.0.data/scripts/script": "#!python\nprint()\n",
        "tool-1.0.data/purelib/tool.py": "",
        "tool-1.0.data/headers/tool.h": "",
    }
    lock = make_lock(tmp_path / "env", {"tool==1.0": sha256(make_wheel(links, "tool", files=files))})
    assert run_fetch(lock, tmp_path / "out", links).returncode == 0
    found = [path for path in files_of(tmp_path / "out") if "dist-info" not in path and not path.endswith(".pyc")]
    assert found == ["bin/binary", "tool.py"]
    assert os.access(tmp_path / "out/site/bin/binary", os.X_OK)


def test_a_module_that_does_not_compile_is_left_as_it_is(tmp_path: Path, links: Path) -> None:
    wheel = make_wheel(links, "odd", files={"odd/template.py": "{{ name }} = (\n", "odd/fine.py": "A = 1\n"})
    lock = make_lock(tmp_path / "env", {"odd==1.0": sha256(wheel)})
    assert run_fetch(lock, tmp_path / "out", links).returncode == 0
    compiled = [path.name.split(".")[0] for path in (tmp_path / "out/site/odd/__pycache__").iterdir()]
    assert compiled == ["fine"]


def share(tmp_path: Path, links: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Fetches an environment of `one`, then one of `one` and `two` that shares what the first has, into `second`."""
    one, two = (f"{name}==1.0" for name in ("one", "two"))
    wheels = {f"{name}==1.0": sha256(make_wheel(links, name)) for name in ("one", "two")}
    first = make_lock(tmp_path / "first-env", {one: wheels[one]})
    assert run_fetch(first, tmp_path / "first", links).returncode == 0
    (links / "one-1.0-py3-none-any.whl").unlink()  # whoever would fetch it a second time fails
    lock = make_lock(tmp_path / "second-env", {one: wheels[one], two: wheels[two]})
    shared = [f"--share-lock={first}", f"--share-manifest={tmp_path / 'first/manifest.txt'}"]
    return run_fetch(lock, tmp_path / "second", links, *shared, *options)


def test_a_wheel_that_another_environment_has_is_linked_and_not_fetched(tmp_path: Path, links: Path) -> None:
    finished = share(tmp_path, links)
    assert (finished.returncode, finished.stderr) == (0, "")
    lines = (tmp_path / "second/manifest.txt").read_text().splitlines()
    assert lines == [f"{digest}  {path}" for path, digest in sorted(files_of(tmp_path / "second").items())]
    modules = [f"{path.partition('.')[0]}" for path in files_of(tmp_path / "second") if path.endswith((".py", ".pyc"))]
    assert modules == ["__pycache__/one", "__pycache__/two", "one", "two"]
    assert (tmp_path / "second/site/one.py").samefile(tmp_path / "first/site/one.py")


def test_only_what_the_other_lock_has_too_is_linked(tmp_path: Path, links: Path) -> None:
    assert share(tmp_path, links, "--without=one").returncode == 0
    assert not (tmp_path / "second/site/one.py").exists()
    assert (tmp_path / "second/site/two.py").exists()


def test_a_shared_site_that_lost_a_wheel_is_told_so(tmp_path: Path, links: Path) -> None:
    lock = make_lock(tmp_path / "env", {"one==1.0": "0" * 64})
    other = make_lock(tmp_path / "other", {"one==1.0": "0" * 64})
    (tmp_path / "manifest.txt").write_text("")
    options = [f"--share-lock={other}", f"--share-manifest={tmp_path / 'manifest.txt'}"]
    finished = run_fetch(lock, tmp_path / "out", links, *options)
    assert_failed_cleanly(finished, tmp_path / "out", "one 1.0 is missing there")


def test_a_wheel_with_another_hash_is_refused_by_name(tmp_path: Path, links: Path) -> None:
    make_wheel(links, "one")
    lock = make_lock(tmp_path / "env", {"one==1.0": "0" * 64})
    finished = run_fetch(lock, tmp_path / "out", links)
    relock = "bazel run //toolchains/environments:relock -- env"
    assert_failed_cleanly(
        finished, tmp_path / "out", "env: one 1.0: ", "0" * 64, sha256(links / "one-1.0-py3-none-any.whl"), relock
    )


def test_a_missing_wheel_is_named_with_interpreter_and_platform(tmp_path: Path, links: Path) -> None:
    make_wheel(links, "one", tag="cp27-cp27m-win_amd64")
    finished = run_fetch(make_lock(tmp_path / "env", {"one==1.0": "0" * 64}), tmp_path / "out", links)
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}-"
    assert_failed_cleanly(
        finished, tmp_path / "out", "env: one==1.0: no wheel for " + tag, "PIP_NO_INDEX", "pip config list"
    )


def test_a_missing_cpu_build_of_torch_says_where_it_is(tmp_path: Path, links: Path) -> None:
    finished = run_fetch(make_lock(tmp_path / "env", {"torch==2.0+cpu": "0" * 64}), tmp_path / "out", links)
    assert_failed_cleanly(finished, tmp_path / "out", "torch==2.0+cpu: no wheel", "PyTorch's own index of CPU wheels")
    assert not re.search(r"https?://", finished.stderr)


def test_an_unreachable_index_is_no_missing_wheel(tmp_path: Path, links: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        settings = {"PIP_NO_INDEX": "", "PIP_INDEX_URL": f"http://127.0.0.1:{unused.getsockname()[1]}/simple"}
        finished = run_fetch(make_lock(tmp_path / "env", {"one==1.0": "0" * 64}), tmp_path / "out", links, **settings)
    assert_failed_cleanly(finished, tmp_path / "out", "env: no connection to the package index")


def test_an_interpreter_without_pip_is_told_so(tmp_path: Path, links: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    lock = make_lock(tmp_path / "env", {"one==1.0": sha256(make_wheel(links, "one"))})
    finished = run_fetch(lock, tmp_path / "out", links, python=str(tmp_path / "bare/bin/python"))
    assert_failed_cleanly(finished, tmp_path / "out", "has no pip", "ensurepip")


def test_a_full_disk_while_downloading_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = tmp_path / "python3"
    pip.write_text("#!/bin/sh\necho 'ERROR: Could not install: [Errno 28] No space left on device'\nexit 1\n")
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    (tmp_path / "out").mkdir()
    with pytest.raises(fetch.FetchError, match="the disk is full"):
        lock = make_lock(tmp_path / "env", {"one==1.0": "0" * 64})
        fetch.fetch(lock, [], [], tmp_path / "out/site", tmp_path / "out/manifest.txt", "unchecked-hash")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_while_unpacking_is_told_so(tmp_path: Path, links: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(wheels: list[Path], site: Path, *, headers: bool) -> dict[str, str]:
        (site / "half.py").write_text("made before the disk was full")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fetch, "unpack", fill)
    monkeypatch.setattr(fetch, "download", lambda *_: [])
    lock = make_lock(tmp_path / "env", {"one==1.0": "0" * 64})
    (tmp_path / "out").mkdir()
    with pytest.raises(fetch.FetchError, match="the disk is full"):
        fetch.fetch(lock, [], [], tmp_path / "out/site", tmp_path / "out/manifest.txt", "unchecked-hash")
    assert list((tmp_path / "out").iterdir()) == []


def test_two_wheels_may_not_disagree_on_a_file(tmp_path: Path, links: Path) -> None:
    pins = {}
    for name in ("one", "two"):
        pins[f"{name}==1.0"] = sha256(make_wheel(links, name, files={"shared/x.py": f"# {name}\n"}))
    finished = run_fetch(make_lock(tmp_path / "env", pins), tmp_path / "out", links)
    assert_failed_cleanly(finished, tmp_path / "out", "shared/x.py is in another wheel")


def test_a_wheel_cannot_write_outside_the_site(tmp_path: Path, links: Path) -> None:
    wheel = make_wheel(links, "evil", files={"../escaped.py": ""})
    with pytest.raises(fetch.FetchError, match="outside its directory"):
        fetch.unpack([wheel], tmp_path / "site")
    assert not (tmp_path / "escaped.py").exists()


def test_a_package_that_the_lock_lacks_is_named(tmp_path: Path, links: Path) -> None:
    lock = make_lock(tmp_path / "env", {"one==1.0": "0" * 64})
    assert_failed_cleanly(run_fetch(lock, tmp_path / "out", links, "--only=two"), tmp_path / "out", "no package two")


def test_a_damaged_lock_is_told_so(tmp_path: Path, links: Path) -> None:
    lock = make_lock(tmp_path / "env", {"one==1.0": "0" * 64})
    lock.write_text("one>=1.0\n")
    assert_failed_cleanly(run_fetch(lock, tmp_path / "out", links), tmp_path / "out", "'one>=1.0'", "relock")
