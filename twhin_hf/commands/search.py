"""`twhin-hf search`."""

from __future__ import annotations

from twhin_hf.table_format import TableFormat


def search(
    vectors: str,
    model: str,
    query: list[str],
    table_format: TableFormat,
    posts: str | None = None,
    k: int = 10,
    revision: str | None = None,
    device: str | None = None,
    columns: dict[str, str] | None = None,
    memory_limit: str = "1GB",
) -> None:
    """Find the posts nearest to each query: exactly and by cosine, or as an index does.

    Queries are embedded as the vectors were.

    Args:
        vectors: Parquet file of `twhin-hf embed`, a folder of such files, or a folder of
            `twhin-hf index`.
        model: Encoder that made the vectors.
        query: Texts to search for.
        table_format: How text tables are written.
        posts: Posts (post_id, text), to show the texts of the results: Parquet, CSV or JSON lines;
            file or folder.
        k: Number of posts per query.
        revision: Revision of the repository.
        device: Device (default: GPU if available).
        columns: Rename columns of the posts: NAME=COLUMN.
        memory_limit: Memory limit of the reader.
    """
    from rich.table import Table
    from rich.text import Text

    from twhin_hf.printing import report
    from twhin_hf.serving.search import search as search_posts

    found = search_posts(
        vectors,
        query,
        model,
        k=k,
        posts=posts,
        revision=revision,
        device=device,
        columns=columns,
        table_format=table_format,
        memory_limit=memory_limit,
    )
    for text, hits in zip(query, found, strict=True):
        table = Table("post", "score", "text")
        for hit in hits:
            table.add_row(Text(hit.post_id), f"{hit.score:.4f}", Text(hit.text))
        report(text, table)
