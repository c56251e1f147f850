"""Options of `embed_network`; importing nothing heavy, for the command line."""

from __future__ import annotations

import importlib.util
import math
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from twhin_hf.errors import InputError

# What a method's own options are by default. One that a method does not list has no effect there.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "softmax": {
        "epochs": None,  # by the number of edges
        "learning_rate": 0.1,
        "num_batch_negs": 255,
        "batch_size": None,
        "warm_start": True,
        "l2": 0.15,
    },
    "twhin": {
        "epochs": 10,
        "learning_rate": 0.05,
        "num_batch_negs": 50,
        "num_uniform_negs": 50,
        "negative_weight": None,
        "batch_size": None,
        "warm_start": False,
    },
    "als": {"epochs": 15, "l2": 0.01, "confidence": 20.0, "relation_weights": None},
}
# A large log has steps enough in fewer epochs.
_MANY_EDGES = 500_000
_OF_A_METHOD = dict.fromkeys(name for options in _DEFAULTS.values() for name in options)


@dataclass(frozen=True)
class NetworkEmbeddingConfig:
    """Embedding.

    Every method scores user u, relation r and post t by `(u + r) · t`. `softmax`, the default, is
    a softmax over posts from an SVD on; `twhin` is the method of the TwHIN-BERT paper (Section
    2.1.2), with its dimension, epochs and optimizer; `als` is the alternating least squares of the
    library `implicit` (`pip install 'twhin_hf[als]'`), whose relation vectors are 0.

    Args:
        method: Objective and optimizer: softmax, twhin (the paper's) or als.
        dimension: Embedding dimension (paper: 256).
        epochs: Passes over the edges (default: for softmax 4, or 2 from half a million edges on;
            10 for twhin as in the paper; 15 iterations for als).
        learning_rate: Learning rate of Adagrad; lower it if a small graph ranks no better than
            popularity (default: 0.1 with linear decay for softmax, 0.05 for twhin).
        num_batch_negs: Negatives from the edge's own batch, that is by prevalence; for twhin per
            side (default: 255 for softmax, 50 for twhin).
        num_uniform_negs: Negatives per side drawn uniformly, shared by all edges of a batch; for
            twhin alone (default: 50).
        negative_weight: Weight of each negative, where a positive has 1; for twhin alone (default:
            one over the number of negatives of an edge).
        batch_size: Edges per step, rounded to whole chunks (default: 1,000 on CPU threads and
            10,000 on a GPU; fewer if an epoch would have less than 1,000 steps, 400 for softmax).
        warm_start: Begin with an SVD of the normalised adjacency matrix instead of noise (default:
            true for softmax, false for twhin).
        l2: L2 regularisation: for softmax of the vectors of each edge, for als of each vector
            (default: 0.15 for softmax, 0.01 for als).
        confidence: Weight of an engagement, where a pair without one has 1; for als alone
            (default: 20).
        relation_weights: Factor of the confidence by relation, NAME=WEIGHT; for als alone
            (default: 1 for each).
        holdout: Share of the edges (at most 100,000) that is held out and ranked.
        num_candidates: Posts among which the post of a held-out edge is ranked, itself included.
        seed: Seed of vectors, order, negatives and held-out edges. One thread repeats a run
            exactly; several repeat it up to noise.
        threads: CPU threads (default: as many as torch uses).
        device: Device (default: GPU if available; als runs on the CPU).
        partitions: Split users and posts into so many parts each, of which one each is in memory,
            the others in the output folder; 0 for as many as the memory limit asks for (default:
            all vectors in memory).
        checkpoint_minutes: Minutes between checkpoints, which need an output folder; als has none.

    Raises:
        InputError: A value that cannot work, one that has no effect with the method, or a method
            whose library is not installed.
    """

    method: Literal["softmax", "twhin", "als"] = "softmax"
    dimension: int = 256
    epochs: int | None = None
    learning_rate: float | None = None
    num_batch_negs: int | None = None
    num_uniform_negs: int | None = None
    negative_weight: float | None = None
    batch_size: int | None = None
    warm_start: bool | None = None
    l2: float | None = None
    confidence: float | None = None
    relation_weights: dict[str, float] | None = None
    holdout: float = 0.01
    num_candidates: int = 1000
    seed: int = 0
    threads: int | None = None
    device: str | None = None
    partitions: int | None = None
    checkpoint_minutes: float = 10.0

    def __post_init__(self) -> None:
        if self.method not in _DEFAULTS:
            raise InputError(
                f"method is {self.method!r}; it must be one of {', '.join(_DEFAULTS)}."
            )
        self._check_options_of_method()
        for name in ("dimension", "epochs", "batch_size", "threads", "seed", "partitions"):
            value, least = getattr(self, name), int(name not in ("seed", "partitions"))
            if value is not None and value < least:
                raise InputError(f"{name} is {value}; it must be at least {least}.")
        self._check_negatives()
        for name in ("learning_rate", "negative_weight", "confidence"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}; it must be above 0.")
        if self.l2 is not None and not self.l2 >= 0:
            raise InputError(f"l2 is {self.l2}; it must be 0 or more.")
        for relation, weight in (self.relation_weights or {}).items():
            if not weight > 0:
                raise InputError(
                    f"relation_weights has {weight} for {relation!r}; a weight must be above 0. To "
                    "leave a relation out, do not read it from the log."
                )
        if not 0 <= self.holdout < 1:
            raise InputError(f"holdout is {self.holdout}; it is a share of the edges, below 1.")
        if self.num_candidates < 2:
            raise InputError(f"num_candidates is {self.num_candidates}; ranking needs 2 or more.")
        if self.method == "als" and self.partitions is not None:
            raise InputError(
                f"partitions is {self.partitions}, but has no effect with the method als. Leave it "
                "out, or set method to softmax or twhin."
            )
        if self.method == "als" and importlib.util.find_spec("implicit") is None:
            raise InputError(
                "The method als needs the library implicit, which is not installed: "
                "pip install 'twhin_hf[als]', or choose the method softmax."
            )

    def _check_options_of_method(self) -> None:
        if useless := [
            name
            for name in _OF_A_METHOD
            if getattr(self, name) is not None and name not in _DEFAULTS[self.method]
        ]:
            others = [method for method in _DEFAULTS if useless[0] in _DEFAULTS[method]]
            raise InputError(
                f"{useless[0]} is {getattr(self, useless[0])}, but has no effect with the method "
                f"{self.method}. Leave it out, or set method to {' or '.join(others)}."
            )

    def _check_negatives(self) -> None:
        if self.method == "als":
            return
        in_batch, uniform = self.option("num_batch_negs"), self.option("num_uniform_negs") or 0
        if min(in_batch, uniform) < 0:
            raise InputError(
                f"num_batch_negs is {in_batch} and num_uniform_negs is {uniform}; neither may be "
                "negative."
            )
        if self.method == "softmax" and not in_batch:
            raise InputError(
                "num_batch_negs is 0: a softmax over one post learns nothing. The default is 255."
            )
        if in_batch + uniform == 0:
            raise InputError(
                "num_batch_negs and num_uniform_negs are both 0: without negatives all vectors "
                "grow alike. Set one of them, 50 each is the default."
            )

    def option(self, name: str) -> Any:
        """An option's value, or the method's default where it is None.

        Example:
            >>> NetworkEmbeddingConfig(method="twhin").option("epochs")
            10
        """
        value = getattr(self, name)
        return _DEFAULTS[self.method].get(name) if value is None else value

    def for_edges(self, num_edges: int) -> NetworkEmbeddingConfig:
        """These options with the number of epochs that suits a log where it is not given.

        Example:
            >>> NetworkEmbeddingConfig().for_edges(5_000_000).epochs
            2
        """
        if self.method != "softmax" or self.epochs is not None:
            return self
        return replace(self, epochs=2 if num_edges >= _MANY_EDGES else 4)

    def for_memory(self, num_rows: int, memory_limit: str) -> NetworkEmbeddingConfig:
        """These options with the number of partitions that a memory limit asks for, where it is 0.

        Two partitions, one of users and one of posts, and once more as much, which a partition
        needs while it is read or written, are within the limit.

        Args:
            num_rows: Users and posts together.
            memory_limit: Such as 8GB.

        Example:
            >>> NetworkEmbeddingConfig(partitions=0).for_memory(100_000_000, "60GB").partitions
            4
        """
        if self.partitions != 0:
            return self
        found = re.fullmatch(r"\s*([\d.]+)\s*([KMGT]?)(i?)B\s*", memory_limit, re.IGNORECASE)
        if found is None or not (size := float(found[1])) > 0:
            raise InputError(f"memory_limit is {memory_limit!r}; give it as 8GB or 600MB.")
        limit = size * (1024 if found[3] else 1000) ** " KMGT".index(found[2].upper() or " ")
        needed = 2 * num_rows * (4 * self.dimension + 4)
        return replace(self, partitions=math.ceil(needed / limit))

    @property
    def weight(self) -> float:
        """Of each negative."""
        num_negatives = 2 * (self.option("num_batch_negs") + self.option("num_uniform_negs"))
        return self.negative_weight or 1 / num_negatives

    def options(self) -> dict[str, Any]:
        """All options by name, those of the method with its defaults filled in."""
        return {name: self.option(name) for name in self.__dataclass_fields__}
