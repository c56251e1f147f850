import json
import logging
import zipfile

import numpy as np
import pytest
import torch
from transformers import AutoConfig, BertConfig, BertModel

from twhin_hf.commands.cli import main
from twhin_hf.loading.auto import load_post_encoder
from twhin_hf.loading.families import MODELS
from twhin_hf.modeling import TwhinBertModel
from twhin_hf.serving import export as export_module
from twhin_hf.serving import graph
from twhin_hf.serving.embedding_settings import VectorSettings, embedding_settings
from twhin_hf.serving.export import ExportConfig, export
from twhin_hf.serving.exported import ExportedEncoder, is_exported, load_exported
from twhin_hf.serving.parity import compare, cosines, parity_texts
from twhin_hf.serving.pooled_encoder import PooledEncoder

pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")

NORMALIZED = {"xlm-roberta"}


def run_by(model):
    def run(input_ids, attention_mask):
        with torch.inference_mode():
            return model(input_ids, attention_mask)[0].numpy()

    return run


def pytorch_vectors(folder, texts):
    family = AutoConfig.from_pretrained(folder).model_type
    return (
        load_post_encoder(str(folder))
        .encode(texts, normalize_embeddings=family in NORMALIZED)
        .numpy()
    )


@pytest.fixture(scope="module")
def exports(saved_encoders, tmp_path_factory):
    """Each family as ONNX, and what its comparison found."""
    folder = tmp_path_factory.mktemp("exports")
    return {
        family: (folder / family, export(ExportConfig(str(path), "onnx"), folder / family))
        for family, path in saved_encoders.items()
    }


def test_an_export_takes_what_encode_takes(exports, texts):
    exported = load_exported(exports["bert"][0])
    vectors = exported.encode(texts[:3])
    single = exported.encode(texts[1])
    assert single.shape == vectors[1].shape
    np.testing.assert_allclose(single, vectors[1], atol=5e-6)
    tensor = exported.encode(texts[:3], convert_to_tensor=True)
    np.testing.assert_array_equal(tensor.numpy(), vectors)
    assert isinstance(exported.encode(texts[0], convert_to_numpy=False), torch.Tensor)
    unit = exported.encode(texts[:3], normalize_embeddings=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)
    with pytest.warns(FutureWarning, match="is called normalize_embeddings= now") as warned:
        old = exported.encode(texts[:3], normalize=True)
    assert warned[0].filename == __file__
    np.testing.assert_array_equal(old, unit)


def test_every_family_in_onnx_has_the_vectors_of_encode(exports, saved_encoders, texts):
    some = ["", *texts[:30], " ".join(texts[:20])]
    for family, (folder, found) in exports.items():
        assert found.min_cosine > 0.99999, family
        exported = load_exported(folder)
        expected = pytorch_vectors(saved_encoders[family], some)
        np.testing.assert_allclose(exported.encode(some), expected, atol=5e-6, err_msg=family)
        # A batch of one, of two tokens; and what no batch shares.
        for one, vector in zip(some[:3], expected[:3], strict=True):
            np.testing.assert_allclose(exported.encode([one])[0], vector, atol=5e-6)
        assert exported.encode([]).shape == (0, expected.shape[1])


def test_what_the_folder_holds(exports, saved_encoders):
    parts = {"bert": ["cls", "mean"], "modernbert": ["mean"]}
    for family, (folder, found) in exports.items():
        told = json.loads((folder / "export.json").read_text())
        assert (told["format"], told["precision"]) == ("onnx", "float32")
        assert told["pooling"] == parts.get(family, ["cls"])
        assert told["normalize"] == (family in NORMALIZED)
        assert told["dimension"] == (64 if family == "bert" else 32)
        assert told["max_length"] == 128
        assert told["versions"].keys() >= {"twhin_hf", "torch", "transformers", "onnxruntime"}
        assert told["comparison"] == found._asdict() | {"threads": 1}
        config = json.loads((folder / "config.json").read_text())
        assert "auto_map" not in config
        assert config["architectures"][0].removesuffix("Model").lower() == family.replace("-", "")
        assert (folder / "tokenizer.json").is_file()
        assert (folder / "onnx" / "model.onnx").is_file()
        # Stock modules make the vectors of all but the combined ones.
        assert (folder / "modules.json").is_file() == (family != "bert")
        assert is_exported(folder)
        assert not is_exported(saved_encoders[family])
    beside = {path.name for path in exports["bert"][0].parent.iterdir()}
    assert beside == set(saved_encoders)


def test_a_user_needs_only_onnxruntime_and_tokenizers(exports, texts):
    """The lines of examples/serving.md."""
    import onnxruntime
    from tokenizers import Tokenizer

    folder = exports["bert"][0]
    session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    told = json.loads((folder / "export.json").read_text())
    tokenizer.enable_truncation(told["max_length"])
    pad = json.loads((folder / "config.json").read_text())["pad_token_id"]
    tokenizer.enable_padding(pad_id=pad)
    batch = tokenizer.encode_batch(texts[:5])
    feed = {
        "input_ids": np.array([row.ids for row in batch]),
        "attention_mask": np.array([row.attention_mask for row in batch]),
    }
    vectors, hidden = session.run(["sentence_embedding", "last_hidden_state"], feed)
    np.testing.assert_allclose(vectors, load_exported(folder).encode(texts[:5]), atol=5e-6)
    assert hidden.shape == (*feed["input_ids"].shape, 32)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_int8_and_openvino_from_the_same_graph(family, exports, saved_encoders, tmp_path):
    texts, (folder, _) = parity_texts(), exports[family]
    source = tmp_path / "model.onnx"
    source.write_bytes((folder / "onnx" / "model.onnx").read_bytes())
    told = json.loads((folder / "export.json").read_text())
    tokenizer = load_exported(folder).tokenizer
    expected = pytorch_vectors(saved_encoders[family], texts)

    from twhin_hf.serving import exported as module

    sizes = []
    for number, options in enumerate(graph.ONNX_INT8):
        path = tmp_path / f"{number}.onnx"
        graph.quantize_onnx(source, path, **options)
        found = ExportedEncoder(module._open_onnx(path), tokenizer, told).encode(texts)
        assert cosines(found, expected).min() > 0.98
        assert np.abs(found - expected).max() > 1e-4  # it is another precision
        sizes.append(path.stat().st_size)
    assert sizes[0] < source.stat().st_size
    pytest.importorskip("nncf", reason="the extra `openvino` is not installed")
    # ModernBERT's windows leave rows of padding that see nothing, which must not become nan.
    for int8, least in ((False, 0.99999), (True, 0.98)):
        path = tmp_path / f"{int8}" / "model.xml"
        graph.write_openvino(source, path, int8)
        found = ExportedEncoder(module._open_openvino(path), tokenizer, told).encode(texts)
        assert cosines(found, expected).min() > least


def test_the_logs_of_others_go_on(exports, tmp_path):
    pytest.importorskip("nncf", reason="the extra `openvino` is not installed")
    logger, handler = logging.getLogger("nncf"), logging.NullHandler()
    level = logger.level
    logger.addHandler(handler)
    try:
        source = exports["roberta"][0] / "onnx" / "model.onnx"
        graph.write_openvino(source, tmp_path / "model.xml", True)
    finally:
        logger.removeHandler(handler)
    assert (logger.level, handler.level) == (level, logging.NOTSET)


def test_weights_that_do_not_fit_into_the_file_lie_beside_it(
    exports, saved_encoders, tmp_path, monkeypatch, texts
):
    import onnx

    folder = exports["roberta"][0]
    monkeypatch.setattr(graph, "PROTOBUF_LIMIT", 0)
    model = onnx.load(folder / "onnx" / "model.onnx")
    source, path = tmp_path / "model.onnx", tmp_path / "int8" / "model.onnx"
    beside = {"save_as_external_data": True, "location": "model.onnx.data", "size_threshold": 0}
    onnx.save_model(model, source, **beside)
    graph.quantize_onnx(source, path, **graph.ONNX_INT8[0])
    assert len(list(path.parent.iterdir())) == 2
    from twhin_hf.serving import exported as module

    exported = load_exported(folder)
    found = ExportedEncoder(module._open_onnx(path), exported.tokenizer, exported.export)
    assert cosines(found.encode(texts[:20]), exported.encode(texts[:20])).min() > 0.98


@pytest.fixture
def copied_graph(exports, monkeypatch):
    """Exports of BERT copy its graph: tracing takes seconds."""
    graph = (exports["bert"][0] / "onnx" / "model.onnx").read_bytes()

    def write_onnx(program, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(graph)

    monkeypatch.setattr(export_module, "trace", lambda pooled: None)
    monkeypatch.setattr(export_module, "write_onnx", write_onnx)


def test_int8_by_the_command(copied_graph, saved_encoders, tmp_path, capsys):
    output = tmp_path / "deep" / "int8"
    command = ["export", "--model", str(saved_encoders["bert"]), "--format", "onnx"]
    assert main([*command, "--int8", "--output", str(output)]) == 0
    out = capsys.readouterr().out
    assert "onnx int8" in out
    assert "PyTorch" in out
    told = json.loads((output / "export.json").read_text())
    assert told["precision"] == "int8"
    assert told["quantization"] == graph.ONNX_INT8[0]
    assert told["required_cosine"] == 0.98
    assert 0.98 <= told["comparison"]["min_cosine"] < 0.999999
    assert told["comparison"]["exported_texts_per_second"] > 0
    assert main([*command, "--output", str(output)]) == 2
    assert "int8 was True and is False" in capsys.readouterr().err


def test_vectors_that_are_too_far_leave_nothing(
    copied_graph, saved_encoders, tmp_path, monkeypatch
):
    made = []
    quantize = export_module.quantize_onnx
    monkeypatch.setattr(
        export_module,
        "quantize_onnx",
        lambda *paths, **options: made.append(options) or quantize(*paths),
    )
    monkeypatch.setitem(export_module.REQUIRED_COSINE, "int8", 1.1)
    config = ExportConfig(str(saved_encoders["bert"]), "onnx", int8=True)
    with pytest.raises(ValueError, match=r"cosine of 0\.9\d+ .* Nothing was written.*without int8"):
        export(config, tmp_path / "far")
    assert made == list(graph.ONNX_INT8)
    assert list(tmp_path.iterdir()) == []


def test_vectors_that_are_no_numbers_are_the_farthest():
    found = compare(
        lambda texts: np.ones((len(texts), 2)), lambda texts: np.full((len(texts), 2), np.nan)
    )
    assert found.min_cosine == found.mean_cosine == -1.0


def test_a_graph_of_pytorch_holds_no_pickle_and_needs_trust(saved_encoders, tmp_path, texts):
    source, output = saved_encoders["roberta"], tmp_path / "torch"
    export(ExportConfig(str(source), "torch"), output)
    with zipfile.ZipFile(output / "model.pt2") as archive:
        for entry in archive.infolist():
            content = archive.read(entry)
            # What pickles begin with, and the archives of torch.save.
            assert not content.startswith((b"\x80", b"PK")), entry.filename
            if entry.filename.endswith("_config.json"):
                payloads = json.loads(content)["config"].values()
                assert not any(payload["use_pickle"] for payload in payloads)
            if "sample_inputs" in entry.filename:
                assert content == b""
    with pytest.raises(ValueError, match="as good as code"):
        load_exported(output)
    found = load_exported(output, trust=True).encode(texts[:40])
    np.testing.assert_allclose(found, pytorch_vectors(source, texts[:40]), atol=5e-6)


@pytest.mark.parametrize("pooling", ["cls", "mean", "combined"])
def test_the_padded_path_is_encode(family, pooling, saved_encoders, texts):
    some = ["", "a", *texts[:20]]
    encoder = load_post_encoder(str(saved_encoders[family]))
    parts = {"combined": ("cls", "mean")}.get(pooling, (pooling,))
    model = PooledEncoder(encoder, VectorSettings(parts, True, 64)).eval()
    told = {"dimension": 32 * len(parts), "max_length": 64, "longest": encoder.longest_post}
    found = ExportedEncoder(run_by(model), encoder._own_tokenizer(), told).encode(some)
    expected = encoder.encode(
        some, max_length=64, pooling=pooling, normalize_embeddings=True
    ).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_settings_are_those_of_the_modules(tmp_path, tokenizer, texts):
    pytest.importorskip("sentence_transformers", reason="the extra is not installed")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=12, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=40, initializer_range=0.2,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "stock")
    tokenizer.save_pretrained(tmp_path / "stock")
    for modes, parts in (("mean", ("mean_all",)), (("cls", "mean"), ("cls", "mean_all"))):
        body = Transformer(str(tmp_path / "stock"), max_seq_length=24)
        model = SentenceTransformer(
            modules=[body, Pooling(12, pooling_mode=modes), Normalize()], device="cpu"
        )
        folder = tmp_path / "-".join(parts)
        model.save_pretrained(str(folder))
        encoder = load_post_encoder(str(folder))
        settings = embedding_settings(str(folder), encoder)
        assert settings == VectorSettings(parts, True, 24)
        pooled = PooledEncoder(encoder, settings).eval()
        told = {"dimension": 12 * len(parts), "max_length": 24, "longest": 40}
        found = ExportedEncoder(run_by(pooled), tokenizer, told).encode(texts[:30])
        np.testing.assert_allclose(found, model.encode(texts[:30]), atol=2e-6)
    body = Transformer(str(tmp_path / "stock"))
    SentenceTransformer(modules=[body, Pooling(12, pooling_mode="max")]).save_pretrained(
        str(tmp_path / "max")
    )
    encoder = load_post_encoder(str(tmp_path / "max"))
    with pytest.raises(ValueError, match=r"Transformer, Pooling with pooling \['max'\]"):
        embedding_settings(str(tmp_path / "max"), encoder)


def test_settings_of_our_folders(saved_encoders, tmp_path):
    expected = {
        "bert": VectorSettings(("cls", "mean"), False, 128),
        "modernbert": VectorSettings(("mean",), False, 128),
        "xlm-roberta": VectorSettings(("cls",), True, 128),
    }
    expected = dict.fromkeys(MODELS, VectorSettings(("cls",), False, 128)) | expected
    for family, folder in saved_encoders.items():
        encoder = load_post_encoder(str(folder))
        assert embedding_settings(str(folder), encoder) == expected[family]
        (tmp_path / family).mkdir()
        without = embedding_settings(str(tmp_path / family), encoder)
        assert without.pooling == expected[family].pooling
        assert not without.normalize


def test_what_cannot_be_exported_or_loaded(exports, saved_encoders, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="choose one of"):
        ExportConfig("model", "tensorrt")
    with pytest.raises(ValueError, match="int8 is made for onnx and openvino"):
        ExportConfig("model", "torch", int8=True)
    with pytest.raises(FileNotFoundError, match="twhin-hf export"):
        load_exported(saved_encoders["bert"])
    exported = load_exported(exports["bert"][0])
    with pytest.raises(ValueError, match=r"cls and mean\): leave it out"):
        exported.encode(["a"], pooling="cls")
    with pytest.raises(ValueError, match="130 at most"):
        exported.encode(["a"], max_length=131)
    with pytest.raises(ValueError, match="text 0 is None"):
        exported.encode([None])
    np.testing.assert_allclose(exported.encode("a"), exported.encode(["a"])[0], atol=1e-6)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for kind in ("onnx", "openvino"):
        config = ExportConfig(str(saved_encoders["bert"]), kind)
        with pytest.raises(ValueError, match=rf"pip install 'twhin_hf\[{kind}\]'"):
            export(config, tmp_path / "none")
    with pytest.raises(ValueError, match=r"needs onnxruntime: `pip install"):
        load_exported(exports["bert"][0])


def test_posts_are_embedded_and_found_by_an_export(exports, posts, tmp_path, capsys):
    import pyarrow.parquet as pq

    from twhin_hf.serving.vectors import PostVectorsConfig, _part_names

    folder, source = exports["bert"][0], tmp_path / "posts.parquet"
    posts.to_parquet(source)
    output = str(tmp_path / "vectors.parquet")
    command = ["embed", "--model", str(folder), "--input", str(source), "--output", output]
    assert main([*command, "--pooling", "cls"]) == 2
    assert "leave it out" in capsys.readouterr().err
    assert main([*command, "--normalize"]) == 0
    table = pq.read_table(output)
    assert table["post_id"].to_pylist() == posts["post_id"]
    found = np.array(table["embedding"].to_pylist())
    expected = load_exported(folder).encode(posts["text"], normalize_embeddings=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    search = ["search", "--vectors", output, "--model", str(folder), "-k", "1"]
    assert main([*search, "--query", posts["text"][7]]) == 0
    assert "p7" in capsys.readouterr().out
    # Another export in the same place is another model.
    names = list(_part_names(posts, 100, PostVectorsConfig(str(folder))))
    told = folder / "export.json"
    told.write_text(told.read_text() + "\n")
    assert not set(names) & set(_part_names(posts, 100, PostVectorsConfig(str(folder))))


def test_texts_without_a_mean_are_alike():
    vectors = np.array([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0], [np.nan, 1.0]])
    others = np.array([[0.0, 0.0], [1.0, 0.0], [4.0, 3.0], [1.0, 1.0]])
    np.testing.assert_allclose(cosines(vectors, others), [1, 0, 0.96, np.nan])


def test_a_mean_without_the_special_tokens_is_exported(tiny_config, tokenizer, tmp_path):
    TwhinBertModel(tiny_config, pooling="mean").save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    expected = load_post_encoder(str(tmp_path / "model")).encode(["", "a"]).numpy()
    assert not expected[0].any()
    config = ExportConfig(str(tmp_path / "model"), "onnx")
    assert export(config, tmp_path / "onnx").min_cosine > 0.99999
    found = load_exported(tmp_path / "onnx").encode(["", "a"])
    np.testing.assert_allclose(found, expected, atol=5e-6)


def test_padding_to_few_shapes_changes_no_vector():
    """Also where a batch is as long as the model reads, and rows are added."""
    from twhin_hf.serving import exported as module

    seen = set()

    def run(input_ids, attention_mask):
        seen.add(tuple(input_ids.shape))
        assert (attention_mask.sum(dim=1) > 0).all()
        return (input_ids * attention_mask).sum(dim=1, keepdim=True).numpy()

    padded = module._in_few_shapes(run, longest=30)
    for rows in range(1, 34):
        for width in (3, 8, 29, 30):
            ids = torch.randint(1, 100, (rows, width))
            found = padded(ids, torch.ones_like(ids))
            assert found.tolist() == ids.sum(dim=1, keepdim=True).tolist()
    assert {width for _, width in seen} == {8, 30}
    assert {rows for rows, _ in seen} == {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48}
