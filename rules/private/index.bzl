"""What reports depend on: all declarations, and the verdicts of all cells that this build can run."""

load("//toolchains:backends.bzl", "nightly_values")
load(":bundle.bzl", "hf_specs")
load(":model_info.bzl", "ModelInfo")
load(":verdict_info.bzl", "VerdictInfo")
load(":vocabulary.bzl", "TIERS")

def _merge_impl(ctx):
    infos = [cell[VerdictInfo] for cell in ctx.attr.cells]
    merged = VerdictInfo(
        logs = depset(transitive = [info.logs for info in infos]),
        observed = {
            tier: depset(transitive = [info.observed[tier] for info in infos if tier in info.observed])
            for tier in TIERS
        },
        verdicts = depset(transitive = [info.verdicts for info in infos]),
    )
    return [
        DefaultInfo(files = merged.verdicts),
        OutputGroupInfo(observed = depset(transitive = merged.observed.values())),
        merged,
    ]

_hf_verdicts = rule(
    implementation = _merge_impl,
    doc = "The verdicts of many cells as one target.",
    attrs = {
        "cells": attr.label_list(
            doc = "Cells, or targets of this rule.",
            providers = [VerdictInfo],
        ),
    },
)

def hf_cells(name, tier, backends, tags = []):
    """Makes the target that holds the verdicts of this package's cells, where the platform has their devices.

    A cell that this build does not run has no providers, so it is left out by `select`: the target itself is always
    compatible, and what is missing from it the reports show as `no_hardware`, as `nightly` where its backend leaves the
    tier out by default, or as `absent` where the table says so.

    Args:
      name: name of the target.
      tier: tier of the model.
      backends: rows of the table that the package has a cell for.
      tags: tags of the target.
    """
    cells = []
    for backend in [row for row in backends if not row.absent]:
        where = ["//toolchains/devices:" + backend.device]
        if backend.tiers != None and tier not in backend.tiers:
            where = ["//toolchains:{}.nightly.{}.here".format(backend.name, value) for value in nightly_values(backend)]
        cells = cells + select({each: [":" + backend.name] for each in where} | {"//conditions:default": []})
    _hf_verdicts(
        name = name,
        testonly = True,
        cells = cells,
        tags = tags,
        visibility = ["//visibility:public"],
    )

def _declarations_impl(ctx):
    seen = {}
    for model in ctx.attr.models:
        name = model[ModelInfo].fields["name"]
        if name in seen:
            fail("{}: the name '{}' is taken by {}; a model's name is unique in the grid, rename one of the two".format(
                model[ModelInfo].label,
                name,
                seen[name],
            ))
        seen[name] = model[ModelInfo].label
    return [DefaultInfo(files = depset([model[ModelInfo].declaration for model in ctx.attr.models]))]

hf_declarations = rule(
    implementation = _declarations_impl,
    doc = "All declarations as one target. Fails if two models have one name.",
    attrs = {
        "models": attr.label_list(
            doc = "Declarations.",
            providers = [ModelInfo],
        ),
    },
)

def hf_model_index(name, packages):
    """Makes the targets that reports depend on, from the packages below this one.

    `declarations` has every declaration, `verdicts` every verdict that this build can run, and `specs` the spec of every
    cell, whether or not any machine can run it.

    Args:
      name: name of a filegroup with the BUILD files of all models.
      packages: packages below this one, `subpackages(include = ["*/*"])`: nothing to keep by hand.
    """
    here = native.package_name()
    models = ["//{}/{}".format(here, package) for package in packages]
    native.filegroup(
        name = name,
        srcs = [model + ":sources" for model in models],
        visibility = ["//visibility:public"],
    )
    hf_declarations(
        name = "declarations",
        models = models,
        visibility = ["//visibility:public"],
    )
    hf_specs(
        name = "specs",
        models = models,
        visibility = ["//visibility:public"],
    )
    _hf_verdicts(
        name = "verdicts",
        testonly = True,
        cells = [model + ":cells" for model in models],
        visibility = ["//visibility:public"],
    )
