"""Words from data, configs and records as Markdown shows them, and no more than words.

A language, a task, a name of a model or an option may hold what Markdown or HTML would take for a
link, a picture, a script, a new heading, or a mark of a card's made parts.
"""

from __future__ import annotations

import re
from typing import Any

_SPECIAL = re.compile(r"([\\`*_\[\]|])")
_CONTROL = re.compile(r"[\s\x00-\x1f\x7f\x80-\x9f\u2028\u2029]+")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_ADDRESS = {"://": "&#58;//", "www.": "www&#46;", "@": "&#64;"}
"""What some renderers make a link of, written so that they do not."""


def as_text(value: Any) -> str:
    """A value between other words, or in a cell of a table.

    Example:
        >>> as_text("a|b <script> [x](y)")
        'a\\\\|b &lt;script&gt; \\\\[x\\\\](y)'
    """
    text = re.sub("[&<>]", lambda found: _HTML[found.group()], _one_line(value))
    text = _SPECIAL.sub(r"\\\1", text)
    for found, written in _ADDRESS.items():
        text = text.replace(found, written)
    return text


def as_code(value: Any) -> str:
    """A value as code, its backticks included.

    Example:
        >>> as_code("a`b|c")
        "`a'b\\\\|c`"
    """
    text = _one_line(value).replace("`", "'").replace("|", "\\|").replace("<!--", "< !--")
    return f"`{text or ' '}`"


def _one_line(value: Any) -> str:
    return _CONTROL.sub(" ", str(value)).strip()
