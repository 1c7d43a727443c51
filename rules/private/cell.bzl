"""A cell: one model on one backend, as a test that judges a verdict which a build action made."""

load("//toolchains:backends.bzl", "REFERENCE")
load(":backend.bzl", "BackendInfo")
load(":declaration.bzl", "canonical")
load(":environment_info.bzl", "EnvironmentInfo")
load(":model_info.bzl", "ModelInfo")
load(":settings.bzl", "StringSettingInfo")
load(":spec.bzl", "spec_text")
load(":verdict_info.bzl", "VerdictInfo")

# What Bazel sets aside for one run: a forked child is single-threaded; the median tiny model and its checks need
# some 400 MiB beyond the worker's pages.
def _resources(_os, _inputs):
    return {"cpu": 1, "memory": 512}

def _spec(ctx, model, backend):
    """Declares the spec."""
    spec = ctx.actions.declare_file(ctx.label.name + ".spec.json")
    ctx.actions.write(spec, spec_text(canonical(ctx.label), model.fields, backend, ctx.attr._epoch[StringSettingInfo].value, []))
    return spec

def _reference(ctx, environment):
    """Returns the recorded outputs as a list of no or one File: those of another environment are nothing to go by."""
    return ctx.files.reference if environment.name == ctx.attr.recorded_in else []

def _verdict(ctx, spec, model, backend, environment):
    """Declares the ModelVerdict action; returns its outputs as a struct."""
    name = ctx.label.name
    outputs = struct(
        junit = ctx.actions.declare_file(name + ".junit.xml"),
        log = ctx.actions.declare_file(name + ".log.txt"),
        # What the outputs came to: `//:record` makes it the reference.
        observed = ctx.actions.declare_file(name + ".observed.json"),
        # Nothing depends on the timings: they differ from run to run.
        timings = ctx.actions.declare_file(name + ".timings.json"),
        verdict = ctx.actions.declare_file(name + ".verdict.json"),
    )
    mock = backend.runtime == "mock"

    # What stays the same for every cell of a worker; the rest goes to the params file, request by request.
    startup = ctx.actions.args()
    startup.add_all(["-I", "-S", "-B", ctx.file._worker])
    startup.add(".", format = "--root=%s")
    startup.add(environment.site.path, format = "--site=%s")
    startup.add(environment.transformers_root, format = "--transformers=%s")
    if backend.packages:
        startup.add(backend.packages.path, format = "--packages=%s")
    if mock:
        startup.add("--mock")
    startup.add_all(backend.imports, format_each = "--import=%s")

    request = ctx.actions.args()
    request.use_param_file("@%s", use_always = True)
    request.set_param_file_format("multiline")
    request.add(spec, format = "--spec=%s")
    request.add(backend.identity, format = "--device=%s")
    request.add(outputs.verdict, format = "--verdict=%s")
    request.add(outputs.junit, format = "--junit=%s")
    request.add(outputs.log, format = "--log=%s")
    request.add(outputs.timings, format = "--timings=%s")
    request.add(outputs.observed, format = "--observed=%s")
    reference = _reference(ctx, environment)
    request.add_all(reference, format_each = "--reference=%s")

    # A run that passes does not ask what is known to fail: then the action says that it did not use the file, and an entry
    # more in the table of backends does not prove it again.
    excuses, unused = [], None
    if backend.known_failures:
        excuses, unused = [backend.known_failures], ctx.actions.declare_file(name + ".unused.txt")
        request.add(backend.known_failures, format = "--known_failures=%s")
        request.add(unused, format = "--unused=%s")

    # The source directory is an input and only its manifest a tool: Bazel cannot hash a directory for a worker's
    # key, and a changed manifest restarts the workers as it should.
    tools = [environment.interpreter, environment.manifest, environment.python]
    if backend.packages:
        tools.append(backend.packages_manifest)
    harness = ctx.attr._harness[DefaultInfo].files
    ctx.actions.run(
        mnemonic = "ModelVerdict",
        progress_message = "Proving %{label}",
        executable = environment.python,
        arguments = [startup, request],
        tools = depset(tools, transitive = [harness] if mock else [harness, environment.core]),
        inputs = depset([spec, backend.identity] + ctx.files.checks + reference + excuses, transitive = [backend.adapter, environment.frozen, model.slices]),
        outputs = [outputs.verdict, outputs.junit, outputs.log, outputs.timings, outputs.observed] + ([unused] if unused else []),
        execution_requirements = {
            "requires-worker-protocol": "json",
            "supports-multiplex-workers": "1",
            "supports-worker-cancellation": "1",
            "supports-workers": "1",
        },
        resource_set = _resources,
        unused_inputs_list = unused,
    )
    return outputs

def _nothing_to_prove(ctx, reason):
    """Returns the providers of a cell whose model the environment lacks: a test that fails, and no verdict."""
    refusal = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(refusal, "#!/bin/sh\ncat <<'END' >&2\n{}: {}\nEND\nexit 1\n".format(canonical(ctx.label), reason), is_executable = True)
    return [
        DefaultInfo(executable = refusal),
        VerdictInfo(logs = depset(), observed = {}, verdicts = depset()),
    ]

def _hf_cell_test_impl(ctx):
    model = ctx.attr.model[ModelInfo]
    backend = ctx.attr.backend[BackendInfo]
    environment = ctx.attr.environment[EnvironmentInfo]
    if environment.name != model.fields["environment"]:
        fail("{}: //toolchains:environment is {} and //toolchains:slices {}; set both flags to one environment".format(
            canonical(ctx.label),
            environment.name,
            model.fields["environment"],
        ))

    if model.missing:
        return _nothing_to_prove(ctx, model.missing)

    spec = _spec(ctx, model, backend)
    outputs = _verdict(ctx, spec, model, backend, environment)

    # One reader for all cells; where its verdict lies comes by the environment, so nothing is written per cell.
    reader = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(output = reader, target_file = ctx.file._reader, is_executable = True)
    return [
        DefaultInfo(
            executable = reader,
            files = depset([outputs.verdict, outputs.log]),
            runfiles = ctx.runfiles([outputs.verdict, outputs.junit, outputs.log, spec]),
        ),
        RunEnvironmentInfo(environment = {
            # For the test: relative to the runfiles of the main repository.
            "MODELGRID_CELL": outputs.verdict.short_path.removesuffix(".verdict.json"),
            # For a live run by `bazel run`: relative to the exec root.
            "MODELGRID_LIVE": " ".join([
                environment.python.path,
                "-I",
                "-S",
                "-B",
                ctx.file._live.path,
                "--root=.",
                "--site=" + environment.site.path,
                "--transformers=" + environment.transformers_root,
                "--spec=" + spec.path,
            ] + (["--packages=" + backend.packages.path] if backend.packages else []) + ["--reference=" + file.path for file in _reference(ctx, environment)]),
        }),
        VerdictInfo(
            logs = depset([outputs.log]),
            observed = {model.fields["tier"]: depset([outputs.observed] if backend.name == REFERENCE else [])},
            verdicts = depset([outputs.verdict]),
        ),
        OutputGroupInfo(
            junit = depset([outputs.junit]),
            spec = depset([spec]),
            timings = depset([outputs.timings]),
        ),
    ]

hf_cell_test = rule(
    implementation = _hf_cell_test_impl,
    doc = "Proves one model on one backend. Made by `hf_model`, once for each row of the table of backends.",
    test = True,
    attrs = {
        "backend": attr.label(
            doc = "The accelerator toolchain of a row of `toolchains/backends.bzl`, as it was resolved.",
            mandatory = True,
            providers = [BackendInfo],
        ),
        "checks": attr.label_list(
            doc = "The modules of checks: those of the model's category, or what the backend has in their place.",
            allow_files = [".py"],
            mandatory = True,
        ),
        "environment": attr.label(
            doc = "The environment that the cell runs in.",
            mandatory = True,
            providers = [EnvironmentInfo],
        ),
        "model": attr.label(
            doc = "The model's declaration.",
            mandatory = True,
            providers = [ModelInfo],
        ),
        "recorded_in": attr.string(
            doc = "The environment that the recorded outputs are of: the declared one.",
            mandatory = True,
        ),
        "reference": attr.label(
            doc = "The recorded outputs, where there are any.",
            allow_single_file = [".json"],
        ),
        "_epoch": attr.label(
            default = "//rules:epoch",
            doc = "Changing it proves everything anew.",
        ),
        "_harness": attr.label(
            default = "//harness:core",
            doc = "The harness without the checks: what a worker loads once.",
        ),
        "_live": attr.label(
            default = "//harness:live.py",
            allow_single_file = True,
        ),
        "_reader": attr.label(
            default = "//rules/private:reader.sh",
            allow_single_file = True,
        ),
        "_worker": attr.label(
            default = "//harness:worker.py",
            allow_single_file = True,
        ),
    },
)
