"""The engines that run Ibis expressions: DuckDB in this process, or Spark on many machines.

What is read and joined is written once, in Ibis; what the engines do apart is in this module: how
each is opened, reads Parquet in the order of its rows, takes a table in, and gives one out. Nothing
but counts comes back from Spark through its driver: results are Parquet that its executors write,
and that is read here in blocks.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import unquote

from twhin_hf.errors import InputError
from twhin_hf.files import process_folder
from twhin_hf.processes import Workers, attempt, raise_first
from twhin_hf.scratch import scratch_folder
from twhin_hf.value_checks import check_memory_limit

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir
    import pyarrow as pa

Item = TypeVar("Item")
Result = TypeVar("Result")

_FOLDER = "spark.twhin_hf.folder"
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B\s*", re.IGNORECASE)
_SMALLEST_HEAP = 450  # MiB, below which Spark does not start
_SCHEME = "^[a-z0-9]+:/+"
_ROW_BITS = 40
_GLOB = re.compile(r"([{}\[\]*?\\])")
_LOGGING = """
rootLogger.level = error
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %p %c{1}: %m%n
logger.apache.name = org.apache
logger.apache.level = error
"""
"""Errors alone; of one level everywhere, or Spark tells at length how to change it."""


@dataclass(frozen=True)
class EngineConfig:
    """Engine.

    Args:
        engine: Engine that reads, joins and sorts tables: duckdb, in this process; or spark, on
            many machines (needs twhin_hf[spark] and Java 17).
        spark_master: Where Spark runs: local[2] for two threads of this machine, or the address of
            a cluster, whose machines must see the same files. Its other settings are those of
            spark-defaults.conf; the memory limit is that of its driver.

    Raises:
        InputError: Another engine.
    """

    engine: Literal["duckdb", "spark"] = "duckdb"
    spark_master: str = "local[2]"

    def __post_init__(self) -> None:
        if self.engine not in ("duckdb", "spark"):
            raise InputError(f"engine is {self.engine!r}; choose from duckdb, spark.")


@contextmanager
def open_engine(
    memory_limit: str = "1GB",
    threads: int | None = None,
    temp_directory: str | Path | None = None,
    config: EngineConfig | None = None,
) -> Iterator[ibis.BaseBackend]:
    """An engine that spills to a folder of its own, removed at the end.

    A Spark session that runs in this process is used as it is, and goes on running.

    Args:
        memory_limit: Most memory that the engine takes, such as `"1GB"`; of Spark, its driver.
        threads: Threads of DuckDB; all cores where it is None.
        temp_directory: Where the spill folder is made; the system's folder for temporary files
            where it is None. The machines of a cluster must see it.
        config: Which engine; DuckDB where it is None.

    Raises:
        InputError: A memory limit that is no size; Spark or Java is not installed, or the memory is
            too little for it.
    """
    import ibis

    config = config or EngineConfig()
    check_memory_limit(memory_limit)
    with scratch_folder(temp_directory) as spill:
        if config.engine == "spark":
            with _spark_session(config.spark_master, memory_limit, spill) as session:
                # Views and settings of its own: those of a running session stay as they are.
                own = session.newSession()
                own.conf.set(_FOLDER, str(spill))
                # pandas' times in nanoseconds; numbers of that size are known to be such.
                own.conf.set("spark.sql.legacy.parquet.nanosAsLong", "true")
                # The expressions that read times in any form outgrow what Java compiles as one
                # method, and Spark's heap with it.
                own.conf.set("spark.sql.codegen.wholeStage", "false")
                yield ibis.pyspark.connect(own)
            return
        options: dict[str, Any] = {"memory_limit": memory_limit, "temp_directory": str(spill)}
        if threads is not None:
            options["threads"] = threads
        connection = ibis.duckdb.connect(**options)
        try:
            yield connection
        finally:
            connection.disconnect()


def is_spark(connection: ibis.BaseBackend) -> bool:
    """Whether an engine is Spark."""
    return connection.name == "pyspark"


def json_errors() -> tuple[type[Exception], ...]:
    """What DuckDB raises of a text that is no JSON.

    Its message quotes the beginning of the text, and where that ends within a character the message
    itself cannot be decoded.
    """
    import duckdb

    return (duckdb.InvalidInputException, UnicodeDecodeError)


def spill_folder(connection: ibis.BaseBackend) -> Path:
    """The folder of an engine for files that go with it."""
    if is_spark(connection):
        return Path(_session(connection).conf.get(_FOLDER, None) or process_folder())
    engine = getattr(connection, "con")  # noqa: B009 - DuckDB's own, which Ibis does not type
    ((folder,),) = engine.execute("SELECT current_setting('temp_directory')").fetchall()
    return Path(folder)


def spark_address(system: Any, file: str) -> str:
    """What Spark calls a file of one of fsspec's file systems.

    Raises:
        InputError: Spark has no connector for it.
    """
    name = system.protocol if isinstance(system.protocol, str) else system.protocol[0]
    if name == "hf":
        raise InputError(
            "Spark does not read hf:// addresses; fetch the files first, or leave `--engine spark` "
            "out."
        )
    return f"{'s3a' if name == 's3' else name}://{file}"


def scan_parquet(files: Sequence[Path | str], connection: ibis.BaseBackend) -> ir.Table:
    """Parquet files as one table: columns that any of them has.

    Args:
        files: Paths, or `spark_address`es.
        connection: The engine.
    """
    if not is_spark(connection):
        import glob

        paths = [glob.escape(str(file)) for file in files]
        return connection.read_parquet(paths, union_by_name=True)
    return _view(_spark_frame(files, connection), connection)


def engine_of(table: ir.Table, default: ibis.BaseBackend) -> ibis.BaseBackend:
    """The engine of a table; the default for one in memory, which any engine takes in."""
    from ibis.expr import operations

    found = table.op().find((operations.DatabaseTable, operations.SQLQueryResult))
    return getattr(found[0], "source") if found else default  # noqa: B009 - Ibis does not type it


def numbered(
    table: ir.Table, connection: ibis.BaseBackend, files: Sequence[Path | str] | None = None
) -> ir.Table:
    """The table with `position`, int64, which rises in the order of its rows.

    Args:
        table: Of an engine.
        connection: The engine.
        files: Those that `scan_parquet` made the table of. Spark reads files in any order and has
            no order of its own: rows of another table of Spark are numbered as they come.
    """
    import ibis

    if not is_spark(connection):
        return table.mutate(position=ibis.row_number())
    from pyspark.sql import functions as F

    if files is None:
        frame = _session(connection).sql(connection.compile(table))
        return _view(frame.withColumn("position", F.monotonically_increasing_id()), connection)
    frame = _spark_frame(files, connection)
    # Spark's addresses of the files, percent-encoded, with one slash or three.
    uris = {unquote(uri): uri for uri in (_after_scheme(uri) for uri in frame.inputFiles())}
    places = [(uris[_after_scheme(_uri(file))], number) for number, file in enumerate(files)]
    numbers = _session(connection).createDataFrame(places, "_uri string, _file long")
    uri = F.regexp_replace("_metadata.file_path", _SCHEME, "/").alias("_uri")
    row = F.col("_metadata.row_index").alias("_row")
    placed = frame.select("*", row, uri).join(F.broadcast(numbers), "_uri")
    position = F.col("_file") * 2**_ROW_BITS + F.col("_row")
    return _view(placed.withColumn("position", position), connection)


def take_in(table: pa.Table, connection: ibis.BaseBackend) -> ir.Table:
    """A table in memory as one of the engine, which for Spark goes by way of a file."""
    import ibis
    import pyarrow.parquet as pq

    if not is_spark(connection):
        return ibis.memtable(table)
    path = spill_folder(connection) / f"{uuid.uuid4().hex}.parquet"
    pq.write_table(table, path)
    return scan_parquet([path], connection)


def write_rows(table: ir.Table, path: Path, connection: ibis.BaseBackend) -> list[Path]:
    """Writes a table as Parquet, in its order: DuckDB one file, Spark a folder of parts.

    Returns:
        The files.
    """
    connection.to_parquet(table, _uri(path) if is_spark(connection) else path)
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def read_rows(files: Sequence[Path], rows_per_batch: int) -> Iterator[pa.Table]:
    """The rows of files that `write_rows` wrote, in blocks."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(rows_per_batch):
                yield pa.Table.from_batches([batch])


def write_file(table: ir.Table, path: Path, connection: ibis.BaseBackend) -> ir.Table:
    """Writes a table to one Parquet file, whichever the engine, and gives it back from there.

    The parts that Spark writes are put together here, a row group at a time.

    Args:
        table: The table.
        path: The file.
        connection: Its engine.
    """
    import pyarrow.parquet as pq

    if not is_spark(connection):
        connection.to_parquet(table, path, compression="zstd")
        return scan_parquet([path], connection)
    parts = write_rows(table, spill_folder(connection) / uuid.uuid4().hex, connection)
    schema = pq.read_schema(parts[0]).remove_metadata()
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in parts:
            with pq.ParquetFile(part) as file:
                for number in range(file.num_row_groups):
                    writer.write_table(file.read_row_group(number).cast(schema))
    return scan_parquet(parts, connection)


def to_memory(table: ir.Table, connection: ibis.BaseBackend) -> pa.Table:
    """A whole table in this process; not through Spark's driver, which would hold it too."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not is_spark(connection):
        return connection.to_pyarrow(table)
    parts = write_rows(table, spill_folder(connection) / uuid.uuid4().hex, connection)
    return pa.concat_tables([pq.read_table(part) for part in parts])


def spark_errors() -> tuple[type[Exception], ...]:
    """What Spark raises, where it was ever opened."""
    if "pyspark" not in sys.modules:
        return ()
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    return PySparkException, Py4JError


class SparkWorkers:
    """The executors of Spark, which must have this package and see the files that tasks name.

    Args:
        connection: Spark.
    """

    def __init__(self, connection: ibis.BaseBackend):
        self._context = _session(connection).sparkContext
        self.num_workers = self._context.defaultParallelism

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """As `Workers` say: a task each."""
        if not items:
            return []
        tasks = self._context.parallelize(list(items), len(items))
        return raise_first(tasks.map(partial(attempt, function)).collect())


@contextmanager
def spark_workers(
    config: EngineConfig | None,
    memory_limit: str = "1GB",
    temp_directory: str | Path | None = None,
) -> Iterator[Workers | None]:
    """The executors of Spark, if that is the engine, which runs until the block ends.

    Args:
        config: Which engine.
        memory_limit: As `open_engine` takes it.
        temp_directory: As `open_engine` takes it.
    """
    if config is None or config.engine != "spark":
        yield None
        return
    with open_engine(memory_limit, temp_directory=temp_directory, config=config) as connection:
        yield SparkWorkers(connection)


def _session(connection: ibis.BaseBackend) -> Any:
    return getattr(connection, "_session")  # noqa: B009 - Ibis does not type it


def _view(frame: Any, connection: ibis.BaseBackend) -> ir.Table:
    name = f"twhin_hf_{uuid.uuid4().hex}"
    frame.createOrReplaceTempView(name)
    return connection.table(name)


def _spark_frame(files: Sequence[Path | str], connection: ibis.BaseBackend) -> Any:
    paths = [_GLOB.sub(r"\\\1", _uri(file)) for file in files]
    return _session(connection).read.option("mergeSchema", len(files) > 1).parquet(*paths)


def _uri(file: Path | str) -> str:
    """An address; of a path in the machines' own file system, as a cluster's may be another."""
    return file if isinstance(file, str) else f"file://{file.absolute()}"


def _after_scheme(uri: str) -> str:
    return re.sub(_SCHEME, "/", uri)


@contextmanager
def _spark_session(master: str, memory_limit: str, folder: Path) -> Iterator[Any]:
    """The running session, or one whose files are all in the folder and that ends with the block.

    A setting of the cluster's own configuration counts where this sets none.
    """
    try:
        from pyspark import SparkContext
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise InputError(
            "The engine spark needs PySpark, which is not installed: `pip install "
            "'twhin_hf[spark]'` (and Java 17), or leave `--engine spark` out."
        ) from error
    running = SparkSession.getActiveSession()
    if running is not None:
        yield running
        return
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        raise InputError(
            "The engine spark needs Java 17, and there is none (neither `java` on the PATH nor "
            "JAVA_HOME). Install it beside twhin_hf[spark], or leave `--engine spark` out."
        )
    java = folder / "java"
    java.mkdir()
    (java / "log4j2.properties").write_text(_LOGGING)
    settings = {
        "spark.driver.memory": f"{_mebibytes(memory_limit)}m",
        "spark.driver.extraJavaOptions": f"-Djava.io.tmpdir={java} -XX:-UsePerfData "
        f"-Dlog4j2.configurationFile={java / 'log4j2.properties'}",
        "spark.sql.warehouse.dir": folder / "warehouse",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if master.startswith("local"):
        settings |= {
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.local.dir": folder / "spark",
            "spark.sql.shuffle.partitions": 8,  # 200 by default, each a task
        }
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    builder = SparkSession.builder.master(master).appName("twhin_hf")
    for name, value in settings.items():
        builder = builder.config(name, str(value))
    session = builder.getOrCreate()
    try:
        yield session
    finally:
        session.stop()
        _end_java(SparkContext)


def _end_java(context: Any) -> None:
    """Ends the process that a stopped session leaves, with its memory and temporary files."""
    gateway, context._gateway, context._jvm = context._gateway, None, None
    gateway.shutdown()
    if process := getattr(gateway, "proc", None):
        process.stdin.close()
        process.wait()


def _mebibytes(memory_limit: str) -> int:
    found = _SIZE.fullmatch(memory_limit)
    if found is None:
        raise InputError(f"memory_limit is {memory_limit!r}; needed is a size, such as 2GB.")
    number, unit, is_binary = float(found[1]), found[2].upper(), bool(found[3])
    size = int(number * (1024 if is_binary else 1000) ** " KMGT".index(unit or " ") / 2**20)
    if size < _SMALLEST_HEAP:
        raise InputError(f"memory_limit is {memory_limit}; Spark's driver needs 512MB or more.")
    return size
