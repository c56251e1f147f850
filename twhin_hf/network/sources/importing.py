"""Imports a network's log: an engagement log and posts in the contracts of the other stages."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from twhin_hf.tables import has_text, open_engine, read_errors

from . import bluesky, mastodon, table, x
from .events import EventStore
from .languages import LanguageDetector
from .lines import Block, Head, as_blocks, list_files, read_blocks, read_head, shorten
from .log_format import LogFormat
from .text import clean_languages, decode_entities, html_to_text

logger = logging.getLogger(__name__)

FORMATS = {log.name: log for log in (bluesky.FORMAT, mastodon.FORMAT, x.FORMAT)}
SOURCES = (*FORMATS, "table")
_POSTS = pa.schema({"post_id": pa.string(), "text": pa.string(), "lang": pa.string()})
_LINES_BEFORE_REFUSAL = 100_000


@dataclass
class ImportReport:
    """What was read, what was left out and why, and what was written.

    `engagements_read = undone + deleted_posts + inactive_accounts + unknown_posts + repeats +
    num_engagements` and `posts_read = post_repeats + deleted_texts + blank_texts + num_posts`.

    Attributes:
        source: The network, or `table`.
        files: Files read.
        lines: Lines, or rows, or items of documents.
        bad_lines: Lines that are no JSON.
        blank_lines: Lines of white space.
        skipped: Events that bring no post and no engagement, by reason.
        engagements_read: Engagements that the log tells of.
        undone: Those that their user took back, or replaced.
        deleted_posts: Those with a post that was deleted.
        inactive_accounts: Those by or with the post of an account that is deleted or not active.
        unknown_posts: Those with a post that is named only by a number that the log does not know.
        repeats: Those that repeat a user, post and relation.
        num_engagements: Engagements written.
        relations: The same by relation.
        posts_read: Texts that the log tells of.
        post_repeats: Texts of a post that comes again.
        deleted_texts: Posts that were deleted, or whose account is not active.
        blank_texts: Posts without text, such as a picture alone.
        num_posts: Posts written.
        detected_languages: Posts whose language was identified here.
        unknown_languages: Posts without a language.
    """

    source: str
    files: int = 0
    lines: int = 0
    bad_lines: int = 0
    blank_lines: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    engagements_read: int = 0
    undone: int = 0
    deleted_posts: int = 0
    inactive_accounts: int = 0
    unknown_posts: int = 0
    repeats: int = 0
    num_engagements: int = 0
    relations: dict[str, int] = field(default_factory=dict)
    posts_read: int = 0
    post_repeats: int = 0
    deleted_texts: int = 0
    blank_texts: int = 0
    num_posts: int = 0
    detected_languages: int = 0
    unknown_languages: int = 0


def import_log(
    source: str,
    path: str | Path,
    output: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    user_id: str | None = None,
    detect_language: LanguageDetector | None = None,
    max_bad_lines: float = 0.01,
    memory_limit: str = "1GB",
    threads: int | None = None,
    temp_directory: str | Path | None = None,
    progress: bool = True,
) -> ImportReport:
    """Reads a log and writes `engagements.parquet`, `posts.parquet` and `import.json`.

    Files are read in blocks, so memory does not grow with the log. User ids stay as they are: keep
    the result to yourself, or hash them before it goes anywhere.

    Args:
        source: `bluesky`, `mastodon`, `x` or `table`.
        path: A file, or a folder with its subfolders, in the order of their names.
        output: Folder to write; files of an earlier import are replaced.
        columns: For `table`, what the source calls `user_id`, `post_id`, `relation`, `timestamp`,
            `text` and `lang`, where it is not these names.
        user_id: For an account's archive, whose it is, where the archive does not say.
        detect_language: For posts without a language; see `languages`.
        max_bad_lines: Largest share of a file's lines that may be no JSON.
        memory_limit: Most memory of the engine.
        threads: Threads of the engine; all cores where it is None.
        temp_directory: Where parts and spills are kept meanwhile; the output where it is None.
        progress: Shows a progress bar.

    Raises:
        FileNotFoundError: The log is missing.
        ValueError: The log is of another network, damaged, or empty; too many lines are no JSON; a
            column is missing.
    """
    _check_arguments(source, columns, user_id, max_bad_lines)
    path, folder = Path(path), Path(output)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. Check the path of the file or folder.")
    folder.mkdir(parents=True, exist_ok=True)
    report = ImportReport(source)
    with (
        tempfile.TemporaryDirectory(prefix="twhin_hf-", dir=temp_directory or folder) as scratch,
        open_engine(memory_limit, threads, scratch) as engine,
        read_errors(path),
    ):
        connection = getattr(engine, "con")  # noqa: B009 - DuckDB's own, which Ibis does not type
        store = EventStore(connection, Path(scratch))
        if source == "table":
            rows = table.read_columns(path, columns or {}, engine)
            report.files = 1 if path.is_file() else len(list_files(path))
            report.lines, report.skipped = table.append(rows, store, engine)
            log = None
        else:
            log = FORMATS[source]
            reader = _Reader(log, store, connection, report, max_bad_lines)
            reader.read(_select_files(path, log), user_id, progress)
            report.skipped = store.skipped()
        store.resolve()
        engagements, posts = Path(scratch) / "engagements", Path(scratch) / "posts"
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
        if not (report.num_engagements or report.num_posts):
            raise ValueError(_explain_nothing(path, report))
        os.replace(engagements, folder / "engagements.parquet")
        os.replace(posts, folder / "posts.parquet")
    text = json.dumps(asdict(report), indent=2, ensure_ascii=False)
    (folder / "import.json").write_text(text + "\n", encoding="utf-8")
    logger.info("Import: %s", asdict(report))
    return report


class _Reader:
    """Reads files of one network into the store."""

    def __init__(
        self,
        log: LogFormat,
        store: EventStore,
        connection: Any,
        report: ImportReport,
        max_bad_lines: float,
    ):
        self._log, self._store, self._connection = log, store, connection
        self._report, self._max_bad_lines = report, max_bad_lines
        self._structure = json.dumps(log.structure)

    def read(self, files: list[Path], user_id: str | None, progress: bool) -> None:
        sizes = [file.stat().st_size for file in files]
        with _progress(progress) as bar:
            task = bar.add_task("Reading", total=sum(sizes), lines=0)
            for i, path in enumerate(files):
                head = read_head(path, self._log.collections)
                _check_network(path, head, self._log)
                is_document = head.document is not None
                blocks = (
                    as_blocks(self._unwrap(head.document, path, user_id), sizes[i])
                    if is_document
                    else read_blocks(path)
                )
                for position in self._read_file(path, blocks):
                    done = sum(sizes[:i]) + position
                    bar.update(task, completed=done, lines=self._report.lines)
                self._report.files += 1

    def _unwrap(
        self, document: Any, path: Path, user_id: str | None
    ) -> Iterator[Mapping[str, Any]]:
        if self._log.unwrap is not None:
            return self._log.unwrap(document, path, user_id)
        return iter(document if isinstance(document, list) else [document])

    def _read_file(self, path: Path, blocks: Iterator[Block]) -> Iterator[int]:
        """Yields the position after each block."""
        num_lines, num_bad, first_bad = 0, 0, ""
        for block in blocks:
            bad = self._parse(block.lines)
            if len(bad) and not num_bad:
                line = bad[0].as_py()
                first_bad = f"line {num_lines + line + 1:,}: {shorten(block.lines[line].as_py())}"
            num_bad += len(bad)
            num_lines += len(block.lines)
            self._report.lines += len(block.lines)
            self._report.bad_lines += len(bad)
            if num_lines >= _LINES_BEFORE_REFUSAL:
                self._check_bad(path, num_bad, num_lines, first_bad)
            self._store.append(self._log)
            yield block.position
        self._check_bad(path, num_bad, num_lines, first_bad)
        if num_bad:
            logger.warning("%s: %d lines are no JSON; the first is %s", path, num_bad, first_bad)

    def _parse(self, lines: pa.Array) -> pa.Array:
        """Fills the table `parsed`; returns the rows of the lines that are no JSON."""
        import duckdb

        start = self._report.lines
        rows = pa.array(np.arange(len(lines), dtype=np.int64))
        query = (
            "CREATE OR REPLACE TEMP TABLE parsed AS SELECT unnest(json), line FROM ("
            f"SELECT json_transform(text, '{self._structure}') AS json, {start} + row AS line "
            "FROM block)"
        )
        self._connection.register("block", pa.table({"text": lines, "row": rows}))
        bad = rows[:0]
        try:
            self._connection.execute(query)
        except duckdb.InvalidInputException:
            found = self._connection.sql(
                "SELECT row, trim(text, E' \\t\\r\\n') = '' AS is_blank FROM block "
                "WHERE NOT json_valid(text) ORDER BY row"
            ).to_arrow_table()
            is_blank = found["is_blank"].combine_chunks()
            self._report.blank_lines += is_blank.true_count
            unread = found["row"].combine_chunks()
            bad = unread.filter(pc.invert(is_blank))
            keep = pc.invert(pc.is_in(rows, value_set=unread))
            kept = pa.table({"text": lines.filter(keep), "row": rows.filter(keep)})
            self._connection.register("block", kept)
            self._connection.execute(query)
        self._connection.unregister("block")
        return bad

    def _check_bad(self, path: Path, bad: int, lines: int, first: str) -> None:
        if bad > self._max_bad_lines * lines:
            raise ValueError(
                f"{path}: {bad:,} of {lines:,} lines are no JSON, more than the share of "
                f"{self._max_bad_lines:g} that is allowed; the first is {first}. Mend the file, or "
                "raise max_bad_lines (`--max-bad-lines`)."
            )


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
            languages = clean_languages(standing["lang"].filter(keep))
            if detect_language is not None and languages.null_count:
                num_known = len(languages) - languages.null_count
                languages = _fill_languages(texts, languages, detect_language)
                report.detected_languages += len(languages) - languages.null_count - num_known
            report.unknown_languages += languages.null_count
            report.num_posts += len(ids)
            writer.write_batch(pa.record_batch([ids, texts, languages], schema=_POSTS))
    report.post_repeats = report.posts_read - num_distinct


def _fill_languages(texts: pa.Array, languages: pa.Array, detect: LanguageDetector) -> pa.Array:
    missing = pc.is_null(languages)
    found = detect(texts.filter(missing).to_pylist())
    codes = clean_languages(pa.array(found, pa.string()))
    return pc.replace_with_mask(languages, missing, codes)


def _select_files(path: Path, log: LogFormat) -> list[Path]:
    files = list_files(path)
    if path.is_file():
        return files
    chosen = [file for file in files if log.reads_file(file.name)]
    if not chosen:
        found = ", ".join(file.name for file in files[:10])
        raise ValueError(f"{path} holds no file of {log.title}. Found are {found}.")
    return chosen


def _check_network(path: Path, head: Head, log: LogFormat) -> None:
    if any(log.matches(item) for item in head.objects) or head.document == []:
        return
    keys = ", ".join(map(str, list(head.objects[0])[:12])) if head.objects else "no object"
    others = [
        other for other in FORMATS.values() if any(other.matches(item) for item in head.objects)
    ]
    advice = (
        f"It looks like {others[0].title}: `--source {others[0].name}`."
        if others
        else "For logs of other kinds there is `--source table --map user_id=... "
        "--map post_id=...`."
    )
    raise ValueError(f"{path} is not {log.title}: the first entry has {keys}. {advice}")


def _check_arguments(
    source: str, columns: Mapping[str, str] | None, user_id: str | None, max_bad_lines: float
) -> None:
    if source not in SOURCES:
        raise ValueError(f"There is no source {source!r}; known are {', '.join(SOURCES)}.")
    if columns and source != "table":
        raise ValueError(
            f"columns (`--map`) go with the source table only; {source} has columns of its own."
        )
    if user_id is not None and source not in ("mastodon", "x"):
        raise ValueError("user_id (`--user-id`) says whose archive is read: of mastodon or x only.")
    if not 0 <= max_bad_lines <= 1:
        raise ValueError(f"max_bad_lines is {max_bad_lines}; it must be between 0 and 1.")


def _explain_nothing(path: Path, report: ImportReport) -> str:
    skipped = "; ".join(f"{count:,} {reason}" for reason, count in report.skipped.items())
    return (
        f"{path} holds no post and no engagement that stands: {report.lines:,} lines, "
        f"{report.engagements_read:,} engagements and {report.posts_read:,} texts read, of which "
        f"none is left. Skipped were {skipped or 'none'}."
    )


def _progress(show: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[lines]:,} lines"),
        TimeRemainingColumn(),
        disable=not show,
    )
