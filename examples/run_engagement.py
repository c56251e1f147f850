"""Predict who engages with posts never seen, from an encoder's frozen vectors.

    twhin-hf data engagement-build --posts posts.parquet --network network \\
        --engagements log/engagements.parquet --output benchmark
    accelerate launch examples/run_engagement.py --model stage2 --benchmark benchmark \\
        --output results

A benchmark is such a folder, or a data set on the Hub with the configs `en` (records) and
`en-posts` of each language. Several processes share out the languages. The predictor is the
paper's: two linear projections, the engaged post among 1,000 (HITS@10, MRR), the median of six
seeds. To try another, change `judge`.

`--help` lists all options; each may stand in a YAML file too (`--config`), where an unknown key is
an error.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from twhin_hf.commands.options import EncoderOptions
from twhin_hf.recommendation.engagement_config import EngagementConfig


def run_engagement(
    benchmark: str,
    output: str,
    encoder: EncoderOptions,
    config: EngagementConfig,
    languages: list[str] | None = None,
    overwrite: bool = False,
) -> None:
    """Predict who engages with posts of a benchmark: HITS@10 and MRR.

    Args:
        benchmark: Benchmark: folder, or data set on the Hub.
        output: Folder for results.json.
        encoder: Encoder to judge.
        config: Options of the predictor.
        languages: Languages to judge (default: all).
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    from accelerate import PartialState
    from accelerate.utils import gather_object

    from twhin_hf.commands.options import options_of_result, results_run, save_results
    from twhin_hf.evaluation.engagement import engagement_rows
    from twhin_hf.results import Results

    is_here = Path(benchmark).exists()
    models = {"model": encoder.identity()}
    run = results_run(
        output,
        "run_engagement.py",
        options_of_result(config, languages=languages, **encoder.of_vectors()),
        data={"benchmark": benchmark if is_here else None},
        fingerprints=models if is_here else models | {"benchmark": benchmark},
        overwrite=overwrite,
    )
    if run.is_finished:
        return
    state = PartialState()
    config = replace(config, device=config.device or str(state.device))
    loaded = replace(encoder, device=encoder.device or str(state.device)).load()
    with state.split_between_processes(languages or languages_of(benchmark)) as own:
        found = [(name, judge(loaded, benchmark, name, config)) for name in own]
    by_language = dict(gather_object(found))
    if state.is_main_process:
        results = Results(
            task="engagement",
            model=encoder.model,
            revision=encoder.revision,
            results=engagement_rows(by_language, config),
            options={"benchmark": benchmark, "pooling": loaded.pooling},
        )
        save_results(results, output, "Engagement prediction on posts never seen", run.record)


def judge(encoder: Any, benchmark: str, language: str, config: EngagementConfig) -> Any:
    """Encodes the posts of a language; returns how well the predictor does with their vectors."""
    from twhin_hf.benchmarks.engagement.loading import to_benchmark
    from twhin_hf.evaluation.engagement import evaluate_engagement

    posts_and_records = to_benchmark({language: load_language(benchmark, language)})
    return evaluate_engagement(encoder, posts_and_records, config)[language]


def languages_of(benchmark: str) -> list[str]:
    """The languages that a folder or a data set on the Hub holds."""
    from twhin_hf.benchmarks.engagement.loading import POSTS_SUFFIX

    if not Path(benchmark).exists():
        from datasets import get_dataset_config_names

        configs = get_dataset_config_names(benchmark)
        return [name for name in configs if not name.endswith(POSTS_SUFFIX)]
    from twhin_hf.benchmarks.archives import list_files
    from twhin_hf.benchmarks.layout import find_layout

    return sorted(find_layout(list_files(Path(benchmark))))


def load_language(benchmark: str, language: str) -> Any:
    """Posts and records of a language."""
    from twhin_hf.benchmarks.engagement.loading import (
        POSTS_SUFFIX,
        EngagementSplits,
        load_engagement_prediction,
    )

    if Path(benchmark).exists():
        return load_engagement_prediction(language, data_dir=benchmark)
    from datasets import load_dataset

    return EngagementSplits(
        load_dataset(benchmark, language + POSTS_SUFFIX), load_dataset(benchmark, language)
    )


def main(arguments: list[str] | None = None) -> None:
    """Judges what the command line says."""
    from twhin_hf.commands.parsing import run_command

    arguments = sys.argv[1:] if arguments is None else arguments
    run_command(run_engagement, arguments, "run_engagement.py")


if __name__ == "__main__":
    from twhin_hf.commands.cli import configure_logging

    configure_logging(logging.INFO)
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"run_engagement.py: {error}")
