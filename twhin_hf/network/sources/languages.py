"""Language identification for posts whose log names no language."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from twhin_hf.errors import InputError

# The language code of each text, None where it is not clear.
LanguageDetector = Callable[[Sequence[str]], Sequence["str | None"]]

MIN_CONFIDENCE = 0.5
_LABEL = "__label__"


def fasttext_detector(path: str | Path, min_confidence: float = MIN_CONFIDENCE) -> LanguageDetector:
    """A detector from a fastText model of languages, such as `lid.176.ftz`.

    Args:
        path: The model, whose labels are `__label__en` and so on.
        min_confidence: Least probability of a language.

    Raises:
        FileNotFoundError: No such file.
        ImportError: The package is not installed.
        InputError: The file is no fastText model.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist. Check the path of the language model.")
    try:
        import fasttext
    except ImportError as error:
        raise ImportError(
            "A fastText model needs the package fasttext: `pip install twhin_hf[fasttext]`."
        ) from error
    try:
        model = fasttext.load_model(str(path))
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path} is no fastText model: {error}.") from error

    def detect(texts: Sequence[str]) -> list[str | None]:
        # A line break would end the text.
        lines = [" ".join(text.split()) for text in texts]
        labels, _ = model.predict(lines, k=1, threshold=min_confidence)
        return [found[0].removeprefix(_LABEL) if len(found) else None for found in labels]

    return detect


def package_detector(min_confidence: float = MIN_CONFIDENCE) -> LanguageDetector:
    """A detector that needs no file: py3langid, which brings a model of 139 languages.

    Args:
        min_confidence: Least probability of a language.

    Raises:
        ImportError: The package is not installed.
    """
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise ImportError(
            "Language identification needs the package py3langid: "
            "`pip install twhin_hf[languages]`."
        ) from error
    identifier = LanguageIdentifier.from_model_file(
        MODEL_FILE, norm_probs=True, min_confidence=min_confidence
    )

    def detect(texts: Sequence[str]) -> list[str | None]:
        return [identifier.classify(text)[0] for text in texts]

    return detect
