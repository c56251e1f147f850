"""Any other log: a table with one engagement a row, whose columns are named by the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from twhin_hf.network.log import DEFAULT_RELATION
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import TableSource, read_table

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from twhin_hf.network.sources.events import EventStore

COLUMNS = ("user_id", "post_id", "relation", "timestamp", "text", "lang")
NO_POSTS = "SELECT NULL::VARCHAR AS post_id, NULL::VARCHAR AS text, NULL AS lang WHERE false"
_IS_BLANK = "({0} IS NULL OR trim({0}) = '')"
# Seconds, or thousandths, millionths or billionths of one: no log is of the year 5138; or a date of
# ISO 8601, or as X's API v1.1 and e-mails write it.
_SECONDS = """
    CASE
        WHEN TRY_CAST(timestamp AS BIGINT) IS NULL
            THEN CAST(epoch(coalesce(
                TRY_CAST(timestamp AS TIMESTAMPTZ),
                try_strptime(timestamp, ['%a %b %d %H:%M:%S %z %Y', '%a, %d %b %Y %H:%M:%S %z'])
            )) AS BIGINT)
        WHEN abs(CAST(timestamp AS BIGINT)) >= 100000000000000000
            THEN CAST(timestamp AS BIGINT) // 1000000000
        WHEN abs(CAST(timestamp AS BIGINT)) >= 100000000000000
            THEN CAST(timestamp AS BIGINT) // 1000000
        WHEN abs(CAST(timestamp AS BIGINT)) >= 100000000000
            THEN CAST(timestamp AS BIGINT) // 1000
        ELSE CAST(timestamp AS BIGINT)
    END
"""


class Rows(NamedTuple):
    """What became of the rows of a table.

    Args:
        num_rows: Rows.
        skipped: How many brought nothing, by reason.
        unread_times: How many brought an engagement whose time nobody can read.
        unread_time: One of those times.
    """

    num_rows: int
    skipped: dict[str, int]
    unread_times: int
    unread_time: str | None


def read_columns(
    source: TableSource,
    columns: Mapping[str, str],
    table_format: TableFormat | None,
    engine: Any,
) -> ir.Table:
    """The mapped columns, and those that have our names already.

    Raises:
        FileNotFoundError: The source is missing.
        InputError: A column is missing, or a file cannot be read.
    """
    return read_table(
        source,
        COLUMNS[:2],
        COLUMNS[2:],
        connection=engine,
        columns=columns,
        table_format=table_format,
    )


def append(table: ir.Table, store: EventStore, engine: Any) -> Rows:
    """Adds the rows of a table: an engagement each, and its post where there is a text column."""
    query = f"({engine.compile(table)})"
    lang = "lang" if "lang" in table.columns else "NULL"
    has_text = "text" in table.columns
    append_posts(
        f"SELECT post_id, text, {lang} AS lang FROM {query}" if has_text else NO_POSTS, store
    )
    return append_engagements(query, table.columns, store, engine.con)


def append_posts(query: str, store: EventStore) -> None:
    """Adds posts: a query of the strings `post_id`, `text` and `lang`."""
    store.add_part(
        "posts",
        f"""
        SELECT post_id, coalesce(text, '') AS text, lang::VARCHAR AS langs,
            NULL::VARCHAR AS author, '' AS version, 0::BIGINT AS line
        FROM ({query}) WHERE NOT {_IS_BLANK.format("post_id")}
        """,
    )


def append_engagements(
    query: str, columns: Sequence[str], store: EventStore, connection: Any
) -> Rows:
    """Adds engagements: a query of strings, of which `relation` and `timestamp` may be missing."""
    has = {name: name if name in columns else "NULL::VARCHAR" for name in COLUMNS}
    is_blank = _IS_BLANK.format
    seconds = _SECONDS.replace("timestamp", has["timestamp"])
    store.add_part(
        "engagements",
        f"""
        SELECT user_id, post_id, NULL::VARCHAR AS alias, NULL::VARCHAR AS author,
            coalesce(nullif({has["relation"]}, ''), '{DEFAULT_RELATION}') AS relation,
            {seconds} AS timestamp,
            NULL::VARCHAR AS record, '' AS version
        FROM {query} WHERE NOT {is_blank("user_id")} AND NOT {is_blank("post_id")}
        """,
    )
    ((rows, null_ids, unread, example),) = connection.execute(
        f"""
        SELECT count(*), count(*) FILTER (NOT has_ids), count(*) FILTER (has_ids AND is_unread),
            any_value(time) FILTER (has_ids AND is_unread)
        FROM (
            SELECT NOT ({is_blank("user_id")} OR {is_blank("post_id")}) AS has_ids,
                {has["timestamp"]} AS time,
                NOT {is_blank(has["timestamp"])} AND ({seconds}) IS NULL AS is_unread
            FROM {query}
        )
        """
    ).fetchall()
    return Rows(rows, {"null, empty or blank ids": null_ids} if null_ids else {}, unread, example)
