"""`twhin-hf export`: an encoder for ONNX Runtime, OpenVINO or PyTorch without our code."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "export",
        help="write an encoder for ONNX Runtime, OpenVINO or torch.export",
        description="Writes an encoder and its pooling as one graph, with its tokenizer. The "
        "vectors are compared with PyTorch's on texts of many languages and lengths, and nothing "
        "is kept that is too far from them (cosine below 0.999; 0.98 for int8); the speed of both "
        "is told.",
    )
    parser.add_argument("--model", required=True, help="folder or repository of the encoder")
    parser.add_argument("--revision", help="revision of the repository")
    parser.add_argument("--format", required=True, choices=("onnx", "openvino", "torch"))
    parser.add_argument("--output", required=True, help="folder to write")
    parser.add_argument(
        "--int8", action="store_true", help="weights of one byte, a quarter (onnx and openvino)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Exports and shows how it compares."""
    from rich.console import Console
    from rich.table import Table

    from twhin_hf.serving.export import ExportConfig, export_encoder

    config = ExportConfig(args.model, args.format, args.revision, args.int8)
    found = export_encoder(config, args.output)
    title = f"{found.num_texts} texts, in {args.output}"
    table = Table("", "texts a second", "speed", "least cosine", "mean cosine", title=title)
    table.add_row("PyTorch", f"{found.pytorch_texts_per_second:,.0f}", "1 ×", "", "")
    table.add_row(
        f"{config.format} {config.precision}",
        f"{found.exported_texts_per_second:,.0f}",
        f"{found.speedup:.2f} ×",
        f"{found.min_cosine:.5f}",
        f"{found.mean_cosine:.5f}",
    )
    Console().print(table)
