"""Posts: read once, cleaned and counted, then a memory-mapped `datasets.Dataset`."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.engines import EngineConfig, engine_of, is_spark, open_engine
from twhin_hf.errors import InputError
from twhin_hf.files import process_folder
from twhin_hf.mapped import mapped_table
from twhin_hf.printing import counts_sentence
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import (
    TableSource,
    describe,
    is_blank,
    read_errors,
    read_table,
    table_batches,
)

if TYPE_CHECKING:
    import ibis.expr.types as ir
    from datasets import Dataset

logger = logging.getLogger(__name__)

UNKNOWN_LANGUAGE = "und"  # ISO 639-2: undetermined
_SCHEMA = pa.schema({"post_id": pa.string(), "text": pa.string(), "lang": pa.string()})
_ROWS_PER_BATCH = 10_000


@dataclass(frozen=True)
class PostsReport:
    """What reading the posts kept and what it dropped, in the order of the filters.

    Args:
        rows: Rows of the source.
        null_ids: Rows whose id is null, empty or white space.
        blank_texts: Rows whose text is null, empty or nothing but white space.
        duplicate_ids: Rows that repeat an id; the first row of an id is kept.
        cut_texts: Posts kept whose text was longer than allowed and has been cut.
        num_posts: Posts kept.
    """

    rows: int
    null_ids: int
    blank_texts: int
    duplicate_ids: int
    cut_texts: int
    num_posts: int


class Posts(NamedTuple):
    """Posts and the report of how they were read."""

    dataset: Dataset
    report: PostsReport


def read_posts(
    source: TableSource,
    *,
    max_characters: int = 10_000,
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    memory_limit: str = "1GB",
    threads: int | None = None,
    directory: str | Path | None = None,
    engine: EngineConfig | None = None,
) -> Posts:
    """Reads posts in the order of the source.

    Args:
        source: A file, a folder of files, or an Ibis table (DuckDB, Spark), with columns `post_id`,
            `text` and, optionally, `lang`. A post without a language has the language "und". Its
            `timestamp` is for `read_post_times`.
        max_characters: A longer text is cut to its first characters.
        columns: What the source calls a column, such as `{"text": "body"}`.
        table_format: How text tables are written.
        memory_limit: Most memory of the engine.
        threads: Threads of the engine; all cores where it is None.
        directory: Where the data set's Arrow file is written and stays. A folder that goes away
            at the end of the process where it is None.
        engine: What reads files; DuckDB where it is None.

    Returns:
        The data set, with string columns `post_id`, `text` and `lang`, and the report.

    Raises:
        FileNotFoundError: The source is missing.
        InputError: A column is missing, no post is left, or a file cannot be read.
    """
    if max_characters < 1:
        raise InputError(f"max_characters is {max_characters}; it must be at least 1.")
    folder = Path(directory or process_folder())
    folder.mkdir(parents=True, exist_ok=True)
    with open_engine(memory_limit, threads, folder, engine) as opened, read_errors(source):
        table = read_table(
            source,
            ["post_id", "text"],
            ["lang"],
            connection=opened,
            columns=columns,
            table_format=table_format,
            with_position=True,
        )
        valid, counts = _drop_blank(table, source)
        kept = _keep_first(valid) if counts["duplicate_ids"] else valid
        # DuckDB keeps the order of a scan by itself.
        if counts["duplicate_ids"] or is_spark(engine_of(table, opened)):
            kept = kept.order_by("position")
        cut = _with_language(kept).mutate(
            text=kept.text.substr(0, max_characters), is_cut=kept.text.length() > max_characters
        )
        dataset, counts["cut_texts"] = _memory_map(cut, folder)
    report = PostsReport(**counts, num_posts=len(dataset))
    logger.info("Posts: %s", counts_sentence(asdict(report)))
    return Posts(dataset, report)


def _drop_blank(table: ir.Table, source: TableSource) -> tuple[ir.Table, dict[str, int]]:
    """Rows with an id and a text, and how many rows are not so or repeat an id."""
    has_id, has_text = ~is_blank(table.post_id), ~is_blank(table.text)
    valid = table.filter(has_id & has_text)
    rows = table.aggregate(
        rows=table.count(),
        null_ids=table.count(where=~has_id),
        blank_texts=table.count(where=has_id & ~has_text),
        distinct_ids=table.post_id.nunique(where=has_id & has_text),
    )
    counts = rows.to_pyarrow().to_pylist()[0]
    if not counts["rows"]:
        raise InputError(
            f"The posts ({describe(source)}) are empty: columns but no row. "
            "Needed is one row per post."
        )
    num_posts = counts.pop("distinct_ids")
    if not num_posts:
        raise InputError(
            f"No post is left of the {counts['rows']:,} rows of {describe(source)}: "
            f"{counts['null_ids']:,} have no id and {counts['blank_texts']:,} no text. "
            "Check what the columns hold."
        )
    counts["duplicate_ids"] = (
        counts["rows"] - counts["null_ids"] - counts["blank_texts"] - num_posts
    )
    return valid, counts


def _keep_first(table: ir.Table) -> ir.Table:
    first = table.group_by("post_id").agg(position=table.position.min())
    return table.semi_join(first, "position")


def _with_language(table: ir.Table) -> ir.Table:
    import ibis

    if "lang" not in table.columns:
        return table.mutate(lang=ibis.literal(UNKNOWN_LANGUAGE))
    return table.mutate(lang=is_blank(table.lang).ifelse(UNKNOWN_LANGUAGE, table.lang))


def _memory_map(table: ir.Table, folder: Path) -> tuple[Dataset, int]:
    """Writes the Arrow stream that `datasets` maps; also counts the cut texts."""
    from datasets import Dataset

    num_cut = 0

    def blocks() -> Iterator[pa.Table]:
        nonlocal num_cut
        for block in table_batches(table, _ROWS_PER_BATCH, folder):
            num_cut += pc.sum(block["is_cut"]).as_py() or 0
            yield block.select(_SCHEMA.names).cast(_SCHEMA)

    path = mapped_table(blocks(), _SCHEMA, folder / f"posts-{uuid.uuid4().hex}.arrow")
    return Dataset.from_file(str(path)), num_cut
