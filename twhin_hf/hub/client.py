"""The Hub's side of a push: token, repository, one commit, asked again where the Hub stumbles."""

from __future__ import annotations

import hashlib
import io
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    get_token,
)
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from twhin_hf.errors import InputError
from twhin_hf.files import read_text
from twhin_hf.hub.guard import check_text

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

CARD = "README.md"
COMMIT = "COMMIT"
"""Stands in a card for the commit that it pins, which is not known before it is made."""
_BLOCK = 1 << 22
TRIES = 5
_FAILURES = (HTTPError, LocalEntryNotFoundError, RuntimeError)


@dataclass(frozen=True)
class Push:
    """What goes out, and what came of it.

    Args:
        repo_id: `owner/name`.
        files: Contents, or the files that hold them, by path in the repository.
        left_behind: Paths in the folder that do not go.
        deleted: Paths in the repository that an earlier push left and this one takes away.
        url: Of the commit; none for a dry run.
    """

    repo_id: str
    files: dict[str, bytes | Path]
    left_behind: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    url: str | None = None

    def sizes(self) -> dict[str, int]:
        """Bytes by path."""
        return {
            name: len(content) if isinstance(content, bytes) else content.stat().st_size
            for name, content in sorted(self.files.items())
        }


class Repository(NamedTuple):
    """A repository that may be written to.

    Args:
        api: With the token.
        repo_id: `owner/name`.
        repo_type: `model`, `dataset` or `space`.
        sha: Of its newest commit.
        files: That are there: bytes and hash, as git or LFS has it; None where the Hub says none.
    """

    api: HfApi
    repo_id: str
    repo_type: str
    sha: str
    files: dict[str, tuple[int, str] | None]

    def card(self) -> str | None:
        """The card that is there."""
        if CARD not in self.files:
            return None
        path = _ask(
            lambda: self.api.hf_hub_download(
                self.repo_id, CARD, repo_type=self.repo_type, revision=self.sha
            ),
            self.repo_id,
        )
        return read_text(path)

    def holds(self, files: Mapping[str, bytes | Path]) -> bool:
        """Whether all these files are there as they are here."""
        return all(_is_same(self.files.get(name), content) for name, content in files.items())

    def commit(
        self, files: dict[str, bytes | Path], deleted: Iterable[str], message: str
    ) -> CommitInfo:
        """Writes and takes away in one commit.

        Returns:
            With its hash and its address.

        Raises:
            InputError: A refusal, or no answer after all tries.
        """
        operations: list[Any] = [
            *(CommitOperationAdd(name, content) for name, content in sorted(files.items())),
            *(CommitOperationDelete(name) for name in deleted),
        ]
        return _ask(
            lambda: self.api.create_commit(
                self.repo_id, operations, commit_message=message, repo_type=self.repo_type
            ),
            self.repo_id,
        )


def open_repository(
    repo_id: str,
    *,
    repo_type: str = "model",
    private: bool = False,
    token: str | None = None,
) -> Repository:
    """Makes a repository where there is none, and looks at it where there is one.

    Args:
        repo_id: `owner/name`; a name alone is one of the token's owner.
        repo_type: `model`, `dataset` or `space`.
        private: Only its owners may see it.
        token: Token with the right to write; by default the one that `hf auth login` has kept.

    Raises:
        InputError: No token or one that may not write, a public repository where a private one is
            asked for, or a Hub that does not answer.
    """
    token = token or get_token()
    if not token:
        raise InputError(
            "there is no token; run `hf auth login`, or set HF_TOKEN to one that may write "
            "(https://huggingface.co/settings/tokens)",
            faq="hub-token",
        )
    api = HfApi(token=token)
    owner = _check_token(api)
    repo_id = repo_id if "/" in repo_id else f"{owner}/{repo_id}"
    sdk = "gradio" if repo_type == "space" else None
    _ask(
        lambda: api.create_repo(
            repo_id, repo_type=repo_type, private=private, exist_ok=True, space_sdk=sdk
        ),
        repo_id,
    )
    info: Any = _ask(
        lambda: api.repo_info(repo_id, repo_type=repo_type, files_metadata=True), repo_id
    )
    if private and not info.private:
        raise InputError(
            f"{repo_id} is public already and a private repository is asked for; make it private "
            "in its settings, choose another name, or push without asking for a private one"
        )
    files = {sibling.rfilename: _state(sibling) for sibling in info.siblings or []}
    return Repository(api, repo_id, repo_type, str(info.sha), files)


def publish(
    plan: Callable[[str, str | None], Push],
    repo_id: str,
    card: str | None,
    is_ours: Callable[[str], bool],
    message: str,
    *,
    repo_type: str = "model",
    private: bool = False,
    token: str | None = None,
) -> Push:
    """Plans a push, looks at the repository, and commits.

    A card that pins a commit (`COMMIT` in it) is written with all else, and once more in a second
    commit, with the hash of the first: a commit cannot hold its own. Where nothing else is new it
    keeps the commit that it pins.

    Args:
        plan: What goes out under a repository's full name, with the card that is there.
        repo_id: `owner/name`; made where there is none. A name alone is one of the token's owner.
        card: To begin with, where the repository has none.
        is_ours: Whether a path in the repository was put there by an earlier push; it is deleted
            where this push does not bring it.
        message: Of the commit.
        repo_type: `model`, `dataset` or `space`.
        private: Only its owners may see it.
        token: With the right to write; by default the one that `hf auth login` has kept.

    Raises:
        InputError: As `plan`, `open_repository` and `Repository.commit` say.
    """
    # Before anything is asked of the Hub.
    check_text("the commit message", message)
    push = plan(repo_id, card)
    repository = open_repository(repo_id, repo_type=repo_type, private=private, token=token)
    there = repository.card()
    if there is not None or repository.repo_id != repo_id:
        push = plan(repository.repo_id, there or card)
    deleted = sorted(filter(is_ours, repository.files.keys() - push.files.keys()))
    body = {name: content for name, content in push.files.items() if name != CARD}
    pinned = None
    if not deleted and repository.holds(body):
        pinned = _pinned(there or "", repository.repo_id) or repository.sha
    commit = repository.commit(_pin(push.files, pinned), deleted, message)
    if pinned is None and _pin(push.files, commit.oid) != push.files:
        pinned = commit.oid
        card_alone = {CARD: _pin(push.files, pinned)[CARD]}
        commit = repository.commit(card_alone, (), "Pin the commit in the card")
    return replace(push, files=_pin(push.files, pinned), deleted=deleted, url=commit.commit_url)


def _pinned(card: str, repo_id: str) -> str | None:
    """The commit of a repository that a card names."""
    found = re.search(rf'"{re.escape(repo_id)}",[^()]*?revision="([0-9a-f]{{40}})"', card)
    return found[1] if found else None


def _pin(files: dict[str, bytes | Path], commit: str | None) -> dict[str, bytes | Path]:
    """The files with a commit in the card; as they are where it is not known."""
    card = files[CARD]
    if commit is None or not isinstance(card, bytes):
        return files
    return files | {CARD: card.replace(f'"{COMMIT}"'.encode(), f'"{commit}"'.encode())}


def _state(sibling: Any) -> tuple[int, str] | None:
    """Bytes and hash of a file on the Hub."""
    found = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
    return (sibling.size, found) if found and sibling.size is not None else None


def _is_same(there: tuple[int, str] | None, content: bytes | Path) -> bool:
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    if there is None or there[0] != size:
        return False
    is_blob = len(there[1]) == 40  # git's own; large files have a longer one
    digest = hashlib.sha1(b"blob %d\0" % size) if is_blob else hashlib.sha256()
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest() == there[1]


def _check_token(api: HfApi) -> str:
    """The name of the token's owner."""
    who = _ask(api.whoami, "")
    role = who.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise InputError(
            "the token may only read; make one that may write "
            "(https://huggingface.co/settings/tokens) and run `hf auth login`",
            faq="hub-token",
        )
    return str(who["name"])


def _ask(question: Callable[[], Answer], repo_id: str) -> Answer:
    """Asks the Hub, again where it is busy or the connection broke.

    Raises:
        InputError: A refusal, or no answer after all tries.
    """
    asking = Retrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_attempt(TRIES),
        wait=_wait,
        before_sleep=_tell,
        reraise=True,
    )
    try:
        return asking(question)
    except _FAILURES as error:
        cause = _of_the_hub(error)
        if cause is None:
            raise
        if not _may_pass(error):
            raise InputError(_refusal(repo_id, cause)) from error
        raise InputError(
            f"the Hub did not answer in {TRIES} tries ({_reason(cause)}); nothing was published. "
            "The same command later sends only what has not arrived"
        ) from error


def _may_pass(error: BaseException) -> bool:
    """Whether another try may succeed: no answer, a busy Hub, or one that stumbled."""
    cause = _of_the_hub(error) if isinstance(error, _FAILURES) else None
    status = _status(cause)
    return cause is not None and (status is None or status == 429 or status >= 500)


def _of_the_hub(error: BaseException | None) -> HTTPError | None:
    """The error of the connection behind one of an upload's threads."""
    while error is not None and not isinstance(error, HTTPError):
        error = error.__cause__
    return error


def _wait(state: RetryCallState) -> int:
    cause = _cause(state)
    if isinstance(cause, HfHubHTTPError):
        asked = cause.response.headers.get("Retry-After", "")
        if asked.isdigit():
            return min(int(asked), 300)
    return 2**state.attempt_number


def _tell(state: RetryCallState) -> None:
    reason = _reason(_cause(state))
    logger.warning("the Hub: %s; trying again in %d seconds", reason, state.upcoming_sleep)


def _cause(state: RetryCallState) -> HTTPError:
    cause = None if state.outcome is None else _of_the_hub(state.outcome.exception())
    assert cause is not None
    return cause


def _status(cause: HTTPError | None) -> int | None:
    return cause.response.status_code if isinstance(cause, HfHubHTTPError) else None


def _reason(cause: HTTPError) -> str:
    status = _status(cause)
    return f"status {status}" if status else f"{type(cause).__name__}: {cause}"


def _refusal(repo_id: str, cause: HTTPError) -> str:
    status = _status(cause)
    if status == 401:
        return (
            "the Hub does not know the token (401); run `hf auth login`, or set HF_TOKEN to one "
            "that may write (https://huggingface.co/settings/tokens)"
        )
    if status == 403:
        return (
            f"the token may not write to {repo_id} (403); use one that may, of someone who may "
            "write there"
        )
    return f"the Hub refuses (status {status}): {cause}"
