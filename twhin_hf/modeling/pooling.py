"""One vector a post from the hidden states of its tokens, in padded and in packed batches.

A batch is described by `segment_ids` `[rows, width]`: 0 on padding, and the number of the post,
1 … `num_posts`, on each of its tokens. A padded batch has one post a row, a packed one several.
"""

from __future__ import annotations

import torch
from torch import Tensor


def segment_ids_of_rows(attention_mask: Tensor) -> Tensor:
    """Segment ids of a padded batch, where row i holds post i + 1.

    Example:
        >>> segment_ids_of_rows(torch.tensor([[1, 1, 0], [1, 1, 1]])).tolist()
        [[1, 1, 0], [2, 2, 2]]
    """
    numbers = torch.arange(1, len(attention_mask) + 1, device=attention_mask.device)
    return (attention_mask != 0) * numbers[:, None]


def post_boundaries(segment_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Which tokens are the first and which are the last of their post.

    Args:
        segment_ids: `[rows, width]`.

    Returns:
        Two boolean tensors `[rows, width]`; padding is neither.
    """
    changes = segment_ids[:, 1:] != segment_ids[:, :-1]
    edge = torch.ones_like(segment_ids[:, :1], dtype=torch.bool)
    real = segment_ids > 0
    return torch.cat([edge, changes], dim=1) & real, torch.cat([changes, edge], dim=1) & real


def pool(hidden_states: Tensor, segment_ids: Tensor, pooling: str, num_posts: int) -> Tensor:
    """Pools the tokens of each post into one vector.

    Every encoder that we build on frames a post by one special token on either side
    (`[CLS] … [SEP]`, `<s> … </s>`), so the non-special tokens are those in between; a post with
    nothing in between takes the mean of its two special tokens.

    Args:
        hidden_states: `[rows, width, hidden]`.
        segment_ids: `[rows, width]`, the numbers 1 … `num_posts`, and 0 on padding.
        pooling: `cls` (first token), `mean` (non-special tokens), `mean_all` (all tokens, special
            ones too, as sentence-transformers takes the mean) or `combined` (`cls` and `mean`, in
            that order; TwHIN-BERT's features for engagement prediction).
        num_posts: How many posts the batch holds.

    Returns:
        `[num_posts, hidden]`, or `[num_posts, 2 · hidden]` for `combined`.

    Raises:
        ValueError: An unknown pooling.
    """
    if pooling == "cls":
        return _first_tokens(hidden_states, segment_ids, num_posts)
    if pooling == "mean":
        return _mean_of_content(hidden_states, segment_ids, num_posts)
    if pooling == "mean_all":
        return _mean_of_all(hidden_states, segment_ids, num_posts)
    if pooling == "combined":
        first = _first_tokens(hidden_states, segment_ids, num_posts)
        return torch.cat([first, _mean_of_content(hidden_states, segment_ids, num_posts)], dim=-1)
    raise ValueError(f"pooling is {pooling!r}; choose 'cls', 'mean', 'mean_all' or 'combined'")


def _first_tokens(hidden_states: Tensor, segment_ids: Tensor, num_posts: int) -> Tensor:
    starts, _ = post_boundaries(segment_ids)
    positions = starts.flatten().nonzero().squeeze(1)
    # Rows of a packed batch hold the posts in any order: put them in the order of their numbers.
    order = torch.empty(num_posts, dtype=torch.long, device=segment_ids.device)
    order[segment_ids.flatten()[positions] - 1] = positions
    return hidden_states.flatten(0, 1).index_select(0, order)


def _mean_of_content(hidden_states: Tensor, segment_ids: Tensor, num_posts: int) -> Tensor:
    starts, ends = post_boundaries(segment_ids)
    real = segment_ids > 0
    lengths = torch.bincount(segment_ids.flatten(), minlength=num_posts + 1)
    empty = lengths <= 2
    weights = (real & ~starts & ~ends) | (real & empty[segment_ids])
    counts = torch.where(empty, lengths, lengths - 2)
    weighted = hidden_states * weights[..., None].to(hidden_states.dtype)
    return _mean(weighted, segment_ids, counts)


def _mean_of_all(hidden_states: Tensor, segment_ids: Tensor, num_posts: int) -> Tensor:
    counts = torch.bincount(segment_ids.flatten(), minlength=num_posts + 1)
    return _mean(hidden_states, segment_ids, counts)


def _mean(hidden_states: Tensor, segment_ids: Tensor, counts: Tensor) -> Tensor:
    """Sums of each post's tokens by `counts` `[num_posts + 1]`, where row 0 is the padding."""
    sums = hidden_states.new_zeros(len(counts), hidden_states.shape[-1])
    sums = sums.index_add(0, segment_ids.flatten(), hidden_states.flatten(0, 1))
    return sums[1:] / counts[1:, None].clamp(min=1).to(sums.dtype)
