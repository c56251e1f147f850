"""Do translations come closer? Distances and pictures of translation pairs, before and after.

Figure 1 of Translation Pair Prediction (Mishra and Haghighi, W-NUT 2021) and its plot of distances:
both sides of some pairs in two dimensions, by the encoder before training and by the one after, and
the mean distance between the sides. An encoder that brings *all* texts closer has not aligned
anything, so the distance of texts that are no translations of each other stands beside it.
"""

from __future__ import annotations

import csv
import importlib.util
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twhin_hf.errors import InputError
from twhin_hf.evaluation.retrieval import texts_by_languages
from twhin_hf.files import new_file
from twhin_hf.results import Result

if TYPE_CHECKING:
    from datasets import Dataset

    from twhin_hf.evaluation.engagement import Encoder

logger = logging.getLogger(__name__)

Vectors = NDArray[np.float32]
METHODS = ("t-SNE", "UMAP")
FEWEST_PAIRS = 3


@dataclass(frozen=True)
class Distances:
    """Mean distances between the two sides of pairs.

    Args:
        cosine: 1 − cosine of a text and its translation.
        euclidean: Length of the difference of their embeddings, as the encoder gives them.
        other_cosine: As `cosine`, of a text and the translation of another text.
        other_euclidean: As `euclidean`, of a text and the translation of another text.
    """

    cosine: float
    euclidean: float
    other_cosine: float
    other_euclidean: float


@dataclass(frozen=True)
class Alignment:
    """Pairs of two languages, as two encoders see them.

    Args:
        languages: Of side a and side b.
        distances: By `before` and `after`.
        vectors: Embeddings by `before` and `after`, `[2 · pairs, width]`: the texts of side a,
            then their translations in the same order.
    """

    languages: tuple[str, str]
    distances: dict[str, Distances]
    vectors: dict[str, Vectors]


def pair_distances(side_a: Vectors, side_b: Vectors) -> Distances:
    """Mean distances of row i of a and row i of b, and of row i and row i + 1 as others.

    Args:
        side_a: Embeddings `[pairs, width]`.
        side_b: Embeddings of the translations `[pairs, width]`.

    >>> pair_distances(np.eye(2) * 2, np.eye(2))
    Distances(cosine=0.0, euclidean=1.0, other_cosine=1.0, other_euclidean=2.23606797749979)
    """
    unit_a, unit_b = (_unit(np.asarray(side, np.float64)) for side in (side_a, side_b))
    return Distances(
        *(
            float(figure)
            for shift in (0, -1)
            for figure in (
                (1 - (unit_a * np.roll(unit_b, shift, axis=0)).sum(axis=1)).mean(),
                np.linalg.norm(side_a - np.roll(side_b, shift, axis=0), axis=1).mean(),
            )
        )
    )


def evaluate_alignment(
    before: Encoder,
    after: Encoder,
    pairs: Dataset,
    *,
    max_pairs: int = 500,
    seed: int = 0,
    **encode_options: Any,
) -> list[Alignment]:
    """Distances and embeddings of the pairs of each two languages.

    Args:
        before: The encoder before it was aligned; its `encode(texts, …)` is called.
        after: The aligned encoder.
        pairs: Columns `text_a`, `text_b`, `lang_a` and `lang_b`.
        max_pairs: Pairs of each two languages, drawn without replacement where there are more.
        seed: Seed of the draw.
        **encode_options: Passed to `encode` (`pooling`, `batch_size`, `max_length`); those of
            `common_options`, where the encoders' own may differ.

    Raises:
        InputError: Pairs of one language only, or fewer than 3 of two languages.
    """
    found = []
    for languages, sides in texts_by_languages(pairs).items():
        count = len(sides[0])
        if min(count, max_pairs) < FEWEST_PAIRS:
            raise InputError(
                f"{min(count, max_pairs)} pairs of {' and '.join(languages)}: at least "
                f"{FEWEST_PAIRS} are needed to compare distances. Give more pairs."
            )
        rows = np.random.default_rng(seed).permutation(count)[:max_pairs]
        texts = np.concatenate([side[rows] for side in sides]).tolist()
        vectors = {
            name: np.asarray(model.encode(texts, **encode_options), dtype=np.float32)
            for name, model in (("before", before), ("after", after))
        }
        distances = {
            name: pair_distances(*np.split(embeddings, 2)) for name, embeddings in vectors.items()
        }
        found.append(Alignment(languages, distances, vectors))
    return found


def common_options(
    before: Any, after: Any, pooling: str | None = None, max_length: int | None = None
) -> dict[str, Any]:
    """How both encoders read a text: one pooling and one length, or their distances differ by it.

    Args:
        before: A `Twhin…Model`.
        after: A `Twhin…Model`, whose pooling is taken where none is given.
        pooling: `cls`, `mean` or `combined`.
        max_length: Maximum sequence length; longer texts are truncated. By default what both
            read, 128 at most.

    Returns:
        `pooling` and `max_length`, for `evaluate_alignment`.
    """
    own = before.config.pooling, after.config.pooling
    if pooling is None and own[0] != own[1]:
        logger.warning(
            "pooling: %s for both encoders, as the second has it; the first has %s", own[1], own[0]
        )
    lengths = before.max_seq_length, after.max_seq_length
    return {"pooling": pooling or own[1], "max_length": max_length or min(lengths)}


def available_methods() -> list[str]:
    """t-SNE, and UMAP where umap-learn is installed (`pip install 'twhin_hf[umap]'`)."""
    return [name for name in METHODS if name != "UMAP" or importlib.util.find_spec("umap")]


def project(vectors: Vectors, method: str, seed: int = 0) -> Vectors:
    """Embeddings in two dimensions `[texts, 2]`, by cosine distances.

    Raises:
        InputError: An unknown method.
        ImportError: UMAP without umap-learn.
    """
    neighbours = min(30, (len(vectors) - 1) // 2)
    if method == "t-SNE":
        from sklearn.manifold import TSNE

        model = TSNE(2, perplexity=neighbours, metric="cosine", init="random", random_state=seed)
    elif method == "UMAP":
        from umap import UMAP

        model = UMAP(n_neighbors=max(2, neighbours), metric="cosine", random_state=seed)
    else:
        raise InputError(f"method is {method!r}; choose one of {METHODS}")
    return np.asarray(model.fit_transform(vectors), dtype=np.float32)


def alignment_rows(alignments: Sequence[Alignment]) -> list[Result]:
    """Rows for `results.json`: each distance before and after, and its change in per cent."""
    rows = []
    for alignment in alignments:
        name = "-".join(alignment.languages)
        before, after = (asdict(alignment.distances[when]) for when in ("before", "after"))
        details = {"pairs": len(alignment.vectors["before"]) // 2}
        for metric in before:
            title = metric.replace("_", " ") + " distance"
            change = change_in_per_cent(before[metric], after[metric])
            for label, value in (
                (f"{title} before", before[metric]),
                (f"{title} after", after[metric]),
                (f"{title} Δ%", change),
            ):
                if value is not None:
                    rows.append(Result(name, label, value, details=details))
    return rows


def change_in_per_cent(before: float, after: float) -> float | None:
    """How much `after` is above `before`; None where `before` is 0."""
    return 100 * (after / before - 1) if before else None


def write_distances(alignments: Sequence[Alignment], path: str | os.PathLike[str]) -> Path:
    """CSV: a row for each two languages and distance, with before, after and the change."""
    path = Path(path)
    with new_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["lang_a", "lang_b", "pairs", "distance", "before", "after", "change_%"])
        for alignment in alignments:
            before, after = (alignment.distances[when] for when in ("before", "after"))
            for field in fields(Distances):
                values = getattr(before, field.name), getattr(after, field.name)
                writer.writerow(
                    [
                        *alignment.languages,
                        len(alignment.vectors["before"]) // 2,
                        field.name,
                        *values,
                        change_in_per_cent(*values),
                    ]
                )
    return path


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
