"""`twhin-hf embed`."""

from __future__ import annotations

from twhin_hf.serving.vectors_config import PostVectorsConfig
from twhin_hf.table_format import TableFormat


def embed(
    input: str,
    output: str,
    config: PostVectorsConfig,
    table_format: TableFormat,
    columns: dict[str, str] | None = None,
    memory_limit: str = "1GB",
    add: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Write the vectors of posts to a Parquet file: columns post_id and embedding.

    Posts keep their order and are embedded part by part, so that memory is bounded. The same
    command again goes on with the missing parts, and --add embeds the posts that are new. Under
    `torchrun` its processes share the parts.

    Args:
        input: Posts (post_id, text): Parquet, CSV or JSON lines; file or folder.
        output: Parquet file to write.
        config: How posts are embedded.
        table_format: How text tables are written.
        columns: Rename columns of the posts: NAME=COLUMN.
        memory_limit: Memory limit of the reader.
        add: Where the output is there, add the posts that it does not have, by the same model and
            options; a post that it has keeps its vector.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
        progress: Show a progress bar.
    """
    from twhin_hf.commands.options import model_identity, options_of_result
    from twhin_hf.printing import report
    from twhin_hf.processes import launched_workers
    from twhin_hf.run_file import run_file
    from twhin_hf.serving.vectors import embed_posts

    with launched_workers() as (is_first, workers):
        if not is_first:
            return
        run = run_file(
            output,
            "embed",
            options_of_result(
                table_format, columns=columns, **config.of_vectors() | {"model": None}
            ),
            data={"input": input},
            fingerprints={"model": model_identity(config.model, config.revision)},
            overwrite=overwrite or add,
        )
        if run.is_finished:
            return
        found = embed_posts(
            input,
            output,
            config,
            columns=columns,
            table_format=table_format,
            memory_limit=memory_limit,
            record=run.record,
            overwrite=overwrite,
            add=add,
            workers=workers,
            progress=progress,
        )
        if add and not found.num_new:
            report(f"{output} has all of these posts: nothing to do")
            return
        report(f"{found.num_posts:,} vectors of {found.dimension:,} dimensions, saved in {output}")
