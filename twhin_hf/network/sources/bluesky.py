"""Bluesky: Jetstream, a decoded firehose, answers of servers and of the AppView, CAR exports.

A Jetstream line is an event of one record: `{"did", "time_us", "kind": "commit", "commit": {"rev",
"operation", "collection", "rkey", "record"}}`, or of an account. A firehose line is a message of
`com.atproto.sync.subscribeRepos` whose operations hold their decoded record: `{"repo", "rev",
"time", "ops": [{"action", "path", "record"}]}`, or of an account: `{"did", "time", "active"}`.

Whatever is around such events, as captures have it, is looked through. Other shapes become messages
of a firehose: the records of `com.atproto.repo.listRecords` (`{"uri", "value"}`) and of a CAR file,
and the AppView's posts with their author, quotes, reposts and likes (`getTimeline`,
`getAuthorFeed`, `getPosts`, `searchPosts`, `getLikes`, `getRepostedBy`); their time is what the
record says.

A post's id is `DID/RKEY`, from `at://DID/app.bsky.feed.post/RKEY`. Of one record the operations are
in the order of their revision, so logs that overlap give the same result as one.

Sources: https://github.com/bluesky-social/jetstream, https://atproto.com/specs/sync,
https://github.com/bluesky-social/atproto/tree/main/lexicons.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from twhin_hf.network.sources.log_format import ISO_SECONDS, Found, LogFormat, Origin

_URI = {"uri": "VARCHAR"}
_RECORD = {
    "text": "VARCHAR",
    "langs": ["VARCHAR"],
    "subject": _URI,
    "reply": {"parent": _URI},
    "embed": {"record": {"uri": "VARCHAR", "record": _URI}},
}
_STRUCTURE = {
    "did": "VARCHAR",
    "time_us": "BIGINT",
    "kind": "VARCHAR",
    "commit": {
        "rev": "VARCHAR",
        "operation": "VARCHAR",
        "collection": "VARCHAR",
        "rkey": "VARCHAR",
        "record": _RECORD,
    },
    "account": {"active": "BOOLEAN"},
    "repo": "VARCHAR",
    "rev": "VARCHAR",
    "time": "VARCHAR",
    "active": "BOOLEAN",
    "ops": [{"action": "VARCHAR", "path": "VARCHAR", "record": _RECORD}],
}
_SECONDS = ISO_SECONDS.format("time")

# A record of the three collections, and the posts that it points to as `DID/RKEY`.
_OPERATIONS = """
    WITH operation AS (
        SELECT line, did, time_us // 1000000 AS timestamp, commit.rev AS rev,
            commit.operation AS action, commit.collection AS collection, commit.rkey AS rkey,
            commit.record AS record
        FROM parsed WHERE commit.collection IS NOT NULL
        UNION ALL
        SELECT line, did, timestamp, rev, op.action, split_part(op.path, '/', 1),
            split_part(op.path, '/', 2), op.record
        FROM (SELECT line, repo AS did, {seconds} AS timestamp, rev, unnest(ops) AS op FROM parsed
              WHERE ops IS NOT NULL)
    )
    SELECT line, did, timestamp, action, collection,
        coalesce(rev, printf('%020d', line)) AS version,
        did || '/' || CASE collection WHEN 'app.bsky.feed.post' THEN rkey
            ELSE collection || '/' || rkey END AS record_id,
        {subject} AS subject, {parent} AS parent, {quoted} AS quoted,
        record.text AS text, array_to_string(record.langs, ' ') AS langs
    FROM operation
"""
_POST_OF = (
    "CASE WHEN contains({0}, '/app.bsky.feed.post/') "
    "THEN replace({0}[6:], '/app.bsky.feed.post/', '/') END"
)
_ENGAGEMENT = """
    SELECT did AS user_id, {post} AS post_id, NULL::VARCHAR AS alias,
        split_part({post}, '/', 1) AS author, '{relation}' AS relation, timestamp,
        record_id AS record, version
    FROM operations
    WHERE collection = 'app.bsky.feed.{collection}' AND action IN ('create', 'update')
        AND {post} IS NOT NULL AND did IS NOT NULL
"""
_TAKEN = "collection IN ('app.bsky.feed.post', 'app.bsky.feed.like', 'app.bsky.feed.repost')"


_STATE = "coalesce(account.active, active)"


def take(item: Mapping[str, Any], origin: Origin) -> Found:
    """An event as it is, a record or an AppView's answer as messages of a firehose."""
    keys = item.keys()
    if (
        ({"did", "time_us"} <= keys and not keys.isdisjoint(("kind", "commit", "account")))
        or {"repo", "ops"} <= keys
        or {"did", "seq", "time"} <= keys
    ):
        return Found([item])
    uri = item.get("uri")
    record = item.get("record", item.get("value"))
    if _is_uri(uri) and isinstance(record, dict):
        time = record.get("createdAt") or item.get("indexedAt")
        return Found(
            [_created(uri, record, time), *_viewed(item)], [item.get("embed"), item.get("embeds")]
        )
    if _is_uri(uri) and isinstance(item.get("likes"), list):
        return Found([_engaged("like", like["actor"], uri, like) for like in item["likes"]])
    if _is_uri(uri) and isinstance(item.get("repostedBy"), list):
        return Found([_engaged("repost", actor, uri, {}) for actor in item["repostedBy"]])
    post, reason = item.get("post"), item.get("reason")
    if isinstance(post, dict) and isinstance(reason, dict) and "by" in reason:
        repost = _engaged("repost", reason["by"], post.get("uri"), reason)
        return Found([repost], [post, item.get("reply")])
    return Found(inside=list(item.values()))


def _is_uri(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value.startswith("at://") and value.count("/") >= 4


def _created(uri: str, record: Mapping[str, Any], time: Any) -> dict[str, Any]:
    repository, path = uri.removeprefix("at://").split("/", 1)
    return {
        "repo": repository,
        "time": time,
        "ops": [{"action": "create", "path": path, "record": record}],
    }


def _viewed(post: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The like and the repost of whoever asked for a post: their records' addresses say who."""
    viewer = post.get("viewer")
    for name in ("like", "repost"):
        if isinstance(viewer, dict) and _is_uri(viewer.get(name)):
            yield _created(viewer[name], {"subject": {"uri": post["uri"]}}, None)


def _engaged(name: str, actor: Any, post: Any, source: Mapping[str, Any]) -> dict[str, Any]:
    """A like or a repost that an answer tells of; most answers do not give its own address."""
    did = actor.get("did") if isinstance(actor, dict) else None
    uri = source.get("uri") or f"at://{did}/app.bsky.feed.{name}/"
    time = source.get("createdAt") or source.get("indexedAt")
    return _created(uri, {"subject": {"uri": post}}, time)


FORMAT = LogFormat(
    name="bluesky",
    title="Bluesky: Jetstream, a decoded firehose, JSON of its servers and AppView, or CAR exports",
    texts_from="Bluesky's getPosts, or the CAR exports of their authors",
    structure=_STRUCTURE,
    is_event=f"commit.collection IS NOT NULL OR ops IS NOT NULL OR {_STATE} IS NOT NULL",
    take=take,
    tables={
        "operations": _OPERATIONS.format(
            seconds=_SECONDS,
            subject=_POST_OF.format("record.subject.uri"),
            parent=_POST_OF.format("record.reply.parent.uri"),
            quoted=_POST_OF.format(
                "coalesce(record.embed.record.uri, record.embed.record.record.uri)"
            ),
        )
    },
    posts="""
        SELECT record_id AS post_id, text, langs, did AS author, version, line
        FROM operations
        WHERE collection = 'app.bsky.feed.post' AND action IN ('create', 'update')
    """,
    engagements=" UNION ALL ".join(
        _ENGAGEMENT.format(post=post, relation=relation, collection=collection)
        for post, relation, collection in (
            ("subject", "like", "like"),
            ("subject", "repost", "repost"),
            ("parent", "reply", "post"),
            ("quoted", "quote", "post"),
        )
    ),
    removals=f"""
        SELECT record_id AS record, NULL AS alias, version, action = 'delete' AS is_delete
        FROM operations
        WHERE {_TAKEN} AND action IN ('delete', 'update')
    """,
    accounts=f"""
        SELECT coalesce(did, repo) AS user_id, '' AS kind, {_STATE} AS is_active,
            coalesce(time_us // 1000000, {_SECONDS}) AS timestamp, line
        FROM parsed WHERE {_STATE} IS NOT NULL
    """,
    messages=f"""
        SELECT 'delete' AS kind FROM operations WHERE {_TAKEN} AND action = 'delete'
        UNION ALL
        SELECT 'account gone' FROM parsed WHERE NOT {_STATE}
    """,
    skipped=f"""
        SELECT 'other collections' AS reason FROM operations WHERE NOT {_TAKEN}
        UNION ALL
        SELECT 'records without an id' FROM operations WHERE {_TAKEN} AND record_id IS NULL
        UNION ALL
        SELECT 'likes and reposts of what is no post' FROM operations
        WHERE collection IN ('app.bsky.feed.like', 'app.bsky.feed.repost')
            AND action IN ('create', 'update') AND subject IS NULL
        UNION ALL
        SELECT 'identities and other messages' FROM parsed
        WHERE commit.collection IS NULL AND ops IS NULL
            AND {_STATE} IS NULL
    """,
)
