"""Names from data, configs, models, archives and the Hub that become parts of paths.

All of them go through `path_name` or `relative_path`, so that none leaves its folder, and so that a
folder that was written on one system can be copied to any other.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from twhin_hf.errors import InputError

_LONGEST = 230
"""Bytes; file systems allow 255, and a file has a longer name while it is written."""
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_DEVICE = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])(?: *\.|$)", re.I)


def path_name(name: str, what: str = "name") -> str:
    """The name itself, which may be that of a file or folder on any system.

    Args:
        name: From data, a config, a model or an archive.
        what: It is, for the message.

    Raises:
        InputError: It is empty, begins with a dot, ends with a dot or blank, holds a separator, a
            colon, another sign that Windows forbids or a control character, is a name that Windows
            keeps for devices, is no Unicode text, or is longer than 230 bytes.

    Example:
        >>> path_name("pt-BR", "language")
        'pt-BR'
        >>> path_name("../../keep", "language")
        Traceback (most recent call last):
        ...
        twhin_hf.errors.InputError: the language '../../keep' begins with a dot and cannot be ...
    """
    reason = _why_not(name)
    if reason:
        raise InputError(
            f"the {what} {name[:100]!r} {reason} and cannot be the name of a file; rename it where "
            "it comes from (letters, digits, - and _ always do)"
        )
    return name


def relative_path(path: str, what: str = "path") -> PurePosixPath:
    """A path of one or more such names with / between, inside the folder that it is put into.

    Args:
        path: As `en/train.tsv`.
        what: It is, for the message.

    Raises:
        InputError: One of its parts is no `path_name`, as of an absolute path or one with `..`.

    Example:
        >>> str(relative_path("posts/en"))
        'posts/en'
    """
    for name in path.split("/"):
        reason = _why_not(name)
        if reason:
            raise InputError(
                f"the {what} {path[:200]!r} has a part, {name[:100]!r}, that {reason}: it may "
                "leave the folder that it belongs in, or cannot be written on every system; rename "
                "it where it comes from"
            )
    return PurePosixPath(path)


def _why_not(name: str) -> str | None:
    """What keeps a name from being that of a file."""
    if not name:
        return "is empty"
    if name.startswith("."):
        return "begins with a dot"
    if name.endswith((".", " ")):
        return "ends with a dot or a blank"
    if found := _FORBIDDEN.search(name):
        return f"holds {found.group()!r}"
    if _DEVICE.match(name):
        return "is a name that Windows keeps for devices"
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return "is no Unicode text"
    return f"is longer than {_LONGEST} bytes" if length > _LONGEST else None
