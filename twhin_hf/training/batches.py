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
from twhin_hf.id_rows import rows_of_ids
from twhin_hf.mapped import mapped_array
from twhin_hf.network.engagements import pair_keys
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
        pairs: Int `[num_pairs, 2]`, rows of anchors and positives.
    """

    def __init__(self, posts: PostBatches, pairs: np.ndarray):
        self.posts, self.pairs = posts, pairs
        self.offsets, self.positives = known_pairs(pairs, len(posts))

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: int) -> PostBatch:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[int]) -> PostBatch:
        draws, rows = np.divmod(np.asarray(keys, np.int64), len(self))
        post_rows = self.pairs[rows].T.reshape(-1).astype(np.int64)
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
        return np.where(there, self.positives[places].astype(np.int64), -1)


def known_pairs(pairs: np.ndarray, num_posts: int) -> tuple[np.ndarray, np.ndarray]:
    """Who is a pair with whom, in either direction and each once, in memory-mapped arrays.

    Args:
        pairs: Int `[num_pairs, 2]`, rows of posts.
        num_posts: Number of posts.

    Returns:
        int64 `[num_posts + 1]` and int32 `[num_distinct]`: those of post i, rising, are
        `positives[offsets[i] : offsets[i + 1]]`.

    Example:
        >>> offsets, positives = known_pairs(np.array([[0, 2], [2, 0], [2, 1]]), 3)
        >>> offsets.tolist(), positives.tolist()
        ([0, 1, 2, 4], [2, 2, 0, 1])
    """
    keys = mapped_array(2 * len(pairs), np.int64)
    for block in _blocks(len(pairs)):
        one, other = pairs[block].T
        keys[2 * block.start : 2 * block.stop : 2] = pair_keys(one, other)
        keys[2 * block.start + 1 : 2 * block.stop : 2] = pair_keys(other, one)
    keys.sort()
    counts, positives = np.zeros(num_posts + 1, np.int64), mapped_array(len(keys), np.int32)
    num_distinct, last = 0, -1
    for block in _blocks(len(keys)):
        distinct = np.unique(keys[block])
        distinct = distinct[int(distinct[0] == last) :]
        last = int(keys[block.stop - 1])
        owners, sizes = np.unique(distinct >> 32, return_counts=True)
        counts[owners + 1] += sizes
        positives[num_distinct : num_distinct + len(distinct)] = distinct & 0xFFFFFFFF
        num_distinct += len(distinct)
    return np.cumsum(counts), positives[:num_distinct]


def _blocks(length: int) -> Iterator[slice]:
    for start in range(0, length, LanguageSampler.BLOCK):
        yield slice(start, min(start + LanguageSampler.BLOCK, length))


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
        int32 `[num_pairs, 2]`, memory-mapped, and how many pairs were left out because a post of
        theirs is not there.

    Raises:
        InputError: A missing column, no pairs, too many pairs without their posts.
    """
    missing = [name for name in ("anchor_id", "positive_id") if name not in pairs.column_names]
    if missing:
        raise InputError(f"pairs have the columns {pairs.column_names}; {missing} are needed")
    ids = posts.select_columns("post_id").with_format("arrow")[:].column("post_id")
    rows = mapped_array((len(pairs), 2), np.int32)
    found = np.ones(len(pairs), bool)
    for side, name in enumerate(("anchor_id", "positive_id")):
        rows[:, side] = rows_of_ids(pairs.column(name), ids)
        found &= rows[:, side] >= 0
    left_out = int((~found).sum())
    if left_out > max_missing * len(rows):
        first = int(np.argmin(found))
        name = "anchor_id" if rows[first, 0] < 0 else "positive_id"
        raise InputError(
            f"{left_out:,} of {len(rows):,} pairs name a post that is not among the posts, as "
            f"{pairs.column(name)[first].cast(pa.string()).as_py()!r}; give the posts that were "
            "mined"
        )
    if not found.any():
        raise InputError(
            "there are no pairs; mine some with a lower similarity or more neighbours",
            faq="no-pairs",
        )
    return (rows[found] if left_out else rows), left_out


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
        first = self.epoch * self.size
        for start in range(0, self.size, self.BLOCK):
            block = rows[start : start + self.BLOCK].astype(np.int64)
            draws = first + start + np.arange(len(block))
            yield from (draws * len(self.languages) + block).tolist()
