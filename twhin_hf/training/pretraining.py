"""What the pretraining trainers share: packed batches, losses logged apart, safe files."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from accelerate.utils import DynamoBackend
from datasets import Dataset
from torch import nn
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset
from transformers import (
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainingArguments,
)
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import EvalLoopOutput, SchedulerType, unwrap_peft_model
from transformers.training_args import OptimizerNames

from twhin_hf.data.tokenization import tokenize_posts
from twhin_hf.errors import InputError
from twhin_hf.files import write_json
from twhin_hf.modeling.packed_attention import (
    attention_dropout,
    has_windows,
    packed_attention_backend,
    wants_flat_rows,
)
from twhin_hf.modeling.sentence_transformer_files import write_sentence_transformer_files
from twhin_hf.modeling.settings import HEAD_NAMES, OBJECTIVES
from twhin_hf.training.balancing import BalancedSampler
from twhin_hf.training.chance_warning import ChanceWarning, keys_of_batch
from twhin_hf.training.collapse import CollapseWarning, alignment, mean_cosine, uniformity
from twhin_hf.training.collators import PackingCollator
from twhin_hf.training.held_out import HeldOutFigures, held_out_outputs, own_batches
from twhin_hf.training.mixing import BatchSource, MixedBatches, MixedSampler
from twhin_hf.training.muon import WithMuon, hidden_matrices
from twhin_hf.training.optimizer import SmallAdamW
from twhin_hf.training.option_checks import check_options, check_schedule
from twhin_hf.training.processor import fast_products, kept_memory, multiplies_bfloat16
from twhin_hf.training.progress import TrainingProgress
from twhin_hf.training.publishing import PublishingMixin
from twhin_hf.training.record import training_record, write_training_record
from twhin_hf.training.sharding import tied_weights_together
from twhin_hf.training.step_checks import StepChecksMixin
from twhin_hf.value_checks import check_least, check_share

logger = logging.getLogger(__name__)

LOGGED_NAMES = (
    "mlm_loss",
    *(f"{name}_{figure}" for name in HEAD_NAMES for figure in ("loss", "accuracy")),
)
GPU_WORKERS = 4
OBJECTIVE_NAMES = {"mlm": "MLM", "tpp": "TPP"}
"""How objectives are written, where it is not their own name."""


@dataclass
class PretrainingConfig(TrainingArguments):
    """Options that all pretraining trainers share.

    Args:
        logging_steps: Steps between two log entries.
        remove_unused_columns: Must be false: batches are no columns of a data set.
        logging_nan_inf_filter: Let Trainer look at the loss of every step, for which a GPU has to
            be waited for; the logged loss leaves out what is no number without it too.
        optim: Optimizer; the fused one leaves out a bad step without being waited for.
        optim_state: Precision in which AdamW keeps its moments; bfloat16, rounded at random, takes
            half their memory and a little more time on a CPU.
        bf16: Train in bfloat16 autocast (default: on a CPU that has instructions for it; a GPU has
            to be told).
        dataloader_num_workers: Processes that prepare batches (default: 4 with a GPU, where they
            are ready when it is; none without).
        dataloader_drop_last: Drop the last, short batch: it has fewer negatives.
        max_length: Maximum sequence length; longer texts are truncated (paper: 128).
        row_length: Tokens per packed row; 0 turns packing off and pads instead.
        mlm_probability: Share of the tokens to predict.
        optim_matrices: Optimizer of the matrices of the encoder's layers: optim's, or muon, which
            needs fewer tokens from scratch, at a learning rate some times as high; embeddings,
            heads and vectors keep optim.
        head_learning_rate: Peak learning rate of the heads (default: that of the encoder).
        contrastive_batch_size: Pairs (or posts) of all processes that the losses compare at once,
            where they are more than per_device_train_batch_size, which then says how many go
            through the encoder at once (cached gradients). For one more forward pass, 4,096 pairs
            take about the memory of 256.
        num_negatives: Negatives per translation pair; contrastive takes the batch's other texts.
        eval_block_size: Pairs that a loss over a batch (social, contrastive) compares with each
            other in evaluation: eval_loss does not depend on per_device_eval_batch_size.
        upsample_languages: Draw every pair of languages as often as the largest one.
        dataset_num_proc: Processes that tokenize the texts.
        torch_compile: Compile the encoder. Its shapes may differ: after the second batch no other
            is compiled. `torch_compile_mode reduce-overhead` records a CUDA graph for each length
            of batch, of which there are few where backends take flat rows.
        on_bad_step: What to do where the loss or gradient is no finite number, or has grown too
            much: stop the training, or skip the step. Ids of its posts go to bad_steps.jsonl.
        max_grad_growth: Gradient norm that counts as a bad step, as a multiple of the median of the
            last 50 steps (default: any is taken).

    Raises:
        InputError: A number, a name, a flag or a file that cannot work.
    """

    logging_steps: float = 50
    remove_unused_columns: bool = False
    logging_nan_inf_filter: bool = False
    optim: str = "adamw_torch_fused"
    optim_state: Literal["float32", "bfloat16"] = "float32"
    bf16: bool | None = None  # type: ignore[assignment]
    dataloader_num_workers: int | None = None  # type: ignore[assignment]
    dataloader_drop_last: bool = True
    max_length: int = 128
    row_length: int = 128
    mlm_probability: float | None = 0.15
    optim_matrices: Literal["optim", "muon"] = "optim"
    head_learning_rate: float | None = None
    contrastive_batch_size: int | None = None
    num_negatives: int = 1
    eval_block_size: int = 128
    upsample_languages: bool = False
    dataset_num_proc: int | None = None
    torch_compile: bool = False
    on_bad_step: Literal["stop", "skip"] = "stop"
    max_grad_growth: float | None = None

    def __post_init__(self) -> None:
        check_options(self)
        has_accelerator = torch.accelerator.is_available()
        # Else transformers refuses bf16 on a CPU, which it can do.
        self.use_cpu = self.use_cpu or not has_accelerator
        if self.bf16 is None:
            self.bf16 = self.use_cpu and not self.fp16 and multiplies_bfloat16()
        if self.dataloader_num_workers is None:
            self.dataloader_num_workers = 0 if self.use_cpu else GPU_WORKERS
        if self.accelerator_config is None and not self.use_cpu:
            # Else each copy of a batch waits for all that the GPU has been given before.
            self.accelerator_config = {"non_blocking": self.dataloader_pin_memory}
        super().__post_init__()
        if not has_accelerator:
            self.dataloader_pin_memory = False
        if self.ddp_find_unused_parameters is None:
            # A batch does not reach the heads of the objectives that it has nothing for.
            self.ddp_find_unused_parameters = True
        if self.remove_unused_columns:
            raise InputError("remove_unused_columns must be False: batches are no data set columns")
        if self.row_length < 0 or self.max_length < 3:
            raise InputError(
                f"row_length is {self.row_length} and max_length {self.max_length}; row_length "
                "must be 0 or more, and max_length 3 or more (two special tokens and one other)"
            )
        at_once = super().train_batch_size * self.world_size
        if self.contrastive_batch_size is not None and (
            self.contrastive_batch_size < at_once or self.contrastive_batch_size % at_once
        ):
            raise InputError(
                f"contrastive_batch_size is {self.contrastive_batch_size}; it must be a multiple "
                f"of the {at_once} that go through the encoder at once, which are "
                f"per_device_train_batch_size ({self.per_device_train_batch_size}) of "
                f"{self.world_size} process(es)"
            )
        if self.head_learning_rate is not None and not self.head_learning_rate > 0:
            raise InputError(
                f"head_learning_rate is {self.head_learning_rate}; it must be above 0, or left out"
            )
        if self.num_negatives < 1:
            raise InputError(
                f"num_negatives is {self.num_negatives}; it must be 1 or more: of translations "
                "alone nothing can be learnt"
            )
        if self.optim_state not in ("float32", "bfloat16"):
            raise InputError(f"optim_state is {self.optim_state!r}; it must be float32 or bfloat16")
        kinds = (OptimizerNames.ADAMW_TORCH, OptimizerNames.ADAMW_TORCH_FUSED)
        if self.optim_state == "bfloat16" and self.optim not in kinds:
            raise InputError(
                f"optim_state is bfloat16, which is for AdamW, and optim is "
                f"{OptimizerNames(self.optim).value}; set optim to adamw_torch_fused, or "
                "optim_state to float32"
            )
        if self.optim_matrices not in ("optim", "muon"):
            raise InputError(f"optim_matrices is {self.optim_matrices!r}; it must be optim or muon")
        if self.on_bad_step not in ("stop", "skip"):
            raise InputError(f"on_bad_step is {self.on_bad_step!r}; it must be stop or skip")
        if self.max_grad_growth is not None and not self.max_grad_growth > 1:
            raise InputError(
                f"max_grad_growth is {self.max_grad_growth}; it must be above 1, such as 10"
            )
        if self.eval_block_size < 2:
            raise InputError(
                f"eval_block_size is {self.eval_block_size}; it must be 2 or more: a pair alone "
                "has no negatives"
            )
        check_schedule(self)
        check_least(self, 1, "dataset_num_proc")
        check_least(self, 0, "dataloader_num_workers")
        if self.mlm_probability is not None:
            check_share(self, "mlm_probability")

    @property
    def train_batch_size(self) -> int:
        """Pairs (or posts) of a process whose losses are computed together."""
        if self.contrastive_batch_size is None:
            return super().train_batch_size
        return self.contrastive_batch_size // self.world_size


class PretrainingTrainer(StepChecksMixin, PublishingMixin):
    """Trains a `Twhin…ForPreTraining` on batches of one source, or of several, mixed.

    Args:
        model: With the weights of its objectives in its config.
        args: The configuration.
        sources: Of batches; the proportions of several sum to 1.
        eval_batches: Held-out batches.
        tokenizer: The model's.
        **kwargs: As `Trainer` takes.

    Raises:
        InputError: A source that does not fill a batch.
    """

    args: PretrainingConfig

    def __init__(
        self,
        model: PreTrainedModel,
        args: PretrainingConfig,
        sources: Sequence[BatchSource],
        eval_batches: TorchDataset | None,
        tokenizer: PreTrainedTokenizerBase,
        **kwargs: Any,
    ):
        size = args.train_batch_size * args.world_size
        at_once = args.per_device_train_batch_size * max(1, args.n_gpu)
        is_cached = args.train_batch_size > at_once
        for source in sources:
            if len(source.sampler) < size:
                raise InputError(
                    f"{len(source.sampler):,} {source.name} do not fill one batch of {size:,}; "
                    f"lower {'contrastive' if is_cached else 'per_device_train'}_batch_size, or "
                    "bring more data",
                    faq="batch-size",
                )
        if args.optim_matrices == "muon" and unwrap_peft_model(model) is not model:
            raise InputError(
                "optim_matrices is muon, and LoRA's matrices are no whole ones; set it to optim"
            )
        model.set_attn_implementation(_attention_backend(model, args))
        blocks = args.train_batch_size // at_once if is_cached else None
        cast(Any, unwrap_peft_model(model)).cache_gradients(blocks)
        self._data = {source.name: len(cast(Any, source.batches)) for source in sources}
        train: TorchDataset = sources[0].batches
        self._sampler: Sampler[int] = sources[0].sampler
        if len(sources) > 1:
            train = MixedBatches([source.batches for source in sources])
            self._sampler = MixedSampler(sources, size)
        if args.world_size > 1:
            self._sampler = BalancedSampler(
                self._sampler, train, args.train_batch_size, args.world_size
            )
        # Our data sets fetch a batch at once: it takes a batch where Trainer's takes a list.
        collate: Any = PackingCollator(
            tokenizer,
            args.row_length,
            mlm_probability(model, args),
            args.seed,
            # Cached gradients take a few rows at a time: there have to be several.
            is_flat=wants_flat_rows(model.config)
            and args.row_length > 0
            and args.contrastive_batch_size is None,
        )
        super().__init__(
            model=model,
            args=args,
            data_collator=collate,
            train_dataset=train,
            eval_dataset=eval_batches,
            processing_class=tokenizer,
            **kwargs,
        )
        self._compile_encoder()
        for stock in (ProgressCallback, PrinterCallback):
            self.remove_callback(stock)
        self.add_callback(TrainingProgress(f"{objectives_of(model)} on {_counted(self._data)}"))
        self.add_callback(ChanceWarning(keys_of_batch(model.config, size)))
        self.add_callback(CollapseWarning())
        self._languages: dict[str, float] = {}
        self._since, self._waited = time.perf_counter(), 0.0

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """As Trainer's; notes how long a step waits for its batches."""
        began = time.perf_counter()
        batches = super().get_batch_samples(*args, **kwargs)
        self._waited += time.perf_counter() - began
        return batches

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self._sampler

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As Trainer's."""
        if self.args.device.type != "cpu":
            return super().train(*args, **kwargs)
        model = cast(Any, unwrap_peft_model(self.accelerator.unwrap_model(self.model)))
        model.keep_gradient(True)
        try:
            with fast_products(), kept_memory():
                return super().train(*args, **kwargs)
        finally:
            model.keep_gradient(False)

    def _compile_encoder(self) -> None:
        """Compiles the encoder, where `torch_compile` asks for it, and nothing else.

        Trainer would compile the losses too, whose loops over blocks of logits gain nothing and
        break the graph.
        """
        plugin = self.accelerator.state.dynamo_plugin
        if plugin.backend != DynamoBackend.NO:
            encoder_of(cast(Any, self.model)).compile(**plugin.to_kwargs())
            plugin.backend = DynamoBackend.NO

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
        if self.args.world_size > 1:
            for name, counted in (("engagements", "pair_posts"), ("distillation", "posts")):
                if name in inputs:
                    number = torch.full(
                        (), len(inputs[name][counted]), dtype=torch.float, device=self.args.device
                    )
                    mean = self.accelerator.reduce(number, reduction="mean").clamp(min=1e-9)
                    inputs = inputs | {name: inputs[name] | {"num_items": mean}}
        outputs = model(**inputs)
        self._keep_for_log(outputs, inputs["segment_ids"])
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: Any, model: PreTrainedModel | None = None) -> Any:
        """As Trainer's; AdamW may keep its moments in bfloat16."""
        kind, options = StepChecksMixin.get_optimizer_cls_and_kwargs(args, model)
        if args.optim_state == "bfloat16":
            options.pop("fused", None)
            return SmallAdamW, options
        return kind, options

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        """As Trainer's; where weights are sharded, tied ones are together."""
        with ExitStack() as stack:
            if self.is_fsdp_enabled:
                stack.enter_context(tied_weights_together(cast(Any, self.model)))
            return super()._prepare_for_training(*args, **kwargs)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """As Trainer's; heads and matrices may have a learning rate and an optimizer of their own.

        Raises:
            InputError: Muon or moments in bfloat16, where a process holds no whole matrices, or a
                torch that has no Muon.
        """
        is_new = self.optimizer is None
        is_shared_out = self.is_fsdp_enabled or self.is_deepspeed_enabled
        if is_shared_out and (self.args.optim_matrices, self.args.optim_state) != (
            "optim",
            "float32",
        ):
            raise InputError(
                "muon and moments in bfloat16 need whole matrices and gradients on every process, "
                "which FSDP and DeepSpeed share out; set optim_matrices to optim and optim_state "
                "to float32, or train without them"
            )
        optimizer = super().create_optimizer(*args, **kwargs)
        model: Any = unwrap_peft_model(self.accelerator.unwrap_model(self.model))
        rate = self.args.head_learning_rate
        if rate is not None:
            _set_rate_of_heads(optimizer, model, rate)
        if is_new and self.args.optim_matrices == "muon":
            self.optimizer = WithMuon(optimizer, hidden_matrices(model))
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """As Trainer's; warns where the learning rate never reaches its height."""
        warmup = self.args.get_warmup_steps(num_training_steps)
        if warmup >= num_training_steps and self.args.lr_scheduler_type != SchedulerType.CONSTANT:
            logger.warning(
                "Training takes %d steps, and the learning rate rises for %d: it never reaches %g. "
                "Give fewer warmup_steps, or train for longer.",
                num_training_steps,
                warmup,
                self.args.learning_rate,
            )
        return super().create_scheduler(num_training_steps, optimizer)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """The held-out batches of this process, each row once."""
        dataset: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        if dataset is None:
            raise InputError("there are no held-out rows to evaluate on; give eval_dataset")
        return DataLoader(
            dataset,
            batch_sampler=own_batches(dataset, *self._eval_shares()),
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers or 0,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """As Trainer's; the figures are those of `HeldOutFigures`."""
        self._held_out = held_out = HeldOutFigures(dataloader.dataset, *self._eval_shares())
        with self._not_prepared():
            output = super().evaluation_loop(
                dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
            )
        held_out.gather()
        figures = held_out.losses(cast(Any, self.model).config, self.args.eval_block_size)
        translations = held_out.projections("tpp")
        if translations is not None and self.compute_metrics is not None:
            pairs, sides = translations
            labels = np.arange(len(pairs)) % (1 + pairs.num_negatives) == 0
            figures |= self.compute_metrics(EvalPrediction(sides.numpy(), labels.astype(int)))
        named = {f"{metric_key_prefix}_{name}": value for name, value in figures.items()}
        return output._replace(metrics={**(output.metrics or {}), **named})

    @contextmanager
    def _not_prepared(self) -> Iterator[None]:
        """Evaluates a model that is not trained yet as it is.

        Trainer would hand it to accelerate, which then takes it for one that is prepared for
        training: its gradients would not be shared between the processes.
        """
        prepared = self.accelerator._models
        if prepared or is_deepspeed_zero3_enabled():
            yield
            return
        model = cast(nn.Module, self.model)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:  # which move it as they prepare it
            model.to(self.args.device)
        prepared.append(model)
        deepspeed = self.deepspeed
        if self.is_deepspeed_enabled:
            self.deepspeed = model  # type: ignore[assignment]
        try:
            yield
        finally:
            self.deepspeed = deepspeed
            prepared.clear()

    def _eval_shares(self) -> tuple[int, int, int]:
        return self.args.eval_batch_size, self.args.process_index, self.args.world_size

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> tuple[None, None, None]:
        """Takes a held-out batch into the figures of `evaluation_loop`; gives nothing itself."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager(), self.accelerator.autocast():
            outputs = held_out_outputs(model, inputs)
        self._held_out.add(inputs, *outputs)
        return None, None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds each loss and accuracy of training, and real tokens, also by the second.

        A loss is the mean over the batches that had what it needs. `data_wait` is the share of the
        time for which steps of this process wait for their batches.
        """
        if self._log_sums and "eval_loss" not in logs:
            names = list(self._log_sums)
            sums = torch.stack([self._log_sums[name] for name in names])
            sums = self.accelerator.reduce(sums, reduction="sum").tolist()
            values = dict(zip(names, sums, strict=True))
            seconds = time.perf_counter() - self._since
            logs["tokens"] = tokens = values.pop("tokens")
            logs["tokens_per_second"] = round(tokens / seconds, 1)
            logs["data_wait"] = round(self._waited / seconds, 4)
            for name, value in values.items():
                logs[name] = value / (self._log_counts[name] * self.args.world_size)
            self._reset_sums()
        super().log(logs, start_time)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """As Trainer's; training's tokens per second leave its time out."""
        began = time.perf_counter()
        metrics = super().evaluate(*args, **kwargs)
        self._since += time.perf_counter() - began
        return metrics

    def _keep_for_log(self, outputs: Any, segment_ids: torch.Tensor) -> None:
        parts = {
            name: outputs[name].detach().float()
            for name in LOGGED_NAMES
            if outputs.get(name) is not None
        }
        parts |= _figures_of_vectors(outputs)
        parts["tokens"] = (segment_ids > 0).sum().float()
        for name, value in parts.items():
            value = torch.nan_to_num(value, posinf=0.0, neginf=0.0)  # a step that is skipped
            self._log_sums[name] = self._log_sums.get(name, 0.0) + value
            self._log_counts[name] = self._log_counts.get(name, 0) + 1

    def _begin_log(self) -> None:
        super()._begin_log()
        # What Trainer compares with that option, and no more, when the run is resumed.
        self.state.train_batch_size = self.args.per_device_train_batch_size

    def _reset_sums(self) -> None:
        self._log_sums, self._log_counts = {}, {}
        self._since, self._waited = time.perf_counter(), 0.0

    def _save_files(self, output_dir: str, state_dict: dict | None) -> None:
        """Saves the model and tokenizer; the arguments as JSON, where Trainer writes a pickle."""
        backend = getattr(self.processing_class, "backend_tokenizer", None)
        if backend is not None:
            # Else the file says how the last texts happened to be cut.
            backend.no_truncation()
            backend.no_padding()
        super()._save_files(output_dir, state_dict)
        folder = Path(output_dir)
        (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)
        if self.args.should_save:
            options = dict(sorted(self.args.to_sanitized_dict().items()))
            write_json(folder / "training_args.json", options)
            record = training_record(
                cast(Any, self.model),
                self.args,
                self.state,
                self._data,
                type(self).__name__,
                self._languages,
            )
            write_training_record(folder, record)
            # Now that the tokenizer is there: its special tokens are left out of a mean.
            encoder = encoder_of(self.accelerator.unwrap_model(self.model))
            write_sentence_transformer_files(folder, encoder.config, encoder.max_seq_length)


def _set_rate_of_heads(optimizer: torch.optim.Optimizer, model: Any, rate: float) -> None:
    heads = {id(value) for head in model.heads().values() for value in head.parameters()}
    for group in list(optimizer.param_groups):
        own = [value for value in group["params"] if id(value) in heads]
        group["params"] = [value for value in group["params"] if id(value) not in heads]
        if own:
            options = {key: value for key, value in group.items() if key != "params"}
            optimizer.add_param_group(options | {"params": own, "lr": rate})


@torch.no_grad()
def _figures_of_vectors(outputs: Any) -> dict[str, torch.Tensor]:
    """How the vectors of each head lie in a batch; see `twhin_hf.training.collapse`."""
    figures = {}
    for name in HEAD_NAMES:
        vectors = outputs.get(f"{name}_projections")
        if vectors is None or len(vectors) < 2:
            continue
        vectors = vectors.detach().float()
        figures[f"{name}_mean_cosine"] = mean_cosine(vectors)
        figures[f"{name}_uniformity"] = uniformity(vectors)
        if name == "social":
            figures["social_alignment"] = alignment(vectors)
    return figures


def check_model(
    model: PreTrainedModel,
    args: PretrainingConfig,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    has_pairs: bool,
    has_translation_pairs: bool,
) -> PreTrainedTokenizerBase:
    """Checks that model, tokenizer and data fit, before any work.

    Returns:
        The tokenizer.

    Raises:
        InputError: They do not.
    """
    if tokenizer is None:
        raise InputError("give the tokenizer as processing_class=")
    config = model.config
    encoder_of(model).check_tokenizer(tokenizer, args.max_length)
    if not has_pairs and config.social_weight > 0:
        raise InputError(
            f"the model's social_weight is {config.social_weight} and there are no pairs; give "
            "pairs= (to SocialPretrainingTrainer), or set social_weight to 0 (and mlm_weight to 1) "
            "to train without them",
            faq="objectives-without-data",
        )
    if has_translation_pairs != (config.tpp_weight > 0):
        raise InputError(
            f"the model's tpp_weight is {config.tpp_weight} and there are "
            + (
                "translation pairs; set tpp_weight, as to 1"
                if has_translation_pairs
                else "no translation pairs; give some, or set tpp_weight to 0"
            ),
            faq="objectives-without-data",
        )
    if config.mlm_weight > 0 and mlm_probability(model, args) == 0:
        raise InputError("mlm_probability is 0 and the model's mlm_weight is not: set one of them")
    contrastive = has_translation_pairs and config.tpp_loss == "contrastive"
    if (has_pairs and config.social_weight > 0) or contrastive:
        if args.train_batch_size * args.world_size < 2:
            raise InputError(
                "a batch of one pair has no negatives; per_device_train_batch_size must be 2 or "
                "more",
                faq="batch-size",
            )
        if args.gradient_accumulation_steps > 1 and args.contrastive_batch_size is None:
            logger.warning(
                "gradient_accumulation_steps is %d: negatives come from one small batch at a time, "
                "which is not the same as one large batch; contrastive_batch_size makes one, in as "
                "little memory",
                args.gradient_accumulation_steps,
            )
    if config.pad_token_id != tokenizer.pad_token_id:
        logger.warning(
            "the model's pad_token_id is %s and the tokenizer's %s: the embedding of token %s gets "
            "no gradient",
            config.pad_token_id,
            tokenizer.pad_token_id,
            config.pad_token_id,
        )
    return tokenizer


def encoder_of(model: nn.Module) -> Any:
    """The `Twhin…Model` of a `Twhin…ForPreTraining`, which may be within an adapter."""
    return cast(Any, unwrap_peft_model(model)).base_model


def objectives_of(model: PreTrainedModel) -> str:
    """The objectives whose weight is not 0, such as `MLM + social`."""
    taken = [name for name in OBJECTIVES if getattr(model.config, f"{name}_weight") > 0]
    return " + ".join(OBJECTIVE_NAMES.get(name, name) for name in taken)


def _counted(data: dict[str, int]) -> str:
    return " and ".join(f"{count:,} {name}" for name, count in data.items())


def mlm_probability(model: PreTrainedModel, args: PretrainingConfig) -> float:
    """Share of the tokens to predict: the configuration's, or by default what the model needs."""
    if args.mlm_probability is None:
        return 0.15 if model.config.mlm_weight > 0 else 0.0
    return args.mlm_probability


def tokenize(
    texts: Dataset, tokenizer: PreTrainedTokenizerBase, args: PretrainingConfig
) -> Dataset:
    """Tokenizes posts in the main process first; see `tokenize_posts`."""
    with args.main_process_first(desc="tokenizing texts"):
        return tokenize_posts(
            texts, tokenizer, max_length=args.max_length, num_proc=args.dataset_num_proc
        )


def _attention_backend(model: PreTrainedModel, args: PretrainingConfig) -> str:
    if model.config._attn_implementation == "eager":
        return "eager"
    dtype = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else model.dtype
    dropout, windows = attention_dropout(model.config), has_windows(model.config)
    return packed_attention_backend(args.device, dtype, dropout, windows)
