"""Reads the files of a network's log into the store of its events, block by block."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from twhin_hf.engines import json_errors
from twhin_hf.errors import InputError
from twhin_hf.lines import Block, read_blocks, shorten
from twhin_hf.network.sources import bluesky, mastodon, x
from twhin_hf.network.sources.events import EventStore
from twhin_hf.network.sources.log_files import (
    NO_JSON,
    Head,
    NoLogError,
    as_blocks,
    list_log_files,
    read_head,
    server_events,
)
from twhin_hf.network.sources.log_format import LogFormat, Origin
from twhin_hf.network.sources.report import ImportReport
from twhin_hf.network.sources.unwrapping import dump, find_events, parse, unwrap_document

logger = logging.getLogger(__name__)

FORMATS = {log.name: log for log in (bluesky.FORMAT, mastodon.FORMAT, x.FORMAT)}
_LINES_BEFORE_REFUSAL = 100_000
_OTHER_LOGS = "For logs of other kinds there is `--source table --columns user_id=... post_id=...`."


class LogReader:
    """Reads files of one network into a store, and counts lines in the report.

    Args:
        log: The network's format.
        store: Where events go.
        connection: The store's engine.
        report: Gets `files`, `passed_over`, `lines`, `bad_lines` and `blank_lines`.
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

    def read(self, path: Path, user_id: str | None, progress: bool) -> None:
        """Reads a file, or those of a folder in their order; there what is no log is passed over.

        Raises:
            FileNotFoundError: Nothing is there.
            InputError: A file is of another network, damaged or empty, too many lines are no JSON,
                or a folder holds no log of this network.
        """
        files = list_log_files(path)
        sizes = [file.stat().st_size for file in files]
        refused: NoLogError | None = None
        with _progress(progress) as bar:
            task = bar.add_task("Reading", total=sum(sizes), lines=0)
            for i, file in enumerate(files):
                if path.is_dir() and not self._log.reads_file(file.name):
                    self._pass_over(file, path)
                    continue
                try:
                    head = read_head(file)
                    _check_network(file, head, self._log)
                except NoLogError as error:
                    if path.is_file():
                        raise
                    refused = refused or error
                    self._pass_over(file, path)
                    continue
                for position in self._read_file(Origin(file, user_id), head, sizes[i]):
                    done = sum(sizes[:i]) + position
                    bar.update(task, completed=done, lines=self._report.lines)
                self._report.files += 1
        if not self._report.files:
            names = ", ".join(file.name for file in files[:10])
            found = f"The first of {len(files):,}: {refused}" if refused else f"Found are {names}."
            raise InputError(
                f"{path} holds no file of {self._log.title}. {found}", faq="import-nothing"
            ) from refused

    def _pass_over(self, file: Path, folder: Path) -> None:
        if file.name != self._log.owner_file:
            self._report.num_passed_over += 1
            self._report.passed_over.append(str(file.relative_to(folder)))

    def _blocks(self, origin: Origin, head: Head, size: int) -> Iterator[Block]:
        if head.document is not None:
            return as_blocks(unwrap_document(head.document, self._log, origin), size)
        blocks = read_blocks(origin.path, replacement=NO_JSON)
        return server_events(blocks) if head.is_event_stream else blocks

    def _read_file(self, origin: Origin, head: Head, size: int) -> Iterator[int]:
        """Yields the position after each block."""
        num_lines, num_bad, first_bad = 0, 0, ""
        blocks = self._blocks(origin, head, size)
        block = next(blocks, None)
        while block is not None:
            following = next(blocks, None)
            seen = num_lines + len(block.lines)
            is_judged = following is None or seen >= _LINES_BEFORE_REFUSAL
            bad, num_blank = parse_lines(
                block.lines,
                self._log,
                origin,
                self._report.lines,
                self._connection,
                most_bad=self._max_bad_lines * seen - num_bad if is_judged else math.inf,
            )
            self._report.blank_lines += num_blank
            if len(bad) and not num_bad:
                line = bad[0].as_py()
                first_bad = f"line {num_lines + line + 1:,}: {shorten(block.lines[line].as_py())}"
            num_bad += len(bad)
            num_lines = seen
            self._report.lines += len(block.lines)
            self._report.bad_lines += len(bad)
            if is_judged:
                self._check_bad(origin.path, num_bad, num_lines, first_bad)
            position, block = block.position, following
            self._store.append(self._log)
            yield position
        if num_bad:
            logger.warning(
                "%s: %d lines are no JSON; the first is %s", origin.path, num_bad, first_bad
            )

    def _check_bad(self, path: Path, bad: int, lines: int, first: str) -> None:
        if bad > self._max_bad_lines * lines:
            raise InputError(
                f"{path}: {bad:,} of {lines:,} lines are no JSON, more than the share of "
                f"{self._max_bad_lines:g} that is allowed; the first is {first}. Mend the file, or "
                "raise max_bad_lines (`--max_bad_lines`).",
                faq="import-nothing",
            )


def parse_lines(
    lines: pa.ChunkedArray,
    log: LogFormat,
    origin: Origin,
    start: int,
    connection: Any,
    most_bad: float = math.inf,
) -> tuple[pa.Array, int]:
    """Fills the table `parsed` with the fields of a network's structure.

    Args:
        lines: JSON: events of the network, or values that hold some.
        log: The network.
        origin: Where the lines are from.
        start: Lines of the log before these.
        connection: Of DuckDB.
        most_bad: Of the lines that are no JSON; of more, nothing is read.

    Returns:
        The rows of the lines that are no JSON, and how many lines are blank; neither is in
        `parsed`.
    """
    rows = pa.array(np.arange(len(lines), dtype=np.int64))
    query = "CREATE OR REPLACE TEMP TABLE parsed AS " + _parsed(log, f"{start} + row")
    bad, num_blank = rows[:0], 0
    connection.register("block", pa.table({"text": lines, "row": rows}))
    try:
        connection.execute(query)
    except json_errors():
        lines = _mend(lines, connection)
        connection.register("block", pa.table({"text": lines, "row": rows}))
        found = connection.sql(
            "SELECT row, trim(text, E' \\t\\r\\n') = '' AS is_blank FROM block "
            "WHERE NOT json_valid(text) ORDER BY row"
        ).to_arrow_table()
        is_blank, unread = (found[name].combine_chunks() for name in ("is_blank", "row"))
        bad, num_blank = unread.filter(pc.invert(is_blank)), is_blank.true_count
        if len(bad) > most_bad:
            return bad, num_blank
        keep = pc.invert(pc.is_in(rows, value_set=unread))
        kept = pa.table({"text": lines.filter(keep), "row": rows.filter(keep)})
        connection.register("block", kept)
        connection.execute(query)
    _look_inside(lines, log, origin, start, connection)
    connection.unregister("block")
    return bad, num_blank


def _mend(lines: pa.ChunkedArray, connection: Any) -> pa.ChunkedArray:
    """Lines with those replaced that Python can read and the engine cannot."""
    found = connection.sql("SELECT row, text FROM block WHERE NOT json_valid(text)").fetchall()
    mended = {row: dump(value) for row, text in found if (value := parse(text)) is not None}
    if not mended:
        return lines
    is_mended = pc.is_in(pa.array(range(len(lines))), pa.array(list(mended)))
    texts = pa.array([mended[row] for row in sorted(mended)], pa.string())
    return pa.chunked_array([pc.replace_with_mask(lines.combine_chunks(), is_mended, texts)])


def _look_inside(
    lines: pa.ChunkedArray, log: LogFormat, origin: Origin, start: int, connection: Any
) -> None:
    """Puts the events that are inside of lines in their place."""
    wrapped = connection.sql(
        f"SELECT line FROM parsed WHERE ({log.is_event}) IS NOT true ORDER BY line"
    ).fetchall()
    texts, numbers = [], []
    for (line,) in wrapped:
        for event in find_events(parse(lines[line - start].as_py()), log, origin):
            texts.append(dump(event))
            numbers.append(line)
    if not texts:
        return
    events = pa.table({"text": pa.array(texts, pa.string()), "row": pa.array(numbers, pa.int64())})
    connection.register("block", events)
    connection.execute("DELETE FROM parsed WHERE line IN (SELECT row FROM block)")
    connection.execute(f"INSERT INTO parsed {_parsed(log, 'row')}")


def _parsed(log: LogFormat, line: str) -> str:
    structure = json.dumps(log.structure)
    return (
        "SELECT unnest(json), line FROM ("
        f"SELECT json_transform(text, '{structure}') AS json, {line} AS line FROM block)"
    )


def _check_network(path: Path, head: Head, log: LogFormat) -> None:
    """Raises where the beginning of a file holds nothing of the network."""
    if head.document == [] or _holds_events(head, log, path):
        return
    first = next(iter(head.objects), None)
    keys = ", ".join(map(str, list(first)[:12])) if isinstance(first, dict) else "no object"
    others = [
        other for other in FORMATS.values() if other != log and _holds_events(head, other, path)
    ]
    if others:
        advice = f"It looks like {others[0].title}: `--source {others[0].name}`."
    else:
        advice = (
            "For logs of other kinds there is `--source table --columns user_id=... post_id=...`."
        )
        explained = [log.explain(item, path) for item in head.objects if isinstance(item, dict)]
        advice = next(filter(None, explained), advice)
    kind = InputError if others else NoLogError
    raise kind(f"{path} is not {log.title}: the first entry has {keys}. {advice}")


def _holds_events(head: Head, log: LogFormat, path: Path) -> bool:
    # Whose it is does not matter here.
    origin = Origin(path, user_id="")
    return any(True for _ in find_events(head.objects, log, origin))


def _progress(show: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[lines]:,} lines"),
        TimeRemainingColumn(),
        disable=not show,
    )
