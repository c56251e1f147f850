"""`twhin-hf data privacy-report`."""

from __future__ import annotations

from twhin_hf.errors import InputError
from twhin_hf.evaluation.privacy.config import AttackConfig
from twhin_hf.table_format import TableFormat


def privacy_report(
    benchmark: str,
    /,
    *,
    attacks: AttackConfig,
    table_format: TableFormat,
    engagements: str | None = None,
    network: str | None = None,
    key_file: str | None = None,
    columns: dict[str, str] | None = None,
    memory_limit: str = "1GB",
) -> None:
    """Say what a benchmark reveals of the people in it, before it is published.

    Counts ids and texts that name people, and how many users stand together. With the log and the
    network that it was made of, attacks tell whether half of a user's engagements find the vector
    of that user (beside chance), and whether a score tells that an engagement was trained on. The
    figures go to BENCHMARK/privacy.json and into its card.

    Args:
        benchmark: Folder that a `twhin-hf data` command has written.
        attacks: How the attacks are made.
        table_format: How text tables are written.
        engagements: Whole engagement log (user_id, post_id) that it was made of, for the attacks.
        network: Network folder with the users' vectors that it was made of, for the attacks.
        key_file: File with the secret key of the ids (default: BENCHMARK.key, if there is one).
        columns: Rename columns of the log: NAME=COLUMN.
        memory_limit: Memory limit of the reader.
    """
    from pathlib import Path

    from rich.table import Table

    from twhin_hf.evaluation.privacy.reporting import (
        attack_rows,
        privacy_report,
        write_privacy_report,
    )
    from twhin_hf.network.folder import load_network
    from twhin_hf.network.log import read_log
    from twhin_hf.printing import report
    from twhin_hf.privacy.keys import key_beside, read_key

    if bool(engagements) != bool(network):
        raise InputError(
            "the attacks need both --engagements and --network; leave both out to look at the set "
            "alone"
        )
    place = Path(key_file) if key_file else key_beside(benchmark)
    graph = None
    if engagements:
        graph = read_log(
            engagements, table_format=table_format, columns=columns, memory_limit=memory_limit
        )
    found = privacy_report(
        benchmark,
        graph,
        load_network(network) if network else None,
        read_key(place) if key_file or place.exists() else None,
        attacks,
    )
    path = write_privacy_report(benchmark, found)
    report(f"People in {benchmark}", found["set"] | found.get("records", {}))
    if rows := attack_rows(found):
        table = Table("attack", "share of users, or AUC", "by chance")
        for row in rows:
            table.add_row(*row)
        report("Attacks", table)
    report(f"Saved in {path}")
