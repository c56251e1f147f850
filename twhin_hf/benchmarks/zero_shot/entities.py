"""Named entities of the usual files, as BIO tags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from twhin_hf.benchmarks.zero_shot.sentences import (
    Sentence,
    find_files,
    numbered_lines,
    sentence_dataset,
)
from twhin_hf.benchmarks.zero_shot.shakti import is_shakti, parse_shakti
from twhin_hf.benchmarks.zero_shot.tag_rows import JSON_ENDINGS, NAME_FILES, parse_tag_rows
from twhin_hf.benchmarks.zero_shot.tags import rename_types, to_bio
from twhin_hf.benchmarks.zero_shot.word_columns import parse_word_columns
from twhin_hf.errors import InputError
from twhin_hf.lines import iterate_lines

if TYPE_CHECKING:
    from datasets import Dataset

_COLUMNS = ("tokens", "tags")


def read_entities(
    path: str | Path,
    label_map: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str = "utf-8",
) -> Dataset:
    """Reads named entities, whatever the format, as BIO tags.

    Formats, told by the ending or the first lines:

    - a word a line, in columns with tabs or blanks between, and a blank line after a sentence: the
      token first and the tag last (CoNLL-2002 and 2003, W-NUT, MultiCoNER, WikiANN and PAN-X), or
      a number, the token and the tag first (WikiNEuRal, UNER, GermEval); see `parse_word_columns`;
    - JSON lines, a JSON array or Parquet, with `tokens` and `ner_tags`, `tags` or `labels`: tags,
      or numbers whose names are told (TweetNER7, data sets of the Hub); see `parse_tag_rows`;
    - Shakti Standard Format, as in the IJCNLP-08 shared task on South and South East Asian
      languages (SSEA); of nested entities the outermost one counts.

    IOB1 and BIOES/BILOU tags become BIO.

    Args:
        path: A file, or a folder of files of these formats.
        label_map: New names of entity types, such as `{"person": "PER", "product": "O"}`; "O"
            drops a type. Types that it does not name stay. Also the names of numbered tags, such
            as `{"0": "O", "1": "B-PER"}`.
        columns: Where `tokens` and `tags` stand: the number of a column from 1 on, or its name.
        encoding: How files with a word a line are written; CoNLL-2002 is Latin-1.

    Returns:
        `tokens` and `tags`, a row a sentence.

    Raises:
        FileNotFoundError: There is no such file, or the folder is empty.
        InputError: A line that is not of the format, with its number; numbers without names; no
            sentence; unknown keys of `columns`.
    """
    mapping = label_map or {}
    if unknown := sorted(set(columns or {}) - set(_COLUMNS)):
        raise InputError(
            f"columns names {', '.join(unknown)}, which named entities do not have; known are "
            f"{', '.join(_COLUMNS)}"
        )
    sentences: list[Sentence] = []
    files = find_files(path)
    for file in [file for file in files if file.name not in NAME_FILES] or files:
        if file.suffix in (*JSON_ENDINGS, ".parquet"):
            found = parse_tag_rows(file, mapping, columns)
        elif is_shakti(iterate_lines(file, encoding)):
            if columns:
                raise InputError(f"{file} is in Shakti Standard Format; leave columns out")
            found = parse_shakti(file, numbered_lines(file, encoding))
        else:
            found = parse_word_columns(file, columns, encoding)
        sentences += [(tokens, rename_types(to_bio(tags), mapping)) for tokens, tags in found]
    return sentence_dataset(path, sentences)
