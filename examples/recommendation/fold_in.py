"""Users who are in no table: how well, and how fast, their first engagements tell who they are.

    python examples/recommendation/fold_in.py --seeds 0 1 2 \
        --engagements runs/citeulike/data/engagements.parquet \
        --posts runs/citeulike/data/posts.parquet

A tenth of the users takes no part in the network. Of each, half of the engagements are her history;
every other one is to be found among 1,000 posts, those of her history left out.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa

from twhin_hf import NetworkEmbeddingConfig, embed_network, read_log
from twhin_hf.network.engagements import Neighbours
from twhin_hf.network.fold_in import fold_in
from twhin_hf.network.folder import Network
from twhin_hf.network.log import EngagementGraph
from twhin_hf.recommendation.fold_in import FoldIn
from twhin_hf.recommendation.links import Links
from twhin_hf.recommendation.ranking import CandidateSets, ranks
from twhin_hf.recommendation.records import Records

NEW_USERS = 0.1
FEWEST = 4
"""Engagements of a new user, half of them her history."""


def without(graph: EngagementGraph, users: np.ndarray) -> EngagementGraph:
    """The log of the other users."""
    kept = ~users[graph.lhs]
    rows = np.flatnonzero(np.bincount(graph.lhs[kept], minlength=graph.num_users))
    posts = np.flatnonzero(np.bincount(graph.rhs[kept], minlength=graph.num_posts))
    return replace(
        graph,
        lhs=np.searchsorted(rows, graph.lhs[kept]).astype(np.int32),
        rhs=np.searchsorted(posts, graph.rhs[kept]).astype(np.int32),
        relation=graph.relation[kept],
        user_ids=graph.user_ids.take(pa.array(rows)),
        post_ids=graph.post_ids.take(pa.array(posts)),
    )


def histories(
    graph: EngagementGraph, network: Network, users: np.ndarray, rng: np.random.Generator
) -> tuple[Records, Records]:
    """What is known of the new users and what is to be found, users numbered from 0."""
    post_of = {name: row for row, name in enumerate(network.post_ids.to_pylist())}
    row_of = np.array([post_of.get(name, -1) for name in graph.post_ids.to_pylist()])
    own = users[graph.lhs] & (row_of[graph.rhs] >= 0)
    lhs, posts = graph.lhs[own], row_of[graph.rhs[own]]
    enough = np.flatnonzero(np.bincount(lhs, minlength=graph.num_users) >= FEWEST)
    kept = np.isin(lhs, enough)
    records = Records(np.searchsorted(enough, lhs[kept]), posts[kept].astype(np.int64))
    records = records.where(rng.permutation(len(records))).sorted_by_user()
    counts = np.bincount(records.users)
    place = np.arange(len(records)) - np.repeat(np.cumsum(counts) - counts, counts)
    known = place < (counts // 2)[records.users]
    return records.where(known), records.where(~known)


def vectors_of(
    network: Network, known: Records, confidence: float
) -> dict[str, tuple[np.ndarray, float]]:
    """User vectors by each way, and the milliseconds that one user takes."""
    posts = np.asarray(network.post_vectors)
    assert network.engagements is not None
    number = int(known.users.max()) + 1
    everyone = np.arange(number)
    links = Links(known.users, known.posts, number)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(known.users))]).astype(np.int64)
    neighbours = Neighbours(offsets, known.posts.astype(np.int32))
    of_network = network.engagements.posts_of_users
    others, counts = of_network.of(np.arange(network.num_users))
    rows = np.repeat(np.arange(network.num_users), counts)
    sums, counts = Links(rows, others, network.num_users).sums(np.arange(network.num_users), posts)
    learnt = FoldIn.fit(sums, counts, np.asarray(network.user_vectors), None)
    gram = posts.T @ posts
    nobody = np.asarray(network.user_vectors).mean(axis=0)

    def mean() -> np.ndarray:
        found, numbers = links.sums(everyone, posts)
        return found / numbers[:, None]

    ways = {
        "nobody in particular (the mean user)": lambda: np.tile(nobody, (number, 1)),
        "mean of her posts' vectors": mean,
        "least squares against the posts": lambda: fold_in(
            posts, neighbours, confidence, gram=gram, l2=0.01
        ),
        "linear map of the mean (`EngagementModel`)": lambda: learnt.vectors(
            *links.sums(everyone, posts)
        ),
    }
    found = {}
    for name, way in ways.items():
        began = time.perf_counter()
        vectors = way()
        found[name] = (vectors, (time.perf_counter() - began) * 1000 / number)
    return found


def judge(
    network: Network, vectors: np.ndarray, known: Records, wanted: Records, seed: int
) -> tuple[float, float]:
    """HITS@10 and MRR among 1,000 posts."""
    pool = np.arange(network.num_posts)
    every = Records.concatenate([known, wanted])
    candidates = CandidateSets(wanted, pool, every, 1000, seed)
    shifted = vectors + np.asarray(network.relation_vectors).mean(axis=0)
    posts = np.asarray(network.post_vectors)
    hits, reciprocal = [], []
    for number, block in enumerate(candidates.blocks()):
        scores = shifted[wanted.users[block]] @ posts.T
        engaged = scores[np.arange(len(scores)), candidates.columns[block]]
        found = ranks(engaged, scores, candidates.mask(number))
        hits.append(found.hits(10))
        reciprocal.append(found.reciprocal())
    return float(np.concatenate(hits).mean()), float(np.concatenate(reciprocal).mean())


def main() -> None:
    """Prints a table of each method of embedding."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engagements", required=True, help="engagement log")
    parser.add_argument("--posts", help="posts; engagements with others are dropped")
    parser.add_argument("--methods", nargs="+", default=["softmax", "als"])
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    graph = read_log(options.engagements, options.posts)
    print("| network | vector of a new user | HITS@10 | MRR | ms a user |")
    print("| --- | --- | --: | --: | --: |")
    for method in options.methods:
        figures: dict[str, list[tuple[float, float, float]]] = {}
        for seed in options.seeds:
            rng = np.random.default_rng(seed)
            users = rng.random(graph.num_users) < NEW_USERS
            config = NetworkEmbeddingConfig(
                method=method, dimension=options.dimension, seed=seed, threads=1
            )
            network = embed_network(without(graph, users), config, progress=False)
            known, wanted = histories(graph, network, users, rng)
            for name, (vectors, took) in vectors_of(network, known, 20.0).items():
                found = (*judge(network, vectors, known, wanted, seed), took)
                figures.setdefault(name, []).append(found)
        for name, of_seeds in figures.items():
            hits, mrr, took = np.median(of_seeds, axis=0)
            each = ", ".join(f"{one[0]:.3f}" for one in of_seeds)
            print(f"| {method} | {name} | {hits:.3f} ({each}) | {mrr:.3f} | {took:.3f} |")


if __name__ == "__main__":
    main()
