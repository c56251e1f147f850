"""Names and ids of people are found in the forms of each network, and nothing else is."""

import pyarrow as pa
import pytest

from twhin_hf.privacy.people import mask_people, names_people

MASKED = {
    # X
    "@jack hi": "@user hi",
    "RT @jack: hi": "RT @user: hi",
    ".@jack and w/@jack": ".@user and w/@user",
    "こんにちは@jackさん": "こんにちは@userさん",
    "＠jack @@jack (@jack) “@jack”": "@user @@user (@user) “@user”",
    "@a @b,@c @a@b": "@user @user,@user @user",
    "https://x.com/jack/status/20?s=1 or twitter.com/jack": "@user or @user",
    # Mastodon
    "@bob@mastodon.social: bob@mastodon.social!": "@user: @user!",
    "https://mastodon.social/@bob/1 https://m.org/users/bob": "@user @user",
    # Bluesky
    "@ana.bsky.social. ana.bsky.social and @example.com": "@user. @user and @user",
    "did:plc:z72i7hdynmk6r22z27h6tvur did:web:a.org": "@user @user",
    "at://did:plc:abc/app.bsky.feed.post/3k": "@user",
    "https://bsky.app/profile/ana.bsky.social/post/3": "@user",
    # E-mail
    "mail a.b+c@ex-ample.co.uk, or mailto:a@b.org": "mail @user, or @user",
}
KEPT = [
    "2 @ $5, 5@3, me @ home, a@b",
    "netflix.com/title https://t.co/abc bsky.social x.com",
    "candid: x, did: y, #tag",
    "thanks @user and @USER",
    "",
]


@pytest.mark.parametrize("text", MASKED)
def test_people_are_masked(text):
    assert mask_people(pa.array([text])).to_pylist() == [MASKED[text]]
    assert names_people(pa.array([text, MASKED[text]])).to_pylist() == [True, False]


@pytest.mark.parametrize("text", KEPT)
def test_what_names_nobody_stays(text):
    assert mask_people(pa.array([text])).to_pylist()[0].lower() == text.lower()
    assert names_people(pa.array([text])).to_pylist() == [False]


def test_nulls():
    texts = pa.array([None, "@ana"])
    assert mask_people(texts).to_pylist() == [None, "@user"]
    assert names_people(texts).to_pylist() == [False, True]
