"""`twhin-hf evaluate alignment`: have translations come closer?"""

from __future__ import annotations

import argparse

from twhin_hf.commands.evaluate_retrieval import PAIRS, add_encode_options


def add_parser(benchmarks: argparse._SubParsersAction) -> None:
    """Adds the benchmark."""
    parser = benchmarks.add_parser(
        "alignment",
        help="distances and pictures of translations before and after training",
        description="Mean distance between translations by two encoders, beside that of texts "
        "that are none, and both sides in two dimensions: t-SNE, and UMAP where umap-learn is "
        "installed (pip install 'twhin_hf[umap]').",
    )
    parser.add_argument("--before", required=True, help="folder or repository of the encoder")
    parser.add_argument("--after", required=True, help="folder or repository, after its training")
    parser.add_argument("--pairs", required=True, nargs="+", help=PAIRS)
    parser.add_argument(
        "--output", required=True, help="folder for results.json, distances.csv and the pictures"
    )
    parser.add_argument(
        "--max-pairs", type=int, default=500, help="of each two languages (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    add_encode_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Reads the pairs, then encodes them twice, and writes distances and pictures."""
    from pathlib import Path

    import torch
    from datasets import concatenate_datasets
    from rich.console import Console

    from twhin_hf.benchmarks.zero_shot.readers import read_bitext
    from twhin_hf.evaluation.alignment import (
        METHODS,
        alignment_rows,
        available_methods,
        common_options,
        evaluate_alignment,
        write_distances,
    )
    from twhin_hf.evaluation.alignment_plots import plot_alignment, plot_distances
    from twhin_hf.loading.auto import load_post_encoder
    from twhin_hf.results import Results, results_table, write_results

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    pairs = concatenate_datasets([read_bitext(path) for path in args.pairs])
    before, after = (load_post_encoder(name).to(device) for name in (args.before, args.after))
    options = common_options(before, after, args.pooling, args.max_length)
    found = evaluate_alignment(
        before,
        after,
        pairs,
        max_pairs=args.max_pairs,
        seed=args.seed,
        batch_size=args.batch_size,
        **options,
    )
    methods, folder, console = available_methods(), Path(args.output), Console()
    results = Results(
        task="alignment",
        model=args.after,
        results=alignment_rows(found),
        options={
            "before": args.before,
            "pairs": args.pairs,
            "max_pairs": args.max_pairs,
            "seed": args.seed,
            **options,
            "methods": methods,
        },
    )
    made = [
        write_results(results, folder),
        write_distances(found, folder / "distances.csv"),
        plot_distances(found, folder / "distances.png"),
        *(
            plot_alignment(
                alignment, folder / f"{'-'.join(alignment.languages)}.png", methods, args.seed
            )
            for alignment in found
        ),
    ]
    console.print(results_table(results, title="Distance between translations"))
    if len(methods) < len(METHODS):
        console.print("No UMAP: umap-learn is not installed (pip install 'twhin_hf\\[umap]').")
    for path in made:
        console.print(f"Saved in {path}")
