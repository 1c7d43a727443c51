"""A row of `toolchains/backends.bzl` as an accelerator toolchain, and that toolchain as cells depend on it."""

_ACCELERATOR = "//toolchains:accelerator"

BackendInfo = provider(
    doc = "One backend: a device with a runtime on it, a dtype and a tolerance.",
    fields = {
        "adapter": "Depset of files: the module of `harness/runtimes/` that runs the model, and what it needs, `packages` and their manifest too. All cells take this one depset, as they do an environment's.",
        "checks": "Which checks its cells run: `category`, those of the model's category, or `runtime`.",
        "counts": "Whether its verdicts count as coverage.",
        "cpu_factor": "How many times the CPU seconds of a declaration's limits its cells may use.",
        "device": "Name of the device, for example `cuda`.",
        "dtype": "Dtype of weights and floating inputs, as torch spells it.",
        "identity": "File: the device's identity as the host detection wrote it. An input of every verdict.",
        "imports": "Modules that a worker imports once for the runtime.",
        "known_failures": "File: what the runtime cannot do, whatever the model, as a JSON list. None where nothing is known.",
        "name": "Name of the backend.",
        "packages": "File: the directory of packages that the runtime needs beside the model's environment, or None.",
        "packages_manifest": "File: a hash for every file in it, or None.",
        "runtime": "Name of the adapter in `harness/runtimes/`.",
        "tolerance": "Dict of floats: `atol`, `per_layer` and `rtol` of the dtype, see `toolchains/backends.bzl`.",
    },
)

def _backend_impl(ctx):
    known_failures = None
    if json.decode(ctx.attr.known_failures):
        known_failures = ctx.actions.declare_file(ctx.label.name + ".known_failures.json")
        ctx.actions.write(known_failures, ctx.attr.known_failures)
    info = BackendInfo(
        adapter = depset(ctx.files.packages + ctx.files.packages_manifest, transitive = [ctx.attr.adapter[DefaultInfo].files]),
        checks = ctx.attr.checks,
        counts = ctx.attr.counts,
        cpu_factor = ctx.attr.cpu_factor,
        device = ctx.attr.device,
        dtype = ctx.attr.dtype,
        identity = ctx.file.identity,
        imports = ctx.attr.imports,
        known_failures = known_failures,
        name = ctx.label.name,
        packages = ctx.file.packages,
        packages_manifest = ctx.file.packages_manifest,
        runtime = ctx.attr.runtime,
        tolerance = {name: float(value) for name, value in ctx.attr.tolerance.items()},
    )
    return [info, platform_common.ToolchainInfo(backend = info)]

backend = rule(
    implementation = _backend_impl,
    doc = "An accelerator toolchain made from one row of the table of backends.",
    attrs = {
        "adapter": attr.label(
            doc = "The runtime's module in `harness/runtimes/`, and what it needs.",
            allow_files = [".py"],
            mandatory = True,
        ),
        "checks": attr.string(
            doc = "Which checks its cells run.",
            default = "category",
            values = ["category", "runtime"],
        ),
        "counts": attr.bool(
            doc = "Whether its verdicts count as coverage. True but for `mock`.",
            default = True,
        ),
        "cpu_factor": attr.int(
            doc = "How many times the CPU seconds of a declaration's limits its cells may use.",
            default = 1,
        ),
        "device": attr.string(
            doc = "Name of the device that it needs.",
            mandatory = True,
        ),
        "dtype": attr.string(
            doc = "Dtype of weights and floating inputs, as torch spells it.",
            mandatory = True,
        ),
        "identity": attr.label(
            doc = "The device's identity file, made by the host detection.",
            allow_single_file = [".json"],
            mandatory = True,
        ),
        "imports": attr.string_list(
            doc = "Modules that a worker imports once for the runtime, before it forks.",
        ),
        "known_failures": attr.string(
            doc = "What the runtime cannot do, whatever the model, as a JSON list.",
            default = "[]",
        ),
        "packages": attr.label(
            doc = "The directory of packages that the runtime needs beside the model's environment.",
            allow_single_file = True,
        ),
        "packages_manifest": attr.label(
            doc = "A hash for every file below `packages`, into which Bazel does not look.",
            allow_single_file = True,
        ),
        "runtime": attr.string(
            doc = "Name of the adapter in `harness/runtimes/`.",
            mandatory = True,
        ),
        "tolerance": attr.string_dict(
            doc = "Tolerances of the dtype. Strings, since attributes have no floating type.",
            mandatory = True,
        ),
    },
)

backend_flag = rule(
    implementation = lambda _ctx: [],
    doc = "The build setting that `resolved_backend` sets to the backend's name.",
    build_setting = config.string(),
)

def _select_backend(_settings, attr):
    return {"//toolchains:backend": attr.backend}

# Toolchain resolution knows platforms and settings, not attributes: the transition turns the row's name into a setting, so
# that one rule serves every row of the table.
_backend_transition = transition(
    implementation = _select_backend,
    inputs = [],
    outputs = ["//toolchains:backend"],
)

resolved_backend = rule(
    implementation = lambda ctx: [ctx.toolchains[_ACCELERATOR].backend],
    doc = "The accelerator toolchain that is registered for a backend. Resolved once for a backend and not once for each cell: thousands of transitions were a fifth of the time of analysis (benchmarks/RESULTS.md).",
    attrs = {
        "backend": attr.string(
            doc = "Name of the backend, a row of `toolchains/backends.bzl`.",
            mandatory = True,
        ),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    cfg = _backend_transition,
    toolchains = [_ACCELERATOR],
)
