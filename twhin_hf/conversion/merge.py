"""Adapters merged into the weights that they stand on: models of ours that need no peft."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils.peft_utils import ADAPTER_CONFIG_NAME

from twhin_hf.conversion.checkpoints import checkpoint_path
from twhin_hf.conversion.convert import Conversion, check_output, compare_weights, load_tokenizer
from twhin_hf.errors import InputError
from twhin_hf.files import new_folder, read_json_object
from twhin_hf.loading.auto import is_adapter, load_post_encoder, load_with_heads
from twhin_hf.training.record import RECORD_NAME

_RECORDS = (RECORD_NAME, TRAINER_STATE_NAME)
"""What a card tells of the training."""


def merge_adapter(
    adapter: str,
    output: str | Path,
    *,
    tokenizer: str | None = None,
    revision: str | None = None,
    pooling: str | None = None,
) -> Conversion:
    """Writes a model with an adapter (peft) merged into its weights.

    An adapter that training here has made brings its heads: the folder holds a
    `Twhin…ForPreTraining`, which can be trained further. Of any other it is a `Twhin…Model`.

    Args:
        adapter: Folder or repository of the adapter.
        output: A new folder.
        tokenizer: Folder or repository; by default the adapter's own, or that of its base.
        revision: Of the adapter's repository.
        pooling: Of the model; by default the adapter's own.

    Raises:
        FileNotFoundError: The adapter or its base is not there.
        FileExistsError: The output is there already.
        InputError: No adapter, one that does not fit its base, or weights that changed.
    """
    check_output(output)
    path = checkpoint_path(adapter, revision)
    if not is_adapter(adapter, revision):
        raise InputError(f"{adapter} is no adapter of peft: it has no adapter_config.json")
    heads = read_json_object(path / ADAPTER_CONFIG_NAME).get("modules_to_save") or []
    model: Any = (load_with_heads if heads else load_post_encoder)(adapter, revision)
    if pooling:
        model.config.pooling = pooling
    encoder = model.base_model
    own = encoder._own_tokenizer() if tokenizer is None else load_tokenizer(tokenizer, path)
    encoder.check_tokenizer(own)
    with new_folder(output) as folder:
        # First: what saves the model reads there which special tokens a mean leaves out.
        own.save_pretrained(folder)
        model.save_pretrained(folder)
        for record in (path / name for name in _RECORDS):
            if record.is_file():
                shutil.copy(record, folder)
        again = type(model).from_pretrained(folder, local_files_only=True)
        difference = compare_weights(model.state_dict(), again.state_dict())
    return Conversion(
        model=type(model).__name__, compared=len(again.state_dict()), max_difference=difference
    )
