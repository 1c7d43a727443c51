"""Checks that every model must pass, whatever it computes.

What a category has of its own (causality, padding, pixels, samples) is in the module named after it.
"""

from __future__ import annotations

import contextlib
import copy
import fnmatch
import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedModel

from harness import noise
from harness.build import seed_torch
from harness.cell import Cell
from harness.checking import check
from harness.compare import (
    EFFECT,
    assert_all_close,
    assert_close,
    assert_finite,
    assert_moved,
    changed,
    effect,
    shown,
)
from harness.generation import cross_entropy, loss_of, parameters_of, partly_ignored, recurrent_state
from harness.inputs.labels import judges_tokens
from harness.inputs.pictures import POOLINGS
from harness.inputs.request import IGNORED, source_of, takes_labels
from harness.perturb import is_structural, perturbed
from harness.reference import difference
from harness.reporter import HarnessFault
from harness.shapes import batch_size, disagreement, documented_mask, documented_shapes, documents_loss, row_axis
from harness.unused import reason_unused

# Steps of the training check, and how far each moves every weight against the sign of its gradient (the first
# steps of Adam, without its state): about 1 % of a re-randomised weight, which lowers the loss of most models by far
# more than rounding. Where many weights together overshoot with that, smaller steps must do it: along a true gradient
# the loss falls for every step that is small enough.
_STEPS = 2
_STEP_SIZES = (2e-3, 2e-4, 2e-5)

# What the check of training's noise sets a probability to, and under how many seeds it may draw: a layer that is
# dropped once in two draws is seen under one of four seeds with a probability of 15 in 16, one of two layers of 255 in
# 256; which draw it is does not change from run to run.
_PROBABILITY = 0.5
_DRAWS = 4
_OF_EACH_LAYER = ("auxiliary_", "initial_", "intermediate_")  # for auxiliary losses; evaluation may give the last alone
_TRAINING = "common::training_drops_what_the_config_says"

# Models of fewer parameters are kept from one check to the next: 16 MiB each.
_FEW_PARAMETERS = 4 << 20

_ALONG_WORDS = ("attention_mask", "token_type_ids", "position_ids")


@pytest.fixture(scope="session")
def outputs(cell: Cell) -> dict[str, Tensor]:
    """The main model's outputs on the cell's inputs, computed once."""
    found = cell.tensors(cell.forward())
    cell.observe(cell.model_class, found)
    return found


@pytest.fixture(scope="session")
def twin(cell: Cell) -> PreTrainedModel:
    """The main model built a second time from the same seed: to be compared with the first, then to be trained."""
    return cell.fresh_model()


@pytest.fixture(scope="session")
def state_at_start(cell: Cell) -> dict[str, str]:
    """The main model's state before any check ran it."""
    return _state(cell.model)


@pytest.fixture(scope="session")
def kept(cell: Cell) -> dict[type[PreTrainedModel], PreTrainedModel]:
    """The folder's other classes as far as they were built and are small: look, do not touch."""
    return {}


@pytest.fixture(scope="session")
def faulty() -> set[type[PreTrainedModel]]:
    """The folder's other classes that cannot be built, run or saved: what else they do wrong follows from that."""
    return set()


def _head(
    cell: Cell, kept: dict[type[PreTrainedModel], PreTrainedModel], cls: type[PreTrainedModel]
) -> PreTrainedModel:
    """Returns a model of a class of the folder, which later checks look at too."""
    if cls is cell.model_class:
        return cell.model
    model = kept[cls] if cls in kept else cell.fresh_model(cls=cls)
    if sum(tensor.numel() for tensor in model.parameters()) < _FEW_PARAMETERS:
        kept[cls] = model
    return model


def _digest(tensor: Tensor) -> str:
    raw = tensor.detach().to("cpu").contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return f"{tensor.dtype}{list(tensor.shape)}{hashlib.sha256(raw).hexdigest()}"


def _state(model: PreTrainedModel) -> dict[str, str]:
    """Returns a digest of each parameter and buffer, of the modes and of the config."""
    state = {name: _digest(tensor) for name, tensor in model.named_parameters() if tensor.numel()}
    state |= {name: _digest(tensor) for name, tensor in model.named_buffers() if tensor.numel()}
    state["training mode"] = ", ".join(name or "model" for name, module in model.named_modules() if module.training)
    state["frozen parameters"] = ", ".join(
        name for name, tensor in model.named_parameters() if not tensor.requires_grad
    )
    state["gradients"] = ", ".join(name for name, tensor in model.named_parameters() if tensor.grad is not None)
    config = model.config.to_dict()
    config.pop("problem_type", None)  # a classifier notes there what kind of labels it last saw
    state["config"] = json.dumps(config, sort_keys=True, default=str)
    return state


@check(level="parsed", core=True)
def test_config_builds(cell: Cell) -> None:
    """Finds a config that cannot be written down and read back: a field lost, renamed, or changed on the way."""
    config = cell.config
    expected = cell.model_class.config_class
    assert expected is None or isinstance(config, expected), (
        f"config is a {type(config).__name__}, {cell.model_class.__name__} wants {expected.__name__}"
    )
    first = config.to_dict()
    second = type(config).from_dict(json.loads(json.dumps(first, default=str))).to_dict()
    _assert_same_config(first, second)


def _assert_same_config(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Asserts that two configs as dictionaries agree in everything but the version that wrote them."""
    for name in sorted(first.keys() | second.keys()):
        if name in ("transformers_version", "_name_or_path", "architectures", "dtype"):
            continue  # who wrote it, and where it lies, is not what it says
        left, right = (json.dumps(side.get(name), sort_keys=True, default=str) for side in (first, second))
        if isinstance(first.get(name), dict) and isinstance(second.get(name), dict):
            _assert_same_config(first[name], second[name])
        else:
            assert left == right, f"config field {name!r} is {right} after a round trip, it was {left}"


@check(level="built", core=True)
def test_model_builds(cell: Cell, state_at_start: dict[str, str]) -> None:
    """Finds a model that cannot be made from its config, or is made half: on no device, NaN, in training mode."""
    model = cell.model
    assert isinstance(model, cell.model_class)
    assert state_at_start["training mode"] == "", f"modules in training mode: {state_at_start['training mode']}"
    names = [name for name, _ in model.named_parameters()]
    assert names, f"{cell.model_class.__name__} has no parameters"
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        assert not tensor.is_meta, f"{name} was never allocated (it is on the meta device)"
        if tensor.is_floating_point():
            hidden = torch.isneginf(tensor)  # a mask that is kept as a buffer
            assert_finite(name, tensor.masked_fill(hidden, 0), "after the model is built")


@check(level="forward", core=True)
def test_forward_is_finite_with_documented_shapes(cell: Cell, outputs: dict[str, Tensor]) -> None:
    """Finds NaN or infinity in any output, and an output whose shape is not what the class documents."""
    assert outputs, f"{cell.model_class.__name__} returned no floating tensor"
    _assert_documented(cell, cell.model, cell.inputs, outputs)


def _assert_documented(
    cell: Cell, model: PreTrainedModel, inputs: dict[str, Tensor], outputs: dict[str, Tensor]
) -> None:
    contrastive = "logits_per_text" in outputs
    documented = documented_shapes(
        type(model).__name__, model.config, inputs, contrastive=contrastive, judges_tokens=judges_tokens(type(model))
    )
    rows = batch_size(inputs)
    for name, tensor in outputs.items():
        hidden = documented_mask(model.config, inputs, tensor)
        if hidden is None:
            assert_finite(name, tensor)
        else:
            bare = hidden & ~torch.isneginf(tensor)
            assert not bare.any(), f"{name} is not -inf at {bare.nonzero()[0].tolist()}, where there is no word"
            assert_finite(name, tensor.masked_fill(hidden, 0))
        if name in documented:
            fault = disagreement(tuple(tensor.shape), documented[name])
            assert not fault, f"{name} {fault}"
        elif name == "last_hidden_state" and rows is not None:
            books = getattr(model.config, "num_codebooks", None)  # a decoder of sound adds up its rows of codes
            rows = tensor.shape[0] if isinstance(books, int) and rows == books * tensor.shape[0] else rows
            own_sizes = "image_sizes" in inputs or "grid_thw" in inputs  # such pictures may form one sequence
            packed = own_sizes and tensor.shape[0] == 1
            assert tensor.dim() >= 2 and tensor.shape[1 if packed else 0] % rows == 0, (
                f"{name} has shape {list(tensor.shape)}, its first dimension must hold the {rows} rows of the batch"
            )


@check(level="consistent", core=True)
def test_deterministic(cell: Cell, outputs: dict[str, Tensor], twin: PreTrainedModel) -> None:
    """Finds randomness in evaluation (a dropout left on), state kept between calls, a build that ignores the seed."""
    seed_torch(12345)  # another seed than that of `outputs`: an evaluation must not draw from it
    with torch.no_grad():
        again = cell.tensors(cell.model(**cell.inputs))
    _assert_equal(again, outputs, "when the same forward runs a second time")
    _assert_equal(cell.tensors(cell.forward(model=twin)), outputs, "when the model is built again from the same seed")


def _assert_equal(actual: dict[str, Tensor], expected: dict[str, Tensor], when: str) -> None:
    """Asserts bit for bit equality, with the message of a comparison."""
    from harness.spec import Tolerance

    assert_all_close(actual, expected, Tolerance(rtol=0.0, atol=0.0), when)


def _shared(model: PreTrainedModel) -> set[tuple[str, ...]]:
    """Returns the groups of parameter names that are one and the same tensor."""
    groups: dict[int, list[str]] = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        groups.setdefault(id(tensor), []).append(name)
    return {tuple(sorted(names)) for names in groups.values() if len(names) > 1}


def _round_trip(cell: Cell, model: PreTrainedModel) -> PreTrainedModel:
    """Asserts that a model saved and loaded again is the same: keys, values, ties, config.

    Returns:
      The loaded model, in eval mode.
    """
    name = type(model).__name__
    with tempfile.TemporaryDirectory(prefix="modelgrid-") as folder:
        model.save_pretrained(folder)
        written: set[str] = set()
        for path in sorted(Path(folder).glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                written |= set(file.keys())
        assert written, f"{name}.save_pretrained wrote no safetensors file"
        arguments = cell.arguments_for(type(model))
        loaded, info = type(model).from_pretrained(folder, output_loading_info=True, **arguments)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        keys = sorted(str(key) for key in info.get(kind) or ())
        assert not keys, (
            f"{name}: {kind.replace('_', ' ')} after save and load: {', '.join(keys[:5])}\nin all {len(keys)}"
        )
    before, after = dict(model.named_parameters()), dict(loaded.named_parameters())
    assert before.keys() == after.keys(), (
        f"{name}: parameters differ after save and load: {', '.join(sorted(before.keys() ^ after.keys())[:5])}"
    )
    for key, tensor in before.items():
        assert torch.equal(tensor, after[key].to(tensor.device)), (
            f"{name}: parameter {key} has other values after save and load"
        )
    buffers = dict(loaded.named_buffers())
    kept = model.state_dict().keys()
    for key, tensor in model.named_buffers():
        if key not in buffers and key not in kept:
            continue  # a constant that the first forward makes, not part of any checkpoint
        assert key in buffers, f"{name}: buffer {key} is gone after save and load"
        assert torch.equal(tensor, buffers[key].to(tensor.device)), (
            f"{name}: buffer {key} has other values after save and load"
        )
    lost = _shared(model) - _shared(loaded)
    assert not lost, f"{name}: tied before saving, separate after loading: {', '.join(sorted(lost)[0])}"
    _assert_same_config(model.config.to_dict(), loaded.config.to_dict())
    placed: PreTrainedModel = loaded.eval().to(model.device)
    return placed


@check(level="consistent", core=True)
def test_save_and_load_round_trip(cell: Cell, outputs: dict[str, Tensor]) -> None:
    """Finds weights, buffers, ties or config fields that a checkpoint loses, and keys that it does not know again."""
    loaded = _round_trip(cell, cell.model)
    assert_all_close(cell.tensors(cell.forward(model=loaded)), outputs, cell.tolerance, "after save and load")


def _output_embedding(model: PreTrainedModel) -> Tensor | None:
    module = model.get_output_embeddings()
    weight = getattr(module, "weight", None)
    return weight if isinstance(weight, Tensor) else None


def _no_output_embedding(cell: Cell) -> str | None:
    if _output_embedding(cell.model) is None:
        return "the class has no output embedding that could be tied"
    if not hasattr(cell.config, "tie_word_embeddings"):
        return f"{type(cell.config).__name__} has no field tie_word_embeddings"
    return None


def _tied_as_it_is(cell: Cell) -> str | None:
    if _no_output_embedding(cell) is not None:
        return _no_output_embedding(cell)
    if cell.config.tie_word_embeddings:
        return (
            "the cell's config ties it already: embeddings_are_tied_as_the_config_says and save_and_load_round_trip "
            "examine that"
        )
    return None


def _assert_tied(model: PreTrainedModel, tied: bool) -> None:
    """Asserts that the output embedding is one tensor with another parameter, or that it is not."""
    output = _output_embedding(model)
    names = [name for name, tensor in model.named_parameters(remove_duplicate=False) if tensor is output]
    assert names, f"{type(model).__name__}.get_output_embeddings gives a weight that is none of its parameters"
    shared = len(names) > 1
    assert shared == tied, (
        f"output embedding {names[0]} is {'tied' if shared else 'separate'}, the config says tie_word_embeddings={tied}"
    )
    for target, source in getattr(model, "all_tied_weights_keys", {}).items():
        same = model.get_parameter_or_buffer(target) is model.get_parameter_or_buffer(source)
        assert same, f"{target} and {source} are declared tied and are separate tensors"


@check(level="consistent", core=True, unless=_no_output_embedding)
def test_embeddings_are_tied_as_the_config_says(cell: Cell) -> None:
    """Finds an output embedding that is separate although the config ties it, or shared although it does not."""
    _assert_tied(cell.model, bool(cell.config.tie_word_embeddings))


def _tied_config(config: Any) -> Any:
    """Returns the config of a tied checkpoint.

    Each part of a model ties by its own config (`get_expanded_tied_weights_keys` in transformers/modeling_utils.py):
    where the text has one, that says so as well.
    """
    tied = copy.deepcopy(config)
    for part in (tied, tied.get_text_config(decoder=True)):
        if hasattr(part, "tie_word_embeddings"):
            part.tie_word_embeddings = True
    return type(tied).from_dict(tied.to_dict())


@check(level="consistent", core=True, unless=_tied_as_it_is)
def test_tied_embeddings_survive_save_and_load(cell: Cell) -> None:
    """Finds a class that cannot be tied: where the default config does not tie, checkpoints of it may.

    A checkpoint that was saved tied holds the embedding once; a class that forgot the tie loads it with a random head.
    """
    model = cell.fresh_model(_tied_config(cell.config))
    _assert_tied(model, True)
    _round_trip(cell, model)


def _objective(cell: Cell, model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
    """Returns a scalar that depends on every floating output: the loss, where there is one, and all else projected.

    A recurrent state is written in place and left out: evaluation keeps it, and no gradient goes back through it.
    """
    stateful = recurrent_state(type(model)) is not None and "use_cache" in parameters_of(model)
    outputs = model(**inputs, **({"use_cache": False} if stateful else {}))
    generator = torch.Generator().manual_seed(7)
    total: Tensor = torch.zeros(())
    loss = getattr(outputs, "loss", None)
    if isinstance(loss, Tensor):
        total = loss.sum().cpu()
    for name, tensor in cell.tensors(outputs).items():
        if tensor.requires_grad and name != "loss":
            finite = torch.where(torch.isfinite(tensor), tensor, torch.zeros_like(tensor)).cpu()
            total = (
                total + (finite * torch.randn(tensor.shape, generator=generator)).sum() / max(1, tensor.numel()) ** 0.5
            )
    return total


@check(level="consistent", core=True)
def test_every_trainable_parameter_gets_a_finite_gradient(cell: Cell) -> None:
    """Finds a dead parameter: one that no output depends on, behind a detach, a dropped branch or a zero."""
    parameters = {
        name: tensor for name, tensor in cell.model.named_parameters() if tensor.requires_grad and tensor.numel()
    }
    objective = _objective(cell, cell.model, cell.make_inputs(labels=True))
    assert objective.requires_grad, "no output depends on any parameter (the graph is cut)"
    gradients = torch.autograd.grad(objective, list(parameters.values()), allow_unused=True)
    dead: list[str] = []
    still: list[str] = []
    reached = 0
    for (name, tensor), gradient in zip(parameters.items(), gradients, strict=True):
        if gradient is None or not gradient.any():
            still.append(name)
            if reason_unused(cell, name) is None:
                dead.append(name)
            continue
        assert_finite(f"gradient of {name}", gradient)
        reached += tensor.numel()
    norms = [gradient.norm() for gradient in gradients if gradient is not None]
    cell.observe(cell.model_class, {"objective": objective, "gradient": torch.stack(norms)})
    cell.gradient_share = reached / sum(tensor.numel() for tensor in parameters.values())
    assert not dead, (
        f"no gradient reaches {dead[0]} and {len(dead) - 1} more\n"
        if len(dead) > 1
        else f"no gradient reaches {dead[0]}\n"
    ) + "\n".join(dead[:40])
    idle = [pattern for pattern in cell.spec.unused_parameters if not fnmatch.filter(still, pattern)]
    if idle:  # those of probabilities are the next check's to judge
        idle = [pattern for pattern in idle if not fnmatch.filter(noise.probabilities(_noisy(cell)).places, pattern)]
    assert not idle, f"unused_parameters {idle[0]!r} of the declaration matches no parameter without gradient; drop it"


def _noisy(cell: Cell) -> PreTrainedModel:
    """Returns the main model with all that training drops or disturbs built in."""
    return cell.fresh_model(noise.noisy(cell.config_for(cell.model_class)))


@check(level="consistent", core=True)
def test_training_drops_what_the_config_says(cell: Cell, outputs: dict[str, Tensor]) -> None:
    """Finds a dropout (of values, paths, layers, steps) or a jitter that training forgets, or that is not of training.

    With every probability at zero training computes what evaluation does; each one is drawn from, or alone moves that;
    and under one seed all of them together do the same twice.
    """
    model = _noisy(cell)
    found = noise.probabilities(model)
    with noise.drawn() as drawn:
        first = _in_training(cell, model, cell.inputs)
    again = _in_training(cell, model, cell.inputs)
    assert torch.equal(first, again), "in training the main output is another the second time, from the same seed"
    cell.observe(cell.model_class, {"training": first})
    acting: list[str] = []
    dead: list[str] = []
    with noise.training(model, found, quiet=True):
        with noise.watched() as used:
            still = cell.tensors(cell.forward(model=model))
        for name, tensor in outputs.items():
            same = name in still and still[name].shape == tensor.shape
            if same or not name.startswith(_OF_EACH_LAYER):
                assert_close(name, still[name], tensor, cell.tolerance, "in training with each probability at zero")
        for name in noise.in_use(model, found, used):
            acts = found.value(name) in drawn or _moves(cell, model, found.places[name], still)
            (acting if acts else dead).append(name)
    forgotten = [name for name in dead if reason_unused(cell, name) is None]
    assert not forgotten, (
        f"{forgotten[0]} changes nothing in training\n"
        f"without effect: {', '.join(forgotten)}; with effect: {', '.join(acting) or 'none'}"
    )
    silent = [*dead, *(name for name, _ in model.named_parameters())]
    live = [
        pattern
        for pattern in cell.spec.unused_parameters
        if fnmatch.filter(acting, pattern) and not fnmatch.filter(silent, pattern)
    ]
    assert not live, f"unused_parameters {live[0]!r} of the declaration matches a probability that acts; drop it"


def _in_training(cell: Cell, model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
    """Returns the main output in training, with all that a class drops; its loss where it gives that alone (XLNet)."""
    with noise.training(model, noise.probabilities(model)):
        outputs = cell.forward(model=model, inputs=copy.deepcopy(inputs))  # Whisper masks what it is given
    tensors = cell.tensors(outputs)
    return tensors["loss"] if tensors.keys() == {"loss"} else cell.primary(outputs)


def _moves(cell: Cell, model: PreTrainedModel, places: noise.Places, still: dict[str, Tensor]) -> bool:
    """Returns whether one probability alone moves the outputs from `still`, under one of a few seeds."""
    noise.assign(places, _PROBABILITY)
    try:
        for seed in range(_DRAWS):
            after = cell.tensors(cell.forward(model, copy.deepcopy(cell.inputs), seed=seed))
            if max(changed(after, still).values(), default=0.0) > EFFECT:
                return True
        return False
    finally:
        noise.assign(places, 0.0)


@check(level="consistent", core=True)
def test_a_few_steps_lower_the_loss(cell: Cell, outputs: dict[str, Tensor], twin: PreTrainedModel) -> None:
    """Finds a model that cannot be trained: a loss cut off from the weights, or NaN after a step."""
    model = twin.train()  # no check behind this one uses it
    inputs = cell.make_inputs(labels=True)
    start = [weight.detach().clone() for weight in model.parameters()]
    tried: list[str] = []
    for size in _STEP_SIZES:
        losses = _train(cell, model, inputs, outputs, size)
        if losses[-1] < losses[0]:
            return
        tried.append(f"steps of {size:g}: {', '.join(f'{value:.6g}' for value in losses)}")
        with torch.no_grad():
            for weight, value in zip(model.parameters(), start, strict=True):
                weight.copy_(value)
    raise AssertionError(f"loss does not fall in {_STEPS} steps on one batch\n" + "\n".join(tried))


def _unit_target(cell: Cell, outputs: dict[str, Tensor]) -> Tensor:
    """Returns zero, or a fixed direction for outputs of unit length, which cannot come nearer to zero."""
    primary = cell.primary(outputs).float()
    if not torch.allclose(primary.norm(dim=-1), torch.ones(()).to(primary)):
        return torch.zeros(()).to(primary)
    return torch.nn.functional.one_hot(torch.tensor(0), primary.shape[-1]).to(primary)


def _train(
    cell: Cell, model: PreTrainedModel, inputs: dict[str, Tensor], before: dict[str, Tensor], size: float
) -> list[float]:
    """Moves every weight `_STEPS` times against the sign of its gradient; returns the losses, the first before it.

    Args:
      before: the outputs of the model in evaluation, which say what a class without a loss of its own can learn.
    """
    weights = [tensor for tensor in model.parameters() if tensor.requires_grad]
    losses: list[float] = []
    for step in range(_STEPS + 1):
        seed_torch(0)  # the same dropout in every step, so that only the weights change the loss
        outputs = model(**inputs)
        loss = getattr(outputs, "loss", None)
        if _no_loss(cell, cell.model_class) is None:
            loss = loss_of(cell, outputs)
        elif not isinstance(loss, Tensor):  # a class without a loss of its own
            loss = (cell.primary(outputs).float() - _unit_target(cell, before)).square().mean()
        assert bool(torch.isfinite(loss).all()), f"loss is {float(loss.sum())} after {step} steps of training"
        losses.append(float(loss.sum()))
        if step < _STEPS:
            gradients = torch.autograd.grad(loss.sum(), weights, allow_unused=True)
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    if gradient is not None:
                        weight.sub_(size * gradient.sign())
    return losses


def _row(inputs: dict[str, Tensor], rows: int, index: int) -> dict[str, Tensor]:
    """Returns the share of each input that belongs to one row; inputs without a batch are given whole."""
    out = {}
    for name, tensor in inputs.items():
        axis = row_axis(name, inputs)
        per_row = tensor.shape[axis] // rows if tensor.dim() and tensor.shape[axis] % rows == 0 else 0
        out[name] = tensor.narrow(axis, index * per_row, per_row) if per_row else tensor
        if name in POOLINGS:
            pictures = inputs[POOLINGS[name]]
            before = index * pictures.shape[:2].numel() // rows  # patches of the rows before
            out[name] = torch.where(out[name] >= 0, out[name] - before, out[name])
    return out


def _one_row_only(cell: Cell) -> str | None:
    rows = batch_size(cell.inputs)
    return None if rows is not None and rows > 1 else "the model takes one row at a time"


@check(level="consistent", core=True, unless=_one_row_only)
def test_batching_does_not_change_a_row(cell: Cell, outputs: dict[str, Tensor]) -> None:
    """Finds rows that leak into one another: statistics over the batch, a wrong reshape, a mask shared by rows."""
    rows = batch_size(cell.inputs)
    assert rows is not None
    for index in range(rows):
        alone = cell.tensors(cell.forward(inputs=_row(cell.inputs, rows, index)))
        for name, tensor in alone.items():
            if name == "loss":
                continue  # a mean over the rows, where the model is taught by its inputs or by its own quantiser
            together = outputs[_name_in_batch(name, index, alone, outputs, rows)]
            where = tuple(
                slice(index * size, (index + 1) * size) if size * rows == whole else slice(None)
                for size, whole in zip(tensor.shape, together.shape, strict=True)
            )
            assert_close(f"{name} of row {index}", together[where], tensor, cell.tolerance, f"in a batch of {rows}")


def _name_in_batch(name: str, row: int, alone: dict[str, Tensor], outputs: dict[str, Tensor], rows: int) -> str:
    """Returns what the output `name` of one row alone is called among the outputs of the whole batch.

    A list may hold one tensor for each picture: that of a batch is then so many times as long.
    """
    if list(alone) == list(outputs):
        return name
    stack, _, place = name.rpartition(".")
    lengths = [sum(other.rpartition(".")[0] == stack for other in side) for side in (alone, outputs)]
    differ = f"outputs are {list(alone)} for one row and {list(outputs)} for {rows}"
    assert {other.rpartition(".")[0] for other in alone} == {other.rpartition(".")[0] for other in outputs}, differ
    if not stack or lengths[0] == lengths[1]:
        return name
    assert place.isdigit() and lengths[1] == rows * lengths[0], differ
    return f"{stack}.{row * lengths[0] + int(place)}"


def _one_attention(cell: Cell) -> str | None:
    if not cell.model_class._supports_sdpa:
        return f"{cell.model_class.__name__}._supports_sdpa is False: the class declares one attention implementation"
    return None


@check(level="consistent", core=True, unless=_one_attention)
def test_attention_implementations_agree(cell: Cell) -> None:
    """Finds an attention implementation with another mask, scale or bias than its sibling."""
    current = cell.model.config._attn_implementation
    other = "eager" if current != "eager" else "sdpa"
    model = cell.fresh_model(attention=other)
    assert model.config._attn_implementation == other, f"the model stays at {current} when {other} attention is set"
    inputs, kept = _ragged(cell)
    expected = cell.tensors(cell.forward(inputs=inputs))
    actual = cell.tensors(cell.forward(model=model, inputs=inputs))
    names = [name for name in expected if not name.startswith(("attentions", "cross_attentions", "decoder_attentions"))]
    for name in names:
        left, right = actual[name], expected[name]
        if kept is not None and left.dim() >= 3 and left.shape[:2] == kept.shape:
            left, right = left[kept], right[kept]  # what padding computes is nobody's promise
        assert_close(name, left, right, cell.tolerance, f"between {other} and {current} attention")


def _ragged(cell: Cell) -> tuple[dict[str, Tensor], Tensor | None]:
    """Returns the cell's inputs with the end of the last row masked, and the mask, where there is one to set."""
    mask = cell.inputs.get("attention_mask")
    tokens = cell.inputs.get("input_ids")
    if mask is None or tokens is None or mask.shape != tokens.shape or not bool((mask == 1).all()):
        return cell.inputs, None
    if cell.spec.category == "multimodal":  # the end of the text may hold placeholders that must stay visible
        return cell.inputs, None
    mask = mask.clone()
    mask[-1, -2:] = 0
    return {**cell.inputs, "attention_mask": mask}, mask.bool()


def _flat(value: Any) -> list[Tensor]:
    """Returns the tensors of a nested output in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in _flat(item)]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _flat(item)]
    return []


@check(level="consistent", core=True)
def test_output_dataclass_and_tuple_agree(cell: Cell) -> None:
    """Finds a tuple whose order or length is not that of the documented output's fields."""
    _assert_tuple_agrees(cell, cell.model, cell.inputs)
    if _no_loss(cell, cell.model_class) is None:
        _assert_tuple_agrees(cell, cell.model, cell.make_inputs(labels=True))


def _no_other_heads(cell: Cell) -> str | None:
    return None if len(cell.heads()) > 1 else "the folder has no other public model class"


@check(level="consistent", core=True, unless=_no_other_heads)
def test_heads_build_run_and_round_trip(
    cell: Cell, kept: dict[type[PreTrainedModel], PreTrainedModel], faulty: set[type[PreTrainedModel]]
) -> None:
    """Finds a public class of the folder that cannot be built, run, trained on its labels, or saved."""
    names = [cls.__name__ for cls in cell.heads()]
    for attribute in ("heads", "unexercised_classes"):
        unknown = sorted(getattr(cell.spec, attribute).keys() - names)
        assert not unknown, f"{attribute} names {unknown[0]}, the folder's public classes are {', '.join(names)}"
    faults: dict[str, Exception] = {}
    for cls in cell.heads():
        if cls is cell.model_class or cls.__name__ in cell.spec.unexercised_classes:
            continue
        try:
            _exercise_head(cell, cls, _head(cell, kept, cls))
        except HarnessFault:
            raise
        except Exception as error:  # noqa: BLE001 - one broken class keeps none of the others from being examined
            faults[cls.__name__] = error
            faulty.add(cls)
    for name, fault in faults.items():
        others = "".join(f"\n{other} fails too: {also}" for other, also in faults.items() if other != name)
        kind = "" if isinstance(fault, AssertionError) else f"{type(fault).__name__}: "
        raise AssertionError(f"{name}: {kind}{str(fault) or 'assertion failed without a message'}{others}") from fault


def _no_loss(cell: Cell, cls: type[PreTrainedModel]) -> str | None:
    """Returns why a class gives no loss, or None where it takes labels and must."""
    if cell.spec.inputs.get("labels", "") is None:
        return "the declaration leaves the labels out"
    described = cell.spec.heads.get(cls.__name__, {}).get("inputs", {}).get("labels")
    if isinstance(described, Mapping) and not re.search(r"For[A-Z]", cls.__name__):
        return "it is a part of a model, and what it calls labels is an input, which the declaration describes"
    if cls.__name__.endswith("Model") and not documents_loss(cls):
        return "it is a bare model, whose documented output has no loss"
    names = set(parameters_of(cls))
    measured = "future_values" in names and cls.__name__.endswith("ForPrediction")
    others = {"start_positions", "target_values", "initial_token_labels", "text_labels"}
    if measured or takes_labels(cls) or takes_labels(cls, "mask_labels") or others & names:
        return None
    return "it takes no labels, or refuses to be trained on them"


def _exercise_head(cell: Cell, cls: type[PreTrainedModel], model: PreTrainedModel) -> None:
    """Asserts that one class runs, gives a loss where it takes labels, and survives saving."""
    trains = _no_loss(cell, cls) is None
    inputs = cell.make_inputs(cls=cls, model=model, labels=trains)
    if trains:  # one call with labels shows the loss and the outputs
        seed_torch(0)
        found = model(**inputs)
        cell.exercised(cls)
    else:
        found = cell.forward(model=model, inputs=inputs)
    outputs = cell.tensors(found)
    assert outputs, "returned no floating tensor"
    cell.observe(cls, outputs)
    if cell.outcomes.get(_TRAINING) == "passed":  # else it may not be the same a second time
        cell.observe(cls, {"training": _in_training(cell, model, inputs)})
    _assert_documented(cell, model, inputs, outputs)
    if trains:
        loss = getattr(found, "loss", None)
        assert isinstance(loss, Tensor), f"takes labels and gives no loss (inputs {', '.join(inputs)})"
        assert_finite("loss", loss)
        assert loss.requires_grad, "loss does not depend on any parameter"
    _round_trip(cell, model)


@pytest.fixture(scope="session")
def moving(cell: Cell, outputs: dict[str, Tensor]) -> dict[str, bool | Exception]:
    """For each input that can be changed alone, whether that moves an output of the main class, or what it raises."""
    found: dict[str, bool | Exception] = {}
    for name in cell.inputs:
        if is_structural(cell, name):
            continue
        try:
            after = cell.tensors(cell.forward(inputs=perturbed(cell, cell.inputs, name)))
            found[name] = max(changed(after, outputs).values(), default=0.0) > EFFECT
        except HarnessFault:
            raise
        except Exception as error:  # noqa: BLE001 - the check that examines it raises it
            # a model that counts its pictures there refuses fewer than it is given
            found[name] = True if name == "mm_token_type_ids" and isinstance(error, ValueError) else error
    return found


@check(level="consistent", core=True)
def test_every_input_moves_the_output(cell: Cell, moving: dict[str, bool | Exception]) -> None:
    """Finds an input that is accepted and ignored: a mask, a modality, segment or position ids without effect."""
    for moves in moving.values():
        if isinstance(moves, Exception):
            raise moves
    cell.moving_inputs = tuple(name for name, moves in moving.items() if moves)
    still = [name for name, moves in moving.items() if not moves]
    assert not still, (
        f"{still[0]} moves no output when it is changed\n"
        f"inputs without effect: {', '.join(still)}; with effect: {', '.join(cell.moving_inputs) or 'none'}"
    )


@check(level="consistent", core=True, unless=_no_other_heads)
def test_heads_hand_on_what_they_are_given(
    cell: Cell,
    kept: dict[type[PreTrainedModel], PreTrainedModel],
    faulty: set[type[PreTrainedModel]],
    moving: dict[str, bool | Exception],
) -> None:
    """Finds a head that keeps a mask, a modality or the cache from the model inside, or gives other logits or fields.

    What a category has of its own is examined on the main class alone, and each class calls the model inside by itself.
    """
    for cls in cell.heads():
        if cls is cell.model_class or cls.__name__ in cell.spec.unexercised_classes or cls in faulty:
            continue
        model = _head(cell, kept, cls)
        inputs = cell.make_inputs(cls=cls, model=model)
        labelled = inputs
        if _no_loss(cell, cls) is None:  # where the loss is all that shows what became of the text (BLIP)
            labelled = cell.make_inputs(cls=cls, model=model, labels=True)
        before = cell.tensors(cell.forward(model=model, inputs=labelled))
        for name in inputs:
            whole = cell.inputs.keys() <= inputs.keys()  # else it may be of no use without what is missing (Mllama)
            if moving.get(name) is not True or not (whole or _tells_by_itself(name, inputs)):
                continue  # what does not move the main class is that class's affair
            if name in ("future_values", "speaker_embeddings"):
                continue  # one may move the loss alone (Autoformer), one a decoder of sound alone (SpeechT5)
            other = perturbed(cell, inputs, name, known=True)[name]
            try:
                after = cell.tensors(cell.forward(model=model, inputs={**labelled, name: other}))
            except (ValueError, RuntimeError, IndexError):
                continue  # it says how another input lies, and the class refuses what contradicts it
            largest = max(changed(after, before).values(), default=0.0)
            assert largest > EFFECT, f"{cls.__name__}: {name} moves no output when it is changed"
        _assert_cache_is_read(cell, model, inputs)
        if cls.can_generate() and _keeps_all_logits(cls, inputs) is None:
            _assert_last_logits(cell, model, inputs)
        _assert_tuple_agrees(cell, model, labelled)


def _tells_by_itself(name: str, inputs: dict[str, Tensor]) -> bool:
    """Whether an input must move whatever class takes it: others go with a further input."""
    words = "input_ids" in inputs and name in ("attention_mask", "decoder_attention_mask")
    return words or name.endswith("input_ids") or inputs[name].is_floating_point()


def _assert_cache_is_read(cell: Cell, model: PreTrainedModel, inputs: dict[str, Tensor]) -> None:
    """Asserts that a class which gives and takes a cache of words reads it: the last token on all before it.

    The classes of words must come to what they are without a cache; of others, that it has an effect must do.
    """
    tokens = inputs.get("input_ids")
    cached = {"input_ids", "past_key_values", "use_cache"} <= set(parameters_of(model))
    if not cached or tokens is None or tokens.dim() != 2 or set(inputs) - {"input_ids", *_ALONG_WORDS}:
        return
    if any(name.endswith("::cached_steps_match_one_pass") for name in cell.spec.not_applicable):
        return
    name, when = type(model).__name__, f"when it is read from a cache of {tokens.shape[1] - 1} tokens"
    begun = cell.forward(model=model, inputs={"input_ids": tokens[:, :-1]}, use_cache=True)
    if not hasattr(begun, "past_key_values"):
        return  # an encoder's output has no field for it
    past = begun.past_key_values
    if past is None and not (type(model).can_generate() or cell.spec.category == "decoder"):
        return  # it keeps none unless it is told to be a decoder
    assert past is not None, f"{name} gives no past_key_values when use_cache=True is given"
    last = {"input_ids": tokens[:, -1:]}
    alone = cell.primary(cell.forward(model=model, inputs=last, use_cache=False))
    on_it = cell.primary(cell.forward(model=model, inputs=last, past_key_values=past, use_cache=True))
    assert_moved(f"{name}: the main output", on_it, alone, when)
    if type(model).can_generate():
        whole = cell.primary(cell.forward(model=model, inputs={"input_ids": tokens}, use_cache=False))
        assert_close(f"{name}: the main output", on_it, whole[:, -1:], cell.tolerance, when)


def _assert_tuple_agrees(cell: Cell, model: PreTrainedModel, inputs: dict[str, Any]) -> None:
    """Asserts that a tuple holds what the documented output's fields do, in their order."""
    named = cell.forward(model=model, inputs=inputs, return_dict=True)
    plain = cell.forward(model=model, inputs=inputs, return_dict=False)
    owner = "" if type(model) is cell.model_class else f"{type(model).__name__}: "
    if owner and not (isinstance(plain, tuple) and hasattr(named, "to_tuple")):
        return  # a class beside the main one that gives no tuple loses no fields of it (ESM's folding)
    assert isinstance(plain, (tuple, Tensor)), f"return_dict=False gives a {type(plain).__name__} instead of a tuple"
    left, right = _flat(plain), _flat(named.to_tuple())
    names = [name for name, value in named.items() for _ in _flat(value)]
    assert len(left) == len(right), (
        f"{owner}the tuple holds {len(left)} tensors, the output's fields {', '.join(dict.fromkeys(names))} hold "
        f"{len(right)}"
    )
    for index, (first, second) in enumerate(zip(left, right, strict=True)):
        assert_close(
            f"{owner}{names[index]} (tuple element {index})", first, second, cell.tolerance, "with return_dict=False"
        )


def _measured(cell: Cell) -> list[tuple[type[PreTrainedModel], str]]:
    """Returns the classes of the folder whose loss is documented by what they are for, each with that."""
    found = []
    for cls in cell.heads():
        kind = next((end for end in _LOSSES if cls.__name__.endswith(end)), None)
        labels = "start_positions" if kind == "ForQuestionAnswering" else "labels"
        if labels not in parameters_of(cls):
            continue  # it links tokens, chooses among answers, or writes one
        if kind and cls.__name__ not in cell.spec.unexercised_classes and _no_loss(cell, cls) is None:
            found.append((cls, kind))
    return found


def _no_documented_loss(cell: Cell) -> str | None:
    return None if _measured(cell) else "no class of the folder has a loss that its kind documents"


@check(level="consistent", core=True, unless=_no_documented_loss)
def test_losses_are_what_the_heads_are_for(
    cell: Cell, kept: dict[type[PreTrainedModel], PreTrainedModel], faulty: set[type[PreTrainedModel]]
) -> None:
    """Finds a head's loss of another kind than documented: numbers taken for classes, -100 counted, a place too many.

    A classifier takes one of several classes, a number where it has one label, and several classes at once where it
    knows of problem types.
    """
    for cls, kind in _measured(cell):
        if cls in faulty:
            continue
        model = _head(cell, kept, cls)
        if kind not in _CLASSIFIERS:
            _assert_loss(cell, model, kind, kind)
            continue
        problem, model.config.problem_type = model.config.problem_type, None  # the class notes what it last saw
        _assert_loss(cell, model, kind, "one class")
        code = source_of(cls.forward)
        if re.search("problem_type = .multi_label_classification", code) or "loss_function" in code:
            model.config.problem_type = None
            _assert_loss(cell, model, kind, "several classes")
        model.config.problem_type = problem
        if "MSELoss" in code or "loss_function" in code:
            config = copy.deepcopy(cell.config_for(cls))
            config.num_labels, config.problem_type = 1, None
            _assert_loss(cell, cell.fresh_model(config, cls), kind, "a number")


def _assert_loss(cell: Cell, model: PreTrainedModel, kind: str, what: str) -> None:
    """Asserts that the loss of a class is what its documentation says of its outputs and labels."""
    cls = type(model)
    given = cell.make_inputs(cls=cls, model=model, labels=True)
    given.pop("entity_labels", None)  # of a second loss, which is added (LUKE)
    if what in ("a number", "several classes"):
        noise = torch.randn(len(given["labels"]), model.config.num_labels, generator=torch.Generator().manual_seed(5))
        given["labels"] = noise.squeeze(-1) if what == "a number" else (noise > 0).float()
    elif "start_positions" in given and re.search("ignored_index|loss_function", source_of(cls.forward)):
        for name in ("start_positions", "end_positions"):  # an answer that was cut off, and none, at the first token
            given[name][0], given[name][-1] = given["input_ids"].shape[-1] + 5, 0
    elif kind in ("ForMaskedLM", "ForTokenClassification"):
        given["labels"] = partly_ignored(given["labels"])
    given = {name: cell.runtime.place(tensor) for name, tensor in given.items()}
    outputs = cell.forward(model=model, inputs=given)
    if kind == "ForQuestionAnswering" and "start_logits" not in outputs:
        return  # it gives the likeliest places alone (XLNet)
    expected = _LOSSES[kind](cell.tensors(outputs), given, what)
    assert_close(f"{cls.__name__}: loss", outputs.loss, expected, cell.tolerance, f"against that of {what}")


def _loss_of_a_classifier(outputs: dict[str, Tensor], given: dict[str, Tensor], what: str) -> Tensor:
    logits, labels = outputs["logits"], given["labels"]
    if what == "a number":
        return (logits.squeeze(-1) - labels).square().mean()
    if what == "several classes":
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    return cross_entropy(logits, labels)


def _loss_of_a_span(outputs: dict[str, Tensor], given: dict[str, Tensor], what: str) -> Tensor:
    """Returns the mean of the cross entropies of a span's two ends, without those that lie behind the text."""
    total = torch.zeros(())
    for end in ("start", "end"):
        logits, labels = outputs[f"{end}_logits"], given[f"{end}_positions"].clone()
        labels[labels >= logits.shape[1]] = IGNORED
        total = total + cross_entropy(logits, labels) / 2
    return total


_CLASSIFIERS = ("ForSequenceClassification", "ForImageClassification")
_LOSSES: dict[str, Callable[[dict[str, Tensor], dict[str, Tensor], str], Tensor]] = {
    **dict.fromkeys(_CLASSIFIERS, _loss_of_a_classifier),
    "ForTokenClassification": _loss_of_a_classifier,
    "ForMultipleChoice": _loss_of_a_classifier,
    "ForMaskedLM": _loss_of_a_classifier,
    "ForQuestionAnswering": _loss_of_a_span,
}
"""What the loss of a class is, from its outputs, what it was given and the kind of labels."""


def _keeps_all_logits(cls: type[PreTrainedModel], inputs: dict[str, Tensor]) -> str | None:
    named = "logits_to_keep" in parameters_of(cls) and "input_ids" in inputs
    return None if named else "forward takes no logits_to_keep"


def _main_keeps_all_logits(cell: Cell) -> str | None:
    return _keeps_all_logits(cell.model_class, cell.inputs)


@check(level="consistent", core=True, unless=_main_keeps_all_logits)
def test_logits_to_keep_gives_the_last_logits(cell: Cell) -> None:
    """Finds `logits_to_keep` ignored, or off by one: the first step of `generate` asks for the last logits alone."""
    _assert_last_logits(cell, cell.model, cell.inputs)


def _assert_last_logits(cell: Cell, model: PreTrainedModel, inputs: dict[str, Tensor]) -> None:
    """Asserts that a class gives as many logits of the end as it is asked for."""
    owner = "" if type(model) is cell.model_class else f"{type(model).__name__}: "
    whole = cell.primary(cell.forward(model=model, inputs=inputs))
    for count in (1, 3):
        last = cell.primary(cell.forward(model=model, inputs=inputs, logits_to_keep=count))
        assert_close(f"{owner}logits", last, whole[:, -count:], cell.tolerance, f"with logits_to_keep={count}")


@check(level="consistent", core=True)
def test_outputs_are_alive(cell: Cell, outputs: dict[str, Tensor]) -> None:
    """Finds an output that is constant: the same for different rows, or at all places."""
    if _one_row_only(cell) is None:
        primary = cell.primary(outputs)
        half = primary.shape[0] // 2
        if half and primary.dim() > 1:
            share = effect(primary[half : 2 * half], primary[:half])
            assert share > EFFECT, (
                f"the main output is the same for different rows (difference {share:.3g} of its magnitude)"
            )
    for name, tensor in outputs.items():
        values = tensor.detach().double()
        values = values[shown(values)]
        if values.numel() > 1 and name != "loss":
            spread = float(values.max() - values.min())
            scale = max(float(values.abs().max()), 1e-12)
            assert spread > EFFECT * scale, f"{name} is constant ({float(values.flatten()[0]):.6g} everywhere)"


# A stack's name; of several towers' stacks under one name, each has a number (BridgeTower).
_STACK = re.compile(r"hidden_states(\.\d+)?$")


_HOOKED = "_output_capturing_hooks_installed"  # what transformers notes at a model whose layers it has hooked


@contextlib.contextmanager
def _hooks_taken_off(model: PreTrainedModel) -> Iterator[None]:
    """Takes off the hooks that a call of `model` leaves, so that what they break is seen there and nowhere else.

    transformers hooks the layers of a model when it is first asked for their states (utils/output_capturing.py), and
    those of a model inside, which had asked for some already, a second time: Phi-4 cannot be run any more then.
    """
    kept = [(module, dict(module._forward_hooks), hasattr(module, _HOOKED)) for module in model.modules()]
    try:
        yield
    finally:
        for module, hooks, hooked in kept:
            module._forward_hooks.clear()
            module._forward_hooks.update(hooks)
            if hasattr(module, _HOOKED) and not hooked:
                delattr(module, _HOOKED)


def _hidden_states(cell: Cell) -> dict[str, list[Tensor]]:
    """Returns the stacks of hidden states by name, those of the models inside a model too, one tensor per layer."""
    stacks: dict[str, list[Tensor]] = {}
    with _hooks_taken_off(cell.model):
        found = cell.tensors(cell.forward(output_hidden_states=True))
    for name, tensor in found.items():
        stack, _, index = name.rpartition(".")
        if _STACK.search(stack) and index.isdigit():
            stacks.setdefault(stack, []).append(tensor)
    return stacks


@check(level="consistent", core=True)
def test_every_layer_does_something(cell: Cell) -> None:
    """Finds a layer that passes its input on unchanged, and a model that keeps its hidden states to itself."""
    stacks = _hidden_states(cell)
    assert any(len(states) > 1 for states in stacks.values()), (
        f"{cell.model_class.__name__} returns no hidden_states when output_hidden_states=True is given"
    )
    for name, states in stacks.items():
        for index, (first, second) in enumerate(pairwise(states)):
            if first.shape == second.shape:  # the stages of a pyramid change the shape
                share = effect(second, first)
                assert share > EFFECT, f"{name} {index + 1} equals {name} {index}: the layer between does nothing"


def _nothing_recorded(cell: Cell) -> str | None:
    if cell.spec.reference is None:
        return f"no reference values are recorded; bazel run //:record -- {cell.spec.name} records them"
    return None


@check(level="reference", core=True, unless=_nothing_recorded)
def test_outputs_match_the_reference(cell: Cell) -> None:
    """Finds a changed model that is consistent with itself: other numbers, a lost modality, class or gradient."""
    recorded, facts = cell.spec.reference, cell.facts()
    assert recorded is not None
    mend = f"if that is meant: bazel run //:record -- {cell.spec.name}"
    assert facts.parameters == recorded.parameters, (
        f"the model has {facts.parameters} parameters, recorded are {recorded.parameters}\n{mend}"
    )
    assert dict(facts.inputs) == dict(recorded.inputs), (
        f"inputs are {dict(facts.inputs)}, recorded are {dict(recorded.inputs)}\n{mend}"
    )
    for what, before, now in (
        ("moves the output", recorded.moving_inputs, facts.moving_inputs),
        ("runs", recorded.classes, facts.classes),
    ):
        lost = [name for name in before if name not in now]
        assert not lost, f"{lost[0]} no longer {what}, as it did when the reference was recorded\n{mend}"
    for name in recorded.checks:
        assert cell.outcomes.get(name) != "not_applicable", (
            f"{name} no longer applies; it passed when the reference was recorded\n{mend}"
        )
    assert facts.gradient_share >= recorded.gradient_share - 1e-3, (
        f"gradients reach {facts.gradient_share:.1%} of the parameters, recorded are {recorded.gradient_share:.1%}"
        f"\n{mend}"
    )
    for name, was in recorded.values.items():
        assert name in cell.observed, f"{name} is no longer an output\n{mend}"
        fault = difference(was, cell.observed[name])
        assert not fault, f"{name}: {fault}\n{mend}"


@check(level="consistent", core=True, last=True)
def test_model_state_is_unchanged(cell: Cell, state_at_start: dict[str, str]) -> None:
    """Finds a model that running it changes for good: a running statistic, a replaced weight, its config."""
    now = _state(cell.model)
    for name, digest in state_at_start.items():
        assert name in now, f"{name} is gone after the checks ran"
        assert now[name] == digest, f"{name} is not what it was before the checks ran"
    new = sorted(now.keys() - state_at_start.keys())
    assert not new, f"{new[0]} appeared while the checks ran"


@check(level="consistent", core=True, last=True)
def test_loads_only_declared_slices(cell: Cell) -> None:
    """Finds a model that reaches code which its declaration does not name: an edit there would not rerun this cell."""
    undeclared = cell.undeclared_slices()
    assert not undeclared, (
        f"the run loaded {', '.join(undeclared)} of transformers/models, which the cell does not depend on; "
        f"add them to `backbones` of hf_model in the declaration"
    )
