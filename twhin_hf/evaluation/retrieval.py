"""Bitext retrieval: does a text find its translation among all texts of the other language?

Every distinct text of one side is a query, every distinct text of the other side a candidate, both
ways. Two scores: the cosine, and the ratio margin of Artetxe and Schwenk (ACL 2019, equations 1
and 2),

    margin(x, y) = cos(x, y) / (Σ_{z ∈ NN_k(x)} cos(x, z) / 2k + Σ_{z ∈ NN_k(y)} cos(y, z) / 2k),

where NN_k are the k = 4 nearest neighbours in the other language: it takes from texts that are near
to everything the advantage of being so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from twhin_hf.data.posts import UNKNOWN_LANGUAGE
from twhin_hf.errors import InputError
from twhin_hf.evaluation.bootstrap import bootstrap_means, interval
from twhin_hf.results import Result

if TYPE_CHECKING:
    from datasets import Dataset

    from twhin_hf.evaluation.engagement import Encoder

MARGIN_NEIGHBOURS = 4
SCORES_PER_BLOCK = 2**22  # 16 MiB of float32 scores at a time
RETRIEVAL_METRICS = {
    "accuracy_at_1": "accuracy@1",
    "accuracy_at_10": "accuracy@10",
    "mrr": "MRR",
    "margin_accuracy_at_1": "margin accuracy@1",
    "margin_accuracy_at_10": "margin accuracy@10",
    "margin_mrr": "margin MRR",
}


@dataclass(frozen=True)
class RetrievalResult:
    """Figures of one direction, 0 to 1; those of the margin score begin with `margin_`.

    Args:
        accuracy_at_1: Share of the queries that rank a translation first, by cosine.
        accuracy_at_10: Share that ranks one among the first ten.
        mrr: Mean reciprocal rank of the best translation.
        margin_accuracy_at_1: As above, by the margin score.
        margin_accuracy_at_10: As above, by the margin score.
        margin_mrr: As above, by the margin score.
        num_queries: Distinct texts that were looked up.
        num_candidates: Distinct texts that were ranked for each.
        ranks: `[2, queries]`, of each query's best translation by cosine and by margin.
        pairs: `[queries]`, the first pair that each stands in, numbered alike in both directions.
        num_right: `[queries]`, distinct translations of each among the candidates.
    """

    accuracy_at_1: float
    accuracy_at_10: float
    mrr: float
    margin_accuracy_at_1: float
    margin_accuracy_at_10: float
    margin_mrr: float
    num_queries: int
    num_candidates: int
    ranks: np.ndarray = field(default_factory=lambda: np.empty((2, 0)), repr=False, compare=False)
    pairs: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False, compare=False)
    num_right: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False, compare=False)


def bitext_retrieval(
    side_a: Tensor,
    side_b: Tensor,
    links: np.ndarray | None = None,
    *,
    neighbours: int = MARGIN_NEIGHBOURS,
    device: str | torch.device | None = None,
) -> tuple[RetrievalResult, RetrievalResult]:
    """Ranks of the translations, from a to b and from b to a.

    A query with several translations is ranked by the best of them; the others do not stand
    before it. A wrong candidate with an equal score, or with NaN, stands before the right one.

    Args:
        side_a: Embeddings `[texts a, width]`, of any length.
        side_b: Embeddings `[texts b, width]`.
        links: `[links, 2]`, the rows of a and b that are translations of each other; row i of a
            and row i of b where none are given.
        neighbours: K of the margin score (paper: 4); fewer where a side has fewer texts.
        device: Where the scores are computed; where the embeddings are by default.

    Raises:
        InputError: Embeddings of different width, a side with fewer than two texts, links out of
            range, or a text without a link.

    >>> a = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> a_to_b, b_to_a = bitext_retrieval(a, a)
    >>> a_to_b.accuracy_at_1, b_to_a.mrr
    (1.0, 1.0)
    """
    links = _checked_links(side_a, side_b, links)
    side_a, side_b = (
        functional.normalize(side.to(device or side.device, torch.float32), dim=1)
        for side in (side_a, side_b)
    )
    near_a = _mean_of_nearest(side_a, side_b, neighbours)
    near_b = _mean_of_nearest(side_b, side_a, neighbours)
    return (
        _result(side_a, side_b, near_a, near_b, links),
        _result(side_b, side_a, near_b, near_a, links[:, ::-1]),
    )


def evaluate_retrieval(
    model: Encoder,
    pairs: Dataset,
    *,
    neighbours: int = MARGIN_NEIGHBOURS,
    device: str | torch.device | None = None,
    **encode_options: Any,
) -> dict[str, RetrievalResult]:
    """Retrieval among the pairs of each two languages, with embeddings of a frozen model.

    Args:
        model: Its `encode(texts, …)` is called once for each side of each two languages.
        pairs: Columns `text_a`, `text_b`, `lang_a` and `lang_b`.
        neighbours: K of the margin score (paper: 4).
        device: Where the scores are computed; the CPU by default.
        **encode_options: Passed to `encode` (`pooling`, `batch_size`, `max_length`).

    Returns:
        A result a direction, such as `en→ar`.

    Raises:
        InputError: Pairs of one language only, or fewer than two distinct texts per side.
    """
    found: dict[str, RetrievalResult] = {}
    for languages, texts in texts_by_languages(pairs).items():
        found |= retrieve_texts(
            model, languages, texts, neighbours=neighbours, device=device, **encode_options
        )
    return found


def retrieve_texts(
    model: Encoder,
    languages: tuple[str, str],
    texts: tuple[np.ndarray, np.ndarray],
    *,
    neighbours: int = MARGIN_NEIGHBOURS,
    device: str | torch.device | None = None,
    **encode_options: Any,
) -> dict[str, RetrievalResult]:
    """Retrieval in both directions between two languages; `evaluate_retrieval` says the rest.

    Args:
        model: As there.
        languages: Of the sides.
        texts: `[pairs]` of each side, as `texts_by_languages` gives them.
        neighbours: As there.
        device: As there.
        **encode_options: As there.

    Raises:
        InputError: Fewer than two distinct texts of a side.
    """
    lang_a, lang_b = languages
    (unique_a, rows_a), (unique_b, rows_b) = (np.unique(own, return_inverse=True) for own in texts)
    if min(len(unique_a), len(unique_b)) < 2:
        raise InputError(
            f"The pairs of {lang_a} and {lang_b} have {len(unique_a)} and {len(unique_b)} "
            "distinct texts; retrieval needs at least two a side. Give more pairs."
        )
    directions = bitext_retrieval(
        torch.as_tensor(model.encode(unique_a.tolist(), **encode_options)),
        torch.as_tensor(model.encode(unique_b.tolist(), **encode_options)),
        np.stack([rows_a, rows_b], axis=1),
        neighbours=neighbours,
        device=device,
    )
    return dict(zip((f"{lang_a}→{lang_b}", f"{lang_b}→{lang_a}"), directions, strict=True))


def texts_by_languages(
    pairs: Dataset,
) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """Both sides' texts, arrays of str, of each two languages; pairs may stand either way round.

    Pairs whose languages nobody told are of the languages `a` and `b`.

    Raises:
        InputError: The sides of a pair are of one language, or there is no pair.
    """
    table = pairs.with_format("arrow")[:]
    text_a, text_b, lang_a, lang_b = (
        np.asarray(table[name].to_pylist(), dtype=object)
        for name in ("text_a", "text_b", "lang_a", "lang_b")
    )
    if not len(table):
        raise InputError("There is no translation pair.")
    unknown = (lang_a == UNKNOWN_LANGUAGE) & (lang_b == UNKNOWN_LANGUAGE)
    lang_a, lang_b = np.where(unknown, "a", lang_a), np.where(unknown, "b", lang_b)
    same = lang_a == lang_b
    if same.any():
        raise InputError(
            f"{int(same.sum()):,} pairs are of one language only ({lang_a[same][0]!r} for one); "
            "two languages a pair are needed. Check the columns lang_a and lang_b."
        )
    found: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
    for one, other in dict.fromkeys(zip(lang_a, lang_b, strict=True)):
        if (other, one) not in found:
            straight = (lang_a == one) & (lang_b == other)
            turned = (lang_a == other) & (lang_b == one)
            found[(one, other)] = (
                np.concatenate([text_a[straight], text_b[turned]]),
                np.concatenate([text_b[straight], text_a[turned]]),
            )
    return found


def retrieval_rows(results: Mapping[str, RetrievalResult]) -> list[Result]:
    """Rows for `results.json`: each metric of each direction, and the mean of the directions.

    The mean has a 95 % interval over pairs, which are drawn once for both of their directions.
    """
    intervals = _intervals(list(results.values()))
    rows = []
    for name, metric in RETRIEVAL_METRICS.items():
        rows += [
            Result(
                language=direction,
                metric=metric,
                value=getattr(result, name),
                details={"queries": result.num_queries, "candidates": result.num_candidates},
            )
            for direction, result in results.items()
        ]
        mean = float(np.mean([getattr(result, name) for result in results.values()]))
        rows.append(
            Result(
                "average",
                metric,
                mean,
                details={"directions": len(results)},
                interval=intervals.get(name, []),
            )
        )
    return rows


def _intervals(directions: Sequence[RetrievalResult]) -> dict[str, list[float]]:
    """Of the mean of the directions, by metric; none without ranks."""
    if not all(len(direction.pairs) for direction in directions):
        return {}
    # Two directions of the same languages follow each other; the pairs of others are other pairs.
    apart = 1 + max(int(direction.pairs.max()) for direction in directions)
    pairs = [own.pairs + apart * (place // 2) for place, own in enumerate(directions)]
    values = [np.concatenate([_of_queries(ranks) for ranks in own.ranks]) for own in directions]
    tables = [own[row] for row in range(len(RETRIEVAL_METRICS)) for own in values]
    means = bootstrap_means(tables, pairs * len(RETRIEVAL_METRICS))
    means = means.reshape(len(means), len(RETRIEVAL_METRICS), -1).mean(axis=2)
    return {name: interval(drawn) for name, drawn in zip(RETRIEVAL_METRICS, means.T, strict=True)}


def _result(
    queries: Tensor, candidates: Tensor, near_q: Tensor, near_c: Tensor, links: np.ndarray
) -> RetrievalResult:
    order = torch.from_numpy(links[np.argsort(links[:, 0], kind="stable")].copy())
    order = order.to(queries.device)
    cosine, margin = [], []
    for block in _blocks(queries, candidates):
        own = order[(order[:, 0] >= block.start) & (order[:, 0] < block.stop)]
        rows, right = own[:, 0] - block.start, own[:, 1]
        scores = queries[block] @ candidates.T
        ratio = scores / ((near_q[block, None] + near_c[None, :]) / 2)
        cosine.append(_ranks(scores, rows, right))
        margin.append(_ranks(ratio, rows, right))
    ranks = np.stack([torch.cat(found).cpu().numpy() for found in (cosine, margin)])
    figures = np.concatenate([_of_queries(own).mean(axis=1) for own in ranks]).tolist()
    pairs = np.full(len(queries), len(links))
    np.minimum.at(pairs, links[:, 0], np.arange(len(links)))
    return RetrievalResult(
        **dict(zip(RETRIEVAL_METRICS, figures, strict=True)),
        num_queries=len(queries),
        num_candidates=len(candidates),
        ranks=ranks,
        pairs=pairs,
        num_right=np.bincount(np.unique(links, axis=0)[:, 0], minlength=len(queries)),
    )


def _ranks(scores: Tensor, rows: Tensor, right: Tensor) -> Tensor:
    """Rank of each row's best right candidate, from 1 on. Changes `scores` `[rows, candidates]`.

    Args:
        scores: One row a query.
        rows: `[links]`, rows of `scores`.
        right: `[links]`, columns that are right for these rows.
    """
    best = scores.new_full((len(scores),), -torch.inf)
    best = best.scatter_reduce(0, rows, scores[rows, right], "amax")
    outranks = ~(scores < best[:, None])
    outranks[rows, right] = False
    return 1 + outranks.sum(dim=1)


def _of_queries(ranks: np.ndarray) -> np.ndarray:
    """Whether each query is found first, whether among ten, and 1 / rank `[3, queries]`."""
    return np.stack([ranks <= 1, ranks <= 10, 1 / ranks])


def _mean_of_nearest(queries: Tensor, candidates: Tensor, k: int) -> Tensor:
    """Mean cosine of each query and its k nearest candidates `[queries]`."""
    k = min(k, len(candidates))
    return torch.cat(
        [
            (queries[block] @ candidates.T).topk(k, dim=1).values.mean(dim=1)
            for block in _blocks(queries, candidates)
        ]
    )


def _blocks(queries: Tensor, candidates: Tensor) -> list[slice]:
    size = max(1, SCORES_PER_BLOCK // len(candidates))
    return [slice(start, min(start + size, len(queries))) for start in range(0, len(queries), size)]


def _checked_links(side_a: Tensor, side_b: Tensor, links: np.ndarray | None) -> np.ndarray:
    shapes = list(side_a.shape), list(side_b.shape)
    if side_a.ndim != 2 or side_b.ndim != 2 or side_a.shape[1] != side_b.shape[1]:
        raise InputError(f"embeddings are of shape {shapes}; both sides need [texts, width]")
    if min(len(side_a), len(side_b)) < 2:
        raise InputError(
            f"embeddings are of shape {shapes}; at least two texts per side are needed"
        )
    if links is None:
        if len(side_a) != len(side_b):
            raise InputError(
                f"{len(side_a)} and {len(side_b)} embeddings: give links where the sides differ"
            )
        return np.arange(len(side_a))[:, None].repeat(2, axis=1)
    for side, (name, column) in zip((side_a, side_b), zip("ab", links.T, strict=True), strict=True):
        if len(column) and (column.min() < 0 or column.max() >= len(side)):
            raise InputError(f"links name row {column.max()} of side {name}, of {len(side)} rows")
        if len(np.unique(column)) < len(side):
            raise InputError(f"a text of side {name} has no link; leave it out or link it")
    return links
