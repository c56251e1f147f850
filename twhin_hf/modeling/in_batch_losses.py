"""The contrastive losses over the posts of a batch, those of all processes together.

A batch of pairs holds first one side of all pairs, then the other side in the same order: post i
and post i + `num_pairs` belong together. Every process must bring as many posts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .losses import nt_xent_loss, social_exclusions
from .network_losses import engaged_posts, engagement_loss, max_one
from .score_blocks import made_again, mean_in_blocks, queries_at_once
from .translation_losses import translation_contrastive_loss, translation_exclusions


def in_batch_social_loss(
    projections: Tensor,
    post_ids: Tensor | None = None,
    positive_ids: Tensor | None = None,
    temperature: float = 0.1,
    across_processes: bool = True,
) -> tuple[Tensor, Tensor]:
    """NT-Xent (`nt_xent_loss`) of mined pairs, with all posts of all processes as keys.

    Args:
        projections: `[num_posts, size]`.
        post_ids: `[num_posts]`, integer ids; each post is another one by default.
        positive_ids: `[num_posts, max_positives]`, as `social_exclusions` takes; by default only
            the other post of a pair is known as positive.
        temperature: τ.
        across_processes: False keeps to this process's posts.

    Returns:
        The loss, and the share of posts whose positive scores highest, both scalars.

    Raises:
        ValueError: An odd number of posts, or a batch of one pair.

    Example:
        Two pairs, each with equal vectors and at a right angle to the other:

        >>> posts = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
        >>> loss, accuracy = in_batch_social_loss(posts, temperature=1.0)
        >>> round(loss.item(), 4), accuracy.item()  # log(1 + 2 / e)
        (0.5514, 1.0)
    """
    num_posts = len(projections)
    if num_posts % 2:
        raise ValueError(f"the social loss takes pairs; the batch has {num_posts} posts")
    own = torch.arange(num_posts, device=projections.device)
    if post_ids is None:
        post_ids = _process_rank() * num_posts + own
    if positive_ids is None:
        positive_ids = post_ids.new_empty(num_posts, 0)
    keys, key_ids, first = projections, post_ids, 0
    if across_processes:
        keys, key_ids, first = _gather_from_processes(projections, post_ids)
    _check_negatives(len(keys), "social")
    partners = first + (own + num_posts // 2) % num_posts

    def of_block(rows: slice) -> tuple[Tensor, Tensor]:
        excluded = social_exclusions(post_ids[rows], positive_ids[rows], key_ids)
        return nt_xent_loss(projections[rows], keys, partners[rows], excluded, temperature)

    loss, accuracy = mean_in_blocks(of_block, num_posts, len(keys))
    return loss, accuracy


def in_batch_translation_loss(
    projections: Tensor,
    item_ids: Tensor | None = None,
    temperature: float = 0.05,
    margin: float = 0.0,
    across_processes: bool = True,
) -> tuple[Tensor, Tensor]:
    """`translation_contrastive_loss` with the other side's texts of all processes as keys.

    Args:
        projections: `[num_posts, size]`, first all sides a, then all sides b.
        item_ids: `[num_posts]`; texts of one item are translations of each other, and so no
            negatives. By default each pair is an item.
        temperature: τ.
        margin: Taken off the cosine of a text and its translation.
        across_processes: False keeps to this process's texts.

    Returns:
        The loss, and the share of texts whose translation scores highest, both scalars.

    Raises:
        ValueError: A batch of one pair.

    Example:
        >>> texts = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
        >>> loss, accuracy = in_batch_translation_loss(texts, temperature=1.0)
        >>> round(loss.item(), 4), accuracy.item()  # log(1 + 1 / e)
        (0.3133, 1.0)
    """
    num_posts, num_pairs = len(projections), len(projections) // 2
    own = torch.arange(num_posts, device=projections.device)
    if item_ids is None:
        item_ids = _process_rank() * num_pairs + own % num_pairs
    keys, key_item_ids, first = projections, item_ids, 0
    if across_processes:
        keys, key_item_ids, first = _gather_from_processes(projections, item_ids)
    _check_negatives(len(keys), "contrastive")
    partners = first + (own + num_pairs) % num_posts
    # Every process brings its sides a and then its sides b.
    key_sides = torch.arange(len(keys), device=own.device) % num_posts // num_pairs
    sides = own // num_pairs

    def of_block(rows: slice) -> tuple[Tensor, Tensor]:
        excluded = translation_exclusions(item_ids[rows], sides[rows], key_item_ids, key_sides)
        return translation_contrastive_loss(
            projections[rows], keys, partners[rows], excluded, temperature, margin
        )

    loss, accuracy = mean_in_blocks(of_block, num_posts, len(keys))
    return loss, accuracy


def in_batch_engagement_loss(
    users: Tensor,
    posts: Tensor,
    content_ids: Tensor,
    pair_users: Tensor,
    pair_posts: Tensor,
    user_posts: Tensor,
    user_post_counts: Tensor,
    temperature: float = 0.1,
    log_frequencies: Tensor | None = None,
    num_items: Tensor | int | None = None,
    across_processes: bool = True,
    project_users: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """`engagement_loss` with the posts of all processes as keys.

    Args:
        users: `[num_users, size]`, projections of this process's users; or what `project_users`
            makes projections of.
        posts: `[num_posts, size]`, projections of its posts.
        content_ids: `[num_posts]`, integer ids; copies of a post share one.
        pair_users: `[num_engagements]`, the row in `users` of each engagement.
        pair_posts: `[num_engagements]`, its row in `posts`.
        user_posts: `[total]`, content ids of all posts that each user engaged with.
        user_post_counts: `[num_users]`, how many of them each user has.
        temperature: τ.
        log_frequencies: `[num_posts]`, as `engagement_loss` takes.
        num_items: As `engagement_loss` takes.
        across_processes: False keeps to this process's posts.
        project_users: From a block of `users` to their projections, where they are none yet.

    Returns:
        The loss, and the share of engagements whose post scores above all negatives.

    Raises:
        ValueError: A batch of one post.
    """
    keys, key_ids, first = posts, content_ids, 0
    if across_processes:
        keys, key_ids, first = _gather_from_processes(posts, content_ids)
    if len(keys) < 2:
        raise ValueError(
            "a batch of one post has no negatives; the engagement loss needs at least two "
            "(raise per_device_train_batch_size)"
        )
    if log_frequencies is not None and across_processes:
        log_frequencies = _gather_from_processes(log_frequencies[:, None], content_ids)[0][:, 0]

    def of_block(
        users: Tensor, pair_users: Tensor, pair_posts: Tensor, user_posts: Tensor, counts: Tensor
    ) -> tuple[Tensor, Tensor]:
        return engagement_loss(
            users if project_users is None else project_users(users),
            keys,
            pair_users,
            pair_posts,
            engaged_posts(user_posts, counts, key_ids),
            temperature,
            log_frequencies,
            num_items=1,
        )

    pair_posts = first + pair_posts
    num_pairs, size = len(pair_users), queries_at_once(len(keys))
    if len(users) <= size:
        total, accuracy = of_block(users, pair_users, pair_posts, user_posts, user_post_counts)
    else:
        order = pair_users.argsort()
        pair_users, pair_posts = pair_users[order], pair_posts[order]
        counts = user_post_counts.split(size)
        # One look at the device for all blocks.
        pairs_of, posts_of = torch.stack(
            [
                torch.bincount(pair_users // size, minlength=len(counts)),
                torch.stack([own.sum() for own in counts]),
            ]
        ).tolist()
        blocks = zip(
            users.split(size),
            (pair_users % size).split(pairs_of),
            pair_posts.split(pairs_of),
            user_posts.split(posts_of),
            counts,
            strict=True,
        )
        parts = [torch.stack(made_again(of_block, *block)) for block in blocks]
        sums, shares = torch.stack(parts).unbind(dim=1)
        total = sums.sum()
        accuracy = (shares * shares.new_tensor(pairs_of)).sum() / max_one(num_pairs)
    return total / (max_one(num_pairs) if num_items is None else num_items), accuracy


def _check_negatives(num_keys: int, loss: str) -> None:
    if num_keys < 4:
        raise ValueError(
            f"a batch of one pair has no negatives; the {loss} loss needs at least two pairs "
            "(raise per_device_train_batch_size)"
        )


def _process_rank() -> int:
    """The number of this process among those that train together; 0 where it is alone."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def _gather_from_processes(projections: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, int]:
    """The projections and ids of all processes' posts, and where this process's begin.

    Gradients flow back to the process that made a projection, so that the average of the
    processes' losses has the gradients of the joint batch.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return projections, ids, 0
    all_ids = [torch.empty_like(ids) for _ in range(dist.get_world_size())]
    dist.all_gather(all_ids, ids)
    return _GatherWithGradient.apply(projections), torch.cat(all_ids), dist.get_rank() * len(ids)


class _GatherWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        everyone = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(everyone, own.contiguous())
        ctx.count = len(own)
        return torch.cat(everyone)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        gradient = grad_outputs[0].contiguous()
        dist.all_reduce(gradient)
        first = dist.get_rank() * ctx.count
        return gradient[first : first + ctx.count]
