"""A demo as a Space: what goes out, what the card says, what never goes."""

import json
import runpy
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from small_demo import CONFIG, KEY, make_inputs, save_classifier

from twhin_hf.commands.cli import main
from twhin_hf.demo.making import make_demo
from twhin_hf.demo.opening import open_demo
from twhin_hf.demo.publishing import plan_space_push, push_space
from twhin_hf.errors import InputError
from twhin_hf.hub.card_metadata import CardMetadata
from twhin_hf.version import __version__


@pytest.fixture(scope="module")
def made(texts, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "demo"
    folder.mkdir()
    inputs = make_inputs(tmp_path_factory.mktemp("inputs"), texts, tokenizer)
    make_demo(inputs, folder, CONFIG, key=KEY, progress=False)
    return folder


@pytest.fixture
def demo(made, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(made, tmp_path / "demo")


def published(hub, repo="spaces/me/try"):
    return {
        name: hub.large.get(name, content) for name, content in hub.repos[repo].commits[-1].items()
    }


def front(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_it_goes_out_whole_and_answers_where_it_arrives(hub, demo, tmp_path):
    done = push_space(demo, "me/try", metadata=CardMetadata("mit", ["me/posts"]))
    assert done.url == f"{hub.endpoint}/spaces/me/try/commit/{hub.repos['spaces/me/try'].sha()}"
    files = published(hub)
    assert files.keys() == done.files.keys()
    assert {name for name in files if "/" not in name} == {
        "README.md", "app.py", "demo.json", "map.html", "posts.parquet", "requirements.txt",
    }  # fmt: skip
    folders = ("model/", "recommender/", "recommender/encoder/", "stock/")
    assert {f"{folder}config.json" for folder in folders} <= files.keys()
    assert "model/optimizer.pt" in done.left_behind
    arrived = tmp_path / "arrived"
    for name, content in files.items():
        path = arrived / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    here, there = (open_demo(folder).answer("abc bcd") for folder in (demo, arrived))
    assert [post.text for post in here.sides[1].posts] == [p.text for p in there.sides[1].posts]
    assert here.audience.expected == pytest.approx(there.audience.expected)
    settings = json.loads(files["demo.json"])
    assert {name: told["place"] for name, told in settings["models"].items()} == {
        "stock": "stock",
        "model": "model",
    }


def test_the_card_and_what_is_installed(hub, demo):
    push_space(demo, "me/try", metadata=CardMetadata("mit", ["me/posts"]))
    files = published(hub)
    told = front(files["README.md"].decode())
    assert (told["sdk"], told["app_file"], told["license"]) == ("gradio", "app.py", "mit")
    assert told["datasets"] == ["me/posts"]
    assert "models" not in told  # all are in it
    assert len(told["short_description"]) <= 60
    body = files["README.md"].decode()
    assert "hashes under a secret key" in body
    lines = files["requirements.txt"].decode().splitlines()
    assert lines[0] == f"twhin_hf[demo]=={__version__}"
    assert all("==" in line and "+" not in line for line in lines)
    from gradio import __version__ as gradio_version

    assert told["sdk_version"] == gradio_version


def test_its_app_opens_what_lies_beside_it(demo, monkeypatch):
    opened = []
    monkeypatch.setattr("twhin_hf.demo.page.launch", opened.append)
    app = demo / "app.py"
    app.write_bytes(plan_space_push(demo, "me/try").files["app.py"])
    runpy.run_path(str(app))
    assert opened == [demo]


def test_models_of_the_hub_are_named_and_stay_there(demo):
    settings = json.loads((demo / "demo.json").read_text())
    settings["models"]["stock"]["place"] = "owner/stock"
    (demo / "demo.json").write_text(json.dumps(settings))
    done = plan_space_push(demo, "me/try")
    assert not [name for name in done.files if name.startswith("stock/")]
    assert front(done.files["README.md"].decode())["models"] == ["owner/stock"]
    assert json.loads(done.files["demo.json"])["models"]["stock"]["place"] == "owner/stock"


def test_a_classifier_goes_with_it(demo, tokenizer, tmp_path):
    settings = json.loads((demo / "demo.json").read_text())
    settings["hashtag_classifier"] = str(save_classifier(tmp_path / "classifier", tokenizer))
    (demo / "demo.json").write_text(json.dumps(settings))
    done = plan_space_push(demo, "me/try")
    assert "hashtag_classifier/model.safetensors" in done.files
    assert json.loads(done.files["demo.json"])["hashtag_classifier"] == "hashtag_classifier"
    settings["hashtag_classifier"] = str(tmp_path / "gone")
    (demo / "demo.json").write_text(json.dumps(settings))
    with pytest.raises(FileNotFoundError, match="the hashtag_classifier of the demo"):
        plan_space_push(demo, "me/try")


def test_what_was_written_by_hand_survives_and_old_files_go(hub, demo):
    push_space(demo, "me/try")
    commits = hub.repos["spaces/me/try"].commits
    card = commits[-1]["README.md"].decode().replace("emoji: 🗺️", "emoji: 🚌")
    mine = {"README.md": f"{card}\nMine.\n".encode(), "notes.md": b"x", "stock/old.txt": b"y"}
    commits.append(commits[-1] | mine)
    done = push_space(demo, "me/try")
    assert "🚌" in hub.text("spaces/me/try", "README.md")
    assert "Mine." in hub.text("spaces/me/try", "README.md")
    assert done.deleted == ["stock/old.txt"]
    assert "notes.md" in hub.repos["spaces/me/try"].commits[-1]


def spoil_text(demo):
    table = pq.read_table(demo / "posts.parquet")
    texts = ["by @somebody", *table["text"].to_pylist()[1:]]
    place = table.column_names.index("text")
    pq.write_table(table.set_column(place, "text", pa.array(texts)), demo / "posts.parquet")


def spoil_id(demo):
    table = pq.read_table(demo / "posts.parquet")
    ids = ["secret-1", *table["id"].to_pylist()[1:]]
    place = table.column_names.index("id")
    pq.write_table(table.set_column(place, "id", pa.array(ids)), demo / "posts.parquet")


def spoil_column(demo):
    table = pq.read_table(demo / "posts.parquet")
    author = table["text"]
    pq.write_table(table.append_column("author", author), demo / "posts.parquet")


def spoil_map(demo):
    path = demo / "map.html"
    path.write_text(path.read_text().replace('"texts":["', '"texts":["by @somebody'))


def spoil_examples(demo):
    settings = json.loads((demo / "demo.json").read_text())
    settings["examples"] = ["ask @somebody"]
    (demo / "demo.json").write_text(json.dumps(settings))


def spoil_label(demo):
    settings = json.loads((demo / "demo.json").read_text())
    settings["label"] = "/home/me/posts"
    (demo / "demo.json").write_text(json.dumps(settings))


def spoil_users(demo):
    table = pq.read_table(demo / "recommender" / "users.parquet")
    ids = ["person-1", *table["user_id"].to_pylist()[1:]]
    pq.write_table(pa.table({"user_id": ids}), demo / "recommender" / "users.parquet")


def spoil_link(demo):
    (demo / "posts.parquet").rename(demo.parent / "posts.parquet")
    (demo / "posts.parquet").symlink_to(demo.parent / "posts.parquet")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_text, "holds names or ids of people in the column 'text'"),
        (spoil_id, "neither keyed hashes nor numbers"),
        (spoil_column, "holds ids of users in the column 'author'"),
        (spoil_map, "map.html holds names or ids of people"),
        (spoil_examples, "demo.json holds names or ids of people"),
        (spoil_label, "names a path of this machine"),
        (spoil_users, "an id that is no hash"),
        (spoil_link, "is a link to a file outside"),
    ],
)
def test_what_must_not_go_is_refused_before_anything_is_asked(hub, demo, spoil, message):
    spoil(demo)
    with pytest.raises(InputError, match=message):
        push_space(demo, "me/never")
    assert hub.requests == []


def test_the_command(hub, demo, capsys):
    line = ["push", "--space", str(demo), "--repo", "me/try"]
    assert main([*line, "--dry_run"]) == 0
    shown = capsys.readouterr().out
    assert "Would be pushed to me/try" in shown
    assert "app.py" in shown
    assert "Give one with --license" in shown
    assert hub.requests == []
    assert main([*line, "--license", "mit", "--private"]) == 0
    assert hub.repos["spaces/me/try"].private
    assert main([*line, "--model", "x"]) == 2
    assert "one of them" in " ".join(capsys.readouterr().err.split())
    assert main([*line, "--files", "x.md"]) == 2
    assert main(["push", "--space", str(demo.parent), "--repo", "me/try"]) == 2
    assert "`twhin-hf demo` makes it" in capsys.readouterr().err
