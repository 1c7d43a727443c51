"""Labels, by the argument's name and what kind of head the class is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.inputs.configs import first, placeholder, vocabulary
from harness.inputs.pictures import make_picture, picture_side
from harness.inputs.request import CHOICES, IGNORED, OBJECTS, REGIONS, Request, default_of, parameters, takes_labels
from harness.inputs.series import make_series
from harness.inputs.sound import sound_frames, spectrum
from harness.inputs.text import rows_of_codes, tokens


def make_labels(request: Request, made: Mapping[str, Tensor]) -> dict[str, Any]:
    """Returns the labels that the class's `forward` takes, by argument name: tensors, for objects lists of them."""
    found: dict[str, Any] = {}
    parameters = request.parameters
    if "return_loss" in parameters and default_of(request.cls, "return_loss") is not True:
        found["return_loss"] = torch.tensor(True)
    wanted = takes_labels(request.cls) and request.options.get("labels", True) is not None
    if wanted and (labels := _labels(request, made)) is not None:
        found["labels"] = labels
    if "actions" in parameters and "states" not in made:  # what a robot is to do, which noise is to become (PI0)
        width, steps = int(request.config.max_action_dim), int(request.config.chunk_size)
        found["actions"] = request.noise("actions", request.batch, steps, width)
    if "past_values" in made:
        found.update(_series_labels(request, made))
    if "audio_latents" in made and "labels" in found:  # the vectors to say stand in the place of those that were said
        found["labels"], found["audio_latents"] = made["audio_latents"].roll(1, dims=-1), None
    if "audio_labels" in parameters and "audio_input_ids" in made:
        found["audio_labels"] = made["audio_input_ids"].clone()
    if "text_labels" in parameters and "moshi_audio_codes" in made:
        found["text_labels"], found["audio_labels"] = made["input_ids"].clone(), made["moshi_audio_codes"].clone()
    if "duration_labels" in parameters:
        found.update(_speech_labels(request, made))
    if takes_labels(request.cls, "mask_labels"):
        found.update(_segment_labels(request, made))
    if "codebook_pixel_values" in parameters:  # the pictures whose codes are what masked patches are compared with
        found["codebook_pixel_values"] = make_picture(request, "codebook_pixel_values", request.batch)
    if "mlm_labels" in parameters and "input_ids" in made:
        found["mlm_labels"] = made["input_ids"].clone()
    if "matched_label" in parameters:
        found["matched_label"] = request.integers("matched_label", 0, 2, request.batch)
    if "ans" in parameters:
        found["ans"] = request.integers("ans", 0, int(first(request.config, "num_qa_labels")), request.batch)
    if "itm_labels" in parameters:
        found["itm_labels"] = torch.ones(request.batch, dtype=torch.long)
    length = made["input_ids"].shape[-1] if "input_ids" in made else 1
    for name in ("start_positions", "end_positions"):
        if name in parameters:
            found[name] = request.integers(name, 1, length - 1, request.batch)
    if "initial_token_labels" in parameters:
        found["initial_token_labels"] = request.integers(
            "initial_token_labels", 0, int(request.config.num_labels), *made["input_ids"].shape
        )
        found["subsequent_token_labels"] = _next_tokens(made["input_ids"])
    if "bbox_first_token_mask" in parameters:  # of the labels alone: which of them count
        found["bbox_first_token_mask"] = torch.ones_like(made["input_ids"], dtype=torch.bool)
    if "question_positions" in parameters and request.cls.__name__.endswith("ForPreTraining"):
        found["question_positions"] = torch.ones(request.batch, 1, dtype=torch.long)  # where `input_ids` has it
    for name in ("next_sentence_label", "sentence_order_label"):
        if name in parameters:
            found[name] = request.integers(name, 0, 2, request.batch)
    if "entity_labels" in parameters and "entity_ids" in made:
        found["entity_labels"] = request.integers(
            "entity_labels", 0, int(first(request.config, "entity_vocab_size")), *made["entity_ids"].shape
        )
    return found


def _classes(request: Request, name: str, row: int) -> Tensor:
    """Returns the classes of the objects in one picture: rows differ in how many they hold."""
    return request.integers(f"{name}.{row}", 0, int(request.config.num_labels), OBJECTS - row % OBJECTS)


def _object_masks(request: Request, made: Mapping[str, Tensor], row: int, count: int) -> Tensor:
    """Returns a mask of ones and zeros (objects, height, width) for each object of one picture."""
    return (request.noise(f"masks.{row}", count, *made["pixel_values"].shape[-2:]) > 0).float()


def _objects(request: Request, made: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Returns what each picture shows, as DETR takes it: classes, boxes as centre and size in 0 to 1, masks."""
    found: list[dict[str, Tensor]] = []
    for row in range(request.batch):
        classes = _classes(request, "labels", row)
        places = torch.rand((len(classes), 4), generator=request.generator(f"boxes.{row}"))
        boxes = torch.cat([0.3 + 0.4 * places[:, :2], 0.1 + 0.4 * places[:, 2:]], dim=-1)
        found.append({"class_labels": classes, "boxes": boxes})
        if request.cls.__name__.endswith(("ForSegmentation", "ForInstanceSegmentation")):
            found[-1]["masks"] = _object_masks(request, made, row, len(classes))
    return found


def _segment_labels(request: Request, made: Mapping[str, Tensor]) -> dict[str, Any]:
    """Returns what each picture shows, as MaskFormer takes it: a list of masks and one of their classes."""
    classes = [_classes(request, "class_labels", row) for row in range(request.batch)]
    masks = [_object_masks(request, made, row, len(held)) for row, held in enumerate(classes)]
    return {"mask_labels": masks, "class_labels": classes}


def _series_labels(request: Request, made: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the future that a forecast is measured by, and the class or the numbers that a series has."""
    found: dict[str, Tensor] = {}
    name, batch = request.cls.__name__, request.batch
    if "future_values" in request.parameters and name.endswith("ForPrediction"):
        steps = first(request.config, "prediction_length", "horizon_length")
        found["future_values"] = make_series(request, "future_values", int(steps))
    if "target_values" in request.parameters:
        count = int(request.config.num_targets)
        found["target_values"] = (
            request.integers("target_values", 0, count, batch)
            if name.endswith("Classification")
            else request.noise("target_values", batch, count)
        )
    return found


def _speech_labels(request: Request, made: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns how many frames each word lasts, its pitch and energy, and the spectrogram that all of them make.

    Rows last differently long: behind a row's own frames the spectrogram is ignored.
    """
    words = made["input_ids"]
    durations = request.integers("duration_labels", 1, 4, *words.shape)
    frames = durations.sum(-1)
    spectrogram = request.noise("spectrogram_labels", words.shape[0], int(frames.max()), spectrum(request))
    for row, length in enumerate(frames.tolist()):
        spectrogram[row, length:] = IGNORED
    return {
        "spectrogram_labels": spectrogram,
        "duration_labels": durations,
        "pitch_labels": request.noise("pitch_labels", *words.shape, 1),
        "energy_labels": request.noise("energy_labels", *words.shape, 1),
    }


def _next_tokens(words: Tensor) -> Tensor:
    """Returns for each token the place of the next one, as labels of a head that links tokens (SPADE)."""
    return torch.arange(1, words.shape[-1] + 1).expand(words.shape).clone()


def judges_tokens(cls: type[Any]) -> bool:
    """Returns whether a class learns which tokens were replaced: it pre-trains, and has no words to predict."""
    return cls.__name__.endswith("ForPreTraining") and "input_ids" in parameters(cls) and not cls._tied_weights_keys


def _labels_of_regions(request: Request, made: Mapping[str, Tensor], classes: int) -> Tensor:
    """Returns labels of classes that read text with the regions of a picture (LXMERT, VisualBERT)."""
    name, batch = request.cls.__name__, request.batch
    answers = first(request.config, "num_qa_labels")
    if name.endswith("ForQuestionAnswering") and isinstance(answers, int):
        return request.integers("labels", 0, answers, batch)
    if name.endswith("ForQuestionAnswering"):  # how well each answer fits
        return torch.softmax(request.noise("labels", batch, classes), -1)
    if name.endswith("ForRegionToPhraseAlignment"):
        return torch.softmax(request.noise("labels", batch, REGIONS, REGIONS), -1)
    if name.endswith("ForVisualReasoning"):
        return request.integers("labels", 0, classes, batch)
    length = made["input_ids"].shape[-1] + (REGIONS if "visual_embeds" in made else 0)
    return tokens(request, "labels", batch, length)


def _labels(request: Request, made: Mapping[str, Tensor]) -> Any:
    """Returns what goes under `labels`: classes, tokens, a map of classes, a transcript, or the objects of pictures."""
    name, batch, classes = request.cls.__name__, request.batch, int(getattr(request.config, "num_labels", None) or 2)
    if name.endswith("ForMultipleChoice"):
        return request.integers("labels", 0, CHOICES, batch)
    if "visual_feats" in made or "visual_embeds" in made:
        return _labels_of_regions(request, made, classes)
    if name.endswith("ForImageAndTextRetrieval"):  # whether the text is the picture's
        return request.integers("labels", 0, 2, batch)
    if name.endswith("ForCTC"):
        return tokens(request, "labels", batch, 3)
    if name.endswith("SpadeELForTokenClassification"):
        return _next_tokens(made["input_ids"])
    if name.endswith(("ForTokenClassification", "ForEntitySpanClassification")):
        reference = "entity_ids" if "Span" in name else "input_ids"
        return request.integers("labels", 0, classes, *made[reference].shape)
    if name.endswith(("ForObjectDetection", "ForSegmentation", "ForInstanceSegmentation")):
        return _objects(request, made)
    if name.endswith("DepthEstimation"):
        return request.noise("labels", batch, *picture_side(request)).abs() + 0.5
    if name.endswith("SemanticSegmentation"):
        return request.integers("labels", 0, classes, batch, *picture_side(request))
    if name.endswith("ForMaskedImageModeling") and "bool_masked_pos" in made:  # tokens of a picture's tokenizer
        return request.integers("labels", 0, vocabulary(request.config), int(made["bool_masked_pos"].sum()))
    if "prompt_masks" in made:  # what the prompt shows, painted over the picture
        return request.noise("labels", *made["pixel_values"].shape)
    if name.endswith("ForPoseEstimation"):  # a map for each point, as large as the head doubles the patches
        side = picture_side(request)[0] // int(request.config.patch_size)
        side *= 2 ** len(first(request.config, "upsample_out_channels") or ())
        return request.noise("labels", batch, classes, side, side)
    if name.endswith("ForImageSegmentation"):
        return request.integers("labels", 0, 2, batch, *picture_side(request)).float()
    if judges_tokens(request.cls):
        return request.integers("labels", 0, 2, *made["input_ids"].shape)
    if name.endswith("ForAudioFrameClassification"):
        return torch.nn.functional.one_hot(
            request.integers("labels", 0, classes, batch, sound_frames(request, made)), classes
        )
    if name.endswith("ForQuestionAnswering") and not {"start_positions", "decoder_input_ids"} & set(request.parameters):
        if "pixel_values" not in request.parameters:  # which tokens, of a table's cells, are the answer
            return request.integers("labels", 0, 2, *made["input_ids"].shape)
        return request.integers("labels", 0, 2, batch, classes).float()  # how good each of the known answers is
    if "Classification" in name or name.endswith(("NextSentencePrediction", "XVector")):
        return request.integers("labels", 0, classes, batch)
    if "decoder_input_values" in made:  # the frames that each step of a decoder of spectrograms gives
        rows, frames, bins = made["decoder_input_values"].shape
        return request.noise("labels", rows, frames * int(request.config.reduction_factor), bins)
    decoder = made.get("decoder_input_ids", made.get("input_ids"))
    if decoder is not None and "input_values_cutoffs" in made:  # which frames of the sound are to be said
        return torch.where(decoder == placeholder(request.config, "audio"), decoder, IGNORED)
    if decoder is not None and hasattr(request.config, "codebook_vocab_size"):  # the text of streams of codes
        return tokens(request, "labels", *decoder.shape[:2])
    if decoder is not None and "decoder_cache" in request.parameters:  # a transducer reads a start before them
        return tokens(request, "labels", decoder.shape[0], decoder.shape[1] - 1)
    if decoder is not None and hasattr(request.config, "delay_pattern"):  # a row for each stream of codes
        return tokens(request, "labels", decoder.shape[0] * decoder.shape[2], decoder.shape[1])
    if decoder is not None and rows_of_codes(request) > 1:
        return tokens(request, "labels", batch, decoder.shape[1], rows_of_codes(request))
    return tokens(request, "labels", *decoder.shape) if decoder is not None else None
