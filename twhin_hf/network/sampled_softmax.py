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
    gradients, loss = step_gradients(
        users.index_select(0, lhs),
        posts.index_select(0, rhs),
        relations[step.relation],
        log_counts.index_select(0, step.edges),
        (lhs, rhs),
        chunk=schedule.chunk,
        l2=l2,
        measure=step.measure,
    )
    rows = {"users": lhs, "posts": rhs, "relations": step.relation}
    for (side, chosen), gradient in zip(rows.items(), gradients, strict=True):
        tables.update(side, chosen, gradient, learning_rate)
    return loss


def step_gradients(
    users: Tensor,
    posts: Tensor,
    relation: Tensor,
    log_counts: Tensor,
    rows: tuple[Tensor, Tensor],
    *,
    chunk: int,
    l2: float,
    measure: bool,
) -> tuple[tuple[Tensor, Tensor, Tensor], float | None]:
    """Gradients of the loss of some edges of one relation, wherever their vectors come from.

    Args:
        users: Vectors of their users, `[edges, dimension]`.
        posts: Vectors of their posts, `[edges, dimension]`.
        relation: Vector of their relation, `[1, dimension]`.
        log_counts: Of their posts, `[edges]`.
        rows: Users and posts, each int64 `[edges]`: which of them are the same.
        chunk: Edges whose posts are each other's candidates.
        l2: Weight of half the squared lengths of an edge's three vectors.
        measure: Whether to compute the loss.

    Returns:
        Gradients for users and posts, each `[edges, dimension]`, and for the relation,
        `[1, dimension]`; and the mean cross entropy of an edge, where it is measured.
    """
    lhs, rhs = rows
    chunks = (-1, min(chunk, len(lhs)))
    batch = ((users + relation).unflatten(0, chunks), posts.unflatten(0, chunks))
    logits = softmax_logits(*batch, log_counts.view(chunks), lhs.view(chunks), rhs.view(chunks))
    loss = softmax_loss(logits).item() / len(lhs) if measure else None
    for_users, for_posts = softmax_gradients(logits, *batch)
    for_relation = for_users.sum(0, keepdim=True).add_(relation, alpha=l2 * len(lhs))
    return (for_users.add_(users, alpha=l2), for_posts.add_(posts, alpha=l2), for_relation), loss
