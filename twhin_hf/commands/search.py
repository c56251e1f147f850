"""`twhin-hf search`: the posts nearest to a text."""

from __future__ import annotations

import argparse
import logging

logger = logging.getLogger(__name__)


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "search",
        help="find the posts nearest to a text, among the vectors of `twhin-hf embed`",
        description="Finds the posts nearest to each query, by cosine and exactly. Queries are "
        "embedded as the vectors were.",
    )
    parser.add_argument("--vectors", required=True, help="Parquet file of `twhin-hf embed`")
    parser.add_argument("--model", required=True, help="the encoder that made the vectors")
    parser.add_argument("--revision", help="revision of the repository")
    parser.add_argument("--posts", help="post_id, text: shows the texts of what was found")
    parser.add_argument("--query", required=True, nargs="+", metavar="TEXT", help="texts to find")
    parser.add_argument("-k", type=int, default=10, help="posts a query (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Searches and prints a table for each query."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from twhin_hf.serving.exported import load_encoder
    from twhin_hf.serving.search import search_vectors, texts_of, vectors_made_with

    made_with = vectors_made_with(args.vectors)
    if made_with and made_with["model"] != args.model:
        logger.warning(
            "the vectors were made with %s; those of another model cannot be compared with them",
            made_with["model"],
        )
    encoder = load_encoder(args.model, args.revision)
    queries = encoder.encode(
        args.query, max_length=made_with.get("max_length"), pooling=made_with.get("pooling")
    )
    hits = search_vectors(args.vectors, np.asarray(queries), args.k)
    found = sorted({post_id for post_ids in hits.post_ids for post_id in post_ids})
    texts = texts_of(args.posts, found) if args.posts else {}
    console = Console()
    for query, post_ids, cosines in zip(args.query, hits.post_ids, hits.cosines, strict=True):
        table = Table("post", "cosine", "text", title=Text(query))
        for post_id, cosine in zip(post_ids, cosines, strict=True):
            table.add_row(Text(post_id), f"{cosine:.4f}", Text(texts.get(post_id, "")))
        console.print(table)
