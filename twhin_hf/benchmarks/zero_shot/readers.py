"""Labelled data of the zero-shot tasks: named entities, parts of speech, sentiment.

Every reader gives a `datasets.Dataset`: `tokens` and `tags`, a list of words and one tag a word,
or `text` and `label`. An odd line is an error that names the file and the line.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from twhin_hf.benchmarks.zero_shot.shakti import is_shakti, parse_shakti
from twhin_hf.lines import iterate_lines
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import open_engine, read_errors, read_table

if TYPE_CHECKING:
    from datasets import Dataset

Line: TypeAlias = tuple[int, str]
Sentence: TypeAlias = tuple[list[str], list[str]]

OUTSIDE = "O"
SENTIMENTS = {"0": "negative", "1": "neutral", "2": "positive"}
"""What the digits mean in the label files of UMSAB and TweetEval."""
_UPOS = re.compile("ADJ|ADP|ADV|AUX|CCONJ|DET|INTJ|NOUN|NUM|PART|PRON|PROPN|PUNCT|SCONJ|SYM|VERB|X")
_BIO_PREFIX = {"B": "B", "I": "I", "E": "I", "L": "I", "M": "I", "S": "B", "U": "B"}
_TAG_KEYS = ("ner_tags", "tags", "labels")
_JSON_ENDINGS = (".jsonl", ".ndjson", ".json")


def read_zero_shot(
    task: str,
    path: str | Path,
    label_map: Mapping[str, str] | None = None,
    *,
    keep_neutral: bool = False,
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
) -> Dataset:
    """Reads a training or test set of zero-shot transfer.

    Args:
        task: `ner` (see `read_entities`), `pos` (`read_pos`) or `sentiment` (`read_sentiment`).
        path: File or folder.
        label_map: New names of labels, of `ner` and `sentiment`.
        keep_neutral: Keep neutral texts of `sentiment`; the paper leaves them out.
        columns: What a table calls a column, such as `{"text": "tweet"}`, of `sentiment`.
        table_format: How a table of `sentiment` is written.

    Returns:
        `tokens` and `tags`, or `text` and `label`.

    Raises:
        ValueError: Columns or neutral texts of another task than sentiment; or as the readers say.
    """
    if task != "sentiment" and (columns or keep_neutral):
        given = "columns" if columns else "keep_neutral"
        raise ValueError(f"{given} goes with the task sentiment, not with {task}; leave it out")
    if task == "ner":
        return read_entities(path, label_map)
    if task == "pos":
        return read_pos(path)
    dropped = () if keep_neutral else ("neutral",)
    return read_sentiment(path, label_map, dropped, columns, table_format)


def read_entities(path: str | Path, label_map: Mapping[str, str] | None = None) -> Dataset:
    """Reads named entities, whatever the format, as BIO tags.

    Formats, told by the ending or the first line:

    - CoNLL, two columns: token, tag; a blank line ends a sentence (WNUT-17);
    - indexed, three columns: number, token, tag (WikiNEuRal);
    - JSON lines with `tokens` and `ner_tags`, `tags` or `labels`;
    - Shakti Standard Format, as in the IJCNLP-08 shared task on South and South East Asian
      languages (SSEA); of nested entities the outermost one counts.

    IOB1 and BIOES/BILOU tags become BIO.

    Args:
        path: A file, or a folder of files of these formats.
        label_map: New names of entity types, such as `{"person": "PER", "product": "O"}`; "O"
            drops a type. Types that it does not name stay.

    Returns:
        `tokens` and `tags`, a row a sentence.

    Raises:
        FileNotFoundError: There is no such file, or the folder is empty.
        ValueError: A line that is not of the format, with its number; no sentence.
    """
    sentences: list[Sentence] = []
    for file in _files(path):
        if file.suffix in _JSON_ENDINGS:
            found = _parse_json(file)
        elif is_shakti(iterate_lines(file)):
            found = parse_shakti(file, _lines(file))
        else:
            found = _parse_columns(file)
        sentences += [(tokens, to_bio(tags)) for tokens, tags in found]
    mapping = label_map or {}
    return _dataset(path, [(tokens, _rename(tags, mapping)) for tokens, tags in sentences])


def read_pos(path: str | Path) -> Dataset:
    """Reads the universal parts of speech (column 4) of CoNLL-U.

    A multi-word token (`1-2`) is left out, as its words follow and carry the tags; so is an empty
    node (`1.1`), which is not in the text.

    Returns:
        `tokens` and `tags`, a row a sentence.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line that is not CoNLL-U, with its number; a treebank whose words are
            withheld (`_` in place of each).
    """
    sentences: list[Sentence] = []
    for file in _files(path):
        sentences += _parse_conllu(file)
    if sentences and all(word == "_" for tokens, _ in sentences for word in tokens):
        raise ValueError(
            f"{path}: every word is '_', so this treebank comes without its text (as English "
            "GUMReddit does). Restore the words with the script of the treebank, or take another."
        )
    return _dataset(path, sentences)


def read_sentiment(
    path: str | Path,
    label_map: Mapping[str, str] | None = None,
    drop: Iterable[str] = (),
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
) -> Dataset:
    """Reads texts with one label each.

    Args:
        path: A table (Parquet, CSV, TSV, JSON lines) with columns `text` and `label`, or a text
            file `…text.txt` of one text a line, whose labels stand in `…labels.txt` beside it.
        label_map: New names of labels. By default the digits of UMSAB and TweetEval: 0 negative,
            1 neutral, 2 positive.
        drop: Labels, by their new names, whose texts are left out.
        columns: What a table calls a column, such as `{"text": "tweet"}`.
        table_format: How text tables are written.

    Returns:
        String columns `text` and `label`.

    Raises:
        FileNotFoundError: The file is not there, or the label file beside it.
        ValueError: Another number of labels than of texts, a blank text or label, no row, or labels
            of two classes by digits that `label_map` does not name.
    """
    from datasets import Dataset

    path, mapping, dropped = Path(path), {**SENTIMENTS, **(label_map or {})}, set(drop)
    is_plain = path.suffix == ".txt"
    texts, labels = (
        _text_and_label_files(path) if is_plain else _label_table(path, columns, table_format)
    )
    for number, values in enumerate(zip(texts, labels, strict=True), start=1):
        for name, value in zip(("text", "label"), values, strict=True):
            if not value or not value.strip():
                raise ValueError(f"{path}: the {name} of row {number} is blank; needed is one each")
    if not label_map and {label.strip() for label in labels} == {"0", "1"}:
        raise ValueError(
            f"{path} has the labels 0 and 1 alone: with three classes 1 is neutral, with two it is "
            "positive. Say which (`--label_map 0=negative 1=positive`)"
        )
    names = [mapping.get(label.strip(), label.strip()) for label in labels]
    kept = [(text, name) for text, name in zip(texts, names, strict=True) if name not in dropped]
    if not kept:
        raise ValueError(
            f"{path} holds no text to use; its labels are {sorted(set(names))}, and those left out "
            f"{sorted(dropped)}"
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
        ValueError: A line without two texts, with its number, or a name without languages.
    """
    from datasets import Dataset, concatenate_datasets

    from twhin_hf.data.translation.pairs import read_translation_pairs

    path = Path(path)
    files = sorted(path.glob("*.tsv")) if path.is_dir() else [path]
    if not files or not all(_is_bare_tsv(file) for file in files):
        return read_translation_pairs(path, columns=columns, memory_limit=memory_limit)
    return concatenate_datasets([Dataset.from_dict(_parse_bitext(file)) for file in files])


def to_bio(tags: Sequence[str]) -> list[str]:
    """BIO tags from BIO, IOB1, BIOES or BILOU tags of one sentence.

    Raises:
        ValueError: A tag that is neither `O` nor a prefix and a type, such as `B-PER`.

    >>> to_bio(["I-PER", "I-PER", "B-PER", "O", "S-LOC", "B-ORG", "E-ORG", "I-LOC"])
    ['B-PER', 'I-PER', 'B-PER', 'O', 'B-LOC', 'B-ORG', 'I-ORG', 'B-LOC']
    """
    converted, before = [], OUTSIDE
    for tag in tags:
        prefix, kind = _prefix_and_type(tag)
        if prefix == OUTSIDE:
            converted.append(OUTSIDE)
        else:
            inside = _BIO_PREFIX[prefix] == "I" and before == kind
            converted.append(f"{'I' if inside else 'B'}-{kind}")
        # An entity that ends here is not gone on with by an I- that follows.
        before = OUTSIDE if prefix in "OELSU" else kind
    return converted


@functools.cache
def _prefix_and_type(tag: str) -> tuple[str, str]:
    prefix, _, kind = tag.partition("-")
    if tag != OUTSIDE and not (prefix in _BIO_PREFIX and kind):
        raise ValueError(f"{tag!r} is no tag; needed is 'O', or a prefix and a type as 'B-PER'")
    return prefix, kind


def _is_bare_tsv(file: Path) -> bool:
    """Whether a file ends in .tsv and its first line names no columns."""
    first = next(iterate_lines(file), "") if file.suffix == ".tsv" else "text_a"
    return "text_a" not in first.split("\t")


def _parse_bitext(file: Path) -> dict[str, list[str]]:
    languages = file.stem.split("-")
    if len(languages) != 2 or not all(language.isalpha() for language in languages):
        raise ValueError(
            f"{file}: which languages are these? Name the file after them, such as en-ar.tsv, or "
            "give columns text_a, text_b, lang_a and lang_b"
        )
    texts: tuple[list[str], list[str]] = ([], [])
    for number, line in _lines(file):
        columns = line.split("\t")
        if len(columns) != 2 or not all(column.strip() for column in columns):
            _odd(file, number, line, "a text, a tab and its translation")
        for side, text in zip(texts, columns, strict=True):
            side.append(text)
    count = len(texts[0])
    if not count:
        raise ValueError(f"{file} holds no pair.")
    return {
        "text_a": texts[0],
        "text_b": texts[1],
        "lang_a": [languages[0]] * count,
        "lang_b": [languages[1]] * count,
        "source": [file.name] * count,
    }


def _rename(tags: list[str], label_map: Mapping[str, str]) -> list[str]:
    """BIO tags with other names of types; a type whose name is "O" is no entity any more."""
    if not label_map:
        return tags
    renamed = []
    for tag in tags:
        prefix, kind = _prefix_and_type(tag)
        kind = label_map.get(kind, kind)
        renamed.append(OUTSIDE if OUTSIDE in (tag, kind) else f"{prefix}-{kind}")
    return renamed


def _parse_columns(file: Path) -> Iterator[Sentence]:
    """Sentences of token and tag, or of number, token and tag; the first line tells which."""
    width = 0
    for lines in _blocks(file):
        tokens, tags = list[str](), list[str]()
        for number, line in lines:
            columns = line.split("\t") if "\t" in line else line.split()
            width = width or len(columns)
            if width not in (2, 3):
                _odd(file, number, line, "two columns (token, tag) or three (number, token, tag)")
            numbered = width == 2 or columns[0].isdecimal()
            if len(columns) != width or not columns[-2] or not numbered:
                _odd(file, number, line, ("token, tag", "number, token, tag")[width - 2])
            tokens.append(columns[-2])
            tags.append(_checked_tag(file, number, line, columns[-1].strip()))
        yield tokens, tags


def _parse_json(file: Path) -> Iterator[Sentence]:
    for number, line in _lines(file):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}, line {number} is not JSON: {error}") from error
        key = next((key for key in _TAG_KEYS if isinstance(row, dict) and key in row), None)
        if key is None or "tokens" not in row:
            found = sorted(row) if isinstance(row, dict) else type(row).__name__
            raise ValueError(
                f"{file}, line {number} holds {found}; needed are 'tokens' and one of {_TAG_KEYS}"
            )
        tokens, tags = row["tokens"], row[key]
        if not all(
            isinstance(values, list) and all(isinstance(value, str) for value in values)
            for values in (tokens, tags)
        ):
            raise ValueError(
                f"{file}, line {number}: 'tokens' and {key!r} must be lists of strings; "
                "write the names of the tags, not their numbers"
            )
        if len(tokens) != len(tags):
            raise ValueError(
                f"{file}, line {number} has {len(tokens)} tokens and {len(tags)} tags; "
                "needed is one tag a token"
            )
        for tag in tags:
            _checked_tag(file, number, line, tag)
        if tokens:
            yield tokens, tags


def _parse_conllu(file: Path) -> Iterator[Sentence]:
    for lines in _blocks(file):
        tokens, tags = list[str](), list[str]()
        for number, line in lines:
            if line.startswith("#"):
                continue
            columns = line.split("\t")
            if len(columns) != 10:
                _odd(file, number, line, "ten columns, separated by tabs")
            if _is_span_or_empty_node(columns[0]):
                continue
            if columns[0] != str(len(tokens) + 1):
                _odd(file, number, line, f"word {len(tokens) + 1} of the sentence, or a blank line")
            if not _UPOS.fullmatch(columns[3]):
                _odd(file, number, line, "a universal part of speech in column 4, such as NOUN")
            tokens.append(columns[1])
            tags.append(columns[3])
        # A block of comments alone is no sentence.
        if tokens:
            yield tokens, tags


def _is_span_or_empty_node(word_id: str) -> bool:
    """Whether the id is that of a multi-word token (`1-2`) or an empty node (`1.1`)."""
    return any(
        len(parts := word_id.split(sign)) == 2 and all(part.isdecimal() for part in parts)
        for sign in "-."
    )


def _checked_tag(file: Path, number: int, line: str, tag: str) -> str:
    try:
        _prefix_and_type(tag)
    except ValueError as error:
        raise ValueError(f"{file}, line {number} ({line[:60]!r}): {error}") from error
    return tag


def _text_and_label_files(path: Path) -> tuple[list[str], list[str]]:
    head, found, tail = path.name.rpartition("text")
    if not found:
        raise ValueError(
            f"{path}: where are its labels? Name the texts '…text.txt' and the labels "
            "'…labels.txt', or give a table with columns text and label"
        )
    beside = path.with_name(f"{head}labels{tail}")
    texts, labels = (list(iterate_lines(file)) for file in (path, beside))
    if len(texts) != len(labels):
        raise ValueError(
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


def _files(path: str | Path) -> list[Path]:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}; check the path of the file or folder.")
    files = (
        [file for file in sorted(path.rglob("*")) if file.is_file()] if path.is_dir() else [path]
    )
    files = [file for file in files if not file.name.startswith(".")]
    if not files:
        raise FileNotFoundError(f"The folder {path} holds no file.")
    return files


def _lines(file: Path) -> Iterator[Line]:
    return enumerate(iterate_lines(file), start=1)


def _blocks(file: Path) -> Iterator[Iterator[Line]]:
    """The numbered lines of a file, parted by blank ones; each part is read before the next."""
    for is_blank, lines in groupby(_lines(file), lambda numbered: not numbered[1].strip()):
        if not is_blank:
            yield lines


def _odd(file: Path, number: int, line: str, needed: str) -> NoReturn:
    raise ValueError(f"{file}, line {number} is {line[:80]!r}; needed is {needed}")


def _dataset(path: str | Path, sentences: Sequence[Sentence]) -> Dataset:
    from datasets import Dataset

    if not sentences:
        raise ValueError(f"{path} holds no sentence.")
    return Dataset.from_dict(
        {"tokens": [tokens for tokens, _ in sentences], "tags": [tags for _, tags in sentences]}
    )
