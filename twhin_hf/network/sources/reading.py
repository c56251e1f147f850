"""Reads the files of a network's log into the store of its events, block by block."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from twhin_hf.lines import Block, read_blocks, shorten
from twhin_hf.network.sources import bluesky, mastodon, x
from twhin_hf.network.sources.events import EventStore
from twhin_hf.network.sources.log_files import NO_JSON, Head, as_blocks, list_log_files, read_head
from twhin_hf.network.sources.log_format import LogFormat
from twhin_hf.network.sources.report import ImportReport

logger = logging.getLogger(__name__)

FORMATS = {log.name: log for log in (bluesky.FORMAT, mastodon.FORMAT, x.FORMAT)}
_LINES_BEFORE_REFUSAL = 100_000


class LogReader:
    """Reads files of one network into a store, and counts lines in the report.

    Args:
        log: The network's format.
        store: Where events go.
        connection: The store's engine.
        report: Gets `files`, `lines`, `bad_lines` and `blank_lines`.
        max_bad_lines: Largest share of a file's lines that may be no JSON.
    """

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
        """Reads files in their order.

        Raises:
            ValueError: A file is of another network, damaged or empty, or too many lines are no
                JSON.
        """
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
                    else read_blocks(path, replacement=NO_JSON)
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
            bad, num_blank = parse_lines(
                block.lines, self._structure, self._report.lines, self._connection
            )
            self._report.blank_lines += num_blank
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

    def _check_bad(self, path: Path, bad: int, lines: int, first: str) -> None:
        if bad > self._max_bad_lines * lines:
            raise ValueError(
                f"{path}: {bad:,} of {lines:,} lines are no JSON, more than the share of "
                f"{self._max_bad_lines:g} that is allowed; the first is {first}. Mend the file, or "
                "raise max_bad_lines (`--max_bad_lines`)."
            )


def parse_lines(
    lines: pa.ChunkedArray, structure: str, start: int, connection: Any
) -> tuple[pa.Array, int]:
    """Fills the table `parsed` with the fields of a network's structure.

    Args:
        lines: JSON objects.
        structure: As JSON, of `LogFormat.structure`.
        start: Lines of the log before these.
        connection: Of DuckDB.

    Returns:
        The rows of the lines that are no JSON, and how many lines are blank; neither is in
        `parsed`.
    """
    import duckdb

    rows = pa.array(np.arange(len(lines), dtype=np.int64))
    query = (
        "CREATE OR REPLACE TEMP TABLE parsed AS SELECT unnest(json), line FROM ("
        f"SELECT json_transform(text, '{structure}') AS json, {start} + row AS line FROM block)"
    )
    connection.register("block", pa.table({"text": lines, "row": rows}))
    bad, num_blank = rows[:0], 0
    try:
        connection.execute(query)
    except duckdb.InvalidInputException:
        found = connection.sql(
            "SELECT row, trim(text, E' \\t\\r\\n') = '' AS is_blank FROM block "
            "WHERE NOT json_valid(text) ORDER BY row"
        ).to_arrow_table()
        is_blank, unread = (found[name].combine_chunks() for name in ("is_blank", "row"))
        bad, num_blank = unread.filter(pc.invert(is_blank)), is_blank.true_count
        keep = pc.invert(pc.is_in(rows, value_set=unread))
        kept = pa.table({"text": lines.filter(keep), "row": rows.filter(keep)})
        connection.register("block", kept)
        connection.execute(query)
    connection.unregister("block")
    return bad, num_blank


def select_files(path: Path, log: LogFormat) -> list[Path]:
    """The file, or those of a folder that the network's log may be in.

    Raises:
        FileNotFoundError: Nothing is there.
        ValueError: The folder holds other files only.
    """
    files = list_log_files(path)
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
        else "For logs of other kinds there is `--source table --columns user_id=... post_id=...`."
    )
    raise ValueError(f"{path} is not {log.title}: the first entry has {keys}. {advice}")


def _progress(show: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[lines]:,} lines"),
        TimeRemainingColumn(),
        disable=not show,
    )
