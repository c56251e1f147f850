import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twhin_hf.commands.cli import main
from twhin_hf.commands.parsing import parse_command
from twhin_hf.commands.split import split
from twhin_hf.data.splits import split_posts


def test_files_are_the_splits_of_every_stage(posts, tmp_path, capsys):
    posts.to_parquet(tmp_path / "posts.parquet")
    command = ["split", "--posts", str(tmp_path / "posts.parquet"), "--seed", "3"]
    assert main([*command, "--output", str(tmp_path / "split")]) == 0
    expected = split_posts(posts["post_id"], 3)
    for name in ("train", "validation", "test"):
        table = pq.read_table(tmp_path / "split" / f"{name}.parquet")
        own = [i for i, found in enumerate(expected) if found == name]
        assert table["post_id"].to_pylist() == [f"p{i}" for i in own]
        assert table["text"].to_pylist() == [posts[i]["text"] for i in own]
    assert "posts, saved in" in capsys.readouterr().out


def test_by_time(tmp_path, capsys):
    ids = [f"p{row}" for row in range(20)]
    pq.write_table(pa.table({"post_id": ids, "text": ["text"] * 20}), tmp_path / "posts.parquet")
    log = {"user_id": ["u"] * 20, "post_id": ids, "when": list(range(20))}
    pq.write_table(pa.table(log), tmp_path / "log.parquet")
    command = ["split", "--split", "time", "--posts", str(tmp_path / "posts.parquet")]
    command += ["--output", str(tmp_path / "split")]
    assert main(command) == 2
    assert "A split by time needs a column timestamp" in capsys.readouterr().err
    command += ["--engagements", str(tmp_path / "log.parquet"), "--log_columns", "timestamp=when"]
    assert main(command) == 0
    read = [
        pq.read_table(tmp_path / "split" / f"{name}.parquet")["post_id"].to_pylist()
        for name in ("train", "validation", "test")
    ]
    assert read == [ids[:16], ids[16:18], ids[18:]]
    shown = capsys.readouterr()
    assert "--before 1970-01-01T00:00:16Z" in shown.out
    days = ["--validation_from", "1970-01-01T00:00:05", "--test_from", "6"]
    assert main([*command, *days]) == 2
    assert "split holds a run of other options: test_from was None" in capsys.readouterr().err
    assert main([*command, *days, "--overwrite"]) == 0
    assert pq.read_metadata(tmp_path / "split" / "validation.parquet").num_rows == 1


def test_how_a_table_is_written_is_said_on_the_command_line(tmp_path, capsys):
    rows = "".join(f"{i}::é {i}\n" for i in range(9))
    (tmp_path / "posts.dat").write_bytes(rows.encode("latin-1"))
    command = ["split", "--posts", str(tmp_path / "posts.dat"), "--output", str(tmp_path / "out")]
    given = ["--separator", "::", "--header", "none", "--encoding", "latin-1"]
    assert main([*command, *given, "--columns", "post_id=1", "text=2"]) == 0
    texts = [
        text
        for name in ("train", "validation", "test")
        for text in pq.read_table(tmp_path / "out" / f"{name}.parquet")["text"].to_pylist()
    ]
    assert sorted(texts) == [f"é {i}" for i in range(9)]
    assert main([*command, *given, "--overwrite"]) == 2
    assert "no column 'post_id'; found are 1, 2" in capsys.readouterr().err


def test_quotes_in_tsv(tmp_path):
    source = tmp_path / "posts.tsv"
    command = ["split", "--posts", str(source), "--output", str(tmp_path / "out")]
    for flags, text in (([], '"a'), (["--no-quoting"], '"a'), (["--quoting"], "a\tb")):
        written = text if text == '"a' else f'"{text}"'
        source.write_text(f"post_id\ttext\n1\t{written}\n")
        assert main([*command, *flags, "--overwrite"]) == 0
        assert pq.read_table(tmp_path / "out" / "train.parquet")["text"].to_pylist() == [text]


def test_days_in_a_config_need_no_quotes(tmp_path):
    path = tmp_path / "split.yaml"
    path.write_text("split: time\nvalidation_from: 2024-05-01\ntest_from: 1714608000\n")
    given = ["--config", str(path), "--posts", "p", "--output", "o"]
    config = parse_command(split, given, "twhin-hf split")["config"]
    assert (config.validation_from, config.test_from) == ("2024-05-01", 1_714_608_000)


def test_spark_splits_alike(spark, tmp_path):
    folder = tmp_path / "posts"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ("b", "a", "c"):  # of which the largest is not the first
        ids = random.integers(0, 3000, 1000 if name == "c" else 600).astype(str)
        texts = [f"text {name} {row} \u3000" for row in range(len(ids))]
        table = pa.table(
            {"post_id": ids, "text": texts, "timestamp": random.integers(1, 99, len(ids))}
        )
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=100)
    log = {"user_id": ["u"] * 99, "post_id": ids[:99], "timestamp": ["2024-05-01"] * 99}
    pq.write_table(pa.table(log), tmp_path / "log.parquet")
    for kind in (["hash"], ["time", "--engagements", str(tmp_path / "log.parquet")]):
        command = ["split", "--posts", str(folder), "--split", *kind, "--overwrite"]
        for output, engine in (("duckdb", []), ("spark", ["--engine", "spark"])):
            assert main([*command, "--output", str(tmp_path / output), *engine]) == 0
        for name in ("train", "validation", "test"):
            found, expected = (
                pq.read_table(tmp_path / output / f"{name}.parquet")
                for output in ("spark", "duckdb")
            )
            assert found == expected
            assert len(found)
