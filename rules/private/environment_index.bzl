"""`environment_index`: one repository through which every environment is found, without fetching any."""

_SITE = """\
load("@rules_python//python:defs.bzl", "py_library")

package(default_visibility = ["//visibility:public"])

alias(
    name = "manifest",
    actual = "@{repository}_site//:manifest",
)

alias(
    name = "site",
    actual = "@{repository}_site//:site",
)
"""

_TRANSFORMERS = """
alias(
    name = "slices",
    actual = "@{repository}//:slices",
)
"""

_PACKAGES = """
# All packages, for a `py_test`.
py_library(
    name = "packages",
    deps = {packages},
)
"""

def _environment_index_impl(repository_ctx):
    repository_ctx.file("BUILD.bazel", "", executable = False)
    for name, repository in repository_ctx.attr.repositories.items():
        packages = ["@{}_site//:packages".format(repository)]
        parts = [_SITE]
        if name in repository_ctx.attr.with_transformers:
            packages.append("@{}//:packages".format(repository))
            parts.append(_TRANSFORMERS)
        repository_ctx.file(
            name + "/BUILD.bazel",
            "".join(parts + [_PACKAGES]).format(packages = repr(packages), repository = repository),
            executable = False,
        )

environment_index = repository_rule(
    implementation = _environment_index_impl,
    doc = """\
Has a package for each environment: `//NAME:site`, `:manifest`, `:packages` and, where it has transformers, `:slices`.

The module extension makes it beside the repositories it names, so MODULE.bazel need name none of them.
""",
    attrs = {
        "repositories": attr.string_dict(
            doc = "Name of each environment's repository, by the environment's name.",
            mandatory = True,
        ),
        "with_transformers": attr.string_list(
            doc = "The environments that hold transformers.",
            mandatory = True,
        ),
    },
)
