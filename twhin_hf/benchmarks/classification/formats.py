"""The files in which benchmarks of text classification are published.

Every reader gives texts and their labels' names, one each, and says where a file is odd.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.benchmarks.hydration import find_texts
from twhin_hf.errors import InputError, reading
from twhin_hf.lines import UNREADABLE, damaged, iterate_lines, open_unpacked
from twhin_hf.scratch import scratch_folder
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import column_names, has_text, open_engine, read_errors, read_table

TABLE_ENDINGS = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
_NOT_AVAILABLE = "Not Available"  # what the downloading script of SemEval writes for a gone tweet
_COLUMNS = {
    "text": ("text", "tweet", "tweet_text", "full_text", "sentence", "content"),
    "label": ("label", "sentiment", "class", "category", "assessment_option_id"),
    "id": ("id", "tweet_id", "tweetid", "post_id", "id_str", "uid"),
}


class Labelled(NamedTuple):
    """Texts with their labels.

    Args:
        texts: One each.
        labels: As many.
        without_text: Labels whose text was not to be had.
        blank_texts: Labels left out because their text is blank.
    """

    texts: list[str]
    labels: list[str]
    without_text: int = 0
    blank_texts: int = 0

    def renamed(self, names: Mapping[str, str]) -> Labelled:
        """With other names of labels; those that are not named stay."""
        return self._replace(labels=[names.get(label, label) for label in self.labels])


def concatenate(parts: list[Labelled]) -> Labelled:
    """All texts of several files."""
    texts, labels, without_text, blank_texts = zip(*parts, strict=True)
    return Labelled(
        list(chain.from_iterable(texts)),
        list(chain.from_iterable(labels)),
        sum(without_text),
        sum(blank_texts),
    )


def labels_beside(texts: Path) -> Path | None:
    """The file of labels that belongs to one of texts, by its name; None where it is no such one.

    TweetEval and UMSAB write `train_text.txt` and `train_labels.txt`, SemEval-2018 Task 2
    `us_train.text` and `us_train.labels`.
    """
    if texts.suffix == ".text":
        return texts.with_suffix(".labels")
    if texts.name.endswith("text.txt"):
        return texts.with_name(texts.name.removesuffix("text.txt") + "labels.txt")
    return None


def read_paired_files(texts: Path, labels: Path) -> Labelled:
    """Reads a text a line, and the label of each from the same line of another file.

    Raises:
        FileNotFoundError: One is missing.
        InputError: Another number of labels than of texts, or a blank label.
    """
    found = Labelled(list(iterate_lines(texts)), list(map(str.strip, iterate_lines(labels))))
    if len(found.texts) != len(found.labels):
        raise InputError(
            f"{texts} has {len(found.texts):,} lines and {labels.name} {len(found.labels):,}; "
            "needed is one label a text"
        )
    return _checked(texts, found)


def read_mapping(path: Path) -> dict[str, str]:
    """Names of labels from `mapping.txt` of TweetEval: number, name, and what else there may be.

    Raises:
        InputError: A line without a tab.
    """
    rows = [line.split("\t") for line in iterate_lines(path) if line.strip()]
    odd = next((row for row in rows if len(row) < 2), None)
    if odd:
        raise InputError(f"{path}: {odd[0]!r} is no number, a tab and a name")
    return {row[0].strip(): row[1].strip() for row in rows}


def is_sentimix(path: Path) -> bool:
    """Whether a file begins as the tweets of SemEval-2020 Task 9 do."""
    return _tweet_head(_first_line(path).split("\t")) is not None


def is_label_list(path: Path) -> bool:
    """Whether a file begins as the test labels of SemEval-2020 Task 9 do."""
    return _first_line(path).lower().replace(" ", "") == "uid,sentiment"


def read_label_list(path: Path) -> dict[str, str]:
    """Labels by id: `Uid,Sentiment` and a line each."""
    with reading(path, "Needed are lines of an id, a comma and a label.", (csv.Error,)):
        rows = islice(csv.reader(iterate_lines(path)), 1, None)
        return dict(row[:2] for row in rows if len(row) >= 2)


def read_sentimix(path: Path, labels: Mapping[str, str]) -> Labelled:
    """Reads tweets of SemEval-2020 Task 9 (Patwa et al., 2020): a token and its language a line.

    The first line of a tweet is `meta` and the id, or `# sent_enum = ID`, and, but for the test
    set, the sentiment; a blank line ends the tweet. The text is the tokens with blanks between.

    Args:
        path: The file.
        labels: Sentiments by id, for tweets whose first line has none.

    Raises:
        InputError: A tweet that begins otherwise, or one without a sentiment.
    """
    texts, found, tokens = list[str](), list[str](), list[str]()
    for number, line in enumerate(chain(iterate_lines(path), [""]), start=1):
        columns = line.split("\t")
        if not line.strip():
            # A tweet without a word is a blank text, which is left out and counted.
            if len(texts) < len(found):
                texts.append(" ".join(tokens))
            tokens = []
        elif len(texts) < len(found):
            tokens.append(columns[0].strip())
        else:
            head = _tweet_head(columns)
            if head is None:
                raise InputError(
                    f"{path}, line {number} is {line[:60]!r}; needed is 'meta', the id and the "
                    "sentiment, where a tweet begins"
                )
            tweet_id, *told = head
            label = told[0] if told else labels.get(tweet_id)
            if not label:
                raise InputError(
                    f"{path}, line {number}: tweet {tweet_id!r} has no sentiment. Put the file "
                    "with the test labels (Uid,Sentiment) beside it."
                )
            found.append(label)
    return _checked(path, Labelled(texts, found))


def _tweet_head(columns: list[str]) -> list[str] | None:
    """The id and perhaps the sentiment where a tweet of SemEval-2020 Task 9 begins, else None."""
    if columns[0].startswith("# sent_enum"):
        columns = ["meta", columns[0].partition("=")[2], *columns[1:]]
    is_head = columns[0] == "meta" and len(columns) > 1
    return [column.strip() for column in columns[1:3]] if is_head else None


def is_semeval_lines(path: Path) -> bool:
    """Whether a file begins as those of SemEval-2017 Task 4A do: id, sentiment, text; no header."""
    columns = _first_line(path).split("\t")
    return len(columns) >= 2 and columns[0].isdecimal() and columns[1] in _POLARITIES


def read_semeval_lines(path: Path) -> Labelled:
    """Reads SemEval-2017 Task 4A (Rosenthal et al., 2017): id, tab, sentiment, tab, text.

    Tweets that were gone when the texts were downloaded (`Not Available`) are left out.

    Raises:
        InputError: A line of another form, or one that has no text column.
    """
    rows = [(number, line) for number, line in enumerate(iterate_lines(path), 1) if line.strip()]
    texts, labels, gone = [], [], 0
    for number, line in rows:
        columns = line.split("\t", 2)
        if len(columns) < 3 or columns[1] not in _POLARITIES:
            raise InputError(
                f"{path}, line {number} is {line[:60]!r}; needed are an id, one of "
                f"{sorted(_POLARITIES)} and the text, separated by tabs"
            )
        text = columns[2].strip()
        if text == _NOT_AVAILABLE:
            gone += 1
        else:
            texts.append(text)
            labels.append(columns[1])
    return _checked(path, Labelled(texts, labels, gone))


def read_labelled_table(
    path: Path,
    hydration: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
) -> Labelled:
    """Reads a table with a header: a label, and the text or the id that it is found by.

    Columns are found by their usual names (`text`, `tweet`; `label`, `sentiment`; `id`,
    `tweet_id`, …), in capitals or not.

    Args:
        path: CSV, TSV or JSON lines, also with `.gz`, CSV also with `.bz2`; Parquet.
        hydration: Where the texts are, for a table that has ids only; see
            `twhin_hf.benchmarks.hydration.find_texts`.
        columns: What the table calls `text`, `label` or `id`, where the name is unusual.
        table_format: How text tables are written.

    Raises:
        InputError: Columns that are missing (the message lists those found), a blank label, or
            no text.
    """
    if unknown := sorted(set(columns or {}) - set(_COLUMNS)):
        raise InputError(
            f"columns names {', '.join(unknown)}, which is not read here; known are "
            f"{', '.join(_COLUMNS)}."
        )
    with _unpacked(path) as plain:
        header = column_names(plain, table_format)
        named = {
            ours: next((name for name in header if name.lower().strip() in usual), None)
            for ours, usual in _COLUMNS.items()
        } | dict(columns or {})
        key = "text" if named["text"] else "id"
        if not named["label"] or not named[key]:
            raise InputError(
                f"{path} has the columns {', '.join(header) or 'none'}; needed are a label "
                f"({', '.join(_COLUMNS['label'])}) and a text ({', '.join(_COLUMNS['text'])}) or "
                f"an id ({', '.join(_COLUMNS['id'])}). Say which they are with columns "
                "(`--columns text=... label=...`)."
            )
        theirs = {ours: str(named[ours]) for ours in (key, "label")}
        with open_engine() as engine, read_errors(path, has_memory_limit=False):
            table = read_table(
                plain,
                [key, "label"],
                connection=engine,
                columns=theirs,
                table_format=table_format,
            ).to_pyarrow()
    labels = table["label"].to_pylist()
    if key == "text":
        return _checked(path, Labelled(table["text"].to_pylist(), labels))
    if hydration is None:
        raise InputError(
            f"{path} holds ids and labels without texts. Give the texts (`--hydration`): JSON "
            "lines of X/Twitter's API, or a table of post_id and text.",
            faq="hydration",
        )
    posts = find_texts(hydration, pc.unique(table["id"].combine_chunks()))
    places = pc.index_in(table["id"], value_set=posts["post_id"].combine_chunks())
    kept = pa.table({"text": posts["text"].take(places), "label": table["label"]})
    kept = kept.filter(pc.is_valid(kept["text"]))
    found = Labelled(kept["text"].to_pylist(), kept["label"].to_pylist(), len(table) - len(kept))
    return _checked(path, found)


_POLARITIES = {"positive", "negative", "neutral"}


def _checked(path: Path, found: Labelled) -> Labelled:
    """Leaves out and counts blank texts; a label that is blank or nothing left is an error."""
    filled = has_text(pa.array(found.texts, pa.string())).to_pylist()
    texts, labels = [], []
    for number, (text, label, is_filled) in enumerate(
        zip(found.texts, found.labels, filled, strict=True), start=1
    ):
        if is_filled and (label is None or not label.strip()):
            raise InputError(f"{path}: the label of row {number} is blank; needed is one each")
        if is_filled:
            texts.append(text)
            labels.append(label)
    if not texts:
        raise InputError(f"{path} holds no text with a label")
    return Labelled(texts, labels, found.without_text, len(found.texts) - len(texts))


def _first_line(path: Path) -> str:
    with path.open("rb") as lines:
        return lines.readline(1 << 16).decode("utf-8-sig", errors="replace").strip()


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The file itself, or what is in a `.bz2`, as a file of its own for as long as it is read."""
    if path.suffix != ".bz2":
        yield path
        return
    with scratch_folder() as folder:
        plain = folder / path.stem
        try:
            with open_unpacked(path) as packed, plain.open("wb") as target:
                shutil.copyfileobj(packed, target)
        except UNREADABLE as error:
            raise damaged(path, 0, error) from error
        yield plain
