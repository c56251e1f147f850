"""Imports a network's log: an engagement log and posts in the contracts of the other stages."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twhin_hf.errors import InputError
from twhin_hf.files import new_file, write_json
from twhin_hf.network.sources import table
from twhin_hf.network.sources.events import EventStore
from twhin_hf.network.sources.languages import LanguageDetector
from twhin_hf.network.sources.log_files import list_log_files
from twhin_hf.network.sources.log_format import LogFormat
from twhin_hf.network.sources.reading import FORMATS, LogReader
from twhin_hf.network.sources.recommender import RECOMMENDER_SETS, read_recommender_set
from twhin_hf.network.sources.report import WITHOUT_TEXT, ImportReport, warnings
from twhin_hf.network.sources.text import (
    clean_languages,
    decode_entities,
    html_to_text,
    split_languages,
)
from twhin_hf.scratch import scratch_folder
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import has_text, open_engine, read_errors

logger = logging.getLogger(__name__)

SOURCES = (*FORMATS, "table", *RECOMMENDER_SETS)
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
    progress: bool = True,
) -> ImportReport:
    """Reads a log and writes `engagements.parquet`, `posts.parquet` and `import.json`.

    Posts have columns `post_id`, `text`, `lang` and `langs`: the first and all languages that the
    log names. `posts_without_text.txt` lists the ids of posts that engagements name and whose text
    the log does not hold, those with the most engagements first.

    Files are read in blocks, so memory does not grow with the log. User ids stay as they are: keep
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
        progress: Shows a progress bar.

    Raises:
        FileNotFoundError: The log is missing.
        InputError: The log is of another network, damaged, or empty; too many lines are no JSON; a
            column is missing.
    """
    _check_arguments(source, columns, table_format, user_id, content_warnings, max_bad_lines)
    path, folder = Path(path), Path(output)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. Check the path of the file or folder.")
    folder.mkdir(parents=True, exist_ok=True)
    report = ImportReport(source)
    with (
        scratch_folder(temp_directory or folder) as scratch,
        open_engine(memory_limit, threads, scratch) as engine,
        read_errors(path),
        ExitStack() as files,
    ):
        connection = getattr(engine, "con")  # noqa: B009 - DuckDB's own, which Ibis does not type
        store = EventStore(connection, scratch)
        if source == "table":
            rows = table.read_columns(path, columns or {}, table_format, engine)
            report.files = 1 if path.is_file() else len(list_log_files(path))
            _count_rows(report, table.append(rows, store, engine))
            log = None
        elif source in RECOMMENDER_SETS:
            found = read_recommender_set(source, path, engine)
            report.files = found.files
            names = ("relation", "timestamp")
            query = f"({found.engagements})"
            _count_rows(report, table.append_engagements(query, names, store, connection))
            table.append_posts(found.items or table.NO_POSTS, store)
            log = None
        else:
            log = FORMATS[source]
            store.set_variables(owner=user_id, content_warnings=content_warnings)
            reader = LogReader(log, store, connection, report, max_bad_lines)
            reader.read(path, user_id, progress)
            report.skipped, report.removals = store.skipped(), store.messages()
        store.resolve()
        # The stack finishes the file that it opened first last.
        written = files.enter_context(new_file(folder / "import.json"))
        without_text = files.enter_context(new_file(folder / WITHOUT_TEXT))
        engagements = files.enter_context(new_file(folder / "engagements.parquet"))
        counts = store.write_engagements(engagements)
        report.relations = {
            name.removeprefix("relation:"): counts.pop(name)
            for name in list(counts)
            if name.startswith("relation:")
        }
        for name, count in counts.items():
            setattr(report, name, count)
        report.posts_read = store.num_posts()
        posts = files.enter_context(new_file(folder / "posts.parquet"))
        _write_posts(store.read_posts(), posts, log, detect_language, report)
        if not (report.num_engagements or report.num_posts or report.removals):
            raise InputError(_explain_nothing(path, report), faq="import-nothing")
        report.engagements_without_text, report.posts_without_text = store.write_without_text(
            engagements, posts, without_text
        )
        write_json(written, asdict(report))
    for line in warnings(report, folder):
        logger.warning("%s", line)
    logger.debug("Import: %s", asdict(report))
    return report


def _count_rows(report: ImportReport, rows: table.Rows) -> None:
    report.lines, report.skipped, report.unread_times, report.unread_time = rows


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
    if user_id is not None and source not in ("mastodon", "x"):
        raise InputError("user_id (`--user_id`) says whose archive is read: of mastodon or x only.")
    if content_warnings and source != "mastodon":
        raise InputError("content_warnings (`--content_warnings`) are of mastodon only.")
    if not 0 <= max_bad_lines <= 1:
        raise InputError(f"max_bad_lines is {max_bad_lines}; it must be between 0 and 1.")


def _explain_nothing(path: Path, report: ImportReport) -> str:
    skipped = "; ".join(f"{count:,} {reason}" for reason, count in report.skipped.items())
    return (
        f"{path} holds no post and no engagement that stands: {report.lines:,} lines, "
        f"{report.engagements_read:,} engagements and {report.posts_read:,} texts read, of which "
        f"none is left. Skipped were {skipped or 'none'}."
    )
