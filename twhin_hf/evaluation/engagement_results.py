"""What engagement prediction has found: rows with intervals, chance, seeds together, comparisons.

An average is over the languages whose posts are ranked among as many candidates as was asked for.
HITS@10 among 100 posts is another figure than among 1,000; a row says where it is one.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from twhin_hf.errors import InputError
from twhin_hf.evaluation.bootstrap import bootstrap_means, interval, p_value
from twhin_hf.recommendation.engagement_config import EngagementConfig
from twhin_hf.recommendation.ranking import Ranks
from twhin_hf.recommendation.records import Records
from twhin_hf.results import Result

ENOUGH_CANDIDATES = 0.9
"""Share of the candidates asked for that a language needs for the average: a tenth of 10,000 posts
is a few more or less than 1,000, and posts that a user knows are no candidates."""


@dataclass(frozen=True)
class EngagementResult:
    """Figures of one language, one value per seed.

    Args:
        hits: HITS@k of each run, 0 to 1.
        mrr: Mean reciprocal rank of each run, 0 to 1.
        seeds: The runs; none for chance.
        best_epochs: The epoch that was kept in each run, counted from 1.
        num_candidates: Posts actually ranked for a test record, the engaged one included; the
            mean over the records, as a user's other engaged posts are never candidates.
        num_records: Records of each split, and of `choice`: the validation engagements by which
            rows and features are chosen.
        rows: `raw` or `normalized`: what of the features the runs read.
        validation: Validation MRR of the rows that were tried, the mean over the seeds by which
            they are chosen.
        records: The test records.
        candidates: Posts ranked for each of them, int [records].
        hits_by_record: HITS@k of each run and test record, float32 [seeds, records].
        reciprocal_ranks: The same of the reciprocal rank.
    """

    hits: tuple[float, ...]
    mrr: tuple[float, ...]
    seeds: tuple[int, ...]
    best_epochs: tuple[int, ...]
    num_candidates: float
    num_records: dict[str, int]
    rows: str
    validation: dict[str, float]
    records: Records = field(compare=False, repr=False)
    candidates: np.ndarray = field(compare=False, repr=False)
    hits_by_record: np.ndarray = field(compare=False, repr=False)
    reciprocal_ranks: np.ndarray = field(compare=False, repr=False)


EngagementResults = Mapping[str, EngagementResult]
"""Results of an encoder by language."""


def _metrics(config: EngagementConfig) -> list[tuple[str, str, str]]:
    """Name of each metric, and the fields that hold it by run and by record."""
    return [
        (f"HITS@{config.hits_at}", "hits", "hits_by_record"),
        ("MRR", "mrr", "reciprocal_ranks"),
    ]


def engagement_rows(
    results: EngagementResults, config: EngagementConfig | None = None
) -> list[Result]:
    """Rows for `results.json`: the median over the seeds of each language, and their average.

    The paper reports HITS@10 of each language as the median of 6 runs and averages the languages.
    The 95 % interval is of the mean over the seeds and says how much the figure depends on who is
    in the test set (`bootstrap`).

    Args:
        results: By language.
        config: With which they were made.

    Returns:
        A row for each metric and language, then the average where there are several languages.
    """

    def row(metric: str, runs: str, language: str) -> Result:
        result = results[language]
        values = getattr(result, runs)
        return Result(
            language=language,
            metric=metric,
            value=float(np.median(values)),
            seeds=list(result.seeds),
            values=list(values) if result.seeds else [],
            details=_details(result),
        )

    return _rows(results, config or EngagementConfig(), row, _by_record(results))


def chance(
    results: EngagementResults, config: EngagementConfig | None = None
) -> dict[str, EngagementResult]:
    """What a random order of the same candidates is expected to give.

    For `n` candidates HITS@k is `k / n` and the mean reciprocal rank `(1 + 1/2 + … + 1/n) / n`.
    """
    config = config or EngagementConfig()
    found = {}
    for language, result in results.items():
        blind = Ranks(np.zeros_like(result.candidates), result.candidates - 1)
        hits, reciprocal = blind.hits(config.hits_at), blind.reciprocal()
        found[language] = replace(
            result,
            hits=(float(hits.mean()),),
            mrr=(float(reciprocal.mean()),),
            seeds=(),
            best_epochs=(),
            rows="",
            validation={},
            hits_by_record=hits[None].astype(np.float32),
            reciprocal_ranks=reciprocal[None].astype(np.float32),
        )
    return found


def combine_training_seeds(
    runs: Mapping[int, EngagementResults], config: EngagementConfig | None = None
) -> list[Result]:
    """Rows of an encoder that was trained with several seeds.

    Args:
        runs: Results by training seed.
        config: With which they were made.

    Returns:
        As `engagement_rows`: `value` is the median over the training seeds of what each gives,
        `values` holds these, `details["spread"]` the least and the greatest, and the interval is of
        the mean over all runs.

    Raises:
        InputError: Runs on other records or languages.
    """
    config = config or EngagementConfig()
    by_seed = [engagement_rows(results, config) for results in runs.values()]
    together = pool_training_seeds(runs)
    combined = []
    for pooled, *same in zip(engagement_rows(together, config), *by_seed, strict=True):
        values = [row.value for row in same]
        details = pooled.details | {"spread": [min(values), max(values)]}
        combined.append(
            replace(
                pooled,
                value=statistics.median(values),
                seeds=list(runs),
                values=values,
                details=details,
            )
        )
    return combined


def pool_training_seeds(runs: Mapping[int, EngagementResults]) -> dict[str, EngagementResult]:
    """All runs of an encoder's training seeds as runs of one encoder, for `compare_engagement`.

    Raises:
        InputError: Runs on other records or languages.
    """
    first, *others = runs.values()
    for other in others:
        _check_same_records(first, other)
    return {language: _pooled([found[language] for found in runs.values()]) for language in first}


def compare_engagement(
    first: EngagementResults, second: EngagementResults, config: EngagementConfig | None = None
) -> list[Result]:
    """How much the first encoder is better than the second on the same records.

    Each record's figures (the mean over an encoder's seeds) are subtracted before users are
    resampled, so what makes a record hard for both is no source of doubt.

    Args:
        first: Results by language.
        second: Those of the other encoder.
        config: With which both were made.

    Returns:
        Rows as of `engagement_rows`: `value` is the first's figure less the second's (means over
        the seeds), `interval` its 95 % interval and `details["p"]` the two-sided p-value.

    Raises:
        InputError: Results on other records or languages.
    """
    _check_same_records(first, second)
    one, other = _by_record(first), _by_record(second)

    def differences(language: str, figures: str) -> np.ndarray:
        return one(language, figures) - other(language, figures)

    def row(metric: str, runs: str, language: str) -> Result:
        value = np.mean(getattr(first[language], runs)) - np.mean(getattr(second[language], runs))
        return Result(language, metric, float(value))

    return _rows(first, config or EngagementConfig(), row, differences, with_p=True)


def baseline_rows(
    judged: EngagementResults,
    baselines: Mapping[str, EngagementResults],
    config: EngagementConfig | None = None,
) -> dict[str, list[Result]]:
    """Rows of an encoder's baselines, for `Results.baselines`.

    Args:
        judged: Results of the encoder.
        baselines: Those of each baseline, by its name.
        config: With which they were made.

    Returns:
        Rows as of `engagement_rows`; `details["difference"]` holds how much the encoder is better
        (`value`, `interval`, `p`), see `compare_engagement`.
    """
    rows = {}
    for name, results in baselines.items():
        compared = compare_engagement(judged, results, config)
        rows[name] = [
            replace(row, details=row.details | {"difference": _difference(against)})
            for row, against in zip(engagement_rows(results, config), compared, strict=True)
        ]
    return rows


def difference_sentence(name: str, rows: Sequence[Result]) -> str:
    """How much an encoder is better than a baseline, over all languages.

    Args:
        name: Of the baseline.
        rows: Of `baseline_rows`.

    Example:
        >>> details = {"difference": {"value": 0.03, "interval": [0.012, 0.048], "p": 0.002}}
        >>> difference_sentence("chance", [Result("en", "MRR", 0.1, details=details)])
        'Over chance: MRR +0.030 (+0.012 to +0.048; p = 0.002)'
    """
    told = []
    for row in {row.metric: row for row in rows}.values():  # the average stands last
        found = row.details["difference"]
        low, high = found["interval"]
        told.append(
            f"{row.metric} {found['value']:+.3f} ({low:+.3f} to {high:+.3f}; p = {found['p']:.3f})"
        )
    return f"Over {name}: {', '.join(told)}"


def _difference(row: Result) -> dict[str, Any]:
    return {"value": row.value, "interval": row.interval, "p": row.details["p"]}


def averaged_languages(candidates: Mapping[str, float], config: EngagementConfig) -> list[str]:
    """Languages that an average is over: those with enough candidates, or all if none has.

    Args:
        candidates: Posts ranked for a record, the mean, by language.
        config: How many were asked for.
    """
    return [name for name, size in candidates.items() if not _is_few(size, config)] or [*candidates]


def _rows(
    results: EngagementResults,
    config: EngagementConfig,
    row: Callable[[str, str, str], Result],
    by_record: Callable[[str, str], np.ndarray],
    with_p: bool = False,
) -> list[Result]:
    """The rows of each metric with their intervals, and the average's."""
    averaged = averaged_languages({n: r.num_candidates for n, r in results.items()}, config)
    found = []
    for metric, runs, figures in _metrics(config):
        means = bootstrap_means(
            [by_record(language, figures) for language in results],
            [result.records.users for result in results.values()],
        )
        languages = [
            _noted(row(metric, runs, name), result, averaged, config)
            for name, result in results.items()
        ]
        resamples = list(means.T)
        if len(languages) > 1:
            places = [place for place, name in enumerate(results) if name in averaged]
            languages.append(_average([languages[place] for place in places], list(results)))
            # A resample may hold nobody who reads a rare language: the average of the others then.
            resamples.append(np.nanmean(means[:, places], axis=1))
        is_drawn = with_p or all(result.seeds for result in results.values())
        for one, drawn in zip(languages, resamples, strict=True):
            details = one.details | ({"p": p_value(drawn)} if with_p else {})
            found.append(
                replace(one, interval=interval(drawn) if is_drawn else [], details=details)
            )
    return found


def _by_record(results: EngagementResults) -> Callable[[str, str], np.ndarray]:
    """The mean over the seeds of each record's figure, float64 [records]."""

    def values(language: str, figures: str) -> np.ndarray:
        return getattr(results[language], figures).mean(axis=0, dtype=np.float64)

    return values


def _details(result: EngagementResult) -> dict[str, Any]:
    details: dict[str, Any] = {
        "candidates": result.num_candidates,
        "records": result.num_records,
    }
    return details | ({"rows": result.rows, "validation": result.validation} if result.rows else {})


def _is_few(candidates: float, config: EngagementConfig) -> bool:
    return candidates < ENOUGH_CANDIDATES * config.num_candidates


def _noted(
    row: Result, result: EngagementResult, averaged: Sequence[str], config: EngagementConfig
) -> Result:
    """A row that says where its posts are ranked among few."""
    if not _is_few(result.num_candidates, config):
        return row
    note = f"ranked among fewer than {config.num_candidates:,} posts"
    if row.language not in averaged:
        note += ", not in the average"
    return replace(row, details=row.details | {"note": note})


def _average(rows: Sequence[Result], languages: Sequence[str]) -> Result:
    averaged = [row.language for row in rows]
    left_out = [language for language in languages if language not in averaged]
    read = sorted({row.details["rows"] for row in rows if "rows" in row.details})
    values = [row.values for row in rows]
    return Result(
        language="average",
        metric=rows[0].metric,
        value=float(np.mean([row.value for row in rows])),
        seeds=rows[0].seeds,
        values=np.mean(values, axis=0).tolist() if rows[0].values else [],
        details={
            "languages": averaged,
            **({"left_out": left_out, "note": f"of {', '.join(averaged)}"} if left_out else {}),
            **({"rows": ", ".join(read)} if read else {}),
        },
    )


def _pooled(results: Sequence[EngagementResult]) -> EngagementResult:
    read = sorted({result.rows for result in results})
    names = dict.fromkeys(name for result in results for name in result.validation)
    return replace(
        results[0],
        hits=sum((result.hits for result in results), ()),
        mrr=sum((result.mrr for result in results), ()),
        seeds=sum((result.seeds for result in results), ()),
        best_epochs=sum((result.best_epochs for result in results), ()),
        rows=", ".join(read),
        validation={
            name: statistics.mean(r.validation[name] for r in results if name in r.validation)
            for name in names
        },
        hits_by_record=np.concatenate([result.hits_by_record for result in results]),
        reciprocal_ranks=np.concatenate([result.reciprocal_ranks for result in results]),
    )


def _check_same_records(first: EngagementResults, second: EngagementResults) -> None:
    if list(first) != list(second):
        raise InputError(
            f"One result is of {', '.join(first)}, the other of {', '.join(second)}; give results "
            "of the same languages."
        )
    for language, result in first.items():
        mine, others = result.records, second[language].records
        same = np.array_equal(mine.users, others.users) and np.array_equal(mine.posts, others.posts)
        if not same or not np.array_equal(result.candidates, second[language].candidates):
            raise InputError(
                f"The two results of {language} are on other test records ({len(mine):,} and "
                f"{len(others):,}) or candidates; judge both on the same benchmark with the same "
                "candidate_seed and num_candidates."
            )
