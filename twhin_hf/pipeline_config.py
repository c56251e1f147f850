"""Options of `run_pipeline`; importing nothing heavy, for the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twhin_hf.data.split_config import SplitConfig
from twhin_hf.data.synthetic_config import SyntheticConfig
from twhin_hf.data.text_normalization import Normalization
from twhin_hf.errors import InputError
from twhin_hf.loading.places import check_local_path
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.log_config import LogConfig
from twhin_hf.network.mining_config import MiningConfig
from twhin_hf.path_names import path_name
from twhin_hf.recommendation.engagement_config import EngagementConfig
from twhin_hf.remote import is_remote, remote_files
from twhin_hf.table_format import TableFormat
from twhin_hf.value_checks import check_least, check_seeds, check_share

if TYPE_CHECKING:
    from twhin_hf.training.social import SocialPretrainingConfig


_SAVING: dict[str, Any] = {"report_to": [], "save_strategy": "epoch", "save_total_limit": 1}
"""A training that is killed goes on after its last epoch."""


def recommended_objectives() -> dict[str, dict[str, Any]]:
    """What the main job trains by default."""
    weights = {"engagement_weight": 1.0, "distillation_weight": 5.0}
    return {"engagement + distillation": weights | {"sentence_embedding": "engagement"}}


def recommended_stage() -> dict[str, Any]:
    """How the main job trains by default: heads first, then all for some four epochs."""
    return {
        "per_device_train_batch_size": 128,
        "head_steps": 400,
        "learning_rate": 3e-4,
        "head_learning_rate": 1e-3,
        "warmup_steps": 0.1,
        "num_train_epochs": 4,
    }


def folder_name(objective: str) -> str:
    """The folder of an encoder, by the name of its objective.

    Raises:
        InputError: No folder can be called so.

    Example:
        >>> folder_name("MLM + social")
        'mlm_social'
    """
    readable = re.sub(r"[^0-9a-z]+", "_", objective.lower()).strip("_") or "encoder"
    return path_name(readable, "objective")


@dataclass
class PipelineConfig(SplitConfig):
    """Main job.

    The options of each stage are those of its own config class, and those of the split are those of
    `SplitConfig`.

    Args:
        output: Output folder.
        engagements: Engagement log (user_id, post_id): Parquet, CSV or JSON lines; file or folder,
            or the address of Parquet files (hf://datasets/…, s3://…).
        posts: Posts (post_id, text, lang), likewise.
        synthetic: Generated data to run on if no log and posts are given.
        split_seed: Seed of the split by a hash into training, validation and test posts.
        model_name_or_path: Encoder to start from: folder or Hub repository.
        encoder: Start from scratch instead: values of the new encoder's BertConfig.
        seeds: Random seeds, one encoder of each kind per seed; figures are the median.
        log: Options of the log reader; its memory limit holds for posts too.
        table_format: How text tables are written.
        network: Options of the network embedding.
        mining: Options of the mining.
        vocab_size: Vocabulary size of the tokenizer that is trained on the training posts, from
            scratch.
        add_tokens: Tokens to add to the tokenizer, with new embeddings, such as @user HTTPURL.
        normalize_texts: Let the tokenizer normalize users and links as XLM-T or BERTweet does.
        dropout: Dropout of a pretrained encoder in training, or null for its own.
        objectives: Encoders to train and compare, by name: fields of ObjectiveSettings, weights
            that are not given being 0. With a social_weight among them all see the mined pairs.
        settings: Fields of ObjectiveSettings that all share.
        training: Fields of SocialPretrainingConfig that both stages share.
        stage1: Fields of SocialPretrainingConfig for MLM on posts before; none by default.
        stage2: Fields of SocialPretrainingConfig for the objectives.
        evaluation: Options of the engagement benchmark.
        streaming: Train on shards of tokens on the disk (`pretrain --streaming`), for more posts
            than memory holds.
        records_per_user: Number of records of a user in the benchmark, or null for all (paper: 1).
        max_posts: Maximum number of posts per language in the benchmark, or null for all (paper:
            10,000).

    Raises:
        InputError: An unknown key or a value of a stage that cannot work, neither data nor
            `synthetic`, no encoder to start from or two, or nothing to train.
        FileNotFoundError: A file that is not there.
    """

    output: str
    engagements: str | None = None
    posts: str | None = None
    synthetic: SyntheticConfig | None = None
    model_name_or_path: str | None = None
    encoder: dict[str, Any] | None = None
    split_seed: int = 0
    seeds: list[int] = field(default_factory=lambda: [0])
    log: LogConfig = field(default_factory=LogConfig)
    table_format: TableFormat = field(default_factory=TableFormat)
    network: NetworkEmbeddingConfig = field(default_factory=NetworkEmbeddingConfig)
    mining: MiningConfig = field(default_factory=MiningConfig)
    vocab_size: int = 32_000
    add_tokens: list[str] | None = None
    normalize_texts: Normalization | None = None
    dropout: float | None = 0.0
    objectives: dict[str, dict[str, Any]] = field(default_factory=recommended_objectives)
    settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(
        default_factory=lambda: {"max_length": 64, "logging_steps": 20}
    )
    stage1: dict[str, Any] | None = None
    stage2: dict[str, Any] = field(default_factory=recommended_stage)
    evaluation: EngagementConfig = field(default_factory=EngagementConfig)
    streaming: bool = False
    records_per_user: int | None = 1
    max_posts: int | None = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        # Late: it imports torch, which --help must not wait for.
        from twhin_hf.training.social import SocialPretrainingConfig

        stages: dict[str, Any] = {
            "log": LogConfig,
            "table_format": TableFormat,
            "network": NetworkEmbeddingConfig,
            "mining": MiningConfig,
            "evaluation": EngagementConfig,
            "training": SocialPretrainingConfig,
            "stage1": SocialPretrainingConfig,
            "stage2": SocialPretrainingConfig,
        }
        for key, owner in stages.items():
            value = getattr(self, key)
            if not isinstance(value, dict):
                continue
            known = {entry.name for entry in fields(owner)}
            if owner is SocialPretrainingConfig:
                known -= {"output_dir", "seed"}  # each encoder has its own
            if unknown := sorted(set(value) - known):
                raise InputError(f"{key} has unknown keys {unknown}; {owner.__name__} has {known}")
            # A flag whose default depends on the machine is a flag all the same.
            flags = {entry.name: False for entry in fields(owner) if entry.type == "bool | None"}
            defaults = {entry.name: entry.default for entry in fields(owner)}
            _check_kinds(key, value, defaults | flags)
            if owner is not SocialPretrainingConfig:
                with _naming(key):
                    setattr(self, key, owner(**value))
        if self.split == "time" and self.log.before is not None:
            raise InputError(
                "log.before is given, and a split by time says itself when engagements end; leave "
                "log.before out"
            )
        if (self.model_name_or_path is None) == (self.encoder is None):
            raise InputError(
                "give model_name_or_path (the encoder to start from) or encoder (values of a "
                "BertConfig, to start from scratch): one of them",
                faq="where-to-start",
            )
        if self.encoder is not None:
            # Late: it imports torch.
            from transformers import BertConfig

            stock = BertConfig()
            if unknown := sorted(key for key in self.encoder if not hasattr(stock, key)):
                raise InputError(f"encoder has unknown keys {unknown}; BertConfig has none such")
            _check_kinds("encoder", self.encoder, stock.to_dict())
        self._check_objectives()
        self._check_numbers()
        self._check_trainings()
        given = {"engagements": self.engagements, "posts": self.posts}
        missing = [f"--{name}" for name, path in given.items() if not path]
        if missing and (self.synthetic is None or len(missing) == 1):
            raise InputError(f"missing: {', '.join(missing)}; `twhin-hf run --help` says more")
        if self.model_name_or_path:
            check_local_path(self.model_name_or_path)
        for name, path in given.items():
            if is_remote(path):
                remote_files(path)
            elif path and not Path(path).exists():
                raise FileNotFoundError(f"{name}: there is no {path}")

    def training_config(
        self, stage: Mapping[str, Any], output_dir: str, seed: int
    ) -> SocialPretrainingConfig:
        """How an encoder is trained in a stage."""
        from twhin_hf.training.social import SocialPretrainingConfig

        options: dict[str, Any] = _SAVING | self.training | dict(stage)
        return SocialPretrainingConfig(output_dir=output_dir, seed=seed, **options)

    def settings_at_first(self) -> dict[str, Any]:
        """Settings of the encoder that the objectives begin from: MLM alone."""
        return _weights({"mlm_weight": 1.0}) | self.settings

    def settings_of(self, given: Mapping[str, Any], dimension: int) -> dict[str, Any]:
        """Settings of an objective's encoder, beside a network of so many dimensions."""
        settings = _weights(given) | self.settings | dict(given)
        if settings["engagement_weight"] + settings["distillation_weight"] > 0:
            settings.setdefault("network_dimension", dimension)
        return settings

    def _check_numbers(self) -> None:
        from twhin_hf.data.tokenization import SMALLEST_VOCABULARY
        from twhin_hf.devices import pick_device

        check_seeds(self.seeds)
        check_least(self, SMALLEST_VOCABULARY, "vocab_size")
        for name in ("records_per_user", "max_posts"):  # null for all
            if getattr(self, name) is not None:
                check_least(self, 1, name)
        if self.dropout is not None:
            check_share(self, "dropout")
        for name, config in (("network", self.network), ("evaluation", self.evaluation)):
            with _naming(name):
                pick_device(config.device)

    def _check_trainings(self) -> None:
        """Makes the configs of the encoders and their trainings, which check themselves."""
        from transformers import BertConfig

        from twhin_hf.modeling import apply_settings
        from twhin_hf.training.initialization import new_config

        config = BertConfig()
        if self.encoder is not None:
            config = new_config("bert", self.encoder, "encoder")
        settings = {
            name: self.settings_of(given or {}, self.network.dimension)
            for name, given in self.objectives.items()
        }
        if self.encoder is not None or self.stage1 is not None:
            settings = {"settings": self.settings_at_first()} | settings
        for name, given in settings.items():
            with _naming(name):
                apply_settings(copy(config), **given)
        for name in ("stage1", "stage2"):
            if (stage := getattr(self, name)) is None:
                continue
            with _naming(f"training and {name}"):
                options = self.training_config(stage, self.output, self.seeds[0])
                longest = config.max_position_embeddings
                if self.encoder is not None and options.max_length > longest:
                    raise InputError(
                        f"max_length is {options.max_length}, and the encoder's "
                        f"max_position_embeddings {longest}: give as much at least"
                    )

    def _check_objectives(self) -> None:
        from twhin_hf.modeling.settings import DEFAULTS

        if not self.objectives:
            raise InputError("objectives is empty: name at least one encoder to train")
        folders = dict.fromkeys(("stage1", "untrained"), "the run itself")
        for name in self.objectives:
            if (folder := folder_name(name)) in folders:
                raise InputError(
                    f"the objective {name!r} would be saved in the folder {folder}, which is that "
                    f"of {folders[folder]} already; rename one"
                )
            folders[folder] = repr(name)
        for name, given in {"settings": self.settings, **self.objectives}.items():
            if unknown := sorted(set(given or {}) - set(DEFAULTS)):
                raise InputError(
                    f"{name!r} has unknown settings {unknown}; the settings are {sorted(DEFAULTS)}"
                )
            _check_kinds(name, given or {}, DEFAULTS)

    @property
    def needs_pairs(self) -> bool:
        """Whether one of the encoders learns from mined pairs."""
        return any(given.get("social_weight", 0) > 0 for given in self.objectives.values())


def _weights(given: Mapping[str, Any]) -> dict[str, Any]:
    """All weights: those given, and 0."""
    from twhin_hf.modeling.settings import OBJECTIVES

    return {f"{name}_weight": given.get(f"{name}_weight", 0.0) for name in OBJECTIVES}


@contextmanager
def _naming(part: str) -> Iterator[None]:
    """Says which part of the main job is refused."""
    try:
        yield
    except ValueError as error:
        told = InputError(f"{part}: {error}")
        told.faq = getattr(error, "faq", None)
        raise told from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, OSError) as error:
        # What libraries make of values of other types.
        raise InputError(f"{part} cannot be used ({type(error).__name__}: {error})") from error


def _check_kinds(where: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Checks values against their defaults: a number, a text or a flag must stay one.

    Raises:
        InputError: One is of another type.
    """
    for name, value in given.items():
        default = defaults.get(name)
        if isinstance(default, bool):
            needed = "" if value in (True, False, None) else "true or false"
        elif isinstance(default, (int, float)):
            needed = "" if value is None or _is_number(value) else "a number"
        elif isinstance(default, str):
            needed = "" if value is None or isinstance(value, str) else "text"
        else:
            continue
        if needed:
            raise InputError(f"{where}.{name} is {value!r}; needed is {needed}")


def _is_number(value: Any) -> bool:
    """True for numbers, and for 1e-4, which YAML takes for text."""
    try:
        return not isinstance(value, bool) and float(value) is not None
    except (TypeError, ValueError, OverflowError):
        return False
