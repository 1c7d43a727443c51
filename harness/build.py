"""Builds a cell's tiny model: finds the classes in the model's folder, makes the configuration, fills the weights.

Mistakes of a declaration (an unknown class, an unknown configuration key) are `SpecError`s that name the label and the
nearest right name. How a configuration is shrunk is `harness.shrink`'s; what goes into the model `harness.inputs`'s.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import difflib
import hashlib
import importlib
import inspect
import pkgutil
import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import torch
from torch import nn
from transformers.modeling_utils import PreTrainedModel
from transformers.utils.generic import ModelOutput

from harness import shrink
from harness.bundles import bundle_of, by_field
from harness.folders import NOT_TORCH, names_of_folders
from harness.sessions import over_frames, takes_session
from harness.spec import MARKS, Spec, SpecError

try:
    from transformers.configuration_utils import PreTrainedConfig
except ImportError:  # the name that it has in transformers 4
    from transformers.configuration_utils import PretrainedConfig as PreTrainedConfig

NOISE = 0.1
"""Standard deviation of what is added to parameters that must stay near their default: norms, biases, scales."""

EMBEDDING_STD = 0.3
LAYER_SCALE = 0.7
"""Layer scales start at 1e-6 or so in training; at that size a check could not see the layer behind one."""


def modeling_modules(spec: Spec) -> list[ModuleType]:
    """Returns the folder's modules that define PyTorch models, imported, in the order of their names.

    Raises:
      SpecError: the folder is not in the environment, or holds no model.
    """
    return _modules(spec, "modeling_")


def _modules(spec: Spec, prefix: str) -> list[ModuleType]:
    name = f"transformers.models.{spec.folder}"
    try:
        package = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise SpecError(
            f"{spec.label}: model folder {spec.folder!r} is not in environment {spec.environment!r}"
            f"{nearest(spec.folder, folders())}"
        ) from None
    found = [module.name for module in pkgutil.iter_modules(package.__path__)]
    names = sorted(name for name in found if name.startswith(prefix) and not name.startswith(NOT_TORCH))
    if not names:
        raise SpecError(f"{spec.label}: model folder {spec.folder!r} has no file {prefix}*.py; it holds no model")
    return [importlib.import_module(f"{name}.{module}") for module in names]


def folders() -> list[str]:
    """Returns the model folders that are there."""
    import transformers

    return names_of_folders(Path(transformers.__path__[0]))


def nearest(word: str, known: list[str]) -> str:
    """Returns `; did you mean 'x'?` for the name in `known` that is nearest to `word`, or an empty string."""
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def model_classes(spec: Spec) -> list[type[PreTrainedModel]]:
    """Returns the public concrete model classes of the folder, the main class first, then as the files list them."""
    found: list[type[PreTrainedModel]] = []
    for module in modeling_modules(spec):
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name, None)
            if inspect.isclass(value) and _is_concrete(value) and value not in found:
                if method := spec.heads.get(name, {}).get("runs"):
                    cls: type[Any] = value
                    cls.forward = getattr(cls, method)
                found.append(value)
    main = main_class(spec)
    return [main, *(cls for cls in found if cls is not main)]


def _is_concrete(cls: type[Any]) -> bool:
    """Returns whether a class is a model that can be made: not an abstract `XPreTrainedModel` or `PretrainedX`.

    A tower may be called so and be a model all the same (Qwen2.5-VL's): what is abstract has no `forward`.
    """
    abstract = "pretrained" in cls.__name__.lower() and cls.forward is nn.Module.forward
    return issubclass(cls, PreTrainedModel) and not abstract and not cls.__name__.endswith("PreTrainedModel")


def main_class(spec: Spec) -> type[PreTrainedModel]:
    """Returns the class that the declaration names.

    Raises:
      SpecError: the folder has no model class of that name.
    """
    modules = modeling_modules(spec)
    for module in modules:
        value = getattr(module, spec.main_class, None)
        if inspect.isclass(value) and issubclass(value, PreTrainedModel):
            found: type[PreTrainedModel] = value
            if takes_session(found):
                found.forward = over_frames(found)
            elif bundle_of(found):
                found.forward = by_field(found)
            return found
    known = [
        name
        for module in modules
        for name in getattr(module, "__all__", ())
        if inspect.isclass(value := getattr(module, name, None)) and _is_concrete(value)
    ]
    raise SpecError(
        f"{spec.label}: class {spec.main_class!r} is not in model folder {spec.folder!r}"
        f"{nearest(spec.main_class, known)} (it has {', '.join(sorted(known))})"
    )


def config_class(spec: Spec) -> type[PreTrainedConfig]:
    """Returns the configuration class of the main class, checked against the declared model type.

    Raises:
      SpecError: no configuration of the folder has that model type.
    """
    declared = main_class(spec).config_class
    if declared is not None and declared.model_type == spec.model_type:
        return declared
    known: dict[str, type[PreTrainedConfig]] = {}
    for module in _modules(spec, "configuration_"):
        for value in vars(module).values():
            if not inspect.isclass(value) or not issubclass(value, PreTrainedConfig):
                continue
            cls: type[PreTrainedConfig] = value
            if cls.model_type:
                known.setdefault(cls.model_type, cls)
    if spec.model_type not in known:
        raise SpecError(
            f"{spec.label}: no configuration in model folder {spec.folder!r} has model type {spec.model_type!r}"
            f"{nearest(spec.model_type, sorted(known))} (it has {', '.join(sorted(known))})"
        )
    return known[spec.model_type]


def tiny_config(spec: Spec, cls: type[PreTrainedConfig] | None = None) -> PreTrainedConfig:
    """Returns the shrunk configuration with the declared values in it.

    Args:
      spec: the cell.
      cls: the configuration class; by default that of the main class.

    Raises:
      SpecError: a declared key is not a field of the configuration it is given to.
    """
    cls = cls or config_class(spec)
    _check_keys(spec, cls, spec.config, "config")
    full = default_config(cls, spec.config)
    declared = _own_names(spec, full, spec.config, "config")
    config = shrink.shrink(full, declared)
    assert isinstance(config, PreTrainedConfig)
    return config


def default_config(cls: type[PreTrainedConfig], declared: Mapping[str, Any]) -> PreTrainedConfig:
    """Returns the configuration with the class's defaults under the declared values.

    A sub-configuration keeps the values that its parent gives it by default, unless its model type is declared.
    """
    values = copy.deepcopy(dict(declared))
    for name, spec in getattr(cls, "sub_configs_defaults", {}).items():  # transformers 4 has them in `__init__`
        value = values.get(name)
        if isinstance(value, dict) and value.get("model_type", spec.model_type) == spec.model_type:
            values[name] = {**spec.init_kwargs, **value}
    return cls(**values)


def _check_keys(spec: Spec, cls: type[PreTrainedConfig], declared: Mapping[str, Any], where: str) -> None:
    """Raises a SpecError for the first key that is not a field of `cls`.

    A field is what the class lists, an alias of it, what an instance made from the others has, or what the folder's
    models read from a configuration: some read what no class lists and only checkpoints say.
    """
    sub_configs = getattr(cls, "sub_configs_defaults", cls.sub_configs)
    known = [*shrink.raw_fields(cls), *cls.attribute_map, *sub_configs, "num_labels", "model_type", "pad_token_id"]
    if hasattr(cls, "set_output_features_output_indices"):
        known += ["out_indices", "out_features"]
    known += MARKS
    if {"encoder", "decoder"} <= sub_configs.keys():  # a pair's own tokens come with its checkpoints
        known.append("decoder_start_token_id")
    if all(key in known for key in declared):
        return
    default = default_config(cls, {key: value for key, value in declared.items() if key in known})
    known += [name for name in vars(default) if not name.startswith("_")]
    known += [name for module in modeling_modules(spec) for name in _read_names(module)]
    for key in declared:
        if key not in known:
            raise SpecError(f"{spec.label}: {where} key {key!r} is not a field of {cls.__name__}{nearest(key, known)}")


def _read_names(module: ModuleType) -> list[str]:
    """Returns the names of the attributes that the source of a module reads from a `config`, or a part of one."""
    file = getattr(module, "__file__", None)
    found = re.findall(r"""(?<=config\.)(\w+)|getattr\(config, ["'](\w+)""", Path(file).read_text()) if file else []
    return sorted({name for names in found for name in names if name})


def _own_names(spec: Spec, full: PreTrainedConfig, declared: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns `declared` under the fields' own names, checked for the whole tree below `full`."""
    found: dict[str, Any] = {}
    for key, value in declared.items():
        name = full.attribute_map.get(key, key)
        sub = getattr(full, name, None)
        if shrink.is_config(sub) and isinstance(value, Mapping):
            assert isinstance(sub, PreTrainedConfig)
            inner = {inner_key: inner_value for inner_key, inner_value in value.items() if inner_key != "model_type"}
            _check_keys(spec, type(sub), inner, f"{where}.{key}")
            found[name] = _own_names(spec, sub, inner, f"{where}.{key}")
        else:
            found[name] = value
    return found


def config_for(spec: Spec, config: PreTrainedConfig, cls: type[PreTrainedModel]) -> PreTrainedConfig:
    """Returns the configuration that a class of the folder takes.

    That is `config` itself, the part of it of the class's configuration class, or else that class shrunk by itself;
    what the declaration says for the class alone is in it.
    A causal class of an architecture that is an encoder by default gets `is_decoder`, the encoder of an
    encoder-decoder `is_encoder_decoder=False`, a class whose Q-Former reads text the layers for it.
    """
    wanted = cls.config_class
    found = config
    if own := spec.heads.get(cls.__name__, {}).get("config"):
        found = _config_of_head(spec, config, wanted, own)
    elif wanted is not None and not isinstance(config, wanted):
        parts = [node for node in _tree(config) if type(node) is wanted]
        found = parts[0] if parts else shrink.shrink(default_config(wanted, {}))
    causal = cls.__name__.endswith(("ForCausalLM", "LMHeadModel", "LMHead"))
    if causal and getattr(found, "is_decoder", None) is False and not found.is_encoder_decoder:
        found = copy.deepcopy(found)
        found.is_decoder = True
    if cls.__name__.endswith("EncoderModel") and found.is_encoder_decoder:  # the encoder of one, by itself
        found = copy.deepcopy(found)
        found.is_encoder_decoder = False
    reads_text = cls.__name__.endswith(("ForImageTextRetrieval", "TextModelWithProjection"))
    if reads_text and hasattr(found, "qformer_config"):  # as in checkpoints of these classes
        found = copy.deepcopy(found)
        found.qformer_config.use_qformer_text_input = True
    return found


def _config_of_head(
    spec: Spec, config: PreTrainedConfig, wanted: type[PreTrainedConfig] | None, own: Mapping[str, Any]
) -> PreTrainedConfig:
    """Returns the shrunk configuration of one class with `own` values, over the declared ones for one like the main."""
    if wanted is None or isinstance(config, wanted):
        return tiny_config(dataclasses.replace(spec, config=_over(spec.config, own)))
    return tiny_config(dataclasses.replace(spec, config=own), wanted)


def _over(under: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested `values` over those `under` them."""
    both = {name for name, value in values.items() if isinstance(value, Mapping) and isinstance(under.get(name), dict)}
    return {**under, **values, **{name: _over(under[name], values[name]) for name in both}}


def _tree(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    yield config
    for _, sub in shrink.sub_configs(config):
        yield from _tree(sub)


def count_features(model: PreTrainedModel, modality: str, given: Mapping[str, torch.Tensor], batch: int) -> int:
    """Returns how many placeholders of `modality` one row takes, from the model's own `get_<modality>_features`.

    Where it has none but the config fixes a number of queries (Q-Former), that number.

    Raises:
      AssertionError: the model has no such method.
    """
    name = f"get_{modality}_features"
    owners = [part for part in model.modules() if hasattr(part, name)]
    if not owners and modality == "video" and any(hasattr(part, "get_image_features") for part in model.modules()):
        return count_features(model, "image", {"pixel_values": given["pixel_values_videos"]}, batch)  # Perception LM
    owner = max(  # the outer ones may pass what they do not name on to the inner
        owners,
        default=None,
        key=lambda part: len(given.keys() & inspect.signature(getattr(part, name)).parameters.keys()),
    )
    queries = getattr(model.config, "num_query_tokens", None)
    if owner is None and isinstance(queries, int):
        return queries
    if owner is None and "cross_attention_mask" in inspect.signature(type(model).forward).parameters:
        return 1  # one token says where a picture is, and words look across at its features (Mllama)
    if owner is None and "audio_input_ids" in given:  # a place for each frame of codes
        return int(given["audio_input_ids"].shape[1])
    if owner is None and modality == "image" and "image_pixel_values" in given:
        return _places_of_crops(model.config, given)
    if owner is None and modality == "audio" and "audio_embed_sizes" in given:
        return int(given["audio_embed_sizes"][0])
    if owner is None and hasattr(model, "codec_model"):
        with torch.no_grad():
            return int(model.codec_model.encode(given["input_values"]).audio_codes.shape[-1])
    needs_more = owner is None or not _required(getattr(owner, name)) <= given.keys()
    if needs_more and (lengths := _formula_of_lengths(model, given)):
        return lengths
    assert owner is not None, f"{type(model).__name__} has a placeholder for each {modality} and no {name}"
    if hasattr(model.config, "max_state_dim"):  # a robot's cameras stand behind the rows (PI0)
        given = {**given, "pixel_values": given["pixel_values"].flatten(0, 1)}
    method = getattr(owner, name)
    accepted = inspect.signature(method).parameters
    with torch.no_grad(), seeded(0):
        found = method(**{key: value for key, value in given.items() if key in accepted})
        tokenize = getattr(owner, f"get_{modality}_tokens", None)
        if tokenize is not None and "hidden_states" in inspect.signature(tokenize).parameters:
            return int(tokenize(found.pooler_output).numel()) // batch  # a place for each code that features become
    return _count_rows(found) // batch


def _places_of_crops(config: PreTrainedConfig, given: Mapping[str, torch.Tensor]) -> int:
    """Returns how many places a picture takes that is given as a small whole and its crops, two patches a side to each.

    Each row of the crops side by side, and each of the whole, ends with one more; one stands between the two
    (`num_img_tokens` in transformers/models/phi4_multimodal/image_processing_phi4_multimodal.py).
    """
    side = given["image_pixel_values"].shape[-1]
    base = -(-(side // config.vision_config.patch_size) // 2)
    rows, columns = (base * int(size) // side for size in given["image_sizes"][0])
    return rows * (columns + 1) + 1 + base * (base + 1)


def _required(method: Any) -> set[str]:
    """Returns the names of the arguments that a method cannot do without."""
    found = inspect.signature(method).parameters.values()
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {given.name for given in found if given.default is given.empty and given.kind not in kinds}


def _formula_of_lengths(model: PreTrainedModel, given: Mapping[str, torch.Tensor]) -> int:
    """Returns how many vectors a row's frames become by the model's own formula; 0 where it has none."""
    name = "_get_feat_extract_output_lengths"
    owner = next((part for part in model.modules() if hasattr(part, name)), None)
    mask = given.get("feature_attention_mask", given.get("input_features_mask"))
    if owner is None or mask is None:
        return 0
    lengths = getattr(owner, name)(mask.sum(-1))
    return int((lengths[-1] if isinstance(lengths, tuple) else lengths)[0])


def _count_rows(found: Any) -> int:
    """Returns how many feature vectors an extractor's result holds, whatever it is wrapped in."""
    if isinstance(found, torch.Tensor):
        return int(found.shape[:-1].numel())
    if isinstance(found, Mapping):
        pooled = found.get("pooler_output", found.get("deepstack_features"))
        return _count_rows(pooled if pooled is not None else found["last_hidden_state"])
    if isinstance(found, (list, tuple)) and isinstance(found[0], torch.Tensor):
        return sum(_count_rows(item) for item in found)
    if isinstance(found[0], int):  # the features for one layer of the text, behind its number
        return _count_rows(found[1])
    return _count_rows(found[0])


def seed_torch(seed: int) -> None:
    """Seeds PyTorch's generators, of the CPU and of the accelerators in use.

    `torch.manual_seed` also queues a call, with a formatted stack, for every accelerator that is not in use; that
    took a tenth of a cell's time.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.xpu.is_initialized():
        torch.xpu.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def warm_up() -> None:
    """Fills what transformers computes once a process for the first model that is saved or loaded.

    A worker does it before it forks; it takes a quarter of a CPU second that each cell would pay. transformers makes a
    regular expression of every name of every parameter, which all classes of a folder share: Python keeps 512 of them,
    fewer than a cell has, and would compile them again for each class.
    """
    re._MAXCACHE = 100_000  # type: ignore[attr-defined]
    with contextlib.suppress(ModuleNotFoundError):  # transformers 4 renames no weights that way
        importlib.import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping("")


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Runs the body with every global generator seeded, and puts their states back afterwards."""
    state = (torch.get_rng_state(), numpy.random.get_state(), random.getstate())
    seed_torch(seed)
    numpy.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state[0])
        numpy.random.set_state(state[1])
        random.setstate(state[2])


def build(
    cls: type[PreTrainedModel],
    config: PreTrainedConfig,
    *,
    seed: int = 0,
    attention: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """Returns a new model in eval mode, float32, on the CPU, its weights filled by `fill_weights`.

    Args:
      cls: the model class.
      config: left as it is; the model gets a copy.
      seed: equal seeds give equal weights, in every process.
      attention: `eager`, `sdpa`, …; by default what the class chooses.
      arguments: what its `__init__` takes beside the config.
    """
    config = copy.deepcopy(config)
    config.architectures, config.dtype = [cls.__name__], torch.float32  # as in a configuration read from a checkpoint
    options = {} if attention is None else {"attn_implementation": attention}
    if is_container(cls):
        cls.forward = _forward_through_parts
    with seeded(seed):
        model = cls._from_config(config, **options, **(arguments or {}))
    fill_weights(model, seed)
    return model.eval()


def is_container(cls: type[PreTrainedModel]) -> bool:
    """Returns whether a class has no `forward` of its own and only holds models that are used one after the other."""
    return cls.forward in (nn.Module.forward, _forward_through_parts)


def parts(model: PreTrainedModel) -> dict[str, PreTrainedModel]:
    """Returns the models that a container holds, by name."""
    return {name: child for name, child in model.named_children() if isinstance(child, PreTrainedModel)}


def _forward_through_parts(self: PreTrainedModel, **given: Any) -> Any:
    """The `forward` of a container: each part on the inputs named `<part>.<argument>`, outputs named alike."""
    shared = {name: value for name, value in given.items() if "." not in name}
    as_tuple = shared.pop("return_dict", None) is False
    outputs = ModelOutput()
    for part, child in parts(self).items():
        own = {name.partition(".")[2]: value for name, value in given.items() if name.startswith(f"{part}.")}
        accepted = inspect.signature(child.forward).parameters
        common = {name: value for name, value in shared.items() if name in accepted}
        found = child(**own, **common, return_dict=True)
        for name, value in found.items() if isinstance(found, Mapping) else [("output", found)]:
            outputs[f"{part}.{name}"] = value
    return tuple(outputs.values()) if as_tuple else outputs


@torch.no_grad()
def fill_weights(model: nn.Module, seed: int) -> None:
    """Gives every floating parameter a seeded random value that keeps activations near 1 and no path dead.

    Default initialisation leaves zeros (biases, layer scales, position tables), and a check cannot see through a zero.
    Each tensor has a generator of its own, seeded by its name, so values do not depend on the order of construction.
    Tied parameters stay tied, and what the class computes and never saves (sinusoidal positions) stays as it is.
    """
    done: set[int] = set()
    computed = getattr(model, "_keys_to_ignore_on_save", None) or ()  # by the class: no checkpoint holds them
    done.update(id(parameter) for name, parameter in model.named_parameters() if name in computed)
    for prefix, module in model.named_modules():
        # `named_parameters` and `named_buffers` of each module would take longer than the numbers themselves.
        for name, parameter in module._parameters.items():
            if parameter is None or not parameter.is_floating_point() or not parameter.numel():
                continue
            if id(parameter) not in done:
                done.add(id(parameter))
                path = f"{prefix}.{name}" if prefix else name
                parameter.copy_(_fresh_values(module, path, parameter, seed))
        if isinstance(module, nn.modules.batchnorm._NormBase):
            _perturb_statistics(module, prefix, seed)
        for name, codes in module._buffers.items():
            # A quantiser's codebook: learned, but a buffer, and zero by default.
            if codes is not None and name in ("embed", "embed_sum"):
                codes.copy_(_noise(f"{prefix}.embed", codes.shape, seed))


def _noise(path: str, shape: torch.Size, seed: int) -> torch.Tensor:
    """Returns standard normal noise that depends on the name and the seed alone."""
    digest = hashlib.sha256(f"{seed}:{path}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randn(shape, generator=generator, dtype=torch.float32)


_NEAR_DEFAULT = (
    "A_log",
    "D",
    "dt_bias",
    "logit_scale",
    "logit_bias",
    "temperature",
    "decay",
    "time_",
    "original0",
    "weight_g",
)
_LAYER_SCALES = ("lambda", "gamma", "layer_scale", "layerscale")


def _fresh_values(module: nn.Module, path: str, old: torch.Tensor, seed: int) -> torch.Tensor:
    """Returns the new value of one parameter, chosen by what kind of parameter it is."""
    noise = _noise(path, old.shape, seed)
    name = path.rpartition(".")[2]
    norm = any(word in type(module).__name__.lower() for word in ("norm", "snake"))  # a snake divides by its parameter
    if isinstance(module, nn.Embedding):
        value = noise * EMBEDDING_STD
        if module.padding_idx is not None:
            value[module.padding_idx] = 0
        return value
    if any(word in path.split(".")[-1] for word in _LAYER_SCALES) and not norm:
        return LAYER_SCALE + NOISE * noise
    if isinstance(module, nn.modules.batchnorm._NormBase) and name == "weight":
        return 1 + NOISE * noise  # some classes start these near 0, as they start their linear layers
    if old.dim() <= 1 or norm or any(word in name for word in _NEAR_DEFAULT):
        return _near_default(old, noise)
    return noise * _deviation(module, old)


def _near_default(old: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Keeps special parameters meaningful (positive ones positive): default plus noise in proportion to it."""
    least, most = (float(value) for value in old.aminmax())
    if least == most and least in (0, 1):
        return old + NOISE * noise
    return old * (1 + NOISE * noise.clamp(-3, 3))


def _deviation(module: nn.Module, old: torch.Tensor) -> float:
    """Returns the standard deviation that keeps the variance of what passes through the weight."""
    shape = old.shape
    if type(module).__name__ == "Conv1D":
        return float(shape[0] ** -0.5)
    if isinstance(module, nn.Linear):
        return float(shape[1] ** -0.5)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return float((shape[0] * shape[2:].numel() / max(1, torch.Size(module.stride).numel())) ** -0.5)
    if isinstance(module, nn.modules.conv._ConvNd):
        halved = 2 if module.bias is None else 1  # a norm and a rectifier come behind one without bias
        return float((halved / shape[1:].numel()) ** 0.5)
    return float(min(0.5, max(0.05, (shape[-1] * shape[-2]) ** -0.25)))


def _perturb_statistics(module: Any, prefix: str, seed: int) -> None:
    """Moves running means off 0 and running variances off 1; variances stay positive."""
    if getattr(module, "running_mean", None) is not None:
        module.running_mean.add_(NOISE * _noise(f"{prefix}.running_mean", module.running_mean.shape, seed))
        module.running_var.mul_((NOISE * _noise(f"{prefix}.running_var", module.running_var.shape, seed)).exp())
