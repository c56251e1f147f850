"""An exported encoder: texts to vectors by ONNX Runtime, OpenVINO or a graph of PyTorch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from twhin_hf.errors import InputError, reading
from twhin_hf.files import read_json_object
from twhin_hf.loading.auto import load_post_encoder
from twhin_hf.loading.joined import is_joined, load_joined_encoder
from twhin_hf.loading.text_encoders import TextEncoder, load_text_encoder
from twhin_hf.modeling.post_encoder import (
    batches_of_texts,
    finish_embeddings,
    list_of_texts,
    renamed_option,
)
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

    Args:
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
        texts: str | Sequence[str],
        batch_size: int = 64,
        max_length: int | None = None,
        normalize_embeddings: bool | None = None,
        pooling: str | None = None,
        *,
        show_progress_bar: bool = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        normalize: bool | None = None,
    ) -> Any:
        """Vectors of texts, which are batched by length.

        Args:
            texts: The posts, or a single one.
            batch_size: How many posts of `max_length` tokens per batch may hold.
            max_length: Maximum sequence length; longer posts are truncated. By default as exported.
            normalize_embeddings: Scale to length 1, also where the model does not.
            pooling: Must be None: it is a part of the graph.
            show_progress_bar: Show a bar that counts the posts.
            convert_to_numpy: Give a NumPy array (the default); false gives a tensor.
            convert_to_tensor: Give a tensor.
            normalize: Old name of `normalize_embeddings`.

        Returns:
            float32 `[len(texts), dimension]`, in the order of `texts`; `[dimension]` for a single
            text.

        Raises:
            InputError: A `pooling`, a `max_length` above the model's, or a text that is no string.
        """
        posts = list_of_texts(texts)
        if pooling is not None:
            raise InputError(
                f"pooling is {pooling!r}; that of an exported model is a part of it "
                f"({' and '.join(self.export['pooling'])}): leave it out, or export the model anew."
            )
        max_length = max_length or self.export["max_length"]
        if max_length > self.export["longest"]:
            raise InputError(
                f"max_length is {max_length}; this model reads {self.export['longest']} at most"
            )
        vectors = np.empty((len(posts), self.export["dimension"]), np.float32)
        budget = batch_size * max_length
        batches = batches_of_texts(posts, self.tokenizer, budget, max_length, show_progress_bar)
        for rows, batch in batches:
            vectors[rows.numpy()] = self.run(*(batch[name] for name in INPUTS))
        return finish_embeddings(
            torch.from_numpy(vectors),
            is_single=isinstance(texts, str),
            normalize_embeddings=bool(
                renamed_option(normalize, normalize_embeddings, stacklevel=3)
            ),
            convert_to_numpy=convert_to_numpy and not convert_to_tensor,
        )


def is_exported(name_or_path: str | Path) -> bool:
    """Whether a folder is one that `twhin-hf export` wrote."""
    return (Path(name_or_path) / EXPORT_NAME).is_file()


def source_fingerprint(name_or_path: str | Path) -> str | None:
    """The fingerprint of the model that an export was made of; None of what is no export.

    Raises:
        InputError: Its `export.json` is damaged.
    """
    if not is_exported(name_or_path):
        return None
    found = _read_export(Path(name_or_path) / EXPORT_NAME).get("source")
    return found if isinstance(found, str) else None


def load_exported(folder: str | Path, trust: bool = False) -> ExportedEncoder:
    """Loads an exported model; it computes on the CPU, with as many threads as PyTorch.

    Args:
        folder: Of `twhin-hf export`.
        trust: A graph of PyTorch names what is to be called and is as good as code: give true for
            one that you exported yourself. The other formats need no trust.

    Raises:
        FileNotFoundError: No such folder.
        InputError: A graph of PyTorch without trust, or a library is missing.
    """
    folder = Path(folder)
    if not is_exported(folder):
        raise FileNotFoundError(f"There is no {folder / EXPORT_NAME}; `twhin-hf export` makes it.")
    export = _read_export(folder / EXPORT_NAME)
    kind = export["format"]
    check_libraries(kind, _RUNTIMES[kind])
    if kind == "torch" and not trust:
        raise InputError(
            f"{folder} holds a graph of PyTorch, which is as good as code; load it with "
            "load_exported(folder, trust=True) if it is yours, or load the model it was made of."
        )
    with reading(folder, "Export the model again (`twhin-hf export`).", (Exception,)):
        run = _OPENERS[kind](folder / MODEL_FILES[kind])
        if kind == "openvino":
            run = _in_few_shapes(run, export["longest"])
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return ExportedEncoder(run, tokenizer, export)


def _read_export(path: Path) -> dict[str, Any]:
    """What `export.json` says, its types checked."""
    export = read_json_object(path)
    kinds = dict.fromkeys(("max_length", "longest", "dimension"), int)
    for name, kind in {"format": str, "pooling": list, **kinds}.items():
        if type(export.get(name)) is not kind:
            raise InputError(
                f"{path}: {name} is {export.get(name)!r}; needed is what `twhin-hf export` writes. "
                "Export the model again."
            )
    if export["format"] not in MODEL_FILES:
        raise InputError(
            f"{path}: format is {export['format']!r}; known are {', '.join(MODEL_FILES)}."
        )
    return export


def load_encoder(
    name_or_path: str,
    revision: str | None = None,
    device: str = "cpu",
    pooling: str | None = None,
) -> Any:
    """What has `encode`: an exported model, or the `Twhin…Model` of any other.

    Args:
        name_or_path: Folder of an export; folder or repository of a model or an adapter.
        revision: Revision of the repository.
        device: Of a model; one that was exported computes on the CPU.
        pooling: What `encode` will be asked for: heads take the model with its heads
            (`load_joined_encoder`).

    Raises:
        InputError: See `load_exported`, `load_joined_encoder` and `load_post_encoder`.
    """
    if is_exported(name_or_path):
        return load_exported(name_or_path)
    if pooling is not None and is_joined(pooling):
        return load_joined_encoder(name_or_path, pooling, revision, device)
    return load_post_encoder(name_or_path, revision).to(device)


def load_frozen_encoder(name_or_path: str) -> TextEncoder:
    """An exported model, or what `load_text_encoder` loads, for an engagement model.

    Args:
        name_or_path: Folder of an export; folder or repository of any encoder.

    Raises:
        InputError: See `load_exported` and `load_text_encoder`.
    """
    if not is_exported(name_or_path):
        return load_text_encoder(name_or_path)
    exported = load_exported(name_or_path)
    pooling = " and ".join(exported.export["pooling"])
    return TextEncoder(exported.encode, pooling, type(exported).__name__)


def check_libraries(kind: str, names: Sequence[str]) -> None:
    """Checks that the libraries of a format are installed.

    Args:
        kind: A key of `MODEL_FILES`, and the extra that has them.
        names: Of the libraries.

    Raises:
        InputError: One is not.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{kind} needs {', '.join(missing)}: `pip install 'twhin_hf[{kind}]'`")


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


def _in_few_shapes(run: Run, longest: int) -> Run:
    """Pads batches, so that few shapes occur: OpenVINO compiles each, which takes longer than it.

    Args:
        run: What computes a batch.
        longest: Most tokens that it reads.
    """

    def padded(input_ids: Tensor, attention_mask: Tensor) -> np.ndarray:
        rows, width = input_ids.shape
        to = (0, max(0, min(8 * -(-width // 8), longest) - width), 0, _rounded(rows) - rows)
        # Rows that are all padding would have nothing to attend to.
        ids = torch.nn.functional.pad(input_ids, to)
        mask = torch.nn.functional.pad(attention_mask, to)
        mask[rows:, 0] = 1
        return run(ids, mask)[:rows]

    return padded


def _rounded(rows: int) -> int:
    """The next number of rows of those that occur, two for each power of two.

    Example:
        >>> [_rounded(rows) for rows in (1, 2, 3, 4, 5, 7, 9, 33)]
        [1, 2, 3, 4, 6, 8, 12, 48]
    """
    step = 2 ** max(0, (rows - 1).bit_length() - 2)
    return step * -(-rows // step)


def _open_torch(path: Path) -> Run:
    model = torch.export.load(path).module()

    @torch.inference_mode()
    def run(input_ids: Tensor, attention_mask: Tensor) -> np.ndarray:
        return model(input_ids=input_ids, attention_mask=attention_mask)[0].numpy()

    return run


_OPENERS = {"onnx": _open_onnx, "openvino": _open_openvino, "torch": _open_torch}
