"""The declaration of a model: always compatible, no work, what cells and reports depend on."""

load("//toolchains:backends.bzl", "BACKENDS", "backends_in", "is_date")
load(":model_info.bzl", "ModelInfo")
load(":slice.bzl", "SlicesInfo", "unknown_model_type")
load(":vocabulary.bzl", "CATEGORIES", "TASKS", "TIERS", "outside_vocabulary")

_VERSION = 1

_HEAD = {"arguments": "dict", "config": "dict", "inputs": "dict", "runs": "string"}

def canonical(label):
    """Returns `label` as users write it: without the `@@` of the main repository.

    Args:
      label: a Label.
    """
    return str(label).removeprefix("@@").removeprefix("@")

def _known_failures(label, encoded):
    """Returns the known failures as a list of dicts; fails on an entry without a reason or with a bad date."""
    entries = []
    for match, entry in sorted(json.decode(encoded).items()):
        if not entry.get("reason", "").strip():
            fail("{}: known_failures['{}'] has no reason; write the real cause in known_failure(reason = ...)".format(label, match))
        expires = entry.get("expires", "")
        if not is_date(expires):
            fail("{}: known_failures['{}'] expires '{}'; write the date as YYYY-MM-DD".format(label, match, expires))
        if "::" not in match and match not in [row.name for row in BACKENDS]:
            fail("{}: known_failures key '{}' is neither a backend ({}) nor a check such as 'decoder::causality'".format(
                label,
                match,
                ", ".join([row.name for row in BACKENDS]),
            ))
        if "::" not in match and not (entry.get("check") and entry.get("message")):
            fail("{}: known_failures['{}'] says not what fails; add known_failure(check = 'runtime::runs', message = '...'), as the log has them".format(label, match))
        entries.append({
            "check": entry.get("check", ""),
            "expires": expires,
            "issue": entry.get("issue", ""),
            "match": match,
            "message": entry.get("message", ""),
            "reason": entry["reason"],
        })
    return entries

def _reasons(label, attribute, encoded):
    """Returns a dict from what is exempt to the reason; fails on an empty reason."""
    entries = json.decode(encoded)
    for name, reason in entries.items():
        if type(reason) != "string" or not reason.strip():
            fail("{}: {}['{}'] has no reason; write why, by design, it cannot be otherwise".format(label, attribute, name))
        if attribute == "not_applicable" and "::" not in name:
            fail("{}: not_applicable key '{}' is no check such as 'decoder::causality'".format(label, name))
    return entries

def _heads(label, encoded):
    """Returns what single classes need; fails on a word that means nothing."""
    entries = json.decode(encoded)
    for name, entry in entries.items():
        if type(entry) != "dict" or not entry:
            fail("{}: heads['{}'] says nothing; write a dict of {}".format(label, name, ", ".join(_HEAD)))
        for key, value in entry.items():
            if key not in _HEAD:
                fail("{}: heads['{}'] key '{}' must be one of: {}".format(label, name, key, ", ".join(_HEAD)))
            if type(value) != _HEAD[key]:
                fail("{}: heads['{}']['{}'] is a {}, it must be a {}".format(label, name, key, type(value), _HEAD[key]))
    return entries

def _model_types(config):
    """Returns every `model_type` in a nested config. Starlark has no recursion, so level by level."""
    found = []
    level = [config]
    for _ in range(4):
        deeper = []
        for mapping in level:
            found += [value for key, value in mapping.items() if key == "model_type"]
            deeper += [value for value in mapping.values() if type(value) == "dict"]
        level = deeper
    return found

def _missing(ctx, slices, config):
    """Returns what the declaration names and the environment lacks, or an empty string."""
    types = [] if ctx.attr.unavailable else [ctx.attr.model_type] + _model_types(config)
    for model_type in types:
        if model_type not in slices.model_types:
            return unknown_model_type(slices, model_type)
    for folder in ctx.attr.backbones + ([ctx.attr.folder] if ctx.attr.folder else []):
        if folder not in slices.folders:
            return "environment {} has no model folder '{}'".format(slices.environment, folder)
    return ""

def _folders(ctx, slices, config):
    """Returns the model folders that the declaration names, its own first; none for a model that no cell can run."""
    if ctx.attr.unavailable:
        return []
    types = [ctx.attr.model_type] + _model_types(config)
    return [slices.model_types[each] for each in types] + ctx.attr.backbones

def _limits(ctx, label):
    limits = {
        "cpu_seconds": ctx.attr.cpu_seconds,
        "memory_mib": ctx.attr.memory_mib,
        "wall_seconds": ctx.attr.wall_seconds,
    }
    for name, value in limits.items():
        if value <= 0:
            fail("{}: limits['{}'] is {}; a limit must be above zero, leave it out for the default".format(label, name, value))
    return limits

def _hf_model_declaration_impl(ctx):
    label = canonical(ctx.label)
    for error in [
        outside_vocabulary(label, "category", ctx.attr.category, CATEGORIES),
        outside_vocabulary(label, "tier", ctx.attr.tier, TIERS),
        outside_vocabulary(label, "task", ctx.attr.task, TASKS),
    ]:
        if error:
            fail(error)
    known_failures = _known_failures(label, ctx.attr.known_failures)
    heads = _heads(label, ctx.attr.heads)
    limits = _limits(ctx, label)
    slices = ctx.attr.slices[SlicesInfo]
    config = json.decode(ctx.attr.config)
    missing = _missing(ctx, slices, config)
    if missing and slices.environment == ctx.attr.environment:
        fail("{}: {}".format(label, missing))
    if ctx.label.package.split("/")[-2:-1] != [ctx.attr.category]:
        fail("{}: category '{}' does not fit the folder; a model of that category lives in models/{}/{}".format(
            label,
            ctx.attr.category,
            ctx.attr.category,
            ctx.label.name,
        ))
    if ctx.label.package.split("/")[-1] != ctx.label.name:
        fail("{}: the model's name must be its folder's; rename one, so that its cells are //{}:cpu, ...".format(label, ctx.label.package))

    # In another environment than the declared one a model may be missing: its cells then have nothing to prove.
    folders = [] if missing else _folders(ctx, slices, config)

    fields = {
        "category": ctx.attr.category,
        "checkpoint": ctx.attr.checkpoint,
        "config": config,
        # Not always the declared one: //toolchains:slices may stand for another.
        "environment": slices.environment,
        "folder": folders[0] if folders else ctx.attr.folder,
        "heads": heads,
        "inputs": json.decode(ctx.attr.inputs),
        "known_failures": known_failures,
        "limits": limits,
        "main_class": ctx.attr.main_class,
        "model_type": ctx.attr.model_type,
        "name": ctx.label.name,
        "not_applicable": _reasons(label, "not_applicable", ctx.attr.not_applicable),
        "task": ctx.attr.task,
        "tier": ctx.attr.tier,
        "unexercised_classes": _reasons(label, "unexercised_classes", ctx.attr.unexercised_classes),
        "unused_parameters": _reasons(label, "unused_parameters", ctx.attr.unused_parameters),
    }
    declaration = ctx.actions.declare_file(ctx.label.name + ".declaration.json")
    ctx.actions.write(declaration, json.encode_indent(dict(
        fields,
        backends = [] if ctx.attr.unavailable else [row.name for row in backends_in(ctx.attr.environment)],
        label = label,
        package = ctx.attr.package,
        unavailable = ctx.attr.unavailable,
        version = _VERSION,
    )) + "\n")

    reached = {each: None for folder in folders for each in slices.folders[folder]}
    return [
        DefaultInfo(files = depset([declaration])),
        ModelInfo(
            declaration = declaration,
            fields = dict(fields, slices = sorted(reached)),
            label = label,
            missing = missing,
            slices = depset(transitive = [slices.files[folder] for folder in folders]),
        ),
    ]

hf_model_declaration = rule(
    implementation = _hf_model_declaration_impl,
    doc = "One model as data. Made by `hf_model`, which documents each attribute for users.",
    attrs = {
        "backbones": attr.string_list(
            doc = "Further model folders that the model reaches by its config alone.",
        ),
        "category": attr.string(
            doc = "Which checks apply; the folder under `models/`.",
            mandatory = True,
        ),
        "checkpoint": attr.string(
            doc = "A well-known checkpoint of the architecture on the hub, for people; nothing downloads it here.",
        ),
        "config": attr.string(
            doc = "Overrides of the shrunk config as a JSON object.",
            default = "{}",
        ),
        "cpu_seconds": attr.int(
            doc = "CPU seconds that one run of a cell may use.",
            default = 60,
        ),
        "environment": attr.string(
            doc = "Name of the environment.",
            mandatory = True,
        ),
        "folder": attr.string(
            doc = "Folder of a model that no cell can run; else the model type says it.",
        ),
        "heads": attr.string(
            doc = "What single classes of the folder need by themselves, as a JSON object.",
            default = "{}",
        ),
        "inputs": attr.string(
            doc = "Overrides of the synthesised inputs as a JSON object.",
            default = "{}",
        ),
        "known_failures": attr.string(
            doc = "Known failures as a JSON object.",
            default = "{}",
        ),
        "main_class": attr.string(
            doc = "The class that gets every check.",
            mandatory = True,
        ),
        "memory_mib": attr.int(
            doc = "MiB of resident memory that one run of a cell may use.",
            default = 4096,
        ),
        "model_type": attr.string(
            doc = "The config's `model_type`.",
            mandatory = True,
        ),
        "not_applicable": attr.string(
            doc = "Checks that do not apply to the architecture, with reasons, as a JSON object.",
            default = "{}",
        ),
        "package": attr.string(
            doc = "The package that an unavailable model needs and no environment can have.",
        ),
        "slices": attr.label(
            doc = "transformers of the environment.",
            mandatory = True,
            providers = [SlicesInfo],
        ),
        "task": attr.string(
            doc = "What the main class is for.",
            mandatory = True,
        ),
        "tier": attr.string(
            doc = "How much a failure matters.",
            mandatory = True,
        ),
        "unavailable": attr.string(
            doc = "Why no cell can run the model; empty where one can.",
        ),
        "unexercised_classes": attr.string(
            doc = "Public classes that the cell does not run, with reasons, as a JSON object.",
            default = "{}",
        ),
        "unused_parameters": attr.string(
            doc = "Patterns of parameter names that the forward does not reach by design, with reasons, as a JSON object.",
            default = "{}",
        ),
        "wall_seconds": attr.int(
            doc = "Seconds on the clock that one run of a cell may take: only a backstop for hangs, since a busy machine is no fault of the model.",
            default = 900,
        ),
    },
)
