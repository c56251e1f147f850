"""A process of `test_sharded_training.py`: trains, and says what it found.

Accelerate knows FSDP and DeepSpeed on accelerators alone: here it takes gloo for one.
"""

import importlib
import json
import os
import sys

import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from datasets import Dataset, disable_progress_bars
from transformers import AutoTokenizer

from twhin_hf.modeling import TwhinBertForPreTraining
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer


def main() -> None:
    torch.set_num_threads(1)
    if "LOCAL_RANK" in os.environ:
        PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
        if "ACCELERATE_USE_DEEPSPEED" in os.environ:
            start_by_deepspeed()
        else:
            dist.init_process_group("gloo")

    disable_progress_bars()
    folder, output, resumed = sys.argv[1:]
    model = TwhinBertForPreTraining.from_pretrained(folder + "/model")
    cache = f"{folder}/cache{os.getpid()}"
    posts = Dataset.from_parquet(folder + "/posts.parquet", cache_dir=cache)
    pairs = pq.read_table(folder + "/pairs.parquet")
    args = SocialPretrainingConfig(
        output_dir=f"{folder}/{output}", per_device_train_batch_size=2, contrastive_batch_size=16,
        gradient_accumulation_steps=2, max_steps=4, save_steps=2, logging_steps=1, max_length=64,
        # Else Adam would make steps of the last digits of gradients that are nearly 0.
        adam_epsilon=1e-2, learning_rate=1e-2, max_grad_norm=1.0, mlm_probability=0.3, use_cpu=True,
        bf16=False, report_to=[], disable_tqdm=True,
    )  # fmt: skip
    trainer = SocialPretrainingTrainer(
        model,
        args,
        posts,
        pairs,
        eval_dataset=posts,
        eval_pairs=pairs.slice(0, 21),
        processing_class=AutoTokenizer.from_pretrained(folder + "/model"),
    )
    before = trainer.evaluate()
    trainer.train(resume_from_checkpoint=resumed or None)
    kind = type(trainer.model).__name__
    after = trainer.evaluate()
    trainer.save_model()
    if args.process_index == 0:
        found = {"before": before, "after": after, "kind": kind, "log": trainer.state.log_history}
        with open(f"{folder}/{output}.json", "w") as file:
            json.dump(found, file)
    if dist.is_initialized():
        dist.destroy_process_group()


def start_by_deepspeed() -> None:
    """Lets it begin the processes on a CPU, without compiling an operator of its own first."""

    # Not by `import … as`: a name of that module is torch itself.
    importlib.import_module("deepspeed.comm.torch").build_shm_op = lambda: None
    begin = PartialState.__init__
    PartialState.__init__ = lambda self, cpu=False, **options: begin(self, False, **options)


if __name__ == "__main__":
    main()
