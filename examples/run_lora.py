"""Adapt a checkpoint to your network with few weights (LoRA, through peft).

    pip install 'twhin_hf[peft]'
    accelerate launch examples/run_lora.py \\
        --config examples/configs/lora.yaml --model_name_or_path Twitter/twhin-bert-base \\
        --posts posts.parquet --pairs pairs.parquet --output_dir my-adapter

The output folder holds the adapter with the heads, some megabytes that stand on the checkpoint;
`merged` in it is a whole model, which needs neither peft nor the checkpoint. Load either with
`load_post_encoder` of `twhin_hf.modeling`, or the adapter with peft's
`AutoPeftModelForFeatureExtraction`.

`run_social_pretraining.py --lora` trains the same adapter, and `run_tpp.py --lora` one for
translations. Here the steps are written out, to be copied and changed.

`--help` lists all options; each may stand in the YAML file too, where an unknown key is an error.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass
class DataArguments:
    """What to train on, and what to leave."""

    posts: str | None = field(
        default=None, metadata={"help": "Posts: Parquet, CSV or JSON lines; file or folder."}
    )
    pairs: str | None = field(default=None, metadata={"help": "Mined pairs of posts (Parquet)."})
    merge: bool = field(
        default=True, metadata={"help": "Write the whole model too, to `merged` in output_dir."}
    )

    def check(self) -> None:
        """Checks that the files are there, before anything long begins.

        Raises:
            ValueError: one is not named.
            FileNotFoundError: one is not there.
        """
        from twhin_hf.commands.arguments import check_paths

        if not (self.posts and self.pairs):
            raise ValueError("posts or pairs missing: name the files of posts and of mined pairs")
        check_paths(self, "posts", "pairs")


def main(arguments: list[str] | None = None) -> None:
    """Trains an adapter as options and YAML file say, and merges it."""
    import pyarrow.parquet as pq

    from twhin_hf.commands.arguments import ModelArguments, load_model, parse_arguments
    from twhin_hf.data.posts import read_posts
    from twhin_hf.loading.auto import load_post_encoder
    from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer

    model_args, data, config = parse_arguments(
        [ModelArguments, DataArguments, SocialPretrainingConfig], "run_lora.py", arguments
    )
    model_args = replace(model_args, lora=True)
    model_args.check()
    data.check()
    model, tokenizer = load_model(model_args, config.seed)
    trainer = SocialPretrainingTrainer(
        model=model,
        args=config,
        train_dataset=read_posts(data.posts).dataset,
        pairs=pq.read_table(data.pairs),
        processing_class=tokenizer,
    )
    trainer.train(resume_from_checkpoint=config.resume_from_checkpoint)
    trainer.save_model()
    trainer.save_state()
    if data.merge and trainer.is_world_process_zero():
        folder = Path(config.output_dir)
        load_post_encoder(config.output_dir).save_pretrained(folder / "merged")
        tokenizer.save_pretrained(folder / "merged")
        print(
            f"adapter and heads: {megabytes(folder)}; whole model: {megabytes(folder / 'merged')}"
        )


def megabytes(folder: Path) -> str:
    """Size of the weights in a folder."""
    return f"{sum(file.stat().st_size for file in folder.glob('*.safetensors')) / 1e6:,.1f} MB"


if __name__ == "__main__":
    from twhin_hf.commands.cli import configure_logging

    configure_logging(logging.INFO)
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"run_lora.py: {error}")
