import importlib.util
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "citeulike" / "prepare.py"
DATA = ROOT.parent / "shared" / "data" / "citeulike_a"

spec = importlib.util.spec_from_file_location("citeulike_prepare", SCRIPT)
prepare = importlib.util.module_from_spec(spec)
spec.loader.exec_module(prepare)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "users.dat").write_text("2 0 2\n1 1\n0\n")
    (tmp_path / "item-tag.dat").write_text("2 1 0\n1 2\n0\n")
    (tmp_path / "tags.dat").write_text("ucsc-browser\ngene__ontology_\nÜber\n", encoding="utf-8")
    return tmp_path


def test_prepare(folder):
    posts, engagements = prepare.prepare(folder)
    assert posts.to_pydict() == {
        "post_id": ["a0", "a1", "a2"],
        "text": ["ucsc browser gene ontology", "Über", ""],
        "lang": ["en", "en", "en"],
    }
    assert engagements.to_pydict() == {
        "user_id": ["u0", "u0", "u1"],
        "post_id": ["a0", "a2", "a1"],
        "relation": ["save", "save", "save"],
    }


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("users.dat", "3 0 2\n", "users.dat, line 1: says 3 ids and holds 2"),
        ("users.dat", "1 7\n", r"users.dat, line 1: ids go from 0 to 2, found \[7\]"),
        ("item-tag.dat", "1 0\n1 x\n", "item-tag.dat, line 2: numbers are needed, found '1 x'"),
    ],
)
def test_bad_files_are_refused(folder, file, content, message):
    (folder / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        prepare.prepare(folder)


def test_missing_files_are_named(folder):
    (folder / "tags.dat").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks tags.dat. Give the folder of citeulike-a"):
        prepare.prepare(folder)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"citeulike-a is not at {DATA}")
def test_real_data(tmp_path):
    command = [sys.executable, SCRIPT, "--data", DATA, "--output", tmp_path]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "16,980 posts" in printed
    assert "204,986 engagements" in printed
    posts = pq.read_table(tmp_path / "posts.parquet")
    text = "\n".join(posts["text"].to_pylist())
    assert "_" not in text
    assert "  " not in text
