"""Translation pairs as a memory-mapped `datasets.Dataset`, their items, and a held-out share.

Pairs are a table with string columns `text_a`, `text_b`, `lang_a`, `lang_b` and `source`, which
`twhin_hf.data.translation.writing` makes of the sources.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.data.posts import UNKNOWN_LANGUAGE
from twhin_hf.data.splits import split_posts
from twhin_hf.data.translation.sources import PUBLISHED_COLUMN, published_pairs
from twhin_hf.errors import InputError
from twhin_hf.files import list_files, new_file, process_folder
from twhin_hf.lines import first_line
from twhin_hf.tables import describe, is_blank, open_engine, read_errors, read_table, table_batches

if TYPE_CHECKING:
    import ibis.expr.types as ir
    from datasets import Dataset

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("text_a", "text_b", "lang_a", "lang_b", "source")]
)
_ROWS_PER_BATCH = 10_000


def read_translation_pairs(
    source: str | Path | ir.Table,
    *,
    columns: Mapping[str, str] | None = None,
    memory_limit: str = "1GB",
    directory: str | Path | None = None,
) -> Dataset:
    """Reads pairs as they stand, in the order of the source.

    Args:
        source: A file or a folder, with its subfolders, of Parquet, CSV or JSON lines, or an Ibis
            table on DuckDB, with columns `text_a`, `text_b` and, optionally, `lang_a`, `lang_b`
            ("und" where missing) and `source` (the name of the file or folder where missing). Or
            the published JSON lines, whose items give all combinations of their first 5 texts.
        columns: What the source calls a column, such as `{"text_a": "english"}`.
        memory_limit: Most memory of the engine.
        directory: Where the data set's Arrow file is written and stays. A folder that goes away at
            the end of the process where it is None.

    Returns:
        The data set, with string columns `text_a`, `text_b`, `lang_a`, `lang_b` and `source`.

    Raises:
        FileNotFoundError: The source is missing.
        InputError: A column is missing, a text is blank, there is no pair, a file cannot be read,
            or a folder holds pairs to train on and held-out ones.
    """
    from datasets import Dataset

    if isinstance(source, (str, Path)):
        _check_one_part(Path(source))
    folder = Path(directory or process_folder())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"translation-pairs-{uuid.uuid4().hex}.arrow"
    if isinstance(source, (str, Path)) and _is_published(Path(source)):
        published = published_pairs(source, progress=False)
        with pa.ipc.new_stream(path, SCHEMA) as stream:
            for table in published.batches:
                names = pa.repeat(pa.scalar(published.name), len(table))
                stream.write_table(table.append_column("source", names).cast(SCHEMA))
    else:
        with (
            open_engine(memory_limit, temp_directory=folder) as engine,
            read_errors(source),
            pa.ipc.new_stream(path, SCHEMA) as stream,
        ):
            found = read_table(
                source, SCHEMA.names[:2], SCHEMA.names[2:], connection=engine, columns=columns
            )
            name = Path(source).stem if isinstance(source, (str, Path)) else "table"
            _check_texts(found, describe(source))
            filled = _fill(found, name)
            for block in table_batches(filled, _ROWS_PER_BATCH, folder):
                stream.write_table(block.cast(SCHEMA))
    dataset = Dataset.from_file(str(path))
    if not len(dataset):
        raise InputError(f"{describe(source)} holds no translation pair; needed is one a row.")
    return dataset


def write_published_json_lines(pairs: Dataset | pa.Table, path: str | Path) -> int:
    """Writes the TPP paper's exchange format, lines `{"id": …, "unique_label_desc": [text, …]}`.

    An item is a text of side a and its translations of side b. One with more than four has more
    than one line, so that each pair is there again when the first 5 texts of an item are read.
    Languages and sources are lost.

    Args:
        pairs: Columns `text_a` and `text_b`.
        path: The file to write, JSON lines.

    Returns:
        Lines written.
    """
    import ibis

    with open_engine() as engine, read_errors(path, has_memory_limit=False):
        table = engine.create_view("pairs", ibis.memtable(_table(pairs)))
        numbered = table.mutate(position=ibis.row_number())
        same = ibis.window(group_by="text_a", order_by="position")
        numbered = numbered.mutate(line=ibis.row_number().over(same) // 4)
        items = numbered.group_by("text_a", "line").agg(
            position=numbered.position.min(),
            others=numbered.text_b.collect(order_by=numbered.position),
        )
        items = items.order_by("position").select(
            id=ibis.row_number().over(order_by="position").cast("string"),
            **{PUBLISHED_COLUMN: ibis.array([items.text_a]).concat(items.others)},
        )
        num_lines = 0
        with new_file(path) as partial, partial.open("w", encoding="utf-8") as file:
            for block in table_batches(items, _ROWS_PER_BATCH):
                lines = [json.dumps(item, ensure_ascii=False) for item in block.to_pylist()]
                file.writelines(f"{line}\n" for line in lines)
                num_lines += len(lines)
    return num_lines


def translation_items(pairs: Dataset | pa.Table) -> np.ndarray:
    """Which pairs speak of the same: those that share a text, directly or over other pairs.

    Texts are nodes and pairs are edges; an item is a connected component. Memory holds the distinct
    texts.

    Args:
        pairs: Columns `text_a` and `text_b`.

    Returns:
        Number of each pair's item, int64 `[num_pairs]`, from 0 on in the order of the pairs.

    >>> texts = {"text_a": ["Jump.", "Hi.", "Jump."], "text_b": ["कूदो.", "¡Hola!", "Salta."]}
    >>> translation_items(pa.table(texts)).tolist()
    [0, 1, 0]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    table = _table(pairs)
    num_pairs = len(table)
    chunks = [chunk for side in ("text_a", "text_b") for chunk in table[side].chunks]
    texts = pa.chunked_array(chunks, pa.string()).cast(pa.large_string())
    encoded = texts.dictionary_encode().unify_dictionaries()
    nodes = np.concatenate([np.empty(0, np.int64), *(c.indices.to_numpy() for c in encoded.chunks)])
    first, second = nodes[:num_pairs].astype(np.int64), nodes[num_pairs:].astype(np.int64)
    num_nodes = int(nodes.max(initial=-1)) + 1
    edges = coo_array((np.ones(num_pairs, bool), (first, second)), shape=(num_nodes, num_nodes))
    _, components = connected_components(edges, directed=False)
    # Nodes are numbered as they first come, sides a before sides b, and components by their nodes.
    return components[first].astype(np.int64)


def split_translation_pairs(pairs: Dataset, share: float, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Holds out a share of the items, so that no text is on both sides.

    An item goes where the hash of the first of its texts (in alphabetical order of `text_a`) sends
    it, whatever the order of the pairs; see `split_posts`.

    Args:
        pairs: The pairs.
        share: Of the items that is held out, about; above 0 and below 1.
        seed: Another seed holds out others.

    Returns:
        The pairs to train on, and those held out; both in order.

    Raises:
        InputError: The share is no share, or one of the two would be empty.
    """
    check_share(share)
    items = translation_items(pairs)
    texts = _table(pairs)["text_a"]
    order = pc.sort_indices(
        pa.table({"item": items, "text": texts}),
        sort_keys=[("item", "ascending"), ("text", "ascending")],
    )
    _, first = np.unique(items[order.to_numpy()], return_index=True)
    leaders = texts.take(order.take(pa.array(first)))
    held_out = (split_posts(leaders, seed, (1 - share, share, 0.0)) == "validation")[items]
    if held_out.all() or not held_out.any():
        raise InputError(
            f"{len(items):,} pairs are {len(first):,} items (pairs that share texts); a share of "
            f"{share:g} leaves none on one side. Bring more pairs or another share."
        )
    return pairs.select(np.flatnonzero(~held_out)), pairs.select(np.flatnonzero(held_out))


def check_share(share: float) -> None:
    """Checks a share that is to be held out.

    Raises:
        InputError: It is not above 0 and below 1.
    """
    if not 0 < share < 1:
        raise InputError(
            f"the share to hold out is {share:g}; needed is one above 0 and below 1, such as 0.05."
        )


def _is_published(path: Path) -> bool:
    """True for JSON lines whose first object has the published column."""
    files = [file for file in list_files(path) if ".json" in file.name]
    return bool(files) and f'"{PUBLISHED_COLUMN}"' in first_line(files[0])


def _check_one_part(folder: Path) -> None:
    """Refuses what `write_translation_pairs` has split: it is never wanted as one."""
    train, held_out = (folder / part for part in ("train", "validation"))
    if train.is_dir() and held_out.is_dir():
        raise InputError(
            f"{folder} holds pairs to train on and held-out ones; name one of them: {train} or "
            f"{held_out}"
        )


def _check_texts(table: ir.Table, where: str) -> None:
    blank = int(table.count(where=is_blank(table.text_a) | is_blank(table.text_b)).execute())
    if blank:
        raise InputError(
            f"{blank:,} pairs of {where} lack a text. `twhin-hf data translation-pairs --source "
            "columns` writes the pairs that are whole."
        )


def _fill(table: ir.Table, name: str) -> ir.Table:
    """All columns of the contract."""
    import ibis

    filled = {}
    for column, default in (
        ("lang_a", UNKNOWN_LANGUAGE),
        ("lang_b", UNKNOWN_LANGUAGE),
        ("source", name),
    ):
        if column in table.columns:
            filled[column] = is_blank(table[column]).ifelse(default, table[column])
        else:
            filled[column] = ibis.literal(default)
    return table.mutate(**filled).select(*SCHEMA.names)


def _table(pairs: Dataset | pa.Table) -> pa.Table:
    """Both sides of the pairs as an Arrow table."""
    table = pairs if isinstance(pairs, pa.Table) else pairs.with_format("arrow")[:]
    return table.select(["text_a", "text_b"])
