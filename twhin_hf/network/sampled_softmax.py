"""The default objective: a softmax over the posts of a chunk, corrected for how often they come.

An engagement `(u, r, t)` of user `u` with post `t` scores `f = (u + r) · t`, as in the paper. Its
loss is `−log softmax(f − log n)` at `t`, over the posts of its chunk, where `n` is how many
training engagements of the relation a post has. Posts come in proportion to `n`; the correction
makes the scores those of a softmax over all posts (Bengio and Senécal, 2003; Yi et al., RecSys
2019). To it comes `l2 / 2 · (|u|² + |r|² + |t|²)` for each engagement. Gradients are written by
hand.

Against the paper's logistic loss at equal time it ranks held-out engagements clearly better:
`examples/benchmarks/RESULTS.md`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from twhin_hf.network.schedule import Schedule, Step
from twhin_hf.network.tables import Tables


def log_counts(schedule: Schedule) -> Tensor:
    """Logarithm of the training edges that an edge's post has in the edge's relation.

    Args:
        schedule: Training edges, sorted by relation.

    Returns:
        float32 `[num_edges]`, on the device of the schedule.
    """
    found = torch.empty(schedule.num_edges, device=schedule.rhs.device)
    for start, end in zip(schedule.bounds, schedule.bounds[1:], strict=False):
        posts = schedule.rhs[start:end].long()
        counts = torch.bincount(posts, minlength=schedule.num_rows[1]).float()
        found[start:end] = counts.index_select(0, posts)
    return found.log_()


def softmax_logits(
    users: Tensor, posts: Tensor, log_counts: Tensor, lhs: Tensor, rhs: Tensor
) -> Tensor:
    """Corrected scores of every user of a chunk with every post of the chunk.

    The post of another edge is no candidate where it is the same post, or one of the same user.

    Args:
        users: Translated vectors `u + r`, `[chunks, size, dimension]`.
        posts: Vectors `[chunks, size, dimension]`.
        log_counts: Of the posts, `[chunks, size]`.
        lhs: Rows of the users, `[chunks, size]`.
        rhs: Rows of the posts, `[chunks, size]`.

    Returns:
        `[chunks, size, size]`; an edge's own post is on the diagonal.
    """
    logits = torch.bmm(users, posts.mT)
    logits.sub_(log_counts[:, None])
    own = logits.diagonal(dim1=1, dim2=2).clone()
    logits.masked_fill_(lhs[:, :, None] == lhs[:, None], -torch.inf)
    logits.masked_fill_(rhs[:, :, None] == rhs[:, None], -torch.inf)
    logits.diagonal(dim1=1, dim2=2).copy_(own)
    return logits


def softmax_loss(logits: Tensor) -> Tensor:
    """Cross entropy of the edges of a batch, summed; `[chunks, size, size]` to a scalar."""
    own = torch.arange(logits.shape[1], device=logits.device).repeat(len(logits))
    return cross_entropy(logits.flatten(0, 1), own, reduction="sum")


def softmax_gradients(logits: Tensor, users: Tensor, posts: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of `softmax_loss` for users and posts, each `[edges, dimension]`.

    The derivative by a score is its probability, less one where it is the edge's own.

    Args:
        logits: Of `softmax_logits`; overwritten.
        users: Translated vectors `[chunks, size, dimension]`.
        posts: Vectors `[chunks, size, dimension]`.
    """
    slope = torch.softmax(logits, 2, out=logits)
    slope.diagonal(dim1=1, dim2=2).sub_(1)
    return torch.bmm(slope, posts).flatten(0, 1), torch.bmm(slope.mT, users).flatten(0, 1)


@torch.inference_mode()
def train_softmax_batch(
    tables: Tables,
    schedule: Schedule,
    log_counts: Tensor,
    step: Step,
    learning_rate: float,
    l2: float,
) -> float | None:
    """One step: gather, gradients, scatter.

    Args:
        tables: What learns.
        schedule: Holds the edges.
        log_counts: Of the post of every edge, `[num_edges]`.
        step: Which edges: whole chunks, or fewer than one.
        learning_rate: Of this step.
        l2: Weight of half the squared lengths of an edge's three vectors.

    Returns:
        The mean cross entropy of an edge before the step, where the step measures it.
    """
    users, posts, relations = tables.vectors.values()
    lhs = schedule.lhs.index_select(0, step.edges).long()
    rhs = schedule.rhs.index_select(0, step.edges).long()
    chunks = (-1, min(schedule.chunk, len(lhs)))
    user_vectors, post_vectors = users.index_select(0, lhs), posts.index_select(0, rhs)
    batch = (
        (user_vectors + relations[step.relation]).unflatten(0, chunks),
        post_vectors.unflatten(0, chunks),
    )
    counts = log_counts.index_select(0, step.edges).view(chunks)
    logits = softmax_logits(*batch, counts, lhs.view(chunks), rhs.view(chunks))
    loss = softmax_loss(logits).item() / len(lhs) if step.measure else None
    for_users, for_posts = softmax_gradients(logits, *batch)
    # Before the updates, which overwrite the gradients.
    for_relation = for_users.sum(0, keepdim=True).add_(
        relations[step.relation], alpha=l2 * len(lhs)
    )
    for side, rows, gradient in (
        ("users", lhs, for_users.add_(user_vectors, alpha=l2)),
        ("posts", rhs, for_posts.add_(post_vectors, alpha=l2)),
        ("relations", step.relation, for_relation),
    ):
        tables.update(side, rows, gradient, learning_rate)
    return loss
