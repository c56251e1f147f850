"""The figures that the papers report, as they stand in their tables."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from twhin_hf.errors import InputError
from twhin_hf.files import read_json

AVERAGE = "average"
_FOLDER = Path(__file__).parent / "published_tables"


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper.

    Args:
        name: Such as `twhin_bert_table_6`.
        task: `engagement`, `hashtag`, `hashtag features`, `external`, `ner`, `sentiment`, `pos`.
        metric: What was measured.
        source: The paper, the table in it, and where to read it.
        remark: Where the paper contradicts itself.
        values: By model and column (language or benchmark, and `average`), 0 to 1.
    """

    name: str
    task: str
    metric: str
    source: str
    remark: str
    values: dict[str, dict[str, float]]


def published_tables() -> list[str]:
    """Names of the tables that come with the package."""
    return sorted(_sources())


def read_published(name: str) -> PublishedTable:
    """Reads one of the tables that come with the package.

    Args:
        name: One of `published_tables`.

    Raises:
        InputError: There is no such table.

    >>> read_published("twhin_bert_table_4").values["TwHIN-BERT base"]["semeval2018-es"]
    0.2223
    """
    sources = _sources()
    if name not in sources:
        raise InputError(f"there is no published table {name!r}; there are {sorted(sources)}")
    about = sources[name]
    scale = 100 if about["percent"] else 1
    with (_FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
        values = {
            row.pop("model"): {
                column: round(float(value) / scale, 6) for column, value in row.items() if value
            }
            for row in csv.DictReader(lines)
        }
    return PublishedTable(
        name=name,
        task=about["task"],
        metric=about["metric"],
        source=f"{about['paper']}, {about['where']}, {about['url']}",
        remark=about["remark"],
        values=values,
    )


def _sources() -> dict[str, dict]:
    return read_json(_FOLDER / "sources.json")
