"""Edges kept from training, and how well the vectors rank them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from twhin_hf.network.edges import degrees
from twhin_hf.network.log import EngagementGraph

MAX_EDGES = 100_000
_BLOCK = 1024


def hold_out(graph: EngagementGraph, share: float, seed: int) -> np.ndarray:
    """Edges to keep from training, bool `[num_edges]`.

    An edge stays in training where its user, post or relation would have no other there.
    """
    rng = np.random.default_rng(seed)
    count = min(round(share * len(graph.lhs)), MAX_EDGES)
    chosen = rng.choice(len(graph.lhs), count, replace=False, shuffle=False)
    for ids in (graph.lhs, graph.rhs, graph.relation):
        held = np.bincount(ids[chosen])
        all_held = held == degrees(ids, int(ids.max()) + 1)[: len(held)]
        chosen = chosen[~all_held[ids[chosen]]]
    mask = np.zeros(len(graph.lhs), bool)
    mask[chosen] = True
    return mask


def name_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What `rank_held_out` returns under the names of a report; empty where nothing was ranked."""
    names = {
        "held_out_edges": "held-out edges",
        "candidates": "posts among which each is ranked",
        "mrr": "MRR",
        "hits@10": "HITS@10",
        "popularity_mrr": "MRR by popularity",
        "popularity_hits@10": "HITS@10 by popularity",
    }
    return {names.get(name, name): value for name, value in metrics.items()}


@torch.inference_mode()
def rank_held_out(
    graph: EngagementGraph,
    held_out: np.ndarray,
    users: Tensor,
    posts: Tensor,
    relations: Tensor,
    *,
    num_candidates: int,
    seed: int,
) -> dict[str, float]:
    """MRR and HITS@10 of held-out edges, by score and by popularity.

    The post of an edge is ranked among `num_candidates` posts, itself and uniform draws (all posts
    where there are no more); other posts that the user engaged with are no candidates. Ties count
    half. Popularity is a post's number of training edges.
    """
    rows = np.flatnonzero(held_out)
    if not len(rows):
        return {}
    device = posts.device
    training = graph.post_degrees() - np.bincount(graph.rhs[rows], minlength=graph.num_posts)
    popularity = torch.from_numpy(training).to(device, torch.float32)
    known = _engagements_of(np.unique(graph.lhs[rows]), graph)
    generator = torch.Generator(device).manual_seed(seed)
    ranks: dict[str, list[Tensor]] = {"": [], "popularity_": []}
    for block in np.split(rows, range(_BLOCK, len(rows), _BLOCK)):
        lhs, rhs, relation = (
            torch.from_numpy(values[block].astype(np.int64)).to(device)
            for values in (graph.lhs, graph.rhs, graph.relation)
        )
        candidates = torch.arange(graph.num_posts, device=device)
        if graph.num_posts > num_candidates:
            candidates = torch.randint(
                graph.num_posts, (num_candidates - 1,), generator=generator, device=device
            )
        query = users[lhs] + relations[relation]
        scores = {
            "": (query @ posts[candidates].mT, torch.linalg.vecdot(query, posts[rhs])),
            "popularity_": (popularity[candidates].expand(len(rhs), -1), popularity[rhs]),
        }
        # Sparse columns may repeat, as draws do. The post itself is among them.
        known_candidates = known[graph.lhs[block]][:, candidates.cpu().numpy()].toarray()
        left_out = torch.from_numpy(known_candidates).to(device)
        for name, (score, positive) in scores.items():
            score = score.masked_fill(left_out, -torch.inf)
            above = (score > positive[:, None]).sum(1)
            ties = (score == positive[:, None]).sum(1)
            ranks[name].append(1 + above + ties / 2)
    metrics: dict[str, float] = {
        "held_out_edges": len(rows),
        "candidates": min(num_candidates, graph.num_posts),
    }
    for name, parts in ranks.items():
        rank = torch.cat(parts)
        metrics[f"{name}mrr"] = rank.reciprocal().mean().item()
        metrics[f"{name}hits@10"] = (rank <= 10).float().mean().item()
    return metrics


def _engagements_of(users: np.ndarray, graph: EngagementGraph) -> scipy.sparse.csr_matrix:
    """Posts of these users, bool `[num_users, num_posts]`; the rows of others are empty."""
    wanted = np.zeros(graph.num_users, bool)
    wanted[users] = True
    edges = wanted[graph.lhs]
    places = graph.lhs[edges], graph.rhs[edges]
    shape = (graph.num_users, graph.num_posts)
    return scipy.sparse.csr_matrix((np.ones(edges.sum(), bool), places), shape=shape)
