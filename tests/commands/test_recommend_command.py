"""`twhin-hf recommender`, `recommend` and `serve`, from files to answers."""

import csv
import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.request

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from four_groups import make_log, make_network

from twhin_hf.commands.cli import main
from twhin_hf.commands.recommend import _show
from twhin_hf.network.folder import save_network
from twhin_hf.recommendation.model import EngagementModel

NEW = pa.table({"post_id": ["n0", "n1"], "text": ["cat dog pet", "goal match team"]})
SMALLER = [
    "--words=8", "--num_negatives=20", "--predictor.max_epochs=10",
    "--predictor.learning_rate=0.01", "--predictor.projection_size=8",
]  # fmt: skip


def ended(*command):
    return main([*map(str, command)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    """A log, its network, an encoder, and the model that the command fits."""
    from transformers import BertConfig

    from twhin_hf.loading.families import MODELS
    from twhin_hf.modeling import apply_settings

    folder = tmp_path_factory.mktemp("recommend")
    log = make_log()
    posts = [int(post[1:]) for post in log.engagements["post_id"].to_pylist()]
    users = [int(user[1:]) for user in log.engagements["user_id"].to_pylist()]
    known = [post < 100 and user < 70 for post, user in zip(posts, users, strict=True)]
    pq.write_table(log.engagements.filter(pa.array(known)), folder / "log.parquet")
    pq.write_table(log.posts.slice(0, 110), folder / "posts.parquet")
    pq.write_table(NEW, folder / "new.parquet")
    save_network(make_network(log), folder / "network")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(tokenizer), intermediate_size=16, **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        MODELS["bert"](apply_settings(config, pooling="mean")).save_pretrained(folder / "encoder")
    tokenizer.save_pretrained(folder / "encoder")
    assert ended(*fit(folder)) == 0
    return folder


def fit(folder, output="model"):
    data = ["--engagements", folder / "log.parquet", "--posts", folder / "posts.parquet"]
    made = ["--network", folder / "network", "--encoder", folder / "encoder"]
    return ["recommender", "fit", *data, *made, "--output", folder / output, *SMALLER]


@pytest.fixture
def recommend(folder):
    """Runs the command on the model, and gives the rows that it writes as JSON."""

    def run(*options):
        output = folder / "found.jsonl"
        command = ["recommend", "--model", folder / "model", *options, "--output", output]
        assert ended(*command, "--overwrite") == 0
        return [json.loads(line) for line in output.read_text().splitlines()]

    return run


def test_a_fitted_folder_is_whole_and_is_kept(folder, caplog, capsys):
    model = EngagementModel.from_pretrained(folder / "model")
    assert (model.num_users, model.num_posts) == (70, 110)
    card = (folder / "model" / "README.md").read_text()
    assert "70 users, 110 posts" in card
    assert "![Predicted probabilities against what happened](reliability.png)" in card
    assert (folder / "model" / "reliability.png").read_bytes()[:4] == b"\x89PNG"
    record = json.loads((folder / "model" / "run.json").read_text())
    assert record["finished"]
    assert record["options"]["predictor"]["max_epochs"] == 10
    caplog.set_level("INFO")
    assert ended(*fit(folder)) == 0
    assert "is finished: nothing to do" in caplog.text
    assert ended(*fit(folder), "--words=4") == 2
    assert "words was 8 and is 4" in capsys.readouterr().err


def test_posts_for_users(folder, recommend):
    model = EngagementModel.from_pretrained(folder / "model")
    rows = recommend("--users", "u4", "u5", "-k", "3")
    expected = model.recommend(["u4", "u5"], k=3)
    assert [row["post_id"] for row in rows] == [name for names in expected.ids for name in names]
    assert [row["user_id"] for row in rows] == ["u4"] * 3 + ["u5"] * 3
    assert [row["rank"] for row in rows] == [1, 2, 3] * 2
    assert rows[0]["score"] == pytest.approx(float(expected.scores[0][0]))
    assert rows[0]["probability"] == pytest.approx(float(expected.probabilities[0][0]))
    assert len(recommend("--users", "u4", "-k", "1000", "--no_exclude_seen")) == 110


def test_new_posts_with_their_texts(folder, recommend):
    rows = recommend("--users", "u4", "--posts", folder / "new.parquet", "-k", "20")
    assert {row["post_id"]: row["text"] for row in rows} == dict(
        zip(*NEW.to_pydict().values(), strict=True)
    )


def test_users_of_a_file_and_texts_of_another(folder, recommend):
    users, posts = folder / "users.csv", folder / "posts.parquet"
    users.write_text("user_id\nu4\nu9\n")
    rows = recommend("--users", users, "--texts", posts, "-k", "1")
    assert {row["user_id"] for row in rows} == {"u4", "u9"}
    texts = dict(zip(*pq.read_table(posts).to_pydict().values(), strict=True))
    assert all(row["text"] == texts[row["post_id"]] for row in rows)


def test_a_history_makes_users_known(folder, recommend, caplog, capsys):
    path = folder / "history.csv"
    path.write_text("user_id,post_id\nnew,p0\nnew,p4\nnew,p8\nu4,n0\nu4,nothing\n")
    assert ended("recommend", "--model", folder / "model", "--users", "new") == 2
    assert "1 of 1 users are unknown to the model ('new' for one)" in capsys.readouterr().err
    rows = recommend("--history", path, "--posts", folder / "new.parquet", "-k", "5")
    assert "1 of 5 engagements of the history are with posts that neither" in caplog.text
    found = {(row["user_id"], row["post_id"]) for row in rows}
    assert found == {("new", "n0"), ("new", "n1"), ("u4", "n1")}  # n0 she has engaged with
    rows = recommend("--history", path, "--users", "new", "-k", "100")
    assert not {row["post_id"] for row in rows} & {"p0", "p4", "p8"}


def test_similar_posts_and_audiences(folder, recommend):
    model = EngagementModel.from_pretrained(folder / "model")
    rows = recommend("--similar_to", "p0", "-k", "2")
    assert [row["post_id"] for row in rows] == model.similar_posts(["p0"], 2).ids[0]
    assert "probability" not in rows[0]
    rows = recommend("--audience_of", "n0", "--posts", folder / "new.parquet", "-k", "2")
    assert [row["user_id"] for row in rows] == model.likely_users(NEW.slice(0, 1), 2).ids[0]


def test_files_and_the_screen(folder, capsys):
    asked = ["recommend", "--model", folder / "model", "--users", "u4", "-k", "2"]
    for name in ("found.csv", "found.parquet"):
        assert ended(*asked, "--output", folder / name) == 0
        assert ended(*asked, "--output", folder / name) == 2
        assert "is there; remove it, or add --overwrite" in capsys.readouterr().err
    with (folder / "found.csv").open() as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(folder / "found.parquet")
    assert table.column_names == ["user_id", "rank", "post_id", "score", "probability"]
    assert [row["post_id"] for row in rows] == table["post_id"].to_pylist()
    assert ended(*asked) == 0
    shown = capsys.readouterr().out
    assert all(post in shown for post in table["post_id"].to_pylist())
    assert ended(*asked, "--output", folder / "found.txt") == 2
    assert "its ending tells the format" in capsys.readouterr().err


def test_an_index_of_the_vectors(folder, recommend, capsys):
    pytest.importorskip("faiss")
    vectors, index = folder / "vectors.parquet", folder / "index"
    written = ["recommend", "--model", folder / "model", "--write_vectors", vectors]
    assert ended(*written) == 0
    built = ["index", "--vectors", vectors, "--output", index]
    assert ended(*built, "--metric", "inner_product") == 0
    asked = ["--users", "u4", "u9", "-k", "5"]
    found, expected = recommend(*asked, "--index", index), recommend(*asked)
    assert [row["post_id"] for row in found] == [row["post_id"] for row in expected]
    other = fit(folder, "other")
    assert ended(*other, "--seed", "1") == 0
    command = ["recommend", "--model", folder / "other", *asked, "--index", index]
    assert ended(*command) == 2
    assert "holds vectors that are those of another fit" in capsys.readouterr().err
    assert ended(*built[:-1], folder / "cosines") == 0
    command = ["recommend", "--model", folder / "model", *asked, "--index", folder / "cosines"]
    assert ended(*command) == 2
    assert "an index by cosine, and scores are inner products" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give --users or --history, --similar_to, or --audience_of"),
        (["--users", "u4", "--similar_to", "p0"], "one of them"),
        (["--users", "u4", "-k", "0"], "k is 0; it must be 1 or more"),
        (["--similar_to", "p999"], "1 of 1 posts are unknown"),
        (["--similar_to", "p0", "--index", "i"], "--index is for --users"),
    ],
)
def test_bad_options_are_told(folder, options, said, capsys):
    assert ended("recommend", "--model", folder / "model", *options) == 2
    assert said in capsys.readouterr().err


def test_a_service_answers_what_it_has_begun_and_ends_by_sigterm(folder, tmp_path):
    pytest.importorskip("uvicorn")
    command = [sys.executable, "-m", "twhin_hf.commands.cli", "serve", "--model", folder / "model"]
    command += ["--port", "0", "--events_log", tmp_path / "events.jsonl"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}

    def ask(address, path, content):
        request = urllib.request.Request(
            address + path, json.dumps(content).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)

    found = []
    for _ in range(2):
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                lines = iter(process.stdout)
                line = next(line for line in lines if line.startswith("Serving on "))
                address = line.split()[2]
                assert address.startswith("http://127.0.0.1:")
                told = {
                    "posts": [{"post_id": "n0", "text": "cat dog"}],
                    "engagements": [{"user_id": "new", "post_id": "n0"}],
                }
                taken = ask(address, "/events", told)
                asked = {"users": ["new"], "k": 3}
                found.append((taken["new_engagements"], ask(address, "/recommend", asked)))
                # Under way when the signal comes: what is sent before another request is answered
                # has been read by then.
                last = http.client.HTTPConnection(address.removeprefix("http://"), timeout=600)
                last.request("GET", "/health")
                last.getresponse().read()
                many = json.dumps({"texts": ["abc def ghi " * 40] * 256})
                last.request("POST", "/embed", many, {"Content-Type": "application/json"})
                with urllib.request.urlopen(f"{address}/health", timeout=600):
                    process.send_signal(signal.SIGTERM)
                assert len(json.load(last.getresponse())["vectors"]) == 256
                last.close()
                said = process.stderr.read()
                assert process.wait(600) == 143, said
            finally:
                process.kill()
        assert "ended by SIGTERM" in said
        assert "Traceback" not in said
    # The second one knew it from the log of the first.
    assert [new for new, _ in found] == [1, 0]
    first, second = (answer["recommendations"][0] for _, answer in found)
    assert [post["post_id"] for post in first] == [post["post_id"] for post in second]


def test_a_service_that_cannot_start_says_why(folder, monkeypatch, capsys):
    pytest.importorskip("uvicorn")
    import socket

    asked = ["serve", "--model", folder / "model"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert ended(*asked, "--port", port) == 2
    assert f"port {port} of 127.0.0.1 cannot be used" in capsys.readouterr().err
    monkeypatch.setenv("TWHIN_HF_TOKEN", "short")
    assert ended(*asked, "--port", "0") == 2
    assert "TWHIN_HF_TOKEN holds 5 characters" in capsys.readouterr().err


def test_a_model_is_brought_up_to_date(folder, recommend, capsys):
    """A day's engagements, with a new user and a new post, by the commands of the night."""
    day = {"user_id": ["u4", "u8", "late"], "post_id": ["n1", "n1", "n1"]}
    pq.write_table(pa.table(day), folder / "day.parquet")
    pq.write_table(
        pa.table({"post_id": ["n1"], "text": ["cat dog pet"]}), folder / "of_day.parquet"
    )
    made = ["--network", folder / "network", "--engagements", folder / "day.parquet"]
    assert ended("network", "update", *made, "--output", folder / "tomorrow", "--threads=1") == 0
    command = ["recommender", "update", "--network", folder / "tomorrow"]
    command += ["--model", folder / "model", "--posts", folder / "of_day.parquet"]
    assert ended(*command, "--output", folder / "updated") == 0
    told = capsys.readouterr().out
    assert "updated" in told
    updated = EngagementModel.from_pretrained(folder / "updated")
    assert (updated.num_users, updated.num_posts) == (71, 111)
    assert "n1" not in updated.recommend(["late"], k=200).ids[0]
    assert (folder / "updated" / "encoder" / "config.json").is_file()
    assert "71 users, 111 posts" in (folder / "updated" / "README.md").read_text()
    assert ended(*command, "--output", folder / "updated") == 2  # is there
    # In place, twice: nothing changes the second time.
    command = [*command[:-2], "--posts", folder / "of_day.parquet"]
    command[command.index("--model") + 1] = folder / "updated"
    for _ in range(2):
        assert ended(*command) == 0
    again = EngagementModel.from_pretrained(folder / "updated")
    assert again.recommend(["late", "u4"], k=5).ids == updated.recommend(["late", "u4"], k=5).ids
    assert (folder / "updated" / "run.json").is_file()


def test_ids_are_shown_whole(capsys):
    name = "69d27a4b-a459-4548-a33a-0123456789ab"
    rows = {"user_id": ["u"], "rank": [1], "post_id": [name], "score": [7.1], "probability": [0.1]}
    _show(["u"], "user_id", pa.table(rows | {"text": ["words and more words " * 9]}))
    assert name in capsys.readouterr().out
