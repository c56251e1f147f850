"""`twhin-hf synthesize`: the files it writes."""

import pyarrow.parquet as pq

from twhin_hf.commands.cli import main
from twhin_hf.data.translation.pairs import SCHEMA, read_translation_pairs, translation_items

SIZES = (
    *("--num_users", "50", "--num_posts", "60"),
    *("--num_engagements", "200", "--num_translation_pairs", "80"),
)


def test_writes_a_network_and_translation_pairs(tmp_path, capsys):
    command = ["synthesize", "--output", str(tmp_path), *SIZES]
    assert main([*command, "--languages", "en", "es", "ja"]) == 0
    assert pq.read_metadata(tmp_path / "posts.parquet").num_rows == 60
    assert pq.read_schema(tmp_path / "translation_pairs.parquet") == SCHEMA
    pairs = read_translation_pairs(tmp_path / "translation_pairs.parquet")
    assert set(zip(pairs["lang_a"], pairs["lang_b"], strict=True)) == {("en", "es"), ("en", "ja")}
    assert set(pairs["source"]) == {"synthetic"}
    assert len(pairs) == 160
    assert len(set(translation_items(pairs))) > 150
    assert "160 translation pairs, saved in" in capsys.readouterr().out


def test_one_language_has_no_translations(tmp_path):
    assert main(["synthesize", "--output", str(tmp_path), *SIZES, "--languages", "en"]) == 0
    assert not (tmp_path / "translation_pairs.parquet").exists()
