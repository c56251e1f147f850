"""Pairs of socially similar posts: nearest neighbours among the posts' network vectors.

TwHIN-BERT (Zhang et al., KDD 2023), section 3.1: posts that the same kind of user engages with lie
close together in the network, and the closest are each other's positives.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from twhin_hf.engines import (
    EngineConfig,
    engine_of,
    open_engine,
    read_rows,
    spark_workers,
    take_in,
    write_rows,
)
from twhin_hf.errors import InputError
from twhin_hf.network.folder import Network, check_finite
from twhin_hf.network.mining_config import MiningConfig
from twhin_hf.network.near_duplicates import NUM_BUCKETS, sketch_texts
from twhin_hf.network.neighbours import faiss_threads, vector_lengths
from twhin_hf.network.pairs import PairFilter, write_pairs
from twhin_hf.network.searching import BYTES_PER_NEIGHBOUR, search_posts
from twhin_hf.processes import Workers
from twhin_hf.scratch import scratch_folder
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import TableSource, is_blank, is_source, read_errors, read_table

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_TEXTS_PER_BLOCK = 2**14
_ZEROS = bytes(2**20)


@dataclass(frozen=True)
class MiningReport:
    """What mining found and what it dropped, in the order of the filters.

    `candidates = below_similarity + near_duplicates + not_mutual + over_max_pairs + repeated +
    num_pairs`.

    Args:
        num_posts: Posts of the network.
        posts_without_text: Posts of the network without text among the posts.
        zero_vectors: Posts whose vector is zero, which has no cosine.
        candidates: Neighbours found.
        below_similarity: Candidates below the smallest similarity.
        near_duplicates: Candidates whose text is nearly that of the post.
        not_mutual: Candidates that do not have the post among theirs.
        over_max_pairs: Candidates beyond the most pairs of a post.
        repeated: Pairs found from both of their posts, written once.
        num_pairs: Pairs written.
        posts_in_pairs: Distinct posts in them.
        index: FAISS factory string, of the first shard.
        num_shards: Parts of the posts that have an index each.
        probes: Most cells that a search visited, where the index has cells.
        recall_at_10: Against exact search, on a sample; the lowest of the shards.
        build_seconds: Training, filling and calibrating the indexes.
        search_seconds: Searching them.
        text_seconds: Reading the texts and sketching them.
        seconds: All of it.
    """

    num_posts: int
    posts_without_text: int
    zero_vectors: int
    candidates: int
    below_similarity: int
    near_duplicates: int
    not_mutual: int
    over_max_pairs: int
    repeated: int
    num_pairs: int
    posts_in_pairs: int
    index: str
    num_shards: int
    probes: int | None
    recall_at_10: float
    build_seconds: float
    search_seconds: float
    text_seconds: float
    seconds: float


def mine_pairs(
    network: Network,
    posts: TableSource | Dataset,
    output: str | Path,
    config: MiningConfig | None = None,
    progress: bool = True,
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    memory_limit: str = "1GB",
    engine: EngineConfig | None = None,
    workers: Workers | None = None,
    record: Mapping[str, Any] | None = None,
) -> MiningReport:
    """Writes pairs of posts that are close in the network to a Parquet file.

    Each post proposes its nearest neighbours that pass the filters. A pair that both posts propose
    is written once, with the post of the lower row as its anchor; a pair has no direction. Pairs
    come sorted by the row of the anchor, nearest first.

    Args:
        network: The network, its vectors possibly memory-mapped.
        posts: Posts with columns `post_id` and `text`: a file, a folder, an Ibis table or a
            data set.
        output: The Parquet file; columns `anchor_id`, `positive_id` and `similarity`. It appears
            when it is complete.
        config: How to mine.
        progress: Shows a progress bar.
        columns: What the posts call a column, such as `{"text": "body"}`.
        table_format: How text tables are written.
        memory_limit: Most memory of the engine that reads the posts.
        engine: What reads the posts; DuckDB where it is None. Spark's executors search too.
        workers: Make the indexes and search them; this process where they are None. Files between
            them are beside the output, which they must see, as they must the network's.
        record: What the file is to say of how it was made, in its metadata.

    Raises:
        FileNotFoundError: The posts are missing.
        OSError: No space for the neighbours beside the output, before any work.
        InputError: A vector holds NaN, k is not below the number of posts, too many posts are
            without text, no pair is left, or the index cannot be built.
    """
    config = config or MiningConfig()
    start = time.perf_counter()
    vectors = network.post_vectors
    lengths = vector_lengths(vectors)
    if not np.isfinite(lengths).all():
        check_finite(vectors, network.post_ids, "post")
    _check_k(config.k, network.num_posts, "the network has")
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(faiss_threads(config.threads))
        scratch = stack.enter_context(scratch_folder(output.parent))
        file = stack.enter_context(tempfile.TemporaryFile(dir=scratch))
        _reserve(file, BYTES_PER_NEIGHBOUR * network.num_posts * config.k)
        # Opened once for the texts and the search.
        executors = stack.enter_context(spark_workers(engine, memory_limit, scratch))
        workers = workers or executors
        sketches, with_text = _read_texts(
            network, posts, config, columns, table_format, memory_limit, engine, scratch
        )
        rows = np.flatnonzero(with_text & (lengths > 0))
        _check_k(config.k, len(rows), "with text and a vector other than zero there are")
        if len(rows) < len(vectors):
            lengths, sketches = lengths[rows], sketches[rows]
        text_seconds = time.perf_counter() - start
        table, shards = search_posts(
            vectors, rows, lengths, config, file, scratch, workers=workers, progress=progress
        )
        ids = network.post_ids.take(pa.array(rows))
        options = PairFilter(
            config.min_similarity,
            config.max_text_similarity,
            config.mutual,
            config.max_pairs_per_post,
        )
        counts = write_pairs(table, sketches, ids, output, options, config.threads, record)
    report = MiningReport(
        num_posts=network.num_posts,
        posts_without_text=int((~with_text).sum()),
        zero_vectors=int(with_text.sum()) - len(rows),
        **counts,
        index=shards.description,
        num_shards=shards.num_shards,
        probes=shards.probes,
        recall_at_10=shards.recall,
        build_seconds=shards.build_seconds,
        search_seconds=shards.search_seconds,
        text_seconds=text_seconds,
        seconds=time.perf_counter() - start,
    )
    logger.debug("Mining: %s", asdict(report))
    return report


def _check_k(k: int, num_posts: int, what: str) -> None:
    if k >= num_posts:
        raise InputError(
            f"k is {k}, but {what} {num_posts:,} posts, so that a post has {max(0, num_posts - 1)} "
            f"others. Give a k below {num_posts} or more posts."
        )


def _read_texts(
    network: Network,
    posts: TableSource | Dataset,
    config: MiningConfig,
    columns: Mapping[str, str] | None,
    table_format: TableFormat | None,
    memory_limit: str,
    engine: EngineConfig | None,
    folder: Path,
) -> tuple[np.ndarray, np.ndarray]:
    """Sketches of the texts, uint8 `[num_posts, 64]`, and which posts have a text, bool."""
    import ibis

    source: Any = posts
    if not is_source(source):
        source, engine = ibis.memtable(source.with_format("arrow")[:]), None
    rows = np.arange(network.num_posts)
    sketches = np.zeros((network.num_posts, NUM_BUCKETS), np.uint8)
    with_text = np.zeros(network.num_posts, bool)
    with (
        open_engine(memory_limit, config.threads, folder, engine) as opened,
        read_errors(source),
    ):
        table = read_table(
            source,
            ["post_id", "text"],
            connection=opened,
            columns=columns,
            table_format=table_format,
            with_position=True,
        )
        connection = engine_of(table, opened)
        table = table.filter(~is_blank(table.text))
        ids = take_in(pa.table({"post_id": network.post_ids, "row": rows}), connection)
        texts = table.inner_join(ids, "post_id").order_by("position").select("row", "text")
        for batch in read_rows(
            write_rows(texts, folder / "texts.parquet", connection), _TEXTS_PER_BLOCK
        ):
            block = batch["row"].to_numpy()
            new = ~with_text[block]
            block, first = np.unique(block[new], return_index=True)
            text = batch["text"].combine_chunks()
            sketches[block] = sketch_texts(text.filter(pa.array(new)).take(first))
            with_text[block] = True
    missing = int((~with_text).sum())
    if missing > config.max_missing_posts * network.num_posts:
        raise InputError(
            f"{missing:,} of the network's {network.num_posts:,} posts have no text among the "
            f"posts given (the first is {str(network.post_ids[int(np.argmin(with_text))])!r}), "
            f"more than the share of {config.max_missing_posts:g} that is allowed. Check that "
            "both use the same ids, or raise max_missing_posts (`--max_missing_posts`).",
            faq="unknown-posts",
        )
    return sketches, with_text


def _reserve(file: IO[bytes], size: int) -> None:
    """Takes the space of a file: a mapped one that outgrows the disk kills the process later."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        for start in range(0, size, len(_ZEROS)):
            file.write(_ZEROS[: size - start])
        file.flush()
