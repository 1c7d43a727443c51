"""What a model's declaration says, for the cells and the reports that depend on it."""

ModelInfo = provider(
    doc = "One model's declaration. Always available: it depends on no hardware.",
    fields = {
        "declaration": "File: the declaration as JSON, for reports.",
        "fields": "Dict of the declaration's fields, as they stand in the spec of each cell.",
        "label": "Label of the declaration, as a string such as `//models/decoder/llama:llama`.",
        "missing": "Why the environment, which is not the declared one, has no such model; empty where it has.",
        "slices": "Depset of Files: the model folders of transformers that its cells may load.",
    },
)
