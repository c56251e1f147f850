"""Attention for packed rows: tokens see their own post and nothing else.

Three backends give the same numbers. `sdpa` and `eager` take a block-diagonal mask; flash
attention (`flash_attention_2`, `flash_attention_3` and `torch_varlen`, PyTorch's own) takes the
rows end to end with the boundaries of the posts, and needs a GPU in half precision.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

VARLEN = "torch_varlen"
FLAT_BACKENDS = ("flash_attention_2", "flash_attention_3", VARLEN)


def wants_flat_rows(config: PreTrainedConfig) -> bool:
    """Whether the model's attention backend takes all posts end to end in one row."""
    return config._attn_implementation in FLAT_BACKENDS


def packed_attention_arguments(
    segment_ids: Tensor,
    config: PreTrainedConfig,
    dtype: torch.dtype,
    boundaries: Tensor | None = None,
    longest: int | None = None,
) -> dict[str, Any]:
    """Keyword arguments that make an encoder attend within posts.

    Args:
        segment_ids: `[rows, width]` (0 on padding); one row where `wants_flat_rows`.
        config: The encoder's config, which names the attention backend.
        dtype: Of the hidden states.
        boundaries: int32 `[num_segments + 1]`, where each post of one flat row begins and ends;
            read from `segment_ids` by default, for which a GPU has to be waited for.
        longest: Tokens of the longest post, or more.

    Returns:
        `attention_mask`, `[rows, 1, width, width]`: boolean for `sdpa`, additive for `eager`, which
        would take a boolean mask for numbers; or the boundaries that flash attention reads. A
        config with `layer_types` (ModernBERT) gets a mask for each type.

    Raises:
        ValueError: A backend that has no notion of packed rows.
    """
    backend = config._attn_implementation
    if wants_flat_rows(config):
        if boundaries is None or longest is None:
            boundaries = _boundaries(segment_ids)
            longest = int(boundaries.diff().max())
        # ModernBERT would make masks of its own, as large as all tokens squared.
        no_mask = dict.fromkeys(config.layer_types) if has_windows(config) else None
        return {
            "attention_mask": no_mask,
            "cu_seq_lens_q": boundaries,
            "cu_seq_lens_k": boundaries,
            "max_length_q": longest,
            "max_length_k": longest,
        }
    if backend not in ("sdpa", "eager"):
        raise ValueError(
            f"packed rows need attention that knows them, and {backend!r} does not; load the model "
            f"with attn_implementation 'sdpa', 'eager' or one of {FLAT_BACKENDS}"
        )
    same_post = segment_ids[:, None, :, None] == segment_ids[:, None, None, :]
    masks = {"full_attention": same_post}
    if has_windows(config):
        # The tokens of a post stand side by side: places in the row tell how far they are apart.
        places = torch.arange(segment_ids.shape[1], device=segment_ids.device)
        near = (places[:, None] - places).abs() <= config.sliding_window
        masks["sliding_attention"] = same_post & near
    if backend == "eager":
        masks = {name: _additive(mask, dtype) for name, mask in masks.items()}
    return {"attention_mask": masks if has_windows(config) else masks["full_attention"]}


def _boundaries(segment_ids: Tensor) -> Tensor:
    flat = segment_ids.flatten()
    changes = (flat[1:] != flat[:-1]).nonzero().squeeze(1) + 1
    ends = changes.new_tensor([flat.numel()])
    return torch.cat([torch.zeros_like(ends), changes, ends]).to(torch.int32)


def has_windows(config: PreTrainedConfig) -> bool:
    """Whether some of the model's layers see a part of a post alone."""
    return "sliding_attention" in (getattr(config, "layer_types", None) or ())


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    zeros = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return zeros.masked_fill_(~mask, torch.finfo(dtype).min)


def varlen_attention_forward(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention by `torch.nn.attention.varlen`; padded batches go to sdpa.

    Args:
        module: The attention module, whose `training` says whether dropout applies.
        query: `[1, heads, tokens, head size]`.
        key: The same.
        value: The same.
        attention_mask: Of a padded batch; None for packed rows.
        dropout: Must be 0 for packed rows.
        scaling: Of the scores; by default one over the root of the head size.
        cu_seq_lens_q: int32 `[num_segments + 1]`, where each segment begins and ends.
        max_length_q: Length of the longest segment.
        sliding_window: Tokens less than so many places apart see each other; all by default.
        **kwargs: As sdpa takes.

    Returns:
        `[1, tokens, heads, head size]`, and no attention weights.

    Raises:
        ValueError: With dropout on the attention weights, which the kernel does not know, or with
            a window where this torch's kernel has none.
    """
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    if dropout > 0:
        raise ValueError(
            f"{VARLEN} attention has no dropout and the model's attention dropout is {dropout}: "
            "set it to 0, or use attn_implementation 'flash_attention_2' or 'sdpa'"
        )
    from torch.nn.attention.varlen import varlen_attn

    longest = int(max_length_q or 0)
    options: dict[str, Any] = {}
    if sliding_window is not None and sliding_window < longest:
        if not _knows_windows(varlen_attn):
            raise ValueError(
                f"{VARLEN} attention of torch {torch.__version__} has no windows and this model "
                f"needs them for posts of more than {sliding_window} tokens: install a newer torch "
                "or flash-attn, or use attn_implementation 'sdpa' or 'eager'"
            )
        options["window_size"] = (sliding_window - 1, sliding_window - 1)
    if scaling is not None:
        # The kernel scales by head size^-0.5; not every version lets it be chosen.
        query = query * (scaling * query.shape[-1] ** 0.5)
    output = varlen_attn(
        query.squeeze(0).transpose(0, 1),
        key.squeeze(0).transpose(0, 1),
        value.squeeze(0).transpose(0, 1),
        cu_seq_lens_q,
        cu_seq_lens_q,
        longest,
        longest,
        **options,
    )
    return cast(Tensor, output).unsqueeze(0), None


def _knows_windows(varlen_attn: Callable[..., Any]) -> bool:
    return "window_size" in inspect.signature(varlen_attn).parameters


def register_varlen_attention() -> None:
    """Makes `torch_varlen` a backend that `set_attn_implementation` knows."""
    AttentionInterface.register(VARLEN, varlen_attention_forward)
    AttentionMaskInterface.register(VARLEN, sdpa_mask)


def attention_dropout(config: PreTrainedConfig) -> float:
    """Dropout on the attention weights, under whichever name the family has it."""
    names = ("attention_probs_dropout_prob", "attention_dropout")
    return next((getattr(config, name) for name in names if hasattr(config, name)), 0.0)


def packed_attention_backend(
    device: torch.device,
    dtype: torch.dtype,
    attention_dropout: float,
    has_windows: bool = False,
) -> str:
    """The fastest backend for packed rows on this hardware: flash attention, else `sdpa`.

    Args:
        device: Where the model runs.
        dtype: In which its attention is computed.
        attention_dropout: Dropout on attention weights, which PyTorch's own kernel lacks.
        has_windows: Whether some layers see a part of a post alone, as ModernBERT's do, which
            PyTorch's own kernel does not know in every version.
    """
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16):
        return "sdpa"
    from transformers.utils import is_flash_attn_2_available

    if is_flash_attn_2_available():
        return "flash_attention_2"
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return "sdpa"
    if has_windows and not _knows_windows(varlen_attn):
        return "sdpa"
    if attention_dropout > 0 or torch.cuda.get_device_capability(device) < (8, 0):
        return "sdpa"
    register_varlen_attention()
    return VARLEN
