"""`twhin-hf pretrain`: MLM, and MLM with the social loss, from a YAML file or options."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass
class ModelArguments:
    """The model to start from, and the settings of its objectives."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to start from: a folder or a repository."}
    )
    config_name: str | None = field(
        default=None,
        metadata={"help": "Start from scratch with this config: 'bert', a folder, a repository."},
    )
    config_overrides: str | None = field(
        default=None,
        metadata={"help": "Keys of the new config, as YAML: {hidden_size: 384}"},
    )
    tokenizer_name: str | None = field(
        default=None, metadata={"help": "Tokenizer; by default that of model_name_or_path."}
    )
    pooling: str | None = field(
        default=None, metadata={"help": "Embedding of a post: cls, mean or combined."}
    )
    social_pooling: str | None = field(
        default=None, metadata={"help": "What the social head reads: cls, mean or combined."}
    )
    social_projection_sizes: list[int] | None = field(
        default=None, metadata={"help": "Sizes of the social head's layers, as 768 768."}
    )
    social_temperature: float | None = field(
        default=None, metadata={"help": "Temperature of the social loss (paper: 0.1)."}
    )
    social_weight: float | None = field(
        default=None, metadata={"help": "Weight of the social loss; 0 without pairs."}
    )
    mlm_weight: float | None = field(
        default=None, metadata={"help": "Weight of the MLM loss (paper: 0.05 beside the social)."}
    )

    def overrides(self) -> dict[str, Any] | None:
        """`config_overrides` as a mapping, whether of an option or of a YAML file."""
        import yaml

        given: Any = self.config_overrides
        return yaml.safe_load(given) if isinstance(given, str) else given

    def settings(self) -> dict[str, Any]:
        """The settings that were given."""
        from twhin_hf.modeling.settings import DEFAULTS

        given = {key: getattr(self, key) for key in DEFAULTS}
        return {key: value for key, value in given.items() if value is not None}


@dataclass
class DataArguments:
    """The posts and pairs to train on."""

    posts: str | None = field(
        default=None, metadata={"help": "Posts: Parquet, CSV or JSON lines; file or folder."}
    )
    pairs: str | None = field(
        default=None, metadata={"help": "Mined pairs (Parquet); without them, MLM on the posts."}
    )
    validation_posts: str | None = field(default=None, metadata={"help": "Held-out posts."})
    validation_pairs: str | None = field(
        default=None, metadata={"help": "Pairs among the held-out posts."}
    )


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command; its options are parsed by `main`, for they take long to import."""
    parser = subparsers.add_parser(
        "pretrain",
        help="train with MLM (stage 1) or with MLM and the social loss (stage 2)",
        description="Trains an encoder; the same as `accelerate launch "
        "examples/run_social_pretraining.py`. `twhin-hf pretrain --options` lists all options.",
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
    from transformers import AutoTokenizer, set_seed

    from twhin_hf.data.posts import read_posts
    from twhin_hf.training.initialization import load_pretraining_model, new_pretraining_model
    from twhin_hf.training.social import SocialPretrainingTrainer

    tokenizer = AutoTokenizer.from_pretrained(
        model_args.tokenizer_name or model_args.model_name_or_path
    )
    # Before the model: heads that a checkpoint lacks are drawn from the global generator.
    set_seed(config.seed)
    if model_args.model_name_or_path:
        model = load_pretraining_model(
            model_args.model_name_or_path, tokenizer, **model_args.settings()
        )
    else:
        model = new_pretraining_model(
            model_args.config_name,
            tokenizer,
            model_args.overrides(),
            **model_args.settings(),
        )
    trainer = SocialPretrainingTrainer(
        model=model,
        args=config,
        train_dataset=read_posts(data_args.posts)[0],
        pairs=pq.read_table(data_args.pairs) if data_args.pairs else None,
        eval_dataset=read_posts(data_args.validation_posts)[0]
        if data_args.validation_posts
        else None,
        eval_pairs=pq.read_table(data_args.validation_pairs)
        if data_args.validation_pairs
        else None,
        processing_class=tokenizer,
    )
    trainer.train(resume_from_checkpoint=config.resume_from_checkpoint)
    trainer.save_model()
    trainer.save_state()
    if data_args.validation_posts:
        trainer.save_metrics("eval", trainer.evaluate())


def check_arguments(model_args: ModelArguments, data_args: DataArguments) -> None:
    """Checks what was asked for before anything long begins.

    Raises:
        ValueError: arguments that do not fit together.
        FileNotFoundError: a file that is not there.
    """
    if bool(model_args.model_name_or_path) == bool(model_args.config_name):
        raise ValueError(
            "give model_name_or_path (go on from a checkpoint) or config_name (start from "
            "scratch): one of them"
        )
    if model_args.config_name and not model_args.tokenizer_name:
        raise ValueError(
            "config_name needs tokenizer_name; `twhin-hf tokenizer` trains one from posts"
        )
    if model_args.config_overrides and not model_args.config_name:
        raise ValueError("config_overrides goes with config_name: a checkpoint's sizes are fixed")
    if not data_args.posts:
        raise ValueError("posts is missing: name a file or folder of posts")
    for name in ("posts", "pairs", "validation_posts", "validation_pairs"):
        path = getattr(data_args, name)
        if path and not Path(path).exists():
            raise FileNotFoundError(f"{name}: there is no {path}")


def parse_arguments(arguments: Sequence[str] | None = None) -> tuple[Any, Any, Any]:
    """Options over the values of a YAML file over the defaults.

    Returns:
        `ModelArguments`, `DataArguments` and a `SocialPretrainingConfig`.

    Raises:
        ValueError: a key of the file that no option has; the nearest one is named.
        FileNotFoundError: the file is not there.
    """
    from transformers import HfArgumentParser

    from twhin_hf.training.social import SocialPretrainingConfig

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    groups: list[Any] = [ModelArguments, DataArguments, SocialPretrainingConfig]
    parser = HfArgumentParser(groups, prog="twhin-hf pretrain", allow_abbrev=False)
    parser.add_argument("--config", help="YAML file with any of the options.")
    if any(option in ("-h", "--help") for option in arguments):
        parser.parse_args(["--help"])
    known, _ = parser.parse_known_args(arguments)
    if known.config:
        values = read_yaml(
            known.config, {entry.name for group in groups for entry in fields(group)}
        )
        parser.set_defaults(**values)
    *parsed, _, rest = parser.parse_args_into_dataclasses(arguments, return_remaining_strings=True)
    if rest:
        raise ValueError(f"unknown options {rest}; `twhin-hf pretrain --options` lists them")
    model_args, data_args, config = parsed
    return model_args, data_args, config


def read_yaml(path: str, keys: set[str]) -> dict[str, Any]:
    """Reads a YAML file whose keys must all be known.

    Raises:
        ValueError: an unknown key, or a file that is no mapping.
        FileNotFoundError: there is no such file.
    """
    import yaml

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no config file {path}")
    values = yaml.safe_load(Path(path).read_text()) or {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no `key: value` lines")
    for key in values:
        if key not in keys:
            near = difflib.get_close_matches(str(key), sorted(keys), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{path} has an unknown key {key!r}{hint}")
    return values
