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
