"""`twhin-hf export`."""

from __future__ import annotations

from twhin_hf.serving.export_config import ExportConfig


def export(config: ExportConfig, output: str, overwrite: bool = False) -> None:
    """Export an encoder and its pooling as one graph, with its tokenizer.

    The vectors are compared with PyTorch's on texts of many languages and lengths, and nothing is
    kept if they differ too much (cosine below 0.999; 0.98 for int8).

    Args:
        config: The encoder, and how it is exported.
        output: Output folder.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    from rich.table import Table

    from twhin_hf.commands.options import model_identity, options_of_result
    from twhin_hf.printing import report
    from twhin_hf.run_file import run_whole_folder
    from twhin_hf.serving.export import export as export_encoder

    with run_whole_folder(
        output,
        "export",
        options_of_result(config, model=None),
        fingerprints={"model": model_identity(config.model, config.revision)},
        overwrite=overwrite,
    ) as run:
        if run.is_finished:
            return
        found = export_encoder(config, run.path)
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
