"""X/Twitter: an account's archive, and JSON of the API's versions 1.1 and 2.

- v1.1, one post a line (`tweet_mode=extended` or not): retweets and quotes with the post they
  share, replies by the id of their parent.
- v2, one answer a line (`data`, `includes`, in `data` one post or several), or one post a line,
  also with other posts embedded in its `referenced_tweets` (as twarc flattens answers). A line of
  either version that says no more than `id` and text is a post too.
- Whatever is around posts is looked through: a search's `statuses`, envelopes, events of webhooks.
- Compliance messages of both versions' streams, and the lines of batch compliance: deleted, dropped
  and withheld posts go, and all that accounts did which are deleted, suspended, protected or
  withheld at the end. Geo data are not read, so there is nothing to scrub.
- The archive: `tweets.js`, `community-tweet.js`, `note-tweet.js` (the whole text of long posts) and
  `like.js`, with the `account.js` beside them for whose they are. A retweet there does not say
  which post it repeats and is skipped; a quote is known by the link to a post in `entities.urls`.
  Likes of removed posts hold a sentence of the platform in place of the text and are skipped.

Sources: https://developer.x.com/en/docs/twitter-api/v1/data-dictionary,
https://developer.x.com/en/docs/twitter-api/data-dictionary,
https://developer.x.com/en/docs/x-api/compliance/streams/integrate/compliance-data-objects, and the
archive's own README.txt.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

from twhin_hf.errors import InputError
from twhin_hf.network.sources.log_files import is_media, read_head
from twhin_hf.network.sources.log_format import (
    ISO_SECONDS,
    MAYBE_USER,
    Found,
    LogFormat,
    Origin,
)

_V1: dict[str, Any] = {
    "id_str": "VARCHAR",
    "created_at": "VARCHAR",
    "lang": "VARCHAR",
    "text": "VARCHAR",
    "full_text": "VARCHAR",
    "extended_tweet": {"full_text": "VARCHAR"},
    "user": {"id_str": "VARCHAR", "id": "VARCHAR"},
    "user_id_str": "VARCHAR",
    "in_reply_to_status_id_str": "VARCHAR",
    "in_reply_to_user_id_str": "VARCHAR",
    "quoted_status_id_str": "VARCHAR",
}
_V2: dict[str, Any] = {
    "id": "VARCHAR",
    "author_id": "VARCHAR",
    "created_at": "VARCHAR",
    "lang": "VARCHAR",
    "text": "VARCHAR",
    "note_tweet": {"text": "VARCHAR"},
    "in_reply_to_user_id": "VARCHAR",
}
_REFERENCE = {"type": "VARCHAR", "id": "VARCHAR"}
_V2 = _V2 | {"referenced_tweets": [_V2 | _REFERENCE | {"referenced_tweets": [_REFERENCE]}]}
# A quoted post is rare, so it is kept as JSON and taken apart where there is one.
_SHARED = _V1 | {"quoted_status": "JSON"}
_STRUCTURE = (
    _V2
    | _SHARED
    | {
        "retweeted_status": _SHARED,
        "like": {"tweetId": "VARCHAR", "fullText": "VARCHAR"},
        "delete": {"status": {"id_str": "VARCHAR", "id": "VARCHAR"}},
        "action": "VARCHAR",
        "reason": "VARCHAR",
        "compliance": {"kind": "VARCHAR", "post": "VARCHAR", "user": "VARCHAR", "time": "VARCHAR"},
        "data": "JSON",
        "includes": {"tweets": [_V2]},
    }
)
_POST_LINK = re.compile(r"https?://(?:mobile\.|www\.)?(?:twitter|x)\.com/\w+/status/(\d+)")
_SCRIPTS = re.compile(
    r"((liked-|community-|note-)?tweets?|like|\d{4}_\d\d)(-part\d+)?\.js$", re.IGNORECASE
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
        SELECT line, {path}id_str AS post_id,
            coalesce({path}user.id_str, {path}user_id_str) AS user_id,
            coalesce({path}extended_tweet.full_text, {path}full_text, {path}text) AS text,
            {path}lang AS lang, {path}created_at AS created_at, {shared} AS shared,
            {path}in_reply_to_status_id_str AS parent,
            {path}in_reply_to_user_id_str AS parent_author, {path}quoted_status_id_str AS quoted
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
_INNER = {name: f"inner_post.{name}" for name in _V2} | {
    # As deep as the outer ones, so that both are of one type.
    "referenced_tweets": "json_transform(to_json(inner_post.referenced_tweets), "
    f"'{json.dumps(_V2['referenced_tweets'])}')"
}
_V2_POSTS = """
    SELECT line, post.id AS post_id, post.author_id AS user_id,
        coalesce(post.note_tweet.text, post.text) AS text, post.lang AS lang,
        post.created_at AS created_at,
        list_filter(post.referenced_tweets, lambda other: other.type = 'retweeted')[1].id AS shared,
        list_filter(post.referenced_tweets, lambda other: other.type = 'replied_to')[1].id
            AS parent,
        post.in_reply_to_user_id AS parent_author,
        list_filter(post.referenced_tweets, lambda other: other.type = 'quoted')[1].id AS quoted
    FROM all_v2
    WHERE post.id IS NOT NULL AND coalesce(post.author_id, post.text) IS NOT NULL
"""
_ALL_V2 = f"""
    WITH outer_posts AS (
        SELECT line, unnest(includes.tweets) AS post FROM parsed WHERE includes IS NOT NULL
        UNION ALL
        SELECT line, unnest(CASE WHEN json_type(data) = 'ARRAY'
            THEN json_transform(data, '{json.dumps([_V2])}')
            ELSE [json_transform(data, '{json.dumps(_V2)}')] END)
        FROM parsed WHERE data IS NOT NULL
        UNION ALL
        SELECT line, struct_pack({", ".join(f"{name} := {value}" for name, value in _LINE.items())})
        FROM parsed WHERE id_str IS NULL AND coalesce(author_id, text, full_text) IS NOT NULL
    )
    FROM outer_posts
    UNION ALL
    SELECT line, struct_pack({", ".join(f"{name} := {value}" for name, value in _INNER.items())})
    FROM (SELECT line, unnest(post.referenced_tweets) AS inner_post FROM outer_posts
          WHERE post.referenced_tweets IS NOT NULL)
"""
_SECONDS = f"""
    coalesce(
        CAST(epoch(try_strptime(created_at, '%a %b %d %H:%M:%S +0000 %Y')) AS BIGINT),
        {ISO_SECONDS.format("created_at")}
    )
"""
_ENGAGEMENT = f"""
    SELECT user_id, {{column}} AS post_id, NULL::VARCHAR AS alias, {{author}} AS author,
        '{{relation}}' AS relation,
        {_SECONDS} AS timestamp, post_id AS record, '' AS version
    FROM tweets WHERE {{column}} IS NOT NULL AND user_id IS NOT NULL {{condition}}
"""
_RELATIONS = (
    ("shared", "repost", "NULL", ""),
    ("parent", "reply", "parent_author", "AND shared IS NULL"),
    ("quoted", "quote", "NULL", "AND shared IS NULL"),
)


# Messages about posts and about accounts; an account is active again by the last kind's opposite.
_REMOVES_POST = ("delete", "drop", "withheld", "status_withheld")
_CHANGES_USER = ("user_delete", "user_suspend", "user_protect", "user_withheld")
_REVIVES_USER = ("user_undelete", "user_unsuspend", "user_unprotect")
_MESSAGES = (*_REMOVES_POST, "undrop", *_CHANGES_USER, *_REVIVES_USER, "scrub_geo")
_COMPLIANCE = f"""
    SELECT line, 'delete' AS kind, coalesce(delete.status.id_str, delete.status.id) AS post_id,
        NULL::VARCHAR AS user_id, NULL::BIGINT AS timestamp
    FROM parsed WHERE delete.status IS NOT NULL
    UNION ALL
    SELECT line, compliance.kind, compliance.post, compliance.user,
        coalesce(
            TRY_CAST(compliance.time AS BIGINT) // 1000, {ISO_SECONDS.format("compliance.time")}
        )
    FROM parsed WHERE compliance IS NOT NULL
    UNION ALL
    -- Batch compliance: it does not say whether the id is a post's or an account's.
    SELECT line, CASE WHEN 'scrub_geo' IN (action, reason) THEN 'scrub_geo' ELSE action END,
        id, id, NULL::BIGINT
    FROM parsed WHERE action IS NOT NULL AND id IS NOT NULL
"""
# What the platform writes in place of a text that may not be seen any more.
_SENTENCES = "|".join(
    (
        "is from a suspended account",
        "is from an account that no longer exists",
        "was deleted by the (Post|Tweet) author",
        "is unavailable",
        "is no longer available",
        "violated the (X|Twitter) Rules",
    )
)
_PLACEHOLDER = rf"""
    regexp_matches(trim("like".fullText), '(?i)\{{\s*learn_?\s?more\s*\}}$') OR regexp_full_match(
        trim("like".fullText), '(?i)This (Post|Tweet) ({_SENTENCES})\.?( Learn more\.?)?')
"""
# The ids of v1.1, which stand there as strings (`id_str`) too.
_NUMBERS = ("id", "in_reply_to_status_id", "in_reply_to_user_id", "quoted_status_id")
_OWN_FIELDS = {
    "author_id",
    "edit_history_tweet_ids",
    "conversation_id",
    "referenced_tweets",
    "public_metrics",
    "extended_tweet",
    "user_id_str",
    "created_at",
    "lang",
}


def take(item: Mapping[str, Any], origin: Origin) -> Found:
    """A post, answer or message as it is; an archive's entry with its owner.

    Raises:
        InputError: An archive does not say whose posts or likes these are.
    """
    keys = item.keys()
    post = item.get("tweet", item)
    if isinstance(post, dict) and _is_archived(post, "tweet" in keys or _is_script(origin.path)):
        return Found([_with_quote(post) | _own(origin)])
    if isinstance(item.get("like"), dict) and "tweetId" in item["like"]:
        return Found([item if "user" in keys else {**item, **_own(origin)}])
    if isinstance(item.get("noteTweet"), dict):
        return Found([_read_note(item["noteTweet"], origin) | _own(origin)])
    if isinstance(item.get("legacy"), dict) and "id_str" in item["legacy"]:
        return Found([_read_web_post(item)])
    if {"favorited_status", "user"} <= keys and isinstance(item["favorited_status"], dict):
        liked = {"like": {"tweetId": item["favorited_status"].get("id_str")}, "user": item["user"]}
        return Found([liked | {"created_at": item.get("created_at")}], [item["favorited_status"]])
    if "id_str" not in keys and _at(item, "user", "id") is not None:
        item = _with_strings(item)
        keys = item.keys()
    message = next((name for name in _MESSAGES if isinstance(item.get(name), dict)), None)
    if message is not None:
        return Found(_read_message(message, item[message]))
    if _is_post(item) or {"id", "action", "created_at"} <= keys or _is_answer(item.get("data")):
        return Found([item])
    return Found(inside=list(item.values()))


def _with_strings(post: Mapping[str, Any]) -> dict[str, Any]:
    """A post of v1.1 whose ids are there as numbers alone, as some tools keep it."""
    changed: dict[str, Any] = {
        f"{name}_str": str(post[name])
        for name in _NUMBERS
        if isinstance(post.get(name), int) and post.get(f"{name}_str") is None
    }
    for name in ("user", "retweeted_status", "quoted_status"):
        if isinstance(post.get(name), dict):
            changed[name] = _with_strings(post[name])
    return {**post, **changed}


def _is_post(item: Mapping[str, Any]) -> bool:
    keys = item.keys()
    if keys.isdisjoint({"text", "full_text"}):
        return False
    return "id_str" in keys or (
        "id" in keys and (len(keys) == 2 or not keys.isdisjoint(_OWN_FIELDS))
    )


def _is_answer(data: Any) -> bool:
    first = data[0] if isinstance(data, list) and data else data
    return isinstance(first, dict) and {"id", "text"} <= first.keys()


def _is_archived(post: Mapping[str, Any], may_be: bool) -> bool:
    """Whether a post is of an archive, which does not say whose it is."""
    return (
        may_be
        and {"id_str", "full_text"} <= post.keys()
        and not post.keys() & {"user", "user_id_str"}
    )


def _is_script(path: Path) -> bool:
    return path.suffix.lower() == ".js"


def _own(origin: Origin) -> dict[str, Any]:
    owner = origin.user_id if origin.user_id is not None else _find_owner(origin.path)
    return {"user": {"id_str": owner}}


def _with_quote(post: Mapping[str, Any]) -> dict[str, Any]:
    """An archive's post with the id of the post that its last link to one quotes."""
    if post["full_text"].startswith("RT @"):
        return {"archived_retweet": True}
    links = [str(_at(url, "expanded_url")) for url in _at(post, "entities", "urls") or []]
    quoted = [found.group(1) for link in links if (found := _POST_LINK.match(link))]
    return {**post, "quoted_status_id_str": quoted[-1]} if quoted else {**post}


def _read_note(note: Mapping[str, Any], origin: Origin) -> dict[str, Any]:
    """The whole text of a long post, under the id of the post that holds its beginning.

    A note has an id of its own, so its post is known by the second and the beginning alone.
    """
    text = str((note.get("core") or {}).get("text") or "")
    if "posts" not in origin.cache:
        origin.cache["posts"] = _read_posts_beside(origin)
    time = _seconds(note.get("createdAt")) or 0
    near = [origin.cache["posts"].get(second, []) for second in range(time - 2, time + 3)]
    for post in chain.from_iterable(near):
        if post["id_str"] == note.get("noteTweetId") or _begins(post["full_text"], text):
            return _with_quote(post) | {"full_text": text}
    return {
        "id_str": str(note.get("noteTweetId")),
        "full_text": text,
        "created_at": note.get("createdAt"),
    }


def _read_posts_beside(origin: Origin) -> dict[int, list[dict[str, Any]]]:
    """The posts of the archive that a file belongs to, by their second."""
    posts: dict[int, list[dict[str, Any]]] = {}
    for path in sorted(origin.path.parent.glob("*.js")):
        if _SCRIPTS.match(path.name) and "tweet" in path.name and path != origin.path:
            for item in read_head(path).document or []:
                post = item.get("tweet", item) if isinstance(item, dict) else {}
                second = _seconds(post.get("created_at"))
                if second is not None and _is_archived(post, True):
                    posts.setdefault(second, []).append(post)
    return posts


def _begins(post: str, note: str) -> bool:
    """Whether a shortened text is the beginning of a whole one, links and mentions aside."""
    start, whole = (
        " ".join(re.sub(r"^(@\w+\s+)+", "", html.unescape(text)).split()) for text in (post, note)
    )
    start = re.split(r"…|https?://", start)[0].strip()
    return whole.startswith(start)


def _seconds(time: Any) -> int | None:
    """Seconds since 1970 of a date of v1.1 or of ISO."""
    text = str(time)
    pattern = "%Y-%m-%dT%H:%M:%S.%f%z" if "T" in text[:11] else "%a %b %d %H:%M:%S %z %Y"
    try:
        return int(datetime.strptime(text.replace("Z", "+0000"), pattern).timestamp())
    except ValueError:
        return None


def _read_web_post(result: Mapping[str, Any]) -> dict[str, Any]:
    """A post as the web site's own answers have it, in the shape of v1.1."""
    legacy = result["legacy"]
    note = _at(result, "note_tweet", "note_tweet_results", "result", "text")
    post = {**legacy, **({"full_text": note} if note else {})}
    shared = _at(legacy, "retweeted_status_result", "result")
    quoted = _at(result, "quoted_status_result", "result")
    for name, other in (("retweeted_status", shared), ("quoted_status", quoted)):
        other = _at(other, "tweet") or other
        if isinstance(_at(other, "legacy"), dict):
            post[name] = _read_web_post(other)
    return post


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _read_message(kind: str, content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A compliance message of either version in one shape."""
    post = content.get("status") or content.get("tweet")
    user = content.get("user")
    if kind in (*_REMOVES_POST, "undrop"):
        post = post or content
        message = {"post": post.get("id_str") or post.get("id")}
    else:
        user = user or content
        message = {"user": user.get("id_str") or user.get("id") or user.get("user_id")}
    if not any(message.values()):
        return []
    time = content.get("event_at") or content.get("timestamp_ms")
    return [{"compliance": {"kind": kind, "time": time} | message}]


def _find_owner(path: Path) -> str:
    account = path.parent / "account.js"
    if not account.is_file():
        raise InputError(
            f"{path} does not say whose posts or likes these are: account.js of the archive is not "
            "beside it. Put it there, or give the account's id (`--user_id`).",
            faq="whose-archive",
        )
    return str(read_head(account).document[0]["account"]["accountId"])


FORMAT = LogFormat(
    name="x",
    title="X/Twitter: tweets.js, like.js and so on of an archive, JSON of the API v1.1 or v2",
    structure=_STRUCTURE,
    is_event="""
        (id_str IS NOT NULL AND coalesce(extended_tweet.full_text, full_text, text) IS NOT NULL)
        OR (id IS NOT NULL AND coalesce(author_id, text, full_text, action) IS NOT NULL
            AND user.id IS NULL)
        OR coalesce(json_extract_string(data, '$.text'), json_extract_string(data, '$[0].text'))
            IS NOT NULL
        OR "like".tweetId IS NOT NULL OR delete.status IS NOT NULL OR compliance IS NOT NULL
    """,
    take=take,
    tables={
        "all_v2": _ALL_V2,
        "tweets": " UNION ALL ".join([*_V1_POSTS, _V2_POSTS]),
        "compliance_messages": _COMPLIANCE,
        "likes": f"""
            SELECT line, user.id_str AS user_id, "like".tweetId AS post_id, "like".fullText AS text,
                {_SECONDS} AS timestamp, coalesce({_PLACEHOLDER}, false) AS is_placeholder
            FROM parsed WHERE "like".tweetId IS NOT NULL
        """,
    },
    posts="""
        SELECT post_id, text, lang AS langs, user_id AS author, '' AS version, line FROM tweets
        WHERE shared IS NULL AND text IS NOT NULL
        UNION ALL
        SELECT post_id, text, NULL, NULL, '', line FROM likes
        WHERE text IS NOT NULL AND NOT is_placeholder
    """,
    engagements=" UNION ALL ".join(
        [
            *(
                _ENGAGEMENT.format(
                    column=column, relation=relation, author=author, condition=condition
                )
                for column, relation, author, condition in _RELATIONS
            ),
            """
                SELECT user_id, post_id, NULL, NULL, 'like', timestamp, NULL, '' FROM likes
                WHERE NOT is_placeholder
            """,
        ]
    ),
    # The platform never gives an id again, so a deletion counts whenever it comes.
    removals=f"""
        SELECT post_id AS record, NULL AS alias, '~' AS version, true AS is_delete
        FROM compliance_messages WHERE post_id IS NOT NULL AND kind IN {_REMOVES_POST}
    """,
    accounts=f"""
        SELECT user_id, CASE WHEN kind LIKE 'user_%' THEN replace(kind, 'user_un', 'user_')
            ELSE '{MAYBE_USER}' END AS kind, kind IN {_REVIVES_USER} AS is_active, timestamp, line
        FROM compliance_messages WHERE user_id IS NOT NULL AND kind <> 'scrub_geo'
    """,
    messages="SELECT kind FROM compliance_messages",
    skipped="""
        SELECT 'no post, such as limits or an archive''s retweets' AS reason FROM parsed
        WHERE line NOT IN (SELECT line FROM tweets) AND line NOT IN (SELECT line FROM likes)
            AND line NOT IN (SELECT line FROM compliance_messages)
        UNION ALL
        SELECT 'placeholders of removed posts' FROM likes WHERE is_placeholder
    """,
    reads_file=lambda name: (
        _SCRIPTS.match(name) is not None if name.lower().endswith(".js") else not is_media(name)
    ),
    owner_file="account.js",
    texts_from="X's lookup of posts by id",
    has_owner=True,
    has_entities=True,
)
