"""`twhin-hf split`."""

from __future__ import annotations

from twhin_hf.table_format import TableFormat


def split(
    posts: str,
    output: str,
    table_format: TableFormat,
    seed: int = 0,
    columns: dict[str, str] | None = None,
    memory_limit: str = "1GB",
    overwrite: bool = False,
) -> None:
    """Split posts into training, validation and test posts by a hash of their ids.

    `evaluate` and `run` split the same way: give train.parquet to every stage before the
    evaluation, and all posts to the evaluation.

    Args:
        posts: Posts: Parquet, CSV or JSON lines; file or folder.
        output: Folder for train.parquet, validation.parquet and test.parquet.
        table_format: How text tables are written.
        seed: Seed of the split.
        columns: Rename columns of the posts: NAME=COLUMN.
        memory_limit: Memory limit of the reader.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

    from twhin_hf.commands.options import options_of_result
    from twhin_hf.data.posts import read_posts
    from twhin_hf.data.splits import SPLITS, split_posts
    from twhin_hf.files import new_file
    from twhin_hf.report import report
    from twhin_hf.run_folder import run_folder

    names = {name: f"{name}.parquet" for name in SPLITS}
    with run_folder(
        output,
        "split",
        options_of_result(table_format, seed=seed, columns=columns),
        data={"posts": posts},
        seed=seed,
        results=names.values(),
        overwrite=overwrite,
    ) as run:
        if run.is_finished:
            return
        read, _ = read_posts(
            posts, columns=columns, table_format=table_format, memory_limit=memory_limit
        )
        table = read.with_format("arrow")[:]
        splits = split_posts(table["post_id"], seed)
        for name in SPLITS:
            own = table.filter(pa.array(splits == name))
            path = Path(output) / names[name]
            with new_file(path) as partial:
                pq.write_table(own, partial)
            report(f"{own.num_rows:,} {name} posts, saved in {path}")
