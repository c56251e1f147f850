"""A report: from the folders of runs to one page."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from twhin_hf.files import write_text
from twhin_hf.report.page import report_page
from twhin_hf.report.posts import PostsSource
from twhin_hf.report.reading import read_folders
from twhin_hf.report.report_config import ReportConfig
from twhin_hf.report.sections import make_sections
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import TableSource

logger = logging.getLogger(__name__)

PAGE = "index.html"


def write_report(
    folders: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    config: ReportConfig | None = None,
    *,
    posts: TableSource | None = None,
    post_columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    memory_limit: str = "1GB",
    overwrite: bool = False,
) -> Path:
    """Writes one static page of what runs, evaluations and trainings have left in their folders.

    The page holds its charts, their tables and all it needs: nothing is fetched. It has no ids of
    people, and `@user` stands for their names in texts.

    Args:
        folders: Output folders of any commands, looked through with their subfolders; also single
            files of pairs, results or maps.
        output: Folder for `index.html`, or the name of an `.html` file.
        config: What the page shows.
        posts: Posts (post_id, text, lang) for the texts of mined pairs; by default those of the
            main job's folder.
        post_columns: What the posts call a column.
        table_format: How text tables are written.
        memory_limit: Most memory of the reader of the posts.
        overwrite: Replace the page where it is there.

    Returns:
        The page's path.

    Raises:
        FileExistsError: The page is there.
        FileNotFoundError: A folder or file is missing.
        InputError: Folders with nothing to show, or a damaged file.

    Example:
        >>> write_report(["runs/quickstart"], "report")  # doctest: +SKIP
    """
    path = Path(output)
    path = path if path.suffix == ".html" else path / PAGE
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there; remove it, give another output, or --overwrite.")
    found = read_folders(folders)
    source = None if posts is None else PostsSource(posts, post_columns, table_format)
    sections = make_sections(found, config or ReportConfig(), source, memory_limit)
    logger.info("Drawing %d charts", sum(len(section.blocks) for section in sections))
    names = [Path(folder).resolve().name for folder in folders]
    write_text(path, report_page(f"Report: {', '.join(names)}", sections))
    return path
