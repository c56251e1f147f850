"""Takes people and posts out of everything that was made of a log, and names what learned from it.

All is looked through before anything is changed; then benchmarks change first, whose people can
only be found by the networks and the ids of posts, networks last. Each file is replaced when its
new one is written, a network's files together, so that a run that dies is simply begun again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.benchmarks.hub_folder import is_hub_folder, refresh_rows
from twhin_hf.errors import InputError
from twhin_hf.files import list_files, recover
from twhin_hf.forgetting.forgotten import Forgotten
from twhin_hf.forgetting.networks import NetworkChange, apply_change, is_network, plan_change
from twhin_hf.forgetting.recommenders import count_rows, forget_rows
from twhin_hf.forgetting.tables import TableFile, is_record
from twhin_hf.forgetting.trained import Trained, find_trained, is_model, note_earlier
from twhin_hf.network.folder import CHECKPOINT_FILE as CHECKPOINT
from twhin_hf.network.sources.report import WITHOUT_TEXT
from twhin_hf.privacy.keys import HASH_PATTERN, key_beside, read_key
from twhin_hf.processes import Workers, map_items
from twhin_hf.recommendation.folder import is_recommender
from twhin_hf.serving.index.index import load_index
from twhin_hf.serving.index.state import is_index
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import table_kind

_WITHOUT_IDS = frozenset(
    (".md", ".yaml", ".yml", ".toml", ".png", ".svg", ".pdf", ".html", ".txt", ".key", ".log")
)
"""Endings of files that hold no ids, or that people write."""


@dataclass(frozen=True)
class ForgetReport:
    """What was taken out, or would be.

    Args:
        removed: Rows by file, users and posts together by folder of a network or a recommender, and
            ids by index folder;
            those of which something goes alone.
        looked_through: Files, networks and indexes that were looked through.
        passed_over: Files that hold no ids, such as models and records.
        trained: Folders and files that were made, in any step, of data from which something goes or
            went earlier: models to be trained anew, and data to be made anew.
        users_without_vector: Users who are in no network given, so that records of theirs in a
            benchmark could not be found; 0 where there is no such benchmark.
    """

    removed: dict[Path, int]
    looked_through: int
    passed_over: list[Path]
    trained: list[Trained]
    users_without_vector: int = 0

    @property
    def num_removed(self) -> int:
        """All that goes."""
        return sum(self.removed.values())


class _Scan(NamedTuple):
    """What a table holds."""

    has_ids: bool
    rows: int
    has_vectors: bool
    is_hashed: bool
    posts: list[str]


@dataclass
class _Found:
    """What lies under the paths."""

    tables: list[TableFile] = field(default_factory=list)
    networks: list[Path] = field(default_factory=list)
    indexes: list[Path] = field(default_factory=list)
    recommenders: list[Path] = field(default_factory=list)
    passed_over: list[Path] = field(default_factory=list)
    odd: list[Path] = field(default_factory=list)


def forget(
    paths: Sequence[str | Path],
    forgotten: Forgotten,
    *,
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    key_file: str | Path | None = None,
    memory_limit: str = "1GB",
    workers: Workers | None = None,
    dry_run: bool = False,
) -> ForgetReport:
    """Takes users and posts out of files and folders, in place.

    A row of a table goes where one of its ids is forgotten: `user_id` or `author_id`; `post_id`,
    `anchor_id` or `positive_id`; in a benchmark `id`, and `user`, a vector, which is found by the
    network. Networks lose rows, engagements and degrees, indexes vectors and ids. Texts that name a
    user stay, and so do weights of models: those that learned from what goes are named.

    Args:
        paths: Logs, posts, pairs, vectors, networks, benchmarks, and folders of any of them and of
            models. What a model learned from is told by what its run read: the log and the posts
            among the paths are how it is found.
        forgotten: Who and what; see `read_forgotten`.
        columns: What tables call `user_id` and `post_id`, where the name is unusual.
        table_format: How text tables are written.
        key_file: Key of the ids of a benchmark; by default the file of its name and `.key`.
        memory_limit: Most memory of the engine that reads JSON; blocks of rows come on top, and of
            a network a few bytes a user and post.
        workers: Look through and rewrite tables, a file each at a time; they must see the paths.
        dry_run: Look through all, and change nothing.

    Raises:
        FileNotFoundError: A path is not there.
        InputError: A file cannot be read or cannot be looked through for ids, nothing under the
            paths has ids, or a benchmark comes without its key or network. Nothing was changed.
    """
    columns = dict(columns or {})
    if unknown := sorted(columns.keys() - {"user_id", "post_id"}):
        raise InputError(
            f"columns names {', '.join(unknown)}, which is not looked at here; known are user_id "
            "and post_id."
        )
    roots = [Path(path) for path in paths]
    if not dry_run:
        for root in roots:
            recover(root)
    found = _look(roots, columns, table_format or TableFormat(), memory_limit)
    networks = [plan_change(folder, forgotten) for folder in found.networks]
    plain, benchmarks, passed_over = _scan_all(found.tables, forgotten, workers)
    indexes = {folder: _ids_in_index(folder, forgotten) for folder in found.indexes}
    models = {folder: count_rows(folder, forgotten) for folder in found.recommenders}
    if not networks and not plain and not benchmarks and not indexes and not models:
        raise InputError(
            f"Nothing under {', '.join(map(str, roots))} holds ids: no network, and no table with "
            "user_id, post_id, anchor_id or positive_id. Say what they are called with "
            "columns (`--columns user_id=...`)."
        )
    published = _published(forgotten, networks, plain, benchmarks, key_file)
    counts = {table: scan.rows for table, scan in plain.items()}
    numbers = map_items(workers, _count, list(published.items()))
    counts |= dict(zip(published, numbers, strict=True))
    tables = [table for table in (*published, *plain) if counts[table]]
    changing = [change for change in networks if change.removed]
    erased = {folder: ids for folder, ids in indexes.items() if len(ids)}
    emptied = {folder: count for folder, count in models.items() if count}
    if not dry_run and (tables or changing or erased or emptied):
        changed = [*(t.path for t in tables), *(c.folder for c in changing), *erased, *emptied]
        note_earlier(changed, roots)
        map_items(workers, _rewrite, [(table, published.get(table, forgotten)) for table in tables])
        for folder, ids in erased.items():
            load_index(folder).delete(ids, erase=True)
        for folder in emptied:
            forget_rows(folder, forgotten)
        for change in changing:
            apply_change(change)
    if not dry_run:
        for folder in filter(None, {_benchmark_of(table.path) for table in (*published, *plain)}):
            refresh_rows(folder)
    known = sum(change.forgotten["users"] for change in networks)
    has_vectors = any(scan.has_vectors for scan in benchmarks.values())
    return ForgetReport(
        removed={
            **{table.path: counts[table] for table in tables},
            **{folder: len(ids) for folder, ids in erased.items()},
            **emptied,
            **{change.folder: change.removed for change in changing},
        },
        looked_through=len(plain) + len(published) + len(networks) + len(indexes) + len(models),
        passed_over=[*found.passed_over, *passed_over],
        trained=find_trained(roots),
        users_without_vector=max(0, len(forgotten.users) - known) if has_vectors else 0,
    )


def _look(
    roots: Sequence[Path],
    columns: Mapping[str, str],
    table_format: TableFormat,
    memory_limit: str,
) -> _Found:
    """What lies under the paths.

    Raises:
        FileNotFoundError: A path is not there.
        InputError: A file that nobody can look through.
    """
    found = _Found()
    for path in dict.fromkeys(file for root in roots for file in list_files(root)):
        inside = [folder for folder in path.parents if _is_below(folder, roots)]
        # A file of a network is nothing without the others.
        network = next(filter(is_network, [path.parent, *inside]), None)
        index = next(filter(is_index, [path.parent, *inside]), None)
        recommender = next(filter(is_recommender, [path.parent, *inside]), None)
        if network is not None:
            if network not in found.networks:
                found.networks.append(network)
        elif index is not None:
            if index not in found.indexes:
                found.indexes.append(index)
        elif recommender is not None:
            if recommender not in found.recommenders:
                found.recommenders.append(recommender)
        elif _is_table(path, table_format, any(map(is_model, inside))):
            found.tables.append(TableFile(path, columns, table_format, memory_limit))
        elif _holds_no_ids(path) or (path.name != CHECKPOINT and any(map(is_model, inside))):
            found.passed_over.append(path)
        else:
            found.odd.append(path)
    if found.odd:
        shown = ", ".join(map(str, found.odd[:5])) + (" …" if len(found.odd) > 5 else "")
        raise InputError(
            f"{len(found.odd)} files cannot be looked through for ids: {shown}. Delete them, or "
            "give the paths beside them. Nothing was changed."
        )
    return found


def _ids_in_index(folder: Path, forgotten: Forgotten) -> pa.Array:
    """The ids that go from an index, those that were deleted before among them."""
    ids = pc.unique(load_index(folder).all_ids)
    return ids.filter(pa.array(forgotten.is_post(ids)))


def _is_table(path: Path, table_format: TableFormat, of_model: bool) -> bool:
    if path.name == WITHOUT_TEXT:
        return True
    if _holds_no_ids(path):
        return False
    # Beside a model `.json` is its own, and other endings are no tables whatever the separator.
    kind = table_kind(path) if of_model else table_kind(path, table_format)
    return kind is not None and not (of_model and path.suffix == ".json")


def _holds_no_ids(path: Path) -> bool:
    ending = path.suffix.lower()
    return ending in _WITHOUT_IDS or not path.stat().st_size or is_record(path)


def _is_below(folder: Path, roots: Iterable[Path]) -> bool:
    return any(folder == root or root in folder.parents for root in roots)


def _scan_all(
    tables: Sequence[TableFile], forgotten: Forgotten, workers: Workers | None
) -> tuple[dict[TableFile, _Scan], dict[TableFile, _Scan], list[Path]]:
    """Tables with ids as they are, those of benchmarks (hashes or vectors), and those without."""
    plain, benchmarks, passed_over = {}, {}, []
    scans = map_items(workers, partial(_scan, forgotten), tables)
    for table, scan in zip(tables, scans, strict=True):
        if not scan.has_ids:
            passed_over.append(table.path)
        elif scan.has_vectors or scan.is_hashed:
            benchmarks[table] = scan
        else:
            plain[table] = scan
    return plain, benchmarks, passed_over


def _scan(forgotten: Forgotten, table: TableFile) -> _Scan:
    """Reads a table once; a damaged one is an error before anything is changed."""
    has_ids = has_vectors = False
    is_hashed: bool | None = None
    rows, posts = 0, list[str]()
    for block in table.blocks():
        has_ids |= bool(block.ids)
        has_vectors |= any(kind == "vector" for kind, _ in block.ids.values())
        plain = {name: own for name, own in block.ids.items() if own[0] != "vector"}
        rows += int(forgotten.matches(plain, block.num_rows).sum())
        for name, (kind, values) in plain.items():
            if kind == "post":
                posts += values.filter(pa.array(forgotten.is_post(values))).to_pylist()
            if name == "id" and block.num_rows:
                hashed = pc.match_substring_regex(values, f"^{HASH_PATTERN}$")
                is_hashed = is_hashed is not False and pc.all(hashed).as_py()
    return _Scan(has_ids, rows, has_vectors, bool(is_hashed), posts)


def _rewrite(task: tuple[TableFile, Forgotten]) -> None:
    table, forgotten = task
    table.rewrite(forgotten)


def _count(task: tuple[TableFile, Forgotten]) -> int:
    table, forgotten = task
    blocks = table.blocks()
    return sum(int(forgotten.matches(block.ids, block.num_rows).sum()) for block in blocks)


def _published(
    forgotten: Forgotten,
    networks: Sequence[NetworkChange],
    plain: Mapping[TableFile, _Scan],
    benchmarks: Mapping[TableFile, _Scan],
    key_file: str | Path | None,
) -> dict[TableFile, Forgotten]:
    """What is to be forgotten in each table of a benchmark, under the names that it has there.

    Raises:
        InputError: A benchmark comes without its key, or without the network that tells whose a
            vector is.
    """
    posts = sorted(
        {*forgotten.posts.to_pylist(), *(i for scan in plain.values() for i in scan.posts)}
    )
    vectors = tuple(change.vectors for change in networks if len(change.vectors))
    found = {}
    for table, scan in benchmarks.items():
        own = forgotten
        if scan.has_vectors and len(forgotten.users):
            if not networks:
                raise InputError(
                    f"{table.path} holds vectors of users without ids: only the network that they "
                    "are from tells whose they are. Give its folder too. Nothing was changed."
                )
            if vectors:
                own = replace(own, vectors=vectors)
        if scan.is_hashed and posts:
            folder = _benchmark_of(table.path) or table.path.parent
            place = Path(key_file) if key_file else key_beside(folder)
            if not place.is_file():
                raise InputError(
                    f"{table.path} holds hashes for the ids of posts, and there is no {place}. "
                    "Give the file with their key (`--key_file`). Nothing was changed."
                )
            own = own.with_hashes(posts, read_key(place))
        found[table] = own
    return found


def _benchmark_of(path: Path) -> Path | None:
    """The folder of the benchmark that a file belongs to."""
    return next(filter(is_hub_folder, path.parents), None)
