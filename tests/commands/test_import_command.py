"""`twhin-hf network import`: options, help and a run from a table to both files."""

import json
import sys
from typing import get_args

import pyarrow.parquet as pq

from twhin_hf.commands.cli import main
from twhin_hf.commands.network import Source
from twhin_hf.network.sources import SOURCES


def test_all_sources_are_choices():
    assert get_args(Source) == SOURCES


def test_from_a_table_to_both_files(tmp_path, capsys):
    (tmp_path / "log.csv").write_text("uid,item,body\nu,p,one\nv,p,one\n")
    status = main(
        [
            *("network", "import", "--source", "table", "--input", str(tmp_path / "log.csv")),
            *("--columns", "user_id=uid", "--columns", "post_id=item", "--columns", "text=body"),
            *("--output", str(tmp_path / "out"), "--threads", "1", "--no-progress"),
        ]
    )
    assert status == 0
    printed = capsys.readouterr().out
    assert " engagements " in printed
    assert "relations: engage" in printed
    assert pq.read_table(tmp_path / "out" / "engagements.parquet").column_names == [
        *("user_id", "post_id", "relation", "timestamp"),
    ]
    assert pq.read_table(tmp_path / "out" / "posts.parquet").to_pylist() == [
        {"post_id": "p", "text": "one", "lang": None, "langs": None}
    ]
    report = json.loads((tmp_path / "out" / "import.json").read_text())
    assert (report["lines"], report["num_engagements"]) == (2, 2)
    names = (path.name for path in (tmp_path / "out").iterdir())
    assert sorted(name for name in names if not name.startswith(".")) == [
        *("engagements.parquet", "import.json", "posts.parquet", "posts_without_text.txt"),
        "run.json",
    ]


def test_a_missing_package_is_told_in_a_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "py3langid", None)
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    arguments = ["network", "import", "--source", "x", "--input", "a", "--output", "b"]
    assert main([*arguments, "--detect-languages"]) == 2
    assert "pip install twhin_hf[languages]" in capsys.readouterr().err


def test_help_names_every_option(capsys):
    assert main(["network", "import", "--help"]) == 0
    printed = capsys.readouterr().out
    for option in ("--source", "--columns", "--language_model", "--max_bad_lines", "mastodon"):
        assert option in printed
