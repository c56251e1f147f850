"""Texts, languages and lengths of posts, as far as a page needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twhin_hf.data.posts import UNKNOWN_LANGUAGE
from twhin_hf.engines import open_engine, to_memory
from twhin_hf.network.folder import Network
from twhin_hf.network.pairs import PAIR_SCHEMA
from twhin_hf.privacy.people import mask_people
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import TableSource, is_blank, read_errors, read_parquet, read_table

_CHARACTERS = 300
_LENGTHS = 20
"""Characters of a bar."""
_LONGEST = 400
_ROWS_PER_BLOCK = 65_536
_BARS = np.linspace(-1, 1, 41)


class PostsSource(NamedTuple):
    """Where posts are.

    Args:
        path: A file or a folder.
        columns: What it calls a column.
        table_format: How text tables are written.
    """

    path: TableSource
    columns: Mapping[str, str] | None = None
    table_format: TableFormat | None = None


class PostCounts(NamedTuple):
    """What the posts are.

    Args:
        num_posts: Those with a text.
        languages: How many of each language, the most frequent first.
        lengths: How many of each length, by the least number of characters of a bar.
    """

    num_posts: int
    languages: dict[str, int]
    lengths: dict[int, int]


class Pair(NamedTuple):
    """A mined pair, as people read it.

    Args:
        texts: Of both posts, names of people masked; None where a text is not known.
        languages: Of both.
        similarity: Cosine of their network vectors; None where it is not known.
        likers: How many engaged with the first, with the second, and with both; None where no
            network is there.
    """

    texts: tuple[str | None, str | None]
    languages: tuple[str, str]
    similarity: float | None
    likers: tuple[int, int, int] | None


class PairSample(NamedTuple):
    """A sample of a file of pairs.

    Args:
        num_pairs: All pairs of the file.
        similarities: How many pairs each bar of similarities holds, by where it begins; empty
            where the file holds none.
        pairs: The sample, the most similar pair first.
    """

    num_pairs: int
    similarities: dict[float, int]
    pairs: list[Pair]


def count_posts(posts: PostsSource, memory_limit: str = "1GB") -> PostCounts:
    """Counts languages and lengths; what is longer than 400 characters stands in the last bar."""
    with open_engine(memory_limit) as engine, read_errors(posts.path):
        table = _posts(posts, engine)
        lengths = (table.text.length() // _LENGTHS * _LENGTHS).clip(upper=_LONGEST).name("length")
        grouped = table.group_by(lang=_language(table), length=lengths)
        counts = to_memory(grouped.aggregate(posts=table.count()), engine)
    languages = counts.group_by("lang").aggregate([("posts", "sum")])
    by_length = counts.group_by("length").aggregate([("posts", "sum")]).sort_by("length")
    return PostCounts(
        pc.sum(counts["posts"]).as_py() or 0,
        _named(languages.sort_by([("posts_sum", "descending"), ("lang", "ascending")]), "lang"),
        _named(by_length, "length"),
    )


def sample_pairs(
    pairs: Path,
    number: int,
    posts: PostsSource | None = None,
    network: Network | None = None,
    seed: int = 0,
    memory_limit: str = "1GB",
) -> PairSample:
    """Pairs drawn at random, with what is known of them; a block of the file is in memory.

    Args:
        pairs: The file.
        number: Pairs to draw; all of them if there are fewer.
        posts: Where the texts are.
        network: Who engaged with the posts.
        seed: Of the draw.
        memory_limit: Most memory of the engine that reads the posts.
    """
    drawn, similarities, num_pairs = _draw(pairs, number, seed)
    anchors, positives = (drawn[name].cast(pa.string()) for name in PAIR_SCHEMA.names[:2])
    ids = pa.concat_arrays([anchors.combine_chunks(), positives.combine_chunks()])
    known = {} if posts is None else read_texts(posts, ids, memory_limit)
    likers = None if network is None else _likers(network, anchors, positives)
    found = []
    values = drawn["similarity"].to_pylist() if "similarity" in drawn.column_names else []
    for row, both in enumerate(zip(anchors.to_pylist(), positives.to_pylist(), strict=True)):
        first, second = (known.get(post, (None, UNKNOWN_LANGUAGE)) for post in both)
        found.append(
            Pair(
                (first[0], second[0]),
                (first[1], second[1]),
                values[row] if values else None,
                None if likers is None else likers[row],
            )
        )
    found.sort(key=lambda pair: -(pair.similarity or 0.0))
    return PairSample(num_pairs, similarities, found)


def read_texts(
    posts: PostsSource, ids: pa.Array, memory_limit: str = "1GB"
) -> dict[str, tuple[str, str]]:
    """Text and language of some posts, by their ids; `@user` stands for people."""
    with open_engine(memory_limit) as engine, read_errors(posts.path):
        table = _posts(posts, engine)
        table = table.filter(table.post_id.isin(ids.unique().to_pylist()))
        found = to_memory(table.mutate(lang=_language(table)), engine)
    texts = shown_texts(found["text"].combine_chunks())
    rows = zip(found["post_id"].to_pylist(), texts, found["lang"].to_pylist(), strict=True)
    return {post: (text, lang) for post, text, lang in rows}


def shown_texts(texts: pa.Array) -> list[str]:
    """Texts as a page shows them: people masked, in one line, cut where they are long."""
    masked = pc.utf8_trim_whitespace(
        pc.replace_substring_regex(mask_people(texts), pattern=r"[\s\p{Z}\p{Cc}]+", replacement=" ")
    )
    is_long = pc.greater(pc.utf8_length(masked), _CHARACTERS)
    cut = pc.binary_join_element_wise(pc.utf8_slice_codeunits(masked, 0, _CHARACTERS), "…", "")
    return pc.if_else(is_long, cut, masked).to_pylist()


def degree_counts(path: Path) -> dict[int, int]:
    """How many users or posts of a network have how many engagements, in powers of two.

    Args:
        path: `users.parquet` or `posts.parquet` of its folder.

    Returns:
        Number by the least number of engagements of a bar: 1, 2, 4, 8, …
    """
    degrees = read_parquet(path, ["degree"])["degree"].to_numpy()
    powers = np.log2(degrees[degrees > 0]).astype(int)
    return {2**power: int(count) for power, count in enumerate(np.bincount(powers)) if count}


def _draw(pairs: Path, number: int, seed: int) -> tuple[pa.Table, dict[float, int], int]:
    """Some rows in random order, how many of all have which similarity, and how many there are."""
    with pq.ParquetFile(pairs) as file, read_errors(pairs):
        total = file.metadata.num_rows
        random = np.random.default_rng(seed)
        rows = np.sort(random.choice(total, min(number, total), replace=False, shuffle=False))
        names = [name for name in PAIR_SCHEMA.names if name in file.schema_arrow.names]
        bars, start, taken = np.zeros(len(_BARS) - 1, int), 0, []
        for batch in file.iter_batches(_ROWS_PER_BLOCK, columns=names):
            first, last = np.searchsorted(rows, (start, start + len(batch)))
            taken.append(pa.table(batch).take(pa.array(rows[first:last] - start)))
            if "similarity" in names:
                values = batch["similarity"].to_numpy(zero_copy_only=False)
                bars += np.histogram(np.clip(values, -1, 1), _BARS)[0]
            start += len(batch)
        table = pa.concat_tables(taken) if taken else file.schema_arrow.empty_table().select(names)
    found = {round(float(at), 2): int(n) for at, n in zip(_BARS, bars, strict=False) if n}
    return table, found, total


def _likers(
    network: Network, anchors: pa.ChunkedArray, positives: pa.ChunkedArray
) -> list[tuple[int, int, int]] | None:
    if network.engagements is None:
        return None
    sides = []
    for ids in (anchors, positives):
        rows = pc.index_in(ids, value_set=network.post_ids)
        if rows.null_count:
            return None
        users, counts = network.engagements.users_of_posts.of(rows.to_numpy())
        sides.append(np.split(users, np.cumsum(counts)[:-1]))
    return [
        (len(one), len(other), len(np.intersect1d(one, other)))
        for one, other in zip(*sides, strict=True)
    ]


def _posts(posts: PostsSource, engine: Any) -> Any:
    table = read_table(
        posts.path,
        ["post_id", "text"],
        ["lang"],
        connection=engine,
        columns=posts.columns,
        option="post_columns",
        table_format=posts.table_format,
    )
    return table.filter(~is_blank(table.text))


def _language(table: Any) -> Any:
    import ibis

    if "lang" not in table.columns:
        return ibis.literal(UNKNOWN_LANGUAGE)
    return is_blank(table.lang).ifelse(UNKNOWN_LANGUAGE, table.lang)


def _named(counts: pa.Table, name: str) -> dict[Any, int]:
    rows: Sequence[Any] = counts[name].to_pylist()
    return dict(zip(rows, counts["posts_sum"].to_pylist(), strict=True))
