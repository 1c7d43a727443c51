"""How the model folders of transformers are named, for whoever reads the package and for whoever loads from it."""

from __future__ import annotations

from pathlib import Path

NESTING = "deprecated"
"""The folder in which transformers 4 has model folders of its own: `deprecated.open_llama`."""

NOT_TORCH = ("modeling_tf_", "modeling_flax_")
"""How the modules of TensorFlow's and JAX's models begin, which transformers 4 has beside PyTorch's."""


def folder_of(module: str) -> str:
    """Returns the model folder of a module below `transformers.models`, given by its full name."""
    parts = module.split(".")[2:]
    return ".".join(parts[: 2 if parts[0] == NESTING else 1])


def names_of_folders(package: Path) -> list[str]:
    """Returns the names of the model folders of the package at `package`, sorted, as Python names them."""
    models = package / "models"
    nested = [f"{NESTING}.{path.parent.name}" for path in models.glob(f"{NESTING}/*/__init__.py")]
    return sorted([*(path.parent.name for path in models.glob("*/__init__.py")), *nested])


def path_of(package: Path, folder: str) -> Path:
    """Returns where the model folder named `folder` lies in the package at `package`."""
    return package.joinpath("models", *folder.split("."))
