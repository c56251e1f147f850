"""Work shared out to the processes of `accelerate launch` and torchrun, on one machine or several.

The first process does what the program says; the others wait for tasks of it, so that a program is
written once, and a file has one writer.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from twhin_hf.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAITING = datetime.timedelta(days=365)
"""The others wait as long as the first one works on its own."""


class Workers(Protocol):
    """What does tasks at the same time."""

    num_workers: int

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """What a function gives for each item, in their order.

        Args:
            function: Of a module.
            items: What is sent to the workers, and is small; files that they name are where every
                worker sees them.

        Raises:
            InputError: One that the function raised; OSErrors likewise.
        """


def map_items(
    workers: Workers | None, function: Callable[[Item], Result], items: Sequence[Item]
) -> list[Result]:
    """What a function gives for each item, by workers where there are any."""
    return [function(item) for item in items] if workers is None else workers.map(function, items)


def attempt(function: Callable[[Item], Result], item: Item) -> Result | InputError | OSError:
    """What a function gives, or the error of a person or the system, to be raised elsewhere."""
    try:
        return function(item)
    except (InputError, OSError) as error:
        return error


def raise_first(found: list[Any]) -> list[Any]:
    """What `attempt` gave for several items, unless there is an error."""
    for one in found:
        if isinstance(one, (InputError, OSError)):
            raise one
    return found


def local_rank() -> int:
    """The number of this process among those of its machine, which tells its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0))


@contextmanager
def launched_workers() -> Iterator[tuple[bool, Workers | None]]:
    """The processes that a launcher started.

    Yields:
        Whether this process is the first, which does what the block says; the others have done
        their tasks by then, and leave the block out. And the workers; None where there is one
        process alone.

    Example:
        >>> with launched_workers() as (is_first, workers):
        ...     is_first, workers
        (True, None)
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield True, None
        return
    processes = _Launched()
    if not processes.is_first:
        processes.serve()
        yield False, None
        return
    try:
        yield True, processes
    finally:
        processes.dismiss()


class _Launched:
    """All processes of a launcher; the first one has the tasks."""

    def __init__(self) -> None:
        import torch.distributed

        # Objects go from CPU to CPU, whatever computes.
        torch.distributed.init_process_group("gloo", timeout=_WAITING)
        self._distributed = torch.distributed
        self._rank = torch.distributed.get_rank()
        self.num_workers = torch.distributed.get_world_size()
        self.is_first = self._rank == 0

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        return self._work(self._tell((function, list(items))))

    def serve(self) -> None:
        while (tasks := self._tell(None)) is not None:
            self._work(tasks)
        self._distributed.destroy_process_group()

    def dismiss(self) -> None:
        self._tell(None)
        self._distributed.destroy_process_group()

    def _tell(self, tasks: Any) -> Any:
        """What the first process says."""
        said = [tasks]
        self._distributed.broadcast_object_list(said)
        return said[0]

    def _work(self, tasks: tuple[Callable[[Any], Any], list[Any]]) -> list[Any]:
        """Does a share of the tasks; what all gave, to the first process."""
        function, items = tasks
        own = [attempt(function, item) for item in items[self._rank :: self.num_workers]]
        shares = [own] * self.num_workers
        self._distributed.gather_object(own, shares if self.is_first else None)
        if not self.is_first:
            return []
        found = [shares[i % self.num_workers][i // self.num_workers] for i in range(len(items))]
        return raise_first(found)
