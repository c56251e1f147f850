"""Mining pairs: which pairs come out, what is counted, recall and errors."""

import errno
import os

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.commands.cli import main
from twhin_hf.engines import EngineConfig
from twhin_hf.network.folder import Network, load_network, save_network
from twhin_hf.network.mining import MiningConfig, mine_pairs
from twhin_hf.network.near_duplicates import normalize_texts, sketch_texts, text_similarity
from twhin_hf.network.neighbours import (
    build_index,
    default_index,
    faiss_threads,
    search_neighbours,
)

# Post vectors by angle in degrees; cosines are those of the differences.
ANGLES = {"a": 0, "b": 10, "c": 25, "d": 90, "e": 95}


def make_network(vectors, ids):
    count, dimension = vectors.shape
    return Network(
        user_ids=pa.array([], pa.string()),
        post_ids=pa.array(ids),
        relations=["engage"],
        user_vectors=np.zeros((0, dimension), np.float32),
        post_vectors=np.asarray(vectors, np.float32),
        relation_vectors=np.zeros((1, dimension), np.float32),
        user_degrees=np.zeros(0, np.int64),
        post_degrees=np.ones(count, np.int64),
    )


@pytest.fixture
def network():
    radians = np.deg2rad(list(ANGLES.values()))
    lengths = np.array([1, 5, 0.1, 2, 3])[:, None]  # cosine does not see them
    return make_network(lengths * np.stack([np.cos(radians), np.sin(radians)], 1), list(ANGLES))


def make_posts(texts):
    return datasets.Dataset.from_dict({"post_id": list(texts), "text": list(texts.values())})


@pytest.fixture
def posts():
    words = ["apples and pears", "ships at sea", "red brick house", "winter snow", "jazz music"]
    return make_posts(dict(zip(ANGLES, words, strict=True)))


def mine(network, posts, path, **options):
    report = mine_pairs(network, posts, path, MiningConfig(**options, threads=1), progress=False)
    table = pq.read_table(path)
    assert table.schema.names == ["anchor_id", "positive_id", "similarity"]
    assert table.schema.types == [pa.string(), pa.string(), pa.float32()]
    assert report.num_pairs == len(table)
    assert report.candidates == (
        report.below_similarity
        + report.near_duplicates
        + report.not_mutual
        + report.over_max_pairs
        + report.repeated
        + report.num_pairs
    )
    pairs = list(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))
    return [anchor + positive for anchor, positive, _ in pairs], pairs, report


def test_each_pair_once_sorted_by_anchor_then_similarity(network, posts, tmp_path):
    # Nearest two of a: b c; of b: a c; of c: b a; of d: e c; of e: d c.
    names, pairs, report = mine(network, posts, tmp_path / "pairs.parquet", k=2)
    assert names == ["ab", "ac", "bc", "de", "dc", "ec"]
    assert pairs[0][2] == pytest.approx(np.cos(np.deg2rad(10)), abs=1e-6)
    assert pairs[4][2] == pytest.approx(np.cos(np.deg2rad(65)), abs=1e-6)
    assert (report.candidates, report.repeated) == (10, 4)
    assert (report.index, report.recall_at_10, report.posts_in_pairs) == ("Flat", 1.0, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.parquet"]


def test_mutual_neighbours(network, posts, tmp_path):
    names, _, report = mine(network, posts, tmp_path / "p.parquet", k=2, mutual=True)
    assert names == ["ab", "ac", "bc", "de"]
    assert report.not_mutual == 2


def test_similarity_floor(network, posts, tmp_path):
    # cos 15 = .966, cos 25 = .906
    names, _, report = mine(network, posts, tmp_path / "p.parquet", k=2, min_similarity=0.95)
    assert names == ["ab", "bc", "de"]
    assert report.below_similarity == 4


def test_at_most_m_pairs_of_an_anchor(network, posts, tmp_path):
    # a and b propose each other, c proposes b, d and e each other.
    names, _, report = mine(network, posts, tmp_path / "p.parquet", k=2, max_pairs_per_post=1)
    assert names == ["ab", "cb", "de"]
    assert (report.over_max_pairs, report.repeated) == (5, 2)


def test_copies_are_no_positives(network, posts, tmp_path):
    texts = dict(zip(posts["post_id"], posts["text"], strict=True))
    texts["b"] = "RT @x: Apples  and PEARS https://t.co/1"
    texts["a"] = "RT @y: apples and pears"
    names, _, report = mine(network, make_posts(texts), tmp_path / "p.parquet", k=2)
    assert names == ["ac", "bc", "de", "dc", "ec"]
    assert report.near_duplicates == 2
    names, _, _ = mine(
        network, make_posts(texts), tmp_path / "p.parquet", k=2, max_text_similarity=1.1
    )
    assert "ab" in names


def test_posts_without_text_or_vector_are_left_out(network, posts, tmp_path):
    texts = dict(zip(posts["post_id"], posts["text"], strict=True))
    texts |= {"b": " ", "z": "unknown to the network"}
    network.post_vectors[3] = 0
    names, _, report = mine(network, make_posts(texts), tmp_path / "p.parquet", k=1)
    assert names == ["ac", "ec"]
    assert (report.num_posts, report.posts_without_text, report.zero_vectors) == (5, 1, 1)


def test_the_first_text_of_a_repeated_post_counts(network, posts, tmp_path):
    rows = [*posts, {"post_id": "b", "text": "apples and pears"}]
    names, _, _ = mine(network, datasets.Dataset.from_list(rows), tmp_path / "p.parquet", k=1)
    assert names == ["ab", "cb", "de"]


def test_posts_from_a_file_with_columns_of_other_names(network, posts, tmp_path):
    renamed = posts.rename_column("text", "body")
    renamed.to_parquet(tmp_path / "posts.parquet")
    output = tmp_path / "new" / "p.parquet"
    report = mine_pairs(
        network,
        tmp_path / "posts.parquet",
        output,
        MiningConfig(k=2, threads=1),
        progress=False,
        columns={"text": "body"},
    )
    assert (report.num_pairs, pq.read_metadata(output).num_rows) == (6, 6)


def test_bad_input(network, posts, tmp_path):
    output = tmp_path / "p.parquet"

    def run(network=network, posts=posts, **options):
        mine_pairs(network, posts, output, MiningConfig(**options, threads=1), progress=False)

    with pytest.raises(ValueError, match=r"k is 5, but the network has 5 posts.* k below 5"):
        run(k=5)
    with pytest.raises(ValueError, match=r"k is 3, but with text and a vector .* there are 3"):
        run(k=3, posts=posts.select(range(3)))
    with pytest.raises(ValueError, match=r"3 of the network's 5 posts have no text .* 'c'"):
        run(k=1, posts=posts.select(range(2)))
    with pytest.raises(ValueError, match=r"left of 10 candidates: 10 below the .* 0\.999"):
        run(k=2, min_similarity=0.999)
    with pytest.raises(ValueError, match=r"FAISS cannot build .* 'Bogus'.*could not parse"):
        run(k=2, index="Bogus")
    with pytest.raises(ValueError, match="k is 0; it must be at least 1"):
        run(k=0)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        run(k=2, posts=tmp_path / "nowhere.csv")
    network.post_vectors[2, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 5 post vectors hold NaN"):
        run(k=2)
    assert not list(tmp_path.iterdir())


def clustered_vectors(num_vectors, dimension, per_cluster=20):
    random = np.random.default_rng(0)
    centres = random.standard_normal((num_vectors // per_cluster, dimension), np.float32)
    noise = random.standard_normal((num_vectors, dimension), np.float32)
    return centres[random.integers(0, len(centres), num_vectors)] + 0.7 * noise


def test_refined_index_reaches_the_target_and_agrees_with_exact_search(tmp_path):
    vectors = clustered_vectors(4_000, 16)
    ids = [f"{row:04}" for row in range(len(vectors))]
    # Random letters, so that no two texts are alike.
    letters = np.random.default_rng(1).integers(97, 123, (len(ids), 40)).astype(np.uint8)
    posts = make_posts({i: bytes(row).decode() for i, row in zip(ids, letters, strict=True)})
    network = make_network(vectors, ids)
    options = {"k": 5, "mutual": True, "max_pairs_per_post": 2}
    exact, _, _ = mine(network, posts, tmp_path / "a.parquet", **options)
    found, _, report = mine(network, posts, tmp_path / "b.parquet", exact_limit=100, **options)
    assert report.index == "IVF64,PQ8x4fs,RFlat"
    assert 0.95 <= report.recall_at_10 <= 1
    assert report.probes in (8, 16, 32, 64)
    assert len(set(exact) & set(found)) > 0.93 * len(exact)
    assert len(found) == len(set(found)) == len({frozenset((p[:4], p[4:])) for p in found})


def test_index_by_name_and_fixed_probes():
    vectors = clustered_vectors(3_000, 16)
    with faiss_threads(1):
        built = build_index(vectors, "IVF16,PQ4x4", probes=3)
        hnsw = build_index(vectors, "HNSW16")
    assert (built.description, built.probes) == ("IVF16,PQ4x4", 3)
    assert 0 < built.recall < 0.95
    assert hnsw.probes is None


def test_default_index():
    assert default_index(100, 256, 100) == "Flat"
    assert default_index(101, 256, 100) == "IVF8,PQ128x4fs,RFlat"
    assert default_index(1_000_000, 25, 100) == "IVF1024,PQ25x4fs,RFlat"


def test_neighbours_leave_the_post_itself_out_among_equal_vectors():
    vectors = np.repeat(np.eye(2, 4, dtype=np.float32), [6, 2], axis=0)
    index = build_index(vectors, "Flat").index
    similarities, rows = search_neighbours(index, 3 * vectors, np.full(8, 3.0), slice(2, 8), 3)
    assert similarities.shape == rows.shape == (6, 3)
    for own, found in zip(range(2, 8), rows.tolist(), strict=True):
        assert own not in found
        assert len(set(found)) == 3
    np.testing.assert_allclose(similarities[:4], 1)
    np.testing.assert_allclose(similarities[4:], [[1, 0, 0]] * 2)


def test_normalized_texts():
    texts = [
        "@user Ｈello\u00a0 WORLD!",
        "hello world! https://t.co/x www.x.com/y",
        "Ünïted\n @ünï",
    ]
    assert normalize_texts(pa.array(texts)).to_pylist() == [
        "hello world!",
        "hello world!",
        "ünïted",
    ]


def test_text_similarity_is_the_jaccard_similarity_of_trigrams():
    def trigrams(text):
        marked = f"\x02{text}\x03\x03"
        return {marked[i : i + 3] for i in range(len(marked) - 2)}

    base = "the quick brown fox jumps over the lazy dog while it rains in the old town"
    texts = [base, base.replace("rains", "snows"), base[:40], "全然違う話です", "", "@a http://b"]
    sketches = sketch_texts(pa.array(["x", *texts]).slice(1))
    estimate = text_similarity(sketches[0], sketches[:4])
    expected = [
        len(trigrams(base) & trigrams(t)) / len(trigrams(base) | trigrams(t)) for t in texts
    ]
    assert estimate[0] == 1
    np.testing.assert_allclose(estimate, expected[:4], atol=0.13)
    assert estimate[3] == 0
    assert text_similarity(sketches[4], sketches[5]) == 1  # nothing is left of either
    assert sketch_texts(pa.array([], pa.string())).shape == (0, 64)


def test_a_full_disk_is_told_before_any_work(network, posts, tmp_path, small_disk, monkeypatch):
    from twhin_hf.network import mining

    output = small_disk(64) / "pairs.parquet"
    many = np.random.default_rng(0).normal(size=(1_000, 4))
    large = make_network(many, [str(row) for row in range(1_000)])  # 80 kB of neighbours
    monkeypatch.setattr(mining, "_read_texts", pytest.fail)
    with pytest.raises(OSError, match="No space left on device"):
        mine_pairs(large, posts, output, MiningConfig(k=10, threads=1), progress=False)
    assert not list(output.parent.iterdir())


def test_the_space_of_the_neighbours_is_taken_with_and_without_the_system(tmp_path, monkeypatch):
    from twhin_hf.network import mining

    for name in ("system", "zeros"):
        with (tmp_path / name).open("w+b") as file:
            mining._reserve(file, 3_000_000)
            assert os.fstat(file.fileno()).st_size == 3_000_000
            assert os.fstat(file.fileno()).st_blocks * 512 >= 3_000_000
        monkeypatch.delattr("os.posix_fallocate", raising=False)


def test_a_disk_that_fills_up_is_told_by_whoever_reserves(network, posts, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space left on device"):
        mine(network, posts, tmp_path / "pairs.parquet", k=2)
    assert not list(tmp_path.iterdir())


def many(num_posts=9000, dimension=16):
    """Posts in clusters, a tenth of them without text."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((300, dimension))
    vectors = centres[random.integers(0, 300, num_posts)]
    vectors = vectors + 0.5 * random.standard_normal(vectors.shape)
    ids = np.arange(num_posts).astype(str)
    words = random.integers(0, 2000, (num_posts, 6)).astype(str).tolist()
    texts = ["" if row % 10 == 3 else " ".join(own) for row, own in enumerate(words)]
    return make_network(vectors, ids), pa.table({"post_id": ids, "text": texts})


def pairs_of(path):
    table = pq.read_table(path)
    return list(zip(table["anchor_id"].to_pylist(), table["positive_id"].to_pylist(), strict=True))


def test_shards_find_what_one_index_finds(network, posts, tmp_path):
    whole = mine(network, posts, tmp_path / "one.parquet", k=2)
    names, pairs, report = mine(network, posts, tmp_path / "many.parquet", k=2, index_shard_size=2)
    assert (names, report.num_shards, report.recall_at_10) == (whole[0], 3, 1.0)
    np.testing.assert_allclose([p[2] for p in pairs], [p[2] for p in whole[1]], atol=1e-6)


def test_shards_of_an_approximate_index(tmp_path):
    network, posts = many()
    pq.write_table(posts, tmp_path / "posts.parquet")
    options = {"k": 5, "exact_limit": 1000, "target_recall": 0.9}
    exact, found = tmp_path / "exact.parquet", tmp_path / "found.parquet"
    mine(network, tmp_path / "posts.parquet", exact, k=5)
    report = mine(network, tmp_path / "posts.parquet", found, index_shard_size=3000, **options)[2]
    assert (report.num_shards, report.index) == (3, "IVF64,PQ8x4fs,RFlat")
    assert report.recall_at_10 >= 0.9
    assert len(set(pairs_of(exact)) & set(pairs_of(found))) > 0.9 * len(set(pairs_of(exact)))


def test_spark_mines_the_same_pairs(spark, tmp_path):
    network, posts = many()
    save_network(network, tmp_path / "network")
    network = load_network(tmp_path / "network")
    # The first text of a post counts, in the order of the files: another would be a copy.
    (tmp_path / "posts").mkdir()
    pq.write_table(posts, tmp_path / "posts" / "a.parquet", row_group_size=1000)
    again = posts.set_column(1, "text", pa.array(["the same text"] * len(posts)))
    pq.write_table(again, tmp_path / "posts" / "b.parquet")
    config = MiningConfig(k=5, exact_limit=1000, index_shard_size=3000, threads=1)
    reports = [
        mine_pairs(network, tmp_path / "posts", path, config, progress=False, engine=engine)
        for path, engine in (
            (tmp_path / "one.parquet", None),
            (tmp_path / "spark.parquet", EngineConfig("spark")),
        )
    ]
    assert pq.read_table(tmp_path / "spark.parquet") == pq.read_table(tmp_path / "one.parquet")
    assert reports[0].num_pairs == reports[1].num_pairs > 1000
    names = {"one.parquet", "spark.parquet", "posts", "network"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_two_processes_mine_the_same_pairs(tmp_path, launch):
    network, posts = many()
    save_network(network, tmp_path / "network")
    pq.write_table(posts, tmp_path / "posts.parquet")
    command = f"network mine --network {tmp_path}/network --posts {tmp_path}/posts.parquet -k 5 "
    command += "--exact_limit 1000 --index_shard_size 3000 --threads 1 --no_progress --output "
    assert main([*command.split(), str(tmp_path / "one.parquet")]) == 0
    done = launch(2, [*command.split(), str(tmp_path / "two.parquet")])
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Pairs, saved in") == 1
    assert pq.read_table(tmp_path / "two.parquet") == pq.read_table(tmp_path / "one.parquet")
    names = {"one.parquet", "two.parquet", "posts.parquet", "network"}
    assert {path.name for path in tmp_path.iterdir()} == names
    # What a person can mend ends all processes, with one message.
    bad = [*command.split(), str(tmp_path / "bad.parquet"), "--index", "Nonsense"]
    failed = launch(2, bad, "torchrun")
    assert failed.returncode != 0
    assert failed.stderr.count("FAISS cannot build the index 'Nonsense'") == 1
