"""`hf_model` and `hf_unavailable_model`: fan one declaration out to its targets. They compute nothing that a rule could."""

load("//toolchains:backends.bzl", "REFERENCE", "backends_in", "nightly_values")
load("//toolchains/environments:environments.bzl", "DEFAULT_ENVIRONMENT", "ENVIRONMENTS")
load(":cell.bzl", "hf_cell_test")
load(":declaration.bzl", "hf_model_declaration")
load(":index.bzl", "hf_cells")

_LIMITS = ["cpu_seconds", "memory_mib", "wall_seconds"]

def known_failure(reason, expires, issue = "", check = "", message = ""):
    """Returns an entry of `known_failures`: a failure that is expected, with its cause. Another failure is none.

    Args:
      reason: the real cause, in words that a maintainer of the model would accept.
      expires: date as `YYYY-MM-DD` after which the entry must be looked at again.
      issue: link to the issue, or the upstream file that is at fault.
      check: for an entry of a backend the first check that fails there, `cell` for a death outside any check.
      message: what that check's message holds, `*` standing for anything. An entry of a backend must have one.
    """
    return {"check": check, "expires": expires, "issue": issue, "message": message, "reason": reason}

def _compatible(backend, tier):
    """Returns what a cell needs of its platform: the backend's device, and for a tier that it leaves out the config."""
    if backend.absent:
        return ["@platforms//:incompatible"]
    device = ["//toolchains/devices:" + backend.device]
    if backend.tiers == None or tier in backend.tiers:
        return device
    return device + select({
        "//toolchains:{}.nightly.{}".format(backend.name, value): []
        for value in nightly_values(backend)
    } | {"//conditions:default": ["//toolchains:needs--config=nightly"]})

def _environment(label, name):
    """Returns the targets that a model of the environment `name` depends on; fails if there is none of that name."""
    if name not in ENVIRONMENTS or not ENVIRONMENTS[name].transformers:
        fail("{}: environment '{}' is not known; it must be one of: {}".format(
            label,
            name,
            ", ".join([each for each, row in ENVIRONMENTS.items() if row.transformers]),
        ))
    if name == DEFAULT_ENVIRONMENT:  # flags, which may stand for another environment
        return struct(cell = "//toolchains:environment", slices = "//toolchains:slices")
    return struct(cell = "//toolchains:" + name, slices = "@modelgrid_environments//{}:slices".format(name))

def hf_model(
        name,
        main_class,
        task,
        tier,
        checkpoint = "",
        model_type = None,
        category = None,
        environment = DEFAULT_ENVIRONMENT,
        config = {},
        inputs = {},
        backbones = [],
        limits = {},
        known_failures = {},
        not_applicable = {},
        heads = {},
        unexercised_classes = {},
        unused_parameters = {},
        tags = []):
    """Declares one model and makes its targets.

    For `//models/decoder/llama` these are `:llama`, the declaration that reports depend on; one test for each
    row of `toolchains/backends.bzl`, `:cpu`, `:cuda`, ..., skipped where the device is absent; and `:cells`, the
    verdicts that this host can have.

    Args:
      name: name of the model, which is also the name of its folder.
      main_class: class that gets every check, by its name in transformers. The folder's other public classes
        are built, run and saved too.
      task: what the main class is for, one of the pipeline tasks.
      tier: how much a failure matters: `critical`, `high`, `medium` or `low`.
      checkpoint: a well-known checkpoint on the hub, for people. Nothing downloads it in this test.
      model_type: the config's `model_type`. Defaults to the name.
      category: which checks apply. Defaults to the folder above the model's, and must be equal to it.
      environment: the locked set of packages that the cells run in.
      config: overrides of the shrunk config, by the config's own field names; a nested dict for a sub-config.
      inputs: overrides of the synthesised inputs; `docs/add-a-model.md` has the vocabulary.
      backbones: names of further model folders that the model reaches by its config alone, where neither the
        config class's defaults nor a `model_type` in `config` shows them.
      limits: what one run of a cell may use: `cpu_seconds` (60), `wall_seconds` (900) and `memory_mib` (4096).
      known_failures: failures that are expected: a check's id, or a backend's name where it fails there alone, and a
        `known_failure`.
      not_applicable: checks that the architecture cannot have the property of, by design: the check's id, and the
        reason. Only for checks above `forward`; what is a defect is a known failure instead.
      heads: what one of the folder's classes needs by itself, by its name, a dict of `config` (overrides of its own
        shrunk config, over those above where that is the main class's), `inputs` (over those above), `arguments` (what
        its `__init__` takes beside the config) and `runs` (the method that is run where it has no `forward`).
      unexercised_classes: public classes of the folder that the cell does not run, each with the reason.
      unused_parameters: patterns of names of the main class's parameters that its forward does not reach by design,
        and of probabilities of dropping that nothing reads (`model.decoder.dropout`), each with the reason. One that
        matches no such parameter or probability is an error.
      tags: further tags for the tests and for `:cells`.
    """
    package = native.package_name()
    label = "//{}:{}".format(package, name)
    for limit in limits:
        if limit not in _LIMITS:
            fail("{}: limits['{}'] is not a limit; it must be one of: {}".format(label, limit, ", ".join(_LIMITS)))
    where = _environment(label, environment)
    category = category or (["", ""] + package.split("/"))[-2]

    hf_model_declaration(
        name = name,
        backbones = backbones,
        category = category,
        checkpoint = checkpoint,
        config = json.encode(config),
        environment = environment,
        heads = json.encode(heads),
        inputs = json.encode(inputs),
        known_failures = json.encode(known_failures),
        main_class = main_class,
        model_type = model_type or name,
        not_applicable = json.encode(not_applicable),
        slices = where.slices,
        task = task,
        tier = tier,
        unexercised_classes = json.encode(unexercised_classes),
        unused_parameters = json.encode(unused_parameters),
        visibility = ["//visibility:public"],
        **limits
    )
    reference = ([None] + native.glob(["reference.json"], allow_empty = True))[-1]
    for backend in backends_in(environment):
        hf_cell_test(
            name = backend.name,
            size = "small",
            backend = "//toolchains:{}.resolved".format(backend.name),
            checks = ["//harness/checks:runtime.py"] if backend.checks == "runtime" else [
                "//harness/checks:common.py",
                "//harness/checks:{}.py".format(category),
            ],
            environment = where.cell,
            # Where the action runs; `target_compatible_with` is about whom the cell is for.
            exec_compatible_with = ["//toolchains/devices:" + backend.device],
            model = ":" + name,
            recorded_in = environment,
            reference = reference if backend.name == REFERENCE else None,
            tags = tags + [
                "backend:" + backend.name,
                "category:" + category,
                "device:" + backend.device,
                "tier:" + tier,
            ],
            target_compatible_with = _compatible(backend, tier),
            visibility = ["//visibility:public"],
        )
    hf_cells(
        name = "cells",
        backends = backends_in(environment),
        tags = tags,
        tier = tier,
    )

    _sources()

def hf_unavailable_model(
        name,
        reason,
        task,
        tier,
        package = "",
        folder = "",
        checkpoint = "",
        environment = DEFAULT_ENVIRONMENT):
    """Declares a model that people ask for and that no cell can run. It is shown, with the reason, and never counted.

    Args:
      name: name of the model, which is also the name of its folder.
      reason: why it cannot run: `absent` in the report, or `no_package` where `package` is given.
      task: what the model is for, one of the pipeline tasks.
      tier: how much it matters: `critical`, `high`, `medium` or `low`.
      package: the package that its code needs and no environment can have.
      folder: its folder below `transformers/models`, where it has one.
      checkpoint: a well-known checkpoint on the hub, for people.
      environment: where `folder` is.
    """
    label = "//{}:{}".format(native.package_name(), name)
    if not reason.strip():
        fail("{}: no reason; write why no cell can run it".format(label))
    hf_model_declaration(
        name = name,
        category = (["", ""] + native.package_name().split("/"))[-2],
        checkpoint = checkpoint,
        environment = environment,
        folder = folder,
        main_class = "",
        model_type = "",
        package = package,
        slices = _environment(label, environment).slices,
        task = task,
        tier = tier,
        unavailable = reason,
        visibility = ["//visibility:public"],
    )
    hf_cells(
        name = "cells",
        backends = [],
        tier = tier,
    )
    _sources()

def _sources():
    """The e2e tests copy the workspace: each package names its files."""
    native.filegroup(
        name = "sources",
        srcs = native.glob(["**"]),
        visibility = ["//visibility:public"],
    )
