"""The columns of a table file, read from its beginning alone."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq


def column_names(path: Path) -> list[str]:
    """Names of the columns of Parquet, of the header of CSV or TSV, or of the first JSON line.

    CSV, TSV and JSON lines may be packed by gzip.

    Raises:
        ValueError: The file is damaged, no regular file, or not UTF-8.
    """
    name = path.name.lower()
    if name.endswith(".parquet"):
        return pq.read_schema(path).names
    opener = gzip.open if name.endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as lines:
            if ".tsv" in name or ".csv" in name:
                return next(csv.reader(lines, delimiter="\t" if ".tsv" in name else ","), [])
            return list(json.loads(next(lines, "{}")))
    except (UnicodeDecodeError, json.JSONDecodeError, EOFError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read: {error}. Files must be whole, regular and UTF-8."
        ) from error
