"""A benchmark on the Hub in one commit: Parquet files and their card, checked as models are."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from twhin_hf.hub.cards import check_card
from twhin_hf.hub.client import CARD, Push, open_repository
from twhin_hf.hub.folder import check_files
from twhin_hf.hub.sections import merge_cards

_PLACEHOLDER = "<repository or folder>"
_OF_USERS = ("user_id", "user_ids", "userid", "author_id")


def plan_dataset_push(folder: str | Path, repo_id: str, card: str | None = None) -> Push:
    """What a push would publish; asks no network.

    Args:
        folder: that `twhin-hf data hashtag` or `data engagement` has written.
        repo_id: `owner/name`.
        card: that is there already; by default the folder's own is all of it.

    Raises:
        FileNotFoundError: no such folder, or no card in it.
        ValueError: no Parquet file, a file that is none, a column with ids of users, a path of this
            machine, or a card that does not read back.
    """
    folder = Path(folder)
    if not (folder / CARD).is_file():
        raise FileNotFoundError(
            f"{folder} has no {CARD}, so it is no finished data set. Write it with the command "
            "that makes the benchmark."
        )
    names = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
    files: dict[str, bytes | Path] = {
        name: path for name, path in sorted(names.items()) if name.endswith(".parquet")
    }
    if not files:
        raise ValueError(f"{folder} holds no Parquet file; needed is one a split")
    for name in files:
        _check_table(name, names[name])
    own = (folder / CARD).read_text(encoding="utf-8").replace(_PLACEHOLDER, repo_id)
    text = merge_cards(card, own) if card else own
    check_card(text)
    files[CARD] = text.encode()
    check_files({CARD: files[CARD]})
    return Push(repo_id, files, sorted(names.keys() - files.keys()))


def push_dataset(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    card: str | None = None,
    token: str | None = None,
    message: str = "Upload the benchmark",
) -> Push:
    """Publishes a benchmark in one commit; what a person has written into its card stays.

    Args:
        folder: as `plan_dataset_push` takes.
        repo_id: `owner/name`; made where there is none. A name alone is one of the token's owner.
        private: only its owners may see it.
        card: to begin with, where the repository has none, such as one of `model_cards/`.
        token: with the right to write; by default the one that `hf auth login` has kept.
        message: of the commit.

    Raises:
        FileNotFoundError: no such folder, or no card in it.
        ValueError: something that must not go out, no token or one that may not write, a public
            repository where a private one is asked for, or a Hub that does not answer.
    """
    # Before anything is asked of the Hub.
    plan = plan_dataset_push(folder, repo_id, card)
    repository = open_repository(repo_id, repo_type="dataset", private=private, token=token)
    there = repository.card()
    if there is not None or repository.repo_id != repo_id:
        plan = plan_dataset_push(folder, repository.repo_id, there or card)
    deleted = sorted(
        name for name in repository.files - plan.files.keys() if fnmatch(name, "*.parquet")
    )
    url = repository.commit(plan.files, deleted, message)
    return replace(plan, deleted=deleted, url=url)


def _check_table(name: str, path: Path) -> None:
    """Raises ValueError where a file is no Parquet, or has a column with ids of users."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = pq.read_schema(path).names
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{name} is no Parquet file ({error}); write the data set again"
        ) from error
    found = [column for column in columns if column.lower() in _OF_USERS]
    if found:
        raise ValueError(
            f"{name} holds ids of users in the column {found[0]!r}, which never go out; write the "
            "data set with the command that makes the benchmark"
        )
