"""Mastodon: what its API gives and sends, and the files of an account's archive.

Statuses (https://docs.joinmastodon.org/entities/Status/) one a line, in arrays or in any answer,
such as a search, with boosts (`reblog`), replies and quotes; notifications, of which those of
favourites and boosts are engagements; and events of the streaming API
(https://docs.joinmastodon.org/methods/streaming/), as JSON or as they are sent, whose `delete` is
honoured. The lists of who favourited or boosted a status do not say which status that was, so they
are read as `{"uri": STATUS, "favourited_by": [ACCOUNT, ...], "reblogged_by": [...]}`, alone or as
further keys of the status. From an archive: `outbox.json`, `likes.json` and `bookmarks.json`
(ActivityStreams); the account is that of the `actor.json` beside them.

Ids are those of ActivityPub, which are the same on all servers: the URI of a status and of an
account. A reply names its parent by a number of the server alone, and so does a deletion: it counts
where that status is in the log too. Statuses for followers or for single people are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twhin_hf.errors import InputError
from twhin_hf.files import read_json_object
from twhin_hf.network.sources.log_files import is_media
from twhin_hf.network.sources.log_format import ISO_SECONDS, Found, LogFormat, Origin

_ACCOUNT = {"uri": "VARCHAR", "url": "VARCHAR"}
_STATUS: dict[str, Any] = {
    "id": "VARCHAR",
    "uri": "VARCHAR",
    "created_at": "VARCHAR",
    "edited_at": "VARCHAR",
    "visibility": "VARCHAR",
    "language": "VARCHAR",
    "spoiler_text": "VARCHAR",
    "content": "VARCHAR",
    "favourited": "BOOLEAN",
    "bookmarked": "BOOLEAN",
    "reblogged": "BOOLEAN",
    "in_reply_to_id": "VARCHAR",
    "in_reply_to_uri": "VARCHAR",  # ours, from archives
    "quote_uri": "VARCHAR",  # ours, from archives
    "account": _ACCOUNT,
    "favourited_by": [_ACCOUNT],
    "reblogged_by": [_ACCOUNT],
    "bookmarked_by": [_ACCOUNT],  # ours, from archives
    "listed_at": "VARCHAR",  # ours, from notifications
}
# A quote is rare and deep, so it is kept as JSON and taken apart where there is one.
_POST = _STATUS | {"quote": "JSON"}
_STRUCTURE = _POST | {
    "reblog": _POST,
    # Ours: a status by its number or an activity by its URI, and whether its text goes too.
    "removed": {"id": "VARCHAR", "uri": "VARCHAR", "is_delete": "BOOLEAN"},
}
_PUBLIC_URIS = {"https://www.w3.org/ns/activitystreams#Public", "as:Public", "Public"}
_NOBODY = "NULL::VARCHAR AS alias, NULL::VARCHAR AS author"
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
        SELECT {_USER.format("listed")} AS user_id, post_id, {_NOBODY}, '{relation}' AS relation,
            {ISO_SECONDS.format("listed_at")} AS timestamp, NULL::VARCHAR AS record, '' AS version
        FROM (SELECT coalesce(boosted, uri) AS post_id, unnest({name}) AS listed, listed_at
              FROM statuses WHERE is_public)
    """


def _asked(field: str, relation: str) -> str:
    """What the API says of the account that asked for a status."""
    return f"""
        SELECT getvariable('owner') AS user_id, coalesce(boosted, uri) AS post_id, {_NOBODY},
            '{relation}' AS relation, NULL::BIGINT AS timestamp, NULL::VARCHAR AS record,
            '' AS version
        FROM statuses WHERE is_public AND {field} AND getvariable('owner') IS NOT NULL
    """


def _own(relation: str, post: str, alias: str, of_boosts: bool = False) -> str:
    return f"""
        SELECT user_id, {post} AS post_id, {alias} AS alias, NULL::VARCHAR AS author,
            '{relation}' AS relation,
            {_SECONDS} AS timestamp, uri AS record, version
        FROM statuses
        WHERE is_public AND {"" if of_boosts else "boosted IS NULL AND "}
            user_id IS NOT NULL AND coalesce({post}, {alias}) IS NOT NULL
    """


_NOTIFIED = {"favourite": "favourited_by", "reblog": "reblogged_by"}
_COLLECTIONS = {"likes": "favourited_by", "bookmarks": "bookmarked_by"}
_ACTIVITIES = {"Create", "Update", "Announce", "Like", "Undo", "Delete"}


def take(item: Mapping[str, Any], origin: Origin) -> Found:
    """A status as it is; notifications, deletions and activities as the status they are about.

    Raises:
        InputError: An archive does not say whose favourites these are.
    """
    keys = item.keys()
    if {"uri", "account"} <= keys or (
        "uri" in keys and not keys.isdisjoint({"favourited_by", "reblogged_by"})
    ):
        return Found([item])
    if "orderedItems" in keys:
        return _read_collection(item, origin)
    if {"type", "object"} <= keys and item["type"] in _ACTIVITIES:
        return Found([_read_activity(item)])
    if item.get("type") == "Note" and "attributedTo" in keys:
        activity = {"type": "Create", "actor": item["attributedTo"], "object": item}
        return Found([_read_activity({**item, **activity})])
    if item.get("event") == "delete" and isinstance(item.get("payload"), (str, int)):
        return Found([{"removed": {"id": str(item["payload"]), "is_delete": True}}])
    if {"type", "account"} <= keys and isinstance(item.get("status"), dict):
        return _read_notification(item["type"], [item["account"]], item)
    if {"notification_groups", "statuses", "accounts"} <= keys:
        return _read_groups(item)
    return Found(inside=list(item.values()))


def _read_notification(kind: str, accounts: list[Any], item: Mapping[str, Any]) -> Found:
    listed = _NOTIFIED.get(kind)
    if listed is None:
        return Found(inside=[item["status"]])
    return Found([{**item["status"], listed: accounts, "listed_at": item.get("created_at")}])


def _read_groups(answer: Mapping[str, Any]) -> Found:
    """Notifications of version 2 of the API, which name accounts and statuses by their numbers."""
    accounts = {account["id"]: account for account in answer["accounts"]}
    statuses = {status["id"]: status for status in answer["statuses"]}
    events: list[Mapping[str, Any]] = []
    for group in answer["notification_groups"]:
        status = statuses.get(group.get("status_id"))
        sample = [
            accounts[name] for name in group.get("sample_account_ids", []) if name in accounts
        ]
        if status is not None:
            events += _read_notification(group["type"], sample, {"status": status}).events
    return Found(events, [answer["statuses"]])


def _read_collection(collection: Mapping[str, Any], origin: Origin) -> Found:
    """A file of an archive: activities, or addresses of statuses."""
    items = collection["orderedItems"]
    activities = [item for item in items if isinstance(item, dict)]
    listed = _COLLECTIONS.get(_collection_name(collection, origin.path))
    addresses = [item for item in items if isinstance(item, str)]
    if not addresses or listed is None:
        return Found(inside=activities)
    owner = origin.user_id if origin.user_id is not None else _find_owner(origin.path)
    known = {"visibility": "public", listed: [{"uri": owner}]}
    return Found([{"uri": item, **known} for item in addresses], activities)


def _collection_name(collection: Mapping[str, Any], path: Path) -> str:
    return str(collection.get("id", path.name)).rsplit("/", 1)[-1].removesuffix(".json")


def _read_activity(activity: Mapping[str, Any]) -> Mapping[str, Any]:
    """An activity as the status that the API would give."""
    kind, thing = activity["type"], activity.get("object")
    about = thing if isinstance(thing, dict) else {"id": thing}
    if kind in ("Undo", "Delete"):
        return {"removed": {"uri": about.get("id"), "is_delete": kind == "Delete"}}
    actor = {"uri": activity.get("actor")}
    if kind == "Like":
        liked = {"uri": about.get("id"), "visibility": "public", "favourited_by": [actor]}
        return liked | {"listed_at": activity.get("published")}
    addressed = {*_listed(activity.get("to")), *_listed(activity.get("cc"))}
    status = {
        "uri": activity.get("id"),
        "account": actor,
        "created_at": activity.get("published"),
        "visibility": "public" if addressed & _PUBLIC_URIS else "private",
    }
    if kind == "Announce":
        return status | {"reblog": {"uri": about.get("id")}}
    if not isinstance(thing, dict):
        return {"type": kind}
    quote = thing.get("quote") or thing.get("quoteUri") or thing.get("quoteUrl")
    return status | {
        "uri": thing.get("id"),
        "created_at": thing.get("published") or activity.get("published"),
        "edited_at": thing.get("updated"),
        "spoiler_text": thing.get("summary"),
        "content": thing.get("content"),
        "language": next(iter(thing.get("contentMap") or {}), None),
        "in_reply_to_uri": thing.get("inReplyTo"),
        "quote_uri": quote,
    }


def _listed(value: Any) -> Iterator[str]:
    yield from (item for item in (value if isinstance(value, list) else [value]) if item)


def _find_owner(path: Path) -> str:
    actor = path.parent / "actor.json"
    if not actor.is_file():
        raise InputError(
            f"{path} does not say whose favourites or bookmarks these are: actor.json of the "
            "archive is not beside it. Put it there, or give the account's URI (`--user_id`).",
            faq="whose-archive",
        )
    found = read_json_object(actor).get("id")
    if not isinstance(found, str):
        raise InputError(f"{actor} has no id; give the account's URI (`--user_id`).")
    return found


def explain(item: Mapping[str, Any], path: Path) -> str:
    """What to do with a list of accounts or of addresses."""
    if "orderedItems" in item:
        name = _collection_name(item, path)
        return f"This is a list of {name}; read are those of the outbox, likes and bookmarks."
    if "acct" not in item:
        return ""
    return (
        "This is a list of accounts that does not say which status they favourited or boosted. Put "
        "it beside the status: `jq -c '{uri: \"STATUS\", favourited_by: .}' FILE` (or "
        "reblogged_by)."
    )


# A warning is plain text and the content HTML, so that it must not look like tags.
_WARNING = """
    replace(replace(replace(spoiler_text, '&', '&amp;'), '<', '&lt;'), '>', '&gt;')
"""
_TEXT = f"""
    CASE WHEN getvariable('content_warnings') AND coalesce(spoiler_text, '') <> ''
        THEN '<p>' || {_WARNING} || '</p>' || coalesce(content, '') ELSE content END
"""

FORMAT = LogFormat(
    name="mastodon",
    title="Mastodon: JSON of its API and streams, outbox.json, likes.json and bookmarks.json",
    structure=_STRUCTURE,
    is_event="""
        uri IS NOT NULL AND (account IS NOT NULL OR favourited_by IS NOT NULL
            OR reblogged_by IS NOT NULL OR bookmarked_by IS NOT NULL)
    """,
    take=take,
    tables={
        "statuses": f"""
            SELECT *, coalesce(edited_at, created_at, '') AS version,
                {_USER.format("account")} AS user_id,
                coalesce(visibility, 'public') IN ('public', 'unlisted') AS is_public
            FROM ({_STATUSES})
        """
    },
    posts=f"""
        SELECT uri AS post_id, {_TEXT} AS text, language AS langs, user_id AS author, version, line
        FROM statuses WHERE is_public AND boosted IS NULL AND content IS NOT NULL
    """,
    engagements=" UNION ALL ".join(
        (
            _lists("favourited_by", "like"),
            _lists("reblogged_by", "repost"),
            _lists("bookmarked_by", "bookmark"),
            _asked("favourited", "like"),
            _asked("reblogged", "repost"),
            _asked("bookmarked", "bookmark"),
            _own("repost", "boosted", "NULL", of_boosts=True),
            _own("reply", "in_reply_to_uri", "in_reply_to_id"),
            _own("quote", "quoted", "quoted_id"),
        )
    ),
    names="""
        SELECT id AS alias, uri AS record, boosted IS NULL AS is_post
        FROM statuses WHERE id IS NOT NULL
    """,
    # Greater than any date: what is deleted or undone does not come again.
    removals="""
        SELECT removed.uri AS record, removed.id AS alias, '~' AS version, removed.is_delete
        FROM parsed WHERE removed IS NOT NULL
    """,
    messages="""
        SELECT CASE WHEN removed.is_delete THEN 'delete' ELSE 'undo' END AS kind
        FROM parsed WHERE removed IS NOT NULL
    """,
    skipped="""
        SELECT 'not public' AS reason FROM statuses WHERE NOT is_public
        UNION ALL
        SELECT 'favourites and bookmarks of an account that user_id does not name' FROM statuses
        WHERE is_public AND (favourited OR bookmarked) AND getvariable('owner') IS NULL
        UNION ALL
        SELECT 'no status' FROM parsed WHERE uri IS NULL AND removed IS NULL
    """,
    reads_file=lambda name: name != "actor.json" and not is_media(name),
    owner_file="actor.json",
    texts_from="each status by its address, from its server",
    has_owner=True,
    has_content_warnings=True,
    explain=explain,
    has_html=True,
    has_entities=True,
)
