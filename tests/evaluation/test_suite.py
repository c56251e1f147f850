import io
import json
import shutil
from dataclasses import dataclass, field
from typing import get_args, get_type_hints

import numpy as np
import pytest
from rich.console import Console

from twhin_hf.commands import evaluate_suite
from twhin_hf.commands.cli import main
from twhin_hf.evaluation.suite import engagement
from twhin_hf.evaluation.suite.running import (
    Figure,
    Model,
    SuiteOptions,
    SuiteTask,
    figures_of,
    run_tasks,
)
from twhin_hf.evaluation.suite.tables import (
    averages,
    markdown_table,
    published_figures,
    screen_tables,
    suite_tables,
)
from twhin_hf.evaluation.suite.tasks import SUITES, find_tasks
from twhin_hf.evaluation.suite.whole import run_suite
from twhin_hf.results import read_results

pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass(frozen=True)
class Runner(SuiteTask):
    """A task that counts its runs and may be interrupted."""

    name: str = "pos"
    metric: str = "accuracy"
    languages: tuple = ("hi", "ja")
    seeds: tuple = (0, 1, 2)
    stop_at: int | None = None
    data: str = "a"
    ran: list = field(default_factory=list)

    def options(self, model):
        return {"data": self.data}

    def run(self, model, seeds):
        for seed in seeds:
            if seed == self.stop_at:
                raise KeyboardInterrupt
            self.ran.append((model.name, seed))
            yield seed, {"hi": Figure(0.1 * seed, {"pooling": "cls"}), "ja": Figure(0.5, {})}


# --- the runner -----------------------------------------------------------------------------------


def test_it_goes_on_where_it_stopped(tmp_path):
    models = [Model("a/one"), Model("a/two", "v1")]
    stopped = Runner(stop_at=2)
    with pytest.raises(KeyboardInterrupt):
        run_tasks(models, [stopped], tmp_path)
    assert stopped.ran == [("a/one", 0), ("a/one", 1)]
    again = Runner()
    results = run_tasks(models, [again], tmp_path)
    assert again.ran == [("a/one", 2), ("a/two", 0), ("a/two", 1), ("a/two", 2)]
    third = Runner()
    assert run_tasks(models, [third], tmp_path) == results
    assert third.ran == []
    more = Runner(seeds=(0, 1, 2, 3))
    run_tasks(models[:1], [more], tmp_path)
    assert more.ran == [("a/one", 3)]
    files = sorted(path.relative_to(tmp_path) for path in (tmp_path / "runs").rglob("*.json"))
    assert len(files) == 7
    one = read_results(tmp_path / files[0])
    assert (one.task, one.results[0].seeds, one.options["data"]) == ("pos", [0], "a")


def test_the_median_of_the_seeds_is_told(tmp_path):
    (results,) = run_tasks([Model("a/one")], [Runner(seeds=(0, 1, 4))], tmp_path)
    first, second = results.results
    assert (first.language, first.value) == ("hi", pytest.approx(0.1))
    assert first.values == pytest.approx([0.0, 0.1, 0.4])
    assert first.details == {"pooling": "cls"}
    assert second.value == 0.5
    assert list(figures_of([results]))[1] == ("a/one", "pos", "ja", 0.5)


def test_a_result_of_other_options_is_not_taken(tmp_path):
    run_tasks([Model("a/one")], [Runner()], tmp_path)
    other = Runner(data="b")
    with pytest.raises(ValueError, match="a run of other options: data was 'a' and is 'b'"):
        run_tasks([Model("a/one")], [other], tmp_path)
    assert other.ran == []


def test_a_model_folder_that_changed_is_told(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"one")
    run_tasks([Model(str(folder))], [Runner()], tmp_path / "out")
    run_tasks([Model(str(folder))], [Runner()], tmp_path / "out")
    (folder / "model.safetensors").write_bytes(b"two")
    with pytest.raises(ValueError, match="a run of other options: model_fingerprint"):
        run_tasks([Model(str(folder))], [Runner()], tmp_path / "out")


def test_models_by_name_and_revision(tmp_path, monkeypatch):
    assert Model.parse("a/one") == Model("a/one")
    assert Model.parse("a/one@v1") == Model("a/one", "v1")
    (tmp_path / "one@home").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Model.parse("one@home") == Model("one@home")


def test_what_the_runner_refuses(tmp_path):
    with pytest.raises(ValueError, match="0 models and 1 tasks; needed is one of each"):
        run_tasks([], [Runner()], tmp_path)
    with pytest.raises(ValueError, match="a model is named twice"):
        run_tasks([Model("a"), Model("a")], [Runner()], tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no \./gone; give a folder"):
        run_tasks([Model("./gone")], [Runner()], tmp_path)


# --- tables ---------------------------------------------------------------------------------------


def test_tables_by_language_and_by_task():
    figures = [
        ("A", "ner", "hi", 0.25),
        ("A", "pos", "hi", 0.75),
        ("A", "ner", "ja", 0.5),
        ("B", "ner", "hi", 0.5),
        ("B", "ner", "ja", 0.5),
    ]
    published = {"mBERT": {("ner", "hi"): 0.9, ("pos", "hi"): 0.674}, "other": {("x", "y"): 1.0}}
    tables = suite_tables(figures, published)
    assert [table.title for table in tables] == ["hi", "ja", "ner"]
    assert markdown_table(tables[0]) == (
        "## hi\n\n"
        "| model | ner | pos | average |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| mBERT (published) | 90.00 | 67.40 | 78.70 |\n"
        "| A | 25.00 | **75.00** | **50.00** |\n"
        # B has no figure of pos, so no average; the best of those measured here is bold.
        "| B | **50.00** | – | – |\n"
    )
    assert "| A | 25.00 | **50.00** | 37.50 |" in markdown_table(tables[2])
    assert "| B | **50.00** | **50.00** | **50.00** |" in markdown_table(tables[2])
    (shown,) = screen_tables(tables[0])
    assert shown.row_count == 3
    assert averages([0.5, None]) is None


def test_a_wide_table_has_its_columns_in_several():
    languages = [f"l{number}" for number in range(12)]
    figures = [("a/model", "hashtag", language, 0.5) for language in languages]
    *_, table = suite_tables(figures, {"mBERT": {("hashtag", "l3"): 0.25}})
    shown = screen_tables(table)
    assert [str(part.title) for part in shown] == [
        "hashtag (1 of 3)",
        "hashtag (2 of 3)",
        "hashtag (3 of 3)",
    ]
    for part in shown:
        screen = io.StringIO()
        Console(file=screen, width=80).print(part)
        assert screen.getvalue().count("50.00") == len(part.columns) - 1
    headers = [column.header for part in shown for column in part.columns if part]
    assert [name for name in headers if name != "model"] == [*languages, "average"]


def test_published_rows_of_each_suite():
    twhin, sources = published_figures("twhin")
    assert twhin["TwHIN-BERT base"]["engagement", "en"] == 0.1552
    assert twhin["TwHIN-BERT base"]["hashtag-features", "ja"] == 0.6412
    assert twhin["TwHIN-BERT base"]["semeval2020-hi", "hi+en"] == 0.713
    assert twhin["BERTweet"]["engagement", "en"] == 0.1414
    # Where Tables 1 and 3 differ from 6 and 7, these two agree with the averages.
    assert twhin["TwHIN-BERT base"]["engagement", "tl"] == 0.1332
    assert twhin["TwHIN-BERT base, MLM only"]["hashtag", "te"] == 0.5513
    assert len(sources) == 6
    tpp, sources = published_figures("tpp")
    assert len(sources) == 1
    assert tpp["mBERT + TPP ALL"]["sentiment", "ja"] == 0.677
    tweeteval, _ = published_figures("tweeteval")
    assert tweeteval["XLM-T"] == {("sentiment", "en"): 0.7201, ("emoji", "en"): 0.3197}


# --- the tasks of the suites, with a tiny model ---------------------------------------------------


def write_splits(folder, splits, names):
    folder.mkdir(parents=True)
    for split, name in zip(("train", "validation", "test"), ("train", "val", "test"), strict=True):
        texts, labels = splits[split]["text"][:], splits[split]["label"][:]
        (folder / f"{name}_text.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
        (folder / f"{name}_labels.txt").write_text("\n".join(map(str, labels)) + "\n")
    if names:
        rows = [f"{number}\t{name}" for number, name in enumerate(names)]
        (folder / "mapping.txt").write_text("\n".join(rows) + "\n")


QUICK = [
    "--epochs", "2", "--batch-size", "16", "--learning-rate", "5e-3", "--seeds", "0", "1",
    "--device", "cpu",
]  # fmt: skip


def test_tweeteval_by_command(checkpoint, splits, tmp_path, capsys):
    write_splits(tmp_path / "data" / "emoji", splits, ["a", "b", "c"])
    write_splits(tmp_path / "data" / "sentiment", splits, None)
    twin = tmp_path / "twin"
    shutil.copytree(checkpoint, twin)
    arguments = [
        "evaluate", "suite", "--suite", "tweeteval", "--model", checkpoint, "--model", str(twin),
        "--data_dir", str(tmp_path / "data"), "--output", str(tmp_path / "out"), *QUICK,
    ]  # fmt: skip
    assert main(arguments) == 0
    assert "left out: emotion, hate, irony, offensive, stance" in " ".join(
        capsys.readouterr().out.split()
    )
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content["suite"] == "tweeteval"
    assert content["averages"]["en"].keys() == {checkpoint, str(twin)}
    assert len(content["evaluations"]) == 4
    emoji, sentiment = content["evaluations"][:2]
    assert (emoji["task"], emoji["options"]["learning_rate"]) == ("emoji", 5e-3)
    assert emoji["results"][0]["metric"] == "macro F1"
    assert sentiment["results"][0]["metric"] == "average recall"
    assert sentiment["results"][0]["details"]["classifier_reads"] == "cls"
    # The same weights under another name give the same figures.
    assert content["evaluations"][2]["results"][0]["values"] == emoji["results"][0]["values"]
    tables = (tmp_path / "out" / "tables.md").read_text()
    assert "| BERTweet (published) | 33.27 | 72.97 | 53.12 |" in tables
    assert f"| {twin} | **" in tables
    apart = "Medians of the seeds, whose best and worst are "
    assert apart in tables
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("*.json")}
    assert len(before) == 8
    assert main(arguments) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
    found = run_suite(
        "tweeteval",
        [checkpoint, str(twin)],
        tmp_path / "data",
        tmp_path / "out",
        SuiteOptions(
            seeds=(0, 1),
            fine_tuning={"epochs": 2, "batch_size": 16, "learning_rate": 5e-3},
            device="cpu",
        ),
    )
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert found.missing[0] == "emotion"
    assert [path.name for path in found.files] == ["results.json", "tables.md"]
    assert [(row.model, row.task) for row in found.results[:2]] == [
        (checkpoint, "emoji"),
        (checkpoint, "sentiment"),
    ]
    # Other options do not mix with what is there.
    assert main([*arguments, "--weight-decay", "0.1"]) == 2
    assert "weight_decay was 0.0 and is 0.1" in capsys.readouterr().err
    assert main([*arguments, "--weight-decay", "0.1", "--overwrite"]) == 0
    changed = {path: path.stat().st_mtime_ns for path in before}
    assert all(changed[path] > before[path] for path in before)


def test_one_benchmark_by_its_name(checkpoint, splits, tmp_path, capsys):
    write_splits(tmp_path / "umsab" / "arabic", splits, None)
    arguments = [
        "evaluate", "classification", "--benchmark", "umsab-ar", "--model", checkpoint,
        "--data-dir", str(tmp_path / "umsab"), "--output", str(tmp_path / "out"),
        "--protocols", "fine-tuning", "features", "--pooling", "mean", *QUICK,
    ]  # fmt: skip
    assert main(arguments) == 0
    found = read_results(tmp_path / "out")
    assert (found.task, found.options["source"][:8]) == ("umsab-ar", "Barbieri")
    features, fine_tuned = found.results
    assert (features.language, features.metric) == ("ar", "macro F1 (frozen features)")
    assert features.details["pooling"] == "mean"
    assert (fine_tuned.metric, fine_tuned.seeds) == ("macro F1", [0, 1])
    assert features.value > 0.8
    assert "Saved in" in capsys.readouterr().out
    arguments[3] = "umsab-de"
    arguments.append("--overwrite")
    assert main(arguments) == 2
    assert "no file of umsab-de; it holds those of umsab-ar" in capsys.readouterr().err
    arguments[3:6] = ["umsab-ar", "--model", str(tmp_path / "gone")]
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("twhin-hf: ")


def test_tpp_trains_on_english_and_tests_on_others(checkpoint, tmp_path):
    for name, tag in (("train/en", "NOUN"), ("test/hi", "NOUN"), ("test/ja", "VERB")):
        path = tmp_path / "pos" / f"{name}.conllu"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [f"1\tab\t_\t{tag}" + "\t_" * 6, "2\tka\t_\tVERB" + "\t_" * 6, ""]
        path.write_text("\n".join(rows * 20) + "\n")
    options = SuiteOptions(
        seeds=(0,),
        fine_tuning={"epochs": 2, "learning_rate": 5e-3, "warmup_steps": 0},
        device="cpu",
    )
    (task,), missing = find_tasks("tpp", tmp_path, options)
    assert missing == ["ner", "sentiment"]
    assert (task.name, task.metric, task.languages) == ("pos", "accuracy", ("hi", "ja"))
    (results,) = run_tasks([Model(checkpoint)], [task], tmp_path / "out")
    assert [row.language for row in results.results] == ["hi", "ja"]
    assert results.results[0].value > results.results[1].value
    (only,), _ = find_tasks("tpp", tmp_path, SuiteOptions(languages=("ja",)))
    assert only.languages == ("ja",)
    with pytest.raises(ValueError, match="patience is no option of pos"):
        find_tasks("tpp", tmp_path, SuiteOptions(fine_tuning={"patience": 1}))


def test_twhin_finds_hashtags_features_and_external_benchmarks(checkpoint, splits, tmp_path):
    write_splits(tmp_path / "semeval2018" / "us", splits, None)
    write_splits(tmp_path / "asad", splits, None)
    names = splits["train"].features["label"].names
    for split, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
        path = tmp_path / "hashtag" / "en" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            f"{split}{i}\t{names[row['label']]}\t{row['text']}"
            for i, row in enumerate(splits[split])
        ]
        path.write_text("\n".join(["id\tlabel\ttext", *rows]) + "\n", encoding="utf-8")
    options = SuiteOptions(languages=("en", "ar"), device="cpu")
    tasks, missing = find_tasks("twhin", tmp_path, options)
    assert [(task.name, task.languages, len(task.seeds)) for task in tasks] == [
        ("hashtag", ("en",), 3),
        ("hashtag-features", ("en",), 1),
        ("semeval2018-en", ("en",), 3),
        ("asad", ("ar",), 3),
    ]
    assert missing[0] == "engagement"
    assert "semeval2018-es" in missing
    rates = [task.options(Model(checkpoint)).get("learning_rate") for task in tasks]
    assert rates == [4e-5, None, 1e-5, 1e-5]
    (features,) = run_tasks([Model(checkpoint)], [tasks[1]], tmp_path / "out")
    assert features.results[0].value > 0.5
    assert features.results[0].details["pooling"] == "combined"


def test_engagement_of_the_suite(checkpoint, tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    for split, count in (("train", 60), ("validation", 30), ("test", 30)):
        folder = tmp_path / "engagement" / "en"
        (folder / "posts").mkdir(parents=True, exist_ok=True)
        (folder / "records").mkdir(exist_ok=True)
        ids = [f"{split}{i}" for i in range(count)]
        posts = {"id": ids, "text": [f"ab {i} ka" for i in range(count)], "lang": ["en"] * count}
        pq.write_table(pa.table(posts), folder / "posts" / f"{split}.parquet")
        users = rng.normal(size=(count, 4)).astype(np.float32)
        users = pa.FixedSizeListArray.from_arrays(users.ravel(), 4)
        pq.write_table(
            pa.table({"user": users, "id": ids}), folder / "records" / f"{split}.parquet"
        )
    (task,), _ = find_tasks("twhin", tmp_path, SuiteOptions(seeds=(0, 1), device="cpu"))
    assert (task.name, task.metric, task.languages) == ("engagement", "HITS@10", ("en",))
    (results,) = run_tasks([Model(checkpoint)], [task], tmp_path / "out")
    (row,) = results.results
    assert (row.seeds, row.details["pooling"]) == ([0, 1], "combined")
    assert row.details["candidates"] == 30
    assert 0 <= row.value <= 1
    # A run that was broken off after its first seed ends alike: all seeds choose the features.
    whole = dict(task.run(Model(checkpoint), (0, 1)))
    predict, chosen_by = engagement.predict_engagement, []
    monkeypatch.setattr(
        engagement,
        "predict_engagement",
        lambda *args, **more: chosen_by.append(args[3].seeds) or predict(*args, **more),
    )
    assert dict(task.run(Model(checkpoint), (1,))) == {1: whole[1]}
    assert chosen_by == [(0, 1)]


def test_what_the_suites_refuse(tmp_path):
    assert get_args(get_type_hints(evaluate_suite.suite)["suite"]) == SUITES
    with pytest.raises(ValueError, match=r"suite is 'glue'; choose one of \('twhin', 'tpp'"):
        find_tasks("glue", tmp_path, SuiteOptions())
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*gone; it holds the data"):
        find_tasks("twhin", tmp_path / "gone", SuiteOptions())
    (tmp_path / "notes").mkdir()
    with pytest.raises(ValueError, match=r"no task of the suite 'tpp' in hi. Looked for .* notes"):
        find_tasks("tpp", tmp_path, SuiteOptions(languages=("hi",)))
