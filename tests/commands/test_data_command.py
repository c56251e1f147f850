"""`twhin-hf data translation-pairs`: each source from a file to pairs, and wrong options."""

import gzip
import json

import datasets
import pyarrow.parquet as pq
import pytest

from twhin_hf.commands.cli import main
from twhin_hf.data.translation.pairs import read_translation_pairs

PAIR = ("Good morning", "صباح الخير")


def sources(folder):
    """Files of each source that hold one pair, and the options they need."""
    tab = "\t".join(PAIR)
    (folder / "en-ar.tsv").write_text(tab + "\n", encoding="utf-8")
    (folder / "mined.tsv.gz").write_bytes(gzip.compress(f"1.2\t{tab}\n".encode()))
    english, arabic = (text.split() for text in PAIR)
    labels = {"en": {"value": english[0]}, "ar": {"value": arabic[0]}}
    descriptions = {"en": {"value": english[1]}, "ar": {"value": arabic[1]}}
    item = json.dumps({"labels": labels, "descriptions": descriptions})
    (folder / "dump.json").write_text(f"[\n{item}\n]\n")
    (folder / "items.jsonl").write_text(json.dumps({"id": 1, "unique_label_desc": PAIR}) + "\n")
    (folder / "my.csv").write_text(f"english,text_b\n{','.join(PAIR)}\n", encoding="utf-8")
    return {
        "tatoeba": ("en-ar.tsv",),
        "wikimatrix": ("mined.tsv.gz", "--min-score", "1.1"),
        "wikidata": ("dump.json",),
        "published": ("items.jsonl", "--max-texts", "3"),
        "columns": ("my.csv", "--columns", "text_a=english"),
    }


def command(tmp_path, source, *options):
    return main(
        [
            *("data", "translation-pairs", "--source", source, "--no-progress"),
            *("--output", str(tmp_path / "pairs"), "--input", *options),
        ]
    )


@pytest.mark.parametrize("source", ["tatoeba", "wikimatrix", "wikidata", "published", "columns"])
def test_each_source_gives_the_pair(tmp_path, capsys, source):
    name, *options = sources(tmp_path)[source]
    assert command(tmp_path, source, str(tmp_path / name), "--languages", "en-ar", *options) == 0
    expected = dict(zip(("text_a", "text_b"), PAIR, strict=True))
    expected |= {"lang_a": "en", "lang_b": "ar", "source": source}
    assert read_translation_pairs(tmp_path / "pairs")[:] == {k: [v] for k, v in expected.items()}
    printed = capsys.readouterr().out
    assert source in printed
    assert "pairs: en-ar" in printed
    assert "Saved in" in printed


def test_both_language_pairs_of_a_folder_and_a_held_out_share(tmp_path, capsys):
    for code in ("ar", "hi"):
        lines = [f"text {n}\t{code} {n}\n" for n in range(300)]
        (tmp_path / f"en-{code}.tsv").write_text("".join([*lines, "same\tsame\n"]))
    datasets.enable_progress_bars()
    share = ("--validation-share", "0.1", "--seed", "1")
    langs = ("--languages", "en-ar", "hi-en")
    assert command(tmp_path, "tatoeba", str(tmp_path), *langs, *share) == 0
    counts = {
        file.relative_to(tmp_path).as_posix(): pq.read_metadata(file).num_rows
        for file in tmp_path.rglob("*.parquet")
    }
    names = [
        f"pairs/{part}/{langs}.parquet"
        for part in ("train", "validation")
        for langs in ("en-ar", "hi-en")
    ]
    assert sorted(counts) == sorted(names)
    assert counts["pairs/train/en-ar.parquet"] + counts["pairs/validation/en-ar.parquet"] == 300
    assert counts["pairs/validation/en-ar.parquet"] == counts["pairs/validation/hi-en.parquet"] > 10
    printed = capsys.readouterr()
    assert "dropped: identical sides" in printed.out
    # No bar, neither of ours nor of datasets.
    assert printed.err == ""
    report = json.loads((tmp_path / "pairs" / "_report.json").read_text())
    assert report == {
        "source": "tatoeba",
        "rows": 602,
        "dropped": {"identical sides": 2},
        "num_pairs": 600,
        "pairs": {"en-ar": 300, "hi-en": 300},
    }


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("tatoeba", ["--languages", "en"], "'en' is one language; needed are two"),
        (
            "tatoeba",
            ["--languages", "en-ja"],
            "no pair file of en-ja; found by their names are: en-ar",
        ),
        ("tatoeba", ["--min-score", "1"], "--min_score is for --source wikimatrix, not tatoeba"),
        ("columns", ["--columns", "text_a"], "--columns takes NAME=VALUE pairs, not 'text_a'"),
        ("tatoeba", ["--validation-share", "1"], "share to hold out is 1; needed"),
    ],
)
def test_wrong_options_are_told_in_a_line(tmp_path, capsys, source, options, message):
    (tmp_path / "en-ar.tsv").write_text("a\tb\n")
    assert command(tmp_path, source, str(tmp_path), *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "pairs").exists()
