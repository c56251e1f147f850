"""`twhin-hf run`."""

from __future__ import annotations

from twhin_hf.pipeline_config import PipelineConfig


def run(config: PipelineConfig, overwrite: bool = False) -> None:
    """Run the main job, from an engagement log to encoders that are compared.

    Splits the posts, embeds the network, mines pairs, trains a tokenizer and encoders with MLM and
    with MLM and the social loss, and compares them on posts never seen. A run that was interrupted
    continues after its last stage. `--config quickstart` is a small one on generated data.

    Args:
        config: The main job.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    from twhin_hf.pipeline import run_pipeline

    run_pipeline(config, overwrite=overwrite)
