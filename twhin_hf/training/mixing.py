"""Several kinds of batches in one run, mixed by stated proportions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from twhin_hf.training.batches import LanguageSampler, PostBatch


class BatchSource(NamedTuple):
    """Batches of one kind, and the order in which they are drawn.

    Args:
        name: Of its elements; for messages.
        batches: Fetches a batch by keys (`Posts`, `Pairs`, `TranslationPairs`).
        sampler: Of its keys.
        proportion: Its share of the run's batches.
    """

    name: str
    batches: Any
    sampler: LanguageSampler
    proportion: float = 1.0


class MixedBatches(TorchDataset):
    """Batches of several sources; a key is `key of the source · num_sources + source`.

    Args:
        sources: Fetch a batch by keys (`Posts`, `Pairs`, `TranslationPairs`).
    """

    def __init__(self, sources: Sequence[Any]):
        self.sources = sources

    def __len__(self) -> int:
        return sum(len(source) for source in self.sources)

    def __getitem__(self, key: int) -> PostBatch:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[int]) -> PostBatch:
        own_keys, sources = np.divmod(np.asarray(keys, np.int64), len(self.sources))
        if (sources != sources[0]).any():
            raise ValueError("a batch mixes sources; batches must be as large as the sampler's")
        return self.sources[sources[0]].__getitems__(own_keys)

    @property
    def total_dataset_length(self) -> int:
        """Rows of the last source: Accelerate takes off what fills the last held-out batch."""
        return len(self.sources[-1])

    def in_order(self, batch_size: int) -> list[int]:
        """Keys of all rows, a source after the other, each in `whole_batches`."""
        keys = [
            whole_batches(len(source), batch_size) * len(self.sources) + number
            for number, source in enumerate(self.sources)
        ]
        return np.concatenate(keys).tolist()


class MixedSampler(Sampler[int]):
    """Draws keys of `MixedBatches`, a whole batch of one source after the other.

    A batch is that of all processes together, so that at every step all of them have batches of
    one kind. Batches of a source are spread evenly over the run. An epoch goes once through the
    first source; the others begin anew as often as they end, and go on in the next epoch where
    they stopped.

    Args:
        sources: With proportions that sum to 1.
        batch_size: Keys of a batch, over all processes.
    """

    def __init__(self, sources: Sequence[BatchSource], batch_size: int):
        self.samplers = [source.sampler for source in sources]
        self.batch_size, self.epoch = batch_size, 0
        self.schedule = batch_schedule(
            [source.proportion for source in sources], len(self.samplers[0]) // batch_size
        )

    def set_epoch(self, epoch: int) -> None:
        """Called by Accelerate's data loader before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.schedule) * self.batch_size

    def __iter__(self) -> Iterator[int]:
        counts = np.bincount(self.schedule, minlength=len(self.samplers))
        streams = [
            self._batches(source, self.epoch * int(count)) for source, count in enumerate(counts)
        ]
        for source in self.schedule:
            yield from next(streams[source])

    def _batches(self, source: int, first: int) -> Iterator[list[int]]:
        """A source's batches from the run's `first` one on."""
        sampler, size = self.samplers[source], self.batch_size
        num_batches = len(sampler) // size
        epoch, begin = divmod(first, num_batches)
        while True:
            sampler.set_epoch(epoch)
            keys = islice(sampler, begin * size, num_batches * size)
            while batch := list(islice(keys, size)):
                yield [key * len(self.samplers) + source for key in batch]
            epoch, begin = epoch + 1, 0


def whole_batches(num_rows: int, batch_size: int) -> np.ndarray:
    """All rows in order; the last batch is filled with the first rows, over again if need be.

    Example:
        >>> whole_batches(5, 3).tolist()
        [0, 1, 2, 3, 4, 0]
    """
    return np.resize(np.arange(num_rows), -(-num_rows // batch_size) * batch_size)


def batch_schedule(proportions: Sequence[float], first_count: int) -> np.ndarray:
    """Which source each batch of an epoch comes from, as even as can be.

    Args:
        proportions: The sources' shares of the batches, which sum to 1.
        first_count: Batches of the first source.

    Returns:
        int64 `[num_batches]`.

    Raises:
        ValueError: Proportions that are not above 0, or do not sum to 1.

    Example:
        >>> batch_schedule([0.75, 0.25], 6).tolist()
        [0, 0, 1, 0, 0, 0, 1, 0]
    """
    shares = np.asarray(proportions, np.float64)
    if (shares <= 0).any() or not np.isclose(shares.sum(), 1):
        raise ValueError(
            f"the proportions of the batches are {list(proportions)}; they must be above 0 and "
            "sum to 1"
        )
    counts = np.rint(first_count * shares / shares[0]).astype(np.int64).clip(min=1)
    times = np.concatenate(
        [(np.arange(n) + 0.5) / share for n, share in zip(counts, shares, strict=True)]
    )
    sources = np.repeat(np.arange(len(shares)), counts)
    return sources[np.argsort(times, kind="stable")]
