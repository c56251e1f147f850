"""`twhin-hf recommend`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twhin_hf.errors import InputError
from twhin_hf.table_format import TableFormat

if TYPE_CHECKING:
    import pyarrow as pa

    from twhin_hf.recommendation.model import EngagementModel


def recommend(
    model: str,
    table_format: TableFormat,
    users: list[str] | None = None,
    posts: str | None = None,
    index: str | None = None,
    k: int = 10,
    history: str | None = None,
    similar_to: list[str] | None = None,
    audience_of: list[str] | None = None,
    exclude_seen: bool = True,
    encoder: str | None = None,
    texts: str | None = None,
    write_vectors: str | None = None,
    output: str | None = None,
    columns: dict[str, str] | None = None,
    memory_limit: str = "1GB",
    revision: str | None = None,
    overwrite: bool = False,
) -> None:
    """Recommend posts to users; or find posts like some, or the people who would like them.

    Args:
        model: Folder or Hub repository of `twhin-hf recommender fit`.
        table_format: How text tables are written.
        users: Ids of users, or a file with the column user_id.
        posts: New posts (post_id, text) to recommend from, in place of all that the model knows:
            Parquet, CSV or JSON lines; file or folder.
        index: Index to recommend from, in place of all posts one by one: `twhin-hf index --metric
            inner_product` of what --write_vectors wrote.
        k: Number of posts, or of users.
        history: Engagements that came since the fit (user_id, post_id), of known users or new
            ones; without --users it says whom to recommend to.
        similar_to: Ids of posts: find others that the same people would like.
        audience_of: Ids of posts: find the users who will most likely engage with them.
        exclude_seen: Leave out what a user has engaged with already.
        encoder: Encoder in place of the model's own, such as its export.
        texts: Posts (post_id, text), to show the texts of what is found.
        write_vectors: Parquet file for the vectors of all posts, for an index by inner product.
        output: File to write the answer to, .parquet, .csv or .jsonl (default: the screen).
        columns: Rename columns of the tables: NAME=COLUMN.
        memory_limit: Memory limit of the readers.
        revision: Revision of the repository.
        overwrite: Write over the output.
    """
    from pathlib import Path

    from twhin_hf.loading.places import check_local_path
    from twhin_hf.printing import report
    from twhin_hf.recommendation.answers import (
        check_answer_file,
        ranking_table,
        write_answers,
        write_post_vectors,
    )
    from twhin_hf.recommendation.model import EngagementModel
    from twhin_hf.serving.exported import load_frozen_encoder
    from twhin_hf.serving.post_index import load_post_index
    from twhin_hf.serving.search import texts_of
    from twhin_hf.tables import read_ids

    wanted = [name for name in (users or history, similar_to, audience_of) if name]
    if len(wanted) > 1 or not (wanted or write_vectors):
        raise InputError(
            "give --users or --history, --similar_to, or --audience_of: one of them, or "
            "--write_vectors"
        )
    if index and posts:
        raise InputError("give --posts or --index, not both: new posts are in no index yet")
    if index and not (users or history):
        raise InputError("--index is for --users or --history; leave it out")
    check_local_path(model)
    if output:
        check_answer_file(output, overwrite)
    reading: Any = {"table_format": table_format, "memory_limit": memory_limit}
    if users and len(users) == 1 and Path(users[0]).is_file():
        column = (columns or {}).get("user_id", "user_id")
        users = read_ids(users[0], column, **reading).to_pylist()
    loaded = EngagementModel.from_pretrained(
        model, encoder=load_frozen_encoder(encoder) if encoder else None, revision=revision
    )
    shown: dict[str, str] = {}
    candidates: Any = load_post_index(index, loaded) if index else None
    if posts:
        new = _read(posts, ["post_id", "text"], columns, **reading)
        loaded.add_posts(new)
        candidates = list(dict.fromkeys(new["post_id"].to_pylist()))
        shown = dict(zip(new["post_id"].to_pylist(), new["text"].to_pylist(), strict=True))
    if history:
        told = _read(history, ["user_id", "post_id"], columns, **reading)
        since = _add_history(loaded, told)
        users = users or since
    if write_vectors:
        count = write_post_vectors(loaded, write_vectors, model)
        report(f"Vectors of {count:,} posts, saved in {write_vectors}")
    if similar_to:
        asked, of, found = similar_to, "similar_to", "post_id"
        ranking = loaded.similar_posts(asked, k)
    elif audience_of:
        asked, of, found = audience_of, "audience_of", "user_id"
        ranking = loaded.likely_users(asked, k, exclude_seen=exclude_seen)
    elif users:
        asked, of, found = users, "user_id", "post_id"
        _check_known(loaded, users)
        ranking = loaded.recommend(users, candidates, k, exclude_seen=exclude_seen)
    elif write_vectors:
        return
    else:
        raise InputError(
            "nobody is left to recommend to: --users and --history name no one with a known post"
        )
    if texts and found == "post_id":
        ids = sorted({name for names in ranking.ids for name in names})
        shown |= texts_of(texts, ids, columns=_own(columns, "post_id", "text"), **reading)
    table = ranking_table(asked, of, ranking, found, shown if found == "post_id" else {})
    if output:
        write_answers(table, output)
        report(f"{len(table):,} rows for {len(asked):,} of {of}, saved in {output}")
    else:
        _show(asked, of, table)


def _own(columns: dict[str, str] | None, *names: str) -> dict[str, str]:
    return {name: column for name, column in (columns or {}).items() if name in names}


def _read(
    path: str,
    names: list[str],
    columns: dict[str, str] | None,
    table_format: TableFormat,
    memory_limit: str,
) -> pa.Table:
    """Rows without an id or a text are left out."""
    from twhin_hf.tables import is_blank, open_engine, read_errors, read_table

    with open_engine(memory_limit) as engine, read_errors(path):
        table = read_table(
            path,
            names,
            connection=engine,
            columns=_own(columns, *names),
            table_format=table_format,
        )
        return table.filter([~is_blank(table[name]) for name in names]).to_pyarrow()


def _add_history(model: EngagementModel, told: pa.Table) -> list[str]:
    """Adds engagements; those with posts that nobody knows are left out and told."""
    import logging

    people, liked = (told[name].to_pylist() for name in ("user_id", "post_id"))
    pairs = list(zip(people, liked, strict=True))
    known = (model.posts.rows(liked) >= 0).tolist()
    kept = [pair for pair, is_known in zip(pairs, known, strict=True) if is_known]
    if left_out := len(pairs) - len(kept):
        logging.getLogger(__name__).warning(
            "%s of %s engagements of the history are with posts that neither the model nor --posts "
            "knows: they are left out",
            f"{left_out:,}",
            f"{len(pairs):,}",
        )
    model.add_engagements([user for user, _ in kept], [post for _, post in kept])
    return list(dict.fromkeys(user for user, _ in kept))


def _check_known(model: EngagementModel, users: list[str]) -> None:
    unknown = [user for user, row in zip(users, model.users.rows(users), strict=True) if row < 0]
    if unknown:
        raise InputError(
            f"{len(unknown):,} of {len(users):,} users are unknown to the model ({unknown[0]!r} "
            "for one): give what they have engaged with since the fit, --history FILE with user_id "
            "and post_id, or leave them out",
            faq="unknown-users",
        )


def _show(asked: list[str], of: str, table: pa.Table) -> None:
    from rich.table import Column, Table
    from rich.text import Text

    from twhin_hf.printing import report

    rows: dict[str, list[dict]] = {name: [] for name in asked}
    for row in table.to_pylist():
        rows[row.pop(of)].append(row)
    shown = [name for name in table.column_names if name not in (of, "rank")]
    for name, found in rows.items():
        # Whole ids, to copy: texts give way to them.
        screen = Table(
            *(Column(n.removesuffix("_id"), no_wrap=n.endswith("_id"), min_width=4) for n in shown)
        )
        for row in found:
            screen.add_row(*(Text(_cell(row[column])) for column in shown))
        report(name, screen)


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value or "")
