"""`twhin-hf data translation-pairs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from twhin_hf.errors import InputError
from twhin_hf.table_format import TableFormat

if TYPE_CHECKING:
    from twhin_hf.data.translation.sources import PairSource

Source = Literal["tatoeba", "wikimatrix", "wikidata", "moses", "published", "columns"]


def translation_pairs(
    source: Source,
    input: str,
    output: str,
    table_format: TableFormat,
    languages: list[str] | None = None,
    min_score: float | None = None,
    max_texts: int | None = None,
    columns: dict[str, str] | None = None,
    validation_share: float | None = None,
    seed: int = 0,
    memory_limit: str = "1GB",
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Clean translation pairs of a published source, merge duplicates and write them.

    Writes OUTPUT/en-ar.parquet and so on, with the columns text_a, text_b, lang_a, lang_b and
    source, and counts what was dropped in OUTPUT/_report.json.

    Args:
        source: Source of the pairs. tatoeba: sentences (detailed or not) and links, exports of a
            pair, two columns, or Anki's decks. wikimatrix: score, text, text. wikidata: the JSON
            dump, JSON of items, or answers of the query service with label_en, description_en and
            so on. moses: aligned files, corpus.en beside corpus.ar (Moses, OPUS, LASER). published:
            JSON lines with unique_label_desc. columns: Parquet, CSV or JSON lines with two columns
            of text.
        input: File or folder, as published.
        output: Output folder.
        table_format: How text tables are written.
        languages: Pairs of languages in the order of the sides, such as en-ar en-hi (default: all
            that the source names).
        min_score: Margin score that a pair must exceed, for wikimatrix (default: 1.05, the
            paper's).
        max_texts: Texts of an item that are combined, for published (default: 5, the paper's).
        columns: Rename columns, for columns: what text_a, text_b, lang_a and lang_b are called,
            NAME=COLUMN.
        validation_share: Share of the items to hold out; pairs that share texts stay together, and
            the files go to OUTPUT/train and OUTPUT/validation (default: hold out nothing).
        seed: Seed of what is held out.
        memory_limit: Memory limit of the reader.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
        progress: Show progress bars.
    """
    from twhin_hf.commands.options import options_of_result
    from twhin_hf.data.translation.writing import write_translation_pairs
    from twhin_hf.printing import report
    from twhin_hf.run_file import run_whole_folder

    given = {"min_score": min_score, "max_texts": max_texts, "columns": columns}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if _SOURCE_OF[name] != source:
            raise InputError(f"--{name} is for --source {_SOURCE_OF[name]}, not {source}")
    options = options_of_result(
        table_format,
        **given,
        source=source,
        languages=languages,
        validation_share=validation_share,
        seed=seed,
    )
    with run_whole_folder(
        output,
        "data translation-pairs",
        options,
        data={"input": input},
        seed=seed,
        overwrite=overwrite,
    ) as run:
        if run.is_finished:
            return
        done = write_translation_pairs(
            _pair_source(
                source, input, languages or [], table_format, memory_limit, progress, given
            ),
            run.path,
            validation_share=validation_share,
            seed=seed,
            memory_limit=memory_limit,
            progress=progress,
        )
    counts = {"source": done.source, "rows": done.rows}
    report(f"Saved in {output}", {**counts, "dropped": done.dropped, "pairs": done.pairs})


_SOURCE_OF = {"min_score": "wikimatrix", "max_texts": "published", "columns": "columns"}


def _pair_source(
    source: Source,
    path: str,
    languages: list[str],
    table_format: TableFormat,
    memory_limit: str,
    progress: bool,
    given: dict[str, Any],
) -> PairSource:
    from twhin_hf.data.language_codes import parse_language_pairs
    from twhin_hf.data.translation.aligned import moses_pairs
    from twhin_hf.data.translation.columns import column_pairs
    from twhin_hf.data.translation.sources import published_pairs, wikimatrix_pairs
    from twhin_hf.data.translation.tatoeba import tatoeba_pairs
    from twhin_hf.data.translation.wikidata import wikidata_pairs

    pairs = parse_language_pairs(languages)
    if source == "tatoeba":
        return tatoeba_pairs(path, pairs, memory_limit=memory_limit, progress=progress)
    if source == "wikimatrix":
        return wikimatrix_pairs(path, pairs, progress=progress, **given)
    if source == "wikidata":
        return wikidata_pairs(path, pairs, progress=progress)
    if source == "moses":
        return moses_pairs(path, pairs, progress=progress)
    if source == "published":
        return published_pairs(path, pairs, progress=progress, **given)
    return column_pairs(path, pairs, table_format=table_format, memory_limit=memory_limit, **given)
