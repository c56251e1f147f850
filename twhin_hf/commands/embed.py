"""`twhin-hf embed`: vectors of posts, in a Parquet file."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "embed",
        help="write the vectors of posts to a Parquet file",
        description="Writes the vectors of posts to a Parquet file, in the order of the posts: "
        "columns post_id and embedding. Posts are embedded part by part, so that memory is "
        "bounded; a run that was broken off goes on with the parts that lack.",
    )
    parser.add_argument(
        "--model",
        required=True,
        help="folder or repository of the encoder, or folder of `twhin-hf export`",
    )
    parser.add_argument("--revision", help="revision of the repository")
    parser.add_argument(
        "--input",
        required=True,
        help="posts: post_id, text. Parquet, CSV or JSON lines; one file or a folder",
    )
    parser.add_argument("--output", required=True, help="Parquet file to write")
    parser.add_argument("--pooling", help="cls, mean or combined (default: the model's)")
    parser.add_argument("--normalize", action="store_true", help="scale vectors to length 1")
    parser.add_argument("--float16", action="store_true", help="write two bytes a number, not four")
    parser.add_argument(
        "--max-length", type=int, help="tokens a post is cut to (default: 128, or the model's most)"
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=64,
        help="posts of that length embedded at once (default: %(default)s)",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        help="processes, each with a model; they share out the GPUs (default: %(default)s)",
    )
    parser.add_argument("--device", help="default: cuda where there is one, else cpu")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Embeds and says what was written."""
    import torch

    from twhin_hf.serving.vectors import PostVectorsConfig, embed_posts

    config = PostVectorsConfig(
        model=args.model,
        revision=args.revision,
        pooling=args.pooling,
        max_length=args.max_length,
        normalize=args.normalize,
        float16=args.float16,
        batch_size=args.batch_size,
        processes=args.processes,
        device=args.device or ("cuda" if torch.cuda.is_available() else "cpu"),
    )
    report = embed_posts(args.input, args.output, config)
    print(
        f"{report.num_posts:,} vectors of {report.dimension:,} dimensions, saved in {args.output}"
    )
