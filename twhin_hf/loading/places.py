"""Whether a model is there: asked once, before libraries ask again and again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twhin_hf.errors import InputError, reading

_FILE_ENDINGS = (
    *(".bin", ".ckpt", ".gz", ".json", ".onnx", ".parquet", ".pt", ".pth", ".safetensors", ".tar"),
    *(".txt", ".yaml", ".yml", ".zip", ".zst"),
)
_SECONDS = 10


@contextmanager
def reading_model(name_or_path: str | Path) -> Iterator[None]:
    """Turns what libraries raise for a folder or repository into an InputError that names it.

    They raise anything: `OSError` for a config that is no JSON, `KeyError` for one that lacks a
    key, errors of their own for damaged weights; and torch says of a pickle how to open it all the
    same.
    """
    # Late: paths are checked by commands that need no torch.
    from twhin_hf.loading.weights import safe_weights

    advice = (
        "Is it whole, and of a version that the transformers installed here can read? Save or "
        "fetch it again."
    )
    with reading(name_or_path, advice, (Exception,)), safe_weights(name_or_path):
        yield


def looks_local(name_or_path: str) -> bool:
    """True for what can be no repository of the Hub, or hardly is meant to be one.

    That is a name that the Hub refuses (of more than two parts, or that begins with a dot, a slash
    or a tilde, ...), a path whose first folder is here, or a name with the ending of a file.

    >>> [looks_local(name) for name in ("./model", "runs/seed0/model", "model.safetensors")]
    [True, True, True]
    >>> [looks_local(name) for name in ("owner/name", "bert-base", "BAAI/bge-small-en-v1.5")]
    [False, False, False]
    """
    # Late: commands that get no model ask nothing.
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name_or_path)
    except HFValidationError:
        return True
    owner, _, name = name_or_path.partition("/")
    return name_or_path.lower().endswith(_FILE_ENDINGS) or (bool(name) and Path(owner).is_dir())


def local_path(name_or_path: str | Path) -> Path:
    """The path that a name stands for, with `~` and the `~user` of known users written out."""
    # pathlib's own raises RuntimeError for a user whom nobody knows.
    return Path(os.path.expanduser(name_or_path))


def check_local_path(name_or_path: str) -> None:
    """Checks that what looks like a path is there; nothing is asked of the Hub.

    Raises:
        FileNotFoundError: It is not.
    """
    if looks_local(name_or_path) and not local_path(name_or_path).exists():
        raise FileNotFoundError(
            f"there is no {name_or_path}; give a folder that is there, or a repository of the Hub "
            "as owner/name"
        )


def check_place(name_or_path: str, revision: str | None = None) -> None:
    """Checks that there is such a folder, or a repository of the Hub that can be asked for.

    A repository is asked of the Hub once, unless it is in the cache.

    Args:
        name_or_path: Folder, or `owner/name` of a repository.
        revision: Of the repository.

    Raises:
        FileNotFoundError: Nothing is there, or the Hub cannot be reached.
        InputError: A folder of old sentence-transformers, whose encoder lies in another inside.
    """
    folder = local_path(name_or_path)
    if folder.exists():
        _check_layout(folder)
        return
    check_local_path(str(name_or_path))
    # Late: only a repository needs it.
    from huggingface_hub import constants, get_session, hf_hub_url
    from huggingface_hub.errors import HTTPError
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils import build_hf_headers

    cached = repo_folder_name(repo_id=name_or_path, repo_type="model")
    if (Path(constants.HF_HUB_CACHE) / cached / "snapshots").is_dir():
        return
    what = f"there is no folder {name_or_path}"
    if constants.is_offline_mode():
        raise FileNotFoundError(
            f"{what}, and the Hub is not asked for a repository of that name (HF_HUB_OFFLINE)"
        )
    url = hf_hub_url(name_or_path, "config.json", revision=revision, endpoint=constants.ENDPOINT)
    try:
        answer = get_session().head(url, headers=build_hf_headers(), timeout=_SECONDS)
    except HTTPError as error:
        raise FileNotFoundError(
            f"{what}, and the Hub cannot be reached for a repository of that name ({error})"
        ) from error
    if answer.headers.get("X-Error-Code") == "RepoNotFound":
        raise FileNotFoundError(
            f"{what}, and no repository {name_or_path} that you may read on the Hub; check the "
            "name, or run `hf auth login` if it is private"
        )


def _check_layout(folder: Path) -> None:
    """Checks that an encoder of sentence-transformers lies in the folder itself.

    Raises:
        InputError: It lies in a folder inside, as versions before 2 saved it.
    """
    if not (folder / "modules.json").is_file() or (folder / "config.json").is_file():
        return
    inside = next(iter(sorted(folder.glob("0_*/config.json"))), None)
    if inside is not None:
        raise InputError(
            f"the encoder of {folder} lies in {inside.parent.name} inside, as old versions of "
            f"sentence-transformers saved it; save it again: SentenceTransformer('{folder}')"
            f".save('{folder.name}-new'), and give that folder"
        )
