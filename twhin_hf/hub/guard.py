"""What must not leave the house: places of this machine, secrets, people, pickles, links."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from twhin_hf.credentials import SECRET, is_secret
from twhin_hf.errors import InputError
from twhin_hf.privacy.people import SUBSTITUTE, named_person, names_people

_BEFORE = (
    r"""(?:^|(?<=[\s"'`(\[{<=,;:|“„‟‘‚‛«‹–—―→（「『《【：，、；。])|(?<=[”’»])(?<![^\s(（][”’»])"""
    r"|(?<=\b_)|(?<=\b__))"
)
"""Where a word begins: also after marks of typography, and in `_emphasis_`."""

_ROOTS = (
    "afs archive beegfs bigdata cache ceph cephfs cluster content cvmfs data dbfs dev disk disks "
    "efs eos etc export ext fast fs fsx global gpfs groups gscratch home homes hdd kaggle local "
    "lustre media mnt mount nas net nethome network nfs nobackup opt private proc proj project "
    "projects pscratch raid root run scratch share shared srv ssd storage sw sys teamspace tmp "
    "user users usr var vast vol volume volumes wekafs work workdir workspace"
)
_PART = r"[\w.@%+~-]"
_UNKNOWN = rf"""
    (?<![\w.)\]*]["'`])(?<!\]\()(?<!\]\(<)(?<!\]:\ )(?<!href=)(?<!(?:href|.src)=["'])
    (?-i:(?<!GET\ )(?<!PUT\ )(?<!POST\ )(?<!PATCH\ )(?<!DELETE\ ))
    /(?!(?:api|app|bin|v\d+)/)(?=[\d.-]*[^\W\d]){_PART}+/{_PART}{{2,}}/[\w.$~]
"""
"""Three parts or more below any other folder: of two, links, routes and words have as many. No link
of a page to its own site, no route, no program, nothing between words (`"he"/she/they`)."""

_END = r"[^\s\"'`)\]]*"
_PLACE = re.compile(
    rf"""
    \b(?:file|s3a?|gs|hdfs|abfss?|wasbs?|dbfs|nfs|smb|afp|sftp|ssh|scp):/{_END}
    |(?:{_BEFORE}|(?<=>))/(?:{"|".join(_ROOTS.split())})\d*/{_END}
    |{_BEFORE}{_UNKNOWN}{_END}
    |(?<=\*)/(?:(?:home|users)/{_END}|{_PART}+(?:/{_PART}+)+(?<=[^\W_])(?=\*+(?![\w./*-])))
    |{_BEFORE}(?<!:)//[\w-]*\d[\w-]*/[\w.$~]{_END}
    |\$\{{?(?:HOME|P?SCRATCH|TMPDIR|USERPROFILE)\b\}}?[/\\]{_END}
    |%(?:USERPROFILE|HOMEPATH|(?:LOCAL)?APPDATA|TEMP)%\\{_END}
    |(?<![A-Za-z0-9])[A-Za-z]:(?:\\+|/(?!/))[\w.$%~-]{_END}
    |(?<![\\\w])\\\\+[\w.-]+\\+[\w.$-]+{_END}
    |(?<![\w/])~(?:[a-z_][\w-]*)?/{_END}
    |(?<![\w.])\.\.[/\\]{_END}
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""A path in any text: of a machine, of Windows, of a share, of a home."""

_WHOLE_PLACE = re.compile(r"/(?![ru]/[\w-]+/?$)[^\s/]+(?:/[^\s/]+)+/?|/[\w.-]+/")
"""A value that is an absolute path as a whole, whatever it begins with; /r/name is none."""

_USER_KEYS = ("user_id", "user_ids", "userid", "userids", "author_id", "author_ids")
_USERS = re.compile(rf"""["'](?:{"|".join(_USER_KEYS)})["']\s*:\s*[\[{{"'\d]""", re.IGNORECASE)
_VOCABULARY = ("vocab.txt", "vocab.json", "merges.txt", "bpe.codes", "*.model")
_TEXTS = (".md", ".txt", ".py", ".jinja", ".yaml", ".yml", ".csv", ".tsv", ".cff", "LICENSE")


def check_files(files: Mapping[str, bytes | Path]) -> None:
    """Checks what is about to leave the house.

    Args:
        files: Contents, or the files that hold them, by path in the repository.

    Raises:
        InputError: A link out of its folder, a pickle, vectors of a network, an optimizer's state,
            ids of users, NaN or infinity in JSON, a path of a machine, an account of a person, or
            what looks like a token, key or password; it says where.
    """
    for name, content in files.items():
        if isinstance(content, Path):
            check_link(name, content)
        if name.endswith(".safetensors"):
            _check_tensors(name, content)
        elif any(fnmatch(name, pattern) for pattern in _VOCABULARY):
            continue
        elif name.endswith(".json"):
            _check_json(name, _bytes(content))
        elif name.endswith(".parquet"):
            _check_parquet(name, content)
        elif name.endswith(_TEXTS):
            check_text(name, _decoded(name, _bytes(content)))


def people_in_vocabulary(content: bytes | Path) -> list[str]:
    """Tokens that are names of people, such as `▁@ana`.

    A tokenizer learns them from posts that name the same people again and again.

    Args:
        content: Of a tokenizer.json, or its file.

    Example:
        >>> people_in_vocabulary(b'{"model": {"vocab": [["\\u2581@ana", -4.1], ["@user", -3.0]]}}')
        ['▁@ana']
    """
    vocabulary = json.loads(_bytes(content)).get("model", {}).get("vocab", [])
    tokens = [row[0] if isinstance(row, list) else row for row in vocabulary]
    texts = [token.replace("▁", " ").replace("Ġ", " ").strip() for token in tokens]
    found = names_people(pa.array(texts, pa.string())).to_pylist()
    return [
        token
        for token, text, is_name in zip(tokens, texts, found, strict=True)
        if is_name and not SUBSTITUTE.startswith(text.lower())
    ]


def check_text(name: str, text: str) -> None:
    """Checks a text that is to be published.

    Args:
        name: Of the file, for the message.
        text: Its content.

    Raises:
        InputError: A path of a machine, a secret, an account of a person or ids of users; it says
            in which line.
    """
    for find, refuse in (
        (_PLACE.search, _refuse_place),
        (SECRET.search, _refuse_secret),
        (named_person, _refuse_person),
    ):
        if found := find(text):
            refuse(f"{name}, line {text.count(chr(10), 0, found.start()) + 1},", found.group())
    if _USERS.search(text):
        _refuse_users(name)


def read_public_json(name: str, content: bytes) -> Any:
    """JSON that may be published: no NaN, no infinity.

    Args:
        name: Of the file, for the message.
        content: Its bytes.

    Raises:
        InputError: It is no JSON of the standard.
    """

    def refuse(number: str) -> NoReturn:
        raise InputError(
            f"{name} holds {number}, for which JSON has no word: a figure that could not be "
            "computed. Mend what wrote it, or take it out"
        )

    try:
        return json.loads(_decoded(name, content), parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise InputError(f"{name} is not JSON: {error}; write it again") from error


def _check_json(name: str, content: bytes) -> None:
    value = read_public_json(name, content)
    if name == "tokenizer.json" and isinstance(value, dict):
        # Pieces of words may look like anything.
        value = {key: item for key, item in value.items() if key not in ("model", "added_tokens")}
    _check_value(name, value)


def _check_parquet(name: str, content: bytes | Path) -> None:
    """Raises InputError where notes must not go out; rows are for whoever knows the columns."""
    source = pa.BufferReader(content) if isinstance(content, bytes) else content
    with parquet_errors(name, "write it again"), pq.ParquetFile(source) as file:
        check_notes(name, file)


@contextmanager
def parquet_errors(name: str, advice: str) -> Iterator[None]:
    """Turns what is said of a damaged Parquet file into an InputError; the system's errors pass."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        if getattr(error, "errno", None):
            raise
        raise InputError(f"{name} is no Parquet file ({error}); {advice}") from error


def check_notes(name: str, file: pq.ParquetFile) -> None:
    """Checks what a Parquet file says beside its rows.

    Args:
        name: Of the file, for the message.
        file: That is open.

    Raises:
        InputError: As `check_files`, or a name or id of a person in any form.
    """
    for key, note in _notes(file.schema_arrow, file.metadata.metadata or {}):
        _check_note(f"{name}, in its metadata", key)
        _check_note(f"{name}, in its metadata {key.decode()!r}", note)


def _notes(schema: pa.Schema, of_file: dict[bytes, bytes]) -> Iterator[tuple[bytes, bytes]]:
    """What a Parquet file says of itself, of its columns and of their items."""
    items = [field.type.value_field for field in schema if hasattr(field.type, "value_field")]
    for notes in (of_file, schema.metadata, *(field.metadata for field in [*schema, *items])):
        # Arrow's own is the schema, whose notes are here.
        yield from ((key, note) for key, note in (notes or {}).items() if key != b"ARROW:schema")


def _check_note(name: str, content: bytes) -> None:
    """Raises InputError where a note must not go out, JSON or any other text."""
    text = _decoded(name, content)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        check_text(name, text)
        value = text
    _check_value(name, value)
    texts = [found.encode(errors="replace").decode() for _, found, _ in _strings(value)]
    for found, is_name in zip(texts, names_people(pa.array(texts, pa.string())), strict=True):
        if is_name.as_py():
            _refuse_person(f"{name},", found, "")


def _check_value(name: str, value: Any) -> None:
    """Raises InputError where a text or a member of a JSON value must not go out."""
    for key, text, is_name in _strings(value):
        where = f"{name}, at {key}," if key else f"{name},"
        if found := _PLACE.search(text) or _WHOLE_PLACE.fullmatch(text):
            _refuse_place(where, found.group())
        if found := SECRET.search(text):
            _refuse_secret(where, found.group())
        if not is_name and is_secret(key.rpartition(".")[2], text):
            _refuse_secret(where, text)
        if found := named_person(text):
            _refuse_person(where, found.group())
    if _has_users(value):
        _refuse_users(name)


def _strings(value: Any, at: str = "") -> Iterator[tuple[str, str, bool]]:
    """Where each text of a JSON value stands, the text, and whether it is a member's name."""
    if isinstance(value, str):
        yield at, value, False
    elif isinstance(value, dict):
        for key, item in value.items():
            yield at, key, True
            yield from _strings(item, f"{at}.{key}" if at else key)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, at)


def _has_users(value: Any) -> bool:
    if isinstance(value, dict):
        named = any(key.lower() in _USER_KEYS and item for key, item in value.items())
        return named or any(map(_has_users, value.values()))
    return isinstance(value, list) and any(map(_has_users, value))


def _check_tensors(name: str, content: bytes | Path) -> None:
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load

    metadata: dict[str, str] = {}
    try:
        if isinstance(content, bytes):
            keys = set(load(content))
        else:
            with safe_open(content, framework="np") as tensors:
                keys, metadata = set(tensors.keys()), tensors.metadata() or {}
    except SafetensorError as error:
        raise InputError(
            f"{name} is no safetensors file ({error}); save the model again"
        ) from error
    states = sorted(key for key in keys if "exp_avg" in key or "momentum_buffer" in key)
    if states or keys <= {"vectors"}:
        what = "the state of an optimizer" if states else "vectors of a network"
        raise InputError(f"{name} holds {what}, which never goes out; save the model alone")
    if unknown := sorted(metadata.keys() - {"format"}):
        raise InputError(
            f"the header of {name} holds {unknown}, which no model needs and nobody has looked at; "
            "load the model and save it again"
        )


def check_link(name: str, path: Path) -> None:
    """Checks that a file lies in its folder, and no folder on the way is a link out of it.

    Args:
        name: Its path in the folder.
        path: The file.

    Raises:
        InputError: It lies elsewhere.
    """
    folder = path.parents[len(PurePosixPath(name).parts) - 1]
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{name} is a link to a file outside of {folder}, which nobody meant to publish; copy "
            "the file into the folder in its place",
            faq="push-refused",
        )


def _bytes(content: bytes | Path) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def _decoded(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is no text in UTF-8 ({error}); write it again") from error


def _refuse_place(where: str, found: str) -> NoReturn:
    raise InputError(
        f"{where} names a path of this machine: {found[:200]!r}; put the name of a model or data "
        "set in its place",
        faq="push-refused",
    )


def _refuse_secret(where: str, found: str) -> NoReturn:
    raise InputError(
        f"{where} holds what looks like a token, key or password ({found[:6]}…); take it out, and "
        "revoke it if it was ever shared",
        faq="push-refused",
    )


def _refuse_person(
    where: str,
    found: str,
    advice: str = ". Authors may be named by a link or a mail address",
) -> NoReturn:
    raise InputError(
        f"{where} names a person: {found[:200]!r}; take it out, or put @user in its place{advice}",
        faq="push-refused",
    )


def _refuse_users(name: str) -> NoReturn:
    raise InputError(
        f"{name} holds ids of users; take them out before it is published", faq="push-refused"
    )
