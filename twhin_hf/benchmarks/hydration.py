"""Texts for post ids: benchmarks publish ids alone, and whoever may holds the texts.

X/Twitter's own exports are read as they are, JSON lines with a post a line (API v1.1 and v2), a
response a line (v2, its posts under `data` and `includes`) or whatever is around posts, and so are
tables of `post_id`, `text`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.errors import InputError
from twhin_hf.files import list_files
from twhin_hf.lines import read_blocks, shorten
from twhin_hf.network.sources import x
from twhin_hf.network.sources.log_format import Origin
from twhin_hf.network.sources.reading import parse_lines
from twhin_hf.network.sources.unwrapping import find_events
from twhin_hf.tables import first_objects, is_blank, open_engine, read_errors, read_table

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir

_JSON = re.compile(r"\.(?:json|jsonl|ndjson)(?:\.(?:gz|bz2|xz|zst))?$")
_PLATFORMS = {
    "Mastodon": {"content", "account"},
    "Bluesky": {"did"},
    "Bluesky (records)": {"record", "uri"},
    "Reddit": {"subreddit"},
}
_ALL_V2 = x.FORMAT.tables["all_v2"]
_TEXTS = f"SELECT post_id, text FROM ({x.FORMAT.tables['tweets']}) WHERE text IS NOT NULL"


def find_texts(
    source: str | Path, ids: pa.Array, *, memory_limit: str = "1GB", threads: int | None = None
) -> pa.Table:
    """The posts of a hydration source that are asked for.

    Args:
        source: A file or a folder: JSON lines (`.jsonl`, `.ndjson`, `.json`, also with `.gz`,
            `.bz2`, `.xz` or `.zst`) of X/Twitter's API v1.1 or v2, or a table (Parquet, CSV, TSV,
            JSON lines) with columns `post_id` and `text`. Read once, in blocks.
        ids: Distinct ids, strings.
        memory_limit: Most memory of the engine.
        threads: Threads of the engine; all cores where it is None.

    Returns:
        String columns `post_id` and `text`, one row per post that was found and has a text, in no
        order; of several texts of a post the longest.

    Raises:
        FileNotFoundError: The source is missing or holds nothing to read.
        InputError: The files hold something else (posts of another platform, say), cannot be
            read, or hold none of the ids.
    """
    source = Path(source)
    files = _json_files(source)
    exported = bool(files) and _is_export(files)
    with open_engine(memory_limit, threads) as engine, read_errors(source, has_memory_limit=False):
        if exported:
            posts, examples = _read_export(engine, files, ids)
        else:
            posts = examples = read_table(source, ["post_id", "text"], connection=engine, option="")
        import ibis

        wanted = ibis.memtable(pa.table({"post_id": ids.cast(pa.string())}))
        found = posts.filter(~is_blank(posts.text)).semi_join(wanted, "post_id")
        longest = found.group_by("post_id").agg(text=found.text.argmax(found.text.length()))
        table = longest.to_pyarrow()
        if not len(table):
            _explain_nothing_found(examples, source, ids)
    return table


def _json_files(source: Path) -> list[Path]:
    if not source.exists():
        raise FileNotFoundError(f"There is no {source}. Give the file or folder with the texts.")
    return [file for file in list_files(source) if _JSON.search(file.name.lower())]


def _is_export(files: list[Path]) -> bool:
    """Whether JSON lines are X/Twitter's (True) or a table with `post_id` and `text` (False)."""
    kinds = {file: _kind(file) for file in files}
    if len(set(kinds.values())) > 1:
        table = next(file for file, kind in kinds.items() if not kind)
        raise InputError(
            f"{table} is a table with post_id and text, other files beside it are posts as an API "
            "exports them. Give one kind in a folder."
        )
    return kinds[files[0]]


def _kind(file: Path) -> bool:
    """Whether a file is an export, by the first lines that say so.

    Raises:
        InputError: It is neither an export nor a table.
    """
    found: list[str] = []
    for post in first_objects(file):
        keys = set(post)
        found = found or sorted(keys)
        if {"post_id", "text"} <= keys:
            return False
        if _is_post(keys, post, file):
            return True
    others = [f"; it looks like {name}" for name, keys in _PLATFORMS.items() if keys <= set(found)]
    raise InputError(
        f"{file} holds no posts of X/Twitter{''.join(others[:1])}. Its "
        f"keys are {', '.join(found[:20]) or 'none'}; needed are id (or id_str) with text or "
        "full_text, or data (an API v2 response), or a table with post_id and text."
    )


def _is_post(keys: set[str], item: dict[str, Any], file: Path) -> bool:
    """Whether this is a post of X/Twitter or holds some."""
    if any(other <= keys for other in _PLATFORMS.values()):
        return False
    posts = "data" in keys or bool(keys & {"id", "id_str"} and keys & {"text", "full_text"})
    return posts or any(True for _ in find_events(item, x.FORMAT, _origin(file)))


def _origin(file: Path) -> Origin:
    """Whose an archive is does not matter to its texts."""
    return Origin(file, user_id="")


def _read_export(
    engine: ibis.BaseBackend, files: list[Path], ids: pa.Array
) -> tuple[ir.Table, ir.Table]:
    """The posts of these ids, and examples of all posts."""
    connection = getattr(engine, "con")  # noqa: B009 - DuckDB's own, which Ibis does not type
    connection.register("wanted", pa.table({"post_id": ids.cast(pa.string())}))
    connection.execute("CREATE TEMP TABLE found (post_id VARCHAR, text VARCHAR)")
    connection.execute("CREATE TEMP TABLE examples AS FROM found")
    for file in files:
        num_lines = 0
        for block in read_blocks(file):
            bad, _ = parse_lines(block.lines, x.FORMAT, _origin(file), num_lines, connection)
            if len(bad):
                row = bad[0].as_py()
                raise InputError(
                    f"{file} cannot be read: line {num_lines + row + 1:,} is no JSON: "
                    f"{shorten(block.lines[row].as_py())}. Files must be whole; mend or drop it."
                )
            connection.execute(
                f"CREATE OR REPLACE TEMP TABLE all_v2 AS {x.FORMAT.tables['all_v2']}"
            )
            connection.execute(f"INSERT INTO found {_TEXTS} AND post_id IN (FROM wanted)")
            if not num_lines:
                connection.execute(f"INSERT INTO examples {_TEXTS} LIMIT 1")
            num_lines += len(block.lines)
    return engine.table("found"), engine.table("examples")


def _explain_nothing_found(examples: ir.Table, source: Path, ids: pa.Array) -> None:
    given = examples.limit(1).to_pyarrow()["post_id"]
    example = str(given[0]) if len(given) else "none"
    raise InputError(
        f"{source} has a text for none of the {len(ids):,} posts; an id in it is {example!r}, one "
        f"of those asked for {str(pc.min(ids))!r}. Both must be the ids of the same platform.",
        faq="hydration",
    )
