"""`twhin-hf pretrain`: the steps of a run, written out.

`examples/run_social_pretraining.py` runs it under `accelerate launch`. To read other data, or to
train another model or with another trainer, copy `pretrain` and change it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twhin_hf.commands.training_options import (
    LoraOptions,
    ModelOptions,
    ObjectiveOptions,
    check_lora,
    check_paths,
    load_model,
    model_fingerprints,
)
from twhin_hf.errors import InputError
from twhin_hf.table_format import TableFormat
from twhin_hf.training.social import SocialPretrainingConfig

if TYPE_CHECKING:
    from twhin_hf.data.posts import Posts
    from twhin_hf.training.streaming import TokenStream


@dataclass
class PretrainingData:
    """Data.

    Args:
        posts: Posts: Parquet, CSV or JSON lines; file or folder, or the address of Parquet files
            (hf://datasets/…, s3://…).
        pairs: Mined pairs of posts, likewise, for the social loss.
        network: Network folder of the training posts, for the engagement objective and
            distillation.
        translation_pairs: Translation pairs, file or folder; batches of them are mixed in.
        validation_posts: Held-out posts.
        validation_pairs: Pairs among the held-out posts.
        validation_translation_pairs: Held-out translation pairs.
        streaming: Draw posts and pairs from shards of tokens on the disk, for more of them than
            memory holds. They are tokenized and shuffled once, in the folder stream of the output.
    """

    posts: str
    pairs: str | None = None
    network: str | None = None
    translation_pairs: str | None = None
    validation_posts: str | None = None
    validation_pairs: str | None = None
    validation_translation_pairs: str | None = None
    streaming: bool = False

    def __post_init__(self) -> None:
        if self.validation_translation_pairs and not self.translation_pairs:
            raise InputError("validation_translation_pairs goes with translation_pairs; give both")
        check_paths(self, *self.files())

    def files(self) -> dict[str, str | None]:
        """The files by their options."""
        return {name: value for name, value in vars(self).items() if name != "streaming"}


def pretrain(
    data: PretrainingData,
    model: ModelOptions,
    objectives: ObjectiveOptions,
    lora: LoraOptions,
    config: SocialPretrainingConfig,
    table_format: TableFormat,
    columns: dict[str, str] | None = None,
    memory_limit: str = "1GB",
    overwrite: bool = False,
) -> None:
    """Pretrain an encoder with MLM, and with what a network knows of the posts.

    Pairs bring the social loss, a network folder the engagement objective and distillation,
    translation pairs translation pair prediction; any of them go together. The same as
    `accelerate launch examples/run_social_pretraining.py`.

    The same command goes on with a run that was interrupted, from its newest whole checkpoint.

    Args:
        data: Posts and pairs to train on.
        model: Model to start from.
        objectives: Settings of the objectives.
        lora: Adapter, if any.
        config: Options of the training.
        table_format: How text tables are written.
        columns: Rename columns of the posts: NAME=COLUMN.
        memory_limit: Memory limit of the readers.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    from twhin_hf.data.posts import read_posts
    from twhin_hf.training.runs import training_options, training_run

    check_lora(model, lora)
    files = data.files()
    made_from = model_fingerprints(model)
    with training_run(
        config,
        "pretrain",
        training_options(config, data, model, lora, table_format, leave_out={*files, *made_from})
        | objectives.given()
        | ({"columns": columns} if columns else {}),
        data=files,
        fingerprints=made_from,
        overwrite=overwrite,
    ) as run:
        if not run.is_finished:
            config.resume_from_checkpoint = run.checkpoint
            read = partial(
                read_posts, columns=columns, table_format=table_format, memory_limit=memory_limit
            )
            _train(data, model, objectives, lora, config, read, memory_limit)


def _train(
    data: PretrainingData,
    model: ModelOptions,
    objectives: ObjectiveOptions,
    lora: LoraOptions,
    config: SocialPretrainingConfig,
    read: Callable[..., Posts],
    memory_limit: str,
) -> None:
    from twhin_hf.data.translation.pairs import read_translation_pairs
    from twhin_hf.network.folder import load_network
    from twhin_hf.network.pairs import read_pairs
    from twhin_hf.training.pretraining import encoder_of
    from twhin_hf.training.social import SocialPretrainingTrainer

    network = load_network(data.network) if data.network else None
    # A model learns from what there is.
    defaults: dict[str, Any] = {"tpp_weight": 1.0} if data.translation_pairs else {}
    if data.pairs:
        defaults["social_weight"] = 1.0
    if network is not None:
        defaults |= {"engagement_weight": 1.0, "distillation_weight": 1.0}
        defaults["network_dimension"] = network.dimension
        if not data.pairs:
            defaults["social_weight"] = 0.0
    encoder, tokenizer = load_model(model, objectives, lora, config.seed, **defaults)
    encoder_of(encoder).check_tokenizer(tokenizer, config.max_length)
    train_posts: Any
    train_pairs = None
    if data.streaming:
        train_posts = _stream(data, model, tokenizer, config, read, memory_limit)
    else:
        train_posts = read(data.posts).dataset
        train_pairs = read_pairs(data.pairs, memory_limit=memory_limit) if data.pairs else None
    eval_posts = read(data.validation_posts).dataset if data.validation_posts else None
    eval_pairs = read_pairs(data.validation_pairs) if data.validation_pairs else None
    train_translations, eval_translations = (
        read_translation_pairs(path, memory_limit=memory_limit) if path else None
        for path in (data.translation_pairs, data.validation_translation_pairs)
    )
    trainer = SocialPretrainingTrainer(
        model=encoder,
        args=config,
        train_dataset=train_posts,
        pairs=train_pairs,
        translation_pairs=train_translations,
        eval_dataset=eval_posts,
        eval_pairs=eval_pairs,
        eval_translation_pairs=eval_translations,
        network=network,
        processing_class=tokenizer,
    )
    trainer.train(resume_from_checkpoint=config.resume_from_checkpoint)
    trainer.save_model()
    if eval_posts is not None or eval_translations is not None:
        trainer.save_metrics("eval", trainer.evaluate())
    trainer.save_state()


def _stream(
    data: PretrainingData,
    model: ModelOptions,
    tokenizer: Any,
    config: SocialPretrainingConfig,
    read: Callable[..., Posts],
    memory_limit: str,
) -> TokenStream:
    """The shards of tokens in the output folder: the first process writes them, where none are."""
    from twhin_hf.network.pairs import read_pairs
    from twhin_hf.run_file import run_whole_folder
    from twhin_hf.run_folder import read_run
    from twhin_hf.scratch import scratch_folder
    from twhin_hf.training.streaming import STREAM_NAME, open_stream, write_stream

    output = Path(str(config.output_dir))
    with config.main_process_first(local=config.save_on_each_node, desc="writing shards of tokens"):
        if config.should_save:
            # The record of the training, which this is a part of, has them already.
            prints = (read_run(output) or {}).get("data", {})
            names = ("posts", "pairs", "model_name_or_path", "tokenizer_name")
            options = {
                "max_length": config.max_length,
                "seed": config.seed,
                "add_tokens": model.add_tokens,
                "normalize_texts": model.normalize_texts,
            }
            with run_whole_folder(
                output / STREAM_NAME,
                "pretrain, shards of tokens",
                options,
                fingerprints={name: prints[name] for name in names if name in prints},
            ) as run:
                if not run.is_finished:
                    with scratch_folder(output) as scratch:
                        reading: dict[str, Any] = {
                            "memory_limit": memory_limit,
                            "directory": scratch,
                        }
                        write_stream(
                            run.path,
                            read(data.posts, directory=scratch).dataset,
                            read_pairs(data.pairs, **reading) if data.pairs else None,
                            tokenizer,
                            max_length=config.max_length,
                            max_missing_pairs=config.max_missing_pairs,
                            seed=config.seed,
                            num_proc=config.dataset_num_proc,
                            **reading,
                        )
    return open_stream(output / STREAM_NAME)
