"""An exported encoder: texts to vectors by ONNX Runtime, OpenVINO or a graph of PyTorch."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from twhin_hf.loading.auto import load_post_encoder
from twhin_hf.modeling.post_encoder import TOKENIZED_AT_ONCE, sorted_batches
from twhin_hf.serving.pooled_encoder import INPUTS, OUTPUTS

EXPORT_NAME = "export.json"
"""What the folder of an export holds and how it was made."""

MODEL_FILES = {
    "onnx": "onnx/model.onnx",
    "openvino": "openvino/openvino_model.xml",
    "torch": "model.pt2",
}
"""Where a model of each format is: where sentence-transformers has it too."""

_RUNTIMES = {"onnx": ("onnxruntime",), "openvino": ("openvino",), "torch": ()}

Run = Callable[[Tensor, Tensor], np.ndarray]
"""`input_ids` and `attention_mask` `[rows, width]` to vectors `[rows, dimension]`."""


class ExportedEncoder:
    """Texts to vectors, as `encode` of the model that was exported.

    Attributes:
        run: What computes a batch.
        tokenizer: The model's.
        export: What `export.json` says: `pooling`, `normalize`, `max_length`, `longest`,
            `dimension`, …
    """

    def __init__(self, run: Run, tokenizer: PreTrainedTokenizerBase, export: dict[str, Any]):
        self.run = run
        self.tokenizer = tokenizer
        self.export = export

    def encode(
        self,
        texts: Sequence[str],
        batch_size: int = 64,
        max_length: int | None = None,
        normalize: bool = False,
        pooling: str | None = None,
    ) -> np.ndarray:
        """Vectors of texts, which are batched by length.

        Args:
            texts: The posts.
            batch_size: How many posts of `max_length` tokens a batch may hold.
            max_length: Tokens a post is cut to; by default as it was exported.
            normalize: Scale to length 1, also where the model does not.
            pooling: Must be None: it is a part of the graph.

        Returns:
            float32 `[len(texts), dimension]`, in the order of `texts`.

        Raises:
            ValueError: A `pooling`, a `max_length` above the model's, or a single string.
        """
        if isinstance(texts, str):
            raise ValueError("encode takes a list of texts; put the text in a list: [text]")
        if pooling is not None:
            raise ValueError(
                f"pooling is {pooling!r}; that of an exported model is a part of it "
                f"({' and '.join(self.export['pooling'])}): leave it out, or export the model anew."
            )
        max_length = max_length or self.export["max_length"]
        if max_length > self.export["longest"]:
            raise ValueError(
                f"max_length is {max_length}; this model reads {self.export['longest']} at most"
            )
        vectors = np.empty((len(texts), self.export["dimension"]), np.float32)
        for start in range(0, len(texts), TOKENIZED_AT_ONCE):
            block = list(texts[start : start + TOKENIZED_AT_ONCE])
            ids = self.tokenizer(block, truncation=True, max_length=max_length)["input_ids"]
            budget = batch_size * max_length
            for rows, batch in sorted_batches(ids, budget, self.tokenizer.pad_token_id):
                vectors[start + rows.numpy()] = self.run(*(batch[name] for name in INPUTS))
        if normalize:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
        return vectors


def is_exported(name_or_path: str | Path) -> bool:
    """Whether a folder is one that `twhin-hf export` wrote."""
    return (Path(name_or_path) / EXPORT_NAME).is_file()


def load_exported(folder: str | Path, trust: bool = False) -> ExportedEncoder:
    """Loads an exported model; it computes on the CPU, with as many threads as PyTorch.

    Args:
        folder: Of `twhin-hf export`.
        trust: A graph of PyTorch names what is to be called and is as good as code: give true for
            one that you exported yourself. The other formats need no trust.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: A graph of PyTorch without trust, or a library is missing.
    """
    folder = Path(folder)
    if not is_exported(folder):
        raise FileNotFoundError(f"There is no {folder / EXPORT_NAME}; `twhin-hf export` makes it.")
    export = json.loads((folder / EXPORT_NAME).read_text(encoding="utf-8"))
    kind = export["format"]
    check_libraries(kind, _RUNTIMES[kind])
    if kind == "torch" and not trust:
        raise ValueError(
            f"{folder} holds a graph of PyTorch, which is as good as code; load it with "
            "load_exported(folder, trust=True) if it is yours, or load the model it was made of."
        )
    run = _OPENERS[kind](folder / MODEL_FILES[kind])
    return ExportedEncoder(run, AutoTokenizer.from_pretrained(folder), export)


def load_encoder(name_or_path: str, revision: str | None = None, device: str = "cpu") -> Any:
    """What has `encode`: an exported model, or the `Twhin…Model` of any other.

    Args:
        name_or_path: Folder of an export; folder or repository of a model or an adapter.
        revision: Of the repository.
        device: Of a model; one that was exported computes on the CPU.

    Raises:
        ValueError: See `load_exported` and `load_post_encoder`.
    """
    if is_exported(name_or_path):
        return load_exported(name_or_path)
    return load_post_encoder(name_or_path, revision).to(device)


def check_libraries(kind: str, names: Sequence[str]) -> None:
    """Checks that the libraries of a format are installed.

    Args:
        kind: A key of `MODEL_FILES`, and the extra that has them.
        names: Of the libraries.

    Raises:
        ValueError: One is not.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"{kind} needs {', '.join(missing)}: `pip install 'twhin_hf[{kind}]'`")


def _open_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(input_ids: Tensor, attention_mask: Tensor) -> np.ndarray:
        feed = dict(zip(INPUTS, (input_ids.numpy(), attention_mask.numpy()), strict=True))
        return session.run(list(OUTPUTS[:1]), feed)[0]

    return run


def _open_openvino(path: Path) -> Run:
    import openvino

    options = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        # Else some processors would round to bfloat16.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    model = openvino.Core().compile_model(path, "CPU", options)

    def run(input_ids: Tensor, attention_mask: Tensor) -> np.ndarray:
        feed = dict(zip(INPUTS, (input_ids.numpy(), attention_mask.numpy()), strict=True))
        return model(feed)[OUTPUTS[0]]

    return run


def _open_torch(path: Path) -> Run:
    model = torch.export.load(path).module()

    @torch.inference_mode()
    def run(input_ids: Tensor, attention_mask: Tensor) -> np.ndarray:
        return model(input_ids=input_ids, attention_mask=attention_mask)[0].numpy()

    return run


_OPENERS = {"onnx": _open_onnx, "openvino": _open_openvino, "torch": _open_torch}
