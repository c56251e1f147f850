"""`twhin-hf report`."""

from __future__ import annotations

from twhin_hf.report.report_config import ReportConfig
from twhin_hf.table_format import TableFormat


def report(
    folders: list[str],
    /,
    *,
    config: ReportConfig,
    table_format: TableFormat,
    output: str = "report",
    posts: str | None = None,
    post_columns: dict[str, str] | None = None,
    memory_limit: str = "1GB",
    overwrite: bool = False,
) -> None:
    """Write one page that shows what runs, evaluations and trainings have left.

    Curves, languages, mined pairs with their texts, tables beside baselines and the papers' rows,
    few-shot curves, alignment, calibration, the map of posts, and the command of each. One HTML
    file without outside resources, for light and dark screens and for paper. It holds no ids of
    people, and @user for their names in texts.

    Args:
        folders: Output folders of run, pretrain, tpp, evaluate, network embed, recommender fit and
            others, looked through with their subfolders; or files of pairs and maps.
        config: What the page shows.
        table_format: How text tables are written.
        output: Folder for index.html, or an .html file.
        posts: Posts (post_id, text, lang) for the texts of mined pairs (default: those of the
            run's folder).
        post_columns: Rename columns of the posts: NAME=COLUMN.
        memory_limit: Memory limit of the reader of the posts.
        overwrite: Replace the page if it exists.
    """
    from twhin_hf.printing import report as say
    from twhin_hf.report.writing import write_report

    path = write_report(
        folders,
        output,
        config,
        posts=posts,
        post_columns=post_columns,
        table_format=table_format,
        memory_limit=memory_limit,
        overwrite=overwrite,
    )
    say(f"Saved in {path}: open it in a browser")
