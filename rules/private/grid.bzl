"""The grid file: what the coverage report reads, as one build output that depends on every verdict."""

load("//toolchains:backends.bzl", "BACKENDS", "DEVICE_WORDS")
load("//toolchains/environments:environments.bzl", "DEFAULT_ENVIRONMENT")
load(":verdict_info.bzl", "VerdictInfo")

_VERSION = 1

def _hf_grid_impl(ctx):
    def rlocation(file):
        path = file.short_path
        return path.removeprefix("../") if path.startswith("../") else ctx.workspace_name + "/" + path

    # A report reads every file anyway: this is the one place where the whole depset is flattened.
    declarations = ctx.files.declarations
    verdicts = ctx.attr.verdicts[VerdictInfo].verdicts.to_list()

    # Without imported verdicts there is nothing to hold them to, and no bundle to build.
    manifest = ctx.attr.bundle[OutputGroupInfo].manifest.to_list() if ctx.files.imported else []
    grid = ctx.actions.declare_file(ctx.label.name + ".json")
    ctx.actions.write(grid, json.encode_indent({
        "backends": [
            {
                "absent": row.absent,
                "checks": row.checks,
                "counts": row.counts,
                "device": row.device,
                "device_words": DEVICE_WORDS.get(row.device, ""),
                "dtype": row.dtype,
                "known_failures": row.known_failures,
                "name": row.name,
                "runtime": row.runtime,
                "tiers": row.tiers or [],
            }
            for row in BACKENDS
        ],
        "declarations": [rlocation(file) for file in declarations],
        "environment": DEFAULT_ENVIRONMENT,
        "imported": [rlocation(file) for file in ctx.files.imported],
        "inventory": rlocation(ctx.file.inventory),
        "manifest": rlocation(manifest[0]) if manifest else None,
        "named": rlocation(ctx.file.named),
        "undeclared": rlocation(ctx.file.undeclared),
        "upstream": ctx.attr.upstream,
        "verdicts": [rlocation(file) for file in verdicts],
        "version": _VERSION,
    }) + "\n")
    return [DefaultInfo(
        files = depset([grid]),
        runfiles = ctx.runfiles([grid, ctx.file.inventory, ctx.file.named, ctx.file.undeclared] + declarations + verdicts + ctx.files.imported + manifest),
    )]

hf_grid = rule(
    implementation = _hf_grid_impl,
    doc = "Names every declaration and every verdict of this build for the report; version 1 of the format is documented in `report/grid.py`.",
    attrs = {
        "bundle": attr.label(
            doc = "The bundle, whose manifest says what imported verdicts must be of.",
            mandatory = True,
        ),
        "declarations": attr.label(
            doc = "All declarations, as `hf_model_index` makes them.",
            mandatory = True,
        ),
        "imported": attr.label(
            doc = "The verdicts that other machines found: files that `//:import_verdicts` wrote.",
            allow_files = True,  # an extension would ask for at least one file
            mandatory = True,
        ),
        "inventory": attr.label(
            doc = "Every model folder and public model class of the default environment: the denominator.",
            allow_single_file = [".json"],
            mandatory = True,
        ),
        "named": attr.label(
            doc = "The models that people asked for by name: a JSON object from that name to the model's.",
            allow_single_file = [".json"],
            mandatory = True,
        ),
        "undeclared": attr.label(
            doc = "Why folders of the inventory have no declaration: a JSON object from the folder's name to the reason.",
            allow_single_file = [".json"],
            mandatory = True,
        ),
        "upstream": attr.string_dict(
            doc = "For each environment the address of its folder of model folders, which reports link to.",
        ),
        "verdicts": attr.label(
            doc = "All verdicts that this build can have, as `hf_model_index` makes them.",
            mandatory = True,
            providers = [VerdictInfo],
        ),
    },
)
