"""Translation pairs of Wikidata: an item's label and description in two languages."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.data.language_codes import LanguagePair
from twhin_hf.data.translation.sources import (
    PairSource,
    add_languages,
    check_languages,
    find_files,
    json_values,
)
from twhin_hf.data.translation.tab_columns import split_columns
from twhin_hf.errors import WRONG_CONTENT, InputError, reading
from twhin_hf.files import parse_json
from twhin_hf.lines import NumberedLines, first_line, iterate_lines, read_lines
from twhin_hf.tables import has_text, open_engine, read_errors, read_table, table_batches

_ENDINGS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
_TABLES = re.compile(r"\.(csv|tsv)(?:\.gz|\.bz2)?$")
_ONE_ITEM = re.compile(r'\s*\{\s*"(?!head"|entities")')
_INCOMPLETE = "items without label or description in a language"
_ROWS_PER_BATCH = 50_000
# What Wikidata writes in a script or region of a language, in the order in which MediaWiki falls
# back on them.
_VARIANTS = {
    "zh": ("zh-hans", "zh-cn", "zh-sg", "zh-my", "zh-hant", "zh-tw", "zh-hk", "zh-mo"),
    "sr": ("sr-ec", "sr-el"),
}
# The TSV of SPARQL (W3C, SPARQL 1.1 Query Results CSV and TSV Formats) quotes and tags a text.
_TURTLE = r'^"(.*)"(?:@[A-Za-z0-9-]+)?$'
# An escaped backslash is out of the way while the others are replaced.
_TURTLE_ESCAPES = (
    ("\\\\", "\0"),
    ('\\"', '"'),
    ("\\n", "\n"),
    ("\\r", "\r"),
    ("\\t", "\t"),
    ("\0", "\\"),
)


def wikidata_pairs(
    path: str | Path, languages: Sequence[LanguagePair], *, progress: bool = True
) -> PairSource:
    """Label + " " + description of Wikidata's items, in both languages (TPP paper, Section 2).

    Read are

    - the JSON dump (`latest-all.json.gz`, `.bz2` or unpacked): an array with an item a line, or
      the items as plain JSON lines;
    - items as the API and `Special:EntityData` give them, and JSON of items over many lines (read
      whole);
    - answers of the query service, as CSV, TSV or SPARQL JSON, whose columns (variables) are
      `label_en`, `description_en`, `label_ar`, `description_ar` and so on. SPARQL JSON is read
      whole; the others in blocks.

    An item is a pair where its label and its description are there in both languages. In the dump
    a text in `zh` or `sr` that is not there is found in one of its variants, such as `zh-hans`.

    Args:
        path: A file, or a folder of files.
        languages: Pairs of languages, in Wikidata's codes.
        progress: Shows progress bars.

    Raises:
        FileNotFoundError: The source is missing.
        InputError: No languages; or, as the batches are drawn, a language is not there, or a line
            is not JSON.
    """
    if not languages:
        raise InputError(f"{path}: Wikidata has many languages; name pairs: `--languages en-ar`.")
    files = find_files(path, _ENDINGS)
    codes = sorted({code for pair in languages for code in pair})
    dropped: Counter[str] = Counter()

    def batches() -> Iterator[pa.Table]:
        missing = set(codes)
        for file in files:
            for texts in _texts(file, codes, progress):
                missing -= {code for code in missing if texts[code].null_count < len(texts)}
                for pair in languages:
                    sides = pa.table([texts[code] for code in pair], names=["text_a", "text_b"])
                    both = sides.drop_null()
                    dropped[_INCOMPLETE] += len(sides) - len(both)
                    yield add_languages(both, pair)
        if missing:
            if found := _languages(files[0]):
                check_languages(languages, found, str(path))
            raise InputError(
                f"{path} has no item with label and description in {', '.join(sorted(missing))}."
            )

    return PairSource("wikidata", batches(), dropped)


def _texts(file: Path, codes: Sequence[str], progress: bool) -> Iterator[pa.Table]:
    """A column a language, null where the item has no label or no description."""
    names = [f"{kind}_{code}" for code in codes for kind in ("label", "description")]
    if table := _TABLES.search(file.name):
        tables = _read_csv(file, names) if table[1] == "csv" else _read_tsv(file, names, progress)
    elif _is_lines(file):
        blocks = map(_items, read_lines(file, progress=progress))
        tables = _read_items(blocks, codes, names)
    else:
        document = _load(file)
        if isinstance(document, dict) and "head" in document:
            tables = iter([_read_sparql_json(file, document, names)])
        else:
            tables = _read_items([_document_items(file, document)], codes, names)
    for values in tables:
        columns = []
        for code in codes:
            label, description = values[f"label_{code}"], values[f"description_{code}"]
            whole = pc.and_(has_text(label), has_text(description))
            text = pc.binary_join_element_wise(label, description, " ")
            columns.append(pc.if_else(whole, text, None))
        yield pa.table(columns, names=list(codes))


def _read_items(
    blocks: Iterable[NumberedLines], codes: Sequence[str], names: list[str]
) -> Iterator[pa.Table]:
    fields = [(kind, code) for code in codes for kind in ("labels", "descriptions")]
    written = [(kind, (code, *_VARIANTS.get(code, ()))) for kind, code in fields]
    paths = [f'$.{kind}."{variant}".value' for kind, variants in written for variant in variants]
    for block in blocks:
        values = iter(json_values(block, paths))
        columns = [pc.coalesce(*itertools.islice(values, len(own))) for _, own in written]
        yield pa.table(columns, names=names)


def _items(block: NumberedLines) -> NumberedLines:
    """The items of a dump's lines, without the array's brackets and commas."""
    lines = pc.utf8_rtrim(pc.utf8_trim_whitespace(block.lines), ",")
    kept = pc.greater(pc.binary_length(lines), 1)
    numbers = block.numbers[kept.to_numpy(zero_copy_only=False)]
    return block._replace(lines=lines.filter(kept), numbers=numbers)


def _read_csv(file: Path, names: list[str]) -> Iterator[pa.Table]:
    with open_engine() as engine, read_errors(file, has_memory_limit=False):
        table = read_table(file, names, connection=engine)
        yield from table_batches(table, _ROWS_PER_BATCH)


def _read_tsv(file: Path, names: list[str], progress: bool) -> Iterator[pa.Table]:
    header = _tsv_header(file)
    _check_names(file, header, names)
    first, dropped = True, Counter[str]()
    for whole in read_lines(file, progress=progress):
        _, columns = split_columns(whole, len(header), ", ".join(header), dropped)
        columns = [column.slice(int(first)) for column in columns]
        first = False
        yield pa.table([_plain(columns[header.index(name)]) for name in names], names=names)


def _tsv_header(file: Path) -> list[str]:
    return [name.removeprefix("?") for name in first_line(file).split("\t")]


def _plain(terms: pa.Array) -> pa.Array:
    """The texts of RDF terms such as `"text"@en`; what is no such term stays."""
    quoted = pc.match_substring_regex(terms, _TURTLE)
    texts = pc.replace_substring_regex(terms, pattern=_TURTLE, replacement=r"\1")
    for escape, character in _TURTLE_ESCAPES:
        texts = pc.replace_substring(texts, pattern=escape, replacement=character)
    return pc.if_else(quoted, texts, terms)


def _is_lines(file: Path) -> bool:
    """Whether a file has an item a line, as the dump and JSON lines do."""
    first = itertools.islice(filter(str.strip, iterate_lines(file)), 2)
    line = next((line for line in first if line.strip() != "["), "")
    return _ONE_ITEM.match(line) is not None and line.rstrip().rstrip(",").endswith("}")


def _document_items(file: Path, document: Any) -> NumberedLines:
    """The items of a document: one, a list, or `{"entities": {"Q1": …}}`."""
    if isinstance(document, dict) and isinstance(document.get("entities"), dict):
        document = list(document["entities"].values())
    items = document if isinstance(document, list) else [document]
    if not all(isinstance(item, dict) and "labels" in item for item in items):
        raise InputError(
            f"{file} is JSON, but neither items of Wikidata, which have labels, nor an answer of "
            "its query service, which has head and results."
        )
    lines = pa.array([json.dumps(item, ensure_ascii=False) for item in items], pa.string())
    return NumberedLines(file, lines, np.arange(1, len(lines) + 1))


def _read_sparql_json(file: Path, answer: dict[str, Any], names: list[str]) -> pa.Table:
    try:
        variables, rows = answer["head"]["vars"], answer["results"]["bindings"]
    except (KeyError, TypeError):
        raise InputError(
            f"{file} is no answer of a SELECT query: head.vars and results.bindings are not there."
        ) from None
    with reading(file, "Ask the query service again.", (*WRONG_CONTENT, pa.ArrowException)):
        _check_names(file, list(map(str, variables)), names)
        columns = [[row.get(name, {}).get("value") for row in rows] for name in names]
        return pa.table([pa.array(column, pa.string()) for column in columns], names=names)


def _load(file: Path) -> Any:
    lines = (block.lines.to_pylist() for block in read_lines(file, progress=False))
    try:
        return parse_json("\n".join(itertools.chain.from_iterable(lines)))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{file}, line {error.lineno:,}: this is not JSON ({error.msg})."
        ) from None
    except ValueError as error:
        raise InputError(f"{file}: this is not JSON ({error}).") from None


def _check_names(file: Path, found: Sequence[str], needed: Sequence[str]) -> None:
    for name in needed:
        if name not in found:
            raise InputError(
                f"{file} has no column {name!r}; found are {', '.join(found)}. Name the variables "
                "of the query so, or ask for other languages (`--languages`)."
            )


def _languages(file: Path) -> Counter[str]:
    """The languages of the labels at the beginning of a dump, with counts."""
    counts: Counter[str] = Counter()
    if _TABLES.search(file.name) or not _is_lines(file):
        return counts
    for block in itertools.islice(read_lines(file, progress=False), 1):
        (labels,) = json_values(_items(block), ["$.labels"])
        for text in labels.drop_null().to_pylist():
            try:
                labels_of = json.loads(text)
            except ValueError:
                continue
            if isinstance(labels_of, dict):
                counts.update(dict.fromkeys(labels_of, 1))
    return counts
