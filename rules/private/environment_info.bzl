"""`hf_environment`: what a cell runs in, as one target."""

load(":slice.bzl", "SlicesInfo")

EnvironmentInfo = provider(
    doc = "A locked set of Python packages with its interpreter, and transformers beside it.",
    fields = {
        "core": "Depset of Files: transformers without its model folders.",
        "frozen": "Depset of Files: `site` and `manifest`. All cells take this one depset, so that Bazel hashes the directory once a build and not once a cell.",
        "manifest": "File: a hash for every file below `site`; what workers are keyed by.",
        "interpreter": "File: version and implementation of the interpreter, which its binary alone need not show.",
        "name": "Name of the environment, for example `transformers-5.23`.",
        "python": "File: the interpreter.",
        "site": "File: one source directory with every package but transformers.",
        "transformers_root": "Path from the exec root to the folder that holds the `transformers` package.",
    },
)

def _hf_environment_impl(ctx):
    return [EnvironmentInfo(
        core = ctx.attr.slices[SlicesInfo].core,
        frozen = depset([ctx.file.manifest, ctx.file.site]),
        interpreter = ctx.file.interpreter,
        manifest = ctx.file.manifest,
        name = ctx.label.name,
        python = ctx.file.python,
        site = ctx.file.site,
        transformers_root = ctx.attr.slices[SlicesInfo].root,
    )]

hf_environment = rule(
    implementation = _hf_environment_impl,
    doc = "Names the repositories of one environment.",
    attrs = {
        "interpreter": attr.label(
            doc = "Version and implementation of the interpreter: where the binary is a stub of a shared library, only this file changes.",
            allow_single_file = [".json"],
            mandatory = True,
        ),
        "manifest": attr.label(
            doc = "A hash for every file below `site`. Bazel does not look into a source directory, so this file is what changes.",
            allow_single_file = True,
            mandatory = True,
        ),
        "python": attr.label(
            doc = "The interpreter.",
            allow_single_file = True,
            mandatory = True,
        ),
        "site": attr.label(
            doc = "The one source directory with the frozen wheels.",
            allow_single_file = True,
            mandatory = True,
        ),
        "slices": attr.label(
            doc = "transformers. `--transformers` of a cell is its repository's root.",
            mandatory = True,
            providers = [SlicesInfo],
        ),
    },
)
