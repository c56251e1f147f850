"""Named entities of files with a word a line: CoNLL-2002 and 2003, W-NUT, UNER, GermEval, PAN-X."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from twhin_hf.benchmarks.zero_shot.sentences import (
    Sentence,
    is_span_or_empty_node,
    odd_line,
    sentence_lines,
)
from twhin_hf.benchmarks.zero_shot.tags import check_tag, is_tag
from twhin_hf.errors import InputError

_DOCUMENT = "-DOCSTART-"
_NAMES = re.compile(r"#\s*global\.columns\s*=\s*(.+)")
# The languages of WikiANN, such as de, zh-yue and simple.
_LANGUAGE_PREFIX = re.compile(r"((?:[a-z]{2,3}(?:-[a-z]+)*|simple):)(.*)", re.DOTALL)
_ADVICE = ". Say which column holds the tags (`--columns tags=4`, counted from 1, or its name)"


class _Row(NamedTuple):
    number: int
    line: str
    values: list[str]


class _Layout(NamedTuple):
    """Where a file's columns stand, from 0 on."""

    width: int
    token: int
    tag: int
    numbered: bool

    def described(self) -> str:
        """What a line must be, for a message."""
        if self == (2, 0, 1, False):
            return "token, tag"
        if self == (3, 1, 2, True):
            return "number, token, tag"
        number = "a number first, " if self.numbered else ""
        return (
            f"{self.width} columns as in the lines before: {number}the token in column "
            f"{self.token + 1}, the tag in column {self.tag + 1}"
        )


def parse_word_columns(
    file: Path, columns: Mapping[str, str] | None = None, encoding: str = "utf-8"
) -> Iterator[Sentence]:
    """Sentences of a file with a word a line and a blank line after each sentence.

    Columns are parted by tabs, or by blanks where there is no tab. Where the first column counts
    the words, the second is the token, and the third the tag if it holds tags (WikiNEuRal, UNER,
    GermEval, whose fourth column holds the entities inside others); else the first column is the
    token. The tag is otherwise in the last column. Lines that begin with `#` before a sentence and
    are no words of it are comments, `-DOCSTART-` lines are left out, and the language before each
    word of WikiANN and PAN-X (`de:Anton`) is taken off.

    Args:
        file: The file.
        columns: Which column holds the `tokens` and which the `tags`: a number from 1 on, or a name
            that stands in the first line, or in `# global.columns = …`.
        encoding: How the file is written.

    Yields:
        Tokens and tags.

    Raises:
        InputError: A line of other columns, without a word or with what is no tag; a name that the
            file does not have. All tell the file, and the line if there is one.
    """
    chosen = dict(columns or {})
    named = any(not _is_number(name) for name in chosen.values())
    names, blocks = _read_blocks(file, named, encoding)
    places = {key: _place(file, key, name, names) for key, name in chosen.items()}
    sentences = [rows for block in blocks for rows in _without_comments(block, places)]
    if not sentences:
        return
    layout = _layout(file, sentences, places)
    has_prefixes = _has_prefixes(sentences, layout)
    for rows in sentences:
        tokens, tags = list[str](), list[str]()
        for row in rows:
            if layout.numbered and is_span_or_empty_node(row.values[0]):
                continue
            if (
                len(row.values) != layout.width
                or not row.values[layout.token]
                or (layout.numbered and not row.values[0].isdecimal())
            ):
                odd_line(file, row.number, row.line, layout.described())
            tag = check_tag(file, row.number, row.line, row.values[layout.tag].strip(), _ADVICE)
            token = row.values[layout.token]
            if has_prefixes:
                found = _LANGUAGE_PREFIX.fullmatch(token)
                if found is None:
                    needed = "a word after its language, as 'de:Anton', like the file's others"
                    odd_line(file, row.number, row.line, needed)
                token = found[2]
            # A word of nothing but its language is no word.
            if token:
                tokens.append(token)
                tags.append(tag)
        if tokens:
            yield tokens, tags


def _read_blocks(file: Path, named: bool, encoding: str) -> tuple[list[str], list[list[_Row]]]:
    """The names of columns, if they are asked for, and the rows between blank lines."""
    names: list[str] = []
    blocks: list[list[_Row]] = []
    for lines in sentence_lines(file, encoding):
        block: list[_Row] = []
        for number, line in lines:
            row = _Row(number, line, _split(line))
            told = _NAMES.match(line)
            if named and not names and (told or not line.startswith("#")):
                names = told[1].split() if told else row.values
            elif _DOCUMENT in row.values[:2]:
                blocks.append(block)
                block = []
            else:
                block.append(row)
        blocks.append(block)
    return names, blocks


def _split(line: str) -> list[str]:
    if "\t" in line:
        return line.split("\t")
    # No other white space parts columns: a token may be a no-break space.
    return re.split(" +", line.strip(" "))


def _is_number(name: str) -> bool:
    return name.isdecimal() and int(name) > 0


def _place(file: Path, key: str, name: str, names: Sequence[str]) -> int:
    if _is_number(name):
        return int(name) - 1
    if name not in names:
        raise InputError(
            f"{file} has no column {name!r} for the {key}; found are {', '.join(names) or 'none'}. "
            f"Give one of them, or its number from 1 on (`--columns {key}=2`)"
        )
    return names.index(name)


def _without_comments(block: list[_Row], places: Mapping[str, int]) -> Iterator[list[_Row]]:
    """A block's rows but for the comments before them; nothing where no row is left."""
    width = next((len(row.values) for row in block if not row.line.startswith("#")), None)
    tag = places.get("tags", -1)
    start = 0
    for row in block:
        # A hashtag may be the first word; then it has the columns of a word, and a tag.
        is_word = (
            width in (None, len(row.values))
            and len(row.values) > max(tag, 1)
            and is_tag(row.values[tag])
        )
        if not row.line.startswith("#") or is_word:
            break
        start += 1
    if block[start:]:
        yield block[start:]


def _layout(file: Path, sentences: list[list[_Row]], places: Mapping[str, int]) -> _Layout:
    first = sentences[0][0]
    width = len(first.values)
    if width < 2:
        odd_line(file, first.number, first.line, "a token and a tag, with a tab or a blank between")
    if beyond := [place + 1 for place in places.values() if place >= width]:
        raise InputError(f"{file} has {width} columns, not {max(beyond)} (`--columns`)")
    numbered = width > 2 and _counts_words(sentences)
    rows = [row for rows in sentences for row in rows if len(row.values) == width]
    tags_third = numbered and 2 * sum(is_tag(row.values[2]) for row in rows) >= len(rows)
    return _Layout(
        width,
        places.get("tokens", int(numbered)),
        places.get("tags", 2 if tags_third else width - 1),
        numbered,
    )


def _counts_words(sentences: list[list[_Row]]) -> bool:
    """Whether the first column counts the words of most sentences, from 0 or 1 on."""
    counted = total = 0
    for rows in sentences:
        firsts = [row.values[0] for row in rows if not is_span_or_empty_node(row.values[0])]
        total += len(firsts)
        counted += max(
            sum(first == str(place) for place, first in enumerate(firsts, start=start))
            for start in (0, 1)
        )
    return 2 * counted >= total


def _has_prefixes(sentences: list[list[_Row]], layout: _Layout) -> bool:
    """Whether most words have a language before them."""
    tokens = [
        row.values[layout.token]
        for rows in sentences
        for row in rows
        if len(row.values) == layout.width
    ]
    return 2 * sum(_LANGUAGE_PREFIX.match(token) is not None for token in tokens) > len(tokens)
