import configparser
from pathlib import Path

import numpy as np
import pytest

from twhin_hf.evaluation.suite.published import AVERAGE, published_tables, read_published

ROOT = Path(__file__).parents[2]
BASE, LARGE, MLM = "TwHIN-BERT base", "TwHIN-BERT large", "TwHIN-BERT base, MLM only"


@pytest.mark.parametrize(
    ("name", "columns", "digits"),
    [("twhin_bert_table_4", 7, 4), ("twhin_bert_table_6", 50, 4), ("twhin_bert_table_7", 50, 4)],
)
def test_averages_are_those_of_the_columns(name, columns, digits):
    table = read_published(name)
    averaged = {model: row for model, row in table.values.items() if AVERAGE in row}
    assert len(averaged) == 6
    for row in averaged.values():
        figures = [value for column, value in row.items() if column != AVERAGE]
        assert len(figures) == columns
        # The last digit of a mean of rounded figures may be rounded another way.
        assert abs(np.mean(figures) - row[AVERAGE]) <= 0.6 * 10**-digits


@pytest.mark.parametrize(
    ("short", "full", "differ"),
    [
        ("twhin_bert_table_1", "twhin_bert_table_6", {(MLM, "tl"), (BASE, "tl"), (LARGE, "tl")}),
        ("twhin_bert_table_3", "twhin_bert_table_7", {(MLM, "te")}),
    ],
)
def test_short_tables_are_parts_of_the_full_ones_but_where_the_paper_errs(short, full, differ):
    few, all_ = read_published(short), read_published(full)
    assert "BERTweet" in few.values
    assert "BERTweet" not in all_.values
    found = {
        (model, column)
        for model, row in all_.values.items()
        for column, value in few.values[model].items()
        if value != row[column]
    }
    assert found == differ
    assert few.remark
    assert not all_.remark


def test_what_is_known_of_the_papers():
    engagement = read_published("twhin_bert_table_6").values
    assert engagement[BASE][AVERAGE] / engagement[MLM][AVERAGE] == pytest.approx(1.237, abs=1e-3)
    assert read_published("twhin_bert_table_5").values["XLM-T"] == {
        "en": 0.4166,
        "ja": 0.5156,
        "ar": 0.3246,
    }
    assert read_published("tpp_ner").values["mBERT + TPP BP"]["ja"] == 0.299
    for name in published_tables():
        table = read_published(name)
        assert "https://arxiv.org/abs/" in table.source
        assert all(0 <= value <= 1 for row in table.values.values() for value in row.values())


def test_unknown_table():
    with pytest.raises(ValueError, match=r"no published table 'table_2'; there are \['tpp_ner'"):
        read_published("table_2")


def test_the_tables_are_packaged():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    patterns = setup["options.package_data"]["twhin_hf.evaluation.suite"]
    for pattern in ("published_tables/*.csv", "published_tables/*.json"):
        assert pattern in patterns
