import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import normalize

from twhin_hf.loading.auto import load_with_heads
from twhin_hf.loading.joined import (
    JoinedEncoder,
    is_joined,
    load_joined_encoder,
    pooling_parts,
)
from twhin_hf.loading.text_encoders import load_text_encoder
from twhin_hf.modeling import TwhinBertForPreTraining, TwhinBertModel, apply_settings
from twhin_hf.serving.search import search
from twhin_hf.serving.vectors import embed_posts
from twhin_hf.serving.vectors_config import PostVectorsConfig


@pytest.fixture
def folder(tiny_config, tokenizer, tmp_path):
    torch.manual_seed(0)
    settings = {"tpp_weight": 1.0, "tpp_projection_size": 8, "social_projection_sizes": [16, 12]}
    config = apply_settings(tiny_config, social_weight=1.0, social_pooling="mean", **settings)
    TwhinBertForPreTraining(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


class Fixed:
    """A model of two texts, whose vectors are numbers to reckon with by hand."""

    social_head = True

    def __init__(self):
        self.base_model = self

    def encode(self, texts, objective=None, pooling=None, normalize_embeddings=False, **options):
        assert normalize_embeddings
        assert texts == ["a", "b"]
        rows = [[3.0, 4.0], [0.0, 2.0]] if objective == "social" else [[5.0], [-2.0]]
        return normalize(torch.tensor(rows), dim=-1)


def test_parts_by_hand():
    encoder = JoinedEncoder(Fixed(), "mean+social")
    vectors = encoder.encode(["a", "b"], convert_to_numpy=True)
    np.testing.assert_allclose(vectors, [[1.0, 0.6, 0.8], [-1.0, 0.0, 1.0]], rtol=1e-6)
    whole = encoder.encode(["a", "b"], normalize_embeddings=True)
    np.testing.assert_allclose(whole, vectors / 2**0.5, rtol=1e-6)


def test_names_of_parts():
    assert pooling_parts("combined+engagement+distillation") == (
        "combined",
        "engagement",
        "distillation",
    )
    assert [is_joined(name) for name in (None, "mean", "social", "cls+mean")] == [
        False,
        False,
        True,
        True,
    ]
    with pytest.raises(ValueError, match=r"'max' is no part; choose of cls, mean, .* joined by \+"):
        pooling_parts("mean+max")
    with pytest.raises(ValueError, match="there twice"):
        pooling_parts("mean+mean")


def test_each_part_is_that_of_the_model(folder, texts):
    model = load_with_heads(folder)
    encoder = load_text_encoder(folder, pooling="combined+social+tpp", device="cpu")
    assert (encoder.pooling, encoder.kind) == ("combined+social+tpp", "TwhinBertForPreTraining")
    found = encoder.encode(texts[:5])
    parts = [
        model.bert.encode(texts[:5], pooling="combined", normalize_embeddings=True),
        model.encode(texts[:5], "social", normalize_embeddings=True),
        model.encode(texts[:5], "tpp", normalize_embeddings=True),
    ]
    np.testing.assert_allclose(found, torch.cat(parts, dim=1), atol=1e-6)
    assert found.shape == (5, 64 + 12 + 8)
    alone = load_text_encoder(folder, pooling="social", device="cpu").encode(texts[:5])
    np.testing.assert_allclose(alone, parts[1], atol=1e-6)


def test_heads_of_the_network_beside_the_tokens(tiny_config, tokenizer, texts, tmp_path):
    torch.manual_seed(0)
    weights = {"engagement_weight": 1.0, "distillation_weight": 1.0, "social_weight": 0.0}
    config = apply_settings(tiny_config, network_dimension=6, **weights)
    TwhinBertForPreTraining(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = load_joined_encoder(str(tmp_path), "mean_all+engagement+distillation").encode(texts[:3])
    model = load_with_heads(str(tmp_path))
    parts = [
        model.base_model.encode(texts[:3], pooling="mean_all", normalize_embeddings=True),
        model.encode(texts[:3], "engagement", normalize_embeddings=True),
        model.encode(texts[:3], "distillation", normalize_embeddings=True),
    ]
    torch.testing.assert_close(found, torch.cat(parts, dim=1))
    assert found.shape == (3, 32 + 6 + 6)


def test_a_head_that_is_not_there(folder, tiny_config, tokenizer, texts, tmp_path):
    with pytest.raises(ValueError, match=r"has no engagement head; it has social, tpp\. .*_weight"):
        load_text_encoder(folder, pooling="mean+engagement", device="cpu")
    TwhinBertModel(tiny_config).save_pretrained(tmp_path / "bare")
    tokenizer.save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match="its heads were left out when it was saved"):
        load_text_encoder(str(tmp_path / "bare"), pooling="social", device="cpu")
    # Poolings alone need no head.
    assert load_joined_encoder(str(tmp_path / "bare"), "cls+mean_all").encode(texts[0]).shape == (
        64,
    )


def test_vectors_in_a_file_and_their_search(folder, posts, tmp_path):
    source, output = tmp_path / "posts.parquet", tmp_path / "vectors.parquet"
    posts.select(range(20)).to_parquet(source)
    config = PostVectorsConfig(folder, pooling="mean+social")
    report = embed_posts(source, output, config, progress=False)
    assert (report.num_posts, report.dimension) == (20, 32 + 12)
    expected = load_joined_encoder(folder, "mean+social").encode(posts["text"][:20])
    found = np.stack(pq.read_table(output)["embedding"].to_numpy())
    np.testing.assert_allclose(found, expected, atol=1e-6)
    ((nearest, *_),) = search(output, [posts["text"][7]], folder, k=2, device="cpu")
    assert nearest.post_id == "p7"
    with pytest.raises(ValueError, match="'max' is no part"):
        embed_posts(source, tmp_path / "x", PostVectorsConfig(folder, pooling="max"))
