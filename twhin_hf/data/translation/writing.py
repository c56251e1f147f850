"""Writes translation pairs of any source: cleaned, without duplicates, counted."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twhin_hf.data.language_codes import check_language_code
from twhin_hf.data.translation.pairs import (
    check_share,
    read_translation_pairs,
    split_translation_pairs,
)
from twhin_hf.data.translation.sources import PairSource
from twhin_hf.data.translation.text import clean_texts
from twhin_hf.errors import InputError
from twhin_hf.files import list_files, new_file, write_json
from twhin_hf.scratch import scratch_folder
from twhin_hf.tables import has_text, open_engine, read_errors

logger = logging.getLogger(__name__)

REPORT = "_report.json"  # the underscore hides it from whoever reads the folder
_STORED = pa.schema(
    [(name, pa.string()) for name in ("text_a", "text_b", "lang_a", "lang_b")]
    + [("position", pa.int64())]
)


@dataclass(frozen=True)
class TranslationPairsReport:
    """What building the pairs kept and what it dropped; `rows` is their sum.

    Args:
        source: Name of the source.
        rows: Pairs, or what might have been a pair, that the source held.
        dropped: Pairs left out, by reason.
        num_pairs: Pairs kept.
        pairs: Pairs kept, by languages such as `en-ar`.
    """

    source: str
    rows: int
    dropped: dict[str, int]
    num_pairs: int
    pairs: dict[str, int]


def write_translation_pairs(
    source: PairSource,
    output: str | Path,
    *,
    validation_share: float | None = None,
    seed: int = 0,
    memory_limit: str = "1GB",
    progress: bool = True,
) -> TranslationPairsReport:
    """Cleans pairs, merges duplicates and writes a Parquet file for each two languages.

    A pair is dropped where a text is blank or both are equal after cleaning (`clean_texts`). Exact
    duplicates are merged, also the same pair with its sides exchanged; the first is kept. The order
    is that of the source. Memory holds a block of the source and what `memory_limit` allows.

    Args:
        source: Pairs of `wikimatrix_pairs`, `tatoeba_pairs`, `wikidata_pairs`, `moses_pairs`,
            `published_pairs` or `column_pairs`.
        output: The folder; gets `en-ar.parquet` and so on, with columns `text_a`, `text_b`,
            `lang_a`, `lang_b` and `source`, and the report as `_report.json`. Files of the same
            name are replaced, each when it is complete.
        validation_share: Share of the items to hold out (`split_translation_pairs`); the files
            then are in the folders `train` and `validation`. None holds out nothing.
        seed: Seed of what is held out.
        memory_limit: Most memory of the engine that merges duplicates.
        progress: Shows progress bars.

    Raises:
        InputError: No pair is left; a language is no code; the share is no share or leaves nothing
            on one side; or what the source raises.
    """
    if validation_share is not None:
        check_share(validation_share)
    folder = Path(output)
    files = list_files(folder) if folder.exists() else []
    if there := [file for file in files if file.suffix == ".parquet"]:
        raise InputError(
            f"{folder} holds {len(there)} Parquet files already, as {there[0].name}: what reads "
            "the folder would take old pairs for new ones. Choose another output, or remove them"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with scratch_folder(folder) as scratch:
        cleaned = scratch / "cleaned.parquet"
        rows, dropped = _write_cleaned(source, cleaned)
        whole = folder if validation_share is None else scratch / "pairs"
        pairs = _write_merged(source.name, cleaned, whole, memory_limit, progress)
        if validation_share is not None:
            _hold_out(whole, folder, validation_share, seed)
    num_pairs = sum(pairs.values())
    dropped["duplicates"] = rows - sum(dropped.values()) - num_pairs
    reasons = {reason: count for reason, count in dropped.items() if count}
    report = TranslationPairsReport(source.name, rows, reasons, num_pairs, pairs)
    write_json(folder / REPORT, asdict(report))
    logger.debug("Translation pairs: %s", asdict(report))
    return report


def _write_cleaned(source: PairSource, path: Path) -> tuple[int, Counter[str]]:
    """Writes the pairs that have two different texts; returns what was read and dropped."""
    num_kept, counts = 0, Counter({"blank texts": 0, "identical sides": 0})
    read = 0
    with pq.ParquetWriter(path, _STORED) as writer:
        for table in source.batches:
            read += len(table)
            sides = [clean_texts(table[side]) for side in ("text_a", "text_b")]
            filled = pc.and_(*(has_text(side) for side in sides))
            differ = pc.fill_null(pc.not_equal(*sides), False)
            both = pc.and_(filled, differ)
            num_filled, num_both = (int(pc.sum(mask).as_py() or 0) for mask in (filled, both))
            counts["blank texts"] += len(table) - num_filled
            counts["identical sides"] += num_filled - num_both
            columns = [*sides, table["lang_a"], table["lang_b"]]
            kept = pa.table(columns, names=_STORED.names[:4]).filter(both)
            positions = np.arange(num_kept, num_kept + len(kept))
            writer.write_table(kept.append_column("position", pa.array(positions)).cast(_STORED))
            num_kept += len(kept)
    dropped = Counter({**source.dropped, **counts})
    rows = read + sum(source.dropped.values())
    if not num_kept:
        told = ", ".join(f"{reason}: {count:,}" for reason, count in dropped.items() if count)
        raise InputError(
            f"No translation pair is left of {rows:,} of {source.name} "
            f"({told or 'it is empty'}). Check the files, the languages and the options."
        )
    return rows, dropped


def _write_merged(
    name: str, cleaned: Path, folder: Path, memory_limit: str, progress: bool
) -> dict[str, int]:
    """Writes the first of equal pairs, a file for each two languages; returns their counts."""
    import ibis
    from rich.progress import Progress

    with open_engine(memory_limit, temp_directory=cleaned.parent) as engine, read_errors(cleaned):
        table = engine.read_parquet(cleaned)
        texts = table.lang_a + "\0" + table.text_a, table.lang_b + "\0" + table.text_b
        sides = {"low": ibis.least(*texts), "high": ibis.greatest(*texts)}
        first = table.group_by(**sides).agg(position=table.position.min()).select("position")
        kept = engine.create_table("kept", table.semi_join(first, "position"), temp=True)
        counts = kept.group_by("lang_a", "lang_b").agg(count=kept.count())
        languages = counts.order_by("lang_a", "lang_b").to_pyarrow().to_pylist()
        for code in (row[side] for row in languages for side in ("lang_a", "lang_b")):
            check_language_code(code)
        written = {}
        with Progress(disable=not progress) as bar, ExitStack() as files:
            for row in bar.track(languages, description="Writing"):
                own = kept.filter((kept.lang_a == row["lang_a"]) & (kept.lang_b == row["lang_b"]))
                own = own.order_by("position").drop("position").mutate(source=ibis.literal(name))
                key = f"{row['lang_a']}-{row['lang_b']}"
                own.to_parquet(files.enter_context(new_file(folder / f"{key}.parquet")))
                written[key] = int(row["count"])
    return written


def _hold_out(whole: Path, folder: Path, share: float, seed: int) -> None:
    """Writes both parts of the pairs, each with a file for each two languages that it has."""
    pairs = read_translation_pairs(whole, directory=whole.parent / "split")
    split = split_translation_pairs(pairs, share, seed)
    with ExitStack() as files:
        for name, part in zip(("train", "validation"), split, strict=True):
            table = part.select_columns(["lang_a", "lang_b"]).with_format("arrow")[:]
            keys = pc.binary_join_element_wise(table["lang_a"], table["lang_b"], "-").to_numpy()
            for key in np.unique(keys.astype(str)):
                path = files.enter_context(new_file(folder / name / f"{key}.parquet"))
                part.select(np.flatnonzero(keys == key)).to_parquet(path)
