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
    progress: bool = True,
) -> None:
    """Write the vectors of posts to a Parquet file: columns post_id and embedding.

    Posts keep their order and are embedded part by part, so that memory is bounded. A run that was
    interrupted continues with the missing parts.

    Args:
        input: Posts (post_id, text): Parquet, CSV or JSON lines; file or folder.
        output: Parquet file to write.
        config: How posts are embedded.
        table_format: How text tables are written.
        columns: Rename columns of the posts: NAME=COLUMN.
        memory_limit: Memory limit of the reader.
        progress: Show a progress bar.
    """
    from twhin_hf.report import report
    from twhin_hf.serving.vectors import embed_posts

    found = embed_posts(
        input,
        output,
        config,
        columns=columns,
        table_format=table_format,
        memory_limit=memory_limit,
        progress=progress,
    )
    report(f"{found.num_posts:,} vectors of {found.dimension:,} dimensions, saved in {output}")
