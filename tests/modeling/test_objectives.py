"""Objectives and settings, alike in every family; `test_families.py` holds what differs."""

import pytest
import torch
import torch.nn.functional as F
from transformers import BertForMaskedLM

from twhin_hf.modeling import TwhinBertForPreTraining, TwhinBertModel, apply_settings
from twhin_hf.modeling.settings import DEFAULTS


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(0)
    return TwhinBertForPreTraining(tiny_config).eval()


def test_loss_is_the_weighted_sum(model, batch):
    output = model(**batch(128))
    expected = output.social_loss + 0.05 * output.mlm_loss
    torch.testing.assert_close(output.loss, expected)


def test_objectives_take_part_by_weight_and_by_batch(tiny_config, batch):
    inputs = batch(128)
    mlm_only = TwhinBertForPreTraining(apply_settings(tiny_config, social_weight=0, mlm_weight=1))
    assert mlm_only.social_head is None
    output = mlm_only(**inputs)
    assert output.social_loss is None
    torch.testing.assert_close(output.loss, output.mlm_loss)
    social = TwhinBertForPreTraining(apply_settings(tiny_config, social_weight=1, mlm_weight=0))
    assert social(**inputs).mlm_loss is None
    del inputs["post_ids"], inputs["positive_ids"], inputs["labels"]
    assert social(**inputs).loss is None


def test_a_batch_of_one_pair_is_refused(model, batch):
    inputs = batch(128)
    with pytest.raises(ValueError, match="one pair has no negatives"):
        model(
            inputs["input_ids"][:2],
            attention_mask=torch.ones_like(inputs["input_ids"][:2]),
            post_ids=torch.tensor([0, 1]),
        )
    with pytest.raises(ValueError, match="takes pairs"):
        model(
            inputs["input_ids"][:1],
            attention_mask=torch.ones_like(inputs["input_ids"][:1]),
            post_ids=torch.tensor([0, 1, 2]),
        )


def tpp_model(config, **settings):
    torch.manual_seed(0)
    weights = {"social_weight": 0.0, "mlm_weight": 0.0, "tpp_weight": 1.0}
    return TwhinBertForPreTraining(apply_settings(config, **weights | settings))


@pytest.mark.parametrize(
    ("settings", "pooled", "loss_of"),
    [
        (
            {"tpp_loss": "bce", "tpp_pooling": "cls"},
            slice(0, 32),
            lambda a, b, labels: F.binary_cross_entropy_with_logits((a * b).sum(1), labels.float()),
        ),
        (
            {"tpp_loss": "cosine", "tpp_pooling": "mean", "tpp_margin": 0.2},
            slice(32, 64),
            lambda a, b, labels: F.cosine_embedding_loss(a, b, 2 * labels - 1, margin=0.2),
        ),
    ],
)
def test_tpp_of_pooled_texts(tiny_config, translation_batch, settings, pooled, loss_of):
    """The projections are those of what the config pools, and the loss is torch's of them."""
    model = tpp_model(tiny_config, **settings)
    inputs = translation_batch(128)
    output = model(**inputs)
    keys = ("input_ids", "segment_ids", "position_ids")
    combined = model.bert(**{key: inputs[key] for key in keys}, pooling="combined").embeddings
    projections = model.tpp_head.projection(combined[:, pooled])
    torch.testing.assert_close(output.tpp_projections, projections)
    assert output.tpp_projections.shape == (24, 32)
    expected = loss_of(projections[:12], projections[12:], inputs["pair_labels"])
    torch.testing.assert_close(output.loss, expected, atol=1e-6, rtol=1e-5)


def test_contrastive_items(tiny_config, translation_batch):
    model = tpp_model(tiny_config, tpp_loss="contrastive", tpp_margin=0.1)
    inputs = translation_batch(128) | {"pair_labels": torch.ones(12)}
    alone = model(**inputs)
    a, b = (F.normalize(side, dim=1) for side in alone.tpp_projections.chunk(2))
    scores = (a @ b.T - 0.1 * torch.eye(12)) / 0.05
    own = torch.arange(12)
    expected = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
    torch.testing.assert_close(alone.tpp_loss, expected, atol=1e-5, rtol=1e-5)
    each = model(**inputs, item_ids=own.repeat(2))
    assert each.tpp_loss.equal(alone.tpp_loss)
    # The first two pairs are translations of each other.
    joined = model(**inputs, item_ids=own.clamp(min=1).repeat(2))
    left_out = torch.zeros(12, 12)
    left_out[0, 1] = left_out[1, 0] = -torch.inf
    scores = scores + left_out
    expected = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
    torch.testing.assert_close(joined.tpp_loss, expected, atol=1e-5, rtol=1e-5)


def test_bad_batches_of_translation_pairs(tiny_config, batch, translation_batch):
    model = tpp_model(tiny_config, tpp_loss="contrastive")
    inputs = translation_batch(128)
    with pytest.raises(ValueError, match="translations alone"):
        model(**inputs)
    with pytest.raises(ValueError, match="24 posts and 11 pair_labels; give one for each pair"):
        model(**inputs | {"pair_labels": torch.ones(11)})
    with pytest.raises(ValueError, match=r"pair_labels hold \[-1, 1\]; a label is 1"):
        model(**inputs | {"pair_labels": torch.tensor([1, -1] * 6)})
    with pytest.raises(ValueError, match=r"post_ids \(social loss\) or pair_labels \(TPP\)"):
        model(**batch(128), pair_labels=torch.ones(12))
    ids = torch.tensor([[0, 5, 2], [0, 6, 2]])
    with pytest.raises(ValueError, match="at least two pairs"):
        model(ids, pair_labels=torch.ones(1))


def test_settings_survive_saving(tiny_config, tmp_path):
    settings = {
        "pooling": "mean",
        "social_pooling": "combined",
        "social_projection_sizes": [24, 16, 8],
        "social_temperature": 0.3,
        "social_weight": 0.9,
        "mlm_weight": 0.2,
        "tpp_weight": 0.5,
        "tpp_loss": "cosine",
        "tpp_pooling": "mean",
        "tpp_projection_size": 7,
        "tpp_margin": -0.5,
        "tpp_temperature": 0.1,
        "engagement_weight": 0.7,
        "engagement_pooling": "combined",
        "engagement_projection_sizes": [9, 5],
        "engagement_temperature": 0.2,
        "distillation_weight": 0.6,
        "distillation_pooling": "cls",
        "distillation_hidden_sizes": [11],
        "distillation_loss": "neighbours",
        "distillation_temperature": 0.4,
        "distillation_target_temperature": 0.8,
        "network_dimension": 3,
        "sentence_embedding": "tpp",
        "normalize_embeddings": True,
        "max_seq_length": 20,
    }
    assert settings.keys() == DEFAULTS.keys()
    TwhinBertForPreTraining(apply_settings(tiny_config, **settings)).save_pretrained(tmp_path)
    model = TwhinBertForPreTraining.from_pretrained(tmp_path)
    assert {key: getattr(model.config, key) for key in settings} == settings
    assert [layer.weight.shape for layer in model.social_head.layers] == [
        (24, 64),
        (16, 24),
        (8, 16),
    ]
    assert model.tpp_head.projection.weight.shape == (7, 32)
    assert [layer.weight.shape for layer in model.engagement_head.layers] == [(9, 64), (5, 9)]
    assert model.engagement_head.user_map.weight.shape == (5, 3)
    assert [layer.weight.shape for layer in model.distillation_head.layers] == [(11, 32), (3, 11)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "max"}, "pooling is 'max'"),
        ({"social_temperature": 0}, "must be above 0"),
        ({"social_projection_sizes": [0]}, "one positive size a layer"),
        ({"social_weight": 0, "mlm_weight": 0}, "all 0: there is nothing to learn"),
        ({"mlm_weight": -1}, "must be 0 or more"),
        ({"tpp_weight": -1}, "tpp_weight is -1; it must be 0 or more"),
        ({"tpp_loss": "triplet"}, "tpp_loss is 'triplet'; choose one of .*'contrastive'"),
        ({"tpp_pooling": "pooler"}, "tpp_pooling is 'pooler'"),
        ({"tpp_projection_size": 0}, "tpp_projection_size is 0; give a positive size"),
        ({"tpp_margin": 1.5}, r"tpp_margin is 1.5; .* give one in \[-1, 1\]"),
        ({"tpp_margin": float("nan")}, "tpp_margin is nan"),
        ({"tpp_temperature": 0}, "tpp_temperature is 0; it must be above 0"),
        ({"engagement_weight": 1}, "network_dimension is not given; give the dimension"),
        ({"distillation_weight": 1}, "network_dimension is not given"),
        ({"network_dimension": 0}, "network_dimension is 0; give a positive size"),
        ({"engagement_temperature": 0}, "engagement_temperature is 0; it must be above 0"),
        ({"distillation_loss": "mse"}, "choose one of .*'cosine', 'neighbours'"),
        ({"distillation_hidden_sizes": [0]}, "give positive sizes"),
        (
            {"network_dimension": 4, "engagement_projection_sizes": []},
            "engagement_projection_sizes is .*one positive size a layer",
        ),
        ({"social_projection_sizes": [10**9]}, "the social head has 32,000,000,000 weights"),
        ({"social_projection_sizes": [1] * 65}, "the social head has 65 layers; at most 64 are"),
        ({"tpp_weight": 1, "tpp_projection_size": 10**9}, "the tpp head has 32,000,000,000"),
        ({"engagement_weight": 1, "network_dimension": 10**6}, "the engagement head has"),
        (
            {
                "distillation_weight": 1,
                "network_dimension": 2,
                "distillation_hidden_sizes": [10**9],
            },
            "the distillation head has 34,000,000,000 weights .*; at most 268,435,456 are made",
        ),
    ],
)
def test_bad_settings(tiny_config, settings, message):
    with pytest.raises(ValueError, match=message):
        apply_settings(tiny_config, **settings)


def test_an_unknown_setting(tiny_config):
    with pytest.raises(TypeError, match=r"unknown settings \['temperature'\]; the settings are"):
        apply_settings(tiny_config, temperature=1)


def test_embeddings_of_an_mlm_checkpoint_do_not_change_between_loads(
    tiny_config, tokenizer, texts, tmp_path
):
    BertForMaskedLM(tiny_config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(1)
    first = TwhinBertModel.from_pretrained(tmp_path).encode(texts[:5])
    torch.manual_seed(2)
    second = TwhinBertModel.from_pretrained(tmp_path)
    assert second.encode(texts[:5]).equal(first)
    assert not hasattr(second(torch.tensor([[0, 5, 2]])), "pooler_output")


def test_packed_rows_need_positions_and_no_mask(model, batch):
    inputs = batch(128)
    with pytest.raises(ValueError, match="not both"):
        model(**inputs, attention_mask=torch.ones_like(inputs["input_ids"]))
    del inputs["position_ids"]
    with pytest.raises(ValueError, match="position_ids that restart"):
        model(**inputs)


def test_returns_a_tuple_when_asked(model, batch):
    inputs = batch(128)
    assert model(**inputs, return_dict=False)[0].equal(model(**inputs).loss)
    ids = torch.tensor([[0, 5, 2]])
    hidden, embeddings = model.bert(ids, return_dict=False)
    assert hidden.shape == (1, 3, 32)
    assert embeddings.shape == (1, 64)
