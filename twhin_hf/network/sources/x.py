"""X/Twitter: an account's archive, and JSON lines of the API's versions 1.1 and 2.

- v1.1, one post a line (`tweet_mode=extended` or not, and the stream's `delete` messages): retweets
  and quotes with the post they share, replies by the id of their parent.
- v2, one answer a line (`data`, `includes`, in `data` one post or several), or one post a line. A
  line of either version that says no more than `id` and text is a post too.
- The archive: `tweets.js` and `like.js`, with the `account.js` beside them for whose they are. A
  retweet there does not say which post it repeats and is skipped; a quote is known by the link to a
  post in `entities.urls`.

Sources: https://developer.x.com/en/docs/twitter-api/v1/data-dictionary,
https://developer.x.com/en/docs/twitter-api/data-dictionary, and the archive's own README.txt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twhin_hf.network.sources.log_format import ISO_SECONDS, NO_ALIAS, LogFormat

_V1: dict[str, Any] = {
    "id_str": "VARCHAR",
    "created_at": "VARCHAR",
    "lang": "VARCHAR",
    "text": "VARCHAR",
    "full_text": "VARCHAR",
    "extended_tweet": {"full_text": "VARCHAR"},
    "user": {"id_str": "VARCHAR"},
    "in_reply_to_status_id_str": "VARCHAR",
    "quoted_status_id_str": "VARCHAR",
}
_V2: dict[str, Any] = {
    "id": "VARCHAR",
    "author_id": "VARCHAR",
    "created_at": "VARCHAR",
    "lang": "VARCHAR",
    "text": "VARCHAR",
    "note_tweet": {"text": "VARCHAR"},
    "referenced_tweets": [{"type": "VARCHAR", "id": "VARCHAR"}],
}
# A quoted post is rare, so it is kept as JSON and taken apart where there is one.
_SHARED = _V1 | {"quoted_status": "JSON"}
_STRUCTURE = (
    _V2
    | _SHARED
    | {
        "retweeted_status": _SHARED,
        "like": {"tweetId": "VARCHAR", "fullText": "VARCHAR"},
        "delete": {"status": {"id_str": "VARCHAR"}},
        "data": "JSON",
        "includes": {"tweets": [_V2]},
    }
)
_POST_LINK = re.compile(r"https?://(?:mobile\.|www\.)?(?:twitter|x)\.com/\w+/status/(\d+)")
_FILES = re.compile(
    r"(tweets?|tweet|like|liked-tweets)(-part\d+)?\.js$|.*\.(json|jsonl|ndjson)(\.\w+)?$|.*\.(gz|zst)$"
)
_QUOTES = f"""
    SELECT line, unnest(json_transform(quoted, '{json.dumps(_V1)}')) FROM (
        SELECT line, quoted_status AS quoted FROM parsed WHERE quoted_status IS NOT NULL
        UNION ALL SELECT line, retweeted_status.quoted_status FROM parsed
        WHERE retweeted_status.quoted_status IS NOT NULL
    )
"""


def _level(table: str, path: str = "", shared: str = "NULL") -> str:
    """The posts of v1.1 at a path of a table."""
    return f"""
        SELECT line, {path}id_str AS post_id, {path}user.id_str AS user_id,
            coalesce({path}extended_tweet.full_text, {path}full_text, {path}text) AS text,
            {path}lang AS lang, {path}created_at AS created_at, {shared} AS shared,
            {path}in_reply_to_status_id_str AS parent, {path}quoted_status_id_str AS quoted
        FROM {table} WHERE {path}id_str IS NOT NULL
    """


_V1_POSTS = (
    _level("parsed", shared="retweeted_status.id_str"),
    _level("parsed", "retweeted_status."),
    _level(f"({_QUOTES})"),
)
_LINE = {name: name for name in _V2} | {
    "text": "coalesce(extended_tweet.full_text, full_text, text)"
}
_V2_POSTS = f"""
    SELECT line, post.id AS post_id, post.author_id AS user_id,
        coalesce(post.note_tweet.text, post.text) AS text, post.lang AS lang,
        post.created_at AS created_at,
        list_filter(post.referenced_tweets, lambda other: other.type = 'retweeted')[1].id AS shared,
        list_filter(post.referenced_tweets, lambda other: other.type = 'replied_to')[1].id
            AS parent,
        list_filter(post.referenced_tweets, lambda other: other.type = 'quoted')[1].id AS quoted
    FROM (
        SELECT line, unnest(includes.tweets) AS post FROM parsed WHERE includes IS NOT NULL
        UNION ALL
        SELECT line, unnest(CASE WHEN json_type(data) = 'ARRAY'
            THEN json_transform(data, '{json.dumps([_V2])}')
            ELSE [json_transform(data, '{json.dumps(_V2)}')] END)
        FROM parsed WHERE data IS NOT NULL
        UNION ALL
        SELECT line, struct_pack({", ".join(f"{name} := {value}" for name, value in _LINE.items())})
        FROM parsed WHERE id_str IS NULL AND coalesce(author_id, text, full_text) IS NOT NULL
    ) WHERE post.id IS NOT NULL
"""
_ENGAGEMENT = f"""
    SELECT user_id, {{column}} AS post_id, {NO_ALIAS}, '{{relation}}' AS relation,
        coalesce(
            CAST(epoch(try_strptime(created_at, '%a %b %d %H:%M:%S +0000 %Y')) AS BIGINT),
            {ISO_SECONDS.format("created_at")}
        ) AS timestamp, post_id AS record, '' AS version
    FROM tweets WHERE {{column}} IS NOT NULL AND user_id IS NOT NULL {{condition}}
"""
_RELATIONS = (
    ("shared", "repost", ""),
    ("parent", "reply", "AND shared IS NULL"),
    ("quoted", "quote", "AND shared IS NULL"),
)


def matches(item: Mapping[str, Any]) -> bool:
    """True for a post of either version of the API, an answer of v2, or an archive's entry."""
    keys = item.keys()
    data = item.get("data")
    first = data[0] if isinstance(data, list) and data else data
    return (
        ("id_str" in keys and not keys.isdisjoint({"user", "full_text", "text"}))
        or {"id", "text", "author_id"} <= keys
        or {"id", "text", "edit_history_tweet_ids"} <= keys
        or keys in ({"tweet"}, {"like"}, {"delete"})
        or (isinstance(first, dict) and {"id", "text"} <= first.keys())
    )


def unwrap(document: Any, path: Path, user_id: str | None) -> Iterator[Mapping[str, Any]]:
    """The posts and likes of an archive's file, or of an array or answer of the API.

    Raises:
        ValueError: The file does not say whose posts or likes these are.
    """
    if isinstance(document, dict):
        document = document.get("statuses", [document])
    for item in document:
        if not isinstance(item, dict):
            continue
        post = item.get("tweet", item)
        if "like" in item or ("full_text" in post and "user" not in post):
            user_id = user_id or _find_owner(path)
            own = {"user": {"id_str": user_id}}
            yield item | own if "like" in item else _with_quote(post) | own
        else:
            yield post


def _with_quote(post: dict[str, Any]) -> dict[str, Any]:
    """An archive's post with the id of the post that its last link to one quotes."""
    if post["full_text"].startswith("RT @"):
        return {"archived_retweet": True}
    links = [str(url.get("expanded_url")) for url in post.get("entities", {}).get("urls", [])]
    quoted = [found.group(1) for link in links if (found := _POST_LINK.match(link))]
    return post | {"quoted_status_id_str": quoted[-1]} if quoted else post


def _find_owner(path: Path) -> str:
    account = path.parent / "account.js"
    if not account.is_file():
        raise ValueError(
            f"{path} does not say whose posts or likes these are: account.js of the archive is not "
            "beside it. Put it there, or give the account's id (`--user_id`)."
        )
    text = account.read_text(encoding="utf-8")
    return str(json.loads(text[text.index("[") :])[0]["account"]["accountId"])


FORMAT = LogFormat(
    name="x",
    title="X/Twitter: tweets.js and like.js of an archive, JSON lines of the API v1.1 or v2",
    structure=_STRUCTURE,
    matches=matches,
    tables={"tweets": " UNION ALL ".join([*_V1_POSTS, _V2_POSTS])},
    posts=f"""
        SELECT post_id, text, lang, '' AS version, {NO_ALIAS}, line FROM tweets
        WHERE shared IS NULL AND text IS NOT NULL
        UNION ALL
        SELECT "like".tweetId, "like".fullText, NULL, '', NULL, line FROM parsed
        WHERE "like".tweetId IS NOT NULL AND "like".fullText IS NOT NULL
    """,
    engagements=" UNION ALL ".join(
        [
            *(
                _ENGAGEMENT.format(column=column, relation=relation, condition=condition)
                for column, relation, condition in _RELATIONS
            ),
            f"""
                SELECT user.id_str, "like".tweetId, {NO_ALIAS}, 'like', NULL::BIGINT,
                    NULL::VARCHAR, '' FROM parsed WHERE "like".tweetId IS NOT NULL
            """,
        ]
    ),
    # The platform never gives an id again, so a deletion counts whenever it comes.
    removals="""
        SELECT delete.status.id_str AS record, '~' AS version, true AS is_delete FROM parsed
        WHERE delete.status.id_str IS NOT NULL
    """,
    skipped="""
        SELECT 'no post, such as limits or an archive''s retweets' AS reason FROM parsed
        WHERE line NOT IN (SELECT line FROM tweets) AND "like".tweetId IS NULL
            AND delete.status.id_str IS NULL
    """,
    reads_file=lambda name: _FILES.match(name) is not None,
    collections=frozenset({"statuses"}),
    unwrap=unwrap,
    has_entities=True,
)
