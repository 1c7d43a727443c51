"""The environments as macros see them: which model folder defines which model type."""

load("@transformers_5_23//:inventory.bzl", TRANSFORMERS_5_23 = "INVENTORY")

def _environment(name, repository, inventory):
    return struct(
        folders = {
            model_type: folder
            for folder, entry in inventory.items()
            for model_type in entry.model_types
        },
        name = name,
        repository = repository,
    )

ENVIRONMENTS = {
    environment.name: environment
    for environment in [
        _environment("transformers-5.23", "@transformers_5_23", TRANSFORMERS_5_23),
    ]
}
