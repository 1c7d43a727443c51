"""`environment_site`: the frozen wheels of a lock as one directory."""

load(":environment_fetch.bzl", "FETCH_ATTRS", "fetch_wheels", "find_lock")

_BUILD = """\
load("@rules_python//python:defs.bzl", "py_library")

package(default_visibility = ["//visibility:public"])

# One source directory: as single files it would be ten thousand inputs of every action. Bazel does not look into it,
# so whatever takes it takes the manifest too.
exports_files(["site"])

filegroup(
    name = "manifest",
    srcs = ["manifest.txt"],
)

py_library(
    name = "packages",
    data = [
        "manifest.txt",
        "site",
    ],
    imports = ["site"],
)
"""

def _environment_site_impl(repository_ctx):
    arguments = ["--without=" + package for package in repository_ctx.attr.without]
    if repository_ctx.attr.headers:
        arguments += ["--only=torch", "--headers"]
    if repository_ctx.attr.shares:
        # Asking for the path of a file of that repository fetches it.
        arguments += [
            "--share-manifest={}".format(repository_ctx.path(repository_ctx.attr.shares)),
            "--share-lock={}".format(find_lock(repository_ctx, repository_ctx.attr.shares_lock_of)),
        ]
    fetch_wheels(
        repository_ctx,
        directory = "site",
        # What is frozen need not be looked at again.
        pyc = "unchecked-hash",
        arguments = arguments,
    )
    repository_ctx.file("BUILD.bazel", _BUILD, executable = False)

environment_site = repository_rule(
    implementation = _environment_site_impl,
    doc = """\
Fetches the wheels of an environment's lock with pip, and lays them out in one directory, the same on every machine.

Makes `:site` (the source directory), `:manifest` (a sha256 for each file in it) and `:packages` (both, for a `py_test`).
""",
    attrs = dict(
        FETCH_ATTRS,
        headers = attr.bool(
            doc = "Only the C++ headers of PyTorch, which are left out otherwise.",
        ),
        shares = attr.label(
            doc = "`manifest.txt` of another environment's site: what both locks have is linked from there.",
        ),
        shares_lock_of = attr.label(
            doc = "The `requirements.in` of that environment.",
        ),
        without = attr.string_list(
            doc = "Packages of the lock that are left out, because a repository of their own has them.",
        ),
    ),
)
