"""Posts split by a hash or by time, and what a network may have seen of them.

In a split by time everything that is trained learns from what there was before validation begins:
the posts written by then, and the engagements with them until then. Validation is what happens with
the posts of its own time until test begins, and test what happens with posts written from then on.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.data.post_times import read_post_times
from twhin_hf.data.split_config import SplitConfig
from twhin_hf.data.splits import SPLITS, Ids, check_no_leak, split_posts, strings
from twhin_hf.engines import EngineConfig
from twhin_hf.errors import InputError
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import TableSource
from twhin_hf.timestamps import iso, read_time

if TYPE_CHECKING:
    from twhin_hf.network.folder import Network

logger = logging.getLogger(__name__)

SHARES = (0.8, 0.9)
"""Of all posts with a time, those that are there when validation and test begin."""


@dataclass(frozen=True)
class Split:
    """Which posts are trained on and which are held out, and in time, until when.

    Args:
        names: `train`, `validation` or `test` of each post, `[posts]` of str; empty for a post
            that is in none.
        validation_from: Whole seconds since 1970 at which validation begins; None in a split by
            a hash.
        test_from: The same of test.
    """

    names: np.ndarray
    validation_from: int | None = None
    test_from: int | None = None

    @property
    def before(self) -> str | None:
        """When training ends, as `LogConfig.before` says it; None in a split by a hash."""
        return None if self.validation_from is None else iso(self.validation_from)

    def ends(self, post_ids: pa.Array | pa.ChunkedArray) -> pa.Table | None:
        """When the engagements with train and validation posts end, as `read_log` takes it."""
        if self.validation_from is None:
            return None
        ids = post_ids.combine_chunks() if isinstance(post_ids, pa.ChunkedArray) else post_ids
        ends = {"train": self.validation_from, "validation": self.test_from}
        parts = [ids.filter(pa.array(self.names == name)) for name in ends]
        times = np.repeat(list(ends.values()), [len(part) for part in parts])
        return pa.table({"post_id": pa.concat_arrays(parts), "end": pa.array(times, pa.int64())})

    def record(self) -> dict[str, Any]:
        """How the posts were split, for results."""
        if self.validation_from is None or self.test_from is None:
            return {"split": "hash"}
        ends = {"validation_from": self.validation_from, "test_from": self.test_from}
        return {"split": "time"} | {name: iso(time) for name, time in ends.items()}

    def sentence(self) -> str:
        """How the posts were split, for people."""
        train, validation, test = (f"{np.sum(self.names == name):,} {name}" for name in SPLITS)
        if self.validation_from is None or self.test_from is None:
            return f"Posts are split by a hash of their ids: {train}, {validation}, {test}"
        left_out = int(np.sum(self.names == ""))
        told = f"; {left_out:,} posts without a time take no part" if left_out else ""
        return (
            f"Posts are split by time: {train} before {iso(self.validation_from)}, {validation} "
            f"before {iso(self.test_from)}, {test} from then on{told}"
        )


def split_by_time(times: pa.Array, validation_from: int, test_from: int) -> np.ndarray:
    """Splits posts by when they were written.

    Args:
        times: Whole seconds since 1970, int64 `[posts]`, or null.
        validation_from: Time of the first validation posts.
        test_from: Time of the first test posts.

    Returns:
        `train`, `validation` or `test` for each post, `[posts]` of str; empty where the time is
        null.

    Example:
        >>> split_by_time(pa.array([10, 20, 30, None]), 20, 25).tolist()
        ['train', 'validation', 'test', '']
    """
    known = np.asarray(pc.is_valid(times))
    values = np.asarray(pc.fill_null(times, 0))
    edges = np.array([validation_from, test_from])
    names = np.array(SPLITS, object)[np.searchsorted(edges, values, side="right")]
    names[~known] = ""
    return names


def make_split(
    config: SplitConfig,
    seed: int,
    post_ids: pa.Array | pa.ChunkedArray,
    posts: TableSource,
    engagements: TableSource | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    post_columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    memory_limit: str = "1GB",
    engine: EngineConfig | None = None,
) -> Split:
    """Splits posts as the options say, and tells how.

    Args:
        config: By a hash or by time.
        seed: Seed of a split by a hash.
        post_ids: Ids of the posts to split, strings.
        posts: The posts that they are of, for a split by time.
        engagements: The log, likewise.
        columns: What the log calls a column.
        post_columns: What the posts call a column.
        table_format: How text tables are written.
        memory_limit: Most memory of the engine.
        engine: What reads files; DuckDB where it is None.

    Raises:
        FileNotFoundError: A file is missing.
        InputError: Times that are missing or cannot be read, or a split that has no post.
    """
    if config.split == "hash":
        split = Split(split_posts(post_ids, seed))
    else:
        times = read_post_times(
            post_ids,
            posts,
            engagements,
            columns=columns,
            post_columns=post_columns,
            table_format=table_format,
            memory_limit=memory_limit,
            engine=engine,
        )
        begins = _begins(config, times)
        split = Split(split_by_time(times, *begins), *begins)
        _check_whole(split, times)
    logger.info("%s", split.sentence())
    return split


def check_unseen(network: Network, post_ids: Ids, split: Split) -> None:
    """Refuses a network that has seen what an evaluation holds out.

    Args:
        network: With the ids of its posts, and the record of the time that its log ends at.
        post_ids: Ids of the posts that were split.
        split: How.

    Raises:
        InputError: The split is of other posts; the network holds a held-out post; or, in a split
            by time, it has seen engagements of the time of validation and test, or does not say
            that it has not.
    """
    ids = strings(post_ids)
    if len(ids) != len(split.names):
        raise InputError(
            f"The split is of {len(split.names):,} posts, and there are {len(ids):,}; give the "
            "split of these posts, in their order."
        )
    held_out = ids.filter(pa.array(split.names != "train"))
    check_no_leak(network.post_ids, held_out, what="The network")
    if split.validation_from is None:
        return
    before = network.metadata.get("before")
    seen_until = _seconds(before)
    if seen_until is None or seen_until > split.validation_from:
        found = (
            "does not say which time its engagements end at"
            if seen_until is None
            else f"has seen engagements until {before}"
        )
        raise InputError(
            f"The network {found}, and validation begins at {split.before}: its vectors would hold "
            f"what happened later. Embed it again with `--before {split.before}` "
            "(LogConfig.before)",
            faq="split-by-time",
        )


def _seconds(text: Any) -> int | None:
    """The time that a record holds; None where it holds none."""
    try:
        return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())
    except (AttributeError, ValueError):
        return None


def _begins(config: SplitConfig, times: pa.Array) -> tuple[int, int]:
    """When validation and test begin: as given, or by the shares of the posts."""
    known = np.sort(np.asarray(times.drop_null()))
    if not len(known):
        raise InputError(
            f"None of {len(times):,} posts has a time: neither a timestamp of its own nor an "
            "engagement in the log. Fill in the column timestamp of the posts, or give their log "
            "(--engagements)",
            faq="split-by-time",
        )
    if config.validation_from is None or config.test_from is None:
        validation, test = (int(known[int(share * len(known))]) for share in SHARES)
        return validation, test
    validation = read_time(config.validation_from, "validation_from")
    test = read_time(config.test_from, "test_from")
    if validation >= test:
        raise InputError(
            f"validation_from is {iso(validation)} and test_from {iso(test)}; validation must "
            "begin before test does"
        )
    return validation, test


def _check_whole(split: Split, times: pa.Array) -> None:
    empty = [name for name in SPLITS if not np.any(split.names == name)]
    if empty:
        first, last = (iso(time.as_py()) for time in pc.min_max(times).values())
        raise InputError(
            f"The split by time leaves no post in {' and '.join(empty)}. {split.sentence()}. The "
            f"posts are from {first} to {last}: choose other times (--validation_from, "
            "--test_from)",
            faq="split-by-time",
        )
