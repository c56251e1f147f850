"""Each section from folders written by hand."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from written_folders import map_file, write

from twhin_hf.errors import InputError
from twhin_hf.report.charts import map_rows
from twhin_hf.report.posts import PostsSource, count_posts, degree_counts, sample_pairs
from twhin_hf.report.reading import read_folders
from twhin_hf.report.report_config import ReportConfig
from twhin_hf.report.sections import make_sections


def sections_of(*folders, **options):
    found = make_sections(read_folders(folders), ReportConfig(**options))
    return {section.name: section for section in found}


def block(section, part):
    (found,) = [block for block in section.blocks if part in block.title]
    return found


def test_a_run_shows_what_it_has_and_no_more(run_folder):
    sections = sections_of(run_folder)
    assert list(sections) == ["summary", "results", "training", "data", "pairs", "provenance"]
    assert "6 engagements of 3 people with 3 posts" in " ".join(sections["summary"].intro)
    assert "3 posts in 2 languages" in " ".join(sections["summary"].intro)


def test_the_finding_stands_beside_chance_and_baselines(run_folder):
    (finding,) = sections_of(run_folder)["summary"].blocks
    assert finding.figure == "0.400"
    told = " ".join(finding.sentences)
    assert "ours reaches HITS@10 0.400 (0.350–0.450) (en): how often the right post" in told
    assert "A blind guess would reach 0.010." in told
    assert "words, reaches 0.200." in told
    assert "ours less words: +0.200 (95 % interval +0.100 to +0.300; p = 0.002): better" in told
    assert "2 seeds: from 0.300 to 0.500" in told
    assert [row[0] for row in finding.table.rows] == ["chance", "words", "ours"]


def test_an_interval_across_nothing_is_no_gain(run_folder):
    path = run_folder / "results.json"
    content = json.loads(path.read_text())
    content["baselines"]["words"][0]["details"]["difference"]["interval"] = [-0.1, 0.3]
    path.write_text(json.dumps(content))
    (finding,) = sections_of(run_folder)["summary"].blocks
    assert "too little to tell them apart" in " ".join(finding.sentences)


def test_results_are_a_chart_and_a_table(run_folder):
    results = sections_of(run_folder)["results"]
    chart, table = results.blocks
    (rows,) = [rows for rows in chart.spec["datasets"].values() if "low" in rows[0]]
    assert [(row["name"], row["kind"], row["value"]) for row in rows] == [
        ("words", "baseline", 0.2),
        ("ours", "model", 0.4),
    ]
    assert (rows[1]["low"], rows[1]["high"], rows[1]["seeds"]) == (0.35, 0.45, [0.3, 0.5])
    assert "0.400  × 2.00" in rows[1]["label"]
    assert any(row.get("chance") == 0.01 for r in chart.spec["datasets"].values() for row in r)
    assert chart.source == "twhin-hf run --user_id … --output run"
    assert table.columns == ["model", "language", "HITS@10", "MRR"]
    assert ["ours", "en", "0.400 (0.350–0.450)", "0.200 (0.150–0.250)"] in table.rows


def test_curves_stand_over_the_tokens_and_seeds_have_one_colour(run_folder):
    training = sections_of(run_folder)["training"]
    loss = block(training, "Total loss")
    (rows,) = loss.spec["datasets"].values()
    assert [(row["x"], row["y"]) for row in rows if "seed1" in row["run"]] == [
        (500, 8.0),
        (1200, 5.0),
    ]
    assert {row["name"] for row in rows} == {"social"}
    assert ["run/seed1/social", "1,200", "5"] in loss.table.rows
    assert block(training, "Pairs found").spec["layer"][0]["encoding"]["y"]["scale"]["domain"] == [
        0,
        1,
    ]
    assert block(training, "All trainings").rows[0][3] == "1,200"


def test_what_diverged_is_left_out(run_folder):
    log = [{"step": 1, "loss": 2.0, "grad_norm": float("nan")}, {"step": 2, "loss": float("inf")}]
    write(run_folder / "seed0" / "social" / "trainer_state.json", {"log_history": log})
    training = sections_of(run_folder)["training"]
    (rows,) = block(training, "Total loss").spec["datasets"].values()
    assert [row["y"] for row in rows if "seed0" in row["run"]] == [2.0]
    assert "Length of the gradient" not in [found.title for found in training.blocks]


def test_long_curves_are_thinned(run_folder):
    path = run_folder / "seed0" / "social" / "trainer_state.json"
    write(path, {"log_history": [{"step": step, "loss": 1 / step} for step in range(1, 5001)]})
    write(run_folder / "seed1" / "social" / "trainer_state.json", {"log_history": []})
    loss = block(sections_of(run_folder)["training"], "Total loss")
    (rows,) = loss.spec["datasets"].values()
    assert len(rows) == 400
    assert (rows[0]["x"], rows[-1]["x"]) == (1, 5000)  # steps, where no tokens were logged
    assert len(loss.table.rows) == 12


def test_languages_before_and_after_resampling(run_folder):
    chart = block(sections_of(run_folder)["data"], "languages")
    # 0.8^½ : 0.2^½ = 2 : 1
    assert [list(row) for row in chart.table.rows] == [
        ["en", "80.00%", "66.67%"],
        ["ar", "20.00%", "33.33%"],
    ]
    assert "power of 0.5" in chart.note


def test_lengths_and_degrees(run_folder):
    counts = count_posts(PostsSource(run_folder / "data" / "posts.parquet"))
    assert counts.num_posts == 3
    assert counts.languages == {"en": 2, "ar": 1}
    assert counts.lengths == {0: 1, 40: 1, 80: 1}  # 13, 50 and 85 characters
    assert degree_counts(run_folder / "network" / "posts.parquet") == {1: 1, 2: 2}
    data = sections_of(run_folder)["data"]
    assert ["1", "1"] in block(data, "engagements of a post").table.rows
    assert ["2–3", "2"] in block(data, "engagements of a post").table.rows
    assert ["MRR", "0.5"] in block(data, "the network").rows


def test_pairs_come_with_texts_likers_and_languages(run_folder):
    section = sections_of(run_folder)["pairs"]
    pairs = section.blocks[1]
    first, second = pairs.pairs
    assert first.texts == ("thanks @user 🌋", "x" * 50)
    assert first.languages == ("en", "ar")
    assert (first.similarity, first.likers) == (0.75, (2, 1, 0))
    assert (second.similarity, second.likers) == (0.25, (2, 3, 2))
    assert "2 of 2 pairs" in pairs.note
    assert section.blocks[0].table.rows == [["0.25", "1"], ["0.75", "1"]]


def test_pairs_without_posts_say_how_to_get_texts(tmp_path):
    table = pa.table({"anchor_id": [str(n) for n in range(200)], "positive_id": ["x"] * 200})
    pq.write_table(table, tmp_path / "pairs.parquet")
    (pairs,) = sections_of(tmp_path / "pairs.parquet")["pairs"].blocks
    assert len(pairs.pairs) == 50
    assert "50 of 200 pairs" in pairs.note
    assert "--posts" in pairs.note
    assert pairs.pairs[0].texts == (None, None)
    again = sample_pairs(tmp_path / "pairs.parquet", 50)
    assert again.pairs == pairs.pairs
    assert again.num_pairs == 200


def test_evaluations_have_sections_of_their_own(evaluations):
    sections = sections_of(evaluations)
    assert list(sections) == ["summary", "results", "few-shot", "alignment", "calibration"]
    few = sections["few-shot"].blocks[0]
    assert [list(row) for row in few.table.rows] == [
        ["m", "2", "0.2000", "0.1000", "0.3000"],
        ["m", "8", "0.6000", "0.5000", "0.7000"],
    ]
    assert [chart.title for chart in sections["alignment"].blocks] == [
        "en-ar, before",
        "en-ar, after",
    ]
    (reliability,) = sections["calibration"].blocks
    assert reliability.table.rows == [["0.01", "0.02"], ["0.1", "0.2"]]
    assert "0.012" in reliability.note


def test_the_papers_rows_stand_beside_their_tasks(evaluations):
    results = sections_of(evaluations)["results"]
    tables = [found for found in results.blocks if found.kind == "table"]
    suite = next(found for found in tables if "per cent" in found.title)
    assert ["mBERT (published)", "21.10", "21.10"] in [list(row) for row in suite.rows]
    assert ["ours", "25.00", "25.00"] in [list(row) for row in suite.rows]
    beside = next(found for found in tables if "beside the papers" in found.title)
    cells = [list(row) for row in [*beside.rows, *beside.more]]
    assert ["mBERT (published)", "hashtag", "en", "0.5456"] in cells
    assert ["m", "hashtag", "en", "0.6100"] in cells


def test_alignment_is_told_by_its_distances(evaluations):
    findings = sections_of(evaluations)["summary"].blocks
    assert "0.50 → 0.25" in [finding.figure for finding in findings]


def test_a_map_is_drawn_from_its_page(tmp_path):
    path = map_file(tmp_path / "map.html", 20)
    (block_,) = sections_of(path, max_points=8)["map"].blocks
    content = block_.content
    assert content["layouts"] == ["after", "before"]
    assert len(content["text"]) == len(content["group"]) == len(content["x"][0]) == 8
    for text, language in zip(content["text"], content["language"], strict=True):
        assert ("en", "ar")[int(text.split()[-1]) % 2] == language
    assert "8 of 20 posts" in block_.note


def test_more_classes_than_colours_are_grey():
    names = [f"l{n}" for n in range(9)]
    colouring = {"name": "language", "classes": names, "of": list(range(9)), "hasRest": False}
    content = map_rows(
        {
            "colorings": [colouring],
            "layouts": [{"name": "a", "x": [0] * 9, "y": [0] * 9}],
            "languages": ["en"],
            "language": [0] * 9,
            "texts": None,
        },
        100,
        0,
    )
    assert content["groups"] == [*names[:7], "other"]
    assert content["group"] == [0, 1, 2, 3, 4, 5, 6, 7, 7]
    assert content["hasRest"]


def test_commands_are_told_without_ids_of_people(run_folder):
    (record,) = sections_of(run_folder)["provenance"].blocks
    assert record.command == "twhin-hf run --user_id … --output run"
    assert ("seed", "7") in record.facts
    assert ("posts, fingerprint", "0123abcd") in record.facts
    assert json.loads(record.options) == {"seeds": [0, 1]}


def test_a_training_that_runs_is_read_from_its_newest_checkpoint(tmp_path):
    for step in (2, 10):
        log = {"log_history": [{"step": step, "loss": float(step)}]}
        write(tmp_path / "new" / f"checkpoint-{step}" / "trainer_state.json", log)
    (training,) = read_folders([tmp_path / "new"]).trainings.values()
    assert training.log == [{"step": 10, "loss": 10.0}]


def test_damaged_files_are_named(run_folder):
    (run_folder / "seed0" / "social" / "trainer_state.json").write_text("{}")
    with pytest.raises(InputError, match=r"trainer_state.json cannot be used \(KeyError"):
        read_folders([run_folder])


def test_foreign_results_are_left_out(run_folder, caplog):
    write(run_folder / "other" / "results.json", {"score": 1})
    assert list(read_folders([run_folder]).results) == ["run"]
    assert "other/results.json is no result" in caplog.text
