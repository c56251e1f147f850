"""Bitext retrieval and engagement prediction as evaluators of sentence-transformers.

They judge the vectors that a SentenceTransformer gives, with its own pooling, and can be given to
its trainer (`evaluator=`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.evaluation import SentenceEvaluator

from twhin_hf.benchmarks.engagement.benchmark import EngagementBenchmark
from twhin_hf.evaluation.engagement import EngagementConfig, engagement_rows, evaluate_engagement
from twhin_hf.evaluation.retrieval import evaluate_retrieval, retrieval_rows
from twhin_hf.path_names import path_name
from twhin_hf.results import Result, Results, write_results


class _Evaluator(SentenceEvaluator):
    """Names the metrics, and writes results.json where the trainer gives a folder."""

    task: str
    judged_by: str
    """The metric that picks the best checkpoint, over all languages."""

    def __init__(self, name: str, encode_options: dict[str, Any]):
        super().__init__()
        self.name, self.encode_options = name, encode_options

    def rows(self, encoder: _SentenceEncoder) -> list[Result]:
        """The figures of an encoder."""
        """The figures of a model."""
        raise NotImplementedError(f"{type(self).__name__} must say what it measures")

    def __call__(
        self,
        model: Any,
        output_path: str | None = None,
        epoch: float = -1,
        steps: int = -1,
    ) -> dict[str, float]:
        """Evaluates a model.

        Args:
            model: A SentenceTransformer.
            output_path: Folder for the figures, a JSON file an evaluation; none are written
                without it.
            epoch: Of the training, -1 outside of it.
            steps: Likewise.

        Returns:
            Each figure by language and metric, such as `average_accuracy@1`.
        """
        rows = self.rows(_SentenceEncoder(model, self.encode_options))
        if output_path is not None:
            name = "_".join(filter(None, (self.task, self.name, f"{epoch}", f"{steps}")))
            results = Results(task=self.task, model=self.name or self.task, results=rows)
            write_results(results, Path(output_path) / f"{path_name(name)}.json")
        found = {_key(row): row.value for row in rows}
        # The mean of all languages stands behind them.
        self.primary_metric = [_key(row) for row in rows if row.metric == self.judged_by][-1]
        metrics = self.prefix_name_to_metrics(found, self.name)
        self.store_metrics_in_model_card_data(model, metrics, epoch, steps)
        return metrics


def _key(row: Result) -> str:
    return f"{row.language}_{row.metric}".replace(" ", "_")


class RetrievalEvaluator(_Evaluator):
    """Does a text find its translation? See `evaluate_retrieval`.

    Args:
        pairs: Columns `text_a`, `text_b`, `lang_a` and `lang_b`.
        name: Before the names of the metrics.
        **encode_options: Passed to `SentenceTransformer.encode` (`batch_size`, …).

    The best checkpoint is that with the highest accuracy@1, the mean of all directions.
    """

    task = "retrieval"
    judged_by = "accuracy@1"

    def __init__(self, pairs: Dataset, name: str = "", **encode_options: Any):
        super().__init__(name, encode_options)
        self.pairs = pairs

    def rows(self, encoder: _SentenceEncoder) -> list[Result]:
        """The figures of an encoder."""
        return retrieval_rows(evaluate_retrieval(encoder, self.pairs))

    def get_config_dict(self) -> dict[str, Any]:
        """What the model card tells of the evaluation."""
        return {"num_pairs": len(self.pairs)}


class EngagementEvaluator(_Evaluator):
    """Does the vector of a post tell who engages with it? See `evaluate_engagement`.

    Args:
        benchmark: Posts, splits, records and users' vectors.
        config: The paper's protocol by default.
        name: Before the names of the metrics.
        **encode_options: Passed to `SentenceTransformer.encode` (`batch_size`, …).

    The best checkpoint is that with the highest HITS@k, the mean of all languages.
    """

    task = "engagement"

    def __init__(
        self,
        benchmark: EngagementBenchmark,
        config: EngagementConfig | None = None,
        name: str = "",
        **encode_options: Any,
    ):
        super().__init__(name, encode_options)
        self.benchmark, self.config = benchmark, config or EngagementConfig()
        self.judged_by = f"HITS@{self.config.hits_at}"

    def rows(self, encoder: _SentenceEncoder) -> list[Result]:
        """The figures of an encoder."""
        found = evaluate_engagement(encoder, self.benchmark, self.config)
        return engagement_rows(found, self.config)

    def get_config_dict(self) -> dict[str, Any]:
        """What the model card tells of the evaluation."""
        return asdict(self.config)


class _SentenceEncoder:
    """A SentenceTransformer as our evaluations take it: its own pooling in place of ours."""

    def __init__(self, model: SentenceTransformer, options: dict[str, Any]):
        self.model, self.options = model, {"show_progress_bar": False, **options}

    def encode(self, texts: Sequence[str], pooling: str | None = None) -> Any:
        """Vectors `[len(texts), width]`; `pooling` is the model's matter."""
        return self.model.encode(list(texts), **self.options)
