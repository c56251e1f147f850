"""Training on more posts than memory holds: token shards on the disk, drawn a buffer at a time.

Posts are tokenized once and written in a random order, and pairs with the tokens of both posts side
by side. Training then reads either from its beginning to its end, in blocks that come in another
order in each epoch, and holds a buffer of them. Which rows a batch has depends on the seed and the
number of the batch alone: processes and workers share the batches out, and a resumed run goes on
with the next one without reading those before it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from datasets import Dataset
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler
from transformers import PreTrainedTokenizerBase

from twhin_hf.data.language_sampling import language_quotas
from twhin_hf.data.tokenization import tokenize_posts
from twhin_hf.mapped import mapped_table
from twhin_hf.scratch import scratch_folder
from twhin_hf.tables import read_errors
from twhin_hf.training.batches import PostBatch, PostBatches, known_pairs, pair_rows
from twhin_hf.value_checks import check_memory_limit

logger = logging.getLogger(__name__)

STREAM_NAME = "stream"
"""Folder of the token shards, in the output folder of a training."""

_POSTS, _PAIRS = "posts.arrow", "pairs.arrow"
_ROWS = 4096
_TOKENS = pa.list_(pa.int32())
_POSTS_SCHEMA = pa.schema({"post_id": pa.string(), "lang": pa.string(), "input_ids": _TOKENS})
_JOINED = {
    "anchor": pa.int32(),
    "positive": pa.int32(),
    "lang": pa.string(),
    "anchor_ids": _TOKENS,
    "positive_ids": _TOKENS,
}
_KNOWN = {"anchor_positives": _TOKENS, "positive_positives": _TOKENS}
_PAIRS_SCHEMA = pa.schema(_JOINED | _KNOWN)


class TokenStream(NamedTuple):
    """Token shards; their columns stay on the disk.

    Args:
        posts: `post_id`, `lang` and `input_ids`, in a random order.
        pairs: Rows of `anchor` and `positive` among the posts, the tokens of both, the rows of all
            known positives of either, and `lang`, the anchor's; in another random order.
    """

    posts: Dataset
    pairs: Dataset | None = None


def open_stream(folder: str | Path) -> TokenStream:
    """The token shards that `write_stream` wrote.

    Raises:
        FileNotFoundError: There are none.
    """
    folder = Path(folder)
    if not (folder / _POSTS).is_file():
        raise FileNotFoundError(f"{folder} holds no token shards; write them by `write_stream`")
    pairs = folder / _PAIRS
    return TokenStream(
        Dataset.from_file(str(folder / _POSTS)),
        Dataset.from_file(str(pairs)) if pairs.is_file() else None,
    )


def write_stream(
    folder: str | Path,
    posts: Dataset,
    pairs: pa.Table | None,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int = 128,
    max_missing_pairs: float = 0.0,
    seed: int = 0,
    num_proc: int | None = None,
    memory_limit: str = "1GB",
    directory: str | Path | None = None,
) -> None:
    """Writes token shards; the engine sorts and joins them within its limit, and spills.

    Args:
        folder: Where the shards go.
        posts: Columns `post_id`, `text` and, if wanted, `lang`.
        pairs: Mined pairs, `anchor_id` and `positive_id`.
        tokenizer: Frames each post by special tokens.
        max_length: Maximum sequence length; longer posts are truncated.
        max_missing_pairs: The share of pairs that may lack a post.
        seed: Of the order.
        num_proc: Processes that tokenize.
        memory_limit: Most memory of the engine.
        directory: Where the engine spills; the system's temporary folder where it is None.

    Raises:
        InputError: As `tokenize_posts` and `pair_rows`, or the engine needs more memory.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenized = tokenize_posts(posts, tokenizer, max_length=max_length, num_proc=num_proc)
    with read_errors("the posts"), _engine(memory_limit, directory) as engine:
        engine.register("posts", _reader(tokenized, _POSTS_SCHEMA))
        ordered = engine.sql(
            f"SELECT post_id, lang, input_ids FROM posts ORDER BY hash(post_id, {seed}::BIGINT)"
        )
        mapped_table(_blocks(ordered, _POSTS_SCHEMA), _POSTS_SCHEMA, folder / _POSTS)
    if pairs is None:
        return
    written = open_stream(folder).posts
    rows, left_out = pair_rows(written, pairs, max_missing_pairs)
    with read_errors("the pairs"), _engine(memory_limit, directory) as engine:
        engine.register("pairs", _numbered_pairs(rows))
        for side in ("anchors", "positives"):
            engine.register(side, _reader(written, _POSTS_SCHEMA, numbered=True))
        joined = engine.sql(f"""
            SELECT anchor, positive, anchors.lang,
                anchors.input_ids AS anchor_ids, positives.input_ids AS positive_ids
            FROM pairs JOIN anchors ON anchors.number = anchor
            JOIN positives ON positives.number = positive
            ORDER BY hash(pairs.number, {seed}::BIGINT)
        """)
        known = known_pairs(rows, len(written))
        blocks = (_with_known(block, *known) for block in _blocks(joined, pa.schema(_JOINED)))
        mapped_table(blocks, _PAIRS_SCHEMA, folder / _PAIRS)
    if left_out:
        logger.warning("%d pairs were left out: a post of theirs is not there", left_out)


class StreamedPairs(TorchDataset):
    """Pairs of posts from token shards; see `PairBatches`, whose keys and batches these are.

    Args:
        posts: The posts.
        pairs: Of `TokenStream`.
    """

    def __init__(self, posts: PostBatches, pairs: Dataset):
        self.posts, self._table = posts, pairs.with_format("arrow")

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, key: int) -> PostBatch:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[int]) -> PostBatch:
        draws, rows = np.divmod(np.asarray(keys, np.int64), len(self))
        table = self._table[rows.tolist()]
        tokens, lengths = _lists(table, "anchor_ids", "positive_ids")
        posts = np.concatenate([table["anchor"].to_numpy(), table["positive"].to_numpy()])
        # Anchor and positive of a pair are two draws.
        batch = PostBatch(
            tokens, lengths, np.concatenate([2 * draws, 2 * draws + 1]), posts.astype(np.int64)
        )
        batch.engagements, batch.distillation = self.posts.targets_of(batch.post_ids, batch.draws)
        known, counts = _lists(table, "anchor_positives", "positive_positives")
        batch.positive_ids = np.full((len(posts), counts.max()), -1, np.int64)
        batch.positive_ids[np.arange(counts.max()) < counts[:, None]] = known
        return batch

    @property
    def pairs(self) -> np.ndarray:
        """The posts of each pair, int32 `[num_pairs, 2]`."""
        table = self._table[:]
        return np.stack([table["anchor"].to_numpy(), table["positive"].to_numpy()], axis=1)


class StreamSampler(Sampler[int]):
    """Draws rows of token shards with languages re-sampled, each epoch anew.

    Blocks of rows come in another order in each epoch; a buffer of them is shuffled, so that rows
    are read where the reading has got to. Keys are those of `LanguageSampler`, and so is the share
    of a language: in each epoch it has exactly its quota, and over the epochs every row of it comes
    as often as any other, but for one time.

    Args:
        languages: Int `[num_rows]`, the language of each row, from 0 on.
        exponent: Of `resample_languages`; 1 draws each row once in each epoch.
        seed: Seed of the run.
        block_size: Rows that are read one after the other.
        buffer_blocks: Blocks of a buffer.
    """

    def __init__(
        self,
        languages: np.ndarray,
        exponent: float,
        seed: int,
        *,
        block_size: int = 4096,
        buffer_blocks: int = 16,
    ):
        self.languages, self.seed, self.epoch = languages, seed, 0
        self.block_size, self.buffer_blocks = block_size, buffer_blocks
        present, quotas = language_quotas(languages, exponent, len(languages))
        num_languages = int(present.max(initial=-1)) + 1
        starts = range(0, len(languages), block_size)
        in_blocks = np.zeros((len(starts) + 1, num_languages), np.int64)
        for number, start in enumerate(starts):
            block = languages[start : start + block_size]
            in_blocks[number + 1] = np.bincount(block, minlength=num_languages)
        self._before = np.cumsum(in_blocks, axis=0)
        self._counts = np.maximum(self._before[-1], 1)
        self._quotas = np.zeros(num_languages, np.int64)
        self._quotas[present] = quotas
        self._steps = np.array([_coprime_step(int(count)) for count in self._counts])

    def set_epoch(self, epoch: int) -> None:
        """Called by Accelerate's data loader before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.languages)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self._before) - 1)
        draw = self.epoch * len(self)
        for start in range(0, len(order), self.buffer_blocks):
            drawn = [self._drawn(block) for block in order[start : start + self.buffer_blocks]]
            rows = np.concatenate(drawn)
            rng.shuffle(rows)
            draws = draw + np.arange(len(rows))
            draw += len(rows)
            yield from (draws * len(self) + rows).tolist()

    def _drawn(self, block: int) -> np.ndarray:
        """The rows of a block, each as often as this epoch draws it.

        Of n rows of a language with a quota of q, row number j (which `_steps` spreads over the
        blocks) is drawn ⌊(q (e + 1) + j) / n⌋ - ⌊(q e + j) / n⌋ times in epoch e. By Hermite's
        identity these are q in each epoch.
        """
        begin = block * self.block_size
        codes = self.languages[begin : begin + self.block_size]
        order = np.argsort(codes, kind="stable")
        firsts = np.searchsorted(codes[order], np.arange(len(self._counts)))
        places = np.empty(len(codes), np.int64)
        places[order] = np.arange(len(codes)) - firsts[codes[order]]
        counts, quotas = self._counts[codes], self._quotas[codes]
        numbers = (self._before[block, codes] + places) * self._steps[codes] % counts
        drawn_before = (quotas * self.epoch + numbers) // counts
        copies = (quotas * (self.epoch + 1) + numbers) // counts - drawn_before
        return np.repeat(np.arange(begin, begin + len(codes)), copies)


def _coprime_step(count: int) -> int:
    """About 0.618 of a number, and prime to it: multiples of it go evenly through all residues."""
    step = max(1, round(count * (math.sqrt(5) - 1) / 2))
    while math.gcd(step, count) > 1:
        step += 1
    return step


def _lists(table: pa.Table, *columns: str) -> tuple[np.ndarray, np.ndarray]:
    """The values of several columns of lists, one column after the other, and their lengths."""
    arrays = [chunk for column in columns for chunk in table.column(column).chunks]
    lists = pa.concat_arrays(arrays)
    return lists.flatten().to_numpy(), np.diff(lists.offsets.to_numpy())


def _with_known(block: pa.Table, offsets: np.ndarray, positives: np.ndarray) -> pa.Table:
    """Adds the known positives of both posts of each pair."""
    for name in ("anchor", "positive"):
        posts = block.column(name).to_numpy()
        counts = offsets[posts + 1] - offsets[posts]
        ends = np.cumsum(counts)
        places = np.arange(ends[-1]) + np.repeat(offsets[posts] - (ends - counts), counts)
        starts = np.concatenate([[0], ends]).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(starts), pa.array(positives[places]))
        block = block.append_column(f"{name}_positives", lists)
    return block.select(_PAIRS_SCHEMA.names).cast(_PAIRS_SCHEMA)


@contextmanager
def _engine(memory_limit: str, directory: str | Path | None) -> Iterator[Any]:
    import duckdb

    check_memory_limit(memory_limit)
    with scratch_folder(directory) as spill:
        options: dict[str, Any] = {"memory_limit": memory_limit, "temp_directory": str(spill)}
        with duckdb.connect(config=options) as engine:
            yield engine


def _reader(dataset: Dataset, schema: pa.Schema, *, numbered: bool = False) -> pa.RecordBatchReader:
    """A data set for the engine, a block at a time; with the numbers of its rows if asked."""
    table = dataset.select_columns(schema.names).with_format("arrow")
    whole = schema.append(pa.field("number", pa.int32())) if numbered else schema

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(dataset), _ROWS):
            block = table[start : start + _ROWS].cast(schema)
            if numbered:
                numbers = np.arange(start, start + len(block), dtype=np.int32)
                block = block.append_column("number", pa.array(numbers))
            yield from block.combine_chunks().to_batches()

    return pa.RecordBatchReader.from_batches(whole, batches())


def _numbered_pairs(rows: np.ndarray) -> pa.RecordBatchReader:
    schema = pa.schema({"number": pa.int64(), "anchor": pa.int32(), "positive": pa.int32()})

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(rows), _ROWS):
            block = rows[start : start + _ROWS].astype(np.int32)
            numbers = np.arange(start, start + len(block))
            columns = [pa.array(np.ascontiguousarray(values)) for values in (numbers, *block.T)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _blocks(result: Any, schema: pa.Schema) -> Iterator[pa.Table]:
    for batch in result.to_arrow_reader(_ROWS):
        yield pa.Table.from_batches([batch]).cast(schema)
