"""A benchmark on the Hub in one commit: Parquet files and their card, checked as models are.

Nothing goes out that tells of a person by name or id: columns must be those of a benchmark, or be
named, and what they hold is looked at.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import CardData

from twhin_hf.credentials import HINT, ISSUED
from twhin_hf.errors import InputError, reading
from twhin_hf.files import read_text
from twhin_hf.hub.card_metadata import CardMetadata
from twhin_hf.hub.cards import check_card
from twhin_hf.hub.client import CARD, Push, publish
from twhin_hf.hub.guard import check_files, check_link, check_notes, parquet_errors
from twhin_hf.hub.sections import merge_cards, read_card
from twhin_hf.privacy.keys import HASH_PATTERN
from twhin_hf.privacy.people import names_people

if TYPE_CHECKING:
    import pyarrow as pa

_PLACEHOLDER = "<repository or folder>"
_OF_USERS = ("user_id", "user_ids", "userid", "author_id", "author", "did", "handle", "username")
_KNOWN = ("id", "text", "lang", "label", "user")
"""Columns of the hashtag and the engagement benchmark."""

_PLAIN_ID = f"^({HASH_PATTERN}|[0-9]+)$"
_ROWS_PER_BLOCK = 10_000


def plan_dataset_push(
    folder: str | Path,
    repo_id: str,
    card: str | None = None,
    allow_columns: Sequence[str] = (),
    metadata: CardMetadata | None = None,
) -> Push:
    """What a push would publish: the card and the Parquet files that its configs name.

    Asks no network.

    Args:
        folder: That `twhin-hf data hashtag` or `data engagement` has written.
        repo_id: `owner/name`.
        card: That is there already; by default the folder's own is all of it.
        allow_columns: Columns that go out though no benchmark of ours has them; `id` for ids of
            posts that are neither keyed hashes nor numbers.
        metadata: For the card: what no folder tells, as the licence.

    Raises:
        FileNotFoundError: No such folder, or no card in it.
        InputError: No Parquet file, one that the card names and that is not there, a file that is
            none or a link out of the folder, a column that is unknown or holds names or ids of
            people, a path of this machine, a token, a card that does not read back, or data sets
            that the data are made of, which no card of data names.
    """
    folder = Path(folder)
    if not (folder / CARD).is_file():
        raise FileNotFoundError(
            f"{folder} has no {CARD}, so it is no finished data set. Write it with the command "
            "that makes the benchmark."
        )
    names = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
    tables = {name: path for name, path in names.items() if name.endswith(".parquet")}
    if not tables:
        raise InputError(f"{folder} holds no Parquet file; needed is one a split")
    for name, path in {CARD: folder / CARD, **tables}.items():
        check_link(name, path)
    own = _told(read_text(folder / CARD).replace(_PLACEHOLDER, repo_id), metadata)
    files: dict[str, bytes | Path] = {
        name: tables[name] for name in _named_tables(folder, own, tables)
    }
    for name in files:
        check_table(name, tables[name], allow_columns)
    text = merge_cards(card, own) if card else own
    check_card(text)
    files[CARD] = text.encode()
    check_files({CARD: files[CARD]})
    return Push(repo_id, files, sorted(names.keys() - files.keys()))


def push_dataset(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    card: str | None = None,
    token: str | None = None,
    message: str = "Upload the benchmark",
    allow_columns: Sequence[str] = (),
    metadata: CardMetadata | None = None,
) -> Push:
    """Publishes a benchmark in one commit; what a person has written into its card stays.

    Args:
        folder: As `plan_dataset_push` takes.
        repo_id: `owner/name`; made where there is none. A name alone is one of the token's owner.
        private: Only its owners may see it.
        card: To begin with, where the repository has none, such as one of `model_cards/`.
        token: Token with the right to write; by default the one that `hf auth login` has kept.
        message: Commit message.
        allow_columns: As `plan_dataset_push` takes.
        metadata: As `plan_dataset_push` takes.

    Raises:
        FileNotFoundError: No such folder, or no card in it.
        InputError: Something that must not go out, no token or one that may not write, a public
            repository where a private one is asked for, or a Hub that does not answer.
    """
    return publish(
        lambda name, there: plan_dataset_push(folder, name, there, allow_columns, metadata),
        repo_id,
        card,
        lambda path: path.endswith(".parquet"),
        message,
        repo_type="dataset",
        private=private,
        token=token,
    )


def _named_tables(folder: Path, text: str, tables: Collection[str]) -> list[str]:
    """Those of a folder's Parquet files that its card's `configs` name; all, where it has none.

    Raises:
        InputError: The configs are none of the Hub's, or name what is not there.
    """
    configs = read_card(text).data.get("configs")
    if not configs:
        return sorted(tables)
    with reading(folder / CARD, "Write the data set again, or mend the configs of its card."):
        patterns = [posixpath.normpath(path) for config in configs for path in _paths_of(config)]
    found: set[str] = set()
    for pattern in patterns:
        named = [pattern] if pattern in tables else [*filter(_glob(pattern).fullmatch, tables)]
        if not named:
            raise InputError(
                f"the configs of {folder / CARD} name {pattern}, and {folder} holds no such "
                "Parquet file (links to folders are not followed). Write the data set again, or "
                "mend the configs"
            )
        found.update(named)
    return sorted(found)


def _glob(pattern: str) -> re.Pattern[str]:
    """A pattern as the Hub reads it: `*` stays in a folder, `**` does not.

    Example:
        >>> glob = _glob("**/train-*.parquet")
        >>> [bool(glob.fullmatch(name)) for name in ("train-0.parquet", "a/train-1.parquet")]
        [True, True]
    """
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    words = re.split(r"(\*\*/|\*\*|[*?])", pattern)
    return re.compile("".join(parts.get(word, re.escape(word)) for word in words))


def _paths_of(config: dict[str, Any]) -> Iterator[str]:
    """Paths and patterns of a config of the Hub's, in each form that it knows."""
    files = config.get("data_files") or "**"
    for entry in files if isinstance(files, list) else [files]:
        paths = entry["path"] if isinstance(entry, dict) else entry
        for path in paths if isinstance(paths, list) else [paths]:
            yield posixpath.join(config.get("data_dir", ""), path)


def _told(text: str, metadata: CardMetadata | None) -> str:
    """The card with the licence and languages that were given."""
    if metadata is None:
        return text
    if metadata.datasets:
        raise InputError("--datasets goes with --model: it names what a model was trained on")
    given = {"license": metadata.license, "language": metadata.languages}
    card = read_card(text)
    card.data = CardData(**card.data.to_dict() | {k: value for k, value in given.items() if value})
    return str(card)


def check_table(name: str, path: Path, allowed: Sequence[str] = ()) -> None:
    """Checks a table that is to be published.

    Args:
        name: Of the file, for the message.
        path: The file.
        allowed: Columns that may go out though no benchmark has them.

    Raises:
        InputError: It is no Parquet file, has another column, or tells of people by name or id.
    """
    import pyarrow.parquet as pq

    with parquet_errors(name, "write the data set again"), pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        for field in schema:
            _check_column(name, field, allowed)
        check_notes(name, file)
        row = 0
        for block in file.iter_batches(
            _ROWS_PER_BLOCK, columns=[f.name for f in schema if _is_text(f.type)]
        ):
            for column in block.schema.names:
                _check_values(name, column, block[column], row, allowed)
            row += len(block)


def _check_column(name: str, field: pa.Field, allowed: Sequence[str]) -> None:
    """Raises InputError where a column must not go out, whatever it holds."""
    import pyarrow.types as types

    column, kind = field.name, field.type
    if column.lower() in _OF_USERS or (column == "user" and not types.is_nested(kind)):
        raise InputError(
            f"{name} holds ids of users in the column {column!r}, which never go out; write the "
            "data set with the command that makes the benchmark"
        )
    if column not in (*_KNOWN, *allowed):
        raise InputError(
            f"{name} has the column {column!r}, which no benchmark has: it may tell of people. "
            f"Take it out; or, if it tells nothing of them, allow it (`--allow_columns {column}`)"
        )
    is_vector = (
        types.is_list(kind) or types.is_fixed_size_list(kind) or types.is_large_list(kind)
    ) and types.is_floating(kind.value_type)
    if not is_vector and (types.is_nested(kind) or types.is_binary(kind) or column == "user"):
        raise InputError(
            f"{name} holds {kind} in the column {column!r}, which cannot be looked through; needed "
            "are texts, numbers or vectors"
        )


def _check_values(
    name: str, column: str, values: pa.Array, row: int, allowed: Sequence[str]
) -> None:
    """Raises InputError where texts name people, or where it cannot be told whether ids do."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = values.cast(pa.string())
    _check_people(name, column, values, row)
    _check_tokens(name, column, values, row)
    if column == "id" and column not in allowed:
        is_plain = pc.fill_null(pc.match_substring_regex(values, _PLAIN_ID), True)
        if (first := pc.index(is_plain, False).as_py()) >= 0:
            raise InputError(
                f"{name} holds ids that are neither keyed hashes nor numbers (the first in row "
                f"{row + first + 1:,}), and may name the author of a post. Write the data set with "
                "hashed ids (`twhin-hf data hashtag-build`); or, if they name nobody, allow them "
                "(`--allow_columns id`)",
                faq="push-refused",
            )


def _check_people(name: str, column: str, values: pa.Array, row: int) -> None:
    import pyarrow.compute as pc

    first = pc.index(names_people(values), True).as_py()
    if first >= 0:
        raise InputError(
            f"{name} holds names or ids of people in the column {column!r} (the first in row "
            f"{row + first + 1:,}): @names, DIDs, addresses or profiles. Write the data set with "
            "people masked (`--mask_people`) and ids hashed",
            faq="push-refused",
        )


def _check_tokens(name: str, column: str, values: pa.Array, row: int) -> None:
    """Raises InputError where texts hold a token of an issuer's form.

    Posts may well speak of folders and passwords: neither is looked for.
    """
    import pyarrow.compute as pc

    hints = pc.indices_nonzero(pc.fill_null(pc.match_substring_regex(values, HINT), False))
    for place in hints.to_pylist():
        if found := ISSUED.search(values[place].as_py()):
            raise InputError(
                f"{name} holds what looks like a token in the column {column!r} (row "
                f"{row + place + 1:,}: {found.group()[:6]}…). Take the row out, and have the token "
                "revoked",
                faq="push-refused",
            )


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
