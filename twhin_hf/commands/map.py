"""`twhin-hf map`."""

from __future__ import annotations

from twhin_hf.maps.map_config import MapConfig
from twhin_hf.table_format import TableFormat


def map_posts(
    vectors: str,
    posts: str,
    config: MapConfig,
    table_format: TableFormat,
    output: str = "map.html",
    before: str | None = None,
    network: str | None = None,
    engagements: str | None = None,
    held_out: str | None = None,
    columns: dict[str, str] | None = None,
    post_columns: dict[str, str] | None = None,
    memory_limit: str = "1GB",
    overwrite: bool = False,
) -> None:
    """Write a page that shows posts as an encoder sees them: zoom, search, colours, hover.

    One HTML file without outside resources. With a network or a log it says how often the nearest
    neighbours of a post share its audience, against chance, by words alone, before and after
    training. It holds no ids, and @user for people in texts.

    Args:
        vectors: Parquet file of `twhin-hf embed`.
        posts: Posts (post_id, text, lang): Parquet, CSV or JSON lines; file or folder.
        config: What the map shows.
        table_format: How text tables are written.
        output: HTML file to write.
        before: Vectors of the same posts by the encoder before training.
        network: Network folder, to colour by audience, and for who engaged if no log is given.
        engagements: Whole engagement log (user_id, post_id), for who engaged with posts that the
            network was not made of.
        held_out: Posts (post_id) to show and count alone, such as those that training has not
            seen: test.parquet of `twhin-hf split`.
        columns: Rename columns of the log: NAME=COLUMN.
        post_columns: Rename columns of the posts: NAME=COLUMN.
        memory_limit: Memory limit of the readers.
        overwrite: Replace the output if it exists.
    """
    from twhin_hf.evaluation.audience import agreement_table
    from twhin_hf.maps.writing import write_map
    from twhin_hf.printing import report

    found = write_map(
        vectors,
        posts,
        output,
        config,
        before=before,
        network=network,
        engagements=engagements,
        held_out=held_out,
        columns=columns,
        post_columns=post_columns,
        table_format=table_format,
        memory_limit=memory_limit,
        overwrite=overwrite,
    )
    if found.agreement is not None:
        report("How often neighbours share an audience", agreement_table(found.agreement))
    for note in found.notes:
        report(note)
    colours = ", ".join(found.colorings)
    report(f"{found.num_posts:,} posts, coloured by {colours}, saved in {output}")
