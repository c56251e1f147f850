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
        {"type": "Delete", "actor": ANN, "object": "x", "id": "y"},
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
    }
    assert [row[1:] for row in posts] == [("Grüße", "de"), ("ja", "de"), ("so", "de")]
    assert (report.files, report.lines) == (2, 8)
    assert report.skipped == {"no status": 1, "not public": 1}


def test_favourites_without_their_account(load, archive, tmp_path):
    alone = tmp_path / "likes.json"
    alone.write_text((archive / "likes.json").read_text())
    with pytest.raises(ValueError, match=r"does not say whose favourites.*actor\.json.*--user_id"):
        load("mastodon", alone)
    report, engagements, _ = load("mastodon", alone, user_id=EVE)
    assert engagements[0][0] == EVE
    assert report.num_engagements == 2


def test_lists_that_say_too_little(load, archive, tmp_path):
    with pytest.raises(ValueError, match=r"archive's bookmarks\.json, a list of statuses but none"):
        load("mastodon", archive / "bookmarks.json")
    path = tmp_path / "favourited_by.json"
    path.write_text(json.dumps([account("bob")]))
    with pytest.raises(ValueError, match=r"list of accounts that does not say which status.*jq -c"):
        load("mastodon", path)
