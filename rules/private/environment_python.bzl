"""`modelgrid_python`: the host's CPython as a repository, the interpreter of cells, of our programs and of our tests."""

# In order: the interpreter that most locks are made for, then the host's default, then newer ones.
_NAMES = ["python3.11", "python3", "python3.12", "python3.13", "python3.14"]
_MINIMUM = (3, 11)

# The base interpreter: one of a virtual environment is a link that would lose its packages behind our own link.
_DESCRIBE = """
import json, os, sys, sysconfig
print(json.dumps({
    "cache_tag": sys.implementation.cache_tag,
    "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "implementation": sys.implementation.name,
    "machine": os.uname().machine.lower() if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "").lower(),
    "system": {"darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform),
    "version": "%d.%d.%d" % sys.version_info[:3],
}))
"""

_INSTALL = "install CPython 3.11 or newer (your system's package, pyenv or python.org), or name one: MODELGRID_PYTHON=/path/to/python3"

_BUILD = """\
load("@rules_python//python:defs.bzl", "py_runtime", "py_runtime_pair")

package(default_visibility = ["//visibility:public"])

exports_files(["identity.json", "python3"])

py_runtime(
    name = "runtime",
    interpreter = ":python3",
    python_version = "PY3",
    stub_shebang = "{shebang}",
)

py_runtime_pair(
    name = "runtimes",
    py3_runtime = ":runtime",
)

toolchain(
    name = "toolchain",
    toolchain = ":runtimes",
    toolchain_type = "@bazel_tools//tools/python:toolchain_type",
)
"""

def _describe(repository_ctx, path):
    """Returns what the interpreter at `path` says of itself, or a string that says why it cannot serve."""
    found = repository_ctx.execute([path, "-I", "-S", "-c", _DESCRIBE])
    if found.return_code != 0:
        lines = [line for line in found.stderr.splitlines() if line.strip()]
        return "{} does not run ({})".format(path, lines[-1].strip() if lines else "exit status %d" % found.return_code)
    identity = json.decode(found.stdout)
    if identity["implementation"] != "cpython":
        return "{} is {}, not CPython".format(path, identity["implementation"])
    if tuple([int(part) for part in identity["version"].split(".")[:2]]) < _MINIMUM:
        return "{} is version {}, too old".format(path, identity["version"])
    return identity

def _find(repository_ctx):
    """Returns what the first interpreter that can serve says of itself; fails if there is none."""
    named = repository_ctx.getenv("MODELGRID_PYTHON")
    if named:
        identity = _describe(repository_ctx, named)
        if type(identity) == "string":
            fail("MODELGRID_PYTHON: {}; {}".format(identity, _INSTALL))
        return identity
    rejected = []
    for name in _NAMES:
        path = repository_ctx.which(name)
        if not path:
            continue
        identity = _describe(repository_ctx, path)
        if type(identity) != "string":
            return identity
        rejected.append(identity)
    fail("no usable Python on the PATH{}; {}".format(": " + "; ".join(rejected) if rejected else "", _INSTALL))

def _modelgrid_python_impl(repository_ctx):
    identity = _find(repository_ctx)
    executable = repository_ctx.path(identity.pop("executable"))
    repository_ctx.watch(executable)
    repository_ctx.symlink(executable, "python3")
    major, minor = identity["version"].split(".")[:2]
    identity["tag"] = "cp{}{}-{}_{}".format(major, minor, identity["system"], identity["machine"])
    repository_ctx.file("identity.json", json.encode_indent(identity, indent = "  ") + "\n", executable = False)

    # rules_python starts a program by this line, and actions see the system's folders alone. Where there is no
    # python3 in them, the interpreter itself has to do it.
    system = [folder + "/python3" for folder in ["/usr/local/bin", "/usr/bin", "/bin"]]
    on_system = [path for path in system if repository_ctx.path(path).exists]
    repository_ctx.file(
        "BUILD.bazel",
        _BUILD.format(shebang = "#!/usr/bin/env python3" if on_system else "#!{}".format(executable)),
        executable = False,
    )

modelgrid_python = repository_rule(
    implementation = _modelgrid_python_impl,
    doc = """\
Finds CPython 3.11 or newer: the environment variable `MODELGRID_PYTHON`, else `python3.11`, `python3`, or a newer one on the `PATH`.

Makes `:python3` (a link to it), `:identity.json` (its implementation, version, machine, and the tag that its locks are named by) and `:toolchain` (for rules_python).
""",
    configure = True,
    environ = ["MODELGRID_PYTHON", "PATH"],
)
