"""The engagement prediction benchmark of TwHIN-BERT as a `datasets` builder.

Zhang et al. (KDD 2023, Section 3.2): for each of 50 languages posts, split by post, and records of
a user's network vector and a post the user engaged with. `twhin_hf.benchmarks.engagement.building`
makes such benchmarks; this module reads them, and other folders of the same columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import (
    ArrowBasedBuilder,
    DatasetDict,
    DatasetInfo,
    Features,
    IterableDatasetDict,
    List,
    SplitGenerator,
    Value,
)
from datasets.builder import Key

from twhin_hf.benchmarks.archives import list_files
from twhin_hf.benchmarks.engagement.benchmark import EngagementBenchmark
from twhin_hf.benchmarks.engagement.files import (
    TableFile,
    check_ids,
    check_posts,
    find_files,
    open_table,
    vector_lengths,
)
from twhin_hf.benchmarks.hub_folder import HubConfig
from twhin_hf.benchmarks.layout import find_layout, fingerprint, modern_code
from twhin_hf.data.splits import SPLITS
from twhin_hf.errors import InputError
from twhin_hf.recommendation.records import Records
from twhin_hf.tables import table_batches

POSTS_SUFFIX = "-posts"
_ROWS_PER_BATCH = 10_000


class EngagementSplits(NamedTuple):
    """One language: `posts` (`id`, `text`, `lang`) and `records` (`user`, `id`), by split."""

    posts: DatasetDict | IterableDatasetDict
    records: DatasetDict | IterableDatasetDict


class EngagementPrediction(ArrowBasedBuilder):
    """Records of a language (config `en`), or its posts (config `en-posts`).

    `data_dir` holds, for each language and split, a table of posts and one of records: Parquet,
    JSON lines, CSV or TSV (a vector is then text such as `[0.1, 0.2]`). Paths tell language and
    split, columns tell posts from records. What is in the cache depends on the content of the
    files, not on their names.

    Features: `user` (float32 list of fixed length) and `id`; of posts `id`, `text` and `lang`.
    """

    VERSION = "1.0.0"

    def __init__(self, *, config_name: str, data_dir: str | Path, **options: Any) -> None:
        name = config_name.removesuffix(POSTS_SUFFIX)
        self._language = modern_code(name)
        self._part = "records" if name == config_name else "posts"
        self._files = find_files(Path(data_dir), self._language)[self._part]
        self._dimension = self._check()
        paths = [file.path for files in self._files.values() for file in files]
        name = self._language + config_name[len(name) :]
        super().__init__(
            config_name=name,
            config_id=f"{name}-{fingerprint(paths, {'version': self.VERSION})}",
            dataset_name="engagement_prediction",
            data_dir=str(data_dir),
            **options,
        )

    def _info(self) -> DatasetInfo:
        if self._part == "posts":
            columns = dict.fromkeys(("id", "text", "lang"), Value("string"))
        else:
            columns = {
                "user": List(Value("float32"), length=self._dimension),
                "id": Value("string"),
            }
        return DatasetInfo(features=Features(columns), homepage="https://arxiv.org/abs/2209.07562")

    def _split_generators(self, dl_manager: Any) -> list[SplitGenerator]:
        return [
            SplitGenerator(name=split, gen_kwargs={"files": files})
            for split, files in self._files.items()
        ]

    def _generate_tables(self, files: list[TableFile]) -> Iterator[tuple[Key, pa.Table]]:
        for number, file in enumerate(files):
            with open_table(file) as table:
                for place, rows in enumerate(table_batches(table, _ROWS_PER_BATCH)):
                    yield Key(number, place), self._convert(rows)

    def _convert(self, rows: pa.Table) -> pa.Table:
        rows = rows.combine_chunks()
        if self._part == "posts":
            return rows.append_column("lang", pa.repeat(self._language, len(rows)))
        values = rows["user"].combine_chunks().flatten()
        user = pa.FixedSizeListArray.from_arrays(values, self._dimension)
        return pa.table({"user": user, "id": rows["id"]})

    def _check(self) -> int:
        """Looks through the files once; the length of the vectors, 0 of posts."""
        lengths: dict[int, Path] = {}
        split_of: dict[str, str] = {}
        for split, files in self._files.items():
            num_rows = 0
            for file in files:
                with open_table(file) as table:
                    num_rows += check_ids(table, file)
                    if self._part == "records":
                        lengths |= vector_lengths(table, file)
                    else:
                        check_posts(table, file, split, split_of)
            if not num_rows:
                raise InputError(
                    f"The split {split} of {self._language!r} has no {self._part} "
                    f"({', '.join(file.path.name for file in files)}). Needed are some in train, "
                    "development and test."
                )
        if len(lengths) > 1:
            told = ", ".join(f"{length} ({path.name})" for length, path in sorted(lengths.items()))
            raise InputError(
                f"User vectors of {self._language!r} have different lengths: {told}. All must be "
                "rows of one network: write the records again."
            )
        return next(iter(lengths), 0)


def load_engagement_prediction(
    language: str,
    *,
    data_dir: str | Path,
    streaming: bool = False,
    num_proc: int | None = None,
    cache_dir: str | Path | None = None,
) -> EngagementSplits:
    """Loads one language of an engagement prediction benchmark.

    Args:
        language: A code such as `en`; `in` and `iw` mean `id` and `he`.
        data_dir: Folder with posts and records, as `EngagementPrediction` reads them.
        streaming: Gives data sets that are made as they are read, and caches nothing.
        num_proc: Processes that make the cache, where a split has several files.
        cache_dir: Where the cache is; that of `datasets` where it is None.

    Returns:
        Posts and records, each with `train`, `validation` and `test`. `to_benchmark` makes what
        `evaluate_engagement` takes.

    Raises:
        FileNotFoundError: The folder is missing.
        InputError: The language or a split is not there, or columns, ids or vectors do not fit.
    """
    parts = []
    for name in (language + POSTS_SUFFIX, language):
        cache = None if cache_dir is None else str(cache_dir)
        builder = EngagementPrediction(config_name=name, data_dir=data_dir, cache_dir=cache)
        if streaming:
            parts.append(builder.as_streaming_dataset())
        else:
            builder.download_and_prepare(num_proc=num_proc)
            parts.append(builder.as_dataset())
    return EngagementSplits(*parts)


def engagement_configs(
    data_dir: str | Path, languages: Sequence[str] | None = None
) -> Iterator[HubConfig]:
    """Languages of a benchmark for `write_hub_folder`, loaded one after the other.

    Args:
        data_dir: As in `load_engagement_prediction`.
        languages: Codes; all that are there where it is None.
    """
    for language in languages or sorted(find_layout(list_files(Path(data_dir)))):
        code = modern_code(language)
        yield from hub_configs(code, load_engagement_prediction(code, data_dir=data_dir))


def hub_configs(language: str, parts: EngagementSplits) -> list[HubConfig]:
    """What `write_hub_folder` writes: `en` are the records, `en-posts` the posts."""
    return [
        HubConfig(language, language, f"records/{language}", parts.records),
        HubConfig(language + POSTS_SUFFIX, language, f"posts/{language}", parts.posts),
    ]


def to_benchmark(languages: Mapping[str, EngagementSplits]) -> EngagementBenchmark:
    """Languages as the benchmark that `evaluate_engagement` takes.

    Each record's user is a row of its own, as a published benchmark does not say which vectors are
    of one user; so `known` holds the records alone.

    Args:
        languages: Of `load_engagement_prediction`, not streaming.

    Raises:
        InputError: A record's post is not among the posts of its split, or vectors differ in
            length between languages.
    """
    posts, records, vectors, splits = [], [], [], []
    num_posts = num_records = 0
    for language, parts in languages.items():
        for split in SPLITS:
            own = parts.posts[split].with_format("arrow")[:]
            drawn = parts.records[split].with_format("arrow")[:]
            rows = pc.index_in(drawn["id"], value_set=own["id"].combine_chunks())
            if rows.null_count:
                missing = drawn["id"].filter(pc.is_null(rows))
                raise InputError(
                    f"{rows.null_count:,} records of {language!r}, {split}, are of posts that are "
                    f"not there ({str(missing[0])!r} for one). Posts and records must be of one "
                    "benchmark and split."
                )
            users = np.arange(num_records, num_records + len(drawn))
            records.append(Records(users, rows.to_numpy() + np.int64(num_posts)))
            vectors.append(
                drawn["user"].combine_chunks().flatten().to_numpy().reshape(len(drawn), -1)
            )
            posts.append(own.select(["id", "text", "lang"]))
            splits.append(np.full(len(own), split))
            num_posts, num_records = num_posts + len(own), num_records + len(drawn)
    widths = sorted({part.shape[1] for part in vectors})
    if len(widths) > 1:
        raise InputError(f"User vectors have lengths {widths}; all languages need the same one.")
    table, all_records = pa.concat_tables(posts), Records.concatenate(records)
    return EngagementBenchmark(
        post_ids=table["id"].to_pylist(),
        texts=table["text"].to_pylist(),
        languages=np.array(table["lang"].to_pylist()),
        splits=np.concatenate(splits),
        user_vectors=np.concatenate(vectors),
        records=all_records,
        known=all_records,
        counts={"posts": num_posts, "records": num_records},
    )
