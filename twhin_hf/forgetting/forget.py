"""Takes people and posts out of everything that was made of a log, and names what learned from it.

All is looked through before anything is changed, and what changes is held until the end; then
benchmarks change first, whose people can only be found by the networks and the ids of posts,
networks last. Each file is replaced when its new one is written, a network's files together, so
that a run that dies is simply begun again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.benchmarks.hub_folder import is_hub_folder, refresh_rows
from twhin_hf.errors import InputError
from twhin_hf.forgetting.forgotten import Forgotten
from twhin_hf.forgetting.indexes import erase_ids, ids_in, own_files
from twhin_hf.forgetting.locks import Locks
from twhin_hf.forgetting.networks import (
    OWN_TABLES,
    NetworkChange,
    apply_change,
    is_network,
    plan_change,
)
from twhin_hf.forgetting.places import Places, find_places, is_hidden, real_path, recover_all
from twhin_hf.forgetting.recommenders import count_rows, forget_rows
from twhin_hf.forgetting.tables import LISTS, Block, TableFile, is_record
from twhin_hf.forgetting.trained import (
    Trained,
    find_trained,
    is_model,
    note_earlier,
    read_records,
)
from twhin_hf.network.folder import CHECKPOINT_FILE as CHECKPOINT
from twhin_hf.network.sources.report import WITHOUT_TEXT
from twhin_hf.privacy.keys import HASH_PATTERN, key_beside, read_key
from twhin_hf.processes import Workers, map_items
from twhin_hf.recommendation.folder import is_recommender
from twhin_hf.serving.index.state import is_index
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import table_kind

_WITHOUT_IDS = frozenset(
    (
        *(".md", ".yaml", ".yml", ".toml", ".png", ".svg", ".pdf", ".html", ".txt", ".key", ".log"),
        ".crc",  # which Spark writes beside each file
    )
)
"""Endings of files that hold no ids, or that people write."""

_OF_TOOLS = frozenset((".gitignore", ".gitattributes", ".DS_Store"))
"""Hidden files of other tools, which hold no ids."""

_BAD_STEPS = "bad_steps.jsonl"
"""What `training.step_checks` writes; it would bring torch."""


_Kind = Callable[[Path], bool]


@dataclass(frozen=True)
class ForgetReport:
    """What was taken out, or would be.

    Args:
        removed: Rows by file, users and posts together by folder of a network or a recommender, and
            ids by index folder;
            those of which something goes alone.
        looked_through: Files, networks and indexes that were looked through.
        passed_over: Files that hold no ids by their kind or columns; those of models come last.
        unread: What was not looked through, and may hold somebody still: hidden files that are no
            tables, hidden records of runs that are damaged, temporary files of other processes, the
            history of a repository (`.git`), what may not be read, and links to a folder that they
            lie in.
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
    unread: list[Path] = field(default_factory=list)

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
    folders: dict[tuple[_Kind, Path], Path] = field(default_factory=dict)
    passed_over: list[Path] = field(default_factory=list)
    of_models: list[Path] = field(default_factory=list)
    hidden: set[Path] = field(default_factory=set)
    unread: list[Path] = field(default_factory=list)
    odd: list[Path] = field(default_factory=list)

    def of_kind(self, kind: _Kind) -> list[Path]:
        """Folders of networks, indexes or recommenders, each once."""
        return [folder for (own, _), folder in self.folders.items() if own is kind]


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
    user stay, and so do weights of models: those that learned from what goes are named. Links are
    followed, and hidden files (`.` and `_`) are looked through where they are tables.

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
        InputError: A file cannot be read or cannot be looked through for ids, or holds somebody in
            a list of ids (`user_ids`); the record of a run is damaged, and not hidden; nothing
            under the paths has ids, or a benchmark comes without its key or network; or another
            process works on what would change. Nothing was changed.
    """
    columns = dict(columns or {})
    if unknown := sorted(columns.keys() - {"user_id", "post_id"}):
        raise InputError(
            f"columns names {', '.join(unknown)}, which is not looked at here; known are user_id "
            "and post_id."
        )
    roots = [Path(path) for path in paths]
    table_format = table_format or TableFormat()
    with Locks() as locks:
        if not dry_run:
            recover_all(roots)
        places = find_places(roots)
        found = _look(places, roots, columns, table_format, memory_limit)
        if not dry_run:
            for folder in found.of_kind(is_network):
                with suppress(OSError):  # nothing may have to change in one that is read-only
                    locks.hold(folder)
        return _forget(
            roots, places, found, forgotten, key_file, workers, None if dry_run else locks
        )


def _forget(
    roots: Sequence[Path],
    places: Places,
    found: _Found,
    forgotten: Forgotten,
    key_file: str | Path | None,
    workers: Workers | None,
    locks: Locks | None,
) -> ForgetReport:
    """Looks through what was found, and changes it where there are locks."""
    networks = [plan_change(folder, forgotten) for folder in found.of_kind(is_network)]
    plain, benchmarks, passed_over, unread = _scan_all(found, forgotten, workers)
    indexes = {folder: ids_in(folder, forgotten) for folder in found.of_kind(is_index)}
    models = {folder: count_rows(folder, forgotten) for folder in found.of_kind(is_recommender)}
    if not networks and not plain and not benchmarks and not indexes and not models:
        raise InputError(
            f"Nothing under {', '.join(map(str, roots))} holds ids: no network, and no table with "
            "user_id, post_id, anchor_id or positive_id. Say what they are called with "
            "columns (`--columns user_id=...`)."
        )
    skipped = {*unread}
    files = [names[0] for names in places.files if skipped.isdisjoint(names)]
    records = read_records(places.folders, files, roots)
    published = _published(forgotten, networks, plain, benchmarks, key_file)
    counts = {table: scan.rows for table, scan in plain.items()}
    numbers = map_items(workers, _count, list(published.items()))
    counts |= dict(zip(published, numbers, strict=True))
    tables = [table for table in (*published, *plain) if counts[table]]
    changing = [change for change in networks if change.removed]
    erased = {folder: ids for folder, ids in indexes.items() if len(ids)}
    emptied = {folder: count for folder, count in models.items() if count}
    if locks is not None and (tables or changing or erased or emptied):
        replaced = [*(change.folder for change in changing), *emptied]
        _check_links(replaced, erased)
        for path in (*(table.path for table in tables), *emptied):
            locks.hold(path)
        for folder in (*(change.folder for change in changing), *erased):
            locks.hold(folder, always=True)
        note_earlier([*_all_names(tables, places), *replaced, *erased], roots)
        map_items(workers, _rewrite, [(table, published.get(table, forgotten)) for table in tables])
        for folder, ids in erased.items():
            erase_ids(folder, ids)
        for folder in emptied:
            forget_rows(folder, forgotten)
        for change in changing:
            apply_change(change)
    if locks is not None:
        for folder in filter(None, {_benchmark_of(table.path) for table in (*published, *plain)}):
            refresh_rows(folder)
    without_ids = (*found.passed_over, *passed_over, *found.of_models)
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
        passed_over=[path for path in without_ids if path not in records.unread],
        trained=find_trained(records),
        users_without_vector=max(0, len(forgotten.users) - known) if has_vectors else 0,
        unread=[*places.unread, *found.unread, *unread, *records.unread],
    )


def _look(
    places: Places,
    roots: Sequence[Path],
    columns: Mapping[str, str],
    table_format: TableFormat,
    memory_limit: str,
) -> _Found:
    """What the files are.

    Raises:
        InputError: A file that nobody can look through.
    """
    found, own_tables = _Found(), cache(_own_tables)
    for names in places.files:
        owners = {name: owner for name in names if (owner := _owner(name, roots))}
        for kind, folder in owners.values():
            found.folders.setdefault((kind, real_path(folder)), folder)
        of_model = any(is_model(folder) for name in names for folder in _inside(name, roots))
        # In such a folder other endings are no tables whatever the separator.
        written = TableFormat() if of_model or owners else table_format
        readable = [name for name in names if _is_table(name, written, of_model)]
        path = (readable or names)[0]  # a link may have an ending where its file has none
        is_left_out = all(is_hidden(name, roots) for name in names)
        own = any(
            name.parent == folder and name.name in own_tables(kind, folder)
            for name, (kind, folder) in owners.items()
        )
        if owners and (own or not readable):
            continue  # it is nothing without the others
        if readable:
            found.tables.append(TableFile(path, columns, table_format, memory_limit))
            if is_left_out:
                found.hidden.add(path)
        elif of_model and path.name != CHECKPOINT:
            found.of_models.append(path)
        elif _holds_no_ids(path):
            found.passed_over.append(path)
        else:
            (found.unread if is_left_out else found.odd).append(path)
    if found.odd:
        shown = ", ".join(map(str, found.odd[:5])) + (" …" if len(found.odd) > 5 else "")
        raise InputError(
            f"{len(found.odd)} files cannot be looked through for ids: {shown}. Delete them, or "
            "give the paths beside them. Nothing was changed."
        )
    return found


def _inside(path: Path, roots: Sequence[Path]) -> list[Path]:
    return [folder for folder in path.parents if _is_below(folder, roots)]


def _owner(path: Path, roots: Sequence[Path]) -> tuple[_Kind, Path] | None:
    """The network, index or recommender that a file lies in."""
    for folder in (path.parent, *_inside(path, roots)):
        for kind in (is_network, is_index, is_recommender):
            if kind(folder):
                return kind, folder
    return None


def _own_tables(kind: _Kind, folder: Path) -> frozenset[str]:
    """Names of a folder's own tables; others are logs that were put into it."""
    return own_files(folder) if kind is is_index else OWN_TABLES


def _all_names(tables: Iterable[TableFile], places: Places) -> list[Path]:
    """All names of the files, and what they are without links."""
    names = {name: names for names in places.files for name in names}
    links = [real_path(table.path) for table in tables if table.path.is_symlink()]
    return [*(name for table in tables for name in names[table.path]), *links]


def _check_links(replaced: Iterable[Path], indexes: Iterable[Path]) -> None:
    """Refuses folders whose files are replaced while what links among them lead to would stay.

    Raises:
        InputError: A link is in one.
    """
    for folder in indexes:
        if link := next((folder / n for n in own_files(folder) if (folder / n).is_symlink()), None):
            raise InputError(
                f"{link} is a link, and an index writes its files under new names: what the link "
                "leads to would stay. Put the file itself in its place. Nothing was changed."
            )
    for folder in replaced:
        if link := next((path for path in folder.rglob("*") if path.is_symlink()), None):
            raise InputError(
                f"{link} is a link, and {folder} is written anew as a whole: what the link leads "
                "to would stay. Put the file itself in its place. Nothing was changed."
            )


def _is_table(path: Path, table_format: TableFormat, of_model: bool) -> bool:
    if path.name == WITHOUT_TEXT:
        return True
    if _holds_no_ids(path):
        return False
    # Beside a model `.json` is its own.
    return table_kind(path, table_format) is not None and not (of_model and path.suffix == ".json")


def _holds_no_ids(path: Path) -> bool:
    is_known = path.suffix.lower() in _WITHOUT_IDS or path.name in _OF_TOOLS
    return is_known or not path.stat().st_size or is_record(path)


def _is_below(folder: Path, roots: Iterable[Path]) -> bool:
    return any(folder == root or root in folder.parents for root in roots)


def _scan_all(
    found: _Found, forgotten: Forgotten, workers: Workers | None
) -> tuple[dict[TableFile, _Scan], dict[TableFile, _Scan], list[Path], list[Path]]:
    """Tables with ids as they are, of benchmarks (hashes or vectors), without ids, and unread."""
    plain, benchmarks, passed_over, unread = {}, {}, [], []
    scans = map_items(workers, partial(_scan, forgotten, found.hidden), found.tables)
    for table, scan in zip(found.tables, scans, strict=True):
        if scan is None:
            unread.append(table.path)
        elif not scan.has_ids:
            passed_over.append(table.path)
        elif scan.has_vectors or scan.is_hashed:
            benchmarks[table] = scan
        else:
            plain[table] = scan
    return plain, benchmarks, passed_over, unread


def _scan(forgotten: Forgotten, hidden: Collection[Path], table: TableFile) -> _Scan | None:
    """Reads a table once; a damaged one is an error before anything is changed.

    None for a hidden one, which may be no table for all that its name says.
    """
    try:
        return _read(forgotten, table)
    except InputError:
        if table.path in hidden:
            return None
        raise


def _read(forgotten: Forgotten, table: TableFile) -> _Scan:
    has_ids = has_vectors = False
    is_hashed: bool | None = None
    rows, posts = 0, list[str]()
    for block in table.blocks():
        has_ids |= bool(block.ids)
        has_vectors |= any(kind == "vector" for kind, _ in block.ids.values())
        plain = {name: own for name, own in block.ids.items() if own[0] != "vector"}
        rows += int(forgotten.matches(plain, block.num_rows).sum())
        if table.path.name != _BAD_STEPS:
            _check_lists(table.path, forgotten, block)
        for name, (kind, values) in plain.items():
            if kind == "post":
                posts += values.filter(pa.array(forgotten.is_post(values))).to_pylist()
            if name == "id" and block.num_rows:
                hashed = pc.match_substring_regex(values, f"^{HASH_PATTERN}$")
                is_hashed = is_hashed is not False and pc.all(hashed).as_py()
    return _Scan(has_ids, rows, has_vectors, bool(is_hashed), posts)


def _check_lists(path: Path, forgotten: Forgotten, block: Block) -> None:
    """Refuses lists that name somebody: their rows are of others too.

    Raises:
        InputError: A list holds an id that goes.
    """
    for name, own in block.ids.items():
        if own[0] in LISTS.values() and forgotten.matches({name: own}, block.num_rows).any():
            raise InputError(
                f"{path}: {name.removesuffix('[]')} holds lists of ids, some of which are to be "
                "forgotten, and whether their rows go, which are of others too, is yours to say. "
                "Take the ids out of the lists, or give the paths beside the file. Nothing was "
                "changed."
            )


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
