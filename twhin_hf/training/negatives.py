"""Negatives of translation pairs: one side is replaced by a text that is no translation.

As in masking, no generator has a state: a draw's negative depends on the seed, the draw and the
row alone, so that workers, processes and a resumed run find the same one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twhin_hf.errors import InputError
from twhin_hf.training.masking import random_numbers

SIDE, TEXT = 3, 4
"""Streams of random numbers, beside the three of masking."""


class NegativeSampler:
    """Replaces one side of pairs, either at random, by a text of its language and another item.

    Texts are numbered as they stand in the pairs: first all sides a, then all sides b. Every such
    text of the language and outside the item is drawn with equal probability, without rejection:
    texts lie sorted by language and item, and the item's own are jumped over (arXiv 2110.10318,
    Section 2, where the text comes from anywhere outside the item).

    Args:
        languages: Integers `[2 · num_pairs]`, the language of each text.
        items: int64 `[num_pairs]`; pairs of one item hold translations of the same text.
        seed: Seed of the run.
        names: Of the languages, by their integers; for messages.

    Raises:
        InputError: A language whose texts all belong to one item: nothing can replace them.
    """

    def __init__(self, languages: np.ndarray, items: np.ndarray, seed: int, names: Sequence[str]):
        self.seed = seed
        items = np.concatenate([items, items])
        self.order = np.lexsort((items, languages))
        languages, items = languages[self.order], items[self.order]
        changes = languages[1:] != languages[:-1]
        language_start, language_size = _runs(changes)
        block_start, block_size = _runs(changes | (items[1:] != items[:-1]))
        # Per text of the pairs: its language and its item's block within it, as they lie sorted.
        self.start, self.others, self.block, self.block_size = (
            np.empty_like(self.order) for _ in range(4)
        )
        self.start[self.order] = language_start
        self.others[self.order] = language_size - block_size
        self.block[self.order] = block_start
        self.block_size[self.order] = block_size
        if not self.others.all():
            alone = sorted({names[code] for code in languages[self.others[self.order] == 0]})
            raise InputError(
                f"all texts in {alone} are translations of one another: no other text of the "
                "language can stand in a negative; bring more pairs of it, or leave it out"
            )

    def replace(self, pairs: np.ndarray, draws: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """One negative of each of some pairs.

        Args:
            pairs: int64 `[size]`, numbers of the pairs.
            draws: int64 `[size]`, which draw of the run each is.
            rows: int64 `[size]`, tells several negatives of one draw apart.

        Returns:
            int64 `[2, size]`, numbers of the texts on side a and on side b.
        """
        num_pairs = len(self.order) // 2
        texts = np.stack([pairs, pairs + num_pairs])
        columns = np.arange(len(pairs))
        sides = (random_numbers(self.seed, draws, rows, SIDE) < 0.5).astype(np.int64)
        old = texts[sides, columns]
        turn = (random_numbers(self.seed, draws, rows, TEXT) * self.others[old]).astype(np.int64)
        place = self.start[old] + turn
        place += np.where(place >= self.block[old], self.block_size[old], 0)
        texts[sides, columns] = self.order[place]
        return texts


def _runs(changes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each element of a sorted sequence the start and the size of the run it lies in.

    Args:
        changes: boolean `[size - 1]`, where a new run begins.
    """
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    sizes = np.diff(np.concatenate([starts, [len(changes) + 1]]))
    return np.repeat(starts, sizes), np.repeat(sizes, sizes)
