"""Whatever the bytes of a file are, a reader gives a value or an error of ours."""

from __future__ import annotations

import json
import logging
import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from readers import READERS, is_ours, parquet

from twhin_hf.errors import InputError
from twhin_hf.network.sources.reading import FORMATS
from twhin_hf.serving.search import search_vectors

SOME_SEEDS_ARE_OF_ANOTHER_KIND = {"csv", "csv-rows", "csv-gz", "posts", "classification", "export"}

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([10**400, "\ud83d", "\x00", "[/x]", "1e999", -1, ""]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module", params=READERS, ids=lambda reader: reader.name)
def opened(request, tmp_path_factory):
    """A reader, the file that it reads and its seeds."""
    logging.disable(logging.CRITICAL)
    reader = request.param
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield reader, *reader.open(tmp_path_factory.mktemp("reader"))
    logging.disable(logging.NOTSET)


def read(opened, content):
    """Reads bytes; an error that is not ours goes on."""
    reader, path, _ = opened
    path.write_bytes(content)
    error = None
    try:
        reader.read(path)
    except Exception as raised:
        if not is_ours(raised):
            raise
        error = str(raised)
    names = [
        next(part for part in path.parts if part.startswith("reader")),
        "me/name",
        "the card",
        "--help",
        "--synthetic",
    ]
    assert error is None or any(name in error for name in names), error


def test_seeds_are_read(opened):
    reader, path, seeds = opened
    for seed in seeds:
        path.write_bytes(seed)
        if reader.name in SOME_SEEDS_ARE_OF_ANOTHER_KIND:
            read(opened, seed)
        else:
            reader.read(path)


@given(content=st.binary(max_size=60))
def test_any_bytes(opened, content):
    read(opened, content)


@st.composite
def changed(draw, content):
    """Bytes with some of them replaced, taken out, repeated or cut off."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = start + draw(st.integers(0, 8))
        part = draw(
            st.binary(max_size=4)
            | st.sampled_from(
                [b"\xff", b"\x00", b"\r", b"\n", b'"', b"\t", b",", b"-1", b"{", b"["]
            )
        )
        content = content[:start] + part + content[end:]
    return content[: draw(st.just(len(content)) | st.integers(0, len(content)))]


@given(data=st.data())
def test_changed_files(opened, data):
    content = data.draw(st.sampled_from(opened[2]))
    read(opened, data.draw(changed(content)))


def only(*endings):
    """The readers of files of these endings."""
    chosen = [reader for reader in READERS if reader.file.endswith(endings)]
    return pytest.mark.parametrize("opened", chosen, indirect=True, ids=lambda reader: reader.name)


@only(".json", ".jsonl")
@given(data=st.data())
def test_changed_json(opened, data):
    """A value anywhere inside is replaced by any other."""
    is_document, value = data.draw(st.sampled_from(list(filter(None, map(json_of, opened[2])))))
    shown = data.draw(replaced(value))
    lines = [shown] if is_document else shown if isinstance(shown, list) else [shown]
    read(opened, "\n".join(json.dumps(line) for line in lines).encode())


def json_of(content):
    """Whether bytes are one JSON document, and its value or those of its lines."""
    try:
        return True, json.loads(content)
    except ValueError:
        try:
            return False, [json.loads(line) for line in content.splitlines()]
        except ValueError:
            return None


@st.composite
def replaced(draw, value):
    """A JSON value with one of the values in it, or itself, replaced or left out."""
    is_list = isinstance(value, list)
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if is_list else []
    if not keys or draw(st.integers(0, 5)) == 0:
        return draw(VALUES)
    key = draw(st.sampled_from(keys))
    copy = value.copy()
    if draw(st.integers(0, 7)) == 0:
        del copy[key]
    else:
        copy[key] = draw(replaced(copy[key]))
    return copy


@only(".json", ".jsonl", ".yaml")
@pytest.mark.parametrize("depth", [3_000, 200_000])
def test_deep_json(opened, depth):
    """Python's reader of JSON has no end of recursion of its own."""
    read(opened, b"[" * depth)
    read(opened, b'{"a":' * depth + b"1" + b"}" * depth)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InputError("a"), True),
        (FileNotFoundError("b"), True),
        (OSError(28, "No space left on device"), True),
        (OSError("Invalid flatbuffers message"), False),
        (ValueError("c"), False),
    ],
)
def test_what_is_ours(error, expected):
    assert is_ours(error) is expected


def test_every_network_is_read():
    names = {reader.name for reader in READERS}
    assert names >= {name for log in FORMATS for name in (log, f"import-{log}")}


# What fuzzing has found, in its smallest form: reader, what a seed has, what stands there instead.
FOUND = [
    ("model-tokenizer.json", b'"[UNK]": 1', b'"[XXX]": 1'),  # fails at the first unknown word alone
    ("mastodon", None, b"event: update\n\n"),
    ("json-lines", None, b'{"post_id":3.5,}\n'),
    ("classification", None, b"meta\t1\tpositive\n\nmeta\t2\tnegative\na\tEng\n"),
    ("classification", None, b"Uid,Sentiment\n1\ra,b\n"),
    ("card", b"tags: [a]", b"tags: [{a: b}]"),
    ("card", b"license: mit", b"1: mit"),
    ("results", b'"engagement"', b'"[/x]"'),
    ("results", b'"value": 0.5', b'"value": 1' + b"0" * 400),
    ("archive", b"en/train.tsv", b"\0n/train.tsv"),
    ("network-network.json", b'"like"', b"3"),
    ("vectors", b"\x00\x00\x80?", b"\x00\x00\xc0\x7f"),
    ("label-map", None, b"2001-99-99: a\n"),
    ("config-run", None, b"yes: 1\n? [a]\n: b\n"),
    ("wikidata", None, b'[\n{"labels": "11"},\n]\n'),
    ("wikidata", None, b'[\n{"labels": "Q1", "labels": {"en": {"x": "d"}}},\n]\n'),
    ("wikidata", None, b'[\n{"labels": ' + "x\u30e9".encode() * 40 + b"},\n]\n"),
    ("command-run", None, b"output: a\nsynthetic: {num_users: -0}\nmodel_name_or_path: b\n"),
]


def test_vectors_without_an_id_are_refused(tmp_path):
    path = tmp_path / "a.parquet"
    embedding = pa.array([[1.0, 0.0], [0.5, 0.5]], pa.list_(pa.float32(), 2))
    path.write_bytes(parquet(post_id=[None, "b"], embedding=embedding))
    with pytest.raises(InputError, match=r"a\.parquet holds vectors without a post_id"):
        search_vectors(path, np.array([[0, 1]], np.float32), 1)


@pytest.mark.parametrize(("name", "old", "new"), FOUND, ids=range(len(FOUND)))
def test_what_fuzzing_found(name, old, new, tmp_path):
    reader = next(reader for reader in READERS if reader.name == name)
    path, seeds = reader.open(tmp_path / "reader")
    for seed in seeds:
        read((reader, path, seeds), new if old is None else seed.replace(old, new))
    assert old is None or any(old in seed for seed in seeds)


def test_a_tokenizer_without_its_unknown_token_is_named(tmp_path):
    reader = next(reader for reader in READERS if reader.name == "model-tokenizer.json")
    path, (seed,) = reader.open(tmp_path)
    path.write_bytes(seed.replace(b'"[UNK]": 1', b'"[XXX]": 1'))
    with pytest.raises(InputError, match=r"cannot be used \(Exception: WordLevel error"):
        reader.read(path)
