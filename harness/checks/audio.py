"""Checks of audio models: every part of the sound counts, lengths follow their formula, decoders are causal.

Kinds are told apart by what `forward` takes: classifiers of frames (CTC), encoder-decoders, language models that read
sound among the words, codecs (they encode and decode), and models composed of parts that only generate (no forward of
their own).
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness import generation
from harness.build import is_container, parts
from harness.cell import Cell
from harness.checking import check
from harness.compare import EFFECT, assert_close, assert_finite, assert_moved, magnitude
from harness.generation import (
    CODES_ALONG_WORDS,
    DECODER_ONLY,
    DECODER_SIDE,
    Stream,
    cross_entropy,
    logits_of,
    parameters_of,
    partly_ignored,
    takes,
)
from harness.inputs.configs import nodes, placeholder
from harness.inputs.request import IGNORED
from harness.inputs.sound import AMONG_WORDS
from harness.perturb import SOUND_MASKS
from harness.spec import Tolerance

_PARTS = 8  # the sound is examined in so many parts of equal length
_ROUNDING = 30  # vectors that pass gradients straight through a quantiser are sums, those looked up by code are not
_SOUND = ("input_values", "input_features")


@pytest.fixture(scope="session")
def primary(cell: Cell) -> Tensor:
    """The main output on the cell's inputs, computed once."""
    return cell.primary(cell.forward())


def _sound(cell: Cell) -> str | None:
    """Returns the name of the input that holds the sound; None where there is none."""
    return next((name for name in _SOUND if name in cell.inputs), None)


def _time_axis(cell: Cell) -> int:
    """Returns the axis of the sound that is time: the last of samples, and of (batch, mel, time) as Whisper reads."""
    name = _sound(cell)
    assert name is not None
    shape = cell.inputs[name].shape
    bins = {getattr(node, "num_mel_bins", None) for node in nodes(cell.config)}
    if name == "input_values" and shape[-1] not in bins:
        return len(shape) - 1
    if len(shape) == 4:  # (batch, channel, time, mel)
        return 2
    return 2 if len(shape) == 3 and shape[1] in bins and shape[2] not in bins else 1


def _sound_mask(cell: Cell) -> str | None:
    """Returns the name of the mask over the sound; None where there is none."""
    found = next((name for name in SOUND_MASKS if name in parameters_of(cell.model_class)), None)
    if found is None and "input_ids" not in cell.inputs and "attention_mask" in parameters_of(cell.model_class):
        return "attention_mask"
    return found


def _stream(cell: Cell) -> Stream | None:
    """Returns the tokens that the model writes after the sound; None where it writes none, or not token by token."""
    if "decoder_cache" in parameters_of(cell.model_class) or _compares(cell):
        return None
    if takes(cell, "decoder_input_ids"):
        return DECODER_SIDE
    speaks = takes(cell, "past_key_values") and not cell.config.is_encoder_decoder
    reads = "input_ids" in cell.inputs and (_sound(cell) is not None or speaks)
    return DECODER_ONLY if reads and cell.model_class.can_generate() else None


def _compares(cell: Cell) -> bool:
    """Returns whether `forward` tells how well texts and sounds fit one another."""
    return "return_loss" in parameters_of(cell.model_class)


def _reads_among_words(cell: Cell) -> bool:
    return _stream(cell) is DECODER_ONLY and placeholder(cell.config, "audio") is not None


def _along_words(cell: Cell) -> bool:
    """Returns whether the sound is added to the words, so many frames to each."""
    return generation.frames_of_a_word(cell, _sound(cell) or "") > 0


def _no_sound(cell: Cell) -> str | None:
    return None if _sound(cell) else "the model makes sound from text, it reads none"


def _no_decoder(cell: Cell) -> str | None:
    if "decoder_cache" in parameters_of(cell.model_class):
        return "a transducer: its predictor is recurrent over the labels, without attention, masks or a cache of keys"
    if _compares(cell):
        return "forward compares texts with sounds, it gives no logits of tokens"
    return None if _stream(cell) is not None else "the class has no decoder"


def _no_text_stream(cell: Cell) -> str | None:
    return None if _stream(cell) is DECODER_ONLY else "the class reads no text of its own beside the sound"


def _no_placeholders(cell: Cell) -> str | None:
    return None if _reads_among_words(cell) else "no placeholders of sound stand among words"


def _no_codec(cell: Cell) -> str | None:
    has = all(hasattr(cell.model_class, name) for name in ("encode", "decode"))
    return None if has and _sound(cell) == "input_values" else "the class is no codec: it has no encode and decode"


def _no_ctc(cell: Cell) -> str | None:
    return None if cell.model_class.__name__.endswith("ForCTC") else f"{cell.model_class.__name__} has no CTC head"


def _no_length_formula(cell: Cell) -> str | None:
    if _no_ctc(cell) is not None:
        return _no_ctc(cell)
    has = hasattr(cell.model_class, "_get_feat_extract_output_lengths")
    return None if has else "the class documents no formula of output lengths"


def _padding_is_not_masked(cell: Cell) -> str | None:
    if _no_sound(cell) is not None:
        return _no_sound(cell)
    if _sound_mask(cell) is None:
        return "forward takes no mask over the sound"
    if _no_codec(cell) is None:
        return "a codec cuts what it gives to the mask's length, frames beside one another are heard together"
    return None


def _no_parts(cell: Cell) -> str | None:
    return None if _parts(cell) else "the class has a forward of its own, it is not composed of parts that generate"


def _parts(cell: Cell) -> dict[str, PreTrainedModel]:
    """Returns the models that a class without a forward of its own is composed of, by name."""
    return parts(cell.model) if is_container(cell.model_class) else {}


@pytest.fixture(scope="session")
def decoder_inputs(cell: Cell) -> dict[str, Tensor]:
    """The cell's inputs with an explicit decoder side."""
    given = dict(cell.inputs)
    if "decoder_input_ids" not in given and _stream(cell) is DECODER_SIDE:
        given["decoder_input_ids"] = cell.make_inputs(labels=True)["labels"]
    return given


@check(level="consistent", core=True, unless=_no_sound)
def test_every_part_of_the_sound_moves_the_output(cell: Cell) -> None:
    """Finds parts of the sound that are never read: a wrong stride, frames cut off, a mask that hides them."""
    name = _sound(cell)
    assert name is not None
    shares = _gradient_shares(cell, name) or _effect_shares(cell, name)
    size = cell.inputs[name].shape[_time_axis(cell)] // _PARTS
    for row, parts_of_row in enumerate(shares):
        for part, share in enumerate(parts_of_row):
            assert share > EFFECT, (
                f"output of row {row} does not depend on {name} {part * size} to {(part + 1) * size - 1}: "
                f"its effect there is {share:.3g} of the whole sound's"
            )


def _gradient_shares(cell: Cell, name: str) -> list[list[float]]:
    """Returns the largest gradient of each part of each row as a share of the sound's; nothing behind a quantiser."""
    sound = cell.inputs[name].clone().requires_grad_()
    primary = cell.primary(cell.model(**{**cell.inputs, name: sound}))
    if not primary.requires_grad:
        return []
    weights = torch.randn(primary.shape, generator=torch.Generator().manual_seed(3)).to(primary)
    (gradient,) = torch.autograd.grad((primary * weights).sum(), sound, allow_unused=True)
    if gradient is None:  # the choice of a code passes no gradient
        return []
    assert_finite(f"gradient of {name}", gradient)
    gradient = gradient.abs().movedim(_time_axis(cell), 1)
    largest = max(magnitude(gradient), 1e-12)
    size = gradient.shape[1] // _PARTS
    return [[magnitude(row[part * size : (part + 1) * size]) / largest for part in range(_PARTS)] for row in gradient]


def _effect_shares(cell: Cell, name: str) -> list[list[float]]:
    """Returns how far other, louder sound in each part moves each row's output, as a share of its magnitude."""
    sound, axis = cell.inputs[name], _time_axis(cell)
    size = sound.shape[axis] // _PARTS
    before = cell.primary(cell.forward())
    moved: list[Tensor] = []
    for part in range(_PARTS):
        changed = sound.clone()
        changed.narrow(axis, part * size, size).copy_(4 * sound.narrow(axis, part * size, size).flip(axis))
        moved.append(cell.primary(cell.forward(inputs={**cell.inputs, name: changed})))
    largest = max(magnitude(before), 1e-12)
    return [[magnitude(after[row] - before[row]) / largest for after in moved] for row in range(before.shape[0])]


@check(level="consistent", core=True, unless=_no_sound)
def test_order_in_time_matters(cell: Cell, primary: Tensor) -> None:
    """Finds positions that were dropped: the sound's two halves exchanged must not give the same output."""
    name = _sound(cell)
    assert name is not None
    axis = _time_axis(cell)
    sound = cell.inputs[name]
    after = cell.primary(cell.forward(inputs={**cell.inputs, name: sound.roll(sound.shape[axis] // 2, dims=axis)}))
    assert_moved("the main output", after, primary, "when the two halves of the sound change places")


@check(level="consistent", core=True, unless=_padding_is_not_masked)
def test_padding_does_not_change_the_output(cell: Cell) -> None:
    """Finds padded sound that is attended to, or normalised together with the sound.

    What lies in the padding is changed, from a distance on: convolutions before the mask (Speech2Text) reach some
    frames across the sound's end, and there see padding by design. Where features are normalised by layer they end with
    the sound, so that there the padded sound must also give what the sound alone gives.
    """
    if _reads_among_words(cell):
        _assert_unheard_frames_ignored(cell)
        return
    model, exact = _takes_padding(cell)
    name = _sound(cell)
    assert name is not None
    sound = cell.inputs[name]
    axis = _time_axis(cell)
    length = sound.shape[axis]
    count = max(64, length // 2)
    shape = list(sound.shape)
    shape[axis] = count
    silence = torch.zeros(shape, dtype=sound.dtype, device=sound.device)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(5)).to(sound)
    noise.narrow(axis, 0, count // 2).zero_()
    mask = torch.ones(sound.shape[0], length + count, dtype=torch.long, device=sound.device)
    mask[:, length:] = 0
    padded = {**cell.inputs, _sound_mask(cell) or "": mask}
    alone = cell.primary(cell.forward(model=model))
    before = cell.primary(cell.forward(model=model, inputs={**padded, name: torch.cat([sound, silence], dim=axis)}))
    after = cell.primary(cell.forward(model=model, inputs={**padded, name: torch.cat([sound, noise], dim=axis)}))
    kept = alone.shape[1]  # frames of the sound itself; all of a decoder's tokens
    when = f"when masked sound behind step {length + count // 2} is changed"
    assert_close("the main output", after[:, :kept], before[:, :kept], cell.tolerance, when)
    if exact:
        when = f"when {count} steps of masked padding are added"
        assert_close("the main output", before[:, :kept], alone, cell.tolerance, when)


def _assert_unheard_frames_ignored(cell: Cell) -> None:
    """Asserts that frames which the mask leaves out move nothing, where placeholders among words stand for the rest."""
    name, axis = _sound(cell), _time_axis(cell)
    assert name is not None
    length = cell.inputs[name].shape[axis]
    kept = cell.make_inputs(heard=length // 2)
    assert kept["input_ids"].shape[1] < cell.inputs["input_ids"].shape[1], (
        f"{kept['input_ids'].shape[1]} tokens for {length // 2} frames of sound and no more for {length}"
    )
    noisy = kept[name].clone()
    tail = noisy.narrow(axis, length * 3 // 4, length - length * 3 // 4)
    tail.add_(torch.randn(tail.shape, generator=torch.Generator().manual_seed(5)).to(tail))
    before = cell.primary(cell.forward(inputs=kept))
    after = cell.primary(cell.forward(inputs={**kept, name: noisy}))
    when = f"when masked sound behind step {length * 3 // 4} is changed"
    assert_close("the main output", after, before, cell.tolerance, when)


def _takes_padding(cell: Cell) -> tuple[PreTrainedModel, bool]:
    """Returns the model to give padded sound to, and whether its features end with the sound.

    With `feat_extract_norm="group"`, the default, statistics run over the whole sound, padding included, and the
    documentation says to give such a model no attention mask. That of large checkpoints, `layer`, supports one. The
    convolution in each layer of a conformer reaches across the sound's end.
    """
    if not hasattr(cell.config, "feat_extract_norm"):
        return cell.model, False
    exact = not hasattr(cell.config, "conv_depthwise_kernel_size")
    if cell.config.feat_extract_norm == "layer":
        return cell.model, exact
    config = copy.deepcopy(cell.config)
    config.feat_extract_norm = "layer"
    return cell.fresh_model(config), exact


@check(level="consistent", core=True, unless=_no_length_formula)
def test_output_length_follows_the_formula(cell: Cell, primary: Tensor) -> None:
    """Finds a formula of output lengths that is not what the convolutions give: CTC would read beyond the frames."""
    name = _sound(cell)
    assert name is not None
    sound = cell.inputs[name]
    for cut in (0, 1, sound.shape[1] // 5):
        length = sound.shape[1] - cut
        logits = cell.primary(cell.forward(inputs=_cut(cell.inputs, name, length))) if cut else primary
        expected = int(cell.model._get_feat_extract_output_lengths(torch.tensor([length]))[0])
        assert logits.shape[1] == expected, (
            f"logits have {logits.shape[1]} frames for {length} samples, the formula says {expected}"
        )


def _cut(inputs: dict[str, Tensor], name: str, length: int) -> dict[str, Tensor]:
    """Returns the inputs with the sound, and a mask over it, cut to a number of samples."""
    out = {**inputs, name: inputs[name][:, :length]}
    mask = inputs.get("attention_mask")
    if mask is not None and mask.shape[1] == inputs[name].shape[1]:
        out["attention_mask"] = mask[:, :length]
    return out


@check(level="consistent", core=True, unless=_no_ctc)
def test_ctc_loss_is_that_of_the_logits(cell: Cell, primary: Tensor) -> None:
    """Finds a CTC loss with the wrong blank, the wrong lengths, or padding labels (-100) read as tokens."""
    rows, frames, size = primary.shape
    blank = cell.config.pad_token_id
    tokens = [token for token in range(size) if token != blank]
    count = max(2, min(3, frames // 3))
    labels = torch.tensor([[tokens[(2 * row + step) % len(tokens)] for step in range(count)] for row in range(rows)])
    labels[-1, -1] = IGNORED
    outputs = cell.forward(inputs={**cell.inputs, "labels": labels.to(primary.device)})
    kept = labels >= 0
    expected = nn.functional.ctc_loss(
        primary.float().log_softmax(-1).transpose(0, 1),
        labels[kept].to(primary.device),
        torch.full((rows,), frames),
        kept.sum(-1),
        blank=blank,
        reduction=cell.config.ctc_loss_reduction,
        zero_infinity=cell.config.ctc_zero_infinity,
    )
    assert_finite("loss", outputs.loss)
    assert_close("loss", outputs.loss, expected, cell.tolerance, "against CTC of the logits")


@check(level="consistent", core=True, unless=_no_decoder)
def test_decoder_causality(cell: Cell, decoder_inputs: dict[str, Tensor]) -> None:
    """Finds a causal mask that is missing or off by one in the decoder: a later token moves earlier logits."""
    generation.assert_causal(cell, decoder_inputs, _stream(cell) or DECODER_SIDE)


@check(level="consistent", core=True, unless=_no_decoder)
def test_cached_steps_match_one_pass(cell: Cell, decoder_inputs: dict[str, Tensor]) -> None:
    """Finds a cache that is stale, off by one, or mixes up self and cross attention, token by token."""
    stream = _stream(cell) or DECODER_SIDE
    length = decoder_inputs[stream.tokens].shape[1]
    once = (*_SOUND, *SOUND_MASKS) if stream is DECODER_ONLY and not _along_words(cell) else ()
    generation.assert_cached_steps_match(cell, decoder_inputs, [length - 2, 1, 1], stream, once=once)


@check(level="consistent", core=True, unless=_no_decoder)
def test_cross_attention_is_used(cell: Cell, decoder_inputs: dict[str, Tensor]) -> None:
    """Finds a decoder that does not look at the sound."""
    spoken = next((name for name in (*CODES_ALONG_WORDS, *AMONG_WORDS) if name in cell.inputs), "input_ids")
    name = _sound(cell) or spoken
    before = logits_of(cell, decoder_inputs)
    after = logits_of(cell, {**decoder_inputs, name: decoder_inputs[name].flip(0)})
    stream = _stream(cell) or DECODER_SIDE
    first = before.shape[1] - decoder_inputs[stream.tokens].shape[1]  # behind what stands before the tokens
    place, which = (-1, "last") if stream is DECODER_ONLY else (first, "first")
    assert_moved(
        f"logits of the {which} decoder token", after[:, place], before[:, place], f"when another row's {name} are read"
    )


def _prompt(cell: Cell, given: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns what `generate` goes on from, and what it must be told besides."""
    prompt = {name: tensor for name, tensor in given.items() if not name.startswith("decoder_")}
    token = placeholder(cell.config, "audio")
    words: dict[str, Any] = {}
    if hasattr(cell.model_class, "_supported_logits_processor_types"):  # refuses what forbids it an end or a token
        words = {"min_new_tokens": None}
    elif _reads_among_words(cell):  # a written placeholder wants sound
        words = {"suppress_tokens": [token]}
    length = prompt["input_ids"].shape[1] if "input_ids" in prompt else 0
    if _along_words(cell):  # the sound must last for what is written
        length //= 2
    if prompt.pop("audio_latents", None) is not None:  # speech is to be said, not gone on with
        length = int((prompt["input_ids"][0] == cell.config.audio_bos_token_id).nonzero()[0]) + 1
    if length and prompt["input_ids"].dim() == 2:
        prompt |= {name: prompt[name][:, :length] for name in ("input_ids", "attention_mask") if name in prompt}
    elif length and hasattr(cell.config, "codec_config"):  # hears, and makes the codes itself
        samples = torch.randn(given["input_ids"].shape[0], 1, length * cell.config.frame_size)
        prompt = {"input_ids": given["input_ids"][:, :1, 0], "input_values": samples.to(cell.model.device)}
    return prompt, words


@check(level="consistent", core=True, unless=_no_decoder)
def test_cached_and_uncached_greedy_generation_agree(cell: Cell, decoder_inputs: dict[str, Tensor]) -> None:
    """Finds generate taking other logits or tokens with the cache than without."""
    prompt, words = _prompt(cell, decoder_inputs)
    cached = generation.generate(cell, prompt, use_cache=True, **words)
    uncached = generation.generate(cell, prompt, use_cache=False, **words)
    generation.assert_generations_agree(cell, cached, uncached)


@check(level="consistent", core=True, unless=_no_decoder)
def test_labels_are_shifted_into_decoder_inputs(cell: Cell, decoder_inputs: dict[str, Tensor]) -> None:
    """Finds labels shifted wrongly on their way into the decoder, a wrong start token, or -100 read as a token."""
    if _stream(cell) is DECODER_ONLY:
        _assert_next_token_loss(cell)
        return
    if hasattr(cell.config, "delay_pattern"):
        _assert_loss_beside_the_inputs(cell, decoder_inputs)
        return
    if decoder_inputs["decoder_input_ids"].shape[0] > next(iter(decoder_inputs.values())).shape[0]:
        _assert_loss_over_codebooks(cell, decoder_inputs)
        return
    labels = decoder_inputs["decoder_input_ids"].clone()
    labels[:, -1] = IGNORED
    base = {name: tensor for name, tensor in decoder_inputs.items() if not name.startswith("decoder_")}
    outputs = cell.forward(inputs={**base, "labels": labels})
    shifted = torch.full_like(labels, int(cell.config.decoder_start_token_id))
    shifted[:, 1:] = labels[:, :-1]
    logits = cell.primary(outputs)
    expected = logits_of(cell, {**base, "decoder_input_ids": shifted})
    assert_close("logits", logits, expected, cell.tolerance, "between labels and the same labels shifted by hand")
    assert_close(
        "loss",
        outputs.loss,
        cross_entropy(logits, labels),
        cell.tolerance,
        "against the cross entropy of the logits at the labels",
    )


def _assert_loss_beside_the_inputs(cell: Cell, decoder_inputs: dict[str, Tensor]) -> None:
    """Asserts what a model makes of labels that its processor has shifted: they lie under the logits as they are."""
    labels = cell.make_inputs(labels=True)["labels"]
    labels[:, ::3] = IGNORED
    outputs = cell.forward(inputs={**decoder_inputs, "labels": labels})
    logits = cell.primary(outputs)
    expected = logits_of(cell, decoder_inputs)
    assert_close("logits", logits, expected, cell.tolerance, "when labels are given beside the decoder's inputs")
    when = "against the cross entropy of the logits at the labels"
    assert_close("loss", generation.loss_of(cell, outputs), cross_entropy(logits, labels), cell.tolerance, when)


def _assert_loss_over_codebooks(cell: Cell, decoder_inputs: dict[str, Tensor]) -> None:
    """Asserts what a model that writes several codebooks makes of labels (batch, steps, codebooks)."""
    labels = cell.make_inputs(labels=True)["labels"]
    rows, steps, books = labels.shape
    base = {name: tensor for name, tensor in decoder_inputs.items() if not name.startswith("decoder_")}
    outputs = cell.forward(inputs={**base, "labels": labels})
    start = int(cell.config.decoder.bos_token_id)
    shifted = torch.full((rows, books, steps), start, device=labels.device)
    shifted[..., 1:] = labels.transpose(1, 2)[..., :-1]
    logits = cell.primary(outputs)
    expected = logits_of(cell, {**base, "decoder_input_ids": shifted.reshape(rows * books, steps)})
    assert_close("logits", logits, expected, cell.tolerance, "between labels and the same labels shifted by hand")
    losses = cross_entropy(logits[:, -steps:].reshape(rows, books, steps, -1), labels.transpose(1, 2))
    assert_close("loss", outputs.loss, losses, cell.tolerance, "against the mean cross entropy over the codebooks")


def _assert_next_token_loss(cell: Cell) -> None:
    words = cell.inputs["input_ids"]
    labels = partly_ignored(words[..., 0] if words.dim() == 3 else words)  # the text stands before streams of codes
    name = "text_labels" if "text_labels" in parameters_of(cell.model_class) else "labels"
    outputs = cell.forward(inputs={**cell.inputs, name: labels})
    expected = cross_entropy(cell.primary(outputs)[:, :-1], labels[:, 1:])
    when = "against the cross entropy of logits[:, :-1] at labels[:, 1:]"
    assert_close("loss", generation.loss_of(cell, outputs), expected, cell.tolerance, when)


@check(level="consistent", core=True, unless=_no_text_stream)
def test_left_padding_does_not_change_logits(cell: Cell) -> None:
    """Finds left padding that is attended to, or that moves sound or positions: prompts of a batch differ in length."""
    generation.assert_padding_ignored(cell, cell.inputs, side="left")


@check(level="consistent", core=True, unless=_no_placeholders)
def test_placeholders_must_match_the_sound(cell: Cell) -> None:
    """Finds features of sound that are dropped or shifted without a word when the text has too few places for them."""
    tokens = cell.inputs["input_ids"].clone()
    token = placeholder(cell.config, "audio")
    for row in range(tokens.shape[0]):
        first = int((tokens[row] == token).nonzero()[0])
        tokens[row, first] = generation.other_token(cell, int(token or 0))
    try:
        cell.forward(inputs={**cell.inputs, "input_ids": tokens})
    except (ValueError, RuntimeError):
        return
    raise AssertionError("one placeholder of sound too few in each row is accepted without an error")


@check(level="consistent", core=True, unless=_no_codec)
def test_codes_decode_to_what_forward_gives(cell: Cell, primary: Tensor) -> None:
    """Finds a forward that is not its own encoder and decoder in a row: other codes, scales or lengths between them."""
    given = {name: value for name, value in cell.inputs.items() if name in _arguments(cell.model.encode)}
    with torch.no_grad():
        encoded = cell.model.encode(**given)
        wanted = _arguments(cell.model.decode)
        codes = {name: value for name, value in encoded.items() if name in wanted and value is not None}
        assert codes, f"encode gives {', '.join(encoded)}, decode takes {', '.join(wanted)}"
        decoded = cell.primary(cell.model.decode(**codes))
    length = min(decoded.shape[-1], primary.shape[-1])
    assert primary.shape[-1] > decoded.shape[-1] // 2, f"{primary.shape[-1]} samples of {decoded.shape[-1]} decoded"
    tolerance = Tolerance(rtol=_ROUNDING * cell.tolerance.rtol, atol=_ROUNDING * cell.tolerance.atol)
    when = "against encode and decode in a row"
    assert_close("sound", primary[..., :length], decoded[..., :length], tolerance, when)


def _arguments(method: Any) -> list[str]:
    return list(inspect.signature(method).parameters)


def _causal_parts(cell: Cell) -> dict[str, PreTrainedModel]:
    return {name: part for name, part in _parts(cell).items() if hasattr(part, "generate") and hasattr(part, "lm_head")}


def _logits(model: PreTrainedModel, **inputs: Any) -> Tensor:
    with torch.no_grad():
        logits = model(**inputs).logits
    assert isinstance(logits, Tensor)
    return logits


@check(level="consistent", core=True, unless=_no_parts)
def test_parts_that_generate_are_causal(cell: Cell) -> None:
    """Finds a part whose causal mask is missing or off by one: a later token moves earlier logits."""
    for name, part in _causal_parts(cell).items():
        tokens = torch.arange(2, 12).reshape(2, 5) % part.config.input_vocab_size
        before = _logits(part, input_ids=tokens)
        for index in (2, 4):
            changed = tokens.clone()
            changed[:, index] = (changed[:, index] + 7) % part.config.input_vocab_size
            after = _logits(part, input_ids=changed)
            when = f"when the later token {index} is changed"
            assert_close(f"{name} logits", after[:, :index], before[:, :index], cell.tolerance, when)
            assert_moved(f"{name} logits", after[:, index:], before[:, index:], f"when token {index} is changed")


@check(level="consistent", core=True, unless=_no_parts)
def test_parts_give_the_same_logits_from_their_cache(cell: Cell) -> None:
    """Finds a part whose cache is stale or off by one, token by token."""
    for name, part in _causal_parts(cell).items():
        tokens = torch.arange(2, 12).reshape(2, 5) % part.config.input_vocab_size
        full = _logits(part, input_ids=tokens)
        with torch.no_grad():
            outputs = part(input_ids=tokens[:, :3], use_cache=True)
            for index in (3, 4):
                outputs = part(
                    input_ids=tokens[:, index : index + 1], past_key_values=outputs.past_key_values, use_cache=True
                )
                assert_close(
                    f"{name} logits of token {index}",
                    outputs.logits[:, -1],
                    full[:, index],
                    cell.tolerance,
                    "when read from the cache",
                )
