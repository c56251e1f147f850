"""When posts were written: by their own timestamps, or by the first engagement with each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.engines import EngineConfig, engine_of, open_engine, take_in, to_memory
from twhin_hf.errors import InputError
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import TableSource, describe, read_errors, read_table
from twhin_hf.timestamps import FORMS, with_time

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir


def read_post_times(
    post_ids: pa.Array | pa.ChunkedArray,
    posts: TableSource,
    engagements: TableSource | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    post_columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    memory_limit: str = "1GB",
    engine: EngineConfig | None = None,
) -> pa.Array:
    """The time of each post.

    Args:
        post_ids: Which posts, strings.
        posts: Columns `post_id`, `text` and, optionally, `timestamp`.
        engagements: The log, with columns `user_id`, `post_id` and, optionally, `timestamp`.
        columns: What the log calls a column.
        post_columns: What the posts call a column.
        table_format: How text tables are written.
        memory_limit: Most memory of the engine.
        engine: What reads files; DuckDB where it is None.

    Returns:
        Whole seconds since 1970, int64 `[posts]`; null for a post that has no timestamp and no
        engagement.

    Raises:
        FileNotFoundError: A file is missing.
        InputError: Neither has a column `timestamp`, a time cannot be read or lies in the future, a
            column mixes units, or an engagement has no time.
    """
    with open_engine(memory_limit, config=engine) as opened, read_errors(posts):
        options: dict[str, Any] = {"connection": opened, "table_format": table_format}
        found = []
        own = read_table(
            posts,
            ["post_id", "text"],
            ["lang", "timestamp"],
            columns=post_columns,
            option="post_columns",
            **options,
        )
        if "timestamp" in own.columns:
            found.append(_first(own, f"The posts ({describe(posts)})", is_own=True))
        ids = post_ids.combine_chunks() if isinstance(post_ids, pa.ChunkedArray) else post_ids
        table = _joined(found, ids, engine_of(found[0], opened)) if found else None
        has_all = (
            table is not None
            and pc.all(pc.is_in(ids, value_set=table["post_id"].combine_chunks())).as_py()
        )
        if engagements is not None and not has_all:
            with read_errors(engagements):
                log = read_table(
                    engagements,
                    ["user_id", "post_id"],
                    ["relation", "timestamp"],
                    columns=columns,
                    **options,
                )
                if "timestamp" in log.columns:
                    what = f"The engagement log ({describe(engagements)})"
                    found.append(_first(log, what, is_own=False))
        if not found:
            places = [describe(place) for place in (posts, engagements) if place is not None]
            raise InputError(
                f"A split by time needs a column timestamp, and {' and '.join(places)} "
                f"{'have' if len(places) > 1 else 'has'} none. Give the posts or the log one "
                "(--columns, --post_columns: timestamp=COLUMN). " + FORMS,
                faq="split-by-time",
            )
        if table is None or len(found) > 1:
            table = _joined(found, ids, engine_of(found[0], opened))
    rows = pc.index_in(ids, value_set=table["post_id"].combine_chunks())
    return table["time"].combine_chunks().take(rows)


def _first(table: ir.Table, what: str, *, is_own: bool) -> ir.Table:
    """The first time of each post that has one."""
    timed = with_time(table, what, is_needed=not is_own)
    timed = timed.filter(timed.time.notnull(), timed.post_id.notnull())
    return timed.group_by("post_id").agg(time=timed.time.min()).mutate(is_own=is_own)


def _joined(found: list[ir.Table], post_ids: pa.Array, engine: ibis.BaseBackend) -> pa.Table:
    """Posts' own times where there are, and the others."""
    import ibis

    times = ibis.union(*found) if len(found) > 1 else found[0]
    times = times.semi_join(take_in(pa.table({"post_id": post_ids}), engine), "post_id")
    first = times.group_by("post_id").agg(
        own=times.time.min(where=times.is_own), engaged=times.time.min(where=~times.is_own)
    )
    return to_memory(
        first.select("post_id", time=ibis.coalesce(first.own, first.engaged)).order_by("post_id"),
        engine,
    )
