"""`twhin-hf evaluate retrieval`: does a text find its translation?"""

from __future__ import annotations

import argparse

PAIRS = (
    "files or folders of translation pairs: two columns without a header in a file named after "
    "its languages (en-ar.tsv), or Parquet, CSV or JSON lines with text_a, text_b, lang_a, lang_b"
)


def add_parser(benchmarks: argparse._SubParsersAction) -> None:
    """Adds the benchmark."""
    parser = benchmarks.add_parser(
        "retrieval",
        help="find each text's translation among all (accuracy@1, @10, MRR)",
        description="Bitext retrieval in both directions, by cosine and by the ratio margin of "
        "Artetxe and Schwenk (2019). A text with several translations may find any of them.",
    )
    parser.add_argument("--model", required=True, help="folder or repository of the encoder")
    parser.add_argument("--revision", help="revision of the repository")
    parser.add_argument("--pairs", required=True, nargs="+", help=PAIRS)
    parser.add_argument("--output", required=True, help="folder for results.json")
    parser.add_argument(
        "--neighbours", type=int, default=4, help="k of the margin (default: %(default)s)"
    )
    parser.add_argument(
        "--projected",
        action="store_true",
        help="compare what the TPP head makes of the texts, as training does, in place of the "
        "encoder's pooled vectors",
    )
    add_encode_options(parser)
    parser.set_defaults(run=run)


def add_encode_options(parser: argparse.ArgumentParser) -> None:
    """Adds how texts are encoded."""
    parser.add_argument("--pooling", help="cls, mean or combined (default: the model's)")
    parser.add_argument(
        "--batch-size", type=int, default=32, help="texts encoded at once (default: %(default)s)"
    )
    parser.add_argument(
        "--max-length", type=int, help="tokens a text is cut to (default: 128, or the model's most)"
    )
    parser.add_argument("--device", help="default: cuda where there is one, else cpu")


def run(args: argparse.Namespace) -> None:
    """Reads the pairs, then encodes, ranks and writes the results."""
    import torch
    from datasets import concatenate_datasets
    from rich.console import Console

    from twhin_hf.benchmarks.zero_shot.readers import read_bitext
    from twhin_hf.evaluation.retrieval import evaluate_retrieval, retrieval_rows
    from twhin_hf.loading.auto import load_post_encoder, load_with_heads
    from twhin_hf.results import Results, results_table, write_results

    if args.projected and args.pooling:
        raise ValueError(
            "--projected and --pooling exclude each other: the TPP head reads the pooling that it "
            "was trained on. Leave one out"
        )
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    pairs = concatenate_datasets([read_bitext(path) for path in args.pairs])
    vectors: dict[str, str]
    if args.projected:
        model = load_with_heads(args.model, args.revision).to(device)
        vectors, pooling = {"objective": "tpp"}, model.config.tpp_pooling
    else:
        model = load_post_encoder(args.model, args.revision).to(device)
        pooling = args.pooling or model.config.pooling
        vectors = {"pooling": pooling}
    found = evaluate_retrieval(
        model,
        pairs,
        neighbours=args.neighbours,
        device=device,
        batch_size=args.batch_size,
        max_length=args.max_length,
        **vectors,
    )
    results = Results(
        task="retrieval",
        model=args.model,
        revision=args.revision,
        results=retrieval_rows(found),
        options={
            "pairs": args.pairs,
            "pooling": pooling,
            "projected": args.projected,
            "max_length": args.max_length,
            "neighbours": args.neighbours,
        },
    )
    path = write_results(results, args.output)
    console = Console()
    console.print(results_table(results, title="Translations found"))
    console.print(f"Saved in {path}")
