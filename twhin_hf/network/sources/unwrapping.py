"""Finds a network's events in any JSON around them: answers, envelopes, archives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from twhin_hf.network.sources.log_format import Found, LogFormat, Origin


def find_events(value: Any, log: LogFormat, origin: Origin) -> Iterator[Mapping[str, Any]]:
    """The events in a JSON value, in their order, however deep they are.

    Args:
        value: Any JSON value; strings that are JSON themselves are looked into too.
        log: The network.
        origin: Where the value comes from.
    """
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and value[:1] in ("{", "["):
            value = parse(value)
        if isinstance(value, dict):
            try:
                found = log.take(value, origin)
            except (AttributeError, KeyError, TypeError):
                # A key that the network has too, with something else in it.
                found = Found(inside=list(value.values()))
            yield from found.events
            waiting += reversed(found.inside)
        elif isinstance(value, list):
            waiting += reversed(value)


def unwrap_document(document: Any, log: LogFormat, origin: Origin) -> Iterator[Mapping[str, Any]]:
    """The events of a file's one JSON value; objects that hold none come as they are."""
    for item in document if isinstance(document, list) else [document]:
        found = False
        for event in find_events(item, log, origin):
            found = True
            yield event
        if not found and isinstance(item, dict):
            yield item


def parse(text: str) -> Any:
    """The value of a JSON text, None where it is none or nested too deep for Python.

    NaN, which is no JSON but written by some, counts as null.
    """
    try:
        return json.loads(text, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        return None


def dump(value: Any) -> str:
    """A value as JSON in which halves of a surrogate pair, as cut texts have them, are replaced.

    >>> dump(["a\\ud83d", "\\ud83c\\udf0b"])
    '["a�", "🌋"]'
    """
    text = json.dumps(value, ensure_ascii=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
