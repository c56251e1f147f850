"""One event of each network, in its own format."""

LIKE = {
    "did": "did:plc:bob",
    "time_us": 1_725_911_162_000_000,
    "kind": "commit",
    "commit": {
        "rev": "3a",
        "operation": "create",
        "collection": "app.bsky.feed.like",
        "rkey": "r",
        "record": {"subject": {"uri": "at://did:plc:ann/app.bsky.feed.post/p"}},
    },
}
TWEET = {"id_str": "1", "text": "x", "user": {"id_str": "2"}}
STATUS = {"uri": "https://a/1", "account": {"uri": "https://a/u"}, "content": "<p>x</p>"}
