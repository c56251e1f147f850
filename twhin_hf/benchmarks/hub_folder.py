"""A benchmark as a data set of the Hub: Parquet, one config per language, a card.

What is written loads with `load_dataset(folder_or_repository, "en")`; no code of ours is needed,
as `datasets` runs none any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from twhin_hf.data.language_codes import check_language_code
from twhin_hf.data.posts import UNKNOWN_LANGUAGE
from twhin_hf.errors import InputError
from twhin_hf.files import new_folder, write_text
from twhin_hf.path_names import path_name, relative_path

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

CARD = "README.md"
_DATA_BEGIN, _DATA_END = "<!-- twhin_hf:begin data -->", "<!-- twhin_hf:end data -->"
_LIMITS = "## Limits, and what it must not be used for\n"
_ROWS_PER_BLOCK = 10_000
_MASKED = "\n\nIn the texts `@user` stands for names and ids of people."


@dataclass(frozen=True)
class DatasetCard:
    """What the card says.

    Args:
        title: Heading, and the data set's name on the Hub.
        text: Markdown after the heading: what it is, how it was made, what may be done with it.
        license: Identifier of the Hub, such as `cc-by-4.0`; none where nobody has chosen one.
        task_categories: The Hub's names of tasks.
        tags: Free words.
        limits: Markdown on what it does not tell, and what it must not be used for.
    """

    title: str
    text: str
    license: str | None = None
    task_categories: Sequence[str] = ()
    tags: Sequence[str] = field(default=("social-media", "multilingual", "twhin-bert"))
    limits: str = ""


class HubConfig(NamedTuple):
    """A config of the data set.

    Args:
        name: What `load_dataset` calls it, such as `en`.
        language: Its language.
        folder: Where its files lie, such as `posts/en`.
        splits: Its rows.
    """

    name: str
    language: str
    folder: str
    splits: DatasetDict


def write_hub_folder(
    configs: Iterable[HubConfig],
    folder: str | Path,
    card: DatasetCard,
    *,
    mask_people: bool = True,
) -> Path:
    """Writes a folder that is a data set repository.

    Configs are written one after the other as they are drawn, so that one language at a time is in
    memory. The folder appears when all of it is written.

    Args:
        configs: At least one.
        folder: New, or empty.
        card: What the card says beside the list of configs.
        mask_people: Writes `@user` for the names and ids of people in column `text`; see
            `twhin_hf.privacy.people`.

    Returns:
        The folder.

    Raises:
        FileExistsError: The folder holds something.
        InputError: There is no config, a name comes twice, a language is no code, or a name or
            folder cannot be one (`path_name`).
    """
    folder = Path(folder)
    if folder.exists() and (folder.is_file() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} holds something already. Give a new folder, so that no old file gets into "
            "the data set."
        )
    written: dict[str, _Written] = {}
    with new_folder(folder) as partial:
        for config in configs:
            check_language_code(config.language)
            if config.name in written:
                raise InputError(
                    f"Two configs are called {config.name!r}; each needs its own name."
                )
            path_name(config.name, "config")  # the folder of its cache
            (partial / relative_path(config.folder)).mkdir(parents=True, exist_ok=True)
            for split, dataset in config.splits.items():
                _write_split(dataset, partial / _path(config.folder, split), mask_people)
            rows = {split: len(dataset) for split, dataset in config.splits.items()}
            written[config.name] = _Written(config.language, config.folder, rows)
        if mask_people:
            card = replace(card, text=card.text.rstrip() + _MASKED)
        if not written:
            raise InputError("There is no config to write; needed is at least one language.")
        write_text(partial / CARD, _card(card, written))
    return folder


def is_hub_folder(folder: Path) -> bool:
    """Whether a folder is one that `write_hub_folder` has written."""
    card = folder / CARD
    return card.is_file() and _DATA_BEGIN in card.read_text(encoding="utf-8", errors="replace")


def refresh_rows(folder: Path) -> None:
    """Brings the numbers of rows in a card up to date with the files, where they have changed.

    Args:
        folder: That `write_hub_folder` has written.
    """
    import pyarrow.parquet as pq
    import yaml

    card = folder / CARD
    text = card.read_text(encoding="utf-8")
    header = yaml.safe_load(text.split("---")[1]) if text.startswith("---") else {}
    rows = {
        config["config_name"]: {
            file["split"]: pq.read_metadata(folder / file["path"]).num_rows
            for file in config["data_files"]
        }
        for config in header.get("configs", [])
    }
    before, begin, rest = text.partition(_DATA_BEGIN)
    inside, end, after = rest.partition(_DATA_END)
    kept = [line for line in inside.splitlines() if not line.startswith("|")]
    fresh = "\n".join([*kept, *_rows_table(rows), ""])
    if rows and fresh != inside:
        write_text(card, f"{before}{begin}{fresh}{end}{after}")


class _Written(NamedTuple):
    """A config whose files are there, and the rows of its splits."""

    language: str
    folder: str
    rows: dict[str, int]


def _write_split(dataset: Dataset, path: Path, mask_people: bool) -> None:
    """Writes a split block by block, with what `datasets` says of its columns."""
    import pyarrow.parquet as pq

    from twhin_hf.privacy import people

    schema = dataset.features.arrow_schema
    place = schema.get_field_index("text") if mask_people else -1
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for block in dataset.with_format("arrow").iter(_ROWS_PER_BLOCK):
            block = block.cast(schema)
            if place >= 0:
                texts = people.mask_people(block["text"].combine_chunks())
                block = block.set_column(place, schema.field(place), texts)
            writer.write_table(block)


def _path(folder: str, split: str) -> str:
    return f"{folder}/{path_name(split, 'split')}.parquet"


def _card(card: DatasetCard, written: dict[str, _Written]) -> str:
    import yaml

    languages = dict.fromkeys(config.language for config in written.values())
    header = {
        "pretty_name": card.title,
        "license": card.license,
        "language": [language for language in languages if language != UNKNOWN_LANGUAGE],
        "task_categories": list(card.task_categories),
        "tags": list(card.tags),
        "configs": [
            {
                "config_name": name,
                "data_files": [
                    {"split": split, "path": _path(config.folder, split)} for split in config.rows
                ],
            }
            for name, config in written.items()
        ],
    }
    header = {key: value for key, value in header.items() if value}
    return "\n".join(
        [
            "---",
            yaml.safe_dump(header, sort_keys=False, allow_unicode=True).rstrip(),
            "---",
            f"# {card.title}",
            "",
            "<!-- twhin_hf:begin summary -->",
            card.text.strip(),
            "<!-- twhin_hf:end summary -->",
            "",
            _DATA_BEGIN,
            "```python",
            "from datasets import load_dataset",
            "",
            f'dataset = load_dataset("<repository or folder>", "{next(iter(written))}")',
            "```",
            "",
            "Rows of each config and split:",
            "",
            *_rows_table({name: config.rows for name, config in written.items()}),
            _DATA_END,
            "",
            "<!-- twhin_hf:begin privacy -->",
            "<!-- twhin_hf:end privacy -->",
            "",
            *([_LIMITS, card.limits.strip(), ""] if card.limits else []),
        ]
    )


def _rows_table(rows: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Rows of each config and split, in lines of Markdown."""
    splits = list(dict.fromkeys(split for config in rows.values() for split in config))
    return [
        f"| config | {' | '.join(splits)} |",
        f"| --- |{' ---: |' * len(splits)}",
        *(
            f"| `{name}` | {' | '.join(f'{config.get(split, 0):,}' for split in splits)} |"
            for name, config in rows.items()
        ),
    ]
