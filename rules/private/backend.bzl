"""The backend rule: one row of `toolchains/backends.bzl` as an accelerator toolchain."""

BackendInfo = provider(
    doc = "One backend: a device with a runtime on it, a dtype and a tolerance.",
    fields = {
        "adapter": "Depset of files: the module of `harness/runtimes/` that runs the model, and what it needs.",
        "atol": "Absolute tolerance, a string that reads as a number, in the output's own unit.",
        "counts": "Whether its verdicts count as coverage.",
        "device": "Name of the device, for example `cuda`.",
        "dtype": "Dtype of weights and floating inputs, as torch spells it.",
        "identity": "File: the device's identity as the host detection wrote it. An input of every verdict.",
        "name": "Name of the backend.",
        "rtol": "Relative tolerance, a string that reads as a number.",
        "runtime": "Name of the adapter in `harness/runtimes/`.",
    },
)

def _backend_impl(ctx):
    info = BackendInfo(
        adapter = ctx.attr.adapter[DefaultInfo].files,
        atol = ctx.attr.atol,
        counts = ctx.attr.counts,
        device = ctx.attr.device,
        dtype = ctx.attr.dtype,
        identity = ctx.file.identity,
        name = ctx.label.name,
        rtol = ctx.attr.rtol,
        runtime = ctx.attr.runtime,
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
        "atol": attr.string(
            doc = "Absolute tolerance. A string, since attributes have no floating type.",
            mandatory = True,
        ),
        "counts": attr.bool(
            doc = "Whether its verdicts count as coverage. True but for `mock`.",
            default = True,
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
        "rtol": attr.string(
            doc = "Relative tolerance. A string, since attributes have no floating type.",
            mandatory = True,
        ),
        "runtime": attr.string(
            doc = "Name of the adapter in `harness/runtimes/`.",
            mandatory = True,
        ),
    },
)

backend_flag = rule(
    implementation = lambda _ctx: [],
    doc = "The build setting that a cell's transition sets to its backend's name.",
    build_setting = config.string(),
)
