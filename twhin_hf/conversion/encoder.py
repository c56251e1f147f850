"""Models of ours into plain encoders: no code, no heads, none of our keys."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from transformers import AutoModel

from twhin_hf.conversion.checkpoints import checkpoint_path, modern_name, read_weights
from twhin_hf.conversion.convert import (
    Conversion,
    check_output,
    compare_weights,
    load_tokenizer,
)
from twhin_hf.errors import InputError
from twhin_hf.files import new_folder, read_json, write_json
from twhin_hf.loading.auto import load_post_encoder
from twhin_hf.loading.families import may_have_pooler, stock_encoder
from twhin_hf.loading.places import reading_model
from twhin_hf.modeling.sentence_transformer_files import plain_sentence_transformer_files
from twhin_hf.modeling.settings import DEFAULTS

STOCK_POOLINGS = ("cls", "mean", "mean_all")
"""What sentence-transformers, text-embeddings-inference and vLLM do without code of ours."""

_OURS = {*DEFAULTS, "auto_map", "architectures", "projection_dim"}
_POOLER = (
    "The folder holds no pooler: stock AutoModel fills pooler_output with RANDOM numbers at every "
    "load. What serves embeddings reads 1_Pooling/config.json ({pooling}) and not the pooler."
)
_MEAN = (
    "Its mean is over ALL tokens, for stock pooling cannot leave out the special ones: vectors "
    "differ from those of encode(), which leaves them out. `--pooling cls` gives equal ones."
)


def convert_to_encoder(
    checkpoint: str,
    output: str | Path,
    *,
    tokenizer: str | None = None,
    revision: str | None = None,
    pooling: str | None = None,
) -> Conversion:
    """Writes the encoder of a model of ours, or of an adapter merged into it, for stock software.

    The folder holds weights and config of the backbone's own class, the tokenizer, and the modules
    of a `SentenceTransformer`, whose `1_Pooling/config.json` text-embeddings-inference and vLLM
    read too.

    Args:
        checkpoint: Folder or repository of a model or an adapter.
        output: A new folder.
        tokenizer: Folder or repository; by default the checkpoint's own.
        revision: Of the checkpoint's repository.
        pooling: `cls`, `mean_all` or `mean` (written as `mean_all`); by default the model's own.

    Raises:
        FileNotFoundError: Nothing is there.
        FileExistsError: The output is there already.
        InputError: A pooling that stock software does not have, or weights that changed.
    """
    check_output(output)
    path = checkpoint_path(checkpoint, revision)
    encoder = load_post_encoder(checkpoint, revision)
    pooling = pooling or encoder.config.pooling
    if pooling not in STOCK_POOLINGS:
        raise InputError(
            f"the model's pooling is {pooling!r}, which stock software does not have; choose "
            "--pooling cls or --pooling mean_all"
        )
    loaded_tokenizer = load_tokenizer(tokenizer, path)
    encoder.check_tokenizer(loaded_tokenizer)
    weights = encoder.state_dict()
    stock, has_pooler = stock_encoder(encoder.config), may_have_pooler(encoder.config)
    values = {key: value for key, value in encoder.config.to_dict().items() if key not in _OURS}
    config = type(encoder.config).from_dict(values)
    with new_folder(output) as folder:
        options = {"add_pooling_layer": False} if has_pooler else {}
        plain = stock.from_pretrained(
            None, config=config, state_dict=dict(weights), dtype=encoder.dtype, **options
        )
        plain.save_pretrained(folder)
        written = read_json(folder / "config.json") | _keys_of_transformers_4(config)
        write_json(folder / "config.json", dict(sorted(written.items())))
        loaded_tokenizer.save_pretrained(folder)
        files = plain_sentence_transformer_files(
            config, pooling, encoder.max_seq_length, encoder.config.normalize_embeddings
        )
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        again = AutoModel.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        difference = compare_weights(weights, again.state_dict())
    return Conversion(
        model=stock.__name__,
        compared=len(weights),
        max_difference=difference,
        dropped=_left_out(path, weights),
        notes=[
            *([_POOLER.format(pooling=pooling)] if has_pooler else []),
            *([_MEAN] if pooling == "mean" else []),
        ],
    )


def _keys_of_transformers_4(config: Any) -> dict[str, Any]:
    """What ModernBERT's config said before version 5, and text-embeddings-inference reads."""
    if config.model_type != "modernbert":
        return {}
    types, ropes = config.layer_types, config.rope_parameters
    full = [row for row, kind in enumerate(types) if kind == "full_attention"]
    every = full[1] if len(full) > 1 else len(types)
    if full != list(range(0, len(types), every)):
        return {}
    return {
        "global_attn_every_n_layers": every,
        "global_rope_theta": ropes["full_attention"]["rope_theta"],
        "local_rope_theta": ropes.get("sliding_attention", ropes["full_attention"])["rope_theta"],
    }


def _left_out(path: Path, encoder_names: Iterable[str]) -> list[str]:
    """The tensors of a checkpoint that are neither the encoder's nor merged into it."""
    adapter = path / "adapter_model.safetensors"
    with reading_model(path):
        names = load_file(adapter) if adapter.is_file() else read_weights(path)
    kept = tuple(encoder_names)
    return [name for name in names if "lora_" not in name and not modern_name(name).endswith(kept)]
