"""Hours, memory and disk of each stage of a run, from measured rates.

The arithmetic is linear but for mining: `examples/benchmarks/scaling.py` measures how true that is.
What a rate is, and where it was measured, stands in `rates.yaml`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from twhin_hf.files import read_yaml
from twhin_hf.planning.plan_config import PlanConfig

VOCABULARY = 250_002
MASKED_SHARE = 0.15
FLOAT = 4

TRAINING_BYTES = 16
"""Memory of one parameter: weight, gradient and AdamW's two moments, float32."""

ACTIVATION_BYTES = 34
"""Memory of a token in a layer, for each hidden unit, in half precision and with an attention that
keeps no scores (Korthikanti et al., 2022, Equation 2 less its quadratic term)."""

MINED_POSTS = 200_000
"""Posts that mining was measured on; a query's cost grows with the root of their number, as cells
and what a cell holds do where an index has as many cells as the root."""

TOKENS_AT_ONCE = 16_384
"""Tokens of a GPU's batch that the plan's memory is of."""


class EncoderSize(NamedTuple):
    """Layers and width of an encoder."""

    layers: int
    hidden: int

    @property
    def layer_parameters(self) -> float:
        """Of all layers: 4 h² of attention and 8 h² of the feed-forward part each."""
        return 12.0 * self.layers * self.hidden**2

    @property
    def parameters(self) -> float:
        """Of the whole encoder: the layers and the embeddings of the vocabulary."""
        return self.layer_parameters + VOCABULARY * self.hidden

    def training_flops(self, tokens_per_post: float, masked_share: float = MASKED_SHARE) -> float:
        """Floating-point operations of one real token, forward and backward.

        6 · P + 12 · L · h · n for the layers (Kaplan et al., 2020, Equation 2.2, for training), n
        the tokens that a token sees, and 6 · h · V · m for the decoder, which takes the masked
        share m alone.
        """
        attention = 12.0 * self.layers * self.hidden * tokens_per_post
        return 6 * self.layer_parameters + attention + 6 * self.hidden * VOCABULARY * masked_share

    def encoding_flops(self, tokens_per_post: float) -> float:
        """The same of the forward pass alone, without the decoder."""
        return self.training_flops(tokens_per_post, masked_share=0) / 3


SIZES = {
    "small": EncoderSize(6, 384),
    "base": EncoderSize(12, 768),
    "large": EncoderSize(24, 1024),
}


@dataclass(frozen=True)
class Rate:
    """What one unit costs.

    Args:
        value: The cost.
        unit: Of what.
        source: The script that measured it, or that it is assumed.
    """

    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class StagePlan:
    """What a stage of the run needs.

    Args:
        stage: Its name.
        hours: Wall time on all cores or GPUs, if the work divides evenly among them.
        memory: Bytes, as `memory_of` says.
        memory_of: Of what: all machines together, a process, a GPU.
        disk: Bytes that it leaves behind.
        rate: Name of the rate that `hours` follows.
    """

    stage: str
    hours: float
    memory: float
    memory_of: str
    disk: float
    rate: str


@cache
def rates() -> dict[str, Rate]:
    """The rates of `rates.yaml`."""
    found: Any = read_yaml(Path(__file__).parent / "rates.yaml")
    return {name: Rate(**entry) for name, entry in found.items()}


def plan_run(config: PlanConfig) -> list[StagePlan]:
    """What each stage of a run needs, first to last.

    Args:
        config: The run.

    Returns:
        Stages of the main job: log, network, pairs, tokens, MLM, social loss, vectors.

    Example:
        >>> stages = plan_run(PlanConfig(posts=1e6, engagements=1e8, cores=8))
        >>> [stage.stage for stage in stages][:2]
        ['network import', 'network embed: log']
    """
    size, rate = SIZES[config.model], {name: entry.value for name, entry in rates().items()}
    users, posts = config.num_users, config.num_network_posts
    nodes, dimension = users + posts, config.dimension
    pairs = posts * config.pairs_per_post
    length = config.tokens_per_post
    tokens = config.posts * length
    # A network's JSON holds the posts too; those of a table are another one.
    is_table = config.log in ("parquet", "csv", "json")
    imported = config.engagements + (0 if is_table else config.posts)
    cores = 3600.0 * config.cores
    if config.gpus:
        share = config.utilization or rate["utilization"]
        flops, flops_rate = 3600.0 * config.gpus * config.peak_tflops * 1e12 * share, "utilization"
    else:
        flops, flops_rate = cores * rate["core_flops"], "core_flops"
    step_memory = size.parameters * TRAINING_BYTES + (
        ACTIVATION_BYTES * size.layers * size.hidden * TOKENS_AT_ONCE
    )
    trained = "a GPU" if config.gpus else "a process"
    all_machines = "all machines"
    training = size.training_flops(length) / flops
    weights = FLOAT * size.parameters
    return [
        StagePlan(
            "network import",
            imported * rate[f"import_{config.log}"] / cores,
            2e9,
            "a process",
            config.engagements * rate["engagement_bytes"] + config.posts * rate["post_bytes"],
            f"import_{config.log}",
        ),
        StagePlan(
            "network embed: log",
            config.engagements * rate["log"] / cores,
            1e9 + nodes * rate["id_bytes"],
            all_machines,
            config.engagements * 2 * FLOAT,
            "log",
        ),
        StagePlan(
            "network embed",
            config.engagements * config.network_epochs * dimension * rate["embedding"] / cores,
            nodes * (FLOAT * dimension + FLOAT),
            all_machines,
            nodes * FLOAT * dimension,
            "embedding",
        ),
        StagePlan(
            "network mine",
            posts * rate["mining"] * dimension / 256 * max(1, posts / MINED_POSTS) ** 0.5 / cores,
            posts * (FLOAT * dimension + dimension / 4 + 8),
            all_machines,
            pairs * 2 * FLOAT * 2,
            "mining",
        ),
        StagePlan(
            "pretrain: tokens",
            tokens * rate["tokenizing"] / cores,
            2e9,
            "a process",
            tokens * FLOAT,
            "tokenizing",
        ),
        StagePlan(
            "pretrain: MLM",
            tokens * config.mlm_epochs * training,
            step_memory,
            trained,
            weights,
            flops_rate,
        ),
        StagePlan(
            "pretrain: MLM + social",
            2 * pairs * length * config.social_epochs * training,
            step_memory,
            trained,
            weights,
            flops_rate,
        ),
        StagePlan(
            "embed",
            tokens * size.encoding_flops(length) / flops,
            weights + ACTIVATION_BYTES * size.hidden * TOKENS_AT_ONCE,
            trained,
            config.posts * FLOAT * 2 * size.hidden,
            flops_rate,
        ),
    ]
