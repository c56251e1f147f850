"""Texts for post ids: benchmarks publish ids alone, and whoever may holds the texts.

X/Twitter's own exports are read as they are, JSON lines with a post a line (API v1.1 and v2) or a
response a line (v2, its posts under `data` and `includes`), and so are tables of `post_id`, `text`.
"""

from __future__ import annotations

import gzip
import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.tables import is_blank, open_engine, read_errors, read_table

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir

_JSON_ENDINGS = (".json", ".jsonl", ".ndjson")
_LINES_LOOKED_AT = 100
_PLATFORMS = {
    "Mastodon": {"content", "account"},
    "Bluesky": {"did"},
    "Bluesky (records)": {"record", "uri"},
    "Reddit": {"subreddit"},
}
# Posts of API v1.1 keep a long text in `full_text`; those of v2 in `note_tweet`.
_COLUMNS = {
    "id": "VARCHAR",
    "id_str": "VARCHAR",
    "text": "VARCHAR",
    "full_text": "VARCHAR",
    "extended_tweet": "STRUCT(full_text VARCHAR)",
    "note_tweet": "STRUCT(text VARCHAR)",
    "data": "JSON",
    "includes": "STRUCT(tweets JSON)",
}
_POSTS_OF_LINES = """
    SELECT coalesce(id_str, id) AS post_id,
        coalesce(extended_tweet.full_text, full_text, note_tweet.text, text) AS text
    FROM exported WHERE data IS NULL
    UNION ALL
    SELECT post->>'$.id' AS post_id, coalesce(post->>'$.note_tweet.text', post->>'$.text') AS text
    FROM (
        SELECT unnest(CASE json_type(part) WHEN 'ARRAY' THEN from_json(part, '["JSON"]')
            ELSE [part] END) AS post
        FROM (SELECT unnest([data, includes.tweets]) AS part FROM exported)
        WHERE part IS NOT NULL
    )
"""


def find_texts(
    source: str | Path, ids: pa.Array, *, memory_limit: str = "1GB", threads: int | None = None
) -> pa.Table:
    """The posts of a hydration source that are asked for.

    Args:
        source: A file or a folder: JSON lines (`.jsonl`, `.ndjson`, `.json`, also with `.gz`) of
            X/Twitter's API v1.1 or v2, or a table (Parquet, CSV, TSV, JSON lines) with columns
            `post_id` and `text`. Read once, in blocks.
        ids: Distinct ids, strings.
        memory_limit: Most memory of the engine.
        threads: Threads of the engine; all cores where it is None.

    Returns:
        String columns `post_id` and `text`, a row a post that was found and has a text, in no
        order; of several texts of a post the longest.

    Raises:
        FileNotFoundError: The source is missing or holds nothing to read.
        ValueError: The files hold something else (posts of another platform, say), cannot be
            read, or hold none of the ids.
    """
    source = Path(source)
    files = _json_files(source)
    exported = bool(files) and _is_export(files)
    with open_engine(memory_limit, threads) as engine, read_errors(source):
        if exported:
            posts = _read_export(engine, files)
        else:
            posts = read_table(source, ["post_id", "text"], connection=engine, option="")
        import ibis

        wanted = ibis.memtable(pa.table({"post_id": ids.cast(pa.string())}))
        found = posts.filter(~is_blank(posts.text)).semi_join(wanted, "post_id")
        longest = found.group_by("post_id").agg(text=found.text.argmax(found.text.length()))
        table = longest.to_pyarrow()
        if not len(table):
            _explain_nothing_found(posts, source, ids)
    return table


def _json_files(source: Path) -> list[Path]:
    if not source.exists():
        raise FileNotFoundError(f"There is no {source}. Give the file or folder with the texts.")
    files = sorted(source.rglob("*")) if source.is_dir() else [source]
    return [
        file
        for file in files
        if Path(file.name.lower().removesuffix(".gz")).suffix in _JSON_ENDINGS and file.is_file()
    ]


def _is_export(files: list[Path]) -> bool:
    """Whether JSON lines are X/Twitter's (True) or a table with `post_id` and `text` (False)."""
    kinds = {file: _kind(file) for file in files}
    if len(set(kinds.values())) > 1:
        table = next(file for file, kind in kinds.items() if not kind)
        raise ValueError(
            f"{table} is a table with post_id and text, other files beside it are posts as an API "
            "exports them. Give one kind in a folder."
        )
    return kinds[files[0]]


def _kind(file: Path) -> bool:
    """Whether a file is an export, by the first lines that say so.

    Raises:
        ValueError: It is neither an export nor a table.
    """
    found: list[str] = []
    opener = gzip.open if file.name.lower().endswith(".gz") else open
    try:
        with opener(file, "rt", encoding="utf-8-sig") as lines:
            for line in islice(lines, _LINES_LOOKED_AT):
                post = json.loads(line) if line.strip() else {}
                if not isinstance(post, dict):
                    raise ValueError(f"a line holds {type(post).__name__}, not an object")
                keys = set(post)
                found = found or sorted(keys)
                if {"post_id", "text"} <= keys:
                    return False
                if _is_post(keys):
                    return True
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"{file} is not JSON lines ({error}). Needed is one JSON object a line; write a JSON "
            "array as lines first (`jq -c '.[]'`)."
        ) from error
    others = [f"; it looks like {name}" for name, keys in _PLATFORMS.items() if keys <= set(found)]
    raise ValueError(
        f"{file} holds no posts of X/Twitter{''.join(others[:1])}. Its "
        f"keys are {', '.join(found[:20]) or 'none'}; needed are id (or id_str) with text or "
        "full_text, or data (an API v2 response), or a table with post_id and text."
    )


def _is_post(keys: set[str]) -> bool:
    """Whether these are the keys of a post of X/Twitter or of a response with some."""
    posts = "data" in keys or bool(keys & {"id", "id_str"} and keys & {"text", "full_text"})
    return posts and not any(other <= keys for other in _PLATFORMS.values())


def _read_export(engine: ibis.BaseBackend, files: list[Path]) -> ir.Table:
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in _COLUMNS.items())
    paths = ", ".join("'{}'".format(str(file).replace("'", "''")) for file in files)
    engine.raw_sql(
        f"CREATE VIEW exported AS SELECT * FROM read_json([{paths}], "
        f"format='newline_delimited', maximum_object_size=67108864, columns={{{columns}}})"
    )
    engine.raw_sql(f"CREATE VIEW posts AS {_POSTS_OF_LINES}")
    return engine.table("posts")


def _explain_nothing_found(posts: ir.Table, source: Path, ids: pa.Array) -> None:
    given = posts.limit(1).to_pyarrow()["post_id"]
    example = str(given[0]) if len(given) else "none"
    raise ValueError(
        f"{source} has a text for none of the {len(ids):,} posts; an id in it is {example!r}, one "
        f"of those asked for {str(pc.min(ids))!r}. Both must be the ids of the same platform."
    )
