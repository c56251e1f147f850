"""The contrastive losses over two processes (gloo) are those of one with the joint batch."""

import os
import socket
import subprocess
import sys

import pytest
import torch

from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings

LOSSES = ("contrastive", "cosine", "social")

WORKER = """
import os, sys, torch
import torch.distributed as dist
torch.set_num_threads(1)
from twhin_hf.modeling import TwhinBertForPreTraining
folder, rank = sys.argv[1], int(os.environ["RANK"])
dist.init_process_group("gloo")
found = {}
for name in sys.argv[2:]:
    kind = "social" if name == "social" else "tpp"
    batch = torch.load(f"{folder}/{kind}{rank}.pt", weights_only=True)
    model = TwhinBertForPreTraining.from_pretrained(f"{folder}/{name}").eval()
    output = model(**batch)
    output.loss.backward()
    numbers = {"loss": output.loss.detach(), "accuracy": output[f"{kind}_accuracy"]}
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


def of_kind(pairs, name):
    """The batch as a loss takes it: pairs of one item are pairs of one post for the social loss."""
    if name != "social":
        return pairs
    return {"input_ids": pairs["input_ids"], "post_ids": torch.arange(16)}


def own_pairs(pairs, rank):
    own = torch.arange(4 * rank, 4 * rank + 4)
    posts = torch.cat([own, own + 8])
    return {
        name: values[own] if len(values) == 8 else values[posts] for name, values in pairs.items()
    }


def gap(projections):
    """How far the two highest cosines of any text lie apart, at the least."""
    units = torch.nn.functional.normalize(projections.detach(), dim=-1)
    scores = units @ units.T
    highest = scores.fill_diagonal_(-1).topk(2).values
    return (highest[:, 0] - highest[:, 1]).min()


def test_two_processes_are_one(tiny_config, pairs, tmp_path):
    expected = {}
    for name in LOSSES:
        kind = "social" if name == "social" else "tpp"
        weights = {"social_weight": 0.0, "mlm_weight": 0.0, "tpp_weight": 0.0}
        weights[f"{kind}_weight"] = 1.0
        tiny_config.initializer_range = 0.2
        settings = weights | {"tpp_margin": 0.1, "tpp_loss": name}
        if name == "social":
            settings["tpp_loss"] = "bce"
        torch.manual_seed(0)
        model = TwhinBertForPreTraining(apply_settings(tiny_config, **settings)).eval()
        model.save_pretrained(tmp_path / name)
        batch = of_kind(pairs, name)
        output = model(**batch)
        # Else another order of summation might change which text is found.
        assert gap(output[f"{kind}_projections"]) > 2e-5
        output.loss.backward()
        numbers = {"loss": output.loss.detach(), "accuracy": output[f"{kind}_accuracy"]}
        numbers |= {n: v.grad for n, v in model.named_parameters() if v.grad is not None}
        expected[name] = numbers
        if kind == "tpp":
            # The item that both processes hold makes a difference.
            alone = model(**batch | {"item_ids": torch.arange(8).repeat(2)}).tpp_loss
            assert (alone.item() == output.tpp_loss.item()) == (name == "cosine")
    for rank in range(2):
        for kind in ("tpp", "social"):
            own = own_pairs(of_kind(pairs, kind), rank)
            torch.save(own, tmp_path / f"{kind}{rank}.pt")
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
