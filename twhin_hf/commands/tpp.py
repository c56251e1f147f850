"""`twhin-hf tpp`: the steps of a run, written out; `examples/run_tpp.py` runs the same."""

from __future__ import annotations

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
    model_fingerprints,
)
from twhin_hf.data_fingerprint import data_fingerprint
from twhin_hf.errors import InputError
from twhin_hf.path_names import relative_path
from twhin_hf.training.translation_pair import TPPConfig

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
    overwrite: bool = False,
) -> None:
    """Train an encoder with Translation Pair Prediction, in one stage or several.

    The same as `accelerate launch examples/run_tpp.py`. The same command goes on with a run that
    was interrupted, from its newest whole checkpoint; stages that are finished are skipped. The
    paper's schedules are recipes: --config tpp_one (one data set), tpp_bp (two, one after the
    other) and tpp_all (all pairs of languages together, the smaller ones up-sampled).

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
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    from twhin_hf.training.runs import (
        check_not_in_stages,
        check_stages,
        forget_stages,
        training_run,
    )

    check_not_in_stages(given, stages or [])
    planned = plan_stages(Stage(data, model, objectives, lora, config), stages)
    records: list[dict[str, Any]] = []
    for stage in planned:
        records.append(_record(stage, records[-1] if records else None))
    if not stages:
        _train_in_folder(planned[0], records[0], overwrite=overwrite)
        return
    if config.resume_from_checkpoint:
        raise InputError(
            "--resume_from_checkpoint goes with one stage; of several each goes on from its own "
            "newest checkpoint"
        )
    folders = [Path(str(stage.config.output_dir)) for stage in planned]
    whole = {"stages": [record["options"] for record in records]}
    with training_run(
        config,
        "tpp",
        whole,
        free=() if overwrite else whole,  # else each stage says itself what differs
        product=(),  # its stages have it
        overwrite=overwrite,
        discard=lambda _: forget_stages(folders),
    ):
        check_stages(list(zip(folders, records, strict=True)))
        for stage, record in zip(planned, records, strict=True):
            _train_in_folder(stage, record, is_one_of_several=True)


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


def _record(stage: Stage, before: dict[str, Any] | None) -> dict[str, Any]:
    """Options and data of a stage, which goes on from the model of the one before."""
    from twhin_hf.training.runs import training_options

    files = vars(stage.data) | {"memory_limit": None}
    made_from = {} if before else model_fingerprints(stage.model)
    names = {*files, *made_from, "model_name_or_path"}
    options = training_options(stage.config, stage.model, stage.lora, leave_out=names)
    prints = {name: data_fingerprint(path) for name, path in files.items() if path}
    return {
        "options": options | stage.objectives.given() | ({"after": before} if before else {}),
        "data": prints | made_from,
    }


def _train_in_folder(
    stage: Stage,
    record: dict[str, Any],
    *,
    overwrite: bool = False,
    is_one_of_several: bool = False,
) -> None:
    from twhin_hf.training.runs import RESULTS, training_run

    with training_run(
        stage.config,
        "tpp",
        record["options"],
        fingerprints=record["data"],
        # Of several stages the run's own record vouches for what their folders hold.
        results=() if is_one_of_several else RESULTS,
        overwrite=overwrite,
    ) as run:
        if not run.is_finished:
            stage.config.resume_from_checkpoint = run.checkpoint
            train(stage)


def train(stage: Stage) -> None:
    """Trains one stage and saves it.

    Raises:
        InputError: A model that does not fit the pairs; see `TPPTrainer`.
    """
    from twhin_hf.data.translation.pairs import read_translation_pairs
    from twhin_hf.training.pretraining import encoder_of
    from twhin_hf.training.translation_pair import TPPTrainer

    data, model, objectives, lora, config = stage
    encoder, tokenizer = load_model(model, objectives, lora, config.seed, **SETTINGS)
    encoder_of(encoder).check_tokenizer(tokenizer, config.max_length)
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
