"""Translation pairs of Tatoeba (https://tatoeba.org/downloads), in each of its exports."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twhin_hf.data.language_codes import LanguagePair, language_codes
from twhin_hf.data.translation.aligned import find_aligned_files, read_aligned_files
from twhin_hf.data.translation.sources import (
    PairFile,
    PairSource,
    add_languages,
    check_languages,
    find_files,
    find_pair_files,
    is_deck,
    side_by_side,
)
from twhin_hf.data.translation.tab_columns import numbers_of, split_columns
from twhin_hf.errors import InputError
from twhin_hf.lines import first_line, read_lines
from twhin_hf.scratch import scratch_folder
from twhin_hf.tables import open_engine, read_errors, table_batches

if TYPE_CHECKING:
    import ibis.expr.types as ir

_PACKING = r"\.(?:csv|tsv)(?:\.gz|\.bz2)?$|\.tar\.bz2$"
_ENDINGS = (".csv", ".tsv", ".txt", ".tar.bz2")
_SENTENCES = re.compile(rf"^((?:[a-z]+_)?)sentences(_detailed|_CC0)?(?:{_PACKING})")
_SENTENCE_COLUMNS = {
    None: "id, language, text",
    "_detailed": "id, language, text, user, added, modified",
    "_CC0": "id, language, text, modified",
}
_LINKS = re.compile(rf"^(?:[a-z]+-[a-z]+_)?links(?:{_PACKING})")
_SENTENCE_SCHEMA = pa.schema({"id": pa.int64(), "lang": pa.string(), "text": pa.string()})
_LINK_SCHEMA = pa.schema({"first": pa.int64(), "second": pa.int64()})
_ROWS_PER_BATCH = 50_000


def tatoeba_pairs(
    path: str | Path,
    languages: Sequence[LanguagePair] = (),
    *,
    memory_limit: str = "1GB",
    temp_directory: str | Path | None = None,
    progress: bool = True,
) -> PairSource:
    """Human translations of Tatoeba, in whichever export a file or folder holds.

    - `sentences.csv` and `links.csv`, or one or more `eng_sentences.tsv` and `ara-eng_links.tsv`:
      all files in one folder; `sentences_detailed.csv` and `sentences_CC0.csv` are read where the
      plain one is not there;
    - pairs, lines of id, text, id, text, or of text, text: the languages are in the name
      (`en-ar.tsv`), or the one file holds the one pair asked for;
    - decks for Anki (`fra.txt` of manythings.org): English, the other text, and who wrote them;
    - aligned files, as OPUS and LASER have Tatoeba (`Tatoeba.ar-en.en`); see `moses_pairs`.

    All of them packed (`.gz`, `.bz2`, `.tar.bz2`) or not. Three-letter codes become two-letter
    ones: "eng" is asked for and found as "en".

    Args:
        path: The file or folder.
        languages: Pairs of languages; needed with sentences and links.
        memory_limit: Most memory of the engine that joins sentences and links.
        temp_directory: Where sentences and links are kept meanwhile, about the size of the unpacked
            files; the system's folder where it is None.
        progress: Shows progress bars.

    Raises:
        FileNotFoundError: The source is missing.
        InputError: Sentences without links or links without sentences, or no file of the
            languages; or, as the batches are drawn, a language that is not there, or a wrong line.
    """
    dropped: Counter[str] = Counter()
    if aligned := find_aligned_files(path, languages):
        return PairSource("tatoeba", read_aligned_files(aligned, progress), dropped)
    files = find_files(path, _ENDINGS)
    sentences = _sentence_files(files)
    links = [file for file in files if _LINKS.search(file.name)]
    if not sentences and not links:
        pair_files = find_pair_files(path, languages)
        return PairSource("tatoeba", _read_pair_files(pair_files, dropped, progress), dropped)
    for name, there, other in (
        ("sentences", sentences, "links.csv or ara-eng_links.tsv"),
        ("links", links, "sentences.csv or eng_sentences.tsv"),
    ):
        if there and not (links and sentences):
            raise InputError(
                f"{path} holds {name} ({there[0].name}) but not {other}: pairs need both. Put both "
                "in one folder and give the folder."
            )
    if not languages:
        raise InputError(f"{path}: sentences and links need languages: `--languages en-ar`.")

    def batches() -> Iterator[pa.Table]:
        with scratch_folder(temp_directory) as folder:
            found = _store_sentences(sentences, languages, folder, dropped, progress)
            check_languages(languages, found, str(path))
            num_links = _store_links(links, folder, dropped, progress)
            with open_engine(memory_limit, temp_directory=folder) as engine, read_errors(path):
                sentence = engine.read_parquet(folder / "sentences.parquet")
                link = engine.read_parquet(folder / "links.parquet")
                yield from _join(sentence, link, num_links, languages, dropped, folder)

    return PairSource("tatoeba", batches(), dropped)


def _sentence_files(files: Sequence[Path]) -> list[Path]:
    """The files of sentences, the plain one where the same are there with details too."""
    named = [(file, name) for file in files if (name := _SENTENCES.search(file.name))]
    plain = {(file.parent, name[1]) for file, name in named if not name[2]}
    return [file for file, name in named if not name[2] or (file.parent, name[1]) not in plain]


def _read_pair_files(
    files: Sequence[PairFile], dropped: Counter[str], progress: bool
) -> Iterator[pa.Table]:
    for file in files:
        with_ids = re.match(r"\d+\t[^\t]+\t\d+\t", first_line(file.path)) is not None
        names = "id, text, id, text" if with_ids else "text, text"
        names += ", attribution" * is_deck(file.path)
        for whole in read_lines(file.path, progress=progress):
            _, columns = split_columns(whole, names.count(",") + 1, names, dropped)
            texts = columns[1::2] if with_ids else columns[:2]
            yield side_by_side(texts, file)


def _store_sentences(
    files: Sequence[Path],
    languages: Sequence[LanguagePair],
    folder: Path,
    dropped: Counter[str],
    progress: bool,
) -> Counter[str]:
    """Writes id, language and, in the languages asked for, text; returns the languages' counts."""
    wanted = pa.array(sorted({code for pair in languages for code in pair}))
    found: Counter[str] = Counter()
    with pq.ParquetWriter(folder / "sentences.parquet", _SENTENCE_SCHEMA) as writer:
        for whole in (block for file in files for block in read_lines(file, progress=progress)):
            name = _SENTENCES.search(whole.path.name)
            names = _SENTENCE_COLUMNS[name[2] if name else None]
            block, columns = split_columns(whole, names.count(",") + 1, names, dropped)
            ids, lang, text = columns[:3]
            lang = language_codes(lang)
            for entry in lang.value_counts().to_pylist():
                found[entry["values"]] += entry["counts"]
            text = pc.if_else(pc.is_in(lang, value_set=wanted), text, None)
            ids = numbers_of(block, ids, pa.int64(), "id of a sentence")
            writer.write_table(pa.table([ids, lang, text], schema=_SENTENCE_SCHEMA))
    return found


def _store_links(files: Sequence[Path], folder: Path, dropped: Counter[str], progress: bool) -> int:
    """Writes both ids of each link; returns how many links there are."""
    num_links = 0
    with pq.ParquetWriter(folder / "links.parquet", _LINK_SCHEMA) as writer:
        for whole in (block for file in files for block in read_lines(file, progress=progress)):
            block, columns = split_columns(whole, 2, "id, id", dropped)
            ids = [numbers_of(block, ends, pa.int64(), "id of a sentence") for ends in columns]
            writer.write_table(pa.table(ids, schema=_LINK_SCHEMA))
            num_links += len(ids[0])
    return num_links


def _join(
    sentence: ir.Table,
    link: ir.Table,
    num_links: int,
    languages: Sequence[LanguagePair],
    dropped: Counter[str],
    folder: Path,
) -> Iterator[pa.Table]:
    """Pairs in the order of their ids; a link has no direction, and counts once."""
    import ibis

    known = link.semi_join(sentence.select(first="id"), "first")
    known = known.semi_join(sentence.select(second="id"), "second")
    num_known = int(known.count().execute())
    dropped["links to a sentence that is not there"] += num_links - num_known
    num_used = 0
    for pair in languages:
        a, b = (
            sentence.filter(sentence.lang == code).select(
                **{f"id_{side}": "id", f"text_{side}": "text"}
            )
            for side, code in zip("ab", pair, strict=True)
        )
        both_ways = ibis.union(
            link.select(id_a="first", id_b="second"), link.select(id_a="second", id_b="first")
        )
        ends = both_ways.semi_join(a, "id_a").semi_join(b, "id_b")
        ends = ends.group_by("id_a", "id_b").agg(times=ends.count())
        counts = ends.agg(links=ends.count(), times=ends.times.sum()).to_pyarrow().to_pylist()[0]
        num_times = counts["times"] or 0
        num_used += num_times
        dropped["links given twice or both ways"] += num_times - counts["links"]
        joined = ends.join(a, "id_a").join(b, "id_b").order_by("id_a", "id_b")
        for table in table_batches(joined.select("text_a", "text_b"), _ROWS_PER_BATCH, folder):
            yield add_languages(table, pair)
    dropped["links between other languages"] += num_known - num_used
