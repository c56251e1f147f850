"""Evaluation on held-out rows: each counts once, whatever the batches and the processes.

A loss is a mean over its items: MLM over masked tokens, the losses of pairs over pairs. Losses that
compare the pairs of a batch (NT-Xent of mined pairs, the contrastive loss of translation pairs)
depend on how many are compared; here these are blocks of a fixed size, in the order of the rows.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor, nn

from twhin_hf.modeling.in_batch_losses import in_batch_social_loss, in_batch_translation_loss
from twhin_hf.modeling.settings import OBJECTIVES
from twhin_hf.modeling.translation_losses import translation_bce_loss, translation_cosine_loss
from twhin_hf.training.batches import PairBatches
from twhin_hf.training.masking import IGNORED
from twhin_hf.training.mixing import batches_in_order, sources_of


def own_batches(dataset: Any, batch_size: int, rank: int, num_processes: int) -> list[list[int]]:
    """Keys of a process's held-out batches; every process has as many.

    Where the last round has no batch left for a process it takes the first one again, which does
    not count (`HeldOutFigures`): sharded models need all processes in every forward pass.

    Args:
        dataset: Fetches a batch by keys.
        batch_size: Rows of a batch; the last one of a kind may be shorter.
        rank: The process.
        num_processes: How many there are.
    """
    batches = batches_in_order(dataset, batch_size)
    rounds = -(-len(batches) // num_processes)
    numbers = range(rank, rounds * num_processes, num_processes)
    return [batches[number if number < len(batches) else 0] for number in numbers]


def held_out_outputs(model: nn.Module, inputs: dict[str, Any]) -> tuple[Any, Any]:
    """What a model says of a held-out batch.

    Args:
        model: A `Twhin…ForPreTraining`.
        inputs: A batch of `PackingCollator`.

    Returns:
        Outputs with the heads' projections, and those with the MLM loss. They are of one forward
        pass, but of translation pairs, which are judged by their texts without masks.
    """
    if not {"labels", "pair_labels"} <= inputs.keys():
        outputs = model(**inputs, compare=False)
        return outputs, outputs
    labels = inputs["labels"]
    pairs = {key: inputs[key] for key in inputs if key != "labels"}
    pairs["input_ids"] = torch.where(labels == IGNORED, inputs["input_ids"], labels)
    texts = {key: inputs[key] for key in inputs if key not in ("pair_labels", "item_ids")}
    return model(**pairs, compare=False), model(**texts)


class HeldOutFigures:
    """Sums over the held-out batches of a process, and the figures of all processes.

    Args:
        dataset: Fetches a batch by keys; several kinds where it is `MixedBatches`.
        batch_size: As `own_batches` takes, and so are the others.
        rank: The process.
        num_processes: How many there are.
    """

    def __init__(self, dataset: Any, batch_size: int, rank: int, num_processes: int):
        self.sources = sources_of(dataset)
        self._keys = iter(own_batches(dataset, batch_size, rank, num_processes))
        num_batches = len(batches_in_order(dataset, batch_size))
        self._num_left = len(range(rank, num_batches, num_processes))
        self._sums = {"mlm_loss": 0.0, "masked": 0, "tokens": 0}
        self._projections: list[tuple[str, int, np.ndarray, Tensor]] = []
        self._since = time.perf_counter()

    def add(self, inputs: dict[str, Any], projected: Any, masked: Any) -> None:
        """Takes in the next batch, and the outputs of `held_out_outputs`."""
        keys = np.asarray(next(self._keys))
        self._num_left -= 1
        if self._num_left < 0:
            return
        self._sums["tokens"] += int((inputs["segment_ids"] > 0).sum())
        if masked.get("mlm_loss") is not None:
            count = int((inputs["labels"] != IGNORED).sum())
            self._sums["masked"] += count
            self._sums["mlm_loss"] += masked.mlm_loss.item() * count
        rows, sources = np.divmod(keys, len(self.sources))
        for name in ("social", "tpp"):
            values = projected.get(f"{name}_projections")
            if values is not None:
                sides = torch.stack(values.float().cpu().chunk(2), dim=1)
                self._projections.append((name, int(sources[0]), rows, sides))

    def gather(self) -> None:
        """Takes in what the other processes found."""
        found = gather_object([(self._sums, self._projections)])
        self._sums = {name: sum(sums[name] for sums, _ in found) for name in self._sums}
        self._projections = [part for _, parts in found for part in parts]

    def projections(self, objective: str) -> tuple[Any, Tensor] | None:
        """The pairs of an objective and its projections `[num_pairs, 2, size]`; none without."""
        parts = [part for part in self._projections if part[0] == objective]
        if not parts:
            return None
        pairs = self.sources[parts[0][1]]
        sides = parts[0][3].new_empty(len(pairs), *parts[0][3].shape[1:])
        for _, _, rows, values in parts:
            sides[torch.from_numpy(rows)] = values
        return pairs, sides

    def losses(self, config: Any, block_size: int) -> dict[str, float]:
        """Losses and accuracies of all held-out rows, tokens, and `loss`, the weighted sum.

        Args:
            config: Of the model.
            block_size: Pairs that are compared with each other; see `compare_blocks`.
        """
        seconds = time.perf_counter() - self._since
        found: dict[str, float] = {}
        if config.mlm_weight > 0 and self._sums["masked"]:
            found["mlm_loss"] = self._sums["mlm_loss"] / self._sums["masked"]
        for name, judge in (("social", _social_figures), ("tpp", _tpp_figures)):
            if (judged := self.projections(name)) is not None:
                figures = judge(*judged, config, block_size)
                found |= {f"{name}_loss": figures[0], f"{name}_accuracy": figures[1]}
        weighted = [
            getattr(config, f"{name}_weight") * found[f"{name}_loss"]
            for name in OBJECTIVES
            if f"{name}_loss" in found
        ]
        tokens = self._sums["tokens"]
        speed = {"tokens": tokens, "tokens_per_second": round(tokens / seconds, 1)}
        return {"loss": float(sum(weighted)), **found, **speed}


def blocks_of(num_pairs: int, block_size: int) -> list[np.ndarray]:
    """Pairs in order, in blocks of about one size, none of them smaller than `block_size`.

    Example:
        >>> [block.tolist() for block in blocks_of(5, 2)]
        [[0, 1, 2], [3, 4]]
    """
    return np.array_split(np.arange(num_pairs), max(1, num_pairs // block_size))


def _social_figures(
    pairs: PairBatches, sides: Tensor, config: Any, block_size: int
) -> tuple[float, float]:
    total = torch.zeros(2, dtype=torch.float64)
    for block in blocks_of(len(pairs), block_size):
        posts = pairs.pairs[block].T.reshape(-1)
        figures = in_batch_social_loss(
            sides[torch.from_numpy(block)].transpose(0, 1).flatten(0, 1),
            torch.from_numpy(posts),
            torch.from_numpy(pairs.known_positives(posts)),
            config.social_temperature,
            across_processes=False,
        )
        total += len(block) * torch.stack(figures)
    return tuple((total / len(pairs)).tolist())


def _tpp_figures(pairs: Any, sides: Tensor, config: Any, block_size: int) -> tuple[float, float]:
    if config.tpp_loss != "contrastive":
        texts = sides.transpose(0, 1).flatten(0, 1)
        labels = torch.arange(len(pairs)) % (1 + pairs.num_negatives) == 0
        if config.tpp_loss == "bce":
            figures = translation_bce_loss(texts, labels.long())
        else:
            figures = translation_cosine_loss(texts, labels.long(), config.tpp_margin)
        return figures[0].item(), figures[1].item()
    total = torch.zeros(2, dtype=torch.float64)
    for block in blocks_of(len(pairs), block_size):
        figures = in_batch_translation_loss(
            sides[torch.from_numpy(block)].transpose(0, 1).flatten(0, 1),
            torch.from_numpy(np.tile(pairs.items[block], 2)),
            config.tpp_temperature,
            config.tpp_margin,
            across_processes=False,
        )
        total += len(block) * torch.stack(figures)
    return tuple((total / len(pairs)).tolist())
