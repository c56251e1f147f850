"""TPP over two processes (gloo) is TPP over one with the joint batch."""

import os
import socket
import subprocess
import sys

import pytest
import torch

from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings

LOSSES = ("contrastive", "cosine")

WORKER = """
import os, sys, torch
import torch.distributed as dist
torch.set_num_threads(1)
from twhin_hf.modeling import TwhinBertForPreTraining
folder, rank = sys.argv[1], int(os.environ["RANK"])
dist.init_process_group("gloo")
batch = torch.load(f"{folder}/batch{rank}.pt", weights_only=True)
found = {}
for name in sys.argv[2:]:
    model = TwhinBertForPreTraining.from_pretrained(f"{folder}/{name}").eval()
    output = model(**batch)
    output.loss.backward()
    numbers = {"loss": output.tpp_loss.detach(), "accuracy": output.tpp_accuracy}
    numbers |= {n: value.grad for n, value in model.named_parameters() if value.grad is not None}
    for value in numbers.values():
        dist.all_reduce(value)
        value /= 2
    found[name] = numbers
if rank == 0:
    torch.save(found, f"{folder}/found.pt")
dist.destroy_process_group()
"""


@pytest.fixture
def pairs():
    """Eight pairs of three words; pairs 1 and 6, in different processes, are of one item."""
    torch.manual_seed(0)
    ids = torch.randint(5, 90, (16, 5))
    ids[:, 0], ids[:, -1] = 0, 2
    items = torch.arange(8)
    items[6] = 1
    return {"input_ids": ids, "pair_labels": torch.ones(8), "item_ids": items.repeat(2)}


def own_pairs(pairs, rank):
    own = torch.arange(4 * rank, 4 * rank + 4)
    posts = torch.cat([own, own + 8])
    return {
        "input_ids": pairs["input_ids"][posts],
        "pair_labels": pairs["pair_labels"][own],
        "item_ids": pairs["item_ids"][posts],
    }


def test_two_processes_are_one(tiny_config, pairs, tmp_path):
    expected = {}
    for name in LOSSES:
        weights = {"social_weight": 0.0, "mlm_weight": 0.0, "tpp_weight": 1.0}
        tiny_config.initializer_range = 0.2
        settings = weights | {"tpp_loss": name, "tpp_margin": 0.1}
        torch.manual_seed(0)
        model = TwhinBertForPreTraining(apply_settings(tiny_config, **settings)).eval()
        model.save_pretrained(tmp_path / name)
        output = model(**pairs)
        output.loss.backward()
        numbers = {"loss": output.tpp_loss.detach(), "accuracy": output.tpp_accuracy}
        numbers |= {n: v.grad for n, v in model.named_parameters() if v.grad is not None}
        expected[name] = numbers
        # The item that both processes hold makes a difference.
        alone = model(**pairs | {"item_ids": torch.arange(8).repeat(2)}).tpp_loss
        assert (alone.item() == output.tpp_loss.item()) == (name == "cosine")
    for rank in range(2):
        torch.save(own_pairs(pairs, rank), tmp_path / f"batch{rank}.pt")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path), *LOSSES],
            env=os.environ | address | {"RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for worker in workers:
        errors = worker.communicate(timeout=240)[1]
        assert worker.returncode == 0, errors[-3000:]
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for name in LOSSES:
        assert found[name].keys() == expected[name].keys()
        for key, value in expected[name].items():
            torch.testing.assert_close(found[name][key], value, atol=1e-5, rtol=1e-4)
