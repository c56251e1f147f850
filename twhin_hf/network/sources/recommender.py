"""Published recommender sets, as their authors pack them.

- MovieLens (https://grouplens.org/datasets/movielens/): `ratings.dat`, `ratings.csv` or `u.data`,
  and the titles of `movies.dat`, `movies.csv` or `u.item`.
- RecBole (https://recbole.io/docs/user_guide/data/atomic_files.html): `.inter`, whose header names
  types (`user_id:token`), and the titles of `.item`.
- LightGCN (https://github.com/gusye1234/LightGCN-PyTorch): lines of a user and all its items.
- RecSys Challenge 2020 (https://recsys-twitter.com/code/dataset): 24 columns parted by \\x01; four
  of them hold when a user replied to, reposted, quoted and liked a post. It holds no texts, but the
  numbers of their tokens.
- MIND (https://github.com/msnews/msnews.github.io): `behaviors.tsv`, whose clicks are `N1-1` among
  the impressions and all of the history, and the titles of `news.tsv`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from twhin_hf.errors import InputError
from twhin_hf.files import list_files
from twhin_hf.lines import read_blocks
from twhin_hf.network.log import DEFAULT_RELATION
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import column_names, read_table

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir

_TAB = TableFormat(separator="\t", header="none")
_COLONS = TableFormat(separator="::", header="none")
_BARS = TableFormat(separator="|", header="none")
_MOVIELENS = {
    "ratings.dat": (_COLONS, {"user_id": "1", "post_id": "2", "timestamp": "4"}),
    "ratings.csv": (
        TableFormat(),
        {"user_id": "userId", "post_id": "movieId", "timestamp": "timestamp"},
    ),
    "u.data": (_TAB, {"user_id": "1", "post_id": "2", "timestamp": "4"}),
}
_MOVIES = {
    "movies.dat": (_COLONS, {"post_id": "1", "text": "2"}),
    "movies.csv": (TableFormat(), {"post_id": "movieId", "text": "title"}),
    "u.item": (_BARS, {"post_id": "1", "text": "2"}),
}
_RECBOLE = {
    "user_id": ("user_id", "user", "uid", "session_id"),
    "post_id": ("item_id", "item", "iid", "product_id", "business_id"),
    "timestamp": ("timestamp", "time"),
    "text": ("title", "item_title", "movie_title", "name", "item_name", "product_name"),
}
_CHALLENGE = {"reply": "21", "repost": "22", "quote": "23", "like": "24"}


class Interactions(NamedTuple):
    """What a recommender set holds.

    Args:
        engagements: The strings `user_id`, `post_id`, `relation` and `timestamp`.
        items: The strings `post_id`, `text` and `lang`; None where there are none.
        files: Files read.
    """

    engagements: ir.Table
    items: ir.Table | None
    files: int


class _Queries(NamedTuple):
    """The same as queries of the engine; without items an empty one."""

    engagements: str
    items: str
    files: int


def read_recommender_set(name: str, path: Path, engine: ibis.BaseBackend) -> Interactions:
    """Reads a set.

    Args:
        name: A key of `RECOMMENDER_SETS`.
        path: The unpacked folder, or its file of interactions; titles are found beside it.
        engine: The engine that reads files.

    Raises:
        FileNotFoundError: Nothing is there.
        InputError: The folder does not hold the files of this set, or one cannot be read.
    """
    found = _READERS[name](path, engine)
    engagements = _view("engagements", found.engagements, engine)
    items = _view("items", found.items, engine) if found.items else None
    return Interactions(engagements, items, found.files)


def _view(name: str, query: str, engine: ibis.BaseBackend) -> ir.Table:
    _connection(engine).execute(f"CREATE TEMP VIEW {name} AS {query}")
    return engine.table(name)


def _movielens(path: Path, engine: ibis.BaseBackend) -> _Queries:
    files = _files(path, r"ratings\.(dat|csv)|u\.data", "ratings.dat, ratings.csv or u.data")
    titles = _beside(path, r"movies\.(dat|csv)|u\.item")
    logs = [_read(file, *_MOVIELENS[file.name], engine) for file in files]
    items = [_read(file, *_MOVIES[file.name], engine) for file in titles]
    return _Queries(_engagements(logs), _items(items), len(files) + len(titles))


def _recbole(path: Path, engine: ibis.BaseBackend) -> _Queries:
    files = _files(path, r".*\.inter", "a file .inter")
    titles = _beside(path, r".*\.item")
    needed = ("user_id", "post_id", "timestamp")
    logs = [_read(file, *_typed(file, needed), engine) for file in files]
    items = [_read(file, *_typed(file, ("post_id", "text")), engine) for file in titles]
    return _Queries(_engagements(logs), _items(items), len(files) + len(titles))


def _lightgcn(path: Path, engine: ibis.BaseBackend) -> _Queries:
    files = [path] if path.is_file() else _files(path, r"(train|valid|val|test)\.txt", "train.txt")
    connection = _connection(engine)
    connection.execute("CREATE TEMP TABLE lists (user_id VARCHAR, post_id VARCHAR)")
    for file in files:
        number = 0
        for block in read_blocks(file):
            connection.register("block", pa.table({"line": block.lines}))
            words = "string_split_regex(trim(line, E' \\t\\r\\n'), '[ \\t]+')"
            ((odd,),) = connection.execute(
                "SELECT count(*) FROM block WHERE regexp_matches(line, '[,:;]')"
            ).fetchall()
            if odd:
                raise InputError(
                    f"{file} is no adjacency list: {odd:,} of {len(block.lines):,} lines from line "
                    f"{number + 1:,} on hold other separators than blanks. Needed are lines of a "
                    "user and all its items; for tables there is `--source table`."
                )
            connection.execute(
                f"INSERT INTO lists SELECT words[1], unnest(words[2:]) FROM "
                f"(SELECT {words} AS words FROM block)"
            )
            connection.unregister("block")
            number += len(block.lines)
    query = f"""
        SELECT user_id, post_id, '{DEFAULT_RELATION}' AS relation, NULL::VARCHAR AS timestamp
        FROM lists
    """
    return _Queries(query, "", len(files))


def _challenge(path: Path, engine: ibis.BaseBackend) -> _Queries:
    files = [path] if path.is_file() else _files(path, r".*\.(tsv|csv|txt)|part-.*", "a table")
    columns = {"user_id": "15", "post_id": "3", **_CHALLENGE}
    table_format = TableFormat(separator="\x01", header="none")
    logs = [_read(file, table_format, columns, engine) for file in files]
    query = " UNION ALL ".join(
        f"SELECT user_id, post_id, '{relation}' AS relation, \"{relation}\" AS timestamp "
        f"FROM (SELECT * EXCLUDE timestamp FROM ({log})) WHERE trim(\"{relation}\") <> ''"
        for log in logs
        for relation in _CHALLENGE
    )
    return _Queries(query, "", len(files))


def _mind(path: Path, engine: ibis.BaseBackend) -> _Queries:
    files = [path] if path.is_file() else _files(path, r"behaviors.*\.tsv", "behaviors.tsv")
    columns = {"user_id": "2", "time": "3", "history": "4", "impressions": "5"}
    logs = [_read(file, _TAB, columns, engine) for file in files]
    seconds = "CAST(epoch(try_strptime(time, '%m/%d/%Y %I:%M:%S %p')) AS BIGINT)::VARCHAR"
    query = " UNION ALL ".join(
        f"""
        SELECT user_id, left(item, length(item) - 2) AS post_id, 'click' AS relation, timestamp
        FROM (SELECT user_id, {seconds} AS timestamp,
            unnest(string_split(coalesce(impressions, ''), ' ')) AS item FROM ({log}))
        WHERE ends_with(item, '-1')
        UNION ALL
        SELECT user_id, item, 'click', NULL FROM
            (SELECT user_id, unnest(string_split(history, ' ')) AS item FROM ({log}))
        WHERE item <> ''
        """
        for log in logs
    )
    titles = _beside(path, r"news.*\.tsv")
    items = [_read(file, _TAB, {"post_id": "1", "text": "4"}, engine) for file in titles]
    return _Queries(query, _items(items, "en"), len(files) + len(titles))


_READERS: Mapping[str, Callable[[Path, ibis.BaseBackend], _Queries]] = {
    "movielens": _movielens,
    "recbole": _recbole,
    "lightgcn": _lightgcn,
    "recsys2020": _challenge,
    "mind": _mind,
}
RECOMMENDER_SETS = tuple(_READERS)


def _files(path: Path, pattern: str, needed: str) -> list[Path]:
    """The file, or those of a folder whose names match."""
    found = [file for file in list_files(path) if re.fullmatch(pattern, file.name)]
    if not found:
        names = ", ".join(file.name for file in list_files(path)[:10]) or "none"
        raise InputError(
            f"{path} holds no interactions of this set: needed is {needed}; found are {names}. "
            "For other tables there is `--source table --columns user_id=... post_id=...`."
        )
    return found


def _beside(path: Path, pattern: str) -> list[Path]:
    """The files of the folder, or beside the file, whose names match."""
    folder = path if path.is_dir() else path.parent
    places = list_files(folder) if path.is_dir() else sorted(folder.iterdir())
    return [file for file in places if re.fullmatch(pattern, file.name)]


def _read(
    file: Path, table_format: TableFormat, columns: Mapping[str, str], engine: ibis.BaseBackend
) -> str:
    """A query of these columns, and of `timestamp`, null where it is not among them."""
    if file.suffix in (".dat", ".item") and not _is_utf8(file):
        # The older sets of MovieLens; the newer ones are UTF-8.
        table_format = TableFormat(
            table_format.separator, table_format.quoting, table_format.header, "latin-1"
        )
    table = read_table(
        file, list(columns), connection=engine, columns=columns, table_format=table_format
    )
    timestamp = "" if "timestamp" in columns else ", NULL::VARCHAR AS timestamp"
    return f"SELECT *{timestamp} FROM ({engine.compile(table)})"


def _is_utf8(file: Path) -> bool:
    try:
        for _ in read_blocks(file):
            pass
    except ValueError:
        return False
    return True


def _typed(file: Path, names: tuple[str, ...]) -> tuple[TableFormat, dict[str, str]]:
    """The columns of a file of RecBole, whose names go before a colon."""
    table_format = TableFormat(separator="\t")
    there = {name.partition(":")[0]: name for name in column_names(file, table_format)}
    columns = {
        ours: there[known] for ours in names for known in _RECBOLE[ours][::-1] if known in there
    }
    for ours in names:
        if ours not in columns and ours != "timestamp":
            raise InputError(
                f"{file} has none of the columns {', '.join(_RECBOLE[ours])} of RecBole; found are "
                f"{', '.join(there.values())}. Say which they are: `--source table --separator "
                f"'\\t' --columns {ours}=...`."
            )
    return table_format, columns


def _engagements(logs: list[str]) -> str:
    return " UNION ALL ".join(
        f"SELECT user_id, post_id, '{DEFAULT_RELATION}' AS relation, timestamp FROM ({log})"
        for log in logs
    )


def _items(items: list[str], language: str | None = None) -> str:
    lang = f"'{language}'" if language else "NULL::VARCHAR"
    return " UNION ALL ".join(f"SELECT post_id, text, {lang} AS lang FROM ({i})" for i in items)


def _connection(engine: ibis.BaseBackend) -> Any:
    return getattr(engine, "con")  # noqa: B009 - DuckDB's own, which Ibis does not type
