"""`twhin-hf tpp`: the steps of a run, written out; `examples/run_tpp.py` runs the same."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from twhin_hf.commands.declared import NOTHING_GIVEN, GivenOptions
from twhin_hf.commands.parsing import updated
from twhin_hf.commands.training_options import (
    LoraOptions,
    ModelOptions,
    ObjectiveOptions,
    check_lora,
    check_paths,
    load_model,
)
from twhin_hf.errors import InputError
from twhin_hf.path_names import relative_path
from twhin_hf.training.tpp_stages import (
    check_not_in_stages,
    check_stages,
    has_ended,
    stage_options,
    write_stage,
)
from twhin_hf.training.translation_pair import TPPConfig

logger = logging.getLogger(__name__)

SETTINGS = {"tpp_weight": 1.0, "social_weight": 0.0, "mlm_weight": 0.0}
"""The paper's one objective; an `mlm_weight` adds MLM on the same texts."""


@dataclass
class TranslationData:
    """Data.

    Args:
        translation_pairs: Translation pairs: Parquet, CSV or JSON lines; file or folder.
        validation_translation_pairs: Held-out translation pairs.
        memory_limit: Memory limit of the reader.
    """

    translation_pairs: str | None = None
    validation_translation_pairs: str | None = None
    memory_limit: str = "1GB"


class Stage(NamedTuple):
    """What one stage is trained on, and how."""

    data: TranslationData
    model: ModelOptions
    objectives: ObjectiveOptions
    lora: LoraOptions
    config: TPPConfig


def tpp(
    data: TranslationData,
    model: ModelOptions,
    objectives: ObjectiveOptions,
    lora: LoraOptions,
    config: TPPConfig,
    given: GivenOptions = NOTHING_GIVEN,
    stages: list[dict[str, Any]] | None = None,
) -> None:
    """Train an encoder with Translation Pair Prediction, in one stage or several.

    The same as `accelerate launch examples/run_tpp.py`. Stages that are finished are skipped.

    Args:
        data: Translation pairs to train on.
        model: Model to start from.
        objectives: Settings of the objectives.
        lora: Adapter, if any.
        config: Options of the training.
        given: Options of the command line.
        stages: Stages, best written in the YAML config: each holds options that take precedence
            over the others of the config, and an output_dir below the run's; it starts from the
            model of the stage before. Options that a stage holds are refused on the command line.
    """
    from transformers.trainer_utils import get_last_checkpoint

    check_not_in_stages(given, stages or [])
    planned = plan_stages(Stage(data, model, objectives, lora, config), stages)
    if not stages:
        train(planned[0])
        return
    folders = [Path(str(stage.config.output_dir)) for stage in planned]
    options = [stage_options(*stage, is_first=not i) for i, stage in enumerate(planned)]
    check_stages(list(zip(folders, options, strict=True)))
    for stage, folder, own in zip(planned, folders, options, strict=True):
        if has_ended(folder):
            logger.info("%s is finished: skipped (delete it to train it again)", folder)
            continue
        if folder.is_dir() and not stage.config.resume_from_checkpoint:
            stage.config.resume_from_checkpoint = get_last_checkpoint(str(folder))
        if stage.config.should_save:
            write_stage(folder, own)
        train(stage)


def plan_stages(run: Stage, stages: list[dict[str, Any]] | None) -> list[Stage]:
    """The stages of a run, all checked before the first begins; the run itself without any.

    Raises:
        InputError: A stage without an output_dir of its own below the run's, an unknown key, no
            data, or LoRA without a model to adapt.
        FileNotFoundError: A file that is not there.
    """
    folders = [stage.get("output_dir") for stage in stages or []]
    if not all(folders) or len(set(folders)) < len(folders):
        raise InputError(f"each stage needs an output_dir of its own; they are {folders}")
    for folder in folders:
        relative_path(str(folder), "output_dir of a stage")
    planned: list[Stage] = []
    for values in stages or [{}]:
        stage = Stage(*updated(run, values, "a stage")) if values else run
        if values:
            folder = str(Path(str(run.config.output_dir)) / values["output_dir"])
            stage = stage._replace(config=replace(stage.config, output_dir=folder))
        if planned:
            before = str(planned[-1].config.output_dir)
            stage = stage._replace(model=ModelOptions(model_name_or_path=before))
        check_lora(stage.model, stage.lora)
        if not stage.data.translation_pairs:
            raise InputError(
                "translation_pairs is missing: name a file or folder of translation pairs"
            )
        check_paths(stage.data, "translation_pairs", "validation_translation_pairs")
        planned.append(stage)
    return planned


def train(stage: Stage) -> None:
    """Trains one stage and saves it.

    Raises:
        InputError: A model that does not fit the pairs; see `TPPTrainer`.
    """
    from twhin_hf.data.translation.pairs import read_translation_pairs
    from twhin_hf.training.translation_pair import TPPTrainer

    data, model, objectives, lora, config = stage
    encoder, tokenizer = load_model(model, objectives, lora, config.seed, **SETTINGS)
    held_out = data.validation_translation_pairs
    read = partial(read_translation_pairs, memory_limit=data.memory_limit)
    trainer = TPPTrainer(
        model=encoder,
        args=config,
        train_dataset=read(str(data.translation_pairs)),
        eval_dataset=read(held_out) if held_out else None,
        processing_class=tokenizer,
    )
    trainer.train(resume_from_checkpoint=config.resume_from_checkpoint)
    trainer.save_model()
    if held_out:
        trainer.save_metrics("eval", trainer.evaluate())
    trainer.save_state()
