"""Losses that teach an encoder what a network of users and posts knows.

Their frozen side, the network's vectors and who engaged with what, comes with the batch: none of it
is part of the model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .losses import cosines
from .score_blocks import in_blocks

RULED_OUT = -1e9
"""A score so low that it has no part in a softmax. Minus infinity would: its gradient is NaN."""


def engagement_loss(
    users: Tensor,
    posts: Tensor,
    pair_users: Tensor,
    pair_posts: Tensor,
    exclusion_mask: Tensor,
    temperature: float = 0.1,
    log_frequencies: Tensor | None = None,
    num_items: Tensor | int | None = None,
) -> tuple[Tensor, Tensor]:
    """Each user finds the post she engaged with among the batch's posts.

    ℓ_ut = −log exp(s_ut / τ − log f_t) / Σ_{t' ∈ {t} ∪ negatives of u} exp(s_ut' / τ − log f_t'), s
    the cosine, averaged over the engagements (u, t): the sampled softmax with correction for how
    often a post is drawn (Bengio and Senécal, 2008; Yi et al., RecSys 2019, Equation 4).

    Args:
        users: `[num_users, size]`, projections of the users' network vectors.
        posts: `[num_posts, size]`, projections of all posts of the batch.
        pair_users: `[num_engagements]`, the row in `users` of each engagement.
        pair_posts: `[num_engagements]`, its row in `posts`.
        exclusion_mask: `[num_users, num_posts]`, true where a post is no negative of a user: all
            that she engaged with (`engaged_posts`). The post of an engagement always takes part.
        temperature: τ.
        log_frequencies: `[num_posts]`, logarithm of how often a post is drawn, up to a constant;
            by default all alike.
        num_items: What to divide the sum by; by default the number of engagements.

    Returns:
        The loss, and the share of engagements whose post scores above all negatives, before the
        correction; both scalars, 0 where there is no engagement.

    Example:
        One user, the post that she engaged with, and one at a right angle to her:

        >>> vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> first, engaged = torch.tensor([0]), torch.tensor([[True, False]])
        >>> loss, accuracy = engagement_loss(vectors[:1], vectors, first, first, engaged, 1.0)
        >>> round(loss.item(), 4), accuracy.item()  # log(1 + 1 / e)
        (0.3133, 1.0)
    """
    if len(pair_users) == 0:
        return (users.sum() + posts.sum()) * 0.0, posts.new_zeros(()).float()
    scores = cosines(users, posts)
    with torch.no_grad():
        best = scores.masked_fill(exclusion_mask, RULED_OUT).amax(dim=1)
        accuracy = (scores[pair_users, pair_posts] > best[pair_users]).float().mean()
    scores = scores / temperature
    if log_frequencies is not None:
        scores = scores - log_frequencies
    negatives = scores.masked_fill(exclusion_mask, RULED_OUT).logsumexp(dim=1)
    losses = F.softplus(negatives[pair_users] - scores[pair_users, pair_posts])
    return losses.sum() / (len(losses) if num_items is None else num_items), accuracy


def engaged_posts(user_posts: Tensor, user_post_counts: Tensor, key_ids: Tensor) -> Tensor:
    """Which of the batch's posts each user engaged with.

    Copies of a post share its id, and so an engagement with one is an engagement with all.

    Args:
        user_posts: `[total]`, ids of the posts that each user engaged with, user after user.
        user_post_counts: `[num_users]`, how many of them each user has.
        key_ids: `[num_posts]`, ids of the batch's posts.

    Returns:
        Boolean `[num_users, num_posts]`.

    Example:
        >>> ids = torch.tensor([7, 8, 7, 9])
        >>> engaged_posts(torch.tensor([7, 5, 9]), torch.tensor([2, 1]), ids).tolist()
        [[True, False, True, False], [False, False, False, True]]
    """
    num_users, num_keys = len(user_post_counts), len(key_ids)
    # Copies stand side by side, and the first of them for all. Sizes that depended on the values,
    # as those of `unique`, would have a GPU waited for.
    in_order = key_ids.sort().values
    of_key = torch.searchsorted(in_order, key_ids)
    places = torch.searchsorted(in_order, user_posts).clamp(max=num_keys - 1)
    places = torch.where(in_order[places] == user_posts, places, num_keys)
    users = torch.repeat_interleave(user_post_counts, output_size=len(user_posts))
    engaged = torch.zeros(num_users * (num_keys + 1), dtype=torch.bool, device=key_ids.device)
    engaged = engaged.index_fill_(0, users * (num_keys + 1) + places, True)
    return engaged.view(num_users, num_keys + 1)[:, of_key]


def cosine_distillation_loss(
    outputs: Tensor, vectors: Tensor, num_items: Tensor | int | None = None
) -> Tensor:
    """1 − cos(output, network vector), averaged over the posts.

    Args:
        outputs: `[num_posts, dimension]`, of the distillation head.
        vectors: `[num_posts, dimension]`, the posts' network vectors.
        num_items: What to divide the sum by; by default the number of posts.

    Returns:
        Scalar.

    Example:
        >>> outputs = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
        >>> cosine_distillation_loss(outputs, torch.tensor([[1.0, 0.0], [1.0, 0.0]])).item()
        0.5
    """
    distances = 1 - F.cosine_similarity(outputs.float(), vectors.float(), dim=-1)
    return distances.sum() / max_one(len(distances) if num_items is None else num_items)


def neighbour_distillation_loss(
    outputs: Tensor,
    vectors: Tensor,
    all_vectors: Tensor,
    temperature: float = 0.05,
    target_temperature: float = 0.1,
    num_items: Tensor | int | None = None,
) -> Tensor:
    """Cross entropy between a post's neighbours in the network and those of its output.

    The target is softmax(cos(v, v_j) / τ_target) over posts j, v the post's network vector; the
    prediction softmax(cos(output, v_j) / τ). Averaged over the posts.

    Args:
        outputs: `[num_posts, dimension]`, of the distillation head.
        vectors: `[num_posts, dimension]`, the posts' network vectors.
        all_vectors: `[num_targets, dimension]`, network vectors of the posts to compare with: all,
            or a sample.
        temperature: τ.
        target_temperature: τ_target.
        num_items: What to divide the sum by; by default the number of posts.

    Returns:
        Scalar.

    Example:
        Two posts at a right angle; target and prediction are (e, 1) / (e + 1):

        >>> both = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> round(neighbour_distillation_loss(both[:1], both[:1], both, 1.0, 1.0).item(), 4)
        0.5822
    """

    def of_block(rows: slice) -> Tensor:
        with torch.no_grad():
            targets = (cosines(vectors[rows], all_vectors) / target_temperature).softmax(dim=1)
        scores = cosines(outputs[rows], all_vectors) / temperature
        return F.cross_entropy(scores, targets, reduction="sum")

    total = torch.stack(in_blocks(of_block, len(outputs), len(all_vectors))).sum()
    return total / max_one(len(outputs) if num_items is None else num_items)


def nearest_vector_accuracy(outputs: Tensor, vectors: Tensor) -> Tensor:
    """The share of posts whose own network vector is the nearest to their output in the batch.

    Args:
        outputs: `[num_posts, dimension]`.
        vectors: `[num_posts, dimension]`.

    Returns:
        Scalar; 0 where there is no post.
    """
    if len(outputs) == 0:
        return outputs.new_zeros(()).float()

    def of_block(rows: slice) -> Tensor:
        scores = cosines(outputs[rows], vectors)
        own = scores.diagonal(rows.start)[:, None]
        # A copy of the post has the same vector: it does not count against it.
        return (scores > own + 1e-6).sum(dim=1) == 0

    with torch.no_grad():
        return torch.cat(in_blocks(of_block, len(outputs), len(vectors))).float().mean()


def max_one(count: Tensor | int) -> Tensor | int:
    """A number of items to divide by, at least 1."""
    return count.clamp(min=1) if isinstance(count, Tensor) else max(1, count)
