"""The folder of an engagement model: safetensors, JSON and Parquet, and the encoder beside them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twhin_hf.errors import WRONG_CONTENT, InputError, reading
from twhin_hf.files import new_folder, read_json_object, write_json
from twhin_hf.privacy.keys import check_key, hash_ids, random_order
from twhin_hf.recommendation.parameters import ADVICE, Parameters
from twhin_hf.recommendation.records import Records
from twhin_hf.recommendation.words import WordFeatures
from twhin_hf.tables import read_parquet
from twhin_hf.version import __version__

CONFIG = "config.json"
MODEL_TYPE = "twhin_engagement"
ENCODER = "encoder"
USER_COLUMNS = ("vectors", "content")
POST_COLUMNS = ("text", "predicted", "network", "content", "learnt", "has_text")
FLOOR = 5
"""Engagements of a user, or users of a post, from which a published model knows of them."""
_PARAMETERS = "model.safetensors"
_ENGAGEMENTS = "engagements.safetensors"


class Saved(NamedTuple):
    """What a folder holds.

    Args:
        parameters: What was learnt.
        settings: `config.json`, less what every folder has.
        encoder: Folder or repository of the encoder; None where it is given at loading.
        words: TF-IDF features, where the model has any.
        user_ids: `[users]`.
        users: Columns of the users, `[users, …]`.
        post_ids: `[posts]`.
        posts: Columns of the posts, `[posts, …]`.
        engagements: Who engaged with which post; none in a published model.
    """

    parameters: Parameters
    settings: dict[str, Any]
    encoder: str | None
    words: WordFeatures | None
    user_ids: Sequence[str]
    users: dict[str, np.ndarray]
    post_ids: Sequence[str]
    posts: dict[str, np.ndarray]
    engagements: Records


def is_recommender(path: str | Path) -> bool:
    """Whether a folder holds an engagement model."""
    config = Path(path) / CONFIG
    return config.is_file() and read_json_object(config).get("model_type") == MODEL_TYPE


def save(saved: Saved, directory: str | Path, key: bytes | None = None) -> None:
    """Writes the folder; with a key in a form that can be published.

    Raises:
        InputError: The key is too short or too long, or there is nobody to leave out.
    """
    if key is not None:
        saved = _without_people(saved, check_key(key))
    target = Path(directory)
    source = Path(saved.encoder) if saved.encoder else None
    with new_folder(target) as partial:
        if source is not None and source.is_dir():
            shutil.copytree(source, partial / ENCODER)
        if saved.words is not None:
            saved.words.save(partial)
        saved.parameters.save(partial / _PARAMETERS)
        _save_table(partial, "users", "user_id", saved.user_ids, saved.users)
        _save_table(partial, "posts", "post_id", saved.post_ids, saved.posts)
        _save_tensors(partial / _ENGAGEMENTS, vars(saved.engagements))
        named = None if source is None or source.is_dir() else saved.encoder
        written = {
            **saved.settings,
            "model_type": MODEL_TYPE,
            "twhin_hf_version": __version__,
            "encoder": ENCODER if source is not None and source.is_dir() else named,
            "words": 0 if saved.words is None else saved.words.dimension,
            "num_users": len(saved.user_ids),
            "num_posts": len(saved.post_ids),
        }
        write_json(partial / CONFIG, written)


def users_below_floor(saved: Saved) -> np.ndarray:
    """Users of whom a published model does not know, bool `[users]`."""
    return np.bincount(saved.engagements.users, minlength=len(saved.user_ids)) < FLOOR


def _without_people(saved: Saved, key: bytes) -> Saved:
    """Hashed ids in random order, nobody's engagements, and nothing of what few did."""
    if not len(saved.engagements):
        raise InputError(
            "this model holds no engagements: it was published already. Publish the one that it "
            "was made of"
        )
    saved = saved._replace(posts=_of_many(saved))
    users, posts = random_order(len(saved.user_ids)), random_order(len(saved.post_ids))
    users = users[~users_below_floor(saved)[users]]
    nothing = np.empty(0, np.int64)
    # Of the sum of what a user engaged with, the posts can be found again: it stays here.
    columns = saved.users | {"content": np.zeros_like(saved.users["content"])}
    return saved._replace(
        settings=saved.settings | {"published": True},
        user_ids=hash_ids([saved.user_ids[row] for row in users], key),
        users={name: values[users] for name, values in columns.items()},
        post_ids=hash_ids([saved.post_ids[row] for row in posts], key),
        posts={name: values[posts] for name, values in saved.posts.items()},
        engagements=Records(nothing, nothing),
    )


def _of_many(saved: Saved) -> dict[str, np.ndarray]:
    """Columns of the posts, without a trace of what few people did."""
    columns = dict(saved.posts)
    few = np.bincount(saved.engagements.posts, minlength=len(saved.post_ids)) < FLOOR
    columns["network"] = np.where(few[:, None], columns["predicted"], columns["network"])
    columns["learnt"] = np.where(few, 0, columns["learnt"])
    return columns


def load(name_or_path: str | Path, revision: str | None = None) -> Saved:
    """Reads a folder or a repository that `save` wrote.

    Raises:
        FileNotFoundError: The folder or one of its files is missing.
        InputError: A file is damaged, or of another kind of model.
    """
    folder = _folder(name_or_path, revision)
    config = read_json_object(folder / CONFIG)
    if config.get("model_type") != MODEL_TYPE:
        raise InputError(
            f"{folder} holds a model of type {config.get('model_type')!r}, no engagement model; "
            "`twhin-hf recommender fit` makes one"
        )
    parameters = Parameters.load(folder / _PARAMETERS)
    user_ids, users = _load_table(folder, "users", "user_id")
    post_ids, posts = _load_table(folder, "posts", "post_id")
    dimension = parameters.dimension
    content: tuple[int, ...] = (parameters.content_size,)
    of_users = {"vectors": (dimension,), "content": content}
    _check_columns(folder / "users", users, of_users, len(user_ids))
    widths = {
        "text": (parameters.projection_size,),
        "predicted": (dimension,),
        "network": (dimension,),
        "content": content,
        "learnt": (),
        "has_text": (),
    }
    _check_columns(folder / "posts", posts, widths, len(post_ids))
    tensors = _load_tensors(folder / _ENGAGEMENTS)
    with reading(folder / _ENGAGEMENTS, ADVICE):
        engagements = Records(tensors["users"], tensors["posts"])
        _check_rows(engagements, len(user_ids), len(post_ids))
    encoder = config.get("encoder")
    if encoder == ENCODER:
        encoder = str(folder / ENCODER)
    words = WordFeatures.load(folder) if config.get("words") else None
    settings = config | {"encoder": encoder}  # where it lies, to be saved again
    return Saved(
        parameters, settings, encoder, words, user_ids, users, post_ids, posts, engagements
    )


def _folder(name_or_path: str | Path, revision: str | None) -> Path:
    path = Path(name_or_path)
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    from twhin_hf.loading.places import check_place

    check_place(str(name_or_path), revision)
    return Path(snapshot_download(str(name_or_path), revision=revision))


def _save_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(values) for name, values in tensors.items()}, path)


def _load_tensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    with reading(path, ADVICE, (Exception,)):
        return load_file(path)


def _save_table(
    folder: Path, name: str, column: str, ids: Sequence[str], columns: dict[str, np.ndarray]
) -> None:
    pq.write_table(pa.table({column: pa.array(ids, pa.string())}), folder / f"{name}.parquet")
    _save_tensors(folder / f"{name}.safetensors", columns)


def _load_table(folder: Path, name: str, column: str) -> tuple[list[str], dict[str, np.ndarray]]:
    path = folder / f"{name}.parquet"
    with reading(path, ADVICE, (pa.ArrowException, OSError, *WRONG_CONTENT)):
        ids = read_parquet(path, [column])[column].cast(pa.string()).to_pylist()
        if None in ids or len(set(ids)) != len(ids):
            raise ValueError("an id is missing or stands twice")
    return ids, _load_tensors(folder / f"{name}.safetensors")


def _check_columns(
    path: Path, columns: dict[str, np.ndarray], widths: dict[str, tuple[int, ...]], rows: int
) -> None:
    for name, width in widths.items():
        found = columns.get(name)
        if found is None or found.shape != (rows, *width):
            shape = "none" if found is None else list(found.shape)
            raise InputError(
                f"{path}.safetensors: {name} has shape {shape}, needed is {[rows, *width]}. "
                f"{ADVICE}"
            )
        if found.dtype != bool and not np.isfinite(found).all():
            raise InputError(f"{path}.safetensors: {name} holds NaN or infinity. {ADVICE}")


def _check_rows(engagements: Records, num_users: int, num_posts: int) -> None:
    for rows, count in ((engagements.users, num_users), (engagements.posts, num_posts)):
        if len(rows) and not (rows.min() >= 0 and rows.max() < count):
            raise ValueError(f"engagements of rows up to {rows.max()} do not fit {count} rows")
