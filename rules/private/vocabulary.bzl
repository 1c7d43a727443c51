"""The closed vocabularies of a declaration, and how a word outside them is refused."""

# What a model is, and so which checks it must pass: one folder under `models/`, one module in `harness/checks/`.
CATEGORIES = ["encoder", "decoder", "encoder_decoder", "vision", "multimodal", "audio", "time_series", "decision"]

# How much a failure matters, by use and by how many other architectures follow this one.
TIERS = ["critical", "high", "medium", "low"]

# The pipeline tasks of the environment, `text2text-generation`, whose pipeline transformers 5 removed, and the hub's
# tags of models that have no pipeline.
TASKS = [
    "audio-classification",
    "automatic-speech-recognition",
    "depth-estimation",
    "document-question-answering",
    "feature-extraction",
    "fill-mask",
    "image-classification",
    "image-feature-extraction",
    "image-segmentation",
    "image-text-to-text",
    "image-to-image",
    "image-to-text",
    "keypoint-detection",
    "keypoint-matching",
    "mask-generation",
    "object-detection",
    "question-answering",
    "reinforcement-learning",
    "text-classification",
    "text-generation",
    "text-to-audio",
    "text2text-generation",
    "time-series-forecasting",
    "token-classification",
    "translation",
    "unconditional-image-generation",
    "video-classification",
    "visual-question-answering",
    "zero-shot-audio-classification",
    "zero-shot-image-classification",
    "zero-shot-object-detection",
]

def _pairs(word):
    """Returns the pairs of neighbouring letters in `word`, each once."""
    return {word[i:i + 2].lower(): None for i in range(len(word) - 1)}

def nearest(word, vocabulary):
    """Finds the word that was probably meant, by Dice's coefficient of letter pairs; Starlark has no edit distance.

    Args:
      word: what the user wrote.
      vocabulary: list of strings.

    Returns:
      The entry of `vocabulary` that shares the most pairs of neighbouring letters, or None if none is near.
    """
    pairs = _pairs(word)
    best, best_score = None, 0
    for candidate in vocabulary:
        others = _pairs(candidate)
        score = 200 * len([None for pair in pairs if pair in others]) // max(1, len(pairs) + len(others))
        if score > best_score:
            best, best_score = candidate, score
    return best if best_score >= 50 else None

def outside_vocabulary(label, attribute, word, vocabulary):
    """Checks a word against a closed vocabulary.

    Args:
      label: label of the declaration, for the message.
      attribute: name of the attribute that holds the word.
      word: what the user wrote.
      vocabulary: list of the allowed words.

    Returns:
      The error's text, or None if the word is in the vocabulary.
    """
    if word in vocabulary:
        return None
    meant = nearest(word, vocabulary)
    hint = "did you mean '{}'? ".format(meant) if meant else ""
    return "{}: {} '{}' is not known; {}it must be one of: {}".format(
        label,
        attribute,
        word,
        hint,
        ", ".join(vocabulary),
    )
