"""A stock classifier on an encoder, fine-tuned by Trainer and tested, once for each seed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from twhin_hf.errors import InputError
from twhin_hf.evaluation.fine_tuning_config import FineTuningConfig
from twhin_hf.evaluation.sentiment import encode_texts
from twhin_hf.evaluation.token_classification import IGNORED, encode_words
from twhin_hf.scratch import scratch_folder

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from torch import Tensor
    from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase, Trainer
    from transformers.trainer_utils import EvalLoopOutput

logger = logging.getLogger(__name__)

_TEXT_LENGTH, _SENTENCE_LENGTH = 128, 512
_EVAL_BATCH_SIZE = 64
_BEST_EPOCH = {
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 1,
    "save_only_model": True,
    "load_best_model_at_end": True,
    "metric_for_best_model": "figure",
    "greater_is_better": True,
}


class FineTuned(NamedTuple):
    """One seed of a fine-tuning, tested.

    Attributes:
        seed: Of the new weights and the order of the batches.
        predicted: Best labels by test set, `[texts]`, or `[sentences, tokens]` padded by -100.
        gold: True labels, likewise.
        encoded: The tokens of each test set (`encode_texts`, `encode_words`).
        history: What `judge` gave on validation after each epoch; empty without it.
        steps: Of the training.
        max_length: Tokens that a text was cut to.
        setup: The class that was fine-tuned, what of a text it reads, and what is new in it.
    """

    seed: int
    predicted: dict[str, np.ndarray]
    gold: dict[str, np.ndarray]
    encoded: dict[str, Dataset]
    history: list[float]
    steps: int
    max_length: int
    setup: dict[str, Any]


def fine_tune(
    model: str,
    labels: Sequence[str],
    train: Dataset,
    tests: Mapping[str, Dataset],
    config: FineTuningConfig,
    *,
    is_sequence: bool,
    validation: Dataset | None = None,
    judge: Callable[[np.ndarray, np.ndarray], float] | None = None,
    patience: int | None = None,
    revision: str | None = None,
) -> Iterator[FineTuned]:
    """Trains all weights and predicts each test set, once for each seed.

    Args:
        model: Folder or repository; it is loaded without remote code.
        labels: In the order of their numbers.
        train: `text` and `label`, or `tokens` and `tags`.
        tests: The same by name.
        config: Of the training.
        is_sequence: Whether whole texts have a label, or each word.
        validation: As `train`; what `judge` is given after each epoch.
        judge: Of true and predicted labels of validation; the epoch where it is highest is tested,
            in place of the last one.
        patience: Epochs without a better figure after which training stops.
        revision: Of the repository.

    Yields:
        A run, in the order of the seeds.

    Raises:
        InputError: A tokenizer that does not fit the model, or a `max_length` beyond the model's.
    """
    encode = encode_texts if is_sequence else encode_words
    numbers = {label: number for number, label in enumerate(labels)}
    encoded: dict[str, Dataset] = {}
    for seed in config.seeds:
        classifier = load_classifier(model, labels, is_sequence, seed, revision)
        if not encoded:
            default = _TEXT_LENGTH if is_sequence else _SENTENCE_LENGTH
            max_length = check_length(classifier, config.max_length, default)
            fit = classifier.tokenizer, numbers, max_length
            encoded = {name: encode(dataset, *fit) for name, dataset in tests.items()}
            train = encode(train, *fit)
            validation = None if validation is None else encode(validation, *fit)
        with scratch_folder() as folder:
            trainer = _make_trainer(classifier, train, validation, config, seed, judge, str(folder))
            if patience is not None:
                from transformers import EarlyStoppingCallback

                trainer.add_callback(EarlyStoppingCallback(patience))
            steps = trainer.train().global_step
            # While Trainer groups by length for training, it predicts in an order of its own too.
            trainer.args.train_sampling_strategy = "sequential"
            found: dict[str, Any] = {name: trainer.predict(rows) for name, rows in encoded.items()}
        logs = trainer.state.log_history
        yield FineTuned(
            seed,
            {name: output.predictions[0] for name, output in found.items()},
            {name: output.label_ids for name, output in found.items()},
            encoded,
            [log["eval_figure"] for log in logs if "eval_figure" in log],
            steps,
            max_length,
            describe_classifier(classifier),
        )


def options_of(config: FineTuningConfig) -> dict[str, Any]:
    """Options for `results.json`."""
    return {**asdict(config), "seeds": list(config.seeds)}


class Classifier(NamedTuple):
    """An encoder with a new classifier on top.

    Args:
        model: `AutoModelForSequenceClassification` or `AutoModelForTokenClassification`.
        tokenizer: The one saved beside the model.
        is_sequence: Whether it labels whole texts.
        new_weights: Weights that the checkpoint did not hold, drawn from the seed.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    is_sequence: bool
    new_weights: list[str]


def load_classifier(
    name_or_path: str,
    labels: Sequence[str],
    is_sequence: bool,
    seed: int,
    revision: str | None = None,
) -> Classifier:
    """Loads the stock class, without remote code; what is new in it comes from the seed.

    Raises:
        InputError: The tokenizer has more tokens than the model embeds, or a classifier of texts
            would read the first token of an encoder without layers.
    """
    from transformers import (
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        set_seed,
    )

    from twhin_hf.loading.auto import (
        is_adapter,
        load_config,
        load_post_encoder,
        load_tokenizer,
    )
    from twhin_hf.loading.places import reading_model
    from twhin_hf.loading.pretrained import load_pretrained
    from twhin_hf.loading.quiet import loading_in_words, quiet_loading

    stock: Any = (
        AutoModelForSequenceClassification if is_sequence else AutoModelForTokenClassification
    )
    names = dict(enumerate(labels))
    config = load_config(name_or_path, revision)
    if is_sequence and config.num_hidden_layers == 0:
        raise InputError(
            f"{name_or_path} has no layers: its first token, which a classifier reads, knows "
            "nothing of the text. Judge its frozen features instead (`--protocols features`)"
        )
    config.id2label, config.label2id = names, {label: number for number, label in names.items()}
    if is_adapter(name_or_path, revision):
        # A stock class would look for a classifier's adapter, and leave out that of an encoder.
        weights = dict(load_post_encoder(name_or_path, revision).state_dict())
        set_seed(seed)
        with quiet_loading(), reading_model(name_or_path):
            model, info = stock._model_mapping[type(config)].from_pretrained(
                None, config=config, state_dict=weights, output_loading_info=True
            )
    else:
        set_seed(seed)
        model, info = load_pretrained(
            stock, name_or_path, config, revision, output_loading_info=True, trust_remote_code=False
        )
    logger.debug(loading_in_words(name_or_path, model, info))
    tokenizer = load_tokenizer(name_or_path, revision)
    vocabulary = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > vocabulary:
        raise InputError(
            f"the tokenizer has {len(tokenizer):,} tokens and the model embeds {vocabulary:,}; "
            "put the model's own tokenizer beside it"
        )
    return Classifier(model, tokenizer, is_sequence, sorted(info["missing_keys"]))


def check_length(classifier: Classifier, max_length: int | None, default: int) -> int:
    """`max_length`; by default `default`, or what the model reads if less.

    Raises:
        InputError: A `max_length` longer than the model's.
    """
    model = classifier.model
    embeddings = getattr(model.base_model, "embeddings", None)
    padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    # RoBERTa's positions begin behind that of the padding.
    longest = model.config.max_position_embeddings - (0 if padding is None else padding + 1)
    if max_length is None:
        return min(longest, default)
    if max_length > longest:
        raise InputError(f"max_length is {max_length}; this model reads {longest} at most")
    return max_length


def describe_classifier(classifier: Classifier) -> dict[str, Any]:
    """What was fine-tuned, for `results.json`: the class, what it reads, and what is new in it."""
    # ModernBERT says it in its config; the others read the first token, BERT through its pooler.
    pooling = getattr(classifier.model.config, "classifier_pooling", "cls")
    return {
        "class": type(classifier.model).__name__,
        "classifier_reads": pooling if classifier.is_sequence else "first sub-token of each word",
        "new_weights": classifier.new_weights,
    }


def _make_trainer(
    classifier: Classifier,
    train: Dataset,
    validation: Dataset | None,
    config: FineTuningConfig,
    seed: int,
    judge: Callable[[np.ndarray, np.ndarray], float] | None,
    folder: str,
) -> Trainer:
    """A Trainer that pads each batch to its longest text; predicts labels and losses, no logits."""
    import torch
    from transformers import (
        DataCollatorForTokenClassification,
        DataCollatorWithPadding,
        PrinterCallback,
        Trainer,
        TrainingArguments,
    )

    from twhin_hf.training.progress import TrainingProgress

    class FineTuningTrainer(Trainer):
        """Gives the loss of held-out rows as the mean over their labels, not over batches."""

        def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
            output = super().evaluation_loop(*args, **kwargs)
            losses: Any = output.predictions
            gold: Any = output.label_ids
            loss = float(losses[1][gold != IGNORED].mean())
            prefix = kwargs.get("metric_key_prefix", "eval")
            return output._replace(metrics={**(output.metrics or {}), f"{prefix}_loss": loss})

    def compute_metrics(output: EvalPrediction) -> dict[str, float]:
        gold: Any = output.label_ids
        return {} if judge is None else {"figure": judge(gold, output.predictions[0])}

    collator = (
        DataCollatorWithPadding if classifier.is_sequence else DataCollatorForTokenClassification
    )
    options: dict[str, Any] = {"save_strategy": "no"} if judge is None else _BEST_EPOCH
    trainer = FineTuningTrainer(
        model=classifier.model,
        args=TrainingArguments(
            output_dir=folder,
            num_train_epochs=config.epochs,
            per_device_train_batch_size=config.batch_size,
            per_device_eval_batch_size=_EVAL_BATCH_SIZE,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            warmup_steps=config.warmup_steps,
            use_cpu=config.device == "cpu",
            dataloader_pin_memory=torch.accelerator.is_available(),
            seed=seed,
            train_sampling_strategy="group_by_length",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **options,
        ),
        train_dataset=train,
        eval_dataset=validation,
        compute_metrics=compute_metrics,
        data_collator=collator(classifier.tokenizer),
        processing_class=classifier.tokenizer,
        preprocess_logits_for_metrics=cast(Any, _labels_and_losses),
        callbacks=[TrainingProgress(f"Fine-tuning on {len(train):,} texts")],
    )
    # It prints dictionaries.
    trainer.remove_callback(PrinterCallback)
    return trainer


def _labels_and_losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The best label and the cross entropy of each text, or of each token."""
    import torch.nn.functional as F

    losses = F.cross_entropy(
        logits.float().flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return logits.argmax(dim=-1), losses.view(labels.shape)
