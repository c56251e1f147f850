"""Mastodon: statuses as its API gives them, and the files of an account's archive.

Lines or arrays of statuses (https://docs.joinmastodon.org/entities/Status/), with boosts
(`reblog`), replies and quotes. The lists of who favourited or boosted a status do not say which
status that was, so they are read as `{"uri": STATUS, "favourited_by": [ACCOUNT, ...],
"reblogged_by": [...]}`, alone or as further keys of the status. From an archive: `outbox.json` and
`likes.json` (ActivityStreams); the account is that of the `actor.json` beside them.

Ids are those of ActivityPub, which are the same on all servers: the URI of a status and of an
account. A reply names its parent by a number of the server alone, so a reply counts where the
parent is in the log too. Statuses for followers or for single people are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twhin_hf.files import read_json
from twhin_hf.network.sources.log_format import ISO_SECONDS, NO_ALIAS, LogFormat

_ACCOUNT = {"uri": "VARCHAR", "url": "VARCHAR"}
_STATUS: dict[str, Any] = {
    "id": "VARCHAR",
    "uri": "VARCHAR",
    "created_at": "VARCHAR",
    "edited_at": "VARCHAR",
    "visibility": "VARCHAR",
    "language": "VARCHAR",
    "content": "VARCHAR",
    "in_reply_to_id": "VARCHAR",
    "in_reply_to_uri": "VARCHAR",  # ours, from archives
    "quote_uri": "VARCHAR",  # ours, from archives
    "account": _ACCOUNT,
    "favourited_by": [_ACCOUNT],
    "reblogged_by": [_ACCOUNT],
}
# A quote is rare and deep, so it is kept as JSON and taken apart where there is one.
_POST = _STATUS | {"quote": "JSON"}
_STRUCTURE = _POST | {"reblog": _POST}
_PUBLIC_URIS = {"https://www.w3.org/ns/activitystreams#Public", "as:Public", "Public"}
_SECONDS = ISO_SECONDS.format("created_at")

_QUOTES = f"""
    SELECT line, unnest(json_transform(json_extract(quote, '$.quoted_status'),
        '{json.dumps(_STATUS)}'))
    FROM (
        SELECT line, quote FROM parsed WHERE quote IS NOT NULL
        UNION ALL SELECT line, reblog.quote FROM parsed WHERE reblog.quote IS NOT NULL
    )
"""


def _level(table: str, path: str = "", has_quote: bool = True, boosted: str = "NULL") -> str:
    """The statuses at a path of a table, with the columns of `_STATUS`."""
    fields = ", ".join(f"{path}{name} AS {name}" for name in _STATUS)
    quoted = (
        f"coalesce({path}quote_uri, json_extract_string({path}quote, '$.quoted_status.uri'))"
        f" AS quoted, json_extract_string({path}quote, '$.quoted_status_id') AS quoted_id"
        if has_quote
        else "quote_uri AS quoted, NULL AS quoted_id"
    )
    return (
        f"SELECT line, {fields}, {quoted}, {boosted} AS boosted FROM {table} "
        f"WHERE {path}uri IS NOT NULL"
    )


_STATUSES = " UNION ALL ".join(
    (
        _level("parsed", boosted="reblog.uri"),
        _level("parsed", "reblog."),
        _level(f"({_QUOTES})", has_quote=False),
    )
)


# `https://host/@name` is the page of the account whose id is `https://host/users/name`.
_USER = """
    coalesce({0}.uri, CASE WHEN {0}.url LIKE '%/@%@%' THEN {0}.url
        ELSE replace({0}.url, '/@', '/users/') END)
"""


def _lists(name: str, relation: str) -> str:
    return f"""
        SELECT {_USER.format("listed")} AS user_id, post_id, {NO_ALIAS}, '{relation}' AS relation,
            NULL::BIGINT AS timestamp, NULL::VARCHAR AS record, '' AS version
        FROM (SELECT coalesce(boosted, uri) AS post_id, unnest({name}) AS listed FROM statuses
              WHERE is_public)
    """


def _own(relation: str, post: str, alias: str, of_boosts: bool = False) -> str:
    return f"""
        SELECT user_id, {post} AS post_id, {alias} AS alias, '{relation}' AS relation,
            {_SECONDS} AS timestamp, uri AS record, version
        FROM statuses
        WHERE is_public AND {"" if of_boosts else "boosted IS NULL AND "}
            user_id IS NOT NULL AND coalesce({post}, {alias}) IS NOT NULL
    """


def matches(item: Mapping[str, Any]) -> bool:
    """True for a status, a list of accounts with its status, or a file of an archive."""
    keys = item.keys()
    return (
        {"uri", "account"} <= keys
        or {"uri", "favourited_by"} <= keys
        or {"uri", "reblogged_by"} <= keys
        or "orderedItems" in keys
        or {"ancestors", "descendants"} <= keys
        or ({"acct", "username"} <= keys and "id_str" not in keys)
    )


def unwrap(document: Any, path: Path, user_id: str | None) -> Iterator[Mapping[str, Any]]:
    """The statuses of an API's answer or of an archive.

    Raises:
        ValueError: The file does not say whose favourites, or of which status.
    """
    if isinstance(document, dict) and "orderedItems" in document:
        yield from _read_archive(document, path, user_id)
        return
    if isinstance(document, dict):
        keys = [key for key in ("statuses", "ancestors", "descendants") if key in document]
        document = [item for key in keys for item in document[key]] if keys else [document]
    for item in document:
        if isinstance(item, dict) and "acct" in item and "account" not in item:
            raise ValueError(
                f"{path} is a list of accounts that does not say which status they favourited or "
                "boosted. Put it beside the status: "
                "`jq -c '{uri: \"STATUS\", favourited_by: .}' FILE` (or reblogged_by)."
            )
        yield item


def _read_archive(
    document: Mapping[str, Any], path: Path, user_id: str | None
) -> Iterator[Mapping[str, Any]]:
    name = str(document.get("id", path.name)).rsplit("/", 1)[-1]
    for item in document["orderedItems"]:
        if isinstance(item, str):
            if not name.startswith("likes"):
                raise ValueError(
                    f"{path} is the archive's {name}, a list of statuses but none of favourites. "
                    "Read are outbox.json and likes.json."
                )
            user_id = user_id or _find_owner(path)
            yield {"uri": item, "visibility": "public", "favourited_by": [{"uri": user_id}]}
        elif isinstance(item, dict):
            yield _read_activity(item)


def _read_activity(activity: Mapping[str, Any]) -> Mapping[str, Any]:
    """An activity of the outbox as the status that the API would give."""
    thing = activity.get("object")
    addressed = {*_listed(activity.get("to")), *_listed(activity.get("cc"))}
    status = {
        "uri": activity.get("id"),
        "account": {"uri": activity.get("actor")},
        "created_at": activity.get("published"),
        "visibility": "public" if addressed & _PUBLIC_URIS else "private",
    }
    if activity.get("type") == "Announce":
        return status | {"reblog": {"uri": thing.get("id") if isinstance(thing, dict) else thing}}
    if activity.get("type") == "Create" and isinstance(thing, dict):
        quote = thing.get("quote") or thing.get("quoteUri") or thing.get("quoteUrl")
        return status | {
            "uri": thing.get("id"),
            "edited_at": thing.get("updated"),
            "content": thing.get("content"),
            "language": next(iter(thing.get("contentMap") or {}), None),
            "in_reply_to_uri": thing.get("inReplyTo"),
            "quote_uri": quote,
        }
    return {"type": activity.get("type")}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _find_owner(path: Path) -> str:
    actor = path.parent / "actor.json"
    if not actor.is_file():
        raise ValueError(
            f"{path} does not say whose favourites these are: actor.json of the archive is not "
            "beside it. Put it there, or give the account's URI (`--user_id`)."
        )
    return str(read_json(actor)["id"])


FORMAT = LogFormat(
    name="mastodon",
    title="Mastodon: statuses of the API, outbox.json and likes.json of an archive",
    structure=_STRUCTURE,
    matches=matches,
    tables={
        "statuses": f"""
            SELECT *, coalesce(edited_at, created_at, '') AS version,
                {_USER.format("account")} AS user_id,
                coalesce(visibility, 'public') IN ('public', 'unlisted') AS is_public
            FROM ({_STATUSES})
        """
    },
    posts="""
        SELECT uri AS post_id, content AS text, language AS lang, version, id AS alias, line
        FROM statuses WHERE is_public AND boosted IS NULL AND content IS NOT NULL
    """,
    engagements=" UNION ALL ".join(
        (
            _lists("favourited_by", "like"),
            _lists("reblogged_by", "repost"),
            _own("repost", "boosted", "NULL", of_boosts=True),
            _own("reply", "in_reply_to_uri", "in_reply_to_id"),
            _own("quote", "quoted", "quoted_id"),
        )
    ),
    skipped="""
        SELECT 'not public' AS reason FROM statuses WHERE NOT is_public
        UNION ALL
        SELECT 'no status' FROM parsed WHERE uri IS NULL
    """,
    reads_file=lambda name: (
        name.endswith((".json", ".jsonl", ".ndjson", ".gz", ".zst"))
        and name not in ("actor.json", "bookmarks.json")
    ),
    collections=frozenset({"orderedItems", "statuses", "ancestors"}),
    unwrap=unwrap,
    has_html=True,
    has_entities=True,
)
