"""Train a SentenceTransformer on mined pairs, by the social loss and by a stock loss side by side.

Any checkpoint that sentence-transformers loads will do, those of this project among them:

    pip install 'twhin_hf[sentence-transformers]'
    accelerate launch examples/sentence_transformers_training.py \\
        --model sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2 \\
        --posts posts.parquet --pairs pairs.parquet --output sentence-models

Both losses start from the same weights and see the same batches. `SocialLoss` looks from every
post for its partner among all posts of the batch, and never takes a known positive for a negative;
`MultipleNegativesRankingLoss` looks from anchors to positives. Held-out pairs, of which the
training has seen neither post, tell how often a post finds its partner among all of them.

Each option may stand in a YAML file too (`--config`; `batch_size: 64`), where an unknown key is an
error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, over those of a YAML file.

    Raises:
        ValueError: an unknown key in the file.
        FileNotFoundError: the file is not there.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", help="YAML file with any of the options")
    parser.add_argument("--model", help="folder or repository to start from")
    parser.add_argument("--posts", help="posts: post_id, text")
    parser.add_argument("--pairs", help="pairs of `twhin-hf network mine`")
    parser.add_argument("--output", help="folder of the models and results")
    parser.add_argument("--held-out-share", type=float, default=0.1, help="default: %(default)s")
    parser.add_argument("--epochs", type=float, default=1.0, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=64, help="pairs (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=2e-5, help="default: %(default)s")
    parser.add_argument("--temperature", type=float, default=0.05, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    args = parser.parse_args(arguments)
    if args.config:
        from twhin_hf.commands.arguments import read_yaml

        parser.set_defaults(**read_yaml(args.config, set(vars(args))))
        args = parser.parse_args(arguments)
    missing = [name for name in ("model", "posts", "pairs", "output") if not getattr(args, name)]
    if missing:
        parser.error(f"{', '.join(missing)} missing: give them as options or in the YAML file")
    return args


def main(arguments: list[str] | None = None) -> dict[str, dict[str, float]]:
    """Trains with both losses and prints a table.

    Returns:
        The figures on held-out pairs of each loss, and those before the training; of several
        processes only the first has them.
    """
    args = parse_arguments(arguments)

    import pyarrow.parquet as pq
    from accelerate import PartialState
    from rich.console import Console
    from rich.table import Table
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    from twhin_hf.data.posts import read_posts
    from twhin_hf.evaluation.sentence_evaluators import RetrievalEvaluator
    from twhin_hf.training.sentence_losses import SocialLoss, social_sentences

    posts = read_posts(args.posts).dataset
    pairs = social_sentences(posts, pq.read_table(args.pairs))
    train_rows, held_out_rows = split_pairs(pairs.rows, args.held_out_share, args.seed)
    evaluator = RetrievalEvaluator(as_bitext(pairs.dataset.select(held_out_rows)))
    # The labels stay the numbers of all pairs, so the loss still knows every positive.
    train = pairs.dataset.select(train_rows)

    found = {}
    for name in ("before", "MultipleNegativesRankingLoss", "SocialLoss"):
        model = SentenceTransformer(args.model)
        folder = Path(args.output) / name
        if name == "SocialLoss":
            fit(model, SocialLoss(model, pairs.rows, args.temperature), train, folder, args)
        elif name == "MultipleNegativesRankingLoss":
            loss = MultipleNegativesRankingLoss(model, scale=1 / args.temperature)
            fit(model, loss, train.remove_columns("label"), folder, args)
        if PartialState().is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            found[name] = evaluator(model, str(folder))
        PartialState().wait_for_everyone()

    metrics = ("accuracy@1", "accuracy@10", "MRR")
    table = Table("loss", *metrics, title=f"Partners found among {len(held_out_rows):,} pairs")
    for name, figures in found.items():
        table.add_row(name, *(f"{figures[f'average_{metric}']:.4f}" for metric in metrics))
    if found:
        Console().print(table)
    return found


def fit(model: Any, loss: Any, dataset: Any, folder: Path, args: argparse.Namespace) -> None:
    """Trains a model and saves it."""
    from sentence_transformers import (
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )

    options = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=args.epochs,
        per_device_train_batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        warmup_steps=0.1,
        dataloader_drop_last=True,
        save_strategy="no",
        report_to="none",
        seed=args.seed,
    )
    trainer = SentenceTransformerTrainer(
        model=model, args=options, train_dataset=dataset, loss=loss
    )
    trainer.train()
    if trainer.is_world_process_zero():
        model.save_pretrained(str(folder))


def split_pairs(rows: Any, share: float, seed: int) -> tuple[Any, Any]:
    """Numbers of the pairs to train on and of those held out, which have no post in common.

    Args:
        rows: `[num_pairs, 2]`, the posts of each pair.
        share: of the posts that are held out; pairs of one post in and one out are left out.
        seed: of the choice.

    Raises:
        ValueError: too few pairs are left on a side.
    """
    import numpy as np

    held_out = np.random.default_rng(seed).random(rows.max() + 1) < share
    sides = held_out[rows]
    train, test = np.flatnonzero(~sides.any(axis=1)), np.flatnonzero(sides.all(axis=1))
    if len(train) < 2 or len(test) < 2:
        raise ValueError(
            f"{len(train)} pairs are left to train on and {len(test)} to judge by; give more pairs "
            "or another --held-out-share"
        )
    return train, test


def as_bitext(pairs: Any) -> Any:
    """Pairs as retrieval takes them: two sides, whose languages do not matter."""
    unknown = ["und"] * len(pairs)
    sides = pairs.select_columns(["anchor", "positive"]).rename_columns(
        {"anchor": "text_a", "positive": "text_b"}
    )
    return sides.add_column("lang_a", unknown).add_column("lang_b", unknown)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"sentence_transformers_training.py: {error}")
