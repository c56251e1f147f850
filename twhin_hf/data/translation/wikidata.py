"""Translation pairs of Wikidata: an item's label and description in two languages."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

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
from twhin_hf.lines import NumberedLines, first_line, read_lines
from twhin_hf.tables import has_text, open_engine, read_errors, read_table, table_batches

_FILES = re.compile(r"\.(?:json|jsonl|ndjson|csv|tsv)(?:\.gz|\.bz2)?$")
_TABLES = re.compile(r"\.(csv|tsv)(?:\.gz|\.bz2)?$")
_SPARQL_JSON = re.compile(r'\s*\{\s*(?:"head"|$)')
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
        ValueError: No languages; or, as the batches are drawn, a language is not there, or a line
            is not JSON.
    """
    if not languages:
        raise ValueError(f"{path}: Wikidata has many languages; name pairs: `--languages en-ar`.")
    files = find_files(path, _FILES)
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
            raise ValueError(
                f"{path} has no item with label and description in {', '.join(sorted(missing))}."
            )

    return PairSource("wikidata", batches(), dropped)


def _texts(file: Path, codes: Sequence[str], progress: bool) -> Iterator[pa.Table]:
    """A column a language, null where the item has no label or no description."""
    names = [f"{kind}_{code}" for code in codes for kind in ("label", "description")]
    if table := _TABLES.search(file.name):
        tables = _read_csv(file, names) if table[1] == "csv" else _read_tsv(file, names, progress)
    elif _SPARQL_JSON.match(first_line(file)):
        tables = iter([_read_sparql_json(file, names)])
    else:
        tables = _read_dump(file, codes, names, progress)
    for values in tables:
        columns = []
        for code in codes:
            label, description = values[f"label_{code}"], values[f"description_{code}"]
            whole = pc.and_(has_text(label), has_text(description))
            text = pc.binary_join_element_wise(label, description, " ")
            columns.append(pc.if_else(whole, text, None))
        yield pa.table(columns, names=list(codes))


def _read_dump(
    file: Path, codes: Sequence[str], names: list[str], progress: bool
) -> Iterator[pa.Table]:
    fields = [(kind, code) for code in codes for kind in ("labels", "descriptions")]
    written = [(kind, (code, *_VARIANTS.get(code, ()))) for kind, code in fields]
    paths = [f'$.{kind}."{variant}".value' for kind, variants in written for variant in variants]
    for block in read_lines(file, progress=progress):
        values = iter(json_values(_items(block), paths))
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


def _read_sparql_json(file: Path, names: list[str]) -> pa.Table:
    answer = _load_sparql_json(file)
    _check_names(file, answer["head"]["vars"], names)
    rows = answer["results"]["bindings"]
    columns = [[row.get(name, {}).get("value") for row in rows] for name in names]
    return pa.table([pa.array(column, pa.string()) for column in columns], names=names)


def _load_sparql_json(file: Path) -> dict:
    lines = (block.lines.to_pylist() for block in read_lines(file, progress=False))
    try:
        return json.loads("\n".join(itertools.chain.from_iterable(lines)))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{file}, line {error.lineno:,}: this is not JSON ({error.msg})."
        ) from None


def _check_names(file: Path, found: Sequence[str], needed: Sequence[str]) -> None:
    for name in needed:
        if name not in found:
            raise ValueError(
                f"{file} has no column {name!r}; found are {', '.join(found)}. Name the variables "
                "of the query so, or ask for other languages (`--languages`)."
            )


def _languages(file: Path) -> Counter[str]:
    """The languages of the labels at the beginning of a dump, with counts."""
    counts: Counter[str] = Counter()
    if _TABLES.search(file.name) or _SPARQL_JSON.match(first_line(file)):
        return counts
    for block in itertools.islice(read_lines(file, progress=False), 1):
        (labels,) = json_values(_items(block), ["$.labels"])
        for text in labels.drop_null().to_pylist():
            counts.update(dict.fromkeys(json.loads(text), 1))
    return counts
