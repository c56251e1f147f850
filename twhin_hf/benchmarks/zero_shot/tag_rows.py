"""Named entities of files with a sentence a row: JSON lines, a JSON array, Parquet.

Tags may be numbers, as TweetNER7 and the Hub's data sets have them, where their names are told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from twhin_hf.benchmarks.zero_shot.sentences import Sentence, numbered_lines
from twhin_hf.benchmarks.zero_shot.tags import check_tag
from twhin_hf.errors import InputError, reading
from twhin_hf.files import parse_json
from twhin_hf.lines import iterate_lines
from twhin_hf.tables import read_parquet

JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
NAME_FILES = ("label.json", "labels.json", "label2id.json", "id2label.json", "dataset_info.json")
"""Files beside the sentences that tell the names of numbered tags."""
_TAG_KEYS = ("ner_tags", "tags", "labels")
_NAME_KEYS = ("id2label", "label2id", "label_names", "tag_names", "names")


class _Row(NamedTuple):
    where: str
    number: int
    value: Any
    names: Mapping[str, str]


def parse_tag_rows(
    file: Path,
    label_map: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Sentence]:
    """Sentences of a file with a sentence a row.

    Names of numbered tags are those of `label_map` (`{"0": "O", "1": "B-PER"}`), of the row or the
    document (`id2label`, `label2id`, `label_names`, `tag_names` or `names`), of the features that
    `datasets` writes into Parquet, or of a file beside (`NAME_FILES`), such as TweetNER7's
    `label.json`.

    Args:
        file: JSON lines, one JSON array of objects, one object with such an array as `data`, or
            Parquet; with `tokens`, and tags as `ner_tags`, `tags` or `labels`.
        label_map: Names of numbers; other entries are not looked at.
        columns: What the rows call `tokens` and `tags`.

    Yields:
        Tokens and tags of the rows that have tokens.

    Raises:
        InputError: A row without tokens or tags, with another number of them, with numbers whose
            names nobody tells, or with what is no tag. All tell the file and the row.
    """
    chosen = dict(columns or {})
    token_key = chosen.get("tokens", "tokens")
    tag_keys = (chosen["tags"],) if "tags" in chosen else _TAG_KEYS
    rows = _parquet_rows(file) if file.suffix == ".parquet" else _json_rows(file)
    beside: Mapping[str, str] | None = None
    for row in rows:
        value = row.value
        there = [key for key in tag_keys if isinstance(value, dict) and key in value]
        if not there or token_key not in value:
            found = sorted(value) if isinstance(value, dict) else type(value).__name__
            raise InputError(
                f"{row.where} holds {found}; needed are {token_key!r} and one of {tag_keys} "
                "(`--columns tokens=... tags=...` says what they are called)"
            )
        tokens = value[token_key]
        # The names of the tags may stand beside their numbers.
        key = next((key for key in there if _are(value[key], str)), there[0])
        tags = value[key]
        if not _are(tokens, str) or not (_are(tags, str) or _are(tags, int)):
            raise InputError(
                f"{row.where}: {token_key!r} must be a list of strings, and {key!r} one of tags or "
                "of their numbers"
            )
        if len(tokens) != len(tags):
            raise InputError(
                f"{row.where} has {len(tokens)} tokens and {len(tags)} tags; needed is one tag a "
                "token"
            )
        if any(isinstance(tag, int) or tag.isdecimal() for tag in tags):
            if beside is None:
                beside = _names_beside(file, key)
            names = {**beside, **row.names, **_row_names(value, key), **(label_map or {})}
            tags = [_named(row.where, key, tag, names) for tag in tags]
        for tag in tags:
            check_tag(file, row.number, f"{key}: {tag}", tag)
        if tokens:
            yield tokens, tags


def _are(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, kind) and not isinstance(value, bool) for value in values
    )


def _named(where: str, key: str, tag: str | int, names: Mapping[str, str]) -> str:
    text = str(tag)
    if not text.lstrip("-").isdecimal():
        return text
    if text not in names:
        told = f"the number {text} of {key!r} has no name"
        if not names:
            told = f"the tags of {key!r} are numbers without names"
        raise InputError(
            f"{where}: {told}. Tell what the numbers mean: "
            "`--label_map 0=O 1=B-PER 2=I-PER` or a YAML file of such lines, or label.json beside "
            'the file, as {"O": 0, "B-PER": 1, "I-PER": 2}'
        )
    return names[text]


def _json_rows(file: Path) -> Iterator[_Row]:
    """The objects of JSON lines, or of a document of many lines."""
    first = next((line for line in iterate_lines(file) if line.strip()), "")
    if _is_document(first):
        yield from _document_rows(file)
        return
    for number, line in numbered_lines(file):
        if line.strip():
            yield _Row(f"{file}, line {number}", number, _loads(file, line, number), {})


def _is_document(first: str) -> bool:
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return True
    return isinstance(value, list) or (isinstance(value, dict) and _has_rows(value))


def _has_rows(value: dict[str, Any]) -> bool:
    return isinstance(value.get("data"), list) and "tokens" not in value


def _document_rows(file: Path) -> Iterator[_Row]:
    document = _loads(file, "\n".join(iterate_lines(file)))
    names: Mapping[str, str] = {}
    if isinstance(document, dict) and _has_rows(document):
        names, document = _row_names(document, ""), document["data"]
    values = document if isinstance(document, list) else [document]
    for number, value in enumerate(values, start=1):
        yield _Row(f"{file}, object {number}", number, value, names)


def _loads(file: Path, text: str, first: int = 1) -> Any:
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        number = first + error.lineno - 1
        raise InputError(f"{file}, line {number} is not JSON: {error.msg}") from error
    except ValueError as error:
        raise InputError(f"{file}, line {first} is not JSON: {error}") from error


def _parquet_rows(file: Path) -> Iterator[_Row]:
    table = read_parquet(file)
    told = (table.schema.metadata or {}).get(b"huggingface")
    with reading(file, "Write it again, or take its metadata out."):
        features = dict(json.loads(told)["info"].get("features") or {}) if told else {}
        rows = table.to_pylist()
    for number, value in enumerate(rows, start=1):
        names: dict[str, str] = {}
        for key in filter(features.__contains__, _TAG_KEYS):
            names = names or _feature_names(features[key])
        yield _Row(f"{file}, row {number}", number, value, names)


def _names_beside(file: Path, key: str) -> dict[str, str]:
    for name in NAME_FILES:
        beside = file.with_name(name)
        if beside.is_file() and beside != file:
            value = _loads(beside, "\n".join(iterate_lines(beside)))
            if isinstance(value, dict) and isinstance(value.get("features"), dict):
                return _feature_names(value["features"].get(key))
            return _as_names(value)
    return {}


def _row_names(value: Mapping[str, Any], key: str) -> dict[str, str]:
    keys = (name for name in _NAME_KEYS if name in value and name != key)
    return next((_as_names(value[name]) for name in keys), {})


def _feature_names(feature: Any) -> dict[str, str]:
    """The names in a feature of `datasets`: `{"feature": {"names": [...], "_type": ...}}`."""
    while isinstance(feature, dict):
        if "names" in feature:
            return _as_names(feature["names"])
        feature = feature.get("feature", feature.get("class_label"))
    return {}


def _as_names(value: Any) -> dict[str, str]:
    """Names by number of a list of names, of `{"O": 0}` or of `{"0": "O"}`."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {}
    if all(isinstance(number, int) for number in value.values()):
        return {str(number): str(name) for name, number in value.items()}
    return {str(number): str(name) for number, name in value.items()}
