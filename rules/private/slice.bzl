"""`transformers_slices`: the model folders of one transformers, each with everything that its code reaches."""

load(":vocabulary.bzl", "nearest")

SlicesInfo = provider(
    doc = "transformers of one environment: its core, and one slice for each model folder.",
    fields = {
        "core": "Depset of Files: all but the model folders, and `auto`, through which any model may reach another.",
        "environment": "Name of the environment, for example `transformers-5.23`.",
        "files": "Dict from a model folder to a depset of Files: its own and those of every folder that it reaches.",
        "folders": "Dict from a model folder to the names of the folders whose files its cells have, itself among them.",
        "model_types": "Dict from a model type to the folder that defines it.",
        "root": "Path from the exec root to the folder that holds the `transformers` package.",
    },
)

def unknown_model_type(slices, model_type):
    """Returns what is wrong with a model type that no folder defines, and what to do.

    Args:
      slices: a SlicesInfo.
      model_type: a config's `model_type`.
    """
    meant = nearest(model_type, slices.model_types.keys())
    return "model type '{}' is not in environment {}; {}set model_type to one of its config classes'".format(
        model_type,
        slices.environment,
        "did you mean '{}'? Else ".format(meant) if meant else "",
    )

# Of the folders that `auto` imports, what it imports: any model may load their configs by it.
def _is_config(name):
    return name.startswith(("__init__.", "configuration_"))

def _owner(path, known):
    """Returns the folder whose a file is, and the file's path in it; None for a file of no folder.

    Args:
      path: below `transformers/models`, a list of parts.
      known: the model folders, as Python names them.
    """
    for depth in [2, 1]:
        folder = ".".join(path[:depth])
        if len(path) > depth and folder in known:
            return folder, path[depth:]
    return None, path

def _transformers_slices_impl(ctx):
    prefix = ctx.label.workspace_root + "/transformers/models/"
    core = []
    own = {folder: [] for folder in ctx.attr.reaches}
    for file in ctx.files.srcs:
        if not file.path.startswith(prefix):
            core.append(file)
            continue
        folder, rest = _owner(file.path[len(prefix):].split("/"), own)
        if folder == None or folder == "auto":
            core.append(file)
            continue
        own[folder].append(file)
        if folder in ctx.attr.core and _is_config(rest[-1]) and (len(rest) == 1 or rest[0] == "__pycache__"):
            core.append(file)
    files = {folder: depset(own[folder]) for folder in own}
    return [SlicesInfo(
        core = depset(core),
        environment = ctx.attr.environment,
        files = {
            folder: depset(transitive = [files[each] for each in reached])
            for folder, reached in ctx.attr.reaches.items()
        },
        folders = {
            folder: {each: None for each in reached + ctx.attr.core}.keys()
            for folder, reached in ctx.attr.reaches.items()
        },
        model_types = ctx.attr.model_types,
        root = ctx.label.workspace_root,
    )]

transformers_slices = rule(
    implementation = _transformers_slices_impl,
    doc = "Divides a transformers into its core and one slice for each model folder, as the scan of it says.",
    attrs = {
        "core": attr.string_list(
            doc = "The folders that `auto` imports. Their configs are part of the core; the rest of them is their slices'.",
            mandatory = True,
        ),
        "environment": attr.string(
            doc = "Name of the environment.",
            mandatory = True,
        ),
        "model_types": attr.string_dict(
            doc = "The folder that defines each model type.",
            mandatory = True,
        ),
        "reaches": attr.string_list_dict(
            doc = "For each model folder, itself and every folder that it reaches. The scan writes the closure out.",
            mandatory = True,
        ),
        "srcs": attr.label_list(
            doc = "Every file of the package.",
            allow_files = True,
            mandatory = True,
        ),
    },
    provides = [SlicesInfo],
)
