"""How text tables are written: separators, quotes, headers and encodings."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Literal

from twhin_hf.errors import InputError


@dataclass(frozen=True)
class TableFormat:
    r"""Text tables.

    They hold for all text tables of a command; Parquet and JSON lines need none of them.

    Args:
        separator: Separator of columns, such as ";" or "::"; \t is a tab, \x01 that character. A
            file of any ending is read by it (default: a comma, in .tsv a tab).
        quoting: Cells may be in double quotes, and hold separators and line breaks then (default:
            if the separator is a comma or semicolon).
        header: Header: the names of the columns are in the first row, or none; columns are then
            called by their numbers from 1 on, as in `--columns user_id=1 post_id=2`.
        encoding: Encoding, such as latin-1 or utf-16.
        missing: What cells hold where nothing is there, such as NA in tables of R.

    Raises:
        InputError: An empty separator or a line break, quotes with a separator of several
            characters, or an unknown encoding.
    """

    separator: str | None = None
    quoting: bool | None = None
    header: Literal["first", "none"] = "first"
    encoding: str = "utf-8"
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.separator is not None:
            # On a command line a tab is hard to write, and \x01 harder.
            read = self.separator.encode("latin-1", "backslashreplace").decode("unicode_escape")
            object.__setattr__(self, "separator", read)
            if not read or set(read) & set('\r\n"'):
                raise InputError(
                    f"separator is {self.separator!r}; it must be one or more characters, none of "
                    "them a line break or a quote."
                )
            if self.quoting and len(read) > 1:
                raise InputError(
                    f"quoting goes with a separator of one character, not with {read!r}."
                )
        if self.header not in ("first", "none"):
            raise InputError(f"header is {self.header!r}; it must be first or none.")
        try:
            codecs.lookup(self.encoding)
        except LookupError as error:
            raise InputError(
                f"encoding is {self.encoding!r}, which is not known; give one such as utf-8, "
                "latin-1, cp1252 or utf-16."
            ) from error

    def delimiter(self, name: str) -> str:
        """The separator of a file of this name."""
        if self.separator is not None:
            return self.separator
        return "\t" if name.lower().removesuffix(".gz").endswith(".tsv") else ","

    def is_quoted(self, delimiter: str) -> bool:
        """Whether cells may be in quotes where this is the separator."""
        return delimiter in ",;" if self.quoting is None else self.quoting
