"""`transformers_slice`: one model folder of transformers with everything that its code reaches."""

SliceInfo = provider(
    doc = "One model folder of transformers, and the folders that its imports and default configs reach.",
    fields = {
        "files": "Depset of Files: those of the folder and of every folder that it reaches.",
        "folder": "Name of the folder below `transformers/models`.",
        "folders": "Depset of strings: the folder and every folder that it reaches.",
    },
)

def _transformers_slice_impl(ctx):
    files = depset(transitive = [target.files for target in ctx.attr.files])
    return [
        DefaultInfo(files = files),
        SliceInfo(files = files, folder = ctx.attr.folder, folders = depset(ctx.attr.folders)),
    ]

transformers_slice = rule(
    implementation = _transformers_slice_impl,
    doc = "Names a model folder's slice. The scan writes the closure out, since folders may import one another in a circle, which targets must not.",
    attrs = {
        "files": attr.label_list(
            doc = "The files of the folder and of every folder that it reaches.",
            mandatory = True,
        ),
        "folder": attr.string(
            doc = "Name of the folder below `transformers/models`.",
            mandatory = True,
        ),
        "folders": attr.string_list(
            doc = "The folder and every folder that it reaches.",
            mandatory = True,
        ),
    },
    provides = [SliceInfo],
)
