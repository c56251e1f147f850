"""Finds a network's events in any JSON around them: answers, envelopes, archives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from twhin_hf.network.sources.log_format import LogFormat, Origin


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
            found = log.take(value, origin)
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
    """The value of a JSON text, None where it is none or nested too deep for Python."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
