"""Options of `export`; importing nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from twhin_hf.errors import InputError

ExportFormat = Literal["onnx", "openvino", "torch"]


@dataclass(frozen=True)
class ExportConfig:
    """Encoder and format.

    Args:
        model: Encoder: folder or Hub repository, or an adapter.
        format: Format of the graph.
        revision: Revision of the repository.
        int8: Quantize the weights to int8 (onnx and openvino).

    Raises:
        InputError: An unknown format, or one that cannot be quantized.
    """

    model: str
    format: ExportFormat
    revision: str | None = None
    int8: bool = False

    def __post_init__(self) -> None:
        if self.format not in get_args(ExportFormat):
            raise InputError(f"format is {self.format!r}; choose one of {get_args(ExportFormat)}")
        if self.int8 and self.format == "torch":
            raise InputError("int8 is made for onnx and openvino; leave it out, or choose one")

    @property
    def precision(self) -> str:
        """Precision of the weights."""
        return "int8" if self.int8 else "float32"
