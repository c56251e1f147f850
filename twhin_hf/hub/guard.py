"""What must not leave the house: places of this machine, secrets, ids of users, pickles, links."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from twhin_hf.errors import InputError

_BEFORE = r"(?:^|(?<=[\s\"'`(\[{<=,;:|>]))"
_ROOTS = (
    "afs bigdata cache cluster content cvmfs data dbfs dev disk disks efs etc export ext fast fs "
    "fsx global gpfs groups gscratch home homes hdd kaggle local lustre media mnt mount net "
    "network nfs nobackup opt private proc proj project projects root run scratch share shared srv "
    "ssd storage sw sys tmp user users usr var vast vol volume volumes wekafs work workdir "
    "workspace"
)
_PLACE = re.compile(
    rf"""
    \b(?:file|s3a?|gs|hdfs|abfss?|wasbs?|dbfs|nfs|smb|afp|sftp|ssh|scp):/[^\s"'`)\]]*
    |{_BEFORE}/(?:{"|".join(_ROOTS.split())})\d*/[^\s"'`)\]]*
    |(?<![A-Za-z0-9])[A-Za-z]:(?:\\+|/(?!/))[\w.$%~-][^\s"'`)\]]*
    |(?<![\\\w])\\\\+[\w.-]+\\+[\w.$-]+[^\s"'`)\]]*
    |(?<![\w/])~(?:[a-z_][\w-]*)?/[^\s"'`)\]]*
    |(?<![\w.])\.\.[/\\][^\s"'`)\]]*
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""A path in any text: below a folder that machines have, of Windows, of a share, of a home."""

_WHOLE_PLACE = re.compile(r"/(?![ru]/[\w-]+/?$)[^\s/]+(?:/[^\s/]+)+/?|/[\w.-]+/")
"""A value that is an absolute path as a whole, whatever it begins with; /r/name is none."""

_SECRET = re.compile(
    r"""
    \bhf_[A-Za-z0-9]{16,}
    |\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,})
    |(?<![\w-])sk-(?=[\w-]*\d)[\w-]{16,}
    |\b(?:AKIA|ASIA)[0-9A-Z]{16}\b
    |\bAIza[\w-]{30,}
    |\bxox[abeoprs]-[\w-]{10,}
    |\b(?:npm_[A-Za-z0-9]{30,}|pypi-[\w-]{30,})
    |\b[Bb]earer\s+(?=\S*\d)[\w.~+/=-]{12,}
    |\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*
    |-----BEGIN\ [A-Z ]*PRIVATE\ KEY
    |://[^\s/:@"'<>]+:[^\s/@"'<>]+@
    |(?i:\b(?:\w+_)?(?:(?:api|access|secret|private|auth|account|client|hub|hf)[ _-]?(?:key|token)
        |(?:client_)?secret|password|passwd)["']?\s*
        (?:=\s*["']?[^\s"'<>]{6,}|:\s*["']?(?=[^\s"'<>]*\d)[^\s"'<>]{6,}))
    """,
    re.VERBOSE,
)
_SECRET_KEY = re.compile(
    r"(?:.*_)?(?:api_?key|access_?key|secret|secret_?key|client_?secret|private_?key|password|passwd"
    r"|(?:hub|hf|auth|access|api|bearer|refresh|use_auth)_?token|credentials?|authorization)",
    re.IGNORECASE,
)
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
            ids of users, NaN or infinity in JSON, a path of a machine, or what looks like a token,
            key or password; it says where.
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
    import pyarrow as pa

    from twhin_hf.privacy.people import SUBSTITUTE, names_people

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
        InputError: A path of a machine, a secret or ids of users; it says in which line.
    """
    for pattern, refuse in ((_PLACE, _refuse_place), (_SECRET, _refuse_secret)):
        if found := pattern.search(text):
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
    for key, text in _strings(value):
        where = f"{name}, at {key}," if key else f"{name},"
        if found := _PLACE.search(text) or _WHOLE_PLACE.fullmatch(text):
            _refuse_place(where, found.group())
        if found := _SECRET.search(text):
            _refuse_secret(where, found.group())
        if text and _SECRET_KEY.fullmatch(key.rpartition(".")[2]):
            _refuse_secret(where, text)
    if _has_users(value):
        _refuse_users(name)


def _strings(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Each text of a JSON value, the names of members among them, and where it stands."""
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield at, key
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


def _refuse_users(name: str) -> NoReturn:
    raise InputError(
        f"{name} holds ids of users; take them out before it is published", faq="push-refused"
    )
