"""Several kinds of batches in one run, mixed by stated proportions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from twhin_hf.errors import InputError
from twhin_hf.training.batches import LanguageSampler, PostBatch
from twhin_hf.training.streaming import StreamSampler


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
    sampler: LanguageSampler | StreamSampler
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
        source, own_keys = self._source_of(np.asarray(keys, np.int64))
        return source.__getitems__(own_keys)

    def num_tokens(self, keys: np.ndarray) -> np.ndarray:
        """Tokens that the keys of a batch bring, `[len(keys)]`."""
        source, own_keys = self._source_of(keys)
        return source.num_tokens(own_keys)

    def _source_of(self, keys: np.ndarray) -> tuple[Any, np.ndarray]:
        own_keys, sources = np.divmod(keys, len(self.sources))
        if (sources != sources[0]).any():
            raise InputError("a batch mixes sources; batches must be as large as the sampler's")
        return self.sources[sources[0]], own_keys


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


def sources_of(dataset: Any) -> Sequence[Any]:
    """What `MixedBatches` mixes; of any other data set itself."""
    return dataset.sources if isinstance(dataset, MixedBatches) else [dataset]


def batches_in_order(dataset: Any, batch_size: int) -> list[list[int]]:
    """Keys of all rows once, a source after the other; the last batch of each may be shorter.

    Example:
        >>> batches_in_order(MixedBatches([range(3), range(1)]), 2)
        [[0, 2], [4], [1]]
    """
    sources = sources_of(dataset)
    return [
        (np.arange(start, min(start + batch_size, len(source))) * len(sources) + number).tolist()
        for number, source in enumerate(sources)
        for start in range(0, len(source), batch_size)
    ]


def batch_schedule(proportions: Sequence[float], first_count: int) -> np.ndarray:
    """Which source each batch of an epoch comes from, as even as can be.

    Args:
        proportions: The sources' shares of the batches, which sum to 1.
        first_count: Batches of the first source.

    Returns:
        int64 `[num_batches]`.

    Raises:
        InputError: Proportions that are not above 0, or do not sum to 1.

    Example:
        >>> batch_schedule([0.75, 0.25], 6).tolist()
        [0, 0, 1, 0, 0, 0, 1, 0]
    """
    shares = np.asarray(proportions, np.float64)
    if (shares <= 0).any() or not np.isclose(shares.sum(), 1):
        raise InputError(
            f"the proportions of the batches are {list(proportions)}; they must be above 0 and "
            "sum to 1"
        )
    counts = np.rint(first_count * shares / shares[0]).astype(np.int64).clip(min=1)
    times = np.concatenate(
        [(np.arange(n) + 0.5) / share for n, share in zip(counts, shares, strict=True)]
    )
    sources = np.repeat(np.arange(len(shares)), counts)
    return sources[np.argsort(times, kind="stable")]
