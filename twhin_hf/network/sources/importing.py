"""Imports a network's log: an engagement log and posts in the contracts of the other stages."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twhin_hf.engines import (
    EngineConfig,
    open_engine,
    read_rows,
    scan_parquet,
    write_rows,
)
from twhin_hf.errors import InputError
from twhin_hf.files import new_file, write_json
from twhin_hf.network.sources.events import EventStore
from twhin_hf.network.sources.languages import LanguageDetector
from twhin_hf.network.sources.log_files import list_log_files
from twhin_hf.network.sources.log_format import LogFormat
from twhin_hf.network.sources.reading import FORMATS, LogReader
from twhin_hf.network.sources.recommender import RECOMMENDER_SETS, read_recommender_set
from twhin_hf.network.sources.report import WITHOUT_TEXT, ImportReport, warnings
from twhin_hf.network.sources.table import TableLog, read_columns
from twhin_hf.network.sources.text import (
    clean_languages,
    decode_entities,
    html_to_text,
    split_languages,
)
from twhin_hf.scratch import scratch_folder
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import has_text, read_errors

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir

logger = logging.getLogger(__name__)

SOURCES = (*FORMATS, "table", *RECOMMENDER_SETS)
_ROWS_PER_BATCH = 50_000
_POSTS = pa.schema(
    {
        "post_id": pa.string(),
        "text": pa.string(),
        "lang": pa.string(),
        "langs": pa.list_(pa.string()),
    }
)


def import_log(
    source: str,
    path: str | Path,
    output: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    user_id: str | None = None,
    content_warnings: bool = False,
    detect_language: LanguageDetector | None = None,
    max_bad_lines: float = 0.01,
    memory_limit: str = "1GB",
    threads: int | None = None,
    temp_directory: str | Path | None = None,
    engine: EngineConfig | None = None,
    progress: bool = True,
) -> ImportReport:
    """Reads a log and writes `engagements.parquet`, `posts.parquet` and `import.json`.

    Posts have columns `post_id`, `text`, `lang` and `langs`: the first and all languages that the
    log names. `posts_without_text.txt` lists the ids of posts that engagements name and whose text
    the log does not hold, those with the most engagements first.

    Files are read in blocks, so memory does not grow with the log; with Spark too, whose executors
    write sorted parts, which this process puts together. User ids stay as they are: keep
    the result to yourself, or hash them before it goes anywhere.

    Args:
        source: `bluesky`, `mastodon`, `x` or `table`; or a recommender set: `movielens`, `recbole`,
            `lightgcn`, `recsys2020` or `mind`.
        path: A file, or a folder with its subfolders, in the order of their names.
        output: Folder to write; files of an earlier import are replaced.
        columns: For `table`, what the source calls `user_id`, `post_id`, `relation`, `timestamp`,
            `text` and `lang`, where it is not these names.
        table_format: For `table`, how text tables are written.
        user_id: Whose archive it is, where the archive does not say; on Mastodon also the account
            that asked the API, whose favourites and bookmarks are marked in the statuses.
        content_warnings: On Mastodon, a status's content warning comes before its text.
        detect_language: For posts without a language; see `languages`.
        max_bad_lines: Largest share of a file's lines that may be no JSON.
        memory_limit: Most memory of the engine.
        threads: Threads of the engine; all cores where it is None.
        temp_directory: Where parts and spills are kept meanwhile; the output where it is None.
        engine: What reads a `table`; DuckDB where it is None, and for the other sources.
        progress: Shows a progress bar.

    Raises:
        FileNotFoundError: The log is missing.
        InputError: The log is of another network, damaged, or empty; too many lines are no JSON; a
            column is missing.
    """
    engine = engine or EngineConfig()
    _check_arguments(
        source, columns, table_format, user_id, content_warnings, max_bad_lines, engine
    )
    path, folder = Path(path), Path(output)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. Check the path of the file or folder.")
    folder.mkdir(parents=True, exist_ok=True)
    report = ImportReport(source)
    with (
        scratch_folder(temp_directory or folder) as scratch,
        open_engine(memory_limit, threads, scratch, engine) as opened,
        read_errors(path),
        ExitStack() as files,
    ):
        # The stack finishes the file that it opened first last.
        written = files.enter_context(new_file(folder / "import.json"))
        without_text = files.enter_context(new_file(folder / WITHOUT_TEXT))
        engagements = files.enter_context(new_file(folder / "engagements.parquet"))
        posts = files.enter_context(new_file(folder / "posts.parquet"))
        if source in FORMATS:
            log = FORMATS[source]
            connection = getattr(opened, "con")  # noqa: B009 - DuckDB's own, Ibis does not type it
            store = EventStore(connection, scratch)
            store.set_variables(owner=user_id, content_warnings=content_warnings)
            reader = LogReader(log, store, connection, report, max_bad_lines)
            reader.read(path, user_id, progress)
            if not report.lines:
                # Such as the lists of an archive whose owner liked and wrote nothing.
                raise InputError(_explain_nothing(path, report), faq="import-nothing")
            report.skipped, report.removals = store.skipped(), store.messages()
            store.resolve()
            counts = store.write_engagements(engagements)
            report.relations = {
                name.removeprefix("relation:"): counts.pop(name)
                for name in list(counts)
                if name.startswith("relation:")
            }
            for name, count in counts.items():
                setattr(report, name, count)
            report.posts_read = store.num_posts()
            _write_posts(store.read_posts(), posts, log, detect_language, report)
            engaged, with_text = (scan_parquet([file], opened) for file in (engagements, posts))
        else:
            rows = _read_rows(source, path, columns, table_format, opened, report)
            rows.count(report)
            engaged = rows.write_engagements(engagements, report)
            parts = rows.write_posts(report)
            tables = read_rows(parts, _ROWS_PER_BATCH)
            batches = (batch for table in tables for batch in table.to_batches())
            _write_posts(batches, posts, None, detect_language, report)
            with_text = rows.posts_with_text(parts)
        if not (report.num_engagements or report.num_posts or report.removals):
            raise InputError(_explain_nothing(path, report), faq="import-nothing")
        report.engagements_without_text, report.posts_without_text = _write_without_text(
            engaged, with_text, without_text, opened, scratch
        )
        write_json(written, asdict(report))
    texts_from = FORMATS[source].texts_from if source in FORMATS else ""
    for line in warnings(report, folder, texts_from):
        logger.warning("%s", line)
    logger.debug("Import: %s", asdict(report))
    return report


def _read_rows(
    source: str,
    path: Path,
    columns: Mapping[str, str] | None,
    table_format: TableFormat | None,
    engine: ibis.BaseBackend,
    report: ImportReport,
) -> TableLog:
    """The rows of a table, or of a recommender set."""
    if source == "table":
        rows = read_columns(path, columns or {}, table_format, engine)
        report.files = 1 if path.is_file() else len(list_log_files(path))
        return TableLog(rows, rows if "text" in rows.columns else None, engine)
    found = read_recommender_set(source, path, engine)
    report.files = found.files
    return TableLog(found.engagements, found.items, engine)


def _write_without_text(
    engagements: ir.Table,
    posts: ir.Table,
    path: Path,
    engine: ibis.BaseBackend,
    scratch: Path,
) -> tuple[int, int]:
    """Writes the ids of posts that have engagements and no text, one a line.

    Returns:
        The engagements with such posts, and these posts.
    """
    import ibis

    missing = engagements.anti_join(posts, "post_id").group_by("post_id")
    counted = missing.agg(engagements=lambda table: table.count())
    ordered = counted.order_by(ibis.desc("engagements"), "post_id")
    num_engagements = num_posts = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        for batch in read_rows(
            write_rows(ordered, scratch / "without_text.parquet", engine), _ROWS_PER_BATCH
        ):
            file.writelines(f"{post_id}\n" for post_id in batch["post_id"].to_pylist())
            num_engagements += pc.sum(batch["engagements"]).as_py() or 0
            num_posts += len(batch)
    return num_engagements, num_posts


def _write_posts(
    batches: Iterator[pa.RecordBatch],
    path: Path,
    log: LogFormat | None,
    detect_language: LanguageDetector | None,
    report: ImportReport,
) -> None:
    """Cleans texts and languages, and counts."""
    num_distinct = 0
    with pq.ParquetWriter(path, _POSTS, compression="zstd") as writer:
        for batch in batches:
            num_distinct += len(batch)
            standing = batch.filter(pc.invert(batch["is_gone"]))
            report.deleted_texts += len(batch) - len(standing)
            texts = standing["text"]
            if log is not None and log.has_html:
                texts = html_to_text(texts)
            if log is not None and log.has_entities:
                texts = decode_entities(texts)
            keep = has_text(texts)
            report.blank_texts += len(texts) - keep.true_count
            texts, ids = texts.filter(keep), standing["post_id"].filter(keep)
            all_languages = split_languages(standing["langs"].filter(keep))
            languages = pc.list_element(all_languages, 0)
            if detect_language is not None and languages.null_count:
                num_known = len(languages) - languages.null_count
                languages = _fill_languages(texts, languages, detect_language)
                report.detected_languages += len(languages) - languages.null_count - num_known
            report.unknown_languages += languages.null_count
            report.num_posts += len(ids)
            columns = [ids, texts, languages, all_languages]
            writer.write_batch(pa.record_batch(columns, schema=_POSTS))
    report.post_repeats = report.posts_read - num_distinct


def _fill_languages(texts: pa.Array, languages: pa.Array, detect: LanguageDetector) -> pa.Array:
    missing = pc.is_null(languages)
    found = detect(texts.filter(missing).to_pylist())
    codes = clean_languages(pa.array(found, pa.string()))
    return pc.replace_with_mask(languages, missing, codes)


def _check_arguments(
    source: str,
    columns: Mapping[str, str] | None,
    table_format: TableFormat | None,
    user_id: str | None,
    content_warnings: bool,
    max_bad_lines: float,
    engine: EngineConfig,
) -> None:
    if source not in SOURCES:
        raise InputError(f"There is no source {source!r}; known are {', '.join(SOURCES)}.")
    if columns and source != "table":
        raise InputError(
            f"columns (`--columns`) go with the source table only; {source} has columns of its own."
        )
    if table_format not in (None, TableFormat()) and source != "table":
        raise InputError(
            "separator, quoting, header and encoding go with the source table only; leave them out."
        )
    log = FORMATS.get(source)
    if user_id is not None and not (log and log.has_owner):
        owned = " or ".join(name for name, log in FORMATS.items() if log.has_owner)
        raise InputError(f"user_id (`--user_id`) says whose archive is read: of {owned} only.")
    if content_warnings and not (log and log.has_content_warnings):
        warned = " or ".join(name for name, log in FORMATS.items() if log.has_content_warnings)
        raise InputError(f"content_warnings (`--content_warnings`) are of {warned} only.")
    if engine.engine != "duckdb" and source != "table":
        raise InputError(
            f"The engine {engine.engine} (`--engine`) reads the source table only; leave it out."
        )
    if not 0 <= max_bad_lines <= 1:
        raise InputError(f"max_bad_lines is {max_bad_lines}; it must be between 0 and 1.")


def _explain_nothing(path: Path, report: ImportReport) -> str:
    skipped = "; ".join(f"{count:,} {reason}" for reason, count in report.skipped.items())
    return (
        f"{path} holds no post and no engagement that stands: {report.lines:,} lines, "
        f"{report.engagements_read:,} engagements and {report.posts_read:,} texts read, of which "
        f"none is left. Skipped were {skipped or 'none'}."
    )
