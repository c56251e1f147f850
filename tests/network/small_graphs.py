"""Engagement graphs that tests of embeddings share."""

import numpy as np
import pyarrow as pa

from twhin_hf.network.log import EngagementGraph, LogReport


def make_graph(lhs, rhs, relation, num_users, num_posts, relations=("favorite", "reply")):
    return EngagementGraph(
        lhs=np.asarray(lhs, np.int32),
        rhs=np.asarray(rhs, np.int32),
        relation=np.asarray(relation, np.int16),
        user_ids=pa.array([f"u{i}" for i in range(num_users)]),
        post_ids=pa.array([f"p{i}" for i in range(num_posts)]),
        relations=list(relations),
        report=LogReport(),
    )


def make_community_graph():
    """Two hundred users in four communities, each engaging with 12 of its community's 50 posts."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(200), 12)
    posts = np.concatenate([u % 4 * 50 + rng.choice(50, 12, replace=False) for u in range(200)])
    return make_graph(users, posts, rng.integers(0, 2, len(users)), 200, 200)


def make_taste_graph(num_users=1500, num_posts=300, degree=30):
    """Users with two tastes of twelve each, and posts of unlike popularity."""
    rng = np.random.default_rng(0)
    tastes = rng.integers(0, 12, (num_users, 2))
    topics = rng.integers(0, 12, num_posts)
    popularity = rng.pareto(1.5, num_posts) + 0.2
    keys = set()
    for user, (first, second) in enumerate(tastes):
        liking = popularity * (0.02 + (topics == first) + 0.5 * (topics == second))
        posts = rng.choice(num_posts, degree, replace=False, p=liking / liking.sum())
        keys.update((int(rng.random() < 0.3), user, int(post)) for post in posts)
    relation, users, posts = np.array(sorted(keys)).T
    return make_graph(users, posts, relation, num_users, num_posts)
