"""The folder of a demo: what is in it, what stays out of it, and what is told of bad input."""

import json
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_demo import CONFIG, KEY

from twhin_hf.commands.cli import main
from twhin_hf.demo.content import read_demo
from twhin_hf.demo.demo_config import DemoConfig, DemoInputs
from twhin_hf.demo.making import make_demo
from twhin_hf.demo.opening import open_demo
from twhin_hf.errors import InputError
from twhin_hf.loading.auto import load_post_encoder
from twhin_hf.privacy.keys import hash_ids
from twhin_hf.recommendation.model import EngagementModel


def test_posts_vectors_and_audiences(demo_folder, inputs):
    content = read_demo(demo_folder)
    assert len(content.texts) == len(set(content.texts)) == 240  # of 241 one is a copy
    given = pq.read_table(inputs.posts).to_pylist()
    row_of = {hash_ids([row["post_id"]], KEY)[0]: row for row in given}
    for number in (0, 1, 100, 239):
        row = row_of[content.ids[number]]
        assert content.languages[number] == row["lang"]
        assert content.labels[number] == str(row["topic"])
        assert content.texts[number].startswith(row["text"].partition(" #")[0])
    model = load_post_encoder(inputs.stock)
    expected = model.encode(content.texts[:3], normalize_embeddings=True, convert_to_numpy=True)
    assert content.units["stock"][:3] == pytest.approx(expected, abs=2e-3)
    assert np.linalg.norm(content.units["model"], axis=1) == pytest.approx(np.ones(240), abs=2e-3)
    assert content.audiences.max() == len(content.settings["audiences"]) - 1


def test_nobody_is_named_and_no_id_is_there(demo_folder):
    for path in demo_folder.rglob("*"):
        # Words that stand in two posts are a recommender's features, as SECURITY.md says.
        if path.is_file() and "encoder" not in path.parts and path.name != "words.json":
            content = path.read_bytes()
            assert b"secret-" not in content, path
            assert b"person-" not in content, path
            assert b"zebedee" not in content, path
    assert any("@user" in text for text in read_demo(demo_folder).texts)
    assert (demo_folder / "map.html").read_text().count("<canvas") == 1


def test_examples_are_readable_posts_of_several_languages(demo_folder):
    content = read_demo(demo_folder)
    examples = content.settings["examples"]
    assert len(examples) == 4
    assert {content.languages[content.texts.index(example)] for example in examples} == {
        "en", "es", "ar", "ja",
    }  # fmt: skip


def test_it_answers(demo_folder):
    demo = open_demo(demo_folder)
    example = demo.content.settings["examples"][0]
    answer = demo.answer(example)
    assert [len(side.posts) for side in answer.sides] == [3, 3]
    assert example not in [post.text for side in answer.sides for post in side.posts]
    assert answer.sides[0].hashtags[0][0].startswith("topic")
    assert answer.audience.number <= 60
    assert 0 < answer.audience.expected < 60
    chances = [person.probability for person in answer.audience.people]
    assert len(chances) == 5
    assert chances == sorted(chances, reverse=True)
    for person in answer.audience.people:
        assert re.fullmatch("[0-9a-f]{32}", person.name)
        assert person.favourite.text in demo.content.texts
    assert sum(share for _, share in answer.groups) == pytest.approx(1)


def test_the_chances_are_the_recommenders(demo_folder, inputs):
    demo = open_demo(demo_folder)
    model = EngagementModel.from_pretrained(demo_folder / "recommender")
    table = pa.table({"post_id": ["new"], "text": ["abc bcd"]})
    scores = model.score(model.users.ids, table)[:, 0]
    found = demo.answer("abc bcd").audience
    assert found.expected == pytest.approx(model.probability(scores).sum(), rel=1e-4)
    assert found.people[0].probability == pytest.approx(model.probability(scores).max(), rel=1e-4)


def test_a_model_alone(inputs, tmp_path):
    alone = DemoInputs(model=inputs.model, posts=inputs.posts)
    make_demo(alone, tmp_path, DemoConfig(sample=40), progress=False)
    demo = open_demo(tmp_path)
    answer = demo.answer("abc")
    assert [side.name for side in answer.sides] == ["model"]
    assert answer.audience is answer.groups is None
    assert not (tmp_path / "recommender").exists()
    assert "id" not in pq.read_schema(tmp_path / "posts.parquet").names


def test_the_same_seed_the_same_posts(inputs, tmp_path):
    alone = DemoInputs(model=inputs.model, posts=inputs.posts)
    texts = []
    for number, seed in enumerate((0, 0, 1)):
        folder = tmp_path / str(number)
        folder.mkdir()
        make_demo(alone, folder, DemoConfig(sample=30, seed=seed), progress=False)
        texts.append(read_demo(folder).texts)
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    ("changed", "config", "key", "message"),
    [
        ({"model": None}, {}, KEY, "give both"),
        ({}, {}, None, "ids of a recommender are hashed"),
        ({}, {"label": "colour"}, KEY, "colour"),
        ({"posts": "few.csv"}, {}, KEY, "2 posts have a text of their own"),
    ],
)
def test_bad_input(inputs, tmp_path, monkeypatch, changed, config, key, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few.csv").write_text("post_id,text\n1,a\n2,b\n3,a\n")
    with pytest.raises(InputError, match=message):
        make_demo(
            replace(inputs, **changed),
            tmp_path,
            replace(CONFIG, **config),
            key=key,
            progress=False,
        )


@pytest.mark.parametrize(("field", "value"), [("sample", 19), ("k", 0)])
def test_bad_numbers(field, value):
    with pytest.raises(InputError, match=f"{field} is {value}"):
        DemoConfig(**{field: value})


@pytest.mark.parametrize(
    "spoil",
    [
        {"models": {}},
        {"models": {"model": {"place": "x", "pooling": None}}, "audiences": []},
        {"models": None},
    ],
)
def test_a_damaged_folder(demo_folder, tmp_path, spoil):
    for name in ("posts.parquet", "map.html"):
        (tmp_path / name).write_bytes((demo_folder / name).read_bytes())
    settings = json.loads((demo_folder / "demo.json").read_text()) | spoil
    (tmp_path / "demo.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="Make the demo again"):
        read_demo(tmp_path)
    with pytest.raises(FileNotFoundError, match="`twhin-hf demo` makes it"):
        read_demo(tmp_path / "elsewhere")


def test_vectors_that_are_no_numbers(demo_folder, tmp_path):
    for name in ("demo.json", "map.html"):
        (tmp_path / name).write_bytes((demo_folder / name).read_bytes())
    table = pq.read_table(demo_folder / "posts.parquet")
    place = table.column_names.index("model")
    vectors = table["model"].to_pylist()
    vectors[0][0] = float("nan")
    field = table.schema.field("model")
    table = table.set_column(place, field, pa.array(vectors, field.type))
    pq.write_table(table, tmp_path / "posts.parquet")
    with pytest.raises(InputError, match="vectors hold NaN or infinity"):
        read_demo(tmp_path)


def test_the_command(inputs, tmp_path, capsys):
    output = tmp_path / "demo"
    line = ["demo", "--model", inputs.model, "--posts", inputs.posts, "--stock", inputs.stock]
    line += ["--recommender", inputs.recommender, "--label", "topic", "--output", str(output)]
    line += ["--sample", "60", "--no_launch"]
    assert main(line) == 0
    assert "60 posts to look in" in capsys.readouterr().out
    key = (tmp_path / "demo.key").read_bytes()
    assert read_demo(output).ids[0] in hash_ids(
        pq.read_table(inputs.posts)["post_id"].to_pylist(), key
    )
    before = (output / "posts.parquet").stat().st_mtime_ns
    assert main(line) == 0  # it is there
    assert (output / "posts.parquet").stat().st_mtime_ns == before
    assert main([*line, "--k", "2"]) == 2
    assert "k was 6 and is 2" in capsys.readouterr().err
    assert main(["demo", "--model", inputs.model]) == 2
    assert "give --model and --posts" in capsys.readouterr().err
