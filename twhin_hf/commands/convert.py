"""`twhin-hf convert`: checkpoints of others into ours, and ours into plain encoders."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "convert",
        help="make a folder of ours from any checkpoint, or a plain encoder from ours",
        description="Makes a folder of ours from a checkpoint of BERT, mBERT, RoBERTa, XLM-R, "
        "XLM-T or ModernBERT, also of old transformers (pytorch_model.bin) and of fairseq "
        "(model.pt and dict.txt). With --to-encoder the other way: a plain encoder without our "
        "code and heads, as text-embeddings-inference and vLLM read it. All weights are compared "
        "afterwards; what the folder does not hold is told by name. The Hub is asked only where "
        "a repository is named.",
    )
    parser.add_argument(
        "--checkpoint", required=True, metavar="NAME", help="folder, or repository of the Hub"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--revision", help="of the repository")
    parser.add_argument(
        "--tokenizer", metavar="NAME", help="folder or repository; default: the checkpoint's own"
    )
    parser.add_argument(
        "--pooling",
        choices=("cls", "mean", "combined"),
        help="embedding of a post; default: the checkpoint's own, or combined",
    )
    parser.add_argument(
        "--to-encoder",
        action="store_true",
        help="write the encoder alone, as stock transformers has it (pooling: cls or mean)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Converts, and tells what became of each weight."""
    from rich.console import Console

    if args.to_encoder:
        from twhin_hf.conversion.encoder import convert_to_encoder as convert
    else:
        from twhin_hf.conversion.convert import convert_checkpoint as convert

    done = convert(
        args.checkpoint,
        args.output,
        tokenizer=args.tokenizer,
        revision=args.revision,
        pooling=args.pooling,
    )
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{done.model}: {done.compared:,} tensors compared, largest difference "
        f"{done.max_difference:g}; {len(done.renamed):,} have other names now"
    )
    for title, names in (("Left out", done.dropped), ("Added", done.added)):
        console.print(f"{title}: {', '.join(names) or 'nothing'}", markup=False)
    for note in done.notes:
        console.print(f"[bold]Note:[/] {note}")
    console.print(f"Saved in {args.output}")
