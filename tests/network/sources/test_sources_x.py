"""X's logs: an account's archive, and the API's versions 1.1 and 2."""

import json

import pytest

from twhin_hf.errors import InputError

SECOND = 1_539_202_764  # Wed Oct 10 20:19:24 +0000 2018
DATE = "Wed Oct 10 20:19:24 +0000 2018"


def post(number, user, text, **more):
    """A post of v1.1."""
    return {
        "created_at": DATE,
        "id": number,
        "id_str": str(number),
        "text": text,
        "lang": "en",
        "user": {"id": user, "id_str": str(user), "screen_name": "name"},
        "in_reply_to_status_id_str": None,
        "entities": {"hashtags": [], "urls": []},
        **more,
    }


LONG = "a text above 140 characters &amp; more"
FIRST = post(1, 10, "short…", truncated=True, extended_tweet={"full_text": LONG})
QUOTED = post(2, 20, "look", quoted_status_id_str="1", quoted_status=FIRST)
V1 = [
    post(3, 30, "RT @name: short…", retweeted_status=FIRST),
    QUOTED,
    post(4, 40, "RT @x: look", retweeted_status=QUOTED, quoted_status_id_str="1"),
    {**post(5, 30, "ja"), "in_reply_to_status_id_str": "2", "lang": "in"},
    post(6, 50, "oops", in_reply_to_status_id_str="2"),
    {"delete": {"status": {"id": 6, "id_str": "6", "user_id_str": "50"}, "timestamp_ms": "1"}},
    {"limit": {"track": 1, "timestamp_ms": "1"}},
    {key: value for key, value in post(7, 30, "").items() if key != "text"}
    | {"full_text": "extended mode", "lang": "und"},
    post(3, 30, "RT @name: short…", retweeted_status=FIRST),
]


def test_v1_counts_by_hand(load, write_lines):
    report, engagements, posts = load("x", write_lines("log.jsonl", V1))
    assert engagements == [
        ("20", "1", "quote", SECOND),
        ("30", "1", "repost", SECOND),
        ("30", "2", "reply", SECOND),
        ("40", "2", "repost", SECOND),
    ]
    assert sorted(posts) == [
        ("1", "a text above 140 characters & more", "en"),
        ("2", "look", "en"),
        ("5", "ja", "id"),
        ("7", "extended mode", None),
    ]
    assert report.lines == 9
    assert list(report.skipped.values()) == [1]  # the limit
    # Reposts 3, quotes 2 (the retweet brings the quoting post again), replies 2.
    assert (report.engagements_read, report.undone, report.repeats) == (7, 1, 2)
    # 1 four times, 2 twice, 5, 6, 7; 6 was deleted.
    assert (report.posts_read, report.post_repeats, report.deleted_texts) == (9, 4, 1)


def without_strings(value):
    """A post of which only the numbers of its ids are left."""
    if not isinstance(value, dict):
        return value
    numbers = {
        name.removesuffix("_str"): int(own)
        for name, own in value.items()
        if name.endswith("_str") and own is not None
    }
    others = {
        name: without_strings(own) for name, own in value.items() if not name.endswith("_str")
    }
    return others | numbers


def test_v1_of_numbers_alone_counts_the_same(load, write_lines):
    with_strings = load("x", write_lines("log.jsonl", V1))
    numbers = [post if "delete" in post else without_strings(post) for post in V1]
    assert "id_str" not in json.dumps(numbers[:4])
    assert load("x", write_lines("log.jsonl", numbers))[1:] == with_strings[1:]


def test_the_whole_text_is_kept_whichever_comes_first(load, write_lines):
    short = post(1, 10, "short…", truncated=True)
    for order in ([short, FIRST], [FIRST, short]):
        _, _, posts = load("x", write_lines("log.jsonl", [*order, V1[1]]))
        assert ("1", "a text above 140 characters & more", "en") in posts


def test_posts_of_no_more_than_id_and_text(load, write_lines):
    lines = [
        {"id": "1", "text": "of v2", "edit_history_tweet_ids": ["1"]},
        {"id": 2, "text": "cut…", "extended_tweet": {"full_text": "of v1.1"}},
        {"id": "3", "username": "no post"},
    ]
    report, engagements, posts = load("x", write_lines("log.jsonl", lines))
    assert (engagements, sorted(posts)) == ([], [("1", "of v2", None), ("2", "of v1.1", None)])
    assert list(report.skipped.values()) == [1]


def v2(number, user, text, *referenced):
    return {
        "id": str(number),
        "author_id": str(user),
        "text": text,
        "lang": "en",
        "created_at": "2018-10-10T20:19:24.000Z",
        "edit_history_tweet_ids": [str(number)],
        "referenced_tweets": [{"type": kind, "id": str(other)} for kind, other in referenced],
    }


REPOST = v2(3, 30, "RT @name: sho…", ("retweeted", 1))
BOTH = v2(5, 30, "reply that quotes", ("replied_to", 2), ("quoted", 1))
NOTE = v2(1, 10, "sho…") | {"note_tweet": {"text": "short, in whole"}}
V2_ENGAGEMENTS = [
    ("30", "1", "quote", SECOND),
    ("30", "1", "repost", SECOND),
    ("30", "2", "reply", SECOND),
]


@pytest.mark.parametrize("shape", ["answers", "one in data", "posts", "document"])
def test_v2_counts_by_hand(load, write_lines, tmp_path, shape):
    includes = {"tweets": [NOTE], "users": [{"id": "10", "username": "name"}]}
    answer = {"data": [REPOST, BOTH], "includes": includes, "meta": {"result_count": 2}}
    lines = {
        "answers": [answer],
        "one in data": [{"data": REPOST, "includes": includes}, {"data": BOTH}],
        "posts": [REPOST, BOTH, NOTE],
    }
    if shape == "document":
        path = tmp_path / "answer.json"
        path.write_text(json.dumps(answer, indent=2))
    else:
        path = write_lines("log.jsonl", lines[shape])
    report, engagements, posts = load("x", path)
    assert engagements == V2_ENGAGEMENTS
    assert sorted(posts) == [("1", "short, in whole", "en"), ("5", "reply that quotes", "en")]
    assert (report.skipped, report.repeats) == ({}, 0)


@pytest.fixture
def archive(tmp_path):
    data = tmp_path / "archive" / "data"
    data.mkdir(parents=True)

    def own(number, text, **more):
        urls = [{"url": "https://t.co/a", "expanded_url": url} for url in more.pop("urls", [])]
        return {
            "tweet": {
                "id_str": str(number),
                "created_at": DATE,
                "full_text": text,
                "lang": "en",
                "entities": {"urls": urls},
                **more,
            }
        }

    tweets = [
        own(100, "hello &gt; world"),
        own(101, "@name right", in_reply_to_status_id_str="1", in_reply_to_user_id_str="10"),
        own(102, "RT @name: short…"),
        own(103, "see https://t.co/a", urls=["https://e.org", "https://x.com/name/status/1"]),
    ]
    likes = [
        {"like": {"tweetId": "1", "fullText": "a text I like", "expandedUrl": "https://x"}},
        {"like": {"tweetId": "8", "expandedUrl": "https://x"}},
    ]
    account = [{"account": {"accountId": "77", "username": "me"}}]
    files = {
        "tweets.js": ("tweets", tweets[:2]),
        "tweets-part1.js": ("tweets", tweets[2:]),
        "like.js": ("like", likes),
        "account.js": ("account", account),
        "direct-messages.js": ("direct_messages", [{"dmConversation": {}}]),
    }
    for name, (key, items) in files.items():
        (data / name).write_text(f"window.YTD.{key}.part0 = {json.dumps(items, indent=2)}")
    return tmp_path / "archive"


def test_archive_counts_by_hand(load, archive):
    report, engagements, posts = load("x", archive)
    assert engagements == [
        ("77", "1", "quote", SECOND),
        ("77", "1", "reply", SECOND),
        ("77", "1", "like", None),
        ("77", "8", "like", None),
    ]
    assert sorted(posts) == [
        ("1", "a text I like", None),
        ("100", "hello > world", "en"),
        ("101", "@name right", "en"),
        ("103", "see https://t.co/a", "en"),
    ]
    assert (report.files, report.lines) == (3, 6)
    assert list(report.skipped.values()) == [1]  # the retweet


def test_an_archive_whose_files_a_formatter_has_ended_with_semicolons(load, archive):
    expected = load("x", archive)
    for path in (archive / "data").iterdir():
        path.write_text(path.read_text() + ";\n")
    assert load("x", archive) == expected


def test_an_archive_whose_owner_liked_and_wrote_nothing(load, archive):
    for path in (archive / "data").iterdir():
        if path.name != "account.js":
            path.write_text("window.YTD.x.part0 = []")
    with pytest.raises(InputError, match="holds no post and no engagement that stands: 0 lines"):
        load("x", archive)


def test_an_archive_without_its_account(load, archive):
    (archive / "data" / "account.js").unlink()
    with pytest.raises(ValueError, match=r"does not say whose posts or likes.*--user_id"):
        load("x", archive)
    assert {row[0] for row in load("x", archive, user_id="5")[1]} == {"5"}
