"""DuckDB and Spark: opened, and closed without leaving anything; and what they lack."""

import os
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.engines import EngineConfig, open_engine, scan_parquet, write_file
from twhin_hf.errors import InputError


def test_an_engine_that_is_none():
    with pytest.raises(InputError, match="engine is 'flink'; choose from duckdb, spark"):
        EngineConfig("flink")


def test_without_pyspark_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with (
        pytest.raises(InputError, match=r"needs PySpark, .* `pip install 'twhin_hf\[spark\]'`"),
        open_engine(config=EngineConfig("spark")),
    ):
        pass


def run(tmp_path, *arguments, **environment):
    (tmp_path / "tmp").mkdir(exist_ok=True)
    own = os.environ | {"TMPDIR": str(tmp_path / "tmp")} | environment
    own.pop("JAVA_HOME", None)
    command = [sys.executable, "-m", "twhin_hf.commands.cli", *map(str, arguments)]
    return subprocess.run(
        command, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=600
    )


@pytest.fixture
def log(tmp_path):
    pytest.importorskip("pyspark", reason="needs twhin_hf[spark]")
    log = {"user_id": ["u", "v", "u"], "post_id": ["p", "p", "p"], "text": ["a", "a", "a"]}
    pq.write_table(pa.table(log), tmp_path / "log.parquet")
    return ["network", "import", "--source", "table", "--input", "log.parquet", "--output", "out"]


def test_without_java_one_line_tells_it(log, tmp_path):
    done = run(tmp_path, *log, "--engine", "spark", PATH="/nowhere")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "needs Java 17, and there is none" in done.stderr


@pytest.mark.skipif(not shutil.which("java"), reason="Spark needs Java 17")
def test_a_run_of_spark_leaves_nothing_behind(log, tmp_path):
    done = run(tmp_path, *log, "--engine", "spark", "--memory_limit", "300MB")
    assert done.returncode == 2
    assert "memory_limit is 300MB; Spark's driver needs 512MB or more" in done.stderr
    done = run(tmp_path, *log, "--engine", "spark", "--memory_limit", "600MB")
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "out" / "engagements.parquet").num_rows == 2
    assert not list((tmp_path / "tmp").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"log.parquet", "out", "tmp"}
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".tw")]
    assert "Spark" not in done.stdout + done.stderr


def test_one_file_of_many_parts(spark, tmp_path):
    """What Spark writes in parts is one file, in order."""
    pq.write_table(pa.table({"n": range(1000)}), tmp_path / "n.parquet", row_group_size=100)
    with open_engine(config=EngineConfig("spark")) as opened:
        opened._session.conf.set("spark.sql.adaptive.enabled", "false")
        table = scan_parquet([tmp_path / "n.parquet"], opened)
        back = write_file(table.order_by(table.n % 7, "n"), tmp_path / "sorted.parquet", opened)
        assert opened.to_pyarrow(back.count()).as_py() == 1000
    found = pq.read_table(tmp_path / "sorted.parquet")["n"].to_pylist()
    assert found == sorted(range(1000), key=lambda n: (n % 7, n))
