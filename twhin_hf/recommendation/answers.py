"""Answers of an engagement model as tables: for people, and in files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twhin_hf.errors import InputError
from twhin_hf.files import new_file
from twhin_hf.recommendation.model import EngagementModel
from twhin_hf.recommendation.top_k import Ranking
from twhin_hf.run_file import run_metadata

ANSWER_FILES = (".parquet", ".csv", ".jsonl")


def ranking_table(
    asked: Sequence[str], of: str, ranking: Ranking, found: str, texts: Mapping[str, str]
) -> pa.Table:
    """A row for each that was found.

    Args:
        asked: Ids of those that were asked for, as the ranking has them.
        of: Column of these ids, such as `user_id`.
        ranking: What was found for each.
        found: Column of the ids of what was found, such as `post_id`.
        texts: Texts of what was found, by id; without any there is no column of them.

    Returns:
        Columns `of`, `rank` from 1, `found`, `score`, and where they are known `probability` and
        `text`.
    """
    counts = [len(ids) for ids in ranking.ids]
    ids = [name for names in ranking.ids for name in names]
    columns = {
        of: pa.array([name for name, n in zip(asked, counts, strict=True) for _ in range(n)]),
        "rank": pa.array([place for n in counts for place in range(1, n + 1)], pa.int32()),
        found: pa.array(ids, pa.string()),
        "score": _joined(ranking.scores),
    }
    if ranking.probabilities:
        columns["probability"] = _joined(ranking.probabilities)
    if texts:
        columns["text"] = pa.array([texts.get(name) for name in ids], pa.string())
    return pa.table(columns)


def _joined(parts: Sequence[np.ndarray]) -> pa.Array:
    empty = np.empty(0, np.float32)
    return pa.array(np.concatenate([empty, *parts]).astype(np.float32))


def check_answer_file(path: str | Path, overwrite: bool = False) -> None:
    """Checks before the work that answers can be written.

    Raises:
        FileExistsError: The file is there.
        InputError: It has another ending than those of `ANSWER_FILES`.
    """
    path = Path(path)
    if path.suffix not in ANSWER_FILES:
        raise InputError(f"{path}: its ending tells the format; give {', '.join(ANSWER_FILES)}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there; remove it, or add --overwrite.")


def write_answers(table: pa.Table, path: str | Path) -> None:
    """Writes a table as its file's ending says, whole or not at all."""
    path = Path(path)
    with new_file(path) as partial:
        if path.suffix == ".parquet":
            pq.write_table(table, partial)
        elif path.suffix == ".csv":
            from pyarrow.csv import write_csv

            write_csv(table, partial)
        else:
            with partial.open("w", encoding="utf-8") as stream:
                for batch in table.to_batches(10_000):
                    for row in batch.to_pylist():
                        stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_post_vectors(model: EngagementModel, path: str | Path, name: str) -> int:
    """Writes the vectors of the catalogue's posts, to be indexed by inner product.

    Args:
        model: The model.
        path: Parquet file with columns `post_id` and `embedding`, as `twhin-hf embed` writes.
        name: What the file is to call the model; `fingerprints` tells which fit it is.

    Returns:
        How many.
    """
    vectors = model.post_vectors()
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    table = pa.table({"post_id": pa.array(model.posts.ids, pa.string()), "embedding": column})
    told = {"model": name, "fingerprints": [model.fingerprint]}
    with new_file(path) as partial:
        pq.write_table(
            table.replace_schema_metadata(run_metadata(told)), partial, use_dictionary=False
        )
    return len(table)
