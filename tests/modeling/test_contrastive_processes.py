"""The contrastive losses over two processes (gloo) are those of one with the joint batch."""

import os
import socket
import subprocess
import sys

import pytest
import torch

from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings
from twhin_hf.modeling.settings import OBJECTIVES

LOSSES = ("contrastive", "cosine", "social", "engagement", "distillation")

WORKER = """
import os, sys, torch
import torch.distributed as dist
torch.set_num_threads(1)
from twhin_hf.modeling import TwhinBertForPreTraining
folder, rank = sys.argv[1], int(os.environ["RANK"])
dist.init_process_group("gloo")
found = {}
for name in sys.argv[2:]:
    kind = name if name in ("social", "engagement", "distillation") else "tpp"
    batch = torch.load(f"{folder}/{kind}{rank}.pt", weights_only=True)
    model = TwhinBertForPreTraining.from_pretrained(f"{folder}/{name}").eval()
    output = model(**batch)
    output.loss.backward()
    numbers = {"loss": output.loss.detach()}
    if kind in ("tpp", "social"):
        numbers["accuracy"] = output[f"{kind}_accuracy"]
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
    if name == "social":
        return {"input_ids": pairs["input_ids"], "post_ids": torch.arange(16)}
    random = torch.Generator().manual_seed(3)
    if name == "engagement":
        # Users whose posts are in both processes, and two copies of one post.
        engaged = torch.rand(6, 16, generator=random) < 0.3
        content_ids = torch.arange(16)
        content_ids[12] = 1
        users, posts = engaged.nonzero(as_tuple=True)
        return {
            "input_ids": pairs["input_ids"],
            "engagements": {
                "content_ids": content_ids,
                "user_vectors": torch.randn(6, 5, generator=random),
                "pair_users": users,
                "pair_posts": posts,
                "user_posts": content_ids[posts],
                "user_post_counts": engaged.sum(dim=1),
                "log_frequencies": torch.randn(16, generator=random),
            },
        }
    if name == "distillation":
        known = torch.tensor([0, 1, 2, 5, 6, 8, 9, 14])
        vectors = torch.randn(8, 5, generator=random)
        return {
            "input_ids": pairs["input_ids"],
            "distillation": {"posts": known, "vectors": vectors},
        }
    return pairs


def own_targets(batch, posts):
    """A process's part of what a network says of the batch."""
    own = batch | {"input_ids": batch["input_ids"][posts]}
    places = torch.full((16,), -1)
    places[posts] = torch.arange(len(posts))
    for name, counted in (("engagements", "pair_posts"), ("distillation", "posts")):
        if name not in batch:
            continue
        found = dict(batch[name])
        kept = places[found[counted]] >= 0
        # The mean over both processes.
        found["num_items"] = torch.tensor(len(kept) / 2)
        found[counted] = places[found[counted][kept]]
        for key in ("content_ids", "log_frequencies"):
            if key in found:
                found[key] = found[key][posts]
        for key in ("pair_users", "vectors"):
            if key in found:
                found[key] = found[key][kept]
        own[name] = found
    return own


def own_pairs(pairs, rank):
    if "engagements" in pairs or "distillation" in pairs:
        return own_targets(pairs, torch.arange(8 * rank, 8 * rank + 8))
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
        kind = "tpp" if name in ("contrastive", "cosine") else name
        weights = {f"{objective}_weight": 0.0 for objective in OBJECTIVES}
        weights[f"{kind}_weight"] = 1.0
        tiny_config.initializer_range = 0.2
        settings = weights | {"tpp_margin": 0.1, "network_dimension": 5}
        settings["tpp_loss"] = name if kind == "tpp" else "bce"
        torch.manual_seed(1)
        model = TwhinBertForPreTraining(apply_settings(tiny_config, **settings)).eval()
        model.save_pretrained(tmp_path / name)
        batch = of_kind(pairs, name)
        output = model(**batch)
        if kind in ("tpp", "social"):
            # Else another order of summation might change which text is found.
            assert gap(output[f"{kind}_projections"]) > 2e-5
        output.loss.backward()
        numbers = {"loss": output.loss.detach(), "accuracy": output[f"{kind}_accuracy"]}
        if kind in ("engagement", "distillation"):
            # Shares of each process's own engagements, or among its own posts.
            del numbers["accuracy"]
        numbers |= {n: v.grad for n, v in model.named_parameters() if v.grad is not None}
        expected[name] = numbers
        if kind == "tpp":
            # The item that both processes hold makes a difference.
            alone = model(**batch | {"item_ids": torch.arange(8).repeat(2)}).tpp_loss
            assert (alone.item() == output.tpp_loss.item()) == (name == "cosine")
    for rank in range(2):
        for kind in ("tpp", "social", "engagement", "distillation"):
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
        errors = worker.communicate(timeout=1_200)[1]
        assert worker.returncode == 0, errors[-3000:]
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for name in LOSSES:
        assert found[name].keys() == expected[name].keys()
        for key, value in expected[name].items():
            torch.testing.assert_close(found[name][key], value, atol=1e-5, rtol=1e-4)
