import io
import json

import pytest
from rich.console import Console

from twhin_hf.results import (
    Result,
    Results,
    library_versions,
    read_results,
    results_table,
    write_model_results,
    write_results,
)
from twhin_hf.version import __version__

RESULTS = Results(
    task="engagement",
    model="runs/मॉडल",
    results=[
        Result("en", "HITS@10", 0.25, [0, 1, 2], [0.2, 0.25, 0.3], {"candidates": 1000.0}),
        Result("en", "MRR", 0.1, [0, 1, 2], [0.1, 0.1, 0.1]),
        Result("hi", "HITS@10", 0.5, [0], [0.5]),
    ],
    options={"split_seed": 0},
)


def test_what_is_written_is_read(tmp_path):
    path = write_results(RESULTS, tmp_path / "new")
    assert path == tmp_path / "new" / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert set(content) == {
        *("task", "model", "revision", "versions", "results", "options", "baselines", "run")
    }
    assert content["versions"]["twhin_hf"] == __version__
    assert {"python", "torch", "transformers"} <= set(content["versions"])
    assert set(content["results"][0]) >= {"language", "metric", "value", "seeds", "values"}
    again = read_results(tmp_path / "new")
    assert again.results == RESULTS.results
    assert again.model == RESULTS.model
    assert write_results(again, tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_baselines_and_intervals_are_read_and_may_be_missing(tmp_path):
    row = Result("en", "MRR", 0.2, interval=[0.1, 0.3])
    results = Results("engagement", "m", [row], baselines={"chance": [Result("en", "MRR", 0.01)]})
    path = write_results(results, tmp_path)
    assert read_results(path).results == [row]
    assert read_results(path).baselines == results.baselines
    content = json.loads(path.read_text())
    del content["baselines"], content["results"][0]["interval"]
    path.write_text(json.dumps(content))
    assert read_results(path).baselines == {}
    assert read_results(path).results[0].interval == []


def test_results_in_the_models_folder(tmp_path):
    assert write_model_results(RESULTS, "me/model-on-the-hub") is None
    path = write_model_results(RESULTS, tmp_path)
    assert path == tmp_path / "results_engagement.json"
    assert read_results(path).results == RESULTS.results


def test_a_failed_write_leaves_the_old_file_and_no_partial_one(tmp_path):
    path = write_results(RESULTS, tmp_path)
    before = path.read_bytes()
    broken = Results("engagement", "m", [Result("en", "MRR", float("nan"))])
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_results(broken, tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_read_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No results at .*results.json"):
        read_results(tmp_path)
    path = tmp_path / "results.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="is not JSON"):
        read_results(path)
    path.write_text('{"task": "x"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"holds \['task'\]; these keys are needed"):
        read_results(path)


def test_unknown_libraries_are_left_out():
    assert set(library_versions(["no-such-library", "numpy"])) == {"python", "numpy"}


def test_table():
    screen = io.StringIO()
    other = Results("engagement", "other", [Result("en", "MRR", 0.75)])
    table = results_table({"ours": RESULTS, "other": other}, title="Engagement")
    Console(file=screen, width=100).print(table)
    lines = [line.split() for line in screen.getvalue().replace("│", " ").splitlines()]
    assert ["ours", "en", "0.2500", "0.1000"] in lines
    assert ["ours", "hi", "0.5000"] in lines
    assert ["other", "en", "0.7500"] in lines


def test_table_of_one_model_names_it_in_the_title():
    screen = io.StringIO()
    Console(file=screen, width=100).print(results_table(RESULTS, title="Engagement"))
    lines = [line.split() for line in screen.getvalue().replace("│", " ").splitlines()]
    assert lines[0] == ["Engagement:", RESULTS.model]
    assert ["en", "0.2500", "0.1000"] in lines


def test_table_with_baselines_intervals_rows_and_notes():
    def figures(value, **details):
        return [
            Result("en", "MRR", value, interval=[value - 0.01, value + 0.01], details=details),
            Result("tl", "MRR", value, details={"note": "few posts", **details}),
        ]

    chance = [Result("en", "MRR", 0.01), Result("tl", "MRR", 0.02)]
    results = Results(
        "engagement",
        "runs/a-long-path/of-a-model/seed-0",
        figures(0.5, rows="raw"),
        baselines={"chance": chance, "TF-IDF + SVD": figures(0.25, rows="normalized")},
    )
    screen = io.StringIO()
    Console(file=screen, width=80).print(results_table(results))
    lines = [line.split() for line in screen.getvalue().replace("│", " ").splitlines()]
    assert ["chance", "en", "0.0100"] in lines
    assert ["TF-IDF", "+", "SVD", "en", "0.2500", "(0.240–0.260)", "normalized"] in lines
    assert ["TF-IDF", "+", "SVD", "tl", "*", "0.2500", "normalized"] in lines
    assert any(line[-3:] == ["0.5000", "(0.490–0.510)", "raw"] for line in lines)
    assert ["*", "tl:", "few", "posts"] in lines


def test_many_metrics_stand_one_below_the_other():
    rows = [Result(lang, f"metric {k}", k / 10) for lang in ("en", "hi") for k in range(7)]
    screen = io.StringIO()
    Console(file=screen, width=80).print(results_table(Results("alignment", "ours", rows)))
    lines = [line.split() for line in screen.getvalue().replace("│", " ").splitlines()]
    assert ["metric", "6", "0.6000", "0.6000"] in lines


@pytest.mark.parametrize("num_languages", [2, 7, 40])
def test_no_figure_is_broken_on_80_columns(num_languages):
    metrics = [
        "macro F1",
        "macro F1 (frozen features)",
        *(f"F1 ({2**k} a class)" for k in range(5)),
    ]
    rows = [
        Result(f"l{number}", metric, 0.1234)
        for number in range(num_languages)
        for metric in metrics
    ]
    screen = io.StringIO()
    Console(file=screen, width=80).print(results_table(Results("hashtag", "m", rows)))
    assert screen.getvalue().count("0.1234") == len(rows)
    assert "…" not in screen.getvalue()
