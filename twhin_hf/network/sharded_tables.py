"""Tables of users and posts, their rows sharded over processes by TorchRec.

Each process holds a range of the rows of both tables and the state of their optimizer. A look-up
sends row numbers to the processes that hold them and gets vectors; gradients go the same way back,
and row-wise Adagrad is fused into that.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from twhin_hf.errors import InputError
from twhin_hf.network.processes import Processes
from twhin_hf.network.tables import INIT_SCALE, Tables

_SIDES = ("users", "posts")
_ENOUGH = 2**60  # bytes; the planner has nothing to choose
INSTALL = "pip install 'twhin_hf[torchrec]' && pip install --no-deps 'torchrec==1.8.*'"


class Shard(NamedTuple):
    """The rows of a table that this process holds.

    Args:
        vectors: float32 `[rows, dimension]`, the table's own memory.
        state: float32 `[rows]`, the same.
        first: Its first row.
        block: Rows of every process but the last.
    """

    vectors: Tensor
    state: Tensor
    first: int
    block: int

    @property
    def end(self) -> int:
        """The row after its last one."""
        return self.first + len(self.vectors)


class ShardedTables:
    """Sharded users and posts, and relations, which every process holds.

    Args:
        rows: Numbers of users and posts.
        num_relations: Number of relations.
        dimension: Of the vectors.
        processes: Among which the rows are sharded.
        seed: Of the small random vectors to begin with.

    Raises:
        InputError: There are too few rows for so many processes.
    """

    def __init__(
        self,
        rows: tuple[int, int],
        num_relations: int,
        dimension: int,
        processes: Processes,
        seed: int,
    ) -> None:
        for side, count in zip(_SIDES, rows, strict=True):
            if (processes.size - 1) * -(-count // processes.size) >= count:
                raise InputError(
                    f"{count} {side} cannot be sharded over {processes.size} processes. Start "
                    "fewer (`torchrun --nproc-per-node`)."
                )
        self.processes = processes
        self._model = _sharded_model(dict(zip(_SIDES, rows, strict=True)), dimension)
        self.optimizer = self._model.fused_optimizer
        self.shards = {side: self._shard(side) for side in _SIDES}
        self.relations = Tables.zeros("relations", num_relations, dimension)
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Small random vectors, and the optimizer as it begins."""
        for number, shard in enumerate(self.shards.values()):
            key = [self._seed, number, self.processes.rank]
            state = int(np.random.SeedSequence(key).generate_state(1)[0])
            generator = torch.Generator().manual_seed(state)
            shard.vectors.normal_(std=INIT_SCALE, generator=generator)
            shard.state.zero_()
        for tensor in self.relations.named().values():
            tensor.zero_()

    def named(self) -> dict[str, Tensor]:
        """Every tensor of this process's shards by the name that it has in a checkpoint."""
        return {
            name: tensor
            for side, shard in self.shards.items()
            for name, tensor in ((side, shard.vectors), (f"{side}.state", shard.state))
        }

    def look_up(self, users: Tensor, posts: Tensor, learning_rate: float) -> tuple[Tensor, Tensor]:
        """Vectors of rows, wherever they are; all processes take part.

        Args:
            users: int64 `[num_users]`.
            posts: int64 `[num_posts]`.
            learning_rate: Of the update that follows.

        Returns:
            float32 `[num_users, dimension]` and `[num_posts, dimension]`, for `update`.
        """
        from torchrec import KeyedJaggedTensor

        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()  # gives on the rate, which a look-up keeps for its way back
        # Both have one row a place, and as many places.
        size = max(len(users), len(posts))
        lengths = torch.zeros(2, size, dtype=torch.int32)
        for length, rows in zip(lengths, (users, posts), strict=True):
            length[: len(rows)] = 1
        found = self._model(
            KeyedJaggedTensor(
                keys=list(_SIDES), values=torch.cat([users, posts]), lengths=lengths.flatten()
            )
        )
        return found["users"].values(), found["posts"].values()

    def update(
        self,
        vectors: tuple[Tensor, Tensor],
        gradients: tuple[Tensor, Tensor],
        relation: int,
        for_relation: Tensor,
        learning_rate: float,
    ) -> None:
        """A step of row-wise Adagrad; all processes take part, and their gradients add up.

        Args:
            vectors: Of `look_up`.
            gradients: For them.
            relation: The relation of this process's edges.
            for_relation: The gradient for its vector, `[1, dimension]`.
            learning_rate: Of the relation's vector.
        """
        torch.autograd.backward(vectors, gradients)
        whole = torch.zeros_like(self.relations.vectors["relations"])
        whole[relation] = for_relation
        self.processes.sum(whole)
        self.relations.update("relations", torch.arange(len(whole)), whole, learning_rate)

    def _shard(self, side: str) -> Shard:
        name = f"embeddings.{side}.weight"
        (vectors,) = self._model.state_dict()[name].local_shards()
        (state,) = self.optimizer.state_dict()["state"][name][f"{side}.momentum1"].local_shards()
        first = vectors.metadata.shard_offsets[0]
        block = int(self.processes.most(len(vectors.tensor))[0])
        return Shard(vectors.tensor, state.tensor.view(-1), first, block)


def _sharded_model(rows: dict[str, int], dimension: int) -> Any:
    """A collection of embedding tables, row-wise sharded; only this process's rows are made."""
    import torch.distributed as dist
    from torch.distributed.optim import _apply_optimizer_in_backward

    with _quiet():
        from torchrec import EmbeddingCollection, EmbeddingConfig
        from torchrec.distributed import comm_ops
        from torchrec.distributed.embedding import EmbeddingCollectionSharder
        from torchrec.distributed.embedding_types import EmbeddingComputeKernel
        from torchrec.distributed.model_parallel import DistributedModelParallel
        from torchrec.distributed.planner import EmbeddingShardingPlanner, Topology
        from torchrec.distributed.planner.storage_reservations import (
            FixedPercentageStorageReservation,
        )
        from torchrec.distributed.planner.types import ParameterConstraints
        from torchrec.distributed.types import ShardingType
        from torchrec.optim import RowWiseAdagrad

        comm_ops.set_gradient_division(False)  # gradients of the processes add up
        tables = EmbeddingCollection(
            device=torch.device("meta"),
            tables=[
                EmbeddingConfig(
                    name=side, embedding_dim=dimension, num_embeddings=count, feature_names=[side]
                )
                for side, count in rows.items()
            ],
        )
        # The learning rate is set before each look-up.
        _apply_optimizer_in_backward(RowWiseAdagrad, tables.parameters(), {"lr": 0.0})
        constraint = ParameterConstraints(
            sharding_types=[ShardingType.ROW_WISE.value],
            compute_kernels=[EmbeddingComputeKernel.FUSED.value],
        )
        planner = EmbeddingShardingPlanner(
            topology=Topology(
                world_size=dist.get_world_size(), compute_device="cpu", ddr_cap=_ENOUGH
            ),
            constraints=dict.fromkeys(rows, constraint),
            storage_reservation=FixedPercentageStorageReservation(0.0),
        )
        sharders: list[Any] = [EmbeddingCollectionSharder()]
        plan = planner.collective_plan(tables, sharders, dist.group.WORLD)
        return DistributedModelParallel(
            tables, device=torch.device("cpu"), plan=plan, sharders=sharders
        )


def check_installed() -> None:
    """Raises an InputError that says how to install TorchRec where it is missing or cannot load."""
    if missing := [
        name for name in ("torchrec", "fbgemm_gpu") if importlib.util.find_spec(name) is None
    ]:
        raise InputError(
            f"The engine torchrec needs the package {' and '.join(missing)}, which is not "
            f"installed: {INSTALL}"
        )
    try:
        with _quiet():
            import fbgemm_gpu  # noqa: F401
            import torchrec  # noqa: F401
    except Exception as error:  # what libraries of another torch raise is anything
        text = " ".join(str(error).split())[:200]
        raise InputError(
            f"TorchRec does not load ({type(error).__name__}: {text}). Its version and that of "
            f"fbgemm-gpu-cpu must be made for torch {torch.__version__}; 1.8 is for torch 2.13: "
            f"{INSTALL}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """The libraries log their settings at length, and warn of choices that are not made here."""
    for library in ("torchrec", "torch.fx._symbolic_trace"):
        logging.getLogger(library).setLevel(logging.ERROR)
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
