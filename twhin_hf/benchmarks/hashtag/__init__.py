"""The hashtag prediction benchmark: loading the published one, making one from any posts."""
