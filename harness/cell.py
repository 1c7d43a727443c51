"""One cell: a model of a declaration, built small on one backend, and the run of its category's checks over it.

How it is built is `harness.build`'s and `harness.inputs`'s, what is examined `harness/checks`'s, what the results
amount to the parent's. PyTorch is imported only by what needs it: the `mock` backend runs where there is none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.folders import folder_of
from harness.reporter import HarnessFault, Reporter
from harness.spec import Spec, Tolerance
from harness.verdict import ModelFacts

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers.configuration_utils import PreTrainedConfig
    from transformers.modeling_utils import PreTrainedModel

    from harness.inputs.request import Features
    from harness.runtimes import Runtime

PRIMARY = (
    "logits",
    "prediction_logits",
    "start_logits",
    "logits_per_image",
    "logits_per_video",
    "logits_per_audio",
    "contrastive_logits_per_image",
    "seq_relationship_logits",
    "pred_masks",
    "reconstruction",
    "prediction_outputs",
    "mean_predictions",
    "action_preds",
    "last_hidden_state",
    "audio_values",
    "descriptors",
)
"""Names of the output that a class is for, the first that is there."""

CORE_CONFIGS = frozenset({"encoder_decoder", "timm_backbone"})
"""Folders whose configurations `auto` imports, so that the environment has those files in its core."""

_CACHES = ("past_key_values", "cache_params", "mems", "state", "encoder_past", "cache")


class Cell:
    """What a check gets as the fixture `cell`: the model under test and what it takes to run it.

    Everything is made when it is first asked for, so that a mistake shows in the check that is there to find it.

    Attributes:
      spec: the declaration on the backend.
      tolerance: how far results that should agree may differ on this backend.
      gradient_share: share of the trainable parameters' elements that a gradient reached; set by a check.
      moving_inputs: the inputs whose change moved the output; set by a check.
      outcomes: of the checks so far, by id; set by the plugin.
      runtime_counts: what the runtime counted; set by a check.
      observed: what each output came to, by `Class.output`: see `harness.reference`.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.tolerance: Tolerance = spec.backend.tolerance
        self.gradient_share = 0.0
        self.moving_inputs: tuple[str, ...] = ()
        self.runtime_counts: dict[str, int] = {}
        self.observed: dict[str, dict[str, Any]] = {}
        self.outcomes: dict[str, str] = {}
        self._exercised: list[str] = []
        self._counting: dict[type[Any], PreTrainedModel] = {}
        self._loaded_before = loaded_folders()

    @cached_property
    def runtime(self) -> Runtime:
        """The adapter of the backend's runtime."""
        from harness.runtimes import adapter

        return adapter(self.spec.backend)

    @cached_property
    def config(self) -> PreTrainedConfig:
        """The tiny configuration with the declared values. Raises SpecError for a mistake of the declaration."""
        from harness.build import tiny_config

        return tiny_config(self.spec)

    @cached_property
    def model_class(self) -> type[PreTrainedModel]:
        """The main class. Raises SpecError where the folder has none of that name."""
        from harness.build import main_class

        return main_class(self.spec)

    @cached_property
    def model(self) -> PreTrainedModel:
        """The main model in eval mode, shared by all checks: look, do not touch."""
        return self.fresh_model()

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """The main model's inputs on the device, a batch of 2, without labels."""
        return self.make_inputs()

    def heads(self) -> list[type[PreTrainedModel]]:
        """Returns the public concrete model classes of the folder, the main class first."""
        return list(self._classes)

    @cached_property
    def _classes(self) -> tuple[type[PreTrainedModel], ...]:
        from harness.build import model_classes

        return tuple(model_classes(self.spec))

    def config_for(self, cls: type[PreTrainedModel]) -> PreTrainedConfig:
        """Returns the configuration that a class of the folder takes: the cell's, a part of it, or one of its own.

        A causal class of an architecture that is an encoder by default gets `is_decoder`.
        """
        from harness.build import config_for

        return config_for(self.spec, self.config, cls)

    def fresh_model(
        self,
        config: PreTrainedConfig | None = None,
        cls: type[PreTrainedModel] | None = None,
        seed: int = 0,
        attention: str | None = None,
    ) -> PreTrainedModel:
        """Returns a new model in eval mode on the device, its weights the same for the same seed.

        Args:
          config: by default the cell's, or the part of it that `cls` takes.
          cls: by default the main class.
          seed: of the weights.
          attention: the attention implementation (`eager`, `sdpa`); by default what the class chooses.
        """
        from harness.build import build

        cls = cls or self.model_class
        config = config if config is not None else self.config_for(cls)
        model = build(cls, config, seed=seed, attention=attention, arguments=self.arguments_for(cls))
        return self.runtime.place_model(model)

    def arguments_for(self, cls: type[PreTrainedModel]) -> Mapping[str, Any]:
        """Returns what the `__init__` of a class takes beside the configuration, by the declaration."""
        arguments: Mapping[str, Any] = self.spec.heads.get(cls.__name__, {}).get("arguments", {})
        return arguments

    def make_inputs(
        self,
        *,
        seed: int = 0,
        batch: int = 2,
        cls: type[PreTrainedModel] | None = None,
        model: PreTrainedModel | None = None,
        config: PreTrainedConfig | None = None,
        labels: bool = False,
        padding: int = 0,
        **options: Any,
    ) -> dict[str, Tensor]:
        """Returns inputs for a class on the device, by argument name.

        Args:
          seed: of the values; shapes do not depend on it.
          batch: rows.
          cls: by default the main class.
          model: one of `cls`, to count placeholders with, where there is one already.
          config: by default the cell's, or the part of it that `cls` takes.
          labels: whether to give the labels that the class takes.
          padding: tokens of padding at the end of the last row.
          options: sizes and tensors as in a declaration's `inputs` (`sequence_length=32`).
        """
        from harness.build import is_container, parts
        from harness.inputs import make
        from harness.inputs.request import OPTIONS, Request, is_made, parameters

        cls = cls or self.model_class
        if is_container(cls):
            model = model or (self.model if cls is self.model_class else self.fresh_model(cls=cls))
            return {
                f"{part}.{name}": tensor
                for part, child in parts(model).items()
                for name, tensor in self.make_inputs(
                    seed=seed,
                    batch=batch,
                    cls=type(child),
                    model=child,
                    config=child.config,
                    labels=labels,
                    padding=padding,
                    **options,
                ).items()
            }
        declared = dict(self.spec.inputs)
        elsewhere = {name for head in self.heads() if head is not cls for name in parameters(head)}
        known = {*OPTIONS, *parameters(cls)}  # no head need take every input of another
        known |= {name for name, value in declared.items() if is_made(value) and cls is self.model_class}
        declared = {name: value for name, value in declared.items() if name in known or name not in elsewhere}
        declared.update(self.spec.heads.get(cls.__name__, {}).get("inputs", {}))
        request = Request(
            cls=cls,
            config=config if config is not None else self.config_for(cls),
            category=self.spec.category,
            features=self._features(cls, model, batch),
            options={**declared, **options},
            seed=seed,
            batch=batch,
            labels=labels,
            padding=padding,
        )
        made = make(request, self.spec.label)
        return {name: self._placed(value) for name, value in made.items()}

    def _placed(self, value: Any) -> Any:
        """Returns a tensor on the device, or the tensors in lists and dictionaries, as labels of objects are given."""
        if isinstance(value, Mapping):
            return {name: self._placed(item) for name, item in value.items() if item is not None}
        return [self._placed(item) for item in value] if isinstance(value, list) else self.runtime.place(value)

    def _features(self, cls: type[PreTrainedModel], model: PreTrainedModel | None, batch: int) -> Features:
        """Returns what counts placeholders by asking `model`, or another of `cls`, for the features."""
        from harness.build import count_features

        def count(modality: str, made: dict[str, Tensor]) -> int:
            counting = model or self._counting.get(cls)
            if counting is None:
                counting = self._counting[cls] = self.model if cls is self.model_class else self.fresh_model(cls=cls)
            placed = {name: self.runtime.place(tensor) for name, tensor in made.items()}
            return count_features(counting, modality, placed, batch)

        return count

    def forward(
        self,
        model: PreTrainedModel | None = None,
        inputs: Mapping[str, Tensor] | None = None,
        seed: int = 0,
        **options: Any,
    ) -> Any:
        """Returns the output of one call without gradients, seeded.

        Args:
          model: by default the main model.
          inputs: by default the main model's.
          seed: of what the call draws.
          options: further arguments of the call (`output_hidden_states=True`).
        """
        import torch

        from harness.build import seeded

        model = model if model is not None else self.model
        inputs = inputs if inputs is not None else self.inputs
        with torch.no_grad(), seeded(seed):
            given = {**inputs, **options}
            outputs = self.runtime.prepare(model, given)(**given)
        self.exercised(type(model))
        return outputs

    def observe(self, cls: type[PreTrainedModel], tensors: Mapping[str, Tensor]) -> None:
        """Notes what the outputs of a class came to, for the record and for the check that compares with it."""
        from harness.reference import summary

        self.observed.update({f"{cls.__name__}.{name}": summary(tensor) for name, tensor in tensors.items()})

    def exercised(self, cls: type[PreTrainedModel]) -> None:
        """Notes that a class ran, for the facts of the verdict."""
        if cls.__name__ not in self._exercised:
            self._exercised.append(cls.__name__)

    def tensors(self, outputs: Any) -> dict[str, Tensor]:
        """Returns every named floating tensor of an output, nested ones as `hidden_states.0`; caches are left out."""
        return dict(_named_tensors("", outputs))

    def primary(self, outputs: Any) -> Tensor:
        """Returns the tensor that the class is for: its logits, else what comes first.

        Raises:
          AssertionError: the output holds no floating tensor.
        """
        tensors = self.tensors(outputs)
        for name in PRIMARY:
            if name in tensors:
                return tensors[name]
        named = [tensor for name, tensor in tensors.items() if name != "loss"]
        assert named, f"{self.model_class.__name__} returned no floating tensor"
        return named[0]

    def undeclared_slices(self) -> list[str]:
        """Returns the model folders that were loaded since the cell began and are not among the spec's slices."""
        return sorted(loaded_folders() - self._loaded_before - {*self.spec.slices, "auto"})

    def device_peak_bytes(self) -> int | None:
        """Returns the most memory of the device's own that the run used; None on a device that has none."""
        peak = getattr(self.__dict__.get("runtime"), "peak_bytes", None)
        return None if peak is None else int(peak())

    def facts(self) -> ModelFacts:
        """Returns what was run, as far as it came."""
        from harness.compare import describe

        built = "model" in self.__dict__
        inputs = self.__dict__.get("inputs", {})
        return ModelFacts(
            parameters=sum(parameter.numel() for parameter in self.model.parameters()) if built else 0,
            gradient_share=round(self.gradient_share, 6),
            inputs={name: describe(tensor) for name, tensor in inputs.items()},
            moving_inputs=tuple(sorted(self.moving_inputs)),
            classes=tuple(self._exercised),
            runtime=self.runtime_counts,
        )


def loaded_folders() -> set[str]:
    """Returns the folders under `transformers/models` of which a module is loaded that is not the core's."""
    names = [name for name in list(sys.modules) if name.startswith("transformers.models.")]
    return {
        folder for name in names if (folder := folder_of(name)) not in CORE_CONFIGS or not _is_config(name.split("."))
    }


def _is_config(part: Sequence[str]) -> bool:
    """Returns whether a module, given as the parts of its name, is a folder's own or its configuration."""
    return len(part) == 3 or part[3].startswith("configuration_")


def _named_tensors(prefix: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields the floating tensors in nested outputs by path."""
    import torch

    if isinstance(value, torch.Tensor):
        if value.is_floating_point() or value.is_complex():
            yield prefix or "output", value
        return
    if isinstance(value, Mapping):
        items: Iterator[tuple[Any, Any]] = iter(value.items())
    elif isinstance(value, (list, tuple)):
        items = iter(enumerate(value))
    else:
        return
    for name, item in items:
        if name not in _CACHES:
            yield from _named_tensors(f"{prefix}.{name}" if prefix else str(name), item)


def check_files(checks: str) -> list[Path]:
    """Returns the files of checks for a category, those for every model first, or that of `runtime`.

    Raises:
      HarnessFault: one is missing.
    """
    folder = Path(__file__).parent / "checks"
    files = [folder / f"{name}.py" for name in (("runtime",) if checks == "runtime" else ("common", checks))]
    for file in files:
        if not file.exists():
            raise HarnessFault(f"checks of category {checks!r}: {file.name} is missing from harness/checks")
    return files


_QUIET = (
    "cacheprovider",
    "capture",
    "debugging",
    "doctest",
    "faulthandler",
    "junitxml",
    "legacypath",
    "logging",
    "monkeypatch",
    "pastebin",
    "recwarn",
    "setuponly",
    "setupplan",
    "stepwise",
    "subtests",
    "terminal",
    "threadexception",
    "tmpdir",
    "unittest",
    "unraisableexception",
    "warnings",
)
"""Pytest's own plugins that a run without a person at it has no use for; each costs time in every cell."""


def pytest_arguments(files: Sequence[Path], *, quiet: bool) -> list[str]:
    """Returns the arguments that make pytest run these files and nothing else: no settings, no conftest, no plugins.

    Args:
      files: of checks.
      quiet: nobody watches. Asserts then stay as they are written: rewriting them takes as long as all else that
        pytest does, and checks say in their own words what is wrong.
    """
    plugins = [argument for name in (_QUIET if quiet else ("cacheprovider",)) for argument in ("-p", f"no:{name}")]
    asserts = "--assert=plain" if quiet else "--assert=rewrite"
    root = f"--rootdir={Path(__file__).parent.parent}"
    return [*plugins, "--noconftest", asserts, "-c", os.devnull, root, *map(str, files)]


def run(spec: Spec, reporter: Reporter) -> None:
    """Runs every check of the spec's category over its model and reports each.

    Raises:
      HarnessFault: the checks could not be collected or pytest itself failed; nothing of that is the model's fault.
    """
    if spec.backend.runtime == "mock":
        from harness.runtimes import mock

        mock.run(spec, reporter)
        return
    import pytest

    from harness import names
    from harness.checking import CheckPlugin

    names.offer(spec.slices)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    cell = Cell(spec)
    plugin = CheckPlugin(cell, reporter)
    status = pytest.main(pytest_arguments(check_files(spec.checks), quiet=True), plugins=[plugin])
    plugin.raise_fault(int(status))
    reporter.facts(cell.facts())
    reporter.observed(cell.observed)
    if (peak := cell.device_peak_bytes()) is not None:
        reporter.device_peak(peak)
    reporter.done()
