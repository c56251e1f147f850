"""The hashtag prediction benchmark of TwHIN-BERT as a `datasets` builder.

Zhang et al. (KDD 2023, Section 3.3) published, for each of some 50 languages, post ids and the
hashtag each post had. The texts come from whoever holds them; the hashtag is taken out of its post
and is what a model has to predict.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import (
    ArrowBasedBuilder,
    BuilderConfig,
    ClassLabel,
    DatasetInfo,
    Features,
    SplitGenerator,
    Value,
)
from datasets.builder import Key

from twhin_hf.benchmarks.archives import list_files, open_folder
from twhin_hf.benchmarks.hashtag.labels import read_labels
from twhin_hf.benchmarks.hashtag.text import remove_hashtags
from twhin_hf.benchmarks.hub_folder import HubConfig
from twhin_hf.benchmarks.hydration import find_texts
from twhin_hf.benchmarks.layout import (
    files_of,
    find_layout,
    fingerprint,
    is_split_table,
    modern_code,
)
from twhin_hf.errors import InputError
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import has_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from datasets import DatasetDict, IterableDatasetDict

logger = logging.getLogger(__name__)

_ROWS_PER_BLOCK = 1_000


@dataclass
class HashtagConfig(BuilderConfig):
    """A language of the benchmark.

    Args:
        hydration: File or folder with the texts; see `twhin_hf.benchmarks.hydration.find_texts`.
    """

    hydration: str | None = None


class HashtagPrediction(ArrowBasedBuilder):
    """Posts without their hashtag, and the hashtag: one config per language.

    `data_dir` is the published zip archive, its unpacked folder, or a folder whose tables hold
    texts already. What is in the cache depends on the content of the files, not on their names.

    Features: `id` (string), `text` (string) and `label` (`ClassLabel`). `info.description` says
    how many posts had no text.
    """

    VERSION = "1.0.0"
    BUILDER_CONFIG_CLASS = HashtagConfig

    def __init__(
        self,
        *,
        config_name: str,
        data_dir: str | Path,
        hydration: str | Path | None = None,
        columns: Mapping[str, str] | None = None,
        table_format: TableFormat | None = None,
        **options: Any,
    ) -> None:
        language = modern_code(config_name)
        with open_folder(data_dir, is_split_table) as folder:
            files = files_of(find_layout(list_files(folder)), language, data_dir)
            paths = {split: [folder / name for name in names] for split, names in files.items()}
            self._labels = read_labels(paths, columns, table_format)
            sources = [path for own in paths.values() for path in own] + _files(hydration)
            read_as: dict[str, Any] = {"columns": dict(columns)} if columns else {}
            if table_format is not None and table_format != TableFormat():
                read_as["table_format"] = asdict(table_format)
            content = fingerprint(sources, {"version": self.VERSION, **read_as})
        self._check_texts(data_dir, hydration)
        super().__init__(
            config_name=language,
            config_id=f"{language}-{content}",
            dataset_name="hashtag_prediction",
            data_dir=str(data_dir),
            hydration=None if hydration is None else str(hydration),
            **options,
        )

    def _info(self) -> DatasetInfo:
        names = sorted(pc.unique(self._labels["train"]["label"]).to_pylist())
        return DatasetInfo(
            features=Features(
                {"id": Value("string"), "text": Value("string"), "label": ClassLabel(names=names)}
            ),
            license="cc-by-4.0",
            homepage="https://arxiv.org/abs/2209.07562",
        )

    def _split_generators(self, dl_manager: Any) -> list[SplitGenerator]:
        splits = self._labels
        if self.config.hydration is not None:
            ids = pa.concat_arrays([own["id"].combine_chunks() for own in splits.values()])
            splits = _hydrate(splits, find_texts(self.config.hydration, ids))
        splits = {name: _without_hashtag(table) for name, table in splits.items()}
        self.info.description = self._report(splits)
        return [
            SplitGenerator(name=name, gen_kwargs={"blocks": _blocks(table)})
            for name, table in splits.items()
        ]

    def _generate_tables(self, blocks: list[pa.Table]) -> Iterator[tuple[Key, pa.Table]]:
        names = pa.array(self.info.features["label"].names)
        for number, block in enumerate(blocks):
            label = pc.index_in(block["label"], value_set=names).cast(pa.int64())
            yield Key(number, 0), block.set_column(2, "label", label)

    def _check_texts(self, data_dir: str | Path, hydration: str | Path | None) -> None:
        hydrated = "text" in self._labels["train"].column_names
        if hydrated and hydration is not None:
            raise InputError(
                f"{data_dir} holds the texts already; leave hydration out (it is {hydration})."
            )
        if not hydrated and hydration is None:
            raise InputError(
                f"{data_dir} holds ids and labels without texts. Give the texts with hydration=... "
                "(`--hydration`): JSON lines of X/Twitter's API, or a table of post_id and text.",
                faq="hydration",
            )

    def _report(self, splits: dict[str, pa.Table]) -> str:
        """How many posts are left; raises where a split has none."""
        counts = {name: (len(splits[name]), len(table)) for name, table in self._labels.items()}
        told = ", ".join(f"{name} {kept:,} of {given:,}" for name, (kept, given) in counts.items())
        report = f"Posts with a text, by split: {told}."
        empty = [name for name, (kept, _) in counts.items() if not kept]
        if empty:
            raise InputError(
                f"No text is left in {' and '.join(empty)} of the language {self.config.name!r}. "
                f"{report} Give a hydration source that holds more of the posts."
            )
        gone = set(self._labels["train"]["label"].to_pylist())
        gone -= set(splits["train"]["label"].to_pylist())
        if gone:
            report += f" Labels without a text in train: {len(gone):,}."
        logger.info("Hashtag prediction, %s: %s", self.config.name, report)
        return report


def load_hashtag_prediction(
    language: str,
    *,
    data_dir: str | Path,
    hydration: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    streaming: bool = False,
    num_proc: int | None = None,
    cache_dir: str | Path | None = None,
) -> DatasetDict | IterableDatasetDict:
    """Loads one language of the hashtag prediction benchmark.

    Args:
        language: A code such as `en`; `in` and `iw` mean `id` and `he`.
        data_dir: The published `hashtag-classification-id.zip`, its unpacked folder, or a folder
            with texts already (columns `id`, `text`, `label`).
        hydration: The texts, where `data_dir` has none: JSON lines of X/Twitter's API v1.1 or v2,
            or a table of `post_id` and `text`; a file or a folder.
        columns: What the files of `data_dir` call `id`, `label` or `text`, where it is unusual.
        table_format: How text tables are written.
        streaming: Gives data sets that are made as they are read, and caches nothing.
        num_proc: Processes that make the cache.
        cache_dir: Where the cache is; that of `datasets` where it is None.

    Returns:
        `train`, `validation` and `test` with columns `id`, `text` and `label`.

    Raises:
        FileNotFoundError: A file or folder is missing.
        InputError: The language is not there, or the files are damaged, are of another kind, or
            contradict themselves.
    """
    builder = HashtagPrediction(
        config_name=language,
        data_dir=data_dir,
        hydration=hydration,
        columns=columns,
        table_format=table_format,
        cache_dir=None if cache_dir is None else str(cache_dir),
    )
    if streaming:
        return builder.as_streaming_dataset()
    builder.download_and_prepare(num_proc=num_proc)
    return builder.as_dataset()


def hashtag_languages(data_dir: str | Path) -> list[str]:
    """Codes of the languages that an archive or folder holds, in alphabetical order."""
    with open_folder(data_dir, is_split_table) as folder:
        return sorted(find_layout(list_files(folder)))


def hashtag_configs(
    data_dir: str | Path,
    hydration: str | Path | None = None,
    languages: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
) -> Iterator[HubConfig]:
    """Languages of the benchmark for `write_hub_folder`, loaded one after the other.

    Args:
        data_dir: As in `load_hashtag_prediction`.
        hydration: Likewise; read once a language.
        languages: Codes; all that are there where it is None.
        columns: As in `load_hashtag_prediction`.
        table_format: Likewise.
    """
    for language in languages or hashtag_languages(data_dir):
        code = modern_code(language)
        splits = load_hashtag_prediction(
            code,
            data_dir=data_dir,
            hydration=hydration,
            columns=columns,
            table_format=table_format,
        )
        yield HubConfig(code, code, code, splits)


def _files(source: str | Path | None) -> list[Path]:
    """The files of a file or folder."""
    if source is None:
        return []
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}. Give the file or folder with the texts.")
    return [path / name for name in list_files(path)] if path.is_dir() else [path]


def _hydrate(splits: dict[str, pa.Table], texts: pa.Table) -> dict[str, pa.Table]:
    """The splits with a column `text`; the empty text where there is none."""
    hydrated = {}
    for name, table in splits.items():
        rows = pc.index_in(table["id"], value_set=texts["post_id"].combine_chunks())
        text = pc.fill_null(texts["text"].take(rows), "")
        hydrated[name] = table.append_column("text", text)
    return hydrated


def _without_hashtag(table: pa.Table) -> pa.Table:
    """`id`, `text` and `label` of the posts that have a text beside their hashtag."""
    text = remove_hashtags(table["text"].combine_chunks(), table["label"].combine_chunks())
    table = pa.table({"id": table["id"], "text": text, "label": table["label"]})
    return table.filter(has_text(table["text"]))


def _blocks(table: pa.Table) -> list[pa.Table]:
    """Parts that several processes can share."""
    starts = range(0, len(table), _ROWS_PER_BLOCK)
    return [table.slice(start, _ROWS_PER_BLOCK).combine_chunks() for start in starts]
