import os
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from twhin_hf.commands.cli import main
from twhin_hf.data_fingerprint import data_fingerprint
from twhin_hf.errors import InputError
from twhin_hf.modeling import TwhinBertModel, apply_settings
from twhin_hf.serving import vectors as module
from twhin_hf.serving.export import export
from twhin_hf.serving.export_config import ExportConfig
from twhin_hf.serving.search import search, search_vectors, texts_of
from twhin_hf.serving.vector_files import vector_shape, vectors_made_with
from twhin_hf.serving.vectors import PostVectorsConfig, embed_posts, encode_batches


@pytest.fixture
def encoder(tiny_config, tokenizer, tmp_path):
    torch.manual_seed(0)
    tiny_config.initializer_range = 0.2
    model = TwhinBertModel(apply_settings(tiny_config))
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def source(posts, tmp_path):
    posts.to_parquet(tmp_path / "posts.parquet")
    return tmp_path / "posts.parquet"


def read(path):
    table = pq.read_table(path)
    width = table.schema.field("embedding").type.list_size
    values = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return table["post_id"].to_pylist(), values.reshape(-1, width)


def test_vectors_are_the_models_in_the_order_of_the_posts(encoder, source, posts, tmp_path):
    output = tmp_path / "vectors.parquet"
    report = embed_posts(
        source, output, PostVectorsConfig(encoder), posts_per_part=100, progress=False
    )
    assert report == (240, 64, 3, 0, 240)
    ids, found = read(output)
    assert ids == posts["post_id"]
    expected = TwhinBertModel.from_pretrained(encoder).encode(posts["text"]).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    kind = pq.read_schema(output).field("embedding").type
    assert kind == pa.list_(pa.float32(), 64)
    assert pq.ParquetFile(output).num_row_groups == 3
    assert vectors_made_with(output)["model"] == encoder
    assert sorted(path.name for path in tmp_path.glob("*vectors*")) == ["vectors.parquet"]


def test_half_precision_normalized_by_two_processes(encoder, source, posts, tmp_path):
    output = tmp_path / "vectors.parquet"
    config = PostVectorsConfig(encoder, pooling="cls", normalize=True, float16=True, processes=2)
    embed_posts(source, output, config, posts_per_part=60, progress=False)
    ids, found = read(output)
    assert ids == posts["post_id"]
    assert found.dtype == np.float16
    model = TwhinBertModel.from_pretrained(encoder)
    expected = model.encode(posts["text"], normalize_embeddings=True, pooling="cls").numpy()
    np.testing.assert_allclose(found.astype(np.float32), expected, atol=1e-3)


def test_a_broken_run_goes_on_and_keeps_what_is_done(encoder, source, tmp_path, monkeypatch):
    output, config = tmp_path / "vectors.parquet", PostVectorsConfig(encoder)
    embed_posts(source, tmp_path / "whole.parquet", config, posts_per_part=60, progress=False)
    write, written = module._Embedder.write, []

    def broken(self, part):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(part.path)
        return write(self, part)

    monkeypatch.setattr(module._Embedder, "write", broken)
    with pytest.raises(KeyboardInterrupt):
        embed_posts(source, output, config, posts_per_part=60, progress=False)
    assert not output.exists()
    times = [path.stat().st_mtime_ns for path in written]
    monkeypatch.setattr(module._Embedder, "write", write)

    # Other options, and other weights under the same name: nothing of it can be used.
    for path in written:
        os.link(path, tmp_path / path.name)
    half = embed_posts(
        source, output, replace(config, float16=True), posts_per_part=60, progress=False
    )
    assert half.kept_parts == 0
    output.unlink()
    parts = tmp_path / "vectors.parquet.parts"
    parts.mkdir()
    for path in written:
        os.rename(tmp_path / path.name, parts / path.name)
    assert [path.stat().st_mtime_ns for path in written] == times

    report = embed_posts(source, output, config, posts_per_part=60, progress=False)
    assert (report.num_parts, report.kept_parts) == (4, 2)
    assert pq.read_table(output).equals(pq.read_table(tmp_path / "whole.parquet"))
    assert not parts.exists()


def test_parts_are_named_by_posts_options_and_weights(encoder, posts, tmp_path):
    def names(config, posts=posts):
        return [name for _, name in module._part_names(posts, 60, config)]

    config = PostVectorsConfig(encoder)
    first = names(config)
    assert len(set(first)) == 4
    assert names(replace(config, batch_size=1, processes=3)) == first
    assert not set(names(replace(config, pooling="cls"))) & set(first)
    changed = posts.map(lambda row, i: row | {"text": row["text"] + "!" * (i == 0)}, True)
    assert names(config, changed)[0] != first[0]
    assert names(config, changed)[1:] == first[1:]
    os.utime(tmp_path / "model" / "model.safetensors", ns=(1, 1))
    assert names(config) == first


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"]
)
def test_a_part_of_one_model_is_never_taken_for_one_of_another(encoder, posts, tmp_path, file):
    config = PostVectorsConfig(encoder)
    path = tmp_path / "model" / file
    path.parent.mkdir(exist_ok=True)
    path.touch()
    first = {name for _, name in module._part_names(posts, 60, config)}
    time, content = path.stat().st_mtime_ns, path.read_bytes()
    # As long as it was, and of the same time: what a copy with its times kept looks like.
    path.write_bytes((content or b" ")[:-1] + b"\x01")
    os.utime(path, ns=(time, time))
    assert not first & {name for _, name in module._part_names(posts, 60, config)}


def test_adding_embeds_what_is_new_and_keeps_the_rest(encoder, posts, tmp_path, monkeypatch):
    output, config = tmp_path / "vectors.parquet", PostVectorsConfig(encoder)
    posts.select(range(150)).to_parquet(tmp_path / "old.parquet")
    changed = posts.map(lambda row: row | {"text": row["text"] + " changed"})
    changed.select(range(100, 240)).to_parquet(tmp_path / "new.parquet")
    first = embed_posts(
        tmp_path / "old.parquet", output, config, posts_per_part=60, progress=False, add=True
    )
    assert (first.num_posts, first.num_new) == (150, 150)
    before = read(output)[1]
    write, sizes = module._Embedder.write, []
    monkeypatch.setattr(
        module._Embedder, "write", lambda self, part: sizes.append(part.size) or write(self, part)
    )
    added = embed_posts(
        tmp_path / "new.parquet", output, config, posts_per_part=60, progress=False, add=True
    )
    assert added == (240, 64, 2, 0, 90)
    assert sizes == [60, 30]
    ids, found = read(output)
    assert ids == posts["post_id"]
    np.testing.assert_array_equal(found[:150], before)
    expected = TwhinBertModel.from_pretrained(encoder).encode(changed["text"][150:]).numpy()
    np.testing.assert_allclose(found[150:], expected, atol=1e-5)

    time = output.stat().st_mtime_ns
    again = embed_posts(tmp_path / "new.parquet", output, config, progress=False, add=True)
    assert again == (240, 64, 0, 0, 0)
    assert output.stat().st_mtime_ns == time
    assert [path.name for path in tmp_path.glob("vectors*")] == ["vectors.parquet"]


def test_nothing_is_added_to_vectors_of_another_kind(encoder, source, tmp_path):
    output, config = tmp_path / "vectors.parquet", PostVectorsConfig(encoder)
    embed_posts(source, output, config, progress=False)
    content = output.read_bytes()
    with pytest.raises(InputError, match="pooling was None and is 'cls'"):
        embed_posts(source, output, replace(config, pooling="cls"), progress=False, add=True)
    # The same name, other weights.
    model = TwhinBertModel.from_pretrained(encoder)
    with torch.no_grad():
        model.encoder.layer[-1].output.LayerNorm.weight.mul_(2)
    model.save_pretrained(encoder)
    with pytest.raises(InputError, match=r"the model was .*model \(\w{12}\) and is .*model \(\w"):
        embed_posts(source, output, config, progress=False, add=True)
    with pytest.raises(InputError, match=r"were made with .*model \(\w{12}\), and the model given"):
        search(output, ["a"], encoder, device="cpu")
    assert output.read_bytes() == content
    table = pq.read_table(output).replace_schema_metadata()
    pq.write_table(table, output)
    with pytest.raises(InputError, match="does not tell which model"):
        embed_posts(source, output, config, progress=False, add=True)


def test_a_folder_of_files_is_searched_as_one(encoder, posts, tmp_path):
    config, folder = PostVectorsConfig(encoder), tmp_path / "days"
    for number in range(2):
        posts.select(range(number * 120, number * 120 + 120)).to_parquet(tmp_path / "day.parquet")
        embed_posts(tmp_path / "day.parquet", folder / f"{number}.parquet", config, progress=False)
    queries = TwhinBertModel.from_pretrained(encoder).encode([posts["text"][7], posts["text"][200]])
    found = search_vectors(folder, queries.numpy(), 1)
    np.testing.assert_allclose(found.scores, 1, atol=1e-5)
    assert vector_shape(folder) == (240, 64)
    assert vectors_made_with(folder)["model"] == encoder
    embed_posts(tmp_path / "day.parquet", folder / "2.parquet", replace(config, pooling="cls"))
    with pytest.raises(InputError, match="pooling was None and is 'cls'"):
        vectors_made_with(folder)
    with pytest.raises(InputError, match="of 64 and of 32 dimensions"):
        search_vectors(folder, queries.numpy(), 1)


def test_an_export_searches_the_vectors_of_its_model(encoder, source, posts, tmp_path):
    pytest.importorskip("onnxruntime")
    embed_posts(source, tmp_path / "v.parquet", PostVectorsConfig(encoder), progress=False)
    export(ExportConfig(encoder, format="onnx"), tmp_path / "onnx")
    [[hit]] = search(tmp_path / "v.parquet", [posts["text"][7]], str(tmp_path / "onnx"), k=1)
    assert hit.score == pytest.approx(1, abs=1e-4)


def test_what_cannot_be(encoder, source, tmp_path):
    with pytest.raises(ValueError, match="processes is 0"):
        PostVectorsConfig(encoder, processes=0)
    for length in (0, -5):
        with pytest.raises(InputError, match=f"max_length is {length}; it must be 1 or more"):
            PostVectorsConfig(encoder, max_length=length)
    with pytest.raises(FileExistsError, match="remove it"):
        embed_posts(source, source, PostVectorsConfig(encoder))
    model = TwhinBertModel.from_pretrained(encoder)
    with torch.no_grad():
        model.encoder.layer[-1].output.LayerNorm.weight.mul_(1e6)
    model.save_pretrained(encoder)
    config = PostVectorsConfig(encoder, float16=True)
    with pytest.raises(ValueError, match="float16 cannot hold"):
        embed_posts(source, tmp_path / "vectors.parquet", config, progress=False)


def test_search_finds_the_nearest_by_hand(tmp_path):
    vectors = np.array([[1, 0], [3, 4], [0, 2], [-1, 0], [0, 0]], np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 2)
    table = pa.table({"post_id": list("abcde"), "embedding": column})
    pq.write_table(table, tmp_path / "v.parquet")
    hits = search_vectors(tmp_path / "v.parquet", np.array([[2, 0], [0, 1]], np.float32), 3)
    assert [ids[:2] for ids in hits.post_ids] == [["a", "b"], ["c", "b"]]
    np.testing.assert_allclose(hits.scores, [[1, 0.6, 0], [1, 0.8, 0]], atol=1e-6)
    everything = search_vectors(tmp_path / "v.parquet", vectors[:1], 50)
    assert sorted(everything.post_ids[0]) == list("abcde")
    assert vectors_made_with(tmp_path / "v.parquet") == {}
    with pytest.raises(ValueError, match="2 dimensions"):
        search_vectors(tmp_path / "v.parquet", np.ones((1, 3), np.float32), 1)
    with pytest.raises(ValueError, match="k is 0"):
        search_vectors(tmp_path / "v.parquet", vectors[:1], 0)


def test_search_agrees_with_all_cosines_over_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("twhin_hf.serving.vector_files._VECTORS_PER_BLOCK", 7)
    random = np.random.default_rng(0)
    vectors = random.normal(size=(100, 8)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 8)
    table = pa.table({"post_id": [f"p{i}" for i in range(100)], "embedding": column})
    pq.write_table(table, tmp_path / "v.parquet", row_group_size=13)
    queries = random.normal(size=(3, 8)).astype(np.float32)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ units.T
    order = np.argsort(-scores, axis=1)[:, :12]
    hits = search_vectors(tmp_path / "v.parquet", queries, 12)
    assert hits.post_ids == [[f"p{i}" for i in rows] for rows in order.tolist()]
    np.testing.assert_allclose(hits.scores, np.take_along_axis(scores, order, 1), atol=1e-5)


def test_files_that_are_no_vectors(tmp_path, source):
    with pytest.raises(FileNotFoundError, match="twhin-hf embed"):
        search_vectors(tmp_path / "none.parquet", np.ones((1, 2), np.float32), 1)
    with pytest.raises(ValueError, match=r"needed are post_id and embedding"):
        search_vectors(source, np.ones((1, 2), np.float32), 1)
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(ValueError, match="Parquet file size is 2 bytes"):
        search_vectors(tmp_path / "text.parquet", np.ones((1, 2), np.float32), 1)


def test_texts_of_posts_take_the_first_of_an_id(tmp_path):
    (tmp_path / "posts.csv").write_text("post_id,text\n1,first\n2,other\n1,second\n")
    assert texts_of(tmp_path / "posts.csv", ["1", "9"]) == {"1": "first"}


def test_commands(encoder, source, posts, tmp_path, capsys):
    output = str(tmp_path / "vectors.parquet")
    command = ["embed", "--model", encoder, "--input", str(source), "--output", output]
    assert main([*command, "--pooling", "mean", "--device", "cpu"]) == 0
    assert "240 vectors of 32 dimensions" in capsys.readouterr().out
    search = ["search", "--vectors", output, "--model", encoder, "-k", "2"]
    query = posts["text"][7]
    assert main([*search, "--posts", str(source), "--query", query, "[unseen]"]) == 0
    out = capsys.readouterr().out
    assert "p7" in out
    assert "1.0000" in out
    assert "[unseen]" in out
    assert main([*command]) == 2
    assert "pooling was 'mean' and is None" in capsys.readouterr().err
    # Added to, the file tells what all of it is made of.
    more = tmp_path / "more.csv"
    more.write_text("post_id,text\nnew,a new one\np7,changed\n")
    add = [*command[:4], str(more), *command[5:], "--pooling", "mean", "--device", "cpu", "--add"]
    assert main(add) == 0
    assert "241 vectors of 32 dimensions" in capsys.readouterr().out
    prints = [data_fingerprint(source), data_fingerprint(more)]
    assert vectors_made_with(output)["data"]["input"] == prints
    assert main(add) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_how_posts_are_written_is_said(encoder, tmp_path, capsys):
    (tmp_path / "posts.dat").write_bytes("1|é one\n2|two\n".encode("latin-1"))
    written = ["--separator", "|", "--header", "none", "--encoding", "latin-1"]
    written += ["--columns", "post_id=1", "text=2", "--memory_limit", "500MB"]
    posts, output = str(tmp_path / "posts.dat"), str(tmp_path / "v.parquet")
    assert main(["embed", "--model", encoder, "--input", posts, "--output", output, *written]) == 0
    search = ["search", "--vectors", output, "--model", encoder, "--posts", posts, *written]
    assert main([*search, "--query", "one"]) == 0
    assert "é one" in capsys.readouterr().out


def test_two_processes_embed_alike(encoder, source, tmp_path, launch):
    command = ["embed", "--input", str(source), "--model", encoder, "--no_progress", "--output"]
    assert main([*command, str(tmp_path / "one.parquet")]) == 0
    done = launch(2, [*command, str(tmp_path / "two.parquet")])
    assert done.returncode == 0, done.stderr[-3000:]
    ids, found = read(tmp_path / "two.parquet")
    expected_ids, expected = read(tmp_path / "one.parquet")
    assert ids == expected_ids
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert sorted(path.name for path in tmp_path.glob("*two*")) == ["two.parquet"]


class TwoWorkers:
    """Those of a launcher, one after the other."""

    num_workers = 2

    def map(self, function, items):
        return [function(item) for item in items]


def test_workers_share_the_parts(encoder, source, tmp_path):
    config, paths = PostVectorsConfig(encoder), [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    for path, workers in zip(paths, (None, TwoWorkers()), strict=True):
        embed_posts(source, path, config, posts_per_part=100, workers=workers, progress=False)
    assert pq.ParquetFile(paths[1]).num_row_groups == 3
    np.testing.assert_array_equal(read(paths[1])[1], read(paths[0])[1])


def test_spark_embeds_by_partition(spark, encoder, source, posts, tmp_path):
    frame = spark._session.read.parquet(str(source)).repartition(2).select("post_id", "text")
    encode = partial(encode_batches, config=PostVectorsConfig(encoder))
    rows = frame.mapInArrow(encode, "post_id string, embedding array<float>").collect()
    embed_posts(source, tmp_path / "v.parquet", PostVectorsConfig(encoder), progress=False)
    ids, expected = read(tmp_path / "v.parquet")
    found = {row.post_id: row.embedding for row in rows}
    assert sorted(found) == sorted(ids)
    np.testing.assert_allclose([found[post_id] for post_id in ids], expected, atol=1e-5)


def test_batches_that_cannot_be_encoded(encoder):
    batch = pa.record_batch({"post_id": ["a", "b"], "text": ["one", None]})
    with pytest.raises(InputError, match="1 of 2 posts have no text"):
        list(encode_batches([batch], PostVectorsConfig(encoder)))
    with pytest.raises(InputError, match="no float16"):
        list(encode_batches([batch], PostVectorsConfig(encoder, float16=True)))
    (empty,) = encode_batches([batch.slice(0, 0)], PostVectorsConfig(encoder))
    assert empty.schema == pa.schema({"post_id": pa.string(), "embedding": pa.list_(pa.float32())})
