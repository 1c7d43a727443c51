"""The portable bundle: the spec of every cell, and the harness that runs it where there is no Bazel."""

load("//toolchains:backends.bzl", "BACKENDS", "REFERENCE", "backends_in")
load(":model_info.bzl", "ModelInfo")
load(":settings.bzl", "StringSettingInfo")
load(":spec.bzl", "spec_text")

def _lines_of(model):
    """Returns a line for each cell of a model: its label, its package and its spec."""
    package = model.label.rpartition(":")[0]
    return [
        json.encode([package + ":" + row.name, spec_text(package + ":" + row.name, model.fields, row, model.epoch, row.known_failures)])
        for row in backends_in(model.fields["environment"])
        if row.counts
    ]

def _hf_specs_impl(ctx):
    epoch = ctx.attr._epoch[StringSettingInfo].value
    models = [
        struct(epoch = epoch, fields = target[ModelInfo].fields, label = target[ModelInfo].label)
        for target in ctx.attr.models
        # What no cell can run has no class, what the environment lacks no slices.
        if target[ModelInfo].fields["main_class"] and not target[ModelInfo].missing
    ]
    lines = ctx.actions.args()
    lines.set_param_file_format("multiline")
    lines.add_all(models, map_each = _lines_of)
    specs = ctx.actions.declare_file(ctx.label.name + ".jsonl")
    ctx.actions.write(specs, lines)
    return [DefaultInfo(files = depset([specs]))]

hf_specs = rule(
    implementation = _hf_specs_impl,
    doc = "The spec of every cell on a backend that counts, one on a line: `[label, text]`. No device is needed, no cell runs.",
    attrs = {
        "models": attr.label_list(
            doc = "Declarations.",
            providers = [ModelInfo],
        ),
        "_epoch": attr.label(
            default = "//rules:epoch",
        ),
    },
)

def _hf_bundle_impl(ctx):
    bundle = ctx.actions.declare_file(ctx.label.name + ".zip")
    manifest = ctx.actions.declare_file(ctx.label.name + ".manifest.json")
    table = ctx.actions.declare_file(ctx.label.name + ".backends.json")
    ctx.actions.write(table, json.encode({
        row.name: {
            "checks": row.checks,
            "device": row.device,
            "imports": row.imports,
            "runtime": row.runtime,
        }
        for row in BACKENDS
        if row.counts
    }))
    checks = [file for file in ctx.files.checks if file.extension == "py"]
    references = [file for file in ctx.files.models if file.basename == "reference.json"]
    environments = [file for file in ctx.files.environments if file.basename == "requirements.in"]

    arguments = ctx.actions.args()
    arguments.use_param_file("@%s", use_always = True)
    arguments.set_param_file_format("multiline")
    arguments.add(bundle, format = "--out=%s")
    arguments.add(manifest, format = "--manifest=%s")
    arguments.add(table, format = "--backends=%s")
    arguments.add(ctx.file.specs, format = "--specs=%s")
    arguments.add(ctx.file._main, format = "--main=%s")
    arguments.add(ctx.file._identify, format = "--identify=%s")
    arguments.add(REFERENCE, format = "--reference-backend=%s")
    arguments.add_all(ctx.files.core, format_each = "--core=%s")
    arguments.add_all(checks, format_each = "--check=%s")
    arguments.add_all(references, format_each = "--reference=%s")
    arguments.add_all(environments, format_each = "--environment=%s")
    adapters = []
    for target, runtime in ctx.attr.adapters.items():
        files = target[DefaultInfo].files.to_list()
        arguments.add_all(files, format_each = "--adapter={}=%s".format(runtime))
        adapters += files
    ctx.actions.run(
        mnemonic = "ModelgridBundle",
        progress_message = "Making %{output}",
        executable = ctx.file._python,
        arguments = ["-I", "-S", "-B", ctx.file._make.path, arguments],
        inputs = [table, ctx.file.specs, ctx.file._main, ctx.file._make, ctx.file._identify] + ctx.files.core + adapters + checks + references + environments,
        outputs = [bundle, manifest],
        tools = [ctx.file._python],
    )
    return [
        DefaultInfo(files = depset([bundle])),
        OutputGroupInfo(manifest = depset([manifest])),
    ]

hf_bundle = rule(
    implementation = _hf_bundle_impl,
    doc = "One zip file that runs cells with Python, PyTorch and transformers alone, and its manifest (output group `manifest`): the hashes that its results are held to.",
    attrs = {
        "adapters": attr.label_keyed_string_dict(
            doc = "The files of each runtime's adapter.",
            allow_files = [".py"],
            mandatory = True,
        ),
        "checks": attr.label(
            doc = "Every module of checks.",
            default = "//harness/checks:sources",
        ),
        "core": attr.label(
            doc = "The harness without checks and adapters.",
            default = "//harness:core",
        ),
        "environments": attr.label(
            doc = "What the environments ask for: `requirements.in` names the transformers.",
            default = "//toolchains/environments:locked",
        ),
        "models": attr.label(
            doc = "The files of all models, recorded outputs among them.",
            mandatory = True,
        ),
        "specs": attr.label(
            doc = "The specs of all cells.",
            allow_single_file = [".jsonl"],
            mandatory = True,
        ),
        "_identify": attr.label(
            default = "//toolchains/host:identify.py",
            allow_single_file = True,
        ),
        "_main": attr.label(
            default = "//deploy/bundle:main.py",
            allow_single_file = True,
        ),
        "_make": attr.label(
            default = "//deploy/bundle:make.py",
            allow_single_file = True,
        ),
        "_python": attr.label(
            default = "@modelgrid_python//:python3",
            allow_single_file = True,
        ),
    },
)
