"""`twhin-hf recommender`."""

from __future__ import annotations

from twhin_hf.network.log_config import LogConfig
from twhin_hf.recommendation.recommendation_config import RecommendationConfig
from twhin_hf.table_format import TableFormat


def recommender(
    engagements: str,
    posts: str,
    encoder: str,
    network: str,
    output: str,
    config: RecommendationConfig,
    log: LogConfig,
    table_format: TableFormat,
    overwrite: bool = False,
) -> None:
    """Fit a model of who will like which post, for `twhin-hf recommend` and `twhin-hf serve`.

    New posts are known by their texts, known posts by the network too, mixed by how many people
    engaged with a post. The network must have been embedded without some of the engagements: with
    --holdout, as by default, and best without the validation posts (`twhin-hf split`).

    Args:
        engagements: Whole engagement log (user_id, post_id): Parquet, CSV or JSON lines; file or
            folder.
        posts: Posts (post_id, text): Parquet, CSV or JSON lines; file or folder.
        encoder: Encoder of the texts: folder or Hub repository. A folder is copied into the model.
        network: Network folder.
        output: Output folder: the model, with its card and a plot of its reliability.
        config: What is learnt.
        log: How the log is read.
        table_format: How text tables are written.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    from dataclasses import asdict

    from twhin_hf.commands.options import FREE, model_identity, options_of_result
    from twhin_hf.data.posts import read_posts
    from twhin_hf.files import write_text
    from twhin_hf.network.folder import load_network
    from twhin_hf.network.log import read_log
    from twhin_hf.recommendation.card import RELIABILITY_PLOT, draw_reliability, engagement_card
    from twhin_hf.recommendation.model import EngagementModel
    from twhin_hf.report import report
    from twhin_hf.run_file import run_whole_folder

    predictor = {k: v for k, v in asdict(config.predictor).items() if k not in FREE}
    with run_whole_folder(
        output,
        "recommender",
        options_of_result(config, log, table_format, predictor=predictor),
        data={"engagements": engagements, "posts": posts, "network": network},
        fingerprints={"encoder": model_identity(encoder)},
        seed=config.seed,
        overwrite=overwrite,
    ) as run:
        if run.is_finished:
            return
        vectors = load_network(network)
        read, _ = read_posts(
            posts,
            columns=log.post_columns,
            table_format=table_format,
            memory_limit=log.memory_limit,
        )
        graph = read_log(engagements, table_format=table_format, **vars(log))
        table = read.with_format("arrow")[:].select(["post_id", "text"])
        model = EngagementModel.fit(graph, table, encoder, vectors, config)
        model.save_pretrained(run.path)
        draw_reliability(model.settings, run.path / RELIABILITY_PLOT)
        write_text(run.path / "README.md", engagement_card(model))
    figures = model.settings["figures"]
    counts = {"num_users": model.num_users, "num_posts": model.num_posts}
    report(f"Recommender, saved in {output}", counts | figures)
