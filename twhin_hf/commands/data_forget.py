"""`twhin-hf data forget`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from twhin_hf.engines import EngineConfig
from twhin_hf.table_format import TableFormat


def forget(
    paths: list[str],
    /,
    *,
    table_format: TableFormat,
    engine: EngineConfig,
    users: str | None = None,
    posts: str | None = None,
    columns: dict[str, str] | None = None,
    key_file: str | None = None,
    memory_limit: str = "1GB",
    dry_run: bool = False,
) -> None:
    """Take people and posts out of logs, posts, networks, pairs, vectors, indexes and benchmarks.

    Changes them in place, and each whole or not at all; all is looked through before. Models keep
    what they learned: those made of what was taken out, by the records of their runs, are named. So
    is what was passed over or not looked through. Links are followed; what another process works on
    is refused.

    Args:
        paths: Files and folders to look through, and folders of the models that learned from them.
            Give the log and the posts too: what a run read is what its record names.
        table_format: How text tables are written.
        engine: With Spark its executors look through and rewrite tables, a file each at a time.
        users: File of the users to forget: a table with user_id, or .txt with an id a line. Posts
            whose ids name such a user (Bluesky) go too.
        posts: File of the posts to forget: a table with post_id, or .txt with an id a line.
        columns: Rename columns of the tables, user_id and post_id: NAME=COLUMN.
        key_file: File with the secret key of a benchmark's ids (default: BENCHMARK.key).
        memory_limit: Memory limit of the readers.
        dry_run: Count what would go, and change nothing.
    """
    from twhin_hf.engines import spark_workers
    from twhin_hf.forgetting.forget import forget as take_out
    from twhin_hf.forgetting.forgotten import read_forgotten
    from twhin_hf.printing import report

    with spark_workers(engine, memory_limit) as workers:
        done = take_out(
            paths,
            read_forgotten(users, posts, table_format, memory_limit),
            columns=columns,
            table_format=table_format,
            key_file=key_file,
            memory_limit=memory_limit,
            workers=workers,
            dry_run=dry_run,
        )
    looked = f"{done.looked_through:,} files, networks and indexes were looked through"
    if done.removed:
        report(f"{'Would be taken out' if dry_run else 'Taken out'} ({looked})")
        for path, count in done.removed.items():
            report(f"{count:>10,}  {path}")  # a table of counts would write names in words
    else:
        report(f"Nothing matches: {looked}, and nothing was changed")
    _name("Not looked through, and may hold them still", done.unread)
    _name("Passed over, as files that hold no ids by their kind or columns", done.passed_over)
    if done.users_without_vector:
        report(
            f"{done.users_without_vector:,} users are in none of the networks: whether a benchmark "
            "holds vectors of theirs cannot be told"
        )
    for place, options in done.trained:
        report(f"Made of what was taken out: {place} (by {', '.join(options)}). Make it anew")


def _name(title: str, paths: Sequence[Path], most: int = 10) -> None:
    """Prints the first of the paths, and how many more there are in which folders, if any."""
    from twhin_hf.printing import report

    if paths:
        more = Counter(path.parent for path in paths[most:]).most_common()
        counted = [f"{count:,} more in {folder}" for folder, count in more[:most]]
        shown = ", ".join([*map(str, paths[:most]), *counted])
        report(f"{title} ({len(paths):,}): {shown}{' …' if len(more) > most else ''}")
