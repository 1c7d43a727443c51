"""`transformers_repository`: transformers in slices, from its wheel or from a checkout."""

load(":environment_fetch.bzl", "FETCH_ATTRS", "fetch_wheels", "run_program")

_BUILD = """\
load("@rules_python//python:defs.bzl", "py_library")
load("{slice_bzl}", "transformers_slices")

package(default_visibility = ["//visibility:public"])

exports_files(["inventory.json"])

transformers_slices(
    name = "slices",
    srcs = glob(
        [
            "*.dist-info/*",
            "transformers/**",
        ],
        allow_empty = True,
        exclude = {unused},
    ),
    core = {core},
    environment = "{environment}",
    model_types = {model_types},
    reaches = {reaches},
)

# The whole package for a `py_test`, as one source directory and the manifest that stands for its content.
py_library(
    name = "packages",
    data = [
        "manifest.txt",
        "transformers",
    ],
    imports = ["."],
)
"""

# What the modelling files were generated from, and scripts that converted checkpoints: nothing imports them.
_NOT_IMPORTED = ["transformers/models/*/modular_*", "transformers/models/*/convert_*"]

# A checkout's compiled modules are from whenever its owner last ran it. They are left out and not made anew: an edit of
# one file would cost compiling all of the core, and a model folder compiles in a tenth of a second when it is imported.
_OF_A_CHECKOUT = _NOT_IMPORTED + ["**/__pycache__/**"]

def _find_package(repository_ctx, checkout):
    """Returns the Path of the package `transformers` in a checkout; fails if there is none."""
    for folder in ["src/transformers", "transformers"]:
        package = repository_ctx.path(checkout).get_child(*folder.split("/"))
        if package.get_child("__init__.py").exists and package.get_child("models").exists:
            return package
    fail("MODELGRID_TRANSFORMERS={}: no transformers sources there; name a checkout of the repository, or its folder src".format(checkout))

def _add_folder(repository_ctx, name):
    """Copies a model folder of the environment's own among those of transformers."""
    own = repository_ctx.path(repository_ctx.attr.requirements).dirname.get_child("models", name)
    for file in own.readdir():
        if file.basename.endswith(".py"):
            path = "transformers/models/{}/{}".format(name, file.basename)
            repository_ctx.file(path, repository_ctx.read(file), executable = False)

def _transformers_repository_impl(repository_ctx):
    checkout = repository_ctx.getenv("MODELGRID_TRANSFORMERS") if repository_ctx.attr.replaceable else None
    scan = ["--package={}".format(repository_ctx.path("transformers")), "--inventory={}".format(repository_ctx.path("inventory.json"))]
    if checkout:
        package = _find_package(repository_ctx, checkout)
        repository_ctx.watch_tree(package)
        repository_ctx.symlink(package, "transformers")
        scan.append("--manifest={}".format(repository_ctx.path("manifest.txt")))
    else:
        # The package lies at the root, so that the repository is an entry of sys.path.
        fetch_wheels(
            repository_ctx,
            directory = ".",
            # Not `unchecked`: whoever edits a file here would see the old one run.
            pyc = "checked-hash",
            arguments = ["--only=transformers"],
        )
    for name in repository_ctx.attr.folders:
        _add_folder(repository_ctx, name)
    repository_ctx.watch(repository_ctx.attr._folders)
    run_program(repository_ctx, repository_ctx.attr._scan, scan)

    inventory = json.decode(repository_ctx.read("inventory.json"))
    model_types = {each: folder for folder, entry in sorted(inventory.items()) for each in entry["model_types"]}
    model_types.update({name: name for name in repository_ctx.attr.folders})  # `auto` does not know them
    repository_ctx.file("BUILD.bazel", _BUILD.format(
        core = repr(inventory["auto"]["slices"]),
        environment = repository_ctx.path(repository_ctx.attr.requirements).dirname.basename,
        model_types = repr(model_types),
        reaches = repr({folder: entry["slices"] for folder, entry in sorted(inventory.items())}),
        slice_bzl = str(Label(":slice.bzl")),
        unused = repr(_OF_A_CHECKOUT if checkout else _NOT_IMPORTED),
    ), executable = False)

transformers_repository = repository_rule(
    implementation = _transformers_repository_impl,
    doc = """\
transformers of an environment's lock, or, where it is replaceable, of the checkout that the environment variable
`MODELGRID_TRANSFORMERS` names.

Makes `:slices` (its core, and a slice for each model folder), `:inventory.json` (model types, config and model classes of
each folder), and `:packages` (all of it, for a `py_test`).
The repository's root is an entry of `sys.path`.
""",
    attrs = dict(
        FETCH_ATTRS,
        folders = attr.string_list(
            doc = "Model folders of the environment's own, each of one model type, its name: `models/NAME` beside its lock.",
        ),
        replaceable = attr.bool(
            doc = "Whether a checkout may stand in for it: that of one environment may, or a fork would be all versions at once.",
        ),
        _folders = attr.label(
            default = "//harness:folders.py",
        ),
        _scan = attr.label(
            default = "//harness:scan.py",
        ),
    ),
    environ = ["MODELGRID_TRANSFORMERS"],
)
