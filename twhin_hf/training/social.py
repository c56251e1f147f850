"""Pretraining with MLM (stage 1) and with MLM and the social loss (stage 2)."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments
from transformers.trainer import TRAINING_ARGS_NAME

from twhin_hf.data.tokenization import language_codes, tokenize_posts
from twhin_hf.modeling.packed_attention import packed_attention_backend

from .batches import LanguageSampler, Pairs, Posts, pair_rows
from .collators import PackingCollator

logger = logging.getLogger(__name__)

LOSSES = ("mlm_loss", "social_loss", "social_accuracy")


@dataclass
class SocialPretrainingConfig(TrainingArguments):
    """Configuration of `SocialPretrainingTrainer`.

    The weights, the temperature and the head of the objectives belong to the model, and so to its
    config (`twhin_hf.modeling.apply_settings`). `per_device_train_batch_size` counts posts in
    stage 1, and pairs, two posts each, in stage 2.

    Parameters:
        > Parameters that control the data

        max_length (`int`, defaults to `128`): tokens a post is cut to (the paper's 128).
        row_length (`int`, defaults to `128`): tokens that a packed row should hold; 0 pads instead.
        mlm_probability (`float`, defaults to `0.15`): share of the tokens to predict.
        language_exponent (`float`, defaults to `0.7`): languages are drawn by their frequency to
            this power (the paper's 0.7; 1 leaves them as they are).
        max_missing_pairs (`float`, defaults to `0.0`): share of the pairs that may name a post that
            is not there; more is an error.
        tokenization_processes (`int`, *optional*): processes that tokenize the posts.

    The defaults that differ from `TrainingArguments`' are RoBERTa's where the paper names none:
    `learning_rate` 2e-4, `weight_decay` 0.01, `adam_beta2` 0.98, `adam_epsilon` 1e-6,
    `logging_steps` 50; and `remove_unused_columns` False, `dataloader_drop_last` True, which
    batches of pairs need.
    """

    learning_rate: float = field(default=2e-4, metadata={"help": "Peak learning rate."})
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay of AdamW."})
    adam_beta2: float = field(default=0.98, metadata={"help": "Beta2 of AdamW (RoBERTa)."})
    adam_epsilon: float = field(default=1e-6, metadata={"help": "Epsilon of AdamW (RoBERTa)."})
    logging_steps: float = field(default=50, metadata={"help": "Log every so many steps."})
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Must be false: batches are no columns of a data set."}
    )
    dataloader_drop_last: bool = field(
        default=True, metadata={"help": "Drop the last, short batch: it has fewer negatives."}
    )
    max_length: int = field(default=128, metadata={"help": "Tokens a post is cut to."})
    row_length: int = field(
        default=128, metadata={"help": "Tokens that a packed row should hold; 0 pads instead."}
    )
    mlm_probability: float = field(
        default=0.15, metadata={"help": "Share of the tokens to predict."}
    )
    language_exponent: float = field(
        default=0.7, metadata={"help": "Languages are drawn by frequency to this power."}
    )
    max_missing_pairs: float = field(
        default=0.0, metadata={"help": "Share of the pairs that may name a post not there."}
    )
    tokenization_processes: int | None = field(
        default=None, metadata={"help": "Processes that tokenize the posts."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not torch.accelerator.is_available():
            self.dataloader_pin_memory = False
        if self.remove_unused_columns:
            raise ValueError("remove_unused_columns must be False: batches are no data set columns")
        if self.row_length < 0 or self.max_length < 3:
            raise ValueError(
                f"row_length is {self.row_length} and max_length {self.max_length}; row_length "
                "must be 0 or more, and max_length 3 or more (two special tokens and one other)"
            )


class SocialPretrainingTrainer(Trainer):
    """Trains a `Twhin…ForPreTraining` on posts, or on pairs of posts.

    Args:
        model: with the weights of its objectives in its config.
        args: the configuration.
        train_dataset: posts, with the columns `post_id`, `text` and, if wanted, `lang`.
        pairs: mined pairs, `anchor_id` and `positive_id`; without them the posts alone are trained
            on (stage 1).
        eval_dataset: held-out posts.
        eval_pairs: pairs among `eval_dataset`.
        processing_class: the tokenizer.
        **kwargs: as `Trainer` takes.

    Raises:
        ValueError: a model whose objectives do not fit the data, a tokenizer that does not fit the
            model, no posts, pairs without their posts, or fewer of them than a batch holds.
    """

    args: SocialPretrainingConfig

    def __init__(
        self,
        model: PreTrainedModel,
        args: SocialPretrainingConfig,
        train_dataset: Dataset,
        pairs: Dataset | pa.Table | None = None,
        eval_dataset: Dataset | None = None,
        eval_pairs: Dataset | pa.Table | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        **kwargs: Any,
    ):
        if processing_class is None:
            raise ValueError("give the tokenizer as processing_class=")
        check_model(model, args, processing_class, has_pairs=pairs is not None)
        model.set_attn_implementation(_attention_backend(model, args))
        train = _batches_of(train_dataset, pairs, processing_class, args)
        size = args.train_batch_size * args.world_size
        if len(train) < size:
            raise ValueError(
                f"{len(train):,} {'posts' if pairs is None else 'pairs'} do not fill one batch of "
                f"{size:,}; lower per_device_train_batch_size, or bring more data"
            )
        if pairs is not None and args.gradient_accumulation_steps > 1:
            logger.warning(
                "gradient_accumulation_steps is %d: negatives come from one small batch at a time, "
                "which is not the same as one large batch",
                args.gradient_accumulation_steps,
            )
        # Our data sets fetch a batch at once: it takes a batch where Trainer's takes a list.
        collate: Any = PackingCollator(
            processing_class, args.row_length, args.mlm_probability, args.seed
        )
        super().__init__(
            model=model,
            args=args,
            data_collator=collate,
            train_dataset=train,
            eval_dataset=None
            if eval_dataset is None
            else _batches_of(eval_dataset, eval_pairs, processing_class, args),
            processing_class=processing_class,
            **kwargs,
        )
        self._sums: dict[str, Any] = {}
        self._steps = 0
        self._since = time.perf_counter()

    def _get_train_sampler(self, train_dataset: Any = None) -> LanguageSampler:
        data: Any = self.train_dataset if train_dataset is None else train_dataset
        if isinstance(data, Pairs):
            languages = language_codes(data.posts.tokenized)[data.pairs[:, 0]]
        else:
            languages = language_codes(data.tokenized)
        return LanguageSampler(languages, self.args.language_exponent, self.args.seed)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The model's weighted loss; each part is kept for the log."""
        if self.args.world_size > 1 and "labels" in inputs:
            # The mean over processes: their losses then average to the loss of the joint batch.
            masked = (inputs["labels"] != -100).sum().float()
            inputs = inputs | {"num_masked": self.accelerator.reduce(masked, reduction="mean")}
        outputs = model(**inputs)
        self._keep_for_log(outputs, inputs["segment_ids"])
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, None, None]:
        """The loss of a batch of held-out posts or pairs."""
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return loss.detach(), None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds each loss, the in-batch retrieval accuracy, and real tokens, also by the second."""
        if self._steps:
            prefix = "eval_" if "eval_loss" in logs else ""
            names = list(self._sums)
            sums = torch.stack([self._sums[name] for name in names])
            sums = self.accelerator.reduce(sums, reduction="sum").tolist()
            steps = self._steps * self.args.world_size
            values = dict(zip(names, sums, strict=True))
            seconds = time.perf_counter() - self._since
            logs[f"{prefix}tokens"] = tokens = values.pop("tokens")
            logs[f"{prefix}tokens_per_second"] = round(tokens / seconds, 1)
            logs |= {f"{prefix}{name}": value / steps for name, value in values.items()}
            self._reset_sums()
        super().log(logs, start_time)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluates on the held-out posts; what training has summed for its log is set aside."""
        kept = self._sums, self._steps
        self._reset_sums()
        metrics = super().evaluate(*args, **kwargs)
        self._sums, self._steps = kept
        return metrics

    def _keep_for_log(self, outputs: Any, segment_ids: torch.Tensor) -> None:
        parts = {name: outputs[name].detach() for name in LOSSES if outputs.get(name) is not None}
        parts["tokens"] = (segment_ids > 0).sum().float()
        for name, value in parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1

    def _reset_sums(self) -> None:
        self._sums, self._steps, self._since = {}, 0, time.perf_counter()

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Saves the model and tokenizer; the arguments as JSON, where Trainer writes a pickle."""
        super()._save(output_dir, state_dict)
        folder = Path(output_dir or str(self.args.output_dir))
        (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)
        if self.args.should_save:
            text = json.dumps(self.args.to_sanitized_dict(), indent=2, sort_keys=True)
            (folder / "training_args.json").write_text(text + "\n")


def check_model(
    model: PreTrainedModel,
    args: SocialPretrainingConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    has_pairs: bool,
) -> None:
    """Checks that model, tokenizer and data fit, before any work.

    Raises:
        ValueError: they do not.
    """
    config = model.config
    cast(Any, model.base_model).check_tokenizer(tokenizer, args.max_length)
    if not has_pairs and config.social_weight > 0:
        raise ValueError(
            f"the model's social_weight is {config.social_weight} and there are no pairs; give "
            "pairs=, or set social_weight to 0 (and mlm_weight to 1) to train on posts alone"
        )
    if config.mlm_weight > 0 and args.mlm_probability == 0:
        raise ValueError("mlm_probability is 0 and the model's mlm_weight is not: set one of them")
    if has_pairs and config.social_weight > 0 and args.train_batch_size * args.world_size < 2:
        raise ValueError(
            "a batch of one pair has no negatives; per_device_train_batch_size must be 2 or more"
        )
    if config.pad_token_id != tokenizer.pad_token_id:
        logger.warning(
            "the model's pad_token_id is %s and the tokenizer's %s: the embedding of token %s gets "
            "no gradient",
            config.pad_token_id,
            tokenizer.pad_token_id,
            config.pad_token_id,
        )


def _attention_backend(model: PreTrainedModel, args: SocialPretrainingConfig) -> str:
    if model.config._attn_implementation == "eager":
        return "eager"
    dtype = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else model.dtype
    dropout = getattr(model.config, "attention_probs_dropout_prob", 0.0)
    return packed_attention_backend(args.device, dtype, dropout)


def _batches_of(
    posts: Dataset,
    pairs: Dataset | pa.Table | None,
    tokenizer: PreTrainedTokenizerBase,
    args: SocialPretrainingConfig,
) -> Posts | Pairs:
    with args.main_process_first(desc="tokenizing posts"):
        tokenized = tokenize_posts(
            posts, tokenizer, max_length=args.max_length, num_proc=args.tokenization_processes
        )
    if pairs is None:
        return Posts(tokenized)
    table = pairs.with_format("arrow")[:] if isinstance(pairs, Dataset) else pairs
    rows, left_out = pair_rows(tokenized, table, args.max_missing_pairs)
    if left_out:
        logger.warning("%d pairs were left out: a post of theirs is not there", left_out)
    return Pairs(Posts(tokenized), rows)
