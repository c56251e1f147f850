"""X's posts inside of whatever is around them, what takes them back, the rest of an archive."""

import json

import pytest

SECOND = 1_539_202_764  # Wed Oct 10 20:19:24 +0000 2018
DATE = "Wed Oct 10 20:19:24 +0000 2018"
ISO = "2018-10-10T20:19:24.000Z"


def post(number, user, text, **more):
    """A post of v1.1."""
    number = str(number)
    user = {"id_str": str(user), "screen_name": "name"}
    return {"created_at": DATE, "id_str": number, "text": text, "lang": "en", "user": user} | more


FIRST = post(1, 10, "the first")
POSTS = [
    FIRST,
    post(2, 20, "RT @name: the first", retweeted_status=FIRST),
    post(3, 30, "@name yes", in_reply_to_status_id_str="1", in_reply_to_user_id_str="10"),
]
ENGAGEMENTS = [("20", "1", "repost", SECOND), ("30", "1", "reply", SECOND)]
TEXTS = [("1", "the first", "en"), ("3", "@name yes", "en")]
SEARCH = {"statuses": POSTS, "search_metadata": {"count": 3, "query": "x"}}
HITS = {"took": 1, "hits": {"hits": [{"_id": "a", "_source": item} for item in POSTS]}}
WRAPPED = {
    "search, one a line": [SEARCH],
    "envelopes": [{"capture_time": ISO, "payload": item} for item in POSTS],
    "JSON in a string": [{"offset": 1, "value": json.dumps(item)} for item in POSTS],
    "an array a line": [POSTS[:1], POSTS[1:]],
    "hits of a search engine": [HITS],
    "tweets of a webhook": [{"for_user_id": "10", "tweet_create_events": POSTS}],
    "tweet": [{"tweet": item} for item in POSTS],
}


@pytest.mark.parametrize("lines", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("repeat", [1, 3])
def test_whatever_is_around_posts_is_looked_through(load, write_lines, lines, repeat):
    report, engagements, posts = load("x", write_lines("log.jsonl", lines * repeat))
    assert (engagements, sorted(posts)) == (ENGAGEMENTS, TEXTS)
    assert report.skipped == {}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("document", [SEARCH, HITS, {"results": POSTS, "next": "x"}, [SEARCH]])
def test_one_answer_a_file(load, tmp_path, document, indent):
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(document, indent=indent))
    report, engagements, posts = load("x", path)
    assert (engagements, sorted(posts), report.lines) == (ENGAGEMENTS, TEXTS, 3)


def test_wrapped_lines_among_others(load, write_lines):
    plain = [post(number, 40, f"plain {number}") for number in range(100, 300)]
    limit = {"limit": {"track": 1}}
    report, engagements, posts = load("x", write_lines("log.jsonl", [*plain, limit, SEARCH]))
    assert (engagements, len(posts), report.lines) == (ENGAGEMENTS, 202, 202)
    assert list(report.skipped.values()) == [1]


def v2(number, user, text, *referenced, **more):
    ids = {"id": str(number), "author_id": str(user), "text": text, "created_at": ISO, "lang": "en"}
    return ids | {"referenced_tweets": list(referenced)} | more


def test_posts_embedded_in_references(load, write_lines):
    first = v2(1, 10, "the first…", note_tweet={"text": "the first, whole"})
    second = v2(2, 20, "so", {"type": "quoted", "id": "1"})
    lines = [
        v2(3, 30, "RT @name: the first", {"type": "retweeted", **first}),
        v2(4, 40, "@name yes", {"type": "replied_to", **second}, {"type": "quoted", "id": "9"}),
    ]
    report, engagements, posts = load("x", write_lines("log.jsonl", lines))
    assert set(engagements) == {
        ("30", "1", "repost", SECOND),
        ("20", "1", "quote", SECOND),
        ("40", "2", "reply", SECOND),
        ("40", "9", "quote", SECOND),
    }
    assert sorted(posts) == [
        ("1", "the first, whole", "en"),
        ("2", "so", "en"),
        ("4", "@name yes", "en"),
    ]
    assert (report.engagements_without_text, report.posts_without_text) == (1, 1)


def test_an_answer_without_posts_in_its_data(load, write_lines):
    user = {"data": {"id": "10", "name": "Ann"}, "includes": {"tweets": [v2(1, 10, "pinned")]}}
    assert load("x", write_lines("log.jsonl", [user]))[2] == [("1", "pinned", "en")]


# Every kind of message, what it is about, and what is left of POSTS and of 5, a reply to 3 by 50.
KINDS = {
    "v1.1 delete": ({"delete": {"status": {"id_str": "1", "user_id_str": "10"}}}, "post 1"),
    "v1.1 delete, number": ({"delete": {"status": {"id": 1, "user_id": 10}}}, "post 1"),
    "v1.1 status_withheld": ({"status_withheld": {"id": 1, "user_id": 10}}, "post 1"),
    "enterprise status_withheld": (
        {"status_withheld": {"status": {"id_str": "1"}, "withheld_in_countries": ["DE"]}},
        "post 1",
    ),
    "drop": ({"drop": {"status": {"id": 1}, "timestamp_ms": "1427"}}, "post 1"),
    "v2 delete": ({"data": {"delete": {"tweet": {"id": "1", "author_id": "10"}}}}, "post 1"),
    "v2 withheld": ({"data": {"withheld": {"tweet": {"id": "1"}, "event_at": ISO}}}, "post 1"),
    "batch": ({"id": "1", "action": "delete", "created_at": ISO, "reason": "deleted"}, "post 1"),
    "batch of accounts": ({"id": "10", "action": "delete", "created_at": ISO}, "user 10"),
    "user_suspend": ({"user_suspend": {"id": 10, "timestamp_ms": "1427"}}, "user 10"),
    "user_delete": ({"user_delete": {"id_str": "10"}}, "user 10"),
    "user_protect": ({"user_protect": {"id": 10}}, "user 10"),
    "user_withheld": ({"user_withheld": {"user": {"id": 10}}}, "user 10"),
    "v2 user_suspend": (
        {"data": {"user_suspend": {"user": {"id": "10"}, "event_at": ISO}}},
        "user 10",
    ),
    "scrub_geo": ({"scrub_geo": {"user_id": 10, "up_to_status_id": 1}}, "nothing"),
    "v2 scrub_geo": ({"data": {"scrub_geo": {"user": {"id": "10"}}}}, "nothing"),
    "batch scrub_geo": (
        {"id": "1", "action": "scrub_geo", "created_at": ISO, "reason": "scrub_geo"},
        "nothing",
    ),
}
LEFT = {
    "nothing": (["1", "3", "5"], ["20", "30", "50"]),
    # Its text, the repost and the reply; what answers the reply stays.
    "post 1": (["3", "5"], ["50"]),
    "user 10": (["3", "5"], ["50"]),
}


@pytest.mark.parametrize(("message", "about"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("place", ["after", "another file"])
def test_compliance(tmp_path, load, write_lines, message, about, place):
    log = [*POSTS, post(5, 50, "@x so", in_reply_to_status_id_str="3")]
    if place == "another file":
        write_lines("log/compliance.jsonl", [message])
        write_lines("log/posts.jsonl", log)
    else:
        write_lines("log/log.jsonl", [*log, message])
    report, engagements, posts = load("x", tmp_path / "log")
    texts, users = LEFT[about]
    assert sorted(row[0] for row in posts) == texts
    assert [row[0] for row in engagements] == users
    assert list(report.removals.values()) == [1]
    assert report.skipped == {}
    lost = {"nothing": (0, 0), "post 1": (2, 0), "user 10": (0, 2)}[about]
    assert (report.deleted_posts, report.inactive_accounts) == lost
    assert report.deleted_texts == (about != "nothing")


def test_a_suspended_account_takes_along_what_it_did(load, write_lines):
    lines = [{"user_suspend": {"id": 20}}, *POSTS, {"user_suspend": {"id": 30}}]
    report, engagements, posts = load("x", write_lines("log.jsonl", lines))
    assert engagements == []
    assert [row[0] for row in posts] == ["1"]
    assert (report.inactive_accounts, report.removals) == (2, {"user_suspend": 2})


def test_an_account_that_comes_back(load, write_lines):
    def told(kind, second):
        return {kind: {"id": 10, "timestamp_ms": str(1000 * second)}}

    back = [told("user_unsuspend", 20), told("user_suspend", 10)]
    assert len(load("x", write_lines("log.jsonl", [*POSTS, *back]))[1]) == 2
    # Another reason holds still.
    lines = [*POSTS, *back, told("user_protect", 5)]
    report, engagements, _ = load("x", write_lines("log.jsonl", lines))
    assert (engagements, report.inactive_accounts) == ([], 2)


def test_replies_to_a_suspended_account_whose_post_is_not_there(load, write_lines):
    lines = [POSTS[2], {"user_suspend": {"id": 10}}]
    assert load("x", write_lines("log.jsonl", lines))[1] == []


def test_messages_alone(load, write_lines, caplog):
    lines = [KINDS["batch"][0], KINDS["user_suspend"][0]]
    report, engagements, posts = load("x", write_lines("log.jsonl", lines))
    assert (engagements, posts) == ([], [])
    assert report.removals == {"delete": 1, "user_suspend": 1}
    assert "1 delete, 1 user_suspend" in caplog.text
    assert "together with the posts" in caplog.text


@pytest.fixture
def write_archive(tmp_path):
    def write(**files):
        data = tmp_path / "archive" / "data"
        data.mkdir(parents=True)
        files["account"] = [{"account": {"accountId": "77"}}]
        for name, items in files.items():
            text = f"window.YTD.{name}.part0 = {json.dumps(items)}"
            (data / f"{name.replace('_', '-')}.js").write_text(text)
        return tmp_path / "archive"

    return write


PLACEHOLDERS = [
    "This Post is from a suspended account. {learnmore}",
    "This Post is from an account that no longer exists. {learnmore}",
    "This Tweet was deleted by the Tweet author. {learnmore}",
    "You’re unable to view this Post because this account owner limits who can view their Posts. "
    "{learnmore}",
    "Dieser Post kommt von einem gesperrten Account. {learnMore} ",
    "This Post violated the X Rules. Learn more",
    "This Tweet is unavailable.",
]


@pytest.mark.parametrize("text", PLACEHOLDERS)
def test_placeholders_of_removed_posts(load, write_archive, text):
    likes = [("1", text), ("2", f"They say: {PLACEHOLDERS[0]} Why?")]
    entries = [{"like": {"tweetId": number, "fullText": text}} for number, text in likes]
    report, engagements, posts = load("x", write_archive(like=entries))
    assert engagements == [("77", "2", "like", None)]
    assert [row[0] for row in posts] == ["2"]
    assert report.skipped == {"placeholders of removed posts": 1}


def own(number, text, **more):
    tweet = {"id_str": number, "created_at": DATE, "full_text": text, "lang": "en"}
    return {"tweet": tweet | {"entities": {"urls": []}} | more}


def test_the_whole_text_of_long_posts(load, write_archive):
    def note(number, text, time=ISO):
        return {"noteTweet": {"noteTweetId": number, "createdAt": time, "core": {"text": text}}}

    whole = "A long story &amp; more of it than a post may hold, told in full"
    archive = write_archive(
        tweets=[
            own("100", "A long story &amp; more of it than a… https://t.co/abc"),
            own("101", "@name another one…", in_reply_to_status_id_str="1"),
            own("102", "short"),
        ],
        community_tweet=[own("103", "among us")],
        note_tweet=[
            note("900", whole.replace("&amp;", "&"), "2018-10-10T20:19:25.100Z"),
            note("901", "another one that goes on"),
            note("902", "A long story of another day", "2019-10-10T20:19:24.000Z"),
        ],
    )
    report, engagements, posts = load("x", archive)
    assert engagements == [("77", "1", "reply", SECOND)]
    assert sorted(posts) == [
        ("100", "A long story & more of it than a post may hold, told in full", "en"),
        ("101", "another one that goes on", "en"),
        ("102", "short", "en"),
        ("103", "among us", "en"),
        ("902", "A long story of another day", None),
    ]
    assert (report.files, report.post_repeats, report.skipped) == (3, 2, {})


def test_posts_as_the_web_site_has_them(load, write_lines):
    def result(number, user, text, **legacy):
        fields = {"id_str": number, "user_id_str": user, "full_text": text, "created_at": DATE}
        return {"__typename": "Tweet", "rest_id": number, "legacy": fields | legacy}

    first = result("1", "10", "the fir…")
    first["note_tweet"] = {"note_tweet_results": {"result": {"text": "the first, whole"}}}
    entry = result("2", "20", "RT @n: the fir…", retweeted_status_result={"result": first})
    lines = [
        {"data": {"user": {"timeline": [{"itemContent": {"tweet_results": {"result": entry}}}]}}}
    ]
    _, engagements, posts = load("x", write_lines("log.jsonl", lines))
    assert engagements == [("20", "1", "repost", SECOND)]
    assert posts == [("1", "the first, whole", None)]


def test_likes_of_a_webhook(load, write_lines):
    liked = {"id": "a", "created_at": DATE, "favorited_status": FIRST, "user": {"id_str": "20"}}
    _, engagements, posts = load("x", write_lines("log.jsonl", [{"favorite_events": [liked]}]))
    assert engagements == [("20", "1", "like", SECOND)]
    assert posts == TEXTS[:1]


def test_messages_of_another_service_are_no_posts(load, write_lines):
    chat = {"name": "chat", "messages": [{"id": 1, "type": "message", "text": "hello"}]}
    with pytest.raises(ValueError, match="first entry has name, messages"):
        load("x", write_lines("log.jsonl", [chat]))
