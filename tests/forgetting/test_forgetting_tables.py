"""Rows go from every format that is read, and all else stays as it was, byte by byte."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.errors import InputError
from twhin_hf.forgetting import tables
from twhin_hf.forgetting.forget import forget
from twhin_hf.forgetting.forgotten import Forgotten, read_forgotten
from twhin_hf.serving.index.index import build_index, load_index
from twhin_hf.serving.index.index_config import IndexConfig
from twhin_hf.table_format import TableFormat
from twhin_hf.training.step_checks import BAD_STEPS_NAME

WHO = Forgotten(pa.array(["u2", "7"]), pa.array(["p9"]))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(tables, "_ROWS_PER_BLOCK", 2)


def test_parquet_keeps_types_columns_and_metadata(tmp_path):
    path = tmp_path / "log.parquet"
    table = pa.table(
        {
            "user_id": pa.array(["u1", "u2", None, "u3", "u2"]).dictionary_encode(),
            "post_id": pa.array([1, 2, 3, 9, 4], pa.int64()),
            "timestamp": pa.array([1, 2, 3, 4, 5], pa.timestamp("ms", "UTC")),
            "more": [[1.0], [], None, [2.0], [3.0]],
        }
    ).replace_schema_metadata({"made": "by hand"})
    pq.write_table(table, path, compression="gzip")
    done = forget([path], Forgotten(pa.array(["u2"]), pa.array(["9"])))
    assert done.removed == {path: 3}
    kept = pq.read_table(path)
    assert kept.schema.metadata[b"made"] == b"by hand"
    assert kept.to_pylist() == table.take([0, 2]).to_pylist()
    assert kept.schema.field("timestamp").type == table.schema.field("timestamp").type
    assert kept.schema.field("post_id").type == pa.int64()
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "GZIP"


def test_parquet_ids_inside_objects_and_under_other_names(tmp_path):
    path = tmp_path / "log.parquet"
    rows = {"user": [{"id": "u1"}, {"id": "u2"}], "item": ["p1", "p2"]}
    pq.write_table(pa.table(rows), path)
    columns = {"user_id": "user.id", "post_id": "item"}
    assert forget([path], WHO, columns=columns).num_removed == 1
    assert pq.read_table(path).to_pylist() == [{"user": {"id": "u1"}, "item": "p1"}]


def test_csv_keeps_its_quotes_line_ends_and_order(tmp_path):
    path = tmp_path / "posts.csv"
    text = (
        '\ufefftext,"author_id",post_id\r\n'
        '"two\r\nlines, and ""quotes""",u1,007\r\n'
        "plain,u2,p1\r\n"
        '"u2",u1,p9\r\n'
        "\r\n"
        "  spaced ,u3,p2"
    )
    path.write_bytes(text.encode())
    assert forget([path], WHO).removed == {path: 2}
    kept = text.replace("plain,u2,p1\r\n", "").replace('"u2",u1,p9\r\n', "")
    assert path.read_bytes() == kept.encode()


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_text_tables_of_every_kind(tmp_path, encoding):
    path = tmp_path / "ratings.dat.gz"
    lines = ["u1::p1::é\n", 'u2::p1::"é\n', "u3::p9::x\n", "u4::p2\n"]
    path.write_bytes(gzip.compress("".join(lines).encode(encoding)))
    table_format = TableFormat(separator="::", header="none", encoding=encoding)
    columns = {"user_id": "1", "post_id": "2"}
    done = forget([path], WHO, columns=columns, table_format=table_format)
    assert done.removed == {path: 2}
    assert gzip.decompress(path.read_bytes()).decode(encoding) == "".join([lines[0], lines[3]])


def test_json_lines_keep_their_text(tmp_path):
    path = tmp_path / "log.jsonl.gz"
    lines = [
        '{"post_id": "p1",  "user_id": "u1", "note": "Ünï \\u00e9"}\n',
        '{"user_id": "u2", "post_id": "p1"}\n',
        "\n",
        '{"user_id": 7, "post_id": "p1"}\n',
        '{"user_id": "u3", "post_id": "p1", "text": "half \\ud83d"}\n',
        '{"user_id": "u2", "post_id": "p1", "text": "half \\ud83d"}\n',
        '{"anchor_id": "p1", "positive_id": "p9"}\n',
        '{"id": "p9"}\n',
        '{"id": "p9", "text": "a post"}\n',
    ]
    path.write_bytes(gzip.compress("".join(lines).encode()))
    assert forget([path], WHO).removed == {path: 5}
    kept = gzip.decompress(path.read_bytes()).decode()
    assert kept == "".join(lines[i] for i in (0, 2, 4, 7))


def test_json_ids_inside_objects(tmp_path):
    path = tmp_path / "log.ndjson"
    rows = [{"user": {"id": i}, "post_id": "p1"} for i in ("u1", "u2")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert forget([path], WHO, columns={"user_id": "user.id"}).num_removed == 1
    assert json.loads(path.read_text()) == rows[0]


def test_posts_of_a_user_go_where_their_ids_tell(tmp_path):
    path = tmp_path / "posts.csv"
    lines = [f"at://did:plc:{who}/app.bsky.feed.post/{i},x\n" for i, who in enumerate("abab")]
    path.write_text("post_id,text\n" + "".join(lines))
    forget([path], Forgotten(users=pa.array(["did:plc:a"])))
    assert path.read_text() == "post_id,text\n" + lines[1] + lines[3]


def test_vectors_and_pairs(tmp_path):
    vectors = np.arange(12, dtype=np.float16).reshape(4, 3)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 3)
    table = pa.table({"post_id": ["p1", "p9", "p2", "p3"], "embedding": column})
    pq.write_table(table.replace_schema_metadata({"twhin_hf": "{}"}), tmp_path / "vectors.parquet")
    pairs = {"anchor_id": ["p1", "p9", "p2"], "positive_id": ["p2", "p1", "p9"]}
    pq.write_table(
        pa.table(pairs | {"similarity": pa.array([0.1, 0.2, 0.3], pa.float32())}),
        tmp_path / "pairs.parquet",
    )
    done = forget([tmp_path], WHO)
    assert done.removed == {tmp_path / "pairs.parquet": 2, tmp_path / "vectors.parquet": 1}
    kept = pq.read_table(tmp_path / "vectors.parquet")
    assert kept["embedding"].to_pylist() == vectors[[0, 2, 3]].tolist()
    assert kept.schema.field("embedding").type == pa.list_(pa.float16(), 3)
    assert kept.schema.metadata[b"twhin_hf"] == b"{}"
    assert pq.read_table(tmp_path / "pairs.parquet")["anchor_id"].to_pylist() == ["p1"]


def test_an_index_keeps_neither_vectors_nor_ids(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    config = IndexConfig(metric="inner_product")
    ids = ["p1", "p9", "at://u2/app.bsky.feed.post/1", "p3"]
    index = build_index((ids, vectors), tmp_path / "index", config)
    index.delete(["p9"])
    unchanged = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = forget([tmp_path], WHO, dry_run=True)
    assert done.removed == {tmp_path / "index": 2}
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == unchanged
    assert forget([tmp_path], WHO).removed == {tmp_path / "index": 2}
    left = load_index(tmp_path / "index")
    assert left.all_ids.to_pylist() == ["p1", "p3"]
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    kept = [row.tobytes() in content for row in vectors]
    assert kept == [True, False, False, True]
    assert left.search(vectors[3:], 1).post_ids == [["p3"]]
    assert forget([tmp_path], WHO).num_removed == 0


def test_the_lists_of_an_import(tmp_path):
    (tmp_path / "posts_without_text.txt").write_text("p1\np9\np2\n")
    (tmp_path / "import.json").write_text('{\n  "rows": 3\n}\n')
    done = forget([tmp_path], WHO, table_format=TableFormat(encoding="utf-16"))
    assert (tmp_path / "posts_without_text.txt").read_text() == "p1\np2\n"
    assert done.passed_over == [tmp_path / "import.json"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", b'user_id,post_id\nu1,"p1', "is no CSV"),
        ("log.csv", b"user_id,post_id\n\xff\xfe,p1\n", "is not UTF-8"),
        ("log.jsonl", b'{"user_id": "u1"}\n{"user_id": \n', r"line 2"),
        ("log.jsonl.gz", gzip.compress(b'{"user_id": "u1"}\n' * 9)[:-9], "cut off or damaged"),
        ("log.parquet", b"PAR1", "cannot be read"),
        ("vectors.npy", b"x", "cannot be looked through for ids"),
        ("posts.json", b'[\n{"post_id": "p1"}\n]', "is not JSON lines"),
        ("embedding_checkpoint.safetensors", b"x", "cannot be looked through for ids"),
    ],
)
def test_what_cannot_be_handled_is_refused_before_anything_changes(
    tmp_path, name, content, message
):
    (tmp_path / "a.csv").write_text("user_id,post_id\nu2,p1\n")
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        forget([tmp_path], WHO)
    assert (tmp_path / "a.csv").read_text() == "user_id,post_id\nu2,p1\n"
    assert not list(tmp_path.rglob(".*"))


def test_nothing_to_look_at(tmp_path):
    (tmp_path / "pairs.csv").write_text("text_a,text_b\nu2,p9\n")
    with pytest.raises(ValueError, match=r"holds ids.*--columns user_id"):
        forget([tmp_path], WHO)
    with pytest.raises(ValueError, match="columns names text"):
        forget([tmp_path], WHO, columns={"text": "body"})
    pq.write_table(pa.table({"post_id": [1.5]}), tmp_path / "floats.parquet")
    with pytest.raises(ValueError, match="column 'post_id' is of type double"):
        forget([tmp_path], WHO)
    with pytest.raises(FileNotFoundError):
        forget([tmp_path / "none"], WHO)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("log.parquet", {"post_id": ["p1", "p2"], "user_ids": [["u1"], ["u3", "u2"]]}),
        ("log.parquet", {"user_ids": [[1, 2], [7]]}),
        ("log.parquet", {"user_id": ["u1"], "posts": [[["p1"], ["p9"]]]}),
        ("log.jsonl", {"user_id": ["u1", "u3"], "post_ids": [["p1"], ["p2", "p9"]]}),
        ("log.jsonl", {"user_id": [["u1", "u2"], "u3"], "post_id": ["p1", "p2"]}),
        ("log.jsonl", {"posts": [[{"post_id": "p9", "lang": "en"}]]}),
        ("log.csv", {"post_id": ["p1"], "author_ids": ["['u1', 'u2']"]}),
    ],
)
def test_lists_that_name_somebody_are_refused(tmp_path, name, rows):
    path = tmp_path / name
    lines = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
    if path.suffix == ".parquet":
        pq.write_table(pa.table(rows), path)
    elif path.suffix == ".csv":
        cells = [list(rows), *(line.values() for line in lines)]
        path.write_text("".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in cells))
    else:
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "a.csv").write_text("user_id,post_id\nu2,p1\n")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"holds lists of ids.*give the paths beside"):
        forget([tmp_path], WHO)
    assert (tmp_path / "a.csv").read_text() == "user_id,post_id\nu2,p1\n"
    assert forget([tmp_path], Forgotten(pa.array(["u4"]))).num_removed == 0
    assert path.read_bytes() == before


def test_counts_and_vectors_are_no_lists_of_ids(tmp_path):
    (tmp_path / "counts.csv").write_text("user_id,posts,users\nu1,7,7\nu2,1,1\n")
    (tmp_path / "counts.jsonl").write_text('{"user_id": "u1", "posts": 7, "lang_ids": ["7"]}\n')
    pq.write_table(
        pa.table({"user_id": ["u1"], "users": [[7.0]], "input_ids": [[7]]}),
        tmp_path / "tokens.parquet",
    )
    assert forget([tmp_path], WHO).removed == {tmp_path / "counts.csv": 1}


def test_bad_steps_of_a_training_go_with_their_posts(tmp_path):
    path = tmp_path / BAD_STEPS_NAME
    (tmp_path / "config.json").write_text("{}")
    lines = [json.dumps({"step": i, "posts": [["p1"], [f"p{i}"]]}) + "\n" for i in (8, 9)]
    path.write_text("".join(lines))
    assert forget([tmp_path], WHO).removed == {path: 1}
    assert path.read_text() == lines[0]


def test_lists_of_ids(tmp_path):
    (tmp_path / "users.txt").write_text("u1\n\n u2 \nu1\n")
    (tmp_path / "posts.csv").write_text("post_id,why\n007,x\n,y\n")
    found = read_forgotten(tmp_path / "users.txt", tmp_path / "posts.csv")
    assert (found.users.to_pylist(), found.posts.to_pylist()) == (["u1", "u2"], ["007"])
    (tmp_path / "empty.txt").write_text("\n")
    for users in (None, tmp_path / "empty.txt"):
        with pytest.raises(ValueError, match="nothing to forget"):
            read_forgotten(users, None)
