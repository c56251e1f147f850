"""From files to a page: whose audience is counted, what is shown, what is left out."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.commands.cli import main
from twhin_hf.errors import InputError
from twhin_hf.maps.map_config import MapConfig
from twhin_hf.maps.writing import write_map
from twhin_hf.network.engagements import Engagements
from twhin_hf.network.folder import Network, save_network

NUM_POSTS, NUM_USERS = 80, 24


def data_of(path):
    text = path.read_text(encoding="utf-8")
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(block[1])


def write_vectors(path, ids, vectors):
    column = pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.astype(np.float32).ravel()), vectors.shape[1]
    )
    pq.write_table(pa.table({"post_id": ids, "embedding": column}), path, row_group_size=30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Posts of two groups, each with its users: vectors tell the group after training only."""
    folder = tmp_path_factory.mktemp("map")
    random = np.random.default_rng(0)
    group = np.arange(NUM_POSTS) % 2
    ids = [f"secret-id-{number:03}" for number in range(NUM_POSTS)]
    words = np.where(group, "green tree", "red bus")
    texts = [f"{words[i]} @ana number {i} https://example.org/{i}" for i in range(NUM_POSTS)]
    posts = {"post_id": ids, "text": texts, "lang": np.where(group, "en", "es").tolist()}
    pq.write_table(pa.table(posts), folder / "posts.parquet")
    noise = random.normal(size=(NUM_POSTS, 6))
    order = random.permutation(NUM_POSTS)  # the order of a file does not matter
    after = noise + 8 * np.eye(6)[group]
    write_vectors(folder / "after.parquet", [ids[i] for i in order], after[order])
    write_vectors(folder / "before.parquet", ids, noise)
    # Half of the users for each group, three for each post.
    users = np.concatenate([random.permutation(NUM_USERS // 2)[:3] * 2 + g for g in group])
    rows = np.repeat(np.arange(NUM_POSTS), 3)
    log = {"user_id": [f"u{user}" for user in users], "post_id": [ids[row] for row in rows]}
    pq.write_table(pa.table(log), folder / "engagements.parquet")
    seen = rows < 60  # the network is not made of the last 20 posts
    network = Network(
        user_ids=pa.array([f"u{number}" for number in range(NUM_USERS)]),
        post_ids=pa.array(ids[:60]),
        relations=["engage"],
        user_vectors=np.eye(4, dtype=np.float32)[np.arange(NUM_USERS) % 2],
        post_vectors=np.eye(4, dtype=np.float32)[group[:60]],
        relation_vectors=np.ones((1, 4), np.float32),
        user_degrees=np.bincount(users[seen], minlength=NUM_USERS),
        post_degrees=np.full(60, 3),
        engagements=Engagements.from_edges(users[seen], rows[seen], NUM_USERS, 60),
    )
    save_network(network, folder / "network")
    pq.write_table(pa.table({"post_id": ids[60:]}), folder / "test.parquet")
    return folder


def test_before_and_after_with_a_log_and_a_network(folder, tmp_path):
    output = tmp_path / "map.html"
    found = write_map(
        folder / "after.parquet",
        folder / "posts.parquet",
        output,
        before=folder / "before.parquet",
        network=folder / "network",
        engagements=folder / "engagements.parquet",
    )
    assert found.num_posts == NUM_POSTS
    assert found.colorings == ["language", "topic", "audience"]
    share = found.agreement.share
    assert found.agreement.num_posts == NUM_POSTS
    # Posts of a group, 39 of the 79 others, often share one of their users; others never do.
    assert share.lifts["after training"].value == pytest.approx(79 / 39, rel=0.1)
    assert share.lifts["before training"].value == pytest.approx(1, rel=0.15)
    assert share.gains["before training"].interval[0] > 0
    data = data_of(output)
    assert [layout["name"] for layout in data["layouts"]] == ["before training", "after training"]
    assert data["people"] == [3] * NUM_POSTS
    audience = data["colorings"][2]
    languages = [data["languages"][number] for number in data["language"]]
    # The network's users are of two kinds, as the posts' languages are.
    assert len({*zip(audience["of"], languages, strict=True)}) == len(set(audience["of"])) == 2
    assert "60 of the 80 posts are in the network" in found.notes[-1]
    assert found.notes[-1] in output.read_text()


def test_it_repeats_by_its_seed(folder, tmp_path):
    pages = []
    for number, seed in enumerate((0, 0, 1)):
        output = tmp_path / f"{number}.html"
        config = MapConfig(sample=50, seed=seed)
        write_map(folder / "after.parquet", folder / "posts.parquet", output, config)
        pages.append(output.read_bytes())
    assert pages[0] == pages[1] != pages[2]


def test_texts_name_nobody_and_ids_stay_out(folder, tmp_path):
    output = tmp_path / "map.html"
    write_map(folder / "after.parquet", folder / "posts.parquet", output)
    page = output.read_text()
    assert "secret-id" not in page
    assert "@ana" not in page
    data = data_of(output)
    assert all(re.fullmatch(r"(green tree|red bus) @user number .*", t) for t in data["texts"])
    topic = next(found for found in data["colorings"] if found["name"] == "topic")
    assert {word for name in topic["classes"] for word in name.split(", ")} >= {"green", "red"}
    assert "user" not in " ".join(topic["classes"])
    assert data["people"] is None

    write_map(
        folder / "after.parquet", folder / "posts.parquet", output, MapConfig(texts=False),
        overwrite=True,
    )  # fmt: skip
    page = output.read_text()
    assert not re.search("green|bus|example.org", page)
    topic = next(found for found in data_of(output)["colorings"] if found["name"] == "topic")
    assert topic["classes"][0] == "Topic 1"


def test_held_out_posts_have_their_audience_from_the_log(folder, tmp_path):
    found = write_map(
        folder / "after.parquet",
        folder / "posts.parquet",
        tmp_path / "map.html",
        network=folder / "network",
        engagements=folder / "engagements.parquet",
        held_out=folder / "test.parquet",
    )
    assert found.num_posts == found.agreement.num_posts == 20
    assert found.notes[-1] == (
        "Posts held out from training, by the list that was given; none is in the network."
    )
    # The network alone knows nothing of them.
    with pytest.raises(InputError, match="0 posts have an audience"):
        write_map(
            folder / "after.parquet",
            folder / "posts.parquet",
            tmp_path / "other.html",
            network=folder / "network",
            held_out=folder / "test.parquet",
        )
    assert not (tmp_path / "other.html").exists()


def test_the_networks_own_engagements_count_where_there_is_no_log(folder, tmp_path):
    found = write_map(
        folder / "after.parquet",
        folder / "posts.parquet",
        tmp_path / "map.html",
        network=folder / "network",
    )
    assert found.num_posts == 80
    assert found.agreement.num_posts == 60
    audience = data_of(tmp_path / "map.html")["colorings"][2]
    assert audience["hasRest"]
    assert audience["counts"][-1] == 20
    people = data_of(tmp_path / "map.html")["people"]
    assert (people.count(None), people.count(3)) == (20, 60)  # not known is not nobody


def test_what_cannot_be_shown_is_told(folder, tmp_path):
    output = tmp_path / "map.html"
    given = folder / "after.parquet", folder / "posts.parquet", output
    with pytest.raises(InputError, match="coloured by audience: it needs a network"):
        write_map(*given, MapConfig(color=["audience"]))
    write_vectors(tmp_path / "few.parquet", [f"secret-id-{i:03}" for i in range(9)], np.eye(9))
    with pytest.raises(InputError, match="9 of 80 posts have vectors in every file"):
        write_map(*given, before=tmp_path / "few.parquet")
    ids = pq.read_table(folder / "posts.parquet")["post_id"]
    write_vectors(tmp_path / "nan.parquet", ids, np.full((NUM_POSTS, 2), np.nan))
    with pytest.raises(InputError, match="NaN"):
        write_map(tmp_path / "nan.parquet", folder / "posts.parquet", output)
    with pytest.raises(InputError, match="10 or more"):
        MapConfig(sample=9)
    with pytest.raises(InputError, match="k is 0"):
        MapConfig(k=0)
    output.write_text("mine")
    with pytest.raises(FileExistsError):
        write_map(*given)
    assert output.read_text() == "mine"


def test_umap_that_is_not_installed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("twhin_hf.maps.writing.available_methods", lambda: ["t-SNE"])
    given = folder / "after.parquet", folder / "posts.parquet", tmp_path / "map.html"
    with pytest.raises(InputError, match="UMAP is not installed"):
        write_map(*given, MapConfig(method="UMAP"))


def test_the_command(folder, tmp_path, capsys):
    output = tmp_path / "map.html"
    line = (
        f"map --vectors {folder}/after.parquet --before {folder}/before.parquet "
        f"--posts {folder}/posts.parquet --engagements {folder}/engagements.parquet "
        f"--sample 60 --color topic language -k 5 --no_texts --output {output}"
    )
    assert main(line.split()) == 0
    shown = capsys.readouterr().out
    assert "after training" in shown
    assert "Whether training has seen them is not known." in shown
    data = data_of(output)
    assert [found["name"] for found in data["colorings"]] == ["topic", "language"]
    assert len(data["language"]) == 60
    assert main(line.split()) == 2
    assert main([*line.split(), "--overwrite"]) == 0
