"""Parameters that a model has and its forward, by design, does not use: each rule with its reason.

These rules hold for whole families; what is one model's own stands in its declaration, as `unused_parameters`.

A parameter without gradient that no rule covers is a dead parameter.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Container
from typing import TYPE_CHECKING, Any

from harness.generation import parameters_of
from harness.inputs.configs import nodes

if TYPE_CHECKING:
    from harness.cell import Cell


def reason_unused(cell: Cell, name: str) -> str | None:
    """Returns why the parameter `name` of the main class gets no gradient by design, or None."""
    cls = cell.model_class
    rules = {**_rules(cls.__name__, cell.config, parameters_of(cls)), **cell.spec.unused_parameters}
    for pattern, reason in rules.items():
        if fnmatch.fnmatchcase(name, pattern):
            return reason
    return None


def _rules(class_name: str, config: Any, parameters: Container[str]) -> dict[str, str]:
    """Returns the patterns of parameter names that a class and its config leave unused, with the reason of each."""
    rules = {"*masked_spec_embed": "replaces masked time steps, which only training with SpecAugment has"}
    if class_name.endswith(("ForMaskedLM", "ForTokenClassification")):
        rules["*.pooler.*"] = "the base model is built with its pooler, and this head reads the tokens alone"
    rules["*denoising_class_embed.weight"] = "makes the noised queries that only training has (DINO)"
    rules["*fusion_stage.layers.0.residual_layer1.*"] = "the first fusion layer gets one map and no residual (DPT)"
    if "bool_masked_pos" not in parameters:
        rules["*mask_token"] = "replaces masked patches, and this class's forward takes no mask"
    image_tokens = [getattr(config, name, None) for name in ("image_token_id", "image_token_index")]
    if class_name.endswith(("ForConditionalGeneration", "ForRetrieval")) or image_tokens != [None, None]:
        rules["*vision_*.head.*"] = "pools the tower's patches (SigLIP); what goes among the words are the patches"
    rules |= _behind_the_selected_layer(config)
    rules |= _other_prompts(config)
    if any(hasattr(node, "index_topk") for node in nodes(config)):
        rules["*.indexer.*"] = "the indexer chooses the keys that attention reads; a choice passes no gradient"
    return rules


def _other_prompts(config: Any) -> dict[str, str]:
    """Returns the rules of models that look for what points, boxes and a coarse mask show (SAM)."""
    if not hasattr(getattr(config, "mask_decoder_config", None), "num_multimask_outputs"):
        return {}
    return {
        "*prompt_encoder.no_mask_embed.weight": "stands for a mask that is not given; the inputs hold one",
        "*mask_decoder.output_hypernetworks_mlps.0.*": (
            "makes the single mask that multimask_output=False asks for; by default forward returns the others"
        ),
    }


def _behind_the_selected_layer(config: Any) -> dict[str, str]:
    """Returns the rules of vision towers that are read at an inner layer (`vision_feature_layer`, LLaVA)."""
    selected = getattr(config, "vision_feature_layer", None)
    layers = getattr(getattr(config, "vision_config", None), "num_hidden_layers", None)
    if selected is None or layers is None:
        return {}
    chosen = selected if isinstance(selected, (list, tuple)) else [selected]
    last = max(index if index >= 0 else layers + 1 + index for index in chosen)
    reason = f"the tower is read at its hidden state {last} of {layers} (vision_feature_layer={selected})"
    rules = {f"*_tower.*layers.{index}.*": reason for index in range(last, layers)}
    return {**rules, "*_tower.*post_layernorm.*": reason}
