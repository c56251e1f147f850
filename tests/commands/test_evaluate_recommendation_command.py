"""The command from a generated log to its tables, and what it refuses."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from twhin_hf.commands.cli import load_command
from twhin_hf.commands.parsing import run_command
from twhin_hf.errors import InputError
from twhin_hf.hub.public_results import public_results
from twhin_hf.loading.text_encoders import TextEncoder
from twhin_hf.results import read_results

pytestmark = pytest.mark.filterwarnings("ignore")
FAST = ("--dimension", 16, "--num_candidates", 50, "--at", 10, 20)


def run(name, *arguments):
    arguments = [str(argument) for argument in arguments]
    run_command(load_command(name), arguments, f"twhin-hf {name}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recommendation")
    sizes = ("--num_users", 300, "--num_posts", 800, "--num_engagements", 9000)
    run("synthesize", "--output", folder, *sizes, "--languages", "en", "hi", "--seed", 1)
    return folder


@pytest.fixture(autouse=True)
def encoder(folder, monkeypatch):
    """Features are the posts' topics with some noise."""
    posts = pq.read_table(folder / "posts.parquet")
    topic = dict(zip(posts["text"].to_pylist(), posts["topic"].to_pylist(), strict=True))

    def encode(texts):
        features = np.eye(16, dtype=np.float32)[[topic[text] for text in texts]]
        noise = np.random.default_rng(0).standard_normal(features.shape, dtype=np.float32)
        return features + 0.1 * noise

    monkeypatch.setattr(
        "twhin_hf.loading.text_encoders.load_text_encoder",
        lambda *names, **options: TextEncoder(encode, "mean", "Fake"),
    )


def evaluate(folder, output, *more):
    data = ("--posts", folder / "posts.parquet", "--engagements", folder / "engagements.parquet")
    options = ("--model", "some/encoder", "--output", output, *FAST, *more)
    run("evaluate recommendation", *data, *options)
    return read_results(output)


@pytest.fixture(scope="module")
def output(folder):
    return folder / "output"


def value(rows, metric, language="all"):
    [row] = [row for row in rows if (row.metric, row.language) == (metric, language)]
    return row


def test_everybody_stands_in_one_table(folder, output, capsys):
    results = evaluate(folder, output)
    models = results.baselines | {"ours": results.results}
    assert {"random", "popularity", "encoder, mean of history", "ours: network alone"} < set(models)
    metric = "new posts: HITS@10 (of 50)"
    random, text, ours = (
        value(models[name], metric) for name in ("random", "ours: text alone", "ours")
    )
    # Among 50 candidates, 10 are in the first 10 by chance.
    assert random.value == pytest.approx(0.2, abs=0.06)
    assert min(text.value, ours.value) > 2 * random.value
    assert random.details["difference"]["p"] < 0.01
    assert random.details["difference"]["value"] == pytest.approx(ours.value - random.value)
    assert ours.interval[0] < ours.value < ours.interval[1]
    known = "known posts: recall@20"
    assert value(models["ours"], known).value > value(models["popularity"], known).value
    assert {row.language for row in results.results} == {"all", "en", "hi"}
    spread = {name: value(models[name], "all posts: coverage@10").value for name in models}
    assert spread["random"] > 0.6 > 0.2 > spread["popularity"]
    popular = value(models["popularity"], "known posts: popularity@10").value
    assert popular > 0.95 > value(models["ours"], "known posts: popularity@10").value
    written = capsys.readouterr().out
    assert "new users, known posts" in written
    assert public_results(output / "results.json", "me/name")[1] == []
    assert (output / "recall.png").stat().st_size > 1000
    # Once more it is finished, and other options are another run.
    evaluate(folder, output)
    assert "HITS" not in capsys.readouterr().out


def test_relations_that_say_nothing_of_taste_are_left_out(folder, tmp_path):
    evaluate(folder, tmp_path, "--relations", "like")
    whole, training = (
        pq.read_table(path)["relation"].unique().to_pylist()
        for path in (folder / "engagements.parquet", tmp_path / "training_engagements.parquet")
    )
    assert set(training) == {"like"} < set(whole)


def test_an_own_network_gives_the_same_and_a_leaky_one_is_refused(folder, output, tmp_path):
    own, leaky = tmp_path / "network", tmp_path / "leaky"
    options = ("--dimension", 16, "--threads", 1)
    training = output / "training_engagements.parquet"
    run("network embed", "--engagements", training, "--output", own, *options)
    again = evaluate(folder, tmp_path / "again", "--network", own)
    first = read_results(output)
    assert [row.metric for row in again.results] == [row.metric for row in first.results]
    assert again.baselines["popularity"] == first.baselines["popularity"] or all(
        a.value == b.value
        for a, b in zip(again.baselines["popularity"], first.baselines["popularity"], strict=True)
    )
    run(
        "network embed",
        "--engagements",
        folder / "engagements.parquet",
        "--output",
        leaky,
        *options,
    )
    with pytest.raises(InputError, match=r"embedded from [\d,]+ engagements that are to be found"):
        evaluate(folder, tmp_path / "refused", "--network", leaky)
