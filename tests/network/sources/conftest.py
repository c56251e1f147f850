"""What the tests of all networks share."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.network.sources import import_log


@pytest.fixture
def load(tmp_path):
    """Imports a log; returns the report, the engagements and the posts, as tuples."""

    def run(source, path, **options):
        output = tmp_path / "_output"
        report = import_log(source, path, output, threads=1, progress=False, **options)
        tables = [pq.read_table(output / f"{name}.parquet") for name in ("engagements", "posts")]
        tables[1] = tables[1].select(["post_id", "text", "lang"])
        rows = [
            list(zip(*(column.to_pylist() for column in table.columns), strict=True))
            for table in tables
        ]
        return report, *rows

    return run


@pytest.fixture
def write_lines(tmp_path):
    """Writes objects as JSON lines, compressed as the name says."""

    def write(name, items):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items).encode()
        if path.suffix == ".gz":
            text = gzip.compress(text)
        elif path.suffix == ".zst":
            text = pa.compress(text, "zstd", asbytes=True)
        path.write_bytes(text)
        return path

    return write
