"""Logs of today's networks as an engagement log and posts: Bluesky, Mastodon, X and plain tables.

A network is one short module: which lines it knows, what to take from their JSON, and SQL views
that turn it into posts, engagements and what takes them back. The rest is common: `log_files`
reads files in blocks, `reading` takes their events, `events` applies deletions and drops repeats,
`importing` puts it together.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "import_log": "importing",
    "ImportReport": "report",
    "SOURCES": "importing",
    "LanguageDetector": "languages",
    "fasttext_detector": "languages",
    "package_detector": "languages",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
