"""What an encoder must beat: chance, words alone, and the encoder that its training began from."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from twhin_hf.benchmarks.engagement.benchmark import EngagementBenchmark
from twhin_hf.errors import InputError
from twhin_hf.evaluation.engagement import evaluate_engagement, evaluate_post_features
from twhin_hf.evaluation.engagement_results import EngagementResult, EngagementResults, chance
from twhin_hf.files import read_json_object
from twhin_hf.loading.text_encoders import TextEncoder
from twhin_hf.recommendation.engagement_config import EngagementConfig
from twhin_hf.recommendation.words import DIMENSION, WordFeatures
from twhin_hf.results import CHANCE
from twhin_hf.training.record import RECORD_NAME

logger = logging.getLogger(__name__)

TFIDF = "TF-IDF + SVD"


def evaluate_baselines(
    judged: EngagementResults,
    benchmark: EngagementBenchmark,
    config: EngagementConfig | None = None,
    stock: Mapping[str, TextEncoder] | None = None,
    words: np.ndarray | None = None,
) -> dict[str, dict[str, EngagementResult]]:
    """Judges what an encoder must beat, on the records that it was judged on.

    Args:
        judged: Results of the encoder.
        benchmark: On which it was judged.
        config: With which it was judged.
        stock: Encoders to judge as well, by the name to show.
        words: Of `tfidf_features`, where they are there already.

    Returns:
        Results by language by name: chance, TF-IDF + SVD (left out where no language has words),
        and the stock encoders. `compare_engagement` compares them with the encoder.
    """
    found = {CHANCE: chance(judged, config)}
    try:
        words = tfidf_features(benchmark) if words is None else words
    except ValueError as error:
        logger.warning("%s is left out: %s", TFIDF, error)
    else:
        found[TFIDF] = evaluate_post_features(words, benchmark, config)
    for name, encoder in (stock or {}).items():
        found[name] = evaluate_engagement(encoder, benchmark, config)
    return found


def tfidf_features(benchmark: EngagementBenchmark, dimension: int = DIMENSION) -> np.ndarray:
    """TF-IDF + SVD of a benchmark's posts, each language by its own training posts.

    Args:
        benchmark: Posts with languages and splits.
        dimension: Width of the features.

    Returns:
        Float32 [posts, dimension]. Columns that a language has no words for are 0, and so are all
        of a language without words, which is said.

    Raises:
        InputError: No language has words, see `tfidf_svd`.
    """
    features = np.zeros((len(benchmark.texts), dimension), dtype=np.float32)
    texts = np.array(benchmark.texts, dtype=object)
    without: dict[str, str] = {}
    for language in benchmark.language_names:
        own = np.flatnonzero(benchmark.languages == language)
        is_training = benchmark.splits[own] == "train"
        try:
            vectors = tfidf_svd(texts[own].tolist(), is_training, dimension)
        except ValueError as error:
            without[language] = str(error)
            continue
        features[own, : vectors.shape[1]] = vectors
    if len(without) == len(benchmark.language_names):
        raise InputError(" ".join(f"{language}: {reason}" for language, reason in without.items()))
    for language, reason in without.items():
        logger.warning("%s has no features in %s: %s", TFIDF, language, reason)
    return features


def tfidf_svd(
    texts: Sequence[str], is_training: np.ndarray, dimension: int = DIMENSION
) -> np.ndarray:
    """Words weighed by TF-IDF (`1 + ln tf`), projected on their main directions.

    scikit-learn's `TfidfVectorizer` with sublinear frequencies and words that at least two training
    posts hold, then `TruncatedSVD`; rows are left as long as they come out.

    Args:
        texts: All posts of a language.
        is_training: Which of them words and directions are learnt from, bool [texts].
        dimension: Most dimensions; there are fewer where there are fewer words or training posts.

    Returns:
        Float32 [texts, at most dimension].

    Raises:
        InputError: No word stands in two training posts.
    """
    training = [text for text, is_own in zip(texts, is_training, strict=True) if is_own]
    return WordFeatures.fit(training, dimension).encode(texts)


def find_stock_encoder(model: str) -> tuple[str | None, str]:
    """The folder of the encoder that a model's training began from.

    Training records the models that it goes back to by name (`training_record.json`), an adapter
    its base. Folders beside the model and below the working directory are looked for; nothing is
    fetched.

    Args:
        model: Folder of the model, or a repository's name.

    Returns:
        The folder, or None, and a sentence on it.
    """
    folder = Path(model)
    records = [folder / RECORD_NAME, folder / "adapter_config.json"]
    named = [read_json_object(record) for record in records if record.is_file()]
    if not named:
        return None, (
            f"{model} has no record of what its training began from; --base_model PATH compares it."
        )
    adapter = named[-1].get("base_model_name_or_path")
    began = [*([adapter] if adapter else []), *(named[0].get("base_model") or [])]
    if not all(isinstance(name, str) for name in began):
        raise InputError(f"the record of {model} names {began} as what its training began from")
    if not began:
        return None, f"{model} was trained from scratch: there is no stock encoder to compare."
    # The record tells a base by its name alone, the adapter where it lies.
    for name in (began[-1], *([adapter] if adapter else [])):
        for place in (folder.resolve().parent / name, Path(name)):
            if (place / "config.json").is_file() and place.resolve() != folder.resolve():
                return str(place), f"The training of {model} began from {name} ({place})."
    return None, (
        f"The training of {model} began from {began[-1]}, which is no folder here; "
        f"--base_model PATH compares it."
    )
