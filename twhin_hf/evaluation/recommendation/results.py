"""Rows, intervals, paired tests and tables of what recommenders have found."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from twhin_hf.evaluation.bootstrap import bootstrap_means, interval, p_value
from twhin_hf.evaluation.recommendation.baselines import HYBRID
from twhin_hf.evaluation.recommendation.config import RecommendationJudgingConfig
from twhin_hf.evaluation.recommendation.judging import Found
from twhin_hf.evaluation.recommendation.metrics import (
    coverage,
    ndcg,
    popularity_percentiles,
    recall,
)
from twhin_hf.evaluation.recommendation.splits import RecommendationSplit, Task
from twhin_hf.plots import plot_comparison
from twhin_hf.recommendation.ranking import Ranks
from twhin_hf.results import Result, Results, figures_table

if TYPE_CHECKING:
    from rich.table import Table

EVERY = "all"
"""The language of a row over all languages."""


class _Figure(NamedTuple):
    """A metric of a model by user or engagement.

    Args:
        name: Such as `recall@20`.
        values: float64 `[rows]`.
        users: int `[rows]`.
    """

    name: str
    values: np.ndarray
    users: np.ndarray


def recommendation_rows(
    found: Mapping[str, Mapping[str, Found]],
    split: RecommendationSplit,
    judged: str,
    config: RecommendationJudgingConfig,
) -> dict[str, list[Result]]:
    """Rows of every model, task, metric and language.

    A metric is named `TASK: METRIC`; HITS@k and MRR are of an engagement's rank without the user's
    other posts to find, as in the paper, recall and NDCG of a user's list. `(of 1,000)` is among
    sampled posts, everything else among all. Coverage is the share of the posts that is recommended
    to anyone, popularity the mean percentile of recommended posts (0.5: none is favoured).

    Args:
        found: By task and model.
        split: On which it was found.
        judged: The model that the others are compared with.
        config: With which it was found.

    Returns:
        Rows by model. `details["difference"]` of the others says how much better the judged one
        is (`value`, `interval`, `p`; paired, over users).
    """
    languages = (
        np.array(split.posts["lang"].to_pylist()) if "lang" in split.posts.column_names else None
    )
    engaged = np.bincount(split.known.posts, minlength=len(split.posts))
    rows: dict[str, list[Result]] = {}
    for task in split.tasks:
        own = found[task.name]
        parts = _languages(own[judged], languages)
        for language, chosen in parts.items():
            reference = list(_figures(own[judged], chosen, config))
            for name, one in own.items():
                figures = reference if name == judged else list(_figures(one, chosen, config))
                for mine, figure in zip(reference, figures, strict=True):
                    row = _row(task, language, figure, mine if name != judged else None)
                    rows.setdefault(name, []).append(row)
        for name, one in own.items():
            rows[name] += _lists(task, one, engaged, config)
    return rows


def _languages(found: Found, languages: np.ndarray | None) -> dict[str, np.ndarray]:
    """Which engagements are with posts of each language, those of all first."""
    posts = found.wanted.posts
    parts = {EVERY: np.ones(len(posts), bool)}
    if languages is not None and len(names := np.unique(languages[posts])) > 1:
        parts |= {str(name): languages[posts] == name for name in names}
    return parts


def _figures(
    found: Found, chosen: np.ndarray, config: RecommendationJudgingConfig
) -> Iterator[_Figure]:
    users = found.wanted.users[chosen]
    listed, apart, sampled = (
        Ranks(ranks.better[chosen], ranks.tied[chosen])
        for ranks in (found.listed, found.apart, found.sampled)
    )
    yield _Figure(f"HITS@10{_of(config)}", sampled.hits(10), users)
    yield _Figure(f"MRR{_of(config)}", sampled.reciprocal(), users)
    yield _Figure("MRR", apart.reciprocal(), users)
    for k in config.at:
        yield _Figure(f"HITS@{k}", apart.hits(k), users)
        own, values = recall(listed, users, k)
        yield _Figure(f"recall@{k}", values, own)
        own, values = ndcg(listed, users, k)
        yield _Figure(f"NDCG@{k}", values, own)


def _of(config: RecommendationJudgingConfig) -> str:
    return f" (of {config.num_candidates:,})"


def _row(task: Task, language: str, figure: _Figure, judged: _Figure | None) -> Result:
    tables = [figure.values] if judged is None else [figure.values, judged.values - figure.values]
    means = bootstrap_means(tables, [figure.users] * len(tables))
    details: dict[str, Any] = {
        "engagements": len(task.wanted),
        "users": len(np.unique(figure.users)),
        "posts": len(task.pool),
    }
    if judged is not None:
        details["difference"] = {
            "value": float(tables[1].mean()),
            "interval": interval(means[:, 1]),
            "p": p_value(means[:, 1]),
        }
    return Result(
        language,
        f"{task.name}: {figure.name}",
        float(figure.values.mean()),
        interval=interval(means[:, 0]),
        details=details,
    )


def _lists(
    task: Task, found: Found, engaged: np.ndarray, config: RecommendationJudgingConfig
) -> list[Result]:
    """Coverage, and popularity where posts differ in it."""
    k = config.recommended
    rows = [
        Result(EVERY, f"{task.name}: coverage@{k}", coverage(found.top, len(task.pool))),
    ]
    if engaged[task.pool].any():
        percentiles = np.zeros(len(engaged))
        percentiles[task.pool] = popularity_percentiles(engaged[task.pool])
        mean = float(percentiles[found.top[found.top >= 0]].mean())
        rows.append(Result(EVERY, f"{task.name}: popularity@{k}", mean))
    return rows


def task_tables(
    results: Results, config: RecommendationJudgingConfig, language: str = EVERY
) -> Iterator[Table]:
    """A table for each task: a row a model, the judged one last, a column a metric.

    Args:
        results: Of the evaluation.
        config: With which it was made.
        language: Of the rows.
    """
    first, last = config.at[0], config.at[-1]
    metrics = [
        f"HITS@10{_of(config)}",
        "MRR",
        f"recall@{first}",
        *([f"recall@{last}"] if last != first else []),
        f"NDCG@{first}",
        f"coverage@{config.recommended}",
    ]
    models = results.baselines | {HYBRID: results.results}
    tasks = list(dict.fromkeys(row.metric.partition(": ")[0] for row in results.results))
    for task in tasks:
        cells = {
            name: {
                row.metric.partition(": ")[2]: _cell(row)
                for row in rows
                if row.language == language and row.metric.startswith(f"{task}: ")
            }
            for name, rows in models.items()
        }
        columns = [metric for metric in metrics if any(metric in own for own in cells.values())]
        if not columns:
            continue
        body = [[name, *(own.get(metric, "") for metric in columns)] for name, own in cells.items()]
        yield figures_table(
            task, ["model", *columns], body, 1, "* as good as ours, + better (paired test, p < .05)"
        )


def _cell(row: Result) -> str:
    text = f"{row.value:.3f}".removeprefix("0")
    found = row.details.get("difference")
    if found is None:
        return text
    if found["p"] >= 0.05:
        return f"{text} *"
    return text if found["value"] > 0 else f"{text} +"


def plot_recall(
    results: Results, path: str | os.PathLike[str], config: RecommendationJudgingConfig
) -> Path:
    """Bars of recall at the last k of the first task that has one, a bar a model.

    Args:
        results: Of the evaluation.
        path: The picture; its ending tells the format.
        config: With which it was made.
    """
    name = next(
        row.metric for row in results.results if row.metric.endswith(f": recall@{config.at[-1]}")
    )
    rows = {
        model: next(row for row in own if row.metric == name and row.language == EVERY)
        for model, own in (results.baselines | {HYBRID: results.results}).items()
    }
    in_order = sorted(rows, key=lambda model: (model == HYBRID, rows[model].value))
    return plot_comparison(
        {model: [rows[model].value] for model in in_order},
        path,
        name,
        baselines=[model for model in in_order if model != HYBRID],
        intervals={model: rows[model].interval for model in in_order},
    )


def with_models(rows: Mapping[str, list[Result]], judged: str, results: Results) -> Results:
    """Results whose figures are the judged model's and whose baselines are the others."""
    others = {name: own for name, own in rows.items() if name != judged}
    return replace(results, results=rows[judged], baselines=others)
