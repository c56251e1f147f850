"""`twhin-hf split`."""

from __future__ import annotations

from twhin_hf.data.split_config import SplitConfig
from twhin_hf.engines import EngineConfig
from twhin_hf.table_format import TableFormat

_ROWS_PER_BLOCK = 2**16


def split(
    posts: str,
    output: str,
    config: SplitConfig,
    table_format: TableFormat,
    engine: EngineConfig,
    engagements: str | None = None,
    seed: int = 0,
    columns: dict[str, str] | None = None,
    log_columns: dict[str, str] | None = None,
    memory_limit: str = "1GB",
    overwrite: bool = False,
) -> None:
    """Split posts into training, validation and test posts, by a hash of their ids or by time.

    `evaluate` and `run` split the same way: give train.parquet to every stage before the
    evaluation, and all posts to the evaluation. After a split by time, give `network embed`
    --before as well, the time at which training ends, which the screen tells.

    Args:
        posts: Posts: Parquet, CSV or JSON lines; file or folder.
        output: Folder for train.parquet, validation.parquet and test.parquet.
        config: By what posts are split.
        table_format: How text tables are written.
        engine: What reads the tables.
        engagements: Engagement log, for a split by time of posts without a timestamp.
        seed: Seed of the split by a hash.
        columns: Rename columns of the posts: NAME=COLUMN.
        log_columns: Rename columns of the log: NAME=COLUMN.
        memory_limit: Memory limit of the reader.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    from pathlib import Path

    import numpy as np
    import pyarrow.parquet as pq

    from twhin_hf.commands.options import options_of_result
    from twhin_hf.data.posts import read_posts
    from twhin_hf.data.splits import SPLITS
    from twhin_hf.data.time_splits import make_split
    from twhin_hf.files import new_file
    from twhin_hf.printing import report
    from twhin_hf.run_folder import run_folder
    from twhin_hf.scratch import scratch_folder

    names = {name: f"{name}.parquet" for name in SPLITS}
    with run_folder(
        output,
        "split",
        options_of_result(
            config, table_format, seed=seed, columns=columns, log_columns=log_columns
        ),
        data={"posts": posts, "engagements": engagements},
        seed=seed,
        results=names.values(),
        overwrite=overwrite,
    ) as run:
        if run.is_finished:
            return
        with scratch_folder(output) as scratch:
            read, _ = read_posts(
                posts,
                columns=columns,
                table_format=table_format,
                memory_limit=memory_limit,
                directory=scratch,
                engine=engine,
            )
            table = read.with_format("arrow")
            split = make_split(
                config,
                seed,
                table.data["post_id"],
                posts,
                engagements,
                columns=log_columns,
                post_columns=columns,
                table_format=table_format,
                memory_limit=memory_limit,
                engine=engine,
            )
            for name in SPLITS:
                rows = np.flatnonzero(split.names == name)
                path = Path(output) / names[name]
                with (
                    new_file(path) as partial,
                    pq.ParquetWriter(partial, table.data.schema) as writer,
                ):
                    for start in range(0, len(rows), _ROWS_PER_BLOCK):
                        writer.write_table(table[rows[start : start + _ROWS_PER_BLOCK]])
                report(f"{len(rows):,} {name} posts, saved in {path}")
            del table, read  # which map a file of the folder
        if split.before:
            report(f"Embed the network of train.parquet with --before {split.before}")
