"""The processes that `torchrun` starts, and what they say to each other."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from twhin_hf.errors import InputError

_PATIENCE = datetime.timedelta(days=30)
"""Others wait while one reads the log; where a process dies, its connections say so at once."""


class Processes:
    """One process among several that do the same at the same time; gloo, on the CPU.

    Args:
        rank: Of this process; 0 leads.
        size: Number of processes.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._has_said = False

    def from_first(self, value: Any) -> Any:
        """What process 0 gives, in all processes."""
        self._has_said = True
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def release(self) -> None:
        """Lets go those that wait for `from_first` in vain: they get None."""
        if self.rank == 0 and not self._has_said:
            self.from_first(None)

    def wait(self) -> None:
        """Until all are here."""
        dist.barrier()

    def sum(self, values: Tensor) -> Tensor:
        """Of a tensor of all processes, in place."""
        dist.all_reduce(values)
        return values

    def most(self, *values: float) -> list[float]:
        """The largest of each number among the processes."""
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tensor.tolist()

    def counts(self, value: int) -> list[int]:
        """A number of every process, by rank."""
        found = torch.zeros(self.size, dtype=torch.int64)
        found[self.rank] = value
        return self.sum(found).tolist()


@contextmanager
def processes_of_torchrun() -> Iterator[Processes]:
    """Joins the processes that `torchrun` has started.

    Process 0 may leave the block by an error before the others have heard of it: they are let go.

    Raises:
        InputError: `torchrun` has not started this process.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        raise InputError(
            "The engine torchrec shards tables over processes that torchrun starts: torchrun "
            "--nproc-per-node 2 -m twhin_hf network embed --engine torchrec …"
        )
    dist.init_process_group("gloo", timeout=_PATIENCE)
    processes = Processes(dist.get_rank(), dist.get_world_size())
    try:
        yield processes
    finally:
        processes.release()
        dist.destroy_process_group()
