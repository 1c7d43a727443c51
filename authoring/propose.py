"""Proposes a declaration for a model folder of transformers, from the environment alone.

What a class is for stands in transformers' own `auto` mappings; the first of `PURPOSES` that has a class of the folder
decides the main class, the task and the category. Nothing is built or run here.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from typing import Any

from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES, model_type_to_module_name

PURPOSES: tuple[tuple[str, str, str], ...] = (
    # mapping of `auto`, category, task
    ("MODEL_FOR_TIME_SERIES_PREDICTION_MAPPING_NAMES", "time_series", "time-series-forecasting"),
    ("MODEL_FOR_DECISION_MAPPING_NAMES", "decision", "reinforcement-learning"),
    ("MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES", "multimodal", "image-text-to-text"),
    ("MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES", "multimodal", "image-text-to-text"),
    ("MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES", "multimodal", "zero-shot-image-classification"),
    ("MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES", "multimodal", "zero-shot-object-detection"),
    ("MODEL_FOR_VISUAL_QUESTION_ANSWERING_MAPPING_NAMES", "multimodal", "visual-question-answering"),
    ("MODEL_FOR_DOCUMENT_QUESTION_ANSWERING_MAPPING_NAMES", "multimodal", "document-question-answering"),
    ("MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES", "audio", "automatic-speech-recognition"),
    ("MODEL_FOR_TDT_MAPPING_NAMES", "audio", "automatic-speech-recognition"),
    ("MODEL_FOR_RNNT_MAPPING_NAMES", "audio", "automatic-speech-recognition"),
    ("MODEL_FOR_CTC_MAPPING_NAMES", "audio", "automatic-speech-recognition"),
    ("MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES", "audio", "audio-classification"),
    ("MODEL_FOR_TEXT_TO_WAVEFORM_MAPPING_NAMES", "audio", "text-to-audio"),
    ("MODEL_FOR_TEXT_TO_SPECTROGRAM_MAPPING_NAMES", "audio", "text-to-audio"),
    ("MODEL_FOR_AUDIO_TOKENIZATION_NAMES", "audio", "feature-extraction"),
    ("MODEL_FOR_AUDIO_FRAME_CLASSIFICATION_MAPPING_NAMES", "audio", "audio-classification"),
    ("MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES", "vision", "image-classification"),
    ("MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES", "vision", "video-classification"),
    ("MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES", "vision", "object-detection"),
    ("MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES", "vision", "image-segmentation"),
    ("MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES", "vision", "image-segmentation"),
    ("MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES", "vision", "image-segmentation"),
    ("MODEL_FOR_IMAGE_SEGMENTATION_MAPPING_NAMES", "vision", "image-segmentation"),
    ("MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES", "vision", "depth-estimation"),
    ("MODEL_FOR_MASK_GENERATION_MAPPING_NAMES", "vision", "mask-generation"),
    ("MODEL_FOR_KEYPOINT_MATCHING_MAPPING_NAMES", "vision", "keypoint-matching"),
    ("MODEL_FOR_KEYPOINT_DETECTION_MAPPING_NAMES", "vision", "keypoint-detection"),
    ("MODEL_FOR_IMAGE_TO_IMAGE_MAPPING_NAMES", "vision", "image-to-image"),
    ("MODEL_FOR_MASKED_IMAGE_MODELING_MAPPING_NAMES", "vision", "image-feature-extraction"),
    ("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES", "encoder_decoder", "text2text-generation"),
    ("MODEL_FOR_MASKED_LM_MAPPING_NAMES", "encoder", "fill-mask"),
    ("MODEL_FOR_TABLE_QUESTION_ANSWERING_MAPPING_NAMES", "encoder", "question-answering"),
    ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "decoder", "text-generation"),
    ("MODEL_FOR_TEXT_RECOGNITION_MAPPING_NAMES", "vision", "image-to-text"),
    ("MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES", "encoder", "token-classification"),
    ("MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES", "encoder", "text-classification"),
    ("MODEL_FOR_BACKBONE_MAPPING_NAMES", "vision", "image-feature-extraction"),
    ("MODEL_FOR_IMAGE_MAPPING_NAMES", "vision", "image-feature-extraction"),
    ("MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES", "encoder", "feature-extraction"),
    ("MODEL_FOR_PRETRAINING_MAPPING_NAMES", "encoder", "feature-extraction"),
    ("MODEL_MAPPING_NAMES", "encoder", "feature-extraction"),
)
"""In order of preference: what a folder is known for comes before what it can also do."""

_CHECKPOINT = re.compile(r"checkpoint=\"([^\"]+)\"")
_MAIN_INPUTS = {
    "pixel_values": ("vision", "image-feature-extraction"),
    "pixel_values_videos": ("vision", "video-classification"),
    "input_features": ("audio", "feature-extraction"),
    "input_values": ("audio", "feature-extraction"),
    "audio_values": ("audio", "feature-extraction"),
}


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A declaration as `hf_model` takes it, as far as the environment says it."""

    name: str
    category: str
    model_type: str
    main_class: str
    task: str
    checkpoint: str


def propose(folder: str, classes: dict[str, Any]) -> Proposal | None:
    """Returns a declaration for a model folder; None where `auto` knows none of its classes.

    Args:
      folder: below `transformers/models`.
      classes: the folder's public model classes by name.
    """
    kinds = [kind for kind in CONFIG_MAPPING_NAMES if model_type_to_module_name(kind) == folder]
    for mapping, category, task in PURPOSES:
        names = getattr(modeling_auto, mapping, {})
        for kind in sorted(kinds, key=lambda kind: (kind.replace("-", "_") != folder, len(kind))):
            found = names.get(kind)
            for name in [found] if isinstance(found, str) else list(found or ()):
                if name in classes:
                    category, task = _by_input(classes[name], category, task)
                    return Proposal(folder, category, kind, name, task, checkpoint(folder))
    return None


def _by_input(cls: Any, category: str, task: str) -> tuple[str, str]:
    """Corrects the purposes that say nothing of the modality by the class's main input."""
    config = getattr(cls, "config_class", None)
    if category == "encoder":
        found = _MAIN_INPUTS.get(getattr(cls, "main_input_name", "input_ids"))
        if found:
            return found
        if config is not None and "vision_config" in getattr(config, "sub_configs", {}):
            return "multimodal", task
    if category == "multimodal" and config is not None:
        arguments = inspect.signature(cls.forward).parameters
        if not any("pixel" in name or "image" in name or "video" in name for name in arguments):
            return "audio", "automatic-speech-recognition"
    return category, task


def checkpoint(folder: str) -> str:
    """Returns the checkpoint that the folder's documentation names; empty where it names none."""
    for kind in ("configuration", "modeling"):
        try:
            module = importlib.import_module(f"transformers.models.{folder}.{kind}_{folder}")
            found = _CHECKPOINT.search(inspect.getsource(module))
        except (ImportError, OSError):
            continue
        if found:
            return found.group(1)
    return ""
