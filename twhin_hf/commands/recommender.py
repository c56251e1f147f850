"""`twhin-hf recommender fit` and `update`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twhin_hf.network.log_config import LogConfig
from twhin_hf.recommendation.recommendation_config import RecommendationConfig
from twhin_hf.table_format import TableFormat

if TYPE_CHECKING:
    from pathlib import Path

    from twhin_hf.recommendation.model import EngagementModel


def fit(
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
    from twhin_hf.network.folder import load_network
    from twhin_hf.network.log import read_log
    from twhin_hf.printing import report
    from twhin_hf.recommendation.model import EngagementModel
    from twhin_hf.run_file import run_whole_folder

    predictor = {k: v for k, v in asdict(config.predictor).items() if k not in FREE}
    with run_whole_folder(
        output,
        "recommender fit",
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
        _save(model, run.path)
    figures = model.settings["figures"]
    counts = {"num_users": model.num_users, "num_posts": model.num_posts}
    report(f"Recommender, saved in {output}", counts | figures)


def update(
    model: str,
    network: str,
    table_format: TableFormat,
    posts: str | None = None,
    output: str | None = None,
    post_columns: dict[str, str] | None = None,
    memory_limit: str = "1GB",
    overwrite: bool = False,
) -> None:
    """Bring a model up to date with its network (`twhin-hf network update`) and new posts.

    What the model has learnt of texts and of how to mix stays; users and posts get the vectors that
    the network has of them now, and engagements of the network count as seen.

    Args:
        model: Folder of `twhin-hf recommender fit`.
        network: Network folder, updated from the one that the model was fitted by.
        table_format: How text tables are written.
        posts: New posts (post_id, text): Parquet, CSV or JSON lines; file or folder. Those that the
            model has already are passed over.
        output: Output folder (default: the model's, which is replaced when the new one is whole).
        post_columns: Rename columns of the posts: NAME=COLUMN.
        memory_limit: Memory limit of the reader.
        overwrite: Replace another folder that is there.
    """
    import shutil
    from pathlib import Path

    from twhin_hf.data.posts import read_posts
    from twhin_hf.data_fingerprint import RUN_NAME
    from twhin_hf.files import new_folder
    from twhin_hf.network.folder import load_network
    from twhin_hf.printing import report
    from twhin_hf.recommendation.model import EngagementModel

    folder = Path(output or model)
    in_place = folder.exists() and folder.resolve() == Path(model).resolve()
    if folder.exists() and not (in_place or overwrite):
        raise FileExistsError(f"{folder} is there; give another --output, or --overwrite")
    fitted = EngagementModel.from_pretrained(model)
    before = (fitted.num_users, fitted.num_posts)
    if posts is not None:
        read, _ = read_posts(
            posts, columns=post_columns, table_format=table_format, memory_limit=memory_limit
        )
        fitted.add_posts(read.with_format("arrow")[:].select(["post_id", "text"]))
    fitted.update(load_network(network))
    with new_folder(folder) as partial:
        _save(fitted, partial)
        record = Path(model) / RUN_NAME
        if record.is_file():  # of the fit, by which the same command knows the folder
            shutil.copy2(record, partial / RUN_NAME)
    counts = {
        "num_users": fitted.num_users,
        "num_posts": fitted.num_posts,
        "new_users": fitted.num_users - before[0],
        "new_posts": fitted.num_posts - before[1],
    }
    report(f"Recommender, saved in {folder}", counts)


def _save(model: EngagementModel, path: Path) -> None:
    """The model with its card and its picture."""
    from twhin_hf.files import write_text
    from twhin_hf.recommendation import folder
    from twhin_hf.recommendation.card import RELIABILITY_PLOT, draw_reliability, engagement_card

    model.save_pretrained(path)
    draw_reliability(model.settings, path / RELIABILITY_PLOT)
    write_text(path / "README.md", engagement_card(folder.load(path)))
