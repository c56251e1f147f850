"""A model on the Hub in one commit: weights, tokenizer, code, card and results."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError

from .cards import LOSSES, CardFacts, has_losses, model_card, read_facts
from .folder import BELONGS, CODE, check_files, missing_files, model_files

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

TRIES = 5
_ABSOLUTE = re.compile(r"^(?:/|[A-Za-z]:[\\/]|~/)")


@dataclass(frozen=True)
class ModelPush:
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


def plan_push(folder: str | Path, repo_id: str, card: str | None = None) -> ModelPush:
    """What a push would publish; asks no network.

    Args:
        folder: of a saved model and its tokenizer; results (`results*.json`) and what training
            left (`training_record.json`, `trainer_state.json`) go into the card.
        repo_id: `owner/name`.
        card: that is there already; by default the folder's `README.md`, if it is one of ours.

    Raises:
        FileNotFoundError: no such folder, or no model in it.
        ValueError: something that must not go out, or that the model lacks.
    """
    folder = Path(folder)
    chosen, left_behind = model_files(folder)
    files: dict[str, bytes | Path] = {**chosen, **missing_files(folder)}
    facts = read_facts(folder)
    for path in sorted(folder.glob("results*.json")):
        files[path.name] = public_results(path, repo_id)
    if has_losses(facts):
        files[LOSSES] = _losses(facts)
    if card is None and (folder / "README.md").exists():
        own = (folder / "README.md").read_text(encoding="utf-8")
        card = own if "<!-- twhin_hf:begin" in own else None
    files["README.md"] = model_card(facts, repo_id, card).encode()
    check_files(files)
    return ModelPush(repo_id, files, [name for name in left_behind if name not in files])


def push_model(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    card: str | None = None,
    token: str | None = None,
    message: str = "Upload model",
) -> ModelPush:
    """Publishes a model in one commit: all of it is there, or nothing.

    A push that was cut off is simply begun again: large files that had arrived are not sent twice,
    and what has not changed is not sent at all.

    Args:
        folder: as `plan_push` takes.
        repo_id: `owner/name`; made where there is none.
        private: only its owners may see it.
        card: to begin with, where the repository has none; by default as `plan_push` says.
        token: with the right to write; by default the one that `hf auth login` has kept.
        message: of the commit.

    Raises:
        FileNotFoundError: no such folder, or no model in it.
        ValueError: something that must not go out, no token or one that may not write, a public
            repository where a private one is asked for, or a Hub that does not answer.
    """
    plan = plan_push(folder, repo_id, card)  # Before anything is asked of the Hub.
    token = token or get_token()
    if not token:
        raise ValueError(
            "there is no token; run `hf auth login`, or set HF_TOKEN to one that may write "
            "(https://huggingface.co/settings/tokens)"
        )
    api = HfApi(token=token)
    _check_token(api)
    _ask(lambda: api.create_repo(repo_id, private=private, exist_ok=True), repo_id)
    info = _ask(lambda: api.model_info(repo_id), repo_id)
    if private and not info.private:
        raise ValueError(
            f"{repo_id} is public already and --private is asked for; make it private in its "
            "settings, or choose another name"
        )
    there = {sibling.rfilename for sibling in info.siblings or []}
    if "README.md" in there:
        path = _ask(lambda: api.hf_hub_download(repo_id, "README.md", revision=info.sha), repo_id)
        card = Path(path).read_text(encoding="utf-8")
        renewed = model_card(read_facts(Path(folder)), repo_id, card).encode()
        check_files({"README.md": renewed})
        plan.files["README.md"] = renewed
    deleted = sorted(name for name in there - plan.files.keys() if _is_ours(name))
    operations: list[Any] = [
        *(CommitOperationAdd(name, content) for name, content in sorted(plan.files.items())),
        *(CommitOperationDelete(name) for name in deleted),
    ]
    commit = _ask(lambda: api.create_commit(repo_id, operations, commit_message=message), repo_id)
    return ModelPush(repo_id, plan.files, plan.left_behind, deleted, commit.commit_url)


def public_results(path: Path, repo_id: str) -> bytes:
    """Results as they may be seen: the model by its name, places by their last part."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content = _without_places(content) | {"model": repo_id}
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_places(item) for item in value]
    if isinstance(value, str) and _ABSOLUTE.match(value):
        return re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return value


def _losses(facts: CardFacts) -> bytes:
    from twhin_hf.evaluation.pictures import plot_losses

    with TemporaryDirectory() as folder:
        history = {facts.record.get("trainer", "training"): facts.history}
        return plot_losses(history, Path(folder) / LOSSES).read_bytes()


def _is_ours(name: str) -> bool:
    """Whether an earlier push has put it there; what people have added stays."""
    code = (CODE / name).exists() and "/" not in name and name.endswith(".py")
    return code or any(fnmatch(name, pattern) for pattern in BELONGS)


def _check_token(api: HfApi) -> None:
    who = _ask(api.whoami, "")
    role = who.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise ValueError(
            "the token may only read; make one that may write "
            "(https://huggingface.co/settings/tokens) and run `hf auth login`"
        )


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
