import math

import numpy as np
import pytest
import torch
from datasets import Dataset

pytest.importorskip("sentence_transformers")

from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)

from twhin_hf.modeling import TwhinBertModel, apply_settings
from twhin_hf.training.sentence_losses import (
    SocialLoss,
    TranslationPairLoss,
    social_sentences,
    translation_sentences,
)


class Given(torch.nn.Module):
    """Stands for a SentenceTransformer: the features are the embeddings."""

    device = torch.device("cpu")

    def forward(self, features):
        return {"sentence_embedding": features["vectors"]}

    def get_embedding_dimension(self):
        return 2


def features(*sides):
    return [{"vectors": torch.tensor(side, requires_grad=True)} for side in sides]


RIGHT_ANGLE = ([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]])


def test_social_loss_by_hand():
    inputs = features(*RIGHT_ANGLE)
    loss = SocialLoss(Given(), temperature=1.0)(inputs)
    assert loss.item() == pytest.approx(math.log(1 + 2 / math.e))
    # τ = 0.5: the cosines 1 and 0 become 2 and 0.
    half = SocialLoss(Given(), temperature=0.5)(inputs)
    assert half.item() == pytest.approx(math.log(1 + 2 / math.e**2))
    loss.backward()
    assert inputs[0]["vectors"].grad.abs().sum() > 0


def test_known_positives_are_no_negatives():
    # Posts 0–1 and 0–2 are pairs: in a batch of both, post 0 is there twice, and neither post 1 nor
    # post 2 is a negative of it: its loss is 0. Post 1's one negative is post 2, and the other way.
    rows = np.array([[0, 1], [0, 2], [3, 4]])
    inputs = features([[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]])
    loss = SocialLoss(Given(), rows, temperature=1.0)(inputs, torch.tensor([0, 1]))
    # Post 1 (1, 0): partner cosine 1; negatives: post 2 (cosine 0).
    # Post 2 (0, 1): partner cosine 0; negatives: post 1 (cosine 0).
    expected = (0 + 0 + math.log(1 + 1 / math.e) + math.log(2)) / 4
    assert loss.item() == pytest.approx(expected)
    assert SocialLoss(Given(), rows, temperature=1.0)(inputs).item() > loss.item()


def test_translation_losses_by_hand():
    # Dot products 2 and 1 of a translation and none: the numbers of translation_bce_loss.
    pairs = features([[2.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]])
    labels = torch.tensor([1, 0])
    bce = TranslationPairLoss(Given())(pairs, labels)
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.e)) / 2
    assert bce.item() == pytest.approx(expected)
    angled = features([[1.0, 0.0], [1.0, 0.0]], [[3.0, 4.0], [4.0, 3.0]])
    cosine = TranslationPairLoss(Given(), "cosine", margin=0.5)(angled, labels)
    assert cosine.item() == pytest.approx(((1 - 0.6) + (0.8 - 0.5)) / 2)
    contrastive = TranslationPairLoss(Given(), "contrastive", temperature=1.0)
    loss = contrastive(features(*RIGHT_ANGLE), torch.tensor([5, 6]))
    assert loss.item() == pytest.approx(math.log(1 + 1 / math.e))
    assert contrastive(features(*RIGHT_ANGLE)).item() == pytest.approx(loss.item())
    same_item = contrastive(features(*RIGHT_ANGLE), torch.tensor([5, 5]))
    assert same_item.item() == pytest.approx(0)


def test_what_cannot_be():
    one = features([[1.0, 0.0]], [[1.0, 0.0]])
    with pytest.raises(ValueError, match="no negatives"):
        SocialLoss(Given())(one)
    with pytest.raises(ValueError, match="no negatives"):
        TranslationPairLoss(Given(), "contrastive")(one)
    with pytest.raises(ValueError, match="needs a column `label`"):
        TranslationPairLoss(Given())(one)
    with pytest.raises(ValueError, match="3 columns of texts"):
        SocialLoss(Given())([*one, *one, *one][:3])
    with pytest.raises(ValueError, match="tpp_loss is 'mse'"):
        TranslationPairLoss(Given(), "mse")


def test_heads_have_the_sizes_asked_for():
    social = SocialLoss(Given(), projection_sizes=[5, 3])
    assert [tuple(layer.weight.shape) for layer in social.head.layers] == [(5, 2), (3, 5)]
    assert TranslationPairLoss(Given(), projection_size=4).head.weight.shape == (4, 2)
    assert torch.isfinite(social(features(*RIGHT_ANGLE)))


def test_sentences_of_mined_pairs(posts, pairs):
    found = social_sentences(posts, pairs)
    assert found.dataset.column_names == ["anchor", "positive", "label"]
    texts = posts["text"]
    assert found.dataset[7] == {"anchor": texts[7], "positive": texts[127], "label": 7}
    assert found.rows[7].tolist() == [7, 127]


def test_sentences_of_translations(translation_pairs):
    contrastive = translation_sentences(translation_pairs, "contrastive")
    assert contrastive.column_names == ["text_a", "text_b", "label"]
    assert len(contrastive) == 80
    # The first Arabic pair has the English text of the first Spanish pair.
    assert contrastive[60]["label"] == contrastive[0]["label"]
    labelled = translation_sentences(translation_pairs, num_negatives=2)
    labels = np.array(labelled["label"])
    assert (len(labels), labels.sum()) == (240, 80)
    known = set(zip(translation_pairs["text_a"], translation_pairs["text_b"], strict=True))
    drawn = set(zip(labelled["text_a"], labelled["text_b"], strict=True))
    assert known <= drawn
    negatives = labelled.select(np.flatnonzero(labels == 0))
    for row in negatives:
        assert (row["text_a"], row["text_b"]) not in known


@pytest.fixture
def sentence_model(tiny_config, tokenizer, tmp_path):
    """A saved model of ours, loaded by sentence-transformers."""
    torch.manual_seed(0)
    TwhinBertModel(apply_settings(tiny_config, pooling="cls")).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return SentenceTransformer(str(tmp_path / "model"), device="cpu")


def test_the_trainer_takes_them(sentence_model, posts, pairs, translation_pairs, tmp_path):
    mined = social_sentences(posts, pairs)
    options = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=2,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    before = {name: value.clone() for name, value in sentence_model.named_parameters()}
    data = {
        "social": mined.dataset,
        "tpp": translation_sentences(translation_pairs),
    }
    losses = {
        "social": SocialLoss(sentence_model, mined.rows, projection_sizes=[8]),
        "tpp": TranslationPairLoss(sentence_model, projection_size=8),
    }
    heads = {name: loss.head.state_dict() for name, loss in losses.items()}
    heads = {n: {k: v.clone() for k, v in state.items()} for n, state in heads.items()}
    for name, loss in losses.items():
        SentenceTransformerTrainer(
            model=sentence_model, args=options, train_dataset=data[name], loss=loss
        ).train()
        assert all(not loss.head.state_dict()[k].equal(v) for k, v in heads[name].items())
    moved = [n for n, v in sentence_model.named_parameters() if not v.equal(before[n])]
    assert len(moved) > 30


def test_numbers_are_those_of_our_pretraining_class(sentence_model, tiny_config, posts, pairs):
    """Equal to the social loss of a `Twhin…ForPreTraining` whose head is the loss's."""
    from twhin_hf.modeling import TwhinBertForPreTraining

    mined = social_sentences(posts, pairs)
    rows = [3, 50, 7, 110]
    loss = SocialLoss(sentence_model, mined.rows, projection_sizes=[8]).eval()
    sentence_model.eval()
    batch = mined.dataset[rows]
    inputs = [dict(sentence_model.preprocess(batch[side])) for side in ("anchor", "positive")]
    found = loss(inputs, torch.tensor(batch["label"]))

    config = apply_settings(tiny_config, social_projection_sizes=[8], mlm_weight=0.0)
    ours = TwhinBertForPreTraining(config).eval()
    encoder = {k: v for k, v in sentence_model[0].state_dict().items() if "pooler" not in k}
    ours.bert.load_state_dict({k.split(".", 1)[1]: v for k, v in encoder.items()})
    ours.social_head.load_state_dict(loss.head.state_dict())
    texts = [*batch["anchor"], *batch["positive"]]
    tokenized = sentence_model.tokenizer(texts, padding=True, return_tensors="pt")
    post_ids = torch.from_numpy(mined.rows[rows].T.reshape(-1).copy())
    positive_ids = torch.from_numpy(loss.known.known_positives(post_ids.numpy()))
    expected = ours(
        input_ids=tokenized["input_ids"],
        attention_mask=tokenized["attention_mask"],
        post_ids=post_ids,
        positive_ids=positive_ids,
    )
    torch.testing.assert_close(found, expected.social_loss, atol=1e-5, rtol=1e-5)


def test_posts_that_are_not_there_are_an_error(posts, pairs):
    with pytest.raises(ValueError, match="not among the posts"):
        social_sentences(posts.select(range(100)), pairs)
    with pytest.raises(ValueError, match=r"\['text_b', 'lang_a', 'lang_b'\] are needed"):
        translation_sentences(Dataset.from_dict({"text_a": ["a"]}))
