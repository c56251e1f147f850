"""People and posts taken out of the folder of an engagement model."""

from __future__ import annotations

from itertools import compress
from pathlib import Path

import numpy as np
import pyarrow as pa

from twhin_hf.files import new_folder
from twhin_hf.forgetting.forgotten import Forgotten
from twhin_hf.forgetting.networks import link_others
from twhin_hf.forgetting.places import real_path
from twhin_hf.recommendation import folder as model_folder
from twhin_hf.recommendation.records import Records


def count_rows(folder: Path, forgotten: Forgotten) -> int:
    """Users and posts that go."""
    return sum(int((~rows).sum()) for rows in _kept(model_folder.load(folder), forgotten))


def forget_rows(folder: Path, forgotten: Forgotten) -> None:
    """Writes the model without them, and without what they engaged with; replaced as a whole.

    The projections, which have learnt from all, stay: the model is one to be fitted anew, and
    `find_trained` names it.
    """
    saved = model_folder.load(folder)
    users, posts = _kept(saved, forgotten)
    engagements = saved.engagements
    goes = ~posts[engagements.posts]
    content = saved.users["content"].copy()
    # What others read of a post that goes leaves the sum of what they engaged with.
    np.subtract.at(
        content, engagements.users[goes], saved.posts["content"][engagements.posts[goes]]
    )
    stays = users[engagements.users] & ~goes
    numbers = [np.cumsum(rows) - 1 for rows in (users, posts)]
    left = saved._replace(
        user_ids=list(compress(saved.user_ids, users)),
        users={name: v[users] for name, v in (saved.users | {"content": content}).items()},
        post_ids=list(compress(saved.post_ids, posts)),
        posts={name: values[posts] for name, values in saved.posts.items()},
        engagements=Records(
            numbers[0][engagements.users[stays]], numbers[1][engagements.posts[stays]]
        ),
    )
    with new_folder(real_path(folder)) as partial:
        model_folder.save(left, partial)
        link_others(folder, partial)


def _kept(saved: model_folder.Saved, forgotten: Forgotten) -> tuple[np.ndarray, np.ndarray]:
    """Users and posts that stay, bool `[users]` and `[posts]`."""
    users = forgotten.is_user(pa.array(saved.user_ids, pa.string()))
    posts = forgotten.is_post(pa.array(saved.post_ids, pa.string()))
    return ~np.asarray(users), ~np.asarray(posts)
