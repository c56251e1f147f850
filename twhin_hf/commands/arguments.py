"""What the training commands share: options over a YAML file, and the model to start from."""

from __future__ import annotations

import difflib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


@dataclass
class ModelArguments:
    """The model to start from, and the settings of its objectives."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to start from: a folder or a repository."}
    )
    config_name: str | None = field(
        default=None,
        metadata={"help": "Start from scratch with this config: 'bert', a folder, a repository."},
    )
    config_overrides: str | None = field(
        default=None,
        metadata={"help": "Keys of the new config, as YAML: {hidden_size: 384}"},
    )
    tokenizer_name: str | None = field(
        default=None, metadata={"help": "Tokenizer; by default that of model_name_or_path."}
    )
    pooling: str | None = field(
        default=None, metadata={"help": "Embedding of a post: cls, mean or combined."}
    )
    social_pooling: str | None = field(
        default=None, metadata={"help": "What the social head reads: cls, mean or combined."}
    )
    social_projection_sizes: list[int] | None = field(
        default=None, metadata={"help": "Sizes of the social head's layers, as 768 768."}
    )
    social_temperature: float | None = field(
        default=None, metadata={"help": "Temperature of the social loss (paper: 0.1)."}
    )
    social_weight: float | None = field(
        default=None, metadata={"help": "Weight of the social loss; 0 without pairs of posts."}
    )
    mlm_weight: float | None = field(
        default=None, metadata={"help": "Weight of the MLM loss (paper: 0.05 beside the social)."}
    )
    tpp_weight: float | None = field(
        default=None,
        metadata={"help": "Weight of translation pair prediction; 0 without translation pairs."},
    )
    tpp_loss: str | None = field(
        default=None, metadata={"help": "bce (the paper's), cosine or contrastive."}
    )
    tpp_pooling: str | None = field(
        default=None, metadata={"help": "What the head reads: cls, mean or combined."}
    )
    tpp_projection_size: int | None = field(
        default=None, metadata={"help": "Size of the head; by default the hidden size."}
    )
    tpp_margin: float | None = field(
        default=None, metadata={"help": "Margin of cosine and contrastive, in [-1, 1]."}
    )
    tpp_temperature: float | None = field(
        default=None, metadata={"help": "Temperature of the contrastive loss."}
    )
    lora: bool = field(
        default=False,
        metadata={
            "help": "Train LoRA beside the frozen checkpoint, and the heads in full (needs peft); "
            "an adapter as checkpoint is trained further, with the rank and layers it has."
        },
    )
    lora_r: int = field(default=16, metadata={"help": "Rank of LoRA."})
    lora_alpha: int = field(default=32, metadata={"help": "LoRA is scaled by lora_alpha / lora_r."})
    lora_dropout: float = field(default=0.05, metadata={"help": "Dropout of LoRA's input."})
    lora_4bit: bool = field(
        default=False,
        metadata={"help": "Hold the frozen checkpoint in 4 bits (QLoRA; needs bitsandbytes)."},
    )
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={
            "help": "Ends of the names of the layers to adapt; by default the attention's queries "
            "and values."
        },
    )

    def overrides(self) -> dict[str, Any] | None:
        """`config_overrides` as a mapping, whether of an option or of a YAML file."""
        import yaml

        given: Any = self.config_overrides
        return yaml.safe_load(given) if isinstance(given, str) else given

    def settings(self) -> dict[str, Any]:
        """The settings that were given."""
        from twhin_hf.modeling.settings import DEFAULTS

        given = {key: getattr(self, key) for key in DEFAULTS}
        return {key: value for key, value in given.items() if value is not None}

    def check(self) -> None:
        """Checks what was asked for before anything long begins.

        Raises:
            ValueError: arguments that do not fit together.
        """
        if bool(self.model_name_or_path) == bool(self.config_name):
            raise ValueError(
                "give model_name_or_path (go on from a checkpoint) or config_name (start from "
                "scratch): one of them"
            )
        if self.config_name and not self.tokenizer_name:
            raise ValueError(
                "config_name needs tokenizer_name; `twhin-hf tokenizer` trains one from posts"
            )
        if self.config_overrides and not self.config_name:
            raise ValueError(
                "config_overrides goes with config_name: a checkpoint's sizes are fixed"
            )
        if self.lora_4bit and not self.lora:
            raise ValueError("lora_4bit goes with lora: weights of 4 bits cannot be trained")
        if self.lora:
            from transformers.utils import is_bitsandbytes_available, is_peft_available

            if self.config_name:
                raise ValueError(
                    "lora adapts a checkpoint; give model_name_or_path in place of config_name"
                )
            if not is_peft_available():
                raise ValueError("lora needs peft: `pip install 'twhin_hf[peft]'`")
            if self.lora_4bit and not is_bitsandbytes_available():
                raise ValueError("lora_4bit needs bitsandbytes: `pip install bitsandbytes`")


def load_model(model_args: ModelArguments, seed: int, **defaults: Any) -> tuple[Any, Any]:
    """The model and tokenizer that a run starts from.

    Args:
        model_args: which.
        seed: of the weights that no checkpoint brings.
        **defaults: settings of the objectives where `model_args` gives none.

    Returns:
        Model, tokenizer.
    """
    from transformers import AutoTokenizer, set_seed

    from twhin_hf.training.initialization import load_pretraining_model, new_pretraining_model

    tokenizer = AutoTokenizer.from_pretrained(
        model_args.tokenizer_name or model_args.model_name_or_path
    )
    settings = defaults | model_args.settings()
    # Before the model: heads that a checkpoint lacks are drawn from the global generator.
    set_seed(seed)
    if model_args.model_name_or_path:
        model = load_pretraining_model(
            model_args.model_name_or_path,
            tokenizer,
            trainable_adapter=model_args.lora,
            four_bit=model_args.lora_4bit,
            **settings,
        )
        return (with_lora(model, model_args) if model_args.lora else model), tokenizer
    assert model_args.config_name is not None
    model = new_pretraining_model(
        model_args.config_name, tokenizer, model_args.overrides(), **settings
    )
    return model, tokenizer


def with_lora(model: Any, model_args: ModelArguments) -> Any:
    """The model with new LoRA as the arguments say; one that has an adapter goes on with it."""
    from twhin_hf.loading.adapters import PretrainingAdapter
    from twhin_hf.training.lora import add_lora, lora_config

    if not isinstance(model, PretrainingAdapter):
        config = lora_config(
            model,
            r=model_args.lora_r,
            alpha=model_args.lora_alpha,
            dropout=model_args.lora_dropout,
            target_modules=model_args.lora_target_modules,
        )
        model = add_lora(model, config)
    trained, total = model.get_nb_trainable_parameters()
    logger.info("LoRA: %s of %s parameters are trained", f"{trained:,}", f"{total:,}")
    return model


def check_paths(owner: Any, *names: str) -> None:
    """Checks that files and folders are there.

    Args:
        owner: holds the paths.
        *names: its attributes; one that is none is passed over.

    Raises:
        FileNotFoundError: one is not.
    """
    for name in names:
        path = getattr(owner, name)
        if path and not Path(path).exists():
            raise FileNotFoundError(f"{name}: there is no {path}")


def parse_arguments(
    groups: Sequence[Any],
    command: str,
    arguments: Sequence[str] | None = None,
    stage: dict[str, Any] | None = None,
) -> tuple[Any, ...]:
    """Options over the values of a stage over those of a YAML file over the defaults.

    Args:
        groups: dataclasses whose fields are the options.
        command: the name of the `twhin-hf` command, or of a script, as `run_joint.py`.
        arguments: the options; by default the process's.
        stage: values that go over the file's.

    Returns:
        An object of each dataclass.

    Raises:
        ValueError: a key of the file or stage that no option has; the nearest one is named.
        FileNotFoundError: the file is not there.
    """
    from transformers import HfArgumentParser

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    program = command if command.endswith(".py") else f"twhin-hf {command}"
    parser = HfArgumentParser(list(groups), prog=program, allow_abbrev=False)
    parser.add_argument("--config", help="YAML file with any of the options.")
    if any(option in ("-h", "--help") for option in arguments):
        parser.parse_args(["--help"])
    keys = {entry.name for group in groups for entry in fields(group)}
    known, _ = parser.parse_known_args(arguments)
    if known.config:
        parser.set_defaults(**read_yaml(known.config, keys))
    if stage:
        check_keys(stage, keys, "a stage")
        parser.set_defaults(**stage)
    *parsed, _, rest = parser.parse_args_into_dataclasses(arguments, return_remaining_strings=True)
    if rest:
        listing = "--help" if program == command else "--options"
        raise ValueError(f"unknown options {rest}; `{program} {listing}` lists them")
    return tuple(parsed)


def read_yaml(path: str, keys: set[str]) -> dict[str, Any]:
    """Reads a YAML file whose keys must all be known.

    Raises:
        ValueError: an unknown key, or a file that is no mapping.
        FileNotFoundError: there is no such file.
    """
    import yaml

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no config file {path}")
    values = yaml.safe_load(Path(path).read_text()) or {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no `key: value` lines")
    check_keys(values, keys, path)
    return values


def check_keys(values: dict[str, Any], keys: set[str], where: str) -> None:
    """Checks that all keys are known.

    Raises:
        ValueError: one is not; the nearest is named.
    """
    for key in values:
        if key not in keys:
            near = difflib.get_close_matches(str(key), sorted(keys), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{where} has an unknown key {key!r}{hint}")
