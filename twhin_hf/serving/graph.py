"""A model as a graph: traced once by PyTorch, written for PyTorch, ONNX Runtime and OpenVINO."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from twhin_hf.serving.pooled_encoder import INPUTS, OUTPUTS, PooledEncoder

EXPORTERS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino", "nncf"),
    "torch": (),
}
"""The libraries that each format is written with."""

ONNX_INT8: tuple[dict[str, Any], ...] = (
    {"per_channel": False},
    {"per_channel": True, "op_types_to_quantize": ["MatMul"]},
)
"""Ways to make int8 weights, the faster and smaller first: one scale a matrix, embeddings too; or
one a column, with the embeddings left as they are."""

PROTOBUF_LIMIT = 2**31 - 2**26
"""Bytes of weights above which they do not fit into an ONNX file and lie beside it."""


def trace(model: PooledEncoder) -> torch.export.ExportedProgram:
    """The graph of a model, for any number of posts of any length that it reads.

    Args:
        model: On the CPU, in evaluation mode.
    """
    rows = torch.export.Dim("batch")
    width = torch.export.Dim("sequence", min=2, max=model.encoder.longest_post)
    example = {name: torch.ones(2, 8, dtype=torch.long) for name in INPUTS}
    with _quiet():
        program = torch.export.export(
            model, (), kwargs=example, dynamic_shapes={name: {0: rows, 1: width} for name in INPUTS}
        )
    return program


def write_torch(program: torch.export.ExportedProgram, path: Path) -> None:
    """Writes the graph as `.pt2`: weights as plain bytes, the graph as JSON.

    Example inputs, which would be pickled, are left out; nothing in the file is a pickle.
    """
    program.example_inputs = None
    torch.export.save(program, path)


def write_onnx(program: torch.export.ExportedProgram, path: Path) -> None:
    """Writes the graph as ONNX, with weights beside it where they are more than 2 GB."""
    with _quiet():
        converted = torch.onnx.export(
            program,
            (),
            kwargs={name: torch.ones(2, 8, dtype=torch.long) for name in INPUTS},
            dynamo=True,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            verbose=False,
        )
    assert converted is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = sum(value.nbytes for value in program.state_dict.values())
    converted.save(path, external_data=weights > PROTOBUF_LIMIT)


def quantize_onnx(source: Path, path: Path, **options: Any) -> None:
    """Writes an ONNX model anew with int8 weights; activations are quantized as they come.

    Args:
        source: In float32.
        path: To write.
        **options: One of `ONNX_INT8`.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    size = sum(file.stat().st_size for file in source.parent.glob(f"{source.name}*"))
    beside = size > PROTOBUF_LIMIT
    prepared = source.with_name("prepared.onnx")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _quiet():
        quant_pre_process(source, prepared, skip_symbolic_shape=True, save_as_external_data=beside)
        quantize_dynamic(
            prepared, path, weight_type=QuantType.QInt8, use_external_data_format=beside, **options
        )


def write_openvino(source: Path, path: Path, int8: bool) -> None:
    """Writes an ONNX model as OpenVINO's.

    Args:
        source: ONNX in float32.
        path: The `.xml`; the weights lie beside it.
        int8: Weights in int8, with a scale and zero point for each column.
    """
    import openvino

    # Not by `convert_model`, which reports its use over the network.
    model = openvino.Core().read_model(source)
    if int8:
        # For the same reason: this makes nncf's report a stub.
        os.environ["NNCF_CI"] = "1"
        import nncf

        # Not by `nncf.set_log_level`, which silences the handlers of others too, for good.
        with _quiet("nncf"):
            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, path, compress_to_fp16=False)


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """The libraries tell of their insides, partly in the root's name; nobody can mend it here.

    Args:
        *names: More loggers; a library that makes its logger by itself has been imported before.
    """
    loggers = [logging.getLogger(name) for name in (None, "torch.onnx", *names)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
