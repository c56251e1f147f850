"""Loading a checkpoint into the class of its family, with or without an adapter."""

from __future__ import annotations

import logging
from typing import Any

from transformers import (
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.utils import is_peft_available
from transformers.utils.peft_utils import find_adapter_config_file

from twhin_hf.errors import InputError
from twhin_hf.loading.families import MODELS, PRETRAINING_MODELS, model_class, stock_config
from twhin_hf.loading.places import check_place, reading_model
from twhin_hf.loading.pretrained import load_pretrained
from twhin_hf.modeling.heads import pooled_width
from twhin_hf.modeling.sentence_transformer_files import TOKENIZER_CONFIG_NAME
from twhin_hf.modeling.sentence_transformer_settings import checkpoint_file

logger = logging.getLogger(__name__)


def load_post_encoder(
    name_or_path: str,
    revision: str | None = None,
    *,
    output_loading_info: bool = False,
    **kwargs: Any,
) -> Any:
    """Loads the `Twhin…Model` of a checkpoint's family.

    A checkpoint of sentence-transformers keeps its pooling and normalization
    (`apply_settings`).

    Args:
        name_or_path: A folder or a repository, of ours or of a plain encoder, or of an adapter
            (peft), which is merged into the encoder it stands on.
        revision: Revision of the repository; `main` by default.
        output_loading_info: Return the model and what was loaded and what was not, of an adapter's
            base where it is one, as `from_pretrained` does.
        **kwargs: As `from_pretrained` takes.

    Raises:
        InputError: An encoder of a family that has no class here, weights that hold more than
            tensors, an adapter that does not fit its encoder, or one where peft is not installed.
    """
    revision = revision or "main"
    if is_adapter(name_or_path, revision):
        # Late: only an adapter needs peft, which is an extra.
        from twhin_hf.loading.adapters import load_adapted_encoder

        model, info = load_adapted_encoder(name_or_path, revision, **kwargs)
    else:
        config = stock_config(name_or_path, revision)
        model, info = load_pretrained(
            model_class(config, MODELS),
            name_or_path,
            config,
            revision,
            output_loading_info=True,
            **kwargs,
        )
    logger.info("%s: %s", name_or_path, embedding_sentence(model))
    return (model, info) if output_loading_info else model


def embedding_sentence(
    encoder: Any, pooling: str | None = None, max_length: int | None = None
) -> str:
    """What `encode` makes of a text, for the screen.

    Args:
        encoder: A `Twhin…Model`.
        pooling: In place of the config's.
        max_length: In place of the model's.
    """
    config = encoder.config
    pooling = pooling or config.pooling
    return (
        f"{pooling} pooling, {pooled_width(config.hidden_size, pooling):,} dimensions, "
        f"{'scaled to length 1' if config.normalize_embeddings else 'not normalized'}, at most "
        f"{max_length or encoder.max_seq_length:,} tokens"
    )


def load_with_heads(
    name_or_path: str,
    revision: str | None = None,
    *,
    output_loading_info: bool = False,
    **kwargs: Any,
) -> Any:
    """Loads the `Twhin…ForPreTraining` of a checkpoint's family, with its trained heads.

    Args:
        name_or_path: A folder or a repository that training here has made, or an adapter (peft),
            which is merged into the model it stands on.
        revision: Revision of the repository; `main` by default.
        output_loading_info: Return the model and what was loaded and what was not, of an adapter's
            base where it is one, as `from_pretrained` does.
        **kwargs: As `from_pretrained` takes.

    Raises:
        InputError: An encoder of a family that has no class here, a checkpoint without the heads
            that its config speaks of, or as `load_post_encoder` of an adapter.
    """
    revision = revision or "main"
    if is_adapter(name_or_path, revision):
        # Late: only an adapter needs peft, which is an extra.
        from twhin_hf.loading.adapters import load_adapted_model

        model, info = load_adapted_model(name_or_path, revision, **kwargs)
        return (model, info) if output_loading_info else model
    config = stock_config(name_or_path, revision)
    pretraining_model = model_class(config, PRETRAINING_MODELS)
    model, info = load_pretrained(
        pretraining_model, name_or_path, config, revision, output_loading_info=True, **kwargs
    )
    missing = sorted(name for name in info["missing_keys"] if "_head." in name)
    if missing:
        raise InputError(
            f"{name_or_path} holds no {missing}: its heads were left out when it was saved. Give "
            "the folder that training wrote",
            faq="heads",
        )
    return (model, info) if output_loading_info else model


def load_config(name_or_path: str, revision: str | None = None) -> PreTrainedConfig:
    """The config of a model, or of what an adapter (peft) makes of its base.

    Args:
        name_or_path: Folder or repository of a model or of an adapter.
        revision: Revision of the repository.

    Raises:
        InputError: An adapter where peft is not installed, or as `adapter_origin`.
    """
    if is_adapter(name_or_path, revision):
        from twhin_hf.loading.adapters import adapter_origin

        return adapter_origin(name_or_path, revision)[2]
    return stock_config(name_or_path, revision)


def load_tokenizer(
    name_or_path: str, revision: str | None = None, **kwargs: Any
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model or of an adapter: an adapter's own, or its base's.

    Args:
        name_or_path: Folder or repository.
        revision: Revision of the repository.
        **kwargs: As `AutoTokenizer.from_pretrained` takes.

    Raises:
        InputError: There is none, or one that cannot be used.
    """
    origin, revision = tokenizer_origin(name_or_path, revision)
    with reading_model(origin):
        tokenizer = AutoTokenizer.from_pretrained(
            origin, revision=revision, trust_remote_code=False, **kwargs
        )
        # Much of a tokenizer's files is not looked at before there is a text, and a word unknown.
        tokenizer("a \uf8ff", truncation=True)
    return tokenizer


def tokenizer_origin(name_or_path: str, revision: str | None = None) -> tuple[str, str]:
    """Where the tokenizer of a model lies, and its revision: an adapter's own, or its base's."""
    if is_adapter(name_or_path, revision) and (
        checkpoint_file(name_or_path, TOKENIZER_CONFIG_NAME, revision) is None
    ):
        from twhin_hf.loading.adapters import adapter_origin

        base, base_revision, _ = adapter_origin(name_or_path, revision)
        return base, base_revision or "main"
    return name_or_path, revision or "main"


def is_adapter(name_or_path: str, revision: str | None = None) -> bool:
    """Whether a folder or repository holds an adapter (peft) in place of a model.

    Raises:
        FileNotFoundError: Nothing is there; see `check_place`.
        InputError: It does, and peft is not installed.
    """
    check_place(name_or_path, revision)
    with reading_model(name_or_path):
        if find_adapter_config_file(str(name_or_path), revision=revision) is None:
            return False
    if not is_peft_available():
        raise InputError(f"{name_or_path} is an adapter: `pip install 'twhin_hf[peft]'` to load it")
    return True
