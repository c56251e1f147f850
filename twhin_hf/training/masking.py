"""Masking for MLM that depends on nothing but the seed, the draw, the post and the position.

No generator has a state that workers, processes or a resumed run would have to share: the same
draw of the same post is masked alike wherever it happens.
"""

from __future__ import annotations

import numpy as np

IGNORED = -100

_STEP = np.uint64(0x9E3779B97F4A7C15)


def mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer: one well mixed 64-bit number for each number."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def random_numbers(seed: int, draws: np.ndarray, positions: np.ndarray, stream: int) -> np.ndarray:
    """Uniform numbers in [0, 1), float64 `[num_tokens]`, one for each (draw, position, stream).

    Args:
        seed: Seed of the run.
        draws: int64 `[num_tokens]`, which draw of the run a token's post is.
        positions: int64 `[num_tokens]`, the token's place in its post.
        stream: Tells numbers for different uses apart.
    """
    with np.errstate(over="ignore"):
        state = mix(np.full(1, seed % 2**64, np.uint64) + _STEP * np.uint64(stream + 1))
        state = mix(state + _STEP * draws.astype(np.uint64))
        state = mix(state + _STEP * (positions.astype(np.uint64) + np.uint64(1)))
    return (state >> np.uint64(11)) * 2.0**-53


def mask_tokens(
    tokens: np.ndarray,
    draws: np.ndarray,
    positions: np.ndarray,
    *,
    special_ids: np.ndarray,
    mask_token_id: int,
    vocab_size: int,
    probability: float = 0.15,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """BERT's masking: of the chosen tokens 80 % `[MASK]`, 10 % random, 10 % as they are.

    Args:
        tokens: `[num_tokens]`, of the batch's posts one after the other.
        draws: int64 `[num_tokens]`.
        positions: int64 `[num_tokens]`, places in the post.
        special_ids: Tokens that are never chosen.
        mask_token_id: Id of `[MASK]`.
        vocab_size: Random tokens are drawn below it.
        probability: Share of the tokens to choose.
        seed: Seed of the run.

    Returns:
        The tokens to show and the labels (the token where one was chosen, -100 elsewhere), both
        int64 `[num_tokens]`.
    """
    chosen = random_numbers(seed, draws, positions, 0) < probability
    chosen &= ~np.isin(tokens, special_ids)
    fate = random_numbers(seed, draws, positions, 1)
    shown = tokens.astype(np.int64)
    labels = np.where(chosen, shown, IGNORED)
    anything = (random_numbers(seed, draws, positions, 2) * vocab_size).astype(np.int64)
    shown = np.where(chosen & (fate < 0.8), mask_token_id, shown)
    shown = np.where(chosen & (fate >= 0.9), anything, shown)
    return shown, labels
