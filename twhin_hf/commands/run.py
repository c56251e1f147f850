"""`twhin-hf run`: the main job, from an engagement log to encoders that are compared."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "run",
        help="the main job: log → network → pairs → encoders → engagement prediction",
        description="Runs the main job as a YAML file says (see examples/configs/quickstart.yaml): "
        "splits the posts, embeds the network, mines pairs, trains a tokenizer and encoders with "
        "MLM and with MLM and the social loss, and compares them on posts never seen. A run that "
        "was broken off goes on after its last stage.",
    )
    parser.add_argument("--config", required=True, help="YAML file with the stages' options")
    parser.add_argument("--engagements", help="the log; in place of the file's")
    parser.add_argument("--posts", help="the posts; in place of the file's")
    parser.add_argument("--output", help="folder of all results; in place of the file's")
    parser.add_argument("--seeds", nargs="+", type=int, help="in place of the file's")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Reads the file and runs the pipeline."""
    from dataclasses import fields

    from twhin_hf.commands.arguments import read_yaml
    from twhin_hf.pipeline import PipelineConfig, run_pipeline

    values = read_yaml(args.config, {entry.name for entry in fields(PipelineConfig)})
    given = {name: getattr(args, name) for name in ("engagements", "posts", "output", "seeds")}
    values |= {name: value for name, value in given.items() if value is not None}
    missing = [name for name in ("engagements", "posts", "output") if not values.get(name)]
    if missing:
        raise ValueError(
            f"{args.config} lacks {missing}; write them there or give --{missing[0]} …"
        )
    run_pipeline(PipelineConfig(**values))
