"""From an engagement log to integer edges: ids become rows, duplicates and rare ids go.

The preparation is a handful of Ibis expressions. DuckDB runs them by default, within a memory
limit and with a spill folder; Spark, or the back end of an Ibis table that is given, runs them too.
This process holds the distinct ids of users and posts, and blocks of edges, whichever it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.engines import (
    EngineConfig,
    engine_of,
    open_engine,
    read_rows,
    scan_parquet,
    take_in,
    to_memory,
    write_rows,
)
from twhin_hf.errors import InputError
from twhin_hf.network.edges import EdgeFile, Edges, degrees, find_core, keep_core
from twhin_hf.network.log_config import LogConfig
from twhin_hf.scratch import scratch_folder
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import (
    TableSource,
    describe,
    has_text,
    is_blank,
    is_source,
    read_errors,
    read_table,
)
from twhin_hf.timestamps import iso, read_time, with_time

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir

logger = logging.getLogger(__name__)

DEFAULT_RELATION = "engage"
_BLOCK = 2**20
_MAX_RELATIONS = np.iinfo(np.int16).max


@dataclass(frozen=True)
class LogReport:
    """What reading the log kept and what it dropped, in the order of the filters.

    Every row is counted once: `rows = other_relations + late_rows + unknown_post_rows +
    excluded_post_rows + null_ids + duplicates + rare_edges + num_edges`.

    Args:
        rows: Rows of the log.
        other_relations: Rows of relations that were not asked for.
        late_rows: Rows at or after the time that engagements end at.
        unknown_posts: Posts of the log that the posts do not hold.
        unknown_post_rows: Rows of those posts.
        excluded_posts: Posts of the log left out on request.
        excluded_post_rows: Rows of those posts.
        null_ids: Rows whose user or post id is null, empty or white space.
        duplicates: Rows that repeat a user, post and relation.
        rare_users: Users below the minimum degree.
        rare_posts: Posts below the minimum degree.
        rare_edges: Edges of those users and posts.
        posts_without_engagement: Posts with text that have no edge in the result.
        num_users: Users kept.
        num_posts: Posts kept.
        num_edges: Distinct edges kept.
        edges_per_relation: The same by relation.
    """

    rows: int = 0
    other_relations: int = 0
    late_rows: int = 0
    unknown_posts: int = 0
    unknown_post_rows: int = 0
    excluded_posts: int = 0
    excluded_post_rows: int = 0
    null_ids: int = 0
    duplicates: int = 0
    rare_users: int = 0
    rare_posts: int = 0
    rare_edges: int = 0
    posts_without_engagement: int = 0
    num_users: int = 0
    num_posts: int = 0
    num_edges: int = 0
    edges_per_relation: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class EngagementGraph:
    """Distinct engagements as integer edges, user row -> post row.

    Rows are numbered by id in byte order and edges are sorted by relation, user row and post row,
    so the graph does not depend on the number of threads or the order of the log.

    Args:
        lhs: Row of the user, int32 `[num_edges]`; memory-mapped, read-only.
        rhs: Row of the post, int32 `[num_edges]`; the same.
        relation: Index of the relation, int16 `[num_edges]`; the same.
        user_ids: Strings, `[num_users]`.
        post_ids: Strings, `[num_posts]`.
        relations: Names in byte order, `[num_relations]`.
        report: What was kept and dropped.
        before: All engagements are before this time (ISO 8601, UTC); None where nobody has looked.
    """

    lhs: np.ndarray
    rhs: np.ndarray
    relation: np.ndarray
    user_ids: pa.Array
    post_ids: pa.Array
    relations: list[str]
    report: LogReport
    before: str | None = None

    @property
    def num_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @property
    def num_posts(self) -> int:
        """Number of posts."""
        return len(self.post_ids)

    @property
    def num_relations(self) -> int:
        """Number of relations."""
        return len(self.relations)

    @property
    def num_edges(self) -> int:
        """Number of edges."""
        return len(self.lhs)

    def user_degrees(self) -> np.ndarray:
        """Edges of each user, all relations together, int64 `[num_users]`."""
        return degrees(self.lhs, self.num_users)

    def post_degrees(self) -> np.ndarray:
        """Edges of each post, all relations together, int64 `[num_posts]`."""
        return degrees(self.rhs, self.num_posts)


def read_log(
    engagements: TableSource,
    posts: TableSource | Iterable[str] | None = None,
    *,
    exclude_posts: Iterable[str] | None = None,
    post_ends: pa.Table | None = None,
    table_format: TableFormat | None = None,
    engine: EngineConfig | None = None,
    **options: Any,
) -> EngagementGraph:
    """Reads an engagement log into integer edges.

    Degrees count distinct engagements, all relations together. Users and posts below a minimum
    degree are dropped until none is left below it (the graph's core), because dropping a post
    takes degree from its users.

    Args:
        engagements: The log: a file, a folder, or an Ibis table of any back end, with columns
            `user_id`, `post_id` and, optionally, `relation` and `timestamp`. Rows without a
            relation have the relation "engage".
        posts: Posts with text (a file, a folder or, where the log is one, an Ibis table of the
            same back end, with columns `post_id` and `text`), or the ids of known posts. Edges to
            other posts are dropped.
        exclude_posts: Ids of posts that must not take part, such as held-out posts.
        post_ends: `post_id` and `end`, whole seconds since 1970 (int64): engagements with a post
            count until its end; those with posts that are not there always do.
        table_format: How text tables are written, those of posts too.
        engine: What reads files; DuckDB where it is None.
        **options: Fields of `LogConfig`, such as `relations`, `min_user_degree` and `columns`.

    Raises:
        FileNotFoundError: A file is missing.
        InputError: A column is missing, the log is empty, a named relation has no edge, too many
            posts are unknown, no edge is left, or a file cannot be read. Where engagements end at
            a time: a time is missing, cannot be read or lies in the future, or units are mixed.
        TypeError: An option that `LogConfig` does not have.
    """
    config = LogConfig(**options)
    temp_directory = config.temp_directory
    min_user_degree, min_post_degree = config.min_user_degree, config.min_post_degree
    end = None if config.before is None else read_time(config.before, "before (`--before`)")
    has_end = end is not None or post_ends is not None
    with scratch_folder(temp_directory) as scratch:
        numbers = scratch / "edges.parquet"
        with (
            open_engine(config.memory_limit, config.threads, scratch, engine) as opened,
            read_errors(engagements),
        ):
            log = read_table(
                engagements,
                ["user_id", "post_id", *(["timestamp"] if has_end else [])],
                ["relation"],
                connection=opened,
                columns=config.columns,
                table_format=table_format,
            )
            connection = engine_of(log, opened)
            log, rows_of = _read_relations(log, engagements, connection)
            names = _select_relations(rows_of, config.relations)
            log = log.filter(log.relation.isin(names)) if len(names) < len(rows_of) else log
            late_rows = 0
            if has_end:
                timed = with_time(log, f"The engagement log ({describe(engagements)})")
                log = _before(timed, end, post_ends, connection)
                if connection is opened:
                    # What follows passes over the log several times, and times are dear to read.
                    early = write_rows(log, scratch / "early.parquet", connection)
                    log = scan_parquet(early, connection)
                late_rows = _count(timed, connection) - _count(log, connection)
            known = (
                None
                if posts is None
                else _known_posts(posts, config.post_columns, table_format, connection)
            )
            post_ids, counts = _read_posts(
                log, known, exclude_posts, config.max_unknown_posts, connection
            )
            counts["late_rows"] = late_rows
            users = log.select("user_id").distinct().order_by("user_id")
            found = to_memory(users, connection)["user_id"]
            user_ids = found.filter(has_text(found))
            num_known = 0 if known is None else _count(known, connection)
            numbered = _number_edges(log, user_ids, post_ids, names, connection)
            files = write_rows(numbered, numbers, connection)
        # The engine has given its memory back before the edges are read.
        edges, joined = _read_edges(files, len(user_ids), len(post_ids), temp_directory)

    core = find_core(edges, len(user_ids), len(post_ids), min_user_degree, min_post_degree)
    kept = keep_core(edges, core, temp_directory)
    rows = sum(rows_of.values())
    counts["other_relations"] = rows - sum(rows_of[name] for name in names)
    taken = ("other_relations", "late_rows", "unknown_post_rows", "excluded_post_rows")
    counts["null_ids"] = rows - joined - sum(counts[name] for name in taken)
    counts["duplicates"] = joined - len(edges)
    counts["rare_edges"] = len(edges) - len(kept)
    if not len(kept):
        raise InputError(
            _explain_no_edges(rows, counts, min_user_degree, min_post_degree), faq="no-edge-left"
        )
    lhs, rhs, relation = kept.mapped()
    # Edges are sorted by relation, so a search counts them without reading them all.
    ends = np.searchsorted(relation, np.arange(len(names), dtype=np.int16), side="right")
    edges_per_relation = dict(zip(names, np.diff(ends, prepend=0).tolist(), strict=True))
    _check_relations(edges_per_relation)
    report = LogReport(
        rows=rows,
        **counts,
        rare_users=core.rare_users,
        rare_posts=core.rare_posts,
        posts_without_engagement=max(0, num_known - int(core.posts.sum())),
        num_users=int(core.users.sum()),
        num_posts=int(core.posts.sum()),
        num_edges=len(kept),
        edges_per_relation=edges_per_relation,
    )
    logger.debug("Engagement log: %s", asdict(report))
    return EngagementGraph(
        lhs,
        rhs,
        relation,
        user_ids=user_ids.filter(pa.array(core.users)),
        post_ids=post_ids.filter(pa.array(core.posts)),
        relations=names,
        report=report,
        before=None if end is None else iso(end),
    )


def _read_relations(
    log: ir.Table, source: TableSource, connection: ibis.BaseBackend
) -> tuple[ir.Table, dict[str, int]]:
    """The log with a relation in every row, and the rows of each relation in byte order."""
    import ibis

    if "relation" in log.columns:
        relation = log.relation.fill_null(DEFAULT_RELATION)
        log = log.mutate(relation=(relation == "").ifelse(DEFAULT_RELATION, relation))
    else:
        log = log.mutate(relation=ibis.literal(DEFAULT_RELATION))
    by_relation = log.group_by("relation").agg(rows=log.count()).order_by("relation")
    counts = connection.to_pyarrow(by_relation)
    if not len(counts):
        raise InputError(
            f"The engagement log ({describe(source)}) is empty: it has its columns but no row. "
            "Needed is one row an engagement."
        )
    return log, dict(zip(counts["relation"].to_pylist(), counts["rows"].to_pylist(), strict=True))


def _select_relations(rows_of: Mapping[str, int], wanted: Sequence[str] | None) -> list[str]:
    found = f"found are {', '.join(map(repr, list(rows_of)[:20]))}"
    missing = sorted(set(wanted or ()) - set(rows_of))
    if missing or (wanted is not None and not wanted):
        raise InputError(
            f"No edge in the log has the relation {', '.join(map(repr, missing)) or '(none named)'}"
            f"; {found}. Leave `relations` out to keep all of them."
        )
    names = sorted(set(wanted or rows_of), key=lambda name: name.encode())
    if len(names) > _MAX_RELATIONS:
        raise InputError(
            f"The log has {len(names):,} relations, at most {_MAX_RELATIONS:,} are possible; "
            f"{found}. Is the column `relation` the kind of engagement?"
        )
    return names


def _before(
    log: ir.Table, end: int | None, post_ends: pa.Table | None, connection: ibis.BaseBackend
) -> ir.Table:
    """The rows before the end of all engagements and before that of their posts."""
    if end is not None:
        log = log.filter(log.time < end)
    if post_ends is not None:
        log = log.left_join(take_in(post_ends.select(["post_id", "end"]), connection), "post_id")
        log = log.filter(log.end.isnull() | (log.time < log.end))
    return log.select("user_id", "post_id", "relation")


def _known_posts(
    posts: TableSource | Iterable[str],
    columns: Mapping[str, str] | None,
    table_format: TableFormat | None,
    connection: ibis.BaseBackend,
) -> ir.Table:
    """Distinct ids of the posts that have text, column `post_id`."""
    if is_source(posts):
        table = read_table(
            posts,
            ["post_id", "text"],
            connection=connection,
            columns=columns,
            option="post_columns",
            table_format=table_format,
        )
        table = table.filter(~is_blank(table.post_id), ~is_blank(table.text))
    else:
        table = take_in(pa.table({"post_id": _strings(posts)}), connection)
    return table.select("post_id").distinct()


def _count(table: ir.Table, connection: ibis.BaseBackend) -> int:
    return connection.to_pyarrow(table.count()).as_py()


def _read_posts(
    log: ir.Table,
    known: ir.Table | None,
    exclude_posts: Iterable[str] | None,
    max_unknown_posts: float,
    connection: ibis.BaseBackend,
) -> tuple[pa.ChunkedArray, dict[str, int]]:
    """Ids of the posts that take part, in byte order, and how many do not."""
    posts = log.group_by("post_id").agg(rows=log.count())
    if known is not None:
        posts = posts.left_join(known.mutate(is_known=True), "post_id").select(
            "post_id", "rows", "is_known"
        )
    table = to_memory(posts.order_by("post_id"), connection)
    table = table.filter(has_text(table["post_id"]))
    counts = {}

    num_posts = len(table)
    kept = table if known is None else table.filter(pc.is_valid(table["is_known"]))
    counts["unknown_posts"] = num_posts - len(kept)
    counts["unknown_post_rows"] = _sum(table["rows"]) - _sum(kept["rows"])
    if counts["unknown_posts"] > max_unknown_posts * num_posts:
        example = table.filter(pc.is_null(table["is_known"]))["post_id"][0]
        raise InputError(
            f"{counts['unknown_posts']:,} of the log's {num_posts:,} posts have no text among the "
            f"posts given (the first is {str(example)!r}), more than the share of "
            f"{max_unknown_posts:g} that is allowed. Check that both use the same ids, or raise "
            "max_unknown_posts (`--max_unknown_posts`).",
            faq="unknown-posts",
        )
    table = kept
    if exclude_posts is not None:
        excluded = pc.is_in(table["post_id"], value_set=_strings(exclude_posts))
        kept = table.filter(pc.invert(excluded))
    counts["excluded_posts"] = len(table) - len(kept)
    counts["excluded_post_rows"] = _sum(table["rows"]) - _sum(kept["rows"])
    return kept["post_id"], counts


def _number_edges(
    log: ir.Table,
    user_ids: pa.ChunkedArray,
    post_ids: pa.ChunkedArray,
    relations: list[str],
    connection: ibis.BaseBackend,
) -> ir.Table:
    """The rows of the given ids as one sorted column of integers; rows of other ids go.

    An edge is `(relation * num_users + user) * num_posts + post`, so the engine sorts a single
    column, within its memory limit, and equal edges come one after the other.
    """
    num_users, num_posts = len(user_ids), len(post_ids)
    if len(relations) * num_users * num_posts > np.iinfo(np.int64).max:
        raise InputError(
            f"{len(relations)} relations x {num_users:,} users x {num_posts:,} posts are more "
            "possible edges than 64 bits can number. Read the relations one by one."
        )
    names = pa.chunked_array([pa.array(relations)])
    keys = {
        "user": ("user_id", user_ids, num_posts),
        "post": ("post_id", post_ids, 1),
        "kind": ("relation", names, num_users * num_posts),
    }
    for key, (column, ids, step) in keys.items():
        rows = np.arange(len(ids), dtype=np.int64) * step
        log = log.inner_join(take_in(pa.table({column: ids, key: rows}), connection), column)
    return log.select(edge=log.user + log.post + log.kind).order_by("edge")


def _read_edges(
    numbers: Sequence[Path], num_users: int, num_posts: int, directory: str | Path | None
) -> tuple[EdgeFile, int]:
    """Distinct edges from their numbers, and how many numbers there were."""
    edges, num_rows, last = EdgeFile(directory), 0, -1
    for batch in read_rows(numbers, _BLOCK):
        block = batch.column(0).to_numpy()
        is_first = np.diff(block, prepend=last) != 0
        num_rows, last = num_rows + len(block), block[-1]
        pair, post = np.divmod(block[is_first], num_posts)
        relation, user = np.divmod(pair, num_users)
        edges.append(Edges(user, post, relation))
    return edges, num_rows


def _check_relations(edges_per_relation: Mapping[str, int]) -> None:
    left = [name for name, count in edges_per_relation.items() if count]
    if len(left) < len(edges_per_relation):
        gone = ", ".join(repr(name) for name in edges_per_relation if name not in left)
        raise InputError(
            f"No edge of the relation {gone} is left after filtering. Keep the others with "
            f"relations={left} (`--relations {' '.join(left)}`), or relax the filters.",
            faq="no-edge-left",
        )


def _explain_no_edges(
    rows: int, counts: Mapping[str, int], min_user_degree: int, min_post_degree: int
) -> str:
    reasons = {
        "other_relations": "of other relations",
        "late_rows": "at or after the time that engagements end at",
        "unknown_post_rows": "of posts without text",
        "excluded_post_rows": "of excluded posts",
        "null_ids": "with a null, empty or blank id",
        "rare_edges": (
            f"of users below {min_user_degree} or posts below {min_post_degree} engagements"
        ),
    }
    taken = [f"{counts[name]:,} {reason}" for name, reason in reasons.items() if counts[name]]
    return (
        f"No edge is left of the {rows:,} rows of the log. Taken out were {'; '.join(taken)}. "
        "Relax that filter or check the ids."
    )


def _sum(counts: pa.ChunkedArray) -> int:
    return pc.sum(counts).as_py() or 0


def _strings(ids: Any) -> pa.Array:
    return pa.array(ids if isinstance(ids, (pa.Array, pa.ChunkedArray)) else list(ids)).cast(
        pa.string()
    )
