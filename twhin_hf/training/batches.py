"""Batches of posts and of pairs, drawn by stateless samplers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from twhin_hf.data.language_sampling import resample_languages
from twhin_hf.errors import InputError
from twhin_hf.training.network_targets import EngagedUsers, NetworkTargets, PostVectors


@dataclass
class PostBatch:
    """Posts that go through the model together.

    Args:
        tokens: int32 `[num_tokens]`, of one post after the other.
        lengths: int64 `[num_posts]`, tokens of each post.
        draws: int64 `[num_posts]`, which draw of the run each post is; seeds its masking.
        post_ids: int64 `[num_posts]`, the posts' rows; of pairs first all anchors, then their
            positives in the same order.
        positive_ids: int64 `[num_posts, max_positives]`, all known positives of each post, filled
            up with -1; none where the batch is no batch of pairs of posts.
        pair_labels: int64 `[num_posts // 2]`, 1 for a translation and 0 for none; of translation
            pairs alone, first all sides a, then all sides b in the same order.
        item_ids: int64 `[num_posts]`, equal for texts that are translations of each other.
        engagements: Who engaged with the posts, where that is an objective.
        distillation: The posts' network vectors, where that is one.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    draws: np.ndarray
    post_ids: np.ndarray
    positive_ids: np.ndarray | None = None
    pair_labels: np.ndarray | None = None
    item_ids: np.ndarray | None = None
    engagements: EngagedUsers | None = None
    distillation: PostVectors | None = None


class PostBatches(TorchDataset):
    """Tokenized posts, fetched a batch at a time.

    Args:
        tokenized: Of `tokenize_posts`.
        targets: What a network says of them, for the objectives that learn from it.

    Its keys are `draw · len + row`, as `LanguageSampler` makes them, so that a draw's number
    reaches whoever masks it; a bare row is its draw 0.
    """

    def __init__(self, tokenized: Dataset, targets: NetworkTargets | None = None):
        self.tokenized, self.targets = tokenized.with_format("arrow"), targets

    def __len__(self) -> int:
        return len(self.tokenized)

    def __getitem__(self, key: int) -> PostBatch:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[int]) -> PostBatch:
        draws, rows = np.divmod(np.asarray(keys, np.int64), len(self))
        return self.batch(rows, draws)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each post, `[len]`."""
        column = self.tokenized.select_columns("input_ids")[:].column("input_ids")
        return pc.list_value_length(column).to_numpy()

    def num_tokens(self, keys: np.ndarray) -> np.ndarray:
        """Tokens that some keys bring, `[len(keys)]`."""
        return self.lengths[keys % len(self)]

    def batch(self, rows: np.ndarray, draws: np.ndarray) -> PostBatch:
        """The posts of some rows, with what a network says of them."""
        batch = self.posts_of(rows, draws)
        batch.engagements, batch.distillation = self.targets_of(rows, draws)
        return batch

    def posts_of(self, rows: np.ndarray, draws: np.ndarray) -> PostBatch:
        """The posts alone."""
        ids = self.tokenized[rows.tolist()].column("input_ids").combine_chunks()
        tokens = ids.flatten().to_numpy(zero_copy_only=False)
        return PostBatch(tokens, np.diff(ids.offsets.to_numpy()), draws, rows)

    def targets_of(
        self, rows: np.ndarray, draws: np.ndarray
    ) -> tuple[EngagedUsers | None, PostVectors | None]:
        """What the network says of the posts; nothing without a network."""
        if self.targets is None:
            return None, None
        return self.targets.engaged_users(rows, draws), self.targets.post_vectors(rows, draws)


class PairBatches(TorchDataset):
    """Pairs of posts.

    Args:
        posts: The posts.
        pairs: int64 `[num_pairs, 2]`, rows of anchors and positives.
    """

    def __init__(self, posts: PostBatches, pairs: np.ndarray):
        self.posts, self.pairs = posts, pairs
        both_ways = np.concatenate([pairs, pairs[:, ::-1]])
        both_ways = np.unique(both_ways, axis=0)
        self.positives = both_ways[:, 1]
        self.offsets = np.searchsorted(both_ways[:, 0], np.arange(len(posts) + 1))

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: int) -> PostBatch:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[int]) -> PostBatch:
        draws, rows = np.divmod(np.asarray(keys, np.int64), len(self))
        post_rows = self.pairs[rows].T.reshape(-1)
        # Anchor and positive of a pair are two draws.
        batch = self.posts.batch(post_rows, np.concatenate([2 * draws, 2 * draws + 1]))
        batch.positive_ids = self.known_positives(post_rows)
        return batch

    def num_tokens(self, keys: np.ndarray) -> np.ndarray:
        """Tokens that some keys bring, `[len(keys)]`."""
        return self.posts.lengths[self.pairs[keys % len(self)]].sum(axis=1)

    def known_positives(self, rows: np.ndarray) -> np.ndarray:
        """Positives of some posts in either direction, `[len(rows), most]`, filled up with -1."""
        counts = self.offsets[rows + 1] - self.offsets[rows]
        columns = np.arange(counts.max())
        there = columns < counts[:, None]
        places = np.minimum(self.offsets[rows, None] + columns, len(self.positives) - 1)
        return np.where(there, self.positives[places], -1)


def posts_of_keys(batches: Any, keys: Sequence[int]) -> list[str]:
    """The ids of the posts that a batch's keys bring, as its `post_ids` have them in order.

    Args:
        batches: A data set of batches: of posts, of pairs or of translation pairs (whose posts are
            numbered, first all sides a), or several, mixed.
        keys: Of one batch.
    """
    rows = batches.__getitems__(keys).post_ids
    if hasattr(batches, "sources"):
        batches = batches.sources[keys[0] % len(batches.sources)]
    posts = getattr(batches, "posts", None) or getattr(batches, "texts", None) or batches
    ids = posts.tokenized[np.asarray(rows).tolist()].column("post_id")
    return ids.cast(pa.string()).to_pylist()


def pair_rows(posts: Dataset, pairs: pa.Table, max_missing: float = 0.0) -> tuple[np.ndarray, int]:
    """Turns the ids of mined pairs into rows of the posts.

    Args:
        posts: With `post_id`.
        pairs: Columns `anchor_id` and `positive_id`.
        max_missing: The share of pairs that may lack a post.

    Returns:
        int64 `[num_pairs, 2]`, and how many pairs were left out because a post of theirs is not
        there.

    Raises:
        InputError: A missing column, no pairs, too many pairs without their posts.
    """
    missing = [name for name in ("anchor_id", "positive_id") if name not in pairs.column_names]
    if missing:
        raise InputError(f"pairs have the columns {pairs.column_names}; {missing} are needed")
    ids = posts.select_columns("post_id").with_format("arrow")[:].column("post_id")
    ids = ids.cast(pa.string())
    anchors, positives = (
        pc.index_in(pairs.column(name).cast(pa.string()), ids).fill_null(-1).to_numpy()
        for name in ("anchor_id", "positive_id")
    )
    rows = np.stack([anchors, positives], axis=1).astype(np.int64)
    found = (rows >= 0).all(axis=1)
    left_out = int((~found).sum())
    if left_out > max_missing * len(rows):
        name = pairs.column("anchor_id" if anchors[~found][0] < 0 else "positive_id")
        raise InputError(
            f"{left_out:,} of {len(rows):,} pairs name a post that is not among the posts, as "
            f"{name.filter(pa.array(~found))[0].as_py()!r}; give the posts that were mined"
        )
    if not found.any():
        raise InputError("there are no pairs; mine some with a lower similarity or more neighbours")
    return rows[found], left_out


class LanguageSampler(Sampler[int]):
    """Draws rows with languages re-sampled; each epoch anew, the same for the same seed.

    Args:
        languages: Int `[num_rows]`, the language of each row.
        exponent: Of `resample_languages`.
        seed: Seed of the run.
        size: Rows of an epoch; by default as many as there are.
    """

    BLOCK = 65_536

    def __init__(self, languages: np.ndarray, exponent: float, seed: int, size: int | None = None):
        self.languages, self.exponent, self.seed = languages, exponent, seed
        self.size = len(languages) if size is None else size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Accelerate's data loader before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        rows = resample_languages(self.languages, self.exponent, rng, self.size)
        draws = self.epoch * self.size + np.arange(self.size)
        keys = draws * len(self.languages) + rows
        for start in range(0, len(keys), self.BLOCK):
            yield from keys[start : start + self.BLOCK].tolist()
