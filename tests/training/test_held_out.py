"""Figures of held-out rows are the same whatever the size of the batches."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from twhin_hf.training.batches import PairBatches
from twhin_hf.training.held_out import HeldOutFigures, own_batches
from twhin_hf.training.mixing import MixedBatches
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer
from twhin_hf.training.translation_pair import TPPConfig, TPPTrainer

from .recording import new_model

OPTIONS = {
    "per_device_train_batch_size": 8, "max_length": 64, "mlm_probability": 0.3, "use_cpu": True,
    "report_to": [], "disable_tqdm": True, "eval_block_size": 4,
}  # fmt: skip


@pytest.fixture
def figures(tiny_config, tokenizer, posts, pairs, translation_pairs, tmp_path):
    """Figures of one kind of held-out rows by a model, with batches of some size."""
    tiny_config.initializer_range = 0.2

    def evaluate(kind, size, settings, **options):
        options = {**OPTIONS, "per_device_eval_batch_size": size, **options}
        translations = {"eval_translation_pairs": translation_pairs.select(range(45, 58))}
        if kind == "translations":
            trainer = TPPTrainer(
                new_model(tiny_config, **settings),
                TPPConfig(str(tmp_path), **options),
                translation_pairs,
                *translations.values(),
                processing_class=tokenizer,
            )
        else:
            held_out = {"eval_dataset": posts.select(range(37))}
            if kind != "posts":
                held_out = {"eval_dataset": posts, "eval_pairs": pairs.slice(0, 21)}
            if kind == "mixed":
                held_out |= translations | {"translation_pairs": translation_pairs}
            trainer = SocialPretrainingTrainer(
                new_model(tiny_config, **settings),
                SocialPretrainingConfig(str(tmp_path), **options),
                posts,
                None if kind == "posts" else pairs,
                processing_class=tokenizer,
                **held_out,
            )
        found = trainer.evaluate()
        return {name: value for name, value in found.items() if "second" not in name}

    return evaluate


MLM = {"social_weight": 0.0, "mlm_weight": 1.0}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("posts", MLM),
        ("pairs", {}),
        *(
            ("translations", MLM | {"mlm_weight": 0.2, "tpp_weight": 1.0, "tpp_loss": loss})
            for loss in ("bce", "cosine", "contrastive")
        ),
        ("mixed", {"tpp_weight": 0.5, "tpp_loss": "contrastive"}),
    ],
)
def test_figures_do_not_depend_on_the_batch_size(kind, settings, figures):
    expected = figures(kind, 8, settings)
    parts = {"mlm": settings.get("mlm_weight", 0.05), "social": settings.get("social_weight", 1.0)}
    parts["tpp"] = settings.get("tpp_weight", 0.0)
    total = sum(weight * expected.get(f"eval_{name}_loss", 0) for name, weight in parts.items())
    assert expected["eval_loss"] == pytest.approx(total)
    for size in (1, 3):
        found = figures(kind, size, settings)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            if "time" not in name:
                assert found[name] == pytest.approx(value, abs=1e-5), (size, name)


def test_more_candidates_are_harder_to_tell_apart(figures):
    few, many = (figures("pairs", 8, {}, eval_block_size=size) for size in (2, 21))
    assert few["eval_social_loss"] < many["eval_social_loss"]
    assert few["eval_mlm_loss"] == many["eval_mlm_loss"]


@pytest.mark.parametrize(("sources", "counts"), [((7,), [2, 2]), ((7, 2), [2, 2]), ((1,), [1, 1])])
def test_every_process_has_as_many_batches_and_each_counts_once(sources, counts):
    rows = MixedBatches([range(size) for size in sources])
    shares = [own_batches(rows, 3, rank, 2) for rank in (0, 1)]
    assert [len(share) for share in shares] == counts
    seen = []
    for rank, share in enumerate(shares):
        found = HeldOutFigures(rows, 3, rank, 2)
        for keys in share:
            inputs = {
                "segment_ids": torch.ones(1, len(keys)),
                "labels": torch.full((1, len(keys)), -100),
            }
            sides = torch.tensor(keys, dtype=torch.float32).repeat(2)[:, None]
            found.add(inputs, {"social_projections": sides}, {})
        seen += [(source, *part) for _, source, part, _ in found._projections]
        seen_tokens = found._sums["tokens"]
        assert seen_tokens == sum(len(part) for _, _, part, _ in found._projections)
    kept = sorted((source, row) for source, *rows in seen for row in rows)
    assert kept == [(source, row) for source, size in enumerate(sources) for row in range(size)]


def test_a_loss_over_pairs_by_hand():
    # Two blocks of two pairs of equal vectors at a right angle, and a wrong pair in the second.
    pairs = PairBatches(range(8), np.array([[0, 1], [2, 3], [4, 5], [6, 7]]))
    held_out = HeldOutFigures(pairs, 3, 0, 1)
    one, other = [1.0, 0.0], [0.0, 1.0]
    sides = torch.tensor([[one, one], [other, other], [one, one], [other, one]])
    config = SimpleNamespace(
        mlm_weight=0.5, social_weight=2.0, social_temperature=1.0, tpp_weight=0.0
    )
    masked_loss, masked_counts = iter((1.0, 4.0)), iter((3, 1))
    for keys in ([0, 1, 2], [3]):
        projections = sides[keys].transpose(0, 1).flatten(0, 1)
        labels = torch.tensor([[7] * next(masked_counts) + [-100]])
        masked = SimpleNamespace(mlm_loss=torch.tensor(next(masked_loss)))
        masked.get = lambda name, masked=masked: getattr(masked, name)
        inputs = {"segment_ids": torch.tensor([[1, 1, 0]]), "labels": labels}
        held_out.add(inputs, {"social_projections": projections}, masked)
    found = held_out.losses(config, 2)
    assert found["mlm_loss"] == pytest.approx((3 * 1.0 + 1 * 4.0) / 4)
    assert found["tokens"] == 4
    # The first block: each post equals its positive and no other. In the second a pair of equal
    # vectors, which a third one equals, and a fourth one at a right angle to all.
    equal, other = math.e, 1.0
    second = [
        2 * math.log((2 * equal + other) / equal),
        math.log(3 * other / other),
        math.log((other + 2 * equal) / other),
    ]
    expected = (2 * math.log(1 + 2 / math.e) + 2 * sum(second) / 4) / 4
    assert found["social_loss"] == pytest.approx(expected, abs=1e-6)
    assert found["loss"] == pytest.approx(2 * expected + 0.5 * 7 / 4, abs=1e-6)
