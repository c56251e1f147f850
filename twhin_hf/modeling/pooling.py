"""One vector a post from the hidden states of its tokens, in padded and in packed batches.

A batch is described by `segment_ids` `[rows, width]`: 0 on padding, and the number of the post,
1 … `num_posts`, on each of its tokens. A padded batch has one post a row, a packed one several.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def segment_ids_of_rows(attention_mask: Tensor) -> Tensor:
    """Segment ids of a padded batch, where row i holds post i + 1.

    Example:
        >>> segment_ids_of_rows(torch.tensor([[1, 1, 0], [1, 1, 1]])).tolist()
        [[1, 1, 0], [2, 2, 2]]
    """
    # Not `len`, by which torch.export would take the number of rows for fixed.
    numbers = torch.arange(1, attention_mask.shape[0] + 1, device=attention_mask.device)
    return (attention_mask != 0) * numbers[:, None]


def token_mask(attention_mask: Any, tokens: Tensor, num_virtual_tokens: int = 0) -> Tensor:
    """Which tokens of a padded batch are no padding, from any mask that a backbone takes.

    Args:
        attention_mask: None; `[rows, width]`; `[rows, heads, width, width]`, boolean, or added to
            the attention scores; or such a mask by layer type (ModernBERT). A token counts where
            any token sees it. Of a mask that is wider than the rows, as peft's prefix tuning gives
            it, the tokens are the last `width`.
        tokens: `[rows, width]` or `[rows, width, hidden]`.
        num_virtual_tokens: How many tokens at the start of a row are no part of its post.

    Returns:
        Boolean `[rows, width]`.

    Raises:
        ValueError: A mask of another kind: the stock class may take it, pooling cannot.
    """
    rows, width = tokens.shape[:2]
    if isinstance(attention_mask, dict):
        attention_mask = attention_mask["full_attention"]
    if attention_mask is None:
        attention_mask = torch.ones(rows, width, dtype=torch.bool, device=tokens.device)
    if not isinstance(attention_mask, Tensor) or attention_mask.ndim not in (2, 4):
        found = getattr(attention_mask, "shape", type(attention_mask).__name__)
        raise ValueError(
            f"the attention_mask is {found}, and which tokens to pool cannot be read from it: give "
            "[rows, width], or [rows, heads, width, width]"
        )
    seen = attention_mask != 0
    if attention_mask.ndim == 4:
        if attention_mask.is_floating_point():
            seen = attention_mask > torch.finfo(attention_mask.dtype).min / 2
        seen = seen.any(dim=1).any(dim=1)
    seen = seen[:, -width:].expand(rows, width)
    if num_virtual_tokens:
        seen = seen & (torch.arange(width, device=seen.device) >= num_virtual_tokens)
    return seen


def pool(
    hidden_states: Tensor,
    segment_ids: Tensor,
    pooling: str,
    num_posts: int,
    input_ids: Tensor | None = None,
) -> Tensor:
    """Pools the tokens of each post into one vector.

    Every encoder that we build on frames a post by one special token on either side
    (`[CLS] … [SEP]`, `<s> … </s>`). The mean leaves out these two wherever they stand, also where
    a person has typed them, as sentence-transformers' `MultiVectorMask` does. A post with nothing
    else is 0, and so is one without tokens (a row that is all padding).

    Args:
        hidden_states: `[rows, width, hidden]`.
        segment_ids: `[rows, width]`, the numbers 1 … `num_posts`, and 0 on padding.
        pooling: `cls` (first token), `mean` (non-special tokens), `mean_all` (all tokens, special
            ones too, as sentence-transformers takes the mean) or `combined` (`cls` and `mean`, in
            that order; TwHIN-BERT's features for engagement prediction).
        num_posts: How many posts the batch holds.
        input_ids: `[rows, width]`; without them the first and the last token of a post are taken
            for special, and no other.

    Returns:
        `[num_posts, hidden]`, or `[num_posts, 2 · hidden]` for `combined`.

    Raises:
        ValueError: An unknown pooling.
    """
    if pooling == "cls":
        return _first_tokens(hidden_states, segment_ids, num_posts)
    if pooling == "mean":
        return _mean_of_content(hidden_states, segment_ids, num_posts, input_ids)
    if pooling == "mean_all":
        return _mean_of_all(hidden_states, segment_ids, num_posts)
    if pooling == "combined":
        first = _first_tokens(hidden_states, segment_ids, num_posts)
        content = _mean_of_content(hidden_states, segment_ids, num_posts, input_ids)
        return torch.cat([first, content], dim=-1)
    raise ValueError(f"pooling is {pooling!r}; choose 'cls', 'mean', 'mean_all' or 'combined'")


def _first_tokens(hidden_states: Tensor, segment_ids: Tensor, num_posts: int) -> Tensor:
    first, _ = _frames(segment_ids, num_posts)
    is_missing = _lengths(segment_ids, num_posts)[1:, None] == 0
    return hidden_states.flatten(0, 1).index_select(0, first[1:]).masked_fill(is_missing, 0)


def _mean_of_content(
    hidden_states: Tensor, segment_ids: Tensor, num_posts: int, input_ids: Tensor | None
) -> Tensor:
    first, last = _frames(segment_ids, num_posts)
    numbers = segment_ids.flatten()
    # What tells a token: its id, or its place.
    tokens = torch.arange(numbers.shape[0], device=numbers.device)
    if input_ids is not None:
        tokens = input_ids.flatten()
        first, last = tokens[first], tokens[last]
    is_content = (numbers > 0) & (tokens != first[numbers]) & (tokens != last[numbers])
    counts = numbers.new_zeros(num_posts + 1).scatter_add(0, numbers, is_content.to(numbers.dtype))
    weights = is_content.view(segment_ids.shape)[..., None].to(hidden_states.dtype)
    return _mean(hidden_states * weights, segment_ids, counts)


def _frames(segment_ids: Tensor, num_posts: int) -> tuple[Tensor, Tensor]:
    """The places of each post's first and last token in the flat rows, `[num_posts + 1]` each."""
    numbers = segment_ids.flatten()
    places = torch.arange(numbers.shape[0], device=numbers.device)
    # Rows of a packed batch hold the posts in any order: they come out in that of their numbers.
    start = places.new_zeros(num_posts + 1)
    first = start.scatter_reduce(0, numbers, places, "amin", include_self=False)
    last = start.scatter_reduce(0, numbers, places, "amax", include_self=False)
    return first, last


def _mean_of_all(hidden_states: Tensor, segment_ids: Tensor, num_posts: int) -> Tensor:
    return _mean(hidden_states, segment_ids, _lengths(segment_ids, num_posts))


def _lengths(segment_ids: Tensor, num_posts: int) -> Tensor:
    """How many tokens each post has, `[num_posts + 1]`, where row 0 is the padding."""
    numbers = segment_ids.flatten()
    # Not `bincount`, whose size depends on the values, which torch.export cannot follow.
    return numbers.new_zeros(num_posts + 1).scatter_add(0, numbers, torch.ones_like(numbers))


def _mean(hidden_states: Tensor, segment_ids: Tensor, counts: Tensor) -> Tensor:
    """Sums of each post's tokens by `counts` `[num_posts + 1]`, where row 0 is the padding."""
    sums = hidden_states.new_zeros(counts.shape[0], hidden_states.shape[-1])
    sums = sums.index_add(0, segment_ids.flatten(), hidden_states.flatten(0, 1))
    return sums[1:] / counts[1:, None].clamp(min=1).to(sums.dtype)
