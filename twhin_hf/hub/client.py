"""The Hub's side of a push: token, repository, one commit, asked again where the Hub stumbles."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

CARD = "README.md"
TRIES = 5


@dataclass(frozen=True)
class Push:
    """What goes out, and what came of it.

    Args:
        repo_id: `owner/name`.
        files: contents, or the files that hold them, by path in the repository.
        left_behind: paths in the folder that do not go.
        deleted: paths in the repository that an earlier push left and this one takes away.
        url: of the commit; none for a dry run.
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

    Attributes:
        api: with the token.
        repo_id: `owner/name`.
        repo_type: `model` or `dataset`.
        sha: of its newest commit.
        files: that are there.
    """

    api: HfApi
    repo_id: str
    repo_type: str
    sha: str
    files: set[str]

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
        return Path(path).read_text(encoding="utf-8")

    def commit(self, files: dict[str, bytes | Path], deleted: Iterable[str], message: str) -> str:
        """Writes and takes away in one commit.

        Returns:
            Its address.

        Raises:
            ValueError: a refusal, or no answer after all tries.
        """
        operations: list[Any] = [
            *(CommitOperationAdd(name, content) for name, content in sorted(files.items())),
            *(CommitOperationDelete(name) for name in deleted),
        ]
        commit = _ask(
            lambda: self.api.create_commit(
                self.repo_id, operations, commit_message=message, repo_type=self.repo_type
            ),
            self.repo_id,
        )
        return commit.commit_url


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
        repo_type: `model` or `dataset`.
        private: only its owners may see it.
        token: with the right to write; by default the one that `hf auth login` has kept.

    Raises:
        ValueError: no token or one that may not write, a public repository where a private one is
            asked for, or a Hub that does not answer.
    """
    token = token or get_token()
    if not token:
        raise ValueError(
            "there is no token; run `hf auth login`, or set HF_TOKEN to one that may write "
            "(https://huggingface.co/settings/tokens)"
        )
    api = HfApi(token=token)
    owner = _check_token(api)
    repo_id = repo_id if "/" in repo_id else f"{owner}/{repo_id}"
    _ask(
        lambda: api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True),
        repo_id,
    )
    info: Any = _ask(lambda: api.repo_info(repo_id, repo_type=repo_type), repo_id)
    if private and not info.private:
        raise ValueError(
            f"{repo_id} is public already and a private repository is asked for; make it private "
            "in its settings, choose another name, or push without asking for a private one"
        )
    files = {sibling.rfilename for sibling in info.siblings or []}
    return Repository(api, repo_id, repo_type, str(info.sha), files)


def _check_token(api: HfApi) -> str:
    """The name of the token's owner."""
    who = _ask(api.whoami, "")
    role = who.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise ValueError(
            "the token may only read; make one that may write "
            "(https://huggingface.co/settings/tokens) and run `hf auth login`"
        )
    return str(who["name"])


def _ask(question: Callable[[], Answer], repo_id: str) -> Answer:
    """Asks the Hub, again where it is busy or the connection broke.

    Raises:
        ValueError: a refusal, or no answer after all tries.
    """
    for number in range(1, TRIES):
        answered, answer = _try(question, repo_id, number)
        if answered:
            return cast(Answer, answer)
    return cast(Answer, _try(question, repo_id, TRIES)[1])


def _try(question: Callable[[], Answer], repo_id: str, number: int) -> tuple[bool, Answer | None]:
    """Whether there was an answer, and which; waits where there was none."""
    try:
        return True, question()
    except (HTTPError, LocalEntryNotFoundError, RuntimeError) as error:
        cause = _of_the_hub(error)
        if cause is None:
            raise
        status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
        if status is not None and status != 429 and status < 500:
            raise ValueError(_refusal(status, repo_id, cause)) from error
        reason = f"status {status}" if status else f"{type(cause).__name__}: {cause}"
        if number == TRIES:
            raise ValueError(
                f"the Hub did not answer in {TRIES} tries ({reason}); nothing was published. "
                "The same command later sends only what has not arrived"
            ) from error
        seconds = _wait(cause, number)
    logger.warning("the Hub: %s; trying again in %d seconds", reason, seconds)
    time.sleep(seconds)
    return False, None


def _of_the_hub(error: BaseException | None) -> HTTPError | None:
    """The error of the connection behind one of an upload's threads."""
    while error is not None and not isinstance(error, HTTPError):
        error = error.__cause__
    return error


def _wait(error: HTTPError, number: int) -> int:
    if isinstance(error, HfHubHTTPError):
        asked = error.response.headers.get("Retry-After", "")
        if asked.isdigit():
            return min(int(asked), 300)
    return 2**number


def _refusal(status: int, repo_id: str, error: HTTPError) -> str:
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
    return f"the Hub refuses (status {status}): {error}"
