"""`twhin-hf evaluate engagement`: who engages with posts never seen."""

from __future__ import annotations

import argparse

FORMATS = "Parquet, CSV or JSON lines; one file or a folder"


def add_parser(benchmarks: argparse._SubParsersAction) -> None:
    """Adds the benchmark."""
    parser = benchmarks.add_parser(
        "engagement",
        help="predict who engages with posts never seen (HITS@10, MRR)",
        description="Engagement prediction as in the TwHIN-BERT paper: frozen post features, two "
        "projections, the engaged post among 1,000. The network must have been embedded without "
        "the validation and test posts (the pipeline does so).",
    )
    parser.add_argument("--model", required=True, help="folder or repository of the encoder")
    parser.add_argument("--revision", help="revision of the repository")
    parser.add_argument("--posts", required=True, help=f"post_id, text, lang. {FORMATS}")
    parser.add_argument(
        "--engagements", required=True, help=f"the whole log: user_id, post_id. {FORMATS}"
    )
    parser.add_argument("--network", required=True, help="network folder with the users' vectors")
    parser.add_argument("--output", required=True, help="folder for results.json")
    parser.add_argument(
        "--split-seed", type=int, default=0, help="that of the network (default: %(default)s)"
    )
    parser.add_argument(
        "--runs", type=int, default=6, help="seeds; the median is reported (default: %(default)s)"
    )
    parser.add_argument(
        "--max-posts", type=int, default=10_000, help="posts a language (default: %(default)s)"
    )
    parser.add_argument(
        "--records-per-user",
        type=_count_or_all,
        default=1,
        metavar="N",
        help="records of a user in a language, or 'all' (default: %(default)s, as in the paper)",
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, help="posts encoded at once (default: %(default)s)"
    )
    parser.add_argument(
        "--max-length", type=int, help="tokens a post is cut to (default: 128, or the model's most)"
    )
    parser.add_argument(
        "--pooling",
        help="cls, mean or combined (default: the model's own, combined where it names none, as in "
        "the paper; the result states it)",
    )
    parser.add_argument("--device", help="default: cuda where there is one, else cpu")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Checks the input for leaks, then encodes, trains the predictors and writes the results."""
    import torch
    from rich.console import Console

    from twhin_hf.benchmarks.engagement.benchmark import build_benchmark
    from twhin_hf.data.posts import read_posts
    from twhin_hf.data.splits import check_no_leak, split_posts
    from twhin_hf.evaluation.engagement import (
        EngagementConfig,
        engagement_rows,
        evaluate_post_features,
    )
    from twhin_hf.evaluation.text_encoders import load_text_encoder
    from twhin_hf.network.folder import load_network
    from twhin_hf.network.log import read_log
    from twhin_hf.results import Results, results_table, write_results

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    config = EngagementConfig(seeds=tuple(range(args.runs)), device=device)
    network = load_network(args.network)
    posts = read_posts(args.posts).dataset.with_format("arrow")[:]
    splits = split_posts(posts["post_id"], args.split_seed)
    check_no_leak(network.post_ids, posts["post_id"].filter(splits != "train"), what="The network")
    encoder = load_text_encoder(
        args.model,
        args.revision,
        pooling=args.pooling,
        batch_size=args.batch_size,
        max_length=args.max_length,
        device=device,
    )
    benchmark = build_benchmark(
        read_log(args.engagements, args.posts),
        network,
        posts,
        splits,
        max_posts=args.max_posts,
        records_per_user=args.records_per_user,
    )
    found = evaluate_post_features(encoder.encode(benchmark.texts), benchmark, config)
    results = Results(
        task="engagement",
        model=args.model,
        revision=args.revision,
        results=engagement_rows(found, config),
        options={
            "split_seed": args.split_seed,
            "max_posts": args.max_posts,
            "records_per_user": args.records_per_user,
            "max_length": args.max_length,
            "class": encoder.kind,
            "pooling": encoder.pooling,
            "benchmark": benchmark.counts,
        },
    )
    path = write_results(results, args.output)
    console = Console()
    console.print(results_table(results, title="Engagement prediction on posts never seen"))
    console.print(f"Saved in {path}")


def _count_or_all(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number from 1 on nor 'all'")
    return int(text)
