"""Updating a network day by day against embedding it anew: quality, time and edges.

    python examples/benchmarks/network_update.py
    python examples/benchmarks/network_update.py --scale 0.2 --dimension 128 --method als
    python examples/benchmarks/network_update.py --citeulike ../shared/data/citeulike_a

A log of seven days is generated (power laws, communities, three relations; at scale 1: 100,000
users, 50,000 posts, about 6 M engagements). Each day brings new posts, which have most of their
engagements on their first two days, and new users. The network is embedded on days 1 and 2 and
updated with days 3 to 7, one by one. After each day it is compared with one embedded anew on
everything so far, with the one of day 2, and with popularity. citeulike-a has no times: 60 % of its
engagements, drawn at random, are days 1 and 2, and five parts of 8 % the days after.

One engagement in twenty is held out of all of this. The post of each is ranked among 1,000 posts,
itself and uniform draws of those known so far, less those that the user engaged with; an engagement
whose user or post a network does not know counts as missed. `today` are the held-out engagements
of the day, `all` those of all days so far. Intervals: 95 %, of the relative difference from
embedding anew, users resampled (`twhin_hf.evaluation.bootstrap`). Edges are those that training
meets, all epochs together.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

DAYS, BASE_DAYS = 7, 2
CANDIDATES = 1000
RELATIONS = ["favorite", "reply", "share"]
# How likely a post is to be engaged with by its age in days, beside its popularity.
FRESHNESS = np.array([1.0, 0.4, 0.1, 0.05, 0.03, 0.02, 0.02])


class Edges(NamedTuple):
    """Engagements of one day, or of several."""

    users: np.ndarray
    posts: np.ndarray
    relations: np.ndarray

    def where(self, chosen: np.ndarray) -> Edges:
        return Edges(*(values[chosen] for values in self))


def joined(days: list[Edges]) -> Edges:
    return Edges(*(np.concatenate(values) for values in zip(*days, strict=True)))


def generate_days(scale: float, seed: int) -> list[Edges]:
    """Distinct engagements of each day; a pair has its first one alone.

    Nine in ten stay in one of the user's four communities, the rest go anywhere; in both cases a
    post is drawn in proportion to its popularity and freshness.
    """
    rng = np.random.default_rng(seed)
    num_users, num_posts = int(100_000 * scale), int(50_000 * scale)
    draws, num_communities = int(1_200_000 * scale), max(20, int(500 * scale))
    activity = rng.pareto(1.8, num_users) + 0.6
    first_day = np.maximum(0, rng.integers(-10, DAYS, num_users))
    tastes = rng.integers(0, num_communities, (num_users, 4))
    popularity = rng.pareto(1.0, num_posts) + 0.05
    popularity = np.minimum(popularity, np.quantile(popularity, 0.9998))
    created = rng.integers(-1, DAYS, num_posts)
    community = np.sort(rng.integers(0, num_communities, num_posts))
    bounds = np.searchsorted(community, np.arange(num_communities + 1))
    relation_shares = np.cumsum(rng.dirichlet([6, 2, 2], num_communities), axis=1)
    seen = np.zeros(0, np.int64)
    days = []
    for day in range(DAYS):
        age = day - created
        fresh = np.where(age < 0, 0.0, FRESHNESS[age.clip(0, DAYS - 1)])
        mass = np.concatenate([[0], np.cumsum(popularity * fresh)])
        active = np.cumsum(activity * (first_day <= day))
        users = np.searchsorted(active, rng.random(draws) * active[-1], side="right")
        taste = tastes[users, np.searchsorted([0.55, 0.80, 0.95], rng.random(draws))]
        anywhere = rng.random(draws) < 0.1
        low = np.where(anywhere, 0, mass[bounds[taste]])
        high = np.where(anywhere, mass[-1], mass[bounds[taste + 1]])
        posts = np.searchsorted(mass[1:], low + (high - low) * rng.random(draws), side="right")
        posts = posts.clip(max=num_posts - 1)
        possible = (high > low) & (age[posts] >= 0)
        users, posts = users[possible], posts[possible]
        shares = relation_shares[community[posts]]
        relations = (rng.random(len(users))[:, None] > shares).sum(1).clip(max=2)
        pairs, first = np.unique(users * num_posts + posts, return_index=True)
        first = first[~np.isin(pairs, seen)]
        seen = np.union1d(seen, pairs)
        days.append(Edges(users[first], posts[first], relations[first]))
    return days


def read_citeulike(folder: Path, seed: int) -> list[Edges]:
    """citeulike-a in random order: 30 % of the engagements on days 1 and 2 each, 8 % on others."""
    lines = (folder / "users.dat").read_text().splitlines()
    posts = [np.array(line.split()[1:], np.int64) for line in lines]
    users = np.repeat(np.arange(len(posts)), [len(own) for own in posts])
    edges = Edges(users, np.concatenate(posts), np.zeros(len(users), np.int64))
    order = np.random.default_rng(seed).permutation(len(users))
    ends = (np.array([0.3, 0.6, 0.68, 0.76, 0.84, 0.92]) * len(users)).astype(int)
    return [edges.where(part) for part in np.split(order, ends)]


def graph_of(edges: Edges):
    """As `read_log` would make it."""
    from twhin_hf.network.log import EngagementGraph, LogReport

    user_ids, lhs = np.unique(edges.users, return_inverse=True)
    post_ids, rhs = np.unique(edges.posts, return_inverse=True)
    order = np.lexsort((rhs, lhs, edges.relations))
    return EngagementGraph(
        lhs=lhs[order].astype(np.int32),
        rhs=rhs[order].astype(np.int32),
        relation=edges.relations[order].astype(np.int16),
        user_ids=pa.array(user_ids.astype(str)),
        post_ids=pa.array(post_ids.astype(str)),
        relations=RELATIONS[: edges.relations.max() + 1],
        report=LogReport(),
    )


class Evaluator:
    """Ranks held-out engagements among posts known so far, for all networks the same."""

    def __init__(self, learnt: Edges, held: Edges, today: np.ndarray, seed: int) -> None:
        known = joined([learnt, held])
        self.size = known.users.max() + 1, known.posts.max() + 1
        pairs = (np.ones(len(known.users), bool), (known.users, known.posts))
        self.known = csr_array(pairs, shape=self.size)
        self.held, self.today = held, today
        self.degrees = np.bincount(learnt.posts, minlength=self.size[1]).astype(np.float32)
        candidates, rng = np.unique(learnt.posts), np.random.default_rng(seed)
        self.blocks = [
            (block, rng.choice(candidates, CANDIDATES - 1))
            for block in np.array_split(np.arange(len(held.users)), len(held.users) // 500 + 1)
        ]

    def ranks(self, network=None) -> np.ndarray:
        """Of each held-out engagement; by popularity without a network."""
        users, posts = (np.full(size, -1) for size in self.size)
        if network is not None:
            for rows, ids in ((users, network.user_ids), (posts, network.post_ids)):
                rows[ids.to_numpy(zero_copy_only=False).astype(int)] = np.arange(len(ids))
        ranks = []
        for block, candidates in self.blocks:
            edges = self.held.where(block)
            if network is None:
                scores = np.tile(self.degrees[candidates], (len(block), 1))
                own = self.degrees[edges.posts]
            else:
                query = network.user_vectors[users[edges.users]]
                query = query + network.relation_vectors[edges.relations]
                scores = query @ network.post_vectors[posts[candidates]].T
                scores[:, posts[candidates] < 0] = -np.inf
                own = np.einsum("ij,ij->i", query, network.post_vectors[posts[edges.posts]])
            scores[self.known[edges.users][:, candidates].toarray()] = -np.inf
            rank = 1 + (scores > own[:, None]).sum(1) + (scores == own[:, None]).sum(1) / 2
            if network is not None:
                rank[(users[edges.users] < 0) | (posts[edges.posts] < 0)] = np.inf
            ranks.append(rank)
        return np.concatenate(ranks)

    def difference(self, ranks: np.ndarray, anew: np.ndarray, chosen: np.ndarray) -> str:
        """Relative difference of HITS@10 with its interval, in per cent."""
        from twhin_hf.evaluation.bootstrap import bootstrap_means, interval

        hits = [(rank[chosen] <= 10).astype(float) for rank in (ranks, anew)]
        means = bootstrap_means(hits, [self.held.users[chosen]] * 2)
        low, high = interval(100 * (means[:, 0] / means[:, 1] - 1))
        found = 100 * (hits[0].mean() / hits[1].mean() - 1)
        return f"{found:+.1f} [{low:+.1f}, {high:+.1f}]"


def figures(ranks: np.ndarray) -> str:
    return f"{(ranks <= 10).mean():.3f} / {(1 / ranks).mean():.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=0.2, help="share of users, posts and edges")
    parser.add_argument("--citeulike", type=Path, help="folder of citeulike-a instead")
    parser.add_argument("--method", default="softmax", choices=["softmax", "twhin", "als"])
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--epochs", type=int, help="of an update")
    parser.add_argument("--replay", type=float, default=1.0)
    parser.add_argument("--min-replay", type=int, default=20)
    parser.add_argument("--freeze", default="none", choices=["none", "users", "posts"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    from twhin_hf import (
        NetworkEmbeddingConfig,
        NetworkUpdateConfig,
        embed_network,
        update_network,
    )

    own = {"device": "cpu", "threads": options.threads, "seed": options.seed}
    embedding = NetworkEmbeddingConfig(
        options.method, dimension=options.dimension, holdout=0.0, **own
    )
    updating = NetworkUpdateConfig(
        options.freeze,
        epochs=options.epochs,
        replay=options.replay,
        min_replay=options.min_replay,
        **own,
    )

    def embed_anew(edges: Edges):
        began = time.perf_counter()
        network = embed_network(graph_of(edges), embedding, progress=False)
        seconds = time.perf_counter() - began
        return network, seconds, network.metadata["options"]["epochs"] * len(edges.users)

    days = (
        generate_days(options.scale, options.seed)
        if options.citeulike is None
        else read_citeulike(options.citeulike, options.seed)
    )
    rng = np.random.default_rng([options.seed, 1])
    is_held = [rng.random(len(day.users)) < 0.05 for day in days]
    learnt = [day.where(~held) for day, held in zip(days, is_held, strict=True)]
    held = [day.where(held) for day, held in zip(days, is_held, strict=True)]

    first, _, _ = embed_anew(joined(learnt[:BASE_DAYS]))
    updated = first
    print(
        "| day | new users, posts, engagements | held out | popularity | never updated | updated | "
        "embedded anew | HITS@10 against anew, % | seconds: updated, anew | "
        "edges: updated, anew |\n" + "| --- " * 10 + "|"
    )
    for number in range(BASE_DAYS, DAYS):
        so_far = joined(learnt[: number + 1])
        new = graph_of(learnt[number])
        began = time.perf_counter()
        updated = update_network(updated, new, updating, progress=False)
        seconds = time.perf_counter() - began
        entry = updated.metadata["updates"][-1]
        anew, seconds_anew, edges_anew = embed_anew(so_far)

        # Of users and posts that something has been learnt of.
        test = joined(held[: number + 1])
        today = np.arange(len(test.users)) >= len(test.users) - len(held[number].users)
        known = np.isin(test.users, so_far.users) & np.isin(test.posts, so_far.posts)
        evaluator = Evaluator(so_far, test.where(known), today[known], options.seed)
        popularity = evaluator.ranks()
        never, ours, theirs = (evaluator.ranks(network) for network in (first, updated, anew))
        counts = f"{entry['num_users']:,}, {entry['num_posts']:,}, {entry['num_edges']:,}"
        costs = (
            f"{seconds:.1f}, {seconds_anew:.1f} | {entry['learnt_edges']:,}, {edges_anew:,}",
            " | ",
        )
        for name, chosen in {"today": evaluator.today, "all": evaluator.today | True}.items():
            parts = [popularity, never, ours, theirs]
            row = [figures(ranks[chosen]) for ranks in parts]
            row.append(evaluator.difference(ours, theirs, chosen))
            start = (f"{number + 1} | {counts}", " | ")[name == "all"]
            print(f"| {start} | {name} | {' | '.join(row)} | {costs[name == 'all']} |", flush=True)


if __name__ == "__main__":
    main()
