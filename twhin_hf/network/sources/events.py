"""From events in the order of a log to engagements and posts that stand at its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from twhin_hf.network.sources.log_format import MAYBE_USER

if TYPE_CHECKING:
    import duckdb

    from twhin_hf.network.sources.log_format import LogFormat

# Why an engagement goes, in this order; the names are those of the report.
GONE = ("undone", "deleted_posts", "inactive_accounts", "unknown_posts")
_ROWS_PER_BATCH = 50_000


class EventStore:
    """Posts and engagements as Parquet parts in a folder, removals in the engine.

    Args:
        connection: The engine; it spills where its memory is not enough.
        folder: Where the parts are written.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path):
        self._connection, self._folder, self._num_parts = connection, folder, 0
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            "CREATE TEMP TABLE names (alias VARCHAR, record VARCHAR, is_post BOOLEAN);"
            "CREATE TEMP TABLE removals "
            "(record VARCHAR, alias VARCHAR, version VARCHAR, is_delete BOOLEAN);"
            "CREATE TEMP TABLE accounts "
            "(user_id VARCHAR, kind VARCHAR, is_active BOOLEAN, timestamp BIGINT, line BIGINT);"
            "CREATE TEMP TABLE messages (name VARCHAR, events BIGINT);"
            "CREATE TEMP TABLE skipped (name VARCHAR, events BIGINT)"
        )

    def set_variables(self, **values: str | bool | None) -> None:
        """Gives values to what the queries ask for by `getvariable`."""
        for name, value in values.items():
            self._connection.execute(f"SET VARIABLE {name} = ?", [value])

    def append(self, log: LogFormat) -> None:
        """Adds what the format's queries find in the table `parsed`."""
        run = self._connection.execute
        for name, query in log.tables.items():
            run(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}")
        self.add_part("posts", f"SELECT * FROM ({log.posts}) WHERE post_id IS NOT NULL")
        self.add_part("engagements", log.engagements)
        self._num_parts += 1
        run(f"INSERT INTO names {log.names}")
        run(f"INSERT INTO removals {log.removals}")
        run(f"INSERT INTO accounts {log.accounts}")
        run(f"INSERT INTO messages SELECT kind, count(*) FROM ({log.messages}) GROUP BY kind")
        run(f"INSERT INTO skipped SELECT reason, count(*) FROM ({log.skipped}) GROUP BY reason")

    def add_part(self, name: str, query: str) -> None:
        """Writes the rows of a query as a part of the posts or the engagements."""
        path = self._folder / f"{name}-{self._num_parts:06}.parquet"
        options = "(FORMAT parquet, COMPRESSION lz4_raw)"
        self._connection.execute(f"COPY ({query}) TO {quote(path)} {options}")

    def skipped(self) -> dict[str, int]:
        """How many events brought nothing, by reason."""
        return self._sums("skipped")

    def messages(self) -> dict[str, int]:
        """How many messages take something back, by kind."""
        return self._sums("messages")

    def resolve(self) -> None:
        """Settles what is taken back, which the other methods need."""
        self._connection.execute(
            f"""
            CREATE TEMP VIEW all_posts AS FROM {self._parts("posts")};
            CREATE TEMP VIEW all_engagements AS FROM {self._parts("engagements")};
            CREATE TEMP TABLE repeated AS
                SELECT post_id FROM all_posts GROUP BY post_id HAVING count(*) > 1;
            CREATE TEMP TABLE removed AS
                SELECT record, max(version) AS version, bool_or(is_delete) AS is_deleted FROM (
                    SELECT record, version, is_delete FROM removals WHERE record IS NOT NULL
                    UNION ALL
                    SELECT names.record, version, is_delete
                    FROM removals JOIN names ON names.alias = removals.alias
                ) GROUP BY record;
            CREATE TEMP TABLE inactive AS
                SELECT DISTINCT user_id FROM (
                    SELECT user_id, kind FROM accounts GROUP BY user_id, kind
                    HAVING NOT arg_max(is_active, (coalesce(timestamp, 0), line))
                ) WHERE kind <> '{MAYBE_USER}' OR user_id NOT IN (
                    SELECT post_id FROM all_posts
                    UNION ALL
                    SELECT post_id FROM all_engagements WHERE post_id IS NOT NULL
                );
            CREATE TEMP TABLE inactive_posts AS
                SELECT DISTINCT post_id FROM all_posts
                SEMI JOIN inactive ON inactive.user_id = all_posts.author;
            CREATE TEMP TABLE aliases AS
                SELECT alias, any_value(record) AS post_id FROM names WHERE is_post
                GROUP BY alias HAVING count(DISTINCT record) = 1
            """
        )

    def write_engagements(self, path: Path) -> dict[str, int]:
        """Writes each user, post and relation once, at its first time, sorted by time.

        Returns:
            `engagements_read`, the `GONE` ones, `repeats` and `num_engagements`, which add up; and
            the numbers by relation, under `relation:NAME`.
        """
        run = self._connection.execute
        run(
            """
            CREATE TEMP TABLE standing AS
            SELECT user_id, post_id, relation, gone, min(timestamp) AS timestamp, count(*) AS rows
            FROM (
                SELECT e.user_id, coalesce(e.post_id, aliases.post_id) AS post_id, e.relation,
                    e.timestamp,
                    CASE
                        WHEN own.version > e.version THEN 'undone'
                        WHEN target.is_deleted THEN 'deleted_posts'
                        WHEN u.user_id IS NOT NULL OR a.user_id IS NOT NULL
                            OR p.post_id IS NOT NULL THEN 'inactive_accounts'
                        WHEN coalesce(e.post_id, aliases.post_id) IS NULL THEN 'unknown_posts'
                    END AS gone
                FROM all_engagements AS e
                LEFT JOIN aliases ON aliases.alias = e.alias
                LEFT JOIN removed AS own ON own.record = e.record
                LEFT JOIN removed AS target
                    ON target.record = coalesce(e.post_id, aliases.post_id)
                LEFT JOIN inactive AS u ON u.user_id = e.user_id
                LEFT JOIN inactive AS a ON a.user_id = e.author
                LEFT JOIN inactive_posts AS p
                    ON p.post_id = coalesce(e.post_id, aliases.post_id)
            ) GROUP BY ALL
            """
        )
        run(
            "COPY (SELECT user_id, post_id, relation, timestamp FROM standing WHERE gone IS NULL "
            f"ORDER BY timestamp, user_id, post_id, relation) TO {quote(path)} "
            "(FORMAT parquet, COMPRESSION zstd)"
        )
        counts = dict.fromkeys(("engagements_read", *GONE, "repeats", "num_engagements"), 0)
        groups = run(
            "SELECT gone, relation, count(*), sum(rows)::BIGINT FROM standing GROUP BY ALL "
            "ORDER BY relation"
        ).fetchall()
        for gone, relation, distinct, rows in groups:
            counts["engagements_read"] += rows
            if gone is None:
                counts["repeats"] += rows - distinct
                counts["num_engagements"] += distinct
                counts[f"relation:{relation}"] = distinct
            else:
                counts[gone] += rows
        run("DROP TABLE standing")
        return counts

    def read_posts(self) -> Iterator[pa.RecordBatch]:
        """Each post once, in its last version, with a column `is_gone`."""
        reader = self._connection.sql(
            """
            SELECT posts.post_id, text, langs,
                removed.is_deleted IS NOT DISTINCT FROM true OR gone.post_id IS NOT NULL AS is_gone
            FROM (
                SELECT post_id, text, langs, line FROM all_posts
                WHERE post_id NOT IN (FROM repeated)
                UNION ALL
                SELECT post_id, text, langs, line FROM all_posts SEMI JOIN repeated USING (post_id)
                QUALIFY row_number() OVER (
                    PARTITION BY post_id ORDER BY version DESC, coalesce(langs, '') = '',
                    length(text) DESC, line) = 1
            ) AS posts
            LEFT JOIN removed ON removed.record = posts.post_id
            LEFT JOIN inactive_posts AS gone ON gone.post_id = posts.post_id
            ORDER BY line, posts.post_id
            """
        ).to_arrow_reader(_ROWS_PER_BATCH)
        yield from reader

    def num_posts(self) -> int:
        """Rows of posts read, repeats and deleted ones included."""
        return self._connection.execute("SELECT count(*) FROM all_posts").fetchall()[0][0]

    def _sums(self, table: str) -> dict[str, int]:
        rows = self._connection.execute(
            f"SELECT name, sum(events)::BIGINT FROM {table} GROUP BY name ORDER BY name"
        )
        return dict(rows.fetchall())

    def _parts(self, name: str) -> str:
        return f"read_parquet({quote(self._folder / f'{name}-*.parquet')})"


def quote(path: Path) -> str:
    """A path as a string of SQL."""
    return "'" + str(path).replace("'", "''") + "'"
