"""Labelled data of the zero-shot tasks: named entities, parts of speech, sentiment.

Every reader gives a `datasets.Dataset`: `tokens` and `tags`, a list of words and one tag a word,
or `text` and `label`. An odd line is an error that names the file and the line.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from twhin_hf.benchmarks.zero_shot.entities import read_entities
from twhin_hf.benchmarks.zero_shot.labels import sentiment_names
from twhin_hf.benchmarks.zero_shot.sentences import (
    Sentence,
    find_files,
    is_span_or_empty_node,
    numbered_lines,
    odd_line,
    sentence_dataset,
    sentence_lines,
)
from twhin_hf.errors import InputError
from twhin_hf.lines import iterate_lines
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import has_text, open_engine, read_errors, read_table

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_UPOS = re.compile("ADJ|ADP|ADV|AUX|CCONJ|DET|INTJ|NOUN|NUM|PART|PRON|PROPN|PUNCT|SCONJ|SYM|VERB|X")


def read_zero_shot(
    task: str,
    path: str | Path,
    label_map: Mapping[str, str] | None = None,
    *,
    keep_neutral: bool = False,
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    left_out: Counter[str] | None = None,
) -> Dataset:
    """Reads a training or test set of zero-shot transfer.

    Args:
        task: `ner` (see `read_entities`), `pos` (`read_pos`) or `sentiment` (`read_sentiment`).
        path: File or folder.
        label_map: New names of labels, of `ner` and `sentiment`.
        keep_neutral: Keep neutral texts of `sentiment`; the paper leaves them out.
        columns: What a file calls a column, such as `{"text": "tweet"}` of `sentiment`, or
            `{"tags": "4"}` of `ner`.
        table_format: How a table of `sentiment` is written; of `ner` its encoding counts alone.
        left_out: Gets the number of `blank texts`.

    Returns:
        `tokens` and `tags`, or `text` and `label`.

    Raises:
        InputError: Columns or an encoding of `pos`, separators of another task than sentiment, or
            its neutral texts; or as the readers say.
    """
    if keep_neutral and task != "sentiment":
        raise InputError(
            f"keep_neutral goes with the task sentiment, not with {task}; leave it out"
        )
    if columns and task == "pos":
        raise InputError("columns go with the tasks sentiment and ner, not with pos")
    table_format = table_format or TableFormat()
    of_files = TableFormat(encoding=table_format.encoding) if task == "ner" else TableFormat()
    if task != "sentiment" and table_format != of_files:
        raise InputError(
            "separator, quoting and header (and encoding, but of ner) go with the task sentiment, "
            f"not with {task}; leave them out"
        )
    if task == "ner":
        return read_entities(path, label_map, columns, table_format.encoding)
    if task == "pos":
        return read_pos(path)
    drop = () if keep_neutral else ("neutral",)
    return read_sentiment(path, label_map, drop, columns, table_format, left_out)


def read_pos(path: str | Path) -> Dataset:
    """Reads the universal parts of speech (column 4) of CoNLL-U.

    A multi-word token (`1-2`) is left out, as its words follow and carry the tags; so is an empty
    node (`1.1`), which is not in the text.

    Returns:
        `tokens` and `tags`, a row a sentence.

    Raises:
        FileNotFoundError: There is no such file.
        InputError: A line that is not CoNLL-U, with its number; a treebank whose words are
            withheld (`_` in place of each).
    """
    sentences: list[Sentence] = []
    for file in find_files(path):
        sentences += _parse_conllu(file)
    if sentences and all(word == "_" for tokens, _ in sentences for word in tokens):
        raise InputError(
            f"{path}: every word is '_', so this treebank comes without its text (as English "
            "GUMReddit does). Restore the words with the script of the treebank, or take another."
        )
    return sentence_dataset(path, sentences)


def read_sentiment(
    path: str | Path,
    label_map: Mapping[str, str] | None = None,
    drop: Iterable[str] = (),
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    left_out: Counter[str] | None = None,
) -> Dataset:
    """Reads texts with one label each.

    Blank texts are left out, with a warning that counts them: published sets hold some.

    Args:
        path: A table (Parquet, CSV, TSV, JSON lines) with columns `text` and `label`, or a text
            file `…text.txt` of one text a line, whose labels stand in `…labels.txt` beside it.
        label_map: New names of labels. Numbers that it does not name are read as
            `sentiment_names` says.
        drop: Labels, by their new names, whose texts are left out.
        columns: What a table calls a column, such as `{"text": "tweet"}`.
        table_format: How text tables are written.
        left_out: Gets the number of `blank texts`.

    Returns:
        String columns `text` and `label`.

    Raises:
        FileNotFoundError: The file is not there, or the label file beside it.
        InputError: Another number of labels than of texts, a text without a label, no row, or
            labels by numbers that could mean several things and that `label_map` does not name.
    """
    from datasets import Dataset

    path, dropped = Path(path), set(drop)
    is_plain = path.suffix == ".txt"
    texts, labels = (
        _text_and_label_files(path) if is_plain else _label_table(path, columns, table_format)
    )
    filled = has_text(pa.array(texts, pa.string())).to_pylist()
    rows = []
    for number, (text, label, is_filled) in enumerate(zip(texts, labels, filled, strict=True), 1):
        if is_filled and not (label and label.strip()):
            raise InputError(f"{path}: the label of row {number} is blank; needed is one each")
        if is_filled:
            rows.append((text, label.strip()))
    if blank := len(texts) - len(rows):
        logger.warning("%s: %s blank texts are left out", path, f"{blank:,}")
        if left_out is not None:
            left_out["blank texts"] += blank
    names = sentiment_names({label for _, label in rows}, str(path), label_map)
    kept = [(text, names[label]) for text, label in rows if names[label] not in dropped]
    if not kept:
        raise InputError(
            f"{path} holds no text to use; its labels are {sorted(set(names.values()))}, and those "
            f"left out {sorted(dropped)}"
        )
    return Dataset.from_dict({"text": [text for text, _ in kept], "label": [n for _, n in kept]})


def read_bitext(
    path: str | Path, columns: Mapping[str, str] | None = None, memory_limit: str = "1GB"
) -> Dataset:
    """Reads translation pairs of any kind of file.

    Args:
        path: Two columns, separated by a tab, without a header, in a file named after its
            languages (`en-ar.tsv`); a folder of such files; or what `read_translation_pairs` reads.
        columns: What tables call a column, such as `{"text_a": "english"}`.
        memory_limit: Most memory of the engine that reads tables.

    Returns:
        String columns `text_a`, `text_b`, `lang_a`, `lang_b` and `source`.

    Raises:
        FileNotFoundError: There is no such file or folder.
        InputError: A line without two texts, with its number, or a name without languages.
    """
    from datasets import Dataset, concatenate_datasets

    from twhin_hf.data.translation.pairs import read_translation_pairs

    path = Path(path)
    files = sorted(path.glob("*.tsv")) if path.is_dir() else [path]
    if not files or not all(_is_bare_tsv(file) for file in files):
        return read_translation_pairs(path, columns=columns, memory_limit=memory_limit)
    return concatenate_datasets([Dataset.from_dict(_parse_bitext(file)) for file in files])


def _is_bare_tsv(file: Path) -> bool:
    """Whether a file ends in .tsv and its first line names no columns."""
    first = next(iterate_lines(file), "") if file.suffix == ".tsv" else "text_a"
    return "text_a" not in first.split("\t")


def _parse_bitext(file: Path) -> dict[str, list[str]]:
    languages = file.stem.split("-")
    if len(languages) != 2 or not all(language.isalpha() for language in languages):
        raise InputError(
            f"{file}: which languages are these? Name the file after them, such as en-ar.tsv, or "
            "give columns text_a, text_b, lang_a and lang_b",
            faq="languages",
        )
    texts: tuple[list[str], list[str]] = ([], [])
    for number, line in numbered_lines(file):
        columns = line.split("\t")
        if len(columns) != 2 or not all(column.strip() for column in columns):
            odd_line(file, number, line, "a text, a tab and its translation")
        for side, text in zip(texts, columns, strict=True):
            side.append(text)
    count = len(texts[0])
    if not count:
        raise InputError(f"{file} holds no pair.")
    return {
        "text_a": texts[0],
        "text_b": texts[1],
        "lang_a": [languages[0]] * count,
        "lang_b": [languages[1]] * count,
        "source": [file.name] * count,
    }


def _parse_conllu(file: Path) -> Iterator[Sentence]:
    for lines in sentence_lines(file):
        tokens, tags = list[str](), list[str]()
        for number, line in lines:
            if line.startswith("#"):
                continue
            columns = line.split("\t")
            if len(columns) != 10:
                odd_line(file, number, line, "ten columns, separated by tabs")
            if is_span_or_empty_node(columns[0]):
                continue
            if columns[0] != str(len(tokens) + 1):
                odd_line(
                    file, number, line, f"word {len(tokens) + 1} of the sentence, or a blank line"
                )
            if not _UPOS.fullmatch(columns[3]):
                odd_line(file, number, line, "a universal part of speech in column 4, such as NOUN")
            tokens.append(columns[1])
            tags.append(columns[3])
        # A block of comments alone is no sentence.
        if tokens:
            yield tokens, tags


def _text_and_label_files(path: Path) -> tuple[list[str], list[str]]:
    head, found, tail = path.name.rpartition("text")
    if not found:
        raise InputError(
            f"{path}: where are its labels? Name the texts '…text.txt' and the labels "
            "'…labels.txt', or give a table with columns text and label"
        )
    beside = path.with_name(f"{head}labels{tail}")
    texts, labels = (list(iterate_lines(file)) for file in (path, beside))
    if len(texts) != len(labels):
        raise InputError(
            f"{path} has {len(texts):,} lines and {beside.name} {len(labels):,}; "
            "needed is one label a text"
        )
    return texts, labels


def _label_table(
    path: Path, columns: Mapping[str, str] | None, table_format: TableFormat | None
) -> tuple[list[str], list[str]]:
    with open_engine() as engine, read_errors(path, has_memory_limit=False):
        found = read_table(
            path,
            ["text", "label"],
            connection=engine,
            columns=columns,
            table_format=table_format,
        )
        table = found.to_pyarrow()
    return table["text"].to_pylist(), table["label"].to_pylist()
