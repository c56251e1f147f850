"""Engagement prediction as a task of the suite `twhin`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twhin_hf.benchmarks.archives import list_files
from twhin_hf.benchmarks.engagement.files import find_files
from twhin_hf.benchmarks.engagement.loading import load_engagement_prediction, to_benchmark
from twhin_hf.benchmarks.layout import find_layout, fingerprint
from twhin_hf.evaluation.engagement import EngagementConfig, predict_engagement
from twhin_hf.evaluation.suite.running import Figure, Model, SuiteOptions, SuiteTask, without_seeds
from twhin_hf.loading.text_encoders import load_text_encoder


@dataclass(frozen=True)
class EngagementTask(SuiteTask):
    """Engagement prediction in one language.

    Args:
        folder: Of the benchmark, with all its languages.
        config: The protocol.
        pooling: Of the posts' features; the model's own where it is None.
        device: Of the encoder.
    """

    folder: Path
    config: EngagementConfig
    pooling: str | None
    device: str | None

    def options(self, model: Model) -> dict[str, Any]:
        """Options of a model: how it is run, and a fingerprint of the data."""
        parts = find_files(self.folder, self.languages[0]).values()
        files = [file.path for splits in parts for own in splits.values() for file in own]
        return without_seeds(self.config) | {
            "pooling": self.pooling,
            "data": fingerprint(files, {}),
        }

    def run(self, model: Model, seeds: tuple[int, ...]) -> Iterator[tuple[int, dict[str, Figure]]]:
        """Runs the task; gives each seed with the figures by language, as they come."""
        (language,) = self.languages
        benchmark = to_benchmark(
            {language: load_engagement_prediction(language, data_dir=self.folder)}
        )
        encoder = load_text_encoder(
            model.name, model.revision, pooling=self.pooling, device=self.device
        )
        found = predict_engagement(
            benchmark.user_vectors,
            encoder.encode(benchmark.texts),
            benchmark.records_of(language),
            # All of them: the first choose how features are read, for the missing ones too.
            replace(self.config, seeds=self.seeds),
            pools=benchmark.pools_of(language),
            known=benchmark.known,
        )
        for place, seed in enumerate(self.seeds):
            if seed not in seeds:
                continue
            details = {
                "pooling": encoder.pooling,
                "MRR": found.mrr[place],
                "best_epoch": found.best_epochs[place],
                "candidates": found.num_candidates,
                "records": found.num_records,
            }
            yield seed, {language: Figure(found.hits[place], details)}


def engagement_tasks(folder: Path, options: SuiteOptions) -> list[EngagementTask]:
    """A task for each language asked for; none without the folder."""
    if not folder.is_dir():
        return []
    config = EngagementConfig(device=options.device or "cpu")
    config = replace(config, seeds=options.seeds or config.seeds)
    return [
        EngagementTask(
            "engagement",
            f"HITS@{config.hits_at}",
            (language,),
            config.seeds,
            folder,
            config,
            options.pooling,
            options.device,
        )
        for language in sorted(find_layout(list_files(folder)))
        if options.wants(language)
    ]
