"""`twhin-hf pretrain`: MLM, the social loss and translation pairs, from a YAML file or options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from twhin_hf.commands.arguments import ModelArguments, check_paths, load_model
from twhin_hf.commands.arguments import parse_arguments as parse_groups


@dataclass
class DataArguments:
    """The posts and pairs to train on."""

    posts: str | None = field(
        default=None, metadata={"help": "Posts: Parquet, CSV or JSON lines; file or folder."}
    )
    pairs: str | None = field(
        default=None, metadata={"help": "Mined pairs (Parquet); without them, MLM on the posts."}
    )
    translation_pairs: str | None = field(
        default=None,
        metadata={"help": "Translation pairs, file or folder: batches of them are mixed in."},
    )
    validation_posts: str | None = field(default=None, metadata={"help": "Held-out posts."})
    validation_pairs: str | None = field(
        default=None, metadata={"help": "Pairs among the held-out posts."}
    )
    validation_translation_pairs: str | None = field(
        default=None, metadata={"help": "Held-out translation pairs."}
    )


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command; its options are parsed by `main`, for they take long to import."""
    parser = subparsers.add_parser(
        "pretrain",
        help="train with MLM (stage 1) or with MLM and the social loss (stage 2)",
        description="Trains an encoder; the same as `accelerate launch "
        "examples/run_social_pretraining.py`. Translation pairs can be mixed into either stage. "
        "`twhin-hf pretrain --options` lists all options.",
    )
    parser.add_argument("--config", help="YAML file with any of the options, over which options go")
    parser.add_argument("--options", action="store_true", help="list all options and exit")
    parser.set_defaults(run=run, passes_options_on=True)


def run(args: argparse.Namespace) -> None:
    """Runs `main` with the options that were given."""
    config = ["--config", args.config] if args.config else []
    main(["--help"] if args.options else [*config, *args.rest])


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains as options and YAML file say.

    Raises:
        ValueError: an unknown key or option, or arguments that do not fit together.
        FileNotFoundError: a file that is not there.
    """
    model_args, data_args, config = parse_arguments(arguments)
    check_arguments(model_args, data_args)

    import pyarrow.parquet as pq

    from twhin_hf.data.posts import read_posts
    from twhin_hf.training.social import SocialPretrainingTrainer

    # A model learns from translation pairs where there are some.
    defaults = {"tpp_weight": 1.0} if data_args.translation_pairs else {}
    model, tokenizer = load_model(model_args, config.seed, **defaults)
    translations: list[Any] = [None, None]
    if data_args.translation_pairs:
        from twhin_hf.data.translation.pairs import read_translation_pairs

        paths = data_args.translation_pairs, data_args.validation_translation_pairs
        translations = [read_translation_pairs(path) if path else None for path in paths]
    trainer = SocialPretrainingTrainer(
        model=model,
        args=config,
        train_dataset=read_posts(data_args.posts)[0],
        pairs=pq.read_table(data_args.pairs) if data_args.pairs else None,
        translation_pairs=translations[0],
        eval_dataset=read_posts(data_args.validation_posts)[0]
        if data_args.validation_posts
        else None,
        eval_pairs=pq.read_table(data_args.validation_pairs)
        if data_args.validation_pairs
        else None,
        eval_translation_pairs=translations[1],
        processing_class=tokenizer,
    )
    trainer.train(resume_from_checkpoint=config.resume_from_checkpoint)
    trainer.save_model()
    trainer.save_state()
    if data_args.validation_posts or data_args.validation_translation_pairs:
        trainer.save_metrics("eval", trainer.evaluate())


def check_arguments(model_args: ModelArguments, data_args: DataArguments) -> None:
    """Checks what was asked for before anything long begins.

    Raises:
        ValueError: arguments that do not fit together.
        FileNotFoundError: a file that is not there.
    """
    model_args.check()
    if not data_args.posts:
        raise ValueError("posts is missing: name a file or folder of posts")
    if data_args.validation_translation_pairs and not data_args.translation_pairs:
        raise ValueError("validation_translation_pairs goes with translation_pairs; give both")
    check_paths(data_args, *(entry.name for entry in fields(data_args)))


def parse_arguments(arguments: Sequence[str] | None = None) -> tuple[Any, ...]:
    """`ModelArguments`, `DataArguments` and a `SocialPretrainingConfig`; see `arguments`."""
    from twhin_hf.training.social import SocialPretrainingConfig

    return parse_groups(
        [ModelArguments, DataArguments, SocialPretrainingConfig], "pretrain", arguments
    )
