"""Predict who engages with posts never seen, from an encoder's frozen vectors.

    twhin-hf data engagement-build --posts posts.parquet --engagements log --network network \\
        --output benchmark
    accelerate launch examples/run_engagement.py --model_name_or_path stage2 \\
        --benchmark benchmark --output_dir results

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class EngagementArguments:
    """What is judged, and by what."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Encoder to judge: a folder or a repository."}
    )
    benchmark: str | None = field(
        default=None, metadata={"help": "Folder of the benchmark, or a data set on the Hub."}
    )
    output_dir: str | None = field(default=None, metadata={"help": "Folder for results.json."})
    languages: list[str] | None = field(default=None, metadata={"help": "By default all."})
    pooling: str = field(default="combined", metadata={"help": "cls, mean or combined (paper's)."})
    batch_size: int = field(default=64, metadata={"help": "Posts of 128 tokens encoded at once."})
    runs: int = field(default=6, metadata={"help": "Seeds; the median is reported (paper: 6)."})
    max_epochs: int = field(default=100, metadata={"help": "Upper limit; the best one is kept."})

    def check(self) -> None:
        """Checks that all is named, before anything long begins.

        Raises:
            ValueError: something is not.
        """
        names = ("model_name_or_path", "benchmark", "output_dir")
        missing = [name for name in names if not getattr(self, name)]
        if missing:
            raise ValueError(f"{' and '.join(missing)} missing: name {names}")


def main(arguments: list[str] | None = None) -> None:
    """Judges language by language and writes the results."""
    from accelerate import PartialState
    from accelerate.utils import gather_object
    from rich.console import Console

    from twhin_hf.commands.arguments import parse_arguments
    from twhin_hf.evaluation.engagement import engagement_rows
    from twhin_hf.loading.auto import load_post_encoder
    from twhin_hf.results import Results, results_table, write_results

    (args,) = parse_arguments([EngagementArguments], "run_engagement.py", arguments)
    args.check()
    state = PartialState()
    model = load_post_encoder(args.model_name_or_path).to(state.device)
    with state.split_between_processes(args.languages or languages_of(args.benchmark)) as own:
        found = [(language, judge(model, language, args, state.device)) for language in own]
    by_language = dict(gather_object(found))
    if state.is_main_process:
        results = Results(
            task="engagement",
            model=args.model_name_or_path,
            results=engagement_rows(by_language, predictor(args, state.device)),
            options={"benchmark": args.benchmark, "pooling": args.pooling},
        )
        path = write_results(results, args.output_dir)
        Console().print(results_table(results, title="Engagement prediction on posts never seen"))
        Console().print(f"Saved in {path}")


def judge(model: Any, language: str, args: EngagementArguments, device: Any) -> Any:
    """Vectors of the posts of a language, and how well the predictor does with them."""
    from twhin_hf.benchmarks.engagement.loading import to_benchmark
    from twhin_hf.evaluation.engagement import predict_engagement

    benchmark = to_benchmark({language: load_language(args.benchmark, language)})
    vectors = model.encode(benchmark.texts, batch_size=args.batch_size, pooling=args.pooling)
    return predict_engagement(
        benchmark.user_vectors,
        vectors.numpy(),
        benchmark.records_of(language),
        predictor(args, device),
        pools=benchmark.pools_of(language),
        known=benchmark.known,
    )


def predictor(args: EngagementArguments, device: Any) -> Any:
    """How the predictor is trained and judged."""
    from twhin_hf.evaluation.engagement import EngagementConfig

    return EngagementConfig(
        seeds=tuple(range(args.runs)), max_epochs=args.max_epochs, device=str(device)
    )


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


if __name__ == "__main__":
    from twhin_hf.commands.cli import configure_logging

    configure_logging(logging.INFO)
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"run_engagement.py: {error}")
