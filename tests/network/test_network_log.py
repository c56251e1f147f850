"""Reading an engagement log: formats, counts, order and errors."""

import gzip
import json

import fsspec
import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.data.posts import read_posts
from twhin_hf.engines import EngineConfig, spark_address
from twhin_hf.errors import InputError
from twhin_hf.network.edges import EdgeFile, Edges, find_core, keep_core
from twhin_hf.network.log import read_log

SPARK = EngineConfig("spark")
LOG = {
    "user_id": ["b", "a", "a", "b", "a", "c", None, " ", "c"],
    "post_id": ["q", "p", "p", "p", "q", "r", "p", "p", ""],
    "relation": ["like", "like", "like", "reply", "like", "like", "like", "like", "like"],
}


def rows(columns):
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def write(path, columns):
    """Writes the columns in the format that the name says."""
    name = path.name
    if name.endswith(".parquet"):
        pq.write_table(pa.table(columns), path)
        return path
    opener = gzip.open if name.endswith(".gz") else open
    with opener(path, "wt", encoding="utf-8") as file:
        if ".csv" in name or ".tsv" in name:
            delimiter = "\t" if ".tsv" in name else ","
            file.write(delimiter.join(columns) + "\n")
            for row in zip(*columns.values(), strict=True):
                file.write(delimiter.join("" if v is None else str(v) for v in row) + "\n")
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows(columns))
    return path


def edges(graph):
    """The edges with names instead of rows, in the order of the graph."""
    users, posts = graph.user_ids.to_pylist(), graph.post_ids.to_pylist()
    return [
        (graph.relations[k], users[u], posts[p])
        for k, u, p in zip(graph.relation, graph.lhs, graph.rhs, strict=True)
    ]


@pytest.mark.parametrize(
    "name",
    ["log.parquet", "log.csv", "log.csv.gz", "log.tsv", "log.jsonl", "log.ndjson", "log.json.gz"],
)
def test_reads_every_format_alike(tmp_path, name):
    graph = read_log(write(tmp_path / name, LOG))
    assert edges(graph) == [
        ("like", "a", "p"),
        ("like", "a", "q"),
        ("like", "b", "q"),
        ("like", "c", "r"),
        ("reply", "b", "p"),
    ]
    report = graph.report
    assert (report.rows, report.null_ids, report.duplicates, report.num_edges) == (9, 3, 1, 5)
    assert report.edges_per_relation == {"like": 4, "reply": 1}
    assert (graph.num_users, graph.num_posts, graph.num_relations) == (3, 3, 2)
    assert graph.lhs.dtype == graph.rhs.dtype == np.int32
    assert graph.relation.dtype == np.int16
    assert graph.user_degrees().tolist() == [2, 2, 1]
    assert graph.post_degrees().tolist() == [2, 2, 1]


@pytest.mark.parametrize("name", ["log.parquet", "log.jsonl"])
def test_integer_ids_become_their_digits(tmp_path, name):
    big = 2**63 - 25
    graph = read_log(write(tmp_path / name, {"user_id": [9, 10], "post_id": [big, 9]}))
    assert graph.user_ids.to_pylist() == ["10", "9"]  # byte order, not that of numbers
    assert graph.post_ids.to_pylist() == ["9", str(big)]
    assert graph.relations == ["engage"]


def test_csv_ids_stay_text_and_json_ids_keep_all_digits(tmp_path):
    graph = read_log(write(tmp_path / "a.csv", {"user_id": ["007"], "post_id": ["2020-01-01"]}))
    assert (graph.user_ids[0].as_py(), graph.post_ids[0].as_py()) == ("007", "2020-01-01")
    (tmp_path / "b.jsonl").write_text('{"user_id": 12345678901234567890123, "post_id": "x"}\n')
    assert read_log(tmp_path / "b.jsonl").user_ids.to_pylist() == ["12345678901234567890123"]


def test_folder_of_files_with_columns_in_another_order(tmp_path):
    folder = tmp_path / "log [1]"
    (folder / "day=2").mkdir(parents=True)
    write(folder / "a.csv", {"user_id": ["u"], "post_id": ["p"], "x": ["1"]})
    write(folder / "day=2" / "b.csv", {"post_id": ["q"], "x": ["1"], "user_id": ["v"]})
    (folder / "_SUCCESS").touch()
    (folder / ".hidden.csv").write_text("nothing\n")
    assert edges(read_log(folder)) == [("engage", "u", "p"), ("engage", "v", "q")]


def test_relation_missing_in_a_row_is_engage(tmp_path):
    log = {"user_id": ["u", "v"], "post_id": ["p", "p"], "relation": [None, "like"]}
    assert edges(read_log(write(tmp_path / "l.jsonl", log))) == [
        ("engage", "u", "p"),
        ("like", "v", "p"),
    ]


def test_reads_an_ibis_table(monkeypatch):
    # Ibis would keep the engine that it opens for a table in memory until the process ends.
    monkeypatch.setattr(ibis.options, "default_backend", ibis.duckdb.connect())
    graph = read_log(ibis.memtable(pa.table(LOG)))
    assert graph.num_edges == 5


def test_named_relations_only(tmp_path):
    graph = read_log(write(tmp_path / "l.csv", LOG), relations=["reply"])
    assert edges(graph) == [("reply", "b", "p")]
    assert graph.report.other_relations == 8
    with pytest.raises(ValueError, match=r"relation 'share'; found are 'like', 'reply'"):
        read_log(tmp_path / "l.csv", relations=["like", "share"])


def test_a_relation_without_an_edge_after_filtering(tmp_path):
    log = {"user_id": ["u", "v", "v"], "post_id": ["p", "p", "q"], "relation": ["x", "x", "y"]}
    path = write(tmp_path / "l.csv", log)
    with pytest.raises(ValueError, match=r"relation 'y' is left.*relations=\['x'\]"):
        read_log(path, exclude_posts=["q"])
    assert read_log(path, relations=["x"], exclude_posts=["q"]).num_edges == 2


def test_unknown_and_excluded_posts_are_counted(tmp_path):
    log = write(tmp_path / "l.csv", LOG)
    posts = {"post_id": ["p", "q", "r", "s", "t"], "text": ["one", "two", " ", "four", "five"]}
    graph = read_log(log, write(tmp_path / "p.jsonl", posts), exclude_posts=["q", "zzz"])
    assert edges(graph) == [("like", "a", "p"), ("reply", "b", "p")]
    report = graph.report
    assert (report.unknown_posts, report.unknown_post_rows) == (1, 1)
    assert (report.excluded_posts, report.excluded_post_rows) == (1, 2)
    assert report.posts_without_engagement == 3  # q is excluded, s and t have no edge
    assert report.rows == (
        report.unknown_post_rows
        + report.excluded_post_rows
        + report.null_ids
        + report.duplicates
        + report.num_edges
    )
    assert edges(read_log(log, ["p"], max_unknown_posts=0.7)) == edges(graph)


def test_too_many_unknown_posts_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"2 of the log's 3 posts .* first is 'q'.* 0\.5"):
        read_log(write(tmp_path / "l.csv", LOG), ["p"])


def test_minimum_degrees_hold_in_the_result(tmp_path):
    # Dropping post r leaves user c with one edge, and dropping c leaves post q with one.
    log = {
        "user_id": ["a", "a", "b", "b", "c", "c", "a", "b"],
        "post_id": ["p", "s", "p", "s", "q", "r", "q", "t"],
    }
    graph = read_log(write(tmp_path / "l.csv", log), min_user_degree=2, min_post_degree=2)
    assert edges(graph) == [
        ("engage", "a", "p"),
        ("engage", "a", "s"),
        ("engage", "b", "p"),
        ("engage", "b", "s"),
    ]
    report = graph.report
    assert (report.rare_users, report.rare_posts, report.rare_edges) == (1, 3, 4)


def test_no_edge_left_names_the_filter(tmp_path):
    log = write(tmp_path / "l.csv", LOG)
    with pytest.raises(ValueError, match=r"No edge is left of the 9 rows.* 5 of users below 50"):
        read_log(log, min_user_degree=50)
    with pytest.raises(ValueError, match=r"No edge is left.* 8 of excluded posts"):
        read_log(log, exclude_posts=["p", "q", "r"])
    with pytest.raises(ValueError, match="min_post_degree is 0"):
        read_log(log, min_post_degree=0)


def test_the_graph_does_not_depend_on_threads_or_the_order_of_rows(tmp_path):
    random = np.random.default_rng(0)
    table = pa.table(
        {
            "user_id": random.integers(0, 3000, 50_000).astype(str),
            "post_id": random.integers(0, 2000, 50_000),
            "relation": np.array(["x", "y"])[random.integers(0, 2, 50_000)],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2000)
    shuffled = table.take(pa.array(random.permutation(50_000)))
    pq.write_table(shuffled, tmp_path / "b.parquet", row_group_size=7000)
    one = read_log(tmp_path / "a.parquet", threads=1)
    two = read_log(tmp_path / "b.parquet", threads=2, temp_directory=tmp_path)
    for name in ("lhs", "rhs", "relation"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert one.user_ids.equals(two.user_ids)
    assert one.post_ids.equals(two.post_ids)
    assert one.num_edges == len(set(zip(*(table[n].to_pylist() for n in LOG), strict=True)))
    assert {path.name for path in tmp_path.iterdir()} == {"a.parquet", "b.parquet"}


def test_edge_file_spans_blocks():
    file = EdgeFile()
    lhs = np.arange(2_500_000) % 1000
    file.append(Edges(lhs, lhs[::-1], lhs % 3))
    file.append(Edges(lhs[:5], lhs[:5], lhs[:5]))
    back = [np.concatenate(column) for column in zip(*file.blocks(), strict=True)]
    for mapped, read in zip(file.mapped(), back, strict=True):
        np.testing.assert_array_equal(mapped, read)
    np.testing.assert_array_equal(back[0], np.concatenate([lhs, lhs[:5]]))
    core = find_core(file, 1001, 1000, 2501, 1)
    assert core.users.sum() == 5
    assert (core.rare_users, core.rare_posts) == (995, 990)
    kept = keep_core(file, core).mapped()
    assert len(kept.lhs) == 5 * 2501
    assert kept.rhs.max() == 9


def test_missing_files_and_columns(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv does not exist"):
        read_log(tmp_path / "nowhere.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no file that can be read"):
        read_log(tmp_path / "empty")
    log = {"uid": ["u"], "post_id": ["p"]}
    for name in ("l.csv", "l.parquet", "l.jsonl"):
        path = write(tmp_path / name, log)
        with pytest.raises(
            ValueError,
            match=r"no column 'user_id'; found are uid, post_id.*columns=\{\"user_id\": \"...\"\}",
        ):
            read_log(path)
        assert read_log(path, columns={"user_id": "uid"}).user_ids.to_pylist() == ["u"]
    with pytest.raises(ValueError, match="columns names text, which is not read here"):
        read_log(path, columns={"text": "body"})
    with pytest.raises(ValueError, match="no column 'kind'"):
        read_log(path, columns={"user_id": "uid", "relation": "kind"})
    with pytest.raises(ValueError, match=r"post_columns=\{\"text\""):
        read_log(path, path, columns={"user_id": "uid"})


def test_one_renaming_of_all_columns_serves_every_reader(tmp_path):
    log = write(tmp_path / "log.parquet", {"who": ["u", "v"], "what": ["p", "q"], "when": [1, 2]})
    posts = write(
        tmp_path / "posts.parquet",
        {"what": ["p"], "body": ["a text"], "language": ["ar"], "published": [1]},
    )
    columns = {"user_id": "who", "post_id": "what", "timestamp": "when"}
    names = {"post_id": "what", "text": "body", "lang": "language", "timestamp": "published"}
    read = read_log(log, posts, columns=columns, post_columns=names)
    assert read.user_ids.to_pylist() == ["u"]
    assert read_posts(posts, columns=names, directory=tmp_path / "own").dataset["lang"][:] == ["ar"]


@pytest.mark.parametrize("name", ["l.csv", "l.parquet"])
def test_empty_log(tmp_path, name):
    columns = {"user_id": pa.array([], pa.string()), "post_id": pa.array([], pa.string())}
    with pytest.raises(ValueError, match="is empty: it has its columns but no row"):
        read_log(write(tmp_path / name, columns))


def test_files_of_no_bytes(tmp_path):
    for name in ("l.csv", "l.jsonl", "l.parquet"):
        (tmp_path / name).touch()
        with pytest.raises(ValueError, match=rf"{name}"):
            read_log(tmp_path / name)


def test_unknown_and_mixed_formats(tmp_path):
    write(tmp_path / "a.csv", LOG)
    write(tmp_path / "b.parquet", LOG)
    with pytest.raises(ValueError, match=r"mixes formats: 1 CSV \(a\.csv\), 1 Parquet"):
        read_log(tmp_path)
    (tmp_path / "c.xlsx").touch()
    with pytest.raises(ValueError, match=r"c\.xlsx has none of the endings"):
        read_log(tmp_path / "c.xlsx")


def test_invalid_utf8_names_the_file(tmp_path):
    (tmp_path / "good.csv").write_text("user_id,post_id\nu,p\n")
    (tmp_path / "bad.csv").write_bytes(b"user_id,post_id\nu,p\nv,\xff\xfe\n")
    with pytest.raises(ValueError, match=r"bad\.csv is not UTF-8|bad\.csv cannot be read: .*utf-8"):
        read_log(tmp_path)
    (tmp_path / "bad.jsonl").write_bytes(b'{"user_id": "\xff", "post_id": "p"}\n')
    with pytest.raises(ValueError, match=r"bad\.jsonl is not UTF-8 \(line 1\)"):
        read_log(tmp_path / "bad.jsonl")
    (tmp_path / "head.csv").write_bytes(b"user_id,post_id\xff\nu,p\n")
    with pytest.raises(ValueError, match=r"head\.csv is not UTF-8"):
        read_log(tmp_path / "head.csv")
    text = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
    )
    pq.write_table(pa.table({"user_id": text, "post_id": ["p"]}), tmp_path / "bad.parquet")
    with pytest.raises(ValueError, match=r"bad\.parquet cannot be read: .*UTF"):
        read_log(tmp_path / "bad.parquet")


def test_broken_rows_and_wrong_types(tmp_path):
    (tmp_path / "ragged.csv").write_text("user_id,post_id\nu,p\nv\n")
    with pytest.raises(ValueError, match=r"ragged\.csv, line 3 has 1 columns, the first line 2"):
        read_log(tmp_path / "ragged.csv")
    pq.write_table(pa.table({"user_id": [1.0], "post_id": ["p"]}), tmp_path / "float.parquet")
    with pytest.raises(ValueError, match="'user_id' is of type float64; needed are strings"):
        read_log(tmp_path / "float.parquet")


def test_spark_gives_the_same_graph(spark, tmp_path):
    (tmp_path / "log [1]").mkdir()
    path = write(tmp_path / "log [1]" / "ü%20.parquet", LOG)
    posts = write(tmp_path / "posts.csv", {"post_id": ["p", "q"], "text": ["one", "\U0001fae0"]})
    plain = write(tmp_path / "log.parquet", LOG)
    expected = read_log(path, posts)
    for found in (
        read_log(path, posts, engine=SPARK),
        read_log(path.parent, posts, engine=SPARK),
        read_log(f"file://{plain}", posts, engine=SPARK),
        read_log(spark.read_parquet(str(plain)), posts),
        read_log(path, ["p", "q"], engine=SPARK),
    ):
        assert edges(found) == edges(expected)
        assert (found.user_ids, found.post_ids) == (expected.user_ids, expected.post_ids)
    assert read_log(path, posts, engine=SPARK).report == expected.report
    days = ["2024-05-01", "2024-05-02T00:00:00+02:00", "Thu, 02 May 2024 00:00:00 +0000"]
    path = write(tmp_path / "timed.parquet", LOG | {"timestamp": days * 3})
    ends = pa.table({"post_id": ["q"], "end": [1_714_521_600]})
    given = {"before": "2024-05-02", "post_ends": ends}
    found, expected = read_log(path, engine=SPARK, **given), read_log(path, **given)
    assert edges(found) == edges(expected) == [("like", "a", "p"), ("reply", "b", "p")]
    assert found.report == expected.report


def test_spark_numbers_edges_of_many_parts_alike(spark, tmp_path):
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        users, posts = random.integers(0, 300, 5000), random.integers(0, 200, 5000)
        table = pa.table({"user_id": users.astype(str), "post_id": posts})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=500)
    options = {"min_user_degree": 22, "min_post_degree": 30}
    found, expected = (read_log(tmp_path, engine=e, **options) for e in (SPARK, None))
    for name in ("lhs", "rhs", "relation", "user_ids", "post_ids"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.report == expected.report
    assert found.report.rare_users


def test_spark_has_no_reader_of_the_hub():
    with pytest.raises(InputError, match="does not read hf:// addresses; fetch the files first"):
        spark_address(fsspec.filesystem("hf"), "datasets/a/b/c.parquet")
    assert spark_address(fsspec.filesystem("file"), "/a/b") == "file:///a/b"


def test_spark_tells_what_cannot_be_read(spark, tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing of the kind PAR1")
    with pytest.raises(InputError, match=r"bad\.parquet cannot be read"):
        read_log(tmp_path / "bad.parquet", engine=SPARK)
    with pytest.raises(InputError, match="no column 'user_id'; found are uid"):
        read_log(write(tmp_path / "l.parquet", {"uid": ["u"], "post_id": ["p"]}), engine=SPARK)
