"""Makes a tiny configuration out of a configuration class's defaults, by the meaning of its fields.

There is no code for any one model here: a field is shrunk by what its name says it is (`MEANINGS`), sub-configurations
recursively, and what was equal stays equal across the whole tree, so that widths which must fit one another still do.
Values that a declaration gives always win. Whether a model can be built from the result is for `harness.build`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

VOCABULARY = 160
"""Size of a shrunk vocabulary, tokens: ordinary ones from `FIRST_TOKEN` on, special ones at the end."""

FIRST_TOKEN = 24
"""Ids below it keep their number: vocabularies put padding, start, end and the like there."""

POSITIONS = 128
"""Longest sequence of a shrunk model, tokens or frames."""

HEADS = 4
EXPERTS = 4
IMAGE_SIDE = 64
"""Side of a picture where the patches do not say, pixels: two positions are left after the usual stride of 32."""


def shrink(full: Any, declared: Mapping[str, Any] | None = None) -> Any:
    """Returns a tiny configuration of the class of `full`.

    Args:
      full: a `PreTrainedConfig` with the class's defaults and the declared values already in.
      declared: the values that must stay as they are, nested by sub-configuration.
    """
    return _shrink_node(full, declared or {}, Scale.of(full, declared or {}))


# ---------------------------------------------------------------------------------------------------------------------
# The tree: which configurations there are, and what they share.


def sub_configs(config: Any) -> Iterator[tuple[str, Any]]:
    """Yields the name and value of each field of `config` that is itself a configuration."""
    for name in [*config.sub_configs, *vars(config)]:
        value = vars(config).get(name)
        if is_config(value) and not name.startswith("_"):
            yield name, value


def is_config(value: Any) -> bool:
    """Returns whether `value` is a configuration object (and not a class or a dictionary)."""
    return hasattr(value, "model_type") and hasattr(value, "to_diff_dict") and not isinstance(value, type)


def field_values(config: Any) -> dict[str, Any]:
    """Returns the value of every field that the class of `config` adds to the common ones, in order."""
    common = raw_fields(_base_class(type(config))) if dataclasses.is_dataclass(config) else {}
    names = [name for name in raw_fields(type(config)) if name not in common]
    with _of_all_layers(config):
        return {name: getattr(config, name) for name in names if hasattr(config, name)}


@contextlib.contextmanager
def _of_all_layers(config: Any) -> Iterator[None]:
    """Lets fields that some layers override be read: the value is that of the layers that do not."""
    if not getattr(config, "is_heterogeneous", False):
        yield
        return
    before = config.allow_global_per_layer_attribute_access
    config.allow_global_per_layer_attribute_access = True
    try:
        yield
    finally:
        config.allow_global_per_layer_attribute_access = before


def raw_defaults(cls: type[Any]) -> dict[str, Any]:
    """Returns the defaults that the fields of `cls` have before the class derives anything from them."""
    return {name: default() for name, default in raw_fields(cls).items() if default is not None}


def raw_fields(cls: type[Any]) -> dict[str, Callable[[], Any] | None]:
    """Returns what makes the default of each field of a configuration class, None where the field has none.

    The classes of transformers 5 are dataclasses. Those of 4 are not: there a field is an argument of `__init__`, the
    class's own or that of a class between it and the base of all, and special tokens are the base's.
    """
    if not dataclasses.is_dataclass(cls):
        base_of_all = _base_class(cls)
        own = cls.__mro__[: cls.__mro__.index(base_of_all)]
        arguments = [each for each in _arguments(base_of_all) if each.name.endswith("_token_id")]
        arguments += [each for base in reversed(own) if "__init__" in vars(base) for each in _arguments(base)]
        return {each.name: _constant(each.default, inspect.Parameter.empty) for each in arguments}
    return {
        field.name: field.default_factory
        if field.default_factory is not dataclasses.MISSING
        else _constant(field.default, dataclasses.MISSING)
        for field in dataclasses.fields(cls)
    }


def _arguments(cls: type[Any]) -> list[inspect.Parameter]:
    """Returns the named arguments of the `__init__` of `cls`, without `self`."""
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    found = list(inspect.signature(cls.__init__).parameters.values())[1:]
    return [each for each in found if each.kind not in variable]


def _constant(value: Any, missing: Any) -> Callable[[], Any] | None:
    return None if value is missing else lambda: value


def _base_class(cls: type[Any]) -> type[Any]:
    """Returns the class all configurations derive from."""
    return next(base for base in cls.__mro__ if base.__name__ in ("PreTrainedConfig", "PretrainedConfig"))


@dataclasses.dataclass
class Scale:
    """What a whole tree of configurations agrees on: which new value an old width or special token gets."""

    widths: dict[int, int]
    tokens: dict[int, int]

    @classmethod
    def of(cls, config: Any, declared: Mapping[str, Any]) -> Scale:
        """Returns the scale for the tree below `config`; declared numbers stand for themselves."""
        scale = cls(widths={}, tokens={})
        special: set[int] = set()
        for node in _nodes(config):
            for name, value in field_values(node).items():
                meaning = meaning_of(name)
                if meaning == "token":
                    special.update(item for item in _integers(value) if item >= FIRST_TOKEN)
                elif meaning == "width" and isinstance(value, (list, tuple)):
                    scale._register_ladder(value)
        for place, token in enumerate(sorted(special, reverse=True)):
            scale.tokens[token] = VOCABULARY - 1 - place
        for value in _declared_integers(declared):
            scale.widths[value] = value
        return scale

    def width(self, value: int) -> int:
        """Returns the new width for `value`: a multiple of 32 that grows with its logarithm; small ones stay.

        A multiple of 32 divides among up to 4 heads of a width that rotary embeddings can split, and among the usual
        numbers of groups.
        """
        if value not in self.widths:
            self.widths[value] = value if value <= 32 else 32 * max(1, round(math.log2(value / 256)))
        return self.widths[value]

    def _register_ladder(self, values: Sequence[Any]) -> None:
        """Keeps the widths of successive stages distinct and rising where they were."""
        steps = sorted({value for value in _integers(values) if value >= 16})
        for place, value in enumerate(steps):
            self.widths.setdefault(value, min(value, 32 * (place + 1)) if len(steps) > 1 else self.width(value))


def _nodes(config: Any) -> Iterator[Any]:
    yield config
    for _, sub in sub_configs(config):
        yield from _nodes(sub)


def _integers(value: Any) -> Iterator[int]:
    """Yields the integers in a value that may be a number, or a list of lists of them."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _integers(item)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value


def _declared_integers(declared: Mapping[str, Any]) -> Iterator[int]:
    """Yields the declared widths of the whole tree."""
    for name, value in declared.items():
        if isinstance(value, Mapping):
            yield from _declared_integers(value)
        elif meaning_of(name) == "width":
            yield from _integers(value)


# ---------------------------------------------------------------------------------------------------------------------
# The table: what a field's name says it is. The first pattern that matches the whole name wins.

MEANINGS: tuple[tuple[str, str], ...] = (
    # What no size depends on, or what must stay as the architecture has it.
    (
        "keep",
        r".*(kernel|stride|dilation|padding|ratio|factor|rate|prob|_eps|bias|std|range|scale|theta|buckets|bins).*",
    ),
    ("keep", r".*(dropout|loss|cost|coef|weight|temperature|penalty|gamma|alpha|beta|sampling|hop|fft|mel_bins).*"),
    (
        "keep",
        r"type_vocab_size|num_channels|in_chans|in_channels|input_channels|.*_type_size|max_2d_position_embeddings",
    ),
    (
        "keep",
        r"num_labels|num_quant.*|num_mel.*|n_mels|feature_size|input_feat_per_channel|temporal_patch_size|.*expand",
    ),
    ("keep", r"num_register_tokens|spatial_merge_size|num_codebooks|n_codebooks|n_codes_.*|.*_levels|audio_channels"),
    # The indexer of sparse attention: with few heads its scores tie at zero, and which keys it takes is then chance.
    ("keep", r"index_n_heads"),
    ("width", r"index_head_dim"),
    ("window", r"index_top_?k"),
    # Words and their numbers.
    ("token", r"(.*_)?token_(id|index|ids)|.*_token|(.*_)?(start|end)_token.*|image_patch_id"),
    ("codes", r"codebook_size|.*_codebook_size"),
    ("vocabulary", r".*vocab(ulary)?(_size)?|n_vocab|num_embeddings|.*_vocab|n_tokens|num_entities"),
    # How often something repeats.
    ("period", r".*(_interval|_period|_sparse_step|_every_n_layers|_window_pattern|_frequency)|hybrid_layer_.*"),
    ("offset", r".*_layer_offset|first_k_dense_replace|num_dense_layers|first_num_dense.*|.*_start_index"),
    ("stages", r"blocks_per_stage|depths|.*_depths|layers_per_stage|num_blocks|num_block_repeats"),
    ("stage_lists", r"(block|stage)_configs"),
    (
        "layer_list",
        r"(mlp_|mtp_)?layer_types|attention_layers|.*layers_block_type|indexer_types|hybrid_override_pattern",
    ),
    ("layer_pairs", r"attention_types"),
    (
        "layer_index",
        r".*(_indices|_indexes|_feature_layers?|extract_layers|_hook_ids|_layer_ids|_layer_index)|mlp_only_layers",
    ),
    ("layers", r"(.*_)?(num_)?(hidden_|encoder_|decoder_|attention_)?(layers?|blocks|depth)|n_layers?|.*_layers_num"),
    ("layers", r".*num_.*layers|.*_num_layers|.*_layers|depth|.*_depth|max_window_layers|resampler_depth"),
    # How attention is divided.
    ("key_value_heads", r".*(key_value|kv|key)_heads|.*multi_query_group_num|kv_n_heads|n_kv_heads"),
    (
        "head_width",
        r"(.*_)?head_(dim|width|size)|d_kv|kv_channels|dim_head|.*_d_head|.*_head_dim|head_dim_.*|attention_head_size",
    ),
    ("heads", r".*(num_|n_|_)heads?(_ipa)?|n_heads?|.*attention_heads|heads|encoder_num_heads"),
    (
        "groups",
        r"n_group|num_groups|num_conv_pos_embedding_groups|.*_n_groups|n_groups|o_groups|norm_num_groups|upsample_groups",
    ),
    # Experts.
    ("chosen_experts", r".*(experts_per_tok(en)?|top_?k|experts_per_token|topk_group)|moe_k"),
    ("experts", r".*(num|n)_.*experts|num_experts|n_experts|.*_num_experts"),
    # Pictures, sound and positions.
    ("patch", r"(.*_)?patch_size|.*patch_sizes"),
    ("image", r"(.*_)?(image|img|spec|input_image|pretrain_image|crop)_size|img_dim|resolution|image_resolution"),
    (
        "image_tokens",
        r"image_seq_len(gth)?|mm_tokens_per_image|num_image_tokens|image_token_num|num_patches|image_num_patches",
    ),
    ("feature_sizes", r".*_feature_sizes"),
    ("block", r"block_size"),
    ("pinpoints", r".*grid_pinpoints|possible_resolutions"),
    ("window", r".*window(_size|_len|_size_.*)?|sliding_window|.*chunk_size|local_radius|window_.*"),
    (
        "window",
        r"attention_window|local_attention_window_len|attention_chunk_size|n_window.*|chunk_length|global_block_size",
    ),
    (
        "positions",
        r".*(max_.*positions?.*|n_positions|n_ctx|max_seq_len(gth)?|max_len(gth)?|context_length|max_sequence.*)",
    ),
    ("positions", r"(.*_)?num_(position_embeddings|frames)|seq_len(gth)?|sequence_length|max_source_.*|max_ep_len"),
    (
        "queries",
        r"(.*_)?(num|n)_(.*_)?(queries|latents|query_tokens|object_queries|prompts|denoising|points)|num_query.*",
    ),
    (
        "queries",
        r"latent_query_num|num_proposals|two_stage_num_proposals|num_negatives|num_codevectors_per_group|number_of_.*queries",
    ),
    ("base_width", r"num_filters|base_channels|n_filters"),
    # All else that is a size is the width of something.
    ("width", r".*(size|dim|dims|width|channels|features|filters|units|rank|planes|sizes|hidden|hid|d_ssm)(_.*)?"),
    ("width", r".*_channel_list"),
    ("width", r"d_.*|.*_embd|n_inner|.*dff|.*_ff|ffn|.*inner_dim|.*embed.*|.*_dims?|(num_)?filters|.*_channels_.*|dim"),
)
_COMPILED = tuple((meaning, re.compile(pattern)) for meaning, pattern in MEANINGS)


@functools.cache
def meaning_of(name: str) -> str:
    """Returns what a field of this name is, a word of `MEANINGS`; `keep` where the name says nothing."""
    return next((meaning for meaning, pattern in _COMPILED if pattern.fullmatch(name)), "keep")


# ---------------------------------------------------------------------------------------------------------------------
# The rules: what each meaning does to a value. `node` holds the old and new values of the same configuration.


@dataclasses.dataclass
class Node:
    """One configuration on its way: its values before and after, and what the tree agrees on."""

    old: dict[str, Any]
    scale: Scale
    layers: int
    depth: int = 0
    rotary_keys: frozenset[str] = frozenset()
    new: dict[str, Any] = dataclasses.field(default_factory=dict)

    def named(self, *meanings: str) -> dict[str, int]:
        """Returns the old integer values of the fields with one of `meanings`."""
        return {name: value for name, value in self.old.items() if meaning_of(name) in meanings and _is_integer(value)}


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _heads(value: int, node: Node) -> int:
    """Four heads, or as many as there were, as a power of two."""
    return min(HEADS, 2 ** int(math.log2(value))) if value > 0 else value


def _key_value_heads(value: int, node: Node) -> int:
    """As many as the query heads where they were equal, else fewer, so that grouping is seen."""
    heads = max(node.named("heads").values(), default=value)
    return _heads(value, node) if value >= heads else min(value, 2)


def _head_width(value: int, node: Node) -> int:
    return value if value <= 16 else 16


def _layers(value: int, node: Node) -> int:
    """As many as all shrunk layers; a number of stages stays, like the lists of their depths."""
    return value if value in _stage_counts(node) else min(value, node.layers)


def _stage_counts(node: Node) -> set[int]:
    """Returns the lengths of the lists that have an item for each stage."""
    lists = (value for name, value in node.old.items() if meaning_of(name) == "stages")
    return {len(value) for value in lists if isinstance(value, (list, tuple))}


def _layer_index(value: int, node: Node) -> int:
    """Keeps negative indices that still exist; scales the others from the old depth to the new."""
    if value < 0:
        return max(value, -node.layers)
    return value * node.layers // max(node.depth, value + 1)


def _patch(value: int, node: Node) -> int:
    return value if value <= 4 else min(value, 8)


def _image(value: int, node: Node) -> int:
    """Four patches a side, or room for five halvings where the patches are merged stage by stage."""
    patches = list(node.named("patch").values()) or [
        p for n, v in node.old.items() if n == "patch_size" for p in _integers(v)
    ]
    if not patches or _staged(node) or max(patches) <= 4:
        return min(value, IMAGE_SIDE)
    return min(value, 4 * _patch(max(patches), node))


def _staged(node: Node) -> bool:
    """Returns whether the model works in stages of falling resolution."""
    stages = (value for name, value in node.old.items() if meaning_of(name) in ("stages", "stage_lists"))
    return any(isinstance(value, (list, tuple)) for value in stages)


def _window(value: int, node: Node) -> int:
    """Shorter than the texts and pictures that a cell makes; in a staged model as small as the last stage."""
    if _staged(node):
        return min(value, 2)
    return min(value, 8) if value > 16 else min(value, 4)


def _vocabulary(value: int, node: Node) -> int:
    return min(value, VOCABULARY)


def _token(value: int, node: Node) -> int:
    return node.scale.tokens.get(value, value)


RULES: dict[str, Callable[[int, Node], int]] = {
    "keep": lambda value, node: value,
    "token": _token,
    "vocabulary": _vocabulary,
    "period": lambda value, node: min(value, 2),
    "offset": lambda value, node: min(value, 1),
    "stages": lambda value, node: min(value, 2),
    "layer_index": _layer_index,
    "layers": _layers,
    "key_value_heads": _key_value_heads,
    "heads": _heads,
    "head_width": _head_width,
    "groups": lambda value, node: node.scale.width(value) if value >= 256 else min(value, 2),
    "chosen_experts": lambda value, node: min(value, 2),
    "experts": lambda value, node: min(value, EXPERTS),
    "patch": _patch,
    "image": _image,
    "image_tokens": lambda value, node: min(value, 16),
    "codes": lambda value, node: min(value, 64),
    "block": lambda value, node: POSITIONS if value >= 512 else min(value, 8),
    "window": _window,
    "positions": lambda value, node: min(value, POSITIONS),
    "queries": lambda value, node: min(value, 8),
    "base_width": lambda value, node: min(value, 8),
    "width": lambda value, node: node.scale.width(value),
}


def _apply(meaning: str, value: Any, node: Node) -> Any:
    """Applies a meaning's rule to a number, or to each number of a list; tuples become lists, as in a checkpoint."""
    if isinstance(value, (list, tuple)):
        return [_apply(meaning, item, node) for item in value]
    return RULES[meaning](value, node) if _is_integer(value) else value


# ---------------------------------------------------------------------------------------------------------------------
# One configuration: the rules field by field, then what depends on several fields.


def _shrink_node(full: Any, declared: Mapping[str, Any], scale: Scale, at_least: int = 2) -> Any:
    """Returns the tiny twin of `full` and of all below it, with at least so many layers in each."""
    parts = dict(sub_configs(full))
    old = {name: value for name, value in field_values(full).items() if name not in parts}
    if getattr(full, "_out_indices", None):  # what a backbone hands out is no field of some classes
        old["_out_indices"] = full._out_indices
    layers = _layer_count(old, declared, at_least)
    depth = _depth(old)
    below = 2 if depth else layers  # where a configuration has no layers, what it numbers are those of its parts
    subs = {name: _shrink_node(sub, _mapping(declared.get(name)), scale, below) for name, sub in parts.items()}
    _fit_projections(subs, declared)
    depth = depth or max((_depth(field_values(sub)) for sub in parts.values()), default=0)
    rotary_keys = frozenset(getattr(full, "ignore_keys_at_rope_validation", None) or ())
    node = Node(old=old, scale=scale, layers=layers, depth=depth, rotary_keys=rotary_keys)
    for name, value in old.items():
        meaning = meaning_of(name)
        node.new[name] = _apply(meaning if meaning in RULES else "keep", value, node)
    fixed = {name: value for name, value in declared.items() if name not in subs}
    node.new.update(fixed)
    for dependent in DEPENDENTS:
        node.new.update({name: value for name, value in dependent(node).items() if name not in fixed})
    outputs = _outputs(node)
    if not fixed.keys() & {"out_indices", "out_features"}:
        node.new.update(outputs)
    for from_parts in (_image_tokens, _feature_sizes, _tile_sizes, _open_placeholders, _start_token):
        node.new.update({name: value for name, value in from_parts(node, full, subs).items() if name not in fixed})
    return _rebuild(full, node, subs, fixed)


def _fit_projections(subs: Mapping[str, Any], declared: Mapping[str, Any]) -> None:
    """Makes towers that project to the text's width do so: classes' defaults are those of different checkpoints."""
    width = getattr(subs.get("text_config"), "hidden_size", None)
    for name, sub in subs.items():
        if _is_integer(width) and hasattr(sub, "out_hidden_size"):
            sub.out_hidden_size = _mapping(declared.get(name)).get("out_hidden_size", width)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _depth(old: Mapping[str, Any]) -> int:
    """Returns the largest number of layers that the fields of one configuration name; 0 if none does."""
    return max((value for name, value in old.items() if meaning_of(name) == "layers" and _is_integer(value)), default=0)


def _layer_count(old: Mapping[str, Any], declared: Mapping[str, Any], at_least: int) -> int:
    """Returns how many layers show every kind of layer that the configuration lists, at least 2."""
    kinds = 1
    for name, value in old.items():
        if meaning_of(name) == "layer_list" and isinstance(value, (list, tuple, str)):
            kinds = max(kinds, len(set(value)))
        elif meaning_of(name) == "layer_pairs":
            kinds = max(kinds, *(len(kind) for kind, _ in value))
        elif meaning_of(name) == "layer_index" and isinstance(value, (list, tuple)):
            kinds = max(kinds, min(len(value), 4))  # as many layers as are told apart by their number
        elif meaning_of(name) == "period" and _is_integer(value) and value > 1:
            kinds = max(kinds, 2)
    if not any(meaning_of(name) == "stages" and isinstance(value, (list, tuple)) for name, value in old.items()):
        kinds = max(kinds, len(old.get("_out_indices") or ()))
    given = [value for name, value in declared.items() if meaning_of(name) == "layers" and _is_integer(value)]
    return max(given, default=at_least if kinds == 1 else max(4, kinds))


def _layer_lists(node: Node) -> dict[str, Any]:
    """Cuts per-layer lists to the new depth, with each kind of layer in it in the order of its first appearance."""
    found: dict[str, Any] = {}
    depths = set(node.named("layers").values()) - _stage_counts(node)
    for name, value in node.old.items():
        meaning = meaning_of(name)
        if meaning == "layer_list" and isinstance(value, (list, tuple, str)) and value:
            kinds = list(dict.fromkeys(value))
            cycle = [kinds[place % len(kinds)] for place in range(node.layers)]
            found[name] = "".join(cycle) if isinstance(value, str) else cycle
        elif meaning == "layer_pairs":
            found[name] = [[list(kind), max(1, node.layers // len(kind))] for kind, _ in value]
        elif (
            meaning != "stages"
            and not _staged(node)
            and isinstance(value, (list, tuple))
            and len(value) in depths
            and len(value) > node.layers
        ):
            found[name] = node.new[name][: node.layers]
        elif meaning == "layer_index" and isinstance(value, (list, tuple)):
            distinct = list(dict.fromkeys(node.new[name]))
            spread = len(distinct) < len(set(value)) <= node.layers  # as many layers as were named, each once
            found[name] = (
                [(place + 1) * node.layers // len(value) - 1 for place in range(len(value))] if spread else distinct
            )
    return found


def _stage_inputs(node: Node) -> dict[str, Any]:
    """Shrinks the widths that each stage takes as those that the one before hands on."""
    value = node.old.get("in_channels")
    return {"in_channels": _apply("width", value, node)} if isinstance(value, (list, tuple)) else {}


def _outputs(node: Node) -> dict[str, Any]:
    """Spreads the layers that a backbone hands out over the new depth; a staged one keeps its stages."""
    chosen = node.old.get("_out_indices")
    for name in ("_out_indices", "_out_features"):
        node.new.pop(name, None)
    if not chosen:
        return {}
    if _staged(node):
        return {"out_indices": list(chosen)}
    return {"out_indices": [(place + 1) * node.layers // len(chosen) for place in range(len(chosen))]}


def _head_widths(node: Node) -> dict[str, Any]:
    """Keeps `width == heads * head width` where it held."""
    found: dict[str, Any] = {}
    for name, head_width in node.named("head_width").items():
        for heads_name, heads in node.named("heads").items():
            for width_name, width in node.named("width").items():
                if heads * head_width == width and heads > 1:
                    found.setdefault(name, node.new[width_name] // node.new[heads_name])
    return found


def _open_heads(node: Node) -> dict[str, Any]:
    """Fills in head counts and widths that a class leaves open and its model then needs."""
    heads = next((node.new[name] for name in node.named("heads")), None)
    width = next((node.new[name] for name in ("hidden_size", "d_model", "n_embd") if node.new.get(name)), None)
    if not heads or not width:
        return {}
    wanted = {"head_dim": width // heads, "num_key_value_heads": heads}
    return {name: value for name, value in wanted.items() if name in node.old and node.old[name] is None}


def _position_features(node: Node) -> dict[str, Any]:
    """Keeps a random position embedding half as wide as what it is added to: it gives a sine and a cosine."""
    value: int = node.old.get("num_pos_feats") or 0
    names = [name for name, width in node.named("width").items() if value and width == 2 * value]
    return {"num_pos_feats": node.new[names[0]] // 2} if names else {}


def _patch_strides(node: Node) -> dict[str, Any]:
    """Keeps strides equal to the patch where they were."""
    old, new = node.old.get("patch_size"), node.new.get("patch_size")
    names = [name for name, value in node.old.items() if name.endswith("stride") and value == old]
    return {name: new for name in names if _is_integer(old)}


def _pixel_windows(node: Node) -> dict[str, Any]:
    """Makes a window that is measured in pixels (Qwen2.5-VL) hold one merged patch, of the four of a picture."""
    names = ("window_size", "patch_size", "spatial_merge_size")
    window, patch, merge = (next(_integers(node.old.get(name)), 0) for name in names)
    if not window or not patch * merge or window % (patch * merge):
        return {}
    return {"window_size": next(_integers(node.new["patch_size"])) * merge}


def _state_space_heads(node: Node) -> dict[str, Any]:
    """Keeps `heads * head width == expand * width` of state space models where it held."""
    found: dict[str, Any] = {}
    expands = [value for name, value in node.old.items() if name in ("expand", "mamba_expand") and value]
    width = node.old.get("hidden_size")
    for heads_name, heads in node.named("heads").items():
        for name, head_width in node.named("head_width").items():
            if any(heads * head_width == expand * width for expand in expands if width):
                found[name] = int(expands[0] * node.new["hidden_size"]) // node.new[heads_name]
    return found


def _rotary_sections(node: Node) -> dict[str, Any]:
    """Rescales the sections of multi-axis rotary embeddings to half the new head width."""
    found: dict[str, Any] = {}
    for name in ("rope_parameters", "rope_scaling"):
        value = node.old.get(name)
        sections = value.get("mrope_section") if isinstance(value, Mapping) else None
        if sections is None and isinstance(value, Mapping) and value and "mrope_section" in node.rotary_keys:
            sections = [1, 1, 1]  # the class leaves them to the model, whose own default fits no other width
        if sections:
            turned = int(_new_head_width(node) * (value or {}).get("partial_rotary_factor", 1.0))
            found[name] = {**dict(value or {}), "mrope_section": rescale(sections, turned // 2)}
    return found


def _new_head_width(node: Node) -> int:
    if _is_integer(node.new.get("head_dim")):
        return int(node.new["head_dim"])
    heads = next(iter(node.named("heads")), None)
    width = next((name for name in ("hidden_size", "d_model", "n_embd") if name in node.new), None)
    return int(node.new[width]) // int(node.new[heads]) if heads and width else 16


def rescale(parts: Sequence[int], total: int) -> list[int]:
    """Returns `parts` scaled to sum to `total`, each at least 1, the remainder on the first.

    >>> rescale([16, 24, 24], 8)
    [2, 3, 3]
    """
    scaled = [max(1, part * total // sum(parts)) for part in parts]
    scaled[0] += total - sum(scaled)
    return scaled


def _special_tokens(node: Node) -> dict[str, Any]:
    """Keeps special tokens within a vocabulary that is smaller than the shrunk one."""
    size = node.new.get("vocab_size")
    if not isinstance(size, int):
        return {}
    tokens = {name: value for name, value in node.new.items() if meaning_of(name) == "token" and _is_integer(value)}
    return {name: size - 1 for name, value in tokens.items() if value >= size}


def _open_vocabulary(node: Node) -> dict[str, Any]:
    """Gives a configuration whose class leaves the size of the vocabulary open the usual tiny one."""
    return {"vocab_size": VOCABULARY} if "vocab_size" in node.old and node.old["vocab_size"] is None else {}


def _padding(node: Node) -> dict[str, Any]:
    """Gives a configuration with words a padding token: classifiers over batches refuse to work without."""
    open_ = _is_integer(node.new.get("vocab_size")) and "pad_token_id" in node.new and node.new["pad_token_id"] is None
    return {"pad_token_id": 0} if open_ else {}


DEPENDENTS: tuple[Callable[[Node], dict[str, Any]], ...] = (
    _layer_lists,
    _stage_inputs,
    _head_widths,
    _open_heads,
    _position_features,
    _patch_strides,
    _pixel_windows,
    _state_space_heads,
    _rotary_sections,
    _open_vocabulary,
    _special_tokens,
    _padding,
)


def _image_tokens(node: Node, full: Any, subs: Mapping[str, Any]) -> dict[str, Any]:
    """Counts the positions of a picture anew from the shrunk vision configuration."""
    names = list(node.named("image_tokens"))
    counts = [count for sub in subs.values() if (count := patch_count(sub))]
    return {name: counts[0] for name in names if counts}


def _feature_sizes(node: Node, full: Any, subs: Mapping[str, Any]) -> dict[str, Any]:
    """Scales the heights and widths of a backbone's maps by what its picture, counted in patches, was scaled by."""
    found: dict[str, Any] = {}
    for name, value in node.old.items():
        for sub_name, sub in subs.items():
            old, new = (_patches_a_side(part) for part in (getattr(full, sub_name), sub))
            if meaning_of(name) == "feature_sizes" and value and old and new:
                found[name] = [[side * new // old for side in sides] for sides in value]
    return found


def _patches_a_side(config: Any) -> int:
    """Returns the side of a picture in patches, or in pixels where there are no patches; 0 without pictures."""
    image = next(_integers(getattr(config, "image_size", None)), 0)
    return image // next(_integers(getattr(config, "patch_size", None)), 1)


def _tile_sizes(node: Node, full: Any, subs: Mapping[str, Any]) -> dict[str, Any]:
    """Scales the sizes that a picture may be cut into tiles at by what the size of one tile was scaled by."""
    found: dict[str, Any] = {}
    for name, value in node.old.items():
        for sub_name, sub in subs.items():
            old, new = (getattr(part, "image_size", None) for part in (getattr(full, sub_name), sub))
            if meaning_of(name) == "pinpoints" and value and isinstance(old, int) and isinstance(new, int):
                found[name] = [[side * new // old for side in sides] for sides in value]
    return found


def _open_placeholders(node: Node, full: Any, subs: Mapping[str, Any]) -> dict[str, Any]:
    """Gives the placeholder of a picture a token where the class leaves it open."""
    if "vision_config" not in subs:
        return {}
    names = [f"{kind}_token_{suffix}" for kind in ("image", "video") for suffix in ("id", "index")]
    free = VOCABULARY - 1 - len(node.scale.tokens)
    open_ = [name for name in names if name in node.old and node.old[name] is None]
    return {name: free - place for place, name in enumerate(open_)}


def _start_token(node: Node, full: Any, subs: Mapping[str, Any]) -> dict[str, Any]:
    """Gives an encoder-decoder whose class names no start token its decoder's, or its padding token, as T5 does."""
    if not full.is_encoder_decoder or "vocab_size" not in node.new:
        return {}
    known = getattr(full, "decoder_start_token_id", None) is not None or node.new.get("bos_token_id") is not None
    first = getattr(full, "bos_token_id", None)  # no field of this configuration: taken over from its decoder's
    return (
        {} if known else {"decoder_start_token_id": first if first is not None else node.new.get("pad_token_id") or 0}
    )


def patch_count(config: Any) -> int:
    """Returns the number of patches of a picture under a vision configuration, or 0 if it has none."""
    image = list(_integers(getattr(config, "image_size", None)))
    patch = list(_integers(getattr(config, "patch_size", None)))
    if not image or not patch:
        return 0
    return (image[0] // patch[0]) * (image[-1] // patch[-1])


def _layer_overrides(full: Any, node: Node) -> dict[str, Any]:
    """Gives each new layer what the old layers of its kind override, scaled as the field itself is."""
    spec = getattr(full, "_heterogeneity_spec", None)
    if spec is None:
        return {}
    kinds = node.old.get("layer_types") or []
    found: dict[int, dict[str, Any]] = {}
    for place, kind in enumerate(node.new.get("layer_types") or range(node.layers)):
        old = spec.per_layer_overrides.get(kinds.index(kind) if kinds else place, {})
        found[place] = {name: _scaled(value, node.old.get(name), node.new.get(name)) for name, value in old.items()}
    return {"per_layer_config": {place: values for place, values in found.items() if values}}


def _scaled(value: Any, old: Any, new: Any) -> Any:
    """Returns `value` scaled by what took `old` to `new`, where all three are numbers."""
    return max(1, value * new // old) if _is_integer(value) and _is_integer(old) and _is_integer(new) else value


def _rebuild(full: Any, node: Node, subs: Mapping[str, Any], fixed: Mapping[str, Any]) -> Any:
    """Constructs the tiny configuration.

    A field that the class derives by itself is left to the class, unless it comes out as large as it was.
    """
    cls = type(full)
    defaults = raw_defaults(cls)
    always = {
        name
        for name in node.new
        if meaning_of(name) in ("layer_list", "layer_pairs", "image_tokens", "pinpoints", "feature_sizes")
    }
    always |= {name for name in ("rope_parameters", "rope_scaling") if "mrope_section" in (node.new.get(name) or {})}
    given = _extras(full) | {
        name: value
        for name, value in node.new.items()
        if name in fixed
        or name in always
        or (value is not None and node.old.get(name) is None)
        or (defaults.get(name) is not None and value != defaults.get(name))
    }
    given.update({name: value for name, value in _layer_overrides(full, node).items() if name not in fixed})
    derived = field_values(_construct(cls, given, subs))
    for name, value in node.new.items():
        late = name not in given and value != node.old.get(name) and derived.get(name) == node.old[name]
        if late and value is not None:
            given[name] = value
    return _construct(cls, given, subs)


def _extras(full: Any) -> dict[str, Any]:
    """Returns the switches that a configuration was given beyond its class's fields, as a model gives its backbone."""
    fields = raw_fields(type(full))
    own = {name: value for name, value in vars(full).items() if name not in fields and not name.startswith("_")}
    found = {name: value for name, value in own.items() if isinstance(value, bool)}
    # made only where it is needed: a class may refuse its own defaults (Gemma4AssistantConfig)
    usual = vars(type(full)()) if found else {}
    return {name: value for name, value in found.items() if name not in usual}


def _construct(cls: type[Any], values: Mapping[str, Any], subs: Mapping[str, Any]) -> Any:
    if not dataclasses.is_dataclass(cls):  # some classes of transformers 4 take their parts as dictionaries alone
        subs = {name: sub.to_dict() for name, sub in subs.items()}
    return cls(**values, **subs)
