"""Two processes on CPU (gloo) are one process with the joint batch."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

WORKER = """
import json, os, sys
import torch
torch.set_num_threads(1)
import pyarrow as pa
from datasets import Dataset, disable_progress_bars
from transformers import AutoTokenizer
from twhin_hf.modeling import TwhinBertForPreTraining
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer

disable_progress_bars()
folder, batch_size = sys.argv[1], int(sys.argv[2])
model = TwhinBertForPreTraining.from_pretrained(folder + "/model")
args = SocialPretrainingConfig(
    output_dir=folder + "/run", per_device_train_batch_size=batch_size, max_steps=1, use_cpu=True,
    logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True, max_length=64,
    max_grad_norm=0.0, learning_rate=1.0, optim="sgd", weight_decay=0.0, adam_beta2=0.98,
    lr_scheduler_type="constant", mlm_probability=0.3,
)
posts = Dataset.from_parquet(folder + "/posts.parquet", cache_dir=f"{folder}/cache{os.getpid()}")
pairs = pa.parquet.read_table(folder + "/pairs.parquet") if sys.argv[3] == "pairs" else None
trainer = SocialPretrainingTrainer(
    model, args, posts, pairs, processing_class=AutoTokenizer.from_pretrained(folder + "/model")
)
before = {name: value.clone() for name, value in model.named_parameters()}
trainer.train()
if args.process_index == 0:
    # One step of SGD at a rate of 1: what is subtracted is the gradient.
    gradients = {name: before[name] - value for name, value in model.named_parameters()}
    gradients = {name: value.detach().clone() for name, value in gradients.items()}
    torch.save(gradients, folder + f"/{args.world_size}.pt")
    with open(folder + f"/{args.world_size}.json", "w") as file:
        json.dump(trainer.state.log_history, file)
"""


def run(folder, processes, batch_size, data):
    script = folder / "worker.py"
    script.write_text(
        WORKER.replace("import pyarrow as pa", "import pyarrow as pa, pyarrow.parquet")
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workers = []
    for rank in range(processes):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        if processes > 1:
            environment |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(processes),
                "LOCAL_WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "ACCELERATE_USE_CPU": "true",
            }
        command = [sys.executable, str(script), str(folder), str(batch_size), data]
        workers.append(
            subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        )
    for worker in workers:
        errors = worker.communicate(timeout=240)[1]
        assert worker.returncode == 0, errors[-3000:]
    logs = json.loads((folder / f"{processes}.json").read_text())
    return logs[0], torch.load(folder / f"{processes}.pt", weights_only=True)


@pytest.mark.parametrize("data", ["pairs", "posts"])
def test_two_processes_are_one(data, tiny_config, tokenizer, posts, pairs, tmp_path):
    import pyarrow.parquet as pq

    from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings

    torch.manual_seed(0)
    weights = {} if data == "pairs" else {"social_weight": 0.0, "mlm_weight": 1.0}
    model = TwhinBertForPreTraining(apply_settings(tiny_config, **weights))
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    posts.to_parquet(tmp_path / "posts.parquet")
    pq.write_table(pairs, tmp_path / "pairs.parquet")

    log, gradients = run(tmp_path, 1, 16, data)
    log_of_two, gradients_of_two = run(tmp_path, 2, 8, data)
    names = ["loss", "mlm_loss"] + ["social_loss", "social_accuracy"] * (data == "pairs")
    for name in names:
        assert log_of_two[name] == pytest.approx(log[name], abs=2e-5), name
    assert max(gradient.abs().max() for gradient in gradients.values()) > 1e-3
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_of_two[name], gradient, atol=1e-5, rtol=1e-3)
