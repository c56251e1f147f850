"""The paper's objective: the logistic loss of engagements and of drawn negatives.

An engagement `e = (u, r, t)` of user `u` with post `t` scores `f(e) = (u + r) · t`. Training
maximises `log σ(f(e)) + w · Σ log σ(−f(e'))`, where each negative `e'` is `e` with its user or its
post replaced: by others of the same batch (that is, by prevalence) and by uniform draws. The paper
prints the sum (w = 1), but PyTorch-BigGraph, with which it was computed, averages the negatives of
an edge; so do we, because it learns far faster.

What makes it fast:

- A batch holds edges of one relation, cut into chunks of `num_batch_negs + 1`. The users and posts
  of a chunk are each other's negatives, and `(u_i + r) · t_j` is edge i with its post replaced as
  well as edge j with its user replaced: one matrix of scores serves both sides.
- The uniform negatives are shared by the whole batch, so their scores are two large products.
- The gradients of this loss are products of the same matrices: there is no autograd graph.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.schedule import Step
from twhin_hf.network.tables import Tables


class Batch(NamedTuple):
    """Vectors of one batch; users are translated already, that is `u + r`."""

    users: Tensor  # [chunks, size, dimension]
    posts: Tensor  # [chunks, size, dimension]
    uniform_users: Tensor  # [num_uniform_negs, dimension]
    uniform_posts: Tensor  # [num_uniform_negs, dimension]
    # Pairs that are no negatives, because they are the edge itself or another edge of the chunk:
    engaged: Tensor  # bool [chunks, size, size], user i with post j
    same_user: Tensor  # bool [chunks * size, num_uniform_negs]
    same_post: Tensor  # bool [chunks * size, num_uniform_negs]


def batch_loss(batch: Batch, weight: float) -> Tensor:
    """The objective with its sign turned, summed over the edges of a batch.

    Args:
        batch: Vectors and masks.
        weight: Of each negative.
    """
    scores = batch.users @ batch.posts.mT
    positive = logsigmoid(scores.diagonal(dim1=1, dim2=2)).sum()
    from_batch = softplus(scores.masked_fill(batch.engaged, -torch.inf)).sum()
    scores = batch.users.flatten(0, 1) @ batch.uniform_posts.mT
    uniform_posts = softplus(scores.masked_fill(batch.same_post, -torch.inf)).sum()
    scores = batch.posts.flatten(0, 1) @ batch.uniform_users.mT
    uniform_users = softplus(scores.masked_fill(batch.same_user, -torch.inf)).sum()
    return weight * (2 * from_batch + uniform_posts + uniform_users) - positive


def batch_gradients(batch: Batch, weight: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `batch_loss` for the first four fields, the first two as `[edges, dimension]`.

    The derivative by the score of a negative is w · σ, twice where the score serves both sides;
    by that of a positive it is σ − 1. All else is the chain rule of a matrix product.
    """
    slope = torch.bmm(batch.users, batch.posts.mT).sigmoid_()
    positive = slope.diagonal(dim1=1, dim2=2) - 1
    slope.masked_fill_(batch.engaged, 0).mul_(2 * weight)
    slope.diagonal(dim1=1, dim2=2).copy_(positive)
    users, posts = batch.users.flatten(0, 1), batch.posts.flatten(0, 1)
    for_users = torch.bmm(slope, batch.posts).flatten(0, 1)
    for_posts = torch.bmm(slope.mT, batch.users).flatten(0, 1)

    slope = (users @ batch.uniform_posts.mT).sigmoid_().masked_fill_(batch.same_post, 0)
    for_users.addmm_(slope, batch.uniform_posts, alpha=weight)
    for_uniform_posts = (slope.mT @ users).mul_(weight)

    slope = (posts @ batch.uniform_users.mT).sigmoid_().masked_fill_(batch.same_user, 0)
    for_posts.addmm_(slope, batch.uniform_users, alpha=weight)
    for_uniform_users = (slope.mT @ posts).mul_(weight)
    return for_users, for_posts, for_uniform_users, for_uniform_posts


def batch_of(
    users: tuple[Tensor, Tensor],
    posts: tuple[Tensor, Tensor],
    relation: Tensor,
    lhs: Tensor,
    rhs: Tensor,
    step: Step,
    config: NetworkEmbeddingConfig,
) -> Batch:
    """The vectors of a step and what is no negative, wherever the vectors come from.

    Args:
        users: Vectors of the edges' users, `[edges, dimension]`, and of the drawn ones,
            `[num_uniform_negs, dimension]`; overwritten.
        posts: The same of posts.
        relation: Vector of the edges' relation, `[1, dimension]`.
        lhs: Rows of the users, int64 `[edges]`.
        rhs: Rows of the posts, int64 `[edges]`.
        step: Its draws.
        config: Number of negatives.
    """
    chunks = (-1, min(config.option("num_batch_negs") + 1, len(lhs)))
    lhs_chunks, rhs_chunks = lhs.view(chunks), rhs.view(chunks)
    return Batch(
        users=users[0].add_(relation).unflatten(0, chunks),
        posts=posts[0].unflatten(0, chunks),
        uniform_users=users[1].add_(relation),
        uniform_posts=posts[1],
        engaged=(lhs_chunks[:, :, None] == lhs_chunks[:, None])
        | (rhs_chunks[:, :, None] == rhs_chunks[:, None]),
        same_user=lhs[:, None] == step.uniform_users,
        same_post=rhs[:, None] == step.uniform_posts,
    )


@torch.inference_mode()
def train_batch(
    tables: Tables, lhs: Tensor, rhs: Tensor, step: Step, config: NetworkEmbeddingConfig
) -> float | None:
    """One step: gather, gradients, scatter.

    Args:
        tables: What learns.
        lhs: User of every edge, int32 `[num_edges]`.
        rhs: Post of every edge, int32 `[num_edges]`.
        step: Which edges: whole chunks, or fewer than one.
        config: Negatives and learning rate.

    Returns:
        The mean loss of an edge before the step, where the step measures it.
    """
    users, posts, relations = tables.vectors.values()
    lhs, rhs = lhs.index_select(0, step.edges).long(), rhs.index_select(0, step.edges).long()
    batch = batch_of(
        (users.index_select(0, lhs), users.index_select(0, step.uniform_users)),
        (posts.index_select(0, rhs), posts.index_select(0, step.uniform_posts)),
        relations[step.relation],
        lhs,
        rhs,
        step,
        config,
    )
    loss = batch_loss(batch, config.weight).item() / len(lhs) if step.measure else None
    for_users, for_posts, for_uniform_users, for_uniform_posts = batch_gradients(
        batch, config.weight
    )
    # Before the updates, which overwrite the gradients.
    for_relation = (for_users.sum(0) + for_uniform_users.sum(0))[None]
    for side, rows, gradient in (
        ("users", lhs, for_users),
        ("posts", rhs, for_posts),
        ("users", step.uniform_users, for_uniform_users),
        ("posts", step.uniform_posts, for_uniform_posts),
        ("relations", step.relation, for_relation),
    ):
        tables.update(side, rows, gradient, config.option("learning_rate"))
    return loss
