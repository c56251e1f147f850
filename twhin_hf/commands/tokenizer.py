"""`twhin-hf tokenizer`: trains an XLM-R-style unigram tokenizer from posts."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "tokenizer",
        help="train an XLM-R-style unigram tokenizer from posts",
        description="Trains an XLM-R-style unigram tokenizer from posts.",
    )
    parser.add_argument("--posts", required=True, help="Parquet, CSV or JSON lines; file or folder")
    parser.add_argument("--vocab-size", type=int, default=250_002, help="default: %(default)s")
    parser.add_argument(
        "--max-length", type=int, default=128, help="tokens a post is cut to (default: %(default)s)"
    )
    parser.add_argument("--output", required=True, help="folder to save the tokenizer in")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Trains and saves."""
    from twhin_hf.data.posts import read_posts
    from twhin_hf.data.tokenization import train_unigram_tokenizer

    posts, _ = read_posts(args.posts)
    texts = (text for batch in posts.iter(batch_size=1000) for text in batch["text"])
    trained = train_unigram_tokenizer(texts, args.vocab_size, max_length=args.max_length)
    trained.save_pretrained(args.output)
    print(f"{len(trained):,} tokens from {len(posts):,} posts, saved in {args.output}")
