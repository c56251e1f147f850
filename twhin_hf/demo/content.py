"""What lies in a demo's folder, read and looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from twhin_hf.demo.making import MAP, MODEL, POSTS, SETTINGS, STOCK
from twhin_hf.errors import reading
from twhin_hf.files import read_json_object, read_text
from twhin_hf.privacy.vectors import vector_column
from twhin_hf.tables import read_parquet

_ADVICE = "Make the demo again (`twhin-hf demo --overwrite`)."


@dataclass(frozen=True)
class DemoContent:
    """What lies in a demo's folder.

    Args:
        settings: Of `demo.json`.
        texts: Of the posts.
        languages: Codes of their languages.
        labels: What they are of; empty texts where the data do not say.
        audiences: Group of people of each post, int `[posts]`, -1 where it is not known.
        units: Vectors of length 1 by the name of the encoder, float16 `[posts, width]`.
        ids: Keyed hashes; none without a recommender.
        map_page: HTML of the map.
    """

    settings: dict[str, Any]
    texts: list[str]
    languages: list[str]
    labels: list[str]
    audiences: np.ndarray
    units: dict[str, np.ndarray]
    ids: list[str] = field(default_factory=list)
    map_page: str = ""


def read_demo(folder: str | Path) -> DemoContent:
    """Reads what `make_demo` wrote.

    Raises:
        FileNotFoundError: It is no folder of a demo.
        InputError: A file in it is damaged.
    """
    folder = Path(folder)
    if not (folder / SETTINGS).is_file():
        raise FileNotFoundError(f"there is no {folder / SETTINGS}; `twhin-hf demo` makes it")
    settings = read_json_object(folder / SETTINGS)
    table = read_parquet(folder / POSTS)
    with reading(folder, _ADVICE):
        _check_settings(settings)
        names = [name for name in (STOCK, MODEL) if name in settings["models"]]
        content = DemoContent(
            settings,
            _texts(table, "text"),
            _texts(table, "lang"),
            _texts(table, "label") if "label" in table.column_names else [""] * len(table),
            table["audience"].to_numpy(),
            {name: vector_column(table[name].combine_chunks()) for name in names},
            _texts(table, "id") if "id" in table.column_names else [],
            read_text(folder / MAP),
        )
        last = len(settings["audiences"]) - 1
        if content.audiences.dtype.kind != "i" or content.audiences.max() > last:
            raise ValueError("posts have audiences without a name")
        if not all(np.isfinite(units).all() for units in content.units.values()):
            raise ValueError("vectors hold NaN or infinity")
    return content


def _check_settings(settings: dict[str, Any]) -> None:
    """Raises ValueError where a setting is not what `make_demo` writes."""
    kinds = {"k": int, "is_generated": bool, "models": dict, "audiences": list, "examples": list}
    for name, kind in kinds.items():
        if type(settings.get(name)) is not kind:
            raise ValueError(f"{name} is {settings.get(name)!r}")
    told = settings["models"]
    if MODEL not in told:
        raise ValueError("models name none that is shown")
    texts = [*settings["audiences"], *settings["examples"]]
    texts += [told[name]["place"] for name in told]
    maybe = [settings.get("label"), settings.get("hashtag_classifier")]
    maybe += [told[name]["pooling"] for name in told]
    if not all(isinstance(text, str) for text in [*texts, *filter(None, maybe)]):
        raise ValueError("a place, a name or an example is no text")


def _texts(table: pa.Table, column: str) -> list[str]:
    """A column of texts.

    Raises:
        ValueError: A row has none.
    """
    values = table[column].cast(pa.string())
    if values.null_count:
        raise ValueError(f"{values.null_count} posts have no {column}")
    return values.to_pylist()
