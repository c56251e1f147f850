import json

import numpy as np
import pytest

pytest.importorskip("sentence_transformers")

from sentence_transformers.sentence_transformer.model_card import SentenceTransformerModelCardData

from twhin_hf.benchmarks.engagement.benchmark import EngagementBenchmark
from twhin_hf.evaluation.engagement import EngagementConfig, engagement_rows, evaluate_engagement
from twhin_hf.evaluation.retrieval import evaluate_retrieval
from twhin_hf.evaluation.sentence_evaluators import EngagementEvaluator, RetrievalEvaluator
from twhin_hf.recommendation.records import Records


class HashingModel:
    """Stands for a SentenceTransformer: equal texts have equal vectors."""

    def __init__(self):
        self.model_card_data = SentenceTransformerModelCardData()
        self.options = None

    def encode(self, texts, **options):
        self.options = options
        return np.stack(
            [np.random.default_rng(list(text.encode())).normal(size=16) for text in texts]
        ).astype(np.float32)


def test_retrieval_gives_our_figures(translation_pairs, tmp_path):
    model = HashingModel()
    evaluator = RetrievalEvaluator(translation_pairs, "tatoeba", batch_size=7)
    found = evaluator(model, str(tmp_path), epoch=1, steps=20)
    assert model.options == {"show_progress_bar": False, "batch_size": 7}

    class Ours:
        def encode(self, texts, **options):
            return HashingModel().encode(texts)

    expected = evaluate_retrieval(Ours(), translation_pairs)
    assert found["tatoeba_en→es_MRR"] == pytest.approx(expected["en→es"].mrr)
    mean = np.mean([result.accuracy_at_1 for result in expected.values()])
    assert evaluator.primary_metric == "tatoeba_average_accuracy@1"
    assert found[evaluator.primary_metric] == pytest.approx(mean)
    assert "tatoeba_average_margin_accuracy@10" in found
    (file,) = tmp_path.glob("*.json")
    assert file.name == "retrieval_tatoeba_1_20.json"
    assert json.loads(file.read_text())["task"] == "retrieval"


def test_retrieval_by_hand():
    from datasets import Dataset

    texts = ["a", "b", "c"]
    same = Dataset.from_dict(
        {"text_a": texts, "text_b": texts, "lang_a": ["en"] * 3, "lang_b": ["es"] * 3}
    )
    found = RetrievalEvaluator(same)(HashingModel())
    assert found["average_accuracy@1"] == 1
    turned = same.remove_columns("text_b").add_column("text_b", ["b", "c", "a"])
    assert RetrievalEvaluator(turned)(HashingModel())["average_accuracy@1"] == 0


@pytest.fixture
def benchmark():
    """Ten users, each with ten posts of two languages, of which one in five is held out."""
    posts = np.arange(200)
    records = Records(posts % 10, posts)
    return EngagementBenchmark(
        post_ids=[str(row) for row in posts],
        texts=[f"text {row}" for row in posts],
        languages=np.where(posts < 100, "en", "hi"),
        splits=np.array(["train", "train", "train", "validation", "test"])[posts // 10 % 5],
        user_vectors=np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32),
        records=records,
        known=records,
    )


def test_engagement_gives_our_figures(benchmark):
    config = EngagementConfig(seeds=(0,), max_epochs=2, num_candidates=20)
    evaluator = EngagementEvaluator(benchmark, config, batch_size=50)
    found = evaluator(HashingModel())

    class Ours:
        def encode(self, texts, **options):
            return HashingModel().encode(texts)

    rows = engagement_rows(evaluate_engagement(Ours(), benchmark, config), config)
    assert found == {f"{row.language}_{row.metric}": row.value for row in rows}
    assert evaluator.primary_metric == "average_HITS@10"
