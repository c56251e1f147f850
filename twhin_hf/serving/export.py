"""An encoder as a folder for ONNX Runtime, OpenVINO or PyTorch without our code.

What is written is compared with PyTorch before it is kept: its vectors must point where the model's
do, and its speed beside the model's is told.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twhin_hf.errors import InputError
from twhin_hf.files import new_folder, write_json
from twhin_hf.loading.auto import load_post_encoder
from twhin_hf.loading.fingerprint import model_fingerprint
from twhin_hf.scratch import scratch_folder
from twhin_hf.serving.embedding_settings import (
    VectorSettings,
    embedding_settings,
    sentence_transformer_paths,
)
from twhin_hf.serving.export_config import ExportConfig
from twhin_hf.serving.exported import (
    EXPORT_NAME,
    MODEL_FILES,
    ExportedEncoder,
    check_libraries,
    load_exported,
)
from twhin_hf.serving.graph import (
    EXPORTERS,
    ONNX_INT8,
    quantize_onnx,
    trace,
    write_onnx,
    write_openvino,
    write_torch,
)
from twhin_hf.serving.parity import Comparison, compare
from twhin_hf.serving.pooled_encoder import PooledEncoder
from twhin_hf.version import __version__

REQUIRED_COSINE = {"float32": 0.999, "int8": 0.98}
"""The least cosine of an exported vector with PyTorch's, by the precision of the weights."""


def export(config: ExportConfig, output: str | Path) -> Comparison:
    """Exports an encoder.

    The folder holds the model with pooling inside (`input_ids` and `attention_mask` to
    `sentence_embedding` and `last_hidden_state`), the tokenizer, the stock config, `export.json`,
    and the files of sentence-transformers where stock modules make the same vectors.

    Args:
        config: What, and how.
        output: The folder, which appears when it is complete and as near as it must be.

    Returns:
        How it compares with PyTorch.

    Raises:
        FileExistsError: The output is there.
        InputError: Libraries are missing, a model that cannot be loaded or whose modules are not
            ours to export, or vectors that are too far from PyTorch's.
    """
    output = Path(output)
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise FileExistsError(f"{output} is there; remove it, or give another output.")
    check_libraries(config.format, EXPORTERS[config.format])
    encoder = load_post_encoder(config.model, config.revision).float().eval()
    settings = embedding_settings(config.model, encoder, config.revision)
    tokenizer = encoder._own_tokenizer()
    encoder.check_tokenizer(tokenizer, settings.max_length)
    with new_folder(output) as folder:
        _write_beside(folder, config, encoder, tokenizer)
        told = _told(config, encoder, settings)
        pooled = PooledEncoder(encoder, settings).eval()
        pytorch = ExportedEncoder(_run_by(pooled), tokenizer, told)
        for options in _write_model(folder / MODEL_FILES[config.format], config, pooled):
            told |= {"quantization": options} if config.int8 else {}
            write_json(folder / EXPORT_NAME, told)
            found = compare(pytorch.encode, load_exported(folder, trust=True).encode)
            if found.min_cosine >= told["required_cosine"]:
                break
        else:
            raise InputError(
                f"the vectors of {config.model} as {config.format} in {config.precision} have a "
                f"cosine of {found.min_cosine:.4f} with PyTorch's at worst and "
                f"{found.mean_cosine:.4f} on average; {told['required_cosine']} is needed at "
                "worst. Nothing was written"
                + ("; export it without int8." if config.int8 else "."),
                faq="export-differs",
            )
        told |= {"comparison": found._asdict() | {"threads": torch.get_num_threads()}}
        write_json(folder / EXPORT_NAME, told)
    return found


def _write_model(path: Path, config: ExportConfig, pooled: PooledEncoder) -> Iterator[dict]:
    """Writes the model in one way after the other, and tells which."""
    program = trace(pooled)
    if config.format == "torch":
        path.parent.mkdir(parents=True, exist_ok=True)
        write_torch(program, path)
        yield {}
        return
    plain = config.format == "onnx" and not config.int8
    with scratch_folder(path.parents[2]) as scratch:
        source = path if plain else scratch / "model.onnx"
        write_onnx(program, source)
        del program
        if plain:
            yield {}
        elif config.format == "openvino":
            write_openvino(source, path, config.int8)
            yield {"mode": "int8_asym"} if config.int8 else {}
        else:
            for options in ONNX_INT8:
                shutil.rmtree(path.parent, ignore_errors=True)
                quantize_onnx(source, path, **options)
                yield options


def _write_beside(folder: Path, config: ExportConfig, encoder: Any, tokenizer: Any) -> None:
    """Tokenizer, stock config, and modules of sentence-transformers."""
    tokenizer.save_pretrained(folder)
    config_of_stock = copy.deepcopy(encoder.config)
    # No code lies beside it that it could name.
    config_of_stock.__dict__.pop("auto_map", None)
    config_of_stock.architectures = [type(encoder).__bases__[-1].__name__]
    config_of_stock.to_json_file(folder / "config.json")
    for name, path in sentence_transformer_paths(config.model, config.revision).items():
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(path, folder / name)


def _told(config: ExportConfig, encoder: Any, settings: VectorSettings) -> dict[str, Any]:
    libraries = ("torch", "transformers", *EXPORTERS[config.format])
    return {
        "model": config.model,
        "revision": config.revision,
        "source": model_fingerprint(config.model, config.revision),
        "format": config.format,
        "precision": config.precision,
        "model_file": MODEL_FILES[config.format],
        **asdict(settings),
        "longest": encoder.longest_post,
        "dimension": encoder.config.hidden_size * len(settings.pooling),
        "required_cosine": REQUIRED_COSINE[config.precision],
        "versions": {"twhin_hf": __version__} | {name: version(name) for name in libraries},
    }


def _run_by(model: PooledEncoder) -> Any:
    @torch.inference_mode()
    def run(input_ids: Tensor, attention_mask: Tensor) -> np.ndarray:
        return model(input_ids, attention_mask)[0].numpy()

    return run
