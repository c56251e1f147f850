"""Any other log: a table with one engagement a row, whose columns are named by the user.

All of it is Ibis expressions, which DuckDB and Spark run alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twhin_hf.engines import scan_parquet, spill_folder, write_file, write_rows
from twhin_hf.network.log import DEFAULT_RELATION
from twhin_hf.network.sources.report import ImportReport
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import TableSource, is_blank, read_table
from twhin_hf.timestamps import with_seconds

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir

COLUMNS = ("user_id", "post_id", "relation", "timestamp", "text", "lang")


def read_columns(
    source: TableSource,
    columns: Mapping[str, str],
    table_format: TableFormat | None,
    engine: ibis.BaseBackend,
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


class TableLog:
    """Engagements, one a row of strings, and posts.

    Args:
        rows: Columns `user_id` and `post_id` and, optionally, `relation` and `timestamp`.
        posts: Columns `post_id`, `text` and, optionally, `lang`; None where there is no text.
        engine: Of both.
    """

    def __init__(self, rows: ir.Table, posts: ir.Table | None, engine: ibis.BaseBackend):
        import ibis

        null = ibis.null("string")
        given = {
            name: rows[name] if name in rows.columns else null for name in ("relation", "timestamp")
        }
        relation = given["relation"].fill_null("")
        self._engine = engine
        named = rows.select(
            "user_id",
            "post_id",
            relation=(relation == "").ifelse(DEFAULT_RELATION, relation),
            written=given["timestamp"].strip(),
            has_ids=~is_blank(rows.user_id) & ~is_blank(rows.post_id),
        )
        self._rows = (
            with_seconds(named, "written", "timestamp")
            if "timestamp" in rows.columns
            else named.mutate(timestamp=ibis.null("int64"))
        )
        self._texts = None
        if posts is not None:
            lang = posts.lang if "lang" in posts.columns else null
            self._texts = posts.filter(~is_blank(posts.post_id)).select(
                "post_id", text=posts.text.fill_null(""), langs=lang.fill_null("")
            )

    def count(self, report: ImportReport) -> None:
        """Counts the rows, and the times that nobody can read."""
        rows = self._rows
        is_unread = rows.has_ids & rows.timestamp.isnull() & ~is_blank(rows.written)
        counts = self._count(
            rows.aggregate(
                rows=rows.count(),
                null_ids=rows.count(where=~rows.has_ids),
                unread=rows.count(where=is_unread),
                example=rows.written.max(where=is_unread),
            )
        )
        report.lines, null_ids = counts["rows"], counts["null_ids"]
        report.skipped = {"null, empty or blank ids": null_ids} if null_ids else {}
        report.unread_times, report.unread_time = counts["unread"], counts["example"]
        report.engagements_read = report.lines - null_ids

    def write_engagements(self, path: Path, report: ImportReport) -> ir.Table:
        """Writes each user, post and relation once, at its first time, sorted by time."""
        keys = ["user_id", "post_id", "relation"]
        rows = self._rows.filter(self._rows.has_ids)
        first = rows.group_by(keys).agg(timestamp=rows.timestamp.min())
        written = write_file(first.order_by("timestamp", *keys), path, self._engine)
        counts = self._engine.to_pyarrow(
            written.group_by("relation").agg(rows=written.count()).order_by("relation")
        )
        names, numbers = counts["relation"].to_pylist(), counts["rows"].to_pylist()
        report.relations = dict(zip(names, numbers, strict=True))
        report.num_engagements = sum(numbers)
        report.repeats = report.engagements_read - report.num_engagements
        return written

    def write_posts(self, report: ImportReport) -> list[Path]:
        """Writes each post once, sorted by id, to files that go with the engine.

        Of several texts the longest stays, of those with a language where there are.
        """
        import ibis

        if self._texts is None:
            return []
        texts = self._texts
        report.posts_read = self._count(texts.aggregate(rows=texts.count()))["rows"]
        # The last two decide between texts of one length, so that every engine takes the same.
        order = [ibis.desc(texts.langs != ""), ibis.desc(texts.text.length()), "text", "langs"]
        ranked = texts.mutate(rank=ibis.row_number().over(group_by="post_id", order_by=order))
        first = ranked.filter(ranked["rank"] == 0).drop("rank").mutate(is_gone=False)
        path = spill_folder(self._engine) / "posts.parquet"
        return write_rows(first.order_by("post_id"), path, self._engine)

    def posts_with_text(self, files: list[Path]) -> ir.Table:
        """Those of the posts in the files that have one."""
        if not files:
            return self._rows.filter(False).select("post_id")
        posts = scan_parquet(files, self._engine)
        return posts.filter(~is_blank(posts.text)).select("post_id")

    def _count(self, counts: ir.Table) -> dict[str, Any]:
        return self._engine.to_pyarrow(counts).to_pylist()[0]
