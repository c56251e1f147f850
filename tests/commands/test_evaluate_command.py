import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.commands.cli import load_command
from twhin_hf.commands.parsing import run_command
from twhin_hf.data.splits import split_posts
from twhin_hf.errors import InputError
from twhin_hf.loading.text_encoders import TextEncoder
from twhin_hf.network.folder import Network, load_network, save_network
from twhin_hf.results import read_results
from twhin_hf.timestamps import iso

pytestmark = pytest.mark.filterwarnings("ignore")


def run(name, *arguments):
    arguments = [str(argument) for argument in arguments]
    run_command(load_command(name), arguments, f"twhin-hf {name}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Generated data, and the network of its training posts with vectors that hold the topics."""
    folder = tmp_path_factory.mktemp("evaluate")
    sizes = ("--num_users", 300, "--num_posts", 1200, "--num_engagements", 9000)
    languages = ("--languages", "en", "hi")
    run("synthesize", "--output", folder, *sizes, *languages, "--seed", 1)
    posts = pq.read_table(folder / "posts.parquet")
    engagements = pq.read_table(folder / "engagements.parquet")
    training = posts.filter(split_posts(posts["post_id"]) == "train")
    topic = dict(zip(posts["post_id"].to_pylist(), posts["topic"].to_pylist(), strict=True))
    users = sorted(set(engagements["user_id"].to_pylist()))
    row = {user: number for number, user in enumerate(users)}
    vectors = np.zeros((len(users), 16), dtype=np.float32)
    for user, post in zip(
        engagements["user_id"].to_pylist(), engagements["post_id"].to_pylist(), strict=True
    ):
        vectors[row[user], topic[post]] += 1
    network = Network(
        user_ids=pa.array(users),
        post_ids=training["post_id"].combine_chunks(),
        relations=["like"],
        user_vectors=vectors / vectors.sum(axis=1, keepdims=True),
        post_vectors=np.ones((training.num_rows, 16), np.float32),
        relation_vectors=np.zeros((1, 16), np.float32),
        user_degrees=np.ones(len(users), np.int64),
        post_degrees=np.ones(training.num_rows, np.int64),
    )
    save_network(network, folder / "network")
    leaky = dataclasses.replace(
        network,
        post_ids=posts["post_id"].combine_chunks(),
        post_vectors=np.ones((posts.num_rows, 16), np.float32),
        post_degrees=np.ones(posts.num_rows, np.int64),
    )
    save_network(leaky, folder / "leaky")
    return folder


@pytest.fixture
def fake_model(folder, monkeypatch):
    """An encoder whose features are the posts' topics with some noise."""
    posts = pq.read_table(folder / "posts.parquet")
    topic = dict(zip(posts["text"].to_pylist(), posts["topic"].to_pylist(), strict=True))
    loaded = []

    def encode(texts):
        features = np.eye(16, dtype=np.float32)[[topic[text] for text in texts]]
        noise = np.random.default_rng(0).standard_normal(features.shape, dtype=np.float32)
        return features + 0.1 * noise

    def load(name, revision, *, pooling, batch_size, max_length, device):
        assert (batch_size, max_length, device) == (32, 64, "cpu")
        loaded.append((name, revision))
        return TextEncoder(encode, pooling or "mean (sentence-transformers)", "Fake")

    monkeypatch.setattr("twhin_hf.loading.text_encoders.load_text_encoder", load)
    return loaded


def arguments(folder, network="network"):
    """Each evaluation of the module writes over the one before."""
    return (
        "--overwrite",
        *("--model", "some/model", "--seeds", 0, 1, "--device", "cpu"),
        *("--posts", folder / "posts.parquet", "--engagements", folder / "engagements.parquet"),
        *("--network", folder / network, "--output", folder / "out", "--max-length", 64),
    )


def test_evaluate_engagement(folder, fake_model, capsys):
    run("evaluate engagement", *arguments(folder), "--records-per-user", "all")
    assert fake_model == [("some/model", None)]
    results = read_results(folder / "out")
    assert (results.task, results.model, results.revision) == ("engagement", "some/model", None)
    assert [(row.language, row.metric) for row in results.results] == [
        (language, metric) for metric in ("HITS@10", "MRR") for language in ("en", "hi", "average")
    ]
    assert all(row.value > 0.3 for row in results.results[:3])
    assert results.results[0].details["candidates"] < 100
    assert results.options["records_per_user"] is None
    assert results.options["pooling"] == "mean (sentence-transformers)"
    assert results.options["benchmark"]["users_without_vector"] == 0
    shown = capsys.readouterr().out
    assert "Engagement prediction on posts never seen" in shown
    assert list(results.baselines) == ["chance", "TF-IDF + SVD"]
    for name, rows in results.baselines.items():
        assert [row.metric for row in rows] == [row.metric for row in results.results]
        assert f"Over {name}: HITS@10 +" in shown
    assert results.baselines["chance"][2].value < 0.5 * results.results[2].value
    assert results.results[0].details["rows"] in ("raw", "normalized")
    low, high = results.results[0].interval
    assert low < results.results[0].value < high


def test_the_model_that_training_began_from(folder, fake_model, tmp_path, caplog):
    for name in ("stock", "trained"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "trained" / "training_record.json").write_text('{"base_model": ["stock"]}')
    given = (
        "--model",
        tmp_path / "trained",
        "--overwrite",
        *arguments(folder)[3:],
        "--max_epochs",
        1,
    )
    run("evaluate engagement", *given)
    assert fake_model == [(str(tmp_path / "trained"), None), (str(tmp_path / "stock"), None)]
    results = read_results(folder / "out")
    assert list(results.baselines)[2:] == [str(tmp_path / "stock")]
    own = read_results(tmp_path / "trained" / "results_engagement.json")
    assert own.results == results.results
    fake_model.clear()
    run("evaluate engagement", *given, "--base_model", "them/theirs", "--revision", "abc")
    assert fake_model == [(str(tmp_path / "trained"), "abc"), ("them/theirs", None)]
    for pooling, of_base in (("mean", "mean"), ("mean+engagement", "mean (sentence-transformers)")):
        run("evaluate engagement", *given, "--pooling", pooling)
        options = read_results(folder / "out").options
        # The heads of the training are not in what it began from, which has its own pooling then.
        assert options["pooling"] == pooling
        assert options["pooling_of_baselines"] == {str(tmp_path / "stock"): of_base}
    fake_model.clear()
    run("evaluate engagement", *given, "--no_baselines")
    assert len(fake_model) == 1
    assert read_results(folder / "out").baselines == {}


def test_a_network_with_held_out_posts_is_refused(folder, fake_model):
    posts = pq.read_table(folder / "posts.parquet")["post_id"]
    held_out = int((split_posts(posts) != "train").sum())
    with pytest.raises(ValueError, match=f"The network holds {held_out} posts that the evaluation"):
        run("evaluate engagement", *arguments(folder, "leaky"))
    with pytest.raises(ValueError, match="or evaluate with the split seed it was made with"):
        run("evaluate engagement", *arguments(folder), "--split-seed", 1)
    assert not fake_model
    assert load_network(folder / "network").num_posts + held_out == len(posts)


def test_a_split_by_time(folder, fake_model, tmp_path, caplog):
    """Judged are posts of the end, by a network that ended before; any other one is refused."""
    caplog.set_level("INFO")
    log = pq.read_table(folder / "engagements.parquet")
    times = pq.read_table(folder / "posts.parquet")["timestamp"].to_numpy()
    begin = int(np.sort(times)[int(0.8 * len(times))])
    posts = pq.read_table(folder / "posts.parquet")
    early = posts.filter(pa.array(times < begin))
    network = load_network(folder / "network")
    count = early.num_rows
    own = dataclasses.replace(
        network,
        post_ids=early["post_id"].combine_chunks(),
        post_vectors=np.ones((count, 16), np.float32),
        post_degrees=np.ones(count, np.int64),
        engagements=None,
        metadata={},
    )
    given = ("--split", "time", "--records_per_user", "all", "--max_epochs", 1, "--no_baselines")
    save_network(own, tmp_path / "network")
    with pytest.raises(InputError, match="does not say which time") as error:
        run("evaluate engagement", *arguments(folder, tmp_path / "network"), *given)
    assert f"--before {iso(begin)}" in str(error.value)
    save_network(dataclasses.replace(own, metadata={"before": iso(begin)}), tmp_path / "network")
    run("evaluate engagement", *arguments(folder, tmp_path / "network"), *given)
    options = read_results(folder / "out").options
    assert (options["split"], options["validation_from"]) == ("time", iso(begin))
    assert f"Posts are split by time: {count} train before {iso(begin)}" in caplog.text
    # Engagements with train posts from then on, and with those of validation in test, are out.
    ends = dict(zip(posts["post_id"].to_pylist(), times, strict=True))
    test = int(np.sort(times)[int(0.9 * len(times))])
    kept = {
        (user, post)
        for user, post, time in zip(
            *(log[name].to_pylist() for name in ("user_id", "post_id", "timestamp")), strict=True
        )
        if time < begin or (ends[post] >= begin and time < test) or ends[post] >= test
    }
    assert options["benchmark"]["engagements"] == len(kept) < log.num_rows - 200
    with pytest.raises(InputError, match=r"The network holds .* posts that the evaluation holds"):
        run("evaluate engagement", *arguments(folder), *given)


def test_missing_files_come_before_the_model(folder, fake_model):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        run("evaluate engagement", *arguments(folder, "nowhere"))
    assert not fake_model


def test_records_per_user_is_checked(folder):
    with pytest.raises(ValueError, match="--records_per_user is 0; give 1 or more, or all"):
        run("evaluate engagement", *arguments(folder), "--records-per-user", 0)
    with pytest.raises(ValueError, match=r"--records_per_user .*'some'"):
        run("evaluate engagement", *arguments(folder), "--records-per-user", "some")


OPTIONS = {
    "engagement": ("--posts", "--network", "--columns", "--post_columns", "--memory_limit"),
    "hashtag": ("--data_dir", "--languages", "--protocols", "--shots", "--columns"),
    "classification": ("--benchmark", "--data_dir", "--hydration", "--columns"),
    "retrieval": ("--pairs", "--projected", "--columns", "--batch_size"),
    "zero-shot": ("--train LANGUAGE=FILE", "--label_map", "--columns", "--allow_unseen_labels"),
    "alignment": ("--before", "--after", "--pairs", "--columns", "--seed"),
    "suite": ("--suite {twhin,tpp,tweeteval}", "--data_dir", "--languages", "--hydration"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_help_lists_the_options_of_an_evaluation(name, capsys):
    with pytest.raises(SystemExit):
        run(f"evaluate {name}", "--help")
    shown = capsys.readouterr().out
    for option in (*OPTIONS[name], "--device", "--max_length", "--output", "--config FILE"):
        assert f"  {option}" in shown or f", {option}" in shown, option
    assert ("--seeds SEEDS [...]" in shown) == (name not in ("retrieval", "alignment"))


def test_help_states_defaults_and_choices(capsys):
    with pytest.raises(SystemExit):
        run("evaluate engagement", "--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "--records_per_user {N,all} Number" in shown
    assert "embedded with. (default: 0)" in shown
    assert "(paper: 6 runs). (default: 0 1 2 3 4 5)" in shown


def test_options_from_a_file(folder, fake_model, tmp_path):
    path = tmp_path / "engagement.yaml"
    path.write_text("seeds: [3]\nmax_epochs: 2\nrecords_per_user: all\nhits_at: 5\n")
    run("evaluate engagement", *arguments(folder)[:3], *arguments(folder)[6:], "--config", path)
    results = read_results(folder / "out")
    assert (results.results[0].metric, results.results[0].seeds) == ("HITS@5", [3])
    assert (results.options["max_epochs"], results.options["num_candidates"]) == (2, 1000)
    path.write_text("max_epoch: 2\n")
    with pytest.raises(ValueError, match="unknown key 'max_epoch'; did you mean 'max_epochs'"):
        run("evaluate engagement", *arguments(folder), "--config", path)


def test_columns_of_other_names(folder, fake_model, tmp_path):
    for name, theirs in (("posts", {"text": "body"}), ("engagements", {"user_id": "who"})):
        table = pq.read_table(folder / f"{name}.parquet")
        names = [theirs.get(column, column) for column in table.column_names]
        pq.write_table(table.rename_columns(names), tmp_path / f"{name}.parquet")
    given = [
        *("--model", "some/model", "--seeds", 0, "--max_epochs", 1, "--device", "cpu"),
        *("--posts", tmp_path / "posts.parquet", "--network", folder / "network"),
        *("--engagements", tmp_path / "engagements.parquet", "--output", tmp_path / "out"),
        *("--max_length", 64),
    ]
    with pytest.raises(ValueError, match="no column 'text'"):
        run("evaluate engagement", *given)
    renamed = ("--columns", "user_id=who", "--post_columns", "text=body")
    run("evaluate engagement", *given, *renamed, "--memory_limit", "500MB")
    assert read_results(tmp_path / "out").options["benchmark"]["records"] > 0
