"""`twhin-hf export`."""

from __future__ import annotations

from twhin_hf.serving.export_config import ExportConfig


def export(config: ExportConfig, output: str) -> None:
    """Export an encoder and its pooling as one graph, with its tokenizer.

    The vectors are compared with PyTorch's on texts of many languages and lengths, and nothing is
    kept if they differ too much (cosine below 0.999; 0.98 for int8).

    Args:
        config: The encoder, and how it is exported.
        output: Output folder.
    """
    from rich.table import Table

    from twhin_hf.report import report
    from twhin_hf.serving.export import export as export_encoder

    found = export_encoder(config, output)
    table = Table("", "texts/s", "speed", "least cosine", "mean cosine")
    table.add_row("PyTorch", f"{found.pytorch_texts_per_second:,.0f}", "1 ×", "", "")
    table.add_row(
        f"{config.format} {config.precision}",
        f"{found.exported_texts_per_second:,.0f}",
        f"{found.speedup:.2f} ×",
        f"{found.min_cosine:.5f}",
        f"{found.mean_cosine:.5f}",
    )
    report(f"{found.num_texts} texts compared", table)
    report(f"Saved in {output}")
