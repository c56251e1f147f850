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
from twhin_hf.training.translation_pair import TPPConfig, TPPTrainer

disable_progress_bars()
folder, batch_size, data = sys.argv[1], int(sys.argv[2]), sys.argv[3]
model = TwhinBertForPreTraining.from_pretrained(folder + "/model")
options = dict(
    output_dir=folder + "/run", per_device_train_batch_size=batch_size, max_steps=1, use_cpu=True,
    bf16=False, logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True, max_length=64,
    contrastive_batch_size=16 if data in ("pairs", "mixed") else None,
    max_grad_norm=0.0, learning_rate=1.0, optim="sgd", weight_decay=0.0, adam_beta2=0.98,
    lr_scheduler_type="constant", mlm_probability=0.3,
)
if data == "mixed":
    # A step of pairs of posts and a step of translation pairs; some heads get no gradient in each.
    options |= dict(max_steps=2, learning_rate=0.1, gradient_checkpointing=True)
if data == "translations":
    options |= dict(learning_rate=0.1)
posts = Dataset.from_parquet(folder + "/posts.parquet", cache_dir=f"{folder}/cache{os.getpid()}")
pairs = pa.parquet.read_table(folder + "/pairs.parquet") if data in ("pairs", "mixed") else None
tokenizer = AutoTokenizer.from_pretrained(folder + "/model")
translations = Dataset.from_parquet(
    folder + "/translations.parquet", cache_dir=f"{folder}/cache{os.getpid()}"
)
if data != "translations":
    args = SocialPretrainingConfig(**options)
    # 21 pairs, or 37 posts, are no whole number of batches, and an odd number of them.
    held_out = {} if data == "mixed" else {"eval_dataset": posts.select(range(37))}
    if data == "pairs":
        held_out = {"eval_dataset": posts, "eval_pairs": pairs.slice(0, 21)}
    trainer = SocialPretrainingTrainer(
        model,
        args,
        posts,
        pairs,
        **held_out,
        translation_pairs=translations if data == "mixed" else None,
        processing_class=tokenizer,
    )
else:
    args = TPPConfig(**options)
    # 30 pairs and their negatives fill no whole number of batches.
    held_out = translations.select(range(45, 75))
    trainer = TPPTrainer(model, args, translations, held_out, processing_class=tokenizer)
before = {name: value.clone() for name, value in model.named_parameters()}
if data == "pairs":
    trainer.evaluate()  # it must not stand in the way of what comes
trainer.train()
if data == "translations":
    trainer.evaluate()
if args.process_index == 0:
    # One step of SGD at a rate of 1: what is subtracted is the gradient (else a part of it).
    gradients = {name: before[name] - value for name, value in model.named_parameters()}
    gradients = {name: value.detach().clone() for name, value in gradients.items()}
    torch.save(gradients, folder + f"/{args.world_size}.pt")
    with open(folder + f"/{args.world_size}.json", "w") as file:
        json.dump(trainer.state.log_history, file)
if data != "mixed":
    # At equal weights figures are equal.
    model.load_state_dict(before, strict=False)
    figures = trainer.evaluate()
    if args.process_index == 0:
        with open(folder + f"/{args.world_size}_figures.json", "w") as file:
            json.dump(figures, file)
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
        errors = worker.communicate(timeout=600)[1]
        assert worker.returncode == 0, errors[-3000:]
    logs = json.loads((folder / f"{processes}.json").read_text())
    return logs, torch.load(folder / f"{processes}.pt", weights_only=True)


WEIGHTS = {
    "pairs": {},
    "posts": {"social_weight": 0.0, "mlm_weight": 1.0},
    "translations": {"social_weight": 0.0, "mlm_weight": 0.1, "tpp_weight": 1.0},
    "mixed": {"tpp_weight": 1.0, "tpp_loss": "contrastive"},
}
# Losses and gradients alone: at random weights scores lie so near each other that the order of
# summation decides which is the highest. `test_contrastive_processes.py` holds accuracies.
LOGGED = {
    "pairs": [["loss", "mlm_loss", "social_loss"]],
    "posts": [["loss", "mlm_loss"]],
    "translations": [["loss", "mlm_loss", "tpp_loss"]],
    "mixed": [["loss", "mlm_loss", "social_loss"], ["loss", "mlm_loss", "tpp_loss"]],
}
JUDGED = ["eval_tpp_auc", "eval_retrieval_a_to_b", "eval_retrieval_b_to_a"]


@pytest.mark.parametrize("data", sorted(WEIGHTS))
def test_two_processes_are_one(
    data, tiny_config, tokenizer, posts, pairs, translation_pairs, tmp_path
):
    import pyarrow.parquet as pq

    from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings

    if data == "translations":
        # Texts that differ clearly: with the usual weights one is as near as another.
        tiny_config.initializer_range = 0.1
    torch.manual_seed(0)
    model = TwhinBertForPreTraining(apply_settings(tiny_config, **WEIGHTS[data]))
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    posts.to_parquet(tmp_path / "posts.parquet")
    pq.write_table(pairs, tmp_path / "pairs.parquet")
    translation_pairs.to_parquet(tmp_path / "translations.parquet")

    logs, gradients = run(tmp_path, 1, 16, data)
    # In the contrastive batch of 16 pairs all of them go at once, and two of each process.
    size = 2 if data in ("pairs", "mixed") else 8
    logs_of_two, gradients_of_two = run(tmp_path, 2, size, data)
    for step, names in enumerate(LOGGED[data]):
        for name in names:
            assert logs_of_two[step][name] == pytest.approx(logs[step][name], abs=2e-5), name
    if data != "mixed":
        alone, two = (
            json.loads((tmp_path / f"{number}_figures.json").read_text()) for number in (1, 2)
        )
        compared = [name for name in alone if name.endswith(("_loss", "_tokens", "_auc"))]
        assert "eval_loss" in compared
        for name in compared:
            assert two[name] == pytest.approx(alone[name], abs=1e-5), name
    if data == "translations":
        # 30 pairs: two near scores that change places move a figure by less than two of them.
        for name in JUDGED:
            assert logs_of_two[2][name] == pytest.approx(logs[2][name], abs=2 / 30), name
    assert max(gradient.abs().max() for gradient in gradients.values()) > 1e-3
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_of_two[name], gradient, atol=1e-5, rtol=1e-3)
