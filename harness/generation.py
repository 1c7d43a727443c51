"""Shared means of the checks that look at a causal stream of tokens: padding, caches, generation, losses.

Each `assert_…` raises `AssertionError` whose first line names the output and the position. Which of them a
category needs, and where one does not apply, is decided in `harness/checks`.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache, GenerationMixin

from harness.build import seed_torch
from harness.compare import assert_close, assert_moved
from harness.inputs.configs import placeholder
from harness.inputs.configs import vocabulary as inputs_vocabulary
from harness.inputs.request import IGNORED, source_of
from harness.inputs.sound import AMONG_WORDS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from harness.cell import Cell

NEW_TOKENS = 4

RECURRENT_STATES = ("cache_params", "state")
"""Names under which models without attention take and return what `past_key_values` is to the others."""

STREAMING_STATES = ("encoder_past_key_values", "padding_cache")
"""Names under which models that hear the sound piece by piece take and return what their encoder keeps of it."""

CODES_ALONG_WORDS = ("user_audio_codes", "moshi_audio_codes")
"""Codes of sound (batch, codebooks, words): a frame is added to each word."""


@dataclasses.dataclass(frozen=True)
class Stream:
    """The names under which `forward` takes one stream of tokens."""

    tokens: str
    mask: str
    positions: str


DECODER_ONLY = Stream("input_ids", "attention_mask", "position_ids")
DECODER_SIDE = Stream("decoder_input_ids", "decoder_attention_mask", "decoder_position_ids")


def parameters_of(model: PreTrainedModel | type[PreTrainedModel]) -> list[str]:
    """Returns the names of the arguments that the model's `forward` declares."""
    return [
        name
        for name, parameter in inspect.signature(model.forward).parameters.items()
        if name != "self" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]


def recurrent_state(cls: type[PreTrainedModel]) -> str | None:
    """Returns the name under which `cls` takes its recurrent state; None where it has a cache of keys, or nothing."""
    names = parameters_of(cls)
    return None if "past_key_values" in names else next((name for name in RECURRENT_STATES if name in names), None)


def _forwards_keywords(cls: type[PreTrainedModel]) -> bool:
    return any(given.kind is given.VAR_KEYWORD for given in inspect.signature(cls.forward).parameters.values())


def _sets(cls: type[PreTrainedModel], name: str) -> bool:
    """Whether `forward` hands a constant on as `name`, which a caller must then not give as well."""
    return re.search(rf"\b{name}=(True|False|None)\b", source_of(cls.forward)) is not None


def _hands_on_by_prefix(cls: type[PreTrainedModel]) -> bool:
    """Whether `forward` drops keywords without the prefix of a model inside, such as `decoder_position_ids` (Moshi)."""
    source = source_of(cls.forward)
    chooses = ".startswith(" in source and "not argument.startswith(" not in source
    return chooses and len(re.findall(r"\*\*kwargs\b", source)) < 2


def takes(cell: Cell, name: str) -> bool:
    """Whether the main class's `forward` takes the argument `name`.

    Where it passes keywords on (`**kwargs`), an argument that a base class's `forward` declares, or that of a model
    inside, is taken as well.
    """
    if name in parameters_of(cell.model_class):
        return True
    if not _forwards_keywords(cell.model_class) or _sets(cell.model_class, name):
        return False
    if _hands_on_by_prefix(cell.model_class):
        return False
    bases = [base for base in cell.model_class.__mro__[1:] if "forward" in vars(base)]
    inside = {type(module) for module in cell.model.modules() if hasattr(module, "base_model_prefix")}
    return any(name in parameters_of(cls) for cls in (*bases, *(inside - {cell.model_class})))


def require(cell: Cell, *names: str) -> None:
    """Asserts that the main class's `forward` takes arguments that no model of the category can do without.

    An argument that may be hidden in `**kwargs` is let through: what becomes of it is the check's to find.
    """
    declared = parameters_of(cell.model_class)
    missing = [] if _forwards_keywords(cell.model_class) else [name for name in names if name not in declared]
    assert not missing, (
        f"{cell.model_class.__name__}.forward takes no {missing[0]}, which every {cell.spec.category} model must take"
    )


def loss_of(cell: Cell, outputs: Any) -> Tensor:
    """Returns the loss of a forward that was given labels, which must be there."""
    loss = getattr(outputs, "loss", None)
    assert isinstance(loss, Tensor), f"{cell.model_class.__name__} was given labels and gives no loss"
    return loss


def vocabulary(cell: Cell) -> int:
    """Returns the number of tokens that the text part of the model knows."""
    size = getattr(cell.config.get_text_config(decoder=True), "vocab_size", None)
    return size if isinstance(size, int) else inputs_vocabulary(cell.config)


def _generator(model: PreTrainedModel) -> Any:
    """Returns what prepares each step's inputs: the model, or its text part where its own `generate` hands over."""
    if type(model).generate is not GenerationMixin.generate:
        for name in ("text_model", "text_decoder", "language_model"):
            part = getattr(model, name, None)
            if hasattr(part, "prepare_inputs_for_generation"):
                return part
    return model


def takes_positions(cell: Cell, stream: Stream) -> bool:
    """Whether the model is given its tokens' positions when it generates.

    A model that derives them itself (from the mask or from the padding token) does not take them, or drops them
    again in its own `prepare_inputs_for_generation`. One with positions in several axes (`get_rope_index`) derives them
    from the grids of its pictures.
    """
    if not takes(cell, stream.positions) or any(hasattr(part, "get_rope_index") for part in cell.model.modules()):
        return False
    if not cell.model_class.can_generate():
        return True
    tokens = torch.ones(1, 3, dtype=torch.long, device=cell.model.device)
    prepared = _generator(cell.model).prepare_inputs_for_generation(
        tokens, attention_mask=torch.ones_like(tokens), is_first_iteration=True, **{stream.positions: tokens}
    )
    return stream.positions in prepared


def special_tokens(config: Any) -> set[int]:
    """Returns every token that a config, or a config inside it, gives a meaning of its own (`*_token_id`, …)."""
    found: set[int] = set()
    for name, value in vars(config).items():
        if name.endswith(("_token_id", "_token_index", "image_patch_id")):
            values = value if isinstance(value, (list, tuple)) else [value]
            found |= {item for item in values if isinstance(item, int)}
        elif hasattr(value, "to_dict") and hasattr(value, "model_type"):
            found |= special_tokens(value)
    return found


def other_token(cell: Cell, token: int) -> int:
    """Returns a plain token that is not `token`: no padding, no placeholder, no end of text.

    Raises:
      AssertionError: the tiny vocabulary has no second plain token; the declaration must enlarge it.
    """
    special = special_tokens(cell.config)
    size = vocabulary(cell)
    for step in range(size // 2, size // 2 + size):
        candidate = (token + step) % size
        if candidate != token and candidate not in special:
            return candidate
    raise AssertionError(f"vocabulary of {size} tokens has no plain token besides {token}; set a larger vocab_size")


def plain_positions(cell: Cell, row: Tensor) -> list[int]:
    """Returns the positions of a row of tokens (sequence[, streams]) that hold no special token or placeholder."""
    special = special_tokens(cell.config)
    return [index for index, token in enumerate(row) if special.isdisjoint(token.flatten().tolist())]


def with_token(cell: Cell, tokens: Tensor, index: int) -> Tensor:
    """Returns `tokens` (batch, sequence) with another plain token at `index` of every row.

    Where streams of codes stand beside one another (batch, sequence, streams), those of another row.
    """
    out = tokens.clone()
    if tokens.dim() == 3:
        out[:, index] = tokens[:, index].roll(1, dims=0)
        return out
    for row in range(out.shape[0]):
        out[row, index] = other_token(cell, int(out[row, index]))
    return out


def exchanged(inputs: dict[str, Tensor], first: int, second: int) -> dict[str, Tensor]:
    """Returns `inputs` with two tokens in each other's place, each with its type, its box and its mask."""
    order = torch.arange(inputs["input_ids"].shape[1], device=inputs["input_ids"].device)
    order[first], order[second] = second, first
    shape = inputs["input_ids"].shape
    return {
        name: tensor[:, order] if tensor.dim() >= 2 and tensor.shape[:2] == shape else tensor
        for name, tensor in inputs.items()
    }


def continued(inputs: dict[str, Tensor], tokens: Tensor) -> dict[str, Tensor]:
    """Returns `inputs` with more tokens (batch, length): visible, and of type 0 in whatever runs along them.

    Token types, and what a word may look across at, go on as the last ones, as `generate` has it
    (`_update_model_kwargs_for_generation`).
    """
    shape = inputs["input_ids"].shape
    more = tokens.shape[1] - shape[1]
    out = {**inputs, "input_ids": tokens}
    for name, tensor in inputs.items():
        if name != "input_ids" and tensor.dim() >= 2 and tensor.shape[:2] == shape and not tensor.is_floating_point():
            kept = tensor[:, : tokens.shape[1]]
            added = kept.new_full(
                (shape[0], max(0, more), *tensor.shape[2:]), int(name in ("attention_mask", "image_attention_mask"))
            )
            if name in ("token_type_ids", "cross_attention_mask"):
                added = tensor[:, -1:].expand(-1, max(0, more), *tensor.shape[2:])
            out[name] = torch.cat([kept, added], dim=1)
    return out


def pad_token(cell: Cell) -> int:
    """Returns the token that pads: the config's own, else its end of text, else a plain one."""
    text = cell.config.get_text_config(decoder=True)
    for name in ("pad_token_id", "eos_token_id"):
        value = getattr(text, name, None)
        value = value[0] if isinstance(value, (list, tuple)) else value
        if isinstance(value, int) and 0 <= value < vocabulary(cell):
            return value
    return other_token(cell, 0)


def positions_of(mask: Tensor) -> Tensor:
    """Returns position ids (batch, sequence) as `generate` derives them from an attention mask.

    Rule of `GenerationMixin._prepare_position_ids_for_generation` in transformers/generation/utils.py: the first
    token that is attended to is at 0; padding, which nobody attends to, is at 0 too.
    """
    positions = mask.long().cumsum(-1) - 1
    return positions.masked_fill(mask == 0, 0)


def pad(
    cell: Cell, inputs: dict[str, Tensor], count: int, *, side: str, stream: Stream = DECODER_ONLY
) -> dict[str, Tensor]:
    """Returns `inputs` with `count` padding tokens added to every row, masked out.

    Everything else that runs along the tokens (token types, boxes, codes, …) is padded with zeros. Behind left padding,
    position ids are given where the model takes them, by the rule of `positions_of`; before right padding every
    token is where it was.

    Args:
      side: `left` or `right`.
    """
    tokens = inputs[stream.tokens]
    batch, length = tokens.shape[:2]
    mask = inputs.get(stream.mask, torch.ones_like(tokens))

    def extend(tensor: Tensor, value: int, axis: int = 1) -> Tensor:
        shape = [*tensor.shape[:axis], count, *tensor.shape[axis + 1 :]]
        block = torch.full(shape, value, dtype=tensor.dtype, device=tensor.device)
        return torch.cat([block, tensor] if side == "left" else [tensor, block], dim=axis)

    out = {
        name: extend(tensor, 0)
        if tensor.dim() >= 2
        and tensor.shape[:2] == (batch, length)
        and (name == "bbox" or not tensor.is_floating_point())
        else tensor
        for name, tensor in inputs.items()
    }
    out |= {name: extend(inputs[name], 0, axis=2) for name in CODES_ALONG_WORDS if name in inputs}
    out[stream.tokens] = extend(tokens, pad_token(cell))
    out[stream.mask] = extend(mask, 0)
    out.pop(stream.positions, None)
    if side == "left" and takes_positions(cell, stream):
        out[stream.positions] = positions_of(out[stream.mask])
    return out


def logits_of(cell: Cell, inputs: dict[str, Tensor], *, model: PreTrainedModel | None = None, **options: Any) -> Tensor:
    """Returns the main output (batch, sequence, …) of one uncached forward."""
    if takes(cell, "use_cache"):
        options.setdefault("use_cache", False)
    return cell.primary(cell.forward(model=model, inputs=inputs, **options))


def assert_causal(cell: Cell, inputs: dict[str, Tensor], stream: Stream = DECODER_ONLY) -> None:
    """Asserts that changing a token moves no output before it, and moves the output at it.

    Two tokens are tried, the last one and one in the middle: a mask that is off by one shows at the last, one
    that is dropped in some layers or windows shows at either.
    """
    before = logits_of(cell, inputs)
    tokens = inputs[stream.tokens]
    plain = plain_positions(cell, tokens[0])
    candidates = [index for index in plain if index > 0]
    assert candidates, "no plain token after the first one, causality cannot be examined; give a longer sequence"
    for index in sorted({candidates[-1], candidates[len(candidates) // 2]}):
        after = logits_of(cell, {**inputs, stream.tokens: with_token(cell, tokens, index)})
        shift = before.shape[1] - tokens.shape[1]  # features put before the text, if any
        edge = index + shift
        when = f"when the later token {index} is changed"
        assert_close("logits", after[:, :edge], before[:, :edge], cell.tolerance, when)
        assert_moved("logits", after[:, edge:], before[:, edge:], f"when token {index} is changed")


def assert_padding_ignored(cell: Cell, inputs: dict[str, Tensor], *, side: str, stream: Stream = DECODER_ONLY) -> None:
    """Asserts that masked padding on one side leaves the logits of the real tokens as they are."""
    require(cell, stream.mask)
    count = 3
    before = logits_of(cell, inputs)
    after = logits_of(cell, pad(cell, inputs, count, side=side, stream=stream))
    length = before.shape[1]
    assert after.shape[1] == length + count, (
        f"logits have {after.shape[1]} positions for {length + count} tokens when {count} tokens of padding are added"
    )
    before_text = length - inputs[stream.tokens].shape[1] if stream is DECODER_ONLY else 0  # features that stand first
    kept = (
        torch.cat([after[:, :before_text], after[:, before_text + count :]], 1) if side == "left" else after[:, :length]
    )
    assert_close("logits", kept, before, cell.tolerance, f"when {count} tokens of padding are added on the {side}")


def assert_masked_token_ignored(cell: Cell, inputs: dict[str, Tensor], stream: Stream = DECODER_ONLY) -> None:
    """Asserts that a masked token's content reaches no other position, and that masking it has an effect.

    The position is an inner one, so that neither the causal mask nor an end of the sequence hides it.
    """
    require(cell, stream.mask)
    tokens = inputs[stream.tokens]
    plain = [index for index in plain_positions(cell, tokens[0]) if 0 < index < tokens.shape[1] - 1]
    assert plain, "no plain inner token, masking cannot be examined; give a longer sequence"
    index = plain[0]
    mask = inputs.get(stream.mask, torch.ones_like(tokens)).clone()
    mask[:, index] = 0
    masked = {**inputs, stream.mask: mask}
    first = logits_of(cell, masked)
    second = logits_of(cell, {**masked, stream.tokens: with_token(cell, tokens, index)})
    others = [place for place in range(tokens.shape[1]) if place != index]
    offset = first.shape[1] - tokens.shape[1]
    places = torch.tensor([place + offset for place in others], device=tokens.device)
    assert_close(
        "logits at the other positions",
        second.index_select(1, places),
        first.index_select(1, places),
        cell.tolerance,
        f"when the masked token {index} is changed",
    )
    open_ = logits_of(cell, inputs).index_select(1, places)
    assert_moved("logits at the other positions", first.index_select(1, places), open_, f"when token {index} is masked")


def step(
    cell: Cell,
    inputs: dict[str, Tensor],
    start: int,
    end: int,
    past: Mapping[str, Any],
    stream: Stream = DECODER_ONLY,
) -> tuple[Tensor, dict[str, Any]]:
    """Runs tokens `start` to `end` on what was kept of the tokens before them.

    Args:
      past: the cache by the name that `forward` takes it under, and what else it keeps; empty at the start.

    Returns:
      The logits (batch, end - start, vocabulary) and what is kept after them.
    """
    piece = dict(inputs)
    batch, length = inputs[stream.tokens].shape[:2]
    recurrent = recurrent_state(cell.model_class)
    cache_name = recurrent or "past_key_values"
    for name, tensor in inputs.items():
        along = tensor.dim() >= 2 and tensor.shape[:2] == (batch, length) and not tensor.is_floating_point()
        if name == stream.mask:  # a recurrent state has no places to look back at: the mask is that of the piece
            piece[name] = tensor[:, start if recurrent else 0 : end]
        elif along and (name == stream.tokens or not _encoder_side(name, stream)):
            piece[name] = tensor[:, start:end]
        elif frames := frames_of_a_word(cell, name):
            piece[name] = tensor[..., frames * start : frames * end]
        elif name in AMONG_WORDS:
            places = inputs[stream.tokens][0] == getattr(cell.config, AMONG_WORDS[name])
            first, last = int(places[:start].sum()), int(places[:end].sum())
            piece[name] = tensor[:, first:last]
    piece = {name: tensor for name, tensor in piece.items() if tensor.numel()}
    piece.pop("labels", None)
    require(cell, cache_name, "use_cache")
    outputs = cell.forward(inputs=piece, use_cache=True, **{cache_name: None, **past})
    kept = {name: getattr(outputs, name, None) for name in (cache_name, *STREAMING_STATES)}
    assert kept[cache_name] is not None, f"forward(use_cache=True) returned no {cache_name}"
    return cell.primary(outputs), {name: state for name, state in kept.items() if state is not None}


def frames_of_a_word(cell: Cell, name: str) -> int:
    """Returns how many frames of the sound called `name` are added to each word; 0 where it has its own places."""
    if name in CODES_ALONG_WORDS:
        return 1
    return int(getattr(cell.config, "audio_length_per_tok", 0)) if name == "input_features" else 0


def _encoder_side(name: str, stream: Stream) -> bool:
    return stream is DECODER_SIDE and not name.startswith("decoder_")


def assert_cached_steps_match(
    cell: Cell,
    inputs: dict[str, Tensor],
    chunks: list[int],
    stream: Stream = DECODER_ONLY,
    once: Sequence[str] = (),
) -> None:
    """Asserts that the logits of a run in pieces, each on the cache of those before, are those of one pass.

    Args:
      chunks: lengths of the pieces; together the whole sequence.
      once: names of the inputs that only the first piece gets, such as the sound among its words.
    """
    full = logits_of(cell, inputs)
    padding = inputs[stream.mask] == 0 if stream.mask in inputs else torch.zeros_like(inputs[stream.tokens]).bool()
    padding = padding.repeat_interleave(full.shape[0] // padding.shape[0], dim=0)  # a row for each codebook
    length = inputs[stream.tokens].shape[1]
    if full.shape[1] > length and stream is DECODER_SIDE:  # what the encoder gives stands before the tokens
        full = full[:, -length:]
        once = [*once, stream.mask, *(name for name in inputs if not name.startswith("decoder_"))]
    past: dict[str, Any] = {}
    start = 0
    for size in chunks:
        if start:
            inputs = {name: tensor for name, tensor in inputs.items() if name not in once}
        logits, past = step(cell, inputs, start, start + size, past, stream)
        hidden = padding[:, start : start + size, None]  # what padding computes is nobody's promise
        assert_close(
            f"logits of tokens {start} to {start + size - 1}" if size > 1 else f"logits of token {start}",
            logits[:, -size:].masked_fill(hidden, 0),
            full[:, start : start + size].masked_fill(hidden, 0),
            cell.tolerance,
            f"when read from a cache of {start} tokens" if start else "when the cache is filled",
        )
        start += size


@dataclasses.dataclass(frozen=True)
class Generated:
    """What `generate` gave: tokens (batch, length) and the raw logits of each new token, (batch, vocabulary) each."""

    tokens: Tensor
    logits: tuple[Tensor, ...]


def generate(cell: Cell, inputs: dict[str, Tensor], **options: Any) -> Generated:
    """Generates 3 to `NEW_TOKENS` tokens greedily, by the config's own rules for begin, end and padding.

    Args:
      inputs: without labels, and without position ids: deriving them is `generate`'s own work.
    """
    assert cell.model_class.can_generate(), (
        f"{cell.model_class.__name__} cannot generate: it has no GenerationMixin among its base classes"
    )
    settings: dict[str, Any] = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "num_beams": 1, **options}
    # An end after the first token would leave the cache unread.
    settings.setdefault("min_new_tokens", min(3, settings["max_new_tokens"]))
    given = {
        name: tensor
        for name, tensor in inputs.items()
        if name not in ("labels", "position_ids", "decoder_position_ids")
    }
    if cell.spec.category == "multimodal":  # a placeholder that is written has no features
        found = [placeholder(cell.config, modality) for modality in ("image", "video", "audio")]
        settings.setdefault("suppress_tokens", sorted({token for token in found if token is not None}) or None)
    if settings.get("use_cache", True) and _reads_an_encoder(cell, given):
        config = cell.config.get_text_config(decoder=True)
        settings["past_key_values"] = EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))
    seed_torch(0)
    with torch.no_grad():
        result = cell.model.generate(**given, return_dict_in_generate=True, output_logits=True, **settings)
    return Generated(result.sequences, tuple(result.logits))


def _reads_an_encoder(cell: Cell, inputs: dict[str, Tensor]) -> bool:
    """Whether a decoder is given an encoder's states, as by the model that it is a part of (vision_encoder_decoder).

    To `generate` that model is an encoder-decoder, whose cache has a part for cross attention; of a decoder alone it
    knows nothing, and cross attention would find its keys among those of self attention.
    """
    return "encoder_hidden_states" in inputs and not cell.config.is_encoder_decoder


def assert_generations_agree(cell: Cell, cached: Generated, uncached: Generated) -> None:
    """Asserts that two generations took the same logits at each step and chose the same tokens.

    Logits are compared first: two models may choose one token for different reasons.
    """
    prompt = cached.tokens.shape[1] - len(cached.logits)
    for index, (left, right) in enumerate(zip(cached.logits, uncached.logits, strict=False)):
        assert_close(
            f"logits of new token {index}", left, right, cell.tolerance, "when generated with the cache and without"
        )
    assert cached.tokens.shape == uncached.tokens.shape, (
        f"generated {cached.tokens.shape[1] - prompt} tokens with the cache and "
        f"{uncached.tokens.shape[1] - prompt} without"
    )
    assert_close("generated tokens", cached.tokens, uncached.tokens, cell.tolerance, "with the cache and without")


def left_padded_batch(cell: Cell, inputs: dict[str, Tensor], stream: Stream = DECODER_ONLY) -> dict[str, Tensor]:
    """Returns `inputs` with the first two tokens of the last row turned into masked padding.

    The rows then differ in length, which is what a server's batch looks like.
    """
    tokens = inputs[stream.tokens].clone()
    mask = inputs.get(stream.mask, torch.ones_like(tokens)).clone()
    tokens[-1, :2] = pad_token(cell)
    mask[-1, :2] = 0
    out = {**inputs, stream.tokens: tokens, stream.mask: mask}
    out.pop(stream.positions, None)
    if takes_positions(cell, stream):
        out[stream.positions] = positions_of(mask)
    return out


def text_layers(model: PreTrainedModel) -> dict[str, nn.ModuleList]:
    """Returns the model's stacks of layers by name: every list of at least two modules of one type.

    A list inside a list is none, for its members belong to the layers of the outer one; nor is one of projections.
    """
    stacks: dict[str, nn.ModuleList] = {}
    outer: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or len(module) < 2 or any(name.startswith(f"{o}.") for o in outer):
            continue
        outer.append(name)
        if len({type(layer) for layer in module}) == 1 and not isinstance(module[0], nn.Linear):
            stacks[name] = module
    return stacks


def first_layer_only(model: PreTrainedModel) -> PreTrainedModel:
    """Returns a copy of `model` whose stacks of layers hold their first layer alone."""
    copied = copy.deepcopy(model)
    for name in text_layers(copied):
        parent = copied.get_submodule(name.rpartition(".")[0])
        stack = getattr(parent, name.rpartition(".")[2])
        setattr(parent, name.rpartition(".")[2], nn.ModuleList([stack[0]]))
    return copied


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the mean cross entropy of logits (…, classes) at labels (…) that are not `IGNORED`."""
    return nn.functional.cross_entropy(
        logits.flatten(0, -2).float(), labels.flatten().to(logits.device), ignore_index=IGNORED
    )


def partly_ignored(labels: Tensor) -> Tensor:
    """Returns labels (batch, sequence) with every third position of each row, the first included, ignored."""
    out = labels.clone()
    out[:, ::3] = IGNORED
    return out
