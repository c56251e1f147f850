"""Posts, log and network brought together: one table of posts, and engagements as its rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from twhin_hf.errors import InputError
from twhin_hf.network.folder import Network
from twhin_hf.network.log import EngagementGraph
from twhin_hf.recommendation.records import Records, distinct_records

logger = logging.getLogger(__name__)


def as_ids(values: Any, what: str) -> list[str]:
    """Ids of a list, an array, a column or a series as strings.

    Raises:
        InputError: A single string in place of several, or an id that is neither text nor integer.
    """
    if isinstance(values, (str, bytes)):
        raise InputError(f"{what} is {values!r}; give a list of ids")
    for name in ("to_pylist", "tolist"):
        if hasattr(values, name):
            values = getattr(values, name)()
            break
    found = list(values)
    for value in found:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise InputError(f"{what} hold {value!r}; ids are texts or integers")
    return [str(value) for value in found]


def as_posts(posts: Any) -> pa.Table | list[str]:
    """A table of posts, of pyarrow, datasets or pandas, as one of pyarrow; other things as ids."""
    if isinstance(posts, Dataset):
        return posts.with_format("arrow")[:]
    if hasattr(posts, "iloc") and hasattr(posts, "columns"):
        return pa.Table.from_pandas(posts, preserve_index=False)
    return posts if isinstance(posts, pa.Table) else as_ids(posts, "posts")


def ids_and_texts(posts: pa.Table) -> tuple[list[str], list[str]]:
    """The columns `post_id` and `text`.

    Raises:
        InputError: A column is missing, or a post has no id or no text.
    """
    missing = [name for name in ("post_id", "text") if name not in posts.column_names]
    if missing:
        raise InputError(f"the posts have the columns {posts.column_names}; {missing} are needed")
    ids, texts = (posts[name].cast(pa.string()).to_pylist() for name in ("post_id", "text"))
    for name, text in zip(ids, texts, strict=True):
        if name is None or not (text or "").strip():
            raise InputError(f"the post {name!r} has no id or no text; leave it out")
    return ids, texts


def catalogue(posts: pa.Table, network: Network) -> tuple[list[str], list[str]]:
    """Ids of all posts, those without text at the end, and the texts of the others."""
    if "text" not in posts.column_names:
        ids_and_texts(posts)
    blank = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(posts["text"]), ""), True)
    if found := pc.sum(blank).as_py():
        logger.warning("%s posts have no text: the network alone knows them", f"{found:,}")
    ids, texts = ids_and_texts(posts.filter(pc.invert(blank)))
    if len(set(ids)) != len(ids):
        raise InputError("a post id stands twice in the posts; `read_posts` keeps the first")
    known = pc.is_in(network.post_ids, value_set=pa.array(ids, pa.string()))
    without = network.post_ids.filter(pc.invert(known)).to_pylist()
    if len(without) == network.num_posts:
        raise InputError(
            f"none of the network's {network.num_posts:,} posts is among the {len(ids):,} posts, "
            f"as {without[0]!r}; give the posts that it was embedded from",
            faq="unknown-posts",
        )
    if without:
        logger.warning("%s posts of the network have no text", f"{len(without):,}")
    return ids + without, texts


def rows_in(ids: pa.Array, table: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Row of each id in a table, int64; −1 where it is not there."""
    if isinstance(table, pa.ChunkedArray):
        table = table.combine_chunks()
    return pc.fill_null(pc.index_in(ids, value_set=table), -1).to_numpy().astype(np.int64)


def network_records(network: Network, ids: Sequence[str]) -> Records:
    """Engagements of a network, posts as rows of the catalogue."""
    assert network.engagements is not None
    row_of = rows_in(network.post_ids, pa.array(ids, pa.string()))
    posts, counts = network.engagements.posts_of_users.of(np.arange(network.num_users))
    return Records(np.repeat(np.arange(network.num_users), counts), row_of[posts])


class SeenAndUnseen(NamedTuple):
    """The engagements of a network's users.

    Args:
        seen: Those that it was learnt from.
        unseen: Those that it was not learnt from.
        weights: How many engagements each unseen one stands for, float64 `[unseen]`.
    """

    seen: Records
    unseen: Records
    weights: np.ndarray


def seen_and_unseen(log: EngagementGraph, network: Network, ids: Sequence[str]) -> SeenAndUnseen:
    """What the network was learnt from, and what it has not seen of its users.

    Where its log ended before this one (`network embed --before`), what came later is unseen, as it
    came. Else what is unseen are all engagements with the posts that it was embedded without, and
    of those with its own posts the held-out ones, which stand for the others as well.
    """
    known = network_records(network, ids)
    held_out = Records(np.empty(0, np.int64), np.empty(0, np.int64))
    if network.held_out is not None:
        row_of = rows_in(network.post_ids, pa.array(ids, pa.string()))
        held_out = Records(
            np.asarray(network.held_out[:, 0]), row_of[np.asarray(network.held_out[:, 1])]
        )
    edges = distinct_records(log.lhs, log.rhs)
    users = rows_in(log.user_ids, network.user_ids)[edges.users]
    posts = rows_in(log.post_ids, pa.array(ids, pa.string()))[edges.posts]
    of_log = Records(users, posts).where((users >= 0) & (posts >= 0))
    if not len(of_log):
        raise InputError(
            "no engagement of the log has a user of the network and a post of the posts; give log, "
            "posts and network of the same run."
        )
    key = known.keys()
    is_held_out = np.isin(key, held_out.keys())
    later = of_log.where(~np.isin(of_log.keys(), key))
    seen, kept = known.where(~is_held_out), known.where(is_held_out)
    if network.metadata.get("before") is not None and len(later):
        return SeenAndUnseen(seen, later, np.ones(len(later)))
    each = len(known) / max(1, len(kept))
    weights = np.concatenate([np.full(len(kept), each), np.ones(len(later))])
    return SeenAndUnseen(seen, Records.concatenate([kept, later]), weights)


def mean_relation(log: EngagementGraph, network: Network) -> np.ndarray:
    """The mean of the relations' vectors, by how often each is in the log."""
    counts = dict(
        zip(log.relations, np.bincount(log.relation, minlength=len(log.relations)), strict=True)
    )
    weights = np.array([counts.get(name, 0) for name in network.relations], np.float64)
    if not weights.sum():
        weights[:] = 1.0
    return (weights @ network.relation_vectors / weights.sum()).astype(np.float32)
