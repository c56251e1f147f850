"""`twhin-hf plan`."""

from __future__ import annotations

from twhin_hf.planning.plan_config import PlanConfig


def plan(config: PlanConfig) -> None:
    """Say how many hours, and how much memory and disk, a run takes, stage by stage.

    Numbers may be written as 7e9. Each line names the rate that it follows and where that was
    measured; hours hold if the work divides evenly among all cores and GPUs. Recommenders,
    evaluations and the encoder of `--config from_scratch`, which takes minutes, are not in it; the
    start page of recommender engineers says what those took on a log of 1.5 million engagements.

    Args:
        config: The run to plan.
    """
    from twhin_hf.planning.plan import plan_run
    from twhin_hf.planning.show import plan_table, rate_lines
    from twhin_hf.printing import report

    stages = plan_run(config)
    report(
        f"{config.posts:,.0f} posts, {config.engagements:,.0f} engagements of "
        f"{config.num_users:,.0f} users with {config.num_network_posts:,.0f} posts; "
        f"{config.model} encoder; "
        + (f"{config.gpus} GPUs, " if config.gpus else "")
        + f"{config.cores} cores",
        plan_table(stages),
    )
    for line in rate_lines(stages):
        report(line)
