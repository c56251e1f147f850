"""What the module of a network says of its logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class LogFormat:
    """The JSON of a network, and how posts and engagements are taken from it.

    The queries read the table `parsed`: the fields of `structure`, null where a line has none, and
    `line`, the number of the line in the whole log; and the tables of `tables`.

    Args:
        name: As in `--source`.
        title: What it reads, for messages.
        structure: Fields taken from a line, in the notation of DuckDB's `json_transform`.
        matches: True for a JSON object of this network.
        posts: Query of `post_id`, `text`, `lang`, `version`, `alias`, `line`. Of a post that comes
            several times the one of the greatest version counts. An alias is another name of the
            post, by which an engagement may call it.
        engagements: Query of `user_id`, `post_id`, `alias` (where there is no post_id),
            `relation`, `timestamp` (seconds since 1970), `record` (what a removal calls it) and
            `version`.
        removals: Query of `record`, `version`, `is_delete`: takes back the engagements of the
            record that are of an earlier version, and as a deletion the post of that id.
        accounts: Query of `user_id`, `is_active`, `timestamp`, `line`; of an account that is not
            active at the end everything goes.
        skipped: Query of the `reason` of what brings nothing, a row each.
        tables: Queries of tables that the others share, in order.
        reads_file: False for the name of a file that a folder may hold but that brings nothing.
        collections: Keys that mark a JSON object as a collection, not one line of many.
        unwrap: The items of a document (an array, or a collection) as objects like those of lines.
            Takes the document, its file, and whose archive it is where that was given.
        has_html: Whether texts are HTML.
        has_entities: Whether texts hold entities such as `&amp;`.
    """

    name: str
    title: str
    structure: Mapping[str, Any]
    matches: Callable[[Mapping[str, Any]], bool]
    posts: str
    engagements: str
    skipped: str
    removals: str = (
        "SELECT NULL::VARCHAR AS record, NULL::VARCHAR AS version, true AS is_delete WHERE false"
    )
    accounts: str = (
        "SELECT NULL::VARCHAR AS user_id, true AS is_active, NULL::BIGINT AS timestamp, "
        "NULL::BIGINT AS line WHERE false"
    )
    tables: Mapping[str, str] = field(default_factory=dict)
    reads_file: Callable[[str], bool] = lambda name: True
    collections: frozenset[str] = frozenset()
    unwrap: Callable[[Any, Path, str | None], Iterator[Mapping[str, Any]]] | None = None
    has_html: bool = False
    has_entities: bool = False


ISO_SECONDS = "CAST(epoch(TRY_CAST({} AS TIMESTAMPTZ)) AS BIGINT)"
NO_ALIAS = "NULL::VARCHAR AS alias"
