"""Recommender sets as they are published, and an import without texts."""

import logging

import pytest

from twhin_hf.network.sources.recommender import RECOMMENDER_SETS


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


RATED = [("1", "10", "engage", 978300760), ("2", "10", "engage", 978302109)]


@pytest.mark.parametrize(
    "files",
    [
        {
            "ratings.dat": "1::10::5::978300760\n2::10::1::978302109\n",
            "movies.dat": 'n::x::y\n10::Misérables, "Les"::Drama\n'.encode("latin-1"),
            "users.dat": "1::F::1\n",
            "README": "text",
        },
        {
            "ratings.csv": "userId,movieId,rating,timestamp\n1,10,5.0,978300760\n2,10,1,978302109",
            "movies.csv": 'movieId,title,genres\nn,x,y\n10,"Misérables, ""Les""",Drama\n',
            "tags.csv": "userId,movieId,tag,timestamp\n1,10,a,1\n",
        },
        {
            "u.data": "1\t10\t5\t978300760\n2\t10\t1\t978302109\n",
            "u.item": 'n|x|\n10|Misérables, "Les"|01-Jan-1995\n'.encode("latin-1"),
            "u.info": "2 users\n",
        },
    ],
)
def test_movielens(load, tmp_path, files):
    folder = write(tmp_path / "ml", files)
    report, engagements, posts = load("movielens", folder)
    assert sorted(engagements) == RATED
    if "u.item" not in files:
        assert posts == [("10", 'Misérables, "Les"', None), ("n", "x", None)]
    assert (report.lines, report.num_engagements, report.relations) == (2, 2, {"engage": 2})
    # The file alone finds its titles too.
    assert load("movielens", folder / next(iter(files)))[1:] == (engagements, posts)


def test_recbole(load, tmp_path):
    folder = write(
        tmp_path,
        {
            "ml/ml.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
            "1\t10\t5\t978300760.0\n2\t10\t1\t9.78302109E8\n",
            "ml/ml.item": 'item_id:token\tmovie_title:token_seq\tyear:token\n10\t"Toy\t1995\n',
            "ml/ml.user": "user_id:token\tage:token\n1\t24\n",
        },
    )
    _, engagements, posts = load("recbole", folder / "ml")
    assert (sorted(engagements), posts) == (RATED, [("10", '"Toy', None)])
    write(folder, {"ml/ml.inter": "u:token\titem_id:token\n1\t2\n"})
    with pytest.raises(ValueError, match=r"none of the columns user_id, .* found are u:token"):
        load("recbole", folder / "ml")


def test_lightgcn(load, tmp_path, caplog):
    folder = write(
        tmp_path / "g",
        {
            "train.txt": "0 10 11\n1 10\n2\n",
            "test.txt": "0 12 \n",
            "item_list.txt": "org_id remap_id\na 0\n",
        },
    )
    with caplog.at_level(logging.WARNING):
        report, engagements, posts = load("lightgcn", folder)
    pairs = [("0", "10"), ("0", "11"), ("0", "12"), ("1", "10")]
    assert sorted(engagements, key=str) == [(*pair, "engage", None) for pair in pairs]
    assert (posts, report.files) == ([], 2)
    assert "4 of 4 engagements (100%) are with 3 posts whose text is not in the log" in caplog.text
    assert "`twhin-hf network embed` needs no texts (leave --posts out)" in caplog.text
    write(folder, {"train.txt": "user,item\n1,2\n"})
    with pytest.raises(ValueError, match=r"train\.txt is no adjacency list: 2 of 2 lines"):
        load("lightgcn", folder)


def test_recsys_challenge_2020(load, tmp_path):
    def row(post, user, *times):
        cells = [str(number) for number in range(1, 25)]
        cells[0], cells[2], cells[14], cells[20:] = "101\t56\t102", post, user, times
        return "\x01".join(cells) + "\n"

    rows = [row("P1", "U1", "", "1581000000", "", "1581000009"), row("P2", "U1", "", "", "", "")]
    path = write(tmp_path, {"training.tsv": "".join(rows)}) / "training.tsv"
    report, engagements, posts = load("recsys2020", path)
    assert sorted(engagements, key=str) == [
        ("U1", "P1", "like", 1581000009),
        ("U1", "P1", "repost", 1581000000),
    ]
    assert (posts, report.lines) == ([], 2)


def test_mind(load, tmp_path):
    folder = write(
        tmp_path / "mind",
        {
            "behaviors.tsv": "1\tU1\t11/11/2019 9:05:58 AM\tN5 N6\tN1-0 N2-1\n"
            "2\tU2\t11/11/2019 9:05:58 PM\t\tN2-1 N1-0\n",
            "news.tsv": 'N2\tsport\tsoccer\t"Goal" of the year\tAbstract\thttps://a\t[]\t[]\n',
            "entity_embedding.vec": "Q1\t0.1\n",
        },
    )
    report, engagements, posts = load("mind", folder)
    assert sorted(engagements, key=str) == [
        ("U1", "N2", "click", 1573463158),
        ("U1", "N5", "click", None),
        ("U1", "N6", "click", None),
        ("U2", "N2", "click", 1573506358),
    ]
    assert posts == [("N2", '"Goal" of the year', "en")]
    assert report.files == 2


@pytest.mark.parametrize("name", set(RECOMMENDER_SETS) - {"recsys2020"})
def test_a_folder_of_something_else(load, tmp_path, name):
    write(tmp_path / "x", {"readme.md": "nothing"})
    with pytest.raises(ValueError, match=r"holds no interactions .* found are readme\.md"):
        load(name, tmp_path / "x")
