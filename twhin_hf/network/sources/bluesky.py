"""Bluesky: Jetstream's JSON lines, and lines of a decoded firehose.

A Jetstream line is an event of one record: `{"did", "time_us", "kind": "commit", "commit": {"rev",
"operation", "collection", "rkey", "record"}}`, or of an account. A firehose line is a message of
`com.atproto.sync.subscribeRepos` whose operations hold their decoded record: `{"repo", "rev",
"time", "ops": [{"action", "path", "record"}]}`, or of an account: `{"did", "time", "active"}`.

A post's id is `DID/RKEY`, from `at://DID/app.bsky.feed.post/RKEY`. Of one record the operations are
in the order of their revision, so logs that overlap give the same result as one.

Sources: https://github.com/bluesky-social/jetstream, https://atproto.com/specs/sync,
https://github.com/bluesky-social/atproto/tree/main/lexicons/app/bsky/feed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twhin_hf.network.sources.log_format import ISO_SECONDS, NO_ALIAS, LogFormat

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
        record.text AS text, record.langs[1] AS lang
    FROM operation
"""
_POST_OF = (
    "CASE WHEN contains({0}, '/app.bsky.feed.post/') "
    "THEN replace({0}[6:], '/app.bsky.feed.post/', '/') END"
)
_ENGAGEMENT = """
    SELECT did AS user_id, {post} AS post_id, NULL::VARCHAR AS alias, '{relation}' AS relation,
        timestamp, record_id AS record, version
    FROM operations
    WHERE collection = 'app.bsky.feed.{collection}' AND action IN ('create', 'update')
        AND {post} IS NOT NULL AND did IS NOT NULL
"""
_TAKEN = "collection IN ('app.bsky.feed.post', 'app.bsky.feed.like', 'app.bsky.feed.repost')"


def matches(item: Mapping[str, Any]) -> bool:
    """True for an event of Jetstream or of a firehose."""
    return (
        {"did", "time_us"} <= item.keys()
        or {"repo", "ops"} <= item.keys()
        or {"did", "seq", "time"} <= item.keys()
    )


FORMAT = LogFormat(
    name="bluesky",
    title="Bluesky: JSON lines of Jetstream or of a decoded firehose",
    structure=_STRUCTURE,
    matches=matches,
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
    posts=f"""
        SELECT record_id AS post_id, text, lang, version, {NO_ALIAS}, line
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
        SELECT record_id AS record, version, action = 'delete' AS is_delete FROM operations
        WHERE {_TAKEN} AND action IN ('delete', 'update')
    """,
    accounts=f"""
        SELECT coalesce(did, repo) AS user_id, coalesce(account.active, active) AS is_active,
            coalesce(time_us // 1000000, {_SECONDS}) AS timestamp, line
        FROM parsed WHERE coalesce(account.active, active) IS NOT NULL
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
            AND coalesce(account.active, active) IS NULL
    """,
)
