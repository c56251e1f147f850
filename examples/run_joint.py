"""Pretrain on posts that the same users like and on translations, in one run.

MLM and the social loss on pairs of posts, Translation Pair Prediction (TPP) on every second batch:

    accelerate launch examples/run_joint.py \\
        --config examples/configs/joint.yaml --model_name_or_path stage1 \\
        --posts posts.parquet --pairs pairs.parquet --translation_pairs pairs/train \\
        --validation_translation_pairs pairs/validation --output_dir joint

`run_social_pretraining.py` does the same with `--translation_pairs`. Here the steps are written
out: copy the file to read other data, or to train another model or with another trainer.

`--help` lists all options; each may stand in the YAML file too, where an unknown key is an error.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field


@dataclass
class DataArguments:
    """What to train on."""

    posts: str | None = field(
        default=None, metadata={"help": "Posts: Parquet, CSV or JSON lines; file or folder."}
    )
    pairs: str | None = field(default=None, metadata={"help": "Mined pairs of posts (Parquet)."})
    translation_pairs: str | None = field(
        default=None, metadata={"help": "Translation pairs, file or folder."}
    )
    validation_translation_pairs: str | None = field(
        default=None, metadata={"help": "Held-out translation pairs: is each text's found?"}
    )

    def check(self) -> None:
        """Checks that the files are there, before anything long begins.

        Raises:
            ValueError: one is not named.
            FileNotFoundError: one is not there.
        """
        from twhin_hf.commands.arguments import check_paths

        names = ("posts", "pairs", "translation_pairs")
        missing = [name for name in names if not getattr(self, name)]
        if missing:
            raise ValueError(f"{' and '.join(missing)} missing: joint pretraining needs {names}")
        check_paths(self, *names, "validation_translation_pairs")


def main(arguments: list[str] | None = None) -> None:
    """Trains as options and YAML file say."""
    import pyarrow.parquet as pq

    from twhin_hf.commands.arguments import ModelArguments, load_model, parse_arguments
    from twhin_hf.data.posts import read_posts
    from twhin_hf.data.translation.pairs import read_translation_pairs
    from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer

    model_args, data, config = parse_arguments(
        [ModelArguments, DataArguments, SocialPretrainingConfig], "run_joint.py", arguments
    )
    model_args.check()
    data.check()
    model, tokenizer = load_model(model_args, config.seed, tpp_weight=1.0)
    trainer = SocialPretrainingTrainer(
        model=model,
        args=config,
        train_dataset=read_posts(data.posts).dataset,
        pairs=pq.read_table(data.pairs),
        translation_pairs=read_translation_pairs(data.translation_pairs),
        processing_class=tokenizer,
    )
    trainer.train(resume_from_checkpoint=config.resume_from_checkpoint)
    trainer.save_model()
    trainer.save_state()
    if data.validation_translation_pairs and trainer.is_world_process_zero():
        evaluate(config.output_dir, data.validation_translation_pairs, config.max_length)


def evaluate(model: str, pairs: str, max_length: int) -> None:
    """Prints and saves how often a text of the held-out pairs finds its translation."""
    from rich.console import Console

    from twhin_hf.data.translation.pairs import read_translation_pairs
    from twhin_hf.evaluation.retrieval import evaluate_retrieval, retrieval_rows
    from twhin_hf.loading.auto import load_post_encoder
    from twhin_hf.results import Results, results_table, write_results

    encoder = load_post_encoder(model)
    found = evaluate_retrieval(encoder, read_translation_pairs(pairs), max_length=max_length)
    results = Results(task="retrieval", model=model, results=retrieval_rows(found))
    write_results(results, model)
    Console().print(results_table(results, title="Translations found"))


if __name__ == "__main__":
    from twhin_hf.commands.cli import configure_logging

    configure_logging(logging.INFO)
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"run_joint.py: {error}")
