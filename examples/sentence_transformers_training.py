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

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class FitOptions:
    """Training.

    Args:
        epochs: Passes over the pairs.
        batch_size: Pairs per batch.
        learning_rate: Peak learning rate.
        temperature: Temperature of both losses.
        seed: Random seed.
    """

    epochs: float = 1.0
    batch_size: int = 64
    learning_rate: float = 2e-5
    temperature: float = 0.05
    seed: int = 0


def train_both(
    model: str,
    posts: str,
    pairs: str,
    output: str,
    options: FitOptions,
    held_out_share: float = 0.1,
    columns: dict[str, str] | None = None,
) -> dict[str, dict[str, float]]:
    """Train a SentenceTransformer on mined pairs, by the social loss and by a stock loss.

    Args:
        model: Model to start from: folder or Hub repository.
        posts: Posts (post_id, text): Parquet, CSV or JSON lines; file or folder.
        pairs: Pairs of `twhin-hf network mine`.
        output: Folder of the models and results.
        options: Options of the training.
        held_out_share: Share of the posts that is held out.
        columns: Rename columns of the posts: NAME=COLUMN.

    Returns:
        The figures on held-out pairs of each loss, and those before the training; of several
        processes only the first has them.
    """
    import pyarrow.parquet as pq
    from accelerate import PartialState
    from rich.table import Table
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    from twhin_hf.data.posts import read_posts
    from twhin_hf.evaluation.sentence_evaluators import RetrievalEvaluator
    from twhin_hf.printing import report
    from twhin_hf.training.sentence_losses import SocialLoss, social_sentences

    read = read_posts(posts, columns=columns).dataset
    sentences = social_sentences(read, pq.read_table(pairs))
    train_rows, held_out_rows = split_pairs(sentences.rows, held_out_share, options.seed)
    evaluator = RetrievalEvaluator(as_bitext(sentences.dataset.select(held_out_rows)))
    # The labels stay the numbers of all pairs, so the loss still knows every positive.
    train = sentences.dataset.select(train_rows)

    found = {}
    for name in ("before", "MultipleNegativesRankingLoss", "SocialLoss"):
        trained = SentenceTransformer(model, trust_remote_code=False)
        folder = Path(output) / name
        if name == "SocialLoss":
            loss: Any = SocialLoss(trained, sentences.rows, options.temperature)
            fit(trained, loss, train, folder, options)
        elif name == "MultipleNegativesRankingLoss":
            loss = MultipleNegativesRankingLoss(trained, scale=1 / options.temperature)
            fit(trained, loss, train.remove_columns("label"), folder, options)
        if PartialState().is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            found[name] = evaluator(trained, str(folder))
        PartialState().wait_for_everyone()

    metrics = ("accuracy@1", "accuracy@10", "MRR")
    table = Table("loss", *metrics)
    for name, figures in found.items():
        table.add_row(name, *(f"{figures[f'average_{metric}']:.4f}" for metric in metrics))
    if found:
        report(f"Partners found among {len(held_out_rows):,} pairs", table)
    return found


def fit(model: Any, loss: Any, dataset: Any, folder: Path, options: FitOptions) -> None:
    """Trains a model and saves it."""
    from sentence_transformers import (
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )

    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        warmup_steps=0.1,
        dataloader_drop_last=True,
        save_strategy="no",
        report_to="none",
        seed=options.seed,
    )
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=dataset, loss=loss
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
            "or another --held_out_share"
        )
    return train, test


def as_bitext(pairs: Any) -> Any:
    """Pairs as retrieval takes them: two sides, whose languages do not matter."""
    unknown = ["und"] * len(pairs)
    sides = pairs.select_columns(["anchor", "positive"]).rename_columns(
        {"anchor": "text_a", "positive": "text_b"}
    )
    return sides.add_column("lang_a", unknown).add_column("lang_b", unknown)


def main(arguments: list[str] | None = None) -> dict[str, dict[str, float]]:
    """Trains as the command line says."""
    from twhin_hf.commands.parsing import run_command

    arguments = sys.argv[1:] if arguments is None else arguments
    return run_command(train_both, arguments, "sentence_transformers_training.py")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"sentence_transformers_training.py: {error}")
