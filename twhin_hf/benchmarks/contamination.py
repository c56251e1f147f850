"""Which posts of a benchmark share text with what a model was pretrained on.

As in TwHIN-BERT (Zhang et al., KDD 2023, Section 3.3): a post is contaminated where 50 characters
in a row stand in a pretraining text too. The paper found 1.56 % of its hashtag benchmark so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.errors import InputError
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import (
    TableSource,
    is_blank,
    open_engine,
    read_errors,
    read_table,
    table_batches,
)

_ROWS_PER_BATCH = 20_000
_BASE = np.uint64(0x9E3779B97F4A7C15)
_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 1 << 64))
_MIX = np.uint64(0xC2B2AE3D27D4EB4F)


@dataclass(frozen=True)
class Contamination:
    """What a benchmark shares with pretraining text.

    Args:
        ngram: Characters in a row that count.
        overlap: Share of each post's n-grams that stand in pretraining text, float64
            `[num_posts]`; a post is contaminated where it is above 0.
        short: Posts of fewer characters, compared as a whole with whole texts, bool `[num_posts]`.
        num_texts: Pretraining texts looked at.
    """

    ngram: int
    overlap: np.ndarray
    short: np.ndarray
    num_texts: int

    @property
    def contaminated(self) -> np.ndarray:
        """Bool `[num_posts]`."""
        return self.overlap > 0

    @property
    def share(self) -> float:
        """Share of the posts that are contaminated."""
        return float(self.contaminated.mean())


def find_contamination(
    benchmark: pa.Array, pretraining: Iterable[pa.Array], ngram: int = 50
) -> Contamination:
    """Compares texts with pretraining texts.

    Texts are compared in NFKC, in lower case, with one blank for white space. N-grams are
    compared by 64-bit polynomial hashes: with a billion different ones in pretraining and fifty
    million in the benchmark, a false match is expected in one check of some four hundred.

    Memory: about 24 bytes for each character of the benchmark; pretraining text goes by in blocks.

    Args:
        benchmark: Texts without nulls, `[num_posts]`.
        pretraining: Blocks of texts without nulls, drawn once.
        ngram: Characters in a row that count (paper: 50).

    Raises:
        InputError: No text in the benchmark or in pretraining, or an n-gram below 1.
    """
    if ngram < 1:
        raise InputError(f"ngram is {ngram}; it must be at least 1 (the paper's is 50).")
    if not len(benchmark):
        raise InputError("The benchmark has no text; nothing can be compared.")
    blocks = [
        benchmark.slice(i, _ROWS_PER_BATCH) for i in range(0, len(benchmark), _ROWS_PER_BATCH)
    ]
    wanted = np.unique(np.concatenate([_hash_ngrams(block, ngram)[0] for block in blocks]))
    seen = np.zeros(len(wanted), bool)
    num_texts = 0
    for block in pretraining:
        found = np.unique(_hash_ngrams(block, ngram)[0])
        rows = np.searchsorted(wanted, found)
        rows[rows == len(wanted)] = 0
        seen[rows[wanted[rows] == found]] = True
        num_texts += len(block)
    if not num_texts:
        raise InputError("There is no pretraining text; nothing can be compared.")
    overlaps, lengths = [], []
    # Hashed once more: to keep the place of each n-gram would take more than twice the memory.
    for block in blocks:
        hashes, owners = _hash_ngrams(block, ngram)
        shared = np.bincount(owners, weights=seen[np.searchsorted(wanted, hashes)])
        overlaps.append(shared / np.bincount(owners))
        lengths.append(pc.utf8_length(_normalize(block)).to_numpy(zero_copy_only=False))
    return Contamination(
        ngram, np.concatenate(overlaps), np.concatenate(lengths) < ngram, num_texts
    )


def check_contamination(
    benchmark: TableSource,
    pretraining: TableSource,
    ngram: int = 50,
    *,
    columns: Mapping[str, str] | None = None,
    benchmark_columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    memory_limit: str = "1GB",
    threads: int | None = None,
) -> tuple[Contamination, pa.Table]:
    """`find_contamination` of files.

    Args:
        benchmark: A file or folder of tables with a column `text`; a column `id` is kept.
        pretraining: The texts that a model has seen, likewise, of any size.
        ngram: Characters in a row that count.
        columns: What pretraining calls a column, such as `{"text": "body"}`.
        benchmark_columns: The same of the benchmark.
        table_format: How text tables are written.
        memory_limit: Most memory of the engine.
        threads: Threads of the engine.

    Returns:
        What is shared; and the benchmark's rows with a column `overlap`.

    Raises:
        FileNotFoundError: A file is missing.
        InputError: A file cannot be read or has no text.
    """
    with open_engine(memory_limit, threads) as engine, read_errors(benchmark):
        table = read_table(
            benchmark,
            ["text"],
            ["id"],
            connection=engine,
            columns=benchmark_columns,
            option="benchmark_columns",
            table_format=table_format,
        )
        own = table.filter(~is_blank(table.text)).to_pyarrow().combine_chunks()
    texts = own["text"].combine_chunks() if len(own) else pa.array([], pa.string())
    with open_engine(memory_limit, threads) as engine, read_errors(pretraining):
        seen = read_table(
            pretraining, ["text"], connection=engine, columns=columns, table_format=table_format
        )
        seen = seen.filter(~is_blank(seen.text))
        blocks = table_batches(seen, _ROWS_PER_BATCH)
        batches = (block["text"].combine_chunks() for block in blocks)
        found = find_contamination(texts, batches, ngram)
    return found, own.append_column("overlap", pa.array(found.overlap))


def _normalize(texts: pa.Array) -> pa.Array:
    texts = pc.utf8_lower(pc.utf8_normalize(texts, form="NFKC"))
    texts = pc.replace_substring_regex(texts, pattern=r"[\s\p{Z}]+", replacement=" ")
    return pc.utf8_trim_whitespace(texts)


def _hash_ngrams(texts: pa.Array, ngram: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of all n-grams, and the row of the text each is from.

    With prefix sums P of code · base^place modulo 2^64, the n-gram at place i has the hash
    (P[i + n] − P[i]) · base^−i. A shorter text has one hash, of the whole of it and its length.
    """
    texts = _normalize(texts)
    lengths = pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    joined = "".join(texts.to_pylist())
    codes = np.frombuffer(joined.encode("utf-32-le"), np.uint32).astype(np.uint64)
    # Mixed, so that neighbouring codes are not neighbouring terms.
    codes = (codes + np.uint64(1)) * _MIX
    codes ^= codes >> np.uint64(31)
    powers = np.ones(len(codes) + 1, np.uint64)
    np.cumprod(np.full(len(codes), _BASE), dtype=np.uint64, out=powers[1:])
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(codes * powers[:-1], dtype=np.uint64, out=sums[1:])
    inverses = np.ones(len(codes) + 1, np.uint64)
    np.cumprod(np.full(len(codes), _INVERSE), dtype=np.uint64, out=inverses[1:])

    starts = np.cumsum(lengths) - lengths
    counts = np.maximum(lengths - ngram + 1, 1)
    owners = np.repeat(np.arange(len(lengths)), counts)
    first = np.cumsum(counts) - counts
    places = np.arange(len(owners)) - first[owners] + starts[owners]
    widths = np.minimum(lengths, ngram)[owners]
    hashes = (sums[places + widths] - sums[places]) * inverses[places]
    hashes += (ngram - widths).astype(np.uint64) * _MIX
    return hashes, owners
