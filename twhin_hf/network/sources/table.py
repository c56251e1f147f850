"""Any other log: a table with one engagement a row, whose columns are named by the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twhin_hf.network.log import DEFAULT_RELATION
from twhin_hf.tables import TableSource, read_table

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from twhin_hf.network.sources.events import EventStore

COLUMNS = ("user_id", "post_id", "relation", "timestamp", "text", "lang")
# Seconds, or thousandths, millionths or billionths of one: no log is of the year 5138.
_SECONDS = """
    CASE
        WHEN TRY_CAST(timestamp AS BIGINT) IS NULL
            THEN CAST(epoch(TRY_CAST(timestamp AS TIMESTAMPTZ)) AS BIGINT)
        WHEN abs(CAST(timestamp AS BIGINT)) >= 100000000000000000
            THEN CAST(timestamp AS BIGINT) // 1000000000
        WHEN abs(CAST(timestamp AS BIGINT)) >= 100000000000000
            THEN CAST(timestamp AS BIGINT) // 1000000
        WHEN abs(CAST(timestamp AS BIGINT)) >= 100000000000
            THEN CAST(timestamp AS BIGINT) // 1000
        ELSE CAST(timestamp AS BIGINT)
    END
"""


def read_columns(source: TableSource, columns: Mapping[str, str], engine: Any) -> ir.Table:
    """The mapped columns, and those that have our names already.

    Raises:
        FileNotFoundError: The source is missing.
        ValueError: A column is missing, or a file cannot be read.
    """
    return read_table(source, COLUMNS[:2], COLUMNS[2:], connection=engine, columns=columns)


def append(table: ir.Table, store: EventStore, engine: Any) -> tuple[int, dict[str, int]]:
    """Adds the rows of a table: an engagement each, and its post where there is a text.

    Returns:
        Rows, and how many brought nothing by reason.
    """
    has = {name: name if name in table.columns else "NULL::VARCHAR" for name in COLUMNS}
    query = f"({engine.compile(table)})"
    is_blank = "({0} IS NULL OR trim({0}) = '')".format
    store.add_part(
        "engagements",
        f"""
        SELECT user_id, post_id, NULL::VARCHAR AS alias, NULL::VARCHAR AS author,
            coalesce(nullif({has["relation"]}, ''), '{DEFAULT_RELATION}') AS relation,
            {_SECONDS.replace("timestamp", has["timestamp"])} AS timestamp,
            NULL::VARCHAR AS record, '' AS version
        FROM {query} WHERE NOT {is_blank("user_id")} AND NOT {is_blank("post_id")}
        """,
    )
    store.add_part(
        "posts",
        f"""
        SELECT post_id, {has["text"]} AS text, {has["lang"]} AS langs,
            NULL::VARCHAR AS author, '' AS version, 0::BIGINT AS line
        FROM {query} WHERE {has["text"]} IS NOT NULL AND NOT {is_blank("post_id")}
        """,
    )
    ((rows, null_ids),) = engine.con.execute(
        f"SELECT count(*), count(*) FILTER ({is_blank('user_id')} OR {is_blank('post_id')}) "
        f"FROM {query}"
    ).fetchall()
    return rows, {"null, empty or blank ids": null_ids} if null_ids else {}
