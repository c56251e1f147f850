"""`twhin-hf tpp`: Translation Pair Prediction, in one stage or several."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from twhin_hf.commands.arguments import ModelArguments, check_paths, load_model, parse_arguments
from twhin_hf.commands.tpp_stages import (
    check_not_in_stages,
    check_stages,
    has_ended,
    stage_options,
    write_stage,
)

logger = logging.getLogger(__name__)

SETTINGS = {"tpp_weight": 1.0, "social_weight": 0.0, "mlm_weight": 0.0}
"""The paper's one objective; an `mlm_weight` adds MLM on the same texts."""


@dataclass
class DataArguments:
    """The translation pairs to train on."""

    translation_pairs: str | None = field(
        default=None,
        metadata={"help": "Translation pairs: Parquet, CSV or JSON lines; file or folder."},
    )
    validation_translation_pairs: str | None = field(
        default=None, metadata={"help": "Held-out translation pairs."}
    )
    stages: str | None = field(
        default=None,
        metadata={
            "help": "List of stages, as YAML: each holds options that go over the file's, and an "
            "output_dir below the run's; a stage begins with the model of the one before. What a "
            "stage says is no option of the command line."
        },
    )

    def stage_options(self) -> list[dict[str, Any]]:
        """`stages` as a list, whether of an option or of a YAML file; empty without any.

        Raises:
            ValueError: it is no list of mappings, or a stage has no output_dir of its own.
        """
        import yaml

        given: Any = self.stages
        stages = yaml.safe_load(given) if isinstance(given, str) else given or []
        if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
            raise ValueError("stages must be a list, each stage with `key: value` lines")
        folders = [stage.get("output_dir") for stage in stages]
        if not all(folders) or len(set(folders)) < len(folders):
            raise ValueError(f"each stage needs an output_dir of its own; they are {folders}")
        return stages


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command; its options are parsed by `main`, for they take long to import."""
    parser = subparsers.add_parser(
        "tpp",
        help="train an encoder to tell translations (Translation Pair Prediction)",
        description="Aligns an encoder across languages by Translation Pair Prediction; the same "
        "as `accelerate launch examples/run_tpp.py`. `twhin-hf tpp --options` lists all options.",
    )
    parser.add_argument("--config", help="YAML file with any of the options, over which options go")
    parser.add_argument("--options", action="store_true", help="list all options and exit")
    parser.set_defaults(run=run, passes_options_on=True)


def run(args: argparse.Namespace) -> None:
    """Runs `main` with the options that were given."""
    config = ["--config", args.config] if args.config else []
    main(["--help"] if args.options else [*config, *args.rest])


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains as options and YAML file say; stages that have ended are passed over.

    Raises:
        ValueError: an unknown key or option, arguments that do not fit together, or stages that
            were trained with other ones.
        FileNotFoundError: a file that is not there.
    """
    from transformers.trainer_utils import get_last_checkpoint

    parsed = parse_stages(arguments)
    if not parsed[0][1].stages:
        train(*parsed[0])
        return
    folders = [Path(config.output_dir) for _, _, config in parsed]
    options = [stage_options(*stage, is_first=not i) for i, stage in enumerate(parsed)]
    check_stages(list(zip(folders, options, strict=True)))
    for stage, folder, own in zip(parsed, folders, options, strict=True):
        config = stage[2]
        if has_ended(folder):
            logger.info("%s has ended: passed over (remove it to train it anew)", folder)
            continue
        if folder.is_dir() and not config.resume_from_checkpoint:
            config.resume_from_checkpoint = get_last_checkpoint(str(folder))
        if config.should_save:
            write_stage(folder, own)
        train(*stage)


def parse_stages(arguments: Sequence[str] | None = None) -> list[tuple[Any, Any, Any]]:
    """`ModelArguments`, `DataArguments` and a `TPPConfig` of each stage; one without stages.

    Everything is checked here, before the first stage begins.

    Raises:
        ValueError: arguments that do not fit together.
        FileNotFoundError: a file that is not there.
    """
    from twhin_hf.training.translation_pair import TPPConfig

    groups = [ModelArguments, DataArguments, TPPConfig]
    model_args, data_args, config = parse_arguments(groups, "tpp", arguments)
    model_args.check()
    parsed: list[tuple[Any, Any, Any]] = []
    stages = data_args.stage_options()
    check_not_in_stages(sys.argv[1:] if arguments is None else arguments, stages)
    for stage in stages or [{}]:
        own = parse_arguments(groups, "tpp", arguments, stage) if stage else None
        stage_model, stage_data, stage_config = own or (model_args, data_args, config)
        if stage:
            stage_config.output_dir = str(Path(config.output_dir) / stage["output_dir"])
        if parsed:
            before = parsed[-1][2].output_dir
            stage_model = replace(
                stage_model,
                model_name_or_path=before,
                config_name=None,
                config_overrides=None,
                tokenizer_name=None,
            )
        if not stage_data.translation_pairs:
            raise ValueError(
                "translation_pairs is missing: name a file or folder of translation pairs"
            )
        check_paths(stage_data, "translation_pairs", "validation_translation_pairs")
        parsed.append((stage_model, stage_data, stage_config))
    return parsed


def train(model_args: ModelArguments, data_args: DataArguments, config: Any) -> None:
    """Trains one stage and saves it.

    Raises:
        ValueError: a model that does not fit the pairs; see `TPPTrainer`.
    """
    from twhin_hf.data.translation.pairs import read_translation_pairs
    from twhin_hf.training.translation_pair import TPPTrainer

    model, tokenizer = load_model(model_args, config.seed, **SETTINGS)
    held_out = data_args.validation_translation_pairs
    trainer = TPPTrainer(
        model=model,
        args=config,
        train_dataset=read_translation_pairs(data_args.translation_pairs),
        eval_dataset=read_translation_pairs(held_out) if held_out else None,
        processing_class=tokenizer,
    )
    trainer.train(resume_from_checkpoint=config.resume_from_checkpoint)
    trainer.save_model()
    if held_out:
        trainer.save_metrics("eval", trainer.evaluate())
    trainer.save_state()
