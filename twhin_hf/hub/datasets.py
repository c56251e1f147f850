"""A benchmark on the Hub in one commit: Parquet files and their card, checked as models are."""

from __future__ import annotations

from pathlib import Path

from twhin_hf.errors import InputError
from twhin_hf.files import read_text
from twhin_hf.hub.cards import check_card
from twhin_hf.hub.client import CARD, Push, publish
from twhin_hf.hub.folder import check_files
from twhin_hf.hub.sections import merge_cards

_PLACEHOLDER = "<repository or folder>"
_OF_USERS = ("user_id", "user_ids", "userid", "author_id")


def plan_dataset_push(folder: str | Path, repo_id: str, card: str | None = None) -> Push:
    """What a push would publish; asks no network.

    Args:
        folder: That `twhin-hf data hashtag` or `data engagement` has written.
        repo_id: `owner/name`.
        card: That is there already; by default the folder's own is all of it.

    Raises:
        FileNotFoundError: No such folder, or no card in it.
        InputError: No Parquet file, a file that is none, a column with ids of users, a path of this
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
        raise InputError(f"{folder} holds no Parquet file; needed is one a split")
    for name in files:
        _check_table(name, names[name])
    own = read_text(folder / CARD).replace(_PLACEHOLDER, repo_id)
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
        folder: As `plan_dataset_push` takes.
        repo_id: `owner/name`; made where there is none. A name alone is one of the token's owner.
        private: Only its owners may see it.
        card: To begin with, where the repository has none, such as one of `model_cards/`.
        token: Token with the right to write; by default the one that `hf auth login` has kept.
        message: Commit message.

    Raises:
        FileNotFoundError: No such folder, or no card in it.
        InputError: Something that must not go out, no token or one that may not write, a public
            repository where a private one is asked for, or a Hub that does not answer.
    """
    return publish(
        lambda name, there: plan_dataset_push(folder, name, there),
        repo_id,
        card,
        lambda path: path.endswith(".parquet"),
        message,
        repo_type="dataset",
        private=private,
        token=token,
    )


def _check_table(name: str, path: Path) -> None:
    """Raises InputError where a file is no Parquet, or has a column with ids of users."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = pq.read_schema(path).names
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{name} is no Parquet file ({error}); write the data set again"
        ) from error
    found = [column for column in columns if column.lower() in _OF_USERS]
    if found:
        raise InputError(
            f"{name} holds ids of users in the column {found[0]!r}, which never go out; write the "
            "data set with the command that makes the benchmark"
        )
