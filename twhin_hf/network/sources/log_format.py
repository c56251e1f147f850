"""What the module of a network says of its logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Origin:
    """Where JSON comes from.

    Args:
        path: Its file.
        user_id: Whose archive it is, where that was given.
        cache: What a format keeps as long as it reads this file.
    """

    path: Path
    user_id: str | None = None
    cache: dict[str, Any] = field(default_factory=dict)


class Found(NamedTuple):
    """What a format sees in a JSON object.

    Args:
        events: Objects that its queries read.
        inside: Values in which more may be.
    """

    events: Sequence[Mapping[str, Any]] = ()
    inside: Sequence[Any] = ()


@dataclass(frozen=True)
class LogFormat:
    """The JSON of a network, and how posts and engagements are taken from it.

    The queries read the table `parsed`: the fields of `structure`, null where a line has none, and
    `line`, the number of the line in the whole log; and the tables of `tables`. They may ask for
    `getvariable('owner')`, the account given by `user_id`, and `getvariable('content_warnings')`.

    Args:
        name: As in `--source`.
        title: What it reads, for messages.
        structure: Fields taken from a line, in the notation of DuckDB's `json_transform`.
        is_event: Condition on `parsed`: the queries read the line as it is. Other lines are looked
            into by `take`.
        take: What is in a JSON object of a document, a wrapper or a line.
        posts: Query of `post_id`, `text`, `langs` (codes with spaces between), `author`,
            `version`, `line`. Of a post that comes several times the one of the greatest version
            counts.
        engagements: Query of `user_id`, `post_id`, `alias` (where there is no post_id), `author`
            (of the post, where the log says it), `relation`, `timestamp` (seconds since 1970),
            `record` (what a removal calls it) and `version`.
        names: Query of `alias`, `record`, `is_post`: another name of a record, by which a removal
            may call it, and if it is a post's an engagement too.
        removals: Query of `record`, `alias` (where there is no record), `version`, `is_delete`:
            takes back the engagements of the record that are of an earlier version, and as a
            deletion the post of that id.
        accounts: Query of `user_id`, `kind`, `is_active`, `timestamp`, `line`; of an account that
            is not active by the last message of a kind everything goes.
        messages: Query of the `kind` of all messages that take something back, a row each.
        skipped: Query of the `reason` of what brings nothing, a row each.
        tables: Queries of tables that the others share, in order.
        reads_file: False for the name of a file that a folder may hold but that brings nothing.
        owner_file: The file of an archive that says whose it is.
        explain: A sentence about a JSON object that brings nothing, or an empty one.
        texts_from: Where the texts of posts are to be had that the log only names.
        has_owner: Whether `user_id` may say whose log it is: of an archive, or of the account that
            asked.
        has_content_warnings: Whether posts have such warnings.
        has_html: Whether texts are HTML.
        has_entities: Whether texts hold entities such as `&amp;`.
    """

    name: str
    title: str
    structure: Mapping[str, Any]
    is_event: str
    take: Callable[[Mapping[str, Any], Origin], Found]
    posts: str
    engagements: str
    skipped: str
    names: str = (
        "SELECT NULL::VARCHAR AS alias, NULL::VARCHAR AS record, true AS is_post WHERE false"
    )
    removals: str = (
        "SELECT NULL::VARCHAR AS record, NULL::VARCHAR AS alias, NULL::VARCHAR AS version, "
        "true AS is_delete WHERE false"
    )
    accounts: str = (
        "SELECT NULL::VARCHAR AS user_id, NULL::VARCHAR AS kind, true AS is_active, "
        "NULL::BIGINT AS timestamp, NULL::BIGINT AS line WHERE false"
    )
    messages: str = "SELECT NULL::VARCHAR AS kind WHERE false"
    tables: Mapping[str, str] = field(default_factory=dict)
    reads_file: Callable[[str], bool] = lambda name: True
    owner_file: str | None = None
    explain: Callable[[Mapping[str, Any], Path], str] = lambda item, path: ""
    texts_from: str = ""
    has_owner: bool = False
    has_content_warnings: bool = False
    has_html: bool = False
    has_entities: bool = False


MAYBE_USER = "user unless post"
"""The `kind` of a message about an account whose id may be that of a post instead."""
ISO_SECONDS = "CAST(epoch(TRY_CAST({} AS TIMESTAMPTZ)) AS BIGINT)"
