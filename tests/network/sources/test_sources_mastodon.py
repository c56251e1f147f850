"""Mastodon's logs: the API's statuses and lists, and an account's archive."""

import json

import pytest

HOST = "https://one.example"
ANN, BOB, EVE = (f"{HOST}/users/{name}" for name in ("ann", "bob", "eve"))
FAR = "https://two.example/users/far"
SECOND = 1_587_055_508  # 2020-04-16T16:45:08Z
PUBLIC = "https://www.w3.org/ns/activitystreams#Public"


def account(name, **more):
    return {"id": "7", "username": name, "acct": name, "url": f"{HOST}/@{name}", **more}


def status(number, name, content, second=0, **more):
    return {
        "id": str(number),
        "uri": f"{HOST}/users/{name}/statuses/{number}",
        "url": f"{HOST}/@{name}/{number}",
        "created_at": f"2020-04-16T16:45:{8 + second:02}.000Z",
        "visibility": "public",
        "language": "en",
        "in_reply_to_id": None,
        "reblog": None,
        "content": content,
        "account": account(name),
        **more,
    }


FIRST = status(1, "ann", "<p>Tea &amp; cake<br />for <b>all</b> &lt;3</p><p>Second</p>")
URI = FIRST["uri"]
FAR_STATUS = {
    "id": "2",
    "uri": "https://two.example/notes/abc",
    "created_at": "2020-04-16T16:45:00.000Z",
    "visibility": "unlisted",
    "language": "pt-BR",
    "content": "<p>olá</p>",
    "account": {"acct": "far@two.example", "uri": FAR, "url": "https://two.example/u/far"},
}
STATUSES = [
    FIRST | {"favourited_by": [account("bob"), account("eve", uri=EVE)]},
    status(3, "bob", "", 1, reblog=FAR_STATUS | {"favourited_by": [account("ann")]}, language=None),
    status(4, "bob", "<p>yes</p>", 2, in_reply_to_id="1"),
    status(5, "eve", "<p>see</p>", 3, quote={"state": "accepted", "quoted_status": FIRST}),
    status(6, "eve", "<p>to whom?</p>", 4, in_reply_to_id="99"),
    status(7, "ann", "<p>secret</p>", 5, visibility="direct", in_reply_to_id="4"),
    status(8, "ann", "<p>later</p>", 6, language=None),
    {"uri": FAR_STATUS["uri"], "reblogged_by": [account("eve")]},
    FIRST | {"content": "<p>Tea</p>", "edited_at": "2020-04-17T00:00:00.000Z"},
]
ENGAGEMENTS = [
    (BOB, FAR_STATUS["uri"], "repost", SECOND + 1),
    (BOB, URI, "reply", SECOND + 2),
    (EVE, URI, "quote", SECOND + 3),
    (ANN, FAR_STATUS["uri"], "like", None),
    (BOB, URI, "like", None),
    (EVE, URI, "like", None),
    (EVE, FAR_STATUS["uri"], "repost", None),
]


def test_statuses_counts_by_hand(load, write_lines):
    report, engagements, posts = load("mastodon", write_lines("log.jsonl", STATUSES))
    assert sorted(engagements, key=lambda row: (row[3] is None, row[3])) == engagements
    assert set(engagements) == set(ENGAGEMENTS)
    assert [(row[0].rsplit("/", 1)[-1], *row[1:]) for row in posts] == [
        ("abc", "olá", "pt"),
        ("4", "yes", "en"),
        ("5", "see", "en"),
        ("6", "to whom?", "en"),
        ("8", "later", None),
        ("1", "Tea", "en"),
    ]
    assert report.skipped == {"not public": 1}
    assert (report.engagements_read, report.unknown_posts, report.repeats) == (8, 1, 0)
    # Texts: 1 three times (alone, quoted, edited), 4, 5, 6, 8 and abc.
    assert (report.posts_read, report.post_repeats, report.num_posts) == (8, 2, 6)
    assert (report.lines, report.unknown_languages) == (9, 1)


def test_paragraphs_and_entities_become_plain_text(load, write_lines):
    _, _, posts = load("mastodon", write_lines("log.jsonl", [FIRST]))
    assert posts == [(URI, "Tea & cake\nfor all <3\n\nSecond", "en")]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_is_read_like_lines(load, tmp_path, indent):
    path = tmp_path / "statuses.json"
    path.write_text(json.dumps(STATUSES, indent=indent), encoding="utf-8")
    report, engagements, posts = load("mastodon", path)
    assert set(engagements) == set(ENGAGEMENTS)
    assert len(posts) == 6
    assert report.lines == 9


def test_pages_of_the_api_one_a_line(load, tmp_path):
    path = tmp_path / "pages.jsonl"
    path.write_text(json.dumps(STATUSES[:4]) + "\n" + json.dumps(STATUSES[4:]) + "\n")
    assert set(load("mastodon", path)[1]) == set(ENGAGEMENTS)


def test_a_status_in_its_context(load, tmp_path):
    path = tmp_path / "context.json"
    path.write_text(json.dumps({"ancestors": [FIRST], "descendants": STATUSES[2:3]}))
    assert load("mastodon", path)[1] == [(BOB, URI, "reply", SECOND + 2)]


def note(number, content, **more):
    uri = f"{ANN}/statuses/{number}"
    return {
        "id": f"{uri}/activity",
        "type": "Create",
        "actor": ANN,
        "published": "2020-04-16T16:45:08Z",
        "to": [PUBLIC],
        "cc": [f"{ANN}/followers"],
        "object": {
            "id": uri,
            "type": "Note",
            "inReplyTo": None,
            "attributedTo": ANN,
            "content": content,
            "contentMap": {"de": content},
            **more,
        },
    }


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    announce = {
        "id": f"{ANN}/statuses/13/activity",
        "type": "Announce",
        "actor": ANN,
        "published": "2020-04-16T16:45:09Z",
        "to": [PUBLIC],
        "object": FAR_STATUS["uri"],
    }
    items = [
        note(11, "<p>Grüße</p>"),
        note(12, "<p>ja</p>", inReplyTo=f"{BOB}/statuses/4"),
        announce,
        note(14, "<p>only you</p>") | {"to": [BOB], "cc": []},
        note(15, "<p>so</p>", quote=f"{BOB}/statuses/5"),
        note(16, "<p>oops</p>"),
        {"type": "Delete", "actor": ANN, "object": f"{ANN}/statuses/16", "id": "y"},
    ]
    outbox = {"@context": PUBLIC, "id": "outbox.json", "type": "OrderedCollection"}
    likes = {"id": "likes.json", "type": "OrderedCollection"}
    bookmarks = {"id": "bookmarks.json", "type": "OrderedCollection", "orderedItems": [URI]}
    files = {
        "actor.json": {"id": ANN, "type": "Person"},
        "outbox.json": outbox | {"orderedItems": items},
        "likes.json": likes | {"orderedItems": [URI, FAR_STATUS["uri"]]},
        "bookmarks.json": bookmarks,
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "avatar.png").write_bytes(b"\x89PNG")
    return folder


def test_archive_counts_by_hand(load, archive):
    report, engagements, posts = load("mastodon", archive)
    assert set(engagements) == {
        (ANN, f"{BOB}/statuses/4", "reply", SECOND),
        (ANN, f"{BOB}/statuses/5", "quote", SECOND),
        (ANN, FAR_STATUS["uri"], "repost", SECOND + 1),
        (ANN, URI, "like", None),
        (ANN, FAR_STATUS["uri"], "like", None),
        (ANN, URI, "bookmark", None),
    }
    assert [row[1:] for row in posts] == [("Grüße", "de"), ("ja", "de"), ("so", "de")]
    assert (report.files, report.lines, report.passed_over) == (3, 10, ["avatar.png"])
    assert (report.skipped, report.removals) == ({"not public": 1}, {"delete": 1})


def test_favourites_without_their_account(load, archive, tmp_path):
    alone = tmp_path / "likes.json"
    alone.write_text((archive / "likes.json").read_text())
    with pytest.raises(ValueError, match=r"does not say whose favourites.*actor\.json.*--user_id"):
        load("mastodon", alone)
    report, engagements, _ = load("mastodon", alone, user_id=EVE)
    assert engagements[0][0] == EVE
    assert report.num_engagements == 2


def test_lists_that_say_too_little(load, archive, tmp_path):
    path = tmp_path / "followers.json"
    path.write_text(json.dumps({"id": "followers.json", "orderedItems": [BOB]}))
    with pytest.raises(ValueError, match=r"list of followers; read are those of the outbox"):
        load("mastodon", path)
    path = tmp_path / "favourited_by.json"
    path.write_text(json.dumps([account("bob")]))
    with pytest.raises(ValueError, match=r"list of accounts that does not say which status.*jq -c"):
        load("mastodon", path)


SEARCH = {"accounts": [account("bob")], "statuses": STATUSES, "hashtags": [{"name": "tea"}]}


@pytest.mark.parametrize("name", ["log.jsonl", "answer.json"])
def test_a_search(load, tmp_path, name):
    text = json.dumps(SEARCH) + "\n" if name == "log.jsonl" else json.dumps(SEARCH, indent=1)
    (tmp_path / name).write_text(text * (2 if name == "log.jsonl" else 1))
    report, engagements, posts = load("mastodon", tmp_path / name)
    assert set(engagements) == set(ENGAGEMENTS)
    assert (len(posts), report.skipped["not public"]) == (6, 2 if name == "log.jsonl" else 1)


def notification(kind, name, second=20, **more):
    time = {"created_at": f"2020-04-16T16:45:{8 + second}.000Z"}
    return {"id": "9", "type": kind, "account": account(name), **time, **more}


@pytest.mark.parametrize("as_array", [False, True])
def test_notifications(load, tmp_path, as_array):
    items = [
        notification("favourite", "bob", status=FIRST),
        notification("reblog", "eve", 21, status=FIRST),
        notification("mention", "bob", status=STATUSES[2]),
        notification("follow", "eve"),
        notification("favourite", "bob", status=STATUSES[5]),
    ]
    path = tmp_path / "notifications.json"
    path.write_text(json.dumps(items) if as_array else "\n".join(map(json.dumps, items)))
    report, engagements, posts = load("mastodon", path)
    assert engagements == [
        (BOB, URI, "reply", SECOND + 2),
        (BOB, URI, "like", SECOND + 20),
        (EVE, URI, "repost", SECOND + 21),
    ]
    assert [row[1] for row in posts] == ["Tea & cake\nfor all <3\n\nSecond", "yes"]
    assert report.skipped == {"no status": 1, "not public": 1}


def test_notifications_in_groups(load, tmp_path):
    group = {"type": "favourite", "status_id": "1", "sample_account_ids": ["7", "8", "99"]}
    others = [{"type": "follow", "sample_account_ids": ["7"]}, group | {"status_id": "98"}]
    answer = {
        "accounts": [account("bob"), account("eve") | {"id": "8"}],
        "statuses": [FIRST],
        "notification_groups": [group, *others],
    }
    (tmp_path / "groups.json").write_text(json.dumps(answer))
    _, engagements, posts = load("mastodon", tmp_path / "groups.json")
    assert engagements == [(BOB, URI, "like", None), (EVE, URI, "like", None)]
    assert len(posts) == 1


BOOST = status(13, "bob", "", 3, reblog=FIRST)
STREAM = [
    ("update", json.dumps(FIRST)),
    ("update", json.dumps(STATUSES[2])),
    ("update", json.dumps(BOOST)),
    ("notification", json.dumps(notification("favourite", "eve", status=FIRST))),
    ("update", json.dumps(STATUSES[6])),
    ("status.update", json.dumps(STATUSES[8])),
    ("delete", "8"),
    ("delete", "13"),
    ("filters_changed", ""),
]


@pytest.mark.parametrize("shape", ["envelopes", "objects", "as sent"])
def test_streams(load, tmp_path, shape):
    if shape == "as sent":
        lines = [f"event: {name}\ndata: {payload}\n" for name, payload in STREAM]
        lines[2:2] = [":)", ":thump"]
    else:
        events = [{"stream": ["public"], "event": name, "payload": text} for name, text in STREAM]
        if shape == "objects":
            events = [{**e, "payload": json.loads(e["payload"] or "null")} for e in events]
        lines = list(map(json.dumps, events))
    path = tmp_path / "stream.log"
    path.write_text("\n".join(lines) + "\n")
    report, engagements, posts = load("mastodon", path)
    assert engagements == [(BOB, URI, "reply", SECOND + 2), (EVE, URI, "like", SECOND + 20)]
    assert [row[1] for row in posts] == ["yes", "Tea"]
    assert report.removals == {"delete": 2}
    assert (report.undone, report.deleted_texts, report.bad_lines) == (1, 1, 0)
    assert report.lines == len(STREAM)


def test_a_deletion_counts_whatever_file_it_is_in(load, write_lines, tmp_path):
    write_lines("log/a.jsonl", [{"event": "delete", "payload": 1}])
    write_lines("log/b.jsonl", STATUSES)
    report, engagements, posts = load("mastodon", tmp_path / "log")
    assert {row[1] for row in engagements} == {FAR_STATUS["uri"]}
    assert URI not in [row[0] for row in posts]
    assert report.deleted_posts == 4  # two likes, a reply and a quote


def test_what_the_account_that_asked_did(load, write_lines):
    marked = FIRST | {"favourited": True, "bookmarked": True, "reblogged": False}
    path = write_lines("favourites.jsonl", [marked, STATUSES[2] | {"favourited": False}])
    report, engagements, _ = load("mastodon", path)
    assert engagements == [(BOB, URI, "reply", SECOND + 2)]
    (reason,) = report.skipped
    assert "user_id" in reason
    report, engagements, _ = load("mastodon", path, user_id=EVE)
    assert set(engagements[1:]) == {(EVE, URI, "like", None), (EVE, URI, "bookmark", None)}
    assert report.skipped == {}


def test_content_warnings(load, write_lines, archive):
    lines = [
        FIRST | {"spoiler_text": "food & <3"},
        STATUSES[2] | {"spoiler_text": ""},
        STATUSES[3] | {"spoiler_text": "alone", "content": ""},
    ]
    path = write_lines("log.jsonl", lines)
    plain = [row[1] for row in load("mastodon", path)[2]]
    assert plain == ["Tea & cake\nfor all <3\n\nSecond", "yes"]
    warned = [row[1] for row in load("mastodon", path, content_warnings=True)[2]]
    assert warned == ["food & <3\n\nTea & cake\nfor all <3\n\nSecond", "yes", "alone"]
    outbox = {"id": "outbox.json", "orderedItems": [note(11, "<p>Grüße</p>", summary="wave")]}
    (archive / "outbox.json").write_text(json.dumps(outbox))
    assert load("mastodon", archive, content_warnings=True)[2][0][1] == "wave\n\nGrüße"
    with pytest.raises(ValueError, match="of mastodon only"):
        load("x", path, content_warnings=True)


def test_activities_of_any_server(load, write_lines):
    like = {"id": "l", "type": "Like", "actor": BOB, "object": f"{ANN}/statuses/11"}
    announce = {"id": "b", "type": "Announce", "actor": BOB, "to": PUBLIC, "object": URI}
    lines = [
        note(11, "<p>Grüße</p>"),
        like | {"published": "2020-04-16T16:45:10Z"},
        announce,
        {"id": "u", "type": "Undo", "actor": BOB, "object": {"id": "b", "type": "Announce"}},
    ]
    report, engagements, posts = load("mastodon", write_lines("log.jsonl", lines))
    assert engagements == [(BOB, f"{ANN}/statuses/11", "like", SECOND + 2)]
    assert (len(posts), report.undone, report.removals) == (1, 1, {"undo": 1})
