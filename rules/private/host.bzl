"""`modelgrid_host`: which devices this machine has, and the identity of each."""

load(":environment_fetch.bzl", "run_program")

_BUILD = """\
package(default_visibility = ["//visibility:public"])

exports_files(glob(["*.json"]) + ["host.bzl"])
"""

# A new driver or compiler shows here; reading them is cheap, and a path that does not exist may appear.
_SIGNS = [
    "/proc/driver/nvidia/version",
    "/sys/module/amdgpu/version",
    "/usr/bin/clang++",
    "/usr/bin/g++",
    "/usr/local/bin/clang++",
    "/usr/local/bin/g++",
]

def _modelgrid_host_impl(repository_ctx):
    arguments = ["--out={}".format(repository_ctx.path("."))]
    described = repository_ctx.getenv("MODELGRID_FAKE_DEVICES")
    if described:
        repository_ctx.watch(described)
        arguments.append("--described={}".format(described))
    else:
        for sign in _SIGNS:
            repository_ctx.watch(sign)
    run_program(repository_ctx, repository_ctx.attr._identify, arguments)

    present = []
    for path in repository_ctx.path(".").readdir():
        if path.basename.endswith(".json") and json.decode(repository_ctx.read(path)).get("present", True):
            present.append(path.basename.removesuffix(".json"))
    repository_ctx.file(
        "host.bzl",
        '"""The devices that were found on this machine."""\n\nPRESENT_DEVICES = {}\n'.format(repr(sorted(present))),
        executable = False,
    )
    repository_ctx.file("BUILD.bazel", _BUILD, executable = False)

modelgrid_host = repository_rule(
    implementation = _modelgrid_host_impl,
    doc = """\
Identifies the devices of this machine.

Makes `<device>.json` for each device of the table of backends (an absent one says so), and `host.bzl` with PRESENT_DEVICES.
`bazel sync --configure` looks again; a new driver is seen by itself. For tests the environment variable
`MODELGRID_FAKE_DEVICES` names a JSON file that stands in for looking.
""",
    attrs = {
        "_identify": attr.label(
            default = "//toolchains/host:identify.py",
        ),
        "_python": attr.label(
            default = "@modelgrid_python//:python3",
        ),
    },
    configure = True,
    environ = ["MODELGRID_FAKE_DEVICES"],
    local = True,
)
