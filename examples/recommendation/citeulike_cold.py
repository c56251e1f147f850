"""The cold-start split of citeulike-a's literature: recall among all cold articles.

    python examples/recommendation/citeulike_cold.py --data runs/citeulike/data --cold cold.csv \
        --model all-MiniLM-L6-v2

`cold.csv` holds the engagements with cold articles, a line `user,article,…` each, numbered from 1:
`test.csv` of DropoutNet's data (Volkovs, Yu and Poutanen, NeurIPS 2017), fold 1 of Wang and Blei
(KDD 2011). All engagements with its articles are left out of training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twhin_hf.data.splits import split_posts
from twhin_hf.evaluation.bootstrap import bootstrap_means, interval
from twhin_hf.evaluation.recommendation.baselines import (
    at_random,
    engagement_matrix,
    mean_of_history,
)
from twhin_hf.evaluation.recommendation.config import RecommendationJudgingConfig
from twhin_hf.evaluation.recommendation.evaluation import model_scorers
from twhin_hf.evaluation.recommendation.judging import Scorer, judge
from twhin_hf.evaluation.recommendation.splits import Task, split_recommendation
from twhin_hf.loading.text_encoders import TextEncoder, load_text_encoder
from twhin_hf.network.embedding import embed_network
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.log import read_log
from twhin_hf.recommendation.model import EngagementModel
from twhin_hf.recommendation.records import Records
from twhin_hf.recommendation.words import WordFeatures

AT = (20, 50, 100)


def recalls(
    data: Path, cold_file: Path, encoder: TextEncoder, seed: int = 0
) -> dict[str, list[tuple[float, list[float]]]]:
    """Recall at 20, 50 and 100 with 95 % intervals over users, by model.

    An article without a text is never found: its engagements count, and nobody ranks it.
    """
    posts = pq.read_table(data / "posts.parquet").combine_chunks()
    cold = np.unique(np.loadtxt(cold_file, delimiter=",", dtype=np.int64, usecols=1)) - 1
    numbers = np.array([int(name[1:]) for name in posts["post_id"].to_pylist()])
    validation = split_posts(posts["post_id"], seed, (0.9, 0.1, 0.0)) == "validation"
    splits = np.where(np.isin(numbers, cold), "test", np.where(validation, "validation", "train"))
    log = read_log(str(data / "engagements.parquet"))
    config = RecommendationJudgingConfig(new_users=0, known_posts=0, seed=seed)
    split = split_recommendation(log, posts, splits, config)
    print(split.counts)
    options = NetworkEmbeddingConfig(dimension=128, seed=seed)
    network = embed_network(split.training_log, options, progress=False)
    model = EngagementModel.fit(split.known_log, split.known_posts, encoder, network)

    has_text = pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(posts["text"])), 0).to_numpy()
    ranked = np.flatnonzero((splits == "test") & has_text)
    shown = posts.take(pa.array(ranked))
    model.add_posts(shown)
    task = next(task for task in split.tasks if task.name == "new posts")
    wanted = Task(task.name, task.wanted.restrict_to(ranked), ranked)

    texts = np.array(posts["text"].to_pylist(), object)
    training = texts[(splits == "train") & has_text].tolist()
    with_text = np.flatnonzero(has_text)
    history = engagement_matrix(split.history, (log.num_users, len(posts)))

    def content(features: np.ndarray) -> Scorer:
        table = np.zeros((len(posts), features.shape[1]), np.float32)
        table[with_text] = features
        return mean_of_history(history, table)

    scorers = {
        "random": at_random(log.num_users, len(posts), seed),
        "TF-IDF + SVD, mean of history": content(
            WordFeatures.fit(training).encode(texts[with_text].tolist())
        ),
        "encoder, mean of history": content(encoder.encode(texts[with_text].tolist())),
        **model_scorers(model, split, ranked),
    }
    found = judge(scorers, wanted, Records(np.empty(0, np.int64), np.empty(0, np.int64)))
    users, counts = np.unique(task.wanted.users, return_counts=True)
    rows = {}
    for name, one in found.items():
        at = []
        for k in AT:
            places = np.searchsorted(users, one.wanted.users)
            values = np.bincount(places, one.listed.hits(k), len(users)) / counts
            resamples = bootstrap_means([values], [users])[:, 0]
            at.append((float(values.mean()), interval(resamples)))
        rows[name] = at
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="The cold articles of citeulike-a's literature")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cold", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for name, at in recalls(args.data, args.cold, load_text_encoder(args.model), args.seed).items():
        cells = (f"{value:.3f} ({low:.3f}-{high:.3f})" for value, (low, high) in at)
        print(f"{name:32}", *cells)


if __name__ == "__main__":
    main()
