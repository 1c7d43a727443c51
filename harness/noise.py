"""The randomness that only training has (dropout, dropped layers and paths, jitter, masked steps): where a model keeps
each probability, and how to set them.

What must follow from a probability is the checks' business.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from harness.inputs.configs import nodes
from harness.shrink import is_config

try:
    from transformers.configuration_utils import PreTrainedConfig
except ImportError:  # the name that it has in transformers 4
    from transformers.configuration_utils import PretrainedConfig as PreTrainedConfig

_PROBABILITY = re.compile(
    r".*(drop_?out|pdrop|layer_?drop|drop_?path|drop_?prob|drop_rate|drop_connect|jitter|mask_\w+_prob|stochastic_depth).*"
)
_NOT_ONE = re.compile(r"token_dropout|.*(before|after|position).*|pos_embed_jitter")
_READ_IN_FORWARD = re.compile(r"mask_\w+_prob|.*layer_?drop|.*jitter.*")
"""Fields that must act where no module keeps them: a forward does it by itself. Others may be of no use."""

_OF_A_DROPOUT = ("p", "drop_prob")
"""Names of the probability in a module that is itself a dropout."""

_FIRST, _THIRD, _STEP = 0.0503171, 0.3, 0.001

Places = list[tuple[Any, str]]
"""Objects with the name of the attribute in each that holds a probability."""


def is_probability(name: str, value: Any) -> bool:
    """Returns whether a field or attribute of this name and value says how often training drops or disturbs."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and _PROBABILITY.fullmatch(name) is not None and _NOT_ONE.fullmatch(name) is None


def _of_a_noisy_config(value: Any) -> bool:
    """Returns whether a module's attribute is what `noisy` put into a field, whatever the attribute is called."""
    number = (value - _FIRST) / _STEP if isinstance(value, float) else 0.5
    return -0.5 < number < 500 and abs(number - round(number)) < 1e-6


def noisy(config: PreTrainedConfig) -> PreTrainedConfig:
    """Returns a copy of `config` whose every probability is above zero, each another.

    At zero some classes build no dropout at all. A field that is declared to hold whole numbers alone stays as it is.
    """
    config = copy.deepcopy(config)
    number = 0
    for node in nodes(config):
        declared = dataclasses.fields(node) if dataclasses.is_dataclass(node) else ()
        whole = {field.name for field in declared if field.type in (int, "int")}
        for name, value in list(vars(node).items()):
            if name == "apply_spec_augment":  # whether speech is masked at all
                setattr(node, name, True)
            if is_probability(name, value) and name not in whole:
                setattr(node, name, round(_FIRST + _STEP * number, 7))
                number += 1
    return config


@dataclasses.dataclass(frozen=True)
class Probabilities:
    """Where a model keeps its probabilities.

    Attributes:
      places: by name: `encoder.layer.*.output.dropout` for the `p` of a dropout module, or an attribute that has such
        a name or got its value from such a field, of all layers of a stack; `Wav2Vec2Config.mask_time_prob` for a field
        of a config that modules hold.
      owed: the fields that forwards read from the config itself, as far as no module keeps their value.
    """

    places: Mapping[str, Places]
    owed: frozenset[str]

    def value(self, key: str) -> float:
        """Returns what a probability is in training that is not quiet: about a third, and no other's."""
        return round(_THIRD + _STEP * list(self.places).index(key), 6)


def probabilities(model: nn.Module) -> Probabilities:
    """Returns where a model, built from a `noisy` config, keeps its probabilities."""
    found: dict[str, Places] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.RNNBase):
            continue  # its own dropout lies between its layers, of which there may be one
        for name, value in vars(module).items():
            inner = name in _OF_A_DROPOUT and isinstance(value, float)
            known = inner or is_probability(name, value) or _of_a_noisy_config(value)
            if known and value:  # at zero it comes from no field of the config
                key = path if inner else f"{path}.{name}".lstrip(".")
                found.setdefault(re.sub(r"\b\d+\b", "*", key), []).append((module, name))
    kept = {getattr(module, name) for each in found.values() for module, name in each}
    held = [vars(module).get("config") for module in model.modules()]
    owed = set()
    for config in {id(config): config for config in held if is_config(config)}.values():
        for name, value in vars(config).items():
            if is_probability(name, value) and value:
                key = f"{type(config).__name__}.{name}"
                found.setdefault(key, []).append((config, name))
                if _READ_IN_FORWARD.fullmatch(name) and value not in kept:
                    owed.add(key)
    return Probabilities(found, frozenset(owed))


def assign(places: Places, value: float) -> None:
    """Sets one probability at all its places."""
    for owner, name in places:
        setattr(owner, name, value)


@contextlib.contextmanager
def training(model: nn.Module, found: Probabilities, *, quiet: bool = False) -> Iterator[None]:
    """Runs the body with `model` in training mode, and puts back what was.

    Statistics over the batch are no noise: what takes them stays in evaluation mode.

    Args:
      model: a model in evaluation mode.
      found: its probabilities. Each gets a value of its own, about a third.
      quiet: whether they all get zero instead.
    """
    before = [(owner, name, getattr(owner, name)) for each in found.places.values() for owner, name in each]
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.eval()
    try:
        for key, each in found.places.items():
            assign(each, 0.0 if quiet else found.value(key))
        yield
    finally:
        model.eval()
        for owner, name, was in before:
            setattr(owner, name, was)


@contextlib.contextmanager
def drawn() -> Iterator[set[float]]:
    """Runs the body and collects the probabilities that dropouts of values and of attention are called with in it."""
    seen: set[float] = set()
    functional: Any = nn.functional
    sound, attention = functional.dropout, functional.scaled_dot_product_attention

    @functools.wraps(sound)
    def noted(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        if training:
            seen.add(p)
        return sound(input, p, training, inplace)

    @functools.wraps(attention)
    def noted_attention(*args: Any, **given: Any) -> Any:
        seen.add(given.get("dropout_p", args[4] if len(args) > 4 else 0.0))
        return attention(*args, **given)

    functional.dropout, functional.scaled_dot_product_attention = noted, noted_attention
    try:
        yield seen
    finally:
        functional.dropout, functional.scaled_dot_product_attention = sound, attention


@contextlib.contextmanager
def watched() -> Iterator[set[tuple[int, str]]]:
    """Runs the body and collects what it uses: the ids of modules that are called, of configs with the field read."""
    used: set[tuple[int, str]] = set()
    sound = PreTrainedConfig.__getattribute__

    def noted(self: PreTrainedConfig, name: str) -> Any:
        if _PROBABILITY.fullmatch(name):
            used.add((id(self), sound(self, "attribute_map").get(name, name)))
        return sound(self, name)

    handle = nn.modules.module.register_module_forward_pre_hook(lambda module, _: used.add((id(module), "")))
    PreTrainedConfig.__getattribute__ = noted
    try:
        yield used
    finally:
        PreTrainedConfig.__getattribute__ = sound
        handle.remove()


def in_use(model: nn.Module, found: Probabilities, used: set[tuple[int, str]]) -> list[str]:
    """Returns the probabilities that a forward which used `used` has to draw from.

    Those are the ones whose module, or the module that a dropout lies in, was called; the fields that were read; and
    those that are owed.
    """
    above = _parents(model)

    def acts(owner: Any, name: str) -> bool:
        if not isinstance(owner, nn.Module):
            return (id(owner), name) in used
        return (id(above[id(owner)] if name in _OF_A_DROPOUT else owner), "") in used

    return [
        key for key, each in found.places.items() if key in found.owed or any(acts(owner, name) for owner, name in each)
    ]


def _parents(model: nn.Module) -> dict[int, nn.Module]:
    """Returns for each module's id the nearest one above it that is called: lists and dictionaries are not."""
    found: dict[int, nn.Module] = {}
    above: dict[str, nn.Module] = {}
    for path, module in model.named_modules():
        parent = above.get(path.rpartition(".")[0], module)
        held = isinstance(parent, (nn.ModuleList, nn.ModuleDict))
        found[id(module)] = found[id(parent)] if held else parent
        above[path] = module
    return found
